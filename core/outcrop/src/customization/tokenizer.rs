//! A tokenizer learned from the caller's own text, with a new model beside it where one is asked for.

use std::path::PathBuf;

use outcrop_api::{Error, Result};
use outcrop_governance::Principal;
use outcrop_store::write_file;
use outcrop_training::{TokenizerOptions, train_tokenizer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::data;
use crate::session::{Session, blocking};

/// Ends of the names of files that are read as they stand.
const PLAIN: [&str; 2] = ["txt", "md"];

/// What [`Session::train_tokenizer`] is asked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerRequest {
    /// A `.txt`, `.md` or `.jsonl` file, a folder of them, or an `s3://` URI.
    pub training_data: String,
    /// The folder that it writes; other files of it stay.
    pub folder: PathBuf,
    /// How it is trained.
    #[serde(default)]
    pub options: TokenizerOptions,
}

/// What was made.
#[derive(Clone, Debug, Serialize)]
pub struct TokenizerReport {
    /// The folder.
    pub folder: PathBuf,
    /// Words of the vocabulary: fewer than asked for where the text holds no more pairs.
    pub vocab_size: usize,
    /// Bytes of the text that it was learned from.
    pub bytes: usize,
    /// Tokens that this text becomes.
    pub tokens: usize,
    /// Weights of the new model; 0 where none was asked for.
    pub parameters: usize,
}

impl Session {
    /// Learns a byte-level BPE tokenizer from text, and writes the folder of it: `tokenizer.json` and
    /// `tokenizer_config.json` with the chat template, and where `options.model` tells a shape the new
    /// Llama-shaped model of random weights. The same text and options give the same bytes.
    ///
    /// # Errors
    /// `ValidationException` for data that cannot be read, a line that is no JSON, or an option that
    /// cannot be followed; `ConflictException` where the folder holds a model already.
    pub async fn train_tokenizer(&self, request: TokenizerRequest) -> Result<TokenizerReport> {
        let folder = request.folder.display().to_string();
        let record = self.open_own_record("TrainTokenizer", "folder", &folder)?;
        let session = self.clone();
        record.run(blocking(move || train(&session, request))).await
    }
}

fn train(session: &Session, request: TokenizerRequest) -> Result<TokenizerReport> {
    let folder = request.folder;
    for name in ["model.safetensors", "model.safetensors.index.json"] {
        if folder.join(name).exists() {
            return Err(Error::conflict(format!(
                "folder {}: it holds a model already, whose tokenizer stays",
                folder.display()
            )));
        }
    }
    let texts = texts(session, &request.training_data)?;
    let trained = train_tokenizer(&texts, &request.options)?;
    for (name, bytes) in &trained.files {
        write_file(&folder.join(name), bytes)?;
    }
    Ok(TokenizerReport {
        folder,
        vocab_size: trained.vocab_size,
        bytes: trained.bytes,
        tokens: trained.tokens,
        parameters: trained.parameters,
    })
}

/// The texts of a place: plain files whole, and of JSON lines every text but the roles.
fn texts(session: &Session, place: &str) -> Result<Vec<String>> {
    let path = data::path_of(session, &Principal::owner(), place)?;
    let mut texts = Vec::new();
    for file in data::files(&path, &["jsonl", PLAIN[0], PLAIN[1]])? {
        let text = std::fs::read_to_string(&file).map_err(data::unreadable(&file))?;
        if file.extension().is_none_or(|end| end != "jsonl") {
            texts.push(text);
            continue;
        }
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() {
                continue;
            }
            let value: Value = serde_json::from_str(line).map_err(|error| {
                let file = file.display();
                Error::validation(format!("{file} line {number}: expected JSON: {error}"))
            })?;
            collect(&value, &mut texts);
        }
    }
    Ok(texts)
}

fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(members) => {
            let members = members.iter();
            let told = members.filter(|(name, _)| !["role", "schemaVersion"].contains(&&name[..]));
            told.for_each(|(_, value)| collect(value, texts));
        }
        _ => {}
    }
}
