//! Server-sent events (HTML Living Standard, section 9.2), as far as OpenAI's form uses them.

use std::io::{BufRead, BufReader, Read};

/// Most bytes of one event.
const MAX_EVENT: usize = 16 << 20;

/// The data of events as they come. It blocks between them.
pub(super) struct ServerEvents<R> {
    lines: BufReader<R>,
}

impl<R: Read> ServerEvents<R> {
    pub fn new(reader: R) -> Self {
        Self {
            lines: BufReader::new(reader),
        }
    }

    /// The data of the next event: its `data` lines, a line end between them. `None` at the end.
    ///
    /// # Errors
    /// Where the connection breaks, or an event is longer than 16 MiB.
    pub fn next(&mut self) -> std::io::Result<Option<String>> {
        let mut data: Option<String> = None;
        loop {
            let mut line = Vec::new();
            let room = MAX_EVENT - data.as_ref().map_or(0, String::len);
            let read = (&mut self.lines)
                .take(room as u64)
                .read_until(b'\n', &mut line)?;
            if read == room {
                return Err(std::io::Error::other("an event is longer than 16 MiB"));
            }
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                match data {
                    Some(data) => return Ok(Some(data)),
                    None if read == 0 => return Ok(None),
                    None => continue,
                }
            }
            let Some(value) = line.strip_prefix("data:") else {
                continue;
            };
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => data = Some(value.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn events_are_told_apart() {
        let text =
            ": hello\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\n\n\nevent: x\ndata:b\n\ndata: [DONE]";
        let mut events = ServerEvents::new(text.as_bytes());
        let mut next = || events.next().unwrap();
        assert_eq!(next().unwrap(), "{\"a\":\n1}");
        assert_eq!(next().unwrap(), "b");
        assert_eq!(next().unwrap(), "[DONE]");
        assert_eq!(next(), None);
    }
}
