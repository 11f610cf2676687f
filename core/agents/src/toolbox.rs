//! What an agent's model is told that it may call, and what each name leads to.

use std::collections::BTreeMap;

use outcrop_api::{Error, Result, Tool};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::definition::{AgentDefinition, Execution, Function};

/// What a call leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// A function of an action group.
    #[serde(rename_all = "camelCase")]
    Function {
        /// The group's name.
        action_group: String,
        /// The function's name.
        function: String,
        /// Who runs it.
        execution: Execution,
    },
    /// A look-up in a knowledge base.
    #[serde(rename_all = "camelCase")]
    KnowledgeBase {
        /// Its id.
        id: String,
    },
    /// Work for another agent.
    #[serde(rename_all = "camelCase")]
    Collaborator {
        /// The name that the supervisor knows it by.
        name: String,
    },
}

/// The tools of an agent, by the names that its model calls them by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Toolbox {
    tools: Vec<(Tool, Target)>,
}

impl Toolbox {
    /// The tools of `agent`. A function goes by its own name, or by `group__function` where two
    /// groups have one of that name.
    ///
    /// # Errors
    /// `ValidationException` where two tools come out with one name, or with one that is too long.
    pub fn of(agent: &AgentDefinition) -> Result<Self> {
        let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
        for function in agent
            .action_groups
            .iter()
            .flat_map(|group| &group.functions)
        {
            *uses.entry(&function.name).or_default() += 1;
        }
        let mut toolbox = Self::default();
        for group in &agent.action_groups {
            for function in &group.functions {
                let name = match uses[function.name.as_str()] {
                    1 => function.name.clone(),
                    _ => format!("{}__{}", group.name, function.name),
                };
                let target = Target::Function {
                    action_group: group.name.clone(),
                    function: function.name.clone(),
                    execution: group.execution,
                };
                toolbox.add(
                    name,
                    function_text(function),
                    &function.input_schema,
                    target,
                )?;
            }
        }
        for base in &agent.knowledge_bases {
            let name = format!("search_{}", callable(&base.name));
            let text = format!(
                "Looks up passages of the documents {}. {}",
                base.name, base.description
            );
            let target = Target::KnowledgeBase {
                id: base.id.clone(),
            };
            toolbox.add(name, text, &one_text("query", "What to look for."), target)?;
        }
        for agent in &agent.collaborators {
            let name = Self::name_of_collaborator(&agent.name);
            let text = format!(
                "Hands work to the agent {}. {}",
                agent.name, agent.instruction
            );
            let target = Target::Collaborator {
                name: agent.name.clone(),
            };
            toolbox.add(
                name,
                text,
                &one_text("message", "What it is to do."),
                target,
            )?;
        }
        Ok(toolbox)
    }

    /// The name that a supervisor's model calls a collaborator by.
    pub fn name_of_collaborator(name: &str) -> String {
        format!("ask_{}", callable(name))
    }

    fn add(&mut self, name: String, text: String, schema: &Value, target: Target) -> Result<()> {
        if name.len() > 64 {
            return Err(Error::validation(format!(
                "a tool's name: expected at most 64 characters, got {} in {name:?}",
                name.len()
            )));
        }
        if self.find(&name).is_some() {
            return Err(Error::validation(format!(
                "a tool's name: expected one of its own for each function, knowledge base and \
                 collaborator, got {name:?} twice"
            )));
        }
        let tool = Tool {
            name,
            description: text.trim().to_string(),
            input_schema: schema.clone(),
        };
        self.tools.push((tool, target));
        Ok(())
    }

    /// The declaration and the target of the tool `name`.
    pub fn find(&self, name: &str) -> Option<&(Tool, Target)> {
        self.tools.iter().find(|(tool, _)| tool.name == name)
    }

    /// The declarations.
    pub fn declarations(&self) -> Vec<Tool> {
        self.tools.iter().map(|(tool, _)| tool.clone()).collect()
    }

    /// The names, for an error.
    pub fn names(&self) -> String {
        let names: Vec<&str> = self
            .tools
            .iter()
            .map(|(tool, _)| tool.name.as_str())
            .collect();
        names.join(", ")
    }
}

fn function_text(function: &Function) -> String {
    match (&function.api, function.description.is_empty()) {
        (Some(api), true) => format!("{} {}", api.method, api.path),
        _ => function.description.clone(),
    }
}

fn one_text(name: &str, description: &str) -> Value {
    json!({
        "type": "object",
        "properties": { name: {"type": "string", "minLength": 1, "description": description} },
        "required": [name],
        "additionalProperties": false,
    })
}

/// A name of letters, digits, `_` and `-`.
pub(crate) fn callable(name: &str) -> String {
    let good = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    name.chars().map(good).collect()
}
