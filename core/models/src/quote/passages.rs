//! What the reader is given: the passages and the question of the last user message.

use outcrop_api::{
    CitationLocation, ContentBlock, ConverseRequest, DocumentSource, Error, OutputFormat, Result,
    Role, SourceCitation, Speculation, TextContent,
};

use std::ops::Range;

/// One passage of the request, with what a citation of it says.
#[derive(Clone, Debug)]
pub(super) struct Passage {
    pub text: String,
    title: String,
    source: Option<String>,
    index: usize,
    is_document: bool,
}

impl Passage {
    /// A citation of the bytes `range` of the text.
    pub(super) fn cite(&self, range: Range<usize>) -> SourceCitation {
        let start = self.text[..range.start].chars().count();
        let quote = &self.text[range];
        let end = start + quote.chars().count();
        let location = if self.is_document {
            CitationLocation::DocumentChar {
                document_index: self.index,
                start,
                end,
            }
        } else {
            CitationLocation::SearchResultLocation {
                search_result_index: self.index,
                start,
                end,
            }
        };
        SourceCitation {
            title: self.title.clone(),
            source: self.source.clone(),
            source_content: vec![TextContent {
                text: quote.to_string(),
            }],
            location,
        }
    }
}

/// The passages and the question of `request`. A search result's parts are one text, end to end.
pub(super) fn read(request: &ConverseRequest, model: &str) -> Result<(Vec<Passage>, String)> {
    refuse_what_it_cannot(request, model)?;
    let message = match request.messages.last() {
        Some(message) if message.role == Role::User => message,
        Some(_) => {
            return Err(Error::validation(
                "messages: expected the last message to be the user's, got the assistant's",
            ));
        }
        None => {
            return Err(Error::validation(
                "messages: expected at least one, got none",
            ));
        }
    };
    let (mut passages, mut question) = (Vec::new(), None);
    let (mut results, mut documents) = (0, 0);
    for block in &message.content {
        match block {
            ContentBlock::SearchResult(result) => {
                passages.push(Passage {
                    text: result
                        .content
                        .iter()
                        .map(|part| part.text.as_str())
                        .collect(),
                    title: result.title.clone(),
                    source: Some(result.source.clone()),
                    index: results,
                    is_document: false,
                });
                results += 1;
            }
            ContentBlock::Document(document) => {
                let DocumentSource::Text(text) = &document.source;
                passages.push(Passage {
                    text: text.clone(),
                    title: document.name.clone(),
                    source: None,
                    index: documents,
                    is_document: true,
                });
                documents += 1;
            }
            ContentBlock::Text(text) if !text.trim().is_empty() => question = Some(text.clone()),
            _ => {}
        }
    }
    if passages
        .iter()
        .all(|passage| passage.text.trim().is_empty())
    {
        return Err(Error::validation(format!(
            "messages: {model} only quotes from passages, and the last user message holds none; put \
             them before the question as {{\"searchResult\": {{\"source\", \"title\", \"content\": \
             [{{\"text\"}}]}}}} or {{\"document\": {{\"name\", \"source\": {{\"text\"}}}}}} blocks, or \
             ask a knowledge base (ask)"
        )));
    }
    let question = question.ok_or_else(|| {
        Error::validation(format!(
            "messages: {model} takes the last text block of the last user message as the question, \
             and there is none"
        ))
    })?;
    Ok((passages, question))
}

/// Lengths and sampling are accepted: a quote has no choice to sample. What would change the form
/// of the answer is refused.
fn refuse_what_it_cannot(request: &ConverseRequest, model: &str) -> Result<()> {
    let config = &request.inference_config;
    if config.max_tokens == Some(0) {
        return Err(Error::validation("max_tokens: expected 1 or more, got 0"));
    }
    let form = request.output_format.as_ref();
    let asked = [
        ("tools", !request.tools.is_empty()),
        ("tool_choice", request.tool_choice.is_some()),
        (form.map_or("", OutputFormat::option), form.is_some()),
        ("stop_sequences", !config.stop_sequences.is_empty()),
        ("logprobs", config.logprobs.is_some()),
        ("adapter", request.adapter.is_some()),
        (
            "speculation",
            !matches!(request.speculation, None | Some(Speculation::Off)),
        ),
        ("deadline_ms", request.scheduling.deadline_ms.is_some()),
    ];
    let Some((field, _)) = asked.into_iter().find(|(_, is_asked)| *is_asked) else {
        return Ok(());
    };
    Err(Error::validation(format!(
        "{field}: {model} only quotes sentences of the passages that it is given and cannot follow \
         it; use a language model for this"
    )))
}
