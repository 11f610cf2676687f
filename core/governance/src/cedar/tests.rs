//! Policies decide calls, and are refused with the place of what is wrong.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::kind::Kind;
use super::*;
use crate::policy::{Decision, Effect};

fn pay() -> Value {
    json!({"type": "object", "required": ["to", "amount"], "properties": {
        "to": {"type": "string"}, "amount": {"type": "number"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}},
    }, "$defs": {"Part": {"type": "object", "required": ["id", "count"], "properties": {
        "id": {"type": "string"}, "count": {"type": "integer"}}}}})
}

fn text(text: &str) -> PolicyText {
    PolicyText {
        name: "pay".into(),
        text: text.into(),
        agent: None,
    }
}

fn agent(name: &str, function: &str) -> AgentSchema {
    AgentSchema {
        agent: name.into(),
        functions: vec![FunctionSchema {
            name: function.into(),
            arguments: pay(),
        }],
    }
}

/// What policies make of `bank.pay`, with the sources of `to`.
fn decided(policies: &str, arguments: Value, sources: &[&str]) -> Decision {
    let own = text(policies);
    own.validate(&[agent("teller", "bank.pay")]).unwrap();
    let default = PolicyText {
        name: DEFAULT_POLICY.into(),
        text: DEFAULT_POLICY_TEXT.into(),
        agent: None,
    };
    asked(
        &AgentPolicies::of([&default, &own]).unwrap(),
        arguments,
        sources,
    )
}

fn asked(policies: &AgentPolicies, arguments: Value, sources: &[&str]) -> Decision {
    let sources: Vec<String> = sources.iter().map(|one| one.to_string()).collect();
    let origins = [
        ("to".to_string(), sources.clone()),
        ("amount".to_string(), vec!["user".to_string()]),
        ("parts[].id".to_string(), sources),
    ];
    // What is traced are the values that are there.
    let origins = match arguments["parts"].as_array() {
        Some(parts) if !parts.is_empty() => &origins[..],
        _ => &origins[..2],
    };
    let call = AgentCall {
        agent_id: "A1",
        agent: "teller",
        model: "m",
        user: "arn:aws:iam::000000000000:root",
        session_id: "s1",
        session_attributes: &BTreeMap::from([("role".to_string(), "clerk".to_string())]),
        action: CallAction::Function("bank.pay"),
        resource: CallResource::ActionGroup("bank"),
        schema: &pay(),
        arguments: &arguments,
        origins,
        read: &["document".to_string()],
    };
    policies.decide(&call).unwrap()
}

fn bob(amount: Value) -> Value {
    json!({"to": "bob", "amount": amount, "parts": [{"id": "bob", "count": 2}]})
}

#[test]
fn what_an_agent_has_is_permitted_until_a_policy_forbids_it() {
    let allowed = decided("", bob(json!(10)), &["user"]);
    assert_eq!(
        (allowed.effect, allowed.policies),
        (Effect::Allow, vec!["default".to_string()])
    );
    let none = asked(&AgentPolicies::default(), bob(json!(10)), &["user"]);
    assert_eq!(
        (none.effect, &*none.rule),
        (Effect::Deny, "no policy permits it")
    );
    let never = r#"@reason("payments are closed")
        forbid (principal == Agent::"teller", action == Action::"bank.pay", resource == ActionGroup::"bank");"#;
    let denied = decided(never, bob(json!(10)), &["user"]);
    assert_eq!(denied.effect, Effect::Deny);
    assert_eq!(denied.rule, "policy pay forbids it: payments are closed");
    let other = r#"forbid (principal == Agent::"other", action, resource);"#;
    assert_eq!(
        decided(other, bob(json!(10)), &["user"]).effect,
        Effect::Allow
    );
}

#[test]
fn policies_see_arguments_origins_and_the_session() {
    let effect = |policy: &str, arguments: Value, sources: &[&str]| {
        decided(
            &format!(
                "forbid (principal, action == Action::\"bank.pay\", resource) when {{ {policy} }};"
            ),
            arguments,
            sources,
        )
        .effect
    };
    let over = r#"context.arguments.amount.greaterThan(decimal("99.5"))"#;
    assert_eq!(effect(over, bob(json!(99.5)), &["user"]), Effect::Allow);
    assert_eq!(effect(over, bob(json!(100)), &["user"]), Effect::Deny);
    let chosen = r#"context.tainted.contains("to")"#;
    assert_eq!(
        effect(chosen, bob(json!(1)), &["text:document", "user"]),
        Effect::Allow
    );
    assert_eq!(
        effect(chosen, bob(json!(1)), &["text:document"]),
        Effect::Deny
    );
    let known = r#"!context.origins.to.containsAny(["user", "function:crm.find#email"])"#;
    assert_eq!(
        effect(known, bob(json!(1)), &["function:crm.find#email"]),
        Effect::Allow
    );
    assert_eq!(
        effect(known, bob(json!(1)), &["function:crm.find#note"]),
        Effect::Deny
    );
    let parts =
        r#"context.origins has "parts[].id" && !context.origins["parts[].id"].contains("user")"#;
    assert_eq!(effect(parts, bob(json!(1)), &["user"]), Effect::Allow);
    assert_eq!(effect(parts, bob(json!(1)), &["model"]), Effect::Deny);
    let counted = r#"context.arguments has parts && context.arguments.parts.contains({"id": "bob", "count": 2})"#;
    assert_eq!(effect(counted, bob(json!(1)), &["user"]), Effect::Deny);
    let role = r#"!(context.session.hasTag("role") && context.session.getTag("role") == "clerk")"#;
    assert_eq!(effect(role, bob(json!(1)), &["user"]), Effect::Allow);
    let read = r#"context.read.contains("document") && !context.approved"#;
    assert_eq!(effect(read, bob(json!(1)), &["user"]), Effect::Approve);
    let user = r#"principal.user == User::"arn:aws:iam::000000000000:root""#;
    assert_eq!(effect(user, bob(json!(1)), &["user"]), Effect::Deny);
    // An argument that is a list nobody traced is the model's.
    let empty = json!({"to": "bob", "amount": 1, "parts": []});
    let listed = r#"context.origins has parts && context.origins.parts.contains("model")"#;
    assert_eq!(effect(listed, empty, &["user"]), Effect::Deny);
}

