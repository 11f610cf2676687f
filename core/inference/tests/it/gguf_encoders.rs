//! Embedding and reranking models from GGUF files, written as llama.cpp's converter writes them,
//! against their own folders.

use std::path::{Path, PathBuf};

use outcrop_api::{EmbedOptions, Embedder, ErrorKind, ModelKind, Reranker};
use outcrop_inference::{
    Checkpoint, DecoderConfig, EncoderModel, EncoderOptions, Precision, gguf_kind,
};
use serde_json::{Value, json};

use crate::gguf_writer::{Entry, Gguf, convert};
use crate::golden::{self, distance, fixture};

const TEXTS: [&str; 6] = [
    "The harbour master keeps a ledger of every ship.",
    "Water boils at one hundred degrees",
    "  spaces   in between and before",
    "a",
    "It's 12:30, isn't it? (Yes!) \u{e9}t\u{e9}, caf\u{e9}",
    "What does it cost to close an account? What does it cost to open one again?",
];

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

/// Metadata of a tokenizer, from `tokenizer.json`.
fn tokenizer(folder: &Path, pre: &'static str) -> Vec<(String, Entry)> {
    let text = std::fs::read_to_string(folder.join("tokenizer.json")).unwrap();
    let tokenizer: Value = serde_json::from_str(&text).unwrap();
    let model = &tokenizer["model"];
    let mut scored: Vec<(u64, String, f32)> = match &model["vocab"] {
        Value::Array(pieces) => (0..)
            .zip(pieces)
            .map(|(id, piece)| {
                let text = piece[0].as_str().unwrap().to_owned();
                (id, text, piece[1].as_f64().unwrap() as f32)
            })
            .collect(),
        pieces => {
            let pieces = pieces.as_object().unwrap().iter();
            pieces
                .map(|(text, id)| (id.as_u64().unwrap(), text.clone(), 0.0))
                .collect()
        }
    };
    let specials = tokenizer["added_tokens"].as_array().unwrap();
    let special = |text: &str| specials.iter().any(|token| token["content"] == text);
    for token in specials {
        let id = token["id"].as_u64().unwrap();
        if scored.iter().all(|(own, ..)| *own != id) {
            scored.push((id, token["content"].as_str().unwrap().to_owned(), 0.0));
        }
    }
    scored.sort_by_key(|(id, ..)| *id);
    let id_of = |text: &str| scored.iter().position(|(_, own, _)| own == text);
    let kind = |text: &str| match text {
        "<unk>" => 2,
        text if special(text) => 3,
        _ => 1,
    };
    let spelt = |text: &str| match model["type"].as_str() {
        Some("WordPiece") if kind(text) != 3 => match text.strip_prefix("##") {
            Some(rest) => rest.to_owned(),
            None => format!("\u{2581}{text}"),
        },
        _ => text.to_owned(),
    };
    let mut entries = vec![
        (
            "tokens",
            Entry::Texts(scored.iter().map(|(_, t, _)| spelt(t)).collect()),
        ),
        (
            "token_type",
            Entry::Integers(scored.iter().map(|(_, t, _)| kind(t)).collect()),
        ),
        ("pre", Entry::Text(pre)),
    ];
    match model["type"].as_str() {
        Some("WordPiece") => entries.push(("model", Entry::Text("bert"))),
        Some("Unigram") => {
            entries.push(("model", Entry::Text("t5")));
            entries.push((
                "scores",
                Entry::Numbers(scored.iter().map(|s| s.2).collect()),
            ));
            entries.push(("add_space_prefix", Entry::Flag(true)));
        }
        _ => {
            entries.push(("model", Entry::Text("gpt2")));
            let merges = model["merges"].as_array().unwrap().iter();
            let merges = merges.map(|merge| match merge {
                Value::Array(two) => {
                    format!("{} {}", two[0].as_str().unwrap(), two[1].as_str().unwrap())
                }
                text => text.as_str().unwrap().to_owned(),
            });
            entries.push(("merges", Entry::Texts(merges.collect())));
        }
    }
    for (key, names) in [
        ("bos_token_id", &["[CLS]", "<s>"][..]),
        ("eos_token_id", &["</s>", "<|endoftext|>"]),
        ("seperator_token_id", &["[SEP]", "</s>"]),
        ("unknown_token_id", &["[UNK]", "<unk>"]),
        ("padding_token_id", &["[PAD]", "<pad>"]),
    ] {
        if let Some(id) = names.iter().find_map(|name| id_of(name)) {
            entries.push((key, Entry::Size(id)));
        }
    }
    entries
        .into_iter()
        .map(|(name, entry)| (format!("tokenizer.ggml.{name}"), entry))
        .collect()
}

