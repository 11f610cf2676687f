//! Filters are part of the search: what they leave is searched exactly.

use std::future::ready;

use outcrop_knowledge::{Document, Filter, Query, Search};
use serde_json::{Value, json};

use crate::doubles::{Numbers, embedder, fixture};

/// A filter of random operators on the attributes that documents have at random.
fn any_filter(numbers: &mut Numbers, depth: u64) -> Value {
    let below = |n: &mut Numbers, limit| n.below(limit);
    if depth > 0 && below(numbers, 3) == 0 {
        let list: Vec<Value> = (0..2 + below(numbers, 2))
            .map(|_| any_filter(numbers, depth - 1))
            .collect();
        let name = ["andAll", "orAll"][below(numbers, 2) as usize];
        return json!({name: list});
    }
    let year = 2000 + below(numbers, 6);
    let animal = ["cat", "cow", "dog"][below(numbers, 3) as usize];
    let (operator, key, value) = match below(numbers, 9) {
        0 => ("equals", "year", json!(year)),
        1 => ("notEquals", "animal", json!(animal)),
        2 => ("greaterThan", "year", json!(year)),
        3 => ("lessThanOrEquals", "year", json!(year)),
        4 => ("in", "animal", json!([animal, "bee"])),
        5 => ("notIn", "animal", json!([animal])),
        6 => ("startsWith", "animal", json!("c")),
        7 => ("stringContains", "herd", json!("o")),
        _ => ("listContains", "herd", json!(animal)),
    };
    json!({operator: {"key": key, "value": value}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filtered_search_is_the_whole_search_filtered() {
    let f = fixture();
    let mut numbers = Numbers(7);
    let documents: Vec<Document> = (0..90)
        .map(|n| {
            let mut metadata = json!({"number": n});
            if numbers.below(4) > 0 {
                metadata["year"] = json!(2000 + numbers.below(6));
            }
            if numbers.below(4) > 0 {
                metadata["animal"] = json!(["cat", "cow", "dog"][numbers.below(3) as usize]);
                metadata["herd"] = json!([metadata["animal"], "ox"]);
            }
            Document {
                id: Some(format!("d{n}")),
                text: format!("Zebra {} grazes by river {}", numbers.below(40), n),
                metadata: metadata.as_object().cloned().unwrap(),
                embedding: None,
            }
        })
        .collect();
    f.base.add(embedder(), documents).await.unwrap();
    // Dead rows must not shift the bits.
    f.base
        .delete_documents(&["d3".into(), "d64".into()])
        .unwrap();
    let whole = f.base.retrieve(embedder(), "zebra 7", 100).await.unwrap();
    assert_eq!(whole.len(), 88);
    let mut empty = 0;
    for round in 0..120 {
        let json = any_filter(&mut numbers, 2);
        let filter = Filter::from_json(&json).unwrap();
        let k = 1 + numbers.below(12) as usize;
        let expected: Vec<_> = whole
            .iter()
            .filter(|passage| filter.accepts(&passage.metadata))
            .take(k)
            .cloned()
            .collect();
        empty += usize::from(expected.is_empty());
        let query = Query::new("zebra 7", k).with_filter(Some(filter));
        let found = f.base.search(ready(Ok(embedder())), query).await.unwrap();
        assert_eq!(found.into_passages(), expected, "round {round}: {json}");
    }
    assert!(empty < 60, "{empty} of 120 filters let nothing pass");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_also_found_by_its_uri() {
    let f = fixture();
    f.write("zebras.md", "Zebras graze.");
    f.write("bees.txt", "Bees hum.");
    f.base.sync(embedder(), |_| {}).await.unwrap();
    let filter = json!({"stringContains": {"key": "x-amz-bedrock-kb-source-uri", "value": "bees"}});
    let query = Query::new("zebras", 5).with_filter(Some(Filter::from_json(&filter).unwrap()));
    let found = f
        .base
        .search(ready(Ok(embedder())), query)
        .await
        .unwrap()
        .into_passages();
    let ids: Vec<&str> = found.iter().map(|p| p.location.document.as_str()).collect();
    assert_eq!(ids, ["bees.txt"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn words_find_what_vectors_do_not_and_both_are_fused() {
    let f = fixture();
    f.write("zebras.md", "Zebras graze by the river at noon.");
    f.write("forms.txt", "Form K-4711 is for herders.");
    f.base.sync(embedder(), |_| {}).await.unwrap();
    f.write("bees.txt", "Bees by the river hum at noon.");
    f.base.sync(embedder(), |_| {}).await.unwrap();
    let find = async |text: &str, search: Search, filter: Option<Value>| {
        let filter = filter.map(|filter| Filter::from_json(&filter).unwrap());
        let query = Query::new(text, 3).with_search(search).with_filter(filter);
        let model = async {
            assert_ne!(search, Search::Keyword, "a search by words opens no model");
            Ok(embedder())
        };
        let found = f.base.search(model, query).await.unwrap();
        let read = found.input_tokens;
        let found = found.into_passages().into_iter();
        let found: Vec<_> = found.map(|p| (p.location.document, p.score)).collect();
        (found, read)
    };
    let ids = |found: &[(String, f32)]| -> Vec<String> {
        found.iter().map(|(id, _)| id.clone()).collect()
    };
    let (found, read) = find("4711?", Search::Keyword, None).await;
    assert_eq!((ids(&found), read), (vec!["forms.txt".to_string()], 0));
    assert!(find("mortgage", Search::Keyword, None).await.0.is_empty());
    // Over two segments.
    let (found, _) = find("river noon bees", Search::Keyword, None).await;
    assert_eq!(ids(&found), ["bees.txt", "zebras.md"]);
    let uri = json!({"stringContains": {"key": "x-amz-bedrock-kb-source-uri", "value": "zebras"}});
    let (found, _) = find("river noon bees", Search::Keyword, Some(uri)).await;
    assert_eq!(ids(&found), ["zebras.md"]);

    let (semantic, read) = find("herders 4711", Search::Semantic, None).await;
    let (hybrid, again) = find("herders 4711", Search::Hybrid, None).await;
    assert_eq!((semantic.len(), hybrid.len()), (3, 3));
    assert!(read > 0 && read == again);
    let place = |found: &[(String, f32)]| ids(found).iter().position(|id| id == "forms.txt");
    let vectors = place(&semantic).unwrap() as f32;
    let score = hybrid[place(&hybrid).unwrap()].1;
    // The first by words, and wherever it is by vectors.
    let expected = (1.0 + 61.0 / (61.0 + vectors)) / 2.0;
    assert!((score - expected).abs() < 1e-6, "{score} {expected}");

    // A document that is gone is not found by its words either.
    f.base.delete_documents(&["forms.txt".into()]).unwrap();
    assert!(find("4711", Search::Keyword, None).await.0.is_empty());
}
