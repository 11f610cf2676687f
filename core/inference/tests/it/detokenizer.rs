//! Incremental text equals the whole text, for every sequence of ids.

use std::path::Path;
use std::sync::Arc;

use outcrop_inference::{Detokenizer, Tokenizer};
use proptest::prelude::*;
use serde_json::{Value, json};

fn load(model: &str) -> Arc<Tokenizer> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(model);
    Arc::new(Tokenizer::load(&path).unwrap())
}

/// A tokenizer with byte fallback, as of Llama 2, whose texts are cleaned up.
fn byte_fallback() -> Arc<Tokenizer> {
    let pieces = [
        "\u{2581}",
        "a",
        "\u{2581}a",
        "n't",
        "\u{2581}n't",
        "'",
        "\u{2581}'",
        ".",
        "\u{2581}.",
        "\u{2581}\u{2581}",
        "é",
        "do",
    ];
    let mut vocab = serde_json::Map::new();
    vocab.insert("<unk>".to_owned(), json!(0));
    for byte in 0..256 {
        vocab.insert(format!("<0x{byte:02X}>"), json!(1 + byte));
    }
    for piece in pieces {
        vocab.insert(piece.to_owned(), json!(vocab.len()));
    }
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{"id": 0, "content": "<unk>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
        "normalizer": null, "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "vocab": Value::Object(vocab), "merges": [], "byte_fallback": true, "unk_token": "<unk>", "fuse_unk": true},
    });
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    std::fs::write(
        folder.path().join("tokenizer_config.json"),
        r#"{"clean_up_tokenization_spaces": true}"#,
    )
    .unwrap();
    Arc::new(Tokenizer::load(folder.path()).unwrap())
}

/// Checks one sequence: the parts make the whole, and none has a U+FFFD too many.
fn check(tokenizer: &Arc<Tokenizer>, ids: &[u32]) {
    let whole = tokenizer.decode(ids, true).unwrap();
    let mut detokenizer = Detokenizer::new(Arc::clone(tokenizer));
    let mut text = String::new();
    for &id in ids {
        text.push_str(&detokenizer.push(id));
        assert!(
            whole.starts_with(&text),
            "{ids:?}: {text:?} does not begin {whole:?}"
        );
    }
    text.push_str(&detokenizer.finish());
    assert_eq!(text, whole, "{ids:?}");
}

#[test]
fn random_ids_come_as_the_whole_text() {
    let models = ["llama3", "qwen3", "bert_minilm", "llama3/model-Q8_0.gguf"];
    let tokenizers: Vec<_> = models
        .iter()
        .map(|model| load(model))
        .chain([byte_fallback()])
        .collect();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 600,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    for tokenizer in &tokenizers {
        runner
            .run(&prop::collection::vec(0u32..550, 0..40), |ids| {
                check(tokenizer, &ids);
                Ok(())
            })
            .unwrap();
    }
    // Texts in which each character takes several tokens.
    for tokenizer in &tokenizers {
        for text in [
            "東京は日本の首都です。",
            "🚀 rocket 😶‍🌫️ naïve",
            "do n't . stop 's",
        ] {
            check(tokenizer, &tokenizer.encode(text, false).unwrap());
        }
    }
}

#[test]
fn a_character_comes_when_its_last_byte_does() {
    let tokenizer = load("llama3");
    let ids = tokenizer.encode("🚀", false).unwrap();
    assert_eq!(ids.len(), 4);
    let mut detokenizer = Detokenizer::new(tokenizer);
    let parts: Vec<String> = ids.iter().map(|&id| detokenizer.push(id)).collect();
    assert_eq!(parts, ["", "", "", "🚀"]);
    assert_eq!(detokenizer.finish(), "");
}
