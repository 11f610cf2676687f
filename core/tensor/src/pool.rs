//! Worker threads that share the tasks of one operation, and sleep when there is none.

mod cores;

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::TensorError;

/// Rounds of looking for work before a worker sleeps: some tens of microseconds, longer than the
/// gap between two operations of a layer.
const SPINS: u32 = 2_000;
/// Set in [`Shared::state`] while a job may be entered.
const OPEN: usize = 1 << (usize::BITS - 1);

/// A job: a closure of the caller's frame, reached without its type.
#[derive(Clone, Copy)]
struct Job {
    call: unsafe fn(*const (), usize),
    closure: *const (),
    tasks: usize,
}

struct Shared {
    /// Number of jobs so far; a new one wakes the workers. `u64::MAX` ends them.
    epoch: AtomicU64,
    /// [`OPEN`] and the number of workers inside the job.
    state: AtomicUsize,
    /// The next task that nobody has taken.
    next: AtomicUsize,
    /// The job; written by the caller only while `state` is zero.
    job: UnsafeCell<Option<Job>>,
    /// What a task panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleeping: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
}

// SAFETY: `job` is written only by the caller that holds `Pool::turn`, while no worker is inside
// (`state` is zero); workers read it only between entering (they saw OPEN) and leaving.
unsafe impl Sync for Shared {}
// SAFETY: the raw pointers in `job` are used only while the caller's frame waits for the workers.
unsafe impl Send for Shared {}

/// Threads that share the tasks of one operation at a time. Calls from several threads take
/// turns; a call from within a task runs on its own thread.
pub struct Pool {
    shared: Arc<Shared>,
    turn: Mutex<()>,
    workers: Vec<JoinHandle<()>>,
    threads: usize,
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// A pool of `threads` (at least 1) that compute, the caller's own included. Where the system
    /// gives fewer, [`Pool::threads`] tells.
    ///
    /// A pool that takes all physical cores of the process keeps each worker on a core of its own,
    /// on Linux, where `OUTCROP_PIN` is 1. The caller runs where the system puts it.
    pub fn new(threads: usize) -> Self {
        Self::with_start(threads, || {})
    }

    /// As [`Pool::new`], with workers that give way to whatever else runs. The caller's own thread
    /// gives way too where it has called [`give_way`].
    pub fn background(threads: usize) -> Self {
        Self::with_start(threads, give_way)
    }

    fn with_start(threads: usize, start: fn()) -> Self {
        let shared = Arc::new(Shared {
            epoch: AtomicU64::new(0),
            state: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            panic: Mutex::new(None),
            sleeping: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
        });
        let mut places = cores::for_workers(threads).into_iter();
        let workers: Vec<_> = (1..threads)
            .filter_map(|i| {
                let (shared, place) = (Arc::clone(&shared), places.next());
                let work = move || {
                    start();
                    if let Some(core) = place {
                        cores::stay_on(&core);
                    }
                    shared.work();
                };
                std::thread::Builder::new()
                    .name(format!("outcrop-{i}"))
                    .spawn(work)
                    .ok()
            })
            .collect();
        Self {
            threads: workers.len() + 1,
            shared,
            turn: Mutex::new(()),
            workers,
        }
    }

