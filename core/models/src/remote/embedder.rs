//! An embedding model behind a server of OpenAI's form.

use outcrop_api::{
    BoxFuture, DOCUMENT_PROMPT, EmbedOptions, Embedder, Embeddings, Error, ModelInfo, QUERY_PROMPT,
    Result,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::RemoteSpec;
use super::answer::ServerUsage;
use super::connection::Connection;
use super::stream::Open;

/// Most bytes of an answer.
const MAX_ANSWER: u64 = 1 << 30;

/// An embedding model behind a server.
pub(crate) struct RemoteEmbedder {
    info: ModelInfo,
    model: String,
    dimensions: usize,
    connection: Connection,
}

#[derive(Deserialize)]
struct Listing {
    data: Vec<Item>,
    usage: Option<ServerUsage>,
}

#[derive(Deserialize)]
struct Item {
    index: usize,
    embedding: Vec<f32>,
}

impl RemoteEmbedder {
    /// The model by its declaration. No connection is made yet.
    ///
    /// # Errors
    /// `ValidationException` where the environment has not the variable of its key.
    pub fn new(id: &str, spec: RemoteSpec) -> Result<Self> {
        Ok(Self {
            info: spec.info(id),
            model: spec.model.clone(),
            dimensions: spec.dimensions.unwrap_or_default(),
            connection: Connection::new(id, &spec)?,
        })
    }

    pub fn info(&self) -> ModelInfo {
        self.info.clone()
    }

    fn refuse_what_it_cannot(&self, options: &EmbedOptions) -> Result<()> {
        let id = &self.info.id;
        let cannot = |field: &str| {
            Error::validation(format!(
                "{field}: model {id} is behind a server of OpenAI's form, which cannot be asked \
                 for it"
            ))
            .with_resource(id)
        };
        match &options.prompt {
            _ if options.truncate => Err(cannot("truncate")),
            Some(prompt) if ![QUERY_PROMPT, DOCUMENT_PROMPT].contains(&prompt.as_str()) => {
                Err(cannot("prompt"))
            }
            _ => Ok(()),
        }
    }

    /// The vectors of the server's answer, in the order of the texts.
    fn vectors(&self, answer: &[u8], texts: usize, normalize: bool) -> Result<Embeddings> {
        let mut listing: Listing = serde_json::from_slice(answer).map_err(|error| {
            self.connection
                .unexpected(format!("expected embeddings: {error}"))
        })?;
        listing.data.sort_by_key(|item| item.index);
        let is_whole = listing.data.len() == texts
            && listing
                .data
                .iter()
                .enumerate()
                .all(|(at, item)| item.index == at);
        if !is_whole {
            let got = listing.data.len();
            let what = format!("expected one vector for each of {texts} texts, got {got}");
            return Err(self.connection.unexpected(what));
        }
        let usage = listing.usage.ok_or_else(|| {
            self.connection
                .unexpected("the answer has no usage, so its tokens cannot be told")
        })?;
        let mut embeddings = Embeddings {
            values: Vec::with_capacity(texts * self.dimensions),
            dimensions: self.dimensions,
            input_tokens: usage.prompt_tokens,
        };
        for item in listing.data {
            if item.embedding.len() != self.dimensions {
                let (expected, got) = (self.dimensions, item.embedding.len());
                let what = format!("openai.dimensions: expected vectors of {expected}, got {got}");
                return Err(self.connection.unexpected(what));
            }
            let squares = item.embedding.iter().map(|v| f64::from(*v).powi(2));
            let length = squares.sum::<f64>().sqrt();
            let scale = if normalize && length > 0.0 {
                length
            } else {
                1.0
            };
            let scaled = item
                .embedding
                .iter()
                .map(|v| (f64::from(*v) / scale) as f32);
            embeddings.values.extend(scaled);
        }
        Ok(embeddings)
    }
}

/// Posts the texts; the answer's bytes. It blocks.
fn ask(connection: &Connection, agent: &ureq::Agent, body: &Value) -> Result<Vec<u8>> {
    let mut response = connection.post(agent, "embeddings", body)?;
    let body = response.body_mut().with_config().limit(MAX_ANSWER);
    body.read_to_vec()
        .map_err(|error| connection.unreachable("embeddings", error))
}

impl Embedder for RemoteEmbedder {
    fn id(&self) -> &str {
        &self.info.id
    }

    fn dimensions(&self) -> usize {
        self.dimensions
    }

    fn max_tokens(&self) -> usize {
        self.info.context_length
    }

    fn count_tokens(&self, _: &str) -> Result<usize> {
        let id = &self.info.id;
        Err(Error::validation(format!(
            "model {id} is behind a server of OpenAI's form, which does not count tokens"
        ))
        .with_resource(id))
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [String],
        options: EmbedOptions,
    ) -> BoxFuture<'a, Result<Embeddings>> {
        Box::pin(async move {
            self.refuse_what_it_cannot(&options)?;
            if texts.is_empty() {
                return Ok(Embeddings {
                    dimensions: self.dimensions,
                    ..Embeddings::default()
                });
            }
            let body = json!({"model": self.model, "input": texts, "encoding_format": "float"});
            let connection = self.connection.clone();
            let open = Open(connection.agent());
            let agent = open.0.clone();
            let asked = tokio::task::spawn_blocking(move || ask(&connection, &agent, &body)).await;
            let answer = asked
                .map_err(|error| Error::internal("the request was stopped").with_source(error))??;
            self.vectors(&answer, texts.len(), options.normalize)
        })
    }
}
