//! The vocabulary: requests, responses, stream events, the error table, and the seams between rooms.
//!
//! Values here serialise to the JSON of Amazon Bedrock's API (camelCase members, unions as
//! single-key objects), so that what a binding, the wire and a stored record carry is one form.

mod citation;
mod converse;
mod embedding;
mod error;
mod evaluation;
mod gathered;
mod message;
mod model;
mod seams;

pub use citation::{Answer, Citation, Location, Passage, Span};
pub use converse::{
    Completion, ConverseRequest, GenerateRequest, InferenceConfig, OutputFormat, Prompt, Reply,
    Scheduling, Speculation, StopReason, StreamEvent, TokenLogprobs, Tool, ToolChoice, Usage,
};
pub use embedding::{DOCUMENT_PROMPT, EmbedOptions, Embeddings, QUERY_PROMPT};
pub use error::{Error, ErrorKind, Result};
pub use evaluation::{Perplexity, PerplexityOptions, TextPerplexity};
pub use gathered::Gathered;
pub use message::{
    CitationLocation, CitationsContent, ContentBlock, DocumentBlock, DocumentSource, GeneratedText,
    Message, ReasoningContent, ReasoningText, Role, SearchResult, SourceCitation, TextContent,
    ToolResult, ToolResultContent, ToolResultStatus, ToolUse,
};
pub use model::{AdapterInfo, MemoryEstimate, ModelInfo, ModelKind};
pub use seams::{BoxFuture, ChatModel, Embedder, EventStream, Reranker};
