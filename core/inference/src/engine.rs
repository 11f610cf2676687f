//! A decoder with its tokenizer, chat template and scheduler: what chats and continues prompts.

mod events;
mod limits;
mod place;
mod thread;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use outcrop_api::{
    BoxFuture, ChatModel, Completion, ConverseRequest, Error, EventStream, GenerateRequest,
    InferenceConfig, ModelInfo, ModelKind, OutputFormat, Prompt, Result, Speculation, StreamEvent,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::yield_now;

use crate::chat_template::ChatTemplate;
use crate::decoder::Decoder;
use crate::decoder_config::DecoderConfig;
use crate::detokenizer::Detokenizer;
use crate::draft::load_draft;
use crate::engine_options::{EngineOptions, capacity, token_bytes};
use crate::engine_stream::{ConverseStream, GenerateStream};
use crate::engine_thread::EngineThread;
use crate::grammar::{Constraint, Grammars};
use crate::inbox::{Inbox, stopped};
use crate::lora::{Adapter, Adapters};
use crate::model_identity::identity;
use crate::reply::ReplyPlan;
use crate::sampler::{Sampler, SamplerScratch};
use crate::sequence::{Generation, Sequence, SequenceEvent};
use crate::statistics::EngineStatistics;
use crate::stop::StopBuffer;
use crate::tokenizer::Tokenizer;
use crate::tool_calls::{self, ToolFormat};
use crate::weights::{Checkpoint, ModelSource};

pub(crate) use events::SequenceEvents;
use place::Place;
pub(crate) use thread::load_decoder;
use thread::start;

/// A constraint at the beginning of an output, with the tokens that the output must begin with.
type Form = (Constraint, Vec<u32>);

/// A loaded decoder that serves concurrent calls by continuous batching. Clones share it; when the
/// last clone and the last stream are gone, its thread ends and its memory is given back.
///
/// A call's output depends on its own input and seed only, never on what runs beside it.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    id: String,
    info: ModelInfo,
    tokenizer: Arc<Tokenizer>,
    template: Option<ChatTemplate>,
    grammars: Grammars,
    tool_format: &'static ToolFormat,
    end_ids: Arc<[u32]>,
    decoder: Arc<Decoder>,
    is_gguf: bool,
    adapters: Adapters,
    /// How tokens are guessed ahead where the request does not say.
    speculation: Speculation,
    has_draft: bool,
    /// What a saved prefix is bound to.
    identity: String,
    thread: EngineThread,
}