#[test]
fn a_policy_that_cannot_be_evaluated_denies_and_says_so() {
    let over = r#"forbid (principal, action == Action::"bank.pay", resource)
        when { context.arguments.amount.greaterThan(decimal("100.0")) };"#;
    // More decimals than Cedar holds: the amount is not there, and nothing is let through.
    let denied = decided(over, bob(json!(0.000001)), &["user"]);
    assert_eq!(denied.effect, Effect::Deny);
    assert!(
        denied
            .rule
            .starts_with("policy pay could not be evaluated: "),
        "{}",
        denied.rule
    );
    assert!(denied.rule.contains("amount"), "{}", denied.rule);
    assert_eq!(denied.policies, ["pay"]);
    // Who does not ask for it is not concerned.
    assert_eq!(
        decided("", bob(json!(0.000001)), &["user"]).effect,
        Effect::Allow
    );
}

#[test]
fn policies_of_one_text_have_ids_of_their_own() {
    let two = r#"@id("never") forbid (principal, action == Action::"bank.pay", resource);
        forbid (principal, action in Action::"CallFunction", resource);"#;
    let denied = decided(two, bob(json!(1)), &["user"]);
    assert_eq!(denied.policies, ["pay.2", "pay.never"]);
    let twice = text(
        "@id(\"a\") permit(principal, action, resource); @id(\"a\") permit(principal, action, resource);",
    );
    assert!(
        twice
            .validate(&[])
            .unwrap_err()
            .message()
            .contains("\"pay.a\" twice")
    );
}

#[test]
fn what_is_no_policy_is_refused_with_its_place() {
    let wrong = |policy: &str, agents: &[AgentSchema]| {
        text(policy)
            .validate(agents)
            .unwrap_err()
            .message()
            .to_string()
    };
    let teller = [agent("teller", "bank.pay")];
    let message = wrong(
        "permit (principal, action, resource)\nwhen { context.read contains 1 };",
        &teller,
    );
    assert!(
        message.starts_with("policy pay: line 2, column 21: "),
        "{message}"
    );
    let message = wrong(
        "forbid (principal, action == Action::\"bank.pay\", resource)\n  when { context.arguments.amont == 1 };",
        &teller,
    );
    assert!(
        message.starts_with("policy pay: line 2, column 10: ") && message.contains("amont"),
        "{message}"
    );
    let message = wrong(
        "forbid (principal, action == Action::\"bank.pay\", resource) when { context.arguments.to == 1 };",
        &teller,
    );
    assert!(message.contains("line 1, column"), "{message}");
    // What may be missing must be asked for first.
    let message = wrong(
        "forbid (principal, action == Action::\"bank.pay\", resource) when { context.arguments.note == \"x\" };",
        &teller,
    );
    assert!(message.contains("note"), "{message}");
    let message = wrong(
        "forbid (principal == Agnt::\"x\", action, resource);",
        &teller,
    );
    assert!(message.contains("Agnt"), "{message}");
    let message = wrong(
        "forbid (principal == ?principal, action, resource);",
        &teller,
    );
    assert!(message.contains("template"), "{message}");
    let unknown = "forbid (principal, action == Action::\"bank.steal\", resource);";
    let message = wrong(unknown, &teller);
    assert!(
        message.contains("bank.steal") && message.contains("make the agent first"),
        "{message}"
    );
    assert!(
        wrong(
            "forbid (principal, action == Action::\"Retrieve\", resource == ActionGroup::\"x\");",
            &teller
        )
        .contains("line 1")
    );
    // One agent that has the function is enough; those that have it must all have the argument.
    let known = "forbid (principal, action == Action::\"bank.pay\", resource) when { context.arguments.to == \"x\" };";
    text(known)
        .validate(&[agent("other", "x.y"), teller[0].clone()])
        .unwrap();
    text("forbid (principal, action == Action::\"Retrieve\", resource == KnowledgeBase::\"secret\");").validate(&[]).unwrap();
}

#[test]
fn the_largest_numbers_are_told_as_none_or_as_they_are() {
    let (kind, _) = Kind::of(&Value::Null, &json!({"type": "number"})).unwrap();
    for out_of_range in [
        json!(i64::MIN),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1e300),
    ] {
        assert!(kind.value(&out_of_range).is_none(), "{out_of_range}");
    }
    assert!(kind.value(&json!(-12.5)).is_some());
}
