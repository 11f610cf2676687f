//! Documents that are given to a data source directly, ten in a call.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use outcrop_api::{Error, Result, Usage};
use outcrop_knowledge::parse::Format;
use outcrop_knowledge::{Content, Given, KnowledgeBase};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::data_sources::{bucket_of, source_of};
use super::{refuse, stored};
use crate::operations::{Answer, Call};
use crate::registry::{Page, Resource, now};
use crate::session::{Session, blocking};

/// The store's kind of what became of the documents of a data source, by the source's id.
const STATES: &str = "direct-documents";

/// What became of a document that was given directly.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    time: String,
}

type States = BTreeMap<String, State>;

/// The data source that documents are given to.
struct Target {
    session: Session,
    base: KnowledgeBase,
    source: Resource,
    /// `s3://name/` of its bucket; none of a source of type CUSTOM.
    bucket: Option<String>,
}

/// `IngestKnowledgeBaseDocuments`: they can be retrieved when it answers.
pub(in crate::operations) async fn ingest(call: Call) -> Result<Answer> {
    let target = target(&call)?;
    let listed = call.input["documents"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut documents = Vec::with_capacity(listed.len());
    let mut seen = BTreeSet::new();
    for (at, document) in listed.iter().enumerate() {
        let given = target.read(&call, document, &format!("documents[{at}]"))?;
        if !seen.insert(given.id.clone()) {
            return Err(Error::validation(format!(
                "documents[{at}]: the document {:?} is there twice",
                given.id
            )));
        }
        documents.push(given);
    }
    let ids: Vec<String> = documents.iter().map(|given| given.id.clone()).collect();
    let embedder = call
        .session
        .resolve(target.base.embedding_model())
        .await?
        .embedder()?;
    call.record.model(embedder.id());
    let (outcomes, tokens) = target
        .base
        .add_to(&target.source.id, embedder, documents)
        .await?;
    call.record.usage(&Usage::new(tokens, 0));
    blocking(move || {
        let time = now();
        let changed: States = ids
            .iter()
            .zip(outcomes)
            .map(|(id, outcome)| {
                let state = State {
                    failure: outcome.err(),
                    time: time.clone(),
                };
                (id.clone(), state)
            })
            .collect();
        target.note(|states| states.extend(changed.clone()))?;
        // One that failed and was there before no longer answers with what it was.
        let failed = changed.iter().filter(|(_, state)| state.failure.is_some());
        let failed: BTreeSet<String> = failed.map(|(id, _)| id.clone()).collect();
        if !failed.is_empty() {
            target.base.delete_from(&target.source.id, &failed)?;
        }
        let details = ids.iter().map(|id| match &changed[id] {
            State {
                failure: Some(reason),
                time,
            } => target.detail(id, "FAILED", Some(reason), Some(time)),
            State { time, .. } => target.detail(id, "INDEXED", None, Some(time)),
        });
        Answer::of(&json!({"documentDetails": details.collect::<Vec<_>>()}))
    })
    .await
}

/// `GetKnowledgeBaseDocuments`.
pub(in crate::operations) fn get(call: &Call) -> Result<Answer> {
    let target = target(call)?;
    let known = target.known()?;
    let details = target
        .identifiers(call)?
        .into_iter()
        .map(|id| match known.get(&id) {
            Some(detail) => detail.clone(),
            None => target.detail(&id, "NOT_FOUND", None, None),
        });
    Answer::of(&json!({"documentDetails": details.collect::<Vec<_>>()}))
}

/// `DeleteKnowledgeBaseDocuments`.
pub(in crate::operations) fn delete(call: &Call) -> Result<Answer> {
    let target = target(call)?;
    let known = target.known()?;
    let ids = target.identifiers(call)?;
    target
        .base
        .delete_from(&target.source.id, &ids.iter().cloned().collect())?;
    target.note(|states| states.retain(|id, _| !ids.contains(id)))?;
    let details = ids.iter().map(|id| match known.contains_key(id) {
        true => target.detail(id, "DELETING", None, Some(&now())),
        false => target.detail(id, "NOT_FOUND", None, None),
    });
    Answer::of(&json!({"documentDetails": details.collect::<Vec<_>>()}))
}

/// `ListKnowledgeBaseDocuments`, in the order of their ids.
pub(in crate::operations) fn list(call: &Call) -> Result<Answer> {
    let target = target(call)?;
    let known = target.known()?;
    // A page goes by time and id; these have an order of their own.
    let resources = known.keys().enumerate().map(|(at, id)| Resource {
        id: id.clone(),
        arn: String::new(),
        parent: None,
        name: None,
        created_at: format!("{}|{at}", hex(id)),
        updated_at: String::new(),
        tags: BTreeMap::new(),
        members: Map::new(),
    });
    let listed = Page::of(call)?
        .in_order(false)
        .of_all(resources.collect(), |_| true);
    Answer::of(&listed.answer("documentDetails", |one| known[&one.id].clone()))
}

/// Lets go of what was noted of a data source's documents.
///
/// # Errors
/// `InternalServerException` where the home cannot be written.
pub(super) fn forget(session: &Session, source: &str) -> Result<()> {
    session.store().delete_record(STATES, source)?;
    Ok(())
}

/// The bytes of a text as digits, which are ordered as the bytes are.
fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn target(call: &Call) -> Result<Target> {
    let base = stored(call)?;
    let source = source_of(call, &base)?;
    let configuration = source.members.get("dataSourceConfiguration");
    let bucket = bucket_of(call, configuration.unwrap_or(&Value::Null))?;
    Ok(Target {
        session: call.session.clone(),
        base,
        source,
        bucket: bucket.map(|bucket| format!("s3://{}/", bucket.name)),
    })
}

impl Target {
    /// What is known of each document: those that are indexed, and those that failed.
    fn known(&self) -> Result<BTreeMap<String, Value>> {
        let states: States = self
            .session
            .store()
            .get_record(STATES, &self.source.id)?
            .unwrap_or_default();
        let mut known = BTreeMap::new();
        for (id, state) in &states {
            if let Some(reason) = &state.failure {
                let detail = self.detail(id, "FAILED", Some(reason), Some(&state.time));
                known.insert(id.clone(), detail);
            }
        }
        for document in self.base.documents_of(&self.source.id)? {
            let time = states.get(&document.id).map(|state| state.time.as_str());
            let detail = self.detail(&document.id, "INDEXED", None, time);
            known.insert(document.id, detail);
        }
        Ok(known)
    }

    fn note(&self, change: impl FnOnce(&mut States)) -> Result<()> {
        let store = self.session.store();
        store.update_record(STATES, &self.source.id, |states: Option<States>| {
            let mut states = states.unwrap_or_default();
            change(&mut states);
            states
        })?;
        Ok(())
    }

    fn detail(&self, id: &str, status: &str, reason: Option<&str>, time: Option<&str>) -> Value {
        let identifier = match &self.bucket {
            Some(bucket) => json!({"dataSourceType": "S3", "s3": {"uri": format!("{bucket}{id}")}}),
            None => json!({"dataSourceType": "CUSTOM", "custom": {"id": id}}),
        };
        let mut detail = json!({
            "knowledgeBaseId": self.base.id(),
            "dataSourceId": self.source.id,
            "status": status,
            "identifier": identifier,
        });
        if let Some(reason) = reason {
            detail["statusReason"] = json!(reason);
        }
        if let Some(time) = time {
            detail["updatedAt"] = json!(time);
        }
        detail
    }

    /// The ids of the documents that a call names.
    fn identifiers(&self, call: &Call) -> Result<Vec<String>> {
        let listed = call.input["documentIdentifiers"].as_array();
        let listed = listed.into_iter().flatten().enumerate();
        listed
            .map(|(at, identifier)| {
                let place = format!("documentIdentifiers[{at}]");
                self.id_of(
                    &identifier["custom"]["id"],
                    &identifier["s3"]["uri"],
                    &place,
                )
            })
            .collect()
    }

    /// A document's id in the source, of the member that is of the source's type.
    fn id_of(&self, custom: &Value, uri: &Value, place: &str) -> Result<String> {
        match (&self.bucket, custom.as_str(), uri.as_str()) {
            (None, Some(id), None) => Ok(id.to_string()),
            (Some(bucket), None, Some(uri)) => match uri.strip_prefix(bucket.as_str()) {
                Some(key) if !key.is_empty() => Ok(key.to_string()),
                _ => Err(Error::validation(format!(
                    "{place}: expected an object of the data source's bucket, {bucket}, got {uri}"
                ))),
            },
            (bucket, ..) => Err(Error::validation(format!(
                "{place}: expected a document of the data source's type, {}",
                if bucket.is_some() { "S3" } else { "CUSTOM" }
            ))),
        }
    }

    fn read(&self, call: &Call, document: &Value, place: &str) -> Result<Given> {
        let content = &document["content"];
        let custom = &content["custom"];
        let uri = &content["s3"]["s3Location"]["uri"];
        let id = self.id_of(
            &custom["customDocumentIdentifier"]["id"],
            uri,
            &format!("{place}.content"),
        )?;
        let metadata = read_metadata(call, document.get("metadata"), place)?;
        if let Some(uri) = uri.as_str() {
            if !metadata.is_empty() {
                return Err(Error::validation(format!(
                    "{place}.metadata is not supported for a document of type S3: its metadata is the \
                     file beside it."
                )));
            }
            return Ok(Given {
                uri: uri.to_string(),
                content: Content::File(call.session.resolve_s3_uri(uri, &call.principal)?),
                id,
                metadata,
            });
        }
        Ok(Given {
            uri: format!("outcrop://{}/{id}", self.source.id),
            content: read_custom(call, custom, &format!("{place}.content.custom"))?,
            id,
            metadata,
        })
    }
}

/// The content of a document of type CUSTOM.
fn read_custom(call: &Call, custom: &Value, place: &str) -> Result<Content> {
    let wrong = |what: &str| Error::validation(format!("{place}: {what}"));
    if custom["sourceType"] == "S3_LOCATION" {
        let uri = custom["s3Location"]["uri"].as_str();
        let uri = uri.ok_or_else(|| wrong("expected s3Location for the sourceType S3_LOCATION"))?;
        let path = call.session.resolve_s3_uri(uri, &call.principal)?;
        let format = Format::of(&path)
            .ok_or_else(|| wrong(&format!("the format of {uri} is not one that is read")))?;
        return Ok(Content::Bytes(format, read_file(&path, uri)?));
    }
    let inline = &custom["inlineContent"];
    if let Some(text) = inline["textContent"]["data"].as_str() {
        return Ok(Content::Text(text.to_string()));
    }
    let bytes = &inline["byteContent"];
    let Some(data) = bytes["data"].as_str() else {
        return Err(wrong(
            "expected inlineContent with textContent or byteContent",
        ));
    };
    let media_type = bytes["mimeType"].as_str().unwrap_or_default();
    let format = Format::of_media_type(media_type)
        .ok_or_else(|| wrong(&format!("mimeType {media_type} is not one that is read")))?;
    let data = STANDARD.decode(data).map_err(|e| wrong(&e.to_string()))?;
    Ok(Content::Bytes(format, data))
}

/// The bytes of a mapped file.
pub(in crate::operations) fn read_file(path: &PathBuf, uri: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        Error::validation(format!("{uri} cannot be read: {error}")).with_resource(uri)
    })
}

