//! The Python door: native values in, native values out.
//!
//! Classes here are thin handles of the desk's. What people read, the docs, types and tables, is
//! in `python/outcrop`. Structured values cross as JSON text in the API's own form; vectors and
//! logits cross as numpy arrays that own the engine's buffer.

mod agent;
mod convert;
mod error;
mod future;
mod http;
mod job;
mod knowledge;
mod model;
mod prefix;
mod process;
mod session;
mod stream;

use pyo3::prelude::*;

/// A call makes hundreds of small values: they are a good part of what it costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The compiled part of `outcrop`. Use the package, not this module.
#[pymodule]
mod _native {
    use super::{Bound, PyModule, PyModuleMethods, PyResult};

    #[pymodule_export]
    use super::agent::{Agent, AgentRun, trace_tree};
    #[pymodule_export]
    use super::error::error_kinds;
    #[pymodule_export]
    use super::http::Chunks;
    #[pymodule_export]
    use super::job::Job;
    #[pymodule_export]
    use super::knowledge::KnowledgeBase;
    #[pymodule_export]
    use super::model::Model;
    #[pymodule_export]
    use super::prefix::Prefix;
    #[pymodule_export]
    use super::session::{Session, run_cli};
    #[pymodule_export]
    use super::stream::Stream;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
