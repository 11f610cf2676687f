//! Every family of embedding and reranking models against golden vectors and scores.

use std::path::PathBuf;

use outcrop_api::{EmbedOptions, Embedder, Embeddings, ErrorKind, ModelKind, Reranker, Result};
use outcrop_inference::{EncoderModel, EncoderOptions};
use serde_json::{Value, json};

use crate::golden::{distance, fixture, json as golden, numbers};

const EMBEDDING: [&str; 4] = ["xlm_roberta", "modernbert", "nomic_bert", "qwen3_embedding"];
const RERANKING: [&str; 4] = [
    "xlm_roberta_reranker",
    "modernbert_reranker",
    "qwen3_classifier",
    "qwen3_reranker",
];

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

fn load(name: &str, threads: usize) -> EncoderModel {
    let options = EncoderOptions {
        threads: Some(threads),
        ..EncoderOptions::default()
    };
    EncoderModel::load_with(&fixture(name), name, options).unwrap()
}

fn embed(model: &EncoderModel, texts: &[String], prompt: Option<&str>) -> Result<Embeddings> {
    run(model.embed(
        texts,
        EmbedOptions {
            truncate: true,
            prompt: prompt.map(str::to_owned),
            ..EmbedOptions::default()
        },
    ))
}

fn texts(golden: &Value) -> Vec<String> {
    let texts = golden["texts"].as_array().unwrap();
    texts
        .iter()
        .map(|text| text["text"].as_str().unwrap().to_owned())
        .collect()
}

fn unit(values: &Value) -> Vec<f32> {
    let values = numbers(values);
    let length = values.iter().map(|v| v * v).sum::<f32>().sqrt();
    values.iter().map(|v| v / length).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn vectors_and_prompts_are_the_golden_ones() {
    for name in EMBEDDING {
        let (model, golden) = (load(name, 2), golden(&format!("{name}/golden.json")));
        assert_eq!(model.info().kind, ModelKind::Embedding, "{name}");
        let texts = texts(&golden);
        let got = embed(&model, &texts, None).unwrap();
        assert_eq!(model.info().dimensions, Some(got.dimensions), "{name}");
        for (row, text) in got.rows().zip(golden["texts"].as_array().unwrap()) {
            let far = distance(row, &unit(&text["embedding"]));
            assert!(far <= 2e-5, "{name} {}: {far}", text["text"]);
        }
        for (prompt, expected) in golden["prompts"].as_object().unwrap() {
            let got = embed(&model, &texts[..1], Some(prompt)).unwrap();
            let far = distance(&got.values, &unit(expected));
            assert!(far <= 2e-5, "{name} {prompt}: {far}");
        }
        let error = embed(&model, &texts[..1], Some("cooking")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValidationException, "{name}");
        assert!(error.to_string().contains("query"), "{name}: {error}");
    }
}

#[test]
fn tokens_and_their_vectors_are_the_golden_ones() {
    for name in EMBEDDING {
        let (model, golden) = (load(name, 1), golden(&format!("{name}/golden.json")));
        let cases = golden["texts"].as_array().unwrap();
        for case in cases {
            let text = case["text"].as_str().unwrap();
            let ids = model.tokenizer().encode(text, true).unwrap();
            assert_eq!(json!(ids.len()), case["tokens"], "{name} {text:?}");
            if ids.len() <= model.max_tokens() {
                assert_eq!(json!(ids), case["ids"], "{name} {text:?}");
                continue;
            }
            let all = [text.to_owned()];
            let error = run(model.embed(&all, EmbedOptions::default())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ValidationException, "{name}");
            let message = error.to_string();
            for number in [ids.len(), model.max_tokens()] {
                assert!(message.contains(&number.to_string()), "{name}: {message}");
            }
        }
        let vectors = model
            .token_vectors(cases[0]["text"].as_str().unwrap())
            .unwrap();
        let all = golden["token_embeddings_of_text_0"].as_array().unwrap();
        // A decoder whose pooling reads the last token computes no other.
        let first = if name == "qwen3_embedding" {
            all.len() - 1
        } else {
            0
        };
        let expected: Vec<f32> = all[first..].iter().flat_map(numbers).collect();
        let far = distance(&vectors, &expected);
        assert!(far <= 1e-4, "{name}: {far}");
    }
}

#[test]
fn a_batch_is_its_singles_at_any_number_of_threads() {
    for name in EMBEDDING {
        let texts = texts(&golden(&format!("{name}/golden.json")));
        let (one, two) = (load(name, 1), load(name, 2));
        let batch = embed(&one, &texts, None).unwrap();
        let again = embed(&two, &texts, None).unwrap();
        assert_eq!(bits(&batch.values), bits(&again.values), "{name}");
        for (row, text) in batch.rows().zip(&texts) {
            let single = embed(&two, std::slice::from_ref(text), None).unwrap();
            assert_eq!(bits(row), bits(&single.values), "{name} {text:?}");
        }
    }
}

#[test]
fn scores_are_the_golden_ones() {
    for name in RERANKING {
        let model = load(name, 2);
        assert_eq!(model.info().kind, ModelKind::Rerank, "{name}");
        let golden = golden(&format!("{name}/golden.json"));
        for pair in golden["pairs"].as_array().unwrap() {
            let query = pair["query"].as_str().unwrap();
            let texts = [pair["document"].as_str().unwrap().to_owned()];
            let alone = run(model.rerank(query, &texts)).unwrap();
            let expected = pair["score"].as_f64().unwrap() as f32;
            assert!(
                (alone[0] - expected).abs() <= 1e-4,
                "{name} {pair}: {alone:?}"
            );
            let more = [
                texts[0].clone(),
                "another text".to_owned(),
                texts[0].clone(),
            ];
            let batch = run(model.rerank(query, &more)).unwrap();
            assert_eq!(bits(&batch[..1]), bits(&alone), "{name}");
            assert_eq!(bits(&batch[2..]), bits(&alone), "{name}");
        }
        let error = embed(&model, &["text".to_owned()], None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValidationException, "{name}");
    }
}

/// The config of a copy of a model, changed, with its other files linked to.
fn altered(
    name: &str,
    folder: &str,
    change: impl FnOnce(&mut Value),
) -> (tempfile::TempDir, PathBuf) {
    let temporary = tempfile::tempdir().unwrap();
    let copy = temporary.path().join(folder);
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(fixture(name)).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
    }
    let mut config = golden(&format!("{name}/config.json"));
    change(&mut config);
    std::fs::write(copy.join("config.json"), config.to_string()).unwrap();
    (temporary, copy)
}

