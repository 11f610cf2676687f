//! The tools of an MCP server as the functions of an action group.

use outcrop_api::{Error, Result};
use serde_json::Value;

use crate::definition::Function;
use crate::toolbox::callable;

/// Most tools of one server.
pub const MAX_TOOLS: usize = 1000;

/// A tool, as its server lists it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListedTool {
    /// Its name there.
    pub name: String,
    /// What it does.
    pub description: String,
    /// JSON schema of its arguments.
    pub input_schema: Value,
    /// Whether it says of itself that it may destroy something.
    pub is_destructive: bool,
}

/// The functions that a group has of the tools `listed`: those named in `tools`, or all where that
/// is empty. A person must approve those of `confirm`, and those that say that they may destroy. A
/// hint of a server adds an approval and never takes one away.
///
/// # Errors
/// `ValidationException` for a name that is not listed, is listed twice, or comes out as that of
/// another tool.
pub fn functions(
    place: &str,
    listed: Vec<ListedTool>,
    tools: &[String],
    confirm: &[String],
) -> Result<Vec<Function>> {
    let named = |member: &str, names: &[String]| {
        let unknown = names.iter().find(|&name| {
            let is_kept = tools.is_empty() || tools.contains(name);
            !is_kept || !listed.iter().any(|tool| tool.name == *name)
        });
        match unknown {
            None => Ok(()),
            Some(name) => Err(Error::validation(format!(
                "{place}.{member}: expected names of the server's tools, got {name:?}"
            ))),
        }
    };
    named("tools", tools)?;
    named("confirm", confirm)?;
    let mut functions: Vec<Function> = Vec::new();
    for tool in listed {
        if !tools.is_empty() && !tools.contains(&tool.name) {
            continue;
        }
        let function = Function {
            name: callable(&tool.name),
            description: tool.description,
            input_schema: tool.input_schema,
            require_confirmation: tool.is_destructive || confirm.contains(&tool.name),
            mcp_tool: Some(tool.name),
            ..Function::default()
        };
        if let Some(other) = functions.iter().find(|one| one.name == function.name) {
            return Err(Error::validation(format!(
                "{place}: the tools {:?} and {:?} are both called as {}",
                other.mcp_tool.as_deref().unwrap_or_default(),
                function.mcp_tool.as_deref().unwrap_or_default(),
                function.name
            )));
        }
        functions.push(function);
    }
    Ok(functions)
}

/// The functions of a group whose server lists `listed` now. Nobody has looked at a tool that is not
/// among those `known` when the agent was made, or is not what it was: a person must approve its
/// calls.
pub fn renewed(known: &[Function], listed: Vec<Function>) -> Vec<Function> {
    let renewed = listed.into_iter().map(|mut now| {
        let then = known.iter().find(|one| is_same(one, &now));
        now.require_confirmation |= then.is_none_or(|one| one.require_confirmation);
        now
    });
    renewed.collect()
}

/// Whether a tool says of itself what it said before.
pub fn is_same(then: &Function, now: &Function) -> bool {
    then.mcp_tool == now.mcp_tool
        && then.description == now.description
        && then.input_schema == now.input_schema
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn tool(name: &str, description: &str) -> ListedTool {
        ListedTool {
            name: name.into(),
            description: description.into(),
            input_schema: json!({"type": "object"}),
            is_destructive: false,
        }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn a_group_has_the_tools_that_it_names() {
        let listed = || {
            let mut listed = vec![tool("files.read", "Reads."), tool("write", "Writes.")];
            listed[1].is_destructive = true;
            listed
        };
        let all = functions("g", listed(), &[], &names(&["files.read"])).unwrap();
        assert_eq!(all[0].name, "files_read");
        assert_eq!(all[0].mcp_tool.as_deref(), Some("files.read"));
        assert!(all.iter().all(|function| function.require_confirmation));
        let one = functions("g", listed(), &names(&["write"]), &[]).unwrap();
        assert_eq!(one.len(), 1);
        for (tools, confirm) in [(&["read"][..], &[][..]), (&["write"], &["files.read"])] {
            let error = functions("g", listed(), &names(tools), &names(confirm)).unwrap_err();
            assert!(error.message().contains("read\""), "{error}");
        }
        let both = vec![tool("a.b", ""), tool("a/b", "")];
        let error = functions("g", both, &[], &[]).unwrap_err();
        assert_eq!(
            error.message(),
            r#"g: the tools "a.b" and "a/b" are both called as a_b"#
        );
    }

    #[test]
    fn a_tool_that_came_or_changed_waits_for_an_approval() {
        let made = |listed| functions("g", listed, &[], &[]).unwrap();
        let known = made(vec![tool("a", "Adds."), tool("b", "Reads.")]);
        let listed = made(vec![
            tool("a", "Adds."),
            tool("b", "Reads, then mails it."),
            tool("c", ""),
        ]);
        let asks: Vec<bool> = renewed(&known, listed)
            .iter()
            .map(|function| function.require_confirmation)
            .collect();
        assert_eq!(asks, [false, true, true]);
    }
}
