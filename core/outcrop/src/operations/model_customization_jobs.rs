//! Model customization jobs: training on data of the caller's.

use outcrop_api::{Error, Result};
use outcrop_training::{EarlyStopping, LowRankOptions, Precision, TrainingOptions};
use serde_json::{Map, Value, json};

use super::{Answer, Call};
use crate::customization::{self, Distillation, LogSource, Method, Work};
use crate::registry::{Draft, MODEL_CUSTOMIZATION_JOBS, Page, Resource, read_tags};

/// Members that a job is told, and tells again.
const MEMBERS: [&str; 9] = [
    "roleArn",
    "clientRequestToken",
    "hyperParameters",
    "trainingDataConfig",
    "validationDataConfig",
    "outputDataConfig",
    "customizationType",
    "customizationConfig",
    "customModelTags",
];
/// The role of jobs that the home's owner started without naming one.
const OWN_ROLE: &str = "arn:aws:iam::000000000000:role/owner";

/// `CreateModelCustomizationJob`.
pub(super) fn create(call: &Call) -> Result<Answer> {
    call.refuse(
        &["vpcConfig"],
        "there is no network between the home and its buckets",
    )?;
    call.refuse(
        &["customModelKmsKeyId"],
        "a custom model stands in a folder that only the home's owner may enter",
    )?;
    let kind = call.text("customizationType").unwrap_or("FINE_TUNING");
    let distillation = match kind {
        "DISTILLATION" => Some(distillation(call)?),
        "FINE_TUNING" | "CONTINUED_PRE_TRAINING" => {
            call.refuse(&["customizationConfig"], "it is of DISTILLATION only")?;
            None
        }
        _ => {
            return Err(Error::validation(format!(
                "customizationType: expected FINE_TUNING, CONTINUED_PRE_TRAINING or DISTILLATION, got {kind}"
            )));
        }
    };
    let logs = distillation.as_ref().and_then(|asked| asked.logs.as_ref());
    let training = uri(&call.input["trainingDataConfig"]).or(logs.map(|logs| &logs.uri[..]));
    let training = training
        .ok_or_else(|| Error::validation("trainingDataConfig: expected s3Uri"))?
        .to_owned();
    let validators = call.input["validationDataConfig"]["validators"].as_array();
    let validation: Vec<&str> = validators.into_iter().flatten().filter_map(uri).collect();
    let output = uri(&call.input["outputDataConfig"]);
    for place in [Some(&training[..]), output].into_iter().flatten() {
        call.session.resolve_s3_uri(place, &call.principal)?;
    }
    let base = call.required("baseModelIdentifier")?;
    call.model_of(base)?;
    // A base without files is told of by the job.
    let usual = customization::usual_method(&call.session, base).unwrap_or_default();
    let work = Work {
        base: base.to_owned(),
        training,
        options: options(call.input.get("hyperParameters"), &validation, usual)?,
        validation: validation.into_iter().map(str::to_owned).collect(),
        max_tokens: None,
        checkpoint_every: None,
        output: output.map(str::to_owned),
        model_name: call.required("customModelName")?.to_owned(),
        distillation,
    };
    if work.distillation.is_some() {
        customization::check_distillation(&call.session, &call.principal, &work)?;
    }
    read_tags(call.input.get("customModelTags"))?;
    let mut members = Map::from_iter([("customizationType".to_owned(), json!(kind))]);
    for name in MEMBERS {
        if let Some(value) = call.input.get(name) {
            members.insert(name.into(), value.clone());
        }
    }
    let draft = Draft {
        name: Some(call.required("jobName")?),
        token: call.text("clientRequestToken"),
        request: Some(&call.input),
        tags: read_tags(call.input.get("jobTags"))?,
        members,
        ..Draft::default()
    };
    let asked = (&call.principal, &call.record);
    let job = customization::create(&call.session, asked, work, draft)?;
    Answer::of(&json!({"jobArn": job.arn}))
}

/// The teacher of a request for DISTILLATION, and where its prompts are.
fn distillation(call: &Call) -> Result<Distillation> {
    let config = &call.input["customizationConfig"]["distillationConfig"]["teacherModelConfig"];
    let teacher = config["teacherModelIdentifier"].as_str().ok_or_else(|| {
        Error::validation("customizationConfig: expected distillationConfig for DISTILLATION")
    })?;
    call.model_of(teacher)?;
    let most = config["maxResponseLengthForInference"].as_u64();
    let data = &call.input["trainingDataConfig"];
    let logs = data.get("invocationLogsConfig").map(|logs| LogSource {
        uri: uri(&logs["invocationLogSource"])
            .unwrap_or_default()
            .to_owned(),
        use_responses: logs["usePromptResponse"] == true,
        filters: logs.get("requestMetadataFilters").cloned(),
    });
    Ok(Distillation {
        prompts: uri(data).map(str::to_owned),
        logs,
        ..Distillation::new(teacher, most.map(|most| most as usize))
    })
}

fn uri(config: &Value) -> Option<&str> {
    config["s3Uri"].as_str()
}

