//! One home folder, open.

use std::path::{Path, PathBuf};

use outcrop::{
    AgentRequest, DistillRequest, FineTuneRequest, KnowledgeBaseRequest, Meter, PolicyRequest,
    SessionOptions, TokenizerRequest,
};
use outcrop_protocol::HttpRequest;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::agent::Agent;
use crate::convert;
use crate::error::{detached, raise};
use crate::future::{Object, run, run_json};
use crate::http::{Headers, answer};
use crate::job::Job;
use crate::knowledge::KnowledgeBase;
use crate::model::Model;
use crate::process::PerProcess;

/// One home folder, open. Where `awaitable`, a method gives an asyncio future.
#[pyclass(frozen)]
pub struct Session(PerProcess<outcrop::Session>);

#[pymethods]
impl Session {
    /// Opens the session of a `SessionOptions` given as JSON.
    #[new]
    fn open(py: Python<'_>, options: &str) -> PyResult<Self> {
        let desk = detached(py, || {
            let options: SessionOptions = outcrop::from_json("options", options)?;
            outcrop::Session::open(options)
        })?;
        Ok(Self(PerProcess::new(desk)))
    }

    /// The home folder.
    #[getter]
    fn home(&self, py: Python<'_>) -> PyResult<PathBuf> {
        Ok(self.0.handle(py)?.home().to_path_buf())
    }

