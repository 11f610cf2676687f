//! The tokens that a GGUF file's metadata list.

use std::collections::BTreeMap;
use std::path::Path;

use tokenizers::AddedToken;
use tokenizers::models::bpe::Vocab;

use crate::weights::{GgufValue, WeightsError};

/// Token types of `tokenizer.ggml.token_type`, as llama.cpp numbers them.
pub(super) const CONTROL: i64 = 3;
pub(super) const USER_DEFINED: i64 = 4;
pub(super) const UNUSED: i64 = 5;
pub(super) const BYTE: i64 = 6;

/// Tokens that end a chat's turn in one family or another, by their text: files of older converters
/// name the end of a document only.
const TURN_ENDS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|return|>",
];

/// What ends GPT-OSS's turn, beside its other end, where it calls a tool.
const CALL_END: &str = "<|call|>";

/// The tokens of a GGUF file with their types.
pub(super) struct Vocabulary<'a> {
    pub file: &'a Path,
    metadata: &'a BTreeMap<String, GgufValue>,
    pub tokens: &'a [String],
    pub types: Vec<i64>,
}

impl<'a> Vocabulary<'a> {
    pub fn read(
        file: &'a Path,
        metadata: &'a BTreeMap<String, GgufValue>,
    ) -> Result<Self, WeightsError> {
        let mut vocabulary = Self {
            file,
            metadata,
            tokens: &[],
            types: Vec::new(),
        };
        vocabulary.tokens = metadata
            .get("tokenizer.ggml.tokens")
            .and_then(GgufValue::as_strings)
            .ok_or_else(|| vocabulary.corrupt("tokens", "expected an array of texts"))?;
        let count = vocabulary.tokens.len();
        vocabulary.types = match vocabulary.get("token_type") {
            None => vec![1; count],
            Some(types) => types
                .to_integers()
                .filter(|types| types.len() == count)
                .ok_or_else(|| {
                    vocabulary.corrupt(
                        "token_type",
                        &format!("expected {count} integers, one a token"),
                    )
                })?,
        };
        Ok(vocabulary)
    }

    pub fn get(&self, key: &str) -> Option<&'a GgufValue> {
        self.metadata.get(&format!("tokenizer.ggml.{key}"))
    }

    pub fn corrupt(&self, key: &str, detail: &str) -> WeightsError {
        WeightsError::corrupt(self.file, format!("tokenizer.ggml.{key}: {detail}"))
    }

    pub fn text(&self, key: &str) -> Result<&'a str, WeightsError> {
        self.get(key)
            .and_then(GgufValue::as_str)
            .ok_or_else(|| self.corrupt(key, "expected text"))
    }

    pub fn flag(&self, key: &str, default: bool) -> Result<bool, WeightsError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| self.corrupt(key, &format!("expected a bool, got {value}"))),
        }
    }

    /// The id that a key names, which must be a token's.
    pub fn id(&self, key: &str) -> Result<Option<u32>, WeightsError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let id = value.as_u64().filter(|&id| id < self.tokens.len() as u64);
        match id.and_then(|id| u32::try_from(id).ok()) {
            Some(id) => Ok(Some(id)),
            None => Err(self.corrupt(
                key,
                &format!(
                    "expected a token's id below {}, got {value}",
                    self.tokens.len()
                ),
            )),
        }
    }

    /// The control tokens whose text is known to end a turn, where none of `named` does.
    pub fn turn_ends(&self, named: &[u32]) -> Vec<u32> {
        let ends = |id: u32| TURN_ENDS.contains(&self.tokens[id as usize].as_str());
        let is_named = named.iter().any(|id| ends(*id));
        let controls = (0u32..)
            .zip(&self.types)
            .filter(|(_, kind)| **kind == CONTROL);
        let controls = controls.map(|(id, _)| id);
        controls
            .filter(|id| !named.contains(id))
            .filter(|id| self.tokens[*id as usize] == CALL_END || !is_named && ends(*id))
            .collect()
    }

    /// Each token with its id. Rows that only pad the vocabulary are no tokens.
    pub fn ids(&self) -> Vocab {
        let mut ids = Vocab::with_capacity(self.tokens.len());
        for (id, token) in self.tokens.iter().enumerate() {
            let pads = self.types[id] == UNUSED && *token == format!("[PAD{id}]");
            if !pads && !ids.contains_key(token) {
                ids.insert(token.clone(), id as u32);
            }
        }
        ids
    }

    /// The tokens that are matched before the text is split: control and user-defined ones. The
    /// former, and a SentencePiece unknown token (type 2), are special.
    pub fn added_tokens(&self) -> Vec<AddedToken> {
        let added = self.tokens.iter().zip(&self.types);
        added
            .filter(|(token, kind)| {
                matches!(**kind, 2 | CONTROL | USER_DEFINED) && !token.is_empty()
            })
            .map(|(token, kind)| {
                AddedToken::from(token.as_str(), *kind != USER_DEFINED).normalized(false)
            })
            .collect()
    }

    /// A special token of an encoder: the first of `keys` that names one, or the token `text`.
    pub fn edge(&self, keys: &[&str], text: &str) -> Result<Option<u32>, WeightsError> {
        for key in keys {
            if let Some(id) = self.id(key)? {
                return Ok(Some(id));
            }
        }
        let place = self.tokens.iter().position(|token| token == text);
        Ok(place.and_then(|id| u32::try_from(id).ok()))
    }

    /// The score of each token.
    pub fn scores(&self) -> Result<Vec<f32>, WeightsError> {
        let scores = self
            .get("scores")
            .and_then(GgufValue::to_f32s)
            .ok_or_else(|| self.corrupt("scores", "expected an array of numbers"))?;
        let count = self.tokens.len();
        match scores.len() == count {
            true => Ok(scores),
            false => {
                let got = scores.len();
                let detail = format!("expected {count} scores, one a token, got {got}");
                Err(self.corrupt("scores", &detail))
            }
        }
    }
}
