//! Serving: whatever runs beside a request, and however it is served, its bytes stay the same.
//!
//! `OUTCROP_MIXES` is the number of random mixes (60), `OUTCROP_SOAK_SECONDS` the length of the soak
//! (3), `OUTCROP_SOAK_THREADS` its threads (2).

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use outcrop_api::{
    Completion, ErrorKind, GenerateRequest, InferenceConfig, OutputFormat, Prompt, Scheduling,
    Speculation, StreamEvent,
};
use outcrop_inference::{Engine, EngineOptions, EngineStatistics, KvDtype};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::golden::{distance, engine, fixture, greedy, on_threads};

const ADAPTERS: [&str; 2] = ["lora_trained", "patterns"];

/// Numbers that look random and are the same in each run (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

fn number(variable: &str, default: usize) -> usize {
    let value = std::env::var(variable).ok();
    value.map_or(default, |value| value.parse().unwrap())
}

/// The golden Llama with its adapters, and with its own quantised self to guess ahead.
fn open(options: EngineOptions) -> Engine {
    let options = EngineOptions {
        draft: Some(fixture("llama3/model-Q8_0.gguf")),
        ..options
    };
    let engine = engine("llama3", options);
    for name in ADAPTERS {
        let folder = fixture(&format!("lora/{name}"));
        engine.load_adapter(name, &folder).unwrap();
    }
    engine
}

/// Most tokens of a request's prompt and output.
const LONGEST: usize = 190;

/// A request of random length, sampler, adapter and form; many begin alike.
fn request(numbers: &mut Numbers) -> GenerateRequest {
    let start = 1 + numbers.below(3) as u32;
    let common = numbers.below(120);
    let mut prompt: Vec<u32> = (0..common as u32).map(|i| (i * start * 37) % 500).collect();
    for _ in 0..=numbers.below(30) {
        prompt.push(numbers.below(500) as u32);
    }
    if numbers.below(3) == 0 {
        // Repeats itself, so that guesses come true.
        prompt = prompt.iter().copied().cycle().take(150).collect();
    }
    let formats = [
        OutputFormat::Regex("[a-z]{3,9}( [a-z]{2,5}){1,4}".to_owned()),
        OutputFormat::JsonSchema(json!({
            "type": "object",
            "properties": {"city": {"enum": ["Bern", "Rom"]}, "zip": {"type": "integer"}},
            "required": ["city", "zip"],
            "additionalProperties": false,
        })),
    ];
    let format = numbers.below(8);
    GenerateRequest {
        inference_config: InferenceConfig {
            max_tokens: Some(1 + numbers.below(38)),
            temperature: Some(numbers.one_of(&[0.0, 0.0, 0.7, 1.3])),
            top_p: Some(numbers.one_of(&[1.0, 0.9])),
            top_k: numbers.one_of(&[None, Some(40)]),
            repetition_penalty: Some(numbers.one_of(&[1.0, 1.0, 1.2])),
            seed: Some(numbers.below(5) as u64),
            logprobs: numbers.one_of(&[None, None, None, Some(2)]),
            ..InferenceConfig::default()
        },
        output_format: formats.get(format).cloned(),
        adapter: numbers
            .one_of(&[None, None, Some(ADAPTERS[0]), Some(ADAPTERS[1])])
            .map(str::to_owned),
        ..GenerateRequest::new(Prompt::Ids(prompt))
    }
}

/// What must be equal of two answers.
fn bytes(completion: &Completion) -> impl PartialEq + std::fmt::Debug + use<> {
    let logprobs: Vec<_> = completion
        .logprobs
        .iter()
        .map(|l| (l.id, l.logprob.to_bits(), l.top.clone()))
        .collect();
    let ids = completion.ids.clone();
    (
        ids,
        completion.text.clone(),
        completion.stop_reason,
        logprobs,
    )
}

