//! An encoder with its tokenizer: what turns texts into vectors, or scores texts against a query.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use outcrop_api::{
    BoxFuture, EmbedOptions, Embedder, Embeddings, Error, ErrorKind, ModelInfo, ModelKind,
    Reranker, Result,
};
use outcrop_tensor::{Pool, ops};
use tokio::sync::oneshot;

use crate::encoder::{Dense, Encoder, EncoderBatch, EncoderConfig};
use crate::pooling::{Pooling, normalize};
use crate::prompts::Prompts;
use crate::tokenizer::Tokenizer;
use crate::weights::{Checkpoint, ModelSource, WeightsError, read_json};

/// Tokens of one forward pass, unless one text alone is longer. It bounds the memory, and the time
/// until a dropped call stops.
const PASS_TOKENS: usize = 2048;
/// Texts that are tokenised before their passes.
const TOKENIZED_TEXTS: usize = 512;

/// A loaded encoder that embeds or reranks. Clones share it.
///
/// A text's vector, and a pair's score, depend on itself only: never on the batch, the number of
/// threads or what runs beside it.
#[derive(Clone)]
pub struct EncoderModel(Arc<Inner>);

struct Inner {
    info: ModelInfo,
    encoder: Encoder,
    tokenizer: Tokenizer,
    pooling: Pooling,
    prompts: Prompts,
    head: Option<ScoreHead>,
    max_tokens: usize,
    pool: Option<Pool>,
}

/// BERT's pooler and a classifier of one label.
struct ScoreHead {
    pooler: Dense,
    classifier: Dense,
}

impl ScoreHead {
    /// The raw score of an input, from its first token's vector.
    fn score(&self, pool: &Pool, first: &[f32]) -> f32 {
        let mut pooled = vec![0.0; first.len()];
        self.pooler.apply(pool, first, &mut pooled);
        ops::tanh_in_place(&mut pooled);
        let mut score = [0.0];
        self.classifier.apply(pool, &pooled, &mut score);
        score[0]
    }
}

/// One tokenised input.
struct Input {
    ids: Vec<u32>,
    types: Vec<u32>,
}

impl EncoderModel {
    /// Loads a folder in the layout of the Hugging Face hub: an embedding model, or a reranker
    /// where the architecture is `…ForSequenceClassification`.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where nothing is there, `ModelErrorException` for damaged files
    /// or an architecture that is not an encoder's, `ValidationException` for a wrong
    /// `OUTCROP_THREADS`.
    pub fn load(path: &Path, id: &str) -> Result<Self> {
        Pool::default_threads().map_err(|error| Error::validation(error.to_string()))?;
        Self::load_with_threads(path, id, None)
    }

    /// As [`EncoderModel::load`], with threads of its own instead of the process's.
    ///
    /// # Errors
    /// As [`EncoderModel::load`].
    pub fn load_with_threads(path: &Path, id: &str, threads: Option<usize>) -> Result<Self> {
        let checkpoint = Checkpoint::open(path)?;
        let ModelSource::HuggingFace { folder, config } = checkpoint.config() else {
            let message = "expected an encoder's folder, got a GGUF file";
            return Err(wrong_model(path, message));
        };
        let architecture =
            EncoderConfig::from_json(config).map_err(|detail| wrong_config(folder, &detail))?;
        let scores = config["architectures"][0]
            .as_str()
            .is_some_and(|name| name.ends_with("ForSequenceClassification"));
        let prefix = if checkpoint.contains("bert.embeddings.word_embeddings.weight") {
            "bert."
        } else {
            ""
        };
        let hidden = architecture.hidden;
        let head = if scores {
            Some(load_head(&checkpoint, prefix, hidden, folder, config)?)
        } else {
            None
        };
        let max_tokens = read_max_tokens(folder, architecture.positions)?;
        let encoder = Encoder::load(&checkpoint, prefix, architecture)?;
        let info = ModelInfo {
            id: id.to_owned(),
            kind: if scores {
                ModelKind::Rerank
            } else {
                ModelKind::Embedding
            },
            architecture: encoder.config().architecture.clone(),
            parameters: checkpoint.parameters(),
            quantization: checkpoint.quantization(),
            context_length: max_tokens,
            dimensions: (!scores).then_some(hidden),
            vocabulary: None,
            device: "cpu".to_owned(),
            bytes: checkpoint.bytes(),
        };
        Ok(Self(Arc::new(Inner {
            info,
            pooling: Pooling::from_folder(folder)?,
            prompts: Prompts::from_folder(folder)?,
            tokenizer: Tokenizer::from_checkpoint(&checkpoint)?,
            encoder,
            head,
            max_tokens,
            pool: threads.map(Pool::new),
        })))
    }

