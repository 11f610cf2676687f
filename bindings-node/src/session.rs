//! The session, as JavaScript holds it.

use std::path::Path;

use napi::bindgen_prelude::{Env, PromiseRaw};
use napi_derive::napi;
use outcrop::{
    AgentRequest, DistillRequest, FineTuneRequest, KnowledgeBaseRequest, PolicyRequest,
    SessionOptions, TokenizerRequest, from_json, to_json,
};

use crate::agent::Agent;
use crate::call::{Cancellation, promise, to_napi};
use crate::http::{Response, answer};
use crate::knowledge_base::KnowledgeBase;
use crate::model::Model;
use crate::stream::Meter;

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
    pub fn device(&self) -> String {
        self.session.device().to_owned()
    }

    #[napi]
    pub fn closed(&self) -> bool {
        self.session.is_closed()
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
        options: String,
        meter: &Meter,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, Model>> {
        let (session, progress) = (self.session.clone(), meter.0.downloads());
        promise(env, cancellation, async move {
            let options = from_json("options", &options)?;
            let model = session.open_model(&id, options, Some(progress)).await?;
            Ok(Model::new(model))
        })
    }

    #[napi]
    pub fn models<'env>(
        &self,
        env: &'env Env,
        cancellation: Option<&Cancellation>,
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
        meter: &Meter,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let (session, progress) = (self.session.clone(), meter.0.downloads());
        promise(env, cancellation, async move {
            to_json(&session.import_model(&source, &id, Some(progress)).await?)
        })
    }

    #[napi]
    pub fn register_model<'env>(
        &self,
        env: &'env Env,
        id: String,
        spec: String,
        replace: bool,
        meter: &Meter,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let (session, progress) = (self.session.clone(), meter.0.downloads());
        promise(env, cancellation, async move {
            let spec = from_json("spec", &spec)?;
            let entry = session.register_model(&id, spec, replace, Some(progress));
            to_json(&entry.await?)
        })
    }

    #[napi]
    pub fn unregister_model<'env>(
        &self,
        env: &'env Env,
        id: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let session = self.session.clone();
        promise(env, cancellation, async move {
            session.unregister_model(&id).await
        })
    }

    #[napi]
    pub fn alias<'env>(
        &self,
        env: &'env Env,
        name: String,
        target: Option<String>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let session = self.session.clone();
        promise(env, cancellation, async move {
            session.alias(&name, target.as_deref()).await.map(drop)
        })
    }

    #[napi]
    pub fn aliases<'env>(
        &self,
        env: &'env Env,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let session = self.session.clone();
        promise(
            env,
            cancellation,
            async move { to_json(&session.aliases()?) },
        )
    }

    #[napi]
    pub fn fine_tune<'env>(
        &self,
        env: &'env Env,
        request: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let session = self.session.clone();
        promise(env, cancellation, async move {
            let request: FineTuneRequest = from_json("request", &request)?;
            to_json(&session.fine_tune(request).await?.status()?)
        })
    }

    #[napi]
    pub fn distill<'env>(
        &self,
        env: &'env Env,
        request: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let session = self.session.clone();
        promise(env, cancellation, async move {
            let request: DistillRequest = from_json("request", &request)?;
            to_json(&session.distill(request).await?.status()?)
        })
    }

    #[napi]
    pub fn train_tokenizer<'env>(
        &self,
        env: &'env Env,
        request: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let session = self.session.clone();
        promise(env, cancellation, async move {
            let request: TokenizerRequest = from_json("request", &request)?;
            to_json(&session.train_tokenizer(request).await?)
        })
    }

    #[napi]
    pub fn training_job<'env>(
        &self,
        env: &'env Env,
        job: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let session = self.session.clone();
        promise(env, cancellation, async move {
            to_json(&session.customization_job(&job)?.status()?)
        })
    }

    #[napi]
    pub fn training_metrics<'env>(
        &self,
        env: &'env Env,
        job: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let session = self.session.clone();
        promise(env, cancellation, async move {
            to_json(&session.customization_job(&job)?.metrics()?)
        })
    }

    #[napi]
    pub fn stop_training<'env>(
        &self,
        env: &'env Env,
        job: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let session = self.session.clone();
        promise(env, cancellation, async move {
            session.customization_job(&job)?.stop()
        })
    }

    #[napi]
    pub fn map_bucket<'env>(
        &self,
        env: &'env Env,
        name: String,
        folder: Option<String>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let session = self.session.clone();
        promise(env, cancellation, async move {
            let folder = folder.as_deref().map(Path::new);
            session.map_bucket(&name, folder).map(drop)
        })
    }

    #[napi]
    pub fn allow_host<'env>(
        &self,
        env: &'env Env,
        host: String,
        access: Option<String>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let session = self.session.clone();
        promise(env, cancellation, async move {
            let access = access.map(|access| outcrop::from_json("headers", &access));
            session.allow_host(&host, access.transpose()?)
        })
    }

    #[napi]
    pub fn allow_command<'env>(
        &self,
        env: &'env Env,
        command: Vec<String>,
        access: Option<String>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let session = self.session.clone();
        promise(env, cancellation, async move {
            let access = access.map(|access| outcrop::from_json("env", &access));
            session.allow_command(&command, access.transpose()?)
        })
    }

    #[napi]
    pub fn map_lambda<'env>(
        &self,
        env: &'env Env,
        arn: String,
        url: Option<String>,
        of_process: bool,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let session = self.session.clone();
        promise(env, cancellation, async move {
            session.map_lambda(&arn, url.as_deref(), of_process)
        })
    }

    #[napi]
    pub fn buckets<'env>(
        &self,
        env: &'env Env,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let session = self.session.clone();
        promise(
            env,
            cancellation,
            async move { to_json(&session.buckets()?) },
        )
    }

    #[napi]
    pub fn create_agent<'env>(
        &self,
        env: &'env Env,
        request: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, Agent>> {
        let session = self.session.clone();
        promise(env, cancellation, async move {
            let request: AgentRequest = from_json("createAgent", &request)?;
            Ok(Agent::new(session.create_agent(request).await?))
        })
    }

    #[napi]
    pub fn agent<'env>(
        &self,
        env: &'env Env,
        name: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, Agent>> {
        let session = self.session.clone();
        promise(env, cancellation, async move {
            Ok(Agent::new(session.agent(&name).await?))
        })
    }

    #[napi]
    pub fn agents<'env>(
        &self,
        env: &'env Env,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let session = self.session.clone();
        promise(env, cancellation, async move {
            to_json(&session.agents().await?)
        })
    }

    #[napi]
    pub fn delete_agent<'env>(
        &self,
        env: &'env Env,
        name: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let session = self.session.clone();
        promise(env, cancellation, async move {
            session.delete_agent(&name).await
        })
    }

    #[napi]
    pub fn put_policy<'env>(
        &self,
        env: &'env Env,
        request: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let session = self.session.clone();
        promise(env, cancellation, async move {
            let request: PolicyRequest = from_json("putPolicy", &request)?;
            to_json(&session.put_policy(request).await?)
        })
    }

    #[napi]
    pub fn policies<'env>(
        &self,
        env: &'env Env,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let session = self.session.clone();
        promise(env, cancellation, async move {
            to_json(&session.policies().await?)
        })
    }

    #[napi]
    pub fn delete_policy<'env>(
        &self,
        env: &'env Env,
        name: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let session = self.session.clone();
        promise(env, cancellation, async move {
            session.delete_policy(&name).await
        })
    }

    #[napi]
    pub fn create_knowledge_base<'env>(
        &self,
        env: &'env Env,
        request: String,
        cancellation: Option<&Cancellation>,
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
        cancellation: Option<&Cancellation>,
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
        cancellation: Option<&Cancellation>,
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
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let session = self.session.clone();
        promise(env, cancellation, async move {
            session.delete_knowledge_base(&name_or_id).await
        })
    }

    /// Answers a request of the AWS wire.
    #[napi]
    pub fn handle<'env>(
        &self,
        env: &'env Env,
        head: String,
        body: &[u8],
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, Response>> {
        answer(env, self.session.clone(), &head, body, cancellation)
    }

    /// Runs the command line; its exit code.
    #[napi]
    pub fn run_cli<'env>(
        env: &'env Env,
        arguments: Vec<String>,
        options: String,
    ) -> napi::Result<PromiseRaw<'env, i32>> {
        promise(env, None, async move {
            Ok(outcrop_protocol::cli::run(arguments, from_json("options", &options)?).await)
        })
    }
}
