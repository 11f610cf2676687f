//! One stage of a training from scratch, told by a JSON file: `train_from_scratch STAGE.json`.
//!
//! A stage has a model's shape (`config`, the path of a `config.json`), a `tokenizer` folder, lines of
//! `data`, `options` as jobs have them, and a folder `out`, where its checkpoint and in the end its
//! weights lie. It starts from chance, or from another stage's weights (`from`, a folder). Killed and
//! called again it goes on where it was. A line of JSON tells each hundredth step.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use outcrop_api::{Error, Result};
use outcrop_inference::{ChatTemplate, Checkpoint, Tokenizer};
use outcrop_tensor::Pool;
use outcrop_training::{
    Decoder, Example, Reader, Trainer, TrainingOptions, all_good, to_safetensors,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// Time between two checkpoints.
const BETWEEN: Duration = Duration::from_secs(60);
/// Steps between two lines that tell how it goes.
const TOLD: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stage {
    config: PathBuf,
    tokenizer: PathBuf,
    data: PathBuf,
    validation: PathBuf,
    out: PathBuf,
    from: Option<PathBuf>,
    threads: usize,
    max_tokens: usize,
    options: TrainingOptions,
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::internal(error.to_string())
}

fn read_json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| failed(format!("{}: {error}", path.display())))?;
    serde_json::from_str(&text).map_err(|error| failed(format!("{}: {error}", path.display())))
}

/// Writes all of a file, or leaves the one that is there.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = path.with_extension("part");
    std::fs::write(&beside, bytes).map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)
}

fn examples(reader: &Reader<'_>, path: &Path) -> Result<Vec<Example>> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| failed(format!("{}: {error}", path.display())))?;
    let name = path.display().to_string();
    all_good(reader.read(&name, &text), &name)
}

fn trainer(stage: &Stage) -> Result<Trainer> {
    let tokenizer = Tokenizer::load(&stage.tokenizer).map_err(failed)?;
    let template = ChatTemplate::from_folder(&stage.tokenizer).map_err(failed)?;
    let reader = Reader {
        tokenizer: &tokenizer,
        template: template.as_ref(),
        max_tokens: stage.max_tokens,
    };
    let started = Instant::now();
    let data = (
        examples(&reader, &stage.data)?,
        examples(&reader, &stage.validation)?,
    );
    let sum = |part: &dyn Fn(&Example) -> usize| data.0.iter().map(part).sum::<usize>();
    let learned = sum(&|e| e.learned.iter().map(ExactSizeIterator::len).sum());
    println!(
        "{}",
        json!({"examples": data.0.len(), "tokens": sum(&|e| e.ids.len()), "learned": learned,
            "seconds": started.elapsed().as_secs_f64()})
    );
    let decoder = match &stage.from {
        Some(folder) => Decoder::load(&Checkpoint::open(folder).map_err(failed)?)?,
        None => Decoder::random(&read_json(&stage.config)?, stage.options.seed)?,
    };
    Trainer::new(decoder, stage.options.clone(), data, None)
}

fn finish(stage: &Stage, trainer: Trainer) -> Result<()> {
    let weights = to_safetensors(trainer.into_model().parameters());
    write(
        &stage.out.join("config.json"),
        format!("{:#}\n", read_json(&stage.config)?).as_bytes(),
    )?;
    // The weights are written last: where they are, the stage is done.
    write(&stage.out.join("model.safetensors"), &weights)
}

fn main() -> Result<()> {
    let path = std::env::args().nth(1);
    let path = path.ok_or_else(|| Error::validation("usage: train_from_scratch STAGE.json"))?;
    let stage = Stage::deserialize(read_json(Path::new(&path))?).map_err(failed)?;
    std::fs::create_dir_all(&stage.out).map_err(failed)?;
    let mut trainer = trainer(&stage)?;
    let checkpoint = stage.out.join("checkpoint.bin");
    if let Ok(bytes) = std::fs::read(&checkpoint) {
        trainer.resume(&bytes)?;
    }
    let pool = Pool::new(stage.threads);
    let (mut kept, mut told) = (Instant::now(), Instant::now());
    let (mut tokens, mut loss, mut count) = (0, 0.0, 0_usize);
    while !trainer.is_done() {
        let step = trainer.advance(&pool)?;
        tokens += step.tokens;
        loss += step.loss;
        count += 1;
        if step.step % TOLD == 0 || step.validation_loss.is_some() || trainer.is_done() {
            println!(
                "{}",
                json!({"step": step.step, "of": trainer.steps(), "loss": loss / count as f64,
                    "validation": step.validation_loss, "rate": step.learning_rate,
                    "norm": step.gradient_norm,
                    "tokens_a_second": tokens as f64 / told.elapsed().as_secs_f64()})
            );
            (tokens, loss, count, told) = (0, 0.0, 0, Instant::now());
        }
        if kept.elapsed() > BETWEEN {
            write(&checkpoint, &trainer.checkpoint())?;
            kept = Instant::now();
        }
    }
    finish(&stage, trainer)?;
    println!("{}", json!({"done": stage.out}));
    Ok(())
}
