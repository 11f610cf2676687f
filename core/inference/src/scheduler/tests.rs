//! The scheduler over a model that hashes: what it is given wrongly comes out wrongly.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::thread::JoinHandle;

use outcrop_api::{ErrorKind, InferenceConfig, Result, StopReason};
use proptest::prelude::*;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::block_pool::PAGE_TOKENS;
use crate::detokenizer::Detokenizer;
use crate::sampler::{Sampler, SamplerScratch};
use crate::sequence::Generation;
use crate::step::Wanted;
use crate::stop::StopBuffer;
use crate::tokenizer::Tokenizer;

const VOCAB: usize = 500;

/// A model whose next token is a hash of all tokens before it, read back from the cache's pages.
struct HashModel {
    cache: Vec<u32>,
    logits: Vec<f32>,
    /// Rows of each step.
    steps: Arc<Mutex<Vec<usize>>>,
    panics_at: Option<u32>,
    slow: bool,
}

impl HashModel {
    fn new(tokens: usize) -> Self {
        Self {
            cache: vec![u32::MAX; tokens.next_multiple_of(PAGE_TOKENS)],
            logits: Vec::new(),
            steps: Arc::default(),
            panics_at: None,
            slow: false,
        }
    }
}

fn slot(rows: &Rows<'_>, position: usize) -> usize {
    rows.pages[position / PAGE_TOKENS] as usize * PAGE_TOKENS + position % PAGE_TOKENS
}

impl StepModel for HashModel {
    fn vocab_size(&self) -> usize {
        VOCAB
    }

    fn step(&mut self, rows: &[Rows<'_>], keep_going: &dyn Fn() -> bool) -> Option<&[f32]> {
        self.steps
            .lock()
            .unwrap()
            .push(rows.iter().map(|r| r.tokens.len()).sum());
        self.logits.clear();
        for r in rows {
            for (&token, position) in r.tokens.iter().zip(r.position..) {
                assert_ne!(
                    Some(token),
                    self.panics_at,
                    "the model breaks down, as the test asks"
                );
                self.cache[slot(r, position)] = token;
            }
            if self.slow {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            if !keep_going() {
                return None;
            }
            let end = r.position + r.tokens.len();
            let first = match r.wanted {
                Wanted::None => end,
                Wanted::Last => end - 1,
                Wanted::All => r.position,
            };
            for position in first..end {
                let hash = (0..=position).fold(17u64, |hash, p| {
                    hash.wrapping_mul(31)
                        .wrapping_add(u64::from(self.cache[slot(r, p)]) + p as u64)
                });
                let start = self.logits.len();
                self.logits.resize(start + VOCAB, 0.0);
                self.logits[start + (hash % VOCAB as u64) as usize] = 5.0;
                self.logits[start + (hash / 7 % VOCAB as u64) as usize] += 4.0;
            }
        }
        Some(&self.logits)
    }
}

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
    let scheduler = Scheduler::new(model, inbox.clone(), blocks, limits);
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
    prefill_chunk: 64,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn neighbours_chunks_and_waiting_change_no_output(
        requests in prop::collection::vec((prop::collection::vec(4u32..500, 1..90), 1usize..40, 0u64..6), 1..10),
        max_batch in 1usize..6, prefill_chunk in 1usize..40, pages in 5usize..12,
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
        let limits = StepLimits { max_batch, prefill_chunk };
        let (inbox, thread) = start(HashModel::new(pages * PAGE_TOKENS), 100, limits);
        let receivers: Vec<_> = requests.iter().map(|(prompt, max_tokens, seed)| {
            let (sequence, receiver) = sequence(&tokenizer, prompt, *max_tokens, *seed);
            inbox.submit(sequence).unwrap();
            receiver
        }).collect();
        let together: Vec<_> = receivers.into_iter().map(|r| collect(r).unwrap()).collect();
        inbox.close();
        thread.join().unwrap();
        prop_assert_eq!(together, alone);
    }
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
        prefill_chunk: 10,
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
            prefill_chunk: 64,
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
    let chunk = WIDE.prefill_chunk / CHUNK_SHARE_BESIDE_DECODE;
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
