//! A client of the Hugging Face hub: what a repository holds, and the bytes of its files.

use std::io::Read;
use std::time::Duration;

use serde::Deserialize;
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

/// Where models are fetched from unless `HF_ENDPOINT` says otherwise.
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
/// Most redirects from a file's address to its bytes.
const MAX_REDIRECTS: usize = 8;
/// Most bytes of a repository's listing.
const MAX_LISTING: u64 = 64 << 20;
/// Longest silence of the other side.
const SILENCE: Duration = Duration::from_secs(60);

/// What went wrong between here and the hub.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The address is not one.
    #[error("HF_ENDPOINT: expected http://host or https://host, got {0:?}")]
    Endpoint(String),
    /// The file of `SSL_CERT_FILE` does not hold certificates.
    #[error("SSL_CERT_FILE: expected a file of PEM certificates at {0:?}: {1}")]
    Certificates(String, String),
    /// The hub wants a token, or another one.
    #[error(
        "{url}: the hub answered {status}: the model does not exist, is private or is gated; {hint}"
    )]
    Denied {
        /// What was asked for.
        url: String,
        /// 401 or 403.
        status: u16,
        /// What to do about it.
        hint: &'static str,
    },
    /// Nothing is there.
    #[error("{0}: the hub answered 404: there is no such model, revision or file")]
    NotFound(String),
    /// Another answer than the hub gives.
    #[error("{url}: expected the hub's answer, got {got}")]
    Unexpected {
        /// What was asked for.
        url: String,
        /// The answer.
        got: String,
    },
    /// The connection could not be made, or broke.
    #[error("{url}: {detail}")]
    Transport {
        /// What was asked for.
        url: String,
        /// What happened.
        detail: String,
    },
    /// The file has no bytes from the asked offset on.
    #[error("{0}: the hub has fewer bytes than were asked for")]
    OutOfRange(String),
    /// A file's name would leave the model's folder.
    #[error(
        "{repo}: the hub names a file {name:?}, which could leave the model's folder; nothing was written"
    )]
    Path {
        /// The repository.
        repo: String,
        /// The file's name.
        name: String,
    },
}

impl HubError {
    /// Whether the same request may succeed when it is made again.
    pub fn is_passing(&self) -> bool {
        match self {
            HubError::Transport { .. } => true,
            HubError::Unexpected { got, .. } => {
                got.starts_with("HTTP 5") || got.starts_with("HTTP 429")
            }
            _ => false,
        }
    }
}

/// What a hub is reached by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HubOptions {
    /// Its address. Default `https://huggingface.co`.
    pub endpoint: Option<String>,
    /// The user's token; it is sent to the endpoint's host only.
    pub token: Option<String>,
    /// A file of PEM certificates to trust in place of the built-in roots.
    pub certificates: Option<String>,
}

impl HubOptions {
    /// From `HF_ENDPOINT`, `HF_TOKEN` and `SSL_CERT_FILE`.
    pub fn from_env() -> Self {
        let read = |name| {
            std::env::var(name)
                .ok()
                .filter(|value: &String| !value.is_empty())
        };
        Self {
            endpoint: read("HF_ENDPOINT"),
            token: read("HF_TOKEN"),
            certificates: read("SSL_CERT_FILE"),
        }
    }
}

/// One file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its path inside the repository, checked: it cannot leave a folder.
    pub name: String,
    /// Its bytes.
    pub size: Option<u64>,
    /// Its SHA-256 in hexadecimal digits, where the hub knows it: for weights, not for small texts.
    pub sha256: Option<String>,
}

/// One commit of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteModel {
    /// The commit that the revision stands for now.
    pub commit: String,
    /// Its files.
    pub files: Vec<RemoteFile>,
}

/// The bytes of a file, from where the hub began to send them.
pub struct RemoteBytes {
    /// Offset of the first byte: what was asked for, or 0 where the hub sends the whole file.
    pub start: u64,
    /// The file's SHA-256, where the hub says it in a header.
    pub sha256: Option<String>,
    /// The bytes.
    pub reader: Box<dyn Read + Send>,
}

/// The hub at one address.
pub struct Hub {
    endpoint: String,
    token: Option<String>,
    agent: Agent,
}

