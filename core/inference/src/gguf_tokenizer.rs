//! The tokenizer that a GGUF file's metadata describe.
//!
//! Two kinds: `gpt2`, byte-level BPE with its merges written out and its pre-tokenizer named, and
//! `llama`, SentencePiece BPE, whose merges follow from the pieces' scores as in transformers'
//! conversion (`convert_slow_tokenizer.generate_merges`).

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::{Map, Value, json};
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::{AddedToken, Tokenizer};

use crate::gguf_pre_tokenizer::PreTokenizer;
use crate::tokenizer::unbroken;
use crate::weights::{GgufValue, WeightsError};

/// Longest SentencePiece piece in bytes; the pieces of real vocabularies stay below 100.
const MAX_PIECE: usize = 512;

/// Most merges for each token; real vocabularies have some 2.
const MAX_MERGES: usize = 16;

/// Token types of `tokenizer.ggml.token_type`, as llama.cpp numbers them.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const UNUSED: i64 = 5;
const BYTE: i64 = 6;

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

/// What the metadata say of a tokenizer.
pub(crate) struct DescribedTokenizer {
    /// The tokenizer.
    pub inner: Tokenizer,
    /// The id that begins a sequence.
    pub bos: Option<u32>,
    /// The ids that end a generation.
    pub eos: Vec<u32>,
}

/// Reads the `tokenizer.ggml.*` keys of `metadata`. `file` is for messages.
///
/// # Errors
/// [`WeightsError`] where a key is missing or contradicts another, or names a kind or a
/// pre-tokenizer that is not known.
pub(crate) fn describe(
    file: &Path,
    metadata: &BTreeMap<String, GgufValue>,
) -> Result<DescribedTokenizer, WeightsError> {
    let vocabulary = Vocabulary::read(file, metadata)?;
    let kind = vocabulary.text("model")?;
    let (pieces, around) = match kind {
        "gpt2" => byte_level(&vocabulary)?,
        "llama" => sentence_piece(&vocabulary)?,
        _ => {
            return Err(WeightsError::Unsupported {
                file: file.to_owned(),
                detail: format!("tokenizer.ggml.model: expected gpt2 or llama, got {kind:?}"),
            });
        }
    };
    let bos = vocabulary.id("bos_token_id")?;
    let eos_token = vocabulary.id("eos_token_id")?;
    let mut eos: Vec<u32> = eos_token.into_iter().collect();
    for key in ["eot_token_id", "eom_token_id"] {
        eos.extend(vocabulary.id(key)?.filter(|id| !eos.contains(id)));
    }
    eos.extend(vocabulary.turn_ends(&eos));
    let begins = vocabulary.flag("add_bos_token", around.adds_bos)?;
    let ends = vocabulary.flag("add_eos_token", false)?;
    let post_processor =
        vocabulary.post_processor(bos.filter(|_| begins), eos_token.filter(|_| ends));
    let json = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [],
        "normalizer": around.normalizer,
        "pre_tokenizer": around.pre_tokenizer,
        "post_processor": post_processor,
        "decoder": around.decoder,
        "model": {"type": "BPE", "vocab": {}, "merges": []},
    });
    // The vocabulary does not go by way of JSON: of a large one that would take a hundred
    // megabytes.
    let inner = unbroken(|| {
        let model = pieces.model(vocabulary.ids())?;
        let mut inner = Tokenizer::from_bytes(json.to_string())?;
        inner.with_model(model);
        inner.add_tokens(vocabulary.added_tokens())?;
        Ok(inner)
    })
    .map_err(|detail| WeightsError::corrupt(file, format!("tokenizer.ggml: {detail}")))?;
    Ok(DescribedTokenizer { inner, bos, eos })
}

/// What BPE goes by, the vocabulary apart.
struct Pieces {
    merges: Merges,
    ignores_merges: bool,
    /// SentencePiece's token for what no piece spells; it falls back to bytes first.
    unknown: Option<String>,
}

