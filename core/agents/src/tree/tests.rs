//! The tree of a turn that calls, waits, is approved and answers.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;

fn events() -> Vec<TraceEvent> {
    let call = |id: &str, tool: &str, arguments: Value| {
        json!({"id": id, "tool": tool, "arguments": arguments,
            "target": {"function": {"actionGroup": "accounts", "function": tool, "execution": "CALLER"}}})
    };
    let limit = call("1.1.1", "limit", json!({"user": "<b>12345</b>"}));
    let mail = call("1.2.1", "mail", json!({"to": "a@b.example"}));
    let model = |reason: &str, tokens: usize| {
        json!({"modelInvocationOutput": {"content": [], "stopReason": reason, "cost": 0.002, "tookMs": 1500,
            "usage": {"inputTokens": tokens, "outputTokens": 5, "totalTokens": tokens + 5}}})
    };
    let waiting = json!({"id": "1.2.1", "toolUseId": "t2", "tool": "mail", "arguments": {"to": "a@b.example"},
        "target": mail["target"], "status": {"waiting": {"rule": "r"}}});
    let asked = json!({"modelInvocationInput": {"model": "acme-v1", "text": "{\"messages\": []}"}});
    let told = [
        json!({"input": {"text": "Tell <script>alert(1)</script>"}}),
        asked.clone(),
        model("tool_use", 10),
        json!({"decision": {"call": limit, "effect": "allow", "rule": "the agent has it", "policies": ["default"]}}),
        json!({"invocationInput": {"call": limit}}),
        json!({"observation": {"call": limit, "outcome": {"returned": {"limit": 5000}}, "tookMs": 12}}),
        asked,
        model("tool_use", 20),
        json!({"decision": {"call": mail, "effect": "approve", "rule": "policy p forbids it until it is approved"}}),
        json!({"approvalRequest": {"pending": [{"call": waiting, "asks": "USER_CONFIRMATION"}]}}),
        json!({"approvalResponse": {"answer": {"call": "1.2.1", "answer": {"rejected": {"reason": "not today"}}, "by": "root"}}}),
        json!({"observation": {"call": mail, "outcome": {"rejected": {"reason": "not today"}}, "tookMs": 0}}),
        json!({"failure": {"reason": "max_steps", "message": "2 model calls of at most 2",
            "spent": {"steps": 2, "usage": {"inputTokens": 30, "outputTokens": 10, "totalTokens": 40}, "tookMs": 3012, "cost": 0.004}}}),
    ];
    let events = told.into_iter().enumerate().map(|(at, event)| {
        let event = json!({"step": at + 1, "turn": 1, "time": "2026-01-01T00:00:00.000Z", "digest": "ab", "event": event});
        serde_json::from_value(event).unwrap()
    });
    events.collect()
}

#[test]
fn a_terminal_gets_the_turn_as_a_tree() {
    let expected = "\
turn 1 · max_steps · 2 model calls · 40 tokens · $0.004000 · 3.0 s
├─ user Tell <script>alert(1)</script> #1
├─ model acme-v1 · tool_use · 10 → 5 tokens · 1.5 s · $0.002000 #2
│  └─ call limit(user=\"<b>12345</b>\") · 12 ms
│     ├─ allow the agent has it · by default #4
│     └─ result {\"limit\":5000} #6
├─ model acme-v1 · tool_use · 20 → 5 tokens · 1.5 s · $0.002000 #7
│  └─ call mail(to=\"a@b.example\")
│     ├─ approve policy p forbids it until it is approved #9
│     ├─ waits for USER_CONFIRMATION #10
│     ├─ answered rejected: not today · by root #11
│     └─ result A person refused the call: not today. It was not run. #12
└─ failure 2 model calls of at most 2 #13";
    assert_eq!(text(&events()), expected);
}

#[test]
fn a_notebook_gets_html_that_stands_alone_and_is_escaped() {
    let page = html(&events());
    assert!(!page.contains("<script") && !page.contains("<b>12345") && !page.contains("http"));
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(page.contains("&lt;b&gt;12345&lt;/b&gt;"));
    for tag in ["details", "summary", "div", "style"] {
        let opened = page.matches(&format!("<{tag}")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
    assert!(
        page.contains("sha256 ab") && page.contains("10 → 5 tokens") && page.contains("by default")
    );
}

#[test]
fn work_that_is_handed_on_stands_under_the_call() {
    let call = json!({"id": "1.1.1", "tool": "ask_helper", "arguments": {"message": "Help."},
        "target": {"collaborator": {"name": "helper"}}});
    let spent = |steps: usize| json!({"steps": steps, "usage": {"inputTokens": 8, "outputTokens": 2, "totalTokens": 10 * steps}, "tookMs": 7, "cost": 0.0});
    let model = |reason: &str| {
        json!({"modelInvocationOutput": {"content": [], "stopReason": reason, "cost": 0.0, "tookMs": 3,
            "usage": {"inputTokens": 8, "outputTokens": 2, "totalTokens": 10}}})
    };
    let asked = |model: &str| json!({"modelInvocationInput": {"model": model, "text": "{}"}});
    let answer = |steps: usize| json!({"finalResponse": {"reason": "end_turn", "text": "So.", "citations": [], "spent": spent(steps)}});
    let helper = json!([{"call": "1.1.1", "name": "helper", "agentId": "A1", "agentVersion": "1"}]);
    let told = [
        (json!([]), asked("upper")),
        (json!([]), model("tool_use")),
        (
            json!([]),
            json!({"decision": {"call": call, "effect": "allow", "rule": "it has it"}}),
        ),
        (json!([]), json!({"invocationInput": {"call": call}})),
        (helper.clone(), asked("lower")),
        (helper.clone(), model("end_turn")),
        (helper, answer(1)),
        (
            json!([]),
            json!({"observation": {"call": call, "tookMs": 4, "outcome": {"answered": {
            "agent": "helper", "text": "So.", "citations": [], "first": 1, "reason": "end_turn"}}}}),
        ),
        (json!([]), answer(2)),
    ];
    let events = told.into_iter().enumerate().map(|(at, (within, event))| {
        let event = json!({"step": at + 1, "turn": 3, "time": "2026-01-01T00:00:00.000Z", "digest": "ab",
            "within": within, "event": event});
        serde_json::from_value(event).unwrap()
    });
    let expected = "\
turn 3 · end_turn · 2 model calls · 20 tokens · 7 ms
├─ model upper · tool_use · 8 → 2 tokens · 3 ms #1
│  └─ delegate ask_helper(message=\"Help.\") · 4 ms
│     ├─ allow it has it #3
│     ├─ agent helper · end_turn · 1 model call · 10 tokens · 7 ms
│     │  ├─ model lower · end_turn · 8 → 2 tokens · 3 ms #5
│     │  └─ answer So. #7
│     └─ result So. #8
└─ answer So. #9";
    assert_eq!(text(&events.collect::<Vec<_>>()), expected);
}
