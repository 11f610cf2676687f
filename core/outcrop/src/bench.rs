//! How fast a model is on this machine.

use std::time::{Duration, Instant};

use outcrop_api::{
    EmbedOptions, Error, GenerateRequest, InferenceConfig, ModelKind, Prompt, Result, Speculation,
    StreamEvent,
};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::model::Model;

/// Tokens of the prompt whose reading is timed.
const PREFILL: usize = 512;
/// Tokens of the prompt that decoding starts from.
const CONTEXT: usize = 128;
/// Tokens that one sequence decodes in one run.
const DECODED: usize = 64;
/// Sequences that are decoded at once.
const SEQUENCES: usize = 8;
/// Runs of each measure; the median counts.
const RUNS: usize = 3;
/// Prompts that are tried where the model ends its output at once.
const PROMPTS: usize = 8;
/// Tokens of one text that is embedded or reranked.
const TEXT_TOKENS: [usize; 3] = [32, 128, 256];
/// Texts of one call.
const TEXTS: usize = 16;

/// One thing that was measured. The value is the median of the runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measurement {
    /// The model's id.
    pub model: String,
    /// `load`, `prefill`, `decode`, `embed` or `rerank`.
    pub measure: &'static str,
    /// The median of the runs.
    pub value: f64,
    /// What the value is in: `seconds`, `tokens/s` or `texts/s`.
    pub unit: &'static str,
    /// Sequences or texts at once.
    pub sequences: usize,
    /// Tokens that stood in each sequence before what was timed.
    pub context: usize,
    /// Tokens of each sequence or text in what was timed.
    pub tokens: usize,
    /// The value of each run.
    pub runs: Vec<f64>,
}

impl Measurement {
    /// What was measured, for people.
    pub fn describe(&self) -> String {
        let (sequences, context, tokens) = (self.sequences, self.context, self.tokens);
        match (self.measure, sequences) {
            ("prefill", _) => format!("prefill of {tokens} tokens"),
            ("decode", 1) => format!("decode after {context} tokens"),
            ("decode", _) => format!("decode after {context} tokens, {sequences} at once"),
            ("embed" | "rerank", _) => {
                format!(
                    "{} texts of {tokens} tokens, {sequences} a call",
                    self.measure
                )
            }
            _ => self.measure.to_string(),
        }
    }

    fn new(model: &Model, measure: &'static str, unit: &'static str, runs: Vec<f64>) -> Self {
        let mut sorted = runs.clone();
        sorted.sort_by(f64::total_cmp);
        Self {
            model: model.id().to_string(),
            measure,
            value: sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN),
            unit,
            sequences: 1,
            context: 0,
            tokens: 0,
            runs,
        }
    }
}

impl Model {
    /// Measures how fast the model is: how long it took to load; of a language model, tokens a
    /// second of reading a prompt of 512, of decoding after a prompt of 128, and of 8 sequences
    /// decoding at once; of another, texts a second at 32, 128 and 256 tokens. A context that is
    /// shorter bounds them; each measurement says its tokens. `tell` is given each as it comes.
    ///
    /// # Errors
    /// Those of the model's calls; `ValidationException` for the quoting reader, which has no speed
    /// of its own; `ModelErrorException` where the model ends every output at once.
    pub async fn bench(&self, mut tell: impl FnMut(&Measurement)) -> Result<Vec<Measurement>> {
        let mut all = Vec::new();
        let load = self.load_time()?.as_secs_f64();
        let mut done = |measurement: Measurement| {
            tell(&measurement);
            all.push(measurement);
        };
        match self.info().kind {
            ModelKind::Chat => {
                // The first call starts the engine's threads and takes its memory.
                self.decode_one(prompt(self, CONTEXT, 0)?, 8).await?;
                done(Measurement::new(self, "load", "seconds", vec![load]));
                done(self.bench_prefill().await?);
                for sequences in [1, SEQUENCES] {
                    done(self.bench_decode(sequences).await?);
                }
            }
            ModelKind::Embedding | ModelKind::Rerank => {
                done(Measurement::new(self, "load", "seconds", vec![load]));
                for tokens in TEXT_TOKENS {
                    if let Some(measurement) = self.bench_texts(tokens).await? {
                        done(measurement);
                    }
                }
            }
        }
        Ok(all)
    }

    async fn bench_prefill(&self) -> Result<Measurement> {
        let mut runs = Vec::with_capacity(RUNS);
        let mut tokens = 0;
        for run in 0..RUNS {
            let ids = prompt(self, PREFILL, 1 + run as u64)?;
            tokens = ids.len();
            let started = Instant::now();
            let first = self.decode_one(ids, 1).await?;
            let ended = first.first().map_or_else(Instant::now, |(time, _)| *time);
            runs.push(tokens as f64 / (ended - started).as_secs_f64());
        }
        Ok(Measurement {
            tokens,
            ..Measurement::new(self, "prefill", "tokens/s", runs)
        })
    }

    async fn bench_decode(&self, sequences: usize) -> Result<Measurement> {
        let mut runs = Vec::with_capacity(RUNS);
        let mut seed = 100 * sequences as u64;
        let mut tokens = 0;
        while runs.len() < RUNS {
            let mut found = None;
            for _ in 0..PROMPTS {
                seed += sequences as u64;
                found = self.decode_together(sequences, seed).await?;
                if found.is_some() {
                    break;
                }
            }
            let (speed, counted) = found.ok_or_else(|| {
                Error::model(format!(
                    "model {}: it ended its output at once after each of {PROMPTS} random prompts: \
                     there is nothing to time",
                    self.id()
                ))
                .with_resource(self.id())
            })?;
            tokens = counted / sequences;
            runs.push(speed);
        }
        Ok(Measurement {
            sequences,
            context: prompt(self, CONTEXT, 0)?.len(),
            tokens,
            ..Measurement::new(self, "decode", "tokens/s", runs)
        })
    }

