//! The text of a document block, read by the parsers of the knowledge bases.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use outcrop_api::{Error, Result};
use outcrop_knowledge::parse::{Format, parse};
use serde_json::Value;

use super::blocks::{list, union};

/// The text of the document `name`.
///
/// # Errors
/// `ValidationException` for a format that is not read, or bytes that are not of their format.
pub(super) fn text(name: &str, document: &Value) -> Result<String> {
    let source = document.get("source").unwrap_or(&Value::Null);
    match union(source)? {
        ("text", text) => Ok(text.as_str().unwrap_or_default().to_string()),
        ("content", parts) => {
            let parts = list(Some(parts)).filter_map(|part| part["text"].as_str());
            Ok(parts.collect::<Vec<_>>().join("\n"))
        }
        ("bytes", bytes) => {
            let bytes = BASE64_STANDARD
                .decode(bytes.as_str().unwrap_or_default())
                .map_err(|error| wrong(name, &format!("its bytes are no base64: {error}")))?;
            let format = document["format"].as_str().unwrap_or("txt");
            parsed(name, format, bytes)
        }
        (other, _) => Err(wrong(
            name,
            &format!("source.{other} is not read; give its bytes or its text"),
        )),
    }
}

fn parsed(name: &str, format: &str, bytes: Vec<u8>) -> Result<String> {
    let format = match format {
        "txt" | "csv" => Format::Text,
        "md" => Format::Markdown,
        "html" => Format::Html,
        "pdf" => Format::Pdf,
        "docx" => Format::Docx,
        other => {
            return Err(wrong(
                name,
                &format!("documents of format {other} are not read"),
            ));
        }
    };
    parse(format, bytes)
        .map(|document| document.text)
        .map_err(|error| wrong(name, &error.to_string()).with_source(error))
}

fn wrong(name: &str, what: &str) -> Error {
    Error::validation(format!("document {name:?}: {what}"))
}
