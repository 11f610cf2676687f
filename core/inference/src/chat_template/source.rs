//! A template's text, adapted before it is compiled.
//!
//! Two things that transformers' jinja2 does, minijinja does not: the tag `generation`, which marks
//! the assistant's own text for training and prints it as it is, and the refusal to iterate over
//! `None`, which models' templates lean on.

/// The filter that what a `for` goes over is sent through.
pub(super) const ITERATED: &str = "_iterated";

/// `text` with `{% generation %}` as an empty `with` (both have a scope of their own), and with
/// each `for … in x` as `for … in (x)|_iterated`.
pub(super) fn adapt(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['{']) {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let len = match tag.as_bytes().get(1) {
            Some(b'#') => tag.find("#}").map_or(tag.len(), |end| end + 2),
            Some(b'{') => 2 + expression_len(&tag[2..], "}}"),
            Some(b'%') => 2 + expression_len(&tag[2..], "%}"),
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
    out
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
fn expression_len(text: &str, close: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if text[at..].starts_with(close) => return at + close.len(),
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None => {}
        }
    }
    text.len()
}

/// The inside of a block tag, adapted.
fn adapt_tag(inside: &str) -> String {
    let signs = ['-', '+'];
    let body = inside.trim_start_matches(signs);
    let open = &inside[..inside.len() - body.len()];
    let trimmed = body.trim_end_matches(signs);
    let close = &body[trimmed.len()..];
    match trimmed.trim() {
        "generation" => format!("{open} with {close}"),
        "endgeneration" => format!("{open} endwith {close}"),
        tag => match tag
            .strip_prefix("for")
            .filter(|rest| rest.starts_with(char::is_whitespace))
        {
            Some(_) => match adapt_for(tag) {
                Some(adapted) => format!("{open} {adapted} {close}"),
                None => inside.to_owned(),
            },
            None => inside.to_owned(),
        },
    }
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
                "{% if a in b %}{ {% set x = '%}' %}",
            ),
            ("{% for", "{% for"),
        ] {
            assert_eq!(adapt(text), expected);
        }
    }
}
