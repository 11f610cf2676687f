//! The tree as HTML that stands alone.

use std::fmt::Write;

use super::{Mood, Node};

/// Most characters of what a part says beside its label: what is inside it has all of them.
const WORDS: usize = 140;

/// Colours follow the page's own: a notebook may be light or dark.
const STYLE: &str = "\
.outcrop-trace{--line:color-mix(in srgb,currentColor 16%,transparent);--soft:color-mix(in srgb,\
currentColor 62%,transparent);--model:#4f6bd8;--good:#2e9e6b;--waits:#c98a14;--bad:#d64545;\
text-align:left;font:13px/1.5 system-ui,sans-serif;max-width:1000px}\
.outcrop-trace details{margin:0 0 0 8px;padding-left:12px;border-left:1px solid var(--line)}\
.outcrop-trace>details{border-left:0;padding-left:0;margin-left:0}\
.outcrop-trace summary{cursor:pointer;display:flex;gap:8px;align-items:baseline;padding:2px 6px;\
border-radius:6px;list-style:none}\
.outcrop-trace summary::-webkit-details-marker{display:none}\
.outcrop-trace summary:hover{background:color-mix(in srgb,currentColor 6%,transparent)}\
.outcrop-trace summary::before{content:'\\25B8';color:var(--soft);font-size:10px;width:8px;\
flex:none;transition:transform .1s}\
.outcrop-trace details[open]>summary::before{transform:rotate(90deg)}\
.outcrop-trace b{flex:none;font-weight:600;font-size:11px;letter-spacing:.02em;padding:0 7px;\
border-radius:9px;color:var(--of);background:color-mix(in srgb,var(--of) 14%,transparent)}\
.outcrop-trace i{font-style:normal;overflow:hidden;text-overflow:ellipsis;white-space:nowrap;\
min-width:0;flex:1 1 auto}\
.outcrop-trace i.code{font-family:ui-monospace,monospace;font-size:12px}\
.outcrop-trace u{flex:none;text-decoration:none;color:var(--soft);font-size:11.5px;\
font-variant-numeric:tabular-nums}\
.outcrop-trace s{flex:none;text-decoration:none;align-self:center;width:72px;height:4px;\
border-radius:2px;background:var(--line);overflow:hidden}\
.outcrop-trace s>span{display:block;height:100%;background:var(--of)}\
.outcrop-trace pre{margin:2px 0 6px 22px;padding:8px 10px;border-radius:6px;font:12px/1.45 \
ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere;max-height:22em;overflow:auto;\
background:color-mix(in srgb,currentColor 5%,transparent)}\
.outcrop-trace small{display:block;margin:2px 0 0 22px;color:var(--soft);font-size:11px;\
overflow-wrap:anywhere}";

pub(super) fn render(turns: &[Node]) -> String {
    let mut page = format!("<div class=\"outcrop-trace\"><style>{STYLE}</style>");
    for turn in turns {
        node(turn, turn.took_ms, &mut page);
    }
    page.push_str("</div>");
    page
}

fn node(node: &Node, total_ms: u64, page: &mut String) {
    let of = match node.mood {
        Mood::Plain => "var(--soft)",
        Mood::Model => "var(--model)",
        Mood::Good => "var(--good)",
        Mood::Waits => "var(--waits)",
        Mood::Bad => "var(--bad)",
    };
    // Open down to the calls, and further where something was not as usual.
    let is_branch = !node.children.is_empty();
    let open = if is_branch { " open" } else { "" };
    let class = match node.label {
        "call" | "look-up" | "delegate" | "model" => " class=\"code\"",
        _ => "",
    };
    let _ = write!(
        page,
        "<details{open} style=\"--of:{of}\"><summary><b>{}</b><i{class}>{}</i>",
        node.label,
        escaped(&shortened(&node.words))
    );
    if !node.facts.is_empty() {
        let _ = write!(page, "<u>{}</u>", escaped(&node.facts.join(" · ")));
    }
    if !matches!(node.label, "turn" | "agent") && is_branch && total_ms > 0 {
        let share = (node.took_ms as f64 / total_ms as f64).min(1.0) * 100.0;
        let _ = write!(page, "<s><span style=\"width:{share:.1}%\"></span></s>");
    }
    page.push_str("</summary>");
    if let Some(whole) = &node.whole {
        let about = format!(
            "step {} · {} · sha256 {}",
            whole.step, whole.time, whole.digest
        );
        let shown = if is_branch {
            // What was asked of the model is long: it opens by itself.
            format!(
                "<details><summary><b>request</b></summary><small>{}</small><pre>{}</pre></details>",
                escaped(&about),
                escaped(&whole.detail)
            )
        } else {
            format!(
                "<small>{}</small><pre>{}</pre>",
                escaped(&about),
                escaped(&whole.detail)
            )
        };
        page.push_str(&shown);
    }
    for child in &node.children {
        self::node(child, total_ms, page);
    }
    page.push_str("</details>");
}

fn shortened(words: &str) -> String {
    match words.char_indices().nth(WORDS) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words.to_string(),
    }
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}
