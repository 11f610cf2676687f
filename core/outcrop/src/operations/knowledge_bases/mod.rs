//! Knowledge bases: the same that a session shows natively, in the form of `bedrock-agent`.

mod chunking;
pub(super) mod data_sources;
pub(super) mod documents;
pub(super) mod ingestion_jobs;

use std::collections::BTreeMap;

use outcrop_api::{Embedder, Error, Result};
use outcrop_knowledge::{KnowledgeBase, KnowledgeBaseInfo};
use serde_json::{Map, Value, json};

use super::{Answer, Call};
use crate::knowledge_base::KnowledgeBaseRequest;
use crate::operations::converse::runtime_model;
use crate::registry::{
    DATA_SOURCES, Draft, INGESTION_JOBS, KNOWLEDGE_BASES, Kind, Page, Resource, read_tags,
};
use crate::session::{Session, blocking};

/// What stands for the role of a knowledge base that was made natively, without one.
const OWNER_ROLE: &str = "arn:aws:iam::000000000000:role/outcrop";

/// `CreateKnowledgeBase`.
pub(super) async fn create(call: Call) -> Result<Answer> {
    let embedding = read_configuration(&call)?;
    let embedder = runtime_model(&call, &embedding.model).await?.embedder()?;
    embedding.check(&*embedder)?;
    let request = KnowledgeBaseRequest {
        name: call.required("name")?.into(),
        description: call.text("description").map(str::to_string),
        embedding_model: Some(embedder.id().into()),
        chunking: None,
    };
    let mut spec = request.into_spec(&*embedder)?;
    blocking(move || {
        let resource = call.session.resources(&KNOWLEDGE_BASES).create(Draft {
            token: call.text("clientToken"),
            request: Some(&call.input),
            tags: read_tags(call.input.get("tags"))?,
            members: members_of(&call),
            ..Draft::default()
        })?;
        spec.id = Some(resource.id.clone());
        let home = call.session.store();
        let stored = match KnowledgeBase::open(home, &resource.id) {
            // The same request came before.
            Ok(stored) => stored,
            Err(_) => KnowledgeBase::create(home, spec).inspect_err(|_| {
                // Nobody has seen it.
                let _ = call
                    .session
                    .resources(&KNOWLEDGE_BASES)
                    .delete(&resource.id);
            })?,
        };
        call.record.resource(&resource.arn);
        whole(&stored.info()?, &resource)
    })
    .await
}

/// `GetKnowledgeBase`.
pub(super) fn get(call: &Call) -> Result<Answer> {
    let info = stored(call)?.info()?;
    whole(&info, &adopted(&call.session, &info)?)
}

/// `UpdateKnowledgeBase`: its name, its description, its role; what its vectors are made with stays.
pub(super) async fn update(call: Call) -> Result<Answer> {
    call.refuse(
        &["metadataConfigurations"],
        "all metadata is searchable here, whatever its type",
    )?;
    let embedding = read_configuration(&call)?;
    let embedder = runtime_model(&call, &embedding.model).await?.embedder()?;
    embedding.check(&*embedder)?;
    let embeds_with = embedder.id().to_string();
    blocking(move || {
        let before = stored(&call)?;
        if before.embedding_model() != embeds_with {
            return Err(Error::validation(format!(
                "knowledgeBaseConfiguration.vectorKnowledgeBaseConfiguration.embeddingModelArn: the \
                 embedding model of a knowledge base cannot be changed; it is {}",
                before.embedding_model()
            )));
        }
        let resource = adopted(&call.session, &before.info()?)?;
        let (name, home) = (call.required("name")?, call.session.store());
        let description = call.text("description").map(str::to_string);
        let renamed = KnowledgeBase::rename(home, before.id(), name, description)?;
        let resources = call.session.resources(&KNOWLEDGE_BASES);
        let described = json!(call.text("description").unwrap_or_default());
        let resource = resources.update(&resource.id, |resource| {
            resource.members = members_of(&call);
            // What the record of the knowledge base says; here, so that the change has a time.
            resource.members.insert("describedAs".into(), json!([name, described]));
            Ok(())
        })?;
        whole(&renamed.info()?, &resource)
    })
    .await
}

