//! The files of a model: found in its folder, read whole within a limit, or mapped.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use serde::Deserialize;

use super::WeightsError;

/// Most bytes of a JSON or text file: `tokenizer.json` of the largest vocabularies has some 30 MB.
const MAX_TEXT_BYTES: u64 = 256 << 20;

/// Most bytes of a JSON file that is kept as values: the index of the largest models has some 10 MB.
const MAX_JSON_BYTES: u64 = 32 << 20;

/// Name of the one weights file of a folder without shards.
const SINGLE: &str = "model.safetensors";

/// Name of the index that says which shard holds which tensor.
const INDEX: &str = "model.safetensors.index.json";

/// A file's text.
///
/// # Errors
/// [`WeightsError::Missing`] with `expected` where the file is not there.
pub(crate) fn read_text(file: &Path, expected: &'static str) -> Result<String, WeightsError> {
    read_at_most(file, expected, MAX_TEXT_BYTES)
}

/// A file's text of at most `limit` bytes.
fn read_at_most(file: &Path, expected: &'static str, limit: u64) -> Result<String, WeightsError> {
    let io = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => WeightsError::Missing {
            file: file.to_owned(),
            expected,
        },
        _ => WeightsError::Io {
            file: file.to_owned(),
            source,
        },
    };
    let mut bytes = Vec::new();
    let reader = File::open(file).map_err(io)?;
    reader.take(limit + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(WeightsError::corrupt(
            file,
            format!("expected at most {limit} bytes"),
        ));
    }
    String::from_utf8(bytes)
        .map_err(|error| WeightsError::corrupt(file, format!("expected UTF-8 text: {error}")))
}

/// A file's JSON.
///
/// # Errors
/// As [`read_text`]; [`WeightsError::Corrupt`] where it is not JSON.
pub(crate) fn read_json(
    file: &Path,
    expected: &'static str,
) -> Result<serde_json::Value, WeightsError> {
    serde_json::from_str(&read_at_most(file, expected, MAX_JSON_BYTES)?)
        .map_err(|error| WeightsError::corrupt(file, format!("expected JSON: {error}")))
}

/// Maps a file for reading.
pub(super) fn map(file: &Path) -> Result<Arc<Mmap>, WeightsError> {
    outcrop_tensor::map_file(file).map_err(|source| WeightsError::Io {
        file: file.to_owned(),
        source,
    })
}

/// What `model.safetensors.index.json` holds.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

/// The safetensors files of a folder, each with the names of the tensors that it must hold (none
/// where there is no index). One file goes before shards, as in transformers.
pub(super) fn safetensors_files(
    folder: &Path,
) -> Result<Vec<(PathBuf, Vec<String>)>, WeightsError> {
    let single = folder.join(SINGLE);
    if single.exists() {
        return Ok(vec![(single, Vec::new())]);
    }
    let index_file = folder.join(INDEX);
    if !index_file.exists() {
        return Err(WeightsError::Missing {
            file: single,
            expected: "the model's weights in one file, or shards with model.safetensors.index.json",
        });
    }
    let index: ShardIndex = serde_json::from_str(&read_text(&index_file, "the index of shards")?)
        .map_err(|error| {
        WeightsError::corrupt(&index_file, format!("expected an index of shards: {error}"))
    })?;
    let mut shards: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (tensor, shard) in index.weight_map {
        shards.entry(shard).or_default().push(tensor);
    }
    if shards.is_empty() {
        return Err(WeightsError::corrupt(
            &index_file,
            "weight_map: expected a shard, got none",
        ));
    }
    shards
        .into_iter()
        .map(|(shard, tensors)| Ok((shard_path(folder, &index_file, &shard)?, tensors)))
        .collect()
}

/// The path of a shard: its name must be a plain file name, so that it cannot leave the folder.
fn shard_path(folder: &Path, index_file: &Path, shard: &str) -> Result<PathBuf, WeightsError> {
    let mut parts = Path::new(shard).components();
    let is_plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(name)), None) if name == shard)
        && !shard.contains(['\\', '\0'])
        && shard.ends_with(".safetensors");
    if !is_plain {
        return Err(WeightsError::corrupt(
            index_file,
            format!(
                "weight_map: expected the name of a .safetensors file in the folder, got {shard:?}"
            ),
        ));
    }
    let file = folder.join(shard);
    if !file.exists() {
        return Err(WeightsError::Missing {
            file,
            expected: "a shard of the model's weights, named by model.safetensors.index.json",
        });
    }
    Ok(file)
}
