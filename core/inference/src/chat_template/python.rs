//! The template language as transformers sets it up: jinja2's options, and Python's ways where
//! minijinja has its own.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Tuple, Value, ValueKind, from_args};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State};

use super::{bounds, json, source};

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
    environment.add_filter("string", string);
    environment.add_filter(source::ITERATED, iterated);
    environment.add_filter(source::VARIABLE, bounds::variable);
    environment.add_filter(source::MEMBER, bounds::member);
    environment.set_formatter(|out, state, value| {
        bounds::printed(state, value)?;
        match float(value) {
            Some(float) => Ok(out.write_str(&json::python_float(float))?),
            None => minijinja::escape_formatter(out, state, value),
        }
    });
    environment.add_filter("int", int);
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
fn iterated(state: &State, value: Value) -> Result<Value, Error> {
    match value.is_none() {
        true => Err(invalid("'NoneType' object is not iterable")),
        false => bounds::variable(state, value),
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
fn trim(state: &State, value: Value, chars: Option<Value>) -> Result<String, Error> {
    let text = string(state, value)?;
    let chars = chars
        .filter(|chars| !chars.is_none())
        .map(|chars| string(state, chars))
        .transpose()?;
    Ok(text.trim_matches(stripped(chars.as_deref())).to_owned())
}

/// The filter `string`: `str(value)`.
fn string(state: &State, value: Value) -> Result<String, Error> {
    bounds::printed(state, &value)?;
    Ok(match float(&value) {
        Some(float) => json::python_float(float),
        None => value.to_string(),
    })
}

/// A finite float, which Python prints with an exponent where it is very large or small.
fn float(value: &Value) -> Option<f64> {
    if value.kind() != ValueKind::Number || value.is_integer() {
        return None;
    }
    f64::try_from(value.clone())
        .ok()
        .filter(|float| float.is_finite())
}

/// The filter `int`: the default, 0, for what is no number.
fn int(value: Value, default: Option<Value>) -> Value {
    let text = value.as_str().map(|text| text.trim_matches(is_space));
    let parsed = match text {
        Some(text) => text
            .parse::<i64>()
            .ok()
            .or_else(|| whole(text.parse::<f64>().ok()?)),
        None if value.kind() == ValueKind::Bool => Some(i64::from(value.is_true())),
        None => i64::try_from(value.clone())
            .ok()
            .or_else(|| whole(float(&value)?)),
    };
    match parsed {
        Some(number) => Value::from(number),
        None => default.unwrap_or_else(|| Value::from(0)),
    }
}

/// A float without its fraction, where 64 bits hold it.
fn whole(float: f64) -> Option<i64> {
    (float.abs() < 9.0e18).then_some(float.trunc() as i64)
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
        pay(state, text, name, args)?;
        if let Some(result) = text_method(text, name, args)? {
            return Ok(result);
        }
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

/// Pays beforehand for the methods whose result can be much longer than the text.
fn pay(state: &State, text: &str, name: &str, args: &[Value]) -> Result<(), Error> {
    let len = |value: Option<&Value>| value.and_then(Value::as_str).map_or(0, str::len);
    let bytes = match name {
        "replace" => {
            let found = match args.first().and_then(Value::as_str) {
                Some("") => text.len() + 1,
                Some(part) => text.matches(part).count(),
                None => 0,
            };
            found.saturating_mul(len(args.get(1)))
        }
        "join" => {
            let mut bytes = 0usize;
            for item in args
                .first()
                .map(Value::try_iter)
                .into_iter()
                .flatten()
                .flatten()
            {
                state.consume_fuel(1)?;
                bounds::printed(state, &item)?;
                bytes = bytes
                    .saturating_add(text.len())
                    .saturating_add(len(Some(&item)));
            }
            bytes
        }
        "format" => {
            if let Some(width) = widest(text).filter(|&width| width > MAX_WIDTH) {
                return Err(invalid(format!(
                    "format: expected widths up to {MAX_WIDTH}, got {width}"
                )));
            }
            if has_nested_field(text) {
                return Err(invalid(
                    "format: expected widths as numbers, got a field in a field",
                ));
            }
            args.iter()
                .try_for_each(|arg| bounds::printed(state, arg))?;
            let fields = text.matches('{').count();
            let longest = args.iter().map(|arg| len(Some(arg))).max().unwrap_or(0);
            fields.saturating_mul(longest.saturating_add(MAX_WIDTH))
        }
        _ => 0,
    };
    state.consume_fuel((bytes / bounds::BYTES_PER_FUEL) as u64)
}

/// Widest that `format` or `zfill` may make a field, in characters.
const MAX_WIDTH: usize = 1000;

/// The largest number that stands in a text.
fn widest(text: &str) -> Option<usize> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .map(|digits| digits.parse().unwrap_or(usize::MAX))
        .max()
}

/// Whether a field of a `format` text has its width from another field.
fn has_nested_field(text: &str) -> bool {
    text.split('}').any(|part| {
        part.rsplit_once('{').is_some_and(|(before, _)| {
            before
                .rsplit('{')
                .next()
                .is_some_and(|spec| spec.contains(':') && before.contains('{'))
        })
    })
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
        "center" | "ljust" | "rjust" => {
            let (width, fill): (usize, Option<char>) = from_args(args)?;
            if width > MAX_WIDTH {
                return Err(invalid(format!(
                    "{name}: expected a width up to {MAX_WIDTH}, got {width}"
                )));
            }
            let missing = width.saturating_sub(text.chars().count());
            let left = match name {
                "ljust" => 0,
                "rjust" => missing,
                // CPython puts the odd one left where the width is odd.
                _ => missing / 2 + (missing & width & 1),
            };
            let fill = |count: usize| fill.unwrap_or(' ').to_string().repeat(count);
            Value::from(format!("{}{text}{}", fill(left), fill(missing - left)))
        }
        "zfill" => {
            let (width,): (usize,) = from_args(args)?;
            if width > MAX_WIDTH {
                return Err(invalid(format!(
                    "zfill: expected a width up to {MAX_WIDTH}, got {width}"
                )));
            }
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+'])));
            let missing = width.saturating_sub(text.chars().count());
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
