//! Replies with tools: calls that are well formed in every family's own form.

use outcrop_api::{ContentBlock, StreamEvent, Tool, ToolChoice};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::*;
use super::{grammars, is_allowed};

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
