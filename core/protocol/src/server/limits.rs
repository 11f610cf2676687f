//! How much and how long a server bears.

use std::time::Duration;

/// What a server bears of its callers. The defaults are stated at each field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's body. Default 36 MB: the 25 MB of an `InvokeModel` body, in base64, with
    /// room for the JSON round it.
    pub body_bytes: usize,
    /// Bytes that all requests' bodies may hold at once. Default 512 MB.
    pub all_body_bytes: usize,
    /// Bytes of a request's head. Default 64 kB.
    pub head_bytes: usize,
    /// Headers of a request. Default 100.
    pub headers: usize,
    /// Connections at once; further ones wait to be accepted. Default 1,024.
    pub connections: usize,
    /// Requests at once on all connections; further ones are told to come later. Default 1,024.
    pub requests: usize,
    /// Requests at once on one HTTP/2 connection. Default 256.
    pub streams: u32,
    /// How long a connection may be without a request: idle, or slow to send a request's head.
    /// Default 60 s.
    pub idle: Duration,
    /// How long a request's body may pause. Default 20 s.
    pub body_pause: Duration,
    /// How long a request's body may take. Default 5 minutes.
    pub body_time: Duration,
    /// How long the reader of a stream may pause. Default 30 s.
    pub reader_pause: Duration,
    /// How long running answers have when the server is stopped. Default 30 s.
    pub shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 36_000_000,
            all_body_bytes: 512_000_000,
            head_bytes: 64 * 1024,
            headers: 100,
            connections: 1024,
            requests: 1024,
            streams: 256,
            idle: Duration::from_secs(60),
            body_pause: Duration::from_secs(20),
            body_time: Duration::from_secs(300),
            reader_pause: Duration::from_secs(30),
            shutdown: Duration::from_secs(30),
        }
    }
}
