//! Puts the compiled kernels into the library, where `make kernels` has made them.
//!
//! They are looked for in `OUTCROP_KERNEL_PACK`, or in `kernels/pack`. Without them the library builds
//! and says, when it is asked for a GPU, that it carries no images. Packs of other sources than these
//! are refused: their kernels would not be those that the launchers speak to.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

const MARK: &[u8] = b"OCPACK1\n";

fn main() {
    println!("cargo::rerun-if-env-changed=OUTCROP_KERNEL_PACK");
    println!("cargo::rerun-if-changed=cuda");
    println!("cargo::rerun-if-changed=build.rs");
    if let Err(reason) = write_table() {
        println!("cargo::error={reason}");
    }
}

fn write_table() -> Result<(), String> {
    let variable = |name: &str| std::env::var(name).map_err(|e| format!("{name}: {e}"));
    let own = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let folder =
        std::env::var_os("OUTCROP_KERNEL_PACK").map_or_else(|| own.join("pack"), PathBuf::from);
    // The folder is there without packs too: one that is not would have everything built each time.
    println!("cargo::rerun-if-changed={}", folder.display());
    let packs = files(&folder, |name| name.ends_with(".pack"));
    if packs.is_empty() {
        println!("cargo::warning=no CUDA images are built in: `make kernels` makes them");
    }
    let stamp = stamp(&own.join("cuda"))?;
    let mut table = String::from("&[\n");
    for pack in &packs {
        let bytes = std::fs::read(pack).map_err(|e| format!("{}: {e}", pack.display()))?;
        let named = bytes
            .strip_prefix(MARK)
            .and_then(|rest| rest.get(..stamp.len()));
        if named != Some(stamp.as_bytes()) {
            return Err(format!(
                "{} was made of other sources than those of kernels/cuda: run `make kernels`, or remove it",
                pack.display()
            ));
        }
        let target = pack.file_stem().unwrap_or_default().to_string_lossy();
        let path = pack
            .canonicalize()
            .map_err(|e| format!("{}: {e}", pack.display()))?;
        let _ = writeln!(table, "    ({target:?}, include_bytes!({path:?})),");
    }
    table.push(']');
    let out = Path::new(&variable("OUT_DIR")?).join("packs.rs");
    std::fs::write(&out, table).map_err(|e| format!("{}: {e}", out.display()))
}

fn files(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| wanted(&name.to_string_lossy()))
        })
        .collect();
    found.sort();
    found
}

/// One hash of all sources, as `build.py` makes it.
fn stamp(sources: &Path) -> Result<String, String> {
    let mut lines = String::new();
    for file in files(sources, |name| {
        name.ends_with(".cu") || name.ends_with(".cuh")
    }) {
        let bytes = std::fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let _ = writeln!(lines, "{name} {}", hex(&Sha256::digest(bytes)));
    }
    Ok(hex(&Sha256::digest(lines)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
