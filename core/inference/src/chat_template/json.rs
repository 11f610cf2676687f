//! The filter `tojson` as transformers defines it: Python's `json.dumps`, nothing escaped for HTML.

use std::fmt::Write;

use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

use super::bounds::BYTES_PER_FUEL;

/// Deepest nesting that is written.
const MAX_DEPTH: usize = 200;

/// Widest indentation of one level, in spaces.
const MAX_INDENT: usize = 64;

/// How `json.dumps` was asked to write.
struct Style {
    ensure_ascii: bool,
    /// One level of indentation; `None` writes one line.
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
}

/// `value | tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
pub(super) fn tojson(
    state: &State,
    value: &Value,
    args: Rest<Value>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    let mut positional = args.0.into_iter();
    let mut argument = |name: &str| -> Result<Option<Value>, Error> {
        let given = match positional.next() {
            Some(value) => Some(value),
            None => kwargs.get::<Option<Value>>(name)?,
        };
        Ok(given.filter(|value| !value.is_none() && !value.is_undefined()))
    };
    let ensure_ascii = argument("ensure_ascii")?.is_some_and(|value| value.is_true());
    let indent = argument("indent")?.map(indentation).transpose()?;
    let separators = argument("separators")?;
    let sort_keys = argument("sort_keys")?.is_some_and(|value| value.is_true());
    kwargs.assert_all_used()?;
    let mut style = Style {
        ensure_ascii,
        item_separator: if indent.is_some() { "," } else { ", " }.to_owned(),
        key_separator: ": ".to_owned(),
        indent,
        sort_keys,
    };
    if let Some(separators) = separators {
        style.item_separator = separators.get_item_by_index(0)?.to_string();
        style.key_separator = separators.get_item_by_index(1)?.to_string();
    }
    let mut out = String::new();
    style.write(state, &mut out, value, 0)?;
    Ok(out)
}

/// One level of indentation: a number of spaces, or the text itself.
fn indentation(value: Value) -> Result<String, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.to_owned());
    }
    match usize::try_from(value.clone()) {
        Ok(spaces) if spaces <= MAX_INDENT => Ok(" ".repeat(spaces)),
        _ => Err(invalid(format!(
            "tojson: indent: expected 0 to {MAX_INDENT}, got {value}"
        ))),
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

impl Style {
    fn write(
        &self,
        state: &State,
        out: &mut String,
        value: &Value,
        depth: usize,
    ) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(invalid(format!(
                "tojson: expected values at most {MAX_DEPTH} deep"
            )));
        }
        state.consume_fuel(1)?;
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => out.push_str(&number(value)),
            ValueKind::String => {
                let text = value.as_str().unwrap_or_default();
                state.consume_fuel((text.len() / BYTES_PER_FUEL) as u64)?;
                self.write_string(out, text);
            }
            ValueKind::Map => {
                let mut entries = Vec::new();
                for key in value.try_iter()?.checked() {
                    let key = key?;
                    let item = value.get_item(&key)?;
                    entries.push((key_text(&key)?, item));
                }
                if self.sort_keys {
                    entries.sort_by(|a, b| a.0.cmp(&b.0));
                }
                self.write_items(
                    state,
                    out,
                    depth,
                    ['{', '}'],
                    entries.len(),
                    |out, index| {
                        let (key, item) = &entries[index];
                        self.write_string(out, key);
                        out.push_str(&self.key_separator);
                        self.write(state, out, item, depth + 1)
                    },
                )?;
            }
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?.checked().collect::<Result<Vec<_>, _>>()?;
                self.write_items(state, out, depth, ['[', ']'], items.len(), |out, index| {
                    self.write(state, out, &items[index], depth + 1)
                })?;
            }
            other => {
                return Err(invalid(format!(
                    "Object of type {other} is not JSON serializable"
                )));
            }
        }
        Ok(())
    }

    fn write_items(
        &self,
        state: &State,
        out: &mut String,
        depth: usize,
        [open, close]: [char; 2],
        count: usize,
        mut write_item: impl FnMut(&mut String, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let line = |out: &mut String, depth: usize| -> Result<(), Error> {
            if let Some(indent) = &self.indent {
                // What is written here is charged for before it can grow.
                let bytes = indent.len().saturating_mul(depth);
                state.consume_fuel((bytes / BYTES_PER_FUEL) as u64)?;
                out.push('\n');
                (0..depth).for_each(|_| out.push_str(indent));
            }
            Ok(())
        };
        out.push(open);
        for index in 0..count {
            if index > 0 {
                let bytes = self.item_separator.len() + self.key_separator.len();
                state.consume_fuel((bytes / BYTES_PER_FUEL) as u64)?;
                out.push_str(&self.item_separator);
            }
            line(out, depth + 1)?;
            write_item(out, index)?;
        }
        if count > 0 {
            line(out, depth)?;
        }
        out.push(close);
        Ok(())
    }

    fn write_string(&self, out: &mut String, text: &str) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                '\0'..'\u{20}' => escape(out, c),
                '\u{7f}'.. if self.ensure_ascii && c != '\u{7f}' => escape(out, c),
                _ => out.push(c),
            }
        }
        out.push('"');
    }
}

/// A character as `\uXXXX`, in two where it is beyond the basic plane.
fn escape(out: &mut String, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        // Writing to a String does not fail.
        let _ = write!(out, "\\u{unit:04x}");
    }
}

/// A key as `json.dumps` writes it: text as it is, and the other scalars as JSON writes them.
fn key_text(key: &Value) -> Result<String, Error> {
    Ok(match key.kind() {
        ValueKind::String => key.as_str().unwrap_or_default().to_owned(),
        ValueKind::None => "null".to_owned(),
        ValueKind::Bool => if key.is_true() { "true" } else { "false" }.to_owned(),
        ValueKind::Number => number(key),
        other => {
            return Err(invalid(format!(
                "keys must be str, int, float, bool or None, not {other}"
            )));
        }
    })
}

/// A number as Python's `repr` writes it.
fn number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(float) if !value.is_integer() => python_float(float),
        _ => value.to_string(),
    }
}

/// A float as `json.dumps` writes it: the shortest digits, an exponent of at least two digits.
pub(super) fn python_float(float: f64) -> String {
    if float.is_nan() {
        return "NaN".to_owned();
    }
    if float.is_infinite() {
        return if float > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let text = format!("{float:?}");
    match text.split_once('e') {
        None => text,
        Some((digits, exponent)) => {
            let digits = digits.strip_suffix(".0").unwrap_or(digits);
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{exponent:0>2}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::python_float;

    #[test]
    fn floats_are_written_as_python_writes_them() {
        for (float, expected) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (-2.5e-7, "-2.5e-07"),
            (1e16, "1e+16"),
            (1e15, "1000000000000000.0"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e300, "1.5e+300"),
            (-0.0, "-0.0"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(python_float(float), expected);
        }
    }
}
