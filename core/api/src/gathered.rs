//! An answer as it is gathered from its events.

use crate::converse::{Completion, Reply, StopReason, StreamEvent, TokenLogprobs, Usage};
use crate::message::ContentBlock;

/// What the events of a running answer have brought so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gathered {
    content: Vec<ContentBlock>,
    ids: Vec<u32>,
    logprobs: Vec<TokenLogprobs>,
}

impl Gathered {
    /// Takes the next event; gives how the answer ended where it is the last.
    pub fn push(&mut self, event: StreamEvent) -> Option<(StopReason, Usage)> {
        match event {
            StreamEvent::TextDelta(delta) => match self.content.last_mut() {
                Some(ContentBlock::Text(text)) => text.push_str(&delta),
                _ => self.content.push(ContentBlock::Text(delta)),
            },
            StreamEvent::Block(block) => self.content.push(block),
            StreamEvent::Ids(more) => self.ids.extend(more),
            StreamEvent::Logprobs(more) => self.logprobs.extend(more),
            StreamEvent::Done { stop_reason, usage } => return Some((stop_reason, usage)),
        }
        None
    }

    /// The blocks that are there.
    pub fn content(&self) -> &[ContentBlock] {
        &self.content
    }

    /// The whole reply of a conversation that took `latency_ms` milliseconds.
    pub fn into_reply(self, (stop_reason, usage): (StopReason, Usage), latency_ms: u64) -> Reply {
        Reply {
            content: self.content,
            stop_reason,
            usage,
            latency_ms,
            logprobs: self.logprobs,
        }
    }

    /// The whole completion of a prompt that took `latency_ms` milliseconds.
    pub fn into_completion(
        self,
        (stop_reason, usage): (StopReason, Usage),
        latency_ms: u64,
    ) -> Completion {
        let texts = self.content.into_iter().map(|block| match block {
            ContentBlock::Text(text) => text,
            _ => String::new(),
        });
        Completion {
            text: texts.collect(),
            ids: self.ids,
            stop_reason,
            usage,
            latency_ms,
            logprobs: self.logprobs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deltas_join_and_blocks_stand_between_them() {
        let block = ContentBlock::Text("|".into());
        let mut gathered = Gathered::default();
        for event in [
            StreamEvent::Ids(vec![1, 2]),
            StreamEvent::TextDelta("a".into()),
            StreamEvent::TextDelta("b".into()),
            StreamEvent::Block(block.clone()),
        ] {
            assert_eq!(gathered.push(event), None);
        }
        let end = (StopReason::EndTurn, Usage::new(3, 2));
        let done = StreamEvent::Done {
            stop_reason: end.0,
            usage: end.1,
        };
        assert_eq!(gathered.push(done), Some(end));
        let reply = gathered.clone().into_reply(end, 7);
        assert_eq!(reply.content, [ContentBlock::Text("ab".into()), block]);
        let completion = gathered.into_completion(end, 7);
        assert_eq!(
            (completion.text.as_str(), completion.ids),
            ("ab|", vec![1, 2])
        );
    }
}
