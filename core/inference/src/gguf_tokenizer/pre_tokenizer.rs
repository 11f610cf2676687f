//! The byte-level pre-tokenizers that `tokenizer.ggml.pre` names: how text is split before BPE.
//!
//! Names and patterns are llama.cpp's (`src/llama-vocab.cpp`), the patterns as the models' own
//! `tokenizer.json` have them where llama.cpp's engine of expressions needs other words.

use serde_json::{Value, json};

/// A byte-level pre-tokenizer.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    /// Its names.
    names: &'static [&'static str],
    split: Split,
    /// Whether a word that is a token as it stands is taken whole.
    pub ignores_merges: bool,
    /// Whether text is brought to Unicode's form NFC first.
    pub normalizes: bool,
    /// Whether a beginning of sequence is added where `add_bos_token` says nothing.
    pub adds_bos: bool,
}

/// What words are.
#[derive(Clone, Copy, Debug)]
enum Split {
    /// GPT-2's.
    Gpt2,
    /// GPT-2's, each digit by itself.
    Gpt2Digits,
    /// The matches of a pattern.
    Pattern(&'static str),
}

/// cl100k's pattern: digits by threes.
const CL100K: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Qwen's: digits by themselves.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// o200k's: words part before capitals.
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Mistral's Tekken: as o200k, digits by themselves and no contractions.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const PLAIN: PreTokenizer = PreTokenizer {
    names: &[],
    split: Split::Gpt2,
    ignores_merges: false,
    normalizes: false,
    adds_bos: false,
};

const ALL: &[PreTokenizer] = &[
    PreTokenizer {
        names: &["llama-bpe", "llama3", "llama-v3"],
        split: Split::Pattern(CL100K),
        ignores_merges: true,
        adds_bos: true,
        ..PLAIN
    },
    // OLMo 2 and Phi-4; SmolLM3.
    PreTokenizer {
        names: &["dbrx", "smaug-bpe"],
        split: Split::Pattern(CL100K),
        ..PLAIN
    },
    PreTokenizer {
        names: &["qwen2", "deepseek-r1-qwen"],
        split: Split::Pattern(QWEN2),
        normalizes: true,
        ..PLAIN
    },
    // GPT-OSS and Phi-4-mini.
    PreTokenizer {
        names: &["gpt-4o"],
        split: Split::Pattern(O200K),
        ..PLAIN
    },
    PreTokenizer {
        names: &["tekken"],
        split: Split::Pattern(TEKKEN),
        ignores_merges: true,
        adds_bos: true,
        ..PLAIN
    },
    // Granite is `refact`.
    PreTokenizer {
        names: &["smollm", "refact", "starcoder", "command-r", "codeshell"],
        split: Split::Gpt2Digits,
        ..PLAIN
    },
    PreTokenizer {
        names: &["modern-bert"],
        normalizes: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["gpt-2", "default", "olmo", "phi-2", "roberta-bpe"],
        ..PLAIN
    },
];

impl PreTokenizer {
    /// The pre-tokenizer of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|pre| pre.names.contains(&name))
    }

    /// All names, for messages.
    pub fn known() -> String {
        let names: Vec<&str> = ALL.iter().flat_map(|pre| pre.names).copied().collect();
        names.join(", ")
    }

    /// It in the words of `tokenizer.json`.
    pub fn json(&self) -> Value {
        let bytes = |split: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": split});
        let sequence = |first: Value, second: Value| json!({"type": "Sequence", "pretokenizers": [first, second]});
        match self.split {
            Split::Gpt2 => bytes(true),
            Split::Gpt2Digits => sequence(
                json!({"type": "Digits", "individual_digits": true}),
                bytes(true),
            ),
            Split::Pattern(pattern) => sequence(
                json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false}),
                bytes(false),
            ),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _};

    use super::*;

    fn words(name: &str, text: &str) -> Vec<String> {
        let json = PreTokenizer::named(name).unwrap().json();
        let pre: tokenizers::PreTokenizerWrapper = serde_json::from_value(json).unwrap();
        let mut split = PreTokenizedString::from(text);
        pre.pre_tokenize(&mut split).unwrap();
        let splits = split.get_splits(OffsetReferential::Original, OffsetType::Byte);
        let words = splits
            .iter()
            .map(|(_, (start, end), _)| text[*start..*end].to_owned());
        words.collect()
    }

    #[test]
    fn each_splits_digits_contractions_and_capitals_its_own_way() {
        let text = "It'S 1234 getX/\n";
        for (name, expected) in [
            (
                "llama-bpe",
                &["It", "'S", " ", "123", "4", " getX", "/\n"][..],
            ),
            ("dbrx", &["It", "'S", " ", "123", "4", " getX", "/\n"]),
            (
                "qwen2",
                &["It", "'S", " ", "1", "2", "3", "4", " getX", "/\n"],
            ),
            ("gpt-4o", &["It'S", " ", "123", "4", " get", "X", "/\n"]),
            (
                "tekken",
                &["It", "'S", " ", "1", "2", "3", "4", " get", "X", "/\n"],
            ),
            (
                "smollm",
                &["It", "'", "S", " ", "1", "2", "3", "4", " getX", "/", "\n"],
            ),
            ("olmo", &["It", "'", "S", " 1234", " getX", "/", "\n"]),
        ] {
            assert_eq!(words(name, text), expected, "{name}");
        }
    }

    #[test]
    fn every_pattern_compiles() {
        for pre in ALL {
            for name in pre.names {
                assert_eq!(words(name, "a b").concat(), "a b", "{name}");
            }
        }
    }
}
