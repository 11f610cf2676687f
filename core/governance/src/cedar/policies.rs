//! Policies as they are kept, and as they are asked.

use std::str::FromStr;

use cedar_policy::{
    Authorizer, Decision as Answered, Policy, PolicyId, PolicySet, Response, ValidationError,
    ValidationMode, ValidationWarning, Validator,
};
use outcrop_api::{Error, Result};
use serde::{Deserialize, Serialize};

use super::place;
use super::request::AgentCall;
use super::schema::AgentSchema;
use crate::policy::{Decision, Effect};

/// A text of one or several Cedar policies, under a name of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyText {
    /// Its name: letters, digits, `_` and `-`.
    pub name: String,
    /// The policies, in Cedar's language.
    pub text: String,
    /// The agent that it is over, by name. Default: every agent of the home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// Policies that are ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct AgentPolicies {
    set: PolicySet,
}

impl PolicyText {
    /// Checks that the text holds policies, and that they can be said of the calls of `agents`: of
    /// those agents that have the functions which a policy names, and of one at least.
    ///
    /// # Errors
    /// `ValidationException` that names the policy, the line and the column.
    pub fn validate(&self, agents: &[AgentSchema]) -> Result<()> {
        let none = [AgentSchema::default()];
        let agents = match agents {
            [] => &none[..],
            some => some,
        };
        let schemas: Result<Vec<_>> = agents.iter().map(AgentSchema::cedar).collect();
        let validators: Vec<Validator> = schemas?.into_iter().map(Validator::new).collect();
        for policy in self.policies()? {
            let mut set = PolicySet::new();
            set.add(policy).map_err(|error| self.refused(&error))?;
            let mut unknown = None;
            let mut known = false;
            for (validator, agent) in validators.iter().zip(agents) {
                let found = validator.validate(&set, ValidationMode::Strict);
                let about = match agent.agent.as_str() {
                    "" => String::new(),
                    name => format!(" (agent {name})"),
                };
                let mut errors = found.validation_errors();
                let names_unknown = |error: &&ValidationError| {
                    matches!(error, ValidationError::UnrecognizedActionId(_))
                };
                if let Some(error) = found.validation_errors().find(names_unknown) {
                    let about = "; functions are those of the agents that are there, as \
                                 \"group.function\": make the agent first";
                    unknown
                        .get_or_insert_with(|| place::error(&self.name, &self.text, error, about));
                    continue;
                }
                known = true;
                if let Some(error) = errors.next() {
                    return Err(place::error(&self.name, &self.text, error, &about));
                }
                let mut warnings = found.validation_warnings();
                // What can be true of no call of one agent may be of another's.
                let tolerable = |warning: &&ValidationWarning| {
                    !matches!(warning, ValidationWarning::ImpossiblePolicy(_))
                };
                if let Some(warning) = warnings.find(tolerable) {
                    return Err(place::error(&self.name, &self.text, warning, &about));
                }
            }
            if let (false, Some(error)) = (known, unknown) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// The policies of the text, each with its id: the text's name, and where there are several,
    /// `name.id` by the annotation `@id("id")` or else by the number.
    fn policies(&self) -> Result<Vec<Policy>> {
        let set = PolicySet::from_str(&self.text).map_err(|errors| match errors.iter().next() {
            Some(error) => place::error(&self.name, &self.text, error, ""),
            None => self.refused(&errors),
        })?;
        if set.num_of_templates() > 0 {
            return Err(
                self.refused(&"expected policies, got a template (with ?principal or ?resource)")
            );
        }
        let mut policies: Vec<&Policy> = set.policies().collect();
        // Cedar numbers them as they stand: `policy0`, `policy1`.
        policies.sort_by_key(|policy| {
            let id = policy.id().to_string();
            id.trim_start_matches("policy")
                .parse()
                .unwrap_or(usize::MAX)
        });
        let alone = policies.len() == 1;
        let mut named: Vec<Policy> = Vec::with_capacity(policies.len());
        for (at, policy) in policies.into_iter().enumerate() {
            let id = match (alone, policy.annotation("id")) {
                (true, _) => self.name.clone(),
                (false, Some(id)) => format!("{}.{id}", self.name),
                (false, None) => format!("{}.{}", self.name, at + 1),
            };
            if named.iter().any(|other| other.id().to_string() == id) {
                return Err(self.refused(&format!(
                    "expected an id of its own for each policy, got {id:?} twice"
                )));
            }
            named.push(policy.new_id(PolicyId::new(id)));
        }
        Ok(named)
    }

    fn refused(&self, why: &dyn std::fmt::Display) -> Error {
        Error::validation(format!("policy {}: {why}", self.name)).with_resource(&self.name)
    }
}

impl AgentPolicies {
    /// The policies of `texts`.
    ///
    /// # Errors
    /// `ValidationException` that names the policy, the line and the column.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a PolicyText>) -> Result<Self> {
        let mut set = PolicySet::new();
        for text in texts {
            for policy in text.policies()? {
                set.add(policy).map_err(|error| text.refused(&error))?;
            }
        }
        Ok(Self { set })
    }

    /// Decides a call. A policy that cannot be evaluated denies it: a prohibition that fails must
    /// not be one less. What is forbidden only as long as nobody has approved it
    /// (`context.approved`) waits for an approval.
    ///
    /// # Errors
    /// `InternalServerException` where the call cannot be put to Cedar.
    pub fn decide(&self, call: &AgentCall<'_>) -> Result<Decision> {
        let entities = call.entities()?;
        let asked = |approved| -> Result<Response> {
            let request = call.request(approved)?;
            Ok(Authorizer::new().is_authorized(&request, &self.set, &entities))
        };
        let response = asked(false)?;
        if let Some(failed) = failure(&response) {
            return Ok(failed);
        }
        if response.decision() == Answered::Allow {
            return Ok(self.decision(Effect::Allow, &response));
        }
        let approved = asked(true)?;
        if let Some(failed) = failure(&approved) {
            return Ok(failed);
        }
        let effect = match approved.decision() {
            Answered::Allow => Effect::Approve,
            Answered::Deny => Effect::Deny,
        };
        Ok(self.decision(effect, &response))
    }

    /// Decides a call that a person has approved: `context.approved` is true.
    ///
    /// # Errors
    /// As [`AgentPolicies::decide`].
    pub fn decide_approved(&self, call: &AgentCall<'_>) -> Result<Decision> {
        let (entities, request) = (call.entities()?, call.request(true)?);
        let response = Authorizer::new().is_authorized(&request, &self.set, &entities);
        if let Some(failed) = failure(&response) {
            return Ok(failed);
        }
        let effect = match response.decision() {
            Answered::Allow => Effect::Allow,
            Answered::Deny => Effect::Deny,
        };
        Ok(self.decision(effect, &response))
    }

    fn decision(&self, effect: Effect, response: &Response) -> Decision {
        let mut policies: Vec<String> = response
            .diagnostics()
            .reason()
            .map(PolicyId::to_string)
            .collect();
        policies.sort_unstable();
        let verb = match effect {
            Effect::Allow => "permits it",
            Effect::Approve => "forbids it until it is approved",
            Effect::Deny => "forbids it",
        };
        let rule = match policies.first() {
            Some(first) => {
                let reason = self.set.annotation(&PolicyId::new(first), "reason");
                let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
                format!("policy {} {verb}{reason}", policies.join(", "))
            }
            None => "no policy permits it".into(),
        };
        Decision {
            effect,
            rule: rule.into(),
            policies,
        }
    }
}

/// The refusal by policies that could not be evaluated.
fn failure(response: &Response) -> Option<Decision> {
    let mut errors: Vec<(String, String)> = response
        .diagnostics()
        .errors()
        .map(
            |cedar_policy::AuthorizationError::PolicyEvaluationError(error)| {
                (error.policy_id().to_string(), error.inner().to_string())
            },
        )
        .collect();
    errors.sort_unstable();
    let (id, why) = errors.first()?;
    Some(Decision {
        effect: Effect::Deny,
        rule: format!("policy {id} could not be evaluated: {why}").into(),
        policies: errors.iter().map(|(id, _)| id.clone()).collect(),
    })
}
