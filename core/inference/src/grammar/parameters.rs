//! The grammar of a call that is written parameter by parameter, as Qwen3-Coder writes it.

use llguidance::api::GrammarWithLexer;
use outcrop_api::{Error, Result, Tool};
use serde_json::{Value, json};

use super::json_schema::{self, ANNOTATIONS};
use super::tools::pattern_of;
use crate::tool_calls::parameters::{
    FUNCTION, FUNCTION_END, PARAMETER, PARAMETER_END, Writing, types, writing,
};

/// Keywords of a tool's schema that this form can follow.
const OBJECT: [&str; 6] = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "$defs",
    "definitions",
];

/// Keywords of a text's schema that this form can follow.
const TEXT: [&str; 5] = ["type", "enum", "const", "minLength", "maxLength"];

/// Keywords of the schema of a value that may be a text or another simple value.
const EITHER: [&str; 3] = ["type", "anyOf", "oneOf"];

/// A tool's call in the making.
pub(super) struct ParameterCall<'a> {
    tool: &'a Tool,
    index: usize,
    field: String,
}

/// The rules of a call, behind its opening, and the grammars that they refer to.
pub(super) struct Rules {
    /// Names with bodies.
    pub rules: Vec<(String, String)>,
    /// What follows the family's opening of a call.
    pub body: String,
    pub grammars: Vec<GrammarWithLexer>,
}

impl<'a> ParameterCall<'a> {
    /// The call of the tool at `index`.
    pub fn new(tool: &'a Tool, index: usize) -> Self {
        Self {
            tool,
            index,
            field: format!("tools[{index}].input_schema"),
        }
    }

    /// The rules of the call.
    ///
    /// # Errors
    /// `ValidationException` naming the keyword that cannot be followed where each parameter stands
    /// by itself.
    pub fn rules(&self) -> Result<Rules> {
        let schema = &self.tool.input_schema;
        self.check(schema, "", &OBJECT)?;
        let name = &self.tool.name;
        let mut rules = Rules {
            rules: Vec::new(),
            body: json!(format!("{FUNCTION}{name}>\n")).to_string(),
            grammars: Vec::new(),
        };
        let properties = schema["properties"].as_object().into_iter().flatten();
        for (place, (name, property)) in properties.enumerate() {
            if name.contains(['>', '\n']) {
                return Err(self.wrong(
                    "properties",
                    format!("a name without > and line ends, got {name:?}"),
                ));
            }
            let value = self.value((place, name), property, &mut rules)?;
            let opening = json!(format!("{PARAMETER}{name}>\n"));
            let required = schema["required"].as_array();
            let is_required = required.is_some_and(|names| names.iter().any(|own| own == name));
            rules.body.push_str(&match is_required {
                true => format!(" {opening} {value}"),
                false => format!(" ({opening} {value})?"),
            });
        }
        rules.body.push_str(&format!(" \"{FUNCTION_END}\""));
        Ok(rules)
    }

    /// What stands between a parameter's opening and the next: its value and its end.
    fn value(
        &self,
        (place, name): (usize, &str),
        property: &Value,
        rules: &mut Rules,
    ) -> Result<String> {
        let root = &self.tool.input_schema;
        let path = format!("properties/{name}");
        let end = format!("\n{PARAMETER_END}\n");
        let own = format!("{}_{place}", self.index);
        match writing(root, property) {
            Writing::Json => {
                let grammar = format!("tool_{own}");
                rules.grammars.push(GrammarWithLexer {
                    name: Some(grammar.clone()),
                    json_schema: Some(json_schema::compile(
                        &self.alone(property),
                        &format!("{}/{path}", self.field),
                    )?),
                    lark_grammar: None,
                });
                Ok(format!("@{grammar} {}", json!(end)))
            }
            Writing::Text => self.text((&own, &path), self.resolved(property), rules),
            Writing::Either => {
                self.check_either(property, &path)?;
                Ok(free_text(&own, rules))
            }
        }
    }

