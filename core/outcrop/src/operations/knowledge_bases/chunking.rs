//! Reads how the documents of a data source are to be cut.

use outcrop_api::{Embedder, Error, Result};
use outcrop_knowledge::{Chunking, ChunkingStrategy};
use serde_json::Value;

use super::refuse;

/// Tokens of a chunk where a data source does not say, as on AWS; fewer where the model reads fewer.
const DEFAULT_TOKENS: usize = 300;

/// Reads `vectorIngestionConfiguration`.
///
/// # Errors
/// `ValidationException` for what cannot be honoured.
pub(super) fn read(configuration: &Value, embedder: &dyn Embedder) -> Result<ChunkingStrategy> {
    refuse(
        configuration,
        "vectorIngestionConfiguration",
        &[
            "customTransformationConfiguration",
            "parsingConfiguration",
            "contextEnrichmentConfiguration",
        ],
    )?;
    let chunking = &configuration["chunkingConfiguration"];
    let number = |part: &Value, name: &str| part[name].as_u64().unwrap_or_default() as usize;
    let strategy = match chunking["chunkingStrategy"].as_str() {
        None => ChunkingStrategy::FixedSize(sized(DEFAULT_TOKENS.min(embedder.max_tokens()), 20)),
        Some("NONE") => ChunkingStrategy::Whole,
        Some("FIXED_SIZE") => {
            let fixed = part(chunking, "fixedSizeChunkingConfiguration")?;
            let overlap = number(fixed, "overlapPercentage");
            ChunkingStrategy::FixedSize(sized(number(fixed, "maxTokens"), overlap))
        }
        Some("HIERARCHICAL") => {
            let levels = part(chunking, "hierarchicalChunkingConfiguration")?;
            ChunkingStrategy::Hierarchical {
                parent_tokens: number(&levels["levelConfigurations"][0], "maxTokens"),
                children: Chunking {
                    max_tokens: number(&levels["levelConfigurations"][1], "maxTokens"),
                    overlap_tokens: number(levels, "overlapTokens"),
                },
            }
        }
        _ => {
            let semantic = part(chunking, "semanticChunkingConfiguration")?;
            ChunkingStrategy::Semantic {
                max_tokens: number(semantic, "maxTokens"),
                buffer: number(semantic, "bufferSize"),
                percentile: number(semantic, "breakpointPercentileThreshold"),
            }
        }
    };
    strategy.validate(embedder.max_tokens()).map_err(|error| {
        Error::validation(format!(
            "vectorIngestionConfiguration.chunkingConfiguration.{}",
            error.message()
        ))
    })?;
    Ok(strategy)
}

fn sized(max_tokens: usize, overlap_percentage: usize) -> Chunking {
    Chunking {
        max_tokens,
        overlap_tokens: max_tokens * overlap_percentage / 100,
    }
}

fn part<'a>(chunking: &'a Value, name: &str) -> Result<&'a Value> {
    chunking.get(name).ok_or_else(|| {
        Error::validation(format!(
            "vectorIngestionConfiguration.chunkingConfiguration.{name}: expected it for the \
             chunkingStrategy {}",
            chunking["chunkingStrategy"].as_str().unwrap_or_default()
        ))
    })
}