impl Pieces {
    fn model(self, vocabulary: Vocab) -> tokenizers::Result<BPE> {
        let mut builder = BPE::builder()
            .vocab_and_merges(vocabulary, self.merges)
            .ignore_merges(self.ignores_merges);
        if let Some(unknown) = self.unknown {
            builder = builder
                .unk_token(unknown)
                .fuse_unk(true)
                .byte_fallback(true);
        }
        builder.build()
    }
}

/// What stands around the BPE model, in the words of `tokenizer.json`.
struct Around {
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    adds_bos: bool,
}

/// Byte-level BPE, as of GPT-2, Llama 3 and Qwen.
fn byte_level(vocabulary: &Vocabulary<'_>) -> Result<(Pieces, Around), WeightsError> {
    let name = match vocabulary.get("pre") {
        Some(_) => vocabulary.text("pre")?,
        None => "default",
    };
    let Some(pre) = PreTokenizer::named(name) else {
        return Err(WeightsError::Unsupported {
            file: vocabulary.file.to_owned(),
            detail: format!(
                "tokenizer.ggml.pre: expected one of {}, got {name:?}",
                PreTokenizer::known()
            ),
        });
    };
    let merges = vocabulary
        .get("merges")
        .and_then(GgufValue::as_strings)
        .ok_or_else(|| vocabulary.corrupt("merges", "expected an array of texts"))?;
    let merges = merges
        .iter()
        .map(|merge| {
            // A piece may itself begin with a space's stand-in, but never with a space.
            let (left, right) = merge.split_once(' ').ok_or_else(|| {
                vocabulary.corrupt("merges", &format!("expected two pieces, got {merge:?}"))
            })?;
            Ok((left.to_owned(), right.to_owned()))
        })
        .collect::<Result<Merges, WeightsError>>()?;
    let pieces = Pieces {
        merges,
        ignores_merges: pre.ignores_merges,
        unknown: None,
    };
    let normalizer = match pre.normalizes {
        true => json!({"type": "NFC"}),
        false => Value::Null,
    };
    let around = Around {
        normalizer,
        pre_tokenizer: pre.json(),
        decoder: json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}),
        adds_bos: pre.adds_bos,
    };
    Ok((pieces, around))
}

/// SentencePiece BPE with byte fallback, as of Llama 2.
fn sentence_piece(vocabulary: &Vocabulary<'_>) -> Result<(Pieces, Around), WeightsError> {
    let scores = vocabulary
        .get("scores")
        .and_then(GgufValue::to_f32s)
        .ok_or_else(|| vocabulary.corrupt("scores", "expected an array of numbers"))?;
    if scores.len() != vocabulary.tokens.len() {
        let detail = format!(
            "expected {} scores, one a token, got {}",
            vocabulary.tokens.len(),
            scores.len()
        );
        return Err(vocabulary.corrupt("scores", &detail));
    }
    let unknown = vocabulary.id("unknown_token_id")?.unwrap_or(0);
    let pieces = Pieces {
        merges: merges_by_score(vocabulary, &scores)?,
        ignores_merges: false,
        unknown: vocabulary.tokens.get(unknown as usize).cloned(),
    };
    let space = json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"});
    let prefixes = vocabulary.flag("add_space_prefix", true)?;
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    let normalizer = if prefixes {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u{2581}"}, space]})
    } else {
        space
    };
    let around = Around {
        normalizer,
        pre_tokenizer: Value::Null,
        decoder: json!({"type": "Sequence", "decoders": decoders}),
        adds_bos: true,
    };
    Ok((pieces, around))
}