#[derive(Deserialize)]
struct Listing {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

impl Hub {
    /// The hub that `options` name. No connection is made yet.
    ///
    /// # Errors
    /// [`HubError::Endpoint`] or [`HubError::Certificates`].
    pub fn new(options: &HubOptions) -> Result<Self, HubError> {
        let endpoint = options.endpoint.as_deref().unwrap_or(DEFAULT_ENDPOINT);
        let trimmed = endpoint.trim_end_matches('/');
        if origin(trimmed).is_none() {
            return Err(HubError::Endpoint(endpoint.into()));
        }
        let mut tls = TlsConfig::builder();
        if let Some(path) = &options.certificates {
            tls = tls.root_certs(certificates(path)?);
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("outcrop/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .tls_config(tls.build())
            .build()
            .new_agent();
        Ok(Self {
            endpoint: trimmed.into(),
            token: options.token.clone(),
            agent,
        })
    }

    /// The address.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The files of `repo` at `revision`.
    ///
    /// # Errors
    /// A [`HubError`]; a file name that could leave a folder refuses the whole repository.
    pub fn list(&self, repo: &str, revision: &str) -> Result<RemoteModel, HubError> {
        let url = format!(
            "{}/api/models/{repo}/revision/{}?blobs=true",
            self.endpoint,
            escape(revision)
        );
        let (mut response, _) = self.get(&url, 0)?;
        let text = response
            .body_mut()
            .with_config()
            .limit(MAX_LISTING)
            .read_to_string()
            .map_err(|error| transport(&url, &error))?;
        let unexpected = |got: String| HubError::Unexpected {
            url: url.clone(),
            got,
        };
        let listing: Listing = serde_json::from_str(&text)
            .map_err(|error| unexpected(format!("a listing with {error}")))?;
        if listing.sha.is_empty() || !listing.sha.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(unexpected(format!("a commit {:?}", listing.sha)));
        }
        let files = listing.siblings.into_iter().map(|file| {
            if !stays_inside(&file.rfilename) {
                return Err(HubError::Path {
                    repo: repo.into(),
                    name: file.rfilename,
                });
            }
            let (lfs_sha, lfs_size) = file.lfs.map_or((None, None), |lfs| (lfs.sha256, lfs.size));
            Ok(RemoteFile {
                name: file.rfilename,
                size: lfs_size.or(file.size),
                sha256: lfs_sha.map(|digest| digest.to_lowercase()),
            })
        });
        Ok(RemoteModel {
            files: files.collect::<Result<_, _>>()?,
            commit: listing.sha,
        })
    }

    /// The bytes of one file, from `from` on where the hub can.
    ///
    /// # Errors
    /// A [`HubError`].
    pub fn open(
        &self,
        repo: &str,
        commit: &str,
        file: &str,
        from: u64,
    ) -> Result<RemoteBytes, HubError> {
        let url = format!(
            "{}/{repo}/resolve/{}/{}",
            self.endpoint,
            escape(commit),
            escape_path(file)
        );
        let (response, sha256) = self.get(&url, from)?;
        let start = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = header(response.headers(), "content-range").unwrap_or_default();
                let start = range
                    .strip_prefix("bytes ")
                    .and_then(|range| range.split('-').next())
                    .and_then(|start| start.parse().ok());
                match start {
                    Some(start) if start == from => start,
                    _ => {
                        let got = format!("Content-Range {range:?} for bytes from {from}");
                        return Err(HubError::Unexpected { url, got });
                    }
                }
            }
            _ => 0,
        };
        let reader = response
            .into_body()
            .into_with_config()
            .limit(u64::MAX)
            .reader();
        Ok(RemoteBytes {
            start,
            sha256,
            reader: Box::new(reader),
        })
    }