    /// A text that its schema may list or bound.
    fn text(&self, (own, path): (&str, &str), schema: &Value, rules: &mut Rules) -> Result<String> {
        self.check(schema, path, &TEXT)?;
        let listed = schema["enum"].as_array().cloned();
        let listed = listed.or_else(|| schema.get("const").map(|value| vec![value.clone()]));
        let end = format!("\n{PARAMETER_END}\n");
        if let Some(values) = listed {
            let texts = values.iter().map(|value| match value.as_str() {
                Some(text) => Ok(json!(format!("{text}{end}")).to_string()),
                None => Err(self.wrong(path, format!("texts, got {value}"))),
            });
            return Ok(format!(
                "({})",
                texts.collect::<Result<Vec<_>>>()?.join(" | ")
            ));
        }
        let bound = |name: &str| match &schema[name] {
            Value::Null => Ok(None),
            value => match value.as_u64() {
                Some(count) => Ok(Some(count)),
                None => Err(self.wrong(path, format!("{name}: a whole number, got {value}"))),
            },
        };
        let (least, most) = (bound("minLength")?, bound("maxLength")?);
        if least.is_none() && most.is_none() {
            return Ok(free_text(own, rules));
        }
        let most = most.map_or_else(String::new, |most| most.to_string());
        let bounds = format!("{{{},{most}}}", least.unwrap_or(0));
        let (end, inside) = (pattern_of(&end), pattern_of(PARAMETER_END));
        let terminal = format!("TEXT_{own}");
        let body = format!("/(?s:.){bounds}{end}/ & ~/(?s:.*){inside}(?s:.*){inside}(?s:.*)/");
        rules.rules.push((terminal.clone(), body));
        Ok(terminal)
    }

    /// Refuses what a text beside other values cannot be held to.
    fn check_either(&self, schema: &Value, path: &str) -> Result<()> {
        let schema = self.resolved(schema);
        self.check(schema, path, &EITHER)?;
        let Some(types) = types(&self.tool.input_schema, schema) else {
            return Ok(());
        };
        if types.iter().any(|name| ["array", "object"].contains(name)) {
            return Err(self.wrong(path, "texts, or values that are none: not both".to_owned()));
        }
        let choices = ["anyOf", "oneOf"]
            .iter()
            .filter_map(|name| schema[*name].as_array());
        for choice in choices.flatten() {
            self.check(self.resolved(choice), path, &EITHER)?;
        }
        Ok(())
    }

    /// Refuses keywords that are none of `known`.
    fn check(&self, schema: &Value, path: &str, known: &[&str]) -> Result<()> {
        let members = schema.as_object().into_iter().flatten();
        let is_known = |name: &str| known.contains(&name) || ANNOTATIONS.contains(&name);
        for (name, _) in members {
            if !is_known(name) {
                let known = known.join(", ");
                return Err(self.wrong(&format!("{path}/{name}"), format!("one of {known}")));
            }
        }
        Ok(())
    }

    /// `schema`, or what its reference leads to.
    fn resolved<'v>(&'v self, schema: &'v Value) -> &'v Value {
        let reference = schema.get("$ref").and_then(Value::as_str);
        let target = reference.and_then(|r| self.tool.input_schema.pointer(r.strip_prefix('#')?));
        target.unwrap_or(schema)
    }

    /// `property` with the definitions of its tool's schema.
    fn alone(&self, property: &Value) -> Value {
        let mut alone = property.clone();
        if let Value::Object(members) = &mut alone {
            for name in ["$defs", "definitions"] {
                if let Some(definitions) = self.tool.input_schema.get(name) {
                    members.entry(name).or_insert_with(|| definitions.clone());
                }
            }
        }
        alone
    }

    fn wrong(&self, path: &str, expected: String) -> Error {
        let place = path.trim_start_matches('/');
        Error::validation(format!(
            "{}: /{place}: expected {expected}; this model writes a call parameter by parameter",
            self.field
        ))
    }
}

/// Any text up to the parameter's end.
fn free_text(own: &str, rules: &mut Rules) -> String {
    let rule = format!("text_{own}");
    let end = json!(format!("\n{PARAMETER_END}\n"));
    rules
        .rules
        .push((format!("{rule}[suffix={end}]"), "/(?s:.*)/".to_owned()));
    rule
}