/// llama.cpp's name of an encoder's tensor; `None` for one that its converter leaves out.
fn renamed(name: &str) -> Option<String> {
    let mut name = name;
    for prefix in ["bert.", "roberta.", "model."] {
        name = name.strip_prefix(prefix).unwrap_or(name);
    }
    let (name, ending) = name.rsplit_once('.')?;
    let whole = match name {
        "embeddings.word_embeddings" | "embeddings.tok_embeddings" => "token_embd",
        "embeddings.position_embeddings" => "position_embd",
        "embeddings.token_type_embeddings" => "token_types",
        "embeddings.LayerNorm" | "embeddings.norm" | "emb_ln" => "token_embd_norm",
        "final_norm" => "output_norm",
        "classifier.dense" | "head.dense" => "cls",
        "head.norm" => "cls.norm",
        "classifier.out_proj" | "classifier" => "cls.output",
        _ => {
            let place = name.strip_prefix("encoder.").unwrap_or(name);
            let place = place
                .strip_prefix("layer.")
                .or(place.strip_prefix("layers."))?;
            let (layer, part) = place.split_once('.')?;
            let part = match part {
                "attention.self.query" => "attn_q",
                "attention.self.key" => "attn_k",
                "attention.self.value" => "attn_v",
                "attn.Wqkv" => "attn_qkv",
                "attention.output.dense" | "attn.out_proj" | "attn.Wo" => "attn_output",
                "attention.output.LayerNorm" | "norm1" => "attn_output_norm",
                "attn_norm" => "attn_norm",
                "intermediate.dense" | "mlp.fc11" | "mlp.Wi" => "ffn_up",
                "mlp.fc12" => "ffn_gate",
                "output.dense" | "mlp.fc2" | "mlp.Wo" => "ffn_down",
                "mlp_norm" => "ffn_norm",
                "output.LayerNorm" | "norm2" => "layer_output_norm",
                _ => return None,
            };
            return Some(format!("blk.{layer}.{part}.{ending}"));
        }
    };
    Some(format!("{whole}.{ending}"))
}

/// The GGUF file of the encoder in a folder, by llama.cpp's `architecture` and number of a pooling.
fn encoder(folder: &Path, architecture: &'static str, pooling: usize) -> Gguf {
    let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    let size = |names: &[&str]| {
        let found = names.iter().find_map(|name| config[*name].as_u64());
        Entry::Size(found.unwrap() as usize)
    };
    let is_roberta = config["model_type"] == "xlm-roberta";
    let positions = ["n_positions", "max_position_embeddings"];
    let context = positions.iter().find_map(|name| config[*name].as_u64());
    let offset = if is_roberta { 2 } else { 0 };
    let eps = ["layer_norm_eps", "layer_norm_epsilon", "norm_eps"];
    let eps = eps.iter().find_map(|name| config[*name].as_f64()).unwrap();
    let mut gguf = Gguf::default();
    let mut put = |name: &str, entry| gguf.entries.push((format!("{architecture}.{name}"), entry));
    put(
        "context_length",
        Entry::Size(context.unwrap() as usize - offset),
    );
    put("embedding_length", size(&["hidden_size", "n_embd"]));
    put(
        "feed_forward_length",
        size(&["intermediate_size", "n_inner"]),
    );
    put("block_count", size(&["num_hidden_layers", "n_layer"]));
    put(
        "attention.head_count",
        size(&["num_attention_heads", "n_head"]),
    );
    put("attention.layer_norm_epsilon", Entry::Number(eps as f32));
    put("attention.causal", Entry::Flag(false));
    put("pooling_type", Entry::Size(pooling));
    if architecture == "nomic-bert" {
        put("rope.freq_base", Entry::Number(1000.0));
    }
    if architecture == "modern-bert" {
        let rope = &config["rope_parameters"];
        let theta = |kind: &str, old: &str| {
            let theta = rope[kind]["rope_theta"].as_f64().or(config[old].as_f64());
            Entry::Number(theta.unwrap() as f32)
        };
        put(
            "rope.freq_base",
            theta("full_attention", "global_rope_theta"),
        );
        put(
            "rope.freq_base_swa",
            theta("sliding_attention", "local_rope_theta"),
        );
        put("attention.sliding_window", size(&["local_attention"]));
        put("attention.sliding_window_pattern", Entry::Size(3));
    }
    gguf.entries
        .push(("general.architecture".into(), Entry::Text(architecture)));
    let pre = if architecture == "modern-bert" {
        "modern-bert"
    } else {
        "default"
    };
    gguf.entries.extend(tokenizer(folder, pre));
    let checkpoint = Checkpoint::open(folder).unwrap();
    for name in checkpoint.names() {
        let Some(renamed) = renamed(name) else {
            continue;
        };
        let mut shape = checkpoint.shape(name).unwrap().to_vec();
        let mut numbers = checkpoint.numbers(name, &shape).unwrap();
        if renamed == "position_embd.weight" {
            numbers.drain(..offset * shape[1]);
            shape[0] -= offset;
        }
        gguf.tensors.push((renamed, shape, numbers));
    }
    gguf
}

