//! Training files: what is learned of each form of line, and what is said of bad ones.

use outcrop_inference::{ChatTemplate, Tokenizer};
use outcrop_training::{Example, Reader, all_good};

use crate::golden::model;

struct Model {
    tokenizer: Tokenizer,
    template: ChatTemplate,
}

fn llama() -> Model {
    let checkpoint = model("llama3");
    Model {
        tokenizer: Tokenizer::from_checkpoint(&checkpoint).unwrap(),
        template: ChatTemplate::from_checkpoint(&checkpoint).unwrap().unwrap(),
    }
}

impl Model {
    fn reader(&self, max_tokens: usize) -> Reader<'_> {
        Reader {
            tokenizer: &self.tokenizer,
            template: Some(&self.template),
            max_tokens,
        }
    }

    fn learned(&self, example: &Example) -> Vec<String> {
        let decode = |range: &std::ops::Range<usize>| {
            let ids = &example.ids[range.clone()];
            self.tokenizer.decode(ids, false).unwrap()
        };
        example.learned.iter().map(decode).collect()
    }

    fn one(&self, line: &str) -> Example {
        let (mut examples, bad) = self.reader(500).read("a.jsonl", line);
        assert!(bad.is_empty() && examples.len() == 1, "{bad:?}");
        examples.remove(0)
    }
}

#[test]
fn answers_are_learned_with_what_ends_them_and_nothing_else() {
    let model = llama();
    let example = model.one(r#"{"prompt": "Rate?", "completion": "2 %."}"#);
    assert_eq!(model.learned(&example), ["2 %.<|eot_id|>"]);
    let whole = model.tokenizer.decode(&example.ids, false).unwrap();
    assert!(
        whole.contains("Rate?") && whole.starts_with("<|begin_of_text|>"),
        "{whole}"
    );
    let talk = r#"{"schemaVersion": "bedrock-conversation-2024", "system": [{"text": "Be brief."}],
        "messages": [{"role": "user", "content": [{"text": "A?"}]},
        {"role": "assistant", "content": [{"text": "one"}]},
        {"role": "user", "content": [{"text": "B?"}]},
        {"role": "assistant", "content": [{"text": "two"}]}]}"#;
    let example = model.one(&talk.replace('\n', " "));
    assert_eq!(model.learned(&example), ["one<|eot_id|>", "two<|eot_id|>"]);
    let whole = model.tokenizer.decode(&example.ids, false).unwrap();
    assert!(
        whole.contains("Be brief.") && whole.contains("B?"),
        "{whole}"
    );
}

#[test]
fn calls_of_tools_are_learned_and_their_results_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let template = include_str!("../../../../training/chat_template.jinja");
    std::fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    let model = Model {
        template: ChatTemplate::from_folder(folder.path()).unwrap().unwrap(),
        ..llama()
    };
    let talk = serde_json::json!({
        "toolConfig": {"tools": [{"toolSpec": {"name": "block_card", "description": "Blocks a card.",
            "inputSchema": {"json": {"type": "object", "properties": {"id": {"type": "string"}}}}}}]},
        "messages": [
            {"role": "user", "content": [{"text": "Block K-1."}]},
            {"role": "assistant", "content": [
                {"toolUse": {"toolUseId": "t1", "name": "block_card", "input": {"id": "K-1"}}}]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "t1", "content": [{"json": {"state": "blocked"}}]}}]},
            {"role": "assistant", "content": [{"text": "It is blocked."}]}]});
    let example = model.one(&talk.to_string());
    let learned = model.learned(&example);
    let call = r#"[TOOL_CALLS]block_card[ARGS]{"id": "K-1"}<|end|>"#;
    assert_eq!(learned, [call, "It is blocked.<|end|>"]);
    let whole = model.tokenizer.decode(&example.ids, false).unwrap();
    assert!(
        whole.contains("block_card: Blocks a card.\n- id (string, optional)")
            && whole.contains(r#"{"state": "blocked"}"#),
        "{whole}"
    );
    let misplaced = talk.to_string().replace("\"user\"", "\"assistant\"");
    let (_, bad) = model.reader(500).read("a", &misplaced);
    assert!(bad[0].reason.contains("messages.0.role"), "{bad:?}");
}

#[test]
fn without_a_template_prompts_stand_as_they_are() {
    let model = llama();
    let reader = Reader {
        template: None,
        ..model.reader(100)
    };
    let (examples, bad) = reader.read("a", "{\"prompt\": \"a b\", \"completion\": \" c\"}");
    assert!(bad.is_empty());
    assert_eq!(model.learned(&examples[0]), [" c<|eot_id|>"]);
    let (_, bad) = reader.read("a", "{\"messages\": [{\"role\": \"user\", \"content\": [{\"text\": \"a\"}]}, {\"role\": \"assistant\", \"content\": [{\"text\": \"b\"}]}]}");
    assert!(bad[0].reason.contains("no chat template"), "{bad:?}");
}

#[test]
fn long_text_is_cut_into_pieces_and_no_token_is_lost() {
    let model = llama();
    let text = "The savings account pays two per cent. ".repeat(20);
    let line = serde_json::json!({"input": text}).to_string();
    let (whole, _) = model.reader(10_000).read("a", &line);
    let (pieces, bad) = model.reader(32).read("a", &line);
    assert!(bad.is_empty() && pieces.len() > 3);
    assert!(pieces.iter().all(|piece| piece.ids.len() <= 32));
    let joined: Vec<u32> = pieces.iter().flat_map(|piece| piece.ids.clone()).collect();
    assert_eq!(joined, whole[0].ids);
}

#[test]
fn each_bad_line_is_told_with_its_number_and_reason() {
    let model = llama();
    let text = [
        r#"{"prompt": "a", "completion": "b"}"#,
        "not json",
        "",
        r#"{"prompt": "a"}"#,
        r#"{"prompt": "a", "completion": ""}"#,
        r#"{"question": "a"}"#,
        r#"{"messages": [{"role": "assistant", "content": [{"text": "b"}]}]}"#,
        r#"{"messages": [{"role": "user", "content": [{"text": "b"}]}]}"#,
        r#"{"input": 7}"#,
        &format!(
            r#"{{"prompt": "{}", "completion": "b"}}"#,
            "word ".repeat(200)
        ),
        "[1]",
    ]
    .join("\n");
    let (examples, bad) = model.reader(60).read("train.jsonl", &text);
    let told: Vec<(usize, &str)> = bad.iter().map(|b| (b.line, b.reason.as_str())).collect();
    let expected = [
        (2, "expected a JSON object"),
        (4, "missing field `completion`"),
        (5, "completion: expected text, got nothing"),
        (6, "got question"),
        (7, "messages.0.role: expected user, got assistant"),
        (8, "expected the last to be the assistant's"),
        (9, "input: expected text, got 7"),
        (10, "expected at most 60 tokens, got"),
        (11, "expected a JSON object, got an array"),
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for ((line, reason), (number, part)) in told.iter().zip(expected) {
        assert!(*line == number && reason.contains(part), "{line}: {reason}");
    }
    let error = all_good((examples, bad), "train.jsonl").unwrap_err();
    let message = error.message();
    assert!(message.starts_with("9 bad lines") && message.contains("train.jsonl line 4:"));
    let error = all_good::<Example>((vec![], vec![]), "train.jsonl").unwrap_err();
    assert!(error.message().contains("at least one example"));
}
