//! Rules over the calls of an agent's session: what must be approved, how often, how much, and
//! from where an argument may come.

use outcrop_api::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::policy::{Decision, Effect};

/// A rule over the calls of an agent. Every rule whose function is called must hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentRule {
    /// The calls that it is over: `group.function`, `group.*` or `*`. Look-ups are
    /// `knowledge_bases.<name>`, delegations `collaborators.<name>`.
    pub function: String,
    /// What such a call requires.
    pub require: Requirement,
}

/// What a call requires.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Requirement {
    /// It is never made.
    Never {},
    /// A person must approve it.
    Approval {},
    /// A person must approve it where the session has read text of these kinds: `function`,
    /// `document` or `agent`.
    ApprovalAfter {
        /// The kinds.
        kinds: Vec<String>,
    },
    /// It is made at most so often.
    AtMost {
        /// How often.
        times: usize,
        /// Within how many seconds. Default: in the session.
        #[serde(default)]
        seconds: Option<f64>,
    },
    /// The sum of an argument stays within a bound.
    SumAtMost {
        /// The argument: a number that is not negative.
        argument: String,
        /// The bound.
        sum: f64,
        /// Within how many seconds. Default: in the session.
        #[serde(default)]
        seconds: Option<f64>,
    },
    /// Arguments come from sources that are trusted with them.
    From {
        /// The arguments: `to`, `items[].id`; `*` for all. One stands for all that is in it.
        arguments: Vec<String>,
        /// The sources: `user`, `instruction`, `session`, `model`; `function:group.name#member` for
        /// a whole member of a result, `function:group.name` for any; `text:…` for a part of a text.
        sources: Vec<String>,
    },
}

/// What rules are told of a call.
#[derive(Clone, Debug)]
pub struct CallFacts<'a> {
    /// `group.function`.
    pub function: &'a str,
    /// Its arguments.
    pub arguments: &'a Value,
    /// The sources of each argument, by its place.
    pub origins: &'a [(String, Vec<String>)],
    /// The kinds of text that the session has read: `function`, `document`, `agent`.
    pub read: &'a [&'a str],
    /// The calls that were made before: seconds ago, `group.function`, arguments.
    pub made: &'a [(f64, String, Value)],
}

