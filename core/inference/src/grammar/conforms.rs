//! Whether a text that is there already has a form: for models that have no tokens of their own.

use llguidance::api::TopLevelGrammar;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities};
use llguidance::{Matcher, ParserFactory};
use outcrop_api::{OutputFormat, Result};
use serde_json::Value;

use super::constraint::broken;
use super::{FIELD, MAX_LEXER_STATES, grammar};
use crate::conversation::spaced_json;
use crate::own_stack::on_own_stack;

/// Whether `text` as a whole has the form `format`. JSON may be spelt with any spaces; an object's
/// properties stand in the order in which the schema names them.
///
/// # Errors
/// `ValidationException` where `format` is not sound, or asks for what is not supported.
pub fn conforms(format: &OutputFormat, text: &str) -> Result<bool> {
    let text = match format {
        OutputFormat::Quote(texts) => {
            return Ok(!text.is_empty() && texts.iter().any(|whole| whole.contains(text)));
        }
        OutputFormat::JsonSchema(_) => match serde_json::from_str::<Value>(text) {
            Ok(value) => spaced_json(&value),
            Err(_) => return Ok(false),
        },
        OutputFormat::Regex(_) | OutputFormat::Lark(_) => text.to_owned(),
    };
    let grammar = TopLevelGrammar::from_grammar(grammar(format)?);
    on_own_stack("grammar", || accepts(grammar, text.as_bytes())).map_err(|e| broken(FIELD, e))?
}

/// Whether `grammar` accepts these bytes, each of which is a token here.
fn accepts(grammar: TopLevelGrammar, bytes: &[u8]) -> Result<bool> {
    let environment = ApproximateTokEnv::single_byte_env();
    let capabilities = InferenceCapabilities::default();
    let slices = SlicedBiasComputer::general_slices();
    let failed = |error: &dyn std::fmt::Display| broken(FIELD, error);
    let mut factory =
        ParserFactory::new(&environment, capabilities, &slices).map_err(|error| failed(&error))?;
    factory.quiet();
    let limits = factory.limits_mut();
    limits.verbose_errors = false;
    limits.max_lexer_states = MAX_LEXER_STATES;
    let mut matcher = Matcher::new(factory.create_parser(grammar));
    if let Some(error) = matcher.get_error() {
        return Err(failed(&error));
    }
    let tokens: Vec<u32> = bytes.iter().map(|byte| u32::from(*byte)).collect();
    let taken = matcher
        .try_consume_tokens(&tokens)
        .map_err(|error| failed(&error))?;
    Ok(taken == tokens.len() && matcher.is_accepting().map_err(|error| failed(&error))?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_are_held_against_their_form() {
        let schema = OutputFormat::JsonSchema(json!({
            "type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
            "required": ["a"], "additionalProperties": false
        }));
        for (text, holds) in [
            (r#"{"a":1}"#, true),
            (r#"{ "a": 1, "b": "x" }"#, true),
            (r#"{"b": "x"}"#, false),
            (r#"{"a": "1"}"#, false),
            (r#"{"a": 1"#, false),
            ("a", false),
        ] {
            assert_eq!(conforms(&schema, text).unwrap(), holds, "{text}");
        }
        let regex = OutputFormat::Regex("[a-c]+".into());
        assert!(conforms(&regex, "abc").unwrap());
        assert!(!conforms(&regex, "abcd").unwrap() && !conforms(&regex, "").unwrap());
        let lark = OutputFormat::Lark("start: \"x\" | \"y\" \"z\"".into());
        assert!(conforms(&lark, "yz").unwrap() && !conforms(&lark, "y").unwrap());
        let quote = OutputFormat::Quote(vec!["the sky".into()]);
        assert!(conforms(&quote, "sky").unwrap() && !conforms(&quote, "sea").unwrap());
        assert!(conforms(&OutputFormat::Regex("(".into()), "x").is_err());
    }
}
