//! `outcrop models` and `outcrop models info MODEL`.

use outcrop_api::{ModelKind, Result};

use crate::cli::output::{Output, size};
use crate::session::Session;

/// The models that the home knows.
pub(super) fn list(session: &Session, output: &mut Output) -> Result<()> {
    let entries = session.models()?;
    if output.is_json {
        return entries.iter().try_for_each(|entry| output.json(entry));
    }
    let rows: Vec<[String; 5]> = entries
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
                entry.damaged.unwrap_or(entry.source),
            ]
        })
        .collect();
    output.table(["ID", "KIND", "HERE", "SIZE", "SOURCE"], &rows)
}

fn kind(kind: ModelKind) -> &'static str {
    match kind {
        ModelKind::Chat => "chat",
        ModelKind::Embedding => "embedding",
        ModelKind::Rerank => "rerank",
    }
}