    /// The device that models run on.
    #[getter]
    fn device(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.0.handle(py)?.device().to_owned())
    }

    /// Closes the session and gives the memory of its models back.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let desk = self.0.handle(py)?;
        py.detach(|| desk.close());
        Ok(())
    }

    /// Starts loading a model by `LoadOptions` given as JSON, downloading it where it is a hub name
    /// that the home does not hold.
    fn model(&self, py: Python<'_>, id: String, options: &str) -> PyResult<Job> {
        let options = outcrop::from_json("options", options).map_err(|error| raise(py, error))?;
        let (desk, meter) = (self.0.handle(py)?, Meter::default());
        let progress = meter.downloads();
        let call = async move { desk.open_model(&id, options, Some(progress)).await };
        Job::start(py, meter, call, |py, model| {
            Ok(Py::new(py, Model(PerProcess::new(model)))?.into_any())
        })
    }

    /// Starts registering a folder, a GGUF file or a hub name under an id; the entry as JSON.
    fn import_model(&self, py: Python<'_>, source: String, id: String) -> PyResult<Job> {
        let (desk, meter) = (self.0.handle(py)?, Meter::default());
        let progress = meter.downloads();
        let call = async move { desk.import_model(&source, &id, Some(progress)).await };
        Job::start(py, meter, call, |py, entry| {
            convert::json_string(py, &entry)
        })
    }

    /// Starts registering the model of a declaration given as JSON; the entry as JSON.
    fn register_model(
        &self,
        py: Python<'_>,
        id: String,
        spec: &str,
        replace: bool,
    ) -> PyResult<Job> {
        let spec = outcrop::from_json("spec", spec).map_err(|error| raise(py, error))?;
        let (desk, meter) = (self.0.handle(py)?, Meter::default());
        let progress = Some(meter.downloads());
        let call = async move { desk.register_model(&id, spec, replace, progress).await };
        Job::start(py, meter, call, |py, entry| {
            convert::json_string(py, &entry)
        })
    }

    /// Takes a registered or imported model out of the home.
    fn unregister_model(&self, py: Python<'_>, id: String, awaitable: bool) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        let call = async move { desk.unregister_model(&id).await };
        run(py, awaitable, call, |py, ()| Ok(py.None()))
    }

    /// Sets an alias, or takes it away; the alias as JSON.
    fn alias(
        &self,
        py: Python<'_>,
        name: String,
        target: Option<String>,
        awaitable: bool,
    ) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move {
            desk.alias(&name, target.as_deref()).await
        })
    }

    /// The aliases as a JSON list.
    fn aliases(&self, py: Python<'_>, awaitable: bool) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move { desk.aliases() })
    }

    /// Maps a bucket to a folder, or takes the mapping away; the bucket as JSON.
    fn map_bucket(
        &self,
        py: Python<'_>,
        name: String,
        folder: Option<String>,
        awaitable: bool,
    ) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move {
            desk.map_bucket(&name, folder.as_deref().map(Path::new))
        })
    }

    /// Lets action groups call a host by a `HostAccess` given as JSON; none forbids it.
    fn allow_host(
        &self,
        py: Python<'_>,
        host: String,
        access: Option<&str>,
        awaitable: bool,
    ) -> PyResult<Object> {
        let access = access.map(|access| outcrop::from_json("headers", access));
        let access = access.transpose().map_err(|error| raise(py, error))?;
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move { desk.allow_host(&host, access) })
    }

    /// Lets action groups start a command by a `CommandAccess` given as JSON; none forbids it.
    fn allow_command(
        &self,
        py: Python<'_>,
        command: Vec<String>,
        access: Option<&str>,
        awaitable: bool,
    ) -> PyResult<Object> {
        let access = access.map(|access| outcrop::from_json("env", access));
        let access = access.transpose().map_err(|error| raise(py, error))?;
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move {
            desk.allow_command(&command, access)
        })
    }

    /// Maps a Lambda function to a URL, in the home or for this session only.
    fn map_lambda(
        &self,
        py: Python<'_>,
        arn: String,
        url: Option<String>,
        of_process: bool,
        awaitable: bool,
    ) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move {
            desk.map_lambda(&arn, url.as_deref(), of_process)
        })
    }

    /// The buckets that are mapped, as a JSON list.
    fn buckets(&self, py: Python<'_>, awaitable: bool) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move { desk.buckets() })
    }

    /// The catalogue as a JSON list.
    fn models(&self, py: Python<'_>, awaitable: bool) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move { desk.models() })
    }

    /// Starts the training of a `FineTuneRequest` given as JSON; how far it is, as JSON.
    fn fine_tune(&self, py: Python<'_>, request: &str, awaitable: bool) -> PyResult<Object> {
        let request: FineTuneRequest =
            outcrop::from_json("request", request).map_err(|error| raise(py, error))?;
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move {
            desk.fine_tune(request).await?.status()
        })
    }

    /// Starts the distillation of a `DistillRequest` given as JSON; how far it is, as JSON.
    fn distill(&self, py: Python<'_>, request: &str, awaitable: bool) -> PyResult<Object> {
        let request: DistillRequest =
            outcrop::from_json("request", request).map_err(|error| raise(py, error))?;
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move {
            desk.distill(request).await?.status()
        })
    }

    /// Learns the tokenizer of a `TokenizerRequest` given as JSON; what was made, as JSON.
    fn train_tokenizer(&self, py: Python<'_>, request: &str, awaitable: bool) -> PyResult<Object> {
        let request: TokenizerRequest =
            outcrop::from_json("request", request).map_err(|error| raise(py, error))?;
        let desk = self.0.handle(py)?;
        run_json(
            py,
            awaitable,
            async move { desk.train_tokenizer(request).await },
        )
    }

    /// How far a training job is, as JSON, by its name, id or ARN.
    fn training_job(&self, py: Python<'_>, job: String, awaitable: bool) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move {
            desk.customization_job(&job)?.status()
        })
    }

    /// The steps of a training job, as a JSON list.
    fn training_metrics(&self, py: Python<'_>, job: String, awaitable: bool) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move {
            desk.customization_job(&job)?.metrics()
        })
    }

    /// Stops a training job.
    fn stop_training(&self, py: Python<'_>, job: String, awaitable: bool) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        let call = async move { desk.customization_job(&job)?.stop() };
        run(py, awaitable, call, |py, ()| Ok(py.None()))
    }

    /// Creates the knowledge base of a `KnowledgeBaseRequest` given as JSON.
    fn create_knowledge_base(
        &self,
        py: Python<'_>,
        request: &str,
        awaitable: bool,
    ) -> PyResult<Object> {
        let request: KnowledgeBaseRequest =
            outcrop::from_json("request", request).map_err(|error| raise(py, error))?;
        let desk = self.0.handle(py)?;
        let call = async move { desk.create_knowledge_base(request).await };
        run(py, awaitable, call, |py, made| {
            Ok(Py::new(py, KnowledgeBase(PerProcess::new(made)))?.into_any())
        })
    }

    /// The knowledge base by name or id.
    fn knowledge_base(&self, py: Python<'_>, name: String, awaitable: bool) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        let call = async move { desk.knowledge_base(&name).await };
        run(py, awaitable, call, |py, found| {
            Ok(Py::new(py, KnowledgeBase(PerProcess::new(found)))?.into_any())
        })
    }

    /// The knowledge bases as a JSON list.
    fn knowledge_bases(&self, py: Python<'_>, awaitable: bool) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move { desk.knowledge_bases().await })
    }

    /// Deletes a knowledge base by name or id.
    fn delete_knowledge_base(
        &self,
        py: Python<'_>,
        name: String,
        awaitable: bool,
    ) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        let call = async move { desk.delete_knowledge_base(&name).await };
        run(py, awaitable, call, |py, ()| Ok(py.None()))
    }

    /// Creates the agent of an `AgentRequest` given as JSON.
    fn create_agent(&self, py: Python<'_>, request: &str, awaitable: bool) -> PyResult<Object> {
        let request: AgentRequest =
            outcrop::from_json("request", request).map_err(|error| raise(py, error))?;
        let desk = self.0.handle(py)?;
        let call = async move { desk.create_agent(request).await };
        run(py, awaitable, call, |py, made| {
            Ok(Py::new(py, Agent(PerProcess::new(made)))?.into_any())
        })
    }

    /// The agent by name, id or ARN.
    fn agent(&self, py: Python<'_>, name: String, awaitable: bool) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        let call = async move { desk.agent(&name).await };
        run(py, awaitable, call, |py, found| {
            Ok(Py::new(py, Agent(PerProcess::new(found)))?.into_any())
        })
    }

    /// The agents as a JSON list.
    fn agents(&self, py: Python<'_>, awaitable: bool) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move { desk.agents().await })
    }

    /// Deletes an agent by name, id or ARN.
    fn delete_agent(&self, py: Python<'_>, name: String, awaitable: bool) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        let call = async move { desk.delete_agent(&name).await };
        run(py, awaitable, call, |py, ()| Ok(py.None()))
    }

    /// Puts the policy of a `PolicyRequest` given as JSON; what is known of it, as JSON.
    fn put_policy(&self, py: Python<'_>, request: &str, awaitable: bool) -> PyResult<Object> {
        let request: PolicyRequest =
            outcrop::from_json("request", request).map_err(|error| raise(py, error))?;
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move { desk.put_policy(request).await })
    }

    /// The policies as a JSON list.
    fn policies(&self, py: Python<'_>, awaitable: bool) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        run_json(py, awaitable, async move { desk.policies().await })
    }

    /// Deletes a policy by name.
    fn delete_policy(&self, py: Python<'_>, name: String, awaitable: bool) -> PyResult<Object> {
        let desk = self.0.handle(py)?;
        let call = async move { desk.delete_policy(&name).await };
        run(py, awaitable, call, |py, ()| Ok(py.None()))
    }

    /// Answers a request of the AWS wire, given as (method, path, query, headers, body).
    #[pyo3(signature = (request, seconds, awaitable))]
    fn handle(
        &self,
        py: Python<'_>,
        request: (String, String, String, Headers, PyBackedBytes),
        seconds: Option<f64>,
        awaitable: bool,
    ) -> PyResult<Object> {
        let (method, path, query, headers, body) = request;
        let request = HttpRequest {
            method,
            path,
            query,
            headers,
            body: body.to_vec(),
        };
        answer(py, self.0.handle(py)?, request, seconds, awaitable)
    }
}

/// Runs the command line by `SessionOptions` given as JSON; its exit code.
#[pyfunction]
pub fn run_cli(py: Python<'_>, arguments: Vec<String>, options: &str) -> PyResult<Object> {
    let options = outcrop::from_json("options", options).map_err(|error| raise(py, error))?;
    let call = async move { Ok(outcrop_protocol::cli::run(arguments, options).await) };
    run(py, false, call, |py, code| {
        Ok(code.into_pyobject(py)?.into_any().unbind())
    })
}
