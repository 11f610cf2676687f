//! The scheduler over a model that hashes: what it is given wrongly comes out wrongly.

#![allow(clippy::unwrap_used, clippy::panic)]

mod hash_model;

use std::collections::VecDeque;
use std::path::Path;
use std::thread::JoinHandle;

use outcrop_api::{ErrorKind, InferenceConfig, Result, Scheduling, Speculation, StopReason};
use proptest::prelude::*;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use hash_model::HashModel;

use super::*;
use crate::block_pool::PAGE_TOKENS;
use crate::detokenizer::Detokenizer;
use crate::sampler::{Sampler, SamplerScratch};
use crate::sequence::{Generation, MAX_LOGIT_ROWS, SequenceEvent};
use crate::step::Wanted;
use crate::stop::StopBuffer;
use crate::tokenizer::Tokenizer;

fn tokenizer() -> Arc<Tokenizer> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama3");
    Arc::new(Tokenizer::load(&fixtures).unwrap())
}

type Receiver = UnboundedReceiver<Result<SequenceEvent>>;

fn sequence(
    tokenizer: &Arc<Tokenizer>,
    prompt: &[u32],
    max_tokens: usize,
    seed: u64,
) -> (Sequence, Receiver) {
    let config = InferenceConfig {
        temperature: Some(seed as f32 % 3.0),
        seed: Some(seed),
        ..InferenceConfig::default()
    };
    let generation = Generation {
        sampler: Sampler::new(&config).unwrap(),
        scratch: SamplerScratch::default(),
        detokenizer: Detokenizer::new(tokenizer.clone()),
        stop: StopBuffer::default(),
        end_ids: [3].into(),
        max_tokens,
        logprobs: None,
        constraint: None,
        forced: VecDeque::new(),
    };
    let (sender, receiver) = unbounded_channel();
    (
        Sequence::generate(prompt.to_vec(), generation, sender),
        receiver,
    )
}

fn start(model: HashModel, limit: usize, limits: StepLimits) -> (Arc<Inbox>, JoinHandle<()>) {
    let inbox = Arc::new(Inbox::new(limit));
    let blocks = BlockPool::new(model.cache.len());
    let draft = HashModel::new(model.cache.len());
    let speculator = Speculator::new(Some(Box::new(HashModel {
        is_draft: true,
        ..draft
    })));
    let scheduler = Scheduler::new(model, speculator, inbox.clone(), blocks, limits);
    (inbox, std::thread::spawn(|| scheduler.run()))
}

/// All ids, and why they ended.
fn collect(mut receiver: Receiver) -> Result<(Vec<u32>, StopReason)> {
    let mut ids = Vec::new();
    loop {
        match receiver.blocking_recv() {
            Some(Ok(SequenceEvent::Token(id))) => ids.push(id),
            Some(Ok(SequenceEvent::Done { stop_reason, usage })) => {
                assert_eq!(usage.output_tokens, ids.len());
                return Ok((ids, stop_reason));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error),
            None => return Err(stopped()),
        }
    }
}

const WIDE: StepLimits = StepLimits {
    max_batch: 8,
    step_tokens: 64,
};