    /// What is known of it.
    pub fn info(&self) -> ModelInfo {
        self.0.info.clone()
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.0.tokenizer
    }

    /// The last layer's vectors of one text's tokens `(tokens, hidden)`, special tokens included.
    ///
    /// # Errors
    /// `ValidationException` for more tokens than the model reads.
    pub fn token_vectors(&self, text: &str) -> Result<Vec<f32>> {
        let input = self.0.text_input(0, text, false)?;
        let idle = AtomicBool::new(false);
        self.0.forward(&[input], &idle)
    }
}

impl Inner {
    fn pool(&self) -> &Pool {
        self.pool.as_ref().unwrap_or_else(|| Pool::global())
    }

    fn text_input(&self, index: usize, text: &str, truncate: bool) -> Result<Input> {
        let mut ids = self.tokenizer.encode(text, true)?;
        if ids.len() > self.max_tokens {
            if !truncate {
                return Err(Error::validation(format!(
                    "texts[{index}]: expected at most {} tokens, got {} (truncate would cut it)",
                    self.max_tokens,
                    ids.len()
                )));
            }
            ids = self.cut(text, ids)?;
        }
        let types = vec![0; ids.len()];
        Ok(Input { ids, types })
    }

    /// Cuts the end of a text's own tokens, keeping the special ones around them.
    fn cut(&self, text: &str, ids: Vec<u32>) -> Result<Vec<u32>> {
        let plain = self.tokenizer.encode(text, false)?;
        let added = ids.len().saturating_sub(plain.len());
        let before = (0..=added).find(|at| ids[*at..].starts_with(&plain));
        let (Some(before), Some(kept)) = (before, self.max_tokens.checked_sub(added)) else {
            return Err(Error::model(
                "the tokenizer's special tokens leave no room for a text",
            ));
        };
        Ok([
            &ids[..before],
            &plain[..kept.min(plain.len())],
            &ids[before + plain.len()..],
        ]
        .concat())
    }

    fn pair_input(&self, index: usize, query: &str, text: &str) -> Result<Input> {
        let (ids, types) = self.tokenizer.encode_pair(query, text)?;
        if ids.len() > self.max_tokens {
            return Err(Error::validation(format!(
                "query and texts[{index}]: expected at most {} tokens together, got {}",
                self.max_tokens,
                ids.len()
            )));
        }
        Ok(Input { ids, types })
    }

    /// The vectors of all tokens of `inputs`.
    fn forward(&self, inputs: &[Input], cancelled: &AtomicBool) -> Result<Vec<f32>> {
        let batch = EncoderBatch {
            ids: inputs
                .iter()
                .flat_map(|input| input.ids.iter().copied())
                .collect(),
            types: inputs
                .iter()
                .flat_map(|input| input.types.iter().copied())
                .collect(),
            lengths: inputs.iter().map(|input| input.ids.len()).collect(),
        };
        match self.encoder.forward(self.pool(), &batch, cancelled) {
            Ok(Some(vectors)) => Ok(vectors),
            Ok(None) => Err(Error::new(
                ErrorKind::CancelledException,
                "the call was given up",
            )),
            Err(detail) => Err(Error::model(format!("model {}: {detail}", self.info.id))),
        }
    }

