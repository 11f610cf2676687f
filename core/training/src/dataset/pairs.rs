//! Pairs from JSON lines: what belongs together, and what does not.
//!
//! | line | what is learned |
//! |---|---|
//! | `{"anchor": "…", "positive": "…"}` | the positive is nearer than those of the other lines |
//! | `{"anchor", "positive", "negative": "…"}` or a list of texts | and nearer than these |
//!
//! `query` may stand for `anchor`.

use serde::Deserialize;
use serde_json::Value;

use super::BadLine;
use crate::encoder::Pair;

/// Which side of a pair a text is of: models may want a prompt before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What is asked.
    Anchor,
    /// What is found, or not.
    Candidate,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(alias = "query")]
    anchor: String,
    positive: String,
    #[serde(default)]
    negative: Negatives,
}

#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Negatives {
    One(String),
    Several(Vec<String>),
    #[default]
    None,
}

/// The pairs of the JSON lines of `text`, and the lines that are none. `encode` gives a text's tokens as
/// the model reads them, or why it has none.
pub fn read_pairs(
    file: &str,
    text: &str,
    encode: impl Fn(Side, &str) -> Result<Vec<u32>, String>,
) -> (Vec<Pair>, Vec<BadLine>) {
    let (mut pairs, mut bad) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        match pair(line, &encode) {
            Ok(pair) => pairs.push(pair),
            Err(reason) => bad.push(BadLine {
                file: file.to_owned(),
                line: number,
                reason,
            }),
        }
    }
    (pairs, bad)
}

fn pair(
    line: &str,
    encode: &impl Fn(Side, &str) -> Result<Vec<u32>, String>,
) -> Result<Pair, String> {
    let value: Value =
        serde_json::from_str(line).map_err(|error| format!("expected a JSON object: {error}"))?;
    let line = Line::deserialize(&value)
        .map_err(|error| format!("expected anchor, positive and maybe negative: {error}"))?;
    let negatives = match line.negative {
        Negatives::None => Vec::new(),
        Negatives::One(text) => vec![text],
        Negatives::Several(texts) => texts,
    };
    let read = |name: &str, side, text: &str| match text.trim() {
        "" => Err(format!("{name}: expected text, got nothing")),
        _ => encode(side, text).map_err(|reason| format!("{name}: {reason}")),
    };
    let negatives = negatives.iter();
    let negatives = negatives.map(|text| read("negative", Side::Candidate, text));
    Ok(Pair {
        anchor: read("anchor", Side::Anchor, &line.anchor)?,
        positive: read("positive", Side::Candidate, &line.positive)?,
        negatives: negatives.collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn encode(side: Side, text: &str) -> Result<Vec<u32>, String> {
        match text.len() {
            0..=8 => Ok(vec![side as u32, text.len() as u32]),
            got => Err(format!("expected at most 8, got {got}")),
        }
    }

    #[test]
    fn lines_become_pairs_and_what_is_wrong_is_told() {
        let text = r#"{"anchor": "a", "positive": "bb"}

            {"query": "a", "positive": "b", "negative": ["c", "dd"]}
            {"anchor": "a", "positive": "b", "negative": "c"}
            {"anchor": "a"}
            {"anchor": "a", "positive": " "}
            {"anchor": "a", "positive": "much too long"}
            {"anchor": "a", "positive": "b", "label": 1}
            [1"#;
        let (pairs, bad) = read_pairs("f", text, encode);
        let expected = Pair {
            anchor: vec![0, 1],
            positive: vec![1, 1],
            negatives: vec![vec![1, 1], vec![1, 2]],
        };
        assert_eq!((pairs.len(), &pairs[1]), (3, &expected));
        let told: Vec<String> = bad.iter().map(BadLine::to_string).collect();
        let told = told.join("\n");
        for expected in [
            "f line 5: expected anchor, positive and maybe negative: missing field `positive`",
            "f line 6: positive: expected text, got nothing",
            "f line 7: positive: expected at most 8, got 13",
            "unknown field `label`",
            "f line 9: expected a JSON object",
        ] {
            assert!(told.contains(expected), "{told}");
        }
    }
}
