//! A template's text, adapted before it is compiled.
//!
//! Two things that transformers' jinja2 does, minijinja does not: the tag `generation`, which marks
//! the assistant's own text for training and prints it as it is, and the refusal to iterate over
//! `None`, which models' templates lean on.

/// The filter that what a `for` goes over is sent through.
pub(super) const ITERATED: &str = "_iterated";

/// The filter that what a variable is set to is sent through.
pub(super) const VARIABLE: &str = "_variable";

/// The filter that what an attribute of a namespace is set to is sent through.
pub(super) const MEMBER: &str = "_member";

/// Most bytes of a template. The longest of the hub's have some 30 kB.
const MAX_BYTES: usize = 256 << 10;

/// Most bytes of one tag outside quotes: the compiler goes as deep as an expression is long.
const MAX_TAG_BYTES: usize = 16 << 10;

/// `text` with `{% generation %}` as an empty `with` (both have a scope of their own), with each
/// `for … in x` as `for … in (x)|_iterated`, and with what variables are set to sent through their
/// filters.
///
/// # Errors
/// What was expected, for a template that is longer than any of use.
pub(super) fn adapt(text: &str) -> Result<String, String> {
    if text.len() > MAX_BYTES {
        return Err(format!(
            "expected at most {MAX_BYTES} bytes, got {}",
            text.len()
        ));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['{']) {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let len = match tag.as_bytes().get(1) {
            Some(b'#') => tag.find("#}").map_or(tag.len(), |end| end + 2),
            Some(b'{') => 2 + expression_len(&tag[2..], "}}")?,
            Some(b'%') => 2 + expression_len(&tag[2..], "%}")?,
            _ => 1,
        };
        let (tag, behind) = tag.split_at(len);
        rest = behind;
        match tag
            .strip_prefix("{%")
            .and_then(|tag| tag.strip_suffix("%}"))
        {
            Some(inside) if words(inside) == ["raw"] => {
                let end = raw_end(rest);
                out.push_str(tag);
                out.push_str(&rest[..end]);
                rest = &rest[end..];
            }
            Some(inside) => {
                out.push_str("{%");
                out.push_str(&adapt_tag(inside));
                out.push_str("%}");
            }
            None => out.push_str(tag),
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The words of a tag without the signs of white space control.
fn words(inside: &str) -> Vec<&str> {
    inside
        .trim_start_matches(['-', '+'])
        .trim_end_matches(['-', '+'])
        .split_whitespace()
        .collect()
}

/// Where the tag that ends a raw block begins.
fn raw_end(rest: &str) -> usize {
    let mut from = 0;
    while let Some(at) = rest[from..].find("{%") {
        let start = from + at;
        let inside = rest[start + 2..].split("%}").next().unwrap_or_default();
        if words(inside) == ["endraw"] {
            return start;
        }
        from = start + 2;
    }
    rest.len()
}

/// The length of an expression up to and with `close`, which does not count inside quotes.
///
/// # Errors
/// Where the expression is too long, or repeats a list inside a list: such a value is far larger
/// than what made it.
fn expression_len(text: &str, close: &str) -> Result<usize, String> {
    let (mut quote, mut escaped, mut outside) = (None, false, 0usize);
    let mut brackets = Brackets::default();
    for (at, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => {
                escaped = false;
                continue;
            }
            Some(open) if c == open => quote = None,
            Some(_) => {
                escaped = c == '\\';
                continue;
            }
            None if brackets.open.is_empty() && text[at..].starts_with(close) => {
                return Ok(at + close.len());
            }
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None => {}
        }
        outside += c.len_utf8();
        if outside > MAX_TAG_BYTES {
            return Err(format!(
                "expected tags of at most {MAX_TAG_BYTES} bytes without their texts"
            ));
        }
        brackets.see(c)?;
    }
    Ok(text.len())
}

/// An open bracket of an expression.
#[derive(Clone, Copy, Default)]
struct Bracket {
    /// Whether it is a call's or a subscript's.
    follows_value: bool,
    /// Whether it makes a list, a tuple or a mapping.
    makes: bool,
    /// Whether something is multiplied in it.
    multiplies: bool,
}

/// The brackets that are open in an expression.
#[derive(Default)]
struct Brackets {
    open: Vec<Bracket>,
    /// The word or sign before, white space apart.
    before: String,
    /// Whether white space stands behind it.
    ended: bool,
}

impl Brackets {
    fn see(&mut self, c: char) -> Result<(), String> {
        match c {
            '[' | '{' | '(' => {
                let follows_value = self.follows_value();
                self.open.push(Bracket {
                    follows_value,
                    makes: c != '(' && !follows_value,
                    multiplies: false,
                });
            }
            ',' => {
                if let Some(bracket) = self.open.last_mut() {
                    bracket.makes |= !bracket.follows_value;
                }
            }
            '*' => self
                .open
                .iter_mut()
                .for_each(|bracket| bracket.multiplies = true),
            ')' | ']' | '}' => {
                let closed = self.open.pop();
                if closed.is_some_and(|bracket| bracket.makes && bracket.multiplies) {
                    return Err("expected no product inside a list".to_owned());
                }
            }
            _ => {}
        }
        if c.is_whitespace() {
            self.ended = true;
            return Ok(());
        }
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        if self.ended || !is_word(c) || !self.before.ends_with(is_word) {
            self.before.clear();
        }
        self.before.push(c);
        self.ended = false;
        Ok(())
    }

    /// Whether what stands before a bracket is a value.
    fn follows_value(&self) -> bool {
        const KEYWORDS: [&str; 11] = [
            "and", "or", "not", "if", "elif", "else", "in", "is", "set", "with", "print",
        ];
        self.before.ends_with(|c: char| {
            c.is_alphanumeric() || matches!(c, '_' | ')' | ']' | '}' | '\'' | '"')
        }) && !KEYWORDS.contains(&self.before.as_str())
    }
}

/// The inside of a block tag, adapted.
fn adapt_tag(inside: &str) -> String {
    let signs = ['-', '+'];
    let body = inside.trim_start_matches(signs);
    let open = &inside[..inside.len() - body.len()];
    let trimmed = body.trim_end_matches(signs);
    let close = &body[trimmed.len()..];
    let tag = trimmed.trim();
    let adapted = match tag.split(|c: char| !c.is_alphanumeric()).next() {
        Some("generation") if tag == "generation" => Some("with".to_owned()),
        Some("endgeneration") if tag == "endgeneration" => Some("endwith".to_owned()),
        Some("for") => adapt_for(tag),
        Some("set") => adapt_set(tag),
        Some("with") => Some(bind(tag, names(&tag["with".len()..]))),
        Some("macro") => tag
            .split_once('(')
            .and_then(|(_, arguments)| Some(arguments.rsplit_once(')')?.0))
            .map(|arguments| bind(tag, names(arguments))),
        _ => None,
    };
    match adapted {
        Some(adapted) => format!("{open} {adapted} {close}"),
        None => inside.to_owned(),
    }
}

/// A `set` tag with the value sent through its filter; `None` for a block of text.
fn adapt_set(tag: &str) -> Option<String> {
    let (target, value) = tag.split_at(outer(tag, '=').next()?);
    let filter = match target.contains('.') {
        true => MEMBER,
        false => VARIABLE,
    };
    Some(format!("{target}= ({})|{filter}", value[1..].trim()))
}

/// A tag behind which each of `names` is set to itself, sent through the filter.
fn bind(tag: &str, names: Vec<&str>) -> String {
    names.iter().fold(tag.to_owned(), |tag, name| {
        format!("{tag} %}}{{% set {name} = ({name})|{VARIABLE}")
    })
}

/// The names of `a, b=1`.
fn names(text: &str) -> Vec<&str> {
    let ends = outer(text, ',').chain([text.len()]);
    let starts = [0].into_iter().chain(outer(text, ',').map(|at| at + 1));
    starts
        .zip(ends)
        .filter_map(|(start, end)| text[start..end].split('=').next())
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect()
}

/// The places of a character outside quotes and brackets.
fn outer(text: &str, wanted: char) -> impl Iterator<Item = usize> {
    let (mut depth, mut quote, mut escaped) = (0usize, None, false);
    text.char_indices().filter_map(move |(at, c)| {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None => match c {
                '"' | '\'' => quote = Some(c),
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                c if c == wanted && depth == 0 => return Some(at),
                _ => {}
            },
        }
        None
    })
}

/// A `for` tag with what it goes over sent through the filter.
fn adapt_for(tag: &str) -> Option<String> {
    let words = outer_words(tag);
    let iterated = words.iter().find(|(_, word)| *word == "in")?.0 + "in".len();
    let end = words
        .iter()
        .find(|(at, word)| *at >= iterated && matches!(*word, "if" | "recursive"))
        .map_or(tag.len(), |(at, _)| *at);
    let (head, tail) = (&tag[..iterated], &tag[end..]);
    Some(format!(
        "{head} ({})|{ITERATED} {tail}",
        tag[iterated..end].trim()
    ))
}

/// The words of a tag that stand outside quotes and brackets, each with its place.
fn outer_words(tag: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let (mut depth, mut quote, mut escaped, mut start) = (0usize, None, false, None);
    for (at, c) in tag.char_indices().chain([(tag.len(), ' ')]) {
        let is_word = quote.is_none() && (c.is_alphanumeric() || c == '_');
        match start {
            None if is_word => start = Some(at),
            Some(from) if !is_word => {
                if depth == 0 && !tag[..from].ends_with('.') {
                    words.push((from, &tag[from..at]));
                }
                start = None;
            }
            _ => {}
        }
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None => match c {
                '"' | '\'' => quote = Some(c),
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            },
        }
    }
    words
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::adapt;

    #[test]
    fn only_for_and_generation_tags_change() {
        for (text, expected) in [
            ("{% for a in b %}x", "{% for a in (b)|_iterated  %}x"),
            (
                "{%- for k, v in d.items() if k != 'in if' -%}",
                "{%- for k, v in (d.items())|_iterated if k != 'in if' -%}",
            ),
            (
                "{% for x in [1 if y else 2] recursive %}",
                "{% for x in ([1 if y else 2])|_iterated recursive %}",
            ),
            (
                "{%- generation +%}a{% endgeneration -%}",
                "{%- with +%}a{% endwith -%}",
            ),
            (
                "{# {% for a in b %} #}{{ '{% for a in b %}' }}",
                "{# {% for a in b %} #}{{ '{% for a in b %}' }}",
            ),
            (
                "{% raw %}{% for a in b %}{% endraw %}",
                "{% raw %}{% for a in b %}{% endraw %}",
            ),
            (
                "{% if a in b %}{ {% set x = '%}' %}",
                "{% if a in b %}{ {% set x = ('%}')|_variable %}",
            ),
            (
                "{%- set ns.x=a == '=' -%}{% set y %}b{% endset %}",
                "{%- set ns.x= (a == '=')|_member -%}{% set y %}b{% endset %}",
            ),
            (
                "{%- macro f(a, b=[1, 2]) -%}{% with %}{% with a = (1, 2), b = 3 %}",
                "{%- macro f(a, b=[1, 2]) %}{% set a = (a)|_variable %}{% set b = (b)|_variable -%}{% with %}{% with a = (1, 2), b = 3 %}{% set a = (a)|_variable %}{% set b = (b)|_variable %}",
            ),
            ("{{ {'a': {}} }}{% x", "{{ {'a': {}} }}{% x"),
            ("{% for", "{% for"),
        ] {
            assert_eq!(adapt(text).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_would_be_far_larger_than_its_text_is_refused() {
        for (text, expected) in [
            (" ".repeat(300_000), "at most 262144 bytes"),
            (
                format!("{{{{ {}1 }}}}", "-".repeat(20_000)),
                "at most 16384",
            ),
            ("{{ [['a'] * 9] * 9 }}".to_owned(), "no product"),
            ("{{ 1 and {'x': x * 9} }}".to_owned(), "no product"),
            ("{% set x = ((x,) * 9,) %}".to_owned(), "no product"),
        ] {
            assert!(adapt(&text).unwrap_err().contains(expected), "{expected}");
        }
        for text in [
            "{{ x[n * 2] * (2 * n) }}{{ f(a * 2, b) }}{{ ['a'] * 9 }}",
            "{{ '[*]' ~ \"(,*)\" }}",
        ] {
            assert_eq!(adapt(text).as_deref(), Ok(text));
        }
    }
}
