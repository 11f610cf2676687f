//! The endpoints that the runtime calls for action groups: which are allowed, and what each is asked.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outcrop_agents::{Call, CallEnd, Endpoint, Function, Outcome, Target, Turn};
use outcrop_api::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use ureq::http::Uri;

use super::http::HttpRequest;
use super::{lambda, mcp};
use crate::session::Session;

/// The store's kind of the URLs that Lambda functions are mapped to, by the functions' ARNs.
const LAMBDAS: &str = "lambdas";

/// What a session's action groups may call. It is of the process: the headers are written nowhere.
#[derive(Default)]
pub(crate) struct Endpoints {
    hosts: Mutex<BTreeMap<String, HostAccess>>,
    lambdas: Mutex<BTreeMap<String, String>>,
}

/// How action groups call a host.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct HostAccess {
    /// Headers that every request carries. They are in no log and no trace.
    pub headers: BTreeMap<String, String>,
    /// Whether the host may be at an address of this machine or of a private network. One that is
    /// named by its address, and `localhost`, may be.
    pub private: bool,
}

/// Where a Lambda function is mapped to.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Lambda {
    arn: String,
    url: String,
}

impl Session {
    /// Lets action groups call the host `host` (`bank.example`, `localhost:8080`) as long as this
    /// session is open; `None` forbids it again. No host may be called that is not allowed.
    ///
    /// # Errors
    /// `ValidationException` for what is no host, or a header that is none.
    pub fn allow_host(&self, host: &str, access: Option<HostAccess>) -> Result<()> {
        let record = self.open_own_record("AllowHost", "host", host)?;
        let allowed = self.endpoints().allow(host, access);
        self.mcp_servers().close_forbidden(self.endpoints());
        record.close(allowed.as_ref().err())?;
        allowed
    }

    /// Maps the Lambda function `arn` to an HTTP endpoint, which is posted the events that Bedrock
    /// sends such a function and answers as it does; `None` takes the mapping away. It is kept in the
    /// home; where `of_process`, it is of this session only.
    ///
    /// # Errors
    /// `ValidationException` for what is no ARN of a Lambda function or no URL;
    /// `ResourceNotFoundException` where there is no mapping to take away.
    pub fn map_lambda(&self, arn: &str, url: Option<&str>, of_process: bool) -> Result<()> {
        let record = self.open_own_record("MapLambda", "arn", arn)?;
        let mapped = self.set_lambda(arn, url, of_process);
        record.close(mapped.as_ref().err())?;
        mapped
    }

    fn set_lambda(&self, arn: &str, url: Option<&str>, of_process: bool) -> Result<()> {
        let is_arn = arn.starts_with("arn:aws") && arn.contains(":lambda:");
        if !is_arn {
            return Err(Error::validation(format!(
                "arn: expected the ARN of a Lambda function, got {arn:?}"
            )));
        }
        let id = outcrop_agents::digest::of_bytes(arn.as_bytes());
        let mut own = locked(&self.endpoints().lambdas);
        let Some(url) = url else {
            let was_own = own.remove(arn).is_some();
            let was_kept = self.store().delete_record(LAMBDAS, &id)?;
            return match was_own || was_kept {
                true => Ok(()),
                false => Err(Error::not_found(unmapped(arn)).with_resource(arn)),
            };
        };
        parsed("url", url)?;
        if of_process {
            own.insert(arn.into(), url.into());
            return Ok(());
        }
        let (arn, url) = (arn.to_string(), url.to_string());
        Ok(self
            .store()
            .put_record(LAMBDAS, &id, &Lambda { arn, url })?)
    }

    /// The URL that a Lambda function is mapped to.
    ///
    /// # Errors
    /// `ValidationException` that names the function where it is mapped to none.
    pub(crate) fn lambda(&self, arn: &str) -> Result<String> {
        if let Some(url) = locked(&self.endpoints().lambdas).get(arn) {
            return Ok(url.clone());
        }
        let id = outcrop_agents::digest::of_bytes(arn.as_bytes());
        let kept: Option<Lambda> = self.store().get_record(LAMBDAS, &id)?;
        kept.map(|kept| kept.url)
            .ok_or_else(|| Error::validation(unmapped(arn)).with_resource(arn))
    }
}

