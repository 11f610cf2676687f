//! Tokenizers against transformers' own ids and texts, from folders and from GGUF metadata.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use outcrop_api::ErrorKind;
use outcrop_inference::{Detokenizer, GgufArray, GgufValue, Tokenizer};
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
fn a_vocabulary_of_endless_merges_is_refused() {
    let runs: Vec<String> = (1..500).map(|n| "a".repeat(n)).collect();
    let pieces: Vec<&str> = runs.iter().map(String::as_str).collect();
    for (metadata, expected) in [
        (sentence_piece(&pieces), "merges a token"),
        (
            sentence_piece(&[&"a".repeat(600)]),
            "expected at most 512 bytes, got 600",
        ),
    ] {
        let message = Tokenizer::from_gguf(Path::new("spm.gguf"), &metadata)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("spm.gguf: tokenizer.ggml.tokens: ") && message.contains(expected),
            "{message}"
        );
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

/// Loads a folder's tokenizer and uses it in every way; each error must be typed and name the file.
fn use_hostile(folder: &Path) -> bool {
    let tokenizer = match Tokenizer::load(folder) {
        Ok(tokenizer) => Arc::new(tokenizer),
        Err(error) => {
            assert!(error.to_string().contains("tokenizer"), "{error}");
            assert_eq!(
                outcrop_api::Error::from(error).kind(),
                ErrorKind::ModelErrorException
            );
            return false;
        }
    };
    let named = |error: outcrop_api::Error| {
        assert_eq!(error.kind(), ErrorKind::ModelErrorException);
        assert!(error.message().contains("tokenizer.json"), "{error}");
    };
    let text = "  Hello wörld, 東京 🚀 <s> don't 12345";
    match tokenizer.encode(text, true) {
        Ok(ids) => drop(tokenizer.decode(&ids, false).map_err(named)),
        Err(error) => named(error),
    }
    drop(tokenizer.encode_pair(text, "").map_err(named));
    let ids: Vec<u32> = (0..600).step_by(7).collect();
    drop(tokenizer.decode(&ids, true).map_err(named));
    let mut detokenizer = Detokenizer::new(tokenizer);
    ids.iter().for_each(|&id| drop(detokenizer.push(id)));
    drop(detokenizer.finish());
    true
}

#[test]
fn a_damaged_tokenizer_file_is_an_error_that_names_it() {
    for model in ["llama3", "qwen3", "bert_minilm"] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokenizer.json");
        let whole = std::fs::read(fixtures().join(model).join("tokenizer.json")).unwrap();
        let mut state = 5u64;
        let mut below = |bound: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % bound
        };
        let mut opened = 0;
        for round in 0..240 {
            let mut bytes = whole.clone();
            match round % 3 {
                0 => bytes.truncate(below(whole.len())),
                _ => {
                    for _ in 0..=below(3) {
                        // The rules stand at the two ends, around the vocabulary.
                        let at = match below(3) {
                            0 => below(whole.len().min(3_000)),
                            1 => whole.len() - 1 - below(whole.len().min(1_000)),
                            _ => below(whole.len()),
                        };
                        bytes[at] = match below(2) {
                            0 => b'0' + below(10) as u8,
                            _ => below(256) as u8,
                        };
                    }
                }
            }
            std::fs::write(&file, bytes).unwrap();
            opened += usize::from(use_hostile(folder.path()));
        }
        assert!(opened < 200, "{model}: {opened}");
    }
}

