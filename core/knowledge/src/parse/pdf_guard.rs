//! Refuses PDFs that would make their reader run without end, before it reads them.

use std::io::Read;

use flate2::read::ZlibDecoder;
use pdf_extract::content::Content;
use pdf_extract::{Dictionary, Document, Object, ObjectId, Stream};

use super::ParseError;

/// Most bytes that all streams of a file may hold when they are expanded: 512 MiB.
const MAX_EXPANDED_BYTES: u64 = 512 << 20;
/// Most bytes of a stream in LZW, which expands up to some thousand times.
const MAX_LZW_BYTES: usize = 256 << 10;
/// Most levels of pages above a page, and of forms inside forms.
const MAX_DEPTH: usize = 24;
/// Most drawings of forms on one page.
const MAX_FORMS: usize = 2_000;

/// Checks that the streams of a file do not expand beyond [`MAX_EXPANDED_BYTES`].
///
/// # Errors
/// `TooLarge`.
pub(super) fn check_expansion(bytes: &[u8]) -> Result<(), ParseError> {
    let mut total = 0;
    let mut rest = bytes;
    while let Some(at) = find(rest, b"stream") {
        rest = &rest[at + b"stream".len()..];
        let data = match rest {
            [b'\r', b'\n', data @ ..] | [b'\n', data @ ..] | [b'\r', data @ ..] => data,
            _ => continue,
        };
        // A zlib header: method 8, and divisible by 31 (RFC 1950).
        if let [method, flags, ..] = *data
            && method & 15 == 8
            && (u16::from(method) * 256 + u16::from(flags)) % 31 == 0
        {
            let mut stream = ZlibDecoder::new(data).take(MAX_EXPANDED_BYTES - total + 1);
            // What cannot be expanded is the reader's to report.
            let mut sink = CountingSink(0);
            let _ = std::io::copy(&mut stream, &mut sink);
            total += sink.0;
            if total > MAX_EXPANDED_BYTES {
                return Err(ParseError::TooLarge {
                    what: "PDF streams when expanded".into(),
                    limit: MAX_EXPANDED_BYTES,
                    got: total,
                });
            }
        }
    }
    Ok(())
}

struct CountingSink(u64);

impl std::io::Write for CountingSink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    while let Some(at) = haystack[from..].iter().position(|&byte| byte == first) {
        if haystack[from + at..].starts_with(needle) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// Empties the images of a document: they hold no text, and the reader would take their samples
/// for drawing instructions.
pub(super) fn drop_images(document: &mut Document) {
    for object in document.objects.values_mut() {
        if let Object::Stream(stream) = object {
            let subtype = stream.dict.get(b"Subtype").and_then(Object::as_name).ok();
            if matches!(subtype, Some(b"Image" | b"PS")) {
                stream.dict = Dictionary::new();
                stream.content = Vec::new();
            }
        }
    }
}

/// Checks that a page's tree and forms end.
///
/// # Errors
/// What does not.
pub(super) fn check_page(document: &Document, page: ObjectId) -> Result<(), String> {
    let mut node = document.get_dictionary(page).map_err(|e| e.to_string())?;
    let mut resources = None;
    for depth in 0.. {
        if depth > MAX_DEPTH {
            return Err(format!("its page tree is deeper than {MAX_DEPTH}"));
        }
        if resources.is_none() {
            resources = node
                .get_deref(b"Resources", document)
                .and_then(Object::as_dict)
                .ok();
        }
        match node
            .get(b"Parent")
            .and_then(Object::as_reference)
            .and_then(|id| document.get_dictionary(id))
        {
            Ok(parent) => node = parent,
            Err(_) => break,
        }
    }
    for id in document.get_page_contents(page) {
        if let Ok(stream) = document.get_object(id).and_then(Object::as_stream) {
            check_filters(stream)?;
        }
    }
    let content = document.get_page_content(page).map_err(|e| e.to_string())?;
    let empty = Dictionary::new();
    check_forms(document, &content, resources.unwrap_or(&empty), 0, &mut 0)
}

fn check_filters(stream: &Stream) -> Result<(), String> {
    let filters = stream.filters().unwrap_or_default();
    let expanding = |filter: &&&[u8]| matches!(**filter, b"FlateDecode" | b"LZWDecode");
    if filters.iter().filter(expanding).count() > 1 {
        return Err("a stream is compressed twice".into());
    }
    if filters.contains(&b"LZWDecode".as_slice()) && stream.content.len() > MAX_LZW_BYTES {
        return Err(format!(
            "an LZW stream: expected at most {MAX_LZW_BYTES} bytes, got {}",
            stream.content.len()
        ));
    }
    Ok(())
}

/// Follows `Do` as the reader does, so that a form that draws itself is found before the stack ends.
fn check_forms(
    document: &Document,
    content: &[u8],
    resources: &Dictionary,
    depth: usize,
    drawn: &mut usize,
) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("its forms are nested deeper than {MAX_DEPTH}"));
    }
    let content = Content::decode(content).map_err(|error| format!("its content: {error}"))?;
    for operation in content.operations.iter().filter(|op| op.operator == "Do") {
        *drawn += 1;
        if *drawn > MAX_FORMS {
            return Err(format!("it draws more than {MAX_FORMS} forms"));
        }
        let form = operation
            .operands
            .first()
            .and_then(|name| name.as_name().ok())
            .and_then(|name| {
                let forms = resources.get_deref(b"XObject", document).ok()?;
                forms.as_dict().ok()?.get_deref(name, document).ok()
            })
            .and_then(|form| form.as_stream().ok());
        let Some(form) = form else { continue };
        check_filters(form)?;
        let own = form
            .dict
            .get_deref(b"Resources", document)
            .and_then(Object::as_dict)
            .unwrap_or(resources);
        let content = form
            .decompressed_content()
            .unwrap_or_else(|_| form.content.clone());
        check_forms(document, &content, own, depth + 1, drawn)?;
    }
    Ok(())
}
