//! Which of its collaborators answers a user alone: the one question that a router asks its model.

use outcrop_api::{ContentBlock, ConverseRequest};
use serde_json::json;

use crate::definition::AgentDefinition;
use crate::delegation::said;
use crate::turn::Turn;

/// Most tokens of the reply: a name, with what a model thinks before it.
const MAX_REPLY: usize = 1024;

/// What the model of a router is asked first.
pub(crate) fn request(turn: &Turn) -> ConverseRequest {
    let agents = turn.agent().collaborators.iter();
    let listed: Vec<String> = agents
        .map(|one| format!("- {}: {}", one.name, one.instruction))
        .collect();
    let system = format!(
        "You decide which agent answers a user. The agents:\n{}\n\nReply with the name of the one \
         agent that can answer the user's last message alone, and with nothing else. Reply with \
         NONE where no agent can, or where it takes several.",
        listed.join("\n")
    );
    let mut config = turn.agent().inference_config.clone();
    config.max_tokens = Some(turn.left().tokens.min(MAX_REPLY));
    let mut request = ConverseRequest {
        messages: said(&turn.messages),
        system: Some(system),
        inference_config: config,
        ..ConverseRequest::default()
    };
    request.scheduling.deadline_ms = Some(turn.left().ms.max(1));
    request
}

/// The collaborator that a reply names, and no other.
pub(crate) fn chosen(agent: &AgentDefinition, content: &[ContentBlock]) -> Option<String> {
    let texts = content.iter().filter_map(|block| match block {
        ContentBlock::Text(text) => Some(text.to_lowercase()),
        _ => None,
    });
    let reply = texts.collect::<Vec<_>>().join("\n");
    let names = |name: &str| {
        let name = name.to_lowercase();
        let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || "_-".contains(c));
        reply.match_indices(&name).any(|(at, _)| {
            !inside(reply[..at].chars().next_back())
                && !inside(reply[at + name.len()..].chars().next())
        })
    };
    let mut named = agent.collaborators.iter().filter(|one| names(&one.name));
    match (named.next(), named.next()) {
        (Some(one), None) => Some(one.name.clone()),
        _ => None,
    }
}

/// The arguments of the call that hands the user's words on as they are.
pub(crate) fn arguments(turn: &Turn) -> serde_json::Value {
    json!({"message": turn.beginning.input})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::Collaborator;

    #[test]
    fn a_reply_names_one_collaborator_or_none() {
        let one = |name: &str| Collaborator {
            name: name.into(),
            ..Collaborator::default()
        };
        let agent = AgentDefinition {
            collaborators: vec![one("billing"), one("billing-eu"), one("cards")],
            ..AgentDefinition::default()
        };
        let of = |reply: &str| chosen(&agent, &[ContentBlock::Text(reply.into())]);
        assert_eq!(of("billing"), Some("billing".into()));
        assert_eq!(
            of("The agent is \"Billing-EU\"."),
            Some("billing-eu".into())
        );
        assert_eq!(of("cards or billing"), None);
        assert_eq!(of("NONE"), None);
        assert_eq!(of("scorecards"), None);
    }
}
