//! Grammars over a golden tokenizer, sound and hostile ones.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use outcrop_api::{ContentBlock, ErrorKind, StreamEvent, Tool, ToolChoice};
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

fn tools() -> Vec<Tool> {
    let tool = |name: &str, schema: Value| Tool {
        name: name.to_owned(),
        description: String::new(),
        input_schema: schema,
    };
    vec![
        tool("now", json!({})),
        tool(
            "weather",
            json!({"type": "object", "properties": {"city": {"enum": ["Bern", "Ulm"]}}, "required": ["city"]}),
        ),
    ]
}

/// Marks of the families' templates, with what stands before a call's first choice.
const FAMILIES: [(&[&str], &str); 10] = [
    (&["<tool_call>"], "So <tool_call>"),
    (
        &["<tool_call>", "<function=", "<parameter="],
        "So <tool_call>\n<function=",
    ),
    (&["[TOOL_CALLS]"], "So [TOOL_CALLS]"),
    (&["[TOOL_CALLS]", "[ARGS]"], "[TOOL_CALLS]"),
    (&["<|tool|>", "<|/tool|>"], "So<|tool_call|>"),
    (&["<|tool_call|>"], "<|tool_call|>"),
    (
        &["<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>"],
        "So <｜tool▁calls▁begin｜>",
    ),
    (
        &["<|channel|>", "<|message|>"],
        "<|channel|>analysis<|message|>So.<|end|><|start|>assistant<|channel|>commentary to=",
    ),
    (
        &["dictionary of argument name"],
        "{ \"name\":\"weather\" , \"parameters\":",
    ),
    (&[], "{\"name\": \"weather\", \"parameters\": "),
];

/// Walks through a reply that begins with `begun`, and reads it: its calls and its text.
fn reply(
    form: &ToolForm<'_>,
    begun: &str,
    choices: &[usize],
) -> Option<(Vec<(String, Value)>, String)> {
    thread_local!(static GRAMMARS: Grammars = grammars());
    GRAMMARS.with(|grammars| {
        let (mut constraint, mut ids) = grammars.start_tools(form).unwrap();
        let begun = grammars.tokenizer.encode(begun, false).unwrap();
        let mut choices = choices.iter();
        while !constraint.is_complete() {
            let id = match begun.get(ids.len()) {
                Some(&id) => {
                    assert!(
                        is_allowed(&constraint, id),
                        "{:?}",
                        grammars.tokenizer.decode(&ids, false)
                    );
                    id
                }
                None => {
                    let allowed: Vec<u32> =
                        (0..600).filter(|id| is_allowed(&constraint, *id)).collect();
                    // What ends, where it may: a walk at random would write and write.
                    let end = allowed
                        .iter()
                        .find(|id| grammars.tokenizer.eos().contains(id));
                    match end {
                        Some(_) => break,
                        None => allowed[choices.next()? % allowed.len()],
                    }
                }
            };
            ids.push(id);
            ids.extend(constraint.commit(id).unwrap());
        }
        let text = grammars.tokenizer.decode(&ids, false).unwrap();
        let tools = form.tools.to_vec();
        let mut reader = crate::tool_calls::ReplyReader::new(form.format, tools, 0).unwrap();
        let mut events = reader.push(&text);
        events.extend(reader.finish());
        let (mut calls, mut plain) = (Vec::new(), String::new());
        for event in events {
            match event {
                StreamEvent::Block(ContentBlock::ToolUse(call)) => {
                    calls.push((call.name, call.input))
                }
                StreamEvent::TextDelta(delta) => plain.push_str(&delta),
                _ => {}
            }
        }
        Some((calls, plain))
    })
}

fn is_sound(name: &str, input: &Value) -> bool {
    let city = &input["city"];
    input.is_object() && (name == "now" || name == "weather" && (city == "Bern" || city == "Ulm"))
}

