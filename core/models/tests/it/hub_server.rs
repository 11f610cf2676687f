//! A small hub on loopback that can misbehave as real networks do.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

/// What one request asked for.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
}

/// How the hub misbehaves.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Connections that end after so many bytes of a body, before the hub behaves.
    pub cuts: usize,
    pub cut_after: usize,
    /// The hub ignores Range.
    pub no_ranges: bool,
    /// The file whose bytes are altered on the way.
    pub altered: Option<String>,
    /// The file that ends early, with a Content-Length that says so.
    pub short: Option<String>,
    /// The status of every answer.
    pub status: Option<u16>,
    /// Answers 503 so many times before it behaves.
    pub busy: usize,
    /// Another server that the large files are redirected to.
    pub redirect_to: Option<String>,
    /// A file that only the listing names.
    pub listed: Vec<String>,
    /// Pause between pieces of 1 KiB of a body.
    pub slow: Option<Duration>,
}

struct State {
    repo: String,
    files: BTreeMap<String, Vec<u8>>,
    faults: Faults,
    seen: Vec<Seen>,
}

/// A running hub. It ends with the process.
pub struct HubServer {
    pub endpoint: String,
    state: Arc<Mutex<State>>,
}

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

impl HubServer {
    /// Serves the files of `folder` as the repository `repo`.
    pub fn start(repo: &str, folder: &Path, faults: Faults) -> Self {
        let mut files = BTreeMap::new();
        collect(folder, folder, &mut files);
        files.insert("README.md".into(), b"# not needed".to_vec());
        files.insert("pytorch_model.bin".into(), vec![7; 4096]);
        let state = Arc::new(Mutex::new(State {
            repo: repo.into(),
            files,
            faults,
            seen: Vec::new(),
        }));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                thread::spawn(move || serve(stream, &state));
            }
        });
        Self { endpoint, state }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    pub fn set_faults(&self, faults: Faults) {
        self.state.lock().unwrap().faults = faults;
    }
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            files.insert(name.into(), std::fs::read(&path).unwrap());
        }
    }
}

fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".gguf")
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut out = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let path = line.split(' ').nth(1).unwrap_or("/").to_string();
        let (mut range, mut authorization) = (None, None);
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header).unwrap_or(0) == 0 || header.trim().is_empty() {
                break;
            }
            let (name, value) = header.split_once(':').unwrap();
            match name.to_ascii_lowercase().as_str() {
                "range" => range = Some(value.trim().to_string()),
                "authorization" => authorization = Some(value.trim().to_string()),
                _ => {}
            }
        }
        let seen = Seen {
            path,
            range,
            authorization,
        };
        if !answer(&mut out, state, seen) {
            let _ = out.shutdown(Shutdown::Both);
            return;
        }
    }
}

/// Whether the connection goes on.
fn answer(out: &mut TcpStream, state: &Mutex<State>, seen: Seen) -> bool {
    let mut state = state.lock().unwrap();
    state.seen.push(seen.clone());
    if state.faults.busy > 0 {
        state.faults.busy -= 1;
        return head(out, 503, "", 0);
    }
    if let Some(status) = state.faults.status {
        return head(out, status, "", 0);
    }
    if seen
        .path
        .starts_with(&format!("/api/models/{}/revision/", state.repo))
    {
        let listing = listing(&state);
        return head(out, 200, "", listing.len()) && out.write_all(listing.as_bytes()).is_ok();
    }
    let prefix = format!("/{}/resolve/{COMMIT}/", state.repo);
    let Some((name, bytes)) = seen
        .path
        .strip_prefix(&prefix)
        .and_then(|name| state.files.get_key_value(name))
        .map(|(name, bytes)| (name.clone(), bytes.clone()))
    else {
        return head(out, 404, "", 0);
    };
    let faults = state.faults.clone();
    if let Some(to) = faults.redirect_to.filter(|_| is_large(&name)) {
        let headers = format!(
            "Location: {to}{}\r\nX-Linked-Etag: \"{}\"\r\n",
            seen.path,
            hex(&bytes)
        );
        return head(out, 302, &headers, 0);
    }
    let mut sent = bytes;
    if faults.altered.as_deref() == Some(&name) {
        let last = sent.len() - 1;
        sent[last] ^= 1;
    }
    if faults.short.as_deref() == Some(&name) {
        sent.truncate(sent.len() / 2);
    }
    let from: Option<usize> = seen.range.filter(|_| !faults.no_ranges).and_then(|range| {
        range
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse()
            .ok()
    });
    let cut = is_large(&name) && state.faults.cuts > 0;
    if cut {
        state.faults.cuts -= 1;
    }
    drop(state);
    let total = sent.len();
    let body = &sent[from.unwrap_or(0).min(total)..];
    let started = match from {
        Some(from) if from >= total => {
            return head(out, 416, &format!("Content-Range: bytes */{total}\r\n"), 0);
        }
        Some(from) => {
            let range = format!("Content-Range: bytes {from}-{}/{total}\r\n", total - 1);
            head(out, 206, &range, body.len())
        }
        None => head(out, 200, "", body.len()),
    };
    let body = if cut {
        &body[..faults.cut_after.min(body.len())]
    } else {
        body
    };
    let mut written = started;
    for piece in body.chunks(if faults.slow.is_some() { 1024 } else { 65536 }) {
        written = written && out.write_all(piece).is_ok();
        if let Some(pause) = faults.slow {
            thread::sleep(pause);
        }
    }
    written && !cut
}

fn head(out: &mut TcpStream, status: u16, headers: &str, length: usize) -> bool {
    let text = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\n\r\n");
    out.write_all(text.as_bytes()).is_ok()
}

fn listing(state: &State) -> String {
    let known = state
        .files
        .iter()
        .map(|(name, bytes)| match is_large(name) {
            true => serde_json::json!({
                "rfilename": name, "size": bytes.len(), "blobId": "x",
                "lfs": {"sha256": hex(bytes), "size": bytes.len(), "pointerSize": 135}
            }),
            false => serde_json::json!({"rfilename": name, "size": bytes.len(), "blobId": "x"}),
        });
    let extra = state
        .faults
        .listed
        .iter()
        .map(|name| serde_json::json!({"rfilename": name, "size": 1}));
    let siblings: Vec<_> = known.chain(extra).collect();
    serde_json::json!({"id": state.repo, "sha": COMMIT, "siblings": siblings}).to_string()
}
