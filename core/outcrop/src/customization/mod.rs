//! Training a model on the caller's own data: what is asked, the job, and the private model.

mod data;
mod distill;
mod embedding;
mod handle;
mod output;
mod run;
mod tokenizer;

use outcrop_api::{Error, ModelKind, Result};
use outcrop_governance::Principal;
use outcrop_models::Resolution;
use outcrop_training::{LowRankOptions, TrainingOptions};
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

pub use distill::{DistillRequest, DistillationReport, LeftOut, LogSource, ModelReport};
pub(crate) use distill::{Distillation, check as check_distillation};
pub(crate) use handle::stop;
pub use handle::{CustomizationJob, CustomizationStatus};
pub(crate) use output::copy_model;
pub use tokenizer::{TokenizerReport, TokenizerRequest};

use crate::desk::Record;
use crate::jobs::{JobKind, start_for};
use crate::registry::{
    CUSTOM_MODEL_DEPLOYMENTS, CUSTOM_MODELS, Draft, MODEL_CUSTOMIZATION_JOBS, Resource,
};
use crate::session::{Session, blocking};

/// The jobs.
pub(crate) static JOB: JobKind = JobKind {
    kind: &MODEL_CUSTOMIZATION_JOBS,
    failure: "failureMessage",
    run: |job| Box::pin(run::run(job)),
};

/// The member of a job that holds its [`Work`].
pub(crate) const WORK: &str = "work";
/// The member of a custom model that names who made it.
pub(crate) const CREATOR: &str = "creator";
/// Members of a job that tell how its model was trained, which the model keeps.
pub(crate) const OF_TRAINING: [&str; 7] = [
    "hyperParameters",
    "trainingDataConfig",
    "validationDataConfig",
    "outputDataConfig",
    "trainingMetrics",
    "validationMetrics",
    "customizationConfig",
];

/// What of a model is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// A low-rank adapter.
    #[default]
    Lora,
    /// All weights.
    Full,
}

/// What [`Session::fine_tune`] is asked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FineTuneRequest {
    /// The model that is trained on: an id, an ARN, or a folder.
    pub base_model: String,
    /// A `.jsonl` file, a folder of them, or an `s3://` URI.
    pub training_data: String,
    /// The custom model's name, and the job's.
    pub name: String,
    /// The validation data, in the same forms.
    #[serde(default)]
    pub validation: Option<String>,
    /// What is trained; none: an adapter of a model that chats, all weights of one that embeds.
    #[serde(default)]
    pub method: Option<Method>,
    /// The adapter, where one is trained.
    #[serde(default)]
    pub lora: LowRankOptions,
    /// How it is trained.
    #[serde(default)]
    pub training: TrainingOptions,
    /// The longest example, or text of a pair, in tokens; none: as many as the model takes, up to 2048.
    #[serde(default)]
    pub max_tokens: Option<usize>,
    /// Steps between checkpoints; none: every half a minute.
    #[serde(default)]
    pub checkpoint_every: Option<usize>,
    /// A folder or an `s3://` prefix for the metrics' tables.
    #[serde(default)]
    pub output: Option<String>,
}

/// What a job does, as its record keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Work {
    /// The base model's name.
    pub base: String,
    /// Where the training data are: a path, `file://` or `s3://`.
    pub training: String,
    /// Where validation data are.
    pub validation: Vec<String>,
    /// How it is trained.
    pub options: TrainingOptions,
    /// The longest example, in tokens.
    pub max_tokens: Option<usize>,
    /// Steps between checkpoints.
    pub checkpoint_every: Option<usize>,
    /// Where the metrics' tables go.
    pub output: Option<String>,
    /// The custom model's name.
    pub model_name: String,
    /// Whose answers are learned, where they are a teacher's.
    #[serde(default)]
    pub distillation: Option<Distillation>,
}

impl Session {
    /// Starts training a model on one's own data: all lines are read and the memory is estimated
    /// before the job starts. The job goes on in the background, and after a kill in the next session
    /// of the home; the private custom model that it makes opens by its ARN.
    ///
    /// # Errors
    /// `ValidationException` with every bad line by its number, for an option that cannot be followed,
    /// and where the memory does not suffice; `ResourceNotFoundException` for the base model;
    /// `ConflictException` where the name is taken.
    pub async fn fine_tune(&self, request: FineTuneRequest) -> Result<CustomizationJob> {
        let record = self.open_record("CreateModelCustomizationJob", "jobName", &request.name)?;
        let (session, told) = (self.clone(), record.clone());
        let principal = Principal::owner();
        let work = blocking(move || {
            let mut options = request.training;
            let method = match request.method {
                Some(method) => method,
                None => usual_method(&session, &request.base_model)?,
            };
            options.low_rank = (method == Method::Lora).then_some(request.lora);
            let work = Work {
                base: request.base_model,
                training: request.training_data,
                validation: request.validation.into_iter().collect(),
                options,
                max_tokens: request.max_tokens,
                checkpoint_every: request.checkpoint_every,
                output: request.output,
                model_name: request.name.clone(),
                distillation: None,
            };
            run::prepare(&session, &principal, &work)?;
            let name = request.name.as_str();
            let members = Map::from_iter([("customizationType".into(), json!("FINE_TUNING"))]);
            let draft = Draft {
                name: Some(name),
                members,
                ..Draft::default()
            };
            let job = create(&session, (&principal, &told), work, draft)?;
            Ok(CustomizationJob::new(session, job.id))
        });
        record.run(work).await
    }