/// The options that hyper-parameters tell, which are strings, each in its documented range.
fn options(given: Option<&Value>, validation: &[&str], usual: Method) -> Result<TrainingOptions> {
    let mut given = Parameters(
        given
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default(),
    );
    let mut options = TrainingOptions {
        epochs: given.take("epochCount", (1.0, 10.0), 5.0)? as usize,
        batch_size: given.take("batchSize", (1.0, 256.0), 1.0)? as usize,
        learning_rate: given.take("learningRate", (0.0, 1.0), 1e-5)? as f32,
        warmup_steps: given.take("learningRateWarmupSteps", (0.0, 250.0), 5.0)? as usize,
        temperature: given.take("contrastiveTemperature", (0.001, 10.0), 0.05)? as f32,
        seed: given.take("seed", (0.0, f64::from(u32::MAX)), 0.0)? as u64,
        ..TrainingOptions::default()
    };
    let threshold = given.take("earlyStoppingThreshold", (0.0, 0.1), 0.001)?;
    let patience = given.take("earlyStoppingPatience", (1.0, 10.0), 2.0)? as usize;
    options.early_stopping = (!validation.is_empty()).then_some(EarlyStopping {
        threshold,
        patience,
    });
    let low_rank = LowRankOptions {
        rank: given.take("loraRank", (1.0, 256.0), 8.0)? as usize,
        alpha: given.take("loraAlpha", (1.0, 1024.0), 16.0)? as f32,
        dropout: given.take("loraDropout", (0.0, 0.9), 0.0)? as f32,
        ..LowRankOptions::default()
    };
    options.low_rank = match given.0.remove("method") {
        None => (usual == Method::Lora).then_some(low_rank),
        Some(method) if method == "lora" => Some(low_rank),
        Some(method) if method == "full" => None,
        Some(method) => {
            return Err(Error::validation(format!(
                "hyperParameters.method: expected lora or full, got {method}"
            )));
        }
    };
    options.precision = match given.0.remove("precision") {
        None => Precision::Float32,
        Some(precision) if precision == "float32" => Precision::Float32,
        Some(precision) if precision == "bfloat16" => Precision::Bfloat16,
        Some(precision) => {
            return Err(Error::validation(format!(
                "hyperParameters.precision: expected float32 or bfloat16, got {precision}"
            )));
        }
    };
    match given.0.keys().next() {
        Some(name) => Err(Error::validation(format!(
            "hyperParameters.{name}: expected one of epochCount, batchSize, learningRate, \
             learningRateWarmupSteps, earlyStoppingThreshold, earlyStoppingPatience, seed, method, \
             precision, loraRank, loraAlpha, loraDropout, contrastiveTemperature"
        ))),
        None => Ok(options),
    }
}

/// Hyper-parameters that have not been read yet.
struct Parameters(Map<String, Value>);

impl Parameters {
    fn take(&mut self, name: &str, (least, most): (f64, f64), default: f64) -> Result<f64> {
        let Some(value) = self.0.remove(name) else {
            return Ok(default);
        };
        let number = value
            .as_str()
            .and_then(|text| text.trim().parse::<f64>().ok());
        let is_whole = name != "learningRate" && least.fract() == 0.0 && most.fract() == 0.0;
        let is_sound = |number: &f64| {
            (least..=most).contains(number)
                && (number.fract() == 0.0 || !is_whole || name == "loraAlpha")
        };
        number.filter(is_sound).ok_or_else(|| {
            Error::validation(format!(
                "hyperParameters.{name}: expected a number of {least}..={most} as text, got {value}"
            ))
        })
    }
}

/// `GetModelCustomizationJob`.
pub(super) fn get(call: &Call) -> Result<Answer> {
    let jobs = call.session.resources(&MODEL_CUSTOMIZATION_JOBS);
    let job = jobs.find(call.required("jobIdentifier")?)?;
    let mut about = summary(&job);
    about["outputModelName"] = json!(job.text("outputModelName"));
    about["roleArn"] = json!(OWN_ROLE);
    // The shape asks for them of every job, those that a session started too.
    let work = &job.members[customization::WORK];
    about["trainingDataConfig"] = json!({"s3Uri": work["training"]});
    about["validationDataConfig"] = json!({"validators": []});
    about["outputDataConfig"] =
        json!({"s3Uri": format!("file://{}", call.session.home().display())});
    let told = MEMBERS[..8].iter().chain(&[
        "outputModelArn",
        "failureMessage",
        "trainingMetrics",
        "validationMetrics",
    ]);
    for name in told {
        if let Some(value) = job.members.get(*name) {
            about[*name] = value.clone();
        }
    }
    Answer::of(&about)
}

/// `ListModelCustomizationJobs`.
pub(super) fn list(call: &Call) -> Result<Answer> {
    let jobs = call.session.resources(&MODEL_CUSTOMIZATION_JOBS);
    let listed = jobs.page(&Page::of(call)?, |_| true)?;
    Answer::of(&listed.answer("modelCustomizationJobSummaries", |job| {
        let mut about = summary(job);
        about["customModelName"] = json!(job.text("outputModelName"));
        if let Some(model) = job.members.get("outputModelArn") {
            about["customModelArn"] = model.clone();
        }
        about
    }))
}

fn summary(job: &Resource) -> Value {
    let mut about = json!({
        "jobArn": job.arn,
        "jobName": job.name,
        "status": job.text("status"),
        "baseModelArn": job.text("baseModelArn"),
        "customizationType": job.text("customizationType"),
        "creationTime": job.created_at,
        "lastModifiedTime": job.updated_at,
    });
    for name in ["statusDetails", "endTime"] {
        if let Some(value) = job.members.get(name) {
            about[name] = value.clone();
        }
    }
    about
}

/// `StopModelCustomizationJob`: it ends after its step, and makes no model.
pub(super) fn stop(call: &Call) -> Result<Answer> {
    customization::stop(&call.session, call.required("jobIdentifier")?)?;
    Ok(Answer::default())
}
