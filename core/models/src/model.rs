//! A loaded model, and what it can be used for.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use outcrop_api::{
    ChatModel, ConverseRequest, Embedder, Error, ErrorKind, ModelInfo, ModelKind, Reranker, Result,
};
use outcrop_inference::{Device, DeviceChoice, EncoderModel, Engine, Prefix, Tokenizer};
use serde_json::Value;

use crate::load_options::LoadOptions;
use crate::quote::QuoteModel;
use crate::remote::RemoteModel;
use crate::scripted::ScriptedModel;

/// Most bytes of a `config.json`.
const MAX_CONFIG: u64 = 16 << 20;

/// A loaded model.
pub struct Model {
    info: ModelInfo,
    body: Body,
    load_time: Duration,
    /// Prefixes that its cache holds: they end with it.
    prefixes: Mutex<Vec<Arc<Prefix>>>,
}

enum Body {
    Decoder(Engine),
    Encoder(Arc<EncoderModel>),
    Quote(Arc<QuoteModel>),
    Scripted(Arc<ScriptedModel>),
    Remote(Arc<RemoteModel>),
    Embedder(Arc<dyn Embedder>),
    Reranker(Arc<dyn Reranker>),
}

impl Model {
    /// Loads a Hugging Face folder or a `.gguf` file. Blocks while it does.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where nothing is there, `ModelErrorException` where the files are
    /// damaged or of an unknown architecture, `ValidationException` for an option that the model
    /// cannot follow.
    pub fn load(
        path: &Path,
        id: &str,
        options: &LoadOptions,
        device: &DeviceChoice,
    ) -> Result<Self> {
        let started = Instant::now();
        let kind = kind_of(path)?;
        let (info, body) = match kind {
            ModelKind::Chat => {
                options.refuse_encoder_options(id)?;
                let (engine, reason) = load_engine(path, id, options, device)?;
                let mut info = engine.info();
                info.device_reason = reason;
                (info, Body::Decoder(engine))
            }
            ModelKind::Embedding | ModelKind::Rerank => {
                options.refuse_decoder_options(id, is_what(kind))?;
                let encoder = EncoderModel::load_with(path, id, options.encoder())?;
                let mut info = encoder.info();
                info.device_reason = match device.device {
                    Device::Cpu => device.reason.clone(),
                    Device::Cuda(_) => Some(format!(
                        "models that embed or rerank run on the CPU, whatever the session's device, {}",
                        device.device
                    )),
                };
                (info, Body::Encoder(Arc::new(encoder)))
            }
        };
        Ok(Self {
            info,
            body,
            load_time: started.elapsed(),
            prefixes: Mutex::default(),
        })
    }

    /// The quoting reader `id` over a loaded embedding model.
    ///
    /// # Errors
    /// `ValidationException` where `below` does not embed.
    pub fn quote(id: &str, below: &Model) -> Result<Self> {
        let quote = QuoteModel::new(id, below.embedder()?);
        Ok(Self {
            info: quote.info(&below.info),
            body: Body::Quote(Arc::new(quote)),
            load_time: below.load_time,
            prefixes: Mutex::default(),
        })
    }

    /// A chat model that is declared as data.
    pub(crate) fn scripted(model: ScriptedModel) -> Self {
        Self::declared(model.info(), Body::Scripted(Arc::new(model)))
    }

    /// A chat model behind a server.
    pub(crate) fn remote(model: RemoteModel) -> Self {
        Self::declared(model.info(), Body::Remote(Arc::new(model)))
    }

    /// An embedding model that is declared as data.
    pub(crate) fn declared_embedder(info: ModelInfo, model: impl Embedder + 'static) -> Self {
        Self::declared(info, Body::Embedder(Arc::new(model)))
    }

    /// A reranking model that is declared as data.
    pub(crate) fn declared_reranker(info: ModelInfo, model: impl Reranker + 'static) -> Self {
        Self::declared(info, Body::Reranker(Arc::new(model)))
    }

