//! The tree as lines for a terminal.

use super::Node;

/// Most characters of what a part says: the event itself has all of them.
const WORDS: usize = 100;

pub(super) fn render(turns: &[Node]) -> String {
    let mut lines = Vec::new();
    for turn in turns {
        lines.push(line(turn));
        branches(turn, "", &mut lines);
    }
    lines.join("\n")
}

fn branches(node: &Node, before: &str, lines: &mut Vec<String>) {
    // That a call was begun is told by its result where there is one; a reply by what follows.
    let shown: Vec<&Node> = node
        .children
        .iter()
        .filter(|child| child.label != "reply" && !is_told(child, node))
        .collect();
    for (at, child) in shown.iter().enumerate() {
        let (branch, further) = match at + 1 == shown.len() {
            true => ("└─ ", "   "),
            false => ("├─ ", "│  "),
        };
        lines.push(format!("{before}{branch}{}", line(child)));
        branches(child, &format!("{before}{further}"), lines);
    }
}

fn is_told(child: &Node, parent: &Node) -> bool {
    child.label == "run" && parent.children.iter().any(|other| other.label == "result")
}

fn line(node: &Node) -> String {
    let mut parts = vec![node.label.to_string(), shortened(&node.words)];
    if !node.facts.is_empty() {
        parts.push(format!("· {}", node.facts.join(" · ")));
    }
    if let Some(whole) = &node.whole {
        parts.push(format!("#{}", whole.step));
    }
    parts.retain(|part| !part.is_empty());
    parts.join(" ")
}

fn shortened(words: &str) -> String {
    match words.char_indices().nth(WORDS) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words.to_string(),
    }
}
