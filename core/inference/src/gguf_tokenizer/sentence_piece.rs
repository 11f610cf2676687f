//! SentencePiece's two models as a GGUF file's metadata describe them.

use std::collections::HashMap;

use serde_json::json;
use tokenizers::models::bpe::Merges;

use super::vocabulary::{BYTE, CONTROL, UNUSED, Vocabulary};
use super::{Around, Pieces};
use crate::weights::{GgufValue, WeightsError};

/// What stands for a space in pieces.
const SPACE: &str = "\u{2581}";

/// Longest SentencePiece piece in bytes; the pieces of real vocabularies stay below 100.
const MAX_PIECE: usize = 512;

/// Most merges for each token; real vocabularies have some 2.
const MAX_MERGES: usize = 16;

/// SentencePiece BPE with byte fallback, as of Llama 2.
pub(super) fn byte_pairs(vocabulary: &Vocabulary<'_>) -> Result<(Pieces, Around), WeightsError> {
    let scores = vocabulary.scores()?;
    let unknown = vocabulary.id("unknown_token_id")?.unwrap_or(0);
    let pieces = Pieces::Bpe {
        merges: merges_by_score(vocabulary, &scores)?,
        ignores_merges: false,
        unknown: vocabulary.tokens.get(unknown as usize).cloned(),
    };
    let space = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
    let prefixes = vocabulary.flag("add_space_prefix", true)?;
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    let normalizer = if prefixes {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE}, space]})
    } else {
        space
    };
    let around = Around {
        normalizer,
        decoder: json!({"type": "Sequence", "decoders": decoders}),
        adds_bos: true,
        ..Around::default()
    };
    Ok((pieces, around))
}

/// SentencePiece's unigram model (arXiv:1804.10959), as of XLM-RoBERTa: words part at spaces, which
/// their first pieces spell.
pub(super) fn unigram(vocabulary: &Vocabulary<'_>) -> Result<(Pieces, Around), WeightsError> {
    let scores = vocabulary.scores()?;
    let tokens = vocabulary.tokens.iter().cloned();
    let unknown = vocabulary.edge(&["unknown_token_id"], "<unk>")?;
    let unknown = unknown.ok_or_else(|| {
        vocabulary.corrupt(
            "unknown_token_id",
            "expected the unknown token's id, got nothing",
        )
    })?;
    let pieces = Pieces::Unigram {
        scored: tokens.zip(scores.into_iter().map(f64::from)).collect(),
        unknown,
    };
    let prepends = match vocabulary.flag("add_space_prefix", true)? {
        true => "always",
        false => "never",
    };
    let spaces = json!({"type": "Metaspace", "replacement": SPACE, "prepend_scheme": prepends, "split": true});
    let charsmap = match vocabulary.get("precompiled_charsmap") {
        None => None,
        Some(map) => Some(bytes(map).filter(|map| is_sound(map)).ok_or_else(|| {
            let expected = "expected bytes: a table of units behind its size, then texts";
            vocabulary.corrupt("precompiled_charsmap", expected)
        })?),
    };
    let around = Around {
        charsmap,
        pre_tokenizer: json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, spaces]}),
        decoder: spaces,
        adds_bos: true,
        adds_eos: true,
        ..Around::default()
    };
    Ok((pieces, around))
}

/// Whether a table of characters is as long as it says: its reader believes it.
fn is_sound(charsmap: &[u8]) -> bool {
    let size = charsmap.first_chunk().map(|size| u32::from_le_bytes(*size));
    size.is_some_and(|size| size >= 4 && charsmap.len() - 4 >= size as usize)
}

/// The bytes of an array, which some writers mark as signed.
fn bytes(array: &GgufValue) -> Option<Vec<u8>> {
    let values = array.to_integers()?.into_iter();
    values
        .map(|value| {
            u8::try_from(value & 255)
                .ok()
                .filter(|_| (-128..256).contains(&value))
        })
        .collect()
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
