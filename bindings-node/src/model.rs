//! A model, as JavaScript holds it.

use napi::bindgen_prelude::{Env, Float32Array, PromiseRaw, Uint32Array};
use napi_derive::napi;
use outcrop::api::{ConverseRequest, EmbedOptions, GenerateRequest};

use crate::call::{Cancellation, from_json, promise, to_json, to_napi};
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
        cancellation: &Cancellation,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let model = self.model.clone();
        promise(env, cancellation, async move {
            let request: ConverseRequest = from_json("converse", &request)?;
            to_json(&model.converse(request).await?)
        })
    }

    #[napi]
    pub fn stream<'env>(
        &self,
        env: &'env Env,
        request: String,
    ) -> napi::Result<PromiseRaw<'env, EventQueue>> {
        let model = self.model.clone();
        promise(env, &Cancellation::default(), async move {
            let request: ConverseRequest = from_json("stream", &request)?;
            EventQueue::of(model.stream(request).await?)
        })
    }

    #[napi]
    pub fn generate<'env>(
        &self,
        env: &'env Env,
        request: String,
        cancellation: &Cancellation,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let model = self.model.clone();
        promise(env, cancellation, async move {
            let request: GenerateRequest = from_json("generate", &request)?;
            to_json(&model.generate(request).await?)
        })
    }

    #[napi]
    pub fn generate_stream<'env>(
        &self,
        env: &'env Env,
        request: String,
    ) -> napi::Result<PromiseRaw<'env, EventQueue>> {
        let model = self.model.clone();
        promise(env, &Cancellation::default(), async move {
            let request: GenerateRequest = from_json("generateStream", &request)?;
            EventQueue::of(model.generate_stream(request).await?)
        })
    }

    #[napi]
    pub fn embed<'env>(
        &self,
        env: &'env Env,
        texts: Vec<String>,
        options: String,
        cancellation: &Cancellation,
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
        cancellation: &Cancellation,
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
        promise(env, &Cancellation::default(), async move {
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
        promise(env, &Cancellation::default(), async move {
            model.detokenize(&ids, skip_special)
        })
    }

    #[napi]
    pub fn chat_prompt<'env>(
        &self,
        env: &'env Env,
        request: String,
        generation_prompt: bool,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let model = self.model.clone();
        promise(env, &Cancellation::default(), async move {
            let request: ConverseRequest = from_json("chatPrompt", &request)?;
            model.chat_prompt(&request, generation_prompt)
        })
    }

    #[napi]
    pub fn logits<'env>(
        &self,
        env: &'env Env,
        ids: Uint32Array,
        cancellation: &Cancellation,
    ) -> napi::Result<PromiseRaw<'env, Matrix>> {
        let model = self.model.clone();
        let ids = ids.to_vec();
        promise(env, cancellation, async move {
            let width = model.info().vocabulary.unwrap_or(0) as u32;
            let values = model.logits(ids).await?.into();
            Ok(Matrix { values, width })
        })
    }
}
