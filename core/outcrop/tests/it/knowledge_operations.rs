//! Bedrock's operations on knowledge bases, as every face calls them.

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

#[test]
fn a_knowledge_base_is_one_thing_from_both_sides() {
    let p = place();
    let id = p.knowledge_base("rules");
    let got = p.agent("GetKnowledgeBase", json!({"knowledgeBaseId": id}))["knowledgeBase"].clone();
    assert_eq!(got["status"], "ACTIVE");
    assert_eq!(
        got["storageConfiguration"]["s3VectorsConfiguration"]["indexName"],
        "rules"
    );
    let native = runtime().unwrap().block_on(async {
        let native = p
            .session
            .knowledge_base("rules")
            .await
            .unwrap()
            .info()
            .await
            .unwrap();
        let request = outcrop::KnowledgeBaseRequest {
            name: "native".into(),
            ..Default::default()
        };
        p.session.create_knowledge_base(request).await.unwrap();
        native
    });
    assert_eq!(
        (native.id.as_str(), native.embedding_model.as_str()),
        (id.as_str(), "test.embed")
    );

    let listed = p.agent("ListKnowledgeBases", json!({"maxResults": 1}));
    assert_eq!(
        listed["knowledgeBaseSummaries"][0]["name"], "native",
        "the newest is first"
    );
    let next = json!({"maxResults": 1, "nextToken": listed["nextToken"]});
    let last = p.agent("ListKnowledgeBases", next);
    assert_eq!(
        last["knowledgeBaseSummaries"][0]["knowledgeBaseId"],
        json!(id)
    );
    assert!(last.get("nextToken").is_none());

    let mut update = spec("regulations");
    update["knowledgeBaseId"] = json!(id);
    update.as_object_mut().unwrap().remove("tags");
    let updated = p.agent("UpdateKnowledgeBase", update)["knowledgeBase"].clone();
    assert_eq!(updated["name"], "regulations");
    assert!(updated["updatedAt"].as_str() > updated["createdAt"].as_str());
    assert_eq!(
        refusal(
            &p.session,
            AGENT,
            "CreateKnowledgeBase",
            spec("regulations")
        ),
        "ConflictException"
    );

    p.agent("DeleteKnowledgeBase", json!({"knowledgeBaseId": id}));
    let gone = json!({"knowledgeBaseId": id});
    assert_eq!(
        refusal(&p.session, AGENT, "GetKnowledgeBase", gone),
        "ResourceNotFoundException"
    );
}

#[test]
fn a_client_token_makes_one_knowledge_base() {
    let p = place();
    let mut request = spec("rules");
    request["clientToken"] = json!("t".repeat(40));
    let first = p.agent("CreateKnowledgeBase", request.clone());
    assert_eq!(first, p.agent("CreateKnowledgeBase", request.clone()));
    request["name"] = json!("others");
    assert_eq!(
        refusal(&p.session, AGENT, "CreateKnowledgeBase", request),
        "ConflictException"
    );
}

