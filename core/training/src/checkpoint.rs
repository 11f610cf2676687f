//! A trainer written down between two steps, and taken up again.
//!
//! A header of JSON behind its length, and then the trained weights, the optimiser's means and
//! squares, and the best weights where they are kept, as little-endian floats.

use outcrop_api::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::random::mixed;
use crate::trainable::Trainable;
use crate::trainer::{Progress, Trainer};

#[derive(Serialize, Deserialize)]
struct Header {
    /// What must be the same where training goes on.
    job: String,
    progress: Progress,
    optimizer_step: u32,
    weights: usize,
    has_best: bool,
}

impl<M: Trainable> Trainer<M> {
    /// The trainer as it is, to be taken up by [`Trainer::resume`].
    pub fn checkpoint(&self) -> Vec<u8> {
        let values = &self.model.trained_parameters().values;
        let header = Header {
            job: self.job(),
            progress: self.progress,
            optimizer_step: self.optimizer.step,
            weights: values.len(),
            has_best: self.best.is_some(),
        };
        let header = json!(header).to_string();
        let mut bytes = Vec::with_capacity(8 + header.len() + 16 * values.len());
        bytes.extend((header.len() as u64).to_le_bytes());
        bytes.extend(header.as_bytes());
        let parts = [values, &self.optimizer.means, &self.optimizer.squares];
        for part in parts.into_iter().chain(&self.best) {
            bytes.extend(part.iter().flat_map(|value| value.to_le_bytes()));
        }
        bytes
    }

    /// Goes on where `checkpoint` was written: the next step is the very same as it was there.
    ///
    /// # Errors
    /// `ValidationException` where the bytes are no checkpoint, or one of another model, other options
    /// or other examples.
    pub fn resume(&mut self, checkpoint: &[u8]) -> Result<()> {
        let wrong = |what: &str| Error::validation(format!("checkpoint: {what}"));
        let (length, rest) = checkpoint
            .split_first_chunk::<8>()
            .ok_or_else(|| wrong("expected a header"))?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok();
        let (header, mut rest) = length
            .and_then(|length| rest.split_at_checked(length))
            .ok_or_else(|| wrong("expected a header"))?;
        let header: Header =
            serde_json::from_slice(header).map_err(|error| wrong(&error.to_string()))?;
        let job = self.job();
        if header.job != job {
            return Err(wrong(&format!(
                "expected one of the job {job}, got {}",
                header.job
            )));
        }
        let (count, parts) = (self.gradient_count(), 3 + usize::from(header.has_best));
        if header.weights != count || rest.len() != 4 * parts * count {
            let got = rest.len();
            return Err(wrong(&format!(
                "expected {} bytes, got {got}",
                4 * parts * count
            )));
        }
        let mut read = |values: &mut [f32]| {
            let (own, others) = rest.split_at(4 * values.len());
            for (value, bytes) in values.iter_mut().zip(own.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*bytes);
            }
            rest = others;
        };
        read(self.model.trained_values());
        read(&mut self.optimizer.means);
        read(&mut self.optimizer.squares);
        self.best = header.has_best.then(|| vec![0.0; count]);
        self.best.iter_mut().for_each(|best| read(best));
        self.optimizer.step = header.optimizer_step;
        self.progress = header.progress;
        Ok(())
    }

    fn gradient_count(&self) -> usize {
        self.model.trained_parameters().values.len()
    }

    /// A number of what must not change between two runs of one job.
    fn job(&self) -> String {
        let mut state = 0;
        let mut add = |value: u64| state = mixed(state ^ mixed(value));
        json!(self.options)
            .to_string()
            .bytes()
            .for_each(|byte| add(u64::from(byte)));
        for example in &self.examples {
            M::digest(example, &mut add);
        }
        for tensor in &self.model.trained_parameters().tensors {
            tensor.name.bytes().for_each(|byte| add(u64::from(byte)));
            add(tensor.range.end as u64);
        }
        format!("{state:016x}")
    }
}
