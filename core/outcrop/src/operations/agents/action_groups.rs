//! Action groups: the functions that an agent may call.

use outcrop_agents::{ActionGroup, AgentDefinition};
use outcrop_api::{Error, Result};
use serde_json::{Map, Value, json};

use super::parts::{ACTION_GROUPS, PartDraft};
use super::{convert, given, show};
use crate::operations::{Answer, Call};
use crate::registry::Resource;

/// Members of a group that are kept and shown as they came.
const MEMBERS: [&str; 5] = [
    "description",
    "actionGroupExecutor",
    "apiSchema",
    "functionSchema",
    "parentActionGroupSignatureParams",
];
/// The member that names what a group of AWS's own does.
const SIGNATURE: &str = "parentActionGroupSignature";
/// The group that lets an agent ask its user, which an agent here may always do.
const USER_INPUT: &str = "AMAZON.UserInput";
/// Whether an agent may call a group.
const STATE: &str = "actionGroupState";

/// `CreateAgentActionGroup`.
pub(in crate::operations) fn create(call: &Call) -> Result<Answer> {
    let name = call.required("actionGroupName")?;
    let draft = PartDraft {
        id: None,
        name: Some(name),
        members: members_of(call, name)?,
    };
    let (agent, group) = ACTION_GROUPS.create(call, draft)?;
    whole(&agent, &group, super::DRAFT)
}

/// `GetAgentActionGroup`.
pub(in crate::operations) fn get(call: &Call) -> Result<Answer> {
    let (agent, group) = ACTION_GROUPS.get(call)?;
    whole(&agent, &group, call.required("agentVersion")?)
}

/// `UpdateAgentActionGroup`: the group becomes what the request says.
pub(in crate::operations) fn update(call: &Call) -> Result<Answer> {
    let name = call.required("actionGroupName")?;
    let members = members_of(call, name)?;
    let (agent, group) = ACTION_GROUPS.update(call, |group| {
        group.name = Some(name.into());
        let kept = ["clientToken", "requestDigest"];
        group
            .members
            .retain(|member, _| kept.contains(&member.as_str()));
        group.members.extend(members);
        Ok(())
    })?;
    whole(&agent, &group, super::DRAFT)
}

/// `DeleteAgentActionGroup`: one that is enabled is in use.
pub(in crate::operations) fn delete(call: &Call) -> Result<Answer> {
    let skips = call.input["skipResourceInUseCheck"] == json!(true);
    ACTION_GROUPS.delete(call, |group| match is_enabled(group) && !skips {
        true => Err(Error::conflict(format!(
            "Action group {} is enabled: disable it first, or give skipResourceInUseCheck.",
            group.id
        ))),
        false => Ok(()),
    })?;
    Ok(Answer::default())
}

/// `ListAgentActionGroups`.
pub(in crate::operations) fn list(call: &Call) -> Result<Answer> {
    ACTION_GROUPS.list(call, "actionGroupSummaries", |_, group| {
        let mut summary = json!({
            "actionGroupId": group.id,
            "actionGroupName": group.name,
            "actionGroupState": group.text(STATE),
            "updatedAt": group.updated_at,
        });
        show(&mut summary, &group.members, &["description"]);
        summary
    })
}

/// Whether an agent may call a group.
pub(super) fn is_enabled(group: &Resource) -> bool {
    group.text(STATE) != "DISABLED"
}

/// Whether a group has no functions, as it only lets the agent ask its user.
pub(super) fn is_user_input(group: &Resource) -> bool {
    group.text(SIGNATURE) == USER_INPUT
}

/// What a request says of a group, checked beyond its shape.
fn members_of(call: &Call, name: &str) -> Result<Map<String, Value>> {
    let mut members = given(&call.input, &MEMBERS);
    let state = call.text(STATE).unwrap_or("ENABLED");
    members.insert(STATE.into(), json!(state));
    match described(call, name, &call.input)? {
        // A schema that no agent could be prepared with is refused at once.
        Some(group) => AgentDefinition {
            model: "any".into(),
            action_groups: vec![group],
            ..AgentDefinition::default()
        }
        .validate()?,
        None => {
            members.insert(SIGNATURE.into(), json!(USER_INPUT));
        }
    }
    Ok(members)
}

/// The group that `asked` describes; none where it only lets the agent ask its user.
///
/// # Errors
/// `ValidationException` for what is missing, or what an agent here cannot have.
pub(super) fn described(call: &Call, name: &str, asked: &Value) -> Result<Option<ActionGroup>> {
    let has = |name: &str| asked.get(name).is_some();
    let wrong = |expected: &str| {
        Err(Error::validation(format!(
            "Action group {name}: expected {expected}."
        )))
    };
    match asked[SIGNATURE].as_str() {
        Some(USER_INPUT) => {
            let told = [
                "actionGroupExecutor",
                "apiSchema",
                "functionSchema",
                "description",
            ];
            return match told.iter().find(|name| has(name)) {
                Some(told) => wrong(&format!("no {told} with the signature {USER_INPUT}")),
                None => Ok(None),
            };
        }
        Some(other) => {
            return Err(Error::validation(format!(
                "parentActionGroupSignature {other} is not supported: of AWS's own action groups an \
                 agent here has {USER_INPUT} only."
            )));
        }
        None => {}
    }
    if has("apiSchema") == has("functionSchema") {
        return wrong("one of apiSchema and functionSchema");
    }
    if !has("actionGroupExecutor") {
        return wrong("an actionGroupExecutor, a Lambda function's ARN or RETURN_CONTROL");
    }
    convert::described(&call.session, &call.principal, name, asked).map(Some)
}

fn whole(agent: &Resource, group: &Resource, version: &str) -> Result<Answer> {
    let mut about = json!({
        "agentId": agent.id,
        "agentVersion": version,
        "actionGroupId": group.id,
        "actionGroupName": group.name,
        "actionGroupState": group.text(STATE),
        "createdAt": group.created_at,
        "updatedAt": group.updated_at,
    });
    show(&mut about, &group.members, &MEMBERS);
    show(&mut about, &group.members, &["clientToken"]);
    if is_user_input(group) {
        about["parentActionSignature"] = json!(USER_INPUT);
    }
    Answer::of(&json!({"agentActionGroup": about}))
}
