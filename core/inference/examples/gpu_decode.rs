//! Times a decoder of a common shape (8 billion weights in BF16, all noise) on a GPU, as JSON lines.
//!
//! `gpu_decode [--small] [--out FILE] TOKENIZER`: a `tokenizer.json`, whose ids are not looked at. `--small`
//! takes a shape that the stand-in of the tests computes; `OUTCROP_CUDA=stand-in` runs it there. Decoding
//! is held against reading the weights once at `OUTCROP_GBPS`, by default 4300 (copies on an H200).

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use outcrop_api::{GenerateRequest, InferenceConfig, Prompt};
use outcrop_inference::{Device, Engine, EngineOptions, KvDtype};
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

/// A decoder as Llama 3 has it.
#[derive(Clone, Copy)]
struct Shape {
    layers: usize,
    hidden: usize,
    inner: usize,
    heads: usize,
    kv_heads: usize,
    head: usize,
    vocabulary: usize,
    /// Tokens of a prompt, and tokens made.
    prompt: usize,
    made: usize,
}

const EIGHT_BILLION: Shape = Shape {
    layers: 32,
    hidden: 4096,
    inner: 14336,
    heads: 32,
    kv_heads: 8,
    head: 128,
    vocabulary: 128_256,
    prompt: 2048,
    made: 128,
};

const SMALL: Shape = Shape {
    layers: 1,
    hidden: 64,
    inner: 64,
    heads: 2,
    kv_heads: 1,
    head: 64,
    vocabulary: 2000,
    prompt: 32,
    made: 3,
};

impl Shape {
    fn config(self) -> Value {
        json!({
            "model_type": "llama", "hidden_size": self.hidden, "intermediate_size": self.inner,
            "num_hidden_layers": self.layers, "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads, "head_dim": self.head, "vocab_size": self.vocabulary,
            "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 5e5,
            "tie_word_embeddings": false, "torch_dtype": "bfloat16",
        })
    }

    fn tensors(self) -> Vec<(String, Vec<usize>)> {
        let (hidden, query, kv) = (
            self.hidden,
            self.heads * self.head,
            self.kv_heads * self.head,
        );
        let mut all = vec![
            (
                "model.embed_tokens.weight".to_owned(),
                vec![self.vocabulary, hidden],
            ),
            ("model.norm.weight".to_owned(), vec![hidden]),
            ("lm_head.weight".to_owned(), vec![self.vocabulary, hidden]),
        ];
        for layer in 0..self.layers {
            for (name, shape) in [
                ("input_layernorm", vec![hidden]),
                ("self_attn.q_proj", vec![query, hidden]),
                ("self_attn.k_proj", vec![kv, hidden]),
                ("self_attn.v_proj", vec![kv, hidden]),
                ("self_attn.o_proj", vec![hidden, query]),
                ("post_attention_layernorm", vec![hidden]),
                ("mlp.gate_proj", vec![self.inner, hidden]),
                ("mlp.up_proj", vec![self.inner, hidden]),
                ("mlp.down_proj", vec![hidden, self.inner]),
            ] {
                all.push((format!("model.layers.{layer}.{name}.weight"), shape));
            }
        }
        all
    }
}

/// Writes a checkpoint of noise. Gives the bytes of its matrices that a token reads.
fn write_model(folder: &Path, shape: Shape, tokenizer: &Path) -> Result<usize, Failure> {
    std::fs::write(folder.join("config.json"), shape.config().to_string())?;
    std::fs::copy(tokenizer, folder.join("tokenizer.json"))?;
    let (mut header, mut end, mut read) = (serde_json::Map::new(), 0, 0);
    for (name, dims) in shape.tensors() {
        let bytes = 2 * dims.iter().product::<usize>();
        let entry = json!({"dtype": "BF16", "shape": dims, "data_offsets": [end, end + bytes]});
        end += bytes;
        // Of the embedding a token reads a row.
        if name != "model.embed_tokens.weight" {
            read += bytes;
        }
        header.insert(name, entry);
    }
    let header = serde_json::to_vec(&header)?;
    let mut file = std::fs::File::create(folder.join("model.safetensors"))?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    let noise = noise(16 << 20);
    let mut at = 0;
    while at < end {
        let part = noise.len().min(end - at);
        file.write_all(&noise[..part])?;
        at += part;
    }
    Ok(read)
}

