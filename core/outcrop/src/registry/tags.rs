//! Tags, in the two forms that the services write them.

use std::collections::BTreeMap;

use outcrop_api::{Error, ErrorKind, Result};
use serde_json::{Value, json};

/// Tags by key.
pub(crate) type Tags = BTreeMap<String, String>;

/// Most tags of a resource, as the shapes say.
const MAX_TAGS: usize = 200;

/// The tags of a request's member: a list of `{key, value}` or a map; none where it is absent.
///
/// # Errors
/// `ValidationException` for a key that is there twice or belongs to AWS.
pub(crate) fn read_tags(member: Option<&Value>) -> Result<Tags> {
    let mut tags = Tags::new();
    let listed = member.and_then(Value::as_array).into_iter().flatten();
    let listed = listed.map(|tag| (tag["key"].as_str(), tag["value"].as_str()));
    let mapped = member.and_then(Value::as_object).into_iter().flatten();
    let mapped = mapped.map(|(key, value)| (Some(key.as_str()), value.as_str()));
    for (key, value) in listed.chain(mapped) {
        let (Some(key), Some(value)) = (key, value) else {
            return Err(Error::validation("tags: expected texts as keys and values"));
        };
        if key.to_lowercase().starts_with("aws:") {
            return Err(Error::validation(format!(
                "Tag keys that start with aws: are reserved: {key}"
            )));
        }
        if tags.insert(key.into(), value.into()).is_some() {
            return Err(Error::validation(format!(
                "Duplicate tag keys found: {key}"
            )));
        }
    }
    Ok(tags)
}

/// Tags as a list of `{key, value}`.
pub(crate) fn tag_list(tags: &Tags) -> Value {
    tags.iter()
        .map(|(key, value)| json!({"key": key, "value": value}))
        .collect()
}

/// Adds `more` to a resource's tags.
pub(super) fn add(tags: &mut Tags, more: Tags) -> Result<()> {
    tags.extend(more);
    if tags.len() > MAX_TAGS {
        return Err(Error::new(
            ErrorKind::ServiceQuotaExceededException,
            format!(
                "A resource has at most {MAX_TAGS} tags, this one would have {}.",
                tags.len()
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let list = json!([{"key": "b", "value": "2"}, {"key": "a", "value": ""}]);
        let tags = read_tags(Some(&list)).unwrap();
        assert_eq!(tags, read_tags(Some(&json!({"a": "", "b": "2"}))).unwrap());
        assert_eq!(
            tag_list(&tags),
            json!([{"key": "a", "value": ""}, {"key": "b", "value": "2"}])
        );
        assert!(read_tags(None).unwrap().is_empty());
    }

    #[test]
    fn a_key_is_there_once_and_is_not_of_aws() {
        let twice = json!([{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]);
        assert!(read_tags(Some(&twice)).is_err());
        assert!(read_tags(Some(&json!({"AWS:x": "1"}))).is_err());
    }
}