    /// Tokenises `count` inputs, runs them in passes, and hands each one's index and token vectors
    /// to `finish`. Returns the number of tokens.
    fn encode(
        &self,
        count: usize,
        cancelled: &AtomicBool,
        tokenize: impl Fn(usize) -> Result<Input> + Sync,
        mut finish: impl FnMut(usize, &[f32]),
    ) -> Result<usize> {
        let width = self.encoder.config().hidden;
        let mut total = 0;
        for first in (0..count).step_by(TOKENIZED_TEXTS) {
            let slots: Vec<OnceLock<Result<Input>>> = (first..count.min(first + TOKENIZED_TEXTS))
                .map(|_| OnceLock::new())
                .collect();
            self.pool().run(slots.len(), |i| {
                if !cancelled.load(Ordering::Relaxed) {
                    let _ = slots[i].set(tokenize(first + i));
                }
            });
            let gone = || {
                Err(Error::new(
                    ErrorKind::CancelledException,
                    "the call was given up",
                ))
            };
            let inputs: Vec<Input> = slots
                .into_iter()
                .map(|slot| slot.into_inner().unwrap_or_else(gone))
                .collect::<Result<_>>()?;
            for pass in passes(&inputs) {
                let vectors = self.forward(&inputs[pass.clone()], cancelled)?;
                let mut rest = &vectors[..];
                for index in pass {
                    let (own, after) = rest.split_at(inputs[index].ids.len() * width);
                    finish(first + index, own);
                    rest = after;
                }
            }
            total += inputs.iter().map(|input| input.ids.len()).sum::<usize>();
        }
        Ok(total)
    }

    fn embed(
        &self,
        texts: &[String],
        options: EmbedOptions,
        cancelled: &AtomicBool,
    ) -> Result<Embeddings> {
        if self.head.is_some() {
            return Err(self.wrong_kind("a reranker: it cannot embed"));
        }
        let prompt = self.prompts.choose(options.prompt.as_deref())?;
        let dimensions = self.encoder.config().hidden;
        let mut values = vec![0.0; texts.len() * dimensions];
        let input_tokens = self.encode(
            texts.len(),
            cancelled,
            |i| self.text_input(i, &format!("{prompt}{}", texts[i]), options.truncate),
            |i, tokens| {
                let vector = &mut values[i * dimensions..(i + 1) * dimensions];
                self.pooling.pool(tokens, vector);
                if options.normalize {
                    normalize(vector);
                }
            },
        )?;
        Ok(Embeddings {
            values,
            dimensions,
            input_tokens,
        })
    }

    fn rerank(&self, query: &str, texts: &[String], cancelled: &AtomicBool) -> Result<Vec<f32>> {
        let Some(head) = &self.head else {
            return Err(self.wrong_kind("an embedding model: it cannot rerank"));
        };
        let width = self.encoder.config().hidden;
        let mut scores = vec![0.0; texts.len()];
        self.encode(
            texts.len(),
            cancelled,
            |i| self.pair_input(i, query, &texts[i]),
            |i, tokens| scores[i] = head.score(self.pool(), &tokens[..width]),
        )?;
        Ok(scores)
    }

    fn wrong_kind(&self, what: &str) -> Error {
        Error::validation(format!("model {} is {what}", self.info.id))
    }
}

/// Cuts inputs into runs of about [`PASS_TOKENS`].
fn passes(inputs: &[Input]) -> Vec<Range<usize>> {
    let mut all = Vec::new();
    let (mut start, mut tokens) = (0, 0);
    for (i, input) in inputs.iter().enumerate() {
        if i > start && tokens + input.ids.len() > PASS_TOKENS {
            all.push(start..i);
            (start, tokens) = (i, 0);
        }
        tokens += input.ids.len();
    }
    if start < inputs.len() {
        all.push(start..inputs.len());
    }
    all
}

