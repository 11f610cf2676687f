//! PDF: the text layer, page by page.
//!
//! The reader underneath may panic on a malformed file, so it runs on a thread of its own, with a
//! stack and a time that are bounded; a panic there is a reason here, and prints nothing.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::mpsc;
use std::time::Duration;

use pdf_extract::Document;

use super::builder::TextBuilder;
use super::pdf_layout::{PageLayout, Piece};
use super::{ParseError, ParsedDocument, pdf_guard};

/// Longest time for one file. The thread of a file that takes longer is left behind: it cannot be
/// stopped, and holds its memory until it ends.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Stack of the reading thread, in bytes.
const STACK_BYTES: usize = 32 << 20;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// The text of a PDF, with the characters of each page.
///
/// # Errors
/// A broken, encrypted or too slow file, or one without a text layer.
pub(super) fn parse(bytes: Vec<u8>) -> Result<ParsedDocument, ParseError> {
    silence_reader_panics();
    let (sender, receiver) = mpsc::channel();
    std::thread::Builder::new()
        .name("outcrop-pdf".into())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            QUIET.set(true);
            // The receiver is gone where the time ran out.
            let _ = sender.send(read(&bytes));
        })
        .map_err(|error| ParseError::broken("PDF", format!("no thread to read it: {error}")))?;
    match receiver.recv_timeout(TIME_LIMIT) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => Err(ParseError::TooSlow {
            format: "PDF",
            seconds: TIME_LIMIT.as_secs(),
        }),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(ParseError::broken("PDF", "unreadable")),
    }
}

/// Keeps panics of reading threads out of standard error: they are reasons, not news. Panics of all
/// other threads go to the hook that was there before.
fn silence_reader_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.try_with(Cell::get).unwrap_or(false) {
                previous(info);
            }
        }));
    });
}

fn read(bytes: &[u8]) -> Result<ParsedDocument, ParseError> {
    let document = guarded("the file", || open(bytes))??;
    let pages = guarded("the page tree", || document.get_pages())?;
    if pages.is_empty() {
        return Err(ParseError::broken("PDF", "it has no pages"));
    }
    let mut pieces: Vec<Vec<Piece>> = Vec::with_capacity(pages.len());
    for (&number, &id) in &pages {
        let what = format!("page {number}");
        guarded(&what, || pdf_guard::check_page(&document, id))?
            .map_err(|detail| ParseError::broken("PDF", format!("{what}: {detail}")))?;
        let mut layout = PageLayout::default();
        guarded(&what, || {
            pdf_extract::output_doc_page(&document, &mut layout, number)
        })?
        .map_err(|error| ParseError::broken("PDF", format!("{what}: {error}")))?;
        pieces.push(guarded(&what, || layout.pieces())?);
    }
    assemble(&pieces, stated_title(&document)).ok_or(ParseError::NoTextLayer {
        pages: pieces.len(),
    })
}

fn open(bytes: &[u8]) -> Result<Document, ParseError> {
    if !bytes[..bytes.len().min(1024)]
        .windows(5)
        .any(|w| w == b"%PDF-")
    {
        return Err(ParseError::broken("PDF", "it does not begin with %PDF-"));
    }
    pdf_guard::check_expansion(bytes)?;
    let mut document = Document::load_mem(bytes).map_err(|error| match error {
        pdf_extract::Error::InvalidPassword | pdf_extract::Error::Decryption(_) => {
            ParseError::Encrypted("PDF")
        }
        error => ParseError::broken("PDF", error),
    })?;
    if document.is_encrypted() {
        // Many files are encrypted with the empty password: they open for everybody.
        document
            .decrypt("")
            .map_err(|_| ParseError::Encrypted("PDF"))?;
    }
    pdf_guard::drop_images(&mut document);
    Ok(document)
}

/// Runs a step of the reader; its panic is a broken file.
fn guarded<T>(what: &str, step: impl FnOnce() -> T) -> Result<T, ParseError> {
    catch_unwind(AssertUnwindSafe(step)).map_err(|panic| {
        let detail = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("malformed");
        let line = detail.lines().next().unwrap_or_default();
        let short: String = line.chars().take(120).collect();
        ParseError::broken("PDF", format!("{what}: {short}"))
    })
}

fn stated_title(document: &Document) -> Option<String> {
    let info = document.trailer.get_deref(b"Info", document).ok()?;
    let title = info.as_dict().ok()?.get_deref(b"Title", document).ok()?;
    let bytes = title.as_str().ok()?;
    let text = match bytes {
        [0xFE, 0xFF, rest @ ..] => {
            let units: Vec<u16> = rest
                .as_chunks::<2>()
                .0
                .iter()
                .map(|&pair| u16::from_be_bytes(pair))
                .collect();
            String::from_utf16(&units).ok()?
        }
        _ => std::str::from_utf8(bytes).ok()?.to_owned(),
    };
    // Writers put their own default there.
    let text = text.trim().to_owned();
    let meaningless = text.is_empty()
        || ["untitled", "(anonymous)", "anonymous", "unspecified"]
            .contains(&text.to_lowercase().as_str());
    (!meaningless).then_some(text)
}

/// One text of the pages' pieces; none where no page holds text.
fn assemble(pages: &[Vec<Piece>], title: Option<String>) -> Option<ParsedDocument> {
    let body = body_size(pages);
    let mut out = TextBuilder::default();
    if let Some(title) = &title {
        out.set_title(title);
    }
    let mut ends = Vec::with_capacity(pages.len());
    for page in pages {
        out.end_group();
        for piece in page {
            match piece.heading_level(body) {
                Some(level) => out.heading(level, &piece.text),
                None => out.push(piece.kind, &piece.text),
            }
        }
        ends.push(out.len());
    }
    let mut document = out.finish();
    if document.text.is_empty() {
        return None;
    }
    let mut start = (0, 0);
    for end in ends {
        let chars = start.1 + document.text[start.0..end].chars().count();
        document.pages.push(start.1..chars);
        start = (end, chars);
    }
    Some(document)
}

/// The type size of most characters, in points.
fn body_size(pages: &[Vec<Piece>]) -> f64 {
    let mut sizes: Vec<(f64, usize)> = pages
        .iter()
        .flatten()
        .map(|piece| (piece.size, piece.text.len()))
        .collect();
    sizes.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = sizes.iter().map(|(_, length)| length).sum::<usize>() / 2;
    let mut seen = 0;
    for (size, length) in sizes {
        seen += length;
        if seen > half {
            return size;
        }
    }
    0.0
}
