//! Bedrock's operations on knowledge bases, as every face calls them.

mod answers;
mod control_plane;
mod documents;
mod ingestion_jobs;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use outcrop::governance::Caller;
use outcrop::operations::{Operation, Service};
use outcrop::{Error, Session, runtime};
use serde_json::{Value, json};

use crate::operations::{answer, call, refusal};
use crate::session;

const AGENT: Service = Service::BedrockAgent;
const RUNTIME: Service = Service::BedrockAgentRuntime;
const TITAN: &str = "arn:aws:bedrock:us-east-1::foundation-model/amazon.titan-embed-text-v2:0";
const CLAUDE: &str =
    "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0";
const RERANKER: &str = "arn:aws:bedrock:us-east-1::foundation-model/amazon.rerank-v1:0";

/// A home with models that are declared as data, and a bucket that is mapped to a folder.
struct Place {
    _home: tempfile::TempDir,
    session: Session,
    bucket: PathBuf,
}

fn place() -> Place {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    let bucket = home.path().join("bucket");
    session.map_bucket("bank-docs", Some(&bucket)).unwrap();
    for (id, spec, alias) in [
        (
            "test.embed",
            json!({"embeddings": {"dimensions": 64, "others": "hashed"}}),
            TITAN,
        ),
        (
            "test.chat",
            json!({"script": [
                {"match": {"text": {"contains": "again"}}, "answer": "As I said [1]."},
                {"answer": "Cards cost 20 euro [1]. Nobody knows [9]."},
            ]}),
            CLAUDE,
        ),
        (
            "test.rerank",
            json!({"rerank": [{"text": {"contains": "bees"}, "score": 3.0}, {"text": {"regex": "."}, "score": -1.0}]}),
            RERANKER,
        ),
    ] {
        let made = session.register_model(id, spec, false, None);
        runtime().unwrap().block_on(made).unwrap();
        let set = session.alias(alias.rsplit('/').next().unwrap(), Some(id));
        runtime().unwrap().block_on(set).unwrap();
    }
    Place {
        _home: home,
        session,
        bucket,
    }
}

impl Place {
    fn write(&self, name: &str, text: &str) {
        let path = self.bucket.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(""))).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn agent(&self, name: &str, input: Value) -> Value {
        answer(&self.session, AGENT, name, input)
    }

    fn ask(&self, name: &str, input: Value) -> Value {
        answer(&self.session, RUNTIME, name, input)
    }

    fn wrong(&self, service: Service, name: &str, input: Value) -> String {
        let error: Error = call(&self.session, service, name, input).unwrap_err();
        format!("{}: {}", error.kind().name(), error.message())
    }

    fn knowledge_base(&self, name: &str) -> String {
        let made = self.agent("CreateKnowledgeBase", spec(name));
        made["knowledgeBase"]["knowledgeBaseId"]
            .as_str()
            .unwrap()
            .into()
    }

    fn source(&self, base: &str, input: Value) -> String {
        let mut whole = json!({"knowledgeBaseId": base, "name": "docs"});
        for (name, value) in input.as_object().unwrap() {
            whole[name] = value.clone();
        }
        let made = self.agent("CreateDataSource", whole);
        made["dataSource"]["dataSourceId"].as_str().unwrap().into()
    }

    /// Starts a job and waits for its end.
    fn ingest(&self, base: &str, source: &str) -> Value {
        let at = json!({"knowledgeBaseId": base, "dataSourceId": source});
        let mut at = at.clone();
        let job = self.agent("StartIngestionJob", at.clone())["ingestionJob"].clone();
        assert_eq!(job["status"], "STARTING");
        at["ingestionJobId"] = job["ingestionJobId"].clone();
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let job = self.agent("GetIngestionJob", at.clone())["ingestionJob"].clone();
            let status = job["status"].as_str().unwrap();
            if !["STARTING", "IN_PROGRESS", "STOPPING"].contains(&status) {
                return job;
            }
            assert!(Instant::now() < until, "{job}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn spec(name: &str) -> Value {
    json!({
        "name": name,
        "description": "the bank's rules",
        "roleArn": "arn:aws:iam::123456789012:role/kb",
        "knowledgeBaseConfiguration": {"type": "VECTOR", "vectorKnowledgeBaseConfiguration": {
            "embeddingModelArn": TITAN,
            "embeddingModelConfiguration": {"bedrockEmbeddingModelConfiguration": {"dimensions": 64}},
        }},
        "storageConfiguration": {"type": "S3_VECTORS", "s3VectorsConfiguration": {"indexName": "rules"}},
        "tags": {"team": "advice"},
    })
}

fn s3(prefix: &str) -> Value {
    json!({"dataSourceConfiguration": {"type": "S3", "s3Configuration": {
        "bucketArn": "arn:aws:s3:::bank-docs", "inclusionPrefixes": [prefix],
    }}})
}
