//! A transformer with its tokenizer: what turns texts into vectors, or scores texts against a query.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use outcrop_api::{
    BoxFuture, EmbedOptions, Embedder, Embeddings, Error, ModelInfo, Reranker, Result,
};
use outcrop_tensor::Pool;
use tokio::sync::oneshot;

use crate::backbone::{Backbone, PASS_TOKENS};
use crate::dense::Precision;
use crate::encoder::EncoderBatch;
use crate::encoder_loader;
use crate::pair_prompt::PairPrompt;
use crate::pooling::{Pooling, PoolingMode};
use crate::prompts::Prompts;
use crate::score_head::ScoreHead;
use crate::sentence_transformers::{Modules, Step};
use crate::tokenizer::Tokenizer;

/// Texts that are tokenised before their passes.
const TOKENIZED_TEXTS: usize = 512;

/// A loaded model that embeds or reranks: an encoder, or a decoder that was made for it. Clones
/// share it.
///
/// A text's vector, and a pair's score, depend on itself only: never on the batch, the number of
/// threads or what runs beside it.
#[derive(Clone)]
pub struct EncoderModel(Arc<Inner>);

/// How a model is loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncoderOptions {
    /// Threads of its own; `None`: the process's shared pool.
    pub threads: Option<usize>,
    /// How an encoder's layers multiply. Default F32. A decoder multiplies as its weights are
    /// stored.
    pub precision: Precision,
}

pub(crate) struct Inner {
    pub info: ModelInfo,
    pub backbone: Backbone,
    pub tokenizer: Tokenizer,
    pub prompts: Prompts,
    pub purpose: Purpose,
    pub max_tokens: usize,
    /// Texts are put in lower case before they are tokenised.
    pub lowers_case: bool,
    pub pool: Option<Pool>,
}

/// What the tokens' vectors are for.
pub(crate) enum Purpose {
    /// A text's vector.
    Embed { pooling: Pooling, modules: Modules },
    /// A pair's score.
    Rerank {
        head: ScoreHead,
        /// `None`: as two segments, as encoders have it.
        pair: Option<PairPrompt>,
        /// The token that a decoder's classifier looks behind.
        padding: Option<u32>,
    },
}

/// One tokenised input.
struct Input {
    ids: Vec<u32>,
    types: Vec<u32>,
    /// How many of its first tokens are a prompt's.
    prompt: usize,
}

impl EncoderModel {
    /// Loads a folder in the layout of the Hugging Face hub: an embedding model or a reranker, as
    /// [`crate::model_kind`] tells.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where nothing is there, `ModelErrorException` for damaged files,
    /// an architecture that is not known, or a language model that only chats,
    /// `ValidationException` for a wrong `OUTCROP_THREADS`, or a precision that the model cannot
    /// have.
    pub fn load(path: &Path, id: &str) -> Result<Self> {
        Self::load_with(path, id, EncoderOptions::default())
    }

    /// As [`EncoderModel::load`], with options.
    ///
    /// # Errors
    /// As [`EncoderModel::load`].
    pub fn load_with(path: &Path, id: &str, options: EncoderOptions) -> Result<Self> {
        if options.threads.is_none() {
            Pool::default_threads().map_err(|error| Error::validation(error.to_string()))?;
        }
        let inner = encoder_loader::load(path, id, options)?;
        Ok(Self(Arc::new(inner)))
    }

    /// What is known of it.
    pub fn info(&self) -> ModelInfo {
        self.0.info.clone()
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.0.tokenizer
    }

    /// The tokens of a text behind the prompt of that name, as the model reads them.
    ///
    /// # Errors
    /// `ValidationException` for more tokens than the model reads, or a prompt that it does not have.
    pub fn text_ids(&self, prompt: &str, text: &str) -> Result<Vec<u32>> {
        let prompt = self.0.prompts.choose(Some(prompt))?;
        Ok(self.0.text_input(0, prompt, text, false)?.ids)
    }

    /// How its texts' vectors are pooled, where that is by one mode over all tokens, and nothing but
    /// scaling to length 1 follows.
    pub fn plain_pooling(&self) -> Option<PoolingMode> {
        let Purpose::Embed { pooling, modules } = &self.0.purpose else {
            return None;
        };
        let is_scaling = |step: &Step| matches!(step, Step::Normalize);
        match &pooling.modes[..] {
            [mode] if pooling.includes_prompt && modules.steps.iter().all(is_scaling) => {
                Some(*mode)
            }
            _ => None,
        }
    }

    /// The last layer's vectors of one text's tokens `(tokens, hidden)`, special tokens included;
    /// of the last token alone where the model reads no other.
    ///
    /// # Errors
    /// `ValidationException` for more tokens than the model reads.
    pub fn token_vectors(&self, text: &str) -> Result<Vec<f32>> {
        let input = self.0.text_input(0, "", text, false)?;
        let idle = AtomicBool::new(false);
        self.0.forward(&[input], &idle)
    }
}

impl Inner {
    fn pool(&self) -> &Pool {
        self.pool.as_ref().unwrap_or_else(|| Pool::global())
    }

    fn text_input(&self, index: usize, prompt: &str, text: &str, truncate: bool) -> Result<Input> {
        let mut text = format!("{prompt}{text}");
        if self.lowers_case {
            text = text.to_lowercase();
        }
        let mut ids = self.tokenizer.encode(&text, true)?;
        if ids.len() > self.max_tokens {
            if !truncate {
                return Err(Error::validation(format!(
                    "texts[{index}]: expected at most {} tokens, got {} (truncate would cut it)",
                    self.max_tokens,
                    ids.len()
                )));
            }
            ids = self.cut(&text, ids)?;
        }
        if ids.is_empty() {
            return Err(Error::validation(format!(
                "texts[{index}]: expected a text of at least 1 token, got {text:?}"
            )));
        }
        Ok(Input {
            types: vec![0; ids.len()],
            ids,
            prompt: self.prompt_tokens(prompt)?,
        })
    }

