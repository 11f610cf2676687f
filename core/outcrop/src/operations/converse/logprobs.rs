//! Log-probabilities of an answer's tokens, as OpenAI's API tells them.

use outcrop_api::{Result, TokenLogprobs};
use outcrop_models::Model;
use serde_json::{Value, json};

/// What stands for the log-probability of a token that cannot come.
const IMPOSSIBLE: f32 = -9999.0;

/// One entry a token: its text, bytes and log-probability, and those of the most likely ones.
///
/// # Errors
/// `ValidationException` for a model without a tokenizer.
pub(super) fn told(model: &Model, logprobs: &[TokenLogprobs]) -> Result<Value> {
    let tokens = logprobs.iter().map(|token| {
        let top = token
            .top
            .iter()
            .map(|(id, logprob)| entry(model, *id, *logprob));
        let mut told = entry(model, token.id, token.logprob)?;
        told["top_logprobs"] = top.collect::<Result<Value>>()?;
        Ok(told)
    });
    tokens.collect()
}

fn entry(model: &Model, id: u32, logprob: f32) -> Result<Value> {
    let text = model.tokenizer()?.decode(&[id], false)?;
    // The bytes of a part of a character do not show in its text.
    let bytes = (!text.contains('\u{FFFD}')).then(|| text.as_bytes().to_vec());
    let logprob = if logprob.is_finite() {
        logprob
    } else {
        IMPOSSIBLE
    };
    Ok(json!({"token": text, "logprob": logprob, "bytes": bytes}))
}
