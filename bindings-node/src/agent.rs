//! An agent, and a turn that is being driven, as JavaScript holds them.

use napi::bindgen_prelude::{Env, PromiseRaw};
use napi_derive::napi;
use outcrop::agent_turn::{Outcome, TraceEvent, tree};
use outcrop::{InvokeRequest, ResumeRequest, Run, from_json, to_json};

use crate::call::{Cancellation, promise, to_napi};

/// An agent of the session's home.
#[napi]
pub struct Agent {
    agent: outcrop::Agent,
}

impl Agent {
    pub(crate) fn new(agent: outcrop::Agent) -> Self {
        Self { agent }
    }
}

#[napi]
impl Agent {
    #[napi]
    pub fn info<'env>(
        &self,
        env: &'env Env,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let agent = self.agent.clone();
        promise(
            env,
            cancellation,
            async move { to_json(&agent.info().await?) },
        )
    }

    #[napi]
    pub fn invoke<'env>(
        &self,
        env: &'env Env,
        request: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, AgentRun>> {
        let agent = self.agent.clone();
        promise(env, cancellation, async move {
            let request: InvokeRequest = from_json("request", &request)?;
            Ok(AgentRun(agent.invoke(request).await?))
        })
    }

    #[napi]
    pub fn resume<'env>(
        &self,
        env: &'env Env,
        request: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, AgentRun>> {
        let agent = self.agent.clone();
        promise(env, cancellation, async move {
            let request: ResumeRequest = from_json("request", &request)?;
            Ok(AgentRun(agent.resume(request).await?))
        })
    }

    #[napi]
    pub fn stop<'env>(
        &self,
        env: &'env Env,
        session_id: String,
        reason: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, AgentRun>> {
        let agent = self.agent.clone();
        promise(env, cancellation, async move {
            Ok(AgentRun(agent.stop(session_id, reason).await?))
        })
    }

    #[napi]
    pub fn replay<'env>(
        &self,
        env: &'env Env,
        session_id: String,
        to_step: Option<u32>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let agent = self.agent.clone();
        promise(env, cancellation, async move {
            let step = to_step.map(|step| step as usize);
            to_json(&agent.replay(&session_id, step).await?)
        })
    }

    #[napi]
    pub fn memory<'env>(
        &self,
        env: &'env Env,
        memory_id: String,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let agent = self.agent.clone();
        promise(env, cancellation, async move {
            to_json(&agent.memory(&memory_id).await?)
        })
    }

    #[napi]
    pub fn delete_memory<'env>(
        &self,
        env: &'env Env,
        memory_id: Option<String>,
        session_id: Option<String>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let agent = self.agent.clone();
        promise(env, cancellation, async move {
            agent.delete_memory(memory_id, session_id).await
        })
    }

    #[napi]
    pub fn fork<'env>(
        &self,
        env: &'env Env,
        session_id: String,
        step: Option<u32>,
        edit: Option<String>,
        new_session_id: Option<String>,
        cancellation: Option<&Cancellation>,
    ) -> napi::Result<PromiseRaw<'env, String>> {
        let agent = self.agent.clone();
        promise(env, cancellation, async move {
            let edit = edit.as_deref().map(|edit| from_json("edit", edit));
            let step = step.map(|step| step as usize);
            let forked = agent.fork(&session_id, step, edit.transpose()?, new_session_id);
            to_json(&forked.await?)
        })
    }
}

/// The events of a trace, a JSON array, as a tree: lines for a terminal, or HTML.
#[napi]
pub fn trace_tree(events: String, html: bool) -> napi::Result<String> {
    let events: Vec<TraceEvent> = from_json("trace", &events).map_err(to_napi)?;
    Ok(match html {
        true => tree::html(&events),
        false => tree::text(&events),
    })
}

/// A turn that is being driven.
#[napi]
pub struct AgentRun(Run);

#[napi]
impl AgentRun {
    /// The events that are there, at least one, as a JSON array; null at the end.
    #[napi(ts_return_type = "Promise<string | null>")]
    pub fn next<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, Option<String>>> {
        promise(env, None, self.0.next())
    }

    /// Gives the result of a call; false where its time was over before.
    #[napi]
    pub fn give(&self, call: String, outcome: String) -> napi::Result<bool> {
        let outcome: Outcome = from_json("outcome", &outcome).map_err(to_napi)?;
        self.0.give(&call, outcome).map_err(to_napi)
    }

    /// Stops the work.
    #[napi]
    pub fn cancel(&self) {
        self.0.cancel();
    }
}
