//! What a model is opened with.

use std::path::PathBuf;

use outcrop_api::{Error, Result, Speculation};
use outcrop_inference::{EncoderOptions, EngineOptions, KvDtype, Precision};
use serde::{Deserialize, Serialize};

/// The option that encoders have and language models have not.
const PRECISION: &str = "precision";

/// What a model is opened with. What is absent is the engine's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct LoadOptions {
    /// Most tokens of one sequence, at least 2, for a decoder. Default: the model's context, or what
    /// the KV cache holds where that is less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_length: Option<usize>,
    /// Tokens that the KV cache holds for all sequences together, for a decoder. Default:
    /// `max_batch` full contexts, or what the default budget of bytes holds where that is less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_tokens: Option<usize>,
    /// The same as a number of bytes: a bound of the KV cache's memory. One of the two at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_bytes: Option<usize>,
    /// How a decoder's keys and values are stored: `f32`, `f16` or `q8_0`. Default `f32`, with
    /// which nothing is rounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_dtype: Option<KvStorage>,
    /// How tokens are guessed ahead where a request does not say, for a decoder. Default: not at
    /// all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speculation: Option<Speculation>,
    /// The model that guesses ahead for [`Speculation::Draft`], by any name that opens it: a small
    /// one of the same vocabulary. It must be on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft: Option<String>,
    /// Most sequences in flight, at least 1, for a decoder. Default 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_batch: Option<usize>,
    /// How an embedding or reranking encoder multiplies: `f32` or `int8`. Default `f32`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
}

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvStorage {
    /// As they were computed: 4 bytes an element.
    F32,
    /// Halves: 2 bytes an element.
    F16,
    /// Blocks of 32 bytes with a scale: 1.0625 bytes an element.
    Q8_0,
}

impl KvStorage {
    fn dtype(self) -> KvDtype {
        match self {
            Self::F32 => KvDtype::F32,
            Self::F16 => KvDtype::F16,
            Self::Q8_0 => KvDtype::Q8_0,
        }
    }
}

impl LoadOptions {
    /// How an encoder is loaded.
    pub(crate) fn encoder(&self) -> EncoderOptions {
        EncoderOptions {
            precision: self.precision.unwrap_or_default(),
            ..EncoderOptions::default()
        }
    }

    /// The bounds of a decoder's engine.
    pub(crate) fn engine(&self) -> EngineOptions {
        let mut engine = EngineOptions {
            context_length: self.context_length,
            kv_tokens: self.kv_tokens,
            kv_bytes: self.kv_bytes,
            ..EngineOptions::default()
        };
        engine.kv_dtype = self.kv_dtype.map_or(engine.kv_dtype, KvStorage::dtype);
        engine.speculation = self.speculation.unwrap_or(engine.speculation);
        engine.draft = self.draft.clone().map(PathBuf::from);
        engine.max_batch = self.max_batch.unwrap_or(engine.max_batch);
        engine
    }

    /// Refuses what a model that is no decoder does not follow; `what` says what it is.
    ///
    /// # Errors
    /// `ValidationException` that names the first option that is set.
    pub(crate) fn refuse_decoder_options(&self, id: &str, what: &str) -> Result<()> {
        let stated = self.stated()?;
        match stated.iter().find(|(name, _)| name != PRECISION) {
            None => Ok(()),
            Some((name, value)) => Err(Error::validation(format!(
                "{name}: model {id} {what}, and this is an option of language models; expected \
                 none, got {value}"
            ))
            .with_resource(id)),
        }
    }

    /// Refuses whatever is set, for a model that has no weights.
    ///
    /// # Errors
    /// `ValidationException` that names the first option that is set.
    pub(crate) fn refuse_all(&self, id: &str) -> Result<()> {
        match self.stated()?.first() {
            None => Ok(()),
            Some((name, value)) => Err(Error::validation(format!(
                "{name}: model {id} is declared as data and has no weights to load; expected none, \
                 got {value}"
            ))
            .with_resource(id)),
        }
    }

    /// Refuses what a decoder does not follow.
    ///
    /// # Errors
    /// `ValidationException` where a precision is set.
    pub(crate) fn refuse_encoder_options(&self, id: &str) -> Result<()> {
        match self.precision {
            None => Ok(()),
            Some(_) => Err(Error::validation(format!(
                "{PRECISION}: model {id} is a language model, which multiplies as its weights are \
                 stored, and this is an option of embedding and reranking models; expected none"
            ))
            .with_resource(id)),
        }
    }

    /// Refuses these options for a model that is open with `open` already: what is stated here must
    /// be what was stated there.
    ///
    /// # Errors
    /// `ConflictException` that names the option and both values.
    pub(crate) fn check_against(&self, open: &LoadOptions, id: &str) -> Result<()> {
        let theirs = open.stated()?;
        for (name, value) in self.stated()? {
            let other = theirs.iter().find(|(other, _)| *other == name);
            if other.is_none_or(|(_, other)| *other != value) {
                let with = other.map_or("the default", |(_, other)| other);
                return Err(Error::conflict(format!(
                    "{name}: model {id} is open in this session with {with}, and {value} is asked \
                     for; open it with other options in a session of its own"
                ))
                .with_resource(id));
            }
        }
        Ok(())
    }

    /// The options that are set, by the names that callers write.
    fn stated(&self) -> Result<Vec<(String, String)>> {
        let value = serde_json::to_value(self)
            .map_err(|error| Error::internal(format!("loading options: {error}")))?;
        let members = value.as_object().into_iter().flatten();
        Ok(members
            .map(|(name, value)| (snake_case(name), value.to_string()))
            .collect())
    }
}

/// `contextLength` as `context_length`.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_conflict_names_the_option_and_both_values() {
        let open = LoadOptions {
            context_length: Some(64),
            ..LoadOptions::default()
        };
        let asked = |context_length, max_batch| LoadOptions {
            context_length,
            max_batch,
            ..LoadOptions::default()
        };
        assert!(asked(None, None).check_against(&open, "m").is_ok());
        assert!(asked(Some(64), None).check_against(&open, "m").is_ok());
        let message = |asked: LoadOptions| {
            let error = asked.check_against(&open, "m").unwrap_err();
            assert_eq!(error.kind(), outcrop_api::ErrorKind::ConflictException);
            error.message().to_string()
        };
        let other = message(asked(Some(32), None));
        assert!(
            other.starts_with("context_length: model m is open in this session with 64, and 32"),
            "{other}"
        );
        let unstated = message(asked(None, Some(4)));
        assert!(
            unstated.contains("max_batch: model m is open in this session with the default, and 4"),
            "{unstated}"
        );
    }
}
