//! From a request on a connection to its response.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use outcrop::governance::{Caller, Principal};
use tokio::sync::OwnedSemaphorePermit;

use crate::facades;
use crate::http::{Body, HttpRequest, HttpResponse};
use crate::refusal::Refusal;
use crate::server::Shared;
use crate::server::activity::Running;
use crate::server::authenticate::Identified;
use crate::server::request_body::drain;
use crate::server::response_body::ResponseBody;

/// Answers one request. Dropped before its end, it stops the work that it began.
pub(super) async fn answer(
    shared: Arc<Shared>,
    peer: SocketAddr,
    request: Request<Incoming>,
    mut running: Running,
) -> Result<Response<ResponseBody>, Infallible> {
    let (parts, mut body) = request.into_parts();
    let head = head(&parts);
    let response = match &head {
        Ok(head) if head.path == "/healthz" && matches!(head.method.as_str(), "GET" | "HEAD") => {
            healthy()
        }
        Ok(head) => match admit(&shared, peer, head, &mut body).await {
            Ok(admitted) => {
                running.keep(admitted.place);
                let (caller, request) = (admitted.caller, admitted.request);
                crate::handle(&shared.session, caller, request).await
            }
            Err(refusal) => {
                drain(&mut body).await;
                facades::refuse(&head.path, &head.headers, &refusal)
            }
        },
        Err(refusal) => facades::refuse(parts.uri.path(), &[], refusal),
    };
    Ok(send(&shared, response, running).await)
}

/// A request that may come to the desk.
struct Admitted {
    caller: Caller,
    request: HttpRequest,
    /// Its place among the requests in flight, and the room that its body takes.
    place: [Option<OwnedSemaphorePermit>; 2],
}

/// Finds a place, checks who asks, and reads the body.
async fn admit(
    shared: &Shared,
    peer: SocketAddr,
    head: &HttpRequest,
    body: &mut Incoming,
) -> Result<Admitted, Refusal> {
    let place = shared.requests.clone().try_acquire_owned().map_err(|_| {
        let message = format!(
            "Too many requests: {} are in flight.",
            shared.limits.requests
        );
        Refusal::new("ThrottlingException", 429, message)
    })?;
    let mut request = head.clone();
    let mut room = None;
    let identified = match shared.is_open {
        true => {
            check_local(head)?;
            None
        }
        false => Some(Identified::by_head(&shared.session.access_keys(), head)?),
    };
    let reads_body = identified.as_ref().is_none_or(Identified::reads_body);
    if reads_body {
        let received = shared.body_room.receive(body, &shared.limits).await?;
        request.body = received.bytes;
        room = received.room;
    }
    let principal = match identified {
        Some(identified) => identified.with_body(&request)?,
        None => Principal::owner(),
    };
    let caller = Caller {
        principal,
        source: peer.ip().to_string(),
        user_agent: head.header("user-agent").unwrap_or_default().to_string(),
    };
    Ok(Admitted {
        caller,
        request,
        place: [Some(place), room],
    })
}

/// Without keys, a web page that is open on this machine must not reach the server: its host would be
/// another name, or its origin another site.
fn check_local(head: &HttpRequest) -> Result<(), Refusal> {
    let host = head.header("host").unwrap_or_default();
    let origin = head.header("origin");
    let origin_host =
        origin.map(|origin| origin.split_once("://").map_or(origin, |(_, host)| host));
    if is_local(host) && origin_host.is_none_or(is_local) {
        return Ok(());
    }
    Err(Refusal::new(
        "AccessDeniedException",
        403,
        format!(
            "Without keys only this machine is answered: the host is {host:?}, the origin {}.",
            origin.unwrap_or("none")
        ),
    ))
}

fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_loopback = |address: IpAddr| address.is_loopback();
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_loopback)
}

fn head(parts: &hyper::http::request::Parts) -> Result<HttpRequest, Refusal> {
    let mut headers = Vec::with_capacity(parts.headers.len() + 1);
    for (name, value) in &parts.headers {
        let value = std::str::from_utf8(value.as_bytes()).map_err(|_| {
            let message = format!("The header {name} is not text.");
            Refusal::new("ValidationException", 400, message)
        })?;
        headers.push((name.to_string(), value.to_string()));
    }
    // HTTP/2 names the host beside the headers.
    if let Some(authority) = parts.uri.authority()
        && !parts.headers.contains_key("host")
    {
        headers.push(("host".to_string(), authority.to_string()));
    }
    Ok(HttpRequest {
        method: parts.method.to_string(),
        path: parts.uri.path().to_string(),
        query: parts.uri.query().unwrap_or_default().to_string(),
        headers,
        body: Vec::new(),
    })
}

fn healthy() -> HttpResponse {
    HttpResponse {
        status: 200,
        headers: vec![("Content-Type".into(), "application/json".into())],
        body: Body::Whole(br#"{"status":"ok"}"#.to_vec()),
    }
}

async fn send(shared: &Shared, response: HttpResponse, running: Running) -> Response<ResponseBody> {
    let body = match response.body {
        Body::Whole(bytes) => ResponseBody::whole(bytes),
        Body::Chunks(chunks) => {
            ResponseBody::streamed(chunks, shared.limits.reader_pause, running).await
        }
    };
    let mut sent = Response::new(body);
    *sent.status_mut() =
        StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in response.headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value)
            && name != "content-length"
        {
            sent.headers_mut().append(name, value);
        }
    }
    sent
}