/// The GGUF file of the decoder in a folder, with a number of a pooling.
fn decoder(folder: &Path, pooling: usize) -> Gguf {
    let checkpoint = Checkpoint::open(folder).unwrap();
    let config = DecoderConfig::from_source(checkpoint.config()).unwrap();
    let mut gguf = convert(&checkpoint, &config, "qwen3", false);
    gguf.entries
        .retain(|(key, _)| key != "tokenizer.ggml.model");
    gguf.entries
        .push(("qwen3.pooling_type".into(), Entry::Size(pooling)));
    gguf.entries.extend(tokenizer(folder, "gpt-2"));
    // An embedding model's texts end with the token that is read; a reranker's words end otherwise.
    let key = "tokenizer.ggml.add_eos_token".to_owned();
    gguf.entries.push((key, Entry::Flag(pooling != 4)));
    gguf
}

fn load(path: &Path) -> EncoderModel {
    let options = EncoderOptions {
        threads: Some(1),
        ..EncoderOptions::default()
    };
    EncoderModel::load_with(path, "model", options).unwrap()
}

/// A file that is gone with the folder.
fn written(gguf: &Gguf) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    gguf.write(&path);
    (folder, path)
}

/// Checks that both models embed alike, ids and vectors.
fn check_embedding(name: &str, folder: &EncoderModel, file: &EncoderModel) {
    for text in TEXTS {
        let ids = |model: &EncoderModel| model.tokenizer().encode(text, true).unwrap();
        assert_eq!(ids(folder), ids(file), "{name} {text:?}");
    }
    let texts = TEXTS.map(str::to_owned);
    let options = EmbedOptions {
        truncate: true,
        prompt: None,
        ..EmbedOptions::default()
    };
    let expected = run(folder.embed(&texts, options.clone())).unwrap();
    let got = run(file.embed(&texts, options)).unwrap();
    let off = distance(&expected.values, &got.values);
    assert!(off <= 1e-5, "{name}: {off}");
}

/// Checks that both models give the same scores.
fn check_scores(name: &str, folder: &EncoderModel, file: &EncoderModel) {
    let texts = TEXTS.map(str::to_owned);
    let query = "How does {query} fare in {document}s?";
    let expected = run(folder.rerank(query, &texts)).unwrap();
    let got = run(file.rerank(query, &texts)).unwrap();
    let off = distance(&expected, &got);
    assert!(off <= 1e-5, "{name}: {off}");
    assert!(
        expected
            .iter()
            .any(|score| (score - expected[0]).abs() > 1e-3),
        "{name}"
    );
}

/// A copy of a folder's weights and tokenizer, with no more of sentence-transformers than a pooling.
fn plain(name: &str, pooling: Option<&str>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(fixture(name).join(file), path.join(file)).unwrap();
    }
    if let Some(mode) = pooling {
        let modules = json!([
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        ]);
        std::fs::write(path.join("modules.json"), modules.to_string()).unwrap();
        std::fs::create_dir(path.join("1_Pooling")).unwrap();
        let config = json!({"pooling_mode": mode}).to_string();
        std::fs::write(path.join("1_Pooling/config.json"), config).unwrap();
    }
    folder
}

