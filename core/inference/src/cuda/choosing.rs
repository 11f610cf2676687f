//! Tokens chosen on a device by the logits there: only they, and log-probabilities, come back.

use outcrop_api::TokenLogprobs;
use outcrop_tensor::cuda::{
    Buffer, Choices, CudaError, Device, LogprobRow, MOST_LOGPROBS, NO_MASK, Pinned, SampleRow,
    View, logprobs, sample,
};

use crate::step::{Choice, ChosenToken};

/// Room for choices, on the device and in pinned memory beside it.
#[derive(Debug)]
pub(super) struct ChoiceRoom {
    vocabulary: usize,
    rows: Mirror<SampleRow>,
    /// What rows need many of: the tokens that a penalty counts, masks.
    words: Mirror<u32>,
    tokens: Mirror<i32>,
    logprobs: Mirror<LogprobRow>,
    work: Buffer<u32>,
}

/// A buffer with as much pinned memory.
#[derive(Debug)]
struct Mirror<T: outcrop_tensor::cuda::Element> {
    host: Pinned<T>,
    device: Buffer<T>,
}

impl<T: outcrop_tensor::cuda::Element> Mirror<T> {
    fn new(device: &Device, len: usize) -> Result<Self, CudaError> {
        Ok(Self {
            host: Pinned::zeroed(device, len)?,
            device: Buffer::zeroed(device, len)?,
        })
    }
}

impl ChoiceRoom {
    /// Room for `rows` choices of a vocabulary, each with a mask.
    pub fn new(device: &Device, rows: usize, vocabulary: usize) -> Result<Self, CudaError> {
        Ok(Self {
            vocabulary,
            rows: Mirror::new(device, rows)?,
            words: Mirror::new(device, rows * vocabulary.div_ceil(32))?,
            tokens: Mirror::new(device, rows)?,
            logprobs: Mirror::new(device, rows)?,
            work: Buffer::zeroed(device, rows * vocabulary)?,
        })
    }

    /// Whether there is room for `choices`.
    pub fn holds(&self, choices: &[Choice<'_>]) -> bool {
        choices.len() <= self.rows.device.len() && self.words(choices) <= self.words.device.len()
    }

    /// Makes room for `choices`. What knew the buffers is to forget them.
    pub fn grow(&mut self, device: &Device, choices: &[Choice<'_>]) -> Result<(), CudaError> {
        let words = self.words(choices).max(self.words.device.len());
        if choices.len() > self.rows.device.len() {
            *self = Self::new(device, choices.len(), self.vocabulary)?;
        }
        if words > self.words.device.len() {
            self.words = Mirror::new(device, words.next_power_of_two())?;
        }
        Ok(())
    }

    fn words(&self, choices: &[Choice<'_>]) -> usize {
        let mask = self.vocabulary.div_ceil(32);
        let of =
            |choice: &Choice<'_>| choice.tokens.len() + choice.allowed.as_ref().map_or(0, |_| mask);
        choices.iter().map(of).sum()
    }

    /// Sends the numbers of `choices` to the device. The last ones were used.
    pub fn send(&mut self, choices: &[Choice<'_>]) -> Result<(), CudaError> {
        if choices.is_empty() {
            return Ok(());
        }
        let mask = self.vocabulary.div_ceil(32);
        let (rows, words) = (
            self.rows.host.as_mut_slice(),
            self.words.host.as_mut_slice(),
        );
        let mut at = 0;
        for (row, choice) in rows.iter_mut().zip(choices) {
            let tokens = at;
            words[at..at + choice.tokens.len()].copy_from_slice(&choice.tokens);
            at += choice.tokens.len();
            let mut allowed = NO_MASK;
            if let Some(bits) = &choice.allowed {
                allowed = at as u32;
                let own = &mut words[at..at + mask];
                // Ids behind the last word are not allowed, and none is beyond the vocabulary.
                let known = bits.len().min(mask);
                own[..known].copy_from_slice(&bits[..known]);
                own[known..].fill(0);
                at += mask;
            }
            let draw = choice.draw;
            *row = SampleRow {
                point: draw.point,
                row: choice.row as u32,
                tokens: tokens as u32,
                token_count: choice.tokens.len() as u32,
                allowed,
                given: choice.given.map_or(-1, |id| id as i32),
                logprobs: choice.logprobs.map_or(0, |top| top as u32 + 1),
                top_k: draw
                    .top_k
                    .map_or(0, |k| u32::try_from(k).unwrap_or(u32::MAX)),
                penalty: draw.repetition_penalty,
                temperature: draw.temperature,
                top_p: draw.top_p,
                min_p: draw.min_p,
                reserved: 0,
            };
        }
        self.rows
            .device
            .write_later(&self.rows.host, choices.len())?;
        match at {
            0 => Ok(()),
            len => self.words.device.write_later(&self.words.host, len),
        }
    }

    /// Launches the first `count` choices by `logits`.
    pub fn choose(
        &mut self,
        device: &Device,
        logits: View<'_, f32>,
        count: usize,
    ) -> Result<(), CudaError> {
        let choices = Choices {
            logits,
            vocabulary: self.vocabulary,
            rows: &self.rows.device,
            count,
        };
        let words = self.words.device.view();
        let (work, tokens) = (self.work.view_mut(), self.tokens.device.view_mut());
        sample(device, choices, words, work, tokens)
    }

    /// Brings what was chosen back, once the device comes to it, with the log-probabilities that
    /// `choices` ask for.
    pub fn bring(
        &mut self,
        device: &Device,
        logits: View<'_, f32>,
        choices: &[Choice<'_>],
    ) -> Result<(), CudaError> {
        let count = choices.len();
        if count == 0 {
            return Ok(());
        }
        if choices.iter().any(|choice| choice.logprobs.is_some()) {
            let Mirror { host, device: own } = &mut self.logprobs;
            let asked = Choices {
                logits,
                vocabulary: self.vocabulary,
                rows: &self.rows.device,
                count,
            };
            logprobs(device, asked, self.tokens.device.view(), own.view_mut())?;
            own.read_later(host, count)?;
        }
        let Mirror { host, device: own } = &mut self.tokens;
        own.read_later(host, count)
    }

    /// What came back.
    pub fn chosen(&self, choices: &[Choice<'_>]) -> Vec<ChosenToken> {
        let tokens = self.tokens.host.as_slice().iter();
        let logprobs = self.logprobs.host.as_slice();
        let rows = choices.iter().zip(tokens).zip(logprobs);
        rows.map(|((choice, &token), row)| {
            let id = u32::try_from(token).ok();
            ChosenToken {
                id,
                logprobs: (id.zip(choice.logprobs)).and_then(|(id, top)| self.told(id, top, row)),
            }
        })
        .collect()
    }

    fn told(&self, id: u32, top: usize, row: &LogprobRow) -> Option<TokenLogprobs> {
        let pairs = row.ids.into_iter().zip(row.logprobs);
        let top = top.min(MOST_LOGPROBS).min(self.vocabulary);
        (!row.chosen.is_nan()).then(|| TokenLogprobs {
            id,
            logprob: row.chosen,
            top: pairs.take(top).collect(),
        })
    }
}