/// Small numbers of both signs in BF16.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 7u32;
    let mut all = Vec::with_capacity(bytes);
    while all.len() < bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let value = ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * 0.03;
        all.extend(((value.to_bits() >> 16) as u16).to_le_bytes());
    }
    all
}

fn request(shape: Shape, number: usize, prompt: usize, made: usize) -> GenerateRequest {
    let id = |at: usize| ((7 * at + 31 * number + 11) % (shape.vocabulary - 8)) as u32;
    let inference_config = InferenceConfig {
        max_tokens: Some(made),
        ..InferenceConfig::default()
    };
    GenerateRequest {
        inference_config,
        ..GenerateRequest::new(Prompt::Ids((0..prompt).map(id).collect()))
    }
}

/// Seconds that requests side by side take, and the tokens that they make.
async fn timed(engine: &Engine, requests: Vec<GenerateRequest>) -> Result<(f64, usize), Failure> {
    let started = Instant::now();
    let running: Vec<_> = requests
        .into_iter()
        .map(|request| {
            let engine = engine.clone();
            tokio::spawn(async move { engine.generate(request).await })
        })
        .collect();
    let mut tokens = 0;
    for one in running {
        tokens += one.await??.ids.len();
    }
    Ok((started.elapsed().as_secs_f64(), tokens))
}

async fn measure(shape: Shape, tokenizer: &Path) -> Result<Vec<Value>, Failure> {
    let folder = tempfile::tempdir()?;
    let read = write_model(folder.path(), shape, tokenizer)?;
    let batch = if shape.layers > 1 { 32 } else { 2 };
    let options = EngineOptions {
        device: Device::Cuda(0),
        kv_dtype: KvDtype::F16,
        max_batch: batch,
        kv_tokens: Some(batch * (64 + shape.made) + 2 * shape.prompt),
        ..EngineOptions::default()
    };
    let engine = Engine::load(folder.path(), "noise", options)?;
    let gigabytes = std::env::var("OUTCROP_GBPS").ok();
    let bandwidth = 1e9
        * gigabytes
            .and_then(|text| text.parse().ok())
            .unwrap_or(4300.0);
    let mut lines = Vec::new();
    // Kernels are loaded, and graphs recorded.
    timed(&engine, vec![request(shape, 0, 16, 4)]).await?;
    let (seconds, _) = timed(&engine, vec![request(shape, 1, shape.prompt, 1)]).await?;
    lines.push(json!({
        "case": "prefill of a decoder", "tokens": shape.prompt,
        "tokens_per_second": shape.prompt as f64 / seconds,
    }));
    for count in [1, batch] {
        let many = |made| {
            (2..2 + count)
                .map(|n| request(shape, n + made, 16, made))
                .collect()
        };
        let (_, _) = timed(&engine, many(4)).await?;
        let (seconds, tokens) = timed(&engine, many(shape.made)).await?;
        let steps = tokens as f64 / count as f64;
        let share = read as f64 / bandwidth * steps / seconds;
        lines.push(json!({
            "case": "decode of a decoder", "sequences": count, "tokens": tokens,
            "tokens_per_second": tokens as f64 / seconds, "share": share,
            "target": if count == 1 { json!(0.75) } else { Value::Null },
        }));
    }
    Ok(lines)
}

fn run() -> Result<(), Failure> {
    let (mut shape, mut out, mut tokenizer) = (EIGHT_BILLION, None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--small" => shape = SMALL,
            "--out" => out = arguments.next(),
            _ => tokenizer = Some(argument),
        }
    }
    let tokenizer = tokenizer.ok_or("usage: gpu_decode [--small] [--out FILE] TOKENIZER")?;
    if std::env::var("OUTCROP_CUDA").is_ok_and(|value| value == "stand-in") {
        outcrop_kernels_cpu::install()?;
        outcrop_tensor::cuda::use_images(outcrop_kernels_cpu::image);
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let lines = runtime.block_on(measure(shape, Path::new(&tokenizer)))?;
    let mut text = String::new();
    for line in lines {
        println!("{line}");
        writeln!(text, "{line}")?;
    }
    if let Some(path) = out {
        std::fs::write(path, text)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
