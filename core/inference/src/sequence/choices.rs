//! How a sequence's next tokens are to be chosen, for a model that chooses itself.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::{Generation, Sequence, Task};
use crate::step::Choice;

impl Sequence {
    /// Whether its wanted rows are there for tokens to be chosen by, rather than for their logits.
    pub fn is_choosing(&self) -> bool {
        matches!(self.task, Task::Generate(_))
    }

    /// Appends how the tokens are chosen behind its last pending token and behind each guess, which are
    /// the wanted rows of a step from `first_row` on.
    pub fn choices<'a>(&'a self, first_row: usize, out: &mut Vec<Choice<'a>>) {
        let Task::Generate(generation) = &self.task else {
            return;
        };
        let rows = generation.rows(&self.tokens, &self.guesses);
        out.extend(rows.into_iter().enumerate().map(|(index, row)| Choice {
            row: first_row + index,
            draw: generation.sampler.draw_at(self.tokens.len() + index),
            tokens: generation.counted(&self.tokens, &self.guesses[..index]),
            allowed: row.allowed,
            given: row.given,
            logprobs: generation.logprobs,
        }));
    }

    /// How the draft model chooses the token behind the guesses, its `row`th wanted row.
    pub fn guess_choice(&self, row: usize) -> Option<Choice<'_>> {
        let Task::Generate(generation) = &self.task else {
            return None;
        };
        let position = self.tokens.len() + self.guesses.len();
        Some(Choice {
            row,
            draw: generation.sampler.draw_at(position),
            tokens: generation.counted(&self.tokens, &self.guesses),
            allowed: None,
            given: None,
            logprobs: None,
        })
    }
}

/// What a constraint says of a row.
#[derive(Default)]
struct RowForm<'a> {
    allowed: Option<Cow<'a, [u32]>>,
    given: Option<u32>,
}

impl RowForm<'_> {
    fn given(id: u32) -> Self {
        Self {
            given: Some(id),
            allowed: None,
        }
    }
}

impl Generation {
    /// The tokens that the penalty counts.
    fn counted<'a>(&self, tokens: &'a [u32], guesses: &[u32]) -> Cow<'a, [u32]> {
        match (self.sampler.penalises(), guesses) {
            (false, _) => Cow::Borrowed(&[]),
            (true, []) => Cow::Borrowed(tokens),
            (true, _) => [tokens, guesses].concat().into(),
        }
    }

    /// What may stand behind `tokens`, and behind each of the `guesses`. A row that nobody will look at,
    /// because a guess before it cannot come true or stands where the form leaves no choice, is given its
    /// guess.
    fn rows<'a>(&'a self, tokens: &[u32], guesses: &[u32]) -> Vec<RowForm<'a>> {
        let Some(constraint) = &self.constraint else {
            return (0..=guesses.len()).map(|_| RowForm::default()).collect();
        };
        let mut rows = vec![match self.forced.front() {
            Some(&id) => RowForm::given(id),
            None => RowForm {
                allowed: Some(constraint.allowed().into()),
                given: None,
            },
        }];
        if guesses.is_empty() {
            return rows;
        }
        let mut ahead = constraint.fork();
        let mut forced: VecDeque<u32> = self.forced.clone();
        for &guess in guesses {
            let comes_true = match forced.pop_front() {
                Some(id) => id == guess,
                None if !is_set(ahead.allowed(), guess) || self.end_ids.contains(&guess) => false,
                None => match ahead.commit(guess) {
                    Ok(more) => {
                        forced.extend(more);
                        !forced.is_empty() || !ahead.is_complete()
                    }
                    Err(_) => false,
                },
            };
            if !comes_true {
                break;
            }
            rows.push(match forced.front() {
                Some(&id) => RowForm::given(id),
                None => RowForm {
                    allowed: Some(ahead.allowed().to_vec().into()),
                    given: None,
                },
            });
        }
        let last = tokens.last().copied().unwrap_or_default();
        rows.resize_with(1 + guesses.len(), || RowForm::given(last));
        rows
    }
}

fn is_set(words: &[u32], id: u32) -> bool {
    let word = words.get(id as usize / 32);
    word.is_some_and(|word| word >> (id % 32) & 1 == 1)
}