    fn declared(info: ModelInfo, body: Body) -> Self {
        Self {
            info,
            body,
            load_time: Duration::ZERO,
            prefixes: Mutex::default(),
        }
    }

    /// Whether it is declared as data, and has no weights here.
    pub(crate) fn is_declared(&self) -> bool {
        match &self.body {
            Body::Scripted(_) | Body::Remote(_) | Body::Embedder(_) | Body::Reranker(_) => true,
            Body::Decoder(_) | Body::Encoder(_) | Body::Quote(_) => false,
        }
    }

    /// What is known of it.
    pub fn info(&self) -> ModelInfo {
        self.info.clone()
    }

    /// How long its files took to load, downloads left out.
    pub fn load_time(&self) -> Duration {
        self.load_time
    }

    /// It as a model that answers conversations.
    ///
    /// # Errors
    /// `ValidationException` for an embedding or a reranking model.
    pub fn chat(&self) -> Result<Arc<dyn ChatModel>> {
        match &self.body {
            Body::Decoder(engine) => Ok(Arc::new(engine.clone())),
            Body::Quote(quote) => Ok(quote.clone()),
            Body::Scripted(scripted) => Ok(scripted.clone()),
            Body::Remote(remote) => Ok(remote.clone()),
            Body::Encoder(_) | Body::Embedder(_) | Body::Reranker(_) => {
                Err(self.cannot("converse"))
            }
        }
    }

    /// It as a model that turns texts into vectors.
    ///
    /// # Errors
    /// `ValidationException` for another kind of model.
    pub fn embedder(&self) -> Result<Arc<dyn Embedder>> {
        match (&self.body, self.info.kind) {
            (Body::Encoder(encoder), ModelKind::Embedding) => Ok(encoder.clone()),
            (Body::Embedder(embedder), _) => Ok(embedder.clone()),
            _ => Err(self.cannot("embed")),
        }
    }

    /// It as a model that scores texts against a query.
    ///
    /// # Errors
    /// `ValidationException` for another kind of model.
    pub fn reranker(&self) -> Result<Arc<dyn Reranker>> {
        match (&self.body, self.info.kind) {
            (Body::Encoder(encoder), ModelKind::Rerank) => Ok(encoder.clone()),
            (Body::Reranker(reranker), _) => Ok(reranker.clone()),
            _ => Err(self.cannot("rerank")),
        }
    }

    /// Tokens of a conversation as the model would read it: by its chat template and tokenizer, or
    /// by the rule of a script.
    ///
    /// # Errors
    /// `ValidationException` for a model that reads no conversations, or does not tell.
    pub fn count_tokens(&self, request: &ConverseRequest) -> Result<usize> {
        match &self.body {
            Body::Decoder(engine) => {
                let prompt = engine.chat_prompt(request, true)?;
                Ok(engine.tokenizer().encode(&prompt, false)?.len())
            }
            Body::Scripted(scripted) => Ok(scripted.count_tokens(request)),
            _ => Err(self.cannot("count the tokens of a conversation")),
        }
    }

    /// The engine of a decoder.
    ///
    /// # Errors
    /// `ValidationException` for a model that generates no text of its own.
    pub fn engine(&self) -> Result<&Engine> {
        match &self.body {
            Body::Decoder(engine) => Ok(engine),
            _ => Err(self.cannot("generate")),
        }
    }

    /// Holds `prefix` until it is let go, or the model is.
    pub fn hold(&self, prefix: Prefix) -> Weak<Prefix> {
        let prefix = Arc::new(prefix);
        let held = Arc::downgrade(&prefix);
        self.prefixes().push(prefix);
        held
    }

    /// Lets go of a held prefix.
    pub fn let_go(&self, prefix: &Weak<Prefix>) {
        let mut prefixes = self.prefixes();
        let found = prefixes
            .iter()
            .position(|held| Weak::ptr_eq(&Arc::downgrade(held), prefix));
        let held = found.map(|at| prefixes.swap_remove(at));
        drop(prefixes);
        // Its engine hears of it outside the lock.
        drop(held);
    }