#[test]
fn a_reply_in_channels_has_its_form_in_the_one_that_is_read() {
    let marks = ["<|channel|>", "<|message|>"];
    let output = OutputFormat::JsonSchema(json!({"enum": ["one", "two"]}));
    let form = ToolForm {
        format: crate::tool_calls::of_template(|text| marks.contains(&text)),
        tools: &[],
        choice: None,
        output: Some(&output),
    };
    for choice in 0..4 {
        let (calls, text) = reply(&form, "", &[choice; 60]).unwrap();
        assert!(calls.is_empty());
        assert!(["\"one\"", "\"two\""].contains(&text.as_str()), "{text}");
    }
}

#[test]
fn a_text_that_stands_alone_is_any_text() {
    let marks = ["<tool_call>", "<function=", "<parameter="];
    let text = json!({"anyOf": [{"type": "string"}, {"type": "null"}]});
    let tools = [Tool {
        name: "note".to_owned(),
        description: String::new(),
        input_schema: json!({"properties": {"a": {"type": "string"}, "b": text}, "required": ["a"]}),
    }];
    let form = ToolForm {
        format: crate::tool_calls::of_template(|text| marks.contains(&text)),
        tools: &tools,
        choice: None,
        output: None,
    };
    for (a, b, expected) in [
        ("x < y\n\n</b> {\"", None, json!({"a": "x < y\n\n</b> {\""})),
        ("", Some("null"), json!({"a": "", "b": null})),
        ("null", Some("12"), json!({"a": "null", "b": "12"})),
    ] {
        let b = b.map_or(String::new(), |b| {
            format!("<parameter=b>\n{b}\n</parameter>\n")
        });
        let begun = format!(
            "So <tool_call>\n<function=note>\n<parameter=a>\n{a}\n</parameter>\n{b}</function>\n</tool_call>"
        );
        let (calls, text) = reply(&form, &begun, &[]).unwrap();
        assert_eq!((calls[0].1.clone(), &text[..]), (expected, "So"));
    }
}