impl Engine {
    /// Loads the model at `path`, a Hugging Face folder or a GGUF file, as `id`. It blocks.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where nothing is at `path`; `ModelErrorException` for files
    /// that are damaged, or an architecture that is not known; `ValidationException` for `options`
    /// that the model cannot follow.
    pub fn load(path: &Path, id: &str, options: EngineOptions) -> Result<Self> {
        let checkpoint = Checkpoint::open(path)?;
        let described = match checkpoint.config() {
            ModelSource::HuggingFace { folder, .. } => folder.join("config.json"),
            ModelSource::Gguf { .. } => path.to_path_buf(),
        };
        let named = |error: Error| {
            let message = format!("{}: {}", described.display(), error.message());
            Error::new(error.kind(), message).with_resource(described.display().to_string())
        };
        let config = DecoderConfig::from_source(checkpoint.config()).map_err(named)?;
        let decoder = Arc::new(load_decoder(config, &checkpoint, options.device)?);
        let tokenizer = Arc::new(Tokenizer::from_checkpoint(&checkpoint)?);
        let vocabulary = decoder.config().vocab_size;
        let draft = options.draft.as_deref();
        let load = |path| load_draft(path, &tokenizer, vocabulary, options.device);
        let draft = draft.map(load);
        let draft = draft.transpose()?;
        let draft_bytes = draft
            .as_ref()
            .map_or(Ok(0), |d| token_bytes(d.config(), options.kv_dtype))?;
        let (kv_tokens, context_length) = capacity(decoder.config(), &options, draft_bytes)?;
        let info = ModelInfo {
            id: id.to_owned(),
            kind: ModelKind::Chat,
            architecture: decoder.config().architecture.clone(),
            parameters: checkpoint.parameters(),
            quantization: checkpoint.quantization(),
            context_length,
            dimensions: None,
            vocabulary: Some(decoder.config().vocab_size),
            device: options.device.to_string(),
            device_reason: None,
            bytes: checkpoint.bytes(),
        };
        let template = ChatTemplate::from_checkpoint(&checkpoint)?;
        let shared = Shared {
            id: id.to_owned(),
            info,
            end_ids: tokenizer.eos().into(),
            tool_format: tool_calls::of_template(|text| {
                template
                    .as_ref()
                    .is_some_and(|template| template.holds(text))
            }),
            template,
            grammars: Grammars::new(tokenizer.clone(), decoder.config().vocab_size),
            tokenizer,
            speculation: options.speculation,
            has_draft: draft.is_some(),
            identity: identity(&checkpoint, options.kv_dtype.name()),
            thread: start((decoder.clone(), draft), kv_tokens, &options)?,
            decoder,
            is_gguf: matches!(checkpoint.config(), ModelSource::Gguf { .. }),
            adapters: Adapters::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// What is known of the model.
    pub fn info(&self) -> ModelInfo {
        self.shared.info.clone()
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.shared.tokenizer
    }

    /// What the engine is doing and has done so far.
    ///
    /// # Errors
    /// `InternalServerException` where the system gives no thread for its scheduler.
    pub fn statistics(&self) -> Result<EngineStatistics> {
        Ok(self.shared.thread.inbox()?.statistics())
    }

    /// The text that the model's chat template makes of `request`.
    ///
    /// # Errors
    /// `ValidationException` where the model has no chat template, or where it refuses the
    /// messages.
    pub fn chat_prompt(
        &self,
        request: &ConverseRequest,
        add_generation_prompt: bool,
    ) -> Result<String> {
        let Some(template) = &self.shared.template else {
            return Err(Error::validation(format!(
                "model {}: expected a chat template in its files, found none; use generate",
                self.shared.id
            )));
        };
        template.render(
            &request.messages,
            request.system.as_deref(),
            &request.tools,
            add_generation_prompt,
            &request.template_variables,
        )
    }

    /// Starts to continue a prompt. The stream gives the ids as well as the text.
    ///
    /// Without `max_tokens` at most 512 tokens are generated, or as many as still fit the context.
    ///
    /// # Errors
    /// `ValidationException` for a prompt that is empty, holds an id outside the vocabulary or does
    /// not fit the context with `max_tokens`; `ThrottlingException` when the queue is full.
    pub fn generate_stream(
        &self,
        request: GenerateRequest,
    ) -> BoxFuture<'_, Result<Box<dyn EventStream>>> {
        Box::pin(async move {
            yield_now().await; // see `converse_stream`
            let prompt = match request.prompt {
                Prompt::Text(text) => self.shared.tokenizer.encode(&text, true)?,
                Prompt::Ids(ids) => ids,
            };
            let form = self.form(request.output_format.as_ref())?;
            let speculation = request.speculation;
            let place = Place::new(
                self,
                request.adapter.as_deref(),
                request.scheduling,
                speculation,
            )?;
            let tokenizer = self.shared.tokenizer.clone();
            let detokenizer = match &form {
                Some(_) => Detokenizer::verbatim(tokenizer),
                None => Detokenizer::new(tokenizer),
            };
            let events = self.start(prompt, request.inference_config, form, detokenizer, place)?;
            Ok(Box::new(GenerateStream::new(events)) as Box<dyn EventStream>)
        })
    }

    /// Continues a prompt: [`Engine::generate_stream`], collected.
    ///
    /// # Errors
    /// As [`Engine::generate_stream`].
    pub async fn generate(&self, request: GenerateRequest) -> Result<Completion> {
        let started = Instant::now();
        let mut stream = self.generate_stream(request).await?;
        let (mut text, mut ids, mut logprobs) = (String::new(), Vec::new(), Vec::new());
        while let Some(event) = stream.next().await {
            match event? {
                StreamEvent::TextDelta(delta) => text.push_str(&delta),
                StreamEvent::Ids(more) => ids.extend(more),
                StreamEvent::Logprobs(more) => logprobs.extend(more),
                StreamEvent::Block(_) => {}
                StreamEvent::Done { stop_reason, usage } => {
                    return Ok(Completion {
                        text,
                        ids,
                        stop_reason,
                        usage,
                        latency_ms: started.elapsed().as_millis() as u64,
                        logprobs,
                    });
                }
            }
        }
        Err(stopped())
    }

    /// The logits at each position of `ids`, `(ids, vocabulary)`.
    ///
    /// # Errors
    /// `ValidationException` for `ids` that are empty, outside the vocabulary or longer than the
    /// context; `ThrottlingException` when the queue is full.
    pub async fn logits(&self, ids: &[u32]) -> Result<Vec<f32>> {
        self.logits_with(ids, None).await
    }

    /// [`Engine::logits`] with the loaded LoRA adapter of that name.
    ///
    /// # Errors
    /// As [`Engine::logits`]; `ResourceNotFoundException` for an adapter that is not loaded.
    pub async fn logits_with(&self, ids: &[u32], adapter: Option<&str>) -> Result<Vec<f32>> {
        let adapter = self.shared.adapters.get(adapter)?;
        self.check_prompt("ids", ids)?;
        if ids.len() > self.shared.info.context_length {
            return Err(self.too_long("ids", ids.len()));
        }
        let (sender, receiver) = unbounded_channel();
        let sequence = Sequence::logits(ids.to_vec(), sender).with_adapter(adapter);
        let mut events = self.submit(sequence, receiver)?;
        let mut all = Vec::new();
        loop {
            match events.next().await? {
                SequenceEvent::Logits(rows) => all.extend(rows),
                SequenceEvent::Done { .. } => return Ok(all),
                _ => {}
            }
        }
    }

    /// Reads the adapter in `folder` for this model.
    pub(crate) fn read_adapter(&self, name: &str, folder: &Path) -> Result<Adapter> {
        Adapter::load(name, folder, &self.shared.decoder, self.shared.is_gguf)
    }

    /// The loaded adapters.
    pub(crate) fn adapter_registry(&self) -> &Adapters {
        &self.shared.adapters
    }

    /// The beginning of an output of `format`.
    fn form(&self, format: Option<&OutputFormat>) -> Result<Option<Form>> {
        format
            .map(|format| self.shared.grammars.start(format))
            .transpose()
    }

    /// Submits a sequence that continues `prompt` in a `form`, where one is asked for.
    fn start(
        &self,
        prompt: Vec<u32>,
        config: InferenceConfig,
        form: Option<Form>,
        detokenizer: Detokenizer,
        place: Place,
    ) -> Result<SequenceEvents> {
        let sampler = Sampler::new(&config)?;
        self.check_prompt("prompt", &prompt)?;
        let (constraint, forced) = form.unzip();
        let generation = Generation {
            sampler,
            scratch: SamplerScratch::default(),
            detokenizer,
            stop: StopBuffer::new(config.stop_sequences),
            end_ids: self.shared.end_ids.clone(),
            max_tokens: self.max_tokens(prompt.len(), config.max_tokens)?,
            logprobs: config.logprobs,
            constraint: constraint.map(Box::new),
            forced: forced.map(VecDeque::from).unwrap_or_default(),
        };
        let (sender, receiver) = unbounded_channel();
        let sequence = Sequence::generate(prompt, generation, sender);
        let mut sequence = place.apply(sequence);
        let backlog = sequence.count_backlog();
        match sequence.begin() {
            None => self.submit(sequence, receiver),
            Some(last) => {
                sequence.end(last);
                Ok(SequenceEvents {
                    receiver,
                    backlog,
                    inbox: None,
                    _engine: self.shared.clone(),
                })
            }
        }
    }

    /// The inbox of this process's scheduler.
    pub(crate) fn inbox(&self) -> Result<Arc<Inbox>> {
        self.shared.thread.inbox()
    }

    /// What a saved prefix is bound to: the weights and how keys and values are stored.
    pub(crate) fn identity(&self) -> &str {
        &self.shared.identity
    }

    /// How the positions of a sequence of `rope_length` are turned.
    pub(crate) fn rope_class(&self, rope_length: usize) -> usize {
        self.shared.decoder.rope_class(rope_length)
    }

    /// Hands `sequence` to the scheduler.
    pub(crate) fn submit(
        &self,
        mut sequence: Sequence,
        receiver: UnboundedReceiver<Result<SequenceEvent>>,
    ) -> Result<SequenceEvents> {
        let (backlog, inbox) = (sequence.count_backlog(), self.shared.thread.inbox()?);
        inbox.submit(sequence)?;
        Ok(SequenceEvents {
            receiver,
            backlog,
            inbox: Some(inbox),
            _engine: self.shared.clone(),
        })
    }
}

impl ChatModel for Engine {
    fn id(&self) -> &str {
        &self.shared.id
    }

    fn converse_stream(
        &self,
        request: ConverseRequest,
    ) -> BoxFuture<'_, Result<Box<dyn EventStream>>> {
        Box::pin(async move {
            // Long prompts take long to read: whoever polls, maybe an event loop, goes on first.
            yield_now().await;
            let plan = ReplyPlan::new(&request, self.shared.tool_format)?;
            let text = self.chat_prompt(&request, true)?;
            // The template has written the special tokens itself.
            let prompt = self.shared.tokenizer.encode(&text, false)?;
            let form = plan.form(&self.shared.grammars)?;
            let detokenizer = plan.detokenizer(&self.shared.tokenizer);
            let reader = plan.reader();
            let speculation = request.speculation;
            let place = Place::new(
                self,
                request.adapter.as_deref(),
                request.scheduling,
                speculation,
            )?;
            let events = self.start(prompt, request.inference_config, form, detokenizer, place)?;
            Ok(Box::new(ConverseStream::new(events, reader)) as Box<dyn EventStream>)
        })
    }
}
