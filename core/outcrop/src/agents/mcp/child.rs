//! An MCP server that is a process: started, read in bounds, and ended with all that it has started.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::MAX_MESSAGE;
use super::servers::CommandAccess;

/// What a server is given of the environment of this process. The rest may hold secrets.
const KEPT: &[&str] = &[
    "HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER",
];
/// How long a server has to end once its input is closed.
const GRACE: Duration = Duration::from_secs(2);
/// Most bytes that are kept of what a server writes to its standard error.
const TAIL: usize = 2000;

/// Ends the process group `$1` when a line comes or its input ends: with a signal, then by force.
/// Its input is a pipe of this process, and ends with it, however this process ends.
const WATCH: &str = "read -r _; kill -s TERM -- -$1 || exit 0; \
     for _ in 1 2 3 4 5 6 7 8 9 10; do sleep 0.1; kill -s 0 -- -$1 || exit 0; done; \
     kill -s KILL -- -$1";

/// A server that was started. Dropping `alive` ends it.
pub(super) struct Started {
    pub stdout: BoundedLines,
    pub stdin: ChildStdin,
    pub tail: Tail,
    pub alive: oneshot::Sender<()>,
}

/// Starts a server.
///
/// # Errors
/// That of the operating system.
pub(super) fn start(
    command: &[String],
    access: &CommandAccess,
    fault: Fault,
) -> io::Result<Started> {
    let missing = || io::Error::other("the command is empty");
    let (program, arguments) = command.split_first().ok_or_else(missing)?;
    let mut server = Command::new(program);
    server.args(arguments).env_clear();
    server.envs(
        KEPT.iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?))),
    );
    server.envs(&access.env);
    if let Some(folder) = &access.cwd {
        server.current_dir(folder);
    }
    // Of its own: a Ctrl-C for this process is not for the server, and it ends with its children.
    #[cfg(unix)]
    server.process_group(0);
    server.stdin(Stdio::piped()).stdout(Stdio::piped());
    server.stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = server.spawn()?;
    let watch = watch(&child)?;
    let closed = || io::Error::other("a pipe to the process is closed");
    let stdin = child.stdin.take().ok_or_else(closed)?;
    let stdout = child.stdout.take().ok_or_else(closed)?;
    let tail = Tail::default();
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(tail.clone().follow(stderr));
    }
    let (alive, ended) = oneshot::channel();
    tokio::spawn(end(child, watch, ended));
    Ok(Started {
        stdout: BoundedLines {
            inner: stdout,
            line: 0,
            fault,
        },
        stdin,
        tail,
        alive,
    })
}

/// Starts what ends the server's process group, should this process end first.
fn watch(child: &Child) -> io::Result<Child> {
    let group = child
        .id()
        .ok_or_else(|| io::Error::other("the process has ended"))?;
    let mut watch = Command::new("/bin/sh");
    watch
        .args(["-c", WATCH, "sh", &group.to_string()])
        .env_clear();
    #[cfg(unix)]
    watch.process_group(0);
    watch
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    watch.spawn()
}

/// Waits for the end of a server, or of its connection; then ends what is left of it.
async fn end(mut child: Child, mut watch: Child, ended: oneshot::Receiver<()>) {
    tokio::select! {
        _ = child.wait() => {}
        // Its input is closed with its connection: the sign to end by itself.
        _ = ended => drop(timeout(GRACE, child.wait()).await),
    }
    // Said by a line too: a child that was forked meanwhile holds the pipe open.
    if let Some(mut stdin) = watch.stdin.take() {
        let _ = stdin.write_all(b"\n").await;
    }
    let _ = tokio::join!(watch.wait(), child.wait());
}

/// Why a server can be heard no more, where it is known.
#[derive(Clone, Default)]
pub(super) struct Fault(Arc<Mutex<Option<String>>>);

impl Fault {
    pub fn set(&self, fault: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    pub fn get(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// What a server writes, which ends at a line that is longer than a message may be.
pub(super) struct BoundedLines {
    inner: ChildStdout,
    /// Bytes since the last line's end.
    line: usize,
    fault: Fault,
}

impl AsyncRead for BoundedLines {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        let new = &buffer.filled()[before..];
        self.line = match new.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => new.len() - at - 1,
            None => self.line + new.len(),
        };
        if self.line > MAX_MESSAGE {
            let fault =
                format!("an answer is longer than {MAX_MESSAGE} bytes, the most that is read");
            self.fault.set(fault.clone());
            return Poll::Ready(Err(io::Error::other(fault)));
        }
        read
    }
}

/// The last that a server has written to its standard error.
#[derive(Clone, Default)]
pub(super) struct Tail(Arc<Mutex<VecDeque<u8>>>);

impl Tail {
    async fn follow(self, mut stderr: ChildStderr) {
        let mut part = [0; 1024];
        while let Ok(count @ 1..) = stderr.read(&mut part).await {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend(&part[..count]);
            let over = kept.len().saturating_sub(TAIL);
            kept.drain(..over);
        }
    }

    /// What was written, as the end of an error; nothing where nothing was.
    pub fn words(&self) -> String {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match String::from_utf8_lossy(kept.make_contiguous()).trim() {
            "" => String::new(),
            words => format!("; it wrote: {words}"),
        }
    }
}
