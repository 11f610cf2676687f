//! Decoders of every family against transformers' answers, from both kinds of checkpoint.

use std::path::Path;

use outcrop_inference::{
    BlockPool, BlockTable, Checkpoint, Decoder, DecoderConfig, Engine, EngineOptions, KvCache,
    Rows, Scratch, Wanted,
};
use outcrop_tensor::Pool;

use crate::gguf_writer::{Entry, Gguf, convert, mxfp4_numbers};
use crate::golden::{distance, fixture, greedy, ids, json, numbers};

/// The families' folders.
pub const FAMILIES: [&str; 13] = [
    "llama_yarn",
    "llama_dynamic",
    "mistral",
    "mixtral",
    "qwen2",
    "qwen3_moe",
    "gemma2",
    "gemma3",
    "phi3",
    "smollm3",
    "granite",
    "olmo2",
    "gpt_oss",
];

/// Largest difference of logits in F32 from the golden ones.
const TOLERANCE: f32 = 2e-3;

/// One sequence in a decoder with a cache of its own.
pub struct Run {
    decoder: Decoder,
    table: BlockTable,
    cache: KvCache,
    scratch: Scratch,
    pool: Pool,
}

impl Run {
    pub fn open(path: &Path) -> Self {
        let checkpoint = Checkpoint::open(path).unwrap();
        let config = DecoderConfig::from_source(checkpoint.config()).unwrap();
        let decoder = Decoder::load(config, &checkpoint).unwrap();
        let mut blocks = BlockPool::new(512);
        Self {
            table: blocks.allocate(512).unwrap(),
            cache: KvCache::new(decoder.config(), blocks.capacity()),
            decoder,
            scratch: Scratch::default(),
            pool: Pool::new(1),
        }
    }

    pub fn vocab(&self) -> usize {
        self.decoder.config().vocab_size
    }

    /// Logits of `tokens` from `position` on, in a sequence whose rope is chosen by `rope_length`.
    pub fn forward(&mut self, tokens: &[u32], position: usize, rope_length: usize) -> Vec<f32> {
        let rows = [Rows {
            tokens,
            position,
            pages: self.table.pages(),
            rope_length,
            wanted: Wanted::All,
            adapter: None,
        }];
        let (cache, scratch) = (&mut self.cache, &mut self.scratch);
        let logits = self
            .decoder
            .forward(&self.pool, &rows, cache, scratch, &|| true);
        logits.unwrap().to_vec()
    }

    /// All logits of a prompt, computed in chunks.
    pub fn prompt(&mut self, tokens: &[u32]) -> Vec<f32> {
        let mut logits = Vec::new();
        for (chunk, part) in tokens.chunks(70).enumerate() {
            logits.extend(self.forward(part, chunk * 70, tokens.len()));
        }
        logits
    }

    /// `count` greedy tokens after a prompt with its `logits`.
    pub fn greedy(&mut self, prompt: &[u32], logits: &[f32], count: usize) -> Vec<u32> {
        let mut made = vec![argmax(&logits[logits.len() - self.vocab()..])];
        while made.len() < count {
            let position = prompt.len() + made.len() - 1;
            let last = made[made.len() - 1];
            made.push(argmax(&self.forward(&[last], position, prompt.len())));
        }
        made
    }
}

pub fn argmax(row: &[f32]) -> u32 {
    let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a)));
    best.unwrap() as u32
}

/// Compares the model at `path` with the golden answers of `family`.
fn check(family: &str, path: &Path) {
    let golden = json(&format!("families/{family}/golden.json"));
    for prompt in golden["prompts"].as_array().unwrap() {
        let mut run = Run::open(path);
        let tokens = ids(&prompt["ids"]);
        let logits = run.prompt(&tokens);
        let rows: Vec<&[f32]> = logits.chunks_exact(run.vocab()).collect();
        let off = distance(rows[tokens.len() - 1], &numbers(&prompt["last_logits"]));
        println!("{family} {}: last logits off by {off:.2e}", prompt["name"]);
        assert!(off <= TOLERANCE, "{family} {}: {off}", prompt["name"]);
        for (at, &best) in ids(&prompt["argmax_all"]).iter().enumerate() {
            let behind = rows[at][argmax(rows[at]) as usize] - rows[at][best as usize];
            assert!(behind <= TOLERANCE, "{family} at {at}: {behind}");
        }
        // What crosses a border is the engine's to compute anew.
        if prompt["greedy"].is_array() && prompt["name"] != "crossing" {
            let expected = ids(&prompt["greedy"]);
            assert!(!expected.is_empty());
            let made = run.greedy(&tokens, &logits, expected.len());
            assert_eq!(made, expected, "{family} {}", prompt["name"]);
        }
    }
}