/// `DeleteKnowledgeBase`, with all that it holds.
pub(super) fn delete(call: &Call) -> Result<Answer> {
    let base = stored(call)?;
    let Some(_hold) = ingestion_jobs::hold(call, &base)? else {
        return Err(Error::conflict(format!(
            "Knowledge base {} has an ingestion job in progress: stop it first.",
            base.id()
        )));
    };
    let id = base.id().to_string();
    KnowledgeBase::delete(call.session.store(), &id)?;
    forget(&call.session, &id)?;
    Answer::of(&json!({"knowledgeBaseId": id, "status": "DELETING"}))
}

/// `ListKnowledgeBases`.
pub(super) fn list(call: &Call) -> Result<Answer> {
    let mut infos = BTreeMap::new();
    let mut resources = Vec::new();
    for info in KnowledgeBase::list(call.session.store())? {
        resources.push(adopted(&call.session, &info)?);
        infos.insert(info.id.clone(), info);
    }
    resources.sort_by(|a, b| (&a.created_at, &a.id).cmp(&(&b.created_at, &b.id)));
    let listed = Page::of(call)?.of_all(resources, |_| true);
    Answer::of(&listed.answer("knowledgeBaseSummaries", |resource| {
        let Some(info) = infos.get(&resource.id) else {
            return json!({});
        };
        let mut summary = json!({
            "knowledgeBaseId": info.id,
            "name": info.name,
            "status": status(info),
            "updatedAt": resource.updated_at,
        });
        describe(&mut summary, info);
        summary
    }))
}

/// The knowledge base that a call is about, by its id or ARN.
///
/// # Errors
/// `ResourceNotFoundException`.
pub(super) fn stored(call: &Call) -> Result<KnowledgeBase> {
    open(call, call.required("knowledgeBaseId")?)
}

/// The knowledge base by its id or ARN, noted in the record of the call.
///
/// # Errors
/// `ResourceNotFoundException`.
pub(super) fn open(call: &Call, identifier: &str) -> Result<KnowledgeBase> {
    let id = match Kind::of_arn(identifier) {
        Some((kind, id)) if std::ptr::eq(kind, &KNOWLEDGE_BASES) => id,
        _ => identifier,
    };
    call.record.resource(KNOWLEDGE_BASES.arn_of(id));
    let found = call.session.stored_base(id).ok();
    // By its id alone: names are native.
    found.filter(|found| found.id() == id).ok_or_else(|| {
        Error::not_found(format!("Knowledge Base with id {id} does not exist")).with_resource(id)
    })
}

/// Lets go of what the registry has of a knowledge base that is deleted.
///
/// # Errors
/// `InternalServerException` where the home cannot be written.
pub(crate) fn forget(session: &Session, id: &str) -> Result<()> {
    let sources = session.resources(&DATA_SOURCES).under(id);
    for source in sources.all()? {
        let jobs = session.resources(&INGESTION_JOBS).under(&source.id);
        for job in jobs.all()? {
            jobs.delete(&job.id)?;
        }
        documents::forget(session, &source.id)?;
        sources.delete(&source.id)?;
    }
    match session.resources(&KNOWLEDGE_BASES).delete(id) {
        Err(error) if error.kind() != outcrop_api::ErrorKind::ResourceNotFoundException => {
            Err(error)
        }
        _ => Ok(()),
    }
}

/// The registry's resource of a knowledge base; made where it was created natively.
///
/// # Errors
/// `InternalServerException` where the home cannot be written.
pub(crate) fn adopted(session: &Session, info: &KnowledgeBaseInfo) -> Result<Resource> {
    let resources = session.resources(&KNOWLEDGE_BASES);
    if let Ok(resource) = resources.get(&info.id) {
        return Ok(resource);
    }
    let configuration = json!({
        "type": "VECTOR",
        "vectorKnowledgeBaseConfiguration": {
            "embeddingModelArn": outcrop_models::arn(&info.embedding_model),
        },
    });
    let members = [
        ("roleArn".to_string(), json!(OWNER_ROLE)),
        ("knowledgeBaseConfiguration".to_string(), configuration),
    ];
    let made = resources.create(Draft {
        id: Some(&info.id),
        members: members.into_iter().collect(),
        ..Draft::default()
    });
    // Another may have made it meanwhile.
    made.or_else(|_| resources.get(&info.id))
}

