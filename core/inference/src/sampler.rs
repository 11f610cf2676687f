//! Chooses the next token from a row of logits.
//!
//! The filters stand in the order of transformers' `generate`: repetition penalty, temperature,
//! top_k, top_p, min_p. Where tokens are equally likely the lower id comes first, so that the
//! filters and the choice are defined for every input. Randomness is a function of the seed and
//! the token's position: no state, so neighbours and interruptions cannot change it.

use std::cmp::Ordering;

use outcrop_api::{Error, InferenceConfig, Result};

use crate::logprobs::MAX_LOGPROBS;

/// Most stop sequences of one request.
const MAX_STOP_SEQUENCES: usize = 16;

/// Candidates that nucleus sampling sorts first; it goes on to more where these do not reach `top_p`.
const FIRST_CANDIDATES: usize = 128;

/// How the next token is chosen, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampler {
    temperature: f32,
    top_k: Option<usize>,
    top_p: f32,
    min_p: f32,
    repetition_penalty: f32,
    seed: u64,
}

/// The numbers that a token is chosen by at a position, for a device that chooses as
/// [`Sampler::sample`] does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Draw {
    /// Divides the logits; 0 takes the most likely token.
    pub temperature: f32,
    /// Keeps the most likely so many; `None`: all.
    pub top_k: Option<usize>,
    /// Keeps the most likely whose probability reaches it; 1: all.
    pub top_p: f32,
    /// Keeps those at least this part as likely as the most likely; 0: all.
    pub min_p: f32,
    /// Makes tokens that occurred less likely; 1: none.
    pub repetition_penalty: f32,
    /// Where in the running sum of what is left, in [0, 1).
    pub point: f64,
}

/// Room that the sampler fills anew for each token.
#[derive(Debug, Default)]
pub struct SamplerScratch {
    logits: Vec<f32>,
    candidates: Vec<Candidate>,
}

/// A token with its weight: its probability up to a common factor, the most likely one's being 1.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Candidate {
    id: u32,
    weight: f32,
}

impl Candidate {
    /// More likely first, then the lower id.
    fn order(&self, other: &Self) -> Ordering {
        other
            .weight
            .total_cmp(&self.weight)
            .then(self.id.cmp(&other.id))
    }
}

/// Checks the fields of `config` that do not depend on a model.
///
/// # Errors
/// `ValidationException` naming the field, what was expected and what came.
pub fn validate(config: &InferenceConfig) -> Result<()> {
    fn check<T: std::fmt::Display + Copy>(
        name: &str,
        value: Option<T>,
        expected: &str,
        is_right: impl Fn(T) -> bool,
    ) -> Result<()> {
        match value {
            Some(value) if !is_right(value) => Err(Error::validation(format!(
                "{name}: expected {expected}, got {value}"
            ))),
            _ => Ok(()),
        }
    }
    check("max_tokens", config.max_tokens, "at least 1", |n| n >= 1)?;
    check("temperature", config.temperature, "0 or more", |t: f32| {
        t >= 0.0 && t.is_finite()
    })?;
    check("top_p", config.top_p, "above 0 and up to 1", |p| {
        p > 0.0 && p <= 1.0
    })?;
    check("top_k", config.top_k, "at least 1", |k| k >= 1)?;
    check("min_p", config.min_p, "0..=1", |p| (0.0..=1.0).contains(&p))?;
    check(
        "repetition_penalty",
        config.repetition_penalty,
        "above 0",
        |p: f32| p > 0.0 && p.is_finite(),
    )?;
    check("logprobs", config.logprobs, "0 to 20", |n| {
        n <= MAX_LOGPROBS
    })?;
    let stops = config.stop_sequences.len();
    check("stop_sequences", Some(stops), "at most 16 of them", |n| {
        n <= MAX_STOP_SEQUENCES
    })?;
    if let Some(index) = config.stop_sequences.iter().position(String::is_empty) {
        return Err(Error::validation(format!(
            "stop_sequences[{index}]: expected a text of at least one character, got \"\""
        )));
    }
    Ok(())
}

impl Sampler {
    /// The sampler of a request; what the request leaves out takes [`InferenceConfig`]'s defaults.
    ///
    /// # Errors
    /// As [`validate`].
    pub fn new(config: &InferenceConfig) -> Result<Self> {
        validate(config)?;
        Ok(Self {
            temperature: config.temperature.unwrap_or(0.0),
            top_k: config.top_k,
            top_p: config.top_p.unwrap_or(1.0),
            min_p: config.min_p.unwrap_or(0.0),
            repetition_penalty: config.repetition_penalty.unwrap_or(1.0),
            seed: config.seed.unwrap_or(0),
        })
    }

    /// The token that follows `tokens` (prompt and output so far), by `logits`, one a token of the
    /// vocabulary. With `allowed` it is one of the tokens whose bit is set, `id % 32` of word
    /// `id / 32`, and the filters count among these.
    ///
    /// # Errors
    /// `ModelErrorException` for logits that are not numbers.
    pub fn sample(
        &self,
        logits: &[f32],
        tokens: &[u32],
        allowed: Option<&[u32]>,
        scratch: &mut SamplerScratch,
    ) -> Result<u32> {
        let SamplerScratch {
            logits: penalised,
            candidates,
        } = scratch;
        let logits = if self.penalises() {
            penalised.clear();
            penalised.extend_from_slice(logits);
            self.penalise(logits, tokens, penalised);
            penalised
        } else {
            logits
        };
        match allowed {
            None => {
                let all = (0..).zip(logits.iter().copied());
                self.choose(all, tokens.len(), candidates)
            }
            Some(allowed) => {
                let among = set_bits(allowed)
                    .filter_map(|id| logits.get(id as usize).map(|logit| (id, *logit)));
                self.choose(among, tokens.len(), candidates)
            }
        }
    }