const SPECULATIONS: [Speculation; 3] = [
    Speculation::Off,
    Speculation::PromptLookup,
    Speculation::Draft,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn neighbours_chunks_and_waiting_change_no_output(
        requests in prop::collection::vec((prop::collection::vec(prop_oneof![4u32..500, Just(5)], 1..90), 1usize..40, 0u64..6), 1..10),
        max_batch in 1usize..6, step_tokens in 1usize..40, pages in 5usize..12,
    ) {
        let tokenizer = tokenizer();
        let alone: Vec<_> = requests.iter().map(|(prompt, max_tokens, seed)| {
            let (inbox, thread) = start(HashModel::new(160), 1, WIDE);
            let (sequence, receiver) = sequence(&tokenizer, prompt, *max_tokens, *seed);
            inbox.submit(sequence).unwrap();
            let outcome = collect(receiver).unwrap();
            inbox.close();
            thread.join().unwrap();
            outcome
        }).collect();
        let limits = StepLimits { max_batch, step_tokens };
        let (inbox, thread) = start(HashModel::new(pages * PAGE_TOKENS), 100, limits);
        let receivers: Vec<_> = requests.iter().enumerate().map(|(index, (prompt, max_tokens, seed))| {
            let (sequence, receiver) = sequence(&tokenizer, prompt, *max_tokens, *seed);
            let speculation = SPECULATIONS[(index + pages) % 3];
            inbox.submit(sequence.with_speculation(speculation)).unwrap();
            receiver
        }).collect();
        let together: Vec<_> = receivers.into_iter().map(|r| collect(r).unwrap()).collect();
        inbox.close();
        thread.join().unwrap();
        prop_assert_eq!(together, alone);
    }
}

/// A sequence of `caller` at `priority`, of `prompt` equal tokens.
fn of_caller(
    tokenizer: &Arc<Tokenizer>,
    caller: &str,
    priority: i32,
    prompt: usize,
) -> (Sequence, Receiver) {
    let (sequence, receiver) = sequence(tokenizer, &vec![7; prompt], 40, 0);
    let scheduling = Scheduling {
        caller: Some(caller.to_owned()),
        priority,
        deadline_ms: None,
    };
    (sequence.scheduled(scheduling), receiver)
}

#[test]
fn sequences_that_outgrow_the_pages_give_way_and_come_out_the_same() {
    let tokenizer = tokenizer();
    let run = |tokens| {
        let (inbox, thread) = start(HashModel::new(tokens), 100, WIDE);
        let receivers: Vec<_> = (0..6u32)
            .map(|i| {
                let (sequence, receiver) = sequence(&tokenizer, &[10 + i; 20], 100, u64::from(i));
                inbox.submit(sequence).unwrap();
                receiver
            })
            .collect();
        let outcomes: Vec<_> = receivers.into_iter().map(|r| collect(r).unwrap()).collect();
        let statistics = inbox.statistics();
        inbox.close();
        thread.join().unwrap();
        (outcomes, statistics)
    };
    let (wide, statistics) = run(2048);
    assert_eq!(statistics.preemptions, 0);
    // Together they need 24 pages; one alone needs four.
    let (narrow, statistics) = run(7 * PAGE_TOKENS);
    assert_eq!(narrow, wide);
    assert!(statistics.preemptions > 0);
    assert_eq!(statistics.free_pages + statistics.cached_pages, 7);
}

#[test]
fn a_prompt_asked_again_is_read_from_the_cache_and_counted() {
    let tokenizer = tokenizer();
    let (inbox, thread) = start(HashModel::new(2048), 8, WIDE);
    let mut prompt: Vec<u32> = (0..100).map(|i| 4 + i % 90).collect();
    let ask = |prompt: &[u32]| {
        let (sequence, mut receiver) = sequence(&tokenizer, prompt, 1, 0);
        inbox.submit(sequence).unwrap();
        loop {
            if let SequenceEvent::Done { usage, .. } = receiver.blocking_recv().unwrap().unwrap() {
                return (
                    usage.cache_read_input_tokens,
                    usage.cache_write_input_tokens,
                );
            }
        }
    };
    assert_eq!(ask(&prompt), (0, 100));
    // The last token is always computed; its page is known and stays the only one.
    assert_eq!(ask(&prompt), (99, 0));
    prompt.truncate(80);
    prompt.extend([300; 30]);
    assert_eq!(ask(&prompt), (80, 30));
    prompt[0] = 300;
    assert_eq!(ask(&prompt), (0, 110));
    inbox.close();
    thread.join().unwrap();
}

