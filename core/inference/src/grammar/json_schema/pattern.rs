//! Patterns and formats of strings, as regular expressions that several languages read alike.

/// What each format means, as a pattern; a part of what its standard allows where readers differ.
pub(super) const FORMATS: [(&str, &str); 10] = [
    ("date", DATE),
    ("time", TIME),
    ("date-time", DATE_TIME),
    ("duration", DURATION),
    ("email", EMAIL),
    ("hostname", HOST_NAME),
    ("ipv4", IPV4),
    ("ipv6", IPV6),
    ("uuid", UUID),
    ("uri", URI),
];

/// RFC 3339, of the years 1000 to 9999; the 29th of February in leap years only.
const DATE: &str = "^(?:[1-9][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|(?:[1-9][0-9](?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26])00)-02-29)$";
/// RFC 3339, without leap seconds.
const TIME: &str = "^(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])$";
/// RFC 3339: [`DATE`] and [`TIME`].
const DATE_TIME: &str = "^(?:[1-9][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|(?:[1-9][0-9](?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26])00)-02-29)T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])$";
/// RFC 3339, appendix A, of numbers of up to four digits.
const DURATION: &str = "^P(?:[0-9]{1,4}W|[0-9]{1,4}Y(?:[0-9]{1,4}M(?:[0-9]{1,4}D)?)?|[0-9]{1,4}M(?:[0-9]{1,4}D)?|[0-9]{1,4}D|(?:[0-9]{1,4}D)?T(?:[0-9]{1,4}H(?:[0-9]{1,4}M(?:[0-9]{1,4}S)?)?|[0-9]{1,4}M(?:[0-9]{1,4}S)?|[0-9]{1,4}S))$";
/// RFC 5321's dot-string at a host with a domain.
const EMAIL: &str = "^[a-zA-Z0-9_%+-]{1,20}(?:\\.[a-zA-Z0-9_%+-]{1,20}){0,2}@[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,30}[a-zA-Z0-9])?(?:\\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,30}[a-zA-Z0-9])?){0,3}\\.[a-zA-Z]{2,12}$";
/// RFC 1123, up to four labels, 253 characters.
const HOST_NAME: &str = "^[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,60}[a-zA-Z0-9])?(?:\\.[a-zA-Z](?:[a-zA-Z0-9-]{0,60}[a-zA-Z0-9])?){0,3}$";
const IPV4: &str = "^(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])$";
/// RFC 4291: in full, or with `::` before the last groups.
const IPV6: &str = "^(?:(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}|::(?:[0-9a-fA-F]{1,4}:){0,5}[0-9a-fA-F]{1,4}|(?:[0-9a-fA-F]{1,4}:){1}(?::[0-9a-fA-F]{1,4}){1,6}|(?:[0-9a-fA-F]{1,4}:){2}(?::[0-9a-fA-F]{1,4}){1,5}|(?:[0-9a-fA-F]{1,4}:){3}(?::[0-9a-fA-F]{1,4}){1,4}|(?:[0-9a-fA-F]{1,4}:){4}(?::[0-9a-fA-F]{1,4}){1,3}|(?:[0-9a-fA-F]{1,4}:){1,7}:|::)$";
const UUID: &str = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$";
/// RFC 3986, with a host's name.
const URI: &str = "^[a-zA-Z][a-zA-Z0-9+.-]{1,15}://[a-zA-Z0-9](?:[a-zA-Z0-9.-]{0,60}[a-zA-Z0-9])?(?::[1-9][0-9]{0,3})?(?:/[a-zA-Z0-9_.~!$&'()*+,;=:@-]*)*(?:\\?[a-zA-Z0-9_.~!$&'()*+,;=:@/?-]*)?(?:#[a-zA-Z0-9_.~!$&'()*+,;=:@/?-]*)?$";

/// The pattern of a format; `None` where the format is not known.
pub(super) fn of_format(name: &str) -> Option<String> {
    let (_, pattern) = FORMATS.iter().find(|(known, _)| *known == name)?;
    Some((*pattern).to_owned())
}

/// What no language takes for a digit.
const NO_DIGIT: &str = r"\p{Nd}";
/// What any language takes for part of a word.
const WORD: &str = r"\p{Alphabetic}\p{M}\p{N}\p{Pc}";

/// `pattern` such that what it matches is matched in ECMA 262 and in Python: the classes `\d` and
/// `\w` are ASCII as in the former, their opposites leave out what either takes for them, and the
/// dot matches no end of a line.
pub(super) fn portable(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut characters = pattern.chars().peekable();
    // Whether the place is in a class, and whether that is negated.
    let mut class: Option<bool> = None;
    while let Some(character) = characters.next() {
        match (character, class) {
            ('\\', _) => {
                let escaped = characters.next();
                out.push_str(&escape(escaped, class));
            }
            ('[', None) => {
                let is_negated = characters.peek() == Some(&'^');
                class = Some(is_negated);
                out.push('[');
            }
            // In the syntax of regex-syntax a bracket in a class opens another.
            ('[', Some(_)) => out.push_str("\\["),
            (']', Some(_)) => {
                class = None;
                out.push(']');
            }
            ('&' | '~', Some(_)) => {
                out.push('\\');
                out.push(character);
            }
            ('.', None) => out.push_str("[^\\n\\r\\u2028\\u2029]"),
            _ => out.push(character),
        }
    }
    out
}

/// An escape in a class, or none, that is negated or not.
fn escape(escaped: Option<char>, class: Option<bool>) -> String {
    let is_negated = class == Some(true);
    match escaped {
        Some('d') if is_negated => NO_DIGIT.to_owned(),
        Some('w') if is_negated => WORD.to_owned(),
        Some('D') if !is_negated => format!("[^{NO_DIGIT}]"),
        Some('W') if !is_negated => format!("[^{WORD}]"),
        // ECMA 262 escapes these, the compiler's syntax need not know it.
        Some('/') => "/".to_owned(),
        Some(other) => format!("\\{other}"),
        None => "\\".to_owned(),
    }
}