/// Requests with what each gives alone, in an engine of its own, on one thread.
fn requests(kv_dtype: KvDtype) -> &'static [(GenerateRequest, Completion)] {
    static ALL: [OnceLock<Vec<(GenerateRequest, Completion)>>; 2] = [const { OnceLock::new() }; 2];
    ALL[usize::from(kv_dtype == KvDtype::F16)].get_or_init(|| {
        let runtime = Runtime::new().unwrap();
        let mut numbers = Numbers(7);
        let count = 24 + number("OUTCROP_MIXES", 60) / 5;
        let alone = (0..count).map(|_| {
            let request = request(&mut numbers);
            let engine = open(EngineOptions {
                kv_dtype,
                ..on_threads(1)
            });
            let completion = runtime.block_on(engine.generate(request.clone())).unwrap();
            let usage = completion.usage;
            assert!(usage.total_tokens <= LONGEST);
            assert_eq!(usage.cache_read_input_tokens, 0);
            // What a form decides alone is not computed at all.
            if request.output_format.is_none() {
                assert_eq!(usage.cache_write_input_tokens, usage.input_tokens);
            }
            (request, completion)
        });
        alone.collect()
    })
}

/// Runs `request`, or drops it after `cancel` events.
async fn serve(
    engine: &Engine,
    request: GenerateRequest,
    cancel: Option<usize>,
) -> Option<Completion> {
    let Some(events) = cancel else {
        return Some(engine.generate(request).await.unwrap());
    };
    let mut stream = engine.generate_stream(request).await.unwrap();
    for _ in 0..events {
        match stream.next().await {
            Some(Ok(StreamEvent::Done { .. })) | None => break,
            other => assert!(other.unwrap().is_ok()),
        }
    }
    None
}

/// Waits until nothing runs, and checks that every page has come back.
fn settled(engine: &Engine) -> EngineStatistics {
    let started = Instant::now();
    loop {
        let now = engine.statistics().unwrap();
        if now.running + now.waiting == 0 && now.free_pages + now.cached_pages == now.pages {
            return now;
        }
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "stuck: {now:?}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn options(numbers: &mut Numbers) -> EngineOptions {
    EngineOptions {
        max_batch: 1 + numbers.below(8),
        step_tokens: numbers.one_of(&[1, 7, 33, 64, 200]),
        kv_tokens: numbers.one_of(&[None, Some(192), Some(256), Some(480)]),
        ..on_threads(1 + numbers.below(2))
    }
}

#[test]
fn random_mixes_give_each_request_the_bytes_of_its_run_alone() {
    let runtime = Runtime::new().unwrap();
    let mut sums = EngineStatistics::default();
    for mix in 0..number("OUTCROP_MIXES", 60) {
        let mut numbers = Numbers(1000 + mix as u64);
        let kv_dtype = numbers.one_of(&[KvDtype::F32, KvDtype::F16]);
        let pool = requests(kv_dtype);
        let engine = open(EngineOptions {
            kv_dtype,
            ..options(&mut numbers)
        });
        let tasks: Vec<_> = (0..2 + numbers.below(9))
            .map(|_| {
                let index = numbers.below(pool.len());
                let (request, _) = &pool[index];
                let request = GenerateRequest {
                    speculation: Some(numbers.one_of(&[
                        Speculation::Off,
                        Speculation::PromptLookup,
                        Speculation::Draft,
                    ])),
                    scheduling: Scheduling {
                        caller: numbers
                            .one_of(&[None, Some("a"), Some("b")])
                            .map(str::to_owned),
                        priority: numbers.below(3) as i32 - 1,
                        deadline_ms: None,
                    },
                    ..request.clone()
                };
                let cancel = (numbers.below(10) == 0).then(|| numbers.below(6));
                let delay = Duration::from_micros(numbers.below(4000) as u64);
                let engine = engine.clone();
                let task = runtime.spawn(async move {
                    tokio::time::sleep(delay).await;
                    serve(&engine, request, cancel).await
                });
                (index, task)
            })
            .collect();
        for (index, task) in tasks {
            let Some(completion) = runtime.block_on(task).unwrap() else {
                continue;
            };
            let (request, alone) = &pool[index];
            assert_eq!(bytes(&completion), bytes(alone), "mix {mix}: {request:?}");
        }
        let of_mix = settled(&engine);
        sums.preemptions += of_mix.preemptions;
        sums.cache_read_tokens += of_mix.cache_read_tokens;
        sums.accepted_tokens += of_mix.accepted_tokens;
    }
    // The mixes were worth the name.
    println!("{sums:?}");
    assert!(sums.preemptions > 0 && sums.cache_read_tokens > 0 && sums.accepted_tokens > 0);
}

/// Bytes of memory that the process has in use, where the system tells.
fn resident() -> Option<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split(' ').nth(1)?.parse::<usize>().ok()? * 4096)
}

