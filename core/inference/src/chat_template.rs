//! Chat templates, rendered character for character as transformers renders them.
//!
//! A template is a program that came with a model: it runs with a budget in proportion to the
//! conversation (minijinja's fuel, and [`bounds`]) on a stack of its own, so that a hostile one ends
//! in an error.

mod bounds;
mod clock;
mod json;
mod python;
mod source;

use std::collections::BTreeMap;
use std::path::Path;

use minijinja::value::{Serde, Value as TemplateValue};
use minijinja::{Environment, ErrorKind};
use outcrop_api::{Error, Message, Result, Tool};
use serde_json::{Map, Value, json};

pub use clock::Clock;

use crate::conversation;
use crate::own_stack::on_own_stack;
use crate::tokenizer::token_text;
use crate::weights::{Checkpoint, GgufValue, ModelSource, WeightsError, read_json, read_text};

/// The template that a request without tools takes, and one with tools where there is none for them.
const DEFAULT: &str = "default";

/// The template that a request with tools takes, where a model has one.
const TOOL_USE: &str = "tool_use";

/// Budget of a rendering: a base, and so much for each byte of input. One unit pays for an
/// instruction or for 64 bytes of data.
const BASE_FUEL: u64 = 1_000_000;
const FUEL_PER_BYTE: u64 = 16;

/// Variables that the request itself sets.
const RESERVED: [&str; 4] = ["messages", "tools", "documents", "add_generation_prompt"];

/// The chat templates of a model, compiled.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    special_tokens: Map<String, Value>,
}

impl ChatTemplate {
    /// The templates that belong to opened weights; `None` where the model has none.
    ///
    /// # Errors
    /// [`WeightsError`] naming the file, where it is not sound or a template does not compile.
    pub fn from_checkpoint(
        checkpoint: &Checkpoint,
    ) -> std::result::Result<Option<Self>, WeightsError> {
        match checkpoint.config() {
            ModelSource::HuggingFace { folder, .. } => Self::from_folder(folder),
            ModelSource::Gguf { metadata } => Self::from_gguf(checkpoint.path(), metadata),
        }
    }

    /// The templates of a Hugging Face folder: `chat_template.jinja` (with those of
    /// `additional_chat_templates/`), else what `tokenizer_config.json` holds.
    ///
    /// # Errors
    /// As [`ChatTemplate::from_checkpoint`].
    pub fn from_folder(folder: &Path) -> std::result::Result<Option<Self>, WeightsError> {
        let config_file = folder.join("tokenizer_config.json");
        let config = match read_json(&config_file, "the tokenizer's configuration") {
            Err(WeightsError::Missing { .. }) => Value::Null,
            read => read?,
        };
        let (file, templates) = match templates_of_files(folder)? {
            (file, templates) if !templates.is_empty() => (file, templates),
            _ => (config_file, templates_of_config(&config["chat_template"])),
        };
        Self::compile(&file, templates, special_tokens(&config))
    }

    /// The templates of a GGUF file's metadata. `file` is for messages.
    ///
    /// # Errors
    /// As [`ChatTemplate::from_checkpoint`].
    pub fn from_gguf(
        file: &Path,
        metadata: &BTreeMap<String, GgufValue>,
    ) -> std::result::Result<Option<Self>, WeightsError> {
        const KEY: &str = "tokenizer.chat_template";
        let mut templates = BTreeMap::new();
        for (key, value) in metadata
            .range(KEY.to_owned()..)
            .take_while(|(key, _)| key.starts_with(KEY))
        {
            let name = match key[KEY.len()..].strip_prefix('.') {
                Some(name) => name,
                None if key == KEY => DEFAULT,
                None => continue,
            };
            if let Some(template) = value.as_str() {
                templates.insert(name.to_owned(), template.to_owned());
            }
        }
        let tokens = metadata
            .get("tokenizer.ggml.tokens")
            .and_then(GgufValue::as_strings)
            .unwrap_or(&[]);
        let mut special_tokens = Map::new();
        for (name, key) in [("bos_token", "bos_token_id"), ("eos_token", "eos_token_id")] {
            let id = metadata
                .get(&format!("tokenizer.ggml.{key}"))
                .and_then(GgufValue::as_u64);
            let token = id.and_then(|id| tokens.get(usize::try_from(id).ok()?));
            special_tokens.extend(token.map(|token| (name.to_owned(), json!(token))));
        }
        Self::compile(file, templates, special_tokens)
    }

