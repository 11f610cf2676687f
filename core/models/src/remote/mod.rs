//! Models behind a server of OpenAI's form, such as vLLM or llama.cpp's.

mod answer;
mod connection;
mod embedder;
mod request;
mod server_events;
mod stream;

use std::time::{Duration, Instant};

use outcrop_api::{
    BoxFuture, ChatModel, ConverseRequest, EventStream, ModelInfo, ModelKind, Result,
};

use crate::spec::place::Place;
use connection::Connection;

pub(crate) use embedder::RemoteEmbedder;

/// Longest silence of a server where a declaration does not say, in milliseconds.
const DEFAULT_SILENCE: u64 = 300_000;
/// Longest silence that may be stated: one day.
const MAX_SILENCE: u64 = 86_400_000;

/// How a server is reached, and what is asked of it.
#[derive(Clone, Debug)]
pub(crate) struct RemoteSpec {
    /// Its address without the last part, such as `http://localhost:8000/v1`.
    base_url: String,
    /// The model's name there.
    model: String,
    key: Option<Key>,
    headers: Vec<(String, String)>,
    silence: Duration,
    context_length: Option<usize>,
    /// The length of its vectors, for an embedding model.
    dimensions: Option<usize>,
}

/// The bearer token.
#[derive(Clone)]
enum Key {
    Text(String),
    /// The variable of the environment that holds it when the model is opened.
    Variable(String),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(…)"),
            Self::Variable(name) => write!(f, "Variable({name})"),
        }
    }
}

impl RemoteSpec {
    /// Reads `{"base_url", "model", "api_key"? | "api_key_env"?, "headers"?, "kind"?, …}`.
    ///
    /// # Errors
    /// `ValidationException` that names the place.
    pub fn read(place: &Place) -> Result<Self> {
        place.only(&[
            "base_url",
            "model",
            "api_key",
            "api_key_env",
            "headers",
            "kind",
            "dimensions",
            "context_length",
            "timeout_ms",
        ])?;
        let address = place.required("base_url")?;
        let base_url = address.name()?.trim_end_matches('/').to_string();
        let is_url = base_url.parse::<ureq::http::Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
        });
        if !is_url {
            return Err(address.wrong(
                "http://host or https://host with the path before \
                                      /chat/completions, such as http://localhost:8000/v1",
            ));
        }
        let name = |place: &Place| place.name().map(str::to_string);
        let key = match (place.member("api_key"), place.member("api_key_env")) {
            (Some(_), Some(_)) => return Err(place.wrong("one of api_key and api_key_env")),
            (Some(key), None) => Some(Key::Text(name(&key)?)),
            (None, Some(variable)) => Some(Key::Variable(name(&variable)?)),
            (None, None) => None,
        };
        let is_embedding = place.optional("kind", |kind| {
            kind.choice(&[("chat", false), ("embedding", true)])
        })?;
        let count = |member, most| {
            let read = |at: &Place| Ok(at.count(1..=most)? as usize);
            place.optional(member, read)
        };
        let dimensions = count("dimensions", 1 << 20)?;
        if dimensions.is_some() != is_embedding.unwrap_or_default() {
            return Err(place.wrong("\"dimensions\" with \"kind\": \"embedding\", and only there"));
        }
        let silence = place.optional("timeout_ms", |at| at.count(1..=MAX_SILENCE))?;
        Ok(Self {
            base_url,
            model: name(&place.required("model")?)?,
            key,
            headers: place.optional("headers", headers)?.unwrap_or_default(),
            silence: Duration::from_millis(silence.unwrap_or(DEFAULT_SILENCE)),
            context_length: count("context_length", u64::from(u32::MAX))?,
            dimensions,
        })
    }

    /// What the model is for.
    pub fn kind(&self) -> ModelKind {
        match self.dimensions {
            None => ModelKind::Chat,
            Some(_) => ModelKind::Embedding,
        }
    }

    /// Where it is, for people.
    pub fn source(&self) -> String {
        format!("openai:{} {}", self.base_url, self.model)
    }

    fn info(&self, id: &str) -> ModelInfo {
        ModelInfo {
            id: id.into(),
            kind: self.kind(),
            architecture: "openai".into(),
            parameters: 0,
            quantization: "unknown".into(),
            context_length: self.context_length.unwrap_or_default(),
            dimensions: self.dimensions,
            vocabulary: None,
            device: "remote".into(),
            device_reason: None,
            bytes: 0,
        }
    }
}

fn headers(place: &Place) -> Result<Vec<(String, String)>> {
    let each = place.entries()?.into_iter().map(|(name, value)| {
        let is_name = ureq::http::HeaderName::try_from(name).is_ok();
        let text = value.text()?;
        match is_name && ureq::http::HeaderValue::try_from(text).is_ok() {
            true => Ok((name.to_string(), text.to_string())),
            false => Err(value.wrong("a header's name and its value")),
        }
    });
    each.collect()
}

/// A chat model behind a server of OpenAI's form.
pub(crate) struct RemoteModel {
    id: String,
    info: ModelInfo,
    model: String,
    connection: Connection,
}

impl RemoteModel {
    /// The model by its declaration. No connection is made yet.
    ///
    /// # Errors
    /// `ValidationException` where the environment has not the variable of its key.
    pub fn new(id: &str, spec: RemoteSpec) -> Result<Self> {
        Ok(Self {
            id: id.into(),
            info: spec.info(id),
            model: spec.model.clone(),
            connection: Connection::new(id, &spec)?,
        })
    }

    /// What is known of it. A context length of 0 is one that the declaration does not say.
    pub fn info(&self) -> ModelInfo {
        self.info.clone()
    }

    async fn start(&self, request: ConverseRequest) -> Result<Box<dyn EventStream>> {
        let deadline = request.scheduling.deadline_ms;
        let deadline = deadline.map(|ms| Instant::now() + Duration::from_millis(ms));
        let body = request::body(&request, &self.model, &self.id)?;
        let stream = stream::open(self.connection.clone(), body, deadline).await?;
        Ok(Box::new(stream))
    }
}

impl ChatModel for RemoteModel {
    fn id(&self) -> &str {
        &self.id
    }

    fn converse_stream(
        &self,
        request: ConverseRequest,
    ) -> BoxFuture<'_, Result<Box<dyn EventStream>>> {
        Box::pin(self.start(request))
    }
}
