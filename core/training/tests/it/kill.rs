//! A process that trains is killed at random moments, and goes on as if nothing had been.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use outcrop_tensor::Pool;
use outcrop_training::Random;

use crate::training::{bits, low_rank, trainer};

/// Names the folder of the process that is to be killed.
const FOLDER: &str = "OUTCROP_TEST_KILL";

/// Trains with a checkpoint at every step, from the last one on; writes the end's bits.
fn train(folder: &Path) {
    let (mut trainer, pool) = (trainer(low_rank()), Pool::new(1));
    let write = |name: &str, bytes: &[u8]| {
        let partial = folder.join(format!("{name}.partial"));
        std::fs::write(&partial, bytes).unwrap();
        std::fs::rename(partial, folder.join(name)).unwrap();
    };
    if let Ok(bytes) = std::fs::read(folder.join("checkpoint")) {
        trainer.resume(&bytes).unwrap();
    }
    while !trainer.is_done() {
        trainer.advance(&pool).unwrap();
        write("checkpoint", &trainer.checkpoint());
        // Slower than it is, so that kills fall between steps and within them.
        std::thread::sleep(Duration::from_millis(3));
    }
    let bits: Vec<u8> = bits(&trainer.into_model())
        .iter()
        .flat_map(|bits| bits.to_le_bytes())
        .collect();
    write("end", &bits);
}

#[test]
fn a_killed_process_ends_with_the_same_bytes() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return train(Path::new(&folder));
    }
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    train(folders[0].path());
    let mut random = Random::new(std::process::id().into());
    let mut kills = 0;
    while !folders[1].path().join("end").exists() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::a_killed_process_ends_with_the_same_bytes"])
            .env(FOLDER, folders[1].path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        if kills < 10 {
            std::thread::sleep(Duration::from_millis(10 + random.below(50) as u64));
            child.kill().unwrap();
            kills += 1;
        }
        child.wait().unwrap();
    }
    let [expected, got] = folders.map(|folder| std::fs::read(folder.path().join("end")).unwrap());
    assert!(!expected.is_empty() && expected == got);
}
