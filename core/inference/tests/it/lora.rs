//! LoRA adapters against PEFT's own answers, in mixed batches, and what is refused of their files.

use std::path::Path;

use outcrop_api::{
    ChatModel, ConverseRequest, ErrorKind, GenerateRequest, Message, PerplexityOptions, Prompt,
    Role,
};
use outcrop_inference::{Engine, EngineOptions};
use serde_json::{Value, json};

use crate::golden::{self, distance, engine, fixture, greedy, ids, numbers, on_threads};

const ADAPTERS: [&str; 2] = ["lora_trained", "patterns"];

/// Largest difference of logits in F32 from PEFT's.
const TOLERANCE: f32 = 2e-3;

fn with_adapters(base: &str, options: EngineOptions) -> Engine {
    let engine = engine(base, options);
    for name in ADAPTERS {
        engine
            .load_adapter(name, &fixture(&format!("lora/{name}")))
            .unwrap();
    }
    engine
}

fn named(adapter: Option<&str>, request: GenerateRequest) -> GenerateRequest {
    GenerateRequest {
        adapter: adapter.map(str::to_owned),
        ..request
    }
}

#[tokio::test]
async fn adapters_give_pefts_logits_and_tokens() {
    let golden = golden::json("lora/golden.json");
    let engine = with_adapters("llama3", EngineOptions::default());
    let vocab = engine.info().vocabulary.unwrap();
    for name in ADAPTERS {
        let (expected, prompt) = (&golden[name], ids(&golden[name]["ids"]));
        let plain = engine.logits(&prompt).await.unwrap();
        let logits = engine.logits_with(&prompt, Some(name)).await.unwrap();
        let last = &logits[logits.len() - vocab..];
        let off = distance(last, &numbers(&expected["last_logits"]));
        println!("{name}: last logits off by {off:.2e}");
        assert!(off <= TOLERANCE, "{name}: {off}");
        assert!(distance(&logits, &plain) > 1.0, "{name} changes something");
        let best: Vec<u32> = logits
            .chunks_exact(vocab)
            .map(|row| {
                (0..vocab)
                    .max_by(|&a, &b| row[a].total_cmp(&row[b]))
                    .unwrap() as u32
            })
            .collect();
        assert_eq!(best, ids(&expected["argmax_all"]), "{name}");
        let expected = ids(&expected["greedy"]);
        let request = named(Some(name), greedy(prompt.clone(), expected.len()));
        assert_eq!(
            engine.generate(request).await.unwrap().ids,
            expected,
            "{name}"
        );
        assert_eq!(engine.logits(&prompt).await.unwrap(), plain);
    }
}

#[tokio::test]
async fn a_gguf_base_turns_the_same_rows() {
    let golden = golden::json("lora/golden.json");
    let engine = with_adapters("llama3/model-Q8_0.gguf", EngineOptions::default());
    let vocab = engine.info().vocabulary.unwrap();
    for name in ADAPTERS {
        let prompt = ids(&golden[name]["ids"]);
        let logits = engine.logits_with(&prompt, Some(name)).await.unwrap();
        let last = &logits[logits.len() - vocab..];
        let off = distance(last, &numbers(&golden[name]["last_logits"]));
        println!("{name}: last logits off by {off:.2e}");
        // The base's own quantisation moves them by 0.3 to 0.4; rows of queries and keys in the
        // wrong order would by 1.7 and 9.8.
        assert!(off <= 1.0, "{name}: {off}");
    }
}

/// The model of `family` with a tokenizer: the family's fixture has none, and ids go in and out here.
fn of_family(family: &str, options: EngineOptions) -> Engine {
    let base = tempfile::tempdir().unwrap();
    let own = format!("families/{family}");
    for (folder, file) in [
        (&own[..], "config.json"),
        (&own[..], "model.safetensors"),
        ("llama3", "tokenizer.json"),
        ("llama3", "tokenizer_config.json"),
    ] {
        std::fs::copy(fixture(folder).join(file), base.path().join(file)).unwrap();
    }
    Engine::load(base.path(), family, options).unwrap()
}

