//! Digests of requests, which do not depend on the order of their members.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The SHA-256 of `parts`, in hexadecimal digits.
pub(super) fn of_texts(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// The digest of a request's members, save those called `without`.
pub(super) fn of_request(request: &Value, without: &[&str]) -> String {
    let mut members: Vec<_> = request
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| !without.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}={}", sorted(value)))
        .collect();
    members.sort_unstable();
    let parts: Vec<&str> = members.iter().map(String::as_str).collect();
    of_texts(&parts)
}

/// The value with the members of its objects in the order of their names.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            let members = members.into_iter();
            members
                .map(|(name, value)| (name.clone(), sorted(value)))
                .collect()
        }
        plain => plain.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_order_of_members_does_not_matter_and_their_values_do() {
        let of = |value: Value| of_request(&value, &["clientToken"]);
        let one = of(json!({"a": {"x": 1, "y": [2]}, "b": 2, "clientToken": "t"}));
        assert_eq!(one, of(json!({"b": 2, "a": {"y": [2], "x": 1}})));
        assert_ne!(one, of(json!({"b": 2, "a": {"y": [3], "x": 1}})));
        assert_ne!(of_texts(&["ab", "c"]), of_texts(&["a", "bc"]));
    }
}
