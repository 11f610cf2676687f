//! Writes GGUF files from Hugging Face checkpoints by the conventions of llama.cpp's converter, for
//! tests.

use std::path::Path;

use outcrop_inference::{Checkpoint, DecoderConfig, ExpertsConfig, RopeOrder, RopeScaling};

/// A metadata entry.
pub enum Entry {
    Size(usize),
    Number(f32),
    Text(&'static str),
    Flag(bool),
    Texts(Vec<String>),
    Integers(Vec<i32>),
    Numbers(Vec<f32>),
    Bytes(Vec<u8>),
}

impl Entry {
    /// The type's number in GGUF, and the value's bytes.
    fn encode(&self) -> (u32, Vec<u8>) {
        let text = |text: &str| {
            let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
            bytes.extend(text.as_bytes());
            bytes
        };
        let array = |kind: u32, count: usize, elements: Vec<u8>| {
            let mut bytes = kind.to_le_bytes().to_vec();
            bytes.extend((count as u64).to_le_bytes());
            bytes.extend(elements);
            (9, bytes)
        };
        match self {
            Self::Size(n) => (4, (*n as u32).to_le_bytes().to_vec()),
            Self::Number(x) => (6, x.to_le_bytes().to_vec()),
            Self::Flag(flag) => (7, vec![u8::from(*flag)]),
            Self::Text(value) => (8, text(value)),
            Self::Texts(all) => array(8, all.len(), all.iter().flat_map(|t| text(t)).collect()),
            Self::Bytes(all) => array(0, all.len(), all.clone()),
            Self::Integers(all) => array(
                5,
                all.len(),
                all.iter().flat_map(|n| n.to_le_bytes()).collect(),
            ),
            Self::Numbers(all) => array(
                6,
                all.len(),
                all.iter().flat_map(|x| x.to_le_bytes()).collect(),
            ),
        }
    }
}

/// What a GGUF file is made of.
#[derive(Default)]
pub struct Gguf {
    pub entries: Vec<(String, Entry)>,
    /// Name, shape with the slowest dimension first, numbers.
    pub tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
}

impl Gguf {
    /// Writes the file.
    pub fn write(&self, path: &Path) {
        let mut file = b"GGUF".to_vec();
        file.extend(3u32.to_le_bytes());
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.entries.len() as u64).to_le_bytes());
        let text = |file: &mut Vec<u8>, text: &str| {
            file.extend((text.len() as u64).to_le_bytes());
            file.extend(text.as_bytes());
        };
        for (key, entry) in &self.entries {
            text(&mut file, key);
            let (kind, value) = entry.encode();
            file.extend(kind.to_le_bytes());
            file.extend(value);
        }
        let mut offset = 0u64;
        for (name, shape, numbers) in &self.tensors {
            text(&mut file, name);
            file.extend((shape.len() as u32).to_le_bytes());
            for size in shape.iter().rev() {
                file.extend((*size as u64).to_le_bytes());
            }
            file.extend(0u32.to_le_bytes());
            file.extend(offset.to_le_bytes());
            offset = (offset + 4 * numbers.len() as u64).next_multiple_of(32);
        }
        for (_, _, numbers) in &self.tensors {
            file.resize(file.len().next_multiple_of(32), 0);
            file.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
        }
        std::fs::write(path, file).unwrap();
    }
}

/// The converter: what it reads, and what it has written so far.
struct Converter<'a> {
    checkpoint: &'a Checkpoint,
    config: &'a DecoderConfig,
    out: Gguf,
}

/// The GGUF file of a Hugging Face checkpoint, all its numbers in F32. `architecture` is
/// llama.cpp's name.
pub fn convert(
    checkpoint: &Checkpoint,
    config: &DecoderConfig,
    architecture: &'static str,
    is_interleaved: bool,
) -> Gguf {
    let mut converter = Converter {
        checkpoint,
        config,
        out: Gguf::default(),
    };
    converter.metadata(architecture);
    let names: Vec<String> = checkpoint.names().map(str::to_owned).collect();
    for name in &names {
        converter.tensor(name, is_interleaved);
    }
    if let Some(experts) = &config.experts {
        for layer in (0..config.layers()).filter(|layer| experts.layers[*layer]) {
            converter.experts(experts, layer);
        }
    }
    converter.out
}

