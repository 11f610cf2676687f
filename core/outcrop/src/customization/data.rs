//! Training files: where they are, and what stands in them.

use std::path::{Path, PathBuf};

use outcrop_api::{Error, Result};
use outcrop_governance::Principal;
use outcrop_inference::{ChatTemplate, Checkpoint, Tokenizer};
use outcrop_training::{Example, Reader, all_good};

use crate::session::Session;

/// The longest example where nothing is said.
const MAX_TOKENS: usize = 2048;

/// Reads the examples of `places` as the model of `checkpoint` reads text.
///
/// # Errors
/// `ValidationException` with every bad line by its number, or for a place that cannot be read.
pub(super) fn read(
    session: &Session,
    principal: &Principal,
    checkpoint: &Checkpoint,
    places: &[&str],
    (max_tokens, context): (Option<usize>, usize),
) -> Result<Vec<Example>> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let tokenizer = Tokenizer::from_checkpoint(checkpoint)?;
    let template = ChatTemplate::from_checkpoint(checkpoint)?;
    let reader = Reader {
        tokenizer: &tokenizer,
        template: template.as_ref(),
        max_tokens: longest((max_tokens, context)),
    };
    let (mut examples, mut bad) = (Vec::new(), Vec::new());
    for place in places {
        for path in files(&path_of(session, principal, place)?, &["jsonl"])? {
            let text = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
            let (own, wrong) = reader.read(&path.display().to_string(), &text);
            examples.extend(own);
            bad.extend(wrong);
        }
    }
    all_good((examples, bad), &places.join(", "))
}

/// The longest example, of what was asked and what the model takes.
pub(super) fn longest((asked, context): (Option<usize>, usize)) -> usize {
    asked.unwrap_or(MAX_TOKENS).min(context)
}

/// The path of a place: `s3://`, `file://`, or for the home's owner a path.
pub(super) fn path_of(session: &Session, principal: &Principal, place: &str) -> Result<PathBuf> {
    if place.contains("://") {
        return session.resolve_s3_uri(place, principal);
    }
    match principal.is_owner() {
        true => Ok(PathBuf::from(place)),
        false => Err(Error::validation(format!(
            "Invalid S3 URI {place}: expected s3://bucket/key"
        ))),
    }
}

/// A file, or the files of a folder whose names end so, by name.
pub(super) fn files(path: &Path, ends: &[&str]) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let entries = std::fs::read_dir(path).map_err(unreadable(path))?;
    let is_one = |path: &PathBuf| {
        let end = path.extension();
        end.is_some_and(|end| ends.iter().any(|own| end == *own))
    };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(is_one)
        .collect();
    files.sort_unstable();
    match files.is_empty() {
        true => Err(Error::validation(format!(
            "There is no .{} file at {}",
            ends.join(" or ."),
            path.display()
        ))),
        false => Ok(files),
    }
}

pub(super) fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::validation(format!("{} cannot be read: {error}", path.display()))
}
