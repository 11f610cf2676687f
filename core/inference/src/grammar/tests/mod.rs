//! Grammars over a golden tokenizer, sound and hostile ones.

#![allow(clippy::unwrap_used)]

mod tools;

use std::path::Path;

use outcrop_api::ErrorKind;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn grammars() -> Grammars {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/qwen3");
    // The model's vocabulary is padded behind the tokenizer's 521 tokens.
    Grammars::new(Arc::new(Tokenizer::load(&folder).unwrap()), 544)
}

/// A SentencePiece tokenizer: spaces are pieces' own, bytes that no piece has fall back.
fn sentence_piece() -> Grammars {
    let mut vocab = serde_json::Map::new();
    let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
    let pieces = ["a", "b", "\u{2581}", "\u{2581}a", "ab"].map(str::to_owned);
    let first = ["<unk>", "<s>", "</s>"].map(str::to_owned);
    for piece in first.into_iter().chain(bytes).chain(pieces) {
        let id = vocab.len();
        vocab.insert(piece, json!(id));
    }
    let special = |id: u32, text: &str| {
        json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u{2581}"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"},
        ]},
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]},
        "model": {"type": "BPE", "vocab": vocab, "merges": [["\u{2581}", "a"], ["a", "b"]],
            "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true},
    });
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let config = json!({"eos_token": "</s>"}).to_string();
    std::fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
    Grammars::new(Arc::new(Tokenizer::load(folder.path()).unwrap()), 300)
}

#[test]
fn spaces_and_bytes_of_a_sentence_piece_vocabulary_are_the_texts_own() {
    let grammars = sentence_piece();
    for pattern in [" a abé c", "a a", "  "] {
        let format = OutputFormat::Regex(pattern.to_owned());
        let (ids, complete) = walk(&grammars, &format, &[]).unwrap();
        assert!(complete, "{ids:?}");
        let mut detokenizer = crate::detokenizer::Detokenizer::verbatim(grammars.tokenizer.clone());
        let mut text: String = ids.iter().map(|id| detokenizer.push(*id)).collect();
        text.push_str(&detokenizer.finish());
        assert_eq!(text, pattern);
    }
}

fn is_allowed(constraint: &Constraint, id: u32) -> bool {
    let word = constraint.allowed().get(id as usize / 32);
    word.is_some_and(|word| word >> (id % 32) & 1 == 1)
}

/// Walks through an output by the `choices`, and gives its ids and whether it is complete. Each
/// choice is among the allowed tokens; the end of turn ends the output.
fn walk(grammars: &Grammars, format: &OutputFormat, choices: &[usize]) -> Result<(Vec<u32>, bool)> {
    let (mut constraint, mut ids) = grammars.start(format)?;
    for choice in choices {
        if constraint.is_complete() {
            break;
        }
        let allowed: Vec<u32> = (0..600).filter(|id| is_allowed(&constraint, *id)).collect();
        let id = allowed[choice % allowed.len()];
        assert!(id < 521, "a padded id was allowed");
        if grammars.tokenizer.eos().contains(&id) {
            return Ok((ids, true));
        }
        ids.push(id);
        ids.extend(constraint.commit(id)?);
    }
    Ok((ids, constraint.is_complete()))
}

#[test]
fn the_end_of_turn_is_allowed_only_where_the_form_may_end() {
    let grammars = grammars();
    let end = grammars.tokenizer.eos()[0];
    let format = OutputFormat::Regex("a|ab+".to_owned());
    let (mut constraint, forced) = grammars.start(&format).unwrap();
    let text = grammars.tokenizer.decode(&forced, false).unwrap();
    // Both begin with the letter, but a token may hold more than it.
    assert!(text.is_empty() || text == "a");
    if text.is_empty() {
        assert!(!is_allowed(&constraint, end));
        let a = grammars.tokenizer.token_to_id("a").unwrap();
        constraint.commit(a).unwrap();
    }
    assert!(is_allowed(&constraint, end));
    assert!(!constraint.is_complete());
}

#[test]
fn a_grammar_is_compiled_once_and_its_outputs_are_their_own() {
    let grammars = grammars();
    let format = OutputFormat::JsonSchema(json!({"enum": ["one", "two", "three"]}));
    let first = walk(&grammars, &format, &[1; 40]).unwrap();
    for other in 0..KEPT + 3 {
        let format = OutputFormat::Regex(format!("x{{{other}}}y"));
        walk(&grammars, &format, &[]).unwrap();
    }
    assert_eq!(grammars.lock().len(), KEPT);
    assert_eq!(walk(&grammars, &format, &[1; 40]).unwrap(), first);
    assert_eq!(walk(&grammars, &format, &[1; 40]).unwrap(), first);
}

#[test]
fn text_that_spells_a_special_token_is_text() {
    let grammars = grammars();
    let format = OutputFormat::JsonSchema(json!({"const": "<|im_end|> and <tool_call>"}));
    let (ids, complete) = walk(&grammars, &format, &[0; 60]).unwrap();
    assert!(complete);
    let text = grammars.tokenizer.decode(&ids, true).unwrap();
    assert_eq!(text, "\"<|im_end|> and <tool_call>\"");
}

