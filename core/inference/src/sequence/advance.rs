//! What becomes of the logits that a step gave a sequence.

use outcrop_api::{Result, StopReason, TokenLogprobs, Usage};

use super::generation::Row;
use super::{Events, MOST_LOOKAHEAD, Score, Sequence, SequenceEvent, Task};
use crate::backlog::Backlog;
use crate::logprobs::logprob;
use crate::step::ChosenToken;

/// What a step gave a sequence for its wanted rows.
#[derive(Clone, Copy)]
pub(crate) enum Given<'a> {
    /// Their logits.
    Logits(&'a [f32]),
    /// The tokens that the model chose.
    Chosen(&'a [ChosenToken]),
}

impl Given<'_> {
    fn is_empty(self) -> bool {
        match self {
            Self::Logits(logits) => logits.is_empty(),
            Self::Chosen(chosen) => chosen.is_empty(),
        }
    }
}

impl Sequence {
    /// Takes in a step over the next `count` pending tokens with what it gave. Says why the sequence
    /// has ended, when it has, for [`Sequence::end`].
    pub fn advance(&mut self, count: usize, given: Given<'_>) -> Option<Result<StopReason>> {
        let start = self.computed;
        self.computed += count;
        if start < self.prompt {
            self.account.read(start);
            self.account.compute(start, self.computed);
        }
        if given.is_empty() {
            let is_done = self.pin().is_some() && self.computed == self.prompt;
            return is_done.then_some(Ok(StopReason::EndTurn));
        }
        match (&mut self.task, given) {
            (Task::Logits, Given::Logits(logits)) => send(
                (&self.events, &self.backlog),
                SequenceEvent::Logits(logits.to_vec()),
            ),
            (Task::Score(score), Given::Logits(logits)) => {
                match score.logprobs(start + 1, logits, count) {
                    Ok(logprobs) => send(
                        (&self.events, &self.backlog),
                        SequenceEvent::Scores(logprobs),
                    ),
                    Err(error) => return Some(Err(error)),
                }
            }
            (Task::Generate(_), given) => return self.take_chosen(given),
            // Their tokens are theirs: none is chosen.
            (Task::Prefix(_), _) | (Task::Logits | Task::Score(_), Given::Chosen(_)) => {}
        }
        self.given = self.computed;
        (self.computed == self.prompt).then_some(Ok(StopReason::EndTurn))
    }

    /// Takes the tokens that the rows give: the last pending token's, and those of the guesses for
    /// as long as these are what is chosen.
    fn take_chosen(&mut self, given: Given<'_>) -> Option<Result<StopReason>> {
        let guesses = std::mem::take(&mut self.guesses);
        let start = self.computed;
        let rows: Vec<Row<'_>> = match given {
            Given::Logits(logits) => {
                let rows = logits.chunks_exact(logits.len() / (1 + guesses.len()));
                rows.map(Row::Logits).collect()
            }
            Given::Chosen(chosen) => chosen.iter().map(Row::Chosen).collect(),
        };
        let mut reason = None;
        while reason.is_none() && self.computed == self.tokens.len() {
            let Task::Generate(generation) = &mut self.task else {
                break;
            };
            let chosen = generation.choose(rows[self.computed - start], &self.tokens);
            let (id, logprobs) = match chosen {
                Ok(chosen) => chosen,
                Err(error) => return Some(Err(error)),
            };
            reason = self.take(id, logprobs).or_else(|| self.take_forced());
            let taken = self.tokens[self.computed..].iter();
            let came_true = taken.zip(&guesses[self.computed - start..]);
            self.computed += came_true.take_while(|(a, b)| a == b).count();
        }
        let came_true = self.computed - start;
        if came_true < guesses.len() {
            self.lookahead = (came_true + 1).max(2);
        } else if came_true > 0 {
            self.lookahead = (2 * self.lookahead).min(MOST_LOOKAHEAD);
        }
        if self.draft_computed == start {
            // The draft model has computed all guesses but the last.
            let ahead = start + guesses.len().saturating_sub(1);
            self.draft_computed = ahead.min(self.computed);
        }
        reason.map(Ok)
    }

    /// Appends the tokens that the constraint leaves no choice about: the model computes them
    /// together with the next step. Says why the sequence has ended, when it has.
    ///
    /// Where log-probabilities are asked for, each waits for its own row of logits.
    pub(super) fn take_forced(&mut self) -> Option<StopReason> {
        while let Task::Generate(generation) = &mut self.task {
            if generation.logprobs.is_some() {
                return None;
            }
            let id = generation.forced.pop_front()?;
            if let Some(reason) = self.take(id, None) {
                return Some(reason);
            }
        }
        None
    }

    /// Appends the chosen token. Says why the sequence has ended, when it has.
    fn take(&mut self, id: u32, logprobs: Option<TokenLogprobs>) -> Option<StopReason> {
        self.tokens.push(id);
        let made = self.tokens.len() - self.prompt;
        let Task::Generate(generation) = &mut self.task else {
            return None;
        };
        send((&self.events, &self.backlog), SequenceEvent::Token(id));
        if let Some(logprobs) = logprobs {
            send(
                (&self.events, &self.backlog),
                SequenceEvent::Logprobs(logprobs),
            );
        }
        let is_end = generation.end_ids.contains(&id);
        let ends = if is_end || generation.is_complete() {
            Some(StopReason::EndTurn)
        } else if made == generation.max_tokens {
            Some(StopReason::MaxTokens)
        } else {
            None
        };
        let detokenizer = &mut generation.detokenizer;
        let mut text = String::new();
        if !is_end {
            text = detokenizer.push(id);
        }
        if ends.is_some() {
            text.push_str(&detokenizer.finish());
        }
        let mut passed = generation.stop.push(&text);
        let ends = if passed.stopped {
            Some(StopReason::StopSequence)
        } else {
            ends
        };
        if ends.is_some() && !passed.stopped {
            passed.text.push_str(&generation.stop.finish());
        }
        if !passed.text.is_empty() {
            send(
                (&self.events, &self.backlog),
                SequenceEvent::Text(passed.text),
            );
        }
        ends
    }

    /// Sends the last event: why it ended by itself, or what ended it.
    pub fn end(self, last: Result<StopReason>) {
        let usage = Usage {
            cache_read_input_tokens: self.account.read_tokens(),
            cache_write_input_tokens: self.account.written_tokens(),
            ..Usage::new(self.prompt, self.tokens.len() - self.prompt)
        };
        let done = |stop_reason| SequenceEvent::Done { stop_reason, usage };
        if let Some(backlog) = &self.backlog {
            backlog.sent();
        }
        // A caller that has gone needs none.
        let _ = self.events.send(last.map(done));
    }
}

impl Score {
    /// Log-probabilities of the `count` tokens from `position` on, by a row of `logits` each.
    fn logprobs(&self, position: usize, logits: &[f32], count: usize) -> Result<Vec<f32>> {
        let rows = logits.chunks_exact(logits.len() / count);
        let targets = &self.targets[position - self.first..];
        rows.zip(targets)
            .map(|(row, &id)| logprob(row, id))
            .collect()
    }
}

/// Sends an event; a caller that has gone is noticed by [`Sequence::is_cancelled`].
fn send((events, backlog): (&Events, &Option<Backlog>), event: SequenceEvent) {
    if let Some(backlog) = backlog {
        backlog.sent();
    }
    let _ = events.send(Ok(event));
}
