//! Plain text: UTF-8, or UTF-16 with its byte order mark; nothing is guessed.

use super::{Heading, ParseError, ParsedDocument};

/// The characters of `bytes`: UTF-16 where a byte order mark says so, else UTF-8.
///
/// # Errors
/// The first byte that is not of that encoding, or a NUL.
pub(super) fn decode(bytes: &[u8]) -> Result<String, ParseError> {
    let text = match bytes {
        [0xFF, 0xFE, rest @ ..] => decode_utf16(rest, u16::from_le_bytes)?,
        [0xFE, 0xFF, rest @ ..] => decode_utf16(rest, u16::from_be_bytes)?,
        _ => {
            let (skipped, rest) = match bytes {
                [0xEF, 0xBB, 0xBF, rest @ ..] => (3, rest),
                _ => (0, bytes),
            };
            std::str::from_utf8(rest)
                .map_err(|error| ParseError::Encoding {
                    encoding: "UTF-8",
                    offset: skipped + error.valid_up_to(),
                })?
                .to_owned()
        }
    };
    match text.find('\0') {
        Some(offset) => Err(ParseError::Binary { offset }),
        None => Ok(text),
    }
}

fn decode_utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, ParseError> {
    let wrong = |units: usize| ParseError::Encoding {
        encoding: "UTF-16",
        offset: 2 + 2 * units,
    };
    let (pairs, rest) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(pairs.len());
    let mut units = 0;
    for decoded in char::decode_utf16(pairs.iter().map(|&pair| unit(pair))) {
        let c = decoded.map_err(|_| wrong(units))?;
        units += c.len_utf16();
        text.push(c);
    }
    if rest.is_empty() {
        Ok(text)
    } else {
        Err(wrong(units))
    }
}

/// Plain text as it stands, line ends made `\n`. Short lines that stand alone between blank lines
/// and look like headings (numbered, in capitals, or underlined) are noted as such.
///
/// # Errors
/// As [`decode`].
pub(super) fn parse(bytes: &[u8]) -> Result<ParsedDocument, ParseError> {
    Ok(read(&decode(bytes)?))
}

/// As [`parse`], of text that is decoded.
pub(super) fn read(text: &str) -> ParsedDocument {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let headings = headings(&text);
    let title = headings
        .first()
        .filter(|heading| text[..heading.bytes.start].trim().is_empty())
        .map(|heading| heading.text.clone());
    ParsedDocument {
        title,
        text,
        pages: Vec::new(),
        headings,
        wrapped: true,
    }
}

fn headings(text: &str) -> Vec<Heading> {
    let mut lines = Vec::new();
    let mut start = 0;
    for line in text.split('\n') {
        lines.push((start, line));
        start += line.len() + 1;
    }
    let blank = |index: Option<usize>| {
        index
            .and_then(|index| lines.get(index))
            .is_none_or(|(_, line)| line.trim().is_empty())
    };
    let mut found: Vec<Heading> = Vec::new();
    for (index, &(start, line)) in lines.iter().enumerate() {
        let trimmed = line.trim();
        let underlined = lines
            .get(index + 1)
            .is_some_and(|(_, next)| is_underline(next) && blank(Some(index + 2)));
        let alone = blank(index.checked_sub(1)) && (blank(Some(index + 1)) || underlined);
        let level = if !alone || trimmed.chars().count() > 90 || is_underline(trimmed) {
            None
        } else if let Some(level) = number_depth(trimmed) {
            Some(level + 1)
        } else if underlined
            || is_capitals(trimmed)
            || (found.is_empty() && is_title(trimmed) && has_text(&lines[index + 1..]))
        {
            Some(if found.is_empty() { 1 } else { 2 })
        } else {
            None
        };
        if let Some(level) = level {
            let start = start + line.len() - line.trim_start().len();
            found.push(Heading {
                level,
                text: trimmed.to_owned(),
                bytes: start..start + trimmed.len(),
            });
        }
    }
    found
}

fn has_text(lines: &[(usize, &str)]) -> bool {
    lines.iter().any(|(_, line)| !line.trim().is_empty())
}

fn is_underline(line: &str) -> bool {
    let line = line.trim();
    line.len() >= 3
        && (line.chars().all(|c| c == '=')
            || line.chars().all(|c| c == '-')
            || line.chars().all(|c| c == '~'))
}

/// How deep a numbered heading is: `2 Fees` and `2. Fees` are 1, `2.1 Fees` is 2.
///
/// A line that ends as a sentence does is a list item rather than a heading.
pub(super) fn number_depth(line: &str) -> Option<u8> {
    let (number, rest) = line.split_once(' ')?;
    let parts: Vec<&str> = number.trim_end_matches('.').split('.').collect();
    let numbered = parts.len() <= 4
        && parts
            .iter()
            .all(|part| (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit()));
    let rest = rest.trim();
    let titled = rest.chars().next().is_some_and(char::is_uppercase)
        && !rest.ends_with(['.', ';', ',', ':', '?', '!']);
    (numbered && titled).then_some(parts.len() as u8)
}

fn is_capitals(line: &str) -> bool {
    line.chars().filter(|c| c.is_alphabetic()).count() >= 4 && !line.chars().any(char::is_lowercase)
}

/// Whether the first line of a text reads as its title: short, and not a sentence.
fn is_title(line: &str) -> bool {
    line.chars().next().is_some_and(char::is_uppercase)
        && line.split_whitespace().count() <= 12
        && !line.ends_with(['.', ';', ',', ':', '?', '!'])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn utf8_and_both_utf16_orders_decode() {
        assert_eq!(decode(b"\xEF\xBB\xBFFee \xE2\x82\xAC").unwrap(), "Fee €");
        assert_eq!(decode(b"\xFF\xFEF\0\xAC\x20").unwrap(), "F€");
        assert_eq!(decode(b"\xFE\xFF\0F\x20\xAC").unwrap(), "F€");
    }

    #[test]
    fn what_is_no_text_names_the_byte() {
        assert_eq!(
            decode(b"Fee \x80 5").unwrap_err().to_string(),
            "not UTF-8 text: invalid at byte 4"
        );
        assert_eq!(
            decode(b"\xFF\xFEF\0\x00\xD8").unwrap_err().to_string(),
            "not UTF-16 text: invalid at byte 4"
        );
        assert_eq!(
            decode(b"\xFF\xFEF\0\x00").unwrap_err().to_string(),
            "not UTF-16 text: invalid at byte 4"
        );
        assert_eq!(
            decode(b"a\0b").unwrap_err(),
            ParseError::Binary { offset: 1 }
        );
    }

    #[test]
    fn headings_are_found_where_they_stand_alone() {
        let text = "Loan Policy\n\n1. Scope\n\nThis covers loans\nof all kinds.\n\n1. Keep the file.\n\nFEES\n----\n\nTwo euros.";
        let found = headings(text);
        let found: Vec<(u8, &str)> = found
            .iter()
            .map(|h| (h.level, &text[h.bytes.clone()]))
            .collect();
        assert_eq!(found, [(1, "Loan Policy"), (2, "1. Scope"), (2, "FEES")]);
    }
}
