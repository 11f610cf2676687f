//! A model's answers to prompts, each kept as soon as it is there: none is asked for twice.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use outcrop_api::{Error, Result, Usage};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use super::prompts::{Prompt, text_of};
use crate::jobs::Job;
use crate::operations::{Operation, Service};

/// Prompts that are asked at the same time: an engine batches them.
const AT_ONCE: usize = 16;
/// How often a job looks whether it is to stop, and tells how far it is.
const TELL: Duration = Duration::from_millis(500);

/// What a model said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// The prompt's digest.
    pub prompt: String,
    pub text: String,
    /// Why it ended, by Converse's name.
    pub stop: String,
    pub usage: Usage,
    /// None where it was recorded without.
    pub latency_ms: Option<u64>,
}

impl Answer {
    /// Whether it was cut off by the limit on its tokens.
    pub fn is_cut(&self) -> bool {
        self.stop == "max_tokens"
    }
}

/// A model that is asked.
pub(super) struct Asked<'a> {
    pub job: &'a Job,
    /// The model's name for whoever started the job.
    pub model: &'a str,
    /// Most tokens of an answer.
    pub most: usize,
    /// The piece of the job's progress that keeps the answers.
    pub piece: &'a str,
}

/// The answers to prompts, by their digests, and the errors of those that have none.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub by_prompt: HashMap<String, Answer>,
    pub failures: Vec<Error>,
}

impl Answers {
    pub fn of(&self, prompt: &Prompt) -> Option<&Answer> {
        self.by_prompt.get(&prompt.digest())
    }
}

impl Asked<'_> {
    /// Asks what was not answered before; none where the job is stopped on the way.
    ///
    /// # Errors
    /// `ModelErrorException` where the first prompts all fail, with the first one's reason.
    pub async fn ask(&self, prompts: &[Prompt]) -> Result<Option<Answers>> {
        let (mut progress, parts) = self
            .job
            .session
            .store()
            .progress(&self.job.id, self.piece)?;
        let mut answers = Answers::default();
        for part in parts {
            let answer: Answer = serde_json::from_value(part).map_err(|error| {
                Error::internal(format!(
                    "the answers kept as {} cannot be read: {error}",
                    self.piece
                ))
            })?;
            answers.by_prompt.insert(answer.prompt.clone(), answer);
        }
        let mut waiting = waiting(prompts, &answers);
        let (mut running, mut told) = (JoinSet::new(), None::<Instant>);
        loop {
            while running.len() < AT_ONCE
                && let Some(prompt) = waiting.pop_front()
            {
                running.spawn(answer(
                    self.job.clone(),
                    prompt.digest(),
                    self.request(&prompt),
                ));
            }
            if told.is_none_or(|told| told.elapsed() >= TELL) {
                told = Some(Instant::now());
                if self.tell(answers.by_prompt.len(), prompts.len())? == "Stopping" {
                    return Ok(None);
                }
            }
            let Some(done) = running.join_next().await else {
                self.tell(answers.by_prompt.len(), prompts.len())?;
                return Ok(Some(answers));
            };
            // What fails because the session was closed is done again by the next one.
            self.job.session.check()?;
            match done.map_err(|error| Error::internal("a call was stopped").with_source(error))? {
                Ok(answer) => {
                    progress.append(&answer)?;
                    answers.by_prompt.insert(answer.prompt.clone(), answer);
                }
                Err(error) => answers.failures.push(error),
            }
            self.check_failures(&answers)?;
        }
    }

    fn request(&self, prompt: &Prompt) -> Value {
        prompt.request(self.model, self.most)
    }

    fn check_failures(&self, answers: &Answers) -> Result<()> {
        let failed = answers.failures.len();
        if failed < AT_ONCE || !answers.by_prompt.is_empty() {
            return Ok(());
        }
        let first = answers.failures[0].message();
        Err(Error::model(format!(
            "{} answered none of the first {failed} prompts: {first}",
            self.model
        )))
    }

    /// Tells how many prompts are answered, and gives the job's status.
    fn tell(&self, answered: usize, prompts: usize) -> Result<String> {
        let members = Map::from_iter([
            ("asked".to_owned(), json!(self.piece)),
            ("answered".to_owned(), json!(answered.min(prompts))),
            ("prompts".to_owned(), json!(prompts)),
        ]);
        let told = self.job.note(members, "Stopping")?;
        Ok(told.text("status").to_owned())
    }
}

/// The prompts that have no answer yet, each once.
fn waiting(prompts: &[Prompt], answers: &Answers) -> VecDeque<Prompt> {
    let mut seen = std::collections::HashSet::new();
    let mut waiting = VecDeque::new();
    for prompt in prompts {
        let digest = prompt.digest();
        if answers.by_prompt.contains_key(&digest) || !seen.insert(digest) {
            continue;
        }
        waiting.push_back(prompt.clone());
    }
    waiting
}

async fn answer(job: Job, prompt: String, request: Value) -> Result<Answer> {
    let operation = Operation::find(Service::BedrockRuntime, "Converse");
    let operation = operation.ok_or_else(|| Error::internal("Converse has no row"))?;
    let called = job
        .session
        .call(job.caller.clone(), operation, request, Vec::new());
    let called = called.await;
    let output = called.answer?.output;
    let text = text_of(&output["output"]["message"]["content"])
        .ok_or_else(|| Error::model("expected an answer of text, got other content"))?;
    Ok(Answer {
        prompt,
        text,
        stop: output["stopReason"].as_str().unwrap_or_default().to_owned(),
        usage: called.usage.unwrap_or_default(),
        latency_ms: Some(called.latency_ms as u64),
    })
}