fn load_head(
    checkpoint: &Checkpoint,
    prefix: &str,
    hidden: usize,
    folder: &Path,
    config: &serde_json::Value,
) -> Result<ScoreHead> {
    let labels = config["id2label"]
        .as_object()
        .map_or(1, |labels| labels.len());
    if labels != 1 {
        let detail = format!("id2label: expected one label, a relevance, got {labels}");
        return Err(wrong_config(folder, &detail));
    }
    Ok(ScoreHead {
        pooler: Dense::load(checkpoint, &format!("{prefix}pooler.dense"), hidden, hidden)?,
        classifier: Dense::load(checkpoint, "classifier", 1, hidden)?,
    })
}

/// Most tokens of a text: what `sentence_bert_config.json` says, within the table of positions.
fn read_max_tokens(folder: &Path, positions: usize) -> Result<usize> {
    let file = folder.join("sentence_bert_config.json");
    if !file.exists() {
        return Ok(positions);
    }
    let config = read_json(&file, "the longest input")?;
    match &config["max_seq_length"] {
        serde_json::Value::Null => Ok(positions),
        value => match value.as_u64() {
            Some(length @ 1..) => Ok(positions.min(usize::try_from(length).unwrap_or(positions))),
            _ => {
                let detail = format!("max_seq_length: expected at least 1, got {value}");
                Err(WeightsError::corrupt(&file, detail).into())
            }
        },
    }
}

fn wrong_config(folder: &Path, detail: &str) -> Error {
    wrong_model(&folder.join("config.json"), detail)
}

fn wrong_model(path: &Path, detail: &str) -> Error {
    let path = path.display().to_string();
    Error::model(format!("{path}: {detail}")).with_resource(path)
}

/// Sets its flag when the call's future is dropped.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `work` on a thread of its own, so that no executor's thread computes.
async fn on_own_thread<T: Send + 'static>(
    work: impl FnOnce(&AtomicBool) -> Result<T> + Send + 'static,
) -> Result<T> {
    let cancelled = Arc::new(AtomicBool::new(false));
    let guard = CancelOnDrop(Arc::clone(&cancelled));
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new()
        .name("outcrop-encoder".to_owned())
        .spawn(move || {
            // Nobody may be waiting any more.
            let _ = sender.send(work(&cancelled));
        })
        .map_err(|error| Error::internal(format!("no thread to compute on: {error}")))?;
    let result = receiver.await;
    drop(guard);
    result.unwrap_or_else(|_| {
        Err(Error::internal(
            "the encoder's thread ended without a result",
        ))
    })
}

impl Embedder for EncoderModel {
    fn id(&self) -> &str {
        &self.0.info.id
    }

    fn dimensions(&self) -> usize {
        self.0.encoder.config().hidden
    }

    fn max_tokens(&self) -> usize {
        self.0.max_tokens
    }

    fn count_tokens(&self, text: &str) -> Result<usize> {
        let prompt = self.0.prompts.default_prompt();
        Ok(self
            .0
            .tokenizer
            .encode(&format!("{prompt}{text}"), true)?
            .len())
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [String],
        options: EmbedOptions,
    ) -> BoxFuture<'a, Result<Embeddings>> {
        let (inner, texts) = (Arc::clone(&self.0), texts.to_vec());
        Box::pin(on_own_thread(move |cancelled| {
            inner.embed(&texts, options, cancelled)
        }))
    }
}

impl Reranker for EncoderModel {
    fn id(&self) -> &str {
        &self.0.info.id
    }

    fn rerank<'a>(
        &'a self,
        query: &'a str,
        texts: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<f32>>> {
        let (inner, query, texts) = (Arc::clone(&self.0), query.to_owned(), texts.to_vec());
        Box::pin(on_own_thread(move |cancelled| {
            inner.rerank(&query, &texts, cancelled)
        }))
    }
}