#[test]
fn guesses_save_steps_and_change_nothing() {
    let tokenizer = tokenizer();
    // A text that repeats itself, for prompt lookup.
    let prompt: Vec<u32> = (0..200).map(|i| 4 + i % 7).collect();
    let run = |speculation, seed| {
        let (inbox, thread) = start(HashModel::new(2048), 8, WIDE);
        let (sequence, receiver) = sequence(&tokenizer, &prompt, 60, seed);
        inbox
            .submit(sequence.with_speculation(speculation))
            .unwrap();
        let outcome = collect(receiver).unwrap();
        let statistics = inbox.statistics();
        inbox.close();
        thread.join().unwrap();
        (outcome, statistics)
    };
    for seed in [0, 1, 2] {
        let (plain, without) = run(Speculation::Off, seed);
        assert_eq!(without.guessed_tokens, 0);
        for speculation in [Speculation::PromptLookup, Speculation::Draft] {
            let (outcome, with) = run(speculation, seed);
            assert_eq!(outcome, plain);
            assert!(with.accepted_tokens <= with.guessed_tokens);
            if speculation == Speculation::Draft {
                assert!(with.accepted_tokens > 10, "{with:?}");
                assert!(
                    with.steps + with.accepted_tokens >= without.steps,
                    "{with:?}"
                );
                assert!(with.steps < without.steps * 2 / 3, "{with:?}");
            }
        }
    }
}

#[test]
fn callers_take_turns_however_many_requests_one_has() {
    let tokenizer = tokenizer();
    let model = HashModel {
        slow: true,
        ..HashModel::new(4096)
    };
    let limits = StepLimits {
        max_batch: 1,
        step_tokens: 64,
    };
    let (inbox, thread) = start(model, 20, limits);
    let mut receivers = Vec::new();
    for (caller, count) in [("many", 8), ("few", 2)] {
        for _ in 0..count {
            let (sequence, receiver) = of_caller(&tokenizer, caller, 0, 5);
            inbox.submit(sequence).unwrap();
            receivers.push((caller, receiver));
        }
    }
    // Who is done when the second of "few" is?
    let (_, last) = receivers.pop().unwrap();
    collect(last).unwrap();
    let is_done = |receiver: &mut Receiver| {
        while let Ok(event) = receiver.try_recv() {
            if matches!(event, Ok(SequenceEvent::Done { .. })) {
                return true;
            }
        }
        false
    };
    let done = receivers
        .iter_mut()
        .filter_map(|(caller, r)| (*caller == "many" && is_done(r)).then_some(()));
    assert!(done.count() <= 3);
    inbox.close();
    thread.join().unwrap();
}

#[test]
fn callers_share_the_prompt_tokens_of_a_step_evenly() {
    let tokenizer = tokenizer();
    let (mut running, mut receivers) = (Vec::new(), Vec::new());
    for (arrival, caller) in ["many", "many", "many", "few"].into_iter().enumerate() {
        let (mut sequence, receiver) = of_caller(&tokenizer, caller, 0, 1000);
        sequence.turn.arrival = arrival as u64;
        running.push(sequence);
        receivers.push(receiver);
    }
    let mut planner = StepPlanner::default();
    assert_eq!(planner.plan(&running, 256), [128, 0, 0, 128]);
    // Steps too small for both go to each in turn.
    let mut sums = [0; 4];
    for _ in 0..10 {
        for (sum, count) in sums.iter_mut().zip(planner.plan(&running, 32)) {
            *sum += count;
        }
    }
    assert_eq!(sums, [160, 0, 0, 160]);
    running[2].turn.priority = 1;
    assert_eq!(planner.plan(&running, 256), [0, 0, 256, 0]);
}

