//! Retrieval, answers with their citations, and what they are asked with.

use super::*;

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

    // The only document with the query's rare words is the first by words; by both, its score says
    // whether it is also the first by vectors.
    let hybrid = json!({"overrideSearchType": "HYBRID", "numberOfResults": 2});
    let found = p.ask("Retrieve", query(hybrid))["retrievalResults"].clone();
    assert_eq!(
        found[0]["location"]["s3Location"]["uri"],
        "s3://bank-docs/fees.md"
    );
    let score = found[0]["score"].as_f64().unwrap();
    assert!((0.97..=1.0).contains(&score), "{score}");

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