impl AgentRule {
    /// Refuses what is no rule.
    ///
    /// # Errors
    /// `ValidationException` that names the member.
    pub fn validate(&self, place: &str) -> Result<()> {
        let wrong = |member: &str, expected: &str, got: String| {
            Err(Error::validation(format!(
                "{place}.{member}: expected {expected}, got {got}"
            )))
        };
        if self.function != "*"
            && self
                .function
                .split('.')
                .filter(|part| !part.is_empty())
                .count()
                != 2
        {
            return wrong(
                "function",
                "group.function, group.* or *",
                format!("{:?}", self.function),
            );
        }
        let seconds = match &self.require {
            Requirement::AtMost { seconds, .. } | Requirement::SumAtMost { seconds, .. } => {
                *seconds
            }
            _ => None,
        };
        if let Some(seconds) = seconds.filter(|seconds| !(*seconds > 0.0 && seconds.is_finite())) {
            return wrong("require.seconds", "above 0", seconds.to_string());
        }
        match &self.require {
            Requirement::SumAtMost { sum, .. } if !(*sum >= 0.0 && sum.is_finite()) => {
                wrong("require.sumAtMost.sum", "0 or more", sum.to_string())
            }
            Requirement::ApprovalAfter { kinds } => {
                let known = ["function", "document", "agent", "memory"];
                match kinds.iter().find(|kind| !known.contains(&kind.as_str())) {
                    Some(kind) => wrong(
                        "require.approvalAfter.kinds",
                        "function, document, agent or memory",
                        format!("{kind:?}"),
                    ),
                    None => Ok(()),
                }
            }
            Requirement::From { sources, .. } => {
                let plain = ["user", "instruction", "session", "model"];
                let known = |source: &String| {
                    plain.contains(&source.as_str())
                        || source.starts_with("function:")
                        || source.starts_with("text:")
                };
                match sources.iter().find(|source| !known(source)) {
                    Some(source) => wrong(
                        "require.from.sources",
                        "user, instruction, session, model, function:… or text:…",
                        format!("{source:?}"),
                    ),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn is_over(&self, function: &str) -> bool {
        match self.function.strip_suffix('*') {
            Some(beginning) => function.starts_with(beginning),
            None => self.function == function,
        }
    }

    /// What the rule makes of a call; none where it holds.
    fn decide(&self, call: &CallFacts<'_>) -> Option<(Effect, String)> {
        let name = call.function;
        let within = |seconds: &Option<f64>| {
            let seconds = *seconds;
            call.made.iter().filter(move |(ago, function, _)| {
                self.is_over(function) && seconds.is_none_or(|seconds| *ago <= seconds)
            })
        };
        let period = |seconds: &Option<f64>| match seconds {
            Some(seconds) => format!("in {seconds} seconds"),
            None => "in a session".to_string(),
        };
        match &self.require {
            Requirement::Never {} => {
                Some((Effect::Deny, format!("{} is never called", self.function)))
            }
            Requirement::Approval {} => {
                Some((Effect::Approve, format!("{name} requires an approval")))
            }
            Requirement::ApprovalAfter { kinds } => {
                let kind = call
                    .read
                    .iter()
                    .find(|kind| kinds.iter().any(|one| one == *kind))?;
                Some((
                    Effect::Approve,
                    format!("{name} requires an approval after text from a {kind} was read"),
                ))
            }
            Requirement::AtMost { times, seconds } => {
                let made = within(seconds).count();
                (made >= *times).then(|| {
                    let rule = format!(
                        "{} at most {times} times {}: {made} were made",
                        self.function,
                        period(seconds)
                    );
                    (Effect::Deny, rule)
                })
            }
            Requirement::SumAtMost {
                argument,
                sum,
                seconds,
            } => {
                let number = |arguments: &Value| arguments.get(argument).and_then(Value::as_f64);
                let Some(now) = number(call.arguments).filter(|now| *now >= 0.0) else {
                    let rule = format!(
                        "{name}: the sum of {argument} is bounded, and it is no number of 0 or more"
                    );
                    return Some((Effect::Deny, rule));
                };
                let before: f64 = within(seconds)
                    .filter_map(|(_, _, arguments)| number(arguments))
                    .sum();
                (before + now > *sum).then(|| {
                    let rule = format!(
                        "the sum of {argument} of {} at most {sum} {}: {before} and {now} are more",
                        self.function,
                        period(seconds)
                    );
                    (Effect::Deny, rule)
                })
            }
            Requirement::From { arguments, sources } => {
                let of_rule =
                    |place: &str| arguments.iter().any(|argument| covers(argument, place));
                let trusted = |found: &[String]| {
                    found
                        .iter()
                        .any(|one| sources.iter().any(|source| is_source(source, one)))
                };
                let mut asked = call.origins.iter().filter(|(place, _)| of_rule(place));
                let (place, found) = asked.find(|(_, found)| !trusted(found))?;
                let rule = format!(
                    "{place} of {name} must come from {}, it is from {}",
                    sources.join(" or "),
                    found.join(", ")
                );
                Some((Effect::Deny, rule))
            }
        }
    }
}

/// What `rules` make of a call that is otherwise allowed: a refusal before an approval; none where
/// all of them hold.
pub fn decide_by_rules(rules: &[AgentRule], call: &CallFacts<'_>) -> Option<Decision> {
    let mut approval = None;
    for rule in rules.iter().filter(|rule| rule.is_over(call.function)) {
        match rule.decide(call) {
            Some((Effect::Deny, rule)) => {
                return Some(Decision::by_rule(Effect::Deny, rule));
            }
            Some((effect, rule)) => {
                approval.get_or_insert(Decision::by_rule(effect, rule));
            }
            None => {}
        }
    }
    approval
}

/// Whether the rule's argument is the one at `place`, or holds it.
fn covers(argument: &str, place: &str) -> bool {
    argument == "*"
        || place == argument
        || place
            .strip_prefix(argument)
            .is_some_and(|rest| rest.starts_with(['.', '[']))
}

/// Whether a source that was found is one that the rule names.
fn is_source(rule: &str, found: &str) -> bool {
    rule == found
        || (rule.starts_with("function:") || rule == "text:function" || rule == "text:agent")
            && found
                .strip_prefix(rule)
                .is_some_and(|rest| rest.starts_with(['#', ':']))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn rules(rules: Value) -> Vec<AgentRule> {
        let rules: Vec<AgentRule> = serde_json::from_value(rules).unwrap();
        rules.iter().for_each(|rule| rule.validate("r").unwrap());
        rules
    }

    fn decided(
        rules: &[AgentRule],
        arguments: Value,
        sources: &[&str],
        made: &[(f64, String, Value)],
    ) -> Option<(Effect, String)> {
        let sources: Vec<String> = sources.iter().map(|source| source.to_string()).collect();
        let facts = CallFacts {
            function: "bank.pay",
            arguments: &arguments,
            origins: &[
                ("to".into(), sources.clone()),
                ("list[].id".into(), sources),
            ],
            read: &["document"],
            made,
        };
        decide_by_rules(rules, &facts).map(|decision| (decision.effect, decision.rule.into_owned()))
    }

    #[test]
    fn counts_and_sums_are_of_their_period() {
        let rules = rules(json!([
            {"function": "bank.*", "require": {"atMost": {"times": 2, "seconds": 60}}},
            {"function": "bank.pay", "require": {"sumAtMost": {"argument": "amount", "sum": 100}}},
        ]));
        let paid = |ago: f64, amount| (ago, "bank.pay".to_string(), json!({"amount": amount}));
        assert_eq!(decided(&rules, json!({"amount": 100}), &[], &[]), None);
        let (effect, rule) = decided(
            &rules,
            json!({"amount": 1}),
            &[],
            &[paid(9.0, 0), paid(1.0, 0)],
        )
        .unwrap();
        assert_eq!(effect, Effect::Deny);
        assert_eq!(rule, "bank.* at most 2 times in 60 seconds: 2 were made");
        assert_eq!(
            decided(
                &rules,
                json!({"amount": 1}),
                &[],
                &[paid(90.0, 0), paid(1.0, 0)]
            ),
            None
        );
        assert!(decided(&rules, json!({"amount": 41}), &[], &[paid(900.0, 60)]).is_some());
        // What is no number cannot slip under the bound, nor can a negative one lower it.
        for amount in [json!("5"), json!(-5), json!(null)] {
            assert!(
                decided(&rules, json!({"amount": amount}), &[], &[]).is_some(),
                "{amount}"
            );
        }
    }

    #[test]
    fn arguments_come_from_where_they_may_and_refusals_stand_before_approvals() {
        let rules = rules(json!([
            {"function": "*", "require": {"approvalAfter": {"kinds": ["document"]}}},
            {"function": "bank.pay", "require": {"from": {"arguments": ["to", "list"],
                "sources": ["user", "function:crm.find#email"]}}},
        ]));
        let effect = |sources: &[&str]| decided(&rules, json!({}), sources, &[]).unwrap().0;
        assert_eq!(effect(&["text:document", "user"]), Effect::Approve);
        assert_eq!(effect(&["function:crm.find#email"]), Effect::Approve);
        assert_eq!(effect(&["function:crm.find#note"]), Effect::Deny);
        assert_eq!(effect(&["text:function:crm.find"]), Effect::Deny);
        assert_eq!(effect(&["model"]), Effect::Deny);
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        let wrong = |rule: Value| {
            serde_json::from_value::<AgentRule>(rule)
                .unwrap()
                .validate("rules[0]")
                .unwrap_err()
        };
        let error = wrong(json!({"function": "pay", "require": {"never": {}}}));
        assert!(
            error.message().starts_with("rules[0].function: expected"),
            "{error}"
        );
        let error = wrong(
            json!({"function": "*", "require": {"from": {"arguments": ["a"], "sources": ["me"]}}}),
        );
        assert!(error.message().contains("\"me\""), "{error}");
        assert!(
            serde_json::from_value::<AgentRule>(json!({"function": "*", "require": {"often": {}}}))
                .is_err()
        );
    }
}
