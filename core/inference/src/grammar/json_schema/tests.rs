//! What is honoured, what is refused, and in which words.

#![allow(clippy::unwrap_used)]

use super::*;

fn refusal(schema: Value) -> String {
    let error = compile(&schema, "output_format").unwrap_err();
    error.message().to_owned()
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name_and_place() {
    for keyword in [
        "not",
        "if",
        "then",
        "else",
        "contains",
        "minContains",
        "maxContains",
        "propertyNames",
        "dependentSchemas",
        "dependentRequired",
        "dependencies",
        "unevaluatedProperties",
        "unevaluatedItems",
        "additionalItems",
        "$dynamicRef",
        "$recursiveRef",
        "nullable",
        "maximun",
    ] {
        let schema = json!({"type": "object", "properties": {"a": {"items": {keyword: true}}}});
        assert_eq!(
            refusal(schema),
            format!("output_format: /properties/a/items/{keyword}: this keyword is not supported")
        );
    }
    let unique = json!({"type": "array", "uniqueItems": true});
    assert_eq!(
        refusal(unique),
        "output_format: /uniqueItems: this keyword is not supported"
    );
}

#[test]
fn what_is_not_sound_is_refused_with_what_was_expected() {
    for (schema, message) in [
        (
            json!(false),
            "/: expected a schema, an object, got a boolean",
        ),
        (
            json!({"type": "text"}),
            "/type: expected one or several of null, boolean",
        ),
        (
            json!({"properties": []}),
            "/properties: expected an object of schemas",
        ),
        (json!({"anyOf": []}), "/anyOf: expected an array of schemas"),
        (
            json!({"items": [{}]}),
            "/items: expected a schema, an object, got an array",
        ),
        (
            json!({"minLength": -1}),
            "/minLength: expected a count, got -1",
        ),
        (
            json!({"maximum": "9"}),
            "/maximum: expected a number, got \"9\"",
        ),
        (
            json!({"exclusiveMinimum": true}),
            "/exclusiveMinimum: expected a number, got true",
        ),
        (
            json!({"multipleOf": 123456789}),
            "/multipleOf: expected a number of up to eight digits, got 123456789",
        ),
        (
            json!({"multipleOf": 0}),
            "/multipleOf: expected a number above 0, got 0",
        ),
        (
            json!({"const": 9007199254740993u64}),
            "/const: expected a number that a double holds",
        ),
        (
            json!({"format": "postcode"}),
            "/format: expected one of the formats date, time",
        ),
        (
            json!({"$ref": "https://example.org/x"}),
            "/$ref: expected a reference to a part of this schema",
        ),
        (
            json!({"$ref": "#/$defs/none"}),
            "/$ref: expected a reference to a part of this schema",
        ),
        (
            json!({"$schema": "http://json-schema.org/draft-04/schema#"}),
            "/$schema: expected one of",
        ),
        (
            json!({"items": {"$id": "x"}}),
            "/items/$id: expected at the root only",
        ),
        (
            json!({"minProperties": 3}),
            "/minProperties: expected at most 1, one more than are required, got 3",
        ),
        (
            json!({"oneOf": [{"type": "integer"}, {"type": "number"}]}),
            "/oneOf: expected options that exclude each other",
        ),
    ] {
        let refusal = refusal(schema);
        assert!(
            refusal.starts_with(&format!("output_format: {message}")),
            "{refusal}"
        );
    }
}

#[test]
fn a_schema_nests_as_deep_as_is_allowed() {
    let mut schema = json!({});
    for _ in 0..MAX_DEPTH {
        schema = json!({"items": schema});
    }
    assert!(compile(&schema, "f").is_ok());
    assert_eq!(
        compile(&json!({"items": schema}), "f").unwrap_err().kind(),
        outcrop_api::ErrorKind::ValidationException
    );
}

#[test]
fn objects_are_closed_only_where_one_schema_tells_their_properties() {
    let closes = |schema: Value| {
        let mut compiled = compile(&schema, "f").unwrap();
        compiled.as_object_mut().unwrap().remove("$defs");
        compiled
            .to_string()
            .contains("\"additionalProperties\":false")
    };
    let object = json!({"type": "object", "properties": {"a": {}}});
    assert!(closes(object.clone()));
    assert!(closes(json!({"items": object})));
    assert!(!closes(json!({"allOf": [object]})));
    assert!(!closes(json!({"properties": {"a": {}}, "required": ["b"]})));
    assert!(!closes(json!({"properties": {"a": {}}, "anyOf": [{}]})));
    assert!(!closes(
        json!({"properties": {"a": {}}, "patternProperties": {"b": {}}})
    ));
}

#[test]
fn options_exclude_each_other_by_type_constants_or_a_required_property() {
    let is_right = |schema: Value| compile(&schema, "f").is_ok();
    assert!(is_right(
        json!({"oneOf": [{"type": "string"}, {"type": ["null", "integer"]}]})
    ));
    assert!(is_right(
        json!({"oneOf": [{"const": 1}, {"enum": [2, "x"]}]})
    ));
    assert!(!is_right(
        json!({"oneOf": [{"const": 1}, {"enum": [1, "x"]}]})
    ));
    assert!(!is_right(json!({"oneOf": [{"const": 1}, {"const": 1.0}]})));
    let tagged = |tag: &str| json!({"type": "object", "properties": {"kind": {"const": tag}}, "required": ["kind"]});
    let both = json!({"$defs": {"a": tagged("a"), "b": tagged("b")},
        "oneOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}]});
    assert!(is_right(both));
    assert!(!is_right(json!({"oneOf": [tagged("a"), tagged("a")]})));
    let optional = json!({"type": "object", "properties": {"kind": {"const": "b"}}});
    assert!(!is_right(json!({"oneOf": [tagged("a"), optional]})));
}

#[test]
fn patterns_mean_what_several_languages_take_them_for() {
    assert_eq!(pattern::portable(r"^\d+\.[a-z.]/\/$"), r"^\d+\.[a-z.]//$");
    assert_eq!(pattern::portable("a.c"), r"a[^\n\r\u2028\u2029]c");
    assert_eq!(
        pattern::portable(r"\D[\w][^\w\s]"),
        r"[^\p{Nd}][\w][^\p{Alphabetic}\p{M}\p{N}\p{Pc}\s]"
    );
    assert_eq!(pattern::portable("[[&]"), r"[\[\&]");
    assert_eq!(pattern::portable("\\"), "\\");
}
