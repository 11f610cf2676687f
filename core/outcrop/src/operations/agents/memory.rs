//! `GetAgentMemory`, `DeleteAgentMemory`, and what an agent's record says of its memory.

use outcrop_agents::{MemoryKey, MemorySettings};
use outcrop_api::Result;
use serde_json::{Map, Value, json};

use super::{agent_of, aliases, overrides};
use crate::agents::{KeptSession, Memories, Settling, forget};
use crate::operations::{Answer, Call};
use crate::registry::{Page, Resource};
use crate::session::blocking;

/// Most summaries of one page.
const MAX_PAGE: u64 = 1000;

/// `GetAgentMemory`, the latest session first. Sessions that are idle are ended and those that have
/// ended are summed up before it is read.
pub(in crate::operations) async fn get(call: Call) -> Result<Answer> {
    let (call, agent_id, key) = blocking(move || {
        let (agent_id, key) = meant(&call)?;
        Ok((call, agent_id, key))
    })
    .await?;
    let settling = Settling {
        session: &call.session,
        record: &call.record,
        agent_id: &agent_id,
        key: &key,
    };
    settling.settle(None).await?;
    let kept = Memories::of(call.session.store(), &agent_id, &key).sessions()?;
    let limit = call.number("maxItems").unwrap_or(MAX_PAGE) as usize;
    let page = Page::of(&call)?.at_most(limit);
    let listed = page.of_all(kept.into_iter().filter_map(resource).collect(), |_| true);
    Answer::of(&listed.answer("memoryContents", |kept| {
        let mut summary = kept.members.clone();
        summary.insert("memoryId".into(), json!(key.id));
        json!({"sessionSummary": summary})
    }))
}

/// `DeleteAgentMemory`: what is kept of a session of a memory, of a memory, or of every one that the
/// caller has by the alias.
pub(in crate::operations) fn delete(call: &Call) -> Result<Answer> {
    let of = meant(call)?;
    let text = |name: &str| call.text(name).map(String::from);
    forget(
        call.session.store(),
        of,
        text("memoryId"),
        text("sessionId"),
    )?;
    Answer::of(&json!({}))
}

/// The agent and the memory that a call is about.
fn meant(call: &Call) -> Result<(String, MemoryKey)> {
    let agent = agent_of(call)?;
    let alias = aliases::find(&call.session, &agent, call.required("agentAliasId")?)?;
    let key = MemoryKey {
        id: call.text("memoryId").unwrap_or_default().into(),
        alias_id: alias.id,
        principal: call.principal.arn.clone(),
    };
    Ok((agent.id, key))
}

/// A session that has been summed up, in the form that pages take.
fn resource(kept: KeptSession) -> Option<Resource> {
    let members = Map::from_iter([
        ("sessionId".to_string(), json!(kept.session_id)),
        ("sessionStartTime".to_string(), json!(kept.began)),
        ("sessionExpiryTime".to_string(), json!(kept.expires)),
        ("summaryText".to_string(), json!(kept.summary?)),
    ]);
    Some(Resource {
        id: format!("{}/{}", kept.session_id, kept.start),
        arn: String::new(),
        parent: None,
        name: None,
        created_at: kept.began.clone(),
        updated_at: kept.began,
        tags: Default::default(),
        members,
    })
}

/// What a `memoryConfiguration` says, with what the prompts' `configuration` overrides of its
/// summaries, beside what was given natively; none where it is none.
///
/// # Errors
/// `ValidationException` for what is not honoured.
pub(super) fn settings(
    memory: &Value,
    configuration: &Value,
    native: Option<MemorySettings>,
) -> Result<Option<MemorySettings>> {
    let (template, config) = overrides::summarization(configuration)?;
    if !memory.is_object() {
        return Ok(None);
    }
    let mut settings = native.unwrap_or_default();
    settings.template = template.or(settings.template);
    if let Some(config) = config {
        settings.inference_config = config;
    }
    if let Some(days) = memory["storageDays"].as_u64() {
        settings.storage_days = days as u32;
    }
    if let Some(most) = memory["sessionSummaryConfiguration"]["maxRecentSessions"].as_u64() {
        settings.max_recent_sessions = most as usize;
    }
    settings.validate()?;
    Ok(Some(settings))
}

/// A memory that was given natively, in Bedrock's form.
pub(super) fn configuration(settings: &MemorySettings) -> Value {
    json!({
        "enabledMemoryTypes": ["SESSION_SUMMARY"],
        "storageDays": settings.storage_days,
        "sessionSummaryConfiguration": {"maxRecentSessions": settings.max_recent_sessions},
    })
}
