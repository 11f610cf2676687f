//! The tokenizer that a GGUF file's metadata describe.
//!
//! Four kinds: `gpt2`, byte-level BPE with its merges written out and its pre-tokenizer named;
//! `llama`, SentencePiece BPE, whose merges follow from the pieces' scores as in transformers'
//! conversion (`convert_slow_tokenizer.generate_merges`); and of encoders `bert`, WordPiece, and
//! `t5`, SentencePiece's unigram model.

mod pre_tokenizer;
mod sentence_piece;
mod template;
mod vocabulary;
mod word_piece;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::{NormalizerWrapper, Precompiled};
use tokenizers::{ModelWrapper, Tokenizer};

use crate::encoder::is_gguf_encoder;
use crate::tokenizer::unbroken;
use crate::weights::{GgufValue, WeightsError};
use pre_tokenizer::PreTokenizer;
use template::Pair;
use vocabulary::Vocabulary;

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
    let is_encoder = is_gguf_encoder(metadata);
    let (pieces, mut around) = match kind {
        "gpt2" => byte_level(&vocabulary)?,
        "llama" => sentence_piece::byte_pairs(&vocabulary)?,
        "bert" if is_encoder => word_piece::word_piece(&vocabulary)?,
        "t5" if is_encoder => sentence_piece::unigram(&vocabulary)?,
        _ => {
            let known = match is_encoder {
                true => "gpt2, llama, bert or t5",
                false => "gpt2 or llama",
            };
            return Err(WeightsError::Unsupported {
                file: file.to_owned(),
                detail: format!("tokenizer.ggml.model: expected {known}, got {kind:?}"),
            });
        }
    };
    let (bos, eos_token) = match is_encoder {
        true => edges(&vocabulary)?,
        false => (
            vocabulary.id("bos_token_id")?,
            vocabulary.id("eos_token_id")?,
        ),
    };
    if is_encoder && kind != "bert" {
        (around.adds_bos, around.adds_eos) = (true, true);
        around.pair = match vocabulary.get("pre").and_then(GgufValue::as_str) {
            Some("modern-bert") => Pair::Joined,
            _ => Pair::Doubled,
        };
    }
    let mut eos: Vec<u32> = eos_token.into_iter().collect();
    for key in ["eot_token_id", "eom_token_id"] {
        eos.extend(vocabulary.id(key)?.filter(|id| !eos.contains(id)));
    }
    eos.extend(vocabulary.turn_ends(&eos));
    let begins = vocabulary.flag("add_bos_token", around.adds_bos)?;
    let ends = vocabulary.flag("add_eos_token", around.adds_eos)?;
    let inner = unbroken(|| {
        let edges = (bos.filter(|_| begins), eos_token.filter(|_| ends));
        build(&vocabulary, pieces, &around, edges)
    })
    .map_err(|detail| WeightsError::corrupt(file, format!("tokenizer.ggml: {detail}")))?;
    Ok(DescribedTokenizer { inner, bos, eos })
}

/// What an encoder's inputs begin and end with.
fn edges(vocabulary: &Vocabulary<'_>) -> Result<(Option<u32>, Option<u32>), WeightsError> {
    let begin = vocabulary.edge(&["cls_token_id", "bos_token_id"], "[CLS]")?;
    let ends = ["seperator_token_id", "sep_token_id", "eos_token_id"];
    Ok((begin, vocabulary.edge(&ends, "[SEP]")?))
}

/// The tokenizer of its parts, with what its texts begin and end with.
fn build(
    vocabulary: &Vocabulary<'_>,
    pieces: Pieces,
    around: &Around,
    (bos, eos): (Option<u32>, Option<u32>),
) -> tokenizers::Result<Tokenizer> {
    let json = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [],
        "normalizer": around.normalizer,
        "pre_tokenizer": around.pre_tokenizer,
        "post_processor": around.pair.template(vocabulary.tokens, bos, eos),
        "decoder": around.decoder,
        "model": {"type": "BPE", "vocab": {}, "merges": []},
    });
    // The vocabulary does not go by way of JSON: of a large one that would take a hundred megabytes.
    let mut inner = Tokenizer::from_bytes(json.to_string())?;
    inner.with_model(pieces.model(vocabulary)?);
    if let Some(charsmap) = &around.charsmap {
        let map = Precompiled::from(charsmap)?;
        inner.with_normalizer(Some(NormalizerWrapper::Precompiled(map)))?;
    }
    inner.add_tokens(vocabulary.added_tokens())?;
    Ok(inner)
}

/// What the model of a tokenizer goes by.
enum Pieces {
    /// Byte pairs, the vocabulary apart.
    Bpe {
        merges: Merges,
        ignores_merges: bool,
        /// SentencePiece's token for what no piece spells; it falls back to bytes first.
        unknown: Option<String>,
    },
    /// WordPiece, its tokens as BERT spells them.
    WordPiece { tokens: Vocab, unknown: String },
    /// A unigram model, its pieces in the order of their ids.
    Unigram {
        scored: Vec<(String, f64)>,
        unknown: u32,
    },
}

impl Pieces {
    fn model(self, vocabulary: &Vocabulary<'_>) -> tokenizers::Result<ModelWrapper> {
        match self {
            Self::Bpe {
                merges,
                ignores_merges,
                unknown,
            } => {
                let mut builder = BPE::builder()
                    .vocab_and_merges(vocabulary.ids(), merges)
                    .ignore_merges(ignores_merges);
                if let Some(unknown) = unknown {
                    builder = builder
                        .unk_token(unknown)
                        .fuse_unk(true)
                        .byte_fallback(true);
                }
                Ok(builder.build()?.into())
            }
            Self::WordPiece { tokens, unknown } => {
                let builder = WordPiece::builder().vocab(tokens).unk_token(unknown);
                Ok(builder.build()?.into())
            }
            Self::Unigram { scored, unknown } => {
                let model = Unigram::from(scored, Some(unknown as usize), false)?;
                Ok(model.into())
            }
        }
    }
}

/// What stands around the model, in the words of `tokenizer.json`.
#[derive(Default)]
struct Around {
    normalizer: Value,
    /// SentencePiece's normalisation instead, as its compiled table of characters.
    charsmap: Option<Vec<u8>>,
    pre_tokenizer: Value,
    decoder: Value,
    adds_bos: bool,
    adds_eos: bool,
    pair: Pair,
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
    let pieces = Pieces::Bpe {
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
        ..Around::default()
    };
    Ok((pieces, around))
}
