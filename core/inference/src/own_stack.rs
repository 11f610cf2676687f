//! Work on a thread with a stack of its own, for libraries that nest as deep as their input does.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The stack in bytes. Memory is taken only as far as it is used.
const STACK_BYTES: usize = 64 << 20;
/// What is said of work that panicked.
const BROKE_OFF: &str = "the library that runs it broke off";

thread_local! {
    /// Whether this thread is one that [`on_own_stack`] made.
    static HAS_ROOM: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` on a thread that is called `name`, with 64 MiB of stack, and waits for it. On such a
/// thread it runs at once: who renders a hundred thousand lines makes one thread for them all.
///
/// # Errors
/// What happened where the system gives no thread, or `work` panics: it is a library that runs what
/// came from outside.
pub fn on_own_stack<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> Result<T, String> {
    if HAS_ROOM.get() {
        return catch_unwind(AssertUnwindSafe(work)).map_err(|_| BROKE_OFF.to_owned());
    }
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || {
                HAS_ROOM.set(true);
                work()
            })
            .map_err(|error| format!("no thread to run it: {error}"))?
            .join()
            .map_err(|_| BROKE_OFF.to_owned())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    #[test]
    fn work_within_work_stays_on_its_thread() {
        let ids = || {
            let outer = std::thread::current().id();
            on_own_stack("inner", || std::thread::current().id()).map(|inner| (outer, inner))
        };
        let (outer, inner) = on_own_stack("outer", ids).unwrap().unwrap();
        assert_eq!(outer, inner);
        assert_ne!(outer, std::thread::current().id());
        let (outer, inner) = ids().unwrap();
        assert_ne!(outer, inner);
    }

    #[test]
    fn a_panic_is_an_error_on_either_thread() {
        let broken = || on_own_stack("broken", || -> () { panic!("as planned") });
        assert_eq!(broken().unwrap_err(), BROKE_OFF);
        assert_eq!(
            on_own_stack("outer", broken).unwrap().unwrap_err(),
            BROKE_OFF
        );
    }
}