#[test]
fn models_of_gguf_files_embed_as_their_folders_do() {
    for (name, architecture, mode, pooling) in [
        ("bert_minilm", "bert", "mean", 1),
        ("xlm_roberta", "bert", "cls", 2),
        ("nomic_bert", "nomic-bert", "mean", 1),
        ("modernbert", "modern-bert", "cls", 2),
        ("qwen3_embedding", "qwen3", "lasttoken", 3),
        ("qwen3_embedding", "qwen3", "mean", 1),
    ] {
        let folder = plain(name, Some(mode));
        let gguf = match architecture {
            "qwen3" => decoder(folder.path(), pooling),
            _ => encoder(folder.path(), architecture, pooling),
        };
        let (_keep, path) = written(&gguf);
        assert_eq!(gguf_kind(&path).unwrap(), ModelKind::Embedding, "{name}");
        let (folder, file) = (load(folder.path()), load(&path));
        let (expected, got) = (folder.info(), file.info());
        assert_eq!(got.kind, ModelKind::Embedding, "{name}");
        assert_eq!(got.context_length, expected.context_length, "{name}");
        assert_eq!(got.dimensions, expected.dimensions, "{name}");
        check_embedding(name, &folder, &file);
    }
}

#[test]
fn an_encoder_without_a_pooling_takes_the_mean_and_can_be_int8() {
    let folder = plain("bert_minilm", Some("mean"));
    let mut gguf = encoder(folder.path(), "bert", 0);
    let load_int8 = |path: &Path| {
        let options = EncoderOptions {
            precision: Precision::Int8,
            ..EncoderOptions::default()
        };
        EncoderModel::load_with(path, "model", options).unwrap()
    };
    let (_keep, path) = written(&gguf);
    check_embedding("pooling 0", &load(folder.path()), &load(&path));
    check_embedding("int8", &load_int8(folder.path()), &load_int8(&path));
    gguf.entries.retain(|(key, _)| key != "bert.pooling_type");
    let (_keep, path) = written(&gguf);
    check_embedding("no pooling", &load(folder.path()), &load(&path));
}

#[test]
fn rerankers_of_gguf_files_score_as_their_folders_do() {
    for (name, architecture) in [
        ("xlm_roberta_reranker", "bert"),
        ("modernbert_reranker", "modern-bert"),
        ("qwen3_classifier", "qwen3"),
    ] {
        let folder = plain(name, None);
        let gguf = match architecture {
            "qwen3" => decoder(folder.path(), 4),
            _ => encoder(folder.path(), architecture, 4),
        };
        let (_keep, path) = written(&gguf);
        assert_eq!(gguf_kind(&path).unwrap(), ModelKind::Rerank, "{name}");
        check_scores(name, &load(folder.path()), &load(&path));
    }
}

/// Qwen3-Reranker's file: the rows of yes and no of the output, and its words as a template.
#[test]
fn a_reranker_of_two_tokens_reads_its_own_words() {
    let words = "<|im_start|>user\n<Instruct>: Find the answer\n<Query>: {query}\n<Document>: \
                 {document}<|im_end|>\n<|im_start|>assistant\n";
    let folder = fixture("qwen3_reranker");
    let mut gguf = decoder(&folder, 4);
    let template = "tokenizer.chat_template.rerank";
    gguf.entries.push((template.into(), Entry::Text(words)));
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let embedding = "model.embed_tokens.weight";
    let shape = checkpoint.shape(embedding).unwrap().to_vec();
    let all = checkpoint.numbers(embedding, &shape).unwrap();
    let row = |id: usize| &all[id * shape[1]..(id + 1) * shape[1]];
    let score = golden::json("qwen3_reranker/1_LogitScore/config.json");
    let id = |name: &str| score[name].as_u64().unwrap() as usize;
    let rows = [row(id("true_token_id")), row(id("false_token_id"))].concat();
    let head = "cls.output.weight".to_owned();
    gguf.tensors.push((head, vec![2, shape[1]], rows));
    let (_keep, path) = written(&gguf);
    check_scores("qwen3_reranker", &load(&folder), &load(&path));
}

