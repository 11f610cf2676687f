//! The canonical form of a request, which both sides hash.

use std::borrow::Cow;

/// A request without its body, as it came.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    /// In capitals.
    pub method: &'a str,
    /// Percent-encoded, as sent.
    pub path: &'a str,
    /// Percent-encoded, as sent, without the question mark.
    pub query: &'a str,
    /// In the order that they came in.
    pub headers: &'a [(String, String)],
}

impl<'a> Head<'a> {
    /// The first header of that lower-case name.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(given, _)| given.eq_ignore_ascii_case(name))?;
        Some(value.trim())
    }

    /// The decoded value of the first query parameter of that name.
    pub fn query_value(&self, name: &str) -> Option<String> {
        let mut pairs = self
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(key, _)| decode(key) == name.as_bytes())?;
        String::from_utf8(decode(value).into_owned()).ok()
    }

    /// The canonical request over `signed_headers`, with the body spoken of as `payload`.
    pub fn canonical(&self, signed_headers: &[String], payload: &str) -> String {
        let mut text = format!(
            "{}\n{}\n{}\n",
            self.method,
            canonical_path(self.path),
            canonical_query(self.query)
        );
        for name in signed_headers {
            text.push_str(name);
            text.push(':');
            text.push_str(&self.canonical_header(name));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&signed_headers.join(";"));
        text.push('\n');
        text.push_str(payload);
        text
    }

    /// The values of a header, joined, with runs of spaces as one. What HTTP/2 calls `:authority` is
    /// the host.
    fn canonical_header(&self, name: &str) -> String {
        let is_named = |name: &str| self.header(name).is_some();
        let name = match name {
            ":authority" if !is_named(name) => "host",
            name => name,
        };
        let given = self.headers.iter();
        let values = given.filter(|(given, _)| given.eq_ignore_ascii_case(name));
        let values = values.map(|(_, value)| {
            let words = value.split([' ', '\t']).filter(|word| !word.is_empty());
            words.collect::<Vec<_>>().join(" ")
        });
        values.collect::<Vec<_>>().join(",")
    }
}

/// The path without empty and dot segments, each percent-encoded once more than it was sent.
fn canonical_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let mut text = String::from("/");
    text.push_str(&encode(segments.join("/").as_bytes(), true));
    if !segments.is_empty() && path.ends_with('/') {
        text.push('/');
    }
    text
}

fn canonical_query(query: &str) -> String {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<(String, String)> = pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (encode(&decode(key), false), encode(&decode(value), false)))
        .filter(|(key, _)| key != "X-Amz-Signature")
        .collect();
    pairs.sort();
    let pairs = pairs.iter().map(|(key, value)| format!("{key}={value}"));
    pairs.collect::<Vec<_>>().join("&")
}

fn encode(bytes: &[u8], keeps_slashes: bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        let is_plain = byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        if is_plain || (byte == b'/' && keeps_slashes) {
            text.push(byte as char);
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Percent-decodes; a `%` that begins no pair of digits stays as it is.
fn decode(text: &str) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if !bytes.contains(&b'%') {
        return Cow::Borrowed(bytes);
    }
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digit = |at: usize| bytes.get(at).and_then(|byte| (*byte as char).to_digit(16));
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(decoded)
}
