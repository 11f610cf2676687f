//! The grammar of an assistant's reply that may, or must, call tools.
//!
//! Text is free until the family's opening of a call; from there on only a call of a declared tool,
//! with arguments of its schema, can follow. With `any` or a named tool the reply is calls from its
//! beginning, without reasoning before them. With a format of output the reply is calls, or one
//! text of that format.

use std::collections::BTreeMap;

use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use outcrop_api::{Error, OutputFormat, Result, Tool, ToolChoice};
use serde_json::{Value, json};

use super::json_schema;
use super::parameters::ParameterCall;
use crate::tokenizer::Tokenizer;
use crate::tool_calls::{CallSyntax, ToolFormat};

/// JSON's blanks, as a pattern.
const S: &str = r"[ \t\n\r]*";

/// What a reply may be.
pub(crate) struct ToolForm<'a> {
    /// How the model's family writes calls.
    pub format: &'static ToolFormat,
    /// The declared tools.
    pub tools: &'a [Tool],
    /// Whether they may or must be called.
    pub choice: Option<&'a ToolChoice>,
    /// What the reply is where it calls none. Default: any text.
    pub output: Option<&'a OutputFormat>,
}

impl ToolForm<'_> {
    /// The grammar over the tokens of `tokenizer`.
    pub(super) fn grammar(&self, tokenizer: &Tokenizer) -> Result<TopLevelGrammar> {
        let chosen = self.chosen()?;
        let may_be_text = !matches!(
            self.choice,
            Some(ToolChoice::Any {} | ToolChoice::Tool { .. })
        );
        let mut lark = Lark {
            format: self.format,
            tokenizer,
            rules: String::new(),
            bodies: BTreeMap::new(),
            grammars: Vec::new(),
        };
        if !chosen.is_empty() {
            let is_one = matches!(self.choice, Some(ToolChoice::Tool { .. }));
            lark.define_calls(self.tools, &chosen, self.format.repeats() && !is_one)?;
        }
        let mut grammars = Vec::new();
        if let Some(output) = self.output.filter(|_| may_be_text) {
            grammars.push(GrammarWithLexer {
                name: Some("output".to_owned()),
                ..super::grammar(output)?
            });
        }
        let start = match (may_be_text, self.output) {
            (false, _) => "calls".to_owned(),
            (true, Some(_)) if chosen.is_empty() => format!("{} @output", lark.final_channel()),
            (true, Some(_)) => lark.calls_or("@output"),
            (true, None) => lark.text_or_calls(self.tools)?,
        };
        lark.rule("start", &start);
        grammars.insert(
            0,
            GrammarWithLexer::from_lark(std::mem::take(&mut lark.rules)),
        );
        grammars.append(&mut lark.grammars);
        for &index in &chosen {
            if self.format.syntax == CallSyntax::Parameters {
                break;
            }
            grammars.push(GrammarWithLexer {
                name: Some(format!("tool_{index}")),
                json_schema: Some(arguments(&self.tools[index], index)?),
                lark_grammar: None,
            });
        }
        Ok(TopLevelGrammar {
            grammars,
            max_tokens: None,
        })
    }

    /// The places of the tools that may be called.
    fn chosen(&self) -> Result<Vec<usize>> {
        let Some(ToolChoice::Tool { name }) = self.choice else {
            return Ok((0..self.tools.len()).collect());
        };
        match self.tools.iter().position(|tool| tool.name == *name) {
            Some(index) => Ok(vec![index]),
            None => {
                let names: Vec<&str> = self.tools.iter().map(|tool| tool.name.as_str()).collect();
                Err(Error::validation(format!(
                    "tool_choice.tool.name: expected one of the tools {}, got {name:?}",
                    names.join(", ")
                )))
            }
        }
    }
}

/// The schema of a tool's arguments, which are an object.
fn arguments(tool: &Tool, index: usize) -> Result<Value> {
    let field = format!("tools[{index}].input_schema");
    let mut schema = tool.input_schema.clone();
    if schema == Value::Bool(true) {
        schema = json!({});
    }
    if let Value::Object(members) = &mut schema {
        let kind = members.entry("type").or_insert_with(|| json!("object"));
        if kind != "object" {
            return Err(Error::validation(format!(
                "{field}: /type: expected \"object\", got {kind}"
            )));
        }
    }
    json_schema::compile(&schema, &field)
}