fn read_metadata(call: &Call, metadata: Option<&Value>, place: &str) -> Result<Map<String, Value>> {
    let Some(metadata) = metadata else {
        return Ok(Map::new());
    };
    let place = format!("{place}.metadata");
    refuse(metadata, &place, &["accessControlList"])?;
    if metadata["type"] == "S3_LOCATION" {
        let uri = metadata["s3Location"]["uri"].as_str().unwrap_or_default();
        let path = call.session.resolve_s3_uri(uri, &call.principal)?;
        let bytes = read_file(&path, uri)?;
        return outcrop_knowledge::read_metadata(&bytes)
            .map_err(|reason| Error::validation(format!("{place}: {uri}: {reason}")));
    }
    let listed = metadata["inlineAttributes"]
        .as_array()
        .into_iter()
        .flatten();
    let mut attributes = Map::new();
    for attribute in listed {
        let (key, value) = (attribute["key"].as_str(), &attribute["value"]);
        let member = match value["type"].as_str() {
            Some("BOOLEAN") => "booleanValue",
            Some("NUMBER") => "numberValue",
            Some("STRING_LIST") => "stringListValue",
            _ => "stringValue",
        };
        let (Some(key), Some(value)) = (key, value.get(member)) else {
            return Err(Error::validation(format!(
                "{place}.inlineAttributes: expected {member} for the type that is stated"
            )));
        };
        attributes.insert(key.to_string(), value.clone());
    }
    Ok(attributes)
}
