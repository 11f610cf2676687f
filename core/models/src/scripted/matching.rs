//! Which requests a rule of a script is for.

use outcrop_api::{
    ContentBlock, ConverseRequest, Result, Role, ToolResult, ToolResultContent, ToolResultStatus,
};
use regex::Regex;

use crate::spec::place::Place;

/// What a text must be.
#[derive(Clone, Debug)]
pub(crate) enum TextMatch {
    Equals(String),
    Contains(String),
    Regex(Regex),
}

impl TextMatch {
    /// A text that must be equal, or an object with `equals`, `contains` or `regex`.
    pub fn read(place: &Place) -> Result<Self> {
        if let Ok(text) = place.text() {
            return Ok(Self::Equals(text.into()));
        }
        const FORMS: [&str; 3] = ["equals", "contains", "regex"];
        if place.value().is_object() {
            place.only(&FORMS)?;
        } else {
            return Err(place.wrong("a text, or an object with equals, contains or regex"));
        }
        let (form, value) = place.one_of(&FORMS)?;
        Ok(match form {
            "equals" => Self::Equals(value.text()?.into()),
            "contains" => Self::Contains(value.name()?.into()),
            _ => Self::Regex(Regex::new(value.text()?).map_err(|error| {
                value
                    .wrong(format!("a regular expression ({error})"))
                    .with_source(error)
            })?),
        })
    }

    pub fn holds(&self, text: &str) -> bool {
        match self {
            Self::Equals(other) => text == other,
            Self::Contains(part) => text.contains(part.as_str()),
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

/// What a request must be like: everything that is stated must hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Match {
    text: Option<TextMatch>,
    system: Option<TextMatch>,
    tool_result: Option<ToolResultMatch>,
    turn: Option<u64>,
    tags: Vec<(String, TextMatch)>,
}

#[derive(Clone, Debug, Default)]
struct ToolResultMatch {
    name: Option<String>,
    id: Option<String>,
    content: Option<TextMatch>,
    status: Option<ToolResultStatus>,
}

impl Match {
    pub fn read(place: &Place) -> Result<Self> {
        place.only(&["text", "system", "tool_result", "turn", "tag"])?;
        let tags = place.optional("tag", |tags| {
            let each = tags.entries()?.into_iter();
            each.map(|(name, value)| Ok((name.to_string(), TextMatch::read(&value)?)))
                .collect()
        })?;
        Ok(Self {
            text: place.optional("text", TextMatch::read)?,
            system: place.optional("system", TextMatch::read)?,
            tool_result: place.optional("tool_result", ToolResultMatch::read)?,
            turn: place.optional("turn", |turn| turn.count(1..=u64::from(u32::MAX)))?,
            tags: tags.unwrap_or_default(),
        })
    }

    pub fn holds(&self, asked: &Asked) -> bool {
        let holds = |expected: &Option<TextMatch>, text: &str| {
            expected
                .as_ref()
                .is_none_or(|expected| expected.holds(text))
        };
        holds(&self.text, &asked.text)
            && holds(&self.system, asked.system)
            && self.turn.is_none_or(|turn| turn == asked.turn)
            && self
                .tags
                .iter()
                .all(|(name, expected)| asked.tags.get(name).is_some_and(|tag| expected.holds(tag)))
            && self.tool_result.as_ref().is_none_or(|expected| {
                let mut results = asked.tool_results.iter();
                results.any(|result| expected.holds(result))
            })
    }
}

impl ToolResultMatch {
    fn read(place: &Place) -> Result<Self> {
        place.only(&["name", "id", "content", "status"])?;
        const STATUS: [(&str, ToolResultStatus); 2] = [
            ("success", ToolResultStatus::Success),
            ("error", ToolResultStatus::Error),
        ];
        let name = |place: &Place| Ok(place.name()?.to_string());
        Ok(Self {
            name: place.optional("name", name)?,
            id: place.optional("id", name)?,
            content: place.optional("content", TextMatch::read)?,
            status: place.optional("status", |status| status.choice(&STATUS))?,
        })
    }

    fn holds(&self, answered: &Answered) -> bool {
        let same = |expected: &Option<String>, got: &str| {
            expected.as_ref().is_none_or(|expected| expected == got)
        };
        same(&self.name, answered.name)
            && same(&self.id, &answered.result.tool_use_id)
            && self
                .content
                .as_ref()
                .is_none_or(|content| content.holds(&answered.content))
            && self.status.is_none_or(|status| {
                status == answered.result.status.unwrap_or(ToolResultStatus::Success)
            })
    }
}

/// What rules look at in a request.
pub(super) struct Asked<'a> {
    /// The text blocks of the last message, a line end between them.
    pub text: String,
    system: &'a str,
    /// How many of the messages are the user's.
    turn: u64,
    tags: &'a std::collections::BTreeMap<String, String>,
    tool_results: Vec<Answered<'a>>,
}

/// A tool result of the last message.
struct Answered<'a> {
    name: &'a str,
    content: String,
    result: &'a ToolResult,
}

impl<'a> Asked<'a> {
    pub fn read(request: &'a ConverseRequest) -> Self {
        let messages = &request.messages;
        let last = messages.last().map(|last| last.content.as_slice());
        let (mut texts, mut tool_results) = (Vec::new(), Vec::new());
        for block in last.unwrap_or_default() {
            match block {
                ContentBlock::Text(text) => texts.push(text.as_str()),
                ContentBlock::ToolResult(result) => tool_results.push(Answered {
                    name: tool_name(request, &result.tool_use_id),
                    content: content_of(result),
                    result,
                }),
                _ => {}
            }
        }
        let turn = messages.iter().filter(|message| message.role == Role::User);
        Self {
            text: texts.join("\n"),
            system: request.system.as_deref().unwrap_or_default(),
            turn: turn.count() as u64,
            tags: &request.request_metadata,
            tool_results,
        }
    }
}

/// The request as an error tells of it.
impl std::fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use crate::spec::place::shown;
        write!(
            f,
            "text {}, turn {}",
            shown(&format!("{:?}", self.text)),
            self.turn
        )?;
        if !self.system.is_empty() {
            write!(f, ", system {}", shown(&format!("{:?}", self.system)))?;
        }
        for result in &self.tool_results {
            let (id, content) = (
                &result.result.tool_use_id,
                shown(&format!("{:?}", result.content)),
            );
            write!(
                f,
                ", tool_result of {:?} (id {id:?}) {content}",
                result.name
            )?;
        }
        for (name, value) in self.tags {
            write!(f, ", tag {name:?}: {value:?}")?;
        }
        Ok(())
    }
}

/// The name of the tool whose use has that id; empty where none has.
fn tool_name<'a>(request: &'a ConverseRequest, id: &str) -> &'a str {
    let blocks = request
        .messages
        .iter()
        .rev()
        .flat_map(|message| &message.content);
    let mut uses = blocks.filter_map(|block| match block {
        ContentBlock::ToolUse(call) if call.tool_use_id == id => Some(call.name.as_str()),
        _ => None,
    });
    uses.next().unwrap_or_default()
}

/// What a tool gave back as text: JSON is written compactly, a line end stands between blocks.
pub(super) fn content_of(result: &ToolResult) -> String {
    let blocks = result.content.iter().map(|block| match block {
        ToolResultContent::Text(text) => text.clone(),
        ToolResultContent::Json(value) => value.to_string(),
    });
    blocks.collect::<Vec<_>>().join("\n")
}
