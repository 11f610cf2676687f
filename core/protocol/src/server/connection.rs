//! One connection: its protocol, its requests, and its end.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::server::activity::{Activity, Watched};
use crate::server::answer::answer;
use crate::server::{Limits, Shared};

/// How long the two sides of a TLS connection may take to agree.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a connection that is told to end has to do so.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// A quiet HTTP/2 peer is asked for a sign of life so often.
const PING: Duration = Duration::from_secs(20);
/// Bytes of answers that wait for a slow reader on one connection.
const SEND_BUFFER: usize = 64 * 1024;

/// Serves one connection until it ends, is idle for too long, or the server stops.
pub(super) async fn serve(
    shared: Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    stopped: watch::Receiver<bool>,
) {
    match shared.tls.clone() {
        None => serve_stream(shared, stream, peer, stopped).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = timeout(HANDSHAKE, tls.accept(stream)).await {
                serve_stream(shared, stream, peer, stopped).await;
            }
        }
    }
}

async fn serve_stream(
    shared: Arc<Shared>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    mut stopped: watch::Receiver<bool>,
) {
    let activity = Activity::new();
    let idle = shared.limits.idle;
    let builder = protocol(&shared.limits);
    let service = service_fn(|request| {
        let running = activity.begin();
        answer(shared.clone(), peer, request, running)
    });
    let io = TokioIo::new(Watched::new(stream, activity.clone()));
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut tick = interval((idle / 4).clamp(Duration::from_millis(10), Duration::from_secs(1)));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // How it ended is the caller's business: every request has had its answer or its record.
            _ = connection.as_mut() => return,
            () = told(&mut stopped) => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
                return;
            }
            _ = tick.tick() => if activity.idle() > idle {
                connection.as_mut().graceful_shutdown();
                let _ = timeout(LAST_WORDS, connection).await;
                return;
            }
        }
    }
}

/// Done when the server stops.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

fn protocol(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // `Limits::idle` stands for it, for heads of both protocols.
        .header_read_timeout(None)
        .max_headers(limits.headers)
        .max_buf_size(limits.head_bytes.max(8192));
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_send_buf_size(SEND_BUFFER);
    builder
}