    /// How many tokens a prompt takes at the beginning of a text.
    fn prompt_tokens(&self, prompt: &str) -> Result<usize> {
        let counts = match &self.purpose {
            Purpose::Embed { pooling, .. } => !pooling.includes_prompt && !prompt.is_empty(),
            Purpose::Rerank { .. } => false,
        };
        if !counts {
            return Ok(0);
        }
        let alone = self.tokenizer.encode(prompt, true)?;
        // Behind the prompt the text goes on: an end that the tokenizer put there is not its own.
        let ends = alone
            .last()
            .is_some_and(|id| self.tokenizer.is_special(*id));
        Ok(alone.len() - usize::from(ends))
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

    fn pair_input(
        &self,
        index: usize,
        query: &str,
        text: &str,
        pair: Option<&PairPrompt>,
    ) -> Result<Input> {
        let (mut ids, mut types) = match pair {
            None => self.tokenizer.encode_pair(query, text)?,
            Some(pair) => {
                let instruction = self.prompts.default_prompt();
                let ids = pair.encode(&self.tokenizer, instruction, query, text)?;
                (ids, Vec::new())
            }
        };
        if let Purpose::Rerank {
            padding: Some(padding),
            ..
        } = &self.purpose
        {
            // The classifier reads the last token that is no padding; what follows is not seen.
            let last = ids.iter().rposition(|id| id != padding).unwrap_or(0);
            ids.truncate(last + 1);
        }
        if ids.len() > self.max_tokens || ids.is_empty() {
            return Err(Error::validation(format!(
                "query and texts[{index}]: expected 1..={} tokens together, got {}",
                self.max_tokens,
                ids.len()
            )));
        }
        if self.backbone.segments() < 2 {
            types = vec![0; ids.len()];
        }
        Ok(Input {
            ids,
            types,
            prompt: 0,
        })
    }

    /// The vectors of `inputs`, as [`Backbone::forward`] gives them.
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
        match self.backbone.forward(self.pool(), &batch, cancelled) {
            Ok(Some(vectors)) => Ok(vectors),
            Ok(None) => Err(Error::cancelled()),
            Err(detail) => Err(Error::model(format!("model {}: {detail}", self.info.id))),
        }
    }

    /// Tokenises `count` inputs, runs them in passes, and hands each one's index, prompt tokens and
    /// vectors to `finish`. Returns the number of tokens.
    fn encode(
        &self,
        count: usize,
        cancelled: &AtomicBool,
        tokenize: impl Fn(usize) -> Result<Input> + Sync,
        mut finish: impl FnMut(usize, usize, &[f32]),
    ) -> Result<usize> {
        let width = self.backbone.hidden();
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
            let gone = || Err(Error::cancelled());
            let inputs: Vec<Input> = slots
                .into_iter()
                .map(|slot| slot.into_inner().unwrap_or_else(gone))
                .collect::<Result<_>>()?;
            for pass in passes(&inputs) {
                let vectors = self.forward(&inputs[pass.clone()], cancelled)?;
                let mut rest = &vectors[..];
                for index in pass {
                    let rows = self.backbone.rows_of(inputs[index].ids.len());
                    let (own, after) = rest.split_at(rows * width);
                    finish(first + index, inputs[index].prompt, own);
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
        options: &EmbedOptions,
        cancelled: &AtomicBool,
    ) -> Result<Embeddings> {
        let Purpose::Embed { pooling, modules } = &self.purpose else {
            return Err(self.wrong_kind("a reranker: it cannot embed"));
        };
        let prompt = self.prompts.choose(options.prompt.as_deref())?;
        let (width, dimensions) = (self.backbone.hidden(), self.dimensions());
        let mut values = vec![0.0; texts.len() * dimensions];
        let input_tokens = self.encode(
            texts.len(),
            cancelled,
            |i| self.text_input(i, prompt, &texts[i], options.truncate),
            |i, prompt, tokens| {
                let mut pooled = vec![0.0; pooling.width(width)];
                pooling.pool(tokens, width, prompt, &mut pooled);
                let vector = modules.finish(self.pool(), pooled, options.normalize);
                values[i * dimensions..(i + 1) * dimensions].copy_from_slice(&vector);
            },
        )?;
        Ok(Embeddings {
            values,
            dimensions,
            input_tokens,
        })
    }

    /// Length of a text's vector.
    fn dimensions(&self) -> usize {
        let hidden = self.backbone.hidden();
        match &self.purpose {
            Purpose::Embed { pooling, modules } => modules.dimensions(pooling.width(hidden)),
            Purpose::Rerank { .. } => hidden,
        }
    }

    fn rerank(&self, query: &str, texts: &[String], cancelled: &AtomicBool) -> Result<Vec<f32>> {
        let Purpose::Rerank { head, pair, .. } = &self.purpose else {
            return Err(self.wrong_kind("an embedding model: it cannot rerank"));
        };
        let width = self.backbone.hidden();
        let mut scores = vec![0.0; texts.len()];
        self.encode(
            texts.len(),
            cancelled,
            |i| self.pair_input(i, query, &texts[i], pair.as_ref()),
            |i, _, tokens| scores[i] = head.score(self.pool(), tokens, width),
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
        self.0.dimensions()
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
            inner.embed(&texts, &options, cancelled)
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
