//! What an engine is doing and has done: counts for tests, tables and dashboards.

use serde::Serialize;

/// The state of an engine between two steps, and what it counted since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EngineStatistics {
    /// Requests that are being computed.
    pub running: usize,
    /// Requests that wait for their turn.
    pub waiting: usize,
    /// Tokens that a page of the KV cache holds.
    pub page_tokens: usize,
    /// Pages of the KV cache.
    pub pages: usize,
    /// Pages that hold nothing.
    pub free_pages: usize,
    /// Pages that no request owns and that keep a known prefix.
    pub cached_pages: usize,
    /// Pages of prefixes that callers hold.
    pub pinned_pages: usize,
    /// Steps of the model so far.
    pub steps: u64,
    /// Tokens of prompts that were found in the prefix cache, of the requests that have ended.
    pub cache_read_tokens: u64,
    /// Tokens guessed ahead so far.
    pub guessed_tokens: u64,
    /// Of these, the tokens that were then chosen.
    pub accepted_tokens: u64,
    /// How often a request had to give its pages up, to compute them again later.
    pub preemptions: u64,
}