#[test]
fn a_long_mixed_load_leaves_nothing_behind() {
    let runtime = Runtime::new().unwrap();
    let engine = open(EngineOptions {
        kv_tokens: Some(512),
        ..on_threads(number("OUTCROP_SOAK_THREADS", 2))
    });
    let pool = Arc::new(requests(KvDtype::F32));
    let length = Duration::from_secs(number("OUTCROP_SOAK_SECONDS", 3) as u64);
    let (started, mut warm) = (Instant::now(), None);
    let (mut answered, mut cancelled) = (0, 0);
    let mut numbers = Numbers(99);
    while started.elapsed() < length {
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let (engine, pool) = (engine.clone(), pool.clone());
                let index = numbers.below(pool.len());
                let cancel = (numbers.below(10) == 0).then(|| numbers.below(6));
                let speculation = numbers.one_of(&[Speculation::Off, Speculation::PromptLookup]);
                runtime.spawn(async move {
                    let request = GenerateRequest {
                        speculation: Some(speculation),
                        ..pool[index].0.clone()
                    };
                    (index, serve(&engine, request, cancel).await)
                })
            })
            .collect();
        for task in tasks {
            let (index, completion) = runtime.block_on(task).unwrap();
            if let Some(completion) = completion {
                assert_eq!(bytes(&completion), bytes(&pool[index].1));
                answered += 1;
            } else {
                cancelled += 1;
            }
        }
        if started.elapsed() > length / 3 {
            warm = warm.or_else(resident);
        }
    }
    let statistics = settled(&engine);
    println!("{answered} answered, {cancelled} cancelled; {statistics:?}");
    if let (Some(warm), Some(now)) = (warm, resident()) {
        let growth = now.saturating_sub(warm);
        println!("{warm} bytes resident when it was warm, {now} at the end");
        assert!(
            growth < 16 << 20,
            "{growth} bytes more than when it was warm"
        );
    }
}

#[tokio::test]
async fn a_long_prompt_asked_again_reads_all_but_its_end() {
    let engine = engine("llama3", on_threads(1));
    let mut prompt: Vec<u32> = (0..1500).map(|i| (i * i + 7) % 500).collect();
    engine.generate(greedy(prompt.clone(), 2)).await.unwrap();
    prompt.truncate(1470);
    prompt.extend([9, 8, 7, 6, 5]);
    let fresh = self::engine("llama3", on_threads(1));
    let expected = fresh.generate(greedy(prompt.clone(), 20)).await.unwrap();
    let again = engine.generate(greedy(prompt, 20)).await.unwrap();
    assert_eq!(bytes(&again), bytes(&expected));
    assert_eq!(again.usage.cache_read_input_tokens, 1470);
    assert_eq!(again.usage.cache_write_input_tokens, 5);
}

#[tokio::test]
async fn guessing_is_refused_where_it_cannot_be_done() {
    let plain = engine("llama3", on_threads(1));
    let request = GenerateRequest {
        speculation: Some(Speculation::Draft),
        ..greedy(vec![5; 4], 2)
    };
    let error = plain.generate(request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ValidationException);
    assert!(error.message().starts_with("speculation"), "{error}");
    let other = EngineOptions {
        draft: Some(fixture("qwen3")),
        ..on_threads(1)
    };
    let error = Engine::load(&fixture("llama3"), "x", other).err().unwrap();
    assert!(error.message().contains("qwen3: token "), "{error}");
    let none = EngineOptions {
        speculation: Speculation::Draft,
        ..on_threads(1)
    };
    assert!(Engine::load(&fixture("llama3"), "x", none).is_err());
    let both = EngineOptions {
        kv_tokens: Some(64),
        kv_bytes: Some(1 << 20),
        ..on_threads(1)
    };
    let error = Engine::load(&fixture("llama3"), "x", both).err().unwrap();
    assert!(error.message().contains("got both"), "{error}");
}