#[test]
fn what_is_not_here_is_refused_by_name() {
    let p = place();
    let mut wrong = spec("rules");
    wrong["knowledgeBaseConfiguration"] = json!({"type": "KENDRA"});
    assert!(
        p.wrong(AGENT, "CreateKnowledgeBase", wrong)
            .contains("knowledgeBaseConfiguration.type KENDRA")
    );
    let mut wrong = spec("rules");
    wrong["knowledgeBaseConfiguration"]["vectorKnowledgeBaseConfiguration"]["embeddingModelConfiguration"]
        ["bedrockEmbeddingModelConfiguration"]["dimensions"] = json!(1024);
    assert!(
        p.wrong(AGENT, "CreateKnowledgeBase", wrong)
            .contains("vectors of 64, got 1024")
    );
    let mut wrong = spec("rules");
    wrong["knowledgeBaseConfiguration"]["vectorKnowledgeBaseConfiguration"]["embeddingModelArn"] =
        json!("arn:aws:bedrock:us-east-1::foundation-model/nobody.knows-v1");
    assert!(
        p.wrong(AGENT, "CreateKnowledgeBase", wrong)
            .ends_with("model identifier is invalid.")
    );

    let base = p.knowledge_base("rules");
    let mut web =
        json!({"knowledgeBaseId": base, "name": "web", "dataSourceConfiguration": {"type": "WEB"}});
    assert!(
        p.wrong(AGENT, "CreateDataSource", web.clone())
            .contains("type WEB is not supported")
    );
    web["dataSourceConfiguration"] = s3("a")["dataSourceConfiguration"].clone();
    web["vectorIngestionConfiguration"] =
        json!({"parsingConfiguration": {"parsingStrategy": "SMART_PARSING"}});
    assert!(
        p.wrong(AGENT, "CreateDataSource", web.clone())
            .contains("parsingConfiguration is not supported")
    );
    web["vectorIngestionConfiguration"] = json!({"chunkingConfiguration": {"chunkingStrategy": "FIXED_SIZE",
        "fixedSizeChunkingConfiguration": {"maxTokens": 8192000, "overlapPercentage": 1}}});
    assert!(
        p.wrong(AGENT, "CreateDataSource", web.clone())
            .contains("fixedSizeChunkingConfiguration.maxTokens")
    );
    web["dataSourceConfiguration"]["s3Configuration"]["bucketArn"] = json!("arn:aws:s3:::other");
    web.as_object_mut()
        .unwrap()
        .remove("vectorIngestionConfiguration");
    assert!(
        p.wrong(AGENT, "CreateDataSource", web)
            .contains("mapped to no folder")
    );

    let query = |configuration: Value| {
        json!({"knowledgeBaseId": base, "retrievalQuery": {"text": "fees"},
            "retrievalConfiguration": {"vectorSearchConfiguration": configuration}})
    };
    let hybrid = query(json!({"overrideSearchType": "HYBRID"}));
    assert!(p.wrong(RUNTIME, "Retrieve", hybrid).contains("HYBRID"));
    let implicit = query(json!({"implicitFilterConfiguration": {}}));
    assert!(
        p.wrong(RUNTIME, "Retrieve", implicit)
            .contains("implicitFilterConfiguration is not supported")
    );
    assert_eq!(
        refusal(&p.session, RUNTIME, "GenerateQuery", json!({})),
        "NotImplementedException"
    );
}

