//! The sessions of `bedrock-agent-runtime`: conversations that a caller keeps here, step by step.

use outcrop_api::{Error, Result};
use serde_json::{Map, Value, json};

use super::{Answer, Call};
use crate::registry::{
    Draft, INVOCATION_STEPS, INVOCATIONS, Page, Resource, Resources, SESSIONS, read_tags,
};

/// What a session says of itself.
fn about(session: &Resource) -> Value {
    json!({
        "sessionId": session.id,
        "sessionArn": session.arn,
        "sessionStatus": session.text("status"),
        "createdAt": session.created_at,
        "lastUpdatedAt": session.updated_at,
    })
}

/// `CreateSession`.
pub(super) fn create(call: &Call) -> Result<Answer> {
    call.refuse(
        &["encryptionKeyArn"],
        "sessions are kept in the home without encryption",
    )?;
    let mut members = Map::from_iter([("status".to_string(), json!("ACTIVE"))]);
    if let Some(metadata) = call.input.get("sessionMetadata") {
        members.insert("sessionMetadata".into(), metadata.clone());
    }
    let session = call.session.resources(&SESSIONS).create(Draft {
        tags: read_tags(call.input.get("tags"))?,
        members,
        ..Draft::default()
    })?;
    call.record.resource(&session.arn);
    let mut answer = about(&session);
    if let Some(answer) = answer.as_object_mut() {
        answer.remove("lastUpdatedAt");
    }
    Answer::of(&answer)
}

/// `GetSession`.
pub(super) fn get(call: &Call) -> Result<Answer> {
    let session = session_of(call)?;
    let mut answer = about(&session);
    if let Some(metadata) = session.members.get("sessionMetadata") {
        answer["sessionMetadata"] = metadata.clone();
    }
    Answer::of(&answer)
}

/// `UpdateSession`: its metadata becomes what the request says.
pub(super) fn update(call: &Call) -> Result<Answer> {
    let id = session_of(call)?.id;
    let session = call.session.resources(&SESSIONS).update(&id, |session| {
        check_active(session)?;
        if let Some(metadata) = call.input.get("sessionMetadata") {
            session
                .members
                .insert("sessionMetadata".into(), metadata.clone());
        }
        Ok(())
    })?;
    Answer::of(&about(&session))
}

/// `EndSession`: it can be read from then on, and not be added to.
pub(super) fn end(call: &Call) -> Result<Answer> {
    let id = session_of(call)?.id;
    let session = call.session.resources(&SESSIONS).update(&id, |session| {
        check_active(session)?;
        session.members.insert("status".into(), json!("ENDED"));
        Ok(())
    })?;
    Answer::of(&json!({
        "sessionId": session.id,
        "sessionArn": session.arn,
        "sessionStatus": session.text("status"),
    }))
}

/// `DeleteSession`: of one that has ended, with all that it holds.
pub(super) fn delete(call: &Call) -> Result<Answer> {
    let session = session_of(call)?;
    if session.text("status") == "ACTIVE" {
        return Err(Error::conflict(format!(
            "Session {} is active: end it before it is deleted.",
            session.id
        )));
    }
    for kind in [&INVOCATION_STEPS, &INVOCATIONS] {
        let parts = call.session.resources(kind).under(&session.id);
        for part in parts.all()? {
            parts.delete(&part.id)?;
        }
    }
    call.session.resources(&SESSIONS).delete(&session.id)?;
    Ok(Answer::default())
}

/// `ListSessions`.
pub(super) fn list(call: &Call) -> Result<Answer> {
    let sessions = call.session.resources(&SESSIONS);
    let listed = sessions.page(&Page::of(call)?, |_| true)?;
    Answer::of(&listed.answer("sessionSummaries", about))
}

/// `CreateInvocation`.
pub(super) fn create_invocation(call: &Call) -> Result<Answer> {
    let session = active_session(call)?;
    let mut members = Map::new();
    if let Some(description) = call.text("description") {
        members.insert("description".into(), json!(description));
    }
    let invocation = invocations(call, &session).create(Draft {
        id: call.text("invocationId"),
        members,
        ..Draft::default()
    })?;
    Answer::of(&about_invocation(&invocation))
}

fn about_invocation(invocation: &Resource) -> Value {
    json!({
        "sessionId": invocation.parent,
        "invocationId": invocation.id,
        "createdAt": invocation.created_at,
    })
}

/// `ListInvocations`.
pub(super) fn list_invocations(call: &Call) -> Result<Answer> {
    let session = session_of(call)?;
    let listed = invocations(call, &session).page(&Page::of(call)?, |_| true)?;
    Answer::of(&listed.answer("invocationSummaries", about_invocation))
}

/// `PutInvocationStep`.
pub(super) fn put_step(call: &Call) -> Result<Answer> {
    let session = active_session(call)?;
    let invocation = call.required("invocationIdentifier")?;
    invocations(call, &session).get(invocation)?;
    let kept = ["invocationStepTime", "payload"];
    let kept = kept.iter().filter_map(|&name| {
        let value = call.input.get(name)?;
        Some((name.to_string(), value.clone()))
    });
    let mut members: Map<String, Value> = kept.collect();
    members.insert("invocationId".into(), json!(invocation));
    let step = steps(call, &session).create(Draft {
        id: call.text("invocationStepId"),
        members,
        ..Draft::default()
    })?;
    Answer::of(&json!({"invocationStepId": step.id}))
}

/// `GetInvocationStep`.
pub(super) fn get_step(call: &Call) -> Result<Answer> {
    let session = session_of(call)?;
    let invocation = call.required("invocationIdentifier")?;
    let id = call.required("invocationStepId")?;
    let steps = steps(call, &session);
    let step = steps.get(id)?;
    if step.text("invocationId") != invocation {
        return Err(steps.not_found(id));
    }
    let mut about = about_step(&step);
    about["payload"] = json!(step.members.get("payload"));
    Answer::of(&json!({"invocationStep": about}))
}

fn about_step(step: &Resource) -> Value {
    json!({
        "sessionId": step.parent,
        "invocationId": step.text("invocationId"),
        "invocationStepId": step.id,
        "invocationStepTime": step.text("invocationStepTime"),
    })
}

/// `ListInvocationSteps`: of the session, or of one of its invocations.
pub(super) fn list_steps(call: &Call) -> Result<Answer> {
    let session = session_of(call)?;
    let invocation = call.text("invocationIdentifier");
    if let Some(invocation) = invocation {
        invocations(call, &session).get(invocation)?;
    }
    let listed = steps(call, &session).page(&Page::of(call)?, |step| {
        invocation.is_none_or(|invocation| step.text("invocationId") == invocation)
    })?;
    Answer::of(&listed.answer("invocationStepSummaries", about_step))
}

fn invocations(call: &Call, session: &Resource) -> Resources {
    call.session.resources(&INVOCATIONS).under(&session.id)
}

fn steps(call: &Call, session: &Resource) -> Resources {
    call.session.resources(&INVOCATION_STEPS).under(&session.id)
}

fn session_of(call: &Call) -> Result<Resource> {
    let session = call.session.resources(&SESSIONS);
    session.get(call.required("sessionIdentifier")?)
}

fn active_session(call: &Call) -> Result<Resource> {
    let session = session_of(call)?;
    check_active(&session)?;
    Ok(session)
}

fn check_active(session: &Resource) -> Result<()> {
    match session.text("status") {
        "ACTIVE" => Ok(()),
        _ => Err(Error::conflict(format!(
            "Session {} has ended.",
            session.id
        ))),
    }
}
