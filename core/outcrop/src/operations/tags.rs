//! `TagResource`, `UntagResource` and `ListTagsForResource` of every service.

use outcrop_api::{Error, ErrorKind, Result};
use serde_json::{Map, Value};

use super::{Answer, Call, Service};
use crate::registry::{Kind, Resources, read_tags, tag_list};

/// Adds tags to a resource.
///
/// # Errors
/// `ResourceNotFoundException`; `ValidationException` for tags of the wrong form;
/// `TooManyTagsException` of `bedrock`, `ServiceQuotaExceededException` of the others.
pub(super) fn tag(call: &Call) -> Result<Answer> {
    let (resources, arn) = resource_of(call)?;
    let added = resources.tag(arn, read_tags(call.input.get("tags"))?);
    added.map_err(|error| match error.kind() {
        ErrorKind::ServiceQuotaExceededException if call.operation.service == Service::Bedrock => {
            Error::new(ErrorKind::TooManyTagsException, error.message())
                .with_member("resourceName", arn)
        }
        _ => error,
    })?;
    Ok(Answer::default())
}

/// Takes tags from a resource, by their keys.
///
/// # Errors
/// `ResourceNotFoundException`.
pub(super) fn untag(call: &Call) -> Result<Answer> {
    let (resources, arn) = resource_of(call)?;
    let keys = call.input["tagKeys"].as_array();
    let keys: Vec<&str> = keys
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    resources.update(arn, |resource| {
        resource.tags.retain(|key, _| !keys.contains(&key.as_str()));
        Ok(())
    })?;
    Ok(Answer::default())
}

/// The tags of a resource.
///
/// # Errors
/// `ResourceNotFoundException`.
pub(super) fn list(call: &Call) -> Result<Answer> {
    let (resources, arn) = resource_of(call)?;
    let tags = resources.get(arn)?.tags;
    let mut output = Map::new();
    if call.operation.service == Service::Bedrock {
        output.insert("tags".into(), tag_list(&tags));
    } else if !tags.is_empty() {
        output.insert("tags".into(), tags.into_iter().collect());
    }
    Ok(Answer {
        output,
        ..Answer::default()
    })
}

/// The kind of the resource that a call is about, and its ARN.
fn resource_of(call: &Call) -> Result<(Resources, &str)> {
    let member = match call.operation.service {
        Service::Bedrock => "resourceARN",
        _ => "resourceArn",
    };
    let arn = call.required(member)?;
    call.record.resource(arn);
    match Kind::of_arn(arn) {
        Some((kind, id)) => {
            let resources = call.session.resources(kind);
            Ok(match id.split_once('/') {
                Some((parent, _)) => (resources.under(parent), arn),
                None => (resources, arn),
            })
        }
        None => Err(Error::not_found(format!("Resource {arn} does not exist.")).with_resource(arn)),
    }
}
