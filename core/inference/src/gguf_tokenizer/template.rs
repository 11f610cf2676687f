//! What special tokens stand around a text, or around two.

use serde_json::{Map, Value, json};

/// How two texts are laid out; alone, a text stands between the beginning and the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pair {
    /// Each as it would stand alone.
    #[default]
    Apart,
    /// One beginning, an end behind each, the second in a segment of its own (BERT).
    Segments,
    /// As [`Pair::Segments`], in one segment (ModernBERT).
    Joined,
    /// As [`Pair::Joined`], with another end before the second (RoBERTa).
    Doubled,
}

impl Pair {
    /// The template in the words of `tokenizer.json`: `bos` begins a text, `eos` ends it.
    pub fn template(self, tokens: &[String], bos: Option<u32>, eos: Option<u32>) -> Value {
        let text = |id: u32| &tokens[id as usize];
        let special =
            |id: u32, segment: u32| json!({"SpecialToken": {"id": text(id), "type_id": segment}});
        let own = |name: &str, segment: u32| json!({"Sequence": {"id": name, "type_id": segment}});
        let segment = u32::from(matches!(self, Self::Apart | Self::Segments));
        let begin = |segment: u32| bos.map(|id| special(id, segment));
        let end = |segment: u32| eos.map(|id| special(id, segment));
        let single: Vec<Value> = begin(0)
            .into_iter()
            .chain([own("A", 0)])
            .chain(end(0))
            .collect();
        let between = match self {
            Self::Apart => begin(segment),
            Self::Segments | Self::Joined => None,
            Self::Doubled => end(segment),
        };
        let mut pair = single.clone();
        pair.extend(between);
        pair.push(own("B", segment));
        pair.extend(end(segment));
        let mut specials = Map::new();
        for id in bos.into_iter().chain(eos) {
            let own = json!({"id": text(id), "ids": [id], "tokens": [text(id)]});
            specials.insert(text(id).clone(), own);
        }
        json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": specials})
    }
}
