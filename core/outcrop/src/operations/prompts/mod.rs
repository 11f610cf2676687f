//! Prompt management: prompts, their numbered versions, and what a call of one says.

mod expand;
mod template;

use outcrop_api::{Error, Result};
use serde_json::{Map, Value, json};

use super::{Answer, Call};
use crate::registry::{
    Draft, Kind, PROMPT_VERSIONS, PROMPTS, Page, Resource, Resources, read_tags,
};
use crate::session::Session;

pub(crate) use expand::expand;

/// The version that is worked on.
const DRAFT: &str = "DRAFT";
/// Members that a prompt is made of.
const MEMBERS: [&str; 3] = ["description", "defaultVariant", "variants"];
/// Most prompts of one page: the shape of the answer holds no more.
const MAX_PAGE: usize = 10;

/// `CreatePrompt`.
pub(super) fn create(call: &Call) -> Result<Answer> {
    let members = members_of(call)?;
    let prompt = prompts(&call.session).create(Draft {
        name: Some(call.required("name")?),
        token: call.text("clientToken"),
        request: Some(&call.input),
        tags: read_tags(call.input.get("tags"))?,
        members,
        ..Draft::default()
    })?;
    call.record.resource(&prompt.arn);
    Answer::of(&whole(&prompt, DRAFT, &prompt))
}

/// `GetPrompt`.
pub(super) fn get(call: &Call) -> Result<Answer> {
    let identifier = call.required("promptIdentifier")?;
    let asked = call.text("promptVersion");
    let (prompt, version) = read(&call.session, identifier, asked)?;
    let shown = version.as_ref().unwrap_or(&prompt);
    let number = version.as_ref().map_or(DRAFT, |version| &version.id);
    match call.text("includedData") {
        Some("METADATA_ONLY") => Answer::of(&summary(&prompt, number, shown)),
        _ => Answer::of(&whole(&prompt, number, shown)),
    }
}

/// `UpdatePrompt`: the draft becomes what the request says.
pub(super) fn update(call: &Call) -> Result<Answer> {
    let members = members_of(call)?;
    let name = call.required("name")?;
    let identifier = call.required("promptIdentifier")?;
    let prompt = prompts(&call.session).update(identifier, |prompt| {
        prompt.name = Some(name.into());
        prompt.members.retain(|member, _| member == LAST_VERSION);
        prompt.members.extend(members);
        Ok(())
    })?;
    Answer::of(&whole(&prompt, DRAFT, &prompt))
}

/// `ListPrompts`: the drafts of all prompts, or all versions of one.
pub(super) fn list(call: &Call) -> Result<Answer> {
    let page = Page::of(call)?.at_most(MAX_PAGE);
    let Some(identifier) = call.text("promptIdentifier") else {
        let listed = prompts(&call.session).page(&page, |_| true)?;
        return Answer::of(&listed.answer("promptSummaries", |p| summary(p, DRAFT, p)));
    };
    let prompt = prompts(&call.session).get(identifier)?;
    let mut all = versions(&call.session, &prompt).all()?;
    // The draft is older than its versions, and stays at its place when it is changed.
    all.insert(0, prompt.clone());
    let listed = page.of_all(all, |_| true);
    Answer::of(
        &listed.answer("promptSummaries", |shown| match shown.id == prompt.id {
            true => summary(&prompt, DRAFT, shown),
            false => summary(&prompt, &shown.id, shown),
        }),
    )
}

/// `DeletePrompt`: one version, or the prompt with all of them.
pub(super) fn delete(call: &Call) -> Result<Answer> {
    let identifier = call.required("promptIdentifier")?;
    let prompt = prompts(&call.session).get(identifier)?;
    let versions = versions(&call.session, &prompt);
    if let Some(version) = call.text("promptVersion") {
        versions.delete(version)?;
        return Answer::of(&json!({"id": prompt.id, "version": version}));
    }
    for version in versions.all()? {
        versions.delete(&version.id)?;
    }
    prompts(&call.session).delete(&prompt.id)?;
    Answer::of(&json!({"id": prompt.id}))
}

/// The member of a draft that counts its versions: a number is never used again.
const LAST_VERSION: &str = "lastVersion";

