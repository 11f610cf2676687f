//! Work on a thread with a stack of its own, for libraries that nest as deep as their input does.

/// The stack in bytes. Memory is taken only as far as it is used.
const STACK_BYTES: usize = 64 << 20;

/// Runs `work` on a thread that is called `name`, with 64 MiB of stack, and waits for it.
///
/// # Errors
/// What happened where the system gives no thread, or `work` panics: it is a library that runs what
/// came from outside.
pub(crate) fn on_own_stack<T: Send>(
    name: &str,
    work: impl FnOnce() -> T + Send,
) -> Result<T, String> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(|error| format!("no thread to run it: {error}"))?
            .join()
            .map_err(|_| "the library that runs it broke off".to_owned())
    })
}
