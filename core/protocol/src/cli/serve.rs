//! `outcrop serve`.

use outcrop::Session;
use outcrop::api::{Error, Result};

use crate::cli::output::Output;
use crate::server::{Server, ServerOptions};

/// Serves until the process is told to end: once to let running answers end, twice to end at once.
pub(super) async fn run(
    session: &Session,
    options: ServerOptions,
    output: &mut Output,
) -> Result<()> {
    let is_open = options.insecure_loopback;
    let mut signals = Signals::watch()?;
    let server = Server::bind(session.clone(), options).await?;
    if !is_open && session.access_keys().list()?.is_empty() {
        super::complain("nobody has a key yet, so that every call is refused: outcrop keys create");
    }
    match output.is_json {
        true => output.json(&serde_json::json!({ "url": server.url() }))?,
        false => output.text(&format!("Outcrop is listening on {}\n", server.url()))?,
    }
    output.finish()?;
    let (told, stop) = tokio::sync::oneshot::channel::<()>();
    let running = server.run(async {
        // It is told or its sender is gone: both end it.
        let _ = stop.await;
    });
    tokio::pin!(running);
    tokio::select! {
        () = &mut running => return Ok(()),
        () = signals.next() => {}
    }
    drop(told);
    tokio::select! {
        () = running => Ok(()),
        () = signals.next() => Ok(()),
    }
}

/// The signals that ask a process to end.
struct Signals {
    #[cfg(unix)]
    ask: [tokio::signal::unix::Signal; 2],
}

impl Signals {
    #[cfg(unix)]
    fn watch() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let watched = |kind| {
            signal(kind).map_err(|error| {
                Error::internal(format!("signals cannot be watched: {error}")).with_source(error)
            })
        };
        let ask = [
            watched(SignalKind::terminate())?,
            watched(SignalKind::interrupt())?,
        ];
        Ok(Self { ask })
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        let [terminate, interrupt] = &mut self.ask;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }

    #[cfg(not(unix))]
    fn watch() -> Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