#[test]
fn safetensors_of_every_family_give_the_golden_logits_and_tokens() {
    for family in FAMILIES {
        check(family, &fixture(&format!("families/{family}")));
    }
}

#[tokio::test]
async fn generation_across_the_original_context_is_as_in_one_pass() {
    let folder = folder_with("phi3", serde_json::json!({}));
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(fixture("llama3").join(name), folder.path().join(name)).unwrap();
    }
    let golden = json("families/phi3/golden.json");
    let mut prompts = golden["prompts"].as_array().unwrap().iter();
    let prompt = prompts.find(|prompt| prompt["name"] == "crossing").unwrap();
    let (tokens, expected) = (ids(&prompt["ids"]), ids(&prompt["greedy"]));
    assert!(tokens.len() < 128 && tokens.len() + expected.len() > 128);
    let engine = Engine::load(folder.path(), "phi3", EngineOptions::default()).unwrap();
    for _ in 0..2 {
        // The second time keys of both kinds are in the prefix cache.
        let completion = engine.generate(greedy(tokens.clone(), 32)).await.unwrap();
        assert_eq!(completion.ids, expected);
    }
}

/// llama.cpp's name of each architecture, and whether its converter interleaves queries and keys.
fn gguf_name(architecture: &str) -> (&'static str, bool) {
    match architecture {
        "llama" | "mistral" | "mixtral" => ("llama", true),
        "qwen2" => ("qwen2", false),
        "qwen3_moe" => ("qwen3moe", false),
        "gemma2" => ("gemma2", false),
        "gemma3_text" => ("gemma3", false),
        "phi3" => ("phi3", false),
        "smollm3" => ("smollm3", true),
        "granite" => ("granite", true),
        "olmo2" => ("olmo2", false),
        "gpt_oss" => ("gpt-oss", false),
        other => panic!("{other}"),
    }
}

/// The fields that make a Hugging Face configuration say what a GGUF file of it means: windows that
/// llama.cpp does not have, chosen factors, whole pairs in YaRN's ramp, parts brought to a sum.
fn as_in_gguf(family: &str) -> serde_json::Value {
    use serde_json::json;
    match family {
        "mistral" => json!({"sliding_window": null}),
        "qwen2" => json!({"use_sliding_window": false}),
        "qwen3_moe" => json!({"norm_topk_prob": true}),
        "gemma2" => json!({"query_pre_attn_scalar": 16}),
        "llama_dynamic" => json!({"rope_scaling": null, "max_position_embeddings": 512}),
        "phi3" => json!({"rope_scaling": {
            "type": "longrope", "short_factor": [1.2, 2.5, 6.0], "long_factor": [1.2, 2.5, 6.0],
        }}),
        "gpt_oss" => json!({"swiglu_limit": 7.0, "rope_scaling": {
            "rope_type": "yarn", "factor": 8.0, "truncate": true, "original_max_position_embeddings": 64,
        }}),
        _ => json!({}),
    }
}

/// A copy of a family's folder with other fields.
fn folder_with(family: &str, fields: serde_json::Value) -> tempfile::TempDir {
    let (source, copy) = (
        fixture(&format!("families/{family}")),
        tempfile::tempdir().unwrap(),
    );
    let mut config = json(&format!("families/{family}/config.json"));
    for (name, value) in fields.as_object().unwrap() {
        config[name] = value.clone();
    }
    std::fs::write(copy.path().join("config.json"), config.to_string()).unwrap();
    let weights = "model.safetensors";
    std::fs::copy(source.join(weights), copy.path().join(weights)).unwrap();
    copy
}

#[test]
fn gguf_of_every_family_means_the_same_as_its_safetensors() {
    for family in FAMILIES {
        if family == "qwen3_moe" {
            // llama.cpp's Qwen3-MoE has experts in each layer.
            continue;
        }
        let folder = folder_with(family, as_in_gguf(family));
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        let config = DecoderConfig::from_source(checkpoint.config()).unwrap();
        let (name, is_interleaved) = gguf_name(&config.architecture);
        let gguf = convert(&checkpoint, &config, name, is_interleaved);
        let file = folder.path().join("model.gguf");
        gguf.write(&file);
        if let Ok(keep) = std::env::var("OUTCROP_KEEP_GGUF") {
            std::fs::copy(&file, Path::new(&keep).join(format!("{family}.gguf"))).unwrap();
        }
        let golden = json(&format!("families/{family}/golden.json"));
        for prompt in golden["prompts"].as_array().unwrap() {
            let tokens = ids(&prompt["ids"]);
            let expected = Run::open(folder.path()).prompt(&tokens);
            let got = Run::open(&file).prompt(&tokens);
            let off = distance(&got, &expected);
            println!("{family} {}: GGUF off by {off:.2e}", prompt["name"]);
            assert!(off <= 1e-3, "{family} {}: {off}", prompt["name"]);
        }
    }
}

