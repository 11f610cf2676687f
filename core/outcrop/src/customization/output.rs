//! What a customisation job leaves: the model's files, and the tables of its metrics.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use outcrop_api::Result;
use outcrop_inference::Checkpoint;
use outcrop_store::{copy_file, write_file};
use outcrop_tensor::Pool;
use outcrop_training::{StepMetrics, Trainable};

use super::data::unreadable;
use super::distill::DistillationReport;
use crate::session::Session;

/// The home's folder of custom models.
pub(crate) const MODELS: &str = "custom-models";
/// Ends of the names of files that hold weights, which the trained ones replace.
const WEIGHTS: [&str; 8] = [
    "safetensors",
    "bin",
    "pt",
    "pth",
    "gguf",
    "h5",
    "onnx",
    "msgpack",
];
/// Files of the base that are written anew, or that speak of its weights.
const REPLACED: [&str; 2] = ["config.json", "model.safetensors.index.json"];

/// Writes the model of job `id`, with its tokenizer and, where it has one, its adapter in PEFT's
/// layout; gives its folder.
pub(super) fn write_model(
    session: &Session,
    id: &str,
    (model, base): (&impl Trainable, &Checkpoint),
    pool: &Pool,
) -> Result<PathBuf> {
    let folder = session.store().private_folder(MODELS, id)?;
    copy_others(base.path(), &folder)?;
    copy_modules(base.path(), &folder)?;
    let name = base.path().display().to_string();
    for (file, bytes) in model.adapter(&name).into_iter().flatten() {
        write_file(&folder.join("adapter").join(file), &bytes)?;
    }
    // The configuration last: a folder without it is no model.
    let mut files = model.files(pool, base);
    files.reverse();
    for (file, bytes) in files {
        write_file(&folder.join(file), &bytes)?;
    }
    Ok(folder)
}

/// Copies a model's folder, or its one file, to the home's folder of custom models; gives the place that
/// it opens by.
///
/// # Errors
/// Where a file cannot be read or written.
pub(crate) fn copy_model(session: &Session, id: &str, from: &Path) -> Result<PathBuf> {
    let folder = session.store().private_folder(MODELS, id)?;
    if from.is_file() {
        let to = folder.join(from.file_name().unwrap_or_default());
        copy_file(from, &to)?;
        return Ok(to);
    }
    copy_folder(from, &folder)?;
    Ok(folder)
}

/// Copies the files of a folder, and of those in it, such as a sentence transformer's modules.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    for entry in std::fs::read_dir(from).map_err(unreadable(from))? {
        let path = entry.map_err(unreadable(from))?.path();
        let Some(name) = path.file_name() else {
            continue;
        };
        match path.is_dir() {
            true => copy_folder(&path, &to.join(name))?,
            false => copy_file(&path, &to.join(name))?,
        }
    }
    Ok(())
}

/// Copies what else the base's folder holds: the tokenizer, the template, the generation's settings.
fn copy_others(base: &Path, folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(base).map_err(unreadable(base))? {
        let path = entry.map_err(unreadable(base))?.path();
        let (Some(name), true) = (path.file_name(), path.is_file()) else {
            continue;
        };
        let is_weights = path
            .extension()
            .is_some_and(|end| WEIGHTS.iter().any(|own| end.eq_ignore_ascii_case(own)));
        let is_replaced = REPLACED.iter().any(|own| name == *own);
        if !is_weights && !is_replaced {
            let bytes = std::fs::read(&path).map_err(unreadable(&path))?;
            write_file(&folder.join(name), &bytes)?;
        }
    }
    Ok(())
}

/// Copies the modules behind a sentence transformer, which stand in folders of their own.
fn copy_modules(base: &Path, folder: &Path) -> Result<()> {
    if !base.join("modules.json").exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(base).map_err(unreadable(base))? {
        let path = entry.map_err(unreadable(base))?.path();
        let name = path.file_name().unwrap_or_default();
        let is_module = name
            .to_string_lossy()
            .starts_with(|c: char| c.is_ascii_digit());
        if path.is_dir() && is_module {
            copy_folder(&path, &folder.join(name))?;
        }
    }
    Ok(())
}

/// Writes a distillation's report beside the tables of metrics.
pub(super) fn write_report(to: &Path, id: &str, report: &DistillationReport) -> Result<()> {
    let folder = to.join(format!("model-customization-job-{id}"));
    let text = format!("{:#}\n", serde_json::json!(report));
    let file = "validation_artifacts/distillation_report.json";
    Ok(write_file(&folder.join(file), text.as_bytes())?)
}

/// Writes the tables of metrics as Bedrock has them below `to`.
pub(super) fn write_tables(to: &Path, id: &str, steps: &[StepMetrics]) -> Result<()> {
    let folder = to.join(format!("model-customization-job-{id}"));
    let mut training = "step_number,epoch_number,training_loss,perplexity\n".to_owned();
    let mut validation = "step_number,epoch_number,validation_loss,perplexity\n".to_owned();
    for step in steps {
        let row = |table: &mut String, loss: f64| {
            let (number, epoch, perplexity) = (step.step, step.epoch, loss.exp());
            // Writing to a text cannot fail.
            let _ = writeln!(table, "{number},{epoch},{loss},{perplexity}");
        };
        row(&mut training, step.loss);
        if let Some(loss) = step.validation_loss {
            row(&mut validation, loss);
        }
    }
    let file = "training_artifacts/step_wise_training_metrics.csv";
    write_file(&folder.join(file), training.as_bytes())?;
    if steps.iter().any(|step| step.validation_loss.is_some()) {
        let file = "validation_artifacts/post_fine_tuning_validation/validation_metrics.csv";
        write_file(&folder.join(file), validation.as_bytes())?;
    }
    Ok(())
}
