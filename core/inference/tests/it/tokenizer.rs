//! Tokenizers against transformers' own ids and texts, from folders and from GGUF metadata.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use outcrop_inference::{GgufArray, GgufValue, Tokenizer};
use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn golden(model: &str) -> Value {
    let text = std::fs::read_to_string(fixtures().join(model).join("golden.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_u64().unwrap() as u32)
        .collect()
}

/// Checks each of a model's golden strings.
fn check(tokenizer: &Tokenizer, golden: &Value) {
    let cases = golden["tokenizer"].as_array().unwrap();
    assert_eq!(cases.len(), 32);
    for case in cases {
        let text = case["text"].as_str().unwrap();
        let with_special = tokenizer.encode(text, true).unwrap();
        assert_eq!(with_special, ids(&case["ids"]), "{text:?}");
        assert_eq!(
            tokenizer.encode(text, false).unwrap(),
            ids(&case["ids_no_special"]),
            "{text:?}"
        );
        assert_eq!(
            tokenizer.decode(&with_special, true).unwrap(),
            case["decoded"],
            "{text:?}"
        );
        assert_eq!(
            tokenizer.decode(&with_special, false).unwrap(),
            case["decoded_with_special"],
            "{text:?}"
        );
    }
}

#[test]
fn folders_give_the_golden_ids_and_texts() {
    for model in [
        "llama3",
        "llama3_h256",
        "qwen3",
        "bert_minilm",
        "bert_cross_encoder",
    ] {
        check(
            &Tokenizer::load(&fixtures().join(model)).unwrap(),
            &golden(model),
        );
    }
}

#[test]
fn gguf_metadata_give_the_same_tokenizer() {
    for (model, file) in [
        ("llama3", "model-Q8_0.gguf"),
        ("llama3_h256", "model-Q4_K_M.gguf"),
    ] {
        let tokenizer = Tokenizer::load(&fixtures().join(model).join(file)).unwrap();
        check(&tokenizer, &golden(model));
        assert_eq!((tokenizer.vocab_size(), tokenizer.bos()), (520, Some(512)));
        assert_eq!(tokenizer.eos(), [518]);
    }
}

#[test]
fn pairs_have_segments() {
    for model in ["bert_minilm", "bert_cross_encoder"] {
        let tokenizer = Tokenizer::load(&fixtures().join(model)).unwrap();
        let golden = golden(model);
        let pairs = golden["tokenizer_pairs"].as_array().unwrap();
        for pair in pairs {
            let (a, b) = (pair["a"].as_str().unwrap(), pair["b"].as_str().unwrap());
            assert_eq!(
                tokenizer.encode_pair(a, b).unwrap(),
                (ids(&pair["ids"]), ids(&pair["type_ids"]))
            );
        }
    }
}

#[test]
fn special_tokens_and_ends_come_from_the_configuration() {
    let tokenizer = Tokenizer::load(&fixtures().join("llama3")).unwrap();
    assert_eq!(tokenizer.eos(), [518, 513]);
    assert_eq!(tokenizer.bos(), Some(512));
    assert!(tokenizer.is_special(518) && !tokenizer.is_special(39) && !tokenizer.is_special(540));
    assert_eq!(tokenizer.decode(&[540], true).unwrap(), "");
    let qwen = Tokenizer::load(&fixtures().join("qwen3")).unwrap();
    assert_eq!((qwen.eos(), qwen.bos()), (&[514][..], None));
}

/// Metadata of a SentencePiece tokenizer over these pieces, the best first.
fn sentence_piece(pieces: &[&str]) -> BTreeMap<String, GgufValue> {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).to_vec();
    let mut types = vec![2, 3, 3];
    for byte in 0..=255 {
        tokens.push(format!("<0x{byte:02X}>"));
        types.push(6);
    }
    let mut scores = vec![0.0; tokens.len()];
    for (rank, piece) in pieces.iter().enumerate() {
        tokens.push((*piece).to_owned());
        types.push(1);
        scores.push(-(rank as f32));
    }
    let text = |text: &str| GgufValue::String(text.to_owned());
    [
        ("model", text("llama")),
        ("tokens", GgufValue::Array(GgufArray::String(tokens))),
        ("scores", GgufValue::Array(GgufArray::F32(scores))),
        ("token_type", GgufValue::Array(GgufArray::I32(types))),
        ("bos_token_id", GgufValue::Unsigned(1)),
        ("eos_token_id", GgufValue::Unsigned(2)),
        ("unknown_token_id", GgufValue::Unsigned(0)),
    ]
    .into_iter()
    .map(|(key, value)| (format!("tokenizer.ggml.{key}"), value))
    .collect()
}

#[test]
fn sentence_piece_merges_the_best_pair_first_and_falls_back_to_bytes() {
    let pieces = [
        "\u{2581}he",
        "ll",
        "\u{2581}hell",
        "lo",
        "\u{2581}h",
        "el",
        "\u{2581}",
        "h",
        "e",
        "l",
        "o",
        "w",
    ];
    let tokenizer = Tokenizer::from_gguf(Path::new("spm.gguf"), &sentence_piece(&pieces)).unwrap();
    let spelt = |text: &str| -> Vec<String> {
        let ids = tokenizer.encode(text, true).unwrap();
        ids.iter()
            .map(|&id| tokenizer.id_to_token(id).unwrap())
            .collect()
    };
    // llama.cpp joins, again and again, the neighbours whose piece has the best score: here `ll`
    // goes before `▁h`, then `▁h`+`e`, then both.
    assert_eq!(spelt("hello"), ["<s>", "\u{2581}hell", "o"]);
    assert_eq!(spelt("we"), ["<s>", "\u{2581}", "w", "e"]);
    assert_eq!(spelt("é"), ["<s>", "\u{2581}", "<0xC3>", "<0xA9>"]);
    for text in ["hello hello", " we  hé\n東", ""] {
        let ids = tokenizer.encode(text, true).unwrap();
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), text);
    }
}

