//! A text's regular expression: compiled when it is first used, matched against the whole text.

use std::sync::OnceLock;

use fancy_regex::Regex;

/// A regular expression of the service model.
#[derive(Debug)]
pub struct Pattern {
    source: &'static str,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    pub(super) fn new(source: &'static str) -> Self {
        Self {
            source,
            compiled: OnceLock::new(),
        }
    }

    /// The expression as the service's messages show it.
    pub fn source(&self) -> &'static str {
        self.source
    }

    /// Whether the whole of `text` matches. A text that the engine gives up on does not.
    pub fn matches(&self, text: &str) -> bool {
        self.compiled()
            .is_some_and(|regex| regex.is_match(text).unwrap_or(false))
    }

    fn compiled(&self) -> Option<&Regex> {
        self.compiled
            .get_or_init(|| Regex::new(&format!(r"\A(?:{})\z", self.source)).ok())
            .as_ref()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::super::{Kind, services};
    use super::Pattern;

    #[test]
    fn every_pattern_of_the_services_compiles() {
        let mut seen = 0;
        for service in services() {
            for shape in service.shapes() {
                if let Kind::String(_, Some(pattern)) = &shape.kind {
                    seen += 1;
                    assert!(pattern.compiled().is_some(), "{}", pattern.source());
                }
            }
        }
        assert!(seen > 250, "only {seen} patterns");
    }

    #[test]
    fn a_pattern_is_matched_against_the_whole_text() {
        let name = Pattern::new("[a-zA-Z0-9_-]+");
        assert!(name.matches("get_weather-2"));
        assert!(!name.matches("get weather"));
        assert!(!name.matches("get_weather\n"));
        let either = Pattern::new("(^arn:x$)|b+");
        assert!(either.matches("arn:x") && either.matches("bb") && !either.matches("arn:xb"));
        let ahead = Pattern::new(r"(?![\-_+.])[a-z0-9][a-z0-9\-_\.]*");
        assert!(ahead.matches("a-b") && !ahead.matches("-ab"));
    }
}
