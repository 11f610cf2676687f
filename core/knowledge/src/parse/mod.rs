//! Turns the bytes of a document into plain text that knows its pages and headings.
//!
//! One file a format. Every parser is total: whatever the bytes, it returns text or a reason, and
//! it reads a bounded amount in a bounded time.

mod builder;
mod docx;
mod html;
mod markdown;
mod pdf;
mod pdf_guard;
mod pdf_layout;
mod text;

use std::ops::Range;
use std::path::Path;

/// Most bytes of one file: 64 MiB. A larger file is an error, never cut.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// The formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Plain text: UTF-8, or UTF-16 with its byte order mark.
    Text,
    /// CommonMark with tables.
    Markdown,
    /// HTML, in UTF-8 or in the encoding that it declares.
    Html,
    /// PDF with a text layer.
    Pdf,
    /// Office Open XML text document.
    Docx,
}

impl Format {
    /// The extensions that are read, in lower case.
    pub const EXTENSIONS: &[&str] = &[
        "txt", "text", "md", "markdown", "html", "htm", "pdf", "docx",
    ];

    /// The format of a file by its extension, in any case.
    pub fn of(path: &Path) -> Option<Format> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        Some(match extension.as_str() {
            "txt" | "text" => Format::Text,
            "md" | "markdown" => Format::Markdown,
            "html" | "htm" => Format::Html,
            "pdf" => Format::Pdf,
            "docx" => Format::Docx,
            _ => return None,
        })
    }
}

impl Format {
    /// The format of a media type, parameters such as `charset` left out.
    pub fn of_media_type(media_type: &str) -> Option<Format> {
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        Some(match essence.to_ascii_lowercase().as_str() {
            "text/plain" => Format::Text,
            "text/markdown" => Format::Markdown,
            "text/html" => Format::Html,
            "application/pdf" => Format::Pdf,
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => {
                Format::Docx
            }
            _ => return None,
        })
    }
}

/// A heading of a parsed document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading {
    /// Depth, from 1.
    pub level: u8,
    /// Its text, as it stands in the document's text.
    pub text: String,
    /// Its bytes in the document's text.
    pub bytes: Range<usize>,
}

/// A document as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParsedDocument {
    /// The title, where the document states one.
    pub title: Option<String>,
    /// The whole text. Blocks are separated by a blank line, table rows and list items by a line
    /// break; cells of a row by ` | `.
    pub text: String,
    /// Characters (Unicode scalar values) of each page in `text`, in order; empty where the format
    /// has no pages.
    pub pages: Vec<Range<usize>>,
    /// Headings in order.
    pub headings: Vec<Heading>,
    /// Whether a single line break may stand inside a sentence, as in hard-wrapped plain text.
    pub wrapped: bool,
}

/// Why a document has no text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The bytes are not text in the expected encoding.
    #[error("not {encoding} text: invalid at byte {offset}")]
    Encoding {
        /// The encoding's name.
        encoding: &'static str,
        /// The offset of the first wrong byte.
        offset: usize,
    },
    /// A NUL byte: a binary file, or UTF-16 without its byte order mark.
    #[error("not a text file: NUL at byte {offset}")]
    Binary {
        /// The offset of the NUL.
        offset: usize,
    },
    /// The file is not well formed.
    #[error("broken {format}: {detail}")]
    Broken {
        /// The format's name.
        format: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// The file is readable with a password only.
    #[error("encrypted {0}: it asks for a password")]
    Encrypted(&'static str),
    /// A PDF of images.
    #[error("no text layer: none of its {pages} pages holds text")]
    NoTextLayer {
        /// How many pages it has.
        pages: usize,
    },
    /// Nothing but white space.
    #[error("the document holds no text")]
    Empty,
    /// More than the parser may read.
    #[error("{what}: expected at most {limit} bytes, got {got}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// The most bytes.
        limit: u64,
        /// How many there are; where counting stopped, the count so far.
        got: u64,
    },
    /// The parser took longer than it may.
    #[error("{format}: not read within {seconds} s")]
    TooSlow {
        /// The format's name.
        format: &'static str,
        /// The limit.
        seconds: u64,
    },
}

impl ParseError {
    pub(crate) fn broken(format: &'static str, detail: impl std::fmt::Display) -> Self {
        ParseError::Broken {
            format,
            detail: detail.to_string(),
        }
    }
}

/// The text of a document of `format`.
///
/// # Errors
/// The reason why it has none.
pub fn parse(format: Format, bytes: Vec<u8>) -> Result<ParsedDocument, ParseError> {
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(ParseError::TooLarge {
            what: "file".into(),
            limit: MAX_FILE_BYTES,
            got: bytes.len() as u64,
        });
    }
    let parsed = match format {
        Format::Text => text::parse(&bytes)?,
        Format::Markdown => markdown::parse(&text::decode(&bytes)?),
        Format::Html => html::parse(&html::decode(&bytes)?),
        Format::Pdf => pdf::parse(bytes)?,
        Format::Docx => docx::parse(&bytes)?,
    };
    if parsed.text.trim().is_empty() {
        return Err(ParseError::Empty);
    }
    Ok(parsed)
}

/// Text that is given as such, not as a file: line ends made `\n`, headings found as in plain text.
pub fn parse_text(text: String) -> ParsedDocument {
    text::read(&text)
}
