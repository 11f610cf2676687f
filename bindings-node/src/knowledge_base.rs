//! A knowledge base, as JavaScript holds it.

use napi::bindgen_prelude::{Env, PromiseRaw};
use napi_derive::napi;
use outcrop::{AskOptions, Document, Feed, RetrieveOptions, from_json, to_json};
use serde_json::json;

use crate::call::{Cancellation, promise, to_napi};
use crate::stream::EventQueue;

/// A knowledge base of the session's home.
#[napi]
pub struct KnowledgeBase {
    knowledge_base: outcrop::KnowledgeBase,
}

impl KnowledgeBase {
    pub(crate) fn new(knowledge_base: outcrop::KnowledgeBase) -> Self {
        Self { knowledge_base }
    }
}

#[napi]
impl KnowledgeBase {
    #[napi]
    pub fn info<'env>(
        &self,
        env: &'env Env,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let knowledge_base = self.knowledge_base.clone();
        promise(env, cancellation, async move {
            to_json(&knowledge_base.info().await?)
        })
    }

    #[napi]
    pub fn sources<'env>(
        &self,
        env: &'env Env,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let knowledge_base = self.knowledge_base.clone();
        promise(env, cancellation, async move {
            to_json(&knowledge_base.sources().await?)
        })
    }

    #[napi]
    pub fn documents<'env>(
        &self,
        env: &'env Env,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let knowledge_base = self.knowledge_base.clone();
        promise(env, cancellation, async move {
            to_json(&knowledge_base.documents().await?)
        })
    }

    #[napi]
    pub fn add_source<'env>(
        &self,
        env: &'env Env,
        path: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let knowledge_base = self.knowledge_base.clone();
        promise(env, cancellation, async move {
            to_json(&knowledge_base.add_source(path).await?)
        })
    }

    #[napi]
    pub fn remove_source<'env>(
        &self,
        env: &'env Env,
        source: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let knowledge_base = self.knowledge_base.clone();
        promise(env, cancellation, async move {
            to_json(&knowledge_base.remove_source(source).await?)
        })
    }

    /// Starts a sync: its queue gives `{"progress": …}` events and, last, `{"report": …}`.
    #[napi]
    pub fn sync(&self) -> napi::Result<EventQueue> {
        let knowledge_base = self.knowledge_base.clone();
        Feed::fill(|sender| async move {
            let progress = sender.clone();
            let ended = knowledge_base
                .sync(move |done| {
                    // A caller that falls behind misses a progress event, never the report.
                    let _ = progress.try_send(Ok(json!({ "progress": done }).to_string()));
                })
                .await;
            let report = ended.map(|report| json!({ "report": report }).to_string());
            let _ = sender.send(report).await;
        })
        .map(EventQueue)
        .map_err(to_napi)
    }

    #[napi]
    pub fn add<'env>(
        &self,
        env: &'env Env,
        documents: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let knowledge_base = self.knowledge_base.clone();
        promise(env, cancellation, async move {
            let documents: Vec<Document> = from_json("documents", &documents)?;
            to_json(&knowledge_base.add(documents).await?)
        })
    }

    #[napi]
    pub fn delete<'env>(
        &self,
        env: &'env Env,
        ids: Vec<String>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, u32>> {
        let knowledge_base = self.knowledge_base.clone();
        promise(env, cancellation, async move {
            Ok(knowledge_base.delete(ids).await? as u32)
        })
    }

    #[napi]
    pub fn retrieve<'env>(
        &self,
        env: &'env Env,
        query: String,
        options: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let knowledge_base = self.knowledge_base.clone();
        promise(env, cancellation, async move {
            let options = RetrieveOptions::from_json(&options)?;
            to_json(&knowledge_base.retrieve(query, options).await?)
        })
    }

    #[napi]
    pub fn ask<'env>(
        &self,
        env: &'env Env,
        question: String,
        options: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let knowledge_base = self.knowledge_base.clone();
        promise(env, cancellation, async move {
            let options = AskOptions::from_json(&options)?;
            to_json(&knowledge_base.ask(question, options).await?)
        })
    }
}
