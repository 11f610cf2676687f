//! A learned tokenizer, and the new model beside it, as the engine loads them.

use outcrop_inference::{ChatTemplate, Engine, EngineOptions, Tokenizer};
use outcrop_training::{TokenizerOptions, TrainedTokenizer, train_tokenizer};
use serde_json::json;

fn texts() -> Vec<String> {
    let text = |i: usize| {
        format!(
            "The overdraft fee of account {} is {} euros a month.\n",
            i * 7,
            i % 13
        )
    };
    (0..300).map(text).collect()
}

fn options(more: serde_json::Value) -> TokenizerOptions {
    serde_json::from_value(more).unwrap()
}

fn write(folder: &std::path::Path, trained: &TrainedTokenizer) {
    for (name, bytes) in &trained.files {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

#[tokio::test]
async fn the_engine_reads_the_words_and_runs_the_new_model() {
    let shape = json!({"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
                       "num_attention_heads": 2, "num_key_value_heads": 1});
    let options = options(json!({"vocab_size": 400, "model": shape, "seed": 3}));
    let (trained, folder) = (
        train_tokenizer(&texts(), &options).unwrap(),
        tempfile::tempdir().unwrap(),
    );
    write(folder.path(), &trained);
    let again = train_tokenizer(&texts(), &options).unwrap();
    assert!(trained.files == again.files, "not the same bytes");
    let tokenizer = Tokenizer::from_folder(folder.path()).unwrap();
    for text in [
        "The overdraft fee of account 1207",
        "Überweisung: 12 € <|im_end|>",
        "",
    ] {
        let ids = tokenizer.encode(text, false).unwrap();
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
    }
    // The words of the text have become tokens, digits stand by themselves.
    assert_eq!(tokenizer.encode(" overdraft fee", false).unwrap().len(), 2);
    assert_eq!(tokenizer.encode("1207", false).unwrap().len(), 4);
    assert_eq!(
        tokenizer.eos(),
        tokenizer.encode("<|im_end|>", false).unwrap()
    );
    let of_texts = texts()
        .iter()
        .map(|text| tokenizer.encode(text, false).unwrap().len())
        .sum::<usize>();
    assert_eq!(trained.tokens, of_texts);
    assert!(trained.bytes > 4 * trained.tokens / 2 && trained.vocab_size <= 400);
    assert!(ChatTemplate::from_folder(folder.path()).unwrap().is_some());
    let engine = Engine::load(folder.path(), "new", EngineOptions::default()).unwrap();
    let ids = tokenizer.encode("The fee", false).unwrap();
    let logits = engine.logits_with(&ids, None).await.unwrap();
    assert_eq!(logits.len(), ids.len() * trained.vocab_size);
    assert!(logits.iter().all(|logit| logit.is_finite()));
}

#[test]
fn what_cannot_be_followed_is_told() {
    let wrong = [
        (
            json!({"vocab_size": 200}),
            "vocab_size: expected at least 259",
        ),
        (json!({"special_tokens": []}), "expected at least one"),
        (json!({"eos_token": "</s>"}), "got </s>"),
        (json!({"model": {"hidden_size": "wide"}}), "hidden_size"),
    ];
    for (more, expected) in wrong {
        let error = train_tokenizer(&texts(), &options(more)).unwrap_err();
        assert!(error.message().contains(expected), "{error}");
    }
    let error = train_tokenizer(&[], &TokenizerOptions::default()).unwrap_err();
    assert!(error.message().contains("expected text"), "{error}");
}
