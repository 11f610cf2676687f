//! The bodies of Amazon Nova: Converse's own members with few differences.

use outcrop_api::{Error, Result};
use serde_json::{Map, Value, json};

use super::one;
use super::text_format::{Asked, ChunkFormat, TextFormat};
use crate::operations::Members;

pub(super) struct Nova;

/// What Nova spells otherwise than Converse does.
const SPELLINGS: [(&str, &str); 6] = [
    ("max_new_tokens", "maxTokens"),
    ("max_tokens", "maxTokens"),
    ("top_p", "topP"),
    ("top_k", "topK"),
    ("stop_sequences", "stopSequences"),
    ("temperature", "temperature"),
];

impl TextFormat for Nova {
    fn ask(&self, mut body: Members) -> Result<Asked> {
        body.only("schemaVersion", &[json!("messages-v1")])?;
        let mut input = Map::new();
        input.insert("messages".into(), body.required("messages")?);
        for name in ["system", "toolConfig"] {
            if let Some(value) = body.take(name) {
                input.insert(name.into(), value);
            }
        }
        if let Some(config) = body.read::<Map<String, Value>>("inferenceConfig")? {
            inference(config, &mut input)?;
        }
        body.end()?;
        Ok(Asked::Conversation(input))
    }

    fn answer(&self, output: &Map<String, Value>) -> Result<Value> {
        let members = ["output", "stopReason", "usage"];
        Ok(members
            .into_iter()
            .filter_map(|name| Some((name, output.get(name)?.clone())))
            .collect())
    }

    fn chunks(&self) -> Box<dyn ChunkFormat> {
        Box::new(Nova)
    }
}

fn inference(config: Map<String, Value>, input: &mut Map<String, Value>) -> Result<()> {
    let mut known = Map::new();
    for (name, value) in config {
        let spelt = SPELLINGS.iter().find(|(nova, _)| *nova == name);
        match spelt.map_or(name.as_str(), |(_, converse)| converse) {
            "topK" => {
                let fields = Value::Object(one("topK", value));
                input.insert("additionalModelRequestFields".into(), fields);
            }
            spelt @ ("maxTokens" | "temperature" | "topP" | "stopSequences") => {
                known.insert(spelt.into(), value);
            }
            _ => {
                return Err(Error::validation(format!(
                    "Malformed input request: #/inferenceConfig: extraneous key [{name}] is not permitted, please reformat your input and try again."
                )));
            }
        }
    }
    input.insert("inferenceConfig".into(), Value::Object(known));
    Ok(())
}

impl ChunkFormat for Nova {
    fn push(&mut self, event: &str, value: &Value) -> Result<Vec<Value>> {
        let value = match event {
            "metadata" => json!({"usage": value["usage"], "metrics": {}, "trace": {}}),
            _ => value.clone(),
        };
        Ok(vec![Value::Object(one(event, value))])
    }
}
