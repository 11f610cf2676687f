//! How likely given texts are by a model: log-probabilities of their tokens, and perplexity.

use std::collections::VecDeque;
use std::sync::Arc;

use outcrop_api::{Error, Perplexity, PerplexityOptions, Prompt, Result, TextPerplexity};
use tokio::sync::mpsc::unbounded_channel;

use crate::engine::{Engine, SequenceEvents};
use crate::lora::Adapter;
use crate::sequence::{Sequence, SequenceEvent};

/// Windows of texts that one call has in flight.
const WINDOWS_IN_FLIGHT: usize = 4;

/// A part of a text, some of whose tokens are scored.
struct Window {
    /// Index of the text.
    text: usize,
    tokens: Vec<u32>,
    /// Index in `tokens` of the first that is scored, at least 1.
    first: usize,
}

impl Engine {
    /// Log-probabilities (natural) of each token of `continuation` after `prompt` and the tokens
    /// of `continuation` before it, by the model's own softmax.
    ///
    /// Two texts are tokenised as one, so that a token may hold the end of the prompt and the start
    /// of the continuation; the continuation's tokens are those from the first on in which both
    /// texts together differ from the prompt alone. Otherwise the ids of the two follow each other,
    /// without special tokens between them. `adapter` names a loaded LoRA adapter.
    ///
    /// # Errors
    /// `ValidationException` for a prompt or continuation without tokens, ids outside the
    /// vocabulary, or more tokens than the context holds; `ResourceNotFoundException` for an adapter
    /// that is not loaded; `ThrottlingException` when the queue is full.
    pub async fn score(
        &self,
        prompt: &Prompt,
        continuation: &Prompt,
        adapter: Option<&str>,
    ) -> Result<Vec<f32>> {
        let adapter = self.adapter_registry().get(adapter)?;
        let (tokens, first) = self.scored_tokens(prompt, continuation)?;
        let (length, context) = (tokens.len(), self.info().context_length);
        if length > context {
            return Err(Error::validation(format!(
                "prompt and continuation: expected at most {context} tokens, the context's length, got {length}"
            )));
        }
        let window = Window {
            text: 0,
            tokens,
            first,
        };
        scores(self.start_scoring(window, adapter)?).await
    }

    /// How well the model predicts each of `texts`, with the special tokens that the tokenizer
    /// adds, and all of them together.
    ///
    /// # Errors
    /// `ValidationException` for no texts, a text of fewer than two tokens, one that is longer
    /// than the window where no stride is given, or a window or stride that is out of its range;
    /// `ResourceNotFoundException` for an adapter that is not loaded; `ThrottlingException` when the
    /// queue is full.
    pub async fn perplexity(
        &self,
        texts: &[String],
        options: &PerplexityOptions,
    ) -> Result<Perplexity> {
        if texts.is_empty() {
            return Err(Error::validation("texts: expected at least 1, got 0"));
        }
        let (window, stride) = self.check_windows(options)?;
        let adapter = self.adapter_registry().get(options.adapter.as_deref())?;
        let mut sums = vec![(0usize, 0f64); texts.len()];
        let mut waiting = VecDeque::new();
        let mut pending = VecDeque::new();
        for (index, text) in texts.iter().enumerate() {
            let tokens = self.tokenizer().encode(text, true)?;
            waiting.extend(windows(index, &tokens, window, stride)?);
            while let Some(next) = waiting.pop_front() {
                let text = next.text;
                pending.push_back((text, self.start_scoring(next, adapter.clone())?));
                if pending.len() == WINDOWS_IN_FLIGHT {
                    add_first(&mut pending, &mut sums).await?;
                }
            }
        }
        while !pending.is_empty() {
            add_first(&mut pending, &mut sums).await?;
        }
        let texts = sums
            .into_iter()
            .map(|(tokens, nll)| TextPerplexity::new(tokens, nll));
        Ok(Perplexity::new(texts.collect()))
    }

