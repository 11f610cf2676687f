//! The ways in which a data source's documents may be cut.

use outcrop_api as api;
use serde::{Deserialize, Serialize};

use super::{Chunk, Chunking, Cutter, Unit, chunk};
use crate::parse::ParsedDocument;

/// How the documents of one data source are cut. Lengths are tokens of the embedding model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ChunkingStrategy {
    /// Chunks of up to so many tokens, between sentences.
    FixedSize(Chunking),
    /// A document is one chunk.
    Whole,
    /// Small chunks are searched; what is found is the larger one that holds them.
    Hierarchical {
        /// Most tokens of a larger one.
        parent_tokens: usize,
        /// The small ones.
        children: Chunking,
    },
    /// Chunks end where the text before and behind a border is least alike.
    Semantic {
        /// Most tokens of a chunk.
        max_tokens: usize,
        /// Sentences before and behind each one that are compared with it: 0 or 1.
        buffer: usize,
        /// Which borders: those less alike than so many of a hundred; 50..=99.
        percentile: usize,
    },
}

/// A larger chunk that holds small ones.
pub(crate) type Parent = Chunk;

impl ChunkingStrategy {
    /// Checks the numbers against what an embedding model reads.
    ///
    /// # Errors
    /// `ValidationException` that names the number.
    pub fn validate(&self, limit: usize) -> api::Result<()> {
        let (field, tokens) = match self {
            Self::Whole => return Ok(()),
            Self::FixedSize(chunking) => (
                "fixedSizeChunkingConfiguration.maxTokens",
                chunking.max_tokens,
            ),
            Self::Hierarchical {
                parent_tokens,
                children,
            } => {
                if *parent_tokens < children.max_tokens {
                    return Err(api::Error::validation(format!(
                        "hierarchicalChunkingConfiguration.levelConfigurations: expected the first \
                         level to be the larger, got {parent_tokens} and {} tokens",
                        children.max_tokens
                    )));
                }
                if children.overlap_tokens >= children.max_tokens {
                    return Err(api::Error::validation(format!(
                        "hierarchicalChunkingConfiguration.overlapTokens: expected fewer than the \
                         second level's {} tokens, got {}",
                        children.max_tokens, children.overlap_tokens
                    )));
                }
                (
                    "hierarchicalChunkingConfiguration.levelConfigurations[1].maxTokens",
                    children.max_tokens,
                )
            }
            Self::Semantic { max_tokens, .. } => {
                ("semanticChunkingConfiguration.maxTokens", *max_tokens)
            }
        };
        if !(8..=limit).contains(&tokens) {
            return Err(api::Error::validation(format!(
                "{field}: expected 8..={limit}, which the embedding model reads, got {tokens}"
            )));
        }
        Ok(())
    }

    /// The small chunks with what they are found as, where that is more than themselves.
    pub(crate) fn cut(
        &self,
        document: &ParsedDocument,
        title: Option<&str>,
        embedder: &dyn api::Embedder,
    ) -> api::Result<Vec<(Chunk, Option<Parent>)>> {
        let count = |text: &str| embedder.count_tokens(text);
        let cutter = |chunking| Cutter::new(document, title, chunking, &count);
        let alone = |chunks: Vec<Chunk>| chunks.into_iter().map(|chunk| (chunk, None)).collect();
        match *self {
            Self::FixedSize(chunking) => chunk(document, title, chunking, &count).map(alone),
            Self::Whole => {
                let most = Chunking {
                    max_tokens: usize::MAX / 8,
                    overlap_tokens: 0,
                };
                let cutter = cutter(most)?;
                let units = cutter.units()?;
                let whole = units.first().zip(units.last());
                Ok(alone(
                    whole
                        .map(|(first, last)| cutter.chunk(first, last, String::new()))
                        .into_iter()
                        .collect(),
                ))
            }
            Self::Hierarchical {
                parent_tokens,
                children,
            } => {
                let cutter = cutter(children)?;
                let chunks = cutter.assemble(&cutter.units()?)?;
                cutter.under_parents(chunks, parent_tokens)
            }
            Self::Semantic {
                max_tokens,
                buffer,
                percentile,
            } => {
                let chunking = Chunking {
                    max_tokens,
                    overlap_tokens: 0,
                };
                let cutter = cutter(chunking)?;
                let units = cutter.units()?;
                let breaks = cutter.least_alike(&units, buffer, percentile, embedder)?;
                cutter.between(&units, &breaks).map(alone)
            }
        }
    }
}

