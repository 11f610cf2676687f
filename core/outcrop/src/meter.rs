//! How far long work is.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::feed::to_json;

/// The latest progress of some work, as JSON. Other languages look at it; Rust never calls them.
/// Clones are the same meter.
#[derive(Clone, Default)]
pub struct Meter(Arc<Mutex<Option<String>>>);

impl Meter {
    /// Replaces what was told before.
    pub fn tell(&self, progress: &impl Serialize) {
        if let Ok(text) = to_json(progress) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
        }
    }

    /// What was told last; `None` where nothing was told yet.
    pub fn latest(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// This meter as what is told of a download.
    pub fn downloads(&self) -> outcrop_models::Progress {
        let meter = self.clone();
        Arc::new(move |now| meter.tell(&now))
    }
}