    fn prefixes(&self) -> MutexGuard<'_, Vec<Arc<Prefix>>> {
        // Nothing that can panic runs under the lock.
        self.prefixes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its answers cite the documents and search results that they rest on.
    pub fn cites(&self) -> bool {
        matches!(self.body, Body::Quote(_))
    }

    /// Its tokenizer.
    ///
    /// # Errors
    /// `ValidationException` for a model that has none of its own.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        match &self.body {
            Body::Decoder(engine) => Ok(engine.tokenizer()),
            Body::Encoder(encoder) => Ok(encoder.tokenizer()),
            _ => Err(self.cannot("tokenize")),
        }
    }

    fn cannot(&self, verb: &str) -> Error {
        let what = match (&self.body, self.info.kind) {
            (Body::Quote(_), _) => "quotes passages word for word",
            (Body::Scripted(_), _) => "answers by a script",
            (Body::Remote(_), _) => "is behind a server of OpenAI's form",
            (Body::Embedder(_), _) => "is a declared embedding model",
            (Body::Reranker(_), _) => "is a declared reranking model",
            (_, kind) => is_what(kind),
        };
        let id = &self.info.id;
        Error::validation(format!("model {id} {what}: it cannot {verb}")).with_resource(id)
    }
}

/// What a model of `kind` is, in a sentence about it.
fn is_what(kind: ModelKind) -> &'static str {
    match kind {
        ModelKind::Chat => "is a language model",
        ModelKind::Embedding => "is an embedding model",
        ModelKind::Rerank => "is a reranking model",
    }
}

/// What the model at `path` is for, by its configuration; its weights are not read.
///
/// # Errors
/// `ResourceNotFoundException` where nothing is there, `ValidationException` where it is no model.
pub fn kind_of(path: &Path) -> Result<ModelKind> {
    let shown = path.display();
    let metadata = std::fs::metadata(path).map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::ResourceNotFoundException,
            _ => ErrorKind::ModelErrorException,
        };
        Error::new(kind, format!("model: {shown}: {error}"))
            .with_resource(shown.to_string())
            .with_source(error)
    })?;
    if metadata.is_file() {
        let is_gguf = path
            .extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("gguf"));
        return match is_gguf {
            true => Ok(outcrop_inference::gguf_kind(path)?),
            false => Err(Error::validation(format!(
                "model: expected a folder with config.json or a .gguf file, got the file {shown}"
            ))),
        };
    }
    let config = read_config(&path.join("config.json"))?;
    Ok(outcrop_inference::model_kind(path, &config)?)
}

/// The engine of the model at `path`, with the reason for its device. Where `auto` chose a GPU that
/// this model cannot use, it runs on the CPU, which the reason says.
fn load_engine(
    path: &Path,
    id: &str,
    options: &LoadOptions,
    choice: &DeviceChoice,
) -> Result<(Engine, Option<String>)> {
    let mut engine = options.engine();
    engine.device = choice.device;
    let refused = match (Engine::load(path, id, engine.clone()), &choice.reason) {
        (Err(error), Some(_)) if error.message().starts_with("device: ") => error,
        (loaded, reason) => return Ok((loaded?, reason.clone())),
    };
    engine.device = Device::Cpu;
    let reason = format!("auto: {} refuses it: {}", choice.device, refused.message());
    Ok((Engine::load(path, id, engine)?, Some(reason)))
}

fn read_config(path: &Path) -> Result<Value> {
    let shown = path.display();
    let file = File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::validation(format!(
            "model: expected a folder with config.json, tokenizer.json and *.safetensors; there is \
             no {shown}"
        )),
        _ => Error::model(format!("{shown}: {error}")),
    })?;
    let mut text = String::new();
    file.take(MAX_CONFIG)
        .read_to_string(&mut text)
        .map_err(|error| Error::model(format!("{shown}: {error}")).with_source(error))?;
    serde_json::from_str(&text).map_err(|error| {
        Error::model(format!("{shown}: expected JSON: {error}")).with_source(error)
    })
}