    /// Compiles named templates with the special tokens that they may print.
    fn compile(
        file: &Path,
        templates: BTreeMap<String, String>,
        special_tokens: Map<String, Value>,
    ) -> std::result::Result<Option<Self>, WeightsError> {
        if templates.is_empty() {
            return Ok(None);
        }
        let mut environment = python::environment();
        clock::install(&mut environment, Clock::System);
        on_own_stack("chat template", || {
            for (name, text) in templates {
                source::adapt(&text)
                    .and_then(|text| {
                        environment
                            .add_template_owned(name.clone(), text)
                            .map_err(|error| explain(&error))
                    })
                    .map_err(|detail| {
                        WeightsError::corrupt(file, format!("chat template {name}: {detail}"))
                    })?;
            }
            Ok(())
        })
        .unwrap_or_else(|detail| {
            Err(WeightsError::corrupt(
                file,
                format!("chat template: {detail}"),
            ))
        })?;
        Ok(Some(Self {
            environment,
            special_tokens,
        }))
    }

    /// A template from its text, with the special tokens (`bos_token` and so on) that it may print.
    ///
    /// # Errors
    /// `ModelErrorException` where it does not compile.
    pub fn new(text: &str, special_tokens: Map<String, Value>) -> Result<Self> {
        let templates = BTreeMap::from([(DEFAULT.to_owned(), text.to_owned())]);
        Self::compile(Path::new("chat template"), templates, special_tokens)?
            .ok_or_else(|| Error::model("chat template: expected a template, got none"))
    }

    /// Sets what `strftime_now` takes for now. Default: the system's clock, in local time.
    pub fn set_clock(&mut self, clock: Clock) {
        clock::install(&mut self.environment, clock);
    }

    /// Renders a conversation: system text, messages, tools, and further template variables.
    ///
    /// # Errors
    /// `ValidationException` where the conversation is one that the template refuses, in the
    /// template's own words; `ModelErrorException` where the template runs away.
    pub fn render(
        &self,
        messages: &[Message],
        system: Option<&str>,
        tools: &[Tool],
        add_generation_prompt: bool,
        variables: &Map<String, Value>,
    ) -> Result<String> {
        let messages = conversation::messages(messages, system)?;
        let tools = conversation::tools(tools);
        self.render_turns(&messages, &tools, add_generation_prompt, variables)
    }

