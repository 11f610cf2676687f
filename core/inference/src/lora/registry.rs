//! An engine's loaded adapters, by name.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outcrop_api::{AdapterInfo, Error, Result};

use crate::engine::Engine;
use crate::lora::Adapter;

/// Adapters that requests may name. A sequence keeps its own alive until it ends.
#[derive(Debug, Default)]
pub(crate) struct Adapters {
    loaded: Mutex<BTreeMap<String, Arc<Adapter>>>,
}

impl Adapters {
    /// The adapter that a request names, where it names one.
    ///
    /// # Errors
    /// `ResourceNotFoundException` listing the loaded ones.
    pub fn get(&self, name: Option<&str>) -> Result<Option<Arc<Adapter>>> {
        let Some(name) = name else { return Ok(None) };
        let loaded = self.lock();
        let found = loaded.get(name).cloned();
        found.map(Some).ok_or_else(|| not_loaded(&loaded, name))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Adapter>>> {
        // No code that can panic runs under the lock.
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Loads the PEFT LoRA adapter in `folder` beside the base. Requests then choose it by `name`;
    /// an adapter of that name is replaced for requests to come, and running ones keep theirs.
    ///
    /// # Errors
    /// `ValidationException` for an empty name; `ResourceNotFoundException` where nothing is at
    /// `folder`; `ModelErrorException` naming the file and the field or tensor that is damaged, not
    /// supported, or does not fit this model.
    pub fn load_adapter(&self, name: &str, folder: &Path) -> Result<AdapterInfo> {
        if name.is_empty() {
            return Err(Error::validation(
                "adapter: expected a name of at least one character, got \"\"",
            ));
        }
        let adapter = self.read_adapter(name, folder)?;
        let info = adapter.info();
        self.adapter_registry()
            .lock()
            .insert(name.to_owned(), Arc::new(adapter));
        Ok(info)
    }

    /// Lets go of the adapter `name`. Requests that run with it end with it.
    ///
    /// # Errors
    /// `ResourceNotFoundException` listing the loaded ones.
    pub fn unload_adapter(&self, name: &str) -> Result<()> {
        let mut loaded = self.adapter_registry().lock();
        match loaded.remove(name) {
            Some(_) => Ok(()),
            None => Err(not_loaded(&loaded, name)),
        }
    }

    /// The loaded adapters, in alphabetical order.
    pub fn adapters(&self) -> Vec<AdapterInfo> {
        let loaded = self.adapter_registry().lock();
        loaded.values().map(|adapter| adapter.info()).collect()
    }
}

fn not_loaded(loaded: &BTreeMap<String, Arc<Adapter>>, name: &str) -> Error {
    let names: Vec<&str> = loaded.keys().map(String::as_str).collect();
    let expected = if names.is_empty() {
        "a loaded adapter, none is loaded".to_owned()
    } else {
        format!("one of the loaded adapters ({})", names.join(", "))
    };
    Error::not_found(format!("adapter: expected {expected}, got {name:?}")).with_resource(name)
}