    /// Prompt and continuation as one, with the index of the first token of the continuation.
    fn scored_tokens(&self, prompt: &Prompt, continuation: &Prompt) -> Result<(Vec<u32>, usize)> {
        let encode = |prompt: &Prompt, add_special| match prompt {
            Prompt::Text(text) => self.tokenizer().encode(text, add_special),
            Prompt::Ids(ids) => Ok(ids.clone()),
        };
        let before = encode(prompt, true)?;
        let (tokens, first) = match (prompt, continuation) {
            (Prompt::Text(prompt), Prompt::Text(continuation)) => {
                let both = self
                    .tokenizer()
                    .encode(&format!("{prompt}{continuation}"), true)?;
                let same = both.iter().zip(&before).take_while(|(a, b)| a == b).count();
                (both, same)
            }
            _ => {
                let mut both = before.clone();
                both.extend(encode(continuation, false)?);
                (both, before.len())
            }
        };
        if first == 0 {
            return Err(Error::validation(
                "prompt: expected at least 1 token before the continuation, got 0",
            ));
        }
        if first == tokens.len() {
            return Err(Error::validation(
                "continuation: expected at least 1 token, got 0",
            ));
        }
        self.check_prompt("prompt and continuation", &tokens)?;
        Ok((tokens, first))
    }

    /// The window's length, and its stride where there is one.
    fn check_windows(&self, options: &PerplexityOptions) -> Result<(usize, Option<usize>)> {
        let context = self.info().context_length;
        let window = options.window.unwrap_or(context);
        if !(2..=context).contains(&window) {
            return Err(Error::validation(format!(
                "window: expected 2..={context}, the context's length, got {window}"
            )));
        }
        match options.stride.filter(|s| !(1..=window).contains(s)) {
            Some(wrong) => Err(Error::validation(format!(
                "stride: expected 1..={window}, the window's length, got {wrong}"
            ))),
            None => Ok((window, options.stride)),
        }
    }

    /// Hands a window to the scheduler.
    fn start_scoring(
        &self,
        window: Window,
        adapter: Option<Arc<Adapter>>,
    ) -> Result<SequenceEvents> {
        let (sender, receiver) = unbounded_channel();
        let sequence = Sequence::score(window.tokens, window.first, sender);
        self.submit(sequence.with_adapter(adapter), receiver)
    }
}

/// The windows of a text's `tokens`. Each token is scored once, by the first window that reaches
/// it, unless it is that window's first.
fn windows(
    text: usize,
    tokens: &[u32],
    window: usize,
    stride: Option<usize>,
) -> Result<Vec<Window>> {
    let length = tokens.len();
    if length < 2 {
        return Err(Error::validation(format!(
            "texts[{text}]: expected at least 2 tokens, got {length}"
        )));
    }
    let Some(stride) = stride.or((length <= window).then_some(window)) else {
        return Err(Error::validation(format!(
            "texts[{text}]: expected at most {window} tokens, the window's length, got {length}; give a stride to move the window over it"
        )));
    };
    let mut windows = Vec::new();
    let (mut begin, mut scored) = (0, 0);
    while scored < length {
        let end = (begin + window).min(length);
        // Before a window's first token there is nothing to predict it from.
        let first = (scored - begin).max(1);
        if first < end - begin {
            windows.push(Window {
                text,
                tokens: tokens[begin..end].to_vec(),
                first,
            });
        }
        scored = end;
        begin += stride;
    }
    Ok(windows)
}

/// Adds the log-probabilities of the first of the `pending` windows to its text's sum.
async fn add_first(
    pending: &mut VecDeque<(usize, SequenceEvents)>,
    sums: &mut [(usize, f64)],
) -> Result<()> {
    if let Some((text, events)) = pending.pop_front() {
        for logprob in scores(events).await? {
            sums[text].0 += 1;
            sums[text].1 -= f64::from(logprob);
        }
    }
    Ok(())
}

/// All log-probabilities that a sequence gives.
async fn scores(mut events: SequenceEvents) -> Result<Vec<f32>> {
    let mut all = Vec::new();
    loop {
        match events.next().await? {
            SequenceEvent::Scores(more) => all.extend(more),
            SequenceEvent::Done { .. } => return Ok(all),
            _ => {}
        }
    }
}