/// Schemas whose calls are written parameter by parameter, walked through at random.
#[test]
fn parameters_that_stand_alone_are_held_to_their_schemas() {
    let marks = ["<tool_call>", "<function=", "<parameter="];
    let properties = json!({
        "city": {"enum": ["Bern", "Ulm"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
        "word": {"type": "string", "minLength": 2, "maxLength": 4},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "maxItems": 2},
        "sure": {"type": ["boolean", "null"]},
    });
    let tool = |schema: Value| Tool {
        name: "weather".to_owned(),
        description: String::new(),
        input_schema: schema,
    };
    let schema = json!({"type": "object", "properties": properties, "$defs": {"tag": {"enum": [1, true]}},
        "required": ["city", "days", "word", "tags"]});
    let tools = [tool(schema)];
    let form = ToolForm {
        format: crate::tool_calls::of_template(|text| marks.contains(&text)),
        tools: &tools,
        choice: Some(&ToolChoice::Any {}),
        output: None,
    };
    let mut finished = 0;
    for seed in 0..60usize {
        let choices: Vec<usize> = (0..400)
            .map(|at| (at * 7919 + seed * 104_729) % 501)
            .collect();
        let Some((calls, text)) = reply(&form, "", &choices) else {
            continue;
        };
        assert!(text.is_empty() && !calls.is_empty(), "{text}");
        finished += 1;
        for (_, input) in calls {
            assert!(input["city"] == "Bern" || input["city"] == "Ulm", "{input}");
            assert!(
                (1..=9).contains(&input["days"].as_i64().unwrap()),
                "{input}"
            );
            let length = input["word"].as_str().unwrap().chars().count();
            assert!((2..=4).contains(&length), "{input}");
            assert!(
                input["tags"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|tag| *tag == 1 || *tag == true)
            );
            assert!(
                input["sure"].is_boolean() || input["sure"].is_null(),
                "{input}"
            );
        }
    }
    assert!(finished > 5, "{finished}");
    for (schema, place) in [
        (
            json!({"properties": {"a": {"type": "string", "pattern": "^a+$"}}}),
            "/properties/a/pattern",
        ),
        (
            json!({"properties": {"a": {"type": ["string", "object"]}}}),
            "/properties/a",
        ),
        (
            json!({"type": "object", "minProperties": 1}),
            "/minProperties",
        ),
    ] {
        let tools = [tool(schema)];
        let form = ToolForm {
            tools: &tools,
            ..form
        };
        let error = grammars().start_tools(&form).err().unwrap();
        assert!(error.message().contains(place), "{error}");
        assert!(
            error.message().contains("parameter by parameter"),
            "{error}"
        );
    }
}

#[test]
fn a_tool_that_is_chosen_must_be_declared() {
    let choice = ToolChoice::Tool {
        name: "rain".to_owned(),
    };
    let tools = tools();
    let form = ToolForm {
        format: crate::tool_calls::of_template(|_| false),
        tools: &tools,
        choice: Some(&choice),
        output: None,
    };
    let error = grammars().start_tools(&form).err().unwrap();
    assert_eq!(
        error.message(),
        "tool_choice.tool.name: expected one of the tools now, weather, got \"rain\""
    );
}

#[test]
fn a_tools_schema_is_honoured_or_refused() {
    for (schema, message) in [
        (
            json!({"type": "array"}),
            "tools[0].input_schema: /type: expected \"object\", got \"array\"",
        ),
        (
            json!({"not": {}}),
            "tools[0].input_schema: /not: this keyword is not supported",
        ),
    ] {
        let mut tools = tools();
        tools[0].input_schema = schema;
        let form = ToolForm {
            format: crate::tool_calls::of_template(|_| false),
            tools: &tools,
            choice: None,
            output: None,
        };
        assert_eq!(
            grammars().start_tools(&form).err().unwrap().message(),
            message
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
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_forced_call_is_sound_in_every_family(choices in prop::collection::vec(0usize..500, 120)) {
        let tools = tools();
        for (marks, _) in FAMILIES {
            let format = crate::tool_calls::of_template(|text| marks.contains(&text));
            for choice in [ToolChoice::Any {}, ToolChoice::Tool { name: "weather".to_owned() }] {
                let form = ToolForm { format, tools: &tools, choice: Some(&choice), output: None };
                let Some((calls, text)) = reply(&form, "", &choices) else { continue };
                prop_assert!(!calls.is_empty(), "{marks:?}: {text}");
                prop_assert!(text.is_empty(), "{marks:?}: {text}");
                prop_assert!(calls.iter().all(|(name, input)| is_sound(name, input)));
                let is_named = matches!(choice, ToolChoice::Tool { .. });
                prop_assert!(!is_named || calls.len() == 1 && calls[0].0 == "weather");
            }
        }
    }

    #[test]
    fn a_call_that_is_begun_becomes_a_sound_one(choices in prop::collection::vec(0usize..500, 120)) {
        let tools = tools();
        for (marks, begun) in FAMILIES {
            let format = crate::tool_calls::of_template(|text| marks.contains(&text));
            let form = ToolForm { format, tools: &tools, choice: None, output: None };
            let Some((calls, text)) = reply(&form, begun, &choices) else { continue };
            prop_assert!(!calls.is_empty(), "{marks:?}: {text}");
            prop_assert!(calls.iter().all(|(name, input)| is_sound(name, input)));
        }
    }

    #[test]
    fn beside_tools_the_text_has_the_output_format(choices in prop::collection::vec(0usize..500, 120)) {
        let tools = tools();
        let output = OutputFormat::JsonSchema(json!({"enum": [1, "two", {"three": 3}]}));
        for (marks, _) in FAMILIES {
            let format = crate::tool_calls::of_template(|text| marks.contains(&text));
            let form = ToolForm { format, tools: &tools, choice: None, output: Some(&output) };
            let Some((calls, text)) = reply(&form, "", &choices) else { continue };
            match calls.is_empty() {
                true => {
                    let known = [json!(1), json!("two"), json!({"three": 3})];
                    let document: Value = serde_json::from_str(&text).unwrap();
                    prop_assert!(known.contains(&document), "{text}");
                }
                false => prop_assert!(calls.iter().all(|(name, input)| is_sound(name, input))),
            }
        }
    }
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
