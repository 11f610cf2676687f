//! The message that a model answers from: numbered passages and the question, by a template or not.

use outcrop_api::{ContentBlock, ConverseRequest, Error, InferenceConfig, Message, Result, Role};
use outcrop_knowledge::{INSTRUCTION, Retrieved};
use serde_json::Value;

use crate::operations::knowledge_bases::refuse;
use crate::registry::now;

/// What stands for `$output_format_instructions$`.
const OUTPUT_FORMAT: &str = "After each claim, name the search results that it rests on by their \
numbers in square brackets, such as [1] or [2][3].";
/// Placeholders of a template.
const PLACEHOLDERS: [&str; 4] = [
    "$search_results$",
    "$query$",
    "$output_format_instructions$",
    "$current_time$",
];

/// What a `generationConfiguration` says.
pub(super) struct Prompt {
    template: Option<String>,
    inference: InferenceConfig,
}

impl Prompt {
    /// Reads the configuration, which stands at `place` in the request.
    ///
    /// # Errors
    /// `ValidationException` for what cannot be honoured, or a template without `$search_results$`.
    pub fn read(configuration: &Value, place: &str) -> Result<Self> {
        refuse(
            configuration,
            place,
            &["guardrailConfiguration", "additionalModelRequestFields"],
        )?;
        if configuration["performanceConfig"]["latency"] == "optimized" {
            return Err(Error::validation(format!(
                "{place}.performanceConfig.latency optimized is not supported."
            )));
        }
        let template = configuration["promptTemplate"]["textPromptTemplate"].as_str();
        if template.is_some_and(|template| !template.contains(PLACEHOLDERS[0])) {
            return Err(Error::validation(format!(
                "{place}.promptTemplate.textPromptTemplate: expected the placeholder $search_results$"
            )));
        }
        let config = &configuration["inferenceConfig"]["textInferenceConfig"];
        let number = |name: &str| config[name].as_f64().map(|n| n as f32);
        let stops = config["stopSequences"].as_array().into_iter().flatten();
        Ok(Self {
            template: template.map(str::to_string),
            inference: InferenceConfig {
                max_tokens: config["maxTokens"].as_u64().map(|n| n as usize),
                temperature: number("temperature"),
                top_p: number("topP"),
                stop_sequences: stops
                    .filter_map(Value::as_str)
                    .map(str::to_string)
                    .collect(),
                ..InferenceConfig::default()
            },
        })
    }

    /// The request of an answer to `question`, after the turns before it.
    pub fn request(
        &self,
        before: Vec<Message>,
        retrieved: &Retrieved,
        question: &str,
    ) -> ConverseRequest {
        let mut messages = before;
        let (system, content) = match &self.template {
            None => {
                let mut content = retrieved.search_results();
                content.push(ContentBlock::Text(question.to_string()));
                (Some(INSTRUCTION.to_string()), content)
            }
            Some(template) => {
                let text = filled(template, &numbered(retrieved), question);
                let mut content = vec![ContentBlock::Text(text)];
                if !template.contains("$query$") {
                    content.push(ContentBlock::Text(question.to_string()));
                }
                (None, content)
            }
        };
        messages.push(Message {
            role: Role::User,
            content,
        });
        ConverseRequest {
            messages,
            system,
            inference_config: self.inference.clone(),
            ..ConverseRequest::default()
        }
    }
}

/// The passages as numbered text.
fn numbered(retrieved: &Retrieved) -> String {
    let result = |(at, found): (usize, &outcrop_knowledge::Found)| {
        format!("[{}] {}\n{}", at + 1, found.title, found.passage.text)
    };
    let results: Vec<String> = retrieved.found.iter().enumerate().map(result).collect();
    results.join("\n\n")
}

/// The template with its placeholders replaced, each text once: what a passage says is no placeholder.
fn filled(template: &str, results: &str, question: &str) -> String {
    let time = now();
    let mut text = String::with_capacity(template.len() + results.len());
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        let placeholder = PLACEHOLDERS.iter().find(|name| from.starts_with(**name));
        let (value, length) = match placeholder {
            Some(&name) => {
                let value = match name {
                    "$search_results$" => results,
                    "$query$" => question,
                    "$current_time$" => time.as_str(),
                    _ => OUTPUT_FORMAT,
                };
                (value, name.len())
            }
            None => ("$", 1),
        };
        text.push_str(value);
        rest = &from[length..];
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_placeholder_is_replaced_once_and_nothing_else_is() {
        let text = filled("$$query$ $10: $search_results$ $x$", "[1] $query$", "Why?");
        assert_eq!(text, "$Why? $10: [1] $query$ $x$");
        assert!(filled("$current_time$", "", "").ends_with('Z'));
    }
}
