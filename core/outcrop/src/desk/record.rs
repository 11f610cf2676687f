//! The open record of a call.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use outcrop_api::{Error, ErrorKind, Result, Usage};
use outcrop_governance::{Admission, AuditRecord, Meter, Outcome, Trail};
use serde_json::Value;

use super::bodies::Bodies;

/// The record of a call that runs. Clones are the same record. It is written once: when the call is
/// closed, or as cancelled when the last clone goes before that.
#[derive(Clone)]
pub struct Record(Arc<Open>);

struct Open {
    state: Mutex<State>,
    started: Instant,
    trail: Trail,
    meter: Meter,
}

struct State {
    /// Taken when it is written.
    record: Option<AuditRecord>,
    /// What is done with the bodies; none where they are dropped.
    bodies: Option<Bodies>,
    /// The place among the calls in flight.
    admission: Option<Admission>,
    model: Option<String>,
}

/// A fresh id of a request, a version 4 UUID.
pub fn request_id() -> String {
    let bits = fastrand::u128(..);
    let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let (a, b, c, d, e) = (
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    );
    format!("{a}-{b}-{c}-{d}-{e}")
}

impl Record {
    pub(super) fn new(
        record: AuditRecord,
        bodies: Option<Bodies>,
        trail: Trail,
        meter: Meter,
    ) -> Self {
        let state = State {
            record: Some(record),
            bodies,
            admission: None,
            model: None,
        };
        Self(Arc::new(Open {
            state: Mutex::new(state),
            started: Instant::now(),
            trail,
            meter,
        }))
    }

    /// The id of the call, as its caller is told it.
    pub(crate) fn request_id(&self) -> String {
        let state = self.state();
        let id = state
            .record
            .as_ref()
            .map(|record| record.request_id.clone());
        id.unwrap_or_default()
    }

    /// Notes a resource of the call, by its id or ARN.
    pub fn resource(&self, resource: impl Into<String>) {
        let resource = resource.into();
        self.note(|record| {
            if !record.resources.contains(&resource) {
                record.resources.push(resource);
            }
        });
    }

    /// Notes the model that runs: what an alias stands for, not the alias.
    pub fn model(&self, id: impl Into<String>) {
        let id = id.into();
        self.state().model = Some(id.clone());
        self.note(|record| record.model = Some(id));
    }

    /// Notes tokens that were read and made, besides those noted before.
    pub fn usage(&self, usage: &Usage) {
        self.note(|record| {
            let sum = record.usage.get_or_insert_with(Usage::default);
            sum.input_tokens += usage.input_tokens;
            sum.output_tokens += usage.output_tokens;
            sum.total_tokens += usage.total_tokens;
            sum.cache_read_input_tokens += usage.cache_read_input_tokens;
            sum.cache_write_input_tokens += usage.cache_write_input_tokens;
        });
    }

    /// Notes a further fact of the call, such as a router's choice.
    pub fn fact(&self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        self.note(|record| {
            record.facts.insert(name.into(), value);
        });
    }

    /// Whether the bodies of the call are to be kept.
    pub fn keeps_bodies(&self) -> bool {
        self.state().bodies.is_some()
    }

    /// Notes what the call was asked with, where the bodies are to be kept.
    pub fn request(&self, request: impl FnOnce() -> Value) {
        if self.keeps_bodies() {
            let request = request();
            self.note(|record| record.request = request);
        }
    }

    /// Notes what the call answers, where the bodies are to be kept.
    pub fn response(&self, response: impl FnOnce() -> Value) {
        if self.keeps_bodies() {
            let response = response();
            self.note(|record| record.response = Some(response));
        }
    }

    /// Runs `work` as the call, which ends with it.
    ///
    /// # Errors
    /// Those of `work`; `InternalServerException` where the record cannot be written.
    pub async fn run<T>(self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let result = work.await;
        self.close(result.as_ref().err())?;
        result
    }

    /// Ends the call, which failed where there is an error: its record is written and its usage
    /// counted. Ending it again does nothing.
    ///
    /// # Errors
    /// `InternalServerException` where the record cannot be written.
    pub fn close(&self, error: Option<&Error>) -> Result<()> {
        self.0.end(match error {
            None => Outcome::Success,
            Some(error) if error.kind() == ErrorKind::CancelledException => Outcome::Cancelled,
            Some(error) => Outcome::Failure(error),
        })
    }

    /// The model that ran, where one did.
    pub(super) fn model_that_ran(&self) -> Option<String> {
        self.state().model.clone()
    }

    /// Tokens that were noted until now.
    pub(super) fn usage_so_far(&self) -> Option<Usage> {
        self.state().record.as_ref().and_then(|record| record.usage)
    }

    /// Milliseconds since the call.
    pub(super) fn elapsed_ms(&self) -> u64 {
        self.0.started.elapsed().as_millis() as u64
    }

    pub(super) fn admitted(&self, admission: Admission) {
        self.state().admission = Some(admission);
    }

    fn note(&self, change: impl FnOnce(&mut AuditRecord)) {
        if let Some(record) = self.state().record.as_mut() {
            change(record);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state()
    }
}

impl Open {
    fn state(&self) -> MutexGuard<'_, State> {
        // Only notes are taken under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, outcome: Outcome<'_>) -> Result<()> {
        let (record, admission, bodies) = {
            let mut state = self.state();
            (
                state.record.take(),
                state.admission.take(),
                state.bodies.take(),
            )
        };
        drop(admission);
        let Some(record) = record else {
            return Ok(());
        };
        if let Some(model) = &record.model {
            self.meter.count(model, &record.usage.unwrap_or_default());
        }
        let latency_ms = self.started.elapsed().as_millis() as u64;
        let delivered = bodies.and_then(|bodies| bodies.delivered);
        self.trail
            .ended(&record, latency_ms, outcome, delivered.as_ref())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // Nobody is left to be told of a full disk.
        let _ = self.end(Outcome::Cancelled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_version_four() {
        let id = request_id();
        assert_eq!(id.len(), 36);
        assert_eq!(&id[14..15], "4");
        assert!("89ab".contains(&id[19..20]), "{id}");
        assert_ne!(id, request_id());
    }
}