#[test]
fn a_tokenizer_of_an_unknown_kind_is_not_guessed() {
    let metadata = sentence_piece(&["a"]);
    let with = |key: &str, value: GgufValue| {
        let mut metadata = metadata.clone();
        metadata.insert(format!("tokenizer.ggml.{key}"), value);
        Tokenizer::from_gguf(Path::new("model.gguf"), &metadata)
            .unwrap_err()
            .to_string()
    };
    let text = |text: &str| GgufValue::String(text.to_owned());
    assert!(
        with("model", text("t5"))
            .contains("model.gguf: tokenizer.ggml.model: expected gpt2 or llama, got \"t5\"")
    );
    assert!(
        with("bos_token_id", GgufValue::Unsigned(1 << 40))
            .contains("bos_token_id: expected a token's id below")
    );
    assert!(
        with("scores", GgufValue::Array(GgufArray::F32(vec![0.0]))).contains("scores: expected")
    );
    let mut metadata = metadata.clone();
    metadata.insert("tokenizer.ggml.model".to_owned(), text("gpt2"));
    metadata.insert("tokenizer.ggml.pre".to_owned(), text("mystery"));
    let message = Tokenizer::from_gguf(Path::new("model.gguf"), &metadata)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("tokenizer.ggml.pre: expected one of llama-bpe")
            && message.contains("\"mystery\""),
        "{message}"
    );
}

#[test]
fn truncation_and_padding_of_the_file_are_not_done() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(fixtures().join("bert_minilm/tokenizer.json")).unwrap();
    let mut json: Value = serde_json::from_str(&text).unwrap();
    json["truncation"] = serde_json::json!({"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0});
    json["padding"] = serde_json::json!({"strategy": {"Fixed": 12}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"});
    std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    let plain = Tokenizer::load(&fixtures().join("bert_minilm")).unwrap();
    let tokenizer = Tokenizer::load(folder.path()).unwrap();
    for text in ["", "hello world hello world"] {
        assert_eq!(
            tokenizer.encode(text, true).unwrap(),
            plain.encode(text, true).unwrap()
        );
    }
}