    /// Tokens a second of all sequences together, with how many were counted, while every one of
    /// them decodes: from the moment at which the last of them begins to that at which the first
    /// ends. `None` where there is no such time.
    async fn decode_together(&self, sequences: usize, seed: u64) -> Result<Option<(f64, usize)>> {
        let mut running = JoinSet::new();
        for index in 0..sequences {
            let ids = prompt(self, CONTEXT, seed + index as u64)?;
            let room = self.info().context_length.saturating_sub(ids.len());
            let model = self.clone();
            running.spawn(async move { model.decode_one(ids, room.min(DECODED + 1)).await });
        }
        let mut times = Vec::with_capacity(sequences);
        while let Some(ended) = running.join_next().await {
            let ended = ended.map_err(|error| {
                Error::internal("a sequence was stopped before its end").with_source(error)
            })?;
            times.push(ended?);
        }
        let begins = times.iter().filter_map(|all| all.first()).map(|(at, _)| at);
        let ends = times.iter().filter_map(|all| all.last()).map(|(at, _)| at);
        let (Some(from), Some(to)) = (begins.max(), ends.min()) else {
            return Ok(None);
        };
        let within =
            |(at, count): &(Instant, usize)| if at > from && at <= to { *count } else { 0 };
        let counted: usize = times.iter().flatten().map(within).sum();
        let seconds = to
            .checked_duration_since(*from)
            .map(|d: Duration| d.as_secs_f64());
        Ok(seconds
            .filter(|seconds| *seconds > 0.0 && counted >= sequences * DECODED / 8)
            .map(|seconds| (counted as f64 / seconds, counted)))
    }

    /// When tokens came, and how many at each time.
    async fn decode_one(&self, ids: Vec<u32>, max_tokens: usize) -> Result<Vec<(Instant, usize)>> {
        let request = GenerateRequest {
            inference_config: InferenceConfig {
                max_tokens: Some(max_tokens),
                ..InferenceConfig::default()
            },
            speculation: Some(Speculation::Off),
            ..GenerateRequest::new(Prompt::Ids(ids))
        };
        let mut stream = self.generate_stream(request).await?;
        let mut times = Vec::new();
        while let Some(event) = stream.next().await {
            if let StreamEvent::Ids(ids) = event? {
                times.push((Instant::now(), ids.len()));
            }
        }
        Ok(times)
    }

    async fn bench_texts(&self, tokens: usize) -> Result<Option<Measurement>> {
        let is_reranker = self.info().kind == ModelKind::Rerank;
        let query = "When does a loan begin?";
        let beside = if is_reranker {
            self.tokenize(query, true)?.len()
        } else {
            0
        };
        if tokens + beside > self.info().context_length {
            return Ok(None);
        }
        let mut runs = Vec::with_capacity(RUNS);
        for run in 0..=RUNS {
            let texts = (0..TEXTS).map(|index| text(self, tokens, (run * TEXTS + index) as u64));
            let texts = texts.collect::<Result<Vec<_>>>()?;
            let started = Instant::now();
            if is_reranker {
                self.rerank(query.into(), texts).await?;
            } else {
                self.embed(texts, EmbedOptions::default()).await?;
            }
            // The first run warms up.
            if run > 0 {
                runs.push(TEXTS as f64 / started.elapsed().as_secs_f64());
            }
        }
        let measure = if is_reranker { "rerank" } else { "embed" };
        Ok(Some(Measurement {
            sequences: TEXTS,
            tokens,
            ..Measurement::new(self, measure, "texts/s", runs)
        }))
    }
}

/// `tokens` random ids, or as many as leave the context room for one more; each seed's differ.
fn prompt(model: &Model, tokens: usize, seed: u64) -> Result<Vec<u32>> {
    let info = model.info();
    let vocabulary = info.vocabulary.ok_or_else(|| {
        let id = &info.id;
        Error::validation(format!(
            "model {id}: it quotes passages and has no speed of its own; bench the model that it \
             reads by"
        ))
        .with_resource(id)
    })?;
    let tokens = tokens.min(info.context_length.saturating_sub(DECODED + 1).max(1));
    let mut random = Random::new(seed);
    Ok((0..tokens)
        .map(|_| random.below(vocabulary) as u32)
        .collect())
}

/// A text of about `tokens` tokens, special tokens included, never more.
fn text(model: &Model, tokens: usize, seed: u64) -> Result<String> {
    const WORDS: [&str; 8] = [
        "loan", "bank", "rate", "card", "fee", "term", "house", "year",
    ];
    let mut random = Random::new(seed);
    let mut text = String::new();
    let mut left = tokens.saturating_sub(model.tokenize("", true)?.len());
    while left > 0 {
        for _ in 0..left {
            text.push_str(WORDS[random.below(WORDS.len())]);
            text.push(' ');
        }
        let counted = model.tokenize(&text, true)?.len();
        if counted > tokens {
            // Words of several tokens: as many are taken off as are too many.
            let words: Vec<&str> = text.split_whitespace().collect();
            let kept = (words.len() * tokens / counted).saturating_sub(1).max(1);
            text = words[..kept].join(" ");
            break;
        }
        left = tokens - counted;
    }
    Ok(text)
}

/// Numbers that only have to differ (splitmix64).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % limit.max(1) as u64) as usize
    }
}