/// Checks `adapter` of the model of `family` against PEFT, and the modules that it tells of.
async fn check_of_family(family: &str, adapter: &str, modules: &[&str]) {
    let engine = of_family(family, EngineOptions::default());
    let folder = fixture(&format!("lora/{adapter}"));
    let info = engine.load_adapter(adapter, &folder).unwrap();
    assert_eq!(info.modules, modules);
    let golden = &golden::json("lora/golden.json")[adapter];
    let prompt = ids(&golden["ids"]);
    let logits = engine.logits_with(&prompt, Some(adapter)).await.unwrap();
    let vocab = engine.info().vocabulary.unwrap();
    let last = &logits[logits.len() - vocab..];
    let off = distance(last, &numbers(&golden["last_logits"]));
    println!("{adapter} of {family}: last logits off by {off:.2e}");
    assert!(off <= TOLERANCE, "{adapter}: {off}");
    let plain = engine.logits(&prompt).await.unwrap();
    assert!(
        distance(&logits, &plain) > 0.1,
        "{adapter} changes something"
    );
    let expected = ids(&golden["greedy"]);
    let request = named(Some(adapter), greedy(prompt, expected.len()));
    assert_eq!(engine.generate(request).await.unwrap().ids, expected);
}

#[tokio::test]
async fn an_adapter_of_fused_modules_gives_pefts_logits_and_tokens() {
    let attention =
        ["q_proj", "k_proj", "v_proj", "o_proj"].map(|kind| format!("self_attn.{kind}"));
    let mut modules: Vec<&str> = attention.iter().map(String::as_str).collect();
    modules.extend(["mlp.gate_proj", "mlp.up_proj"]);
    check_of_family("phi3", "fused", &modules).await;
}

#[tokio::test]
async fn adapters_of_experts_in_each_layout_give_pefts_logits_and_tokens() {
    let experts = ["gate_proj", "up_proj", "down_proj"].map(|kind| format!("mlp.experts.{kind}"));
    let [gate, up, down] = experts.each_ref().map(String::as_str);
    let stacked = ["self_attn.q_proj", "mlp.gate", gate, up, down];
    check_of_family("qwen3_moe", "stacked", &stacked).await;
    let apart = ["self_attn.k_proj", "mlp.gate", gate, up, down];
    check_of_family("mixtral", "apart", &apart).await;
    let alternate = ["self_attn.v_proj", gate, up];
    check_of_family("gpt_oss", "alternate", &alternate).await;
}

#[tokio::test]
async fn a_batch_of_adapters_of_experts_gives_each_sequence_its_own_bits() {
    let load = |threads| {
        let engine = of_family("qwen3_moe", on_threads(threads));
        engine
            .load_adapter("stacked", &fixture("lora/stacked"))
            .unwrap();
        engine
    };
    let cases: Vec<GenerateRequest> = (0..8)
        .map(|i| {
            let prompt = (0..3 + 17 * (i % 4)).map(|at| (at * 29 + i) as u32 % 250);
            let adapter = [None, Some("stacked")][i % 2];
            named(adapter, greedy(prompt.collect(), 10 + i))
        })
        .collect();
    let (alone_on, together_on) = (load(1), load(2));
    let mut alone = Vec::new();
    for case in &cases {
        alone.push(alone_on.generate(case.clone()).await.unwrap().ids);
    }
    let tasks: Vec<_> = cases
        .into_iter()
        .map(|case| {
            let engine = together_on.clone();
            tokio::spawn(async move { engine.generate(case).await.unwrap().ids })
        })
        .collect();
    for (task, alone) in tasks.into_iter().zip(&alone) {
        assert_eq!(&task.await.unwrap(), alone);
    }
}

#[test]
fn experts_that_an_adapter_chooses_and_lacks_or_has_unchosen_are_named() {
    let engine = of_family("qwen3_moe", EngineOptions::default());
    let stacked = "base_model.model.model.layers.0.mlp.experts";
    let apart = "base_model.model.model.layers.0.mlp.experts.5.up_proj";
    let (a, b) = (".lora_A.weight", ".lora_B.weight");
    let model = ErrorKind::ModelErrorException;
    let down = [
        (format!("{stacked}{a}"), [12, 24]),
        (format!("{stacked}{b}"), [32, 12]),
    ];
    let expert = [
        (format!("{apart}{a}"), [2, 32]),
        (format!("{apart}{b}"), [24, 2]),
    ];
    let gate_up = json!(["experts.gate_up_proj"]);
    let both = json!(["0.mlp.experts.gate_up_proj", "0.mlp.experts.down_proj"]);
    for (tensors, parameters, modules, expected) in [
        (
            &down,
            &gate_up,
            json!([]),
            "experts.down_proj: expected tensors of what adapter_config",
        ),
        (
            &down,
            &both,
            json!(null),
            "expected a tensor base_model.model.model.layers.0.mlp.experts.lora_A",
        ),
        (
            &expert,
            &json!(null),
            json!(["up_proj"]),
            "experts.0.up_proj.lora_A",
        ),
        (
            &expert,
            &json!(null),
            json!(["down_proj"]),
            "up_proj: expected tensors of what",
        ),
    ] {
        let tensors: Vec<_> = tensors
            .iter()
            .map(|(name, shape)| (&name[..], *shape))
            .collect();
        let folder = changed(&[
            ("r", json!(2)),
            ("target_modules", modules),
            ("target_parameters", parameters.clone()),
        ]);
        let file = folder.path().join("adapter_model.safetensors");
        std::fs::write(file, zeros(&tensors)).unwrap();
        refused(&engine, folder.path(), model, &[expected]);
    }
}

