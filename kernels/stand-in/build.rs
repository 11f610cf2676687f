//! Compiles the kernels with the host's C++ compiler, with the stand-in driver, into one library.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=CXX");
    println!("cargo::rerun-if-env-changed=OUTCROP_STAND_IN_FLAGS");
    for folder in ["build.rs", "cpp", "tests/faults", "../cuda"] {
        println!("cargo::rerun-if-changed={folder}");
    }
    let (library, reason) = match build() {
        Ok(library) => (library.display().to_string(), String::new()),
        Err(reason) => {
            println!("cargo::warning=the CUDA stand-in was not built: {reason}");
            (String::new(), reason)
        }
    };
    println!("cargo::rustc-env=OUTCROP_STAND_IN={library}");
    let reason = reason.replace('\n', " ");
    println!("cargo::rustc-env=OUTCROP_STAND_IN_REASON={reason}");
}

fn build() -> Result<PathBuf, String> {
    let system = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let chip = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    if system != "linux" || !["x86_64", "aarch64"].contains(&chip.as_str()) {
        return Err(format!(
            "it runs on Linux, on x86-64 and aarch64, not on {system} on {chip}"
        ));
    }
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "g++".into());
    if Command::new(&compiler).arg("--version").output().is_err() {
        return Err(format!(
            "no C++ compiler `{compiler}` (on Debian: apt-get install g++)"
        ));
    }
    let out = PathBuf::from(std::env::var("OUT_DIR").map_err(|e| e.to_string())?);
    let mut sources = sources_in(Path::new("cpp"), "cpp")?;
    sources.extend(sources_in(Path::new("../cuda"), "cu")?);
    sources.extend(sources_in(Path::new("tests/faults"), "cu")?);
    let jobs: Vec<(PathBuf, PathBuf)> = sources
        .into_iter()
        .map(|source| {
            let name = source
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let object = out.join(format!("{name}.o"));
            (source, object)
        })
        .collect();
    compile_all(&compiler, &jobs)?;
    let library = out.join("libcuda.so");
    let mut link = Command::new(&compiler);
    link.args([
        "-shared",
        "-pthread",
        "-Wl,-z,defs",
        "-Wl,-soname,libcuda.so",
        "-o",
    ])
    .arg(&library);
    link.args(jobs.iter().map(|(_, object)| object)).arg("-ldl");
    link.args(flags_of_caller());
    run(&mut link)?;
    Ok(library)
}

fn sources_in(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension() == Some(OsStr::new(extension)))
        .collect();
    found.sort();
    Ok(found)
}

/// Compiles on as many threads as cargo grants; the longest files first would gain little.
fn compile_all(compiler: &str, jobs: &[(PathBuf, PathBuf)]) -> Result<(), String> {
    let threads: usize = std::env::var("NUM_JOBS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || -> Result<(), String> {
        while let Some((source, object)) = {
            let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            jobs.get(i)
        } {
            run(&mut compile(compiler, source, object))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (0..threads.min(8)).map(|_| scope.spawn(work)).collect();
        others
            .into_iter()
            .try_for_each(|other| other.join().map_err(|_| "a thread died")?)
    })
}

fn compile(compiler: &str, source: &Path, object: &Path) -> Command {
    let here = std::env::current_dir().unwrap_or_default();
    let root = here.parent().and_then(Path::parent).unwrap_or(&here);
    let mut command = Command::new(compiler);
    // Reports name files from the repository's root.
    command.current_dir(root);
    command.arg(format!("-ffile-prefix-map={}=.", root.display()));
    command.arg(format!("-ffile-prefix-map={}/=", root.display()));
    command.args([
        "-x",
        "c++",
        "-std=c++20",
        "-O2",
        "-g1",
        "-fPIC",
        "-march=native",
    ]);
    command.args([
        "-pthread",
        "-fno-strict-aliasing",
        "-ffp-contract=off",
        "-Wall",
        "-Wextra",
    ]);
    command.args([
        "-Wno-unknown-pragmas",
        "-Wno-unused-function",
        "-Wno-unused-parameter",
    ]);
    if source.extension() == Some(OsStr::new("cu")) {
        // The instrumentation calls our own hooks: see cpp/hooks.cpp.
        command.args([
            "-DOC_ON_CPU",
            "-fno-exceptions",
            "-Werror",
            "-fsanitize=thread",
        ]);
        command.args(["-fsanitize=alignment,bounds,shift"]);
        command.args(["-fsanitize=signed-integer-overflow,integer-divide-by-zero"]);
        command
            .arg("-I")
            .arg(here.join("cpp"))
            .arg("-I")
            .arg(root.join("kernels/cuda"));
    }
    command.args(flags_of_caller());
    command.arg("-c").arg(
        source
            .canonicalize()
            .unwrap_or_else(|_| source.to_path_buf()),
    );
    command.arg("-o").arg(object);
    command
}

/// More flags, such as those of a sanitizer.
fn flags_of_caller() -> Vec<String> {
    let flags = std::env::var("OUTCROP_STAND_IN_FLAGS").unwrap_or_default();
    flags.split_whitespace().map(str::to_owned).collect()
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    // A compiler that is there and refuses a source is a broken source, not a missing tool.
    eprintln!("{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    std::process::exit(1);
}
