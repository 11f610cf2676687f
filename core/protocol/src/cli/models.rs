//! `outcrop models` and what it does with one model.

use outcrop::api::{Error, ModelKind, Result};
use outcrop::{LoadOptions, Session};

use crate::cli::output::{Output, size};

/// The models that the home knows.
pub(super) fn list(session: &Session, output: &mut Output) -> Result<()> {
    let entries = session.models()?;
    if output.is_json {
        return entries.iter().try_for_each(|entry| output.json(entry));
    }
    let rows: Vec<[String; 6]> = entries
        .into_iter()
        .map(|entry| {
            let here = match (&entry.damaged, entry.available) {
                (Some(_), _) => "damaged",
                (None, true) => "yes",
                (None, false) => "no",
            };
            [
                entry.id,
                entry.kind.map_or("", kind).to_string(),
                here.to_string(),
                entry.bytes.map(size).unwrap_or_default(),
                match entry.fits {
                    Some(true) => "yes",
                    Some(false) => "no",
                    None => "",
                }
                .to_string(),
                entry.damaged.unwrap_or(entry.source),
            ]
        })
        .collect();
    output.table(["ID", "KIND", "HERE", "SIZE", "FITS", "SOURCE"], &rows)
}

/// What is known of a model before it is loaded.
pub(super) async fn info(session: &Session, model: &str, output: &mut Output) -> Result<()> {
    let summary = session.model_summary(model, LoadOptions::default()).await?;
    if output.is_json {
        return output.json(&summary);
    }
    let memory = &summary.memory;
    let fits = match memory.fits {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    };
    let mut rows = vec![
        ("model", summary.id.clone()),
        ("kind", kind(summary.kind).to_string()),
        ("architecture", summary.architecture.clone()),
        ("parameters", count(summary.parameters)),
        ("quantisation", summary.quantization.clone()),
        ("weights", size(summary.bytes)),
    ];
    if let Some(tokens) = summary.context_length {
        rows.push(("context", format!("{} tokens", count(tokens as u64))));
        let (full, tokens) = (size(memory.kv_bytes), count(memory.kv_tokens));
        let each = size(memory.kv_bytes_per_token);
        rows.push((
            "KV cache",
            format!("up to {full}: {tokens} tokens of {each}"),
        ));
    }
    rows.push(("working memory", size(memory.working)));
    rows.push(("memory needed", size(memory.total)));
    if let Some(available) = memory.available {
        rows.push(("memory available", size(available)));
    }
    rows.push(("fits", fits.to_string()));
    let text: String = rows
        .iter()
        .map(|(name, value)| format!("{name:<18}{value}\n"))
        .collect();
    output.text(&text)
}

/// Registers the model that a file declares.
pub(super) async fn register(session: &Session, id: &str, file: &str) -> Result<()> {
    let unusable = |error: &dyn std::fmt::Display| Error::validation(format!("{file}: {error}"));
    let text = std::fs::read_to_string(file).map_err(|error| unusable(&error))?;
    let spec = serde_json::from_str(&text).map_err(|error| unusable(&error))?;
    session
        .register_model(id, spec, false, None)
        .await
        .map(drop)
}

/// A whole number with its thousands apart.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    let groups: Vec<&str> = groups
        .filter_map(|group| std::str::from_utf8(group).ok())
        .collect();
    groups.join(",")
}

fn kind(kind: ModelKind) -> &'static str {
    match kind {
        ModelKind::Chat => "chat",
        ModelKind::Embedding => "embedding",
        ModelKind::Rerank => "rerank",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        for (number, shown) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (12_345_678, "12,345,678"),
        ] {
            assert_eq!(count(number), shown);
        }
    }
}
