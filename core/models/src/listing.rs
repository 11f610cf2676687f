//! The list of the models that a session knows.

use std::path::Path;

use outcrop_api::{Error, Result};

use crate::catalogue::{BUILT_IN, BuiltIn, CatalogueEntry, Place, built_in};
use crate::load_options::LoadOptions;
use crate::record::ModelRecord;
use crate::reference::arn;
use crate::shelf::Shelf;

impl Shelf {
    /// The built-in models and those of the home, by id. A record that cannot be read is listed as
    /// damaged.
    ///
    /// # Errors
    /// `InternalServerException` where the home's folder cannot be read.
    pub fn catalogue(&self) -> Result<Vec<CatalogueEntry>> {
        let mut entries: Vec<CatalogueEntry> = BUILT_IN
            .iter()
            .map(|model| CatalogueEntry {
                id: model.id.into(),
                arn: arn(model.id),
                kind: Some(model.kind),
                description: model.description.into(),
                available: self.is_here(model),
                source: match model.place {
                    Place::Hub { repo, .. } => format!("hf:{repo}"),
                    Place::Over(_) | Place::Embedded { .. } => "built-in".into(),
                },
                bytes: self.built_in_bytes(model),
                memory: None,
                fits: None,
                damaged: None,
            })
            .collect();
        let records = ModelRecord::list(&self.inner.home)?;
        entries.extend(
            records
                .into_iter()
                .filter(|(id, _)| built_in(id).is_none())
                .map(|(id, record)| match record {
                    Ok(record) => self.entry(&record),
                    Err(error) => damaged(id, &error),
                }),
        );
        for entry in entries.iter_mut().filter(|entry| entry.available) {
            // A model that cannot be read is told of when it is opened.
            if let Ok(summary) = self.summary(&entry.id, &LoadOptions::default()) {
                entry.memory = Some(summary.memory.total);
                entry.fits = summary.memory.fits;
            }
        }
        entries[BUILT_IN.len()..].sort_by(|a, b| a.id.cmp(&b.id));
        Ok(entries)
    }

    pub(crate) fn entry(&self, record: &ModelRecord) -> CatalogueEntry {
        if record.spec.is_some() {
            return CatalogueEntry {
                id: record.id.clone(),
                arn: arn(&record.id),
                kind: Some(record.kind),
                description: "declared as data".into(),
                available: true,
                source: record.source.clone(),
                bytes: None,
                memory: None,
                fits: None,
                damaged: None,
            };
        }
        let location = record.location(&self.inner.home);
        CatalogueEntry {
            id: record.id.clone(),
            arn: arn(&record.id),
            kind: Some(record.kind),
            description: match &record.commit {
                Some(commit) => format!("{} at commit {commit}", record.source),
                None => format!("imported from {}", record.source),
            },
            available: location.exists(),
            source: record.source.clone(),
            bytes: bytes_of(&location),
            memory: None,
            fits: None,
            damaged: None,
        }
    }

    fn is_here(&self, model: &BuiltIn) -> bool {
        match model.place {
            Place::Hub { .. } => {
                let home = &self.inner.home;
                let folder = home.models_dir().join(model.id);
                let recorded = ModelRecord::get(home, model.id).ok().flatten();
                recorded.is_some_and(|record| record.location(home).exists())
                    || folder.join("config.json").exists()
                    || !self.candidates(model.id).is_empty()
            }
            Place::Over(below) => built_in(below).is_none_or(|below| self.is_here(below)),
            Place::Embedded { .. } => true,
        }
    }

    /// Bytes of a built-in model's files in the home, or in the folder that it would be copied from.
    fn built_in_bytes(&self, model: &BuiltIn) -> Option<u64> {
        if let Place::Embedded { bytes, .. } = model.place {
            return Some(bytes.len() as u64);
        }
        let home = &self.inner.home;
        let recorded = ModelRecord::get(home, model.id).ok().flatten();
        let installed = recorded.map_or_else(
            || home.models_dir().join(model.id),
            |record| record.location(home),
        );
        bytes_of(&installed).or_else(|| {
            self.candidates(model.id)
                .iter()
                .find_map(|folder| bytes_of(folder))
        })
    }
}

fn damaged(id: String, error: &Error) -> CatalogueEntry {
    CatalogueEntry {
        arn: arn(&id),
        id,
        kind: None,
        description: "its record cannot be read".into(),
        available: false,
        source: String::new(),
        bytes: None,
        memory: None,
        fits: None,
        damaged: Some(error.message().to_string()),
    }
}

/// Bytes of a model's file, or of the files directly in its folder.
fn bytes_of(path: &Path) -> Option<u64> {
    let metadata = std::fs::metadata(path).ok()?;
    if metadata.is_file() {
        return Some(metadata.len());
    }
    let files = std::fs::read_dir(path).ok()?.flatten();
    let sizes = files.filter_map(|file| file.path().metadata().ok());
    Some(
        sizes
            .filter(|file| file.is_file())
            .map(|file| file.len())
            .sum(),
    )
}