    /// Renders messages in Hugging Face's form (`role`, `content`, `tool_calls`), with `tools` as
    /// `{"type": "function", "function": {name, description, parameters}}` and further variables.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_turns(
        &self,
        messages: &[Value],
        tools: &[Value],
        add_generation_prompt: bool,
        variables: &Map<String, Value>,
    ) -> Result<String> {
        if let Some(name) = RESERVED.iter().find(|name| variables.contains_key(**name)) {
            return Err(Error::validation(format!(
                "template_variables.{name}: expected another name, the request itself sets it"
            )));
        }
        let mut context = self.special_tokens.clone();
        context.extend(variables.clone());
        context.insert("messages".to_owned(), json!(messages));
        let tools = if tools.is_empty() {
            Value::Null
        } else {
            json!(tools)
        };
        let has_tools = !tools.is_null();
        context.insert("tools".to_owned(), tools);
        context.insert("documents".to_owned(), Value::Null);
        context.insert(
            "add_generation_prompt".to_owned(),
            json!(add_generation_prompt),
        );
        let context = Value::Object(context);
        on_own_stack("chat template", || self.run(&context, has_tools))
            .unwrap_or_else(|detail| Err(Error::model(format!("chat template: {detail}"))))
    }

    /// Runs the template that fits over its variables.
    fn run(&self, context: &Value, has_tools: bool) -> Result<String> {
        // A clone shares the compiled templates; the budget is this rendering's own.
        let mut environment = self.environment.clone();
        let bytes = context.to_string().len() as u64;
        environment.set_fuel(Some(BASE_FUEL + FUEL_PER_BYTE * bytes));
        let tool_use = has_tools
            .then(|| environment.get_template(TOOL_USE).ok())
            .flatten();
        let template = match tool_use {
            Some(template) => template,
            None => environment
                .get_template(DEFAULT)
                .map_err(|_| self.no_default())?,
        };
        template.render(TemplateValue::from(Serde(context))).map_err(|error| match error.kind() {
            ErrorKind::OutOfFuel => Error::model(format!(
                "chat template: it did not end within its budget for {bytes} bytes of conversation"
            )),
            _ => Error::validation(format!("chat template: {}", explain(&error))),
        })
    }

    /// Whether one of the templates holds `text` as it stands.
    pub(crate) fn holds(&self, text: &str) -> bool {
        self.environment
            .templates()
            .any(|(_, template)| template.source().contains(text))
    }

    /// The error of a model with named templates none of which is `default`.
    fn no_default(&self) -> Error {
        let names: Vec<&str> = self.environment.templates().map(|(name, _)| name).collect();
        Error::model(format!(
            "chat template: expected one named {DEFAULT}, the model has {}",
            names.join(", ")
        ))
    }
}

/// What went wrong, in the words of the template or of the engine, with the line.
fn explain(error: &minijinja::Error) -> String {
    let what = match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    };
    match error.line() {
        Some(line) if error.kind() != ErrorKind::InvalidOperation || error.detail().is_none() => {
            format!("{what} (line {line})")
        }
        _ => what,
    }
}

/// The templates that stand in files of their own.
fn templates_of_files(
    folder: &Path,
) -> std::result::Result<(std::path::PathBuf, BTreeMap<String, String>), WeightsError> {
    let mut templates = BTreeMap::new();
    let file = folder.join("chat_template.jinja");
    match read_text(&file, "a chat template") {
        Err(WeightsError::Missing { .. }) => return Ok((file, templates)),
        read => templates.insert(DEFAULT.to_owned(), read?),
    };
    let tool_use = folder
        .join("additional_chat_templates")
        .join("tool_use.jinja");
    match read_text(&tool_use, "a chat template") {
        Err(WeightsError::Missing { .. }) => {}
        read => {
            templates.insert(TOOL_USE.to_owned(), read?);
        }
    }
    Ok((file, templates))
}

/// The templates of `tokenizer_config.json`: one text, or a list of `{name, template}`.
fn templates_of_config(value: &Value) -> BTreeMap<String, String> {
    match value {
        Value::String(text) => BTreeMap::from([(DEFAULT.to_owned(), text.clone())]),
        Value::Array(list) => list
            .iter()
            .filter_map(|entry| {
                Some((
                    entry["name"].as_str()?.to_owned(),
                    entry["template"].as_str()?.to_owned(),
                ))
            })
            .collect(),
        _ => BTreeMap::new(),
    }
}

/// The special tokens that `tokenizer_config.json` names.
fn special_tokens(config: &Value) -> Map<String, Value> {
    const KEYS: [&str; 7] = [
        "bos_token",
        "eos_token",
        "unk_token",
        "sep_token",
        "pad_token",
        "cls_token",
        "mask_token",
    ];
    let mut tokens = Map::new();
    for key in KEYS {
        tokens.extend(token_text(&config[key]).map(|text| (key.to_owned(), json!(text))));
    }
    if let Some(additional) = config["additional_special_tokens"].as_array() {
        let texts: Vec<&str> = additional.iter().filter_map(token_text).collect();
        tokens.insert("additional_special_tokens".to_owned(), json!(texts));
    }
    tokens
}