/// What `CreateKnowledgeBase` and `GetKnowledgeBase` say of it.
fn whole(info: &KnowledgeBaseInfo, resource: &Resource) -> Result<Answer> {
    let mut about = json!({
        "knowledgeBaseId": info.id,
        "name": info.name,
        "knowledgeBaseArn": resource.arn,
        "roleArn": resource.text("roleArn"),
        "knowledgeBaseConfiguration": resource.members.get("knowledgeBaseConfiguration"),
        "status": status(info),
        "createdAt": resource.created_at,
        "updatedAt": resource.updated_at,
    });
    describe(&mut about, info);
    if let Some(storage) = resource.members.get("storageConfiguration") {
        about["storageConfiguration"] = storage.clone();
    }
    if info.documents.is_none() {
        about["failureReasons"] = json!([
            "Its stored files are damaged: an ingestion job rebuilds them from its data sources."
        ]);
    }
    Answer::of(&json!({"knowledgeBase": about}))
}

fn describe(about: &mut Value, info: &KnowledgeBaseInfo) {
    if let Some(description) = info.description.as_deref().filter(|d| !d.is_empty()) {
        about["description"] = json!(description);
    }
}

fn status(info: &KnowledgeBaseInfo) -> &'static str {
    match info.documents {
        Some(_) => "ACTIVE",
        None => "FAILED",
    }
}

/// The members of a request that are kept and shown as they came.
fn members_of(call: &Call) -> Map<String, Value> {
    [
        "roleArn",
        "knowledgeBaseConfiguration",
        "storageConfiguration",
    ]
    .iter()
    .filter_map(|name| Some(((*name).to_string(), call.input.get(*name)?.clone())))
    .collect()
}

/// What a request says of the embedding model.
struct Embedding {
    model: String,
    dimensions: Option<usize>,
}

impl Embedding {
    fn check(&self, embedder: &dyn Embedder) -> Result<()> {
        match self.dimensions {
            Some(asked) if asked != embedder.dimensions() => Err(Error::validation(format!(
                "knowledgeBaseConfiguration.vectorKnowledgeBaseConfiguration.\
                 embeddingModelConfiguration.bedrockEmbeddingModelConfiguration.dimensions: {} makes \
                 vectors of {}, got {asked}",
                embedder.id(),
                embedder.dimensions()
            ))),
            _ => Ok(()),
        }
    }
}

/// Reads `knowledgeBaseConfiguration`. Every kind of `storageConfiguration` stands for the store of
/// the home.
fn read_configuration(call: &Call) -> Result<Embedding> {
    let configuration = &call.input["knowledgeBaseConfiguration"];
    let kind = configuration["type"].as_str().unwrap_or_default();
    if kind != "VECTOR" {
        return Err(Error::validation(format!(
            "knowledgeBaseConfiguration.type {kind} is not supported: knowledge bases here are of \
             type VECTOR."
        )));
    }
    let vector = &configuration["vectorKnowledgeBaseConfiguration"];
    let Some(model) = vector["embeddingModelArn"].as_str() else {
        return Err(Error::validation(
            "knowledgeBaseConfiguration.vectorKnowledgeBaseConfiguration: expected it for a knowledge \
             base of type VECTOR",
        ));
    };
    refuse(
        vector,
        "knowledgeBaseConfiguration.vectorKnowledgeBaseConfiguration",
        &["supplementalDataStorageConfiguration"],
    )?;
    let bedrock = &vector["embeddingModelConfiguration"]["bedrockEmbeddingModelConfiguration"];
    let place = "knowledgeBaseConfiguration.vectorKnowledgeBaseConfiguration.\
                 embeddingModelConfiguration.bedrockEmbeddingModelConfiguration";
    refuse(bedrock, place, &["audio", "video", "modelConfiguration"])?;
    if bedrock["embeddingDataType"] == "BINARY" {
        return Err(Error::validation(format!(
            "{place}.embeddingDataType BINARY is not supported: vectors here are FLOAT32."
        )));
    }
    Ok(Embedding {
        model: model.into(),
        dimensions: bedrock["dimensions"].as_u64().map(|n| n as usize),
    })
}

/// A document of further fields, which clients send empty where their caller gave them none.
const FIELDS: &str = "additionalModelRequestFields";

/// Refuses members of a part of a request that this product does not honour.
///
/// # Errors
/// `ValidationException` that names the first that is there.
pub(super) fn refuse(part: &Value, place: &str, names: &[&str]) -> Result<()> {
    let asks = |name: &str, value: &Value| name != FIELDS || *value != json!({});
    let is_asked = |name: &str| part.get(name).is_some_and(|value| asks(name, value));
    let given = names.iter().find(|name| is_asked(name));
    given.map_or(Ok(()), |name| {
        Err(Error::validation(format!(
            "{place}.{name} is not supported."
        )))
    })
}
