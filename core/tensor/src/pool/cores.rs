//! The physical cores that this process may use, and threads that stay on one.

use std::collections::BTreeMap;

use crate::TensorError;

/// A physical core: the numbers of its logical processors that this process may use.
pub(super) type Core = Vec<usize>;

/// The physical cores that this process may use, by its affinity mask; none where the system does
/// not tell.
///
/// Two threads of one core share the arithmetic units that the operations of a pool keep busy, so a
/// core counts once.
pub(super) fn cores() -> Vec<Core> {
    by_core(&allowed(), |processor| {
        let folder = format!("/sys/devices/system/cpu/cpu{processor}/topology");
        let read = |name| std::fs::read_to_string(format!("{folder}/{name}")).ok();
        Some((read("physical_package_id")?, read("core_id")?))
    })
}

/// Groups processors by what `core` tells of each; one that it tells nothing of is a core.
fn by_core(processors: &[usize], core: impl Fn(usize) -> Option<(String, String)>) -> Vec<Core> {
    let mut cores: BTreeMap<Option<(String, String)>, Core> = BTreeMap::new();
    let mut all = Vec::new();
    for &processor in processors {
        match core(processor) {
            None => all.push(vec![processor]),
            known => cores.entry(known).or_default().push(processor),
        }
    }
    all.extend(cores.into_values());
    all.sort();
    all
}

/// How many threads compute where nothing else is asked for: one a physical core, and no more than
/// the processor time that the process's control group has.
pub(super) fn physical_cores() -> usize {
    let granted = std::thread::available_parallelism().map_or(1, usize::from);
    match cores().len() {
        0 => granted,
        cores => granted.min(cores),
    }
}

/// Whether `OUTCROP_PIN` keeps workers on their cores. Without it they go where the system puts
/// them: the caller does too, and on a busy machine it loses where it lands on a worker's core.
///
/// # Errors
/// [`TensorError::BadPin`] if it is neither 0 nor 1.
pub(super) fn is_pinning() -> Result<bool, TensorError> {
    match std::env::var_os("OUTCROP_PIN") {
        None => Ok(false),
        Some(value) => match value.to_string_lossy().trim() {
            "1" => Ok(true),
            "0" => Ok(false),
            other => Err(TensorError::BadPin(other.to_owned())),
        },
    }
}

/// The cores for the workers of a pool of `threads`: one each, the first being left to the calling
/// threads. None where the pool does not take all cores: which ones are free is then the system's
/// to see, and another pool's workers may have been put on any of them.
pub(super) fn for_workers(threads: usize) -> Vec<Core> {
    let mut cores = match is_pinning() {
        Ok(true) if threads > 1 => cores(),
        _ => Vec::new(),
    };
    if cores.len() != threads {
        return Vec::new();
    }
    cores.split_off(1)
}

/// The logical processors of this process's affinity mask.
#[cfg(target_os = "linux")]
fn allowed() -> Vec<usize> {
    // SAFETY: a set of processors is plain bits, all zero none; the call writes no more than its
    // size; the numbers asked for are within it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) != 0 {
            return Vec::new();
        }
        let most = 8 * size_of::<libc::cpu_set_t>();
        (0..most).filter(|n| libc::CPU_ISSET(*n, &set)).collect()
    }
}

#[cfg(not(target_os = "linux"))]
fn allowed() -> Vec<usize> {
    Vec::new()
}

/// Keeps the calling thread on a core. Where the system refuses, it runs anywhere.
#[cfg(target_os = "linux")]
pub(super) fn stay_on(core: &[usize]) {
    // SAFETY: as in `allowed`; the numbers came from such a set.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        for &processor in core {
            libc::CPU_SET(processor, &mut set);
        }
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn stay_on(_: &[usize]) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_a_core_count_once_and_only_those_of_the_mask() {
        // Two packages of two cores of two threads, numbered as Linux does: siblings far apart.
        let core = |n: usize| Some(((n % 4 / 2).to_string(), (n % 2).to_string()));
        let all: Vec<usize> = (0..8).collect();
        assert_eq!(by_core(&all, core), [[0, 4], [1, 5], [2, 6], [3, 7]]);
        assert_eq!(by_core(&[1, 5, 6], core), [vec![1, 5], vec![6]]);
        assert_eq!(by_core(&[3, 8], |_| None), [[3], [8]]);
        assert!(by_core(&[], core).is_empty());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_thread_stays_where_it_is_put() {
        let Some(core) = cores().pop() else {
            return;
        };
        let own = core.clone();
        let seen = std::thread::spawn(move || {
            stay_on(&core);
            allowed()
        });
        assert_eq!(seen.join().unwrap_or_default(), own);
        // A pool that leaves cores to others leaves its workers to the system.
        assert!(for_workers(cores().len() + 1).is_empty());
    }
}