#[test]
fn the_rows_of_logits_of_a_step_stay_few_however_many_ask_for_them() {
    let text = || (0..200).collect::<Vec<u32>>();
    let mut running: Vec<Sequence> = (0..4)
        .map(|_| Sequence::logits(text(), unbounded_channel().0))
        .collect();
    running.push(Sequence::score(text(), 100, unbounded_channel().0));
    running.push(Sequence::score(text(), 1, unbounded_channel().0));
    let counts = StepPlanner::default().plan(&running, 1000);
    let given = counts.iter().zip(&running);
    let rows: usize = given
        .map(|(&count, sequence)| match sequence.wanted(count) {
            Wanted::None => 0,
            Wanted::Last => 1,
            Wanted::LastRows(rows) => rows,
            Wanted::All => count,
        })
        .sum();
    assert!((1..=MAX_LOGIT_ROWS).contains(&rows), "{counts:?}");
    // What stands before the scored part gives none, and is not held up.
    assert_eq!(counts[4], 96, "{counts:?}");
}

#[test]
fn the_more_urgent_take_the_place_of_the_others_and_both_come_to_their_end() {
    let tokenizer = tokenizer();
    let model = HashModel {
        slow: true,
        ..HashModel::new(4096)
    };
    let limits = StepLimits {
        max_batch: 1,
        step_tokens: 64,
    };
    let (inbox, thread) = start(model, 20, limits);
    let (patient, mut first) = of_caller(&tokenizer, "a", 0, 200);
    inbox.submit(patient).unwrap();
    first.blocking_recv().unwrap().unwrap();
    let (urgent, second) = of_caller(&tokenizer, "a", 1, 10);
    inbox.submit(urgent).unwrap();
    collect(second).unwrap();
    let mut seen = 1;
    while let Ok(event) = first.try_recv() {
        seen += usize::from(matches!(event, Ok(SequenceEvent::Token(_))));
    }
    assert!(seen < 30, "{seen} of 40 tokens came before the urgent ones");
    let mut rest = 0;
    while let Some(Ok(event)) = first.blocking_recv() {
        rest += usize::from(matches!(event, SequenceEvent::Token(_)));
    }
    assert_eq!(seen + rest, 40);
    assert_eq!(inbox.statistics().preemptions, 1);
    inbox.close();
    thread.join().unwrap();
}

#[test]
fn a_deadline_ends_who_waits_and_who_runs() {
    let tokenizer = tokenizer();
    let model = HashModel {
        slow: true,
        ..HashModel::new(4096)
    };
    let limits = StepLimits {
        max_batch: 1,
        step_tokens: 64,
    };
    let (inbox, thread) = start(model, 20, limits);
    let timed = |deadline_ms| {
        let (sequence, receiver) = sequence(&tokenizer, &[7; 10], 3000, 0);
        let scheduling = Scheduling {
            deadline_ms: Some(deadline_ms),
            ..Scheduling::default()
        };
        inbox.submit(sequence.scheduled(scheduling)).unwrap();
        receiver
    };
    let (running, waiting) = (timed(60), timed(20));
    for (receiver, limit) in [(waiting, "within 20 ms"), (running, "within 60 ms")] {
        let error = collect(receiver).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ModelTimeoutException);
        assert!(error.message().contains(limit), "{error}");
    }
    let statistics = inbox.statistics();
    assert_eq!((statistics.running, statistics.waiting), (0, 0));
    assert_eq!(
        statistics.free_pages + statistics.cached_pages,
        statistics.pages
    );
    inbox.close();
    thread.join().unwrap();
}

#[test]
fn a_full_queue_is_throttling_with_the_numbers_and_a_finished_call_makes_room() {
    let tokenizer = tokenizer();
    let (inbox, thread) = start(
        HashModel {
            slow: true,
            ..HashModel::new(2048)
        },
        2,
        WIDE,
    );
    let mut receivers = Vec::new();
    for _ in 0..2 {
        let (sequence, receiver) = sequence(&tokenizer, &[5, 6], 200, 0);
        inbox.submit(sequence).unwrap();
        receivers.push(receiver);
    }
    let error = inbox
        .submit(sequence(&tokenizer, &[5, 6], 10, 0).0)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ThrottlingException);
    assert!(error.message().contains("fewer than 2 requests"), "{error}");
    for receiver in receivers {
        collect(receiver).unwrap();
    }
    for _ in 0..20 {
        for _ in 0..2 {
            let (sequence, receiver) = sequence(&tokenizer, &[5, 6], 2, 0);
            inbox.submit(sequence).unwrap();
            collect(receiver).unwrap();
        }
    }
    inbox.close();
    thread.join().unwrap();
}

