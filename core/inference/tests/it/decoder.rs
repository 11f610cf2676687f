//! The decoder against golden models, and against itself in other batches.

use outcrop_inference::{Engine, EngineOptions};
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::golden::{DECODERS, distance, engine, greedy, ids, json, numbers, on_threads};

/// Largest difference of logits in F32 from the golden ones.
const TOLERANCE: f32 = 2e-3;

fn argmax(row: &[f32]) -> u32 {
    let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a)));
    best.unwrap() as u32
}

/// Minus the log of the probability that `row` gives to `token`.
fn surprise(row: &[f32], token: u32) -> f64 {
    let max = row.iter().copied().fold(f32::MIN, f32::max);
    let sum: f64 = row.iter().map(|l| f64::from(l - max).exp()).sum();
    sum.ln() - f64::from(row[token as usize] - max)
}

#[tokio::test]
async fn safetensors_give_the_golden_logits_and_tokens() {
    for name in DECODERS {
        let golden = json(&format!("{name}/golden.json"));
        let engine = engine(name, EngineOptions::default());
        let vocab = engine.info().vocabulary.unwrap();
        for prompt in golden["prompts"].as_array().unwrap() {
            let tokens = ids(&prompt["ids"]);
            let logits = engine.logits(&tokens).await.unwrap();
            let rows: Vec<&[f32]> = logits.chunks_exact(vocab).collect();
            assert_eq!(rows.len(), tokens.len());
            let off = distance(rows[tokens.len() - 1], &numbers(&prompt["last_logits"]));
            println!("{name} {}: last logits off by {off:.2e}", prompt["name"]);
            assert!(off <= TOLERANCE, "{name}: {off}");
            let best: Vec<u32> = rows.iter().map(|row| argmax(row)).collect();
            assert_eq!(best, ids(&prompt["argmax_all"]), "{name}");
            for (at, nll) in numbers(&prompt["nll_per_token"]).into_iter().enumerate() {
                let off = (surprise(rows[at], tokens[at + 1]) - f64::from(nll)).abs();
                assert!(off <= 4e-3, "{name}: NLL of token {} off by {off}", at + 1);
            }
            let expected = ids(&prompt["greedy"]);
            let completion = engine
                .generate(greedy(tokens, expected.len()))
                .await
                .unwrap();
            assert_eq!(completion.ids, expected, "{name}");
        }
    }
}

/// Quantised weights meet activations rounded to eight bits, here and in llama.cpp, each in its own
/// way: both are off the run with dequantised weights by the activations' rounding. Ours may be off
/// by twice llama.cpp's own distance at most, and must choose the same token where the choice is
/// clearer than that.
#[tokio::test]
async fn gguf_is_as_near_its_dequantised_weights_as_llama_cpp() {
    for (folder, quantisation) in [("llama3", "Q8_0"), ("llama3_h256", "Q4_K_M")] {
        let golden = json(&format!("{folder}/golden_gguf.json"));
        let engine = engine(
            &format!("{folder}/model-{quantisation}.gguf"),
            EngineOptions::default(),
        );
        let vocab = engine.info().vocabulary.unwrap();
        for prompt in golden["files"][quantisation]["prompts"].as_array().unwrap() {
            let name = format!("{folder} {quantisation} {}", prompt["name"]);
            let tokens = ids(&prompt["ids"]);
            let logits = engine.logits(&tokens).await.unwrap();
            let last = &logits[logits.len() - vocab..];
            let exact = numbers(&prompt["dequant_f32_last_logits"]);
            let peer = distance(&exact, &numbers(&prompt["llama_cpp_last_logits"]));
            let off = distance(last, &exact);
            println!("{name}: off by {off:.2e}, llama.cpp by {peer:.2e}");
            assert!(off <= 2.0 * peer, "{name}: {off}, llama.cpp {peer}");
            // Were it hardly off at all, the integer products would not have been used.
            assert!(off > TOLERANCE, "{name}: {off}");
            let (best, margin) = choice(&exact);
            if margin > 2.0 * off {
                assert_eq!(choice(last).0, best, "{name}");
            }
        }
    }
}

/// The index of the largest logit, and by how much it leads.
fn choice(logits: &[f32]) -> (usize, f32) {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    (order[0], logits[order[0]] - logits[order[1]])
}

/// The logits' bits: equality of floats would call -0 and 0 the same.
fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|l| l.to_bits()).collect()
}

async fn logits_together(engine: &Engine, prompts: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let tasks: Vec<_> = prompts
        .iter()
        .map(|prompt| {
            let (engine, prompt) = (engine.clone(), prompt.clone());
            tokio::spawn(async move { engine.logits(&prompt).await.unwrap() })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.push(bits(&task.await.unwrap()));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn neighbours_chunks_and_threads_change_no_bit(
        prompts in prop::collection::vec(prop::collection::vec(0u32..544, 1..80), 1..7),
        step_tokens in 1usize..70, max_batch in 1usize..7, threads in 1usize..4, which in 0usize..5,
    ) {
        let name = ["llama3", "llama3_h256", "qwen3", "llama3/model-Q8_0.gguf", "llama3_h256/model-Q4_K_M.gguf"][which];
        let runtime = Runtime::new().unwrap();
        let reference = engine(name, on_threads(1));
        let alone: Vec<_> = prompts.iter()
            .map(|prompt| bits(&runtime.block_on(reference.logits(prompt)).unwrap())).collect();
        let mixed = engine(name, EngineOptions { step_tokens, max_batch, ..on_threads(threads) });
        // Decoding sequences beside them make for steps of every shape.
        let beside = prompts.iter().map(|prompt| {
            let (engine, prompt) = (mixed.clone(), prompt.clone());
            runtime.spawn(async move { engine.generate(greedy(prompt, 20)).await.unwrap().ids })
        }).collect::<Vec<_>>();
        prop_assert_eq!(runtime.block_on(logits_together(&mixed, &prompts)), alone);
        for (task, prompt) in beside.into_iter().zip(&prompts) {
            let expected = runtime.block_on(reference.generate(greedy(prompt.clone(), 20))).unwrap().ids;
            prop_assert_eq!(runtime.block_on(task).unwrap(), expected);
        }
    }
}