    /// The customisation job by its name, id or ARN.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where there is none.
    pub fn customization_job(&self, identifier: &str) -> Result<CustomizationJob> {
        self.check()?;
        let job = self.resources(&MODEL_CUSTOMIZATION_JOBS).find(identifier)?;
        Ok(CustomizationJob::new(self.clone(), job.id))
    }
}

/// What is trained of a base where nothing is said.
///
/// # Errors
/// `ResourceNotFoundException` where the base is not on this machine.
pub(crate) fn usual_method(session: &Session, base: &str) -> Result<Method> {
    Ok(match run::kind_of_base(session, base)? {
        ModelKind::Embedding => Method::Full,
        _ => Method::Lora,
    })
}

/// Makes the job of `work` and sets it to work. `draft` has its members of its door.
///
/// # Errors
/// `ConflictException` where the job's or the model's name is taken; `ResourceNotFoundException` for
/// the base.
pub(crate) fn create(
    session: &Session,
    (principal, record): (&Principal, &Record),
    work: Work,
    draft: Draft<'_>,
) -> Result<Resource> {
    let models = session.resources(&CUSTOM_MODELS);
    if let Some(made) = session
        .resources(&MODEL_CUSTOMIZATION_JOBS)
        .made(draft.token, draft.request)?
    {
        return Ok(made);
    }
    if models.find(&work.model_name).is_ok() {
        let name = &work.model_name;
        return Err(Error::conflict(format!(
            "Custom model with name {name} already exists."
        )));
    }
    let mut draft = draft;
    let not_started = json!({"status": "NotStarted"});
    let members = [
        ("status", json!("InProgress")),
        (
            "statusDetails",
            json!({"validationDetails": not_started, "dataProcessingDetails": not_started,
                   "trainingDetails": not_started}),
        ),
        ("outputModelName", json!(work.model_name)),
        ("baseModelArn", json!(base_arn(&work.base))),
        (WORK, json!(work)),
    ];
    let members = members.map(|(name, value)| (name.to_owned(), value));
    draft.members.extend(members);
    start_for(session, (principal, record), &JOB, draft)
}

/// What stands for the base model as an ARN.
fn base_arn(base: &str) -> String {
    if base.starts_with("arn:") {
        return base.to_owned();
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    let name = base
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(base);
    let name: String = name
        .chars()
        .map(|c| if plain(c) { c } else { '-' })
        .collect();
    format!("arn:aws:bedrock:local::foundation-model/{name}")
}

/// Refuses a custom model, or a deployment of one, to whoever has not made it. The home's owner, whose
/// files they are, may.
///
/// # Errors
/// `AccessDeniedException`.
pub(crate) fn check_creator(session: &Session, name: &str, principal: &Principal) -> Result<()> {
    if principal.is_owner() {
        return Ok(());
    }
    for kind in [&CUSTOM_MODELS, &CUSTOM_MODEL_DEPLOYMENTS] {
        let found = session.resources(kind).get(name).ok();
        if let Some(found) = found.filter(|found| found.text(CREATOR) != principal.arn) {
            return Err(Error::new(
                outcrop_api::ErrorKind::AccessDeniedException,
                format!(
                    "User: {} is not authorized to perform: bedrock:InvokeModel on resource: {} because \
                     another principal created it",
                    principal.arn, found.arn
                ),
            ));
        }
    }
    Ok(())
}

/// The same for every name that leads to a model, an alias' or a profile's among them.
///
/// # Errors
/// As [`check_creator`].
pub(crate) fn check_creators(
    session: &Session,
    resolution: &Resolution,
    principal: &Principal,
) -> Result<()> {
    let names = resolution.aliases.iter().chain([&resolution.asked]);
    names
        .chain([&resolution.model])
        .try_for_each(|name| check_creator(session, name, principal))
}

/// Makes the custom model that a job has trained; once, also where that is done again after a kill.
fn adopt(session: &Session, job: &Resource, creator: &str, folder: &str) -> Result<Resource> {
    let mut members = Map::from_iter([
        (crate::registry::STANDS_FOR.to_owned(), json!(folder)),
        (CREATOR.to_owned(), json!(creator)),
        ("jobName".to_owned(), json!(job.name)),
        ("jobArn".to_owned(), json!(job.arn)),
        ("modelStatus".to_owned(), json!("Active")),
    ]);
    let base = ["baseModelArn", "customizationType"];
    for name in base.into_iter().chain(OF_TRAINING) {
        if let Some(value) = job.members.get(name) {
            members.insert(name.to_owned(), value.clone());
        }
    }
    let tags = crate::registry::read_tags(job.members.get("customModelTags"))?;
    session.resources(&CUSTOM_MODELS).create(Draft {
        id: None,
        name: Some(job.text("outputModelName")),
        token: Some(&job.id),
        tags,
        members,
        ..Draft::default()
    })
}

/// Deletes the files of a custom model, whose folder bears its job's id or, where it was brought in, its
/// own.
pub(crate) fn delete_files(session: &Session, model: &Resource) -> Result<()> {
    let job = model.text("jobArn").rsplit('/').next();
    let folder = job.filter(|id| !id.is_empty()).unwrap_or(&model.id);
    delete_folder(session, folder)
}

/// Deletes a folder of the home's custom models.
pub(crate) fn delete_folder(session: &Session, id: &str) -> Result<()> {
    Ok(session.store().delete_private_folder(output::MODELS, id)?)
}