impl Cutter<'_> {
    /// Groups chunks in order until the next would make the group longer than `most` tokens.
    fn under_parents(
        &self,
        chunks: Vec<Chunk>,
        most: usize,
    ) -> api::Result<Vec<(Chunk, Option<Parent>)>> {
        let text = &self.document.text;
        let mut grouped: Vec<(Chunk, Option<Parent>)> = Vec::with_capacity(chunks.len());
        let mut group: Vec<Chunk> = Vec::new();
        for chunk in chunks {
            let start = group
                .first()
                .map_or(chunk.bytes.start, |first| first.bytes.start);
            if !group.is_empty() && (self.count)(&text[start..chunk.bytes.end])? > most {
                grouped.extend(with_parent(std::mem::take(&mut group)));
            }
            group.push(chunk);
        }
        grouped.extend(with_parent(group));
        Ok(grouped)
    }

    /// The units that a chunk begins with: those that are less like the unit before than
    /// `percentile` of a hundred borders are.
    fn least_alike(
        &self,
        units: &[Unit],
        buffer: usize,
        percentile: usize,
        embedder: &dyn api::Embedder,
    ) -> api::Result<Vec<usize>> {
        let text = &self.document.text;
        let limit = embedder.max_tokens();
        let mut windows = Vec::with_capacity(units.len());
        for at in 0..units.len() {
            let (from, to) = (
                at.saturating_sub(buffer),
                (at + buffer).min(units.len() - 1),
            );
            let window = &text[units[from].bytes.start..units[to].bytes.end];
            let alone = &text[units[at].bytes.clone()];
            let fits = (self.count)(window)? <= limit;
            windows.push(if fits { window } else { alone }.to_owned());
        }
        if windows.len() < 2 {
            return Ok(Vec::new());
        }
        let options = api::EmbedOptions::with_prompt(api::DOCUMENT_PROMPT);
        // Documents are cut on a thread that may block.
        let embedded =
            tokio::runtime::Handle::current().block_on(embedder.embed(&windows, options))?;
        let rows: Vec<&[f32]> = embedded.values.chunks(embedded.dimensions.max(1)).collect();
        let alike: Vec<f32> = rows
            .windows(2)
            .map(|pair| pair[0].iter().zip(pair[1]).map(|(a, b)| a * b).sum())
            .collect();
        let mut order: Vec<usize> = (0..alike.len()).collect();
        order.sort_by(|&a, &b| alike[a].total_cmp(&alike[b]).then(a.cmp(&b)));
        let wanted = alike.len() * (100 - percentile.min(100)) / 100;
        let mut breaks: Vec<usize> = order.into_iter().take(wanted).map(|at| at + 1).collect();
        breaks.sort_unstable();
        Ok(breaks)
    }

    /// Chunks between the breaks, each cut further where it is too long.
    fn between(&self, units: &[Unit], breaks: &[usize]) -> api::Result<Vec<Chunk>> {
        let mut chunks = Vec::new();
        let mut first = 0;
        for &end in breaks.iter().chain([&units.len()]) {
            let part = units.get(first..end).unwrap_or_default();
            let mut from = 0;
            while from < part.len() {
                let room = self.budget.saturating_sub(self.specials);
                let mut to = from + 1;
                let mut tokens = part[from].tokens;
                while to < part.len() && tokens + part[to].tokens <= room {
                    tokens += part[to].tokens;
                    to += 1;
                }
                let (to, _) = self.fit(part, from, to, from, String::new())?;
                chunks.push(self.chunk(&part[from], &part[to - 1], String::new()));
                from = to;
            }
            first = end;
        }
        Ok(chunks)
    }
}

fn with_parent(group: Vec<Chunk>) -> Vec<(Chunk, Option<Parent>)> {
    let Some((first, last)) = group.first().zip(group.last()) else {
        return Vec::new();
    };
    let parent = Parent {
        bytes: first.bytes.start..last.bytes.end,
        chars: first.chars.start..last.chars.end,
        context: String::new(),
        pages: first.pages.zip(last.pages).map(|(a, b)| (a.0, b.1)),
    };
    group
        .into_iter()
        .map(|chunk| (chunk, Some(parent.clone())))
        .collect()
}
