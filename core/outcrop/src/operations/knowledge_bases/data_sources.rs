//! Data sources: buckets that are mapped to folders, and documents given directly.

use outcrop_api::{Error, Result};
use outcrop_knowledge::{Bucket, ChunkingStrategy, DataSource, KnowledgeBase};
use serde_json::{Map, Value, json};

use super::{chunking, documents, ingestion_jobs, stored};
use crate::operations::{Answer, Call};
use crate::registry::{DATA_SOURCES, Draft, INGESTION_JOBS, Page, Resource, Resources};
use crate::session::blocking;

/// Members of a data source that are kept and shown as they came.
const MEMBERS: [&str; 4] = [
    "description",
    "dataSourceConfiguration",
    "vectorIngestionConfiguration",
    "dataDeletionPolicy",
];

/// `CreateDataSource`.
pub(in crate::operations) async fn create(call: Call) -> Result<Answer> {
    let base = stored(&call)?;
    refuse_encryption(&call)?;
    let embedder = call
        .session
        .resolve(base.embedding_model())
        .await?
        .embedder()?;
    let strategy = chunking::read(&call.input["vectorIngestionConfiguration"], &*embedder)?;
    blocking(move || {
        let bucket = bucket_of(&call, &call.input["dataSourceConfiguration"])?;
        let resource = sources(&call, &base).create(Draft {
            name: Some(call.required("name")?),
            token: call.text("clientToken"),
            request: Some(&call.input),
            members: members_of(&call, "DELETE"),
            ..Draft::default()
        })?;
        put(&base, &resource, bucket, strategy)?;
        whole(&base, &resource)
    })
    .await
}

/// `GetDataSource`.
pub(in crate::operations) fn get(call: &Call) -> Result<Answer> {
    let base = stored(call)?;
    whole(&base, &source_of(call, &base)?)
}

/// `UpdateDataSource`. How its documents are cut stays as it is.
pub(in crate::operations) fn update(call: &Call) -> Result<Answer> {
    let base = stored(call)?;
    refuse_encryption(call)?;
    let before = source_of(call, &base)?;
    let member = "vectorIngestionConfiguration";
    let changed = call
        .input
        .get(member)
        .is_some_and(|new| before.members.get(member) != Some(new));
    if changed {
        return Err(Error::validation(
            "vectorIngestionConfiguration: the chunking of a data source cannot be changed after its \
             creation: expected the one that it has",
        ));
    }
    let kind = |value: &Value| value["type"].as_str().map(str::to_string);
    let configuration = &call.input["dataSourceConfiguration"];
    if before.members.get("dataSourceConfiguration").and_then(kind) != kind(configuration) {
        return Err(Error::validation(
            "dataSourceConfiguration.type: the type of a data source cannot be changed",
        ));
    }
    let bucket = bucket_of(call, configuration)?;
    let strategy = base.data_source(&before.id)?.strategy;
    let policy = before.text("dataDeletionPolicy").to_string();
    let updated = sources(call, &base).update(&before.id, |resource| {
        resource.name = Some(call.required("name")?.into());
        let kept = resource.members.remove(member);
        resource.members = members_of(call, &policy);
        resource
            .members
            .extend(kept.map(|kept| (member.to_string(), kept)));
        Ok(())
    })?;
    put(&base, &updated, bucket, strategy)?;
    whole(&base, &updated)
}

/// `DeleteDataSource`: with its documents, unless its policy is to retain them.
pub(in crate::operations) fn delete(call: &Call) -> Result<Answer> {
    let base = stored(call)?;
    let source = source_of(call, &base)?;
    let Some(_hold) = ingestion_jobs::hold(call, &base)? else {
        return Err(Error::conflict(format!(
            "Data source {} has an ingestion job in progress: stop it first.",
            source.id
        )));
    };
    base.remove_data_source(&source.id, source.text("dataDeletionPolicy") == "RETAIN")?;
    let jobs = call.session.resources(&INGESTION_JOBS).under(&source.id);
    for job in jobs.all()? {
        jobs.delete(&job.id)?;
    }
    documents::forget(&call.session, &source.id)?;
    sources(call, &base).delete(&source.id)?;
    Answer::of(&json!({
        "knowledgeBaseId": base.id(),
        "dataSourceId": source.id,
        "status": "DELETING",
    }))
}

