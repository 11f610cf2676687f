//! The HTTP server: HTTP/1.1 and HTTP/2 on one port, in the clear or in TLS.
//!
//! A request passes its limits and its authentication before [`crate::handle`] sees it. Streams go
//! out as they are made, no faster than they are read; when a caller goes, its work stops.

mod activity;
mod answer;
mod authenticate;
mod connection;
mod limits;
mod request_body;
mod response_body;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use outcrop::{Error, Result, Session};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub use limits::Limits;
use request_body::BodyRoom;

/// How long accepting pauses when the system gives no more sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections that the system keeps for a server that has not accepted them yet.
const BACKLOG: u32 = 1024;
/// Bytes that the system keeps of what a connection's reader has not read.
const SEND_BUFFER: u32 = 128 * 1024;

/// What a server is asked to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerOptions {
    /// The name or address to listen on. Default `127.0.0.1`.
    pub host: Option<String>,
    /// The port; 0 lets the system choose one.
    pub port: u16,
    /// PEM files of a certificate chain and its private key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Answers everybody on this machine, without keys.
    pub insecure_loopback: bool,
    /// Lets a host that others can reach be served without TLS.
    pub allow_plaintext: bool,
    /// What it bears.
    pub limits: Limits,
}

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What every connection needs.
struct Shared {
    session: Session,
    limits: Limits,
    tls: Option<TlsAcceptor>,
    /// Whether callers need no key.
    is_open: bool,
    requests: Arc<Semaphore>,
    body_room: BodyRoom,
}

impl Server {
    /// Listens as `options` say. Nothing is answered before [`Server::run`].
    ///
    /// # Errors
    /// `ValidationException` for a host that others can reach without TLS or without a key, for
    /// files that are no certificate or key, and for an address that cannot be listened on.
    pub async fn bind(session: Session, options: ServerOptions) -> Result<Self> {
        let host = options.host.as_deref().unwrap_or("127.0.0.1");
        let unusable = |error: std::io::Error| {
            Error::validation(format!("{host}:{}: {error}", options.port)).with_source(error)
        };
        let addresses = tokio::net::lookup_host((host, options.port)).await;
        let addresses: Vec<SocketAddr> = addresses.map_err(unusable)?.collect();
        let is_loopback = addresses.iter().all(|address| address.ip().is_loopback());
        check_reach(&session, &options, host, is_loopback)?;
        let tls = options.tls.as_ref();
        let tls = tls
            .map(|(chain, key)| tls::acceptor(chain, key))
            .transpose()?;
        let listener = listen(&addresses).map_err(unusable)?;
        let address = listener.local_addr().map_err(unusable)?;
        let limits = options.limits;
        Ok(Self {
            listener,
            address,
            shared: Arc::new(Shared {
                session,
                tls,
                is_open: options.insecure_loopback,
                requests: Arc::new(Semaphore::new(limits.requests)),
                body_room: BodyRoom::new(limits.all_body_bytes),
                limits,
            }),
        })
    }

    /// Where it listens, as the base of addresses.
    pub fn url(&self) -> String {
        let scheme = if self.shared.tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.address)
    }

    /// Answers until `stop` is done, then lets what runs end within the limit of
    /// [`Limits::shutdown`].
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let places = Arc::new(Semaphore::new(self.shared.limits.connections));
        let (stopping, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            // A connection that ended is forgotten at once.
            while connections.try_join_next().is_some() {}
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = self.accept(&places) => accepted,
            };
            let Some((stream, peer, place)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let (shared, stopped) = (self.shared.clone(), stopped.clone());
            connections.spawn(async move {
                connection::serve(shared, stream, peer, stopped).await;
                drop(place);
            });
        }
        drop(self.listener);
        let _ = stopping.send(true);
        let ended = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(self.shared.limits.shutdown, ended).await;
    }

    /// The next connection, once there is a place for it; none where the system refuses.
    async fn accept(
        &self,
        places: &Arc<Semaphore>,
    ) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let place = places.clone().acquire_owned().await.ok()?;
        let (stream, peer) = self.listener.accept().await.ok()?;
        stream.set_nodelay(true).ok()?;
        Some((stream, peer, place))
    }
}

/// Listens on the first of `addresses` that can be listened on.
fn listen(addresses: &[SocketAddr]) -> std::io::Result<TcpListener> {
    let mut refused = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for &address in addresses {
        let socket = match address.is_ipv4() {
            true => TcpSocket::new_v4()?,
            false => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        // Connections have it from here: a slow reader holds the work back after little of it.
        socket.set_send_buffer_size(SEND_BUFFER)?;
        match socket.bind(address).and_then(|()| socket.listen(BACKLOG)) {
            Ok(listener) => return Ok(listener),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// Refuses to be reached by more than was meant.
fn check_reach(
    session: &Session,
    options: &ServerOptions,
    host: &str,
    is_loopback: bool,
) -> Result<()> {
    if is_loopback {
        return Ok(());
    }
    if options.insecure_loopback {
        return Err(Error::validation(format!(
            "--insecure-loopback: expected a host that only this machine reaches, got {host}"
        )));
    }
    if options.tls.is_none() && !options.allow_plaintext {
        return Err(Error::validation(format!(
            "--host {host}: others can reach it, and what passes could be read on its way: give \
             --cert and --key, or --allow-plaintext where something before it speaks TLS"
        )));
    }
    if session.access_keys().list()?.iter().all(|key| key.expired) {
        return Err(Error::validation(format!(
            "--host {host}: there is no key that callers could show: make one with outcrop keys create"
        )));
    }
    Ok(())
}
