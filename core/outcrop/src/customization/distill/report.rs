//! How teacher and student compare, on prompts that the student has not learned from.

use std::fmt;

use outcrop_agents::Price;
use outcrop_api::Usage;
use outcrop_models::LoadOptions;
use serde::{Deserialize, Serialize};

use super::answers::Answers;
use super::prompts::Prompt;
use crate::session::Session;

/// A distillation's comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DistillationReport {
    /// Prompts that the teacher was asked to be learned from.
    pub prompts: usize,
    /// Answers that were learned.
    pub examples: usize,
    /// Why others were not.
    pub left_out: LeftOut,
    /// Prompts that the models are compared on.
    pub held_out: usize,
    /// What an answer is compared with: `completion`, the right answers that came with the prompts, or
    /// `teacher`, whose own score is then 1 for whatever it has answered.
    pub reference: Reference,
    /// The teacher.
    pub teacher: ModelReport,
    /// The student before its training.
    pub student_before: ModelReport,
    /// The student after it.
    pub student: ModelReport,
}

/// What an answer is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reference {
    /// The right answers that came with the prompts.
    Completion,
    /// The teacher's answers.
    Teacher,
}

/// What was not learned, by its reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Prompts that the teacher failed to answer.
    pub failed: usize,
    /// Answers that the limit on their tokens cut off.
    pub cut: usize,
    /// Answers that are empty, or longer with their prompt than the student takes.
    pub unfit: usize,
    /// Records of other models or operations, or of more than text.
    pub other_records: usize,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (failed, cut, unfit) = (self.failed, self.cut, self.unfit);
        write!(
            out,
            "{failed} prompts failed, {cut} answers were cut off by the limit on their tokens, {unfit} are \
             empty or too long for the student"
        )
    }
}

/// How one model did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelReport {
    /// The model.
    pub model: String,
    /// Its weights; none where it is not a model of this machine's files.
    pub parameters: Option<u64>,
    /// Share of the prompts held out that it answered with the very text of the reference, white space at
    /// the ends apart. What it did not answer is wrong.
    pub score: f64,
    /// Prompts held out that it answered.
    pub answered: usize,
    /// Tokens a second of one answer, in the mean: 16 are made at a time. None for recorded answers.
    pub tokens_per_second: Option<f64>,
    /// Tokens that it read and made for them.
    pub usage: Usage,
    /// Dollars that these tokens cost.
    pub cost: f64,
}

/// Whether all prompts came with their answers.
pub(super) fn reference(held_out: &[Prompt]) -> Reference {
    match held_out.iter().all(|prompt| prompt.reference.is_some()) {
        true => Reference::Completion,
        false => Reference::Teacher,
    }
}

/// How the model `name` did with `answers` to `held_out`.
pub(super) fn of_model(
    session: &Session,
    name: &str,
    (answers, teacher): (&Answers, &Answers),
    (held_out, price): (&[Prompt], &Price),
) -> ModelReport {
    let reference = reference(held_out);
    let (mut right, mut answered, mut usage) = (0, 0, Usage::default());
    let (mut milliseconds, mut timed) = (0, 0);
    for prompt in held_out {
        let Some(answer) = answers.of(prompt) else {
            continue;
        };
        answered += 1;
        usage.input_tokens += answer.usage.input_tokens;
        usage.output_tokens += answer.usage.output_tokens;
        usage.total_tokens += answer.usage.total_tokens;
        if let Some(latency) = answer.latency_ms {
            milliseconds += latency;
            timed += answer.usage.output_tokens;
        }
        let expected = match reference {
            Reference::Completion => prompt.reference.as_deref(),
            Reference::Teacher => teacher.of(prompt).map(|answer| &answer.text[..]),
        };
        right += usize::from(expected.is_some_and(|text| text.trim() == answer.text.trim()));
    }
    let summary = session.shelf().summary(name, &LoadOptions::default());
    ModelReport {
        model: name.to_owned(),
        parameters: summary.ok().map(|summary| summary.parameters),
        score: right as f64 / held_out.len().max(1) as f64,
        answered,
        tokens_per_second: (milliseconds > 0).then(|| 1e3 * timed as f64 / milliseconds as f64),
        cost: price.of(&usage),
        usage,
    }
}