/// Writes a safetensors file of F32 tensors.
pub fn save(path: &Path, tensors: &[(String, Vec<usize>, Vec<f32>)]) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape, numbers) in tensors {
        let start = data.len();
        data.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend(data);
    std::fs::write(path, file).unwrap();
}

/// The tensors of a checkpoint by `rename`; none where that gives none.
fn renamed(
    checkpoint: &Checkpoint,
    rename: impl Fn(&str) -> Option<String>,
) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let tensors = checkpoint.names().filter_map(|name| {
        let shape = checkpoint.shape(name).unwrap().to_vec();
        let new = rename(name)?;
        Some((
            new,
            shape.clone(),
            checkpoint.numbers(name, &shape).unwrap(),
        ))
    });
    tensors.collect()
}

#[test]
fn gemma_beside_a_vision_tower_gives_the_golden_logits() {
    for prefix in ["language_model.model.", "model.language_model."] {
        let folder = tempfile::tempdir().unwrap();
        let mut text = json("families/gemma3/config.json");
        // The layout of transformers 5.
        text.as_object_mut()
            .unwrap()
            .retain(|name, _| !name.starts_with("rope_") && name != "sliding_window_pattern");
        text["rope_parameters"] = serde_json::json!({
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        });
        let config = serde_json::json!({"model_type": "gemma3", "text_config": text});
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        let source = Checkpoint::open(&fixture("families/gemma3")).unwrap();
        let tensors = renamed(&source, |name| {
            Some(format!("{prefix}{}", name.strip_prefix("model.")?))
        });
        save(&folder.path().join("model.safetensors"), &tensors);
        check("gemma3", folder.path());
    }
}

#[test]
fn dequantised_experts_of_gpt_oss_give_the_golden_logits() {
    let source = Checkpoint::open(&fixture("families/gpt_oss")).unwrap();
    let config = DecoderConfig::from_source(source.config()).unwrap();
    let (count, hidden) = (4, config.hidden_size);
    let width = config.intermediate_size;
    let is_packed = |name: &str| name.ends_with("_blocks") || name.ends_with("_scales");
    let mut tensors = renamed(&source, |name| (!is_packed(name)).then(|| name.to_owned()));
    for layer in 0..config.layers() {
        for (name, rows, cols) in [
            ("gate_up_proj", 2 * width, hidden),
            ("down_proj", hidden, width),
        ] {
            let name = format!("model.layers.{layer}.mlp.experts.{name}");
            let numbers = mxfp4_numbers(&source, &name, [count, rows, cols]);
            let mut turned = Vec::new();
            for expert in numbers.chunks_exact(rows * cols) {
                let at = |i: usize| expert[i % rows * cols + i / rows];
                turned.extend((0..rows * cols).map(at));
            }
            tensors.push((name, vec![count, cols, rows], turned));
        }
    }
    let folder = folder_with("gpt_oss", serde_json::json!({"quantization_config": null}));
    save(&folder.path().join("model.safetensors"), &tensors);
    check("gpt_oss", folder.path());
}

#[test]
fn a_gguf_model_split_over_files_reads_as_one() {
    let source = fixture("families/llama_yarn");
    let checkpoint = Checkpoint::open(&source).unwrap();
    let config = DecoderConfig::from_source(checkpoint.config()).unwrap();
    let mut whole = convert(&checkpoint, &config, "llama", true);
    let folder = tempfile::tempdir().unwrap();
    let file = |number: usize| folder.path().join(format!("m-0000{number}-of-00002.gguf"));
    let split = |number: usize| {
        let number = ("split.no".to_owned(), Entry::Size(number));
        [number, ("split.count".to_owned(), Entry::Size(2))]
    };
    let second = Gguf {
        entries: split(1).into(),
        tensors: whole.tensors.split_off(whole.tensors.len() / 2),
    };
    whole.entries.extend(split(0));
    whole.write(&file(1));
    let error = Checkpoint::open(&file(1)).unwrap_err().to_string();
    assert!(
        error.contains("m-00002-of-00002.gguf: expected a part of the model"),
        "{error}"
    );
    second.write(&file(2));
    let tokens: Vec<u32> = (3..60).collect();
    let expected = Run::open(&source).prompt(&tokens);
    assert!(distance(&Run::open(&file(1)).prompt(&tokens), &expected) <= 1e-3);
    let error = Checkpoint::open(&file(2)).unwrap_err().to_string();
    assert!(error.contains("split.no: expected 0, got 1"), "{error}");
    // The first part in the second's place.
    std::fs::copy(file(1), file(2)).unwrap();
    let error = Checkpoint::open(&file(1)).unwrap_err().to_string();
    assert!(error.contains("also stands in"), "{error}");
}
