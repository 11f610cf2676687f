//! The tokio runtime that every session of this process shares.

use std::sync::OnceLock;

use outcrop_api::{Error, Result};
use tokio::runtime::{Builder, Runtime};

/// A process's runtime, and those that its forked children build after it.
struct Generation {
    pid: u32,
    runtime: Runtime,
    next: OnceLock<Box<Generation>>,
}

static FIRST: OnceLock<Box<Generation>> = OnceLock::new();

/// The runtime of this process. In a child after `fork` it is a fresh one: the parent's threads do
/// not exist there, so its runtime is left alone for as long as the child lives.
///
/// Its few threads only pass events on; the compute runs on the engine's own threads.
///
/// # Errors
/// `InternalServerException` where the operating system gives no threads.
pub fn runtime() -> Result<&'static Runtime> {
    // A chain of cells that are only ever set with a finished value: a fork in the middle of the
    // set-up leaves no lock held in the child.
    let pid = std::process::id();
    let mut slot: &'static OnceLock<Box<Generation>> = &FIRST;
    loop {
        match slot.get() {
            Some(generation) if generation.pid == pid => return Ok(&generation.runtime),
            Some(generation) => slot = &generation.next,
            None => {
                let built = Box::new(Generation {
                    pid,
                    runtime: build()?,
                    next: OnceLock::new(),
                });
                if let Err(late) = slot.set(built) {
                    late.runtime.shutdown_background();
                }
            }
        }
    }
}

fn build() -> Result<Runtime> {
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 4));
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("outcrop")
        .enable_all()
        .build()
        .map_err(|error| {
            Error::internal(format!("the runtime's {threads} threads: {error}")).with_source(error)
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_runtime_a_process() {
        let threads: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(|| std::ptr::from_ref(runtime().unwrap()) as usize))
            .collect();
        let seen: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        assert!(seen.windows(2).all(|w| w[0] == w[1]));
        assert_eq!(runtime().unwrap().block_on(async { 7 }), 7);
    }
}