    /// Whether a token's chances depend on those that occurred.
    pub(crate) fn penalises(&self) -> bool {
        self.repetition_penalty != 1.0
    }

    /// What the token at `position` is chosen by.
    pub(crate) fn draw_at(&self, position: usize) -> Draw {
        Draw {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            point: uniform(self.seed, position as u64),
        }
    }

    /// Chooses among tokens with their logits, in the order of their ids, for `position`.
    fn choose(
        &self,
        logits: impl Iterator<Item = (u32, f32)> + Clone,
        position: usize,
        candidates: &mut Vec<Candidate>,
    ) -> Result<u32> {
        let (best, max) = most_likely(logits.clone())?;
        if self.temperature == 0.0 {
            return Ok(best);
        }
        candidates.clear();
        candidates.extend(logits.filter_map(|(id, logit)| {
            let weight = ((logit - max) / self.temperature).exp();
            (weight > 0.0).then_some(Candidate { id, weight })
        }));
        self.keep_top_k(candidates);
        self.keep_top_p(candidates);
        if self.min_p > 0.0 {
            candidates.retain(|c| c.weight >= self.min_p);
        }
        Ok(draw(candidates, uniform(self.seed, position as u64)).unwrap_or(best))
    }

    /// Makes tokens that occurred less likely (arXiv:1909.05858).
    fn penalise(&self, logits: &[f32], tokens: &[u32], penalised: &mut [f32]) {
        for &token in tokens {
            // From the untouched row, so that a token that occurred twice is penalised once.
            if let (Some(&logit), Some(out)) = (
                logits.get(token as usize),
                penalised.get_mut(token as usize),
            ) {
                *out = if logit < 0.0 {
                    logit * self.repetition_penalty
                } else {
                    logit / self.repetition_penalty
                };
            }
        }
    }

    /// Keeps the `top_k` most likely.
    fn keep_top_k(&self, candidates: &mut Vec<Candidate>) {
        if let Some(k) = self.top_k.filter(|k| *k < candidates.len()) {
            candidates.select_nth_unstable_by(k - 1, Candidate::order);
            candidates.truncate(k);
        }
        // The order that selection leaves is not defined; sums and the draw go by this one.
        if self.top_k.is_some() {
            candidates.sort_unstable_by(Candidate::order);
        }
    }

    /// Keeps the smallest set of most likely tokens whose probability reaches `top_p`.
    fn keep_top_p(&self, candidates: &mut Vec<Candidate>) {
        if self.top_p >= 1.0 {
            return;
        }
        let total: f64 = candidates.iter().map(|c| f64::from(c.weight)).sum();
        let wanted = total * f64::from(self.top_p);
        let mut sorted = FIRST_CANDIDATES.min(candidates.len());
        loop {
            if sorted < candidates.len() {
                candidates.select_nth_unstable_by(sorted - 1, Candidate::order);
            }
            candidates[..sorted].sort_unstable_by(Candidate::order);
            let mut sum = 0.0;
            let reached = candidates[..sorted].iter().position(|c| {
                sum += f64::from(c.weight);
                sum >= wanted
            });
            match reached {
                Some(last) => return candidates.truncate(last + 1),
                None if sorted == candidates.len() => return,
                None => sorted = (sorted * 8).min(candidates.len()),
            }
        }
    }
}

/// The most likely token, the lowest id among equals, with its logit.
fn most_likely(logits: impl Iterator<Item = (u32, f32)>) -> Result<(u32, f32)> {
    let mut best: Option<(u32, f32)> = None;
    for (id, logit) in logits {
        if logit.is_nan() {
            return Err(Error::model(format!(
                "logits: expected numbers, got NaN for token {id}"
            )));
        }
        if best.is_none_or(|(_, max)| logit > max) {
            best = Some((id, logit));
        }
    }
    match best {
        Some((id, max)) if max.is_finite() => Ok((id, max)),
        Some((id, max)) => Err(Error::model(format!(
            "logits: expected finite numbers, got {max} for token {id}"
        ))),
        None => Err(Error::model("logits: expected one a token, got none")),
    }
}

/// The numbers of the bits that are set, in order.
fn set_bits(words: &[u32]) -> impl Iterator<Item = u32> + Clone {
    (0u32..).zip(words).flat_map(|(index, &word)| {
        let mut rest = word;
        std::iter::from_fn(move || {
            let bit = rest.trailing_zeros();
            // Clears the lowest set bit; of none it is none.
            rest &= rest.wrapping_sub(1);
            (bit < 32).then_some(index * 32 + bit)
        })
    })
}

/// The candidate in whose share of the whole weight the point `uniform` in [0, 1) lies.
fn draw(candidates: &[Candidate], uniform: f64) -> Option<u32> {
    let total: f64 = candidates.iter().map(|c| f64::from(c.weight)).sum();
    let point = uniform * total;
    let mut sum = 0.0;
    let drawn = candidates.iter().find(|c| {
        sum += f64::from(c.weight);
        sum > point
    });
    drawn.or(candidates.last()).map(|c| c.id)
}

/// A number in [0, 1) that depends on `seed` and `position` only.
fn uniform(seed: u64, position: u64) -> f64 {
    let bits = mix(mix(seed).wrapping_add(position));
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// SplitMix64's step from a counter to a number (Steele, Lea, Flood 2014).
fn mix(counter: u64) -> u64 {
    let z = counter.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