impl Endpoints {
    fn allow(&self, host: &str, access: Option<HostAccess>) -> Result<()> {
        let is_host = host
            .parse::<ureq::http::uri::Authority>()
            .is_ok_and(|authority| authority.as_str() == host && !host.contains('@'));
        if !is_host {
            return Err(Error::validation(format!(
                "host: expected a host, such as bank.example or localhost:8080, got {host:?}"
            )));
        }
        for (name, value) in access.iter().flat_map(|access| &access.headers) {
            let is_name = ureq::http::HeaderName::try_from(name).is_ok();
            if !is_name || ureq::http::HeaderValue::try_from(value).is_err() {
                return Err(Error::validation(format!(
                    "headers: expected names and values of HTTP headers, {name:?} is none"
                )));
            }
        }
        let mut hosts = locked(&self.hosts);
        match access {
            Some(access) => hosts.insert(host.to_ascii_lowercase(), access),
            None => hosts.remove(&host.to_ascii_lowercase()),
        };
        Ok(())
    }

    /// How the host of a URL is called.
    ///
    /// # Errors
    /// `AccessDeniedException` for a host that is not allowed.
    pub(super) fn access(&self, url: &str) -> Result<HostAccess> {
        let uri = parsed("url", url)?;
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        let named = match uri.port_u16() {
            Some(port) => format!("{host}:{port}"),
            None => host.clone(),
        };
        let mut access = locked(&self.hosts).get(&named).cloned().ok_or_else(|| {
            Error::new(
                ErrorKind::AccessDeniedException,
                format!("the host {named} is not allowed: allow it by allow_host({named:?})"),
            )
        })?;
        let bare = host.trim_matches(['[', ']']);
        access.private |= host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok();
        Ok(access)
    }
}

/// A call of a function that the runtime runs.
pub(super) struct Asked {
    pub call: String,
    pub group: String,
    pub function: Function,
    pub arguments: Value,
    pub limit: Duration,
    pub session_id: String,
    /// What is said of the turn that asks.
    pub turn: TurnFacts,
    endpoint: Endpoint,
}

/// What an endpoint may be told of the turn that asks.
pub(super) struct TurnFacts {
    pub agent_name: String,
    pub agent_id: String,
    pub agent_version: String,
    pub input: String,
    pub session_attributes: BTreeMap<String, String>,
    pub prompt_session_attributes: BTreeMap<String, String>,
}

impl Asked {
    /// What `call` of the turn asks.
    ///
    /// # Errors
    /// `InternalServerException` for a call of another kind.
    pub fn of(turn: &Turn, call: &Call, session_id: &str, limit: Duration) -> Result<Self> {
        let agent = turn.agent();
        let found = match &call.target {
            Some(Target::Function {
                action_group,
                function,
                ..
            }) => agent.action_groups.iter().find_map(|group| {
                let mut functions = group.functions.iter();
                let function = functions.find(|one| one.name == *function)?;
                (group.name == *action_group).then_some((group, function))
            }),
            _ => None,
        };
        let found =
            found.and_then(|(group, function)| Some((group, function, group.endpoint.clone()?)));
        let (group, function, endpoint) =
            found.ok_or_else(|| Error::internal(format!("call {} is of no endpoint", call.id)))?;
        let beginning = &turn.beginning;
        Ok(Self {
            call: call.id.clone(),
            group: group.name.clone(),
            function: function.clone(),
            arguments: call.arguments.clone(),
            limit,
            session_id: session_id.to_string(),
            turn: TurnFacts {
                agent_name: agent.name.clone(),
                agent_id: agent.id.clone(),
                agent_version: agent.version.clone(),
                input: beginning.input.clone(),
                session_attributes: beginning.session_attributes.clone(),
                prompt_session_attributes: beginning.prompt_session_attributes.clone(),
            },
            endpoint,
        })
    }