#[test]
fn what_a_gguf_file_lacks_or_asks_for_in_vain_is_named() {
    let folder = fixture("bert_cross_encoder");
    let refused = |gguf: &Gguf| {
        let (_keep, path) = written(gguf);
        let error = EncoderModel::load(&path, "model").err().unwrap();
        assert_eq!(error.kind(), ErrorKind::ModelErrorException, "{error}");
        error.to_string()
    };
    // The converter leaves BERT's pooler out; with it, the scores are the folder's.
    let mut gguf = encoder(&folder, "bert", 4);
    assert!(refused(&gguf).contains("cls.weight"));
    let checkpoint = Checkpoint::open(&folder).unwrap();
    for part in ["weight", "bias"] {
        let name = format!("bert.pooler.dense.{part}");
        let shape = checkpoint.shape(&name).unwrap().to_vec();
        let numbers = checkpoint.numbers(&name, &shape).unwrap();
        gguf.tensors.push((format!("cls.{part}"), shape, numbers));
    }
    let (_keep, path) = written(&gguf);
    check_scores("bert_cross_encoder", &load(&folder), &load(&path));
    let folder = fixture("bert_minilm");
    for (key, entry, expected) in [
        (
            "bert.pooling_type",
            Entry::Size(7),
            "bert.pooling_type: expected 0 (none)",
        ),
        (
            "bert.attention.causal",
            Entry::Flag(true),
            "bert.attention.causal: expected false",
        ),
        ("bert.attention.head_count", Entry::Size(5), "heads"),
        (
            "tokenizer.ggml.model",
            Entry::Text("rwkv"),
            "tokenizer.ggml.model: expected gpt2",
        ),
        (
            "general.architecture",
            Entry::Text("jina-bert-v2"),
            "jina-bert-v2",
        ),
    ] {
        let mut gguf = encoder(&folder, "bert", 1);
        gguf.entries.retain(|(own, _)| own != key);
        gguf.entries.push((key.to_owned(), entry));
        let error = refused(&gguf);
        assert!(error.contains(expected), "{error}: expected {expected}");
    }
    let mut gguf = decoder(plain("qwen3_embedding", None).path(), 3);
    gguf.entries
        .push(("qwen3.attention.causal".into(), Entry::Flag(false)));
    assert!(refused(&gguf).contains("qwen3.attention.causal: expected true"));
    let gguf = decoder(plain("qwen3_embedding", None).path(), 0);
    assert!(refused(&gguf).contains("pooling_type"));
}

/// SentencePiece's table that makes a wide a an a: a double array of four units, then the texts.
fn charsmap() -> Vec<u8> {
    let mut units = vec![0u32; 0x1000];
    let mut place = 0;
    let mut unit = 0;
    for (byte, offset) in [(0xef, 0x100), (0xbd, 0x200), (0x81, 0x400)] {
        units[place] = unit | offset << 10;
        place = place ^ offset as usize ^ byte as usize;
        unit = byte;
    }
    units[place] = unit | 1 << 8 | 0x800 << 10;
    units[place ^ 0x800] = 1 << 31;
    let mut bytes = (4 * units.len() as u32).to_le_bytes().to_vec();
    bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    bytes.extend(b"a\0");
    bytes
}

#[test]
fn a_charsmap_of_sentencepiece_is_followed_and_a_damaged_one_is_named() {
    let folder = plain("xlm_roberta", Some("cls"));
    let mut gguf = encoder(folder.path(), "bert", 2);
    let key = "tokenizer.ggml.precompiled_charsmap";
    gguf.entries.push((key.into(), Entry::Bytes(charsmap())));
    let (_keep, path) = written(&gguf);
    let ids = |text: &str| load(&path).tokenizer().encode(text, true).unwrap();
    assert_eq!(ids("\u{ff41} sea"), ids("a sea"), "a wide a is an a");
    gguf.entries.pop();
    for damaged in [vec![9, 9], vec![0xff; 64]] {
        gguf.entries.push((key.into(), Entry::Bytes(damaged)));
        let (_keep, path) = written(&gguf);
        let error = EncoderModel::load(&path, "model").err().unwrap();
        assert!(error.to_string().contains(key), "{error}");
        gguf.entries.pop();
    }
}
