//! The encoder against golden vectors and scores, and against itself in other batches.

use std::path::PathBuf;

use outcrop_api::{EmbedOptions, Embedder, Embeddings, ErrorKind, ModelKind, Reranker, Result};
use outcrop_inference::{EncoderModel, EncoderOptions, Precision};
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn golden(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixture(name)).unwrap()).unwrap()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

fn on_threads(folder: &std::path::Path, threads: usize) -> Result<EncoderModel> {
    let options = EncoderOptions {
        threads: Some(threads),
        ..EncoderOptions::default()
    };
    EncoderModel::load_with(folder, "bert", options)
}

fn embed(model: &EncoderModel, texts: &[String], truncate: bool) -> Result<Embeddings> {
    let options = EmbedOptions {
        truncate,
        ..EmbedOptions::default()
    };
    run(model.embed(texts, options))
}

fn floats(value: &Value) -> Vec<f32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap() as f32)
        .collect()
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn texts_of(golden: &Value) -> Vec<String> {
    let texts = golden["texts"].as_array().unwrap();
    texts
        .iter()
        .map(|t| t["text"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn vectors_are_the_golden_ones() {
    let model = EncoderModel::load(&fixture("bert_minilm"), "bert").unwrap();
    let golden = golden("bert_minilm/golden.json");
    let info = model.info();
    assert_eq!(
        (info.kind, info.dimensions, info.context_length),
        (ModelKind::Embedding, Some(64), 128)
    );
    let got = embed(&model, &texts_of(&golden), true).unwrap();
    let mut tokens = 0;
    for (row, text) in got.rows().zip(golden["texts"].as_array().unwrap()) {
        let distance = furthest(row, &floats(&text["embedding"]));
        assert!(distance <= 1e-4, "{}: {distance}", text["text"]);
        tokens += text["n"].as_u64().unwrap() as usize;
    }
    assert_eq!(got.input_tokens, tokens);
    let first = model
        .token_vectors(golden["texts"][0]["text"].as_str().unwrap())
        .unwrap();
    let expected: Vec<f32> = golden["token_embeddings_of_text_0"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(floats)
        .collect();
    let distance = furthest(&first, &expected);
    assert!(distance <= 1e-4, "{distance}");
}

#[test]
fn scores_are_the_golden_ones() {
    let model = EncoderModel::load(&fixture("bert_cross_encoder"), "cross").unwrap();
    assert_eq!(model.info().kind, ModelKind::Rerank);
    for pair in golden("bert_cross_encoder/golden.json")["pairs"]
        .as_array()
        .unwrap()
    {
        let texts = [pair["document"].as_str().unwrap().to_owned()];
        let scores = run(model.rerank(pair["query"].as_str().unwrap(), &texts)).unwrap();
        let expected = pair["score"].as_f64().unwrap() as f32;
        assert!((scores[0] - expected).abs() <= 1e-3, "{pair}: {scores:?}");
    }
}

#[test]
fn tokens_are_the_golden_ones() {
    for name in ["bert_minilm", "bert_cross_encoder"] {
        let model = EncoderModel::load(&fixture(name), name).unwrap();
        let golden = golden(&format!("{name}/golden.json"));
        for case in golden["tokenizer"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let ids = model.tokenizer().encode(text, true).unwrap();
            assert_eq!(serde_json::json!(ids), case["ids"], "{text:?}");
            let plain = model.tokenizer().encode(text, false).unwrap();
            assert_eq!(serde_json::json!(plain), case["ids_no_special"], "{text:?}");
        }
        for case in golden["tokenizer_pairs"].as_array().unwrap() {
            let (a, b) = (case["a"].as_str().unwrap(), case["b"].as_str().unwrap());
            let (ids, types) = model.tokenizer().encode_pair(a, b).unwrap();
            assert_eq!(serde_json::json!(ids), case["ids"]);
            assert_eq!(serde_json::json!(types), case["type_ids"]);
        }
    }
}

/// 64 texts of many lengths, the empty one among them.
fn many_texts() -> Vec<String> {
    let words = [
        "river",
        "bank",
        "loan",
        "the",
        "of",
        "complaint",
        "fee",
        "policy",
        "2026",
    ];
    (0..64)
        .map(|i| {
            (0..i * 3 % 67)
                .map(|j| words[(i * 7 + j * 5) % 9])
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

#[test]
fn a_batch_is_its_singles_and_one_thread_is_two() {
    let folder = fixture("bert_minilm");
    let one = on_threads(&folder, 1).unwrap();
    let two = on_threads(&folder, 2).unwrap();
    let texts = many_texts();
    let batch = embed(&two, &texts, true).unwrap();
    assert_eq!(
        bits(&batch.values),
        bits(&embed(&one, &texts, true).unwrap().values)
    );
    for (row, text) in batch.rows().zip(&texts) {
        let single = embed(&two, std::slice::from_ref(text), true).unwrap();
        assert_eq!(bits(row), bits(&single.values), "{text:?}");
    }
    let reversed: Vec<String> = texts.iter().rev().cloned().collect();
    let back = embed(&one, &reversed, true).unwrap();
    let forwards: Vec<&[f32]> = batch.rows().collect();
    assert!(
        forwards
            .into_iter()
            .rev()
            .map(bits)
            .eq(back.rows().map(bits))
    );
}

#[test]
fn concurrent_calls_give_the_same_bytes() {
    let model = EncoderModel::load(&fixture("bert_minilm"), "bert").unwrap();
    let texts = many_texts();
    let expected = bits(&embed(&model, &texts, true).unwrap().values);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                assert_eq!(bits(&embed(&model, &texts, true).unwrap().values), expected);
            });
        }
    });
}

#[test]
fn a_long_text_is_refused_with_both_numbers() {
    let model = EncoderModel::load(&fixture("bert_minilm"), "bert").unwrap();
    let texts = ["short".to_owned(), "river ".repeat(300)];
    let error = embed(&model, &texts, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ValidationException);
    let tokens = model.count_tokens(&texts[1]).unwrap();
    let message = error.to_string();
    assert!(
        message.contains("texts[1]") && message.contains("128"),
        "{message}"
    );
    assert!(message.contains(&tokens.to_string()), "{message}");
    assert_eq!(embed(&model, &texts, true).unwrap().values.len(), 2 * 64);

    let model = EncoderModel::load(&fixture("bert_cross_encoder"), "cross").unwrap();
    let error = run(model.rerank("query", &["river ".repeat(900)])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ValidationException);
    assert!(error.to_string().contains("512"), "{error}");
}

#[test]
fn no_texts_give_no_vectors_and_a_wrong_kind_is_refused() {
    let model = EncoderModel::load(&fixture("bert_minilm"), "bert").unwrap();
    let none = embed(&model, &[], false).unwrap();
    assert_eq!(
        (none.values.len(), none.dimensions, none.input_tokens),
        (0, 64, 0)
    );
    let error = run(model.rerank("query", &["text".to_owned()])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ValidationException);
    let decoder = EncoderModel::load(&fixture("llama3"), "llama")
        .err()
        .unwrap();
    assert_eq!(decoder.kind(), ErrorKind::ModelErrorException);
    assert!(decoder.to_string().contains("model_type"), "{decoder}");
}

#[test]
fn a_dropped_call_ends() {
    let model = EncoderModel::load(&fixture("bert_minilm"), "bert").unwrap();
    let texts: Vec<String> = (0..20_000).map(|i| format!("river bank {i}")).collect();
    run(async {
        let call = model.embed(&texts, EmbedOptions::default());
        let limit = std::time::Duration::from_millis(30);
        tokio::select! {
            _ = call => panic!("20,000 texts in 30 ms"),
            () = async { std::thread::sleep(limit) } => {}
        }
    });
    // The next call shares the pool: it must give its own answer, whatever the dropped one does.
    let one = embed(&model, &texts[..1], false).unwrap();
    assert_eq!(one.values.len(), 64);
}

#[test]
fn minilm_vectors_are_the_golden_ones() {
    let Some(folder) = std::env::var_os("OUTCROP_MINILM").filter(|folder| !folder.is_empty())
    else {
        eprintln!("skipped: OUTCROP_MINILM names no folder with all-MiniLM-L6-v2");
        return;
    };
    let model = EncoderModel::load(&PathBuf::from(folder), "minilm").unwrap();
    assert_eq!(model.max_tokens(), 256);
    let golden = golden("minilm_golden.json");
    let got = embed(&model, &texts_of(&golden), true).unwrap();
    for (row, text) in got.rows().zip(golden["texts"].as_array().unwrap()) {
        let expected = floats(&text["embedding"]);
        let cosine: f64 = row
            .iter()
            .zip(&expected)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum();
        let length = expected
            .iter()
            .map(|v| f64::from(*v).powi(2))
            .sum::<f64>()
            .sqrt();
        assert!(
            cosine / length >= 0.99999,
            "{}: {}",
            text["text"],
            cosine / length
        );
    }
}

#[test]
fn int8_is_near_f32_and_the_same_in_any_batch() {
    let golden = golden("bert_minilm/golden.json");
    let texts = texts_of(&golden);
    let load = |threads| {
        let options = EncoderOptions {
            threads: Some(threads),
            precision: Precision::Int8,
        };
        EncoderModel::load_with(&fixture("bert_minilm"), "int8", options).unwrap()
    };
    let (one, two) = (load(1), load(2));
    assert_eq!(one.info().quantization, "Q8_0");
    let got = embed(&one, &texts, true).unwrap();
    for (row, text) in got.rows().zip(golden["texts"].as_array().unwrap()) {
        let expected = floats(&text["embedding"]);
        let cosine: f32 = row.iter().zip(&expected).map(|(a, b)| a * b).sum();
        assert!(cosine >= 0.995, "{}: {cosine}", text["text"]);
        assert!(cosine < 0.999_999_9, "{}: not rounded at all", text["text"]);
        let single = embed(&two, &[text["text"].as_str().unwrap().to_owned()], true).unwrap();
        assert_eq!(bits(row), bits(&single.values), "{}", text["text"]);
    }
    let options = EncoderOptions {
        precision: Precision::Int8,
        ..EncoderOptions::default()
    };
    for name in ["qwen3_embedding", "xlm_roberta"] {
        let error = EncoderModel::load_with(&fixture(name), name, options.clone());
        let error = error.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::ValidationException, "{name}");
        assert!(error.to_string().contains("precision"), "{error}");
    }
}
