//! The language model that is part of the program: it opens in an empty home, without a connection.

use std::path::PathBuf;

use outcrop_api::{ChatModel, ContentBlock, ConverseRequest, Message, Reply, Role};
use outcrop_models::{DEFAULT_CHAT_MODEL, Shelf, ShelfOptions};
use outcrop_store::Home;
use serde_json::json;

fn offline(home: &tempfile::TempDir) -> Shelf {
    let options = ShelfOptions {
        offline: true,
        ..ShelfOptions::default()
    };
    Shelf::new(Home::open(home.path()).unwrap(), options)
}

async fn model(shelf: &Shelf) -> std::sync::Arc<dyn ChatModel> {
    let model = shelf.resolve(DEFAULT_CHAT_MODEL, None).await.unwrap();
    model.chat().unwrap()
}

fn asked(text: &str) -> ConverseRequest {
    ConverseRequest {
        messages: vec![Message::text(Role::User, text.to_owned())],
        ..ConverseRequest::default()
    }
}

/// The text of a reply that is nothing else.
fn text(reply: &Reply) -> &str {
    match &reply.content[..] {
        [ContentBlock::Text(text)] => text,
        other => panic!("expected one text, got {other:?}"),
    }
}

/// The files of the home's models.
fn installed(home: &tempfile::TempDir) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(home.path().join("models")).unwrap();
    let files = folders
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains(DEFAULT_CHAT_MODEL))
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path());
    files.collect()
}

#[tokio::test]
async fn it_opens_in_an_empty_home_and_is_written_there_once() {
    let home = tempfile::tempdir().unwrap();
    let listed = offline(&home).catalogue().unwrap();
    let entry = listed.iter().find(|e| e.id == DEFAULT_CHAT_MODEL).unwrap();
    assert!(entry.available && entry.source == "built-in");
    let bytes = entry.bytes.unwrap();
    assert!(bytes <= 15 << 20, "{bytes} bytes");
    model(&offline(&home)).await;
    let files = installed(&home);
    assert_eq!(files.len(), 1);
    assert_eq!(std::fs::metadata(&files[0]).unwrap().len(), bytes);
    let written = std::fs::metadata(&files[0]).unwrap().modified().unwrap();
    model(&offline(&home)).await;
    let again = std::fs::metadata(&files[0]).unwrap().modified().unwrap();
    assert_eq!((installed(&home), again), (files, written));
}

#[tokio::test]
async fn a_file_that_changed_in_the_home_is_an_error_that_says_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    model(&offline(&home)).await;
    let file = installed(&home).remove(0);
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let opened = offline(&home).resolve(DEFAULT_CHAT_MODEL, None).await;
    let error = opened.err().unwrap();
    assert!(error.message().contains("delete the folder"), "{error}");
}

#[tokio::test]
async fn it_answers_by_the_text_it_is_given_and_the_same_each_time() {
    let home = tempfile::tempdir().unwrap();
    let shelf = offline(&home);
    let chat = model(&shelf).await;
    let greeting = chat.converse(asked("Hello")).await.unwrap();
    assert!(text(&greeting).starts_with("Hello!"), "{greeting:?}");
    let copied = chat.converse(asked("Repeat this: KX-4471")).await.unwrap();
    assert_eq!(text(&copied), "KX-4471");
    let again = chat.converse(asked("Repeat this: KX-4471")).await.unwrap();
    assert_eq!(again.content, copied.content);
}

#[tokio::test]
async fn it_calls_a_tool_with_arguments_of_its_schema() {
    let home = tempfile::tempdir().unwrap();
    let shelf = offline(&home);
    let mut request = asked("Please block the card with card number KX-4471.");
    request.tools = serde_json::from_value(json!([{
        "name": "block_card", "description": "Blocks the card.",
        "inputSchema": {"type": "object", "required": ["card_number"],
            "properties": {"card_number": {"type": "string", "description": "The card number."}}},
    }]))
    .unwrap();
    let reply = model(&shelf).await.converse(request).await.unwrap();
    let [ContentBlock::ToolUse(call)] = &reply.content[..] else {
        panic!("expected one call, got {reply:?}");
    };
    assert_eq!(call.name, "block_card");
    assert_eq!(call.input, json!({"card_number": "KX-4471"}));
}

#[tokio::test]
async fn outcrops_own_sentences_are_one_token_each() {
    let home = tempfile::tempdir().unwrap();
    let shelf = offline(&home);
    let loaded = shelf.resolve(DEFAULT_CHAT_MODEL, None).await.unwrap();
    let tokenizer = loaded.tokenizer().unwrap();
    let said = tokenizer
        .encode("The documents do not answer this question.", false)
        .unwrap();
    assert_eq!(said.len(), 1, "{said:?}");
}
