//! Work that was given once and can be given again as a whole.

use cudarc::driver::{CudaGraph, sys};

use crate::device::failed;
use crate::{CudaError, Device};

/// Recorded launches and copies, with the addresses and shapes that they had.
pub struct Graph {
    graph: CudaGraph,
}

// SAFETY: a graph's calls are serialised: launching needs it exclusively, and so does dropping.
unsafe impl Send for Graph {}

impl Graph {
    /// Records what `work` gives to `device`, without doing it. `work` allocates nothing on the device
    /// and does not wait for it.
    ///
    /// # Errors
    /// What `work` fails with, or the driver's refusal; nothing is recorded then.
    pub fn record(
        device: &Device,
        work: impl FnOnce() -> Result<(), CudaError>,
    ) -> Result<Self, CudaError> {
        let stream = device.stream();
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        stream
            .begin_capture(mode)
            .map_err(|e| failed("cuStreamBeginCapture", e))?;
        let given = work();
        // Ended whatever became of the work: the stream would stay in capture.
        let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0));
        given?;
        match graph.map_err(|e| failed("cuStreamEndCapture", e))? {
            Some(graph) => Ok(Self { graph }),
            None => Err(CudaError::Shape("a graph of no work".to_owned())),
        }
    }

    /// Gives the recorded work to its device again.
    ///
    /// # Errors
    /// What the driver says.
    pub fn launch(&mut self) -> Result<(), CudaError> {
        self.graph.launch().map_err(|e| failed("cuGraphLaunch", e))
    }
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Graph")
    }
}
