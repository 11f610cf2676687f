//! Tokens chosen on a GPU, its kernels on the stand-in: those that the CPU chooses.

use outcrop_api::{
    Completion, GenerateRequest, InferenceConfig, OutputFormat, Prompt, Speculation,
};
use outcrop_inference::{Device, EngineOptions, Sampler, SamplerScratch};
use outcrop_kernels_cpu as stand_in;
use outcrop_tensor::cuda::{self, Buffer, Choices, LogprobRow, NO_MASK, SampleRow};

use crate::cuda::{StandIn, options};
use crate::golden::{engine, fixture, greedy};
use crate::structured::structured;

/// SplitMix64's point of a seed and a position, as the sampler draws by.
fn point(seed: u64, position: u64) -> f64 {
    let mix = |counter: u64| {
        let z = counter.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    (mix(mix(seed).wrapping_add(position)) >> 11) as f64 / (1u64 << 53) as f64
}

/// How many draws over `logits` are the CPU sampler's.
fn agreeing(
    device: &cuda::Device,
    logits: &[f32],
    configs: &[InferenceConfig],
    masked: bool,
) -> usize {
    let (vocabulary, rows) = (logits.len(), configs.len());
    let tokens: Vec<u32> = vec![3, 5, 5, 9];
    let mask_words = vocabulary.div_ceil(32);
    let allowed: Vec<u32> = (0..mask_words as u32)
        .map(|i| 0xa5c3_f0f1 >> (i % 4))
        .collect();
    let words = [&tokens[..], &allowed].concat();
    let how = configs.iter().enumerate().map(|(row, config)| SampleRow {
        point: point(config.seed.unwrap(), tokens.len() as u64),
        row: row as u32,
        tokens: 0,
        token_count: tokens.len() as u32,
        allowed: if masked { tokens.len() as u32 } else { NO_MASK },
        logprobs: 4,
        top_k: config.top_k.unwrap_or(0) as u32,
        penalty: config.repetition_penalty.unwrap_or(1.0),
        temperature: config.temperature.unwrap_or(0.0),
        top_p: config.top_p.unwrap_or(1.0),
        min_p: config.min_p.unwrap_or(0.0),
        ..SampleRow::default()
    });
    let how = Buffer::from_slice(device, &how.collect::<Vec<_>>()).unwrap();
    let all = Buffer::from_slice(device, &logits.repeat(rows)).unwrap();
    let words = Buffer::from_slice(device, &words).unwrap();
    let mut work = Buffer::zeroed(device, rows * vocabulary).unwrap();
    let mut chosen = Buffer::<i32>::zeroed(device, rows).unwrap();
    let mut told = Buffer::<LogprobRow>::zeroed(device, rows).unwrap();
    let choices = Choices {
        logits: all.view(),
        vocabulary,
        rows: &how,
        count: rows,
    };
    let (room, out) = (work.view_mut(), chosen.view_mut());
    cuda::sample(device, choices, words.view(), room, out).unwrap();
    cuda::logprobs(device, choices, chosen.view(), told.view_mut()).unwrap();
    let mut rows = [LogprobRow::default(); 36];
    told.read(0, &mut rows[..configs.len()]).unwrap();
    let chosen = chosen.to_vec().unwrap();
    let total: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
    let logprob = |id: u32| f64::from(logits[id as usize]) - total.ln();
    let mut order: Vec<u32> = (0..vocabulary as u32).collect();
    order.sort_by(|&a, &b| logprob(b).total_cmp(&logprob(a)).then(a.cmp(&b)));
    for (id, row) in chosen.iter().zip(rows) {
        assert!((f64::from(row.chosen) - logprob(*id as u32)).abs() < 1e-5);
        assert_eq!(row.ids[..3], order[..3]);
        for (id, told) in row.ids[..3].iter().zip(row.logprobs) {
            assert!((f64::from(told) - logprob(*id)).abs() < 1e-5);
        }
    }
    let mut scratch = SamplerScratch::default();
    let mask = masked.then_some(&allowed[..]);
    let expected = configs.iter().map(|config| {
        let sampler = Sampler::new(config).unwrap();
        sampler.sample(logits, &tokens, mask, &mut scratch).unwrap() as i32
    });
    expected.zip(chosen).filter(|(a, b)| a == b).count()
}

/// Requests of every kind, all drawn.
fn requests() -> Vec<GenerateRequest> {
    let config = |seed| InferenceConfig {
        max_tokens: Some(10),
        temperature: Some(0.9),
        seed: Some(seed),
        ..InferenceConfig::default()
    };
    let prompt = || Prompt::Ids((0..9).map(|i| (i * 31 + 5) % 500).collect());
    let free = |inference_config| GenerateRequest {
        inference_config,
        ..GenerateRequest::new(prompt())
    };
    let schema = serde_json::json!({
        "type": "object", "required": ["name", "mood"], "additionalProperties": false,
        "properties": {"name": {"type": "string", "maxLength": 6}, "mood": {"enum": ["glad", "sad"]}},
    });
    let person = structured(OutputFormat::JsonSchema(schema), 3, 60);
    let mut told = person.clone();
    told.inference_config.logprobs = Some(2);
    let guessed = |request: &GenerateRequest, speculation| GenerateRequest {
        speculation: Some(speculation),
        ..request.clone()
    };
    let penalised = free(InferenceConfig {
        repetition_penalty: Some(1.4),
        top_k: Some(40),
        top_p: Some(0.9),
        min_p: Some(0.01),
        logprobs: Some(3),
        ..config(7)
    });
    // What repeats itself is guessed.
    let again = greedy([5, 9, 5, 9, 5, 9, 5, 9].repeat(3), 12);
    vec![
        free(config(1)),
        guessed(&penalised, Speculation::PromptLookup),
        guessed(&penalised, Speculation::Draft),
        penalised,
        guessed(&person, Speculation::PromptLookup),
        guessed(&told, Speculation::Draft),
        person,
        told,
        guessed(&again, Speculation::PromptLookup),
        again,
    ]
}

fn assert_same(number: usize, got: &Completion, expected: &Completion) {
    assert_eq!(got.ids, expected.ids, "request {number}");
    assert_eq!(got.text, expected.text, "request {number}");
    assert_eq!(got.logprobs.len(), expected.logprobs.len());
    for (got, expected) in got.logprobs.iter().zip(&expected.logprobs) {
        assert_eq!(got.id, expected.id);
        let off = (got.logprob - expected.logprob).abs();
        assert!(off < 1e-3, "request {number}: {off}");
        let ids = |top: &[(u32, f32)]| top.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        assert_eq!(ids(&got.top), ids(&expected.top), "request {number}");
    }
}

#[tokio::test]
async fn requests_of_every_kind_get_the_cpus_tokens_and_no_logits_come_back() {
    let Some(_stand_in) = StandIn::install() else {
        return;
    };
    let with_draft = EngineOptions {
        draft: Some(fixture("llama3/model-Q8_0.gguf")),
        ..options()
    };
    let on_cpu = EngineOptions {
        device: Device::Cpu,
        ..with_draft.clone()
    };
    let (gpu, cpu) = (engine("llama3", with_draft), engine("llama3", on_cpu));
    let vocabulary = gpu.info().vocabulary.unwrap();
    let (mut running, mut expected) = (Vec::new(), Vec::new());
    let before = stand_in::bytes_brought_back();
    // All of them at once: neighbours with masks, guesses and log-probabilities change nobody's.
    for request in requests() {
        expected.push(cpu.generate(request.clone()).await.unwrap());
        let gpu = gpu.clone();
        running.push(tokio::spawn(async move { gpu.generate(request).await }));
    }
    let mut tokens = 0;
    for (number, (running, expected)) in running.into_iter().zip(&expected).enumerate() {
        let got = running.await.unwrap().unwrap();
        tokens += got.ids.len();
        assert_same(number, &got, expected);
    }
    let statistics = gpu.statistics().unwrap();
    assert!(statistics.accepted_tokens > 0, "{statistics:?}");
    let brought = stand_in::bytes_brought_back() - before;
    println!("{tokens} tokens brought {brought} bytes back");
    assert!(brought < tokens * vocabulary, "{brought}");
}

#[test]
fn the_sampler_takes_the_cpus_tokens_in_every_schedule() {
    let Some(_stand_in) = StandIn::install() else {
        return;
    };
    stand_in::set_checks(true);
    let vocabulary = 1000;
    let mut state = 1u32;
    let logits: Vec<f32> = (0..vocabulary)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // With ties.
            ((state >> 24) as f32 - 128.0) / 24.0
        })
        .collect();
    let forms = [
        (0.0, None, None, None, 1.0),
        (0.8, None, None, None, 1.0),
        (1.0, Some(40), None, None, 1.3),
        (1.0, None, Some(0.9), None, 1.0),
        (1.3, Some(100), Some(0.7), Some(0.05), 1.1),
        (0.7, None, None, Some(0.2), 1.0),
    ];
    let configs: Vec<InferenceConfig> = (0..36u64)
        .zip(forms.iter().cycle())
        .map(
            |(seed, &(temperature, top_k, top_p, min_p, penalty))| InferenceConfig {
                temperature: Some(temperature),
                top_k,
                top_p,
                min_p,
                repetition_penalty: Some(penalty),
                seed: Some(seed),
                ..InferenceConfig::default()
            },
        )
        .collect();
    for schedule in 0..3 {
        stand_in::set_schedule(schedule);
        let device = cuda::Device::open(0).unwrap();
        for masked in [false, true] {
            let same = agreeing(&device, &logits, &configs, masked);
            assert_eq!(same, configs.len(), "schedule {schedule}, masked: {masked}");
        }
        assert_eq!(stand_in::take_report(), None);
    }
    stand_in::set_schedule(0);
    stand_in::set_checks(false);
}