#[test]
fn a_job_tells_what_it_did() {
    let p = place();
    let base = p.knowledge_base("rules");
    let source = p.source(&base, s3("rules/"));
    p.write("rules/fees.txt", "A card costs 20 euro.");
    p.write(
        "rules/fees.txt.metadata.json",
        r#"{"metadataAttributes": {"year": 2024}}"#,
    );
    p.write("rules/broken.pdf", "%PDF-1.7 nothing follows");
    p.write("rules/photo.png", "?");
    p.write("letters/one.txt", "Not of this source.");
    let job = p.ingest(&base, &source);
    assert_eq!(job["status"], "COMPLETE");
    assert!(
        job["failureReasons"][0]
            .as_str()
            .unwrap()
            .starts_with("rules/broken.pdf: ")
    );
    let statistics = |job: &Value| -> Vec<u64> {
        [
            "DocumentsScanned",
            "MetadataDocumentsScanned",
            "NewDocumentsIndexed",
            "ModifiedDocumentsIndexed",
            "MetadataDocumentsModified",
            "DocumentsDeleted",
            "DocumentsFailed",
            "DocumentsSkipped",
        ]
        .iter()
        .map(|name| {
            job["statistics"][format!("numberOf{name}")]
                .as_u64()
                .unwrap()
        })
        .collect()
    };
    assert_eq!(statistics(&job), [3, 1, 1, 0, 0, 0, 1, 1]);
    p.write(
        "rules/fees.txt.metadata.json",
        r#"{"metadataAttributes": {"year": 2025}}"#,
    );
    std::fs::remove_file(p.bucket.join("rules/broken.pdf")).unwrap();
    assert_eq!(
        statistics(&p.ingest(&base, &source)),
        [2, 1, 0, 0, 1, 0, 0, 1]
    );
    std::fs::remove_file(p.bucket.join("rules/fees.txt")).unwrap();
    assert_eq!(statistics(&p.ingest(&base, &source))[5], 1);

    let mut list = json!({"knowledgeBaseId": base, "dataSourceId": source, "maxResults": 2,
        "sortBy": {"attribute": "STARTED_AT", "order": "ASCENDING"},
        "filters": [{"attribute": "STATUS", "operator": "EQ", "values": ["COMPLETE"]}]});
    let first = p.agent("ListIngestionJobs", list.clone());
    assert_eq!(
        first["ingestionJobSummaries"][0]["ingestionJobId"],
        job["ingestionJobId"]
    );
    list["nextToken"] = first["nextToken"].clone();
    assert_eq!(
        p.agent("ListIngestionJobs", list)["ingestionJobSummaries"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let none = json!({"knowledgeBaseId": base, "dataSourceId": source,
        "filters": [{"attribute": "STATUS", "operator": "EQ", "values": ["FAILED"]}]});
    assert_eq!(
        p.agent("ListIngestionJobs", none)["ingestionJobSummaries"],
        json!([])
    );
}

#[test]
fn a_job_whose_folder_is_gone_fails_with_its_reason() {
    let p = place();
    let base = p.knowledge_base("rules");
    let source = p.source(&base, s3("rules/"));
    p.session.map_bucket("bank-docs", None).unwrap();
    let job = p.ingest(&base, &source);
    assert_eq!(job["status"], "FAILED");
    assert!(
        job["failureReasons"][0]
            .as_str()
            .unwrap()
            .contains("bank-docs is mapped to no folder")
    );
}

#[test]
fn one_job_runs_at_a_time_and_can_be_stopped() {
    let p = place();
    let base = p.knowledge_base("rules");
    let source = p.source(&base, s3(""));
    for n in 0..1500 {
        p.write(
            &format!("d{n}.txt"),
            &"Cards and fees and rules. ".repeat(40),
        );
    }
    let at = json!({"knowledgeBaseId": base, "dataSourceId": source});
    let job = p.agent("StartIngestionJob", at.clone())["ingestionJob"].clone();
    assert_eq!(
        refusal(&p.session, AGENT, "StartIngestionJob", at.clone()),
        "ConflictException"
    );
    assert_eq!(
        refusal(&p.session, AGENT, "DeleteDataSource", at.clone()),
        "ConflictException"
    );
    let mut one = at.clone();
    one["ingestionJobId"] = job["ingestionJobId"].clone();
    let stopping = p.agent("StopIngestionJob", one.clone())["ingestionJob"].clone();
    assert_eq!(stopping["status"], "STOPPING");
    let until = Instant::now() + Duration::from_secs(20);
    let ended = loop {
        let job = p.agent("GetIngestionJob", one.clone())["ingestionJob"].clone();
        if job["status"] != "STOPPING" {
            break job;
        }
        assert!(Instant::now() < until, "{job}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(ended["status"], "STOPPED");
    // However far it came, what it tells is what is there.
    let held = outcrop::runtime().unwrap().block_on(async {
        let base = p.session.knowledge_base(&base).await.unwrap();
        base.documents().await.unwrap().len()
    });
    assert_eq!(ended["statistics"]["numberOfNewDocumentsIndexed"], held);
    assert_eq!(
        refusal(&p.session, AGENT, "StopIngestionJob", one),
        "ConflictException"
    );
    let job = p.ingest(&base, &source);
    assert_eq!(job["status"], "COMPLETE");
}

#[test]
fn documents_are_given_listed_and_deleted_directly() {
    let p = place();
    let base = p.knowledge_base("rules");
    let source = p.source(
        &base,
        json!({"dataSourceConfiguration": {"type": "CUSTOM"}}),
    );
    let at = json!({"knowledgeBaseId": base, "dataSourceId": source});
    let document = |id: &str, inline: Value| {
        json!({"content": {"dataSourceType": "CUSTOM", "custom": {"customDocumentIdentifier": {"id": id},
            "sourceType": "IN_LINE", "inlineContent": inline}},
            "metadata": {"type": "IN_LINE_ATTRIBUTE", "inlineAttributes": [
                {"key": "id", "value": {"type": "STRING", "stringValue": id}}]}})
    };
    let mut request = at.clone();
    request["documents"] = json!([
        document(
            "one",
            json!({"type": "TEXT", "textContent": {"data": "Bees make honey."}})
        ),
        document(
            "two",
            json!({"type": "BYTE", "byteContent": {"mimeType": "text/html",
            "data": "PHA+Q2FyZHMgY29zdCAyMCBldXJvLjwvcD4="}})
        ),
        document(
            "bad",
            json!({"type": "BYTE", "byteContent": {"mimeType": "application/pdf", "data": "AAAA"}})
        ),
    ]);
    let given = p.agent("IngestKnowledgeBaseDocuments", request);
    let statuses = |answer: &Value| -> Vec<String> {
        let details = answer["documentDetails"].as_array().unwrap().iter();
        details
            .map(|d| {
                let id = d["identifier"]["custom"]["id"].as_str().unwrap();
                format!("{id} {}", d["status"].as_str().unwrap())
            })
            .collect()
    };
    assert_eq!(
        statuses(&given),
        ["one INDEXED", "two INDEXED", "bad FAILED"]
    );
    let name = |id: &str| json!({"dataSourceType": "CUSTOM", "custom": {"id": id}});
    let mut get = at.clone();
    get["documentIdentifiers"] = json!([name("two"), name("bad"), name("none")]);
    let got = p.agent("GetKnowledgeBaseDocuments", get.clone());
    assert_eq!(
        statuses(&got),
        ["two INDEXED", "bad FAILED", "none NOT_FOUND"]
    );
    assert!(
        !got["documentDetails"][1]["statusReason"]
            .as_str()
            .unwrap()
            .is_empty()
    );
    let mut list = at.clone();
    list["maxResults"] = json!(2);
    let listed = p.agent("ListKnowledgeBaseDocuments", list.clone());
    assert_eq!(statuses(&listed), ["bad FAILED", "one INDEXED"]);
    list["nextToken"] = listed["nextToken"].clone();
    assert_eq!(
        statuses(&p.agent("ListKnowledgeBaseDocuments", list)),
        ["two INDEXED"]
    );

    let query = json!({"knowledgeBaseId": base, "retrievalQuery": {"text": "bees honey"}});
    let result = &p.ask("Retrieve", query.clone())["retrievalResults"][0];
    assert_eq!(
        result["location"],
        json!({"type": "CUSTOM", "customDocumentLocation": {"id": "one"}})
    );
    assert_eq!(
        result["metadata"]["x-amz-bedrock-kb-data-source-id"],
        json!(source)
    );
    get["documentIdentifiers"] = json!([name("one"), name("none")]);
    let deleted = p.agent("DeleteKnowledgeBaseDocuments", get);
    assert_eq!(statuses(&deleted), ["one DELETING", "none NOT_FOUND"]);
    let left = p.ask("Retrieve", query)["retrievalResults"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(left, 1);
}

/// A knowledge base with three documents from a bucket.
fn with_documents(p: &Place) -> String {
    let base = p.knowledge_base("rules");
    let source = p.source(&base, s3(""));
    for (name, text, year) in [
        ("fees.md", "# Fees\n\nA card costs 20 euro a year.", 2024),
        ("bees.txt", "The bank keeps bees on its roof.", 2023),
        ("old.txt", "Cheques were free long ago.", 1999),
    ] {
        p.write(name, text);
        let sidecar = json!({"metadataAttributes": {"year": year}});
        p.write(&format!("{name}.metadata.json"), &sidecar.to_string());
    }
    assert_eq!(p.ingest(&base, &source)["status"], "COMPLETE");
    base
}

#[test]
fn passages_come_back_filtered_and_reranked() {
    let p = place();
    let base = with_documents(&p);
    let query = |configuration: Value| {
        json!({"knowledgeBaseId": base, "retrievalQuery": {"text": "What does a card cost a year?"},
            "retrievalConfiguration": {"vectorSearchConfiguration": configuration}})
    };
    let new = json!({"greaterThan": {"key": "year", "value": 2000}});
    let found = p.ask("Retrieve", query(json!({"filter": new})))["retrievalResults"].clone();
    assert_eq!(found.as_array().unwrap().len(), 2);
    assert_eq!(
        found[0]["location"]["s3Location"]["uri"],
        "s3://bank-docs/fees.md"
    );
    assert_eq!(
        found[0]["metadata"]["x-amz-bedrock-kb-source-uri"],
        "s3://bank-docs/fees.md"
    );
    assert_eq!(found[0]["metadata"]["year"], 2024);
    let rerank = json!({"rerankingConfiguration": {"type": "BEDROCK_RERANKING_MODEL",
        "bedrockRerankingConfiguration": {"modelConfiguration": {"modelArn": RERANKER}, "numberOfRerankedResults": 2}}});
    let found = p.ask("Retrieve", query(rerank))["retrievalResults"].clone();
    assert_eq!(found.as_array().unwrap().len(), 2);
    assert_eq!(
        found[0]["location"]["s3Location"]["uri"],
        "s3://bank-docs/bees.txt"
    );
    let scores: Vec<f64> = (0..2)
        .map(|at| found[at]["score"].as_f64().unwrap())
        .collect();
    assert!(
        (scores[0] - 0.9526).abs() < 1e-3 && (scores[1] - 0.2689).abs() < 1e-3,
        "{scores:?}"
    );

    let ranked = p.ask("Rerank", json!({"queries": [{"type": "TEXT", "textQuery": {"text": "bees?"}}],
        "sources": [
            {"type": "INLINE", "inlineDocumentSource": {"type": "TEXT", "textDocument": {"text": "cards"}}},
            {"type": "INLINE", "inlineDocumentSource": {"type": "JSON", "jsonDocument": {"about": "bees"}}},
        ],
        "rerankingConfiguration": {"type": "BEDROCK_RERANKING_MODEL",
            "bedrockRerankingConfiguration": {"modelConfiguration": {"modelArn": RERANKER}}}}));
    assert_eq!(ranked["results"][0]["index"], 1);
    assert_eq!(ranked["results"].as_array().unwrap().len(), 2);
}

fn question(base: &str, text: &str) -> Value {
    json!({"input": {"text": text}, "retrieveAndGenerateConfiguration": {"type": "KNOWLEDGE_BASE",
        "knowledgeBaseConfiguration": {"knowledgeBaseId": base, "modelArn": CLAUDE}}})
}

/// The session and the events of a streamed answer.
fn stream(session: &Session, input: Value) -> (String, Vec<(&'static str, Value)>) {
    let operation = Operation::find(RUNTIME, "RetrieveAndGenerateStream").unwrap();
    runtime().unwrap().block_on(async {
        let called = session
            .call(Caller::in_process(), operation, input, Vec::new())
            .await;
        let answer = called.answer.unwrap();
        let mut events = answer.events.unwrap();
        let mut all = Vec::new();
        while let Some(event) = events.next().await {
            all.push(event.unwrap());
        }
        (
            answer.output["sessionId"].as_str().unwrap().to_string(),
            all,
        )
    })
}

#[test]
fn an_answer_cites_what_was_read_back_and_goes_on_in_its_session() {
    let p = place();
    let base = with_documents(&p);
    let asked = question(&base, "What does a card cost a year?");
    let first = p.ask("RetrieveAndGenerate", asked.clone());
    let text = first["output"]["text"].as_str().unwrap();
    assert_eq!(text, "Cards cost 20 euro [1]. Nobody knows [9].");
    let citations = first["citations"].as_array().unwrap();
    assert_eq!(citations.len(), 1, "[9] is no passage: {citations:?}");
    let part = &citations[0]["generatedResponsePart"]["textResponsePart"];
    assert_eq!(part["text"], "Cards cost 20 euro [1].");
    assert_eq!(part["span"], json!({"start": 0, "end": 23}));
    let reference = &citations[0]["retrievedReferences"][0];
    assert_eq!(
        reference["location"]["s3Location"]["uri"],
        "s3://bank-docs/fees.md"
    );
    assert!(reference.get("score").is_none());

    let mut more = question(&base, "Say it again");
    more["sessionId"] = first["sessionId"].clone();
    let second = p.ask("RetrieveAndGenerate", more.clone());
    assert_eq!(second["sessionId"], first["sessionId"]);
    assert_eq!(second["output"]["text"], "As I said [1].");
    more["sessionId"] = json!("0000-0000");
    assert!(
        p.wrong(RUNTIME, "RetrieveAndGenerate", more)
            .contains("is not valid")
    );

    let (session_id, events) = stream(&p.session, asked);
    assert!(!session_id.is_empty());
    let told: String = events
        .iter()
        .filter(|(name, _)| *name == "output")
        .map(|(_, event)| event["text"].as_str().unwrap())
        .collect();
    assert_eq!(told, text);
    let (name, last) = events.last().unwrap();
    assert_eq!(*name, "citation");
    assert_eq!(last["citation"], citations[0]);
    assert_eq!(
        last["retrievedReferences"],
        citations[0]["retrievedReferences"]
    );

    let total = p.session.desk().meter().totals();
    assert!(
        total.contains_key("test.chat") && total.contains_key("test.embed"),
        "{total:?}"
    );
}

#[test]
fn a_template_is_what_the_model_is_asked() {
    let p = place();
    let base = with_documents(&p);
    let script = json!({"script": [
        {"match": {"text": {"regex": "\\[1\\] Fees\n[^$]*A card costs 20 euro[^$]*Asked: What"}}, "answer": "Seen [1]."},
        {"answer": "Not seen."},
    ]});
    let registered = p.session.register_model("test.seeing", script, false, None);
    runtime().unwrap().block_on(registered).unwrap();
    let mut asked = question(&base, "What does a card cost a year?");
    let configuration =
        &mut asked["retrieveAndGenerateConfiguration"]["knowledgeBaseConfiguration"];
    configuration["modelArn"] = json!("test.seeing");
    configuration["generationConfiguration"] = json!({"promptTemplate": {"textPromptTemplate": "Results:\n$search_results$\nAsked: $query$"}});
    assert_eq!(
        p.ask("RetrieveAndGenerate", asked.clone())["output"]["text"],
        "Seen [1]."
    );
    asked["retrieveAndGenerateConfiguration"]["knowledgeBaseConfiguration"]["generationConfiguration"] =
        json!({"promptTemplate": {"textPromptTemplate": "$query$"}});
    assert!(
        p.wrong(RUNTIME, "RetrieveAndGenerate", asked)
            .contains("$search_results$")
    );
}

#[test]
fn a_document_that_comes_with_the_question_is_answered_from() {
    let p = place();
    let asked = json!({"input": {"text": "What does a card cost?"},
        "retrieveAndGenerateConfiguration": {"type": "EXTERNAL_SOURCES", "externalSourcesConfiguration": {
            "modelArn": CLAUDE, "sources": [{"sourceType": "BYTE_CONTENT", "byteContent": {
                "identifier": "fees.txt", "contentType": "text/plain", "data": "QSBjYXJkIGNvc3RzIDIwIGV1cm8u"}}]}}});
    let answered = p.ask("RetrieveAndGenerate", asked);
    let reference = &answered["citations"][0]["retrievedReferences"][0];
    assert_eq!(reference["content"]["text"], "A card costs 20 euro.");
    assert_eq!(
        reference["location"]["customDocumentLocation"]["id"],
        "fees.txt"
    );
}

#[test]
fn without_passages_no_model_is_asked() {
    let p = place();
    let base = p.knowledge_base("empty");
    let answered = p.ask("RetrieveAndGenerate", question(&base, "Why?"));
    assert_eq!(
        answered["output"]["text"],
        "The documents do not answer this question."
    );
    assert_eq!(answered["citations"], json!([]));
    assert!(!p.session.desk().meter().totals().contains_key("test.chat"));
}

/// What a child process is told to start: the home, the knowledge base and the data source.
const STARTS: &str = "OUTCROP_TEST_STARTS_A_JOB";

#[test]
fn a_job_whose_process_was_killed_ends_as_failed_and_the_next_goes_on() {
    if let Ok(told) = std::env::var(STARTS) {
        let told: Vec<&str> = told.split('|').collect();
        let session = outcrop::Session::open(outcrop::SessionOptions {
            home: Some(told[0].into()),
            offline: true,
            ..Default::default()
        });
        let at = json!({"knowledgeBaseId": told[1], "dataSourceId": told[2]});
        answer(&session.unwrap(), AGENT, "StartIngestionJob", at);
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    let p = place();
    let base = p.knowledge_base("rules");
    let source = p.source(&base, s3(""));
    for n in 0..3000 {
        p.write(
            &format!("d{n}.txt"),
            &"Cards and fees and rules. ".repeat(40),
        );
    }
    let name =
        "knowledge_operations::a_job_whose_process_was_killed_ends_as_failed_and_the_next_goes_on";
    let told = format!("{}|{base}|{source}", p.session.home().display());
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(STARTS, told)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let at = json!({"knowledgeBaseId": base, "dataSourceId": source});
    let until = Instant::now() + Duration::from_secs(40);
    let wait = |holds: &dyn Fn(&Value) -> bool| loop {
        let jobs = p.agent("ListIngestionJobs", at.clone())["ingestionJobSummaries"].clone();
        if jobs.get(0).is_some_and(holds) {
            return jobs[0]["ingestionJobId"].clone();
        }
        assert!(Instant::now() < until, "{jobs}");
        std::thread::sleep(Duration::from_millis(20));
    };
    wait(&|job| job["statistics"]["numberOfNewDocumentsIndexed"].as_u64() > Some(0));
    child.kill().unwrap();
    child.wait().unwrap();
    let id = wait(&|job| job["status"] == "FAILED");
    let mut one = at.clone();
    one["ingestionJobId"] = id;
    let reason = p.agent("GetIngestionJob", one)["ingestionJob"]["failureReasons"][0].clone();
    assert!(
        reason
            .as_str()
            .unwrap()
            .starts_with("The process that ran the job ended"),
        "{reason}"
    );
    let job = p.ingest(&base, &source);
    assert_eq!(job["status"], "COMPLETE");
    assert_eq!(job["statistics"]["numberOfDocumentsScanned"], 3000);
}