/// `CreatePromptVersion`: the draft as it is now, under the next number.
pub(super) fn create_version(call: &Call) -> Result<Answer> {
    let identifier = call.required("promptIdentifier")?;
    let prompt = prompts(&call.session).get(identifier)?;
    let versions = versions(&call.session, &prompt);
    let mut members = prompt.members.clone();
    let last = members.remove(LAST_VERSION).and_then(|last| last.as_u64());
    let number = last.unwrap_or_default() + 1;
    if let Some(description) = call.text("description") {
        members.insert("description".into(), json!(description));
    }
    let version = versions.create(Draft {
        id: Some(&number.to_string()),
        token: call.text("clientToken"),
        request: Some(&call.input),
        tags: read_tags(call.input.get("tags"))?,
        members,
        ..Draft::default()
    })?;
    prompts(&call.session).update(&prompt.id, |prompt| {
        let last = prompt.members.get(LAST_VERSION).and_then(Value::as_u64);
        if last.unwrap_or_default() < number && version.id == number.to_string() {
            prompt.members.insert(LAST_VERSION.into(), json!(number));
        }
        Ok(())
    })?;
    Answer::of(&whole(&prompt, &version.id, &version))
}

/// What a request says a prompt is made of, checked beyond its shape.
fn members_of(call: &Call) -> Result<Map<String, Value>> {
    call.refuse(
        &["customerEncryptionKeyArn"],
        "prompts are kept in the home without encryption",
    )?;
    let variants = call.input.get("variants").and_then(Value::as_array);
    let variants = variants.map(Vec::as_slice).unwrap_or_default();
    for variant in variants {
        template::check(variant)?;
    }
    if let Some(default) = call.text("defaultVariant")
        && !variants.iter().any(|variant| variant["name"] == default)
    {
        return Err(Error::validation(format!(
            "The default variant {default} is none of the prompt's variants."
        )));
    }
    let given = |name: &&str| {
        let value = call.input.get(*name)?;
        Some((name.to_string(), value.clone()))
    };
    Ok(MEMBERS.iter().filter_map(given).collect())
}

/// The prompt of an id or ARN, and its version where another than the draft is asked for, as the
/// number behind the ARN or as `version`.
fn read(
    session: &Session,
    identifier: &str,
    version: Option<&str>,
) -> Result<(Resource, Option<Resource>)> {
    let (identifier, of_arn) = split_version(identifier);
    let prompt = prompts(session).get(identifier)?;
    let version = match version.or(of_arn) {
        None | Some(DRAFT) => None,
        Some(version) => Some(versions(session, &prompt).get(version)?),
    };
    Ok((prompt, version))
}

/// A prompt's ARN without the version behind it, and the version.
fn split_version(identifier: &str) -> (&str, Option<&str>) {
    let arn = identifier.rsplit_once(':');
    match arn.filter(|(arn, _)| Kind::of_arn(arn).is_some()) {
        Some((arn, version)) => (arn, Some(version)),
        None => (identifier, None),
    }
}

/// What every answer about a prompt says. `shown` is the draft or the version.
fn summary(prompt: &Resource, version: &str, shown: &Resource) -> Value {
    let mut summary = json!({
        "name": prompt.name,
        "id": prompt.id,
        "arn": match version {
            DRAFT => prompt.arn.clone(),
            number => format!("{}:{number}", prompt.arn),
        },
        "version": version,
        "createdAt": shown.created_at,
        "updatedAt": shown.updated_at,
    });
    if let Some(description) = shown.members.get("description") {
        summary["description"] = description.clone();
    }
    summary
}

fn whole(prompt: &Resource, version: &str, shown: &Resource) -> Value {
    let mut whole = summary(prompt, version, shown);
    for name in MEMBERS {
        if let Some(value) = shown.members.get(name) {
            whole[name] = value.clone();
        }
    }
    whole
}

fn prompts(session: &Session) -> Resources {
    session.resources(&PROMPTS)
}

fn versions(session: &Session, prompt: &Resource) -> Resources {
    session.resources(&PROMPT_VERSIONS).under(&prompt.id)
}
