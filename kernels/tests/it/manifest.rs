//! What the compiler made of the kernels, as `make kernels` found it, against the sources and the
//! stored limits. Needs neither the compiler nor a GPU.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

/// Architectures that every kernel is compiled for, but for those of Hopper.
const ARCHITECTURES: [&str; 6] = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder().join(name)).unwrap()).unwrap()
}

fn hash(file: &Path) -> String {
    let digest = Sha256::digest(std::fs::read(file).unwrap());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sources() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder().join("cuda")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn the_manifest_is_that_of_the_sources() {
    let manifest = json("manifest.json");
    let known = manifest["sources"].as_object().unwrap();
    let files = sources();
    assert_eq!(known.len(), files.len(), "run `make kernels`");
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        assert_eq!(
            known[name],
            hash(&file),
            "{name} has changed: run `make kernels`"
        );
    }
}

#[test]
fn every_kernel_is_compiled_for_every_architecture_within_its_limits() {
    let (manifest, limits) = (json("manifest.json"), json("limits.json"));
    let kernels = manifest["kernels"].as_object().unwrap();
    for (name, kernel) in kernels {
        let file = kernel["file"].as_str().unwrap();
        let made = kernel["architectures"].as_object().unwrap();
        let hopper = ["sm_90a"];
        let wanted: &[&str] = if file.ends_with("_sm90") {
            &hopper
        } else {
            &ARCHITECTURES
        };
        assert_eq!(made.len(), wanted.len(), "{name}");
        for target in wanted {
            let report = &made[*target];
            assert_eq!(report["warnings"], Value::Null, "{name} for {target}");
            let Some(limit) = limits.get(file) else {
                continue;
            };
            for what in ["spills", "stack", "registers"] {
                let (found, most) = (
                    report[what].as_u64().unwrap(),
                    limit[what].as_u64().unwrap(),
                );
                assert!(
                    found <= most,
                    "{name} for {target}: {what} are {found}, at most {most}"
                );
            }
            // Counted where the images were disassembled.
            let Some(counts) = report["instructions"].as_object() else {
                assert!(
                    !["sm_80", "sm_90a"].contains(target),
                    "{name} for {target}: no counts"
                );
                continue;
            };
            for (start, instruction) in limit["instructions"].as_object().unwrap() {
                let uses = counts.contains_key(instruction.as_str().unwrap());
                assert!(
                    uses || !name.starts_with(start),
                    "{name} for {target} has no {instruction}"
                );
            }
        }
    }
    for file in limits.as_object().unwrap().keys() {
        assert!(
            kernels.values().any(|kernel| kernel["file"] == **file),
            "no kernel of {file}"
        );
    }
}

#[test]
fn every_kernel_runs_on_the_stand_in_too() {
    if !outcrop_kernels_cpu::install_alone_or_skip("the kernels of the manifest") {
        return;
    }
    let manifest = json("manifest.json");
    for (name, kernel) in manifest["kernels"].as_object().unwrap() {
        let registered = outcrop_kernels_cpu::kernels();
        let found = registered.iter().find(|(_, registered)| registered == name);
        let file = found.map(|(file, _)| file.as_str());
        assert_eq!(
            file,
            kernel["file"].as_str(),
            "{name} ends in OC_KERNEL({name})"
        );
    }
}
