//! The decoder against a plain second reading of the architecture, in F64 and without a cache, for
//! what the golden models do not have: biases, windows, untied embeddings, part of a head turned.

use std::collections::BTreeMap;
use std::path::Path;

use outcrop_inference::{
    BlockPool, Checkpoint, Decoder, DecoderConfig, KvCache, Rows, Scratch, Wanted,
};
use outcrop_tensor::Pool;
use serde_json::{Value, json};

use crate::golden::distance;

const HIDDEN: usize = 24;
const MLP: usize = 40;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 8;
const VOCAB: usize = 50;
const LAYERS: usize = 3;

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// What differs between the cases.
struct Case {
    config: Value,
    qkv_bias: bool,
    output_bias: bool,
    mlp_bias: bool,
    qk_norm: bool,
    tied: bool,
    /// Window of each layer.
    windows: [usize; LAYERS],
    /// Pairs turned in a head.
    pairs: usize,
    /// Divides all rope frequencies.
    divisor: f64,
}

impl Case {
    fn tensors(&self) -> Tensors {
        let mut state = 7u64;
        let mut tensors = Tensors::new();
        let mut add = |name: String, shape: &[usize], center: f32| {
            let values = (0..shape.iter().product())
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    center + ((state >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 0.8
                })
                .collect();
            tensors.insert(name, (shape.to_vec(), values));
        };
        add("model.embed_tokens.weight".into(), &[VOCAB, HIDDEN], 0.0);
        add("model.norm.weight".into(), &[HIDDEN], 1.0);
        if !self.tied {
            add("lm_head.weight".into(), &[VOCAB, HIDDEN], 0.0);
        }
        let (query, kv) = (HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM);
        for layer in 0..LAYERS {
            let prefix = format!("model.layers.{layer}");
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                add(format!("{prefix}.{norm}.weight"), &[HIDDEN], 1.0);
            }
            for (name, rows, cols, has_bias) in [
                ("self_attn.q_proj", query, HIDDEN, self.qkv_bias),
                ("self_attn.k_proj", kv, HIDDEN, self.qkv_bias),
                ("self_attn.v_proj", kv, HIDDEN, self.qkv_bias),
                ("self_attn.o_proj", HIDDEN, query, self.output_bias),
                ("mlp.gate_proj", MLP, HIDDEN, self.mlp_bias),
                ("mlp.up_proj", MLP, HIDDEN, self.mlp_bias),
                ("mlp.down_proj", HIDDEN, MLP, self.mlp_bias),
            ] {
                add(format!("{prefix}.{name}.weight"), &[rows, cols], 0.0);
                if has_bias {
                    add(format!("{prefix}.{name}.bias"), &[rows], 0.0);
                }
            }
            if self.qk_norm {
                add(
                    format!("{prefix}.self_attn.q_norm.weight"),
                    &[HEAD_DIM],
                    1.0,
                );
                add(
                    format!("{prefix}.self_attn.k_norm.weight"),
                    &[HEAD_DIM],
                    1.0,
                );
            }
        }
        tensors
    }
}

fn save(folder: &Path, config: &Value, tensors: &Tensors) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, (shape, values)) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        header.insert(
            name.clone(),
            json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}),
        );
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend(data);
    std::fs::write(folder.join("model.safetensors"), file).unwrap();
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
}

/// The second reading: one sequence, all positions at once.
struct Reference<'a> {
    case: &'a Case,
    tensors: &'a Tensors,
}

