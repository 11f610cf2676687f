//! BERT's WordPiece (arXiv:1609.08144) as a GGUF file's metadata describe it.

use serde_json::json;
use tokenizers::models::bpe::Vocab;

use super::vocabulary::{CONTROL, Vocabulary};
use super::{Around, Pair, Pieces};
use crate::weights::WeightsError;

/// What llama.cpp's converter puts before a token that begins a word.
const WORD: char = '\u{2581}';

/// What BERT puts before a token that goes on with one.
const CONTINUATION: &str = "##";

/// WordPiece, as of BERT and Nomic's BERT. Where the metadata do not say whether text is brought to
/// lower case, a vocabulary without capitals does.
pub(super) fn word_piece(vocabulary: &Vocabulary<'_>) -> Result<(Pieces, Around), WeightsError> {
    let unknown = vocabulary.edge(&["unknown_token_id"], "[UNK]")?;
    let unknown = unknown.ok_or_else(|| {
        vocabulary.corrupt(
            "unknown_token_id",
            "expected the unknown token's id, got nothing",
        )
    })?;
    let tokens = tokens(vocabulary);
    let is_special = |id: usize| is_special(&vocabulary.tokens[id], vocabulary.types[id]);
    let has_capitals = tokens
        .iter()
        .any(|(token, id)| !is_special(*id as usize) && token.chars().any(char::is_uppercase));
    let lowercase = vocabulary.flag("normalizer.lowercase", !has_capitals)?;
    let strips_accents = vocabulary.flag("normalizer.strip_accents", lowercase)?;
    let pieces = Pieces::WordPiece {
        unknown: vocabulary.tokens[unknown as usize].clone(),
        tokens,
    };
    let around = Around {
        normalizer: json!({
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": true,
            "strip_accents": strips_accents,
            "lowercase": lowercase,
        }),
        pre_tokenizer: json!({"type": "BertPreTokenizer"}),
        decoder: json!({"type": "WordPiece", "prefix": CONTINUATION, "cleanup": true}),
        adds_bos: true,
        adds_eos: true,
        pair: Pair::Segments,
        ..Around::default()
    };
    Ok((pieces, around))
}

/// Whether a token keeps its text: control tokens, and, in files of older converters, those in
/// brackets.
fn is_special(token: &str, kind: i64) -> bool {
    kind == CONTROL || token.starts_with('[') && token.ends_with(']')
}

/// Each token as BERT spells it, with its id.
fn tokens(vocabulary: &Vocabulary<'_>) -> Vocab {
    let ids = vocabulary.ids().into_iter();
    ids.map(|(token, id)| {
        let spelt = match token.strip_prefix(WORD) {
            _ if is_special(&token, vocabulary.types[id as usize]) => token,
            Some(word) => word.to_owned(),
            None => format!("{CONTINUATION}{token}"),
        };
        (spelt, id)
    })
    .collect()
}
