//! What calls have used: tokens and calls, by model.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use outcrop_api::Usage;
use serde::Serialize;

/// What the calls of one model have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Total {
    /// Calls that ended, well or not.
    pub calls: u64,
    /// Tokens read, those of the prefix cache included.
    pub input_tokens: u64,
    /// Tokens made.
    pub output_tokens: u64,
    /// Of the tokens read, those that the prefix cache knew.
    pub cache_read_input_tokens: u64,
}

/// What a session's calls have used since it was opened. Clones are the same meter.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Mutex<BTreeMap<String, Total>>>);

impl Meter {
    /// Counts one call of `model`.
    pub fn count(&self, model: &str, usage: &Usage) {
        let mut totals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !totals.contains_key(model) {
            totals.insert(model.to_string(), Total::default());
        }
        if let Some(total) = totals.get_mut(model) {
            total.calls += 1;
            total.input_tokens += usage.input_tokens as u64;
            total.output_tokens += usage.output_tokens as u64;
            total.cache_read_input_tokens += usage.cache_read_input_tokens as u64;
        }
    }

    /// What was used, by model.
    pub fn totals(&self) -> BTreeMap<String, Total> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
