//! Distillation: a teacher answers prompts, and a student is trained on its answers.

mod answers;
mod logs;
mod prompts;
mod report;

use outcrop_agents::Price;
use outcrop_api::{Error, ModelKind, Result};
use outcrop_governance::Principal;
use outcrop_inference::{ChatTemplate, Checkpoint, Tokenizer};
use outcrop_training::{
    BadLine, Decoder, Example, LowRankOptions, Reader, Trainer, TrainingOptions, available_memory,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use logs::LogSource;
pub use report::{DistillationReport, LeftOut, ModelReport};

use super::handle::CustomizationJob;
use super::run::Prepared;
use super::{Method, Work, create, run};
use crate::jobs::Job;
use crate::registry::Draft;
use crate::runtime::runtime;
use crate::session::{Session, blocking};
use answers::{Answers, Asked};
use prompts::{Prompt, Prompts};

/// Most tokens of an answer where nothing is said.
const MOST: usize = 512;
/// The pieces of a job's progress that keep answers.
const TEACHER: &str = "teacher";
const BEFORE: &str = "student-before";
const AFTER: &str = "student";

/// What [`Session::distill`] is asked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillRequest {
    /// The model that answers: any that chats, by id, ARN or folder, or a registered remote one.
    pub teacher: String,
    /// The model that is trained on its answers: an id, an ARN, or a folder.
    pub student: String,
    /// The custom model's name, and the job's.
    pub name: String,
    /// A `.jsonl` file of prompts, a folder of them, or an `s3://` URI.
    #[serde(default)]
    pub prompts: Option<String>,
    /// Recorded calls, beside the prompts or in their place.
    #[serde(default)]
    pub invocation_logs: Option<LogSource>,
    /// The prompts that teacher and student are compared on; none: a tenth of the others, at most 200.
    #[serde(default)]
    pub validation: Option<String>,
    /// Most tokens of an answer (512).
    #[serde(default)]
    pub max_response_tokens: Option<usize>,
    /// Dollars for a million tokens of the teacher; nothing where a model of this machine answers.
    #[serde(default)]
    pub teacher_price: Price,
    /// The same of the student.
    #[serde(default)]
    pub student_price: Price,
    /// What is trained.
    #[serde(default)]
    pub method: Method,
    /// The adapter, where one is trained.
    #[serde(default)]
    pub lora: LowRankOptions,
    /// How it is trained.
    #[serde(default)]
    pub training: TrainingOptions,
    /// The longest example, in tokens; none: as many as the model takes, up to 2048.
    #[serde(default)]
    pub max_tokens: Option<usize>,
    /// Steps between checkpoints; none: every half a minute.
    #[serde(default)]
    pub checkpoint_every: Option<usize>,
    /// A folder or an `s3://` prefix for the metrics' tables and the report.
    #[serde(default)]
    pub output: Option<String>,
}

/// What a job of distillation does beside training, as its record keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Distillation {
    /// The teacher's name.
    pub teacher: String,
    /// Where the prompts are.
    pub prompts: Option<String>,
    /// Recorded calls.
    pub logs: Option<LogSource>,
    /// Most tokens of an answer.
    pub max_response_tokens: usize,
    /// Dollars for a million tokens.
    pub teacher_price: Price,
    /// The same of the student.
    pub student_price: Price,
}

impl Distillation {
    /// One that asks `teacher`, at no price.
    pub fn new(teacher: &str, max_response_tokens: Option<usize>) -> Self {
        Self {
            teacher: teacher.to_owned(),
            prompts: None,
            logs: None,
            max_response_tokens: max_response_tokens.unwrap_or(MOST),
            teacher_price: Price::default(),
            student_price: Price::default(),
        }
    }
}

impl Session {
    /// Starts training a student on a teacher's answers. The prompts are read before the job starts.
    /// Each answer is kept as soon as it is there: after a kill the next session of the home asks
    /// only what was not answered, and trains on. The job's report compares teacher and student on
    /// prompts that the student has not learned from.
    ///
    /// # Errors
    /// As [`Session::fine_tune`]; `ValidationException` for a teacher that does not chat, or where
    /// neither prompts nor recorded calls are given.
    pub async fn distill(&self, request: DistillRequest) -> Result<CustomizationJob> {
        let record = self.open_record("CreateModelCustomizationJob", "jobName", &request.name)?;
        let (session, told) = (self.clone(), record.clone());
        let work = async {
            let principal = Principal::owner();
            let work = work_of(request);
            self.check_teacher(&work).await?;
            blocking(move || {
                check(&session, &principal, &work)?;
                let name = work.model_name.clone();
                let members = Map::from_iter([("customizationType".into(), json!("DISTILLATION"))]);
                let draft = Draft {
                    name: Some(&name),
                    members,
                    ..Draft::default()
                };
                let job = create(&session, (&principal, &told), work, draft)?;
                Ok(CustomizationJob::new(session, job.id))
            })
            .await
        };
        record.run(work).await
    }