    /// This process's pool: one thread a physical core, or `OUTCROP_THREADS` of them. A forked
    /// child gets a fresh one. A wrong `OUTCROP_THREADS` counts as absent here;
    /// [`Pool::default_threads`] reports it.
    pub fn global() -> &'static Pool {
        static GLOBAL: AtomicPtr<(u32, Pool)> = AtomicPtr::new(null_mut());
        let process = std::process::id();
        let current = GLOBAL.load(Ordering::Acquire);
        // SAFETY: the pointer is null or came from `Box::into_raw` below and is never freed.
        if let Some((owner, pool)) = unsafe { current.as_ref() }
            && *owner == process
        {
            return pool;
        }
        let threads = Pool::default_threads().unwrap_or_else(|_| cores::physical_cores());
        let fresh = Box::into_raw(Box::new((process, Pool::new(threads))));
        match GLOBAL.compare_exchange(current, fresh, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: leaked above, so it lives as long as the process.
            Ok(_) => unsafe { &(*fresh).1 },
            Err(other) => {
                // SAFETY: nobody else has seen `fresh`; `other` is another thread's, never freed.
                unsafe {
                    drop(Box::from_raw(fresh));
                    &(*other).1
                }
            }
        }
    }

    /// The number of threads that [`Pool::global`] is made with.
    ///
    /// # Errors
    /// [`TensorError::BadThreads`] if `OUTCROP_THREADS` is set to something else than 1..=1024;
    /// [`TensorError::BadPin`] if `OUTCROP_PIN` is to something else than 0 or 1.
    pub fn default_threads() -> Result<usize, TensorError> {
        cores::is_pinning()?;
        let Some(value) = std::env::var_os("OUTCROP_THREADS") else {
            return Ok(cores::physical_cores());
        };
        let text = value.to_string_lossy().into_owned();
        match text.trim().parse() {
            Ok(threads) if (1..=1024).contains(&threads) => Ok(threads),
            _ => Err(TensorError::BadThreads(text)),
        }
    }

    /// How many threads compute.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// How many threads share the tasks of a call from here: one, where the call is from a task.
    pub fn available(&self) -> usize {
        if INSIDE.get() { 1 } else { self.threads }
    }

    /// Calls `task` once with each of `0..tasks`, on all threads, and returns when all are done.
    /// A panic of a task is passed on to the caller, after the others.
    pub fn run<F: Fn(usize) + Sync>(&self, tasks: usize, task: F) {
        if tasks <= 1 || self.threads == 1 || INSIDE.get() {
            (0..tasks).for_each(task);
            return;
        }
        unsafe fn call<F: Fn(usize)>(closure: *const (), index: usize) {
            // SAFETY: `closure` points to the `F` of the `run` that is waiting for this task.
            unsafe { (*closure.cast::<F>())(index) }
        }
        let job = Job {
            call: call::<F>,
            closure: (&raw const task).cast(),
            tasks,
        };
        let turn = lock(&self.turn);
        self.shared.publish(job);
        self.shared.take_tasks(job);
        self.shared.close();
        let panic = lock(&self.shared.panic).take();
        drop(turn);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    /// Cuts `data` into chunks of `chunk` elements (the last may be shorter) and calls `task` once
    /// with each one's index and elements, on all threads.
    pub fn run_chunks<T: Send, F>(&self, data: &mut [T], chunk: usize, task: F)
    where
        F: Fn(usize, &mut [T]) + Sync,
    {
        let (start, len) = (SharedPtr(data.as_mut_ptr()), data.len());
        self.run(len.div_ceil(chunk), |index| {
            let first = index * chunk;
            let count = chunk.min(len - first);
            // SAFETY: each index has its own elements of `data`, which is borrowed mutably.
            task(index, unsafe {
                std::slice::from_raw_parts_mut(start.get().add(first), count)
            });
        });
    }
}

/// A pointer whose elements are shared out among tasks.
#[derive(Clone, Copy)]
struct SharedPtr<T>(*mut T);

// SAFETY: each element goes to one task, and `T` may move between threads.
unsafe impl<T: Send> Send for SharedPtr<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedPtr<T> {}

impl<T> SharedPtr<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