/// The merges that make each piece of two others, the best piece first.
///
/// Among the ways to make one piece, that of the better left part goes first, then that of the
/// better right part.
fn merges_by_score(vocabulary: &Vocabulary<'_>, scores: &[f32]) -> Result<Merges, WeightsError> {
    let is_piece = |id: usize| !matches!(vocabulary.types[id], CONTROL | UNUSED | BYTE);
    let mut score_of: HashMap<&str, f32> = HashMap::new();
    for (id, token) in vocabulary
        .tokens
        .iter()
        .enumerate()
        .filter(|(id, _)| is_piece(*id))
    {
        score_of.entry(token).or_insert(scores[id]);
    }
    let mut merges: Vec<(f32, &str, &str)> = Vec::new();
    for (id, token) in vocabulary
        .tokens
        .iter()
        .enumerate()
        .filter(|(id, _)| is_piece(*id))
    {
        if token.len() > MAX_PIECE {
            let detail = format!(
                "token {id}: expected at most {MAX_PIECE} bytes, got {}",
                token.len()
            );
            return Err(vocabulary.corrupt("tokens", &detail));
        }
        let mut ways: Vec<(f32, f32, &str, &str)> = Vec::new();
        for (middle, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(middle);
            if let (Some(&l), Some(&r)) = (score_of.get(left), score_of.get(right)) {
                ways.push((l, r, left, right));
            }
        }
        ways.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1)));
        merges.extend(ways.iter().map(|way| (scores[id], way.2, way.3)));
        if merges.len() > MAX_MERGES * vocabulary.tokens.len() {
            let detail =
                format!("expected at most {MAX_MERGES} merges a token, got more at token {id}");
            return Err(vocabulary.corrupt("tokens", &detail));
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0));
    Ok(merges
        .iter()
        .map(|(_, left, right)| ((*left).to_owned(), (*right).to_owned()))
        .collect())
}

/// The tokens of a GGUF file with their types.
struct Vocabulary<'a> {
    file: &'a Path,
    metadata: &'a BTreeMap<String, GgufValue>,
    tokens: &'a [String],
    types: Vec<i64>,
}

impl<'a> Vocabulary<'a> {
    fn read(
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

    fn get(&self, key: &str) -> Option<&'a GgufValue> {
        self.metadata.get(&format!("tokenizer.ggml.{key}"))
    }

    fn corrupt(&self, key: &str, detail: &str) -> WeightsError {
        WeightsError::corrupt(self.file, format!("tokenizer.ggml.{key}: {detail}"))
    }

    fn text(&self, key: &str) -> Result<&'a str, WeightsError> {
        self.get(key)
            .and_then(GgufValue::as_str)
            .ok_or_else(|| self.corrupt(key, "expected text"))
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, WeightsError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| self.corrupt(key, &format!("expected a bool, got {value}"))),
        }
    }

    /// The id that a key names, which must be a token's.
    fn id(&self, key: &str) -> Result<Option<u32>, WeightsError> {
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
    fn turn_ends(&self, named: &[u32]) -> Vec<u32> {
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
    fn ids(&self) -> Vocab {
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
    fn added_tokens(&self) -> Vec<AddedToken> {
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

    /// What stands around an encoded text: `bos` before it, `eos` behind it.
    fn post_processor(&self, bos: Option<u32>, eos: Option<u32>) -> Value {
        let special = |id: u32, segment: u32| json!({"SpecialToken": {"id": self.tokens[id as usize], "type_id": segment}});
        let sequence = |name: &str, segment: u32| {
            let mut parts = Vec::new();
            parts.extend(bos.map(|id| special(id, segment)));
            parts.push(json!({"Sequence": {"id": name, "type_id": segment}}));
            parts.extend(eos.map(|id| special(id, segment)));
            parts
        };
        let mut tokens = Map::new();
        for id in bos.into_iter().chain(eos) {
            let text = &self.tokens[id as usize];
            tokens.insert(
                text.clone(),
                json!({"id": text, "ids": [id], "tokens": [text]}),
            );
        }
        let pair: Vec<Value> = sequence("A", 0)
            .into_iter()
            .chain(sequence("B", 1))
            .collect();
        json!({"type": "TemplateProcessing", "single": sequence("A", 0), "pair": pair, "special_tokens": tokens})
    }
}
