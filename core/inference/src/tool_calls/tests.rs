//! Replies of each family, however they are cut.

#![allow(clippy::unwrap_used, clippy::panic)]

use outcrop_api::{ContentBlock, ToolUse};
use proptest::prelude::*;
use serde_json::json;

use super::*;

const HERMES: &[&str] = &["<tool_call>"];
const LLAMA: &[&str] = &["dictionary of argument name"];
const MISTRAL: &[&str] = &["[TOOL_CALLS]"];
const MISTRAL_ARGS: &[&str] = &["[TOOL_CALLS]", "[ARGS]"];
const GRANITE: &[&str] = &["<|tool_call|>"];
const PHI: &[&str] = &["<|tool|>", "<|/tool|>"];
const DEEP_SEEK: &[&str] = &["<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>"];
const HARMONY: &[&str] = &["<|channel|>", "<|message|>"];
const CODER: &[&str] = &["<tool_call>", "<function=", "<parameter="];

/// A reply of the family whose template holds `marks`, with texts joined.
fn run(marks: &[&str], deltas: &[&str]) -> Vec<StreamEvent> {
    let format = of_template(|text| marks.contains(&text));
    let tool = Tool {
        name: "weather".to_owned(),
        description: String::new(),
        input_schema: json!({"properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}),
    };
    let mut reader = ReplyReader::new(format, vec![tool], 2).unwrap();
    let mut events: Vec<StreamEvent> = deltas.iter().flat_map(|delta| reader.push(delta)).collect();
    events.extend(reader.finish());
    let calls = |event: &&StreamEvent| matches!(event, StreamEvent::Block(_));
    assert_eq!(reader.found(), events.iter().filter(calls).count());
    let mut joined: Vec<StreamEvent> = Vec::new();
    for event in events {
        match (joined.last_mut(), event) {
            (Some(StreamEvent::TextDelta(text)), StreamEvent::TextDelta(more)) => {
                text.push_str(&more)
            }
            (_, event) => joined.push(event),
        }
    }
    joined
}

fn text(text: &str) -> StreamEvent {
    StreamEvent::TextDelta(text.to_owned())
}

fn call(id: usize, city: &str) -> StreamEvent {
    StreamEvent::Block(ContentBlock::ToolUse(ToolUse {
        tool_use_id: format!("tooluse_{id}"),
        name: "weather".to_owned(),
        input: json!({"city": city}),
    }))
}

const TWO: &str = "I look.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Bern\"}}\n</tool_call>\n\
    <tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Ulm\"}}\n</tool_call>\n";
const DEEP_SEEK_TWO: &str = "I look.\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{\"city\": \"Bern\"}\n```<｜tool▁call▁end｜>\n\
    <｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{\"city\": \"Ulm\"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
const HARMONY_CALL: &str = "<|channel|>analysis<|message|>I look.<|end|><|start|>assistant<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{\"city\": \"Bern\"}";

#[test]
fn hermes_calls_are_blocks_and_the_text_before_stays() {
    assert_eq!(
        run(HERMES, &[TWO]),
        [text("I look."), call(2, "Bern"), call(3, "Ulm")]
    );
}

const CODER_TWO: &str = "I look.\n<tool_call>\n<function=weather>\n<parameter=city>\nBern\n</parameter>\n</function>\n</tool_call>\n\
    <tool_call>\n<function=weather>\n<parameter=city>\nUlm\n</parameter>\n</function>\n</tool_call>\n";

#[test]
fn calls_of_parameters_are_read_by_the_tools_schema() {
    assert_eq!(
        run(CODER, &[CODER_TWO]),
        [text("I look."), call(2, "Bern"), call(3, "Ulm")]
    );
    let one = "<tool_call>\n<function=weather>\n<parameter=city>\nNew\n\nYork \n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>";
    let StreamEvent::Block(ContentBlock::ToolUse(call)) = &run(CODER, &[one])[0] else {
        panic!("expected a call");
    };
    assert_eq!(call.input, json!({"city": "New\n\nYork ", "days": 3}));
    let marked = "a</parameter> <b>\n</tool_call>\n\n</parameter>.";
    let one = format!(
        "<tool_call>\n<function=weather>\n<parameter=city>\n{marked}\n</parameter>\n</function>\n</tool_call>"
    );
    let StreamEvent::Block(ContentBlock::ToolUse(call)) = &run(CODER, &[&one])[0] else {
        panic!("expected a call");
    };
    assert_eq!(call.input, json!({"city": marked}));
    for unsound in [
        "<tool_call>\n<function=rain>\n</function>\n</tool_call>",
        "<tool_call>\n<function=weather>\n<parameter=days>\nmany\n</parameter>\n</function>\n</tool_call>",
        "<tool_call>\n<function=weather>\n<parameter=city>\nBern\n</function>\n</tool_call>",
        "<tool_call>\n{\"name\": \"weather\", \"arguments\": {}}\n</tool_call>",
    ] {
        assert_eq!(run(CODER, &[unsound]), [text(unsound)]);
    }
}

#[test]
fn calls_as_the_whole_reply_have_nothing_beside_them() {
    let reply = "{\"name\": \"weather\", \"parameters\": {\"city\": \"Bern\"}}";
    for marks in [LLAMA, &[]] {
        assert_eq!(run(marks, &[reply]), [call(2, "Bern")]);
        let tagged = format!("<|python_tag|>{reply}");
        assert_eq!(run(marks, &[&tagged]), [call(2, "Bern")]);
        let two = format!("{reply}; {reply}\n");
        assert_eq!(run(marks, &[&two]), [call(2, "Bern"), call(3, "Bern")]);
        let more = format!("{reply} and more");
        assert_eq!(run(marks, &[&more]), [text(&more)]);
    }
}

#[test]
fn lists_of_calls_follow_the_familys_token() {
    let list = "[{\"name\": \"weather\", \"arguments\": {\"city\": \"Bern\"}, \"id\": \"abcdefghi\"}, {\"name\": \"weather\", \"arguments\": {\"city\": \"Ulm\"}}]";
    for (marks, reply) in [
        (MISTRAL, format!("I look. [TOOL_CALLS]{list}")),
        (MISTRAL, format!("I look.[TOOL_CALLS] {list}\n")),
        (GRANITE, format!("I look.<|tool_call|>{list}")),
        (PHI, format!("I look.<|tool_call|>{list}<|/tool_call|>")),
    ] {
        assert_eq!(
            run(marks, &[&reply]),
            [text("I look."), call(2, "Bern"), call(3, "Ulm")],
            "{reply}"
        );
    }
}

#[test]
fn named_calls_have_their_arguments_behind_a_separator() {
    assert_eq!(
        run(DEEP_SEEK, &[DEEP_SEEK_TWO]),
        [text("I look."), call(2, "Bern"), call(3, "Ulm")]
    );
    let two =
        "[TOOL_CALLS]weather[ARGS]{\"city\": \"Bern\"}[TOOL_CALLS]weather[ARGS]{\"city\": \"Ulm\"}";
    assert_eq!(run(MISTRAL_ARGS, &[two]), [call(2, "Bern"), call(3, "Ulm")]);
}

#[test]
fn channels_are_thoughts_calls_and_what_the_user_reads() {
    assert_eq!(
        run(HARMONY, &[HARMONY_CALL]),
        [text("<think>I look.</think>\n\n"), call(2, "Bern")]
    );
    let answer = "<|channel|>analysis<|message|>So.<|end|><|start|>assistant<|channel|>final<|message|>It <rains.";
    assert_eq!(
        run(HARMONY, &[answer]),
        [text("<think>So.</think>\n\nIt <rains.")]
    );
    let unsound = "<|channel|>commentary to=functions.weather<|message|>{\"city\": ";
    assert_eq!(run(HARMONY, &[unsound]), [text("{\"city\": ")]);
    assert_eq!(run(HARMONY, &["no channels"]), [text("no channels")]);
}

#[test]
fn what_is_no_call_of_a_declared_tool_stays_text() {
    for (marks, reply) in [
        (
            HERMES,
            "<tool_call>{\"name\": \"rain\", \"arguments\": {}}</tool_call>",
        ),
        (
            HERMES,
            "<tool_call>{\"name\": \"weather\", \"arguments\": 3}</tool_call>",
        ),
        (HERMES, "<tool_call>{\"name\": \"weather\""),
        (HERMES, "a < b <tool_"),
        (LLAMA, "{\"city\": 1}"),
        (LLAMA, "  plain text \n"),
        (LLAMA, "<|py"),
        (
            MISTRAL,
            "[TOOL_CALLS][{\"name\": \"rain\", \"arguments\": {}}]",
        ),
        (MISTRAL, "so [TOOL_CALLS][{\"name\": \"weather\", \"argu"),
        (MISTRAL, "[TOOL_CALLS]"),
        (
            DEEP_SEEK,
            "so <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function",
        ),
        (DEEP_SEEK, "ends <｜tool▁"),
    ] {
        assert_eq!(run(marks, &[reply]), [text(reply)]);
    }
}

proptest! {
    #[test]
    fn borders_of_tokens_change_nothing(cuts in prop::collection::vec(1usize..12, 300)) {
        for (marks, reply) in [
            (HERMES, TWO),
            (CODER, CODER_TWO),
            (HERMES, "so <tool_call>{\"name\": 1}</tool_call> \n it goes"),
            (LLAMA, "{\"name\": \"weather\"}"),
            (LLAMA, "<|python_tag|>{\"name\": \"weather\", \"parameters\": {\"city\": \"Bern\"}}"),
            (MISTRAL, "a [TOOL_CALLS] [{\"name\": \"weather\", \"arguments\": {\"city\": \"Ulm\"}}] b"),
            (DEEP_SEEK, DEEP_SEEK_TWO),
            (HARMONY, HARMONY_CALL),
            (HARMONY, "<|channel|>final<|message|>a <|e b<|end|>"),
        ] {
            let (mut deltas, mut rest) = (Vec::new(), reply);
            for cut in &cuts {
                let mut at = (*cut).min(rest.len());
                while !rest.is_char_boundary(at) {
                    at += 1;
                }
                let (delta, more) = rest.split_at(at);
                deltas.push(delta);
                rest = more;
            }
            deltas.push(rest);
            prop_assert_eq!(run(marks, &deltas), run(marks, &[reply]));
        }
    }
}