/// Lowers the priority of this thread, where the system does so by thread: others come first.
pub fn give_way() {
    #[cfg(target_os = "linux")]
    {
        unsafe extern "C" {
            fn setpriority(which: i32, who: u32, priority: i32) -> i32;
        }
        const THIS_THREAD: (i32, u32) = (0, 0);
        // SAFETY: the C library's function of that form. A refusal leaves the priority as it was.
        let _ = unsafe { setpriority(THIS_THREAD.0, THIS_THREAD.1, 10) };
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.epoch.store(u64::MAX, Ordering::SeqCst);
        self.shared.wake_sleepers();
        for worker in self.workers.drain(..) {
            // A worker cannot panic: its tasks' panics are caught.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn publish(&self, job: Job) {
        // SAFETY: the last job was closed: no worker reads `job` until OPEN is set.
        unsafe { *self.job.get() = Some(job) };
        self.next.store(0, Ordering::Relaxed);
        self.state.fetch_or(OPEN, Ordering::Release);
        self.epoch.fetch_add(1, Ordering::SeqCst);
        if self.sleeping.load(Ordering::SeqCst) > 0 {
            self.wake_sleepers();
        }
    }

    fn wake_sleepers(&self) {
        let _guard = lock(&self.sleep);
        self.wake.notify_all();
    }

    /// Lets no more workers in and waits for those inside.
    fn close(&self) {
        self.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0;
        while self.state.load(Ordering::Acquire) != 0 {
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }

    fn take_tasks(&self, job: Job) {
        INSIDE.set(true);
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= job.tasks {
                break;
            }
            // SAFETY: the closure's frame waits in `close` for everybody who is inside the job.
            let run = AssertUnwindSafe(|| unsafe { (job.call)(job.closure, index) });
            if let Err(payload) = catch_unwind(run) {
                lock(&self.panic).get_or_insert(payload);
            }
        }
        INSIDE.set(false);
    }

    fn work(&self) {
        let mut seen = 0;
        loop {
            seen = self.wait_for_job(seen);
            if seen == u64::MAX {
                return;
            }
            if self.state.fetch_add(1, Ordering::AcqRel) & OPEN != 0 {
                // SAFETY: OPEN was set, so the job is published, and it stays until we leave.
                if let Some(job) = unsafe { *self.job.get() } {
                    self.take_tasks(job);
                }
            }
            self.state.fetch_sub(1, Ordering::Release);
        }
    }

    /// The number of the newest job, once it is not `seen`.
    fn wait_for_job(&self, seen: u64) -> u64 {
        for _ in 0..SPINS {
            let epoch = self.epoch.load(Ordering::Acquire);
            if epoch != seen {
                return epoch;
            }
            std::hint::spin_loop();
        }
        self.sleeping.fetch_add(1, Ordering::SeqCst);
        let mut guard = lock(&self.sleep);
        let epoch = loop {
            let epoch = self.epoch.load(Ordering::SeqCst);
            if epoch != seen {
                break epoch;
            }
            guard = self
                .wake
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        };
        drop(guard);
        self.sleeping.fetch_sub(1, Ordering::SeqCst);
        epoch
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;

    #[test]
    fn each_task_runs_once() {
        let pool = Pool::new(3);
        for tasks in [0, 1, 2, 7, 1000] {
            let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            pool.run(tasks, |i| {
                counts[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(
                counts
                    .iter()
                    .all(|count| count.load(Ordering::Relaxed) == 1)
            );
        }
    }

    #[test]
    fn callers_take_turns_and_nested_calls_run() {
        let pool = Pool::new(2);
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        pool.run(3, |_| {
                            pool.run(2, |_| {
                                total.fetch_add(1, Ordering::Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(total.load(Ordering::Relaxed), 4 * 200 * 3 * 2);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(2);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            pool.run(8, |i| assert!(i != 3, "task three"));
        }));
        assert!(caught.is_err());
        let total = AtomicUsize::new(0);
        pool.run(8, |_| {
            total.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(total.load(Ordering::Relaxed), 8);
    }

    #[test]
    fn sleeping_workers_wake() {
        let pool = Pool::new(2);
        for _ in 0..5 {
            std::thread::sleep(std::time::Duration::from_millis(3));
            let barrier = std::sync::Barrier::new(2);
            // Both tasks must be running at once, so the worker must have come.
            pool.run(2, |_| {
                barrier.wait();
            });
        }
    }
}
