//! `InvokeInlineAgent`: one turn of an agent that the request itself describes.

use outcrop_agents::{AgentDefinition, KnowledgeBaseLink, default_results};
use outcrop_api::{Error, Result};
use serde_json::{Value, json};

use super::invoke::{check, configure, turn};
use super::{DRAFT, action_groups, convert, overrides};
use crate::operations::{Answer, Call, knowledge_bases};
use crate::session::blocking;

/// What stands for the id of an agent that is kept nowhere: its sessions and its decisions go by it.
const ID: &str = "INLINEAGNT";
/// The member of a request that has the session's state.
const STATE: &str = "inlineSessionState";

/// `InvokeInlineAgent`.
pub(in crate::operations) async fn invoke(call: Call) -> Result<Answer> {
    check(&call, STATE)?;
    let (call, definition) = blocking(move || {
        let definition = definition(&call)?;
        Ok((call, definition))
    })
    .await?;
    let traced = json!({"sessionId": call.text("sessionId")});
    turn(&call, definition, STATE, traced).await
}

/// The agent that a request describes.
fn definition(call: &Call) -> Result<AgentDefinition> {
    refuse_what_is_not_honoured(call)?;
    let model = call.required("foundationModel")?;
    call.model_of(model)?;
    let mut definition = AgentDefinition {
        id: ID.into(),
        name: call.text("agentName").unwrap_or("inline").into(),
        version: DRAFT.into(),
        model: model.into(),
        instruction: call.required("instruction")?.into(),
        ..AgentDefinition::default()
    };
    let configuration = &call.input["promptOverrideConfiguration"];
    if let Some(config) = overrides::inference_config(configuration)? {
        definition.inference_config = config;
    }
    for group in list(call, "actionGroups") {
        let name = group["actionGroupName"].as_str().unwrap_or_default();
        convert::check_executor(name, group)?;
        definition
            .action_groups
            .extend(action_groups::described(call, name, group)?);
    }
    for (at, link) in list(call, "knowledgeBases").enumerate() {
        let id = link["knowledgeBaseId"].as_str().unwrap_or_default();
        let base = knowledge_bases::open(call, id)?;
        definition.knowledge_bases.push(KnowledgeBaseLink {
            id: base.id().to_string(),
            name: base.name().to_string(),
            description: link["description"].as_str().unwrap_or_default().into(),
            results: default_results(),
        });
        configure(&mut definition, link, &format!("knowledgeBases[{at}]"))?;
    }
    definition.validate()?;
    Ok(definition)
}

fn list<'a>(call: &'a Call, name: &str) -> impl Iterator<Item = &'a Value> {
    call.input[name].as_array().into_iter().flatten()
}

fn refuse_what_is_not_honoured(call: &Call) -> Result<()> {
    for (names, why) in [
        (
            &["customOrchestration"][..],
            "agents here are orchestrated by their own turn",
        ),
        (
            &["customerEncryptionKeyArn"],
            "sessions are kept in the home without encryption",
        ),
        (&["guardrailConfiguration"], "there are no guardrails here"),
        (
            &["collaborators", "collaboratorConfigurations"],
            "an inline agent here works alone: make a supervisor with CreateAgent",
        ),
    ] {
        call.refuse(names, why)?;
    }
    for (name, only) in [
        ("orchestrationType", "DEFAULT"),
        ("agentCollaboration", "DISABLED"),
    ] {
        if let Some(other) = call.text(name).filter(|given| *given != only) {
            return Err(Error::validation(format!(
                "{name} {other} is not supported for an inline agent: expected {only}."
            )));
        }
    }
    Ok(())
}
