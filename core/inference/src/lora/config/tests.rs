#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;

fn read(changes: &[(&str, Value)]) -> Read<LoraConfig> {
    let mut file = json!({"peft_type": "LORA", "r": 8, "lora_alpha": 16, "bias": "none",
        "target_modules": ["q_proj", "v_proj"], "use_dora": false, "modules_to_save": null});
    for (name, value) in changes {
        file[*name] = value.clone();
    }
    LoraConfig::read(&file)
}

fn module(layer: usize, name: &str) -> String {
    format!("model.layers.{layer}.self_attn.{name}")
}

#[test]
fn modules_are_chosen_by_the_ends_of_their_names_or_by_an_expression() {
    let ends = read(&[]).unwrap();
    assert!(ends.targets(&module(3, "q_proj"), 3));
    assert!(!ends.targets(&module(3, "k_proj"), 3));
    assert!(!ends.targets("model.layers.3.self_attn.xq_proj", 3));
    let expression = r".*\.layers\.[01]\..*(q|k)_proj";
    let regex = read(&[("target_modules", expression.into())]).unwrap();
    assert!(regex.targets(&module(1, "k_proj"), 1));
    assert!(!regex.targets(&module(2, "k_proj"), 2));
    let all = read(&[
        ("target_modules", "all-linear".into()),
        ("exclude_modules", json!(["down_proj"])),
    ])
    .unwrap();
    assert!(all.targets("model.layers.0.mlp.up_proj", 0));
    assert!(!all.targets("model.layers.0.mlp.down_proj", 0));
    assert!(!all.targets("lm_head", 0));
    let some = read(&[
        ("layers_to_transform", json!([1])),
        ("layers_pattern", "layers".into()),
    ]);
    let some = some.unwrap();
    assert!(some.targets(&module(1, "q_proj"), 1) && !some.targets(&module(0, "q_proj"), 0));
    let one = read(&[("layers_to_transform", json!(0))]).unwrap();
    assert!(one.targets(&module(0, "q_proj"), 0) && !one.targets(&module(1, "q_proj"), 1));
}

#[test]
fn parameters_are_chosen_by_the_ends_of_their_names() {
    let chosen = json!(["mlp.experts.down_proj", "3.mlp.gate.weight"]);
    let some = read(&[
        ("target_parameters", chosen),
        ("target_modules", json!(null)),
    ])
    .unwrap();
    assert!(some.targets_parameter("model.layers.2.mlp.experts.down_proj"));
    assert!(!some.targets_parameter("model.layers.2.mlp.experts.gate_up_proj"));
    assert!(some.targets_parameter("model.layers.3.mlp.gate.weight"));
    assert!(!some.targets_parameter("model.layers.13.mlp.gate.weight"));
    assert!(!some.targets("model.layers.2.mlp.experts.down_proj", 2));
}

#[test]
fn ranks_and_scales_are_of_the_module() {
    let table = read(&[
        ("use_rslora", true.into()),
        (
            "rank_pattern",
            json!({"layers.1.self_attn.q_proj": 4, "q_proj": 32}),
        ),
        ("alpha_pattern", json!({"v_proj": 3.0})),
    ])
    .unwrap();
    assert_eq!(table.rank(&module(1, "q_proj")), 4);
    assert_eq!(table.rank(&module(11, "q_proj")), 32);
    assert_eq!(table.rank(&module(1, "v_proj")), 8);
    assert_eq!(table.scale(&module(1, "q_proj")), 8.0);
    assert_eq!(
        table.scale(&module(0, "v_proj")),
        (3.0 / 8f64.sqrt()) as f32
    );
    assert_eq!(read(&[]).unwrap().scale(&module(0, "v_proj")), 2.0);
}

#[test]
fn what_is_not_followed_is_refused_by_name() {
    for (name, value) in [
        ("peft_type", json!("IA3")),
        ("bias", json!("all")),
        ("use_dora", json!(true)),
        ("modules_to_save", json!(["lm_head"])),
        ("init_lora_weights", json!("pissa_niter_16")),
        ("layer_replication", json!([[0, 2]])),
        ("r", json!(0)),
        ("target_modules", json!(null)),
        ("target_modules", json!("(")),
        ("rank_pattern", json!({"q_proj": 0})),
        ("something_of_tomorrow", json!(3)),
    ] {
        let error = read(&[(name, value.clone())]).unwrap_err();
        assert!(error.contains(name), "{name}: {value}: {error}");
    }
    assert!(
        read(&[
            ("fan_in_fan_out", true.into()),
            ("lora_dropout", json!(0.1))
        ])
        .is_ok()
    );
}