#[test]
fn a_dropped_receiver_ends_its_sequence_within_a_step_and_frees_its_pages() {
    let tokenizer = tokenizer();
    let model = HashModel {
        slow: true,
        ..HashModel::new(20_000)
    };
    let steps = model.steps.clone();
    let limits = StepLimits {
        max_batch: 8,
        step_tokens: 10,
    };
    let (inbox, thread) = start(model, 8, limits);
    // Its prefill alone would take a thousand steps, and its pages are all there are.
    let (long, receiver) = sequence(&tokenizer, &vec![7; 10_000], 10_000, 0);
    inbox.submit(long).unwrap();
    while steps.lock().unwrap().len() < 3 {
        std::thread::yield_now();
    }
    drop(receiver);
    let before = steps.lock().unwrap().len();
    let (next, receiver) = sequence(&tokenizer, &[9], 1, 0);
    inbox.submit(next).unwrap();
    collect(receiver).unwrap();
    let after = steps.lock().unwrap().len();
    assert!(
        after - before <= 3,
        "{} steps from the cancellation to the next sequence's end",
        after - before
    );
    inbox.close();
    thread.join().unwrap();
}

#[test]
fn a_panic_in_a_step_is_an_error_for_all_who_wait() {
    let tokenizer = tokenizer();
    let model = HashModel {
        panics_at: Some(499),
        slow: true,
        ..HashModel::new(2048)
    };
    let (inbox, thread) = start(
        model,
        8,
        StepLimits {
            max_batch: 1,
            step_tokens: 64,
        },
    );
    let (running, first) = sequence(&tokenizer, &[499], 10, 0);
    let (waiting, second) = sequence(&tokenizer, &[5], 10, 0);
    // The second may come before or after the panic: an error either way.
    let submitted = [inbox.submit(running), inbox.submit(waiting)];
    assert_eq!(
        collect(first).unwrap_err().kind(),
        ErrorKind::InternalServerException
    );
    assert_eq!(
        collect(second).unwrap_err().kind(),
        ErrorKind::InternalServerException
    );
    assert!(submitted[0].is_ok());
    assert!(thread.join().is_err());
    let late = inbox
        .submit(sequence(&tokenizer, &[5], 10, 0).0)
        .unwrap_err();
    assert_eq!(late.kind(), ErrorKind::InternalServerException);
}

#[test]
fn decoding_goes_on_beside_a_long_prompt() {
    let tokenizer = tokenizer();
    let model = HashModel {
        slow: true,
        ..HashModel::new(4096)
    };
    let steps = model.steps.clone();
    let (inbox, thread) = start(model, 8, WIDE);
    let (short, mut receiver) = sequence(&tokenizer, &[5], 200, 0);
    inbox.submit(short).unwrap();
    receiver.blocking_recv();
    let (long, prefilled) = sequence(&tokenizer, &vec![7; 640], 1, 0);
    inbox.submit(long).unwrap();
    collect(prefilled).unwrap();
    let chunk = WIDE.step_tokens / 4;
    let widest = steps.lock().unwrap().iter().copied().max().unwrap();
    assert_eq!(widest, chunk + 1);
    let mut tokens = 0;
    while let Ok(event) = receiver.try_recv() {
        tokens += usize::from(matches!(event, Ok(SequenceEvent::Token(_))));
    }
    assert!(
        tokens >= 640 / chunk - 2,
        "{tokens} tokens came while the prompt was computed"
    );
    drop(receiver);
    inbox.close();
    thread.join().unwrap();
}
