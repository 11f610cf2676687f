//! The session, as JavaScript holds it.

use napi::bindgen_prelude::{Env, PromiseRaw};
use napi_derive::napi;
use outcrop::{KnowledgeBaseRequest, SessionOptions};

use crate::call::{Cancellation, from_json, promise, to_json, to_napi};
use crate::knowledge_base::KnowledgeBase;
use crate::model::Model;

/// An open home.
#[napi]
pub struct Session {
    session: outcrop::Session,
}

#[napi]
impl Session {
    #[napi(constructor)]
    pub fn new(options: String) -> napi::Result<Self> {
        let options: SessionOptions = from_json("Session", &options).map_err(to_napi)?;
        let session = outcrop::Session::open(options).map_err(to_napi)?;
        Ok(Self { session })
    }

    #[napi]
    pub fn home(&self) -> String {
        self.session.home().to_string_lossy().into_owned()
    }

    #[napi]
    pub fn close(&self) {
        self.session.close();
    }

    #[napi]
    pub fn model<'env>(
        &self,
        env: &'env Env,
        id: String,
        cancellation: &Cancellation,
    ) -> napi::Result<PromiseRaw<'env, Model>> {
        let session = self.session.clone();
        promise(env, cancellation, async move {
            Ok(Model::new(session.model(&id).await?))
        })
    }

    #[napi]
    pub fn models<'env>(
        &self,
        env: &'env Env,
        cancellation: &Cancellation,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let session = self.session.clone();
        promise(
            env,
            cancellation,
            async move { to_json(&session.models()?) },
        )
    }

    #[napi]
    pub fn import_model<'env>(
        &self,
        env: &'env Env,
        source: String,
        id: String,
        cancellation: &Cancellation,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let session = self.session.clone();
        promise(env, cancellation, async move {
            to_json(&session.import_model(&source, &id, None).await?)
        })
    }

    #[napi]
    pub fn create_knowledge_base<'env>(
        &self,
        env: &'env Env,
        request: String,
        cancellation: &Cancellation,
    ) -> napi::Result<PromiseRaw<'env, KnowledgeBase>> {
        let session = self.session.clone();
        promise(env, cancellation, async move {
            let request: KnowledgeBaseRequest = from_json("createKnowledgeBase", &request)?;
            Ok(KnowledgeBase::new(
                session.create_knowledge_base(request).await?,
            ))
        })
    }

    #[napi]
    pub fn knowledge_base<'env>(
        &self,
        env: &'env Env,
        name_or_id: String,
        cancellation: &Cancellation,
    ) -> napi::Result<PromiseRaw<'env, KnowledgeBase>> {
        let session = self.session.clone();
        promise(env, cancellation, async move {
            Ok(KnowledgeBase::new(
                session.knowledge_base(&name_or_id).await?,
            ))
        })
    }

    #[napi]
    pub fn knowledge_bases<'env>(
        &self,
        env: &'env Env,
        cancellation: &Cancellation,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let session = self.session.clone();
        promise(env, cancellation, async move {
            to_json(&session.knowledge_bases().await?)
        })
    }

    #[napi]
    pub fn delete_knowledge_base<'env>(
        &self,
        env: &'env Env,
        name_or_id: String,
        cancellation: &Cancellation,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let session = self.session.clone();
        promise(env, cancellation, async move {
            session.delete_knowledge_base(&name_or_id).await
        })
    }
}