#[tokio::test]
async fn a_batch_of_adapters_gives_each_sequence_its_own_bits() {
    let cases: Vec<(Option<&str>, GenerateRequest)> = (0..12)
        .map(|i| {
            let adapter = [None, Some("lora_trained"), Some("patterns")][i % 3];
            let prompt = (0..5 + 23 * (i % 5))
                .map(|at| (at * 31 + i) as u32 % 500)
                .collect();
            let mut request = greedy(prompt, 12 + i);
            request.inference_config.temperature = Some(0.8);
            (adapter, named(adapter, request))
        })
        .collect();
    let alone_on = with_adapters("llama3", on_threads(1));
    let mut alone = Vec::new();
    for (_, request) in &cases {
        alone.push(alone_on.generate(request.clone()).await.unwrap().ids);
    }
    for threads in [1, 2] {
        let options = EngineOptions {
            step_tokens: 19,
            ..on_threads(threads)
        };
        let engine = with_adapters("llama3", options);
        let tasks: Vec<_> = cases
            .iter()
            .map(|(_, request)| {
                let (engine, request) = (engine.clone(), request.clone());
                tokio::spawn(async move { engine.generate(request).await.unwrap().ids })
            })
            .collect();
        for ((task, alone), (adapter, _)) in tasks.into_iter().zip(&alone).zip(&cases) {
            assert_eq!(&task.await.unwrap(), alone, "{adapter:?}");
        }
    }
}

#[tokio::test]
async fn scores_perplexity_and_conversations_take_an_adapter() {
    let engine = with_adapters("llama3", EngineOptions::default());
    let text = "the rain came before noon".to_owned();
    let tokens = engine.tokenizer().encode(&text, true).unwrap();
    let (first, rest) = tokens.split_at(1);
    let (first, rest) = (Prompt::Ids(first.to_vec()), Prompt::Ids(rest.to_vec()));
    let plain = engine.score(&first, &rest, None).await.unwrap();
    let scored = engine.score(&first, &rest, Some("patterns")).await.unwrap();
    assert_ne!(scored, plain);
    let options = PerplexityOptions {
        adapter: Some("patterns".to_owned()),
        ..PerplexityOptions::default()
    };
    let found = engine.perplexity(&[text], &options).await.unwrap();
    let nll = -scored.iter().map(|l| f64::from(*l)).sum::<f64>();
    assert_eq!(found.overall.nll, nll);
    let chat = |adapter: Option<&str>| ConverseRequest {
        messages: vec![Message::text(Role::User, "Hi")],
        adapter: adapter.map(str::to_owned),
        ..ConverseRequest::default()
    };
    let changed = engine.converse(chat(Some("lora_trained"))).await.unwrap();
    assert_ne!(
        changed.content,
        engine.converse(chat(None)).await.unwrap().content
    );
}

#[tokio::test]
async fn an_unknown_name_lists_the_loaded_and_running_requests_keep_theirs() {
    let engine = with_adapters("llama3", EngineOptions::default());
    let info = engine.adapters();
    assert_eq!(
        info.iter().map(|a| &a.name[..]).collect::<Vec<_>>(),
        ADAPTERS
    );
    assert_eq!((&info[0].ranks, &info[1].ranks), (&vec![8], &vec![3, 4, 6]));
    assert_eq!(
        info[0].modules,
        ["q_proj", "k_proj", "v_proj", "o_proj"].map(|m| format!("self_attn.{m}"))
    );
    assert!(!info[1].modules.contains(&"self_attn.v_proj".to_owned()));
    let request = named(Some("patterns"), greedy(vec![3, 4, 5], 300));
    let expected = engine.generate(request.clone()).await.unwrap().ids;
    let mut running = engine.generate_stream(request.clone()).await.unwrap();
    running.next().await.unwrap().unwrap();
    engine.unload_adapter("patterns").unwrap();
    let unknown = engine.generate(request.clone()).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::ResourceNotFoundException);
    assert_eq!(
        unknown.message(),
        "adapter: expected one of the loaded adapters (lora_trained), got \"patterns\""
    );
    let again = engine.unload_adapter("patterns").unwrap_err();
    assert_eq!(again.kind(), ErrorKind::ResourceNotFoundException);
    // Another adapter under the old name is for requests to come.
    engine
        .load_adapter("patterns", &fixture("lora/lora_trained"))
        .unwrap();
    let mut made = 1;
    while let Some(event) = running.next().await {
        if let outcrop_api::StreamEvent::Ids(more) = event.unwrap() {
            assert_eq!(more[..], expected[made..made + more.len()]);
            made += more.len();
        }
    }
    assert_eq!(made, expected.len());
    assert_ne!(engine.generate(request).await.unwrap().ids, expected);
    let empty = engine
        .load_adapter("", &fixture("lora/patterns"))
        .unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::ValidationException);
}

