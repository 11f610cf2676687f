//! Where in a policy's text something is wrong.

use miette::Diagnostic;
use outcrop_api::Error;

/// `policy NAME: line 3, column 8: …`, by what `found` tells of `text`.
pub(super) fn error(name: &str, text: &str, found: &dyn Diagnostic, about: &str) -> Error {
    let mut message = format!("policy {name}");
    let label = found.labels().and_then(|mut labels| labels.next());
    if let Some(label) = &label {
        let (line, column) = line_and_column(text, label.offset());
        message.push_str(&format!(": line {line}, column {column}"));
    }
    message.push_str(&format!(": {found}"));
    if let Some(said) = label.as_ref().and_then(|label| label.label()) {
        message.push_str(&format!(" ({said})"));
    }
    if let Some(help) = found.help() {
        message.push_str(&format!("; {help}"));
    }
    message.push_str(about);
    Error::validation(message).with_resource(name)
}

/// From 1 each, the column in characters.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (line, before[start..].chars().count() + 1)
}
