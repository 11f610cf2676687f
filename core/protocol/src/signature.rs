//! AWS Signature Version 4: read from a request and verified against the caller's secret.
//!
//! The form is that of AWS's reference: a canonical request is hashed into a string to sign, and the
//! signature is its HMAC-SHA256 under a key derived from the secret, the day, the region and the
//! service. Bedrock's clients encode the path once to send it and once more to sign it.

mod canonical;
mod clock;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::refusal::Refusal;
pub(crate) use canonical::Head;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "bedrock";
const TERMINATOR: &str = "aws4_request";
/// Clocks of caller and server may differ by so many seconds.
const SKEW: i64 = 300;
/// A signed address is good for at most a week.
const LONGEST_EXPIRY: i64 = 604_800;
/// What a caller states in place of the payload's hash.
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
const SIGNED_EVENTS: &str = "STREAMING-AWS4-HMAC-SHA256-EVENTS";

/// A request's signature, as its caller stated it.
pub(crate) struct Signature {
    access_key: String,
    /// Day, region, service and terminator.
    scope: [String; 4],
    signed_headers: Vec<String>,
    signature: String,
    /// When it was signed, as it was stated.
    timestamp: String,
    /// Seconds that a signed address is good for.
    expires: Option<i64>,
    payload: Payload,
}

/// What the signature says of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    /// The body's SHA-256 is part of the signature, and is not known before the body.
    OfBody,
    /// The body has this SHA-256.
    Stated(String),
    /// The caller left the body out.
    Unsigned,
    /// The body is a stream of events, each with a signature of its own.
    Events,
}

impl Signature {
    /// The signature of a request, where it has one of this kind: in its `Authorization` header, or
    /// in the query of a signed address.
    pub fn read(head: &Head<'_>) -> Result<Option<Self>, Refusal> {
        if let Some(value) = head.header("authorization") {
            return match value.strip_prefix(ALGORITHM) {
                Some(parts) if parts.starts_with([' ', '\t']) => {
                    Self::of_header(head, parts).map(Some)
                }
                _ => Ok(None),
            };
        }
        match head.query_value("X-Amz-Algorithm").as_deref() {
            Some(ALGORITHM) => Self::of_query(head).map(Some),
            _ => Ok(None),
        }
    }

    fn of_header(head: &Head<'_>, parts: &str) -> Result<Self, Refusal> {
        let part = |name: &str| {
            let mut parts = parts.split(',').map(str::trim);
            parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        };
        let required = |name: &str| {
            part(name).ok_or_else(|| {
                Refusal::incomplete(format!("Authorization header requires '{name}' parameter."))
            })
        };
        let (access_key, scope) = credential(required("Credential")?)?;
        let timestamp = match head.header("x-amz-date").or_else(|| head.header("date")) {
            Some(date) => date.to_string(),
            None => {
                return Err(Refusal::incomplete(
                    "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' \
                     header.",
                ));
            }
        };
        Ok(Self {
            access_key,
            scope,
            signed_headers: split_headers(required("SignedHeaders")?),
            signature: required("Signature")?.to_string(),
            timestamp,
            expires: None,
            payload: stated_payload(head)?,
        })
    }

    fn of_query(head: &Head<'_>) -> Result<Self, Refusal> {
        let required = |name: &str| {
            head.query_value(name).ok_or_else(|| {
                Refusal::incomplete(format!(
                    "AWS query-string parameters must include '{name}'."
                ))
            })
        };
        let (access_key, scope) = credential(&required("X-Amz-Credential")?)?;
        let expires = required("X-Amz-Expires")?;
        let expires = expires
            .parse()
            .ok()
            .filter(|seconds| (1..=LONGEST_EXPIRY).contains(seconds))
            .ok_or_else(|| {
                Refusal::incomplete(format!(
                    "X-Amz-Expires must be a number of seconds between 1 and {LONGEST_EXPIRY}, got \
                     {expires}."
                ))
            })?;
        Ok(Self {
            access_key,
            scope,
            signed_headers: split_headers(&required("X-Amz-SignedHeaders")?),
            signature: required("X-Amz-Signature")?,
            timestamp: required("X-Amz-Date")?,
            expires: Some(expires),
            payload: stated_payload(head)?,
        })
    }