/// `ListDataSources`.
pub(in crate::operations) fn list(call: &Call) -> Result<Answer> {
    let base = stored(call)?;
    let listed = sources(call, &base).page(&Page::of(call)?, |_| true)?;
    Answer::of(&listed.answer("dataSourceSummaries", |source| {
        let mut summary = json!({
            "knowledgeBaseId": base.id(),
            "dataSourceId": source.id,
            "name": source.name,
            "status": "AVAILABLE",
            "updatedAt": source.updated_at,
        });
        if let Some(description) = source.members.get("description") {
            summary["description"] = description.clone();
        }
        summary
    }))
}

/// The data source that a call is about.
///
/// # Errors
/// `ResourceNotFoundException`.
pub(super) fn source_of(call: &Call, base: &KnowledgeBase) -> Result<Resource> {
    let id = call.required("dataSourceId")?;
    sources(call, base).get(id).map_err(|_| {
        Error::not_found(format!(
            "Data source with id {id} does not exist in knowledge base {}",
            base.id()
        ))
        .with_resource(id)
    })
}

/// The bucket of a data source's configuration, as it is mapped now; none for one of type CUSTOM.
///
/// # Errors
/// `ValidationException` for another type, or a bucket that is mapped to no folder.
pub(super) fn bucket_of(call: &Call, configuration: &Value) -> Result<Option<Bucket>> {
    let kind = configuration["type"].as_str().unwrap_or_default();
    if kind == "CUSTOM" {
        return Ok(None);
    }
    if kind != "S3" {
        return Err(Error::validation(format!(
            "dataSourceConfiguration.type {kind} is not supported: data sources here are of type S3, \
             whose bucket is mapped to a folder, or CUSTOM."
        )));
    }
    let s3 = &configuration["s3Configuration"];
    let Some(arn) = s3["bucketArn"].as_str() else {
        return Err(Error::validation(
            "dataSourceConfiguration.s3Configuration: expected it for a data source of type S3",
        ));
    };
    let name = arn.rsplit(':').next().unwrap_or_default();
    let folder = call
        .session
        .resolve_s3_uri(&format!("s3://{name}"), &call.principal)?;
    let prefix = s3["inclusionPrefixes"][0].as_str().unwrap_or_default();
    Ok(Some(Bucket {
        name: name.into(),
        prefix: prefix.into(),
        folder,
    }))
}

/// Tells the knowledge base of a data source as the registry has it.
pub(super) fn put(
    base: &KnowledgeBase,
    resource: &Resource,
    bucket: Option<Bucket>,
    strategy: ChunkingStrategy,
) -> Result<()> {
    base.put_data_source(DataSource {
        id: resource.id.clone(),
        bucket,
        strategy,
        retained: false,
    })
}

fn sources(call: &Call, base: &KnowledgeBase) -> Resources {
    call.session.resources(&DATA_SOURCES).under(base.id())
}

fn refuse_encryption(call: &Call) -> Result<()> {
    call.refuse(
        &["serverSideEncryptionConfiguration"],
        "what a knowledge base holds is not encrypted at rest here",
    )
}

fn members_of(call: &Call, policy: &str) -> Map<String, Value> {
    let mut members: Map<String, Value> = MEMBERS
        .iter()
        .filter_map(|name| Some(((*name).to_string(), call.input.get(*name)?.clone())))
        .collect();
    members
        .entry("dataDeletionPolicy")
        .or_insert_with(|| json!(policy));
    members
}

fn whole(base: &KnowledgeBase, source: &Resource) -> Result<Answer> {
    let mut about = json!({
        "knowledgeBaseId": base.id(),
        "dataSourceId": source.id,
        "name": source.name,
        "status": "AVAILABLE",
        "createdAt": source.created_at,
        "updatedAt": source.updated_at,
    });
    for (name, value) in &source.members {
        about[name] = value.clone();
    }
    Answer::of(&json!({"dataSource": about}))
}
