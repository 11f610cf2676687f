//! What a Converse request asks of its reply: its form, and how its text is read.

use std::sync::Arc;

use outcrop_api::{ContentBlock, ConverseRequest, Error, OutputFormat, Result, ToolChoice};

use crate::detokenizer::Detokenizer;
use crate::grammar::{Constraint, Grammars, ToolForm};
use crate::tokenizer::Tokenizer;
use crate::tool_calls::{ReplyReader, ToolFormat};

/// A request with the way in which the model's family writes calls.
pub(crate) struct ReplyPlan<'a> {
    request: &'a ConverseRequest,
    format: &'static ToolFormat,
}

impl<'a> ReplyPlan<'a> {
    /// The plan of a reply to `request`, by a model that writes calls in `format`.
    ///
    /// # Errors
    /// `ValidationException` where the request contradicts itself.
    pub fn new(request: &'a ConverseRequest, format: &'static ToolFormat) -> Result<Self> {
        if request.messages.is_empty() {
            return Err(Error::validation("messages: expected at least 1, got 0"));
        }
        let forces = matches!(
            request.tool_choice,
            Some(ToolChoice::Any {} | ToolChoice::Tool { .. })
        );
        if forces && request.tools.is_empty() {
            return Err(Error::validation(
                "tool_choice: expected tools to choose from, got none",
            ));
        }
        let plan = Self { request, format };
        let quotes = matches!(request.output_format, Some(OutputFormat::Quote(_)));
        if quotes && plan.is_composed() {
            return Err(Error::validation(
                "output_format.quote: expected a request without tools, and a model that does not reply in channels",
            ));
        }
        Ok(plan)
    }

    /// Whether the reply's form is more than its text's.
    fn is_composed(&self) -> bool {
        let has_form = self.request.output_format.is_some();
        !self.request.tools.is_empty() || has_form && self.format.has_channels()
    }

    /// The beginning of the reply, where it must have a form: that of its output format, and each
    /// call of a tool that of the tool's schema.
    ///
    /// # Errors
    /// `ValidationException` as of [`Grammars::start`].
    pub fn form(&self, grammars: &Grammars) -> Result<Option<(Constraint, Vec<u32>)>> {
        let output = self.request.output_format.as_ref();
        if !self.is_composed() {
            return output.map(|format| grammars.start(format)).transpose();
        }
        let form = ToolForm {
            format: self.format,
            tools: &self.request.tools,
            choice: self.request.tool_choice.as_ref(),
            output,
        };
        grammars.start_tools(&form).map(Some)
    }

    /// What makes the reply's text of its tokens.
    pub fn detokenizer(&self, tokenizer: &Arc<Tokenizer>) -> Detokenizer {
        let plain = Detokenizer::new(tokenizer.clone());
        let detokenizer = match (&self.request.output_format, self.request.tools.is_empty()) {
            (Some(_), _) => Detokenizer::verbatim(tokenizer.clone()),
            (None, false) => plain.keeping_spaces(),
            (None, true) => plain,
        };
        if self.request.tools.is_empty() && !self.format.has_channels() {
            return detokenizer;
        }
        let markers = self.format.markers.iter();
        detokenizer.showing(markers.filter_map(|m| tokenizer.token_to_id(m)).collect())
    }

    /// What makes the reply's events of its text; `None` where all is text.
    pub fn reader(&self) -> Option<ReplyReader> {
        let messages = self.request.messages.iter();
        let earlier = messages
            .flat_map(|message| &message.content)
            .filter(|block| matches!(block, ContentBlock::ToolUse(_)))
            .count();
        ReplyReader::new(self.format, self.request.tools.clone(), earlier)
    }
}