/// A copy of an adapter with changes to its configuration.
fn changed(changes: &[(&str, Value)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = fixture("lora/lora_trained");
    let file = "adapter_model.safetensors";
    std::fs::copy(from.join(file), folder.path().join(file)).unwrap();
    let mut config = golden::json("lora/lora_trained/adapter_config.json");
    for (name, value) in changes {
        config[*name] = value.clone();
    }
    std::fs::write(
        folder.path().join("adapter_config.json"),
        config.to_string(),
    )
    .unwrap();
    folder
}

fn refused(engine: &Engine, folder: &Path, kind: ErrorKind, expected: &[&str]) {
    let error = engine.load_adapter("x", folder).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    for part in expected {
        assert!(error.message().contains(part), "{error}: expected {part}");
    }
    assert!(engine.adapters().is_empty());
}

#[test]
fn what_does_not_fit_or_is_not_followed_is_named() {
    let engine = engine("llama3", EngineOptions::default());
    let model = ErrorKind::ModelErrorException;
    for (changes, expected) in [
        (
            vec![("r", json!(4))],
            vec!["k_proj.lora_A.weight: expected shape [4, 64], got [8, 64]"],
        ),
        (
            vec![("target_modules", json!(["q_proj", "v_proj", "o_proj"]))],
            vec!["k_proj", "adapter_config.json chooses"],
        ),
        (
            vec![("target_modules", json!("all-linear"))],
            vec!["expected a tensor base_model.model.model.layers.0.mlp.gate_proj.lora_A.weight"],
        ),
        (
            vec![("use_dora", json!(true))],
            vec!["adapter_config.json: use_dora"],
        ),
        (
            vec![("modules_to_save", json!(["lm_head"]))],
            vec!["modules_to_save"],
        ),
        (
            vec![("bias", json!("lora_only"))],
            vec!["bias: expected none, got lora_only"],
        ),
        (
            vec![("layers_to_transform", json!([0]))],
            vec!["layers.1.self_attn"],
        ),
        (
            vec![("lora_alpha", json!("much"))],
            vec!["adapter_config.json"],
        ),
    ] {
        refused(&engine, changed(&changes).path(), model, &expected);
    }
    let wide = crate::golden::engine("qwen3", EngineOptions::default());
    refused(
        &wide,
        &fixture("lora/lora_trained"),
        model,
        &["lora_", "expected shape", "got ["],
    );
    let nowhere = Path::new("/nowhere/at/all");
    refused(
        &engine,
        nowhere,
        ErrorKind::ResourceNotFoundException,
        &["/nowhere/at/all"],
    );
    let half = changed(&[]);
    std::fs::remove_file(half.path().join("adapter_model.safetensors")).unwrap();
    refused(&engine, half.path(), model, &["adapter_model.safetensors"]);
    std::fs::write(half.path().join("adapter_model.safetensors"), b"not one").unwrap();
    refused(&engine, half.path(), model, &["adapter_model.safetensors"]);
}

/// A safetensors file of F32 tensors of these names and shapes, all zero.
fn zeros(tensors: &[(&str, [usize; 2])]) -> Vec<u8> {
    let tensors: Vec<_> = tensors
        .iter()
        .map(|(name, shape)| (*name, *shape, vec![0.0; shape[0] * shape[1]]))
        .collect();
    safetensors(&tensors)
}

/// A safetensors file of F32 tensors: names, shapes and values.
fn safetensors(tensors: &[(&str, [usize; 2], Vec<f32>)]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, shape, values) in tensors {
        let start = end;
        end += 4 * values.len();
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]});
        header.insert((*name).to_owned(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(
        tensors
            .iter()
            .flat_map(|(_, _, values)| values)
            .flat_map(|v| v.to_le_bytes()),
    );
    bytes
}

#[tokio::test]
async fn modules_that_are_one_matrix_are_the_same_change_as_their_parts() {
    let engine = engine("llama3", EngineOptions::default());
    let values = |seed: usize, count: usize| -> Vec<f32> {
        (0..count)
            .map(|i| ((i * 37 + seed * 101) % 29) as f32 / 50.0 - 0.28)
            .collect()
    };
    let name = |module: &str, matrix: &str| {
        format!("base_model.model.model.layers.1.{module}.lora_{matrix}.weight")
    };
    // Outputs of query, key and value, and of gate and up.
    for (fused, parts, outputs) in [
        (
            "self_attn.qkv_proj",
            &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"][..],
            &[64, 32, 32][..],
        ),
        (
            "mlp.gate_up_proj",
            &["mlp.gate_proj", "mlp.up_proj"],
            &[160, 160],
        ),
    ] {
        let (down, all) = (values(1, 2 * 64), outputs.iter().sum::<usize>());
        let up = values(2, 2 * all);
        let (mut rest, mut apart) = (&up[..], Vec::new());
        for (part, outputs) in parts.iter().zip(outputs) {
            let (own, others) = rest.split_at(2 * outputs);
            rest = others;
            apart.push((name(part, "A"), [2, 64], down.clone()));
            apart.push((name(part, "B"), [*outputs, 2], own.to_vec()));
        }
        let whole = vec![
            (name(fused, "A"), [2, 64], down),
            (name(fused, "B"), [all, 2], up),
        ];
        let mut logits = Vec::new();
        for tensors in [whole, apart] {
            let modules: Vec<&str> = tensors
                .iter()
                .map(|(name, ..)| name.split('.').nth(6).unwrap())
                .collect();
            let pattern = format!(r".*layers\.1\..*\.({})", modules.join("|"));
            let folder = changed(&[("r", json!(2)), ("target_modules", json!(pattern))]);
            let tensors: Vec<_> = tensors
                .iter()
                .map(|(n, s, v)| (&n[..], *s, v.clone()))
                .collect();
            std::fs::write(
                folder.path().join("adapter_model.safetensors"),
                safetensors(&tensors),
            )
            .unwrap();
            engine.load_adapter("x", folder.path()).unwrap();
            logits.push(
                engine
                    .logits_with(&[5, 9, 100, 3], Some("x"))
                    .await
                    .unwrap(),
            );
        }
        assert_eq!(logits[0], logits[1], "{fused}");
        let plain = engine.logits(&[5, 9, 100, 3]).await.unwrap();
        assert!(distance(&logits[0], &plain) > 0.1, "{fused}");
    }
}

#[test]
fn tensors_of_other_modules_and_halves_are_named_and_an_adapters_name_is_read_over() {
    let engine = engine("llama3", EngineOptions::default());
    let q = "base_model.model.model.layers.0.self_attn.q_proj";
    let (a, b) = (format!("{q}.lora_A.weight"), format!("{q}.lora_B.weight"));
    let folder = changed(&[(
        "target_modules",
        json!(r".*\.(layers\.0\.self_attn\.q_proj|lm_head|embed_tokens)"),
    )]);
    let write = |tensors: &[(&str, [usize; 2])]| {
        std::fs::write(
            folder.path().join("adapter_model.safetensors"),
            zeros(tensors),
        )
        .unwrap();
    };
    let model = ErrorKind::ModelErrorException;
    for (tensors, expected) in [
        (vec![(&a[..], [8, 64])], vec![&b[..]]),
        (
            vec![(&a[..], [8, 64]), (&b[..], [63, 8])],
            vec![&b[..], "expected shape [64, 8], got [63, 8]"],
        ),
        (
            vec![("base_model.model.lm_head.lora_A.weight", [8, 64])],
            vec!["lm_head", "self_attn.q_proj"],
        ),
        (
            vec![(
                "base_model.model.model.embed_tokens.lora_embedding_A",
                [8, 64],
            )],
            vec!["embed_tokens"],
        ),
        (
            vec![(
                "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector",
                [1, 64],
            )],
            vec!["lora_magnitude_vector"],
        ),
        (
            vec![(
                "base_model.model.model.layers.99.self_attn.q_proj.lora_A.weight",
                [8, 64],
            )],
            vec!["expected a layer below"],
        ),
        (vec![], vec!["lora_A and lora_B, got none"]),
    ] {
        write(&tensors);
        refused(&engine, folder.path(), model, &expected);
    }
    let named = [a, b].map(|name| name.replace(".weight", ".default.weight"));
    write(&[(&named[0], [8, 64]), (&named[1], [64, 8])]);
    let info = engine.load_adapter("x", folder.path()).unwrap();
    assert_eq!(info.modules, ["self_attn.q_proj"]);
    assert_eq!(info.bytes, 4 * 8 * (64 + 64));
}
