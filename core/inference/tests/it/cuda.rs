//! Whole models through the CUDA engine, its kernels on the stand-in: as on the CPU.

use std::sync::{Mutex, MutexGuard, PoisonError};

use outcrop_api::ErrorKind;
use outcrop_inference::{Device, DeviceChoice, Engine, EngineOptions, KvDtype};
use outcrop_kernels_cpu as stand_in;
use outcrop_tensor::cuda::use_images;

use crate::families::{FAMILIES, save};
use crate::golden::{DECODERS, distance, engine, fixture, greedy, ids, json, numbers};

/// Largest difference of logits in F32 from the golden ones, as on the CPU.
const TOLERANCE: f32 = 2e-3;

/// The stand-in, which becomes this process's driver. Its faults are everybody's: one test at a time.
pub struct StandIn(#[allow(dead_code)] MutexGuard<'static, ()>);

impl StandIn {
    pub fn install() -> Option<Self> {
        static ONE: Mutex<()> = Mutex::new(());
        if !stand_in::install_or_skip("a model on a GPU") {
            return None;
        }
        if let Some(images) = stand_in::images() {
            use_images(images);
        }
        let own = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        stand_in::set_device(stand_in::Device::default());
        Some(Self(own))
    }
}

pub fn options() -> EngineOptions {
    EngineOptions {
        kv_tokens: Some(1024),
        max_batch: 4,
        device: Device::Cuda(0),
        ..EngineOptions::default()
    }
}

#[tokio::test]
async fn golden_models_give_their_logits_and_tokens() {
    let Some(_stand_in) = StandIn::install() else {
        return;
    };
    for name in DECODERS {
        let golden = json(&format!("{name}/golden.json"));
        let engine = engine(name, options());
        assert_eq!(engine.info().device, "cuda:0");
        let vocab = engine.info().vocabulary.unwrap();
        // The stand-in computes a few thousand times slower than a GPU: the long prompt once.
        let prompts = golden["prompts"].as_array().unwrap();
        let count = if name == "llama3" { prompts.len() } else { 1 };
        for prompt in &prompts[..count] {
            let tokens = ids(&prompt["ids"]);
            let logits = engine.logits(&tokens).await.unwrap();
            let off = distance(
                &logits[logits.len() - vocab..],
                &numbers(&prompt["last_logits"]),
            );
            println!("{name} {}: last logits off by {off:.2e}", prompt["name"]);
            assert!(off <= TOLERANCE, "{name}: {off}");
            let expected = &ids(&prompt["greedy"])[..8];
            let completion = engine
                .generate(greedy(tokens, expected.len()))
                .await
                .unwrap();
            assert_eq!(completion.ids, expected, "{name}");
        }
    }
}

#[tokio::test]
async fn every_family_gives_what_it_gives_on_the_cpu() {
    let Some(_stand_in) = StandIn::install() else {
        return;
    };
    for name in FAMILIES {
        // The families have no tokenizers of their own.
        let folder = tempfile::tempdir().unwrap();
        for (of, file) in [
            (format!("families/{name}"), "config.json"),
            (format!("families/{name}"), "model.safetensors"),
            ("llama3".to_owned(), "tokenizer.json"),
        ] {
            let from = fixture(&of).join(file);
            std::fs::copy(from, folder.path().join(file)).unwrap();
        }
        let cpu = Engine::load(folder.path(), name, EngineOptions::default()).unwrap();
        let gpu = Engine::load(folder.path(), name, options()).unwrap();
        let vocabulary = cpu.info().vocabulary.unwrap() as u32;
        let tokens: Vec<u32> = (0..20).map(|i| (7 * i + 11) % vocabulary).collect();
        let (expected, got) = (cpu.logits(&tokens).await, gpu.logits(&tokens).await);
        let off = distance(&got.unwrap(), &expected.unwrap());
        println!("{name}: logits off by {off:.2e}");
        assert!(off <= TOLERANCE, "{name}: {off}");
        let expected = cpu.generate(greedy(tokens.clone(), 4)).await.unwrap();
        let got = gpu.generate(greedy(tokens, 4)).await.unwrap();
        assert_eq!(got.ids, expected.ids, "{name}");
    }
}

#[tokio::test]
async fn quantised_weights_are_dequantised_exactly() {
    let Some(_stand_in) = StandIn::install() else {
        return;
    };
    for (folder, quantisation) in [("llama3", "Q8_0"), ("llama3_h256", "Q4_K_M")] {
        let golden = json(&format!("{folder}/golden_gguf.json"));
        let engine = engine(&format!("{folder}/model-{quantisation}.gguf"), options());
        let vocab = engine.info().vocabulary.unwrap();
        let prompt = &golden["files"][quantisation]["prompts"][0];
        let logits = engine.logits(&ids(&prompt["ids"])).await.unwrap();
        let exact = numbers(&prompt["dequant_f32_last_logits"]);
        let off = distance(&logits[logits.len() - vocab..], &exact);
        println!("{folder} {quantisation}: off by {off:.2e}");
        assert!(off <= TOLERANCE, "{folder}: {off}");
    }
}

#[tokio::test]
async fn a_row_has_one_outcome_whatever_is_beside_it() {
    let Some(_stand_in) = StandIn::install() else {
        return;
    };
    let prompt: Vec<u32> = (20..60).collect();
    let alone = engine("llama3", options());
    let expected = alone.logits(&prompt).await.unwrap();
    // In steps of seven tokens, beside others, with keys and values known before.
    let cut = EngineOptions {
        step_tokens: 7,
        ..options()
    };
    let cut = engine("llama3", cut);
    let other = cut.clone();
    let beside = tokio::spawn(async move { other.generate(greedy((1..30).collect(), 5)).await });
    let got = cut.logits(&prompt).await.unwrap();
    beside.await.unwrap().unwrap();
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&got), bits(&expected));
    let first = alone.generate(greedy(prompt.clone(), 6)).await.unwrap();
    let again = alone.generate(greedy(prompt.clone(), 6)).await.unwrap();
    assert!(again.usage.cache_read_input_tokens > 0);
    assert_eq!(
        cut.generate(greedy(prompt, 6)).await.unwrap().ids,
        first.ids
    );
    assert_eq!(again.ids, first.ids);
}

