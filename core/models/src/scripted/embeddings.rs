//! An embedding model that is declared as data: vectors of texts.

use std::hash::Hasher;

use outcrop_api::{
    BoxFuture, EmbedOptions, Embedder, Embeddings, Error, ModelInfo, ModelKind, Result,
};
use serde_json::Value;
use unicode_segmentation::UnicodeSegmentation;

use super::matching::TextMatch;
use super::{count, info, unknown_text};
use crate::spec::place::Place;

/// Most tokens of one text where a script does not say.
const DEFAULT_CONTEXT: u64 = 8192;
/// Most numbers of a vector.
const MAX_DIMENSIONS: u64 = 16_384;

/// Vectors by text: the first that matches counts.
#[derive(Clone, Debug)]
pub(crate) struct ScriptedVectors {
    dimensions: usize,
    context_length: usize,
    vectors: Vec<(TextMatch, Vec<f32>)>,
    /// Texts that none matches are hashed, word by word.
    hashes_others: bool,
    written: Vec<Value>,
}

impl ScriptedVectors {
    /// Reads `{"embeddings": {"dimensions", "vectors"?: [{"text", "vector"}], "others"?: "hashed"}}`.
    ///
    /// # Errors
    /// `ValidationException` that names the place.
    pub fn read(place: &Place) -> Result<Self> {
        place.only(&["dimensions", "vectors", "others", "context_length"])?;
        let dimensions = place.required("dimensions")?.count(1..=MAX_DIMENSIONS)? as usize;
        let length = |at: &Place| at.count(1..=u64::from(u32::MAX));
        let context_length = place.optional("context_length", length)?;
        let others = place.optional("others", |at| {
            at.choice(&[("hashed", true), ("refused", false)])
        })?;
        let items = place.optional("vectors", Place::items)?.unwrap_or_default();
        let (mut vectors, mut written) = (Vec::new(), Vec::new());
        for item in &items {
            item.only(&["text", "vector"])?;
            let vector = item.required("vector")?;
            let numbers: Vec<f32> = vector
                .items()?
                .iter()
                .map(Place::number)
                .collect::<Result<_>>()?;
            if numbers.len() != dimensions {
                return Err(vector.wrong(format!("{dimensions} numbers, as dimensions says")));
            }
            let text = item.required("text")?;
            written.push(text.value().clone());
            vectors.push((TextMatch::read(&text)?, numbers));
        }
        if vectors.is_empty() && others != Some(true) {
            return Err(place.wrong("\"vectors\", or \"others\": \"hashed\""));
        }
        Ok(Self {
            dimensions,
            context_length: context_length.unwrap_or(DEFAULT_CONTEXT) as usize,
            vectors,
            hashes_others: others.unwrap_or_default(),
            written,
        })
    }
}

/// An embedding model by a script.
pub(crate) struct ScriptedEmbedder {
    id: String,
    script: ScriptedVectors,
}

impl ScriptedEmbedder {
    pub fn new(id: impl Into<String>, script: ScriptedVectors) -> Self {
        Self {
            id: id.into(),
            script,
        }
    }

    pub fn info(&self) -> ModelInfo {
        let script = &self.script;
        let dimensions = Some(script.dimensions);
        info(
            &self.id,
            ModelKind::Embedding,
            script.context_length,
            dimensions,
        )
    }

    fn vector(&self, text: &str) -> Result<Vec<f32>> {
        let mut vectors = self.script.vectors.iter();
        match vectors.find(|(expected, _)| expected.holds(text)) {
            Some((_, vector)) => Ok(vector.clone()),
            None if self.script.hashes_others => Ok(hashed(text, self.script.dimensions)),
            None => Err(unknown_text(
                &self.id,
                "vectors",
                text,
                self.script.written.clone(),
            )),
        }
    }

    /// `text`, or as much of it as is read, with its number of tokens.
    fn read<'a>(&self, text: &'a str, options: &EmbedOptions) -> Result<(&'a str, usize)> {
        let (most, got) = (self.script.context_length, count::tokens(text));
        match got <= most {
            true => Ok((text, got)),
            false if options.truncate => Ok((&text[..count::end_of(text, most)], most)),
            false => Err(Error::validation(format!(
                "texts: expected at most {most} tokens each, got {got}; truncate cuts them"
            ))
            .with_resource(&self.id)),
        }
    }
}

impl Embedder for ScriptedEmbedder {
    fn id(&self) -> &str {
        &self.id
    }

    fn dimensions(&self) -> usize {
        self.script.dimensions
    }

    fn max_tokens(&self) -> usize {
        self.script.context_length
    }

    fn count_tokens(&self, text: &str) -> Result<usize> {
        Ok(count::tokens(text))
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [String],
        options: EmbedOptions,
    ) -> BoxFuture<'a, Result<Embeddings>> {
        Box::pin(async move {
            let known = [outcrop_api::QUERY_PROMPT, outcrop_api::DOCUMENT_PROMPT];
            if let Some(prompt) = &options.prompt
                && !known.contains(&prompt.as_str())
            {
                return Err(Error::validation(format!(
                    "prompt: expected one of {}, got {prompt:?}",
                    known.join(", ")
                ))
                .with_resource(&self.id));
            }
            let mut embeddings = Embeddings {
                dimensions: self.script.dimensions,
                ..Embeddings::default()
            };
            for text in texts {
                let (text, tokens) = self.read(text, &options)?;
                let mut vector = self.vector(text)?;
                if options.normalize {
                    normalize(&mut vector);
                }
                embeddings.values.extend(vector);
                embeddings.input_tokens += tokens;
            }
            Ok(embeddings)
        })
    }
}

/// Scales to length 1; zeros stay.
fn normalize(vector: &mut [f32]) {
    let length = vector
        .iter()
        .map(|v| f64::from(*v).powi(2))
        .sum::<f64>()
        .sqrt();
    if length > 0.0 {
        for value in vector {
            *value = (f64::from(*value) / length) as f32;
        }
    }
}

/// Feature hashing (arXiv:0902.2206): each word, in lower case, adds 1 or -1 at a place that its
/// hash tells, so texts that share words are near.
fn hashed(text: &str, dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0.0; dimensions];
    for word in text.unicode_words() {
        let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
        hash.write(word.to_lowercase().as_bytes());
        let hash = hash.finish();
        let sign = if hash >> 63 == 0 { 1.0 } else { -1.0 };
        vector[(hash % dimensions as u64) as usize] += sign;
    }
    vector
}

/// FNV-1a: the same on every machine.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
