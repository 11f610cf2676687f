//! Requests that are refused, and the words for it.
#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::service_model::service;

fn refused(name: &str, operation: &str, input: Value) -> String {
    let service = service(name).unwrap();
    let operation = service.operation(operation).unwrap();
    let Value::Object(input) = input else {
        panic!("members");
    };
    match validate(service, operation.input, &input) {
        Ok(()) => "right".to_string(),
        Err(message) => message,
    }
}

fn converse(messages: Value) -> String {
    refused(
        "bedrock-runtime",
        "Converse",
        json!({"modelId": "a.b", "messages": messages}),
    )
}

#[test]
fn what_is_right_is_not_refused() {
    let text = json!([{"role": "user", "content": [{"text": "hello"}]}]);
    assert_eq!(converse(text), "right");
    let tool = json!({"toolUse": {"toolUseId": "t1", "name": "f", "input": {"any": null}}});
    assert_eq!(
        converse(json!([{"role": "assistant", "content": [tool]}])),
        "right"
    );
}

#[test]
fn a_pattern_and_a_length_are_refused_together() {
    let name = format!("a b{}", "c".repeat(62));
    let tool = json!({"toolUse": {"toolUseId": "t1", "name": name, "input": {}}});
    let content = json!([{"text": "hi"}, tool]);
    let at = "Value at 'messages.1.member.content.2.member.toolUse.name' failed to satisfy \
        constraint: Member must";
    assert_eq!(
        converse(json!([{"role": "assistant", "content": content}])),
        format!(
            "2 validation errors detected: {at} have length less than or equal to 64; {at} \
            satisfy regular expression pattern: [a-zA-Z0-9_-]+"
        )
    );
}

#[test]
fn a_required_member_an_enum_and_a_range_are_named() {
    assert_eq!(
        converse(json!([{"role": "tool"}])),
        "2 validation errors detected: Value 'tool' at 'messages.1.member.role' failed to satisfy \
        constraint: Member must satisfy enum value set: [user, assistant, system]; Value at \
        'messages.1.member.content' failed to satisfy constraint: Member must not be null"
    );
    let input = json!({"modelId": "a.b", "inferenceConfig": {"temperature": 1.5, "maxTokens": 0}});
    assert_eq!(
        refused("bedrock-runtime", "Converse", input),
        "2 validation errors detected: Value '0' at 'inferenceConfig.maxTokens' failed to satisfy \
        constraint: Member must have value greater than or equal to 1; Value '1.5' at \
        'inferenceConfig.temperature' failed to satisfy constraint: Member must have value less \
        than or equal to 1"
    );
}

#[test]
fn values_are_shown_save_those_of_prompts() {
    let tool = json!({"toolSpec": {"name": "", "inputSchema": {"json": {}}}});
    let input = json!({"modelId": "a.b", "toolConfig": {"tools": [tool]}});
    assert_eq!(
        refused("bedrock-runtime", "Converse", input),
        "2 validation errors detected: Value '' at 'toolConfig.tools.1.member.toolSpec.name' \
        failed to satisfy constraint: Member must satisfy regular expression pattern: \
        [a-zA-Z0-9_-]+; Value '' at 'toolConfig.tools.1.member.toolSpec.name' failed to satisfy \
        constraint: Member must have length greater than or equal to 1"
    );
    let input = json!({"knowledgeBaseId": "not a base"});
    assert_eq!(
        refused("bedrock-agent", "GetKnowledgeBase", input),
        "1 validation error detected: Value 'not a base' at 'knowledgeBaseId' failed to \
        satisfy constraint: Member must satisfy regular expression pattern: [0-9a-zA-Z]{10}"
    );
    assert_eq!(
        refused("bedrock-agent", "GetKnowledgeBase", json!({})),
        "1 validation error detected: Value null at 'knowledgeBaseId' failed to satisfy \
        constraint: Member must not be null"
    );
}

#[test]
fn lists_and_maps_of_texts_show_all_their_constraints() {
    let stops = json!({"modelId": "a.b", "inferenceConfig": {"stopSequences": ["ok", ""]}});
    assert_eq!(
        refused("bedrock-runtime", "Converse", stops),
        "1 validation error detected: Value '[ok, ]' at 'inferenceConfig.stopSequences' failed to \
        satisfy constraint: Member must satisfy constraint: [Member must have length greater \
        than or equal to 1]"
    );
    let tags = json!({"name": "prompt", "tags": {"a": "\u{0}"}});
    let told = refused("bedrock-agent", "CreatePrompt", tags);
    assert!(
        told.contains("Map value must satisfy constraint: [Member must have length less"),
        "{told}"
    );
}

#[test]
fn a_union_has_one_member() {
    let empty = json!([{"role": "user", "content": [{"document": {"name": "a", "source": {}}}]}]);
    assert_eq!(
        converse(empty),
        "DocumentSource object at messages.0.content.0.document.source must set one of the \
        following keys: bytes, s3Location, text, content."
    );
    let both = json!({"text": "a", "cachePoint": {"type": "default"}});
    let told = converse(json!([{"role": "user", "content": [both]}]));
    let start = "ContentBlock object at messages.0.content.0 must set only one of the following \
        keys: text, image,";
    assert!(told.starts_with(start), "{told}");
}

#[test]
fn nothing_unknown_is_accepted() {
    assert_eq!(
        converse(json!([{"role": "user", "content": [], "name": "x"}])),
        "1 validation error detected: Value at 'messages.1.member.name' failed to satisfy \
        constraint: Member must be in the service model"
    );
}

#[test]
fn a_wrong_json_type_is_told_in_the_services_words() {
    assert_eq!(
        converse(json!("hello")),
        "STRING_VALUE can not be converted to a List: 'messages'"
    );
    assert_eq!(
        converse(json!([{"role": {}, "content": []}])),
        "Start of structure or map found where not expected: 'messages.1.member.role'"
    );
    let config = |value: Value| {
        let input = json!({"modelId": "a.b", "inferenceConfig": {"maxTokens": value}});
        refused("bedrock-runtime", "Converse", input)
    };
    for value in [json!(1.5), json!(3_000_000_000_u64), json!(1e300)] {
        assert_eq!(
            config(value),
            "NUMBER_VALUE can not be converted to an Integer: 'inferenceConfig.maxTokens'"
        );
    }
    let image = json!({"image": {"format": "png", "source": {"bytes": "not base64"}}});
    let told = converse(json!([{"role": "user", "content": [image]}]));
    assert!(told.starts_with("Invalid base64 in a blob"), "{told}");
}

/// Any JSON, its objects made of names that the models know.
fn any_json() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "messages",
        "role",
        "content",
        "text",
        "image",
        "source",
        "bytes",
        "toolUse",
        "input",
        "toolConfig",
        "tools",
        "inferenceConfig",
        "maxTokens",
        "temperature",
        "name",
        "filter",
        "andAll",
        "equals",
        "retrievalQuery",
        "knowledgeBaseConfiguration",
        "variants",
        "tags",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..5).prop_map(|members| {
                members
                    .into_iter()
                    .map(|(name, value)| (name.to_string(), value))
                    .collect()
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn whatever_is_sent_to_any_operation_is_judged(value in any_json()) {
        let members = Map::from_iter([("messages".to_string(), value.clone())]);
        let input = value.as_object().cloned().unwrap_or(members);
        for service in crate::service_model::services() {
            for operation in &service.operations {
                if let Err(message) = validate(service, operation.input, &input) {
                    prop_assert!(!message.is_empty());
                }
            }
        }
    }
}