/// A decoder of random weights whose heads are as long as tensor cores take them.
fn with_long_heads(folder: &std::path::Path) {
    let (hidden, heads, kv_heads, head, inner, vocabulary) = (32, 2, 1, 64, 32, 256);
    let config = serde_json::json!({
        "model_type": "llama", "hidden_size": hidden, "intermediate_size": inner,
        "num_hidden_layers": 2, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "head_dim": head, "vocab_size": vocabulary, "max_position_embeddings": 1024,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
        "bos_token_id": 1, "eos_token_id": 2,
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let mut state = 7u32;
    let mut random = |shape: [usize; 2]| {
        let one = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * 0.3
        };
        (0..shape[0] * shape[1]).map(one).collect::<Vec<f32>>()
    };
    let mut tensors = Vec::new();
    let mut add = |name: String, shape: [usize; 2]| {
        tensors.push((name, shape.to_vec(), random(shape)));
    };
    add("model.embed_tokens.weight".into(), [vocabulary, hidden]);
    for layer in 0..2 {
        for (name, shape) in [
            ("self_attn.q_proj", [heads * head, hidden]),
            ("self_attn.k_proj", [kv_heads * head, hidden]),
            ("self_attn.v_proj", [kv_heads * head, hidden]),
            ("self_attn.o_proj", [hidden, heads * head]),
            ("mlp.gate_proj", [inner, hidden]),
            ("mlp.up_proj", [inner, hidden]),
            ("mlp.down_proj", [hidden, inner]),
        ] {
            add(format!("model.layers.{layer}.{name}.weight"), shape);
        }
    }
    for name in ["0.input", "0.post_attention", "1.input", "1.post_attention"] {
        let name = format!("model.layers.{name}_layernorm.weight");
        tensors.push((name, vec![hidden], vec![1.0; hidden]));
    }
    tensors.push(("model.norm.weight".into(), vec![hidden], vec![1.0; hidden]));
    save(&folder.join("model.safetensors"), &tensors);
    std::fs::copy(
        fixture("llama3/tokenizer.json"),
        folder.join("tokenizer.json"),
    )
    .unwrap();
}

#[tokio::test]
async fn tensor_cores_give_a_row_one_outcome_prefilled_or_decoded() {
    let Some(_stand_in) = StandIn::install() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    with_long_heads(folder.path());
    let halves = EngineOptions {
        kv_dtype: KvDtype::F16,
        ..options()
    };
    let load = |options: EngineOptions| Engine::load(folder.path(), "long-heads", options).unwrap();
    let on_cpu = load(EngineOptions {
        device: Device::Cpu,
        ..halves.clone()
    });
    let whole = load(halves.clone());
    // Over two chunks of positions.
    let prompt: Vec<u32> = (0..530).map(|i| (7 * i + 11) % 250 + 3).collect();
    let got = whole.logits(&prompt).await.unwrap();
    let off = distance(&got, &on_cpu.logits(&prompt).await.unwrap());
    println!("logits off by {off:.2e}");
    assert!(off > 0.0 && off <= 2e-2, "{off}");

    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let cut = |step_tokens| {
        load(EngineOptions {
            step_tokens,
            ..halves.clone()
        })
    };
    let few = &prompt[..40];
    let expected = bits(&whole.logits(few).await.unwrap());
    // A row a step, from recorded graphs; then in tiles of other lengths beside another sequence.
    assert_eq!(bits(&cut(1).logits(few).await.unwrap()), expected);
    let engine = cut(250);
    let other = engine.clone();
    let beside = tokio::spawn(async move { other.generate(greedy((1..30).collect(), 5)).await });
    assert_eq!(bits(&engine.logits(&prompt).await.unwrap()), bits(&got));
    beside.await.unwrap().unwrap();
    let expected = on_cpu.generate(greedy(prompt.clone(), 4)).await.unwrap();
    assert_eq!(
        engine.generate(greedy(prompt, 4)).await.unwrap().ids,
        expected.ids
    );
}

#[tokio::test]
async fn what_is_missing_names_itself_and_others_go_on() {
    let Some(_stand_in) = StandIn::install() else {
        return;
    };
    if !stand_in::install_alone_or_skip("a driver of other kinds") {
        return;
    }
    let path = fixture("llama3");
    let load = || Engine::load(&path, "llama3", options());
    let set = |device| stand_in::set_device(device);
    let usual = stand_in::Device::default();
    assert_eq!(DeviceChoice::parse("cuda").unwrap().device, Device::Cuda(0));
    let auto = DeviceChoice::parse("auto").unwrap();
    assert_eq!(auto.device, Device::Cuda(0));
    assert!(auto.reason.unwrap().starts_with("auto: the first GPU"));
    let refused = DeviceChoice::parse("cuda:3").unwrap_err();
    assert!(
        refused.message().contains("no GPU 3: this machine has 1"),
        "{refused}"
    );
    set(stand_in::Device {
        driver: 11_080,
        ..usual
    });
    let refused = DeviceChoice::parse("cuda").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ValidationException);
    assert!(
        refused
            .message()
            .contains("expected CUDA 12.0 or newer, got 11.8"),
        "{refused}"
    );
    set(stand_in::Device { count: 0, ..usual });
    let refused = DeviceChoice::parse("cuda").unwrap_err();
    assert!(
        refused.message().contains("no GPU that it can use"),
        "{refused}"
    );
    assert_eq!(DeviceChoice::parse("auto").unwrap().device, Device::Cpu);
    set(usual);
    let serving = load().unwrap();
    let expected = serving
        .generate(greedy(vec![1, 2, 3], 3))
        .await
        .unwrap()
        .ids;
    // What is taken already is above it: the next model finds no room.
    set(stand_in::Device {
        memory: 1 << 20,
        ..usual
    });
    let refused = load().err().unwrap();
    assert_eq!(
        refused.kind(),
        ErrorKind::ServiceQuotaExceededException,
        "{refused}"
    );
    assert!(
        refused.message().contains("out of GPU memory: asked for"),
        "{refused}"
    );
    let again = serving
        .generate(greedy(vec![1, 2, 3], 3))
        .await
        .unwrap()
        .ids;
    assert_eq!(again, expected);
    set(usual);
    stand_in::lose_device();
    let lost = serving.generate(greedy(vec![4, 5], 2)).await.unwrap_err();
    assert_eq!(
        lost.kind(),
        ErrorKind::ServiceUnavailableException,
        "{lost}"
    );
    assert!(lost.message().contains("the GPU is lost"), "{lost}");
    stand_in::take_report();
}
