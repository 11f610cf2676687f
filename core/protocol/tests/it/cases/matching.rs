//! Whether what came back is what a case expects: see `core/outcrop/cases/README.md`.

use std::collections::HashMap;

use serde_json::Value;

/// What a case has kept, by name.
pub type Kept = HashMap<String, Value>;

/// Says what differs, with its place; nothing where all is as expected.
pub fn differs(
    expected: &Value,
    found: Option<&Value>,
    at: &str,
    kept: &mut Kept,
) -> Option<String> {
    let told = |what: String| Some(format!("{at}: {what}"));
    if expected == "$absent" {
        return found.and_then(|found| told(format!("expected nothing, got {found}")));
    }
    let Some(found) = found else {
        return told(format!("expected {expected}, got nothing"));
    };
    match expected {
        Value::String(text) if text.starts_with('$') => {
            word_differs(text, found, kept).and_then(told)
        }
        Value::Object(members) if members.contains_key("$contains") => {
            let wanted = members["$contains"].as_array()?;
            let found = found.as_array().cloned().unwrap_or_default();
            wanted.iter().find_map(|wanted| {
                let mut items = found.iter();
                let is_there = items.any(|item| differs(wanted, Some(item), at, kept).is_none());
                (!is_there).then(|| format!("{at}: {wanted} is not in {found:?}"))
            })
        }
        Value::Object(members) => members.iter().find_map(|(name, wanted)| {
            differs(wanted, found.get(name), &format!("{at}.{name}"), kept)
        }),
        Value::Array(items) => {
            let Some(others) = found
                .as_array()
                .filter(|others| others.len() == items.len())
            else {
                return told(format!("expected {} items, got {found}", items.len()));
            };
            items
                .iter()
                .zip(others)
                .enumerate()
                .find_map(|(index, (item, other))| {
                    differs(item, Some(other), &format!("{at}[{index}]"), kept)
                })
        }
        _ if same(expected, found) => None,
        _ => told(format!("expected {expected}, got {found}")),
    }
}

/// Numbers are the same where their values are: 1 and 1.0.
fn same(expected: &Value, found: &Value) -> bool {
    match (expected.as_f64(), found.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => expected == found,
    }
}

fn word_differs(word: &str, found: &Value, kept: &mut Kept) -> Option<String> {
    if let Some(name) = word.strip_prefix("$as ") {
        kept.insert(name.to_string(), found.clone());
        return None;
    }
    if let Some(pattern) = word.strip_prefix("$match: ") {
        let regex = fancy_regex::Regex::new(pattern).expect("a case's pattern compiles");
        let fits = found
            .as_str()
            .is_some_and(|text| regex.is_match(text).unwrap_or(false));
        return (!fits).then(|| format!("expected /{pattern}/, got {found}"));
    }
    let fits = match word {
        "$any" => true,
        "$string" => found.is_string(),
        "$number" => found.is_number(),
        "$integer" => found.is_i64() || found.is_u64(),
        "$object" => found.is_object(),
        "$array" => found.is_array(),
        "$time" => {
            let time = found.as_str().map(chrono::DateTime::parse_from_rfc3339);
            time.is_some_and(|time| time.is_ok())
        }
        _ => panic!("a case expects {word}, which the form does not have"),
    };
    (!fits).then(|| format!("expected {word}, got {found}"))
}

/// The events of a stream against those expected, `$more` standing for any number of them.
pub fn events_differ(
    expected: &[Value],
    found: &[Value],
    at: usize,
    kept: &mut Kept,
) -> Option<String> {
    let place = format!("events[{at}]");
    match (expected.split_first(), found.split_first()) {
        (None, None) => None,
        (None, Some((event, _))) => Some(format!("{place}: expected the end, got {event}")),
        (Some((first, rest)), _) if first == "$more" => {
            let problems = (0..=found.len()).map(|skipped| {
                events_differ(rest, &found[skipped..], at + skipped, &mut kept.clone())
            });
            let problems: Vec<Option<String>> = problems.collect();
            match problems.iter().position(Option::is_none) {
                Some(skipped) => events_differ(rest, &found[skipped..], at + skipped, kept),
                None => problems.into_iter().flatten().next(),
            }
        }
        (Some((first, _)), None) => Some(format!("{place}: expected {first}, got the end")),
        (Some((first, rest)), Some((event, others))) => differs(first, Some(event), &place, kept)
            .or_else(|| events_differ(rest, others, at + 1, kept)),
    }
}

/// `value` with every `${NAME}` in its texts replaced by what was kept.
pub fn filled(value: &Value, kept: &Kept) -> Value {
    match value {
        Value::String(text) => fill(text, kept),
        Value::Array(items) => items.iter().map(|item| filled(item, kept)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), filled(value, kept)))
            .collect(),
        other => other.clone(),
    }
}

fn fill(text: &str, kept: &Kept) -> Value {
    let mut filled = text.to_string();
    for (name, value) in kept {
        let mark = format!("${{{name}}}");
        if text == mark {
            return value.clone();
        }
        let shown = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_string);
        filled = filled.replace(&mark, &shown);
    }
    Value::String(filled)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn differ(expected: Value, found: Value) -> Option<String> {
        differs(&expected, Some(&found), "output", &mut Kept::new())
    }

    #[test]
    fn objects_may_have_more_members_and_arrays_may_not() {
        assert_eq!(differ(json!({"a": 1}), json!({"a": 1.0, "b": 2})), None);
        assert_eq!(
            differ(json!({"a": [1, "$any"]}), json!({"a": [1]})).as_deref(),
            Some("output.a: expected 2 items, got [1]")
        );
        assert!(differ(json!({"b": "$absent"}), json!({"b": 1})).is_some());
        assert!(differ(json!({"b": "$any"}), json!({})).is_some());
        assert_eq!(
            differ(
                json!({"$contains": [{"a": 2}]}),
                json!([{"a": 1}, {"a": 2}])
            ),
            None
        );
        assert!(differ(json!({"$contains": [3]}), json!([1, 2])).is_some());
    }

    #[test]
    fn words_stand_for_kinds() {
        assert_eq!(differ(json!("$time"), json!("2026-11-23T10:00:00Z")), None);
        assert!(differ(json!("$time"), json!("yesterday")).is_some());
        assert!(differ(json!("$integer"), json!(1.5)).is_some());
        assert_eq!(differ(json!("$match: ^a+$"), json!("aaa")), None);
        let mut kept = Kept::new();
        assert_eq!(
            differs(&json!("$as id"), Some(&json!("x1")), "", &mut kept),
            None
        );
        assert_eq!(
            filled(&json!({"a": ["${id}", "arn/${id}"]}), &kept),
            json!({"a": ["x1", "arn/x1"]})
        );
    }

    #[test]
    fn more_stands_for_any_number_of_events() {
        let found = [
            json!({"a": {}}),
            json!({"b": {}}),
            json!({"b": {}}),
            json!({"c": {"d": 1}}),
        ];
        let differ = |expected: Value| {
            events_differ(expected.as_array().unwrap(), &found, 0, &mut Kept::new())
        };
        assert_eq!(differ(json!([{"a": {}}, "$more", {"c": {"d": 1}}])), None);
        assert!(differ(json!([{"a": {}}, "$more", {"c": {"d": 2}}])).is_some());
        assert!(
            differ(json!([{"a": {}}, {"b": {}}]))
                .unwrap()
                .contains("expected the end")
        );
    }
}