impl Reference<'_> {
    fn get(&self, name: &str) -> Option<Vec<f64>> {
        Some(
            self.tensors
                .get(name)?
                .1
                .iter()
                .map(|&v| f64::from(v))
                .collect(),
        )
    }

    fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let weight = self.get(&format!("{name}.weight")).unwrap();
        let rows = weight.chunks_exact(x.len());
        let mut y: Vec<f64> = rows
            .map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum())
            .collect();
        if let Some(bias) = self.get(&format!("{name}.bias")) {
            y.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
        }
        y
    }

    fn norm(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let weight = self.get(&format!("{name}.weight")).unwrap();
        let mean = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
        x.iter()
            .zip(weight)
            .map(|(v, w)| v / (mean + 1e-6).sqrt() * w)
            .collect()
    }

    fn heads(&self, x: Vec<f64>, norm: &str, position: usize) -> Vec<Vec<f64>> {
        let turn = |head: &[f64]| {
            let mut head = if self.case.qk_norm {
                self.norm(norm, head)
            } else {
                head.to_vec()
            };
            let pairs = self.case.pairs;
            for pair in 0..pairs {
                let frequency = 10_000f64.powf(-(pair as f64) / pairs as f64) / self.case.divisor;
                let (sine, cosine) = (position as f64 * frequency).sin_cos();
                let (a, b) = (head[pair], head[pair + pairs]);
                (head[pair], head[pair + pairs]) = (a * cosine - b * sine, a * sine + b * cosine);
            }
            head
        };
        x.chunks_exact(HEAD_DIM).map(turn).collect()
    }

    fn logits(&self, ids: &[u32]) -> Vec<f32> {
        let embedding = self.get("model.embed_tokens.weight").unwrap();
        let mut hidden: Vec<Vec<f64>> = ids
            .iter()
            .map(|&id| embedding[id as usize * HIDDEN..][..HIDDEN].to_vec())
            .collect();
        for layer in 0..LAYERS {
            let name = |part: &str| format!("model.layers.{layer}.{part}");
            let normed: Vec<_> = hidden
                .iter()
                .map(|h| self.norm(&name("input_layernorm"), h))
                .collect();
            let project = |part: &str| {
                normed
                    .iter()
                    .map(|x| self.linear(&name(part), x))
                    .collect::<Vec<_>>()
            };
            let turned = |part: &str, norm: &str| {
                let rows = project(part).into_iter().enumerate();
                rows.map(|(position, x)| self.heads(x, &name(norm), position))
                    .collect::<Vec<_>>()
            };
            let queries = turned("self_attn.q_proj", "self_attn.q_norm");
            let keys = turned("self_attn.k_proj", "self_attn.k_norm");
            let values = project("self_attn.v_proj");
            for (position, hidden) in hidden.iter_mut().enumerate() {
                let first = (position + 1).saturating_sub(self.case.windows[layer]);
                let mut attended = Vec::new();
                for (head, query) in queries[position].iter().enumerate() {
                    let kv = head / (HEADS / KV_HEADS);
                    let score = |p: usize| {
                        query
                            .iter()
                            .zip(&keys[p][kv])
                            .map(|(a, b)| a * b)
                            .sum::<f64>()
                    };
                    let weights: Vec<f64> = (first..=position)
                        .map(|p| (score(p) / (HEAD_DIM as f64).sqrt()).exp())
                        .collect();
                    let total: f64 = weights.iter().sum();
                    attended.extend((0..HEAD_DIM).map(|d| {
                        let parts = weights
                            .iter()
                            .zip(first..)
                            .map(|(w, p)| w * values[p][kv * HEAD_DIM + d]);
                        parts.sum::<f64>() / total
                    }));
                }
                add(hidden, &self.linear(&name("self_attn.o_proj"), &attended));
                let x = self.norm(&name("post_attention_layernorm"), hidden);
                let (gate, up) = (
                    self.linear(&name("mlp.gate_proj"), &x),
                    self.linear(&name("mlp.up_proj"), &x),
                );
                let mixed: Vec<f64> = gate
                    .iter()
                    .zip(up)
                    .map(|(g, u)| g / (1.0 + (-g).exp()) * u)
                    .collect();
                add(hidden, &self.linear(&name("mlp.down_proj"), &mixed));
            }
        }
        let output = if self.case.tied {
            "model.embed_tokens"
        } else {
            "lm_head"
        };
        let project = |h: &Vec<f64>| self.linear(output, &self.norm("model.norm", h));
        hidden.iter().flat_map(project).map(|l| l as f32).collect()
    }
}

fn add(y: &mut [f64], x: &[f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
}

fn config(fields: Value) -> Value {
    let mut config = json!({
        "hidden_size": HIDDEN, "intermediate_size": MLP, "num_hidden_layers": LAYERS, "head_dim": HEAD_DIM,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "vocab_size": VOCAB,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "hidden_act": "silu",
    });
    config
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    config
}

const ALL: usize = usize::MAX;

fn cases() -> Vec<Case> {
    let plain = || Case {
        config: config(json!({"model_type": "llama"})),
        qkv_bias: false,
        output_bias: false,
        mlp_bias: false,
        qk_norm: false,
        tied: false,
        windows: [ALL; LAYERS],
        pairs: HEAD_DIM / 2,
        divisor: 1.0,
    };
    vec![
        plain(),
        Case {
            config: config(json!({"model_type": "qwen2", "tie_word_embeddings": true})),
            qkv_bias: true,
            tied: true,
            ..plain()
        },
        Case {
            config: config(json!({
                "model_type": "llama", "attention_bias": true, "mlp_bias": true, "partial_rotary_factor": 0.5,
            })),
            qkv_bias: true,
            output_bias: true,
            mlp_bias: true,
            pairs: HEAD_DIM / 4,
            ..plain()
        },
        Case {
            config: config(json!({
                "model_type": "qwen3", "use_sliding_window": true, "sliding_window": 9, "max_window_layers": 1,
                "rope_scaling": {"type": "linear", "factor": 4.0},
            })),
            qk_norm: true,
            windows: [ALL, 9, 9],
            divisor: 4.0,
            ..plain()
        },
    ]
}

#[test]
fn the_decoder_reads_every_part_of_the_description_as_the_second_reading_does() {
    let ids: Vec<u32> = (0..70).map(|i| (i * i * 7 + i) % VOCAB as u32).collect();
    for (index, case) in cases().iter().enumerate() {
        let tensors = case.tensors();
        let folder = tempfile::tempdir().unwrap();
        save(folder.path(), &case.config, &tensors);
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        let config = DecoderConfig::from_source(checkpoint.config()).unwrap();
        let decoder = Decoder::load(config, &checkpoint).unwrap();
        let mut blocks = BlockPool::new(ids.len());
        let table = blocks.allocate(ids.len()).unwrap();
        let mut cache = KvCache::new(decoder.config(), blocks.capacity());
        let (pool, mut scratch, mut logits) = (Pool::new(2), Scratch::default(), Vec::new());
        for (chunk, tokens) in ids.chunks(23).enumerate() {
            let rows = [Rows {
                tokens,
                position: chunk * 23,
                pages: table.pages(),
                rope_length: ids.len(),
                wanted: Wanted::All,
                adapter: None,
            }];
            logits.extend_from_slice(
                decoder
                    .forward(&pool, &rows, &mut cache, &mut scratch, &|| true)
                    .unwrap(),
            );
        }
        let reference = Reference {
            case,
            tensors: &tensors,
        };
        let off = distance(&logits, &reference.logits(&ids));
        assert!(off < 2e-4, "case {index}: off by {off}");
    }
}
