//! One HTTP request of an action group: bounded in time and size, to no address that is not meant.

use std::io::Read;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use outcrop_agents::Outcome;
use outcrop_api::Result;
use serde_json::Value;
use ureq::config::Config;
use ureq::http::{Request, Response, Uri};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body};

use crate::session::blocking;

/// Most bytes of an answer.
const MAX_BODY: u64 = 8 << 20;
/// Longest that a connection may take to be made.
const MAX_CONNECT: Duration = Duration::from_secs(10);
/// Most characters of a failed answer's own words.
const MAX_WORDS: usize = 2000;

/// A request, with the headers that no log has.
pub(super) struct HttpRequest {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Value>,
    /// Whether an address of this machine or of a private network is meant.
    pub allows_private: bool,
}

/// An answer.
pub(super) struct HttpAnswer {
    pub status: u16,
    pub is_json: bool,
    pub text: String,
}

impl HttpRequest {
    /// Sends it and reads the whole answer.
    ///
    /// # Errors
    /// What came instead: no answer in time, none at all, or one that is too long.
    pub async fn send(self, limit: Duration) -> std::result::Result<HttpAnswer, Outcome> {
        let agent = agent(Some(limit), self.allows_private);
        // Dropping this closes the connection, whatever it waits for.
        let open = Open(agent.clone());
        let named = format!("{} {}", self.method, self.url);
        let sent = blocking(move || -> Result<_> { Ok(self.answered(&agent)) }).await;
        drop(open);
        match sent {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Fault::TimedOut)) => Err(Outcome::TimedOut {
                seconds: limit.as_secs_f64(),
            }),
            Ok(Err(Fault::Other(error))) => Err(Outcome::Failed {
                error: format!("{named}: {error}"),
            }),
            Err(error) => Err(Outcome::Failed {
                error: error.message().to_string(),
            }),
        }
    }

    fn answered(self, agent: &Agent) -> std::result::Result<HttpAnswer, Fault> {
        let mut request = Request::builder()
            .method(self.method.as_str())
            .uri(&self.url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let response = match &self.body {
            Some(body) => {
                let request = request.header("content-type", "application/json");
                agent.run(request.body(body.to_string())?)
            }
            None => agent.run(request.body(())?),
        };
        read(response?)
    }
}

impl HttpAnswer {
    /// What the answer comes to: its JSON or its text, or why it is none.
    pub fn outcome(self, named: &str) -> Outcome {
        if !(200..300).contains(&self.status) {
            let redirects = match self.status {
                300..400 => " (redirects are not followed)",
                _ => "",
            };
            let words: String = self.text.chars().take(MAX_WORDS).collect();
            let cut = match self.text.chars().count() {
                all if all > MAX_WORDS => format!(" [cut here: {MAX_WORDS} of {all} characters]"),
                _ => String::new(),
            };
            return Outcome::Failed {
                error: format!("{named} answered {}{redirects}: {words}{cut}", self.status),
            };
        }
        match serde_json::from_str(&self.text) {
            Ok(value) if self.is_json => Outcome::Returned(value),
            _ => Outcome::Returned(Value::String(self.text)),
        }
    }
}

/// Why there is no answer.
enum Fault {
    TimedOut,
    Other(String),
}

impl From<ureq::Error> for Fault {
    fn from(error: ureq::Error) -> Self {
        match error {
            ureq::Error::Timeout(_) => Self::TimedOut,
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<ureq::http::Error> for Fault {
    fn from(error: ureq::http::Error) -> Self {
        Self::Other(error.to_string())
    }
}

fn read(mut response: Response<Body>) -> std::result::Result<HttpAnswer, Fault> {
    let kind = response.headers().get("content-type");
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_json = kind.split(';').next().is_some_and(|kind| {
        let kind = kind.trim().to_ascii_lowercase();
        kind == "application/json" || kind.ends_with("+json")
    });
    let mut bytes = Vec::new();
    let mut reader = response.body_mut().as_reader().take(MAX_BODY + 1);
    reader.read_to_end(&mut bytes).map_err(|error| {
        let within = error.get_ref().and_then(|inner| inner.downcast_ref());
        match within {
            Some(ureq::Error::Timeout(_)) => Fault::TimedOut,
            _ if error.kind() == std::io::ErrorKind::TimedOut => Fault::TimedOut,
            _ => Fault::Other(error.to_string()),
        }
    })?;
    if bytes.len() as u64 > MAX_BODY {
        return Err(Fault::Other(format!(
            "the answer is longer than {MAX_BODY} bytes, the most that is read"
        )));
    }
    Ok(HttpAnswer {
        status: response.status().as_u16(),
        is_json,
        text: String::from_utf8_lossy(&bytes).into_owned(),
    })
}

/// An open request, which ends with this.
pub(super) struct Open(pub Agent);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.clone().shutdown();
    }
}

/// A client that follows no redirects and uses no proxy, for answers within `limit`.
pub(super) fn agent(limit: Option<Duration>, allows_private: bool) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent(concat!("outcrop/", env!("CARGO_PKG_VERSION")))
        .timeout_global(limit)
        .timeout_connect(Some(MAX_CONNECT))
        .build();
    let resolver = MeantAddresses { allows_private };
    Agent::with_parts(config, DefaultConnector::default(), resolver)
}

/// Gives the addresses of a host that are meant: a name that leads into a private network leads
/// nowhere, unless that is said.
#[derive(Debug)]
struct MeantAddresses {
    allows_private: bool,
}

impl Resolver for MeantAddresses {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> std::result::Result<ResolvedSocketAddrs, ureq::Error> {
        let found = DefaultResolver::default().resolve(uri, config, timeout)?;
        if self.allows_private {
            return Ok(found);
        }
        match found.iter().find(|address| is_private(address)) {
            None => Ok(found),
            Some(address) => {
                let refused = format!(
                    "the host is at {}, an address of a private network: allow it by \
                     allow_host(..., private=True)",
                    address.ip()
                );
                let kind = std::io::ErrorKind::PermissionDenied;
                Err(ureq::Error::Io(std::io::Error::new(kind, refused)))
            }
        }
    }
}

/// Whether an address is of this machine, of a private network, or of no single host.
fn is_private(address: &SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_broadcast()
                || first == 0
                || (first == 100 && (64..128).contains(&second))
        }
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => is_private(&SocketAddr::new(ip.into(), 0)),
            None => is_private_v6(&ip),
        },
    }
}

fn is_private_v6(ip: &Ipv6Addr) -> bool {
    ip.is_loopback()
        || ip.is_unspecified()
        || ip.is_multicast()
        || ip.is_unique_local()
        || ip.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn private_addresses_are_told_from_others() {
        for ip in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "::1",
            "fd00::1",
            "::ffff:10.0.0.1",
            "0.0.0.0",
        ] {
            assert!(
                is_private(&SocketAddr::new(ip.parse().unwrap(), 80)),
                "{ip}"
            );
        }
        for ip in ["1.1.1.1", "172.32.0.1", "2606:4700::1111"] {
            assert!(
                !is_private(&SocketAddr::new(ip.parse().unwrap(), 80)),
                "{ip}"
            );
        }
    }
}
