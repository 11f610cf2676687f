//! What a sequence tells its caller.

use outcrop_api::{Result, StopReason, TokenLogprobs, Usage};
use tokio::sync::mpsc::UnboundedSender;

/// What a sequence tells its caller. After [`SequenceEvent::Done`] or an error nothing follows.
#[derive(Debug)]
pub(crate) enum SequenceEvent {
    /// A token was chosen.
    Token(u32),
    /// Log-probabilities of the token that was chosen.
    Logprobs(TokenLogprobs),
    /// Text is certain to be part of the output.
    Text(String),
    /// Logits of further positions, `(positions, vocabulary)`.
    Logits(Vec<f32>),
    /// Log-probabilities of further tokens of the text that is scored.
    Scores(Vec<f32>),
    /// The sequence ended by itself.
    Done {
        /// Why.
        stop_reason: StopReason,
        /// Tokens read and made.
        usage: Usage,
    },
}

/// Where a sequence's events go. A caller that dropped its end has cancelled.
pub(crate) type Events = UnboundedSender<Result<SequenceEvent>>;