#[tokio::test]
async fn smaller_keys_and_values_stay_near_and_are_the_same_in_a_batch() {
    let prompt: Vec<u32> = (0..70).map(|i| (i * i + 3) % 500).collect();
    let exact = engine("llama3_h256", on_threads(1));
    let expected = exact.logits(&prompt).await.unwrap();
    for (kv_dtype, most) in [(KvDtype::F16, 0.05), (KvDtype::Q8_0, 0.3)] {
        let options = |threads| EngineOptions {
            kv_dtype,
            ..on_threads(threads)
        };
        let alone = engine("llama3_h256", options(1));
        let logits = alone.logits(&prompt).await.unwrap();
        let off = distance(&logits, &expected);
        println!("{}: off by {off:.2e}", kv_dtype.name());
        assert!(off > 0.0 && off < most, "{}: {off}", kv_dtype.name());
        let together = engine("llama3_h256", options(2));
        let (first, second, third) = tokio::join!(
            together.logits(&prompt),
            together.logits(&prompt[3..]),
            together.generate(greedy(prompt.clone(), 20)),
        );
        assert_eq!(first.unwrap(), logits);
        let rest = alone.logits(&prompt[3..]).await.unwrap();
        assert_eq!(second.unwrap(), rest);
        let continued = alone.generate(greedy(prompt.clone(), 20)).await.unwrap();
        assert_eq!(third.unwrap().ids, continued.ids);
    }
    let options = EngineOptions {
        kv_dtype: KvDtype::Q8_0,
        ..on_threads(1)
    };
    let error = Engine::load(&fixture("llama3"), "x", options)
        .err()
        .unwrap();
    assert!(error.message().contains("heads of 16 elements"), "{error}");
}

#[tokio::test]
async fn a_sequence_waits_for_its_reader_and_for_nobody_who_waits_for_its_place() {
    let options = EngineOptions {
        max_batch: 1,
        ..EngineOptions::default()
    };
    let engine = engine("llama3", options);
    let request = |max_tokens| GenerateRequest {
        inference_config: InferenceConfig {
            max_tokens: Some(max_tokens),
            // Not to be ended by the model itself.
            temperature: Some(1.5),
            seed: Some(3),
            ..InferenceConfig::default()
        },
        ..GenerateRequest::new(Prompt::Ids(vec![5, 6, 7]))
    };
    let whole = engine.generate(request(180)).await.unwrap();
    assert_eq!(
        whole.ids.len(),
        180,
        "the model ended by itself: choose another seed"
    );
    let steps = |engine: &Engine| engine.statistics().unwrap().steps;
    let settle = |engine: &Engine| {
        let engine = engine.clone();
        async move {
            let mut last = steps(&engine);
            loop {
                tokio::time::sleep(Duration::from_millis(60)).await;
                let now = steps(&engine);
                if std::mem::replace(&mut last, now) == now {
                    return now;
                }
            }
        }
    };

    let before = steps(&engine);
    let mut slow = engine.generate_stream(request(180)).await.unwrap();
    let made = settle(&engine).await - before;
    assert!(
        (20..=140).contains(&made),
        "{made} steps ahead of a reader that reads nothing"
    );

    // Another one needs the only place: the first goes on to its end.
    let other = engine.generate(request(4)).await.unwrap();
    assert_eq!(other.ids, whole.ids[..4]);

    let mut ids = Vec::new();
    while let Some(event) = slow.next().await {
        if let StreamEvent::Ids(more) = event.unwrap() {
            ids.extend(more);
        }
    }
    assert_eq!(ids, whole.ids);

    // One that is alone waits, goes on when it is read, and is let go when it is left.
    let mut slow = engine.generate_stream(request(180)).await.unwrap();
    settle(&engine).await;
    let mut ids = Vec::new();
    while ids.len() < 150 {
        if let Some(StreamEvent::Ids(more)) = slow.next().await.transpose().unwrap() {
            ids.extend(more);
        }
    }
    assert_eq!(ids, whole.ids[..ids.len()]);
    settle(&engine).await;
    drop(slow);
    assert_eq!(settled(&engine).running, 0);
}