    /// Refuses a teacher that is not there, or that does not chat.
    async fn check_teacher(&self, work: &Work) -> Result<()> {
        let Some(asked) = &work.distillation else {
            return Ok(());
        };
        let kind = self.resolve(&asked.teacher).await?.info().kind;
        match kind {
            ModelKind::Chat => Ok(()),
            kind => Err(Error::validation(format!(
                "teacher {}: expected a model that chats, got one of kind {kind:?}",
                asked.teacher
            ))),
        }
    }
}

fn work_of(request: DistillRequest) -> Work {
    let mut options = request.training;
    options.low_rank = (request.method == Method::Lora).then_some(request.lora);
    let logs = request.invocation_logs;
    let place = logs.as_ref().map(|logs| logs.uri.clone());
    Work {
        base: request.student,
        training: request.prompts.clone().or(place).unwrap_or_default(),
        validation: request.validation.into_iter().collect(),
        options,
        max_tokens: request.max_tokens,
        checkpoint_every: request.checkpoint_every,
        output: request.output,
        model_name: request.name,
        distillation: Some(Distillation {
            prompts: request.prompts,
            logs,
            teacher_price: request.teacher_price,
            student_price: request.student_price,
            ..Distillation::new(&request.teacher, request.max_response_tokens)
        }),
    }
}

fn asked_of(work: &Work) -> Result<&Distillation> {
    let asked = work.distillation.as_ref();
    asked.ok_or_else(|| Error::internal("a job of distillation without a teacher"))
}

/// Refuses, before anything is asked, what can be refused: the options, the prompts, the student.
///
/// # Errors
/// Those of [`Session::distill`].
pub(crate) fn check(session: &Session, principal: &Principal, work: &Work) -> Result<()> {
    let asked = asked_of(work)?;
    work.options.check()?;
    asked.teacher_price.validate()?;
    asked.student_price.validate()?;
    if asked.max_response_tokens == 0 {
        return Err(Error::validation(
            "max_response_tokens: expected at least 1, got 0",
        ));
    }
    if asked.prompts.is_none() && asked.logs.is_none() {
        return Err(Error::validation(
            "prompts: expected prompts or invocation_logs, got neither",
        ));
    }
    let prompts = read(session, principal, work)?;
    let student = Student::open(session, work)?;
    let (mut examples, mut bad) = (Vec::new(), Vec::new());
    for (number, prompt) in (1..).zip(prompts.learned.iter().chain(&prompts.held_out)) {
        match student.example(prompt, "?") {
            Ok(example) => examples.push(example),
            Err(reason) => bad.push(BadLine {
                file: "prompts".to_owned(),
                line: number,
                reason,
            }),
        }
    }
    if !bad.is_empty() {
        return Err(Error::validation(BadLine::list(&bad, "prompts")));
    }
    // The memory is estimated with the longest answers that may come.
    let mut options = work.options.clone();
    let longest = examples.iter().map(|example| example.ids.len()).max();
    let longest = (longest.unwrap_or(0) + asked.max_response_tokens).min(student.most);
    options.pass_tokens = options.pass_tokens.max(longest);
    let rest = (examples.split_off(prompts.learned.len()), examples);
    Trainer::new(
        student.decoder,
        options,
        (rest.1, rest.0),
        available_memory(),
    )
    .map(drop)
}

fn read(session: &Session, principal: &Principal, work: &Work) -> Result<Prompts> {
    let asked = (asked_of(work)?, &work.validation[..]);
    prompts::read(session, principal, asked, work.options.seed)
}

/// A student before its training.
struct Student {
    base: Checkpoint,
    decoder: Decoder,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    /// The longest example.
    most: usize,
}

impl Student {
    fn open(session: &Session, work: &Work) -> Result<Self> {
        let base = run::open_base(session, &work.base)?;
        let decoder = Decoder::load(&base)?;
        let limits = (work.max_tokens, decoder.config().context_length);
        Ok(Self {
            tokenizer: Tokenizer::from_checkpoint(&base)?,
            template: ChatTemplate::from_checkpoint(&base)?,
            most: super::data::longest(limits),
            decoder,
            base,
        })
    }

    /// The example of a prompt with its answer; the reason where it is none.
    fn example(&self, prompt: &Prompt, answer: &str) -> std::result::Result<Example, String> {
        let reader = Reader {
            tokenizer: &self.tokenizer,
            template: self.template.as_ref(),
            max_tokens: self.most,
        };
        let mut examples = reader.value(&prompt.line(answer))?;
        examples
            .pop()
            .ok_or_else(|| "expected an example".to_owned())
    }
}

/// What is known of a distillation when its training begins.
pub(super) struct Taught {
    prompts: Prompts,
    teacher: Answers,
    before: Answers,
    examples: usize,
}