/// A grammar in the making, in Lark's words.
struct Lark<'a> {
    format: &'a ToolFormat,
    tokenizer: &'a Tokenizer,
    rules: String,
    /// What follows the opening of a call that is written parameter by parameter, by tool.
    bodies: BTreeMap<usize, String>,
    /// The grammars of such calls' values.
    grammars: Vec<GrammarWithLexer>,
}

impl Lark<'_> {
    fn rule(&mut self, name: &str, body: &str) {
        self.rules.push_str(&format!("{name}: {body}\n"));
    }

    /// The rule `calls` of a reply that is nothing else: calls of the `chosen` among `tools`.
    ///
    /// # Errors
    /// Of a schema that the family's form cannot follow.
    fn define_calls(&mut self, tools: &[Tool], chosen: &[usize], repeats: bool) -> Result<()> {
        let mut names = Vec::new();
        for &index in chosen {
            if self.format.syntax == CallSyntax::Parameters {
                self.define_parameters(&tools[index], index)?;
            }
            let name = format!("call_{index}");
            self.rule(&name, &self.call(&tools[index].name, index, 0));
            names.push(name);
        }
        self.rule("call", &names.join(" | "));
        self.rule("calls", &self.calls("call", 0, repeats));
        Ok(())
    }

    /// The rules of a tool's parameters.
    fn define_parameters(&mut self, tool: &Tool, index: usize) -> Result<()> {
        // What no form can follow is refused in the words of all.
        arguments(tool, index)?;
        let parameters = ParameterCall::new(tool, index).rules()?;
        for (name, body) in &parameters.rules {
            self.rule(name, body);
        }
        self.bodies.insert(index, parameters.body);
        self.grammars.extend(parameters.grammars);
        Ok(())
    }

    /// One call of the tool `name`, of whose opening the first `skipped` bytes are written already.
    fn call(&self, name: &str, index: usize, skipped: usize) -> String {
        let format = self.format;
        let open = &format.open[skipped.min(format.open.len())..];
        let (before, after) = match format.syntax {
            CallSyntax::Object(key) => {
                let name = json!(name);
                (format!("{open}{{\"name\": {name}, \"{key}\": "), "}")
            }
            CallSyntax::Named(separator) => (format!("{open}{name}{separator}"), ""),
            CallSyntax::Parameters => {
                let body = self.bodies.get(&index).map_or("", String::as_str);
                let (open, close) = (self.text(open), self.text(format.close));
                return format!("{open} {body} {close}");
            }
        };
        let after = format!("{after}{}", format.close);
        let parts = [
            self.text(&before),
            format!("@tool_{index}"),
            self.text(&after),
        ];
        parts.join(" ")
    }

    /// The calls of a reply, of whose beginning the first `skipped` bytes are written already.
    fn calls(&self, call: &str, skipped: usize, repeats: bool) -> String {
        let format = self.format;
        let begin = &format.begin[skipped.min(format.begin.len())..];
        let more = match repeats {
            true => format!("({} call)*", self.text(format.between)),
            false => String::new(),
        };
        let (begin, end) = (self.text(begin), self.text(format.end));
        format!("{begin} {call} {more} {end}")
    }

    /// Calls, or what `other` is.
    fn calls_or(&self, other: &str) -> String {
        match self.format.has_channels() {
            true => format!("calls | {} {other}", self.final_channel()),
            false => format!("calls | {other}"),
        }
    }

    /// Free text until calls begin, or to its end.
    fn text_or_calls(&mut self, tools: &[Tool]) -> Result<String> {
        if self.format.has_channels() {
            return Ok(self.channels());
        }
        let Some(trigger) = self.format.trigger else {
            return self.whole_reply(tools);
        };
        let skipped_begin = trigger.len().min(self.format.begin.len());
        let skipped_open = trigger.len() - skipped_begin;
        let mut first = Vec::new();
        for (index, tool) in tools.iter().enumerate() {
            first.push(self.call(&tool.name, index, skipped_open));
        }
        self.rule("first", &first.join(" | "));
        // Calls that each have their own trigger follow each other through free text.
        let repeats = !self.format.begin.is_empty();
        let rest = self.calls("first", skipped_begin, repeats);
        match self.special(trigger) {
            Some(id) => {
                self.rule("LEAD", "/(?s:.+)/");
                self.rule("TAIL", "/(?s:.+)/");
                Ok(format!("(LEAD? <[{id}]> {rest})* TAIL?"))
            }
            None => {
                let quoted = json!(trigger);
                self.rule(&format!("lead[suffix={quoted}]"), "/(?s:.*)/");
                let inside = pattern_of(trigger);
                let tail = format!("/(?s:.+)/ & ~/(?s:.*){inside}(?s:.*)/");
                self.rule("TAIL", &tail);
                Ok(format!("(lead {rest})* TAIL?"))
            }
        }
    }

    /// One call as the whole reply, or text that does not begin like one.
    fn whole_reply(&mut self, tools: &[Tool]) -> Result<String> {
        let CallSyntax::Object(key) = self.format.syntax else {
            return Err(Error::internal(
                "tools: a format without a trigger names its tools",
            ));
        };
        let quoted: Vec<String> = tools
            .iter()
            .map(|tool| pattern_of(&json!(tool.name).to_string()))
            .collect();
        let mut options = Vec::new();
        for (index, name) in quoted.iter().enumerate() {
            let opening = format!(r#"/{S}\{{{S}"name"{S}:{S}{name}{S},{S}"{key}"{S}:{S}/"#);
            self.rule(&format!("OPEN_{index}"), &opening);
            options.push(format!("OPEN_{index} @tool_{index} \"}}\""));
        }
        self.rule("whole", &options.join(" | "));
        let names = quoted.join("|");
        let begins = format!(r#"{S}\{{{S}"name"{S}:{S}(?:{names})(?s:.*)"#);
        self.rule("TEXT", &format!("/(?s:.+)/ & ~/{begins}/"));
        let tagged = match self.special("<|python_tag|>") {
            Some(id) => format!("<[{id}]>? "),
            None => String::new(),
        };
        Ok(format!("{tagged}whole | TEXT?"))
    }

    /// Thoughts in channels of their own, then a call or a final text.
    fn channels(&mut self) -> String {
        let [opens, tells, ends, starts] =
            ["<|channel|>", "<|message|>", "<|end|>", "<|start|>"].map(|marker| self.text(marker));
        self.rule("TEXT", "/(?s:.+)/");
        let channel = "(\"analysis\" | \"commentary\")";
        self.rule(
            "thought",
            &format!("{opens} {channel} {tells} TEXT? {ends} {starts} \"assistant\""),
        );
        let answer = self.final_channel();
        format!("thought* (calls | {answer} TEXT?)")
    }

    /// The beginning of the channel that the user reads.
    fn final_channel(&self) -> String {
        self.text("<|channel|>final<|message|>")
    }

    /// `text` with its markers as the special tokens that they are.
    fn text(&self, text: &str) -> String {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let marked = self
                .format
                .markers
                .iter()
                .filter_map(|marker| Some((rest.find(marker)?, *marker, self.special(marker)?)))
                .min_by_key(|(at, marker, _)| (*at, std::cmp::Reverse(marker.len())));
            let (plain, behind) = match marked {
                Some((at, marker, _)) => (&rest[..at], &rest[at + marker.len()..]),
                None => (rest, ""),
            };
            if !plain.is_empty() {
                parts.push(json!(plain).to_string());
            }
            parts.extend(marked.map(|(_, _, id)| format!("<[{id}]>")));
            rest = behind;
        }
        parts.join(" ")
    }

    /// The id of a marker that is a special token.
    fn special(&self, marker: &str) -> Option<u32> {
        let id = self.tokenizer.token_to_id(marker)?;
        let is_special = self.tokenizer.is_special(id) || self.tokenizer.eos().contains(&id);
        is_special.then_some(id)
    }
}

/// `text` as a regular expression between slashes that matches it and nothing else.
pub(super) fn pattern_of(text: &str) -> String {
    let mut pattern = String::new();
    for character in text.chars() {
        match character {
            '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$'
            | '/' => {
                pattern.push('\\');
                pattern.push(character);
            }
            '\n' => pattern.push_str("\\n"),
            other => pattern.push(other),
        }
    }
    pattern
}
