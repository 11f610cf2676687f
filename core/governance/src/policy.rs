//! The decision that stands before every call.

use std::borrow::Cow;

use serde::Serialize;

use crate::caller::Principal;

/// Whether a call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Effect {
    /// It may.
    Allow,
    /// It may once a person has approved it.
    Approve,
    /// It may not.
    Deny,
}

/// What is to be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// The IAM action, such as `bedrock:InvokeModel`.
    pub action: &'a str,
    /// The id or ARN that it is asked of; empty where there is none yet.
    pub resource: &'a str,
}

/// What was decided, and by which rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Whether the call may be made.
    pub effect: Effect,
    /// The rule that decided.
    pub rule: Cow<'static, str>,
    /// The ids of the Cedar policies that decided, where some did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
}

impl Decision {
    /// What a rule that is no Cedar policy decided.
    pub fn by_rule(effect: Effect, rule: impl Into<Cow<'static, str>>) -> Self {
        Self {
            effect,
            rule: rule.into(),
            policies: Vec::new(),
        }
    }
}

/// Who may do what. This version knows two kinds of principals: the owner of the home and the
/// holders of its keys. Each may do everything; anybody else may do nothing.
#[derive(Clone, Debug, Default)]
pub struct Policy {}

impl Policy {
    /// Decides one call.
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        let principal = request.principal;
        let (effect, rule) = if principal.is_owner() {
            (Effect::Allow, "the owner of the home may do everything")
        } else if principal.access_key_id.is_some() {
            (Effect::Allow, "a key that the owner made may do everything")
        } else {
            (Effect::Deny, "no rule allows it")
        };
        Decision::by_rule(effect, rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_and_key_holders_may_and_nobody_else() {
        let decide = |principal: &Principal| {
            let request = Request {
                principal,
                action: "bedrock:InvokeModel",
                resource: "m",
            };
            Policy::default().decide(&request).effect
        };
        assert_eq!(decide(&Principal::owner()), Effect::Allow);
        assert_eq!(decide(&Principal::key("ci", "AKIA1")), Effect::Allow);
        let stranger = Principal {
            arn: "arn:aws:iam::1:user/x".into(),
            access_key_id: None,
        };
        assert_eq!(decide(&stranger), Effect::Deny);
    }
}