    /// GET with redirects followed by hand: the token goes to the endpoint's origin only, and the
    /// digest stands in a header of the redirect itself.
    fn get(&self, url: &str, from: u64) -> Result<(Response<Body>, Option<String>), HubError> {
        let mut at = url.to_string();
        let mut sha256 = None;
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.agent.get(&at).header("accept-encoding", "identity");
            if from > 0 {
                request = request.header("range", format!("bytes={from}-"));
            }
            if let Some(token) = self
                .token
                .as_ref()
                .filter(|_| origin(&at) == origin(&self.endpoint))
            {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let response = request.call().map_err(|error| transport(&at, &error))?;
            if origin(&at) == origin(&self.endpoint) {
                sha256 = sha256.or_else(|| digest(response.headers()));
            }
            let status = response.status();
            if status.is_redirection() {
                let to = header(response.headers(), "location").unwrap_or_default();
                at = redirect(&at, &to).ok_or_else(|| HubError::Unexpected {
                    url: at.clone(),
                    got: format!("a redirect to {to:?}"),
                })?;
                continue;
            }
            return match status.as_u16() {
                200 | 206 => Ok((response, sha256)),
                status @ (401 | 403) => Err(HubError::Denied {
                    url: at,
                    status,
                    hint: match self.token {
                        Some(_) => "the token in HF_TOKEN does not give access to it",
                        None => "set HF_TOKEN to a token that may read it",
                    },
                }),
                404 => Err(HubError::NotFound(at)),
                416 => Err(HubError::OutOfRange(at)),
                status => Err(HubError::Unexpected {
                    url: at,
                    got: format!("HTTP {status}"),
                }),
            };
        }
        Err(HubError::Unexpected {
            url: url.into(),
            got: format!("more than {MAX_REDIRECTS} redirects"),
        })
    }
}

fn transport(url: &str, error: &ureq::Error) -> HubError {
    HubError::Transport {
        url: url.into(),
        detail: error.to_string(),
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_string)
}

/// A SHA-256 among the entity tags: the tag of a large file is its digest.
fn digest(headers: &HeaderMap) -> Option<String> {
    ["x-linked-etag", "etag"].iter().find_map(|name| {
        let tag = header(headers, name)?;
        let tag = tag
            .trim_start_matches("W/")
            .trim_matches('"')
            .to_lowercase();
        (tag.len() == 64 && tag.chars().all(|c| c.is_ascii_hexdigit())).then_some(tag)
    })
}

/// Scheme and authority of an address; none where it is not HTTP.
fn origin(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest
        .split(['/', '?', '#'])
        .next()
        .filter(|host| !host.is_empty())?;
    let plain = !authority.contains(['@', ' ']);
    (plain && matches!(scheme, "http" | "https")).then_some((scheme, authority))
}

/// The address that a redirect from `base` leads to; none where it leaves TLS or HTTP.
fn redirect(base: &str, location: &str) -> Option<String> {
    let (scheme, authority) = origin(base)?;
    let to = if location.contains("://") {
        location.to_string()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        return None;
    };
    let (to_scheme, _) = origin(&to)?;
    (scheme == "http" || to_scheme == "https").then_some(to)
}

/// Whether a file of that name stays in the folder that it is put in, on every system.
fn stays_inside(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 512
        && !name.contains(['\\', ':', '\0'])
        && !name.chars().any(char::is_control)
        && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn escape(part: &str) -> String {
    part.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(b).to_string()
            }
            _ => format!("%{b:02X}"),
        })
        .collect()
}

fn escape_path(path: &str) -> String {
    path.split('/').map(escape).collect::<Vec<_>>().join("/")
}

fn certificates(path: &str) -> Result<RootCerts, HubError> {
    let wrong = |detail: String| HubError::Certificates(path.into(), detail);
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| wrong(error.to_string()))? {
            found.push(certificate);
        }
    }
    match found.is_empty() {
        true => Err(wrong("it holds none".into())),
        false => Ok(RootCerts::new_with_certs(&found)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_a_folder_are_seen() {
        for good in ["config.json", "1_Pooling/config.json", "a b.gguf"] {
            assert!(stays_inside(good), "{good}");
        }
        for wrong in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a//b",
            "./a",
            "a\\..\\b",
            "C:x",
            "a\nb",
        ] {
            assert!(!stays_inside(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn redirects_keep_to_http_and_do_not_leave_tls() {
        let base = "https://hub.example/a/b";
        assert_eq!(
            redirect(base, "/c").as_deref(),
            Some("https://hub.example/c")
        );
        assert_eq!(
            redirect(base, "//cdn.example/c").as_deref(),
            Some("https://cdn.example/c")
        );
        assert_eq!(
            redirect(base, "https://cdn.example/c").as_deref(),
            Some("https://cdn.example/c")
        );
        for wrong in [
            "",
            "c",
            "http://cdn.example/c",
            "file:///etc/passwd",
            "https://a@b/c",
        ] {
            assert_eq!(redirect(base, wrong), None, "{wrong}");
        }
        assert!(redirect("http://127.0.0.1:1/a", "http://127.0.0.1:2/b").is_some());
    }
}
