//! How a scripted model counts tokens.
//!
//! It has no tokenizer. A token is a piece between two word boundaries of Unicode (UAX #29) that is
//! not white space: a word, a number, or one sign.

use outcrop_api::{ContentBlock, ConverseRequest, DocumentSource, GeneratedText, ReasoningContent};
use unicode_segmentation::UnicodeSegmentation;

use super::matching::content_of;

/// Tokens of `text`.
pub(crate) fn tokens(text: &str) -> usize {
    pieces(text).count()
}

/// One past the last byte of the first `limit` tokens of `text`, or its length where it has no more.
pub(super) fn end_of(text: &str, limit: usize) -> usize {
    if tokens(text) <= limit {
        return text.len();
    }
    let last = limit.checked_sub(1).and_then(|last| pieces(text).nth(last));
    last.map_or(0, |(at, piece)| at + piece.len())
}

fn pieces(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let pieces = text.split_word_bound_indices();
    pieces.filter(|(_, piece)| !piece.trim().is_empty())
}

/// Tokens of all texts of a request: the system text, the messages and the tools' declarations.
pub(super) fn request_tokens(request: &ConverseRequest) -> usize {
    let system = request.system.as_deref().map_or(0, tokens);
    let blocks = request.messages.iter().flat_map(|message| &message.content);
    let tools = request.tools.iter().map(|tool| {
        tokens(&tool.name) + tokens(&tool.description) + tokens(&tool.input_schema.to_string())
    });
    system + blocks.map(block_tokens).sum::<usize>() + tools.sum::<usize>()
}

fn block_tokens(block: &ContentBlock) -> usize {
    match block {
        ContentBlock::Text(text) => tokens(text),
        ContentBlock::ToolUse(call) => tokens(&call.name) + tokens(&call.input.to_string()),
        ContentBlock::ToolResult(result) => tokens(&content_of(result)),
        ContentBlock::SearchResult(result) => {
            let parts = result.content.iter().map(|part| tokens(&part.text));
            tokens(&result.title) + parts.sum::<usize>()
        }
        ContentBlock::Document(document) => {
            let DocumentSource::Text(text) = &document.source;
            tokens(&document.name) + tokens(text)
        }
        ContentBlock::CitationsContent(cited) => {
            let parts = cited.content.iter();
            parts.map(|GeneratedText::Text(text)| tokens(text)).sum()
        }
        ContentBlock::ReasoningContent(ReasoningContent::ReasoningText(thought)) => {
            tokens(&thought.text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_numbers_and_signs_count() {
        assert_eq!(tokens("The sky's blue: 3.5 km!"), 6 + 1);
        assert_eq!((tokens(""), tokens(" \n")), (0, 0));
        let text = "one, two";
        assert_eq!(&text[..end_of(text, 2)], "one,");
        assert_eq!(&text[..end_of(text, 3)], text);
        assert_eq!(end_of(text, 0), 0);
    }
}
