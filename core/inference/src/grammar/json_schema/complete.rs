//! What a schema leaves open, said: so that whatever is generated can be read and comes to an end.

use serde_json::{Map, Value, json};

/// The definition that stands for any JSON value.
const ANY: &str = "outcrop.any";

/// Names of a map.
const MAP_NAMES: &str = "^(?s:.{0,64})$";

/// Least and greatest number, both ways, where the schema does not say.
const MOST: f64 = 1e18;

/// Least and greatest integer where the schema does not say.
const MOST_WHOLE: i64 = (1 << 53) - 1;

/// Keywords that apply other schemas or values to the same value: those say what it may be.
const IN_PLACE: [&str; 6] = ["$ref", "allOf", "anyOf", "oneOf", "const", "enum"];

/// A schema of any JSON value.
pub(super) fn any() -> Value {
    json!({"$ref": format!("#/$defs/{ANY}")})
}

/// Adds to the root what [`any`] refers to.
pub(super) fn define_any(root: &mut Map<String, Value>) {
    let definitions = root.entry("$defs").or_insert_with(|| json!({}));
    let any_value = json!({"anyOf": [
        {"type": "null"},
        {"type": "boolean"},
        {"type": "number", "minimum": -MOST, "maximum": MOST},
        {"type": "string"},
        {"type": "array", "items": any()},
        {"type": "object", "patternProperties": {MAP_NAMES: any()}, "additionalProperties": false},
    ]});
    if let Value::Object(definitions) = definitions {
        definitions.insert(ANY.to_owned(), any_value);
    }
}

/// Completes one schema, whose parts are complete. Where objects are `told_once`, each by one schema
/// only, one that names its properties, and says nothing of others, has no others; and what may be
/// anything is [`any`], which the compiler cannot intersect with itself.
pub(super) fn complete(schema: &mut Map<String, Value>, told_once: bool) {
    let has = |keyword: &str| schema.contains_key(keyword);
    if IN_PLACE.into_iter().any(has) && !has("type") {
        return;
    }
    if schema
        .keys()
        .all(|keyword| keyword == "$defs" || keyword == "definitions")
    {
        if !told_once {
            return;
        }
        schema.insert("$ref".to_owned(), any()["$ref"].clone());
        return;
    }
    let anything = || if told_once { any() } else { json!(true) };
    let is_one_of = |names: &[&str]| match schema.get("type") {
        None => true,
        Some(Value::Array(types)) => types.iter().any(|t| names.iter().any(|name| t == name)),
        Some(name) => names.iter().any(|n| name == n),
    };
    let (array, object) = (is_one_of(&["array"]), is_one_of(&["object"]));
    let (number, integer) = (is_one_of(&["number"]), is_one_of(&["integer"]));
    if array {
        schema.entry("items").or_insert_with(anything);
    }
    if object {
        if told_once && names_all(schema) {
            schema.insert("additionalProperties".to_owned(), json!(false));
        }
        schema
            .entry("additionalProperties")
            .or_insert_with(anything);
        name_shortly(schema);
    }
    if number || integer {
        let most = if number {
            json!(MOST)
        } else {
            json!(MOST_WHOLE)
        };
        let least = if number {
            json!(-MOST)
        } else {
            json!(-MOST_WHOLE)
        };
        add_bound(schema, ["minimum", "exclusiveMinimum"], least);
        add_bound(schema, ["maximum", "exclusiveMaximum"], most);
    }
}

/// Sets the first of two keywords where neither is there.
fn add_bound(schema: &mut Map<String, Value>, keywords: [&str; 2], bound: Value) {
    if !keywords.iter().any(|keyword| schema.contains_key(*keyword)) {
        schema.insert(keywords[0].to_owned(), bound);
    }
}

/// Whether an object names its properties, all that it requires, and says nothing of others.
fn names_all(schema: &Map<String, Value>) -> bool {
    let Some(Value::Object(properties)) = schema.get("properties") else {
        return false;
    };
    let named = |name: &Value| {
        name.as_str()
            .is_some_and(|name| properties.contains_key(name))
    };
    let required = schema.get("required").and_then(Value::as_array);
    let is_open = ["additionalProperties", "patternProperties", "minProperties"]
        .iter()
        .any(|keyword| schema.contains_key(*keyword));
    !is_open && required.is_none_or(|required| required.iter().all(named))
}

/// Keeps the names of a map, an object that names no property itself, to 64 characters.
fn name_shortly(schema: &mut Map<String, Value>) {
    let names_some = ["properties", "patternProperties", "required"]
        .iter()
        .any(|keyword| schema.contains_key(*keyword));
    let is_open = schema.get("additionalProperties") != Some(&Value::Bool(false));
    if is_open
        && !names_some
        && let Some(values) = schema.insert("additionalProperties".to_owned(), json!(false))
    {
        schema.insert("patternProperties".to_owned(), json!({MAP_NAMES: values}));
    }
}
