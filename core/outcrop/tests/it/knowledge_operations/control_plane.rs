//! Knowledge bases and data sources: made, changed, listed and deleted.

use super::*;

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
