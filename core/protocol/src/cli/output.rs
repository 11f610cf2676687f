//! Standard output: JSON lines, or tables for people.

use std::io::{ErrorKind, Write};

use outcrop::api::Result;
use serde::Serialize;

use crate::cli::unwritable;
use outcrop::to_json;

/// Where a command's results go.
pub(super) struct Output {
    pub is_json: bool,
    reader_is_gone: bool,
}

impl Output {
    pub fn new(is_json: bool) -> Self {
        Self {
            is_json,
            reader_is_gone: false,
        }
    }

    /// Writes `text` as it is.
    pub fn text(&mut self, text: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes()).map_err(|error| {
            self.reader_is_gone = error.kind() == ErrorKind::BrokenPipe;
            unwritable(error)
        })
    }

    /// Writes one value as a line of JSON.
    pub fn json(&mut self, value: &impl Serialize) -> Result<()> {
        self.text(&(to_json(value)? + "\n"))
    }

    /// Writes rows under their columns' names.
    pub fn table<const N: usize>(&mut self, names: [&str; N], rows: &[[String; N]]) -> Result<()> {
        let mut widths = names.map(|name| name.chars().count());
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut text = line(&names, &widths);
        for row in rows {
            text.push_str(&line(row, &widths));
        }
        self.text(&text)
    }

    /// Writes what is left.
    pub fn finish(&mut self) -> Result<()> {
        std::io::stdout().flush().map_err(|error| {
            self.reader_is_gone = error.kind() == ErrorKind::BrokenPipe;
            unwritable(error)
        })
    }

    /// Whether nobody reads any more.
    pub fn reader_is_gone(&self) -> bool {
        self.reader_is_gone
    }
}

fn line(cells: &[impl AsRef<str>], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let padding = width.saturating_sub(cell.as_ref().chars().count());
        line.push_str(cell.as_ref());
        line.push_str(&" ".repeat(padding + 2));
    }
    line.truncate(line.trim_end().len());
    line + "\n"
}

/// A number of bytes, for people: `91 MB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 99.5 { 0 } else { 1 };
    format!("{value:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        for (bytes, shown) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (90_900_000, "90.9 MB"),
            (1_313_000_000, "1.3 GB"),
            (999_999, "1.0 MB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
    }

    #[test]
    fn columns_are_aligned() {
        assert_eq!(line(&["a", "béé", "c"], &[3, 4, 9]), "a    béé   c\n");
    }
}
