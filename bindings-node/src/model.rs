//! A model, as JavaScript holds it.

use napi::bindgen_prelude::{Env, Float32Array, PromiseRaw, Uint32Array};
use napi_derive::napi;
use outcrop::api::{EmbedOptions, GenerateRequest};
use outcrop::{Feed, conversation, from_json, to_json};

use crate::call::{Cancellation, promise, promise_at_once, to_napi};
use crate::prefix::Prefix;
use crate::stream::EventQueue;

/// A loaded model.
#[napi]
pub struct Model {
    model: outcrop::Model,
}

impl Model {
    pub(crate) fn new(model: outcrop::Model) -> Self {
        Self { model }
    }
}

/// A matrix of float32 values, row-major, `width` values a row.
#[napi(object)]
pub struct Matrix {
    pub values: Float32Array,
    pub width: u32,
}

#[napi]
impl Model {
    #[napi]
    pub fn info(&self) -> napi::Result<String> {
        to_json(self.model.info()).map_err(to_napi)
    }

    #[napi]
    pub fn converse<'env>(
        &self,
        env: &'env Env,
        request: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let model = self.model.clone();
        promise_at_once(env, cancellation, request.len(), async move {
            let request = conversation(&request)?;
            to_json(&model.converse(request).await?)
        })
    }

    #[napi]
    pub fn stream(&self, request: String) -> napi::Result<EventQueue> {
        let feed = conversation(&request).and_then(|it| Feed::converse(self.model.clone(), it));
        feed.map(EventQueue).map_err(to_napi)
    }

    #[napi]
    pub fn generate<'env>(
        &self,
        env: &'env Env,
        request: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let model = self.model.clone();
        promise(env, cancellation, async move {
            let request: GenerateRequest = from_json("request", &request)?;
            to_json(&model.generate(request).await?)
        })
    }

    #[napi]
    pub fn generate_stream(&self, request: String) -> napi::Result<EventQueue> {
        let request = from_json("request", &request);
        let feed = request.and_then(|it| Feed::generate(self.model.clone(), it));
        feed.map(EventQueue).map_err(to_napi)
    }

    #[napi]
    pub fn embed<'env>(
        &self,
        env: &'env Env,
        texts: Vec<String>,
        options: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, Matrix>> {
        let model = self.model.clone();
        promise(env, cancellation, async move {
            let options: EmbedOptions = from_json("embed", &options)?;
            let vectors = model.embed(texts, options).await?;
            Ok(Matrix {
                width: vectors.dimensions as u32,
                values: vectors.values.into(),
            })
        })
    }

    #[napi]
    pub fn rerank<'env>(
        &self,
        env: &'env Env,
        query: String,
        texts: Vec<String>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, Float32Array>> {
        let model = self.model.clone();
        promise(env, cancellation, async move {
            Ok(model.rerank(query, texts).await?.into())
        })
    }

    #[napi]
    pub fn tokenize<'env>(
        &self,
        env: &'env Env,
        text: String,
        add_special: bool,
    ) -> napi::Result<PromiseRaw<'env, Uint32Array>> {
        let model = self.model.clone();
        promise(env, None, async move {
            Ok(model.tokenize(&text, add_special)?.into())
        })
    }

    #[napi]
    pub fn detokenize<'env>(
        &self,
        env: &'env Env,
        ids: Uint32Array,
        skip_special: bool,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let model = self.model.clone();
        let ids = ids.to_vec();
        promise(
            env,
            None,
            async move { model.detokenize(&ids, skip_special) },
        )
    }

    #[napi]
    pub fn token_texts(&self, ids: Vec<u32>) -> napi::Result<Vec<String>> {
        self.model.token_texts(&ids).map_err(to_napi)
    }

    #[napi]
    pub fn chat_prompt<'env>(
        &self,
        env: &'env Env,
        request: String,
        generation_prompt: bool,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let model = self.model.clone();
        promise(env, None, async move {
            let request = conversation(&request)?;
            model.chat_prompt(&request, generation_prompt)
        })
    }

    #[napi]
    pub fn logits<'env>(
        &self,
        env: &'env Env,
        ids: Uint32Array,
        adapter: Option<String>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, Matrix>> {
        let model = self.model.clone();
        let ids = ids.to_vec();
        promise(env, cancellation, async move {
            let width = model.info().vocabulary.unwrap_or(0) as u32;
            let values = model.logits(ids, adapter).await?.into();
            Ok(Matrix { values, width })
        })
    }

    #[napi]
    pub fn score<'env>(
        &self,
        env: &'env Env,
        prompt: String,
        continuation: String,
        adapter: Option<String>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, Float32Array>> {
        let model = self.model.clone();
        promise(env, cancellation, async move {
            let prompt = from_json("prompt", &prompt)?;
            let continuation = from_json("continuation", &continuation)?;
            Ok(model.score(prompt, continuation, adapter).await?.into())
        })
    }

    #[napi]
    pub fn perplexity<'env>(
        &self,
        env: &'env Env,
        texts: Vec<String>,
        options: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let model = self.model.clone();
        promise(env, cancellation, async move {
            let options = from_json("options", &options)?;
            to_json(&model.perplexity(texts, options).await?)
        })
    }

    #[napi]
    pub fn prefix<'env>(
        &self,
        env: &'env Env,
        prompt: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, Prefix>> {
        let model = self.model.clone();
        promise(env, cancellation, async move {
            Ok(Prefix(model.prefix(from_json("prompt", &prompt)?).await?))
        })
    }

    #[napi]
    pub fn load_prefix<'env>(
        &self,
        env: &'env Env,
        file: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, Prefix>> {
        let model = self.model.clone();
        promise(env, cancellation, async move {
            Ok(Prefix(model.load_prefix(file.into()).await?))
        })
    }

    #[napi]
    pub fn load_adapter<'env>(
        &self,
        env: &'env Env,
        name: String,
        folder: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let model = self.model.clone();
        promise(env, cancellation, async move {
            to_json(&model.load_adapter(name, folder.into()).await?)
        })
    }

    #[napi]
    pub fn unload_adapter(&self, name: String) -> napi::Result<()> {
        self.model.unload_adapter(&name).map_err(to_napi)
    }

    #[napi]
    pub fn adapters(&self) -> napi::Result<String> {
        let adapters = self.model.adapters();
        adapters.and_then(|all| to_json(&all)).map_err(to_napi)
    }

    #[napi]
    pub fn stats(&self) -> napi::Result<String> {
        let statistics = self.model.statistics();
        statistics.and_then(|all| to_json(&all)).map_err(to_napi)
    }

    #[napi]
    pub fn bench<'env>(
        &self,
        env: &'env Env,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let model = self.model.clone();
        promise(env, cancellation, async move {
            to_json(&model.bench(|_| {}).await?)
        })
    }
}