#[test]
fn what_cannot_be_followed_is_named() {
    let refused = |field: &str, value: Value| {
        let (_keep, folder) = altered("nomic_bert", "model", |config| config[field] = value);
        let error = EncoderModel::load(&folder, "altered").err().unwrap();
        assert_eq!(error.kind(), ErrorKind::ModelErrorException);
        error.to_string()
    };
    let unknown = refused("model_type", json!("deberta-v2"));
    for part in [
        "deberta-v2",
        "modernbert",
        "xlm-roberta",
        "nomic_bert",
        "qwen3",
    ] {
        assert!(unknown.contains(part), "{unknown}");
    }
    for (field, value) in [
        ("prenorm", json!(true)),
        ("activation_function", json!("glu")),
        ("moe_every_n_layers", json!(2)),
        ("n_head", json!(5)),
        ("rope_parameters", json!({"rope_type": "yarn"})),
    ] {
        let message = refused(field, value);
        let name = match field {
            "n_head" => "hidden_size",
            "rope_parameters" => "rope_type",
            other => other,
        };
        assert!(message.contains(name), "{message}");
    }
    let labels = |config: &mut Value| config["id2label"] = json!({"0": "a", "1": "b"});
    let (_keep, folder) = altered("modernbert_reranker", "model", labels);
    let error = EncoderModel::load(&folder, "altered").err().unwrap();
    assert!(error.to_string().contains("id2label"), "{error}");
}

#[test]
fn a_decoder_is_what_its_files_say() {
    let kind =
        |folder: &PathBuf, config: &Value| outcrop_inference::model_kind(folder, config).unwrap();
    let same = |_: &mut Value| ();
    let config = golden("qwen3_reranker/config.json");
    let (_keep, bare) = altered("qwen3_reranker", "model", same);
    std::fs::remove_file(bare.join("modules.json")).unwrap();
    std::fs::remove_file(bare.join("config_sentence_transformers.json")).unwrap();
    assert_eq!(kind(&bare, &config), ModelKind::Rerank, "by its template");
    let model = EncoderModel::load(&bare, "bare").unwrap();
    assert_eq!(model.info().kind, ModelKind::Rerank);
    std::fs::remove_file(bare.join("chat_template.jinja")).unwrap();
    assert_eq!(kind(&bare, &config), ModelKind::Chat);
    std::fs::write(
        bare.join("README.md"),
        "---\npipeline_tag: text-ranking\n---\n",
    )
    .unwrap();
    assert_eq!(kind(&bare, &config), ModelKind::Rerank, "by its card");
    let (_keep, named) = altered("qwen3", "Qwen3-Reranker-0.6B", same);
    let plain = golden("qwen3/config.json");
    assert_eq!(kind(&named, &plain), ModelKind::Rerank, "by its folder");
    assert_eq!(kind(&fixture("qwen3"), &plain), ModelKind::Chat);
}
