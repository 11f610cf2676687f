//! Event-stream frames: lengths, headers, payload, checksums.
//!
//! A frame is `total length, headers length, CRC-32 of these two, headers, payload, CRC-32 of all
//! before it`, numbers big-endian (the `application/vnd.amazon.eventstream` format).

/// The content type of a body of frames.
pub const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";

/// A header's value is a text: the only kind that these services send.
const TEXT: u8 = 7;
const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;

/// The frame of an event of a stream.
pub fn event(name: &str, payload: &[u8]) -> Vec<u8> {
    let headers = [
        (":event-type", name),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ];
    frame(&headers, payload)
}

/// The frame of a declared exception in mid-stream.
pub fn exception(name: &str, payload: &[u8]) -> Vec<u8> {
    let headers = [
        (":exception-type", name),
        (":content-type", "application/json"),
        (":message-type", "exception"),
    ];
    frame(&headers, payload)
}

fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let length = |(name, value): &(&str, &str)| 1 + name.len() + 1 + 2 + value.len();
    let header_bytes: usize = headers.iter().map(length).sum();
    let total = PRELUDE + header_bytes + payload.len() + CHECKSUM;
    let mut bytes = Vec::with_capacity(total);
    bytes.extend((total as u32).to_be_bytes());
    bytes.extend((header_bytes as u32).to_be_bytes());
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    for (name, value) in headers {
        bytes.push(name.len() as u8);
        bytes.extend(name.as_bytes());
        bytes.push(TEXT);
        bytes.extend((value.len() as u16).to_be_bytes());
        bytes.extend(value.as_bytes());
    }
    bytes.extend(payload);
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes
}

/// A frame that was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its headers in their order. A value that is not a text is left empty.
    pub headers: Vec<(String, String)>,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(it, _)| it == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Reads the first frame of `bytes` and says how many bytes it took; `None` where it is not all there.
///
/// # Errors
/// A sentence that says what of the frame is damaged.
pub fn read(bytes: &[u8]) -> Result<Option<(Frame, usize)>, String> {
    let (Some(total), Some(header_bytes), Some(checksum)) =
        (number(bytes, 0), number(bytes, 4), number(bytes, 8))
    else {
        return Ok(None);
    };
    let (total, header_bytes) = (total as usize, header_bytes as usize);
    if crc32fast::hash(&bytes[..8]) != checksum {
        return Err("the checksum of the lengths is wrong".to_string());
    }
    if total < PRELUDE + CHECKSUM || header_bytes > total - PRELUDE - CHECKSUM {
        return Err(format!(
            "{header_bytes} bytes of headers do not fit a frame of {total}"
        ));
    }
    let Some(bytes) = bytes.get(..total) else {
        return Ok(None);
    };
    let (body, end) = bytes.split_at(total - CHECKSUM);
    if number(end, 0) != Some(crc32fast::hash(body)) {
        return Err("the checksum of the frame is wrong".to_string());
    }
    let (headers, payload) = body[PRELUDE..].split_at(header_bytes);
    let frame = Frame {
        headers: read_headers(headers).ok_or("a header is cut off or of an unknown kind")?,
        payload: payload.to_vec(),
    };
    Ok(Some((frame, total)))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

fn read_headers(mut bytes: &[u8]) -> Option<Vec<(String, String)>> {
    let mut headers = Vec::new();
    while let Some((&length, rest)) = bytes.split_first() {
        let (name, rest) = rest.split_at_checked(length as usize)?;
        let (&kind, rest) = rest.split_first()?;
        let (size, rest) = match kind {
            0 | 1 => (0, rest),
            2 => (1, rest),
            3 => (2, rest),
            4 => (4, rest),
            5 | 8 => (8, rest),
            9 => (16, rest),
            6 | TEXT => {
                let (size, rest) = rest.split_at_checked(2)?;
                (u16::from_be_bytes(size.try_into().ok()?) as usize, rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(size)?;
        let value = if kind == TEXT { value } else { &[] };
        headers.push((
            String::from_utf8(name.to_vec()).ok()?,
            String::from_utf8(value.to_vec()).ok()?,
        ));
        bytes = rest;
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let bytes = event("messageStart", br#"{"role":"assistant"}"#);
        let (frame, taken) = read(&bytes).unwrap().unwrap();
        assert_eq!(taken, bytes.len());
        let names: Vec<_> = frame
            .headers
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names, [":event-type", ":content-type", ":message-type"]);
        assert_eq!(frame.header(":event-type"), Some("messageStart"));
        assert_eq!(frame.payload, br#"{"role":"assistant"}"#);
        assert_eq!(read(&bytes[..bytes.len() - 1]), Ok(None));
    }

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let bytes = exception("x", b"{}");
        assert_eq!(bytes[..4], (bytes.len() as u32).to_be_bytes());
        assert_eq!(&bytes[12..28], b"\x0f:exception-type");
        assert_eq!(&bytes[28..32], b"\x07\x00\x01x");
    }

    #[test]
    fn a_changed_byte_is_found() {
        let good = event("chunk", b"{\"bytes\":\"YQ==\"}");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert_ne!(
                read(&bad).ok().flatten().map(|it| it.1),
                Some(good.len()),
                "byte {at}"
            );
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn frames_survive(name in "[a-z]{1,40}", payload in prop::collection::vec(any::<u8>(), 0..500)) {
            let bytes = event(&name, &payload);
            let (frame, taken) = read(&bytes).unwrap().unwrap();
            prop_assert_eq!(taken, bytes.len());
            prop_assert_eq!(frame.header(":event-type"), Some(name.as_str()));
            prop_assert_eq!(frame.payload, payload);
        }
    }
}