#[test]
fn absurd_rules_are_errors() {
    let text = std::fs::read_to_string(fixtures().join("llama3/tokenizer.json")).unwrap();
    let whole: Value = serde_json::from_str(&text).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let huge = 1u64 << 60;
    let mut opened = Vec::new();
    for (key, value) in [
        (
            "decoder",
            serde_json::json!({"type": "Strip", "content": "H", "start": 0, "stop": huge}),
        ),
        (
            "decoder",
            serde_json::json!({"type": "Strip", "content": "H", "start": huge, "stop": 3}),
        ),
        (
            "decoder",
            serde_json::json!({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": huge, "stop": 0}]}),
        ),
        (
            "decoder",
            serde_json::json!({"type": "Replace", "pattern": {"Regex": "(("}, "content": ""}),
        ),
        (
            "decoder",
            serde_json::json!({"type": "CTC", "pad_token": "", "word_delimiter_token": "", "cleanup": true}),
        ),
        (
            "normalizer",
            serde_json::json!({"type": "Replace", "pattern": {"String": ""}, "content": "xx"}),
        ),
        (
            "normalizer",
            serde_json::json!({"type": "Replace", "pattern": {"Regex": "(a|a|b?)*?c\\1"}, "content": "xx"}),
        ),
        (
            "normalizer",
            serde_json::json!({"type": "Precompiled", "precompiled_charsmap": "/////w=="}),
        ),
        (
            "pre_tokenizer",
            serde_json::json!({"type": "Split", "pattern": {"Regex": "(\\w*)*\\1{9}$"}, "behavior": "Isolated", "invert": false}),
        ),
        (
            "pre_tokenizer",
            serde_json::json!({"type": "FixedLength", "length": 0}),
        ),
        (
            "pre_tokenizer",
            serde_json::json!({"type": "Metaspace", "replacement": "ab", "prepend_scheme": "always", "split": true}),
        ),
        (
            "post_processor",
            serde_json::json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "none", "type_id": 0}}], "pair": [], "special_tokens": {}}),
        ),
        (
            "post_processor",
            serde_json::json!({"type": "BertProcessing", "sep": ["x", 4_294_967_295u32], "cls": ["y", 0]}),
        ),
        (
            "added_tokens",
            serde_json::json!([{"id": 4_294_967_295u32, "content": "", "single_word": true, "lstrip": true, "rstrip": true, "normalized": true, "special": true}]),
        ),
        (
            "added_tokens",
            serde_json::json!([{"id": 0, "content": "e", "single_word": true, "lstrip": true, "rstrip": true, "normalized": true, "special": true}]),
        ),
        (
            "model",
            serde_json::json!({"type": "BPE", "vocab": {"a": 4_294_967_295u32}, "merges": [], "dropout": 7.0}),
        ),
        (
            "model",
            serde_json::json!({"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}),
        ),
        (
            "model",
            serde_json::json!({"type": "BPE", "vocab": {"a": 0}, "merges": [], "continuing_subword_prefix": "##", "end_of_word_suffix": "</w>", "unk_token": "none"}),
        ),
        (
            "model",
            serde_json::json!({"type": "WordPiece", "vocab": {}, "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 0}),
        ),
        (
            "model",
            serde_json::json!({"type": "Unigram", "vocab": [["a", f64::MAX], ["", -1e308]], "unk_id": 1}),
        ),
        (
            "model",
            serde_json::json!({"type": "Unigram", "vocab": [], "unk_id": 900}),
        ),
        ("model", serde_json::json!(null)),
    ] {
        let mut json = whole.clone();
        json[key] = value.clone();
        std::fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
        opened.push((key, use_hostile(folder.path())));
    }
    assert!(opened.iter().any(|(_, opens)| *opens) && opened.iter().any(|(_, opens)| !*opens));
    for broken in [
        "",
        "{",
        "null",
        "[]",
        "{}",
        "\u{feff}{}",
        &"[".repeat(100_000),
    ] {
        std::fs::write(folder.path().join("tokenizer.json"), broken).unwrap();
        assert!(!use_hostile(folder.path()));
    }
    std::fs::write(folder.path().join("tokenizer.json"), &text).unwrap();
    std::fs::write(folder.path().join("tokenizer_config.json"), "{").unwrap();
    assert!(!use_hostile(folder.path()));
}
