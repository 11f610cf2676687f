//! How a sequence is served: its adapter, its place in the queue, how its tokens are guessed.

use std::sync::Arc;

use outcrop_api::{Error, Result, Scheduling, Speculation};

use super::Engine;
use crate::lora::Adapter;
use crate::sequence::Sequence;

/// How a sequence is served, whatever it is for.
pub(super) struct Place {
    adapter: Option<Arc<Adapter>>,
    scheduling: Scheduling,
    speculation: Speculation,
}

impl Place {
    pub(super) fn new(
        engine: &Engine,
        adapter: Option<&str>,
        scheduling: Scheduling,
        speculation: Option<Speculation>,
    ) -> Result<Self> {
        let speculation = speculation.unwrap_or(engine.shared.speculation);
        if speculation == Speculation::Draft && !engine.shared.has_draft {
            return Err(Error::validation(format!(
                "speculation: expected off or prompt_lookup, got draft: model {} was opened without a draft model",
                engine.shared.id
            )));
        }
        Ok(Self {
            speculation,
            adapter: engine.shared.adapters.get(adapter)?,
            scheduling,
        })
    }

    pub(super) fn apply(self, sequence: Sequence) -> Sequence {
        sequence
            .with_adapter(self.adapter)
            .scheduled(self.scheduling)
            .with_speculation(self.speculation)
    }
}