impl Converter<'_> {
    fn add(&mut self, name: impl Into<String>, shape: Vec<usize>, numbers: Vec<f32>) {
        self.out.tensors.push((name.into(), shape, numbers));
    }

    fn metadata(&mut self, architecture: &'static str) {
        let config = self.config;
        let mut entries: Vec<(String, Entry)> = vec![
            ("general.architecture".into(), Entry::Text(architecture)),
            ("tokenizer.ggml.model".into(), Entry::Text("none")),
        ];
        let mut put =
            |name: &str, entry: Entry| entries.push((format!("{architecture}.{name}"), entry));
        put("vocab_size", Entry::Size(config.vocab_size));
        put("context_length", Entry::Size(config.context_length));
        put("embedding_length", Entry::Size(config.hidden_size));
        put("block_count", Entry::Size(config.layers()));
        put("feed_forward_length", Entry::Size(config.intermediate_size));
        put("attention.head_count", Entry::Size(config.heads));
        put("attention.head_count_kv", Entry::Size(config.kv_heads));
        put("attention.key_length", Entry::Size(config.head_dim));
        put("attention.value_length", Entry::Size(config.head_dim));
        let eps = Entry::Number(config.norm_eps);
        put("attention.layer_norm_rms_epsilon", eps);
        let rope = &config.ropes[0];
        put("rope.dimension_count", Entry::Size(rope.dimensions));
        put("rope.freq_base", Entry::Number(rope.theta as f32));
        match &rope.scaling {
            RopeScaling::Linear { factor } => {
                put("rope.scaling.type", Entry::Text("linear"));
                put("rope.scaling.factor", Entry::Number(*factor as f32));
            }
            RopeScaling::Yarn {
                factor,
                original_context,
                ..
            } => {
                put("rope.scaling.type", Entry::Text("yarn"));
                put("rope.scaling.factor", Entry::Number(*factor as f32));
                let original = *original_context as usize;
                put(
                    "rope.scaling.original_context_length",
                    Entry::Size(original),
                );
            }
            RopeScaling::LongRope {
                original_context, ..
            } => {
                let original = Entry::Size(*original_context);
                put("rope.scaling.original_context_length", original);
                let factor = Entry::Number(rope.attention_factor);
                put("rope.scaling.attn_factor", factor);
            }
            _ => {}
        }
        if let Some(window) = config.sliding_windows.iter().flatten().next() {
            put("attention.sliding_window", Entry::Size(*window));
        }
        if let Some(cap) = config.attention_soft_cap {
            put("attn_logit_softcapping", Entry::Number(cap));
        }
        if let Some(cap) = config.logits_soft_cap {
            put("final_logit_softcapping", Entry::Number(cap));
        }
        if architecture == "granite" {
            put("attention.scale", Entry::Number(config.attention_scale));
            put(
                "embedding_scale",
                Entry::Number(config.embedding_multiplier),
            );
            put("residual_scale", Entry::Number(config.residual_multiplier));
            put("logit_scale", Entry::Number(1.0 / config.logits_multiplier));
        }
        if let Some(experts) = &config.experts {
            put("expert_count", Entry::Size(experts.count));
            put("expert_used_count", Entry::Size(experts.per_token));
            let width = Entry::Size(experts.intermediate_size);
            put("expert_feed_forward_length", width);
        }
        self.out.entries = entries;
        if let RopeScaling::LongRope { short, long, .. } = &rope.scaling {
            for (name, factors) in [("short", short), ("long", long)] {
                let numbers: Vec<f32> = factors.iter().map(|f| *f as f32).collect();
                let name = format!("rope_factors_{name}.weight");
                self.add(name, vec![numbers.len()], numbers);
            }
        }
    }

    /// One tensor but those of experts.
    fn tensor(&mut self, name: &str, is_interleaved: bool) {
        let shape = self.checkpoint.shape(name).unwrap().to_vec();
        let Some(renamed) = self.rename(name) else {
            return;
        };
        let mut numbers = self.checkpoint.numbers(name, &shape).unwrap();
        if renamed.ends_with("norm.weight") {
            numbers
                .iter_mut()
                .for_each(|w| *w += self.config.norm_offset);
        }
        let is_turned = renamed.contains(".attn_q.") || renamed.contains(".attn_k.");
        if is_interleaved && is_turned {
            numbers = self.interleave(&numbers, numbers.len() / shape[0]);
        }
        self.add(renamed, shape, numbers);
    }

    /// Rows of heads in halves brought to the order in which pairs stand together.
    fn interleave(&self, rows: &[f32], width: usize) -> Vec<f32> {
        let (dim, mut out) = (self.config.head_dim, Vec::new());
        assert_eq!(self.config.ropes[0].order, RopeOrder::Halves);
        for head in rows.chunks_exact(dim * width) {
            for row in 0..dim {
                let from = row / 2 + row % 2 * dim / 2;
                out.extend_from_slice(&head[from * width..(from + 1) * width]);
            }
        }
        out
    }

    /// llama.cpp's name of a tensor; `None` for those of experts.
    fn rename(&self, name: &str) -> Option<String> {
        let name = name.strip_prefix("model.").unwrap_or(name);
        match name {
            "embed_tokens.weight" => return Some("token_embd.weight".into()),
            "norm.weight" => return Some("output_norm.weight".into()),
            "lm_head.weight" => return Some("output.weight".into()),
            _ => {}
        }
        if name == "score.weight" {
            return Some("cls.output.weight".into());
        }
        let (layer, part) = name.strip_prefix("layers.")?.split_once('.')?;
        let (part, ending) = part.rsplit_once('.').unwrap_or((part, "weight"));
        let has_four = self.config.norms.is_after();
        let part = match part {
            "input_layernorm" => "attn_norm",
            "post_attention_layernorm" if has_four || self.config.attention_sinks => {
                "post_attention_norm"
            }
            "post_attention_layernorm" | "pre_feedforward_layernorm" => "ffn_norm",
            "post_feedforward_layernorm" => "post_ffw_norm",
            "self_attn.q_proj" => "attn_q",
            "self_attn.k_proj" => "attn_k",
            "self_attn.v_proj" => "attn_v",
            "self_attn.qkv_proj" => "attn_qkv",
            "self_attn.o_proj" => "attn_output",
            "self_attn.q_norm" => "attn_q_norm",
            "self_attn.k_norm" => "attn_k_norm",
            "self_attn" if ending == "sinks" => {
                return Some(format!("blk.{layer}.attn_sinks.weight"));
            }
            "mlp.gate_proj" => "ffn_gate",
            "mlp.up_proj" | "mlp.gate_up_proj" => "ffn_up",
            "mlp.down_proj" => "ffn_down",
            "mlp.gate" | "mlp.router" | "block_sparse_moe.gate" => "ffn_gate_inp",
            _ => return None,
        };
        Some(format!("blk.{layer}.{part}.{ending}"))
    }

    /// The experts of a layer, stacked.
    fn experts(&mut self, experts: &ExpertsConfig, layer: usize) {
        let (hidden, width) = (self.config.hidden_size, experts.intermediate_size);
        let prefix = format!("model.layers.{layer}.");
        if self.config.attention_sinks {
            return self.alternate_experts(experts, &prefix, layer);
        }
        let names = match self.config.architecture.as_str() {
            "mixtral" => ["w1", "w3", "w2"].map(|n| ("block_sparse_moe", n)),
            _ => ["gate_proj", "up_proj", "down_proj"].map(|n| ("mlp", n)),
        };
        for ((block, own), name) in names.into_iter().zip(["gate", "up", "down"]) {
            let shape = if name == "down" {
                [hidden, width]
            } else {
                [width, hidden]
            };
            let all = (0..experts.count).flat_map(|expert| {
                let name = format!("{prefix}{block}.experts.{expert}.{own}.weight");
                self.checkpoint.numbers(&name, &shape).unwrap()
            });
            let all = all.collect();
            let name = format!("blk.{layer}.ffn_{name}_exps.weight");
            self.add(name, vec![experts.count, shape[0], shape[1]], all);
        }
    }

    /// GPT-OSS's experts: gate and up in alternate rows, in MXFP4.
    fn alternate_experts(&mut self, experts: &ExpertsConfig, prefix: &str, layer: usize) {
        let (hidden, width) = (self.config.hidden_size, experts.intermediate_size);
        for (own, rows, cols, parts) in [
            ("gate_up_proj", 2 * width, hidden, &["gate", "up"][..]),
            ("down_proj", hidden, width, &["down"][..]),
        ] {
            let name = format!("{prefix}mlp.experts.{own}");
            let all = mxfp4_numbers(self.checkpoint, &name, [experts.count, rows, cols]);
            let bias = self
                .checkpoint
                .numbers(&format!("{name}_bias"), &[experts.count, rows])
                .unwrap();
            for (first, part) in parts.iter().enumerate() {
                // `rows` is even, so that alternation holds across experts.
                let step = parts.len();
                let own = all.chunks_exact(cols).skip(first).step_by(step);
                let numbers = own.flatten().copied().collect();
                let name = format!("blk.{layer}.ffn_{part}_exps");
                let height = rows / step;
                self.add(
                    format!("{name}.weight"),
                    vec![experts.count, height, cols],
                    numbers,
                );
                let own = bias.iter().skip(first).step_by(step).copied().collect();
                self.add(format!("{name}.bias"), vec![experts.count, height], own);
            }
        }
    }
}

/// The numbers of an MXFP4 tensor of a Hugging Face checkpoint, `(experts, rows, cols)`.
pub fn mxfp4_numbers(
    checkpoint: &Checkpoint,
    name: &str,
    [count, rows, cols]: [usize; 3],
) -> Vec<f32> {
    const VALUES: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    let shape = [count, rows, cols / 32, 16];
    let blocks = checkpoint.raw(&format!("{name}_blocks"), &shape).unwrap();
    let scales = checkpoint
        .raw(&format!("{name}_scales"), &shape[..3])
        .unwrap();
    let mut numbers = Vec::new();
    for (block, scale) in blocks.chunks_exact(16).zip(scales) {
        let scale = 2f32.powi(i32::from(*scale) - 127);
        for code in block.iter().flat_map(|pair| [pair & 15, pair >> 4]) {
            let sign = if code & 8 == 0 { 1.0 } else { -1.0 };
            numbers.push(sign * VALUES[usize::from(code & 7)] * scale);
        }
    }
    numbers
}