    /// The id of the access key that it was made with.
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// What it says of the body.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Checks all that does not depend on the secret: scope, time and the headers that must be
    /// signed. `now` is in seconds since 1970.
    pub fn check_scope(&self, head: &Head<'_>, now: i64) -> Result<(), Refusal> {
        let [day, region, service, terminator] = &self.scope;
        if service != SERVICE {
            return Err(Refusal::invalid_signature(format!(
                "Credential should be scoped to correct service: '{SERVICE}'."
            )));
        }
        if terminator != TERMINATOR {
            return Err(Refusal::invalid_signature(format!(
                "Credential should be scoped with a valid terminator: '{TERMINATOR}', not \
                 '{terminator}'."
            )));
        }
        if region.is_empty() {
            return Err(Refusal::invalid_signature(
                "Credential should be scoped to a valid region.",
            ));
        }
        let signed = clock::parse(&self.timestamp).ok_or_else(|| {
            Refusal::incomplete(format!(
                "Date must be in ISO-8601 'basic format'. Got '{}'.",
                self.timestamp
            ))
        })?;
        let stamp = clock::basic(signed);
        if !stamp.starts_with(day.as_str()) || day.len() != 8 {
            return Err(Refusal::invalid_signature(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from \
                 HTTP: '{day}' != '{}', from '{}'.",
                stamp.get(..8).unwrap_or_default(),
                self.timestamp
            )));
        }
        self.check_time(signed, now)?;
        self.check_signed_headers(head)
    }

    fn check_time(&self, signed: i64, now: i64) -> Result<(), Refusal> {
        let stamp = clock::basic(signed);
        if signed > now + SKEW {
            return Err(Refusal::invalid_signature(format!(
                "Signature not yet current: {stamp} is still later than {} ({} + 5 min.)",
                clock::basic(now + SKEW),
                clock::basic(now)
            )));
        }
        match self.expires {
            None if signed < now - SKEW => Err(Refusal::invalid_signature(format!(
                "Signature expired: {stamp} is now earlier than {} ({} - 5 min.)",
                clock::basic(now - SKEW),
                clock::basic(now)
            ))),
            Some(seconds) if signed + seconds < now => Err(Refusal::invalid_signature(format!(
                "Signature expired: {} is now earlier than {}",
                clock::basic(signed + seconds),
                clock::basic(now)
            ))),
            _ => Ok(()),
        }
    }

    fn check_signed_headers(&self, head: &Head<'_>) -> Result<(), Refusal> {
        let is_signed = |name: &str| self.signed_headers.iter().any(|signed| signed == name);
        if !is_signed("host") && !is_signed(":authority") {
            return Err(Refusal::invalid_signature(
                "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
            ));
        }
        let unsigned = head.headers.iter().find(|(name, _)| {
            let name = name.to_ascii_lowercase();
            name.starts_with("x-amz-") && name != "x-amz-content-sha256" && !is_signed(&name)
        });
        match unsigned {
            Some((name, _)) => Err(Refusal::invalid_signature(format!(
                "'{name}' must be a 'SignedHeader' in the AWS Authorization."
            ))),
            None => Ok(()),
        }
    }

    /// Whether `secret` made this signature over the request, whose body is spoken of as `payload`.
    /// Takes the same time whatever byte differs.
    pub fn is_by(&self, secret: &str, head: &Head<'_>, payload: &str) -> bool {
        let Some(given) = unhex(&self.signature) else {
            return false;
        };
        let request = head.canonical(&self.signed_headers, payload);
        let [day, region, service, terminator] = &self.scope;
        let stamp = clock::parse(&self.timestamp).map(clock::basic);
        let to_sign = format!(
            "{ALGORITHM}\n{}\n{day}/{region}/{service}/{terminator}\n{}",
            stamp.unwrap_or_default(),
            hex(&Sha256::digest(request))
        );
        let mut key = format!("AWS4{secret}").into_bytes();
        for part in &self.scope {
            key = keyed(&key, part).finalize().into_bytes().to_vec();
        }
        keyed(&key, &to_sign).verify_slice(&given).is_ok()
    }
}

impl Payload {
    /// How the canonical request speaks of a body with the SHA-256 `digest`.
    pub fn spoken<'a>(&'a self, digest: &'a str) -> &'a str {
        match self {
            Self::OfBody => digest,
            Self::Stated(hash) => hash,
            Self::Unsigned => UNSIGNED_PAYLOAD,
            Self::Events => SIGNED_EVENTS,
        }
    }
}

fn stated_payload(head: &Head<'_>) -> Result<Payload, Refusal> {
    match head.header("x-amz-content-sha256") {
        None => Ok(Payload::OfBody),
        Some(UNSIGNED_PAYLOAD) => Ok(Payload::Unsigned),
        Some(SIGNED_EVENTS) => Ok(Payload::Events),
        Some(hash) if unhex(hash).is_some_and(|hash| hash.len() == 32) => {
            Ok(Payload::Stated(hash.to_string()))
        }
        Some(other) => Err(Refusal::invalid_signature(format!(
            "x-amz-content-sha256 must be {UNSIGNED_PAYLOAD}, {SIGNED_EVENTS} or a SHA-256 in \
             hexadecimal, got '{other}'."
        ))),
    }
}

fn credential(text: &str) -> Result<(String, [String; 4]), Refusal> {
    let mut parts = text.rsplitn(5, '/').map(String::from);
    let mut next = || parts.next();
    match (next(), next(), next(), next(), next()) {
        (Some(terminator), Some(service), Some(region), Some(day), Some(key)) => {
            Ok((key, [day, region, service, terminator]))
        }
        _ => Err(Refusal::incomplete(format!(
            "Credential must have at least 5 slash-delimited elements, e.g. \
             keyid/date/region/service/term, got '{text}'."
        ))),
    }
}

fn split_headers(text: &str) -> Vec<String> {
    text.split(';').map(str::to_ascii_lowercase).collect()
}

fn keyed(key: &[u8], text: &str) -> Hmac<Sha256> {
    let mut mac = match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) => mac,
        // HMAC takes keys of every length: this arm is never reached.
        Err(_) => Hmac::new(&Default::default()),
    };
    mac.update(text.as_bytes());
    mac
}

/// Bytes as lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let digit = |byte: u8| {
        (byte as char)
            .to_digit(16)
            .filter(|_| !byte.is_ascii_uppercase())
    };
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some((digit(*high)? * 16 + digit(*low)?) as u8),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests;
