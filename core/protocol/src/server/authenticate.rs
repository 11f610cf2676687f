//! Who asks: a signature or a bearer token, checked against the home's keys.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use outcrop::Error;
use outcrop::governance::{AccessKey, AccessKeys, Principal};
use sha2::{Digest, Sha256};

use crate::http::HttpRequest;
use crate::refusal::Refusal;
use crate::signature::{Head, Payload, Signature, hex};

/// What begins a short-term key of Bedrock: behind it is a signed address in base64.
const SIGNED_ADDRESS: &str = "bedrock-api-key-";
/// What is put behind the address after it was signed.
const TOKEN_VERSION: &str = "&Version=1";

/// Who asks, as far as a request's head tells.
pub(super) struct Identified {
    key: AccessKey,
    /// The signature, where the body is part of it.
    signature: Option<Signature>,
}

impl Identified {
    /// Checks all that the head of `request` tells, before its body is read.
    pub fn by_head(keys: &AccessKeys, request: &HttpRequest) -> Result<Self, Refusal> {
        let head = head(request);
        if let Some(signature) = Signature::read(&head)? {
            return Self::by_signature(keys, &head, signature);
        }
        let key = match bearer_token(&head) {
            None => return Err(Refusal::missing_token()),
            Some(token) => match token.strip_prefix(SIGNED_ADDRESS) {
                Some(address) => by_signed_address(keys, address)?,
                None => live(keys.by_token(token), Refusal::unknown_bearer)?,
            },
        };
        Ok(Self {
            key,
            signature: None,
        })
    }

    fn by_signature(
        keys: &AccessKeys,
        head: &Head<'_>,
        signature: Signature,
    ) -> Result<Self, Refusal> {
        // Keys here have no session tokens.
        if head.header("x-amz-security-token").is_some() {
            return Err(Refusal::unrecognized());
        }
        let key = live(keys.by_id(signature.access_key()), Refusal::unrecognized)?;
        signature.check_scope(head, now())?;
        // With the payload stated, the signature shows before the body is read.
        let payload = signature.payload();
        if *payload != Payload::OfBody && !signature.is_by(key.secret(), head, payload.spoken("")) {
            return Err(Refusal::mismatch());
        }
        Ok(Self {
            key,
            signature: Some(signature),
        })
    }

    /// Whether the body is to be read at all: not where it is a stream of signed events, which are
    /// checked one by one or not at all.
    pub fn reads_body(&self) -> bool {
        let payload = self.signature.as_ref().map(Signature::payload);
        payload != Some(&Payload::Events)
    }

    /// Checks the body of `request` against what was signed.
    pub fn with_body(self, request: &HttpRequest) -> Result<Principal, Refusal> {
        if let Some(signature) = &self.signature {
            let digest = || hex(&Sha256::digest(&request.body));
            let is_signed = match signature.payload() {
                Payload::Unsigned | Payload::Events => true,
                Payload::Stated(stated) => *stated == digest(),
                Payload::OfBody => signature.is_by(self.key.secret(), &head(request), &digest()),
            };
            if !is_signed {
                return Err(Refusal::mismatch());
            }
        }
        Ok(Principal::key(self.key.name(), self.key.id()))
    }
}

/// The key that signed the address in a short-term key of Bedrock.
fn by_signed_address(keys: &AccessKeys, address: &str) -> Result<AccessKey, Refusal> {
    let address = STANDARD
        .decode(address)
        .or_else(|_| STANDARD_NO_PAD.decode(address))
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(Refusal::unknown_bearer)?;
    let address = address.strip_suffix(TOKEN_VERSION).unwrap_or(&address);
    let (place, query) = address
        .split_once('?')
        .ok_or_else(Refusal::unknown_bearer)?;
    let (host, path) = place.split_once('/').unwrap_or((place, ""));
    let headers = [("host".to_string(), host.to_string())];
    let path = format!("/{path}");
    let head = Head {
        method: "POST",
        path: &path,
        query,
        headers: &headers,
    };
    if head.query_value("Action").as_deref() != Some("CallWithBearerToken") {
        return Err(Refusal::unknown_bearer());
    }
    let signature = Signature::read(&head)?.ok_or_else(Refusal::unknown_bearer)?;
    let key = live(keys.by_id(signature.access_key()), Refusal::unknown_bearer)?;
    signature.check_scope(&head, now())?;
    let digest = hex(&Sha256::digest(b""));
    match signature.is_by(key.secret(), &head, signature.payload().spoken(&digest)) {
        true => Ok(key),
        false => Err(Refusal::unknown_bearer()),
    }
}

/// The key that was found, unless it is past its time.
fn live(
    found: Result<Option<AccessKey>, Error>,
    unknown: fn() -> Refusal,
) -> Result<AccessKey, Refusal> {
    match found {
        Ok(Some(key)) if key.is_expired() => Err(Refusal::expired()),
        Ok(Some(key)) => Ok(key),
        Ok(None) => Err(unknown()),
        Err(error) => Err(Refusal::new(
            "InternalServerException",
            500,
            error.message(),
        )),
    }
}

/// The token of `Authorization: Bearer`, or the key that Anthropic's clients send.
fn bearer_token<'a>(head: &Head<'a>) -> Option<&'a str> {
    let bearer = head.header("authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    bearer.or_else(|| head.header("x-api-key"))
}

fn head(request: &HttpRequest) -> Head<'_> {
    Head {
        method: &request.method,
        path: &request.path,
        query: &request.query,
        headers: &request.headers,
    }
}

fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