/// Has the teacher, and the student as it is, answer what they have not answered yet; none where the
/// job is stopped on the way.
///
/// # Errors
/// `ModelErrorException` where the teacher does not answer.
pub(super) fn teach(job: &Job, work: &Work) -> Result<Option<(Prepared, Taught)>> {
    let asked = asked_of(work)?;
    let mut prompts = read(&job.session, &job.caller.principal, work)?;
    let mut all: Vec<Prompt> = prompts
        .learned
        .iter()
        .chain(&prompts.held_out)
        .cloned()
        .collect();
    let recorded = recorded(&mut all);
    let Some(mut teacher) = ask(
        job,
        (&asked.teacher, TEACHER),
        asked.max_response_tokens,
        &all,
    )?
    else {
        return Ok(None);
    };
    teacher.by_prompt.extend(recorded);
    let student = (&work.base[..], BEFORE);
    let Some(before) = ask(job, student, asked.max_response_tokens, &prompts.held_out)? else {
        return Ok(None);
    };
    let student = Student::open(&job.session, work)?;
    let (examples, validation) = examples(&student, &mut prompts, &teacher)?;
    let count = examples.len();
    let trainer = Trainer::new(
        student.decoder,
        work.options.clone(),
        (examples, validation),
        available_memory(),
    )?;
    let prepared = Prepared {
        base: student.base,
        trainer,
    };
    let taught = Taught {
        prompts,
        teacher,
        before,
        examples: count,
    };
    Ok(Some((prepared, taught)))
}

/// Takes the prompts out of `all` that have a recorded answer, and gives these.
fn recorded(all: &mut Vec<Prompt>) -> Vec<(String, answers::Answer)> {
    let mut recorded = Vec::new();
    all.retain(|prompt| match &prompt.recorded {
        Some(answer) => {
            let (mut answer, digest) = (answer.clone(), prompt.digest());
            answer.prompt.clone_from(&digest);
            recorded.push((digest, answer));
            false
        }
        None => true,
    });
    recorded
}

fn ask(
    job: &Job,
    (model, piece): (&str, &str),
    most: usize,
    prompts: &[Prompt],
) -> Result<Option<Answers>> {
    let asked = Asked {
        job,
        model,
        most,
        piece,
    };
    runtime()?.block_on(asked.ask(prompts))
}

/// The examples that are learned from, and those of the prompts held out, of which the loss is taken.
/// What is left out is counted.
fn examples(
    student: &Student,
    prompts: &mut Prompts,
    teacher: &Answers,
) -> Result<(Vec<Example>, Vec<Example>)> {
    let mut examples = Vec::new();
    for prompt in &prompts.learned {
        let Some(answer) = teacher.of(prompt) else {
            prompts.left_out.failed += 1;
            continue;
        };
        if answer.is_cut() {
            prompts.left_out.cut += 1;
            continue;
        }
        match student.example(prompt, &answer.text) {
            Ok(example) => examples.push(example),
            Err(_) => prompts.left_out.unfit += 1,
        }
    }
    if examples.is_empty() {
        return Err(Error::model(format!(
            "the teacher gave no answer to learn from: {}",
            prompts.left_out
        )));
    }
    let told = prompts.held_out.iter().filter_map(|prompt| {
        let answer = teacher.of(prompt).filter(|answer| !answer.is_cut())?;
        student.example(prompt, &answer.text).ok()
    });
    Ok((examples, told.collect()))
}

impl Taught {
    /// Has the trained student answer the prompts held out, and compares; none where the job is
    /// stopped on the way.
    pub fn compare(
        &self,
        job: &Job,
        work: &Work,
        model: &str,
    ) -> Result<Option<DistillationReport>> {
        let asked = asked_of(work)?;
        let held_out = &self.prompts.held_out;
        let Some(after) = ask(job, (model, AFTER), asked.max_response_tokens, held_out)? else {
            return Ok(None);
        };
        let of = |name: &str, answers: &Answers, price: &Price| {
            report::of_model(
                &job.session,
                name,
                (answers, &self.teacher),
                (held_out, price),
            )
        };
        Ok(Some(DistillationReport {
            prompts: self.prompts.learned.len(),
            examples: self.examples,
            left_out: self.prompts.left_out.clone(),
            held_out: held_out.len(),
            reference: report::reference(held_out),
            teacher: of(&asked.teacher, &self.teacher, &asked.teacher_price),
            student_before: of(&work.base, &self.before, &asked.student_price),
            student: of(model, &after, &asked.student_price),
        }))
    }
}

/// The member of a finished job that holds its report.
const REPORT: &str = "distillation";

/// The report as a member of its job.
pub(super) fn member(report: &DistillationReport) -> (String, Value) {
    (REPORT.to_owned(), json!(report))
}

/// The report among a job's members.
///
/// # Errors
/// `InternalServerException` where it cannot be read.
pub(super) fn report_of(members: &Map<String, Value>) -> Result<Option<DistillationReport>> {
    let report = members.get(REPORT).map(DistillationReport::deserialize);
    report.transpose().map_err(|error| {
        Error::internal(format!("the job's report cannot be read: {error}")).with_source(error)
    })
}
