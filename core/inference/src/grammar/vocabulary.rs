//! A tokenizer's vocabulary as the token trie that grammars walk.

use std::sync::Arc;

use outcrop_api::{Error, Result};
use toktrie::{TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};

use crate::detokenizer::TokenBytes;
use crate::tokenizer::Tokenizer;

/// Most bytes of a token in the trie; longer ones, of damaged vocabularies, are never chosen.
const MAX_TOKEN_BYTES: usize = 4096;

/// The vocabulary of a model: the bytes of each token, special tokens as such.
struct Vocabulary {
    tokenizer: Arc<Tokenizer>,
    trie: TokTrie,
}

/// The trie of `tokenizer`'s tokens for a model whose logits range over `vocab_size` ids. Ids that
/// no token has, as where the model's vocabulary is padded, are never allowed by any grammar.
///
/// # Errors
/// `ValidationException` where it is not known how the tokenizer's pieces spell bytes.
pub(super) fn token_environment(tokenizer: Arc<Tokenizer>, vocab_size: usize) -> Result<TokEnv> {
    let Some(spelling) = TokenBytes::of(&tokenizer) else {
        return Err(Error::validation(
            "output_format: expected a model whose tokenizer is byte-level, SentencePiece or WordPiece, got another kind",
        ));
    };
    let count = u32::try_from(vocab_size)
        .map_err(|_| Error::model(format!("vocabulary: {vocab_size} tokens are too many")))?;
    let ends: Vec<TokenId> = tokenizer
        .eos()
        .iter()
        .copied()
        .filter(|id| *id < count)
        .collect();
    let words: Vec<Vec<u8>> = (0..count)
        .map(|id| {
            let is_special = tokenizer.is_special(id) || ends.contains(&id);
            word(&tokenizer, &spelling, id, is_special)
        })
        .collect();
    let no_end = toktrie::INVALID_TOKEN;
    let info = TokRxInfo::new(count, ends.first().copied().unwrap_or(no_end));
    let mut trie = TokTrie::from(&info, &words);
    if !ends.is_empty() {
        trie = trie.with_eos_tokens(&ends);
    }
    Ok(Arc::new(Vocabulary { tokenizer, trie }))
}

/// The bytes of a token in the trie; none for one that is never allowed.
fn word(tokenizer: &Tokenizer, spelling: &TokenBytes, id: u32, is_special: bool) -> Vec<u8> {
    let bytes = if is_special {
        let name = tokenizer.id_to_token(id).unwrap_or_default();
        let mut bytes = vec![TokTrie::SPECIAL_TOKEN_MARKER];
        bytes.extend_from_slice(name.as_bytes());
        bytes
    } else {
        spelling.bytes(tokenizer, id)
    };
    match bytes.len() {
        1..=MAX_TOKEN_BYTES => bytes,
        _ => Vec::new(),
    }
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    /// The tokens that the tokenizer itself would make of `text`, in the middle of an output.
    fn tokenize_bytes(&self, text: &[u8]) -> Vec<TokenId> {
        let ids = self.trie.tokenize_with_greedy_fallback(text, |text| {
            self.tokenizer.encode_fragment(text).unwrap_or_default()
        });
        // Rules of a tokenizer that change the text (they join spaces, say) cannot spell it.
        if self.trie.decode_raw(&ids) == text {
            ids
        } else {
            self.trie.greedy_tokenize(text)
        }
    }
}