    /// Calls the endpoint; what came of it.
    pub async fn answered(self, session: Session) -> CallEnd {
        let call = self.call.clone();
        let failed = |error: Error| Outcome::Failed {
            error: error.message().to_string(),
        };
        match self.endpoint.clone() {
            Endpoint::Lambda { arn } => match session.lambda(&arn) {
                Ok(url) => lambda::called(self, &url).await,
                Err(error) => CallEnd::of(&call, failed(error), 0),
            },
            Endpoint::Mcp { server, .. } => {
                let outcome = mcp::called(&session, &self, &server).await;
                CallEnd::of(&call, outcome, 0)
            }
            Endpoint::Http { url } => {
                let outcome = match self.request(&session, &url) {
                    Err(error) => failed(error),
                    Ok(request) => {
                        let named = format!("{} {}", request.method, request.url);
                        match request.send(self.limit).await {
                            Ok(answer) => answer.outcome(&named),
                            Err(outcome) => outcome,
                        }
                    }
                };
                CallEnd::of(&call, outcome, 0)
            }
        }
    }

    /// The request that the function's place in its OpenAPI schema makes of the arguments.
    fn request(&self, session: &Session, base: &str) -> Result<HttpRequest> {
        let empty = Map::new();
        let arguments = self.arguments.as_object().unwrap_or(&empty);
        let base = base.trim_end_matches('/');
        let Some(api) = &self.function.api else {
            let url = format!("{base}/{}", self.function.name);
            let access = session.endpoints().access(&url)?;
            return Ok(HttpRequest {
                method: "POST".into(),
                url,
                headers: access.headers.into_iter().collect(),
                body: Some(self.arguments.clone()),
                allows_private: access.private,
            });
        };
        let (media, members) = api.body.iter().next().unzip();
        if let Some(media) = media.filter(|media| !media.starts_with("application/json")) {
            return Err(Error::validation(format!(
                "{} {}: a body of {media} cannot be sent: expected application/json",
                api.method, api.path
            )));
        }
        let is_of_body = |name: &String| members.is_some_and(|members| members.contains(name));
        let (mut path, mut query, mut headers) = (api.path.clone(), Vec::new(), Vec::new());
        let mut body = Map::new();
        for (name, value) in arguments {
            let place = format!("{{{name}}}");
            if is_of_body(name) {
                body.insert(name.clone(), value.clone());
            } else if path.contains(&place) {
                path = path.replace(&place, &in_path(name, value)?);
            } else if api.headers.contains(name) {
                headers.push((name.clone(), words(value)));
            } else {
                let values = match value {
                    Value::Array(items) => items.iter().map(words).collect(),
                    one => vec![words(one)],
                };
                let pairs = values.into_iter();
                query.extend(pairs.map(|value| format!("{}={}", encoded(name), encoded(&value))));
            }
        }
        let mut url = format!("{base}{path}");
        if !query.is_empty() {
            url = format!("{url}?{}", query.join("&"));
        }
        let access = session.endpoints().access(&url)?;
        // What the session says of a host stands before what a model says.
        let said = |name: &str| {
            let mut names = access.headers.keys();
            names.any(|own| own.eq_ignore_ascii_case(name))
        };
        headers.retain(|(name, _)| !said(name));
        headers.extend(access.headers.clone());
        Ok(HttpRequest {
            method: api.method.clone(),
            url,
            headers,
            body: media.map(|_| Value::Object(body)),
            allows_private: access.private,
        })
    }
}

/// The URI of an endpoint.
///
/// # Errors
/// `ValidationException` for what is no URL of HTTP, or one with a name and a password in it.
pub(super) fn parsed(place: &str, url: &str) -> Result<Uri> {
    let uri = url.parse::<Uri>().ok().filter(|uri| {
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        let authority = uri.authority().map(|authority| authority.as_str());
        is_http && authority.is_some_and(|authority| !authority.contains('@'))
    });
    uri.ok_or_else(|| {
        Error::validation(format!(
            "{place}: expected a URL such as https://bank.example/v1, got {url:?}"
        ))
    })
}

fn unmapped(arn: &str) -> String {
    format!(
        "The Lambda function {arn} is not mapped to anything of this machine: map it by \
         map_lambda({arn:?}, ...)"
    )
}

/// A value as it stands in a path: one part of it, and none that leads elsewhere.
fn in_path(name: &str, value: &Value) -> Result<String> {
    let words = words(value);
    match words.as_str() {
        "" | "." | ".." => Err(Error::validation(format!(
            "{name}: expected a part of a path, got {words:?}"
        ))),
        words => Ok(encoded(words)),
    }
}

fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Percent-encoded, all but letters, digits, `-`, `.`, `_` and `~`.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in it is put there whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
