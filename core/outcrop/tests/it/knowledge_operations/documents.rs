//! Documents that are given directly.

use super::*;

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
