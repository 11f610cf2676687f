//! GGUF models that are split over files, named `…-00001-of-00003.gguf` as llama.cpp's
//! `gguf-split` names them. The first file has the metadata.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{GgufValue, WeightsError};

/// Most files that a model is believed to be split over.
const MAX_FILES: u64 = 9999;

/// The other files of the model whose first file is `first`, in order; none where it is not split.
///
/// # Errors
/// [`WeightsError`] where `first` is not the first of its files, or is not named as one of them, or
/// one of the others is missing.
pub(super) fn other_files(
    first: &Path,
    metadata: &BTreeMap<String, GgufValue>,
) -> Result<Vec<PathBuf>, WeightsError> {
    let count = match metadata.get("split.count") {
        None => return Ok(Vec::new()),
        Some(value) => value.as_u64().filter(|count| *count <= MAX_FILES),
    };
    let corrupt = |detail: String| WeightsError::corrupt(first, detail);
    let Some(count) = count else {
        return Err(corrupt(format!(
            "split.count: expected at most {MAX_FILES}"
        )));
    };
    if count <= 1 {
        return Ok(Vec::new());
    }
    check_number(first, metadata, 0)?;
    let ending = |number: u64| format!("-{number:05}-of-{count:05}.gguf");
    let name = first.file_name().and_then(|name| name.to_str());
    let Some(stem) = name.and_then(|name| name.strip_suffix(&ending(1))) else {
        return Err(corrupt(format!(
            "expected a name that ends in {}, as the first of {count} files has",
            ending(1)
        )));
    };
    (2..=count)
        .map(|number| {
            let file = first.with_file_name(format!("{stem}{}", ending(number)));
            match file.exists() {
                true => Ok(file),
                false => Err(WeightsError::Missing {
                    file,
                    expected: "a part of the model, which is split over files",
                }),
            }
        })
        .collect()
}

/// Checks that `file`, whose metadata are given, is the part `number`, counted from 0.
///
/// # Errors
/// [`WeightsError::Corrupt`] where it is another.
pub(super) fn check_number(
    file: &Path,
    metadata: &BTreeMap<String, GgufValue>,
    number: u64,
) -> Result<(), WeightsError> {
    match metadata
        .get("split.no")
        .map(|value| (value.as_u64(), value))
    {
        Some((Some(found), _)) if found == number => Ok(()),
        other => {
            let found = other.map_or_else(|| "nothing".to_owned(), |(_, value)| value.to_string());
            let detail = format!("split.no: expected {number}, got {found}");
            Err(WeightsError::corrupt(file, detail))
        }
    }
}