#[test]
fn what_would_run_away_is_refused() {
    let grammars = grammars();
    let deep = "(".repeat(100_000);
    let brackets = "[".repeat(100_000);
    let long = format!("a{{{}}}", u32::MAX);
    for format in [
        OutputFormat::Regex(deep.clone()),
        OutputFormat::Regex(brackets),
        OutputFormat::Regex(long),
        OutputFormat::Regex("(((a{1,1000}){1,1000}){1,1000}){1,1000}b".to_owned()),
        OutputFormat::Regex("(?:.*a.{60}b){20}.*[^\\w]{300}".to_owned()),
        OutputFormat::Regex("a(?=b)".to_owned()),
        OutputFormat::Regex(format!("{}a{}", "(".repeat(200), ")*".repeat(200))),
        OutputFormat::Regex(format!("{}a{}", "(b?".repeat(120), "){1,3}".repeat(120))),
        OutputFormat::Lark(format!("start: {deep}")),
        OutputFormat::Lark("start: start start".to_owned()),
        OutputFormat::Lark("start: a\na: b\nb: a".to_owned()),
        OutputFormat::Lark(String::new()),
        OutputFormat::JsonSchema(json!({"$ref": "#"})),
        OutputFormat::JsonSchema(json!({"type": "string", "minLength": 4_000_000_000u32})),
        OutputFormat::JsonSchema(json!({"type": "array", "minItems": 3, "maxItems": 2})),
        OutputFormat::JsonSchema(json!({"type": "integer", "minimum": 3, "maximum": 2})),
    ] {
        let started = std::time::Instant::now();
        // What is large but can be followed is followed.
        if let Err(error) = walk(&grammars, &format, &[3; 30]) {
            assert_eq!(error.kind(), ErrorKind::ValidationException, "{error}");
        }
        assert!(started.elapsed().as_secs() < 10, "{format:?}");
    }
}

#[test]
fn a_quotation_is_a_verbatim_span_that_ends_between_characters() {
    let grammars = grammars();
    let texts = vec!["Grüezi, weather 🌦️ in Bern.".to_owned(), "no".to_owned()];
    let format = OutputFormat::Quote(texts.clone());
    let mut seen = std::collections::BTreeSet::new();
    for first in 0..40 {
        let choices: Vec<usize> = (0..60).map(|n| first * 7 + n * n).collect();
        let (ids, complete) = walk(&grammars, &format, &choices).unwrap();
        let text = grammars.tokenizer.decode(&ids, true).unwrap();
        assert!(complete && !text.is_empty());
        assert!(texts.iter().any(|t| t.contains(&text)), "{text:?}");
        seen.insert(text);
    }
    assert!(seen.len() > 5, "{seen:?}");
    for empty in [vec![], vec![String::new()]] {
        let error = grammars.start(&OutputFormat::Quote(empty)).err().unwrap();
        assert!(
            error.message().starts_with("output_format.quote"),
            "{error}"
        );
    }
}

/// JSON that is often nearly a schema.
fn schema() -> impl Strategy<Value = Value> {
    let keyword = prop::sample::select(vec![
        "type",
        "properties",
        "items",
        "anyOf",
        "oneOf",
        "allOf",
        "enum",
        "const",
        "required",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "pattern",
        "format",
        "$ref",
        "$defs",
        "additionalProperties",
        "patternProperties",
        "prefixItems",
        "minItems",
        "maxItems",
        "multipleOf",
        "minProperties",
        "maxProperties",
        "exclusiveMinimum",
    ]);
    let leaf = prop_oneof![
        Just(json!(null)),
        Just(json!(true)),
        Just(json!(false)),
        Just(json!("string")),
        Just(json!("object")),
        Just(json!("array")),
        Just(json!("integer")),
        Just(json!("number")),
        Just(json!("#")),
        Just(json!("#/$defs/a")),
        Just(json!("^a+$")),
        Just(json!("date")),
        (-3i64..9).prop_map(|n| json!(n)),
        Just(json!(0.1)),
        Just(json!(1e300)),
        Just(json!({})),
        Just(json!(["string", "integer"])),
        Just(json!(["a"])),
    ];
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec((keyword.clone(), inner.clone()), 0..5).prop_map(|members| {
                members
                    .into_iter()
                    .map(|(k, v)| (k.to_owned(), v))
                    .collect()
            }),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            inner.prop_map(|value| json!({"a": value, "b": {"type": "null"}})),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_schema_breaks_anything(schema in schema(), choices in prop::collection::vec(0usize..500, 40)) {
        thread_local!(static GRAMMARS: Grammars = grammars());
        GRAMMARS.with(|grammars| {
            match walk(grammars, &OutputFormat::JsonSchema(schema), &choices) {
                Ok((ids, true)) => {
                    let text = grammars.tokenizer.decode(&ids, true).unwrap();
                    serde_json::from_str::<Value>(&text).unwrap();
                }
                Ok((_, false)) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::ValidationException),
            }
        });
    }

    #[test]
    fn no_expression_breaks_anything(pattern in "[a-c(){}|*+?.\\[\\]^$\\\\0-9,]{0,24}", choices in prop::collection::vec(0usize..500, 20)) {
        thread_local!(static GRAMMARS: Grammars = grammars());
        GRAMMARS.with(|grammars| {
            for format in [OutputFormat::Regex(pattern.clone()), OutputFormat::Lark(format!("start: {pattern}"))] {
                if let Err(error) = walk(grammars, &format, &choices) {
                    assert_eq!(error.kind(), ErrorKind::ValidationException);
                }
            }
        });
    }
}
