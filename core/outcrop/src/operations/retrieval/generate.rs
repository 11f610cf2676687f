//! `RetrieveAndGenerate` and its stream: an answer from passages, with citations that were checked.

use std::collections::VecDeque;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use outcrop_api::{BoxFuture, Error, EventStream, Gathered, Result};
use outcrop_knowledge::parse::Format;
use outcrop_knowledge::{Cited, NO_ANSWER, Retrieved, joined_text};
use serde_json::{Map, Value, json};

use super::prompt::Prompt;
use super::reference;
use super::search::Search;
use crate::conversation::Conversation;
use crate::desk::Record;
use crate::operations::converse::note_model;
use crate::operations::knowledge_bases::documents::read_file;
use crate::operations::knowledge_bases::{open, refuse};
use crate::operations::{Answer, Call, OperationEvents};
use crate::session::blocking;

type Event = (&'static str, Value);

/// `RetrieveAndGenerate`: the stream, collected.
pub(in crate::operations) async fn retrieve_and_generate(call: Call) -> Result<Answer> {
    let mut answering = Answering::start(&call).await?;
    while let Some(event) = answering.next().await {
        event?;
    }
    let citations: Vec<Value> = answering
        .cited
        .iter()
        .map(|cited| answering.citation(cited))
        .collect();
    Answer::of(&json!({
        "sessionId": answering.session_id,
        "output": {"text": answering.told},
        "citations": citations,
    }))
}

/// `RetrieveAndGenerateStream`: the text as it is written, then its citations.
pub(in crate::operations) async fn retrieve_and_generate_stream(call: Call) -> Result<Answer> {
    let answering = Answering::start(&call).await?;
    let session = ("sessionId".to_string(), json!(answering.session_id));
    Ok(Answer {
        output: Map::from_iter([session]),
        events: Some(Box::new(answering)),
        ..Answer::default()
    })
}

/// An answer that is being written.
struct Answering {
    record: Record,
    session_id: String,
    question: String,
    retrieved: Retrieved,
    /// None where there is nothing to answer from, and after the end.
    model: Option<Box<dyn EventStream>>,
    gathered: Gathered,
    /// The text that was told so far.
    told: String,
    cited: Vec<Cited>,
    waiting: VecDeque<Event>,
    /// Taken when the turn is kept.
    conversation: Option<Conversation>,
}

impl Answering {
    async fn start(call: &Call) -> Result<Self> {
        call.refuse(
            &["sessionConfiguration"],
            "conversations are not encrypted at rest here",
        )?;
        call.refuse(
            &["userContext"],
            "documents have no access control lists here",
        )?;
        let question = call.input["input"]["text"]
            .as_str()
            .unwrap_or_default()
            .to_string();
        let all = &call.input["retrieveAndGenerateConfiguration"];
        let (member, place) = match all["type"].as_str() {
            Some("EXTERNAL_SOURCES") => (
                "externalSourcesConfiguration",
                "retrieveAndGenerateConfiguration.externalSourcesConfiguration",
            ),
            Some(_) => (
                "knowledgeBaseConfiguration",
                "retrieveAndGenerateConfiguration.knowledgeBaseConfiguration",
            ),
            None => {
                return Err(Error::validation(
                    "retrieveAndGenerateConfiguration: expected it: it says what to answer from",
                ));
            }
        };
        let Some(configuration) = all.get(member) else {
            return Err(Error::validation(format!(
                "{place}: expected it for the type"
            )));
        };
        refuse(configuration, place, &["orchestrationConfiguration"])?;
        let generation = format!("{place}.generationConfiguration");
        let prompt = Prompt::read(&configuration["generationConfiguration"], &generation)?;
        let conversation = Conversation::open(&call.session, call.text("sessionId"), &about(all))?;
        let retrieved = retrieve(call, configuration, place, &question).await?;
        let mut answering = Self {
            record: call.record.clone(),
            session_id: conversation.id.clone(),
            model: None,
            gathered: Gathered::default(),
            told: String::new(),
            cited: Vec::new(),
            waiting: VecDeque::new(),
            conversation: None,
            question,
            retrieved,
        };
        let model = configuration["modelArn"].as_str().unwrap_or_default();
        let (resolution, model) = call.session.runtime_model(model, &call.principal).await?;
        if answering.retrieved.found.is_empty() {
            // No model is asked where there is nothing to answer from.
            answering.tell(NO_ANSWER);
        } else {
            let chat = model.chat()?;
            note_model(call, resolution);
            let before = conversation.messages();
            let request = prompt.request(before, &answering.retrieved, &answering.question);
            answering.model = Some(chat.converse_stream(request).await?);
        }
        answering.conversation = Some(conversation);
        Ok(answering)
    }

    /// Tells what the text has more than what was told.
    fn tell(&mut self, text: &str) {
        let more = text.get(self.told.len()..).unwrap_or_default();
        if !more.is_empty() {
            self.waiting.push_back(("output", json!({"text": more})));
            self.told.push_str(more);
        }
    }

    /// Takes the next event of the model; the last brings the citations.
    async fn step(&mut self, model: &mut Box<dyn EventStream>) -> Result<bool> {
        let Some(event) = model.next().await else {
            return Err(Error::internal(
                "the model's stream ended without an end event",
            ));
        };
        let ended = self.gathered.push(event?);
        let text = joined_text(self.gathered.content());
        self.tell(&text);
        let Some((_, usage)) = ended else {
            return Ok(false);
        };
        self.record.usage(&usage);
        let (_, cited) = self.retrieved.cite(self.gathered.content());
        for one in &cited {
            let citation = self.citation(one);
            let event = json!({
                "citation": citation,
                "generatedResponsePart": citation["generatedResponsePart"],
                "retrievedReferences": citation["retrievedReferences"],
            });
            self.waiting.push_back(("citation", event));
        }
        self.cited = cited;
        Ok(true)
    }

    async fn keep(&mut self) -> Result<()> {
        let Some(conversation) = self.conversation.take() else {
            return Ok(());
        };
        let (question, answer) = (self.question.clone(), self.told.clone());
        blocking(move || conversation.keep(question, &answer)).await
    }

    fn citation(&self, cited: &Cited) -> Value {
        let length = cited.span.end - cited.span.start;
        let text: String = self
            .told
            .chars()
            .skip(cited.span.start)
            .take(length)
            .collect();
        let found = cited
            .passages
            .iter()
            .filter_map(|&at| self.retrieved.found.get(at));
        json!({
            "generatedResponsePart": {"textResponsePart": {
                "text": text,
                "span": {"start": cited.span.start, "end": cited.span.end},
            }},
            "retrievedReferences": found.map(reference).collect::<Vec<_>>(),
        })
    }
}

impl OperationEvents for Answering {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Event>>> {
        Box::pin(async move {
            loop {
                if let Some(event) = self.waiting.pop_front() {
                    return Some(Ok(event));
                }
                let Some(mut model) = self.model.take() else {
                    return self.keep().await.err().map(Err);
                };
                match self.step(&mut model).await {
                    // Kept before the citations are told: a caller may stop reading there.
                    Ok(true) => {
                        if let Err(error) = self.keep().await {
                            return Some(Err(error));
                        }
                    }
                    Ok(false) => self.model = Some(model),
                    Err(error) => {
                        self.conversation = None;
                        return Some(Err(error));
                    }
                }
            }
        })
    }
}

/// The passages to answer from: of a knowledge base, or of a document that comes with the request.
async fn retrieve(
    call: &Call,
    configuration: &Value,
    place: &str,
    question: &str,
) -> Result<Retrieved> {
    if let Some(id) = configuration["knowledgeBaseId"].as_str() {
        let place = format!("{place}.retrievalConfiguration");
        let search = Search::read(&configuration["retrievalConfiguration"], &place)?;
        let base = open(call, id)?;
        return search
            .run(call, &base, question.to_string(), "input.text")
            .await;
    }
    let place = format!("{place}.sources[0]");
    let source = configuration["sources"][0].clone();
    let (session, principal) = (call.session.clone(), call.principal.clone());
    blocking(move || {
        if let Some(uri) = source["s3Location"]["uri"].as_str() {
            let path = session.resolve_s3_uri(uri, &principal)?;
            let format = Format::of(&path).ok_or_else(|| unread(&place, uri))?;
            return Retrieved::of_document(uri, format, read_file(&path, uri)?);
        }
        let content = &source["byteContent"];
        let media_type = content["contentType"].as_str().unwrap_or_default();
        let format = Format::of_media_type(media_type).ok_or_else(|| unread(&place, media_type))?;
        let data = content["data"].as_str().unwrap_or_default();
        let data = STANDARD
            .decode(data)
            .map_err(|error| Error::validation(format!("{place}.byteContent.data: {error}")))?;
        let id = content["identifier"].as_str().unwrap_or_default();
        Retrieved::of_document(id, format, data)
    })
    .await
}

/// What a conversation is about, by the configuration that a request has.
fn about(configuration: &Value) -> String {
    match configuration["knowledgeBaseConfiguration"]["knowledgeBaseId"].as_str() {
        Some(id) => id.to_string(),
        None => "EXTERNAL_SOURCES".to_string(),
    }
}

fn unread(place: &str, what: &str) -> Error {
    Error::validation(format!(
        "{place}: {what} is not of a format that is read: text, Markdown, HTML, PDF or DOCX"
    ))
}
