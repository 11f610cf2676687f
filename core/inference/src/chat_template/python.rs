//! The template language as transformers sets it up: jinja2's options, and Python's ways where
//! minijinja has its own.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Tuple, Value, ValueKind, from_args};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State};

use super::{json, source};

/// An environment without templates, with transformers' filters, tests and functions.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    if let Ok(syntax) = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
    {
        environment.set_syntax(syntax);
    }
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(method);
    environment.add_filter("tojson", json::tojson);
    environment.add_filter("trim", trim);
    environment.add_filter(source::ITERATED, iterated);
    environment.add_test("sequence", is_sequence);
    environment.add_function(
        "raise_exception",
        |message: Value| -> Result<Value, Error> { Err(invalid(message.to_string())) },
    );
    environment
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// What a `for` goes over: Python does not iterate over `None`.
fn iterated(value: Value) -> Result<Value, Error> {
    match value.is_none() {
        true => Err(invalid("'NoneType' object is not iterable")),
        false => Ok(value),
    }
}

/// jinja2's test asks for a length and items: text and mappings have both.
fn is_sequence(value: &Value) -> bool {
    value.is_undefined()
        || matches!(
            value.kind(),
            ValueKind::Seq | ValueKind::Map | ValueKind::String
        )
}

/// `str.isspace` of one character: Unicode's white space and the four ASCII separators.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The filter `trim`: `str(value).strip(chars)`.
fn trim(value: Value, chars: Option<Value>) -> String {
    let text = value.to_string();
    let chars = chars
        .filter(|chars| !chars.is_none())
        .map(|chars| chars.to_string());
    text.trim_matches(stripped(chars.as_deref())).to_owned()
}

/// Whether `strip` takes a character off.
fn stripped(chars: Option<&str>) -> impl Fn(char) -> bool + Copy {
    move |c| match chars {
        Some(chars) => chars.contains(c),
        None => is_space(c),
    }
}

/// Python's methods of text and mappings.
fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        if let Some(result) = text_method(text, name, args)? {
            return Ok(result);
        }
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

/// The methods of text where pycompat has none, or splits hairs otherwise than Python.
fn text_method(text: &str, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match name {
        "strip" | "lstrip" | "rstrip" => {
            let (chars,): (Option<&str>,) = from_args(args)?;
            let is_stripped = stripped(chars);
            Value::from(match name {
                "strip" => text.trim_matches(is_stripped),
                "lstrip" => text.trim_start_matches(is_stripped),
                _ => text.trim_end_matches(is_stripped),
            })
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            if separator.is_empty() {
                return Err(invalid("empty separator"));
            }
            let parts = match name {
                "partition" => text.split_once(separator),
                _ => text.rsplit_once(separator),
            };
            let parts = match (parts, name) {
                (Some((before, behind)), _) => [before, separator, behind],
                (None, "partition") => [text, "", ""],
                (None, _) => ["", "", text],
            };
            Value::from(Tuple::new(parts.map(Value::from).to_vec()))
        }
        "rsplit" => {
            let (separator, most): (Option<&str>, Option<i64>) = from_args(args)?;
            Value::from(rsplit(text, separator, most)?)
        }
        "index" => {
            let (part,): (&str,) = from_args(args)?;
            let at = text
                .find(part)
                .ok_or_else(|| invalid("substring not found"))?;
            Value::from(text[..at].chars().count())
        }
        "zfill" => {
            let (width,): (usize,) = from_args(args)?;
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+'])));
            let missing = width.min(1000).saturating_sub(text.chars().count());
            Value::from(format!("{sign}{}{digits}", "0".repeat(missing)))
        }
        _ => return Ok(None),
    }))
}

/// `str.rsplit`: at most `most` splits, from the right.
fn rsplit(text: &str, separator: Option<&str>, most: Option<i64>) -> Result<Vec<Value>, Error> {
    let mut parts: Vec<&str> = Vec::new();
    let mut rest = text;
    let mut left = usize::try_from(most.unwrap_or(-1)).unwrap_or(usize::MAX);
    if separator == Some("") {
        return Err(invalid("empty separator"));
    }
    if separator.is_none() {
        rest = rest.trim_end_matches(is_space);
    }
    while left > 0 {
        let split = match separator {
            Some(separator) => rest.rsplit_once(separator),
            None => rest
                .rsplit_once(is_space)
                .map(|(before, part)| (before.trim_end_matches(is_space), part)),
        };
        let Some((before, part)) = split else {
            break;
        };
        parts.push(part);
        rest = before;
        left -= 1;
    }
    // Text in front of the first split; white space alone is no part.
    if separator.is_some() || !rest.trim_matches(is_space).is_empty() {
        parts.push(if separator.is_none() {
            rest.trim_end_matches(is_space)
        } else {
            rest
        });
    }
    parts.reverse();
    Ok(parts.into_iter().map(Value::from).collect())
}
