//! DOCX (Office Open XML, ECMA-376): paragraphs, headings, lists, tables and notes of the main part.
//!
//! Page headers and footers, comments and deleted text are not part of the text.

use std::collections::HashMap;
use std::io::{Cursor, Read};

use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};
use zip::ZipArchive;

use super::builder::{Block, TextBuilder, collapse, collapse_lines};
use super::{ParseError, ParsedDocument};

/// Most bytes of one part when it is expanded: 128 MiB.
const MAX_PART_BYTES: u64 = 128 << 20;

/// The text of a DOCX file.
///
/// # Errors
/// A broken archive or part, or a part that expands beyond its limit.
pub(super) fn parse(bytes: &[u8]) -> Result<ParsedDocument, ParseError> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(broken)?;
    let main = part(&mut archive, "word/document.xml")?
        .ok_or_else(|| ParseError::broken("DOCX", "it has no word/document.xml"))?;
    let styles = match part(&mut archive, "word/styles.xml")? {
        Some(xml) => read_styles(&xml)?,
        None => HashMap::new(),
    };
    let mut body = Body::new(&styles);
    body.read(&main)?;
    for name in ["word/footnotes.xml", "word/endnotes.xml"] {
        if let Some(xml) = part(&mut archive, name)? {
            body.read(&xml)?;
        }
    }
    if let Some(xml) = part(&mut archive, "docProps/core.xml")?
        && let Some(title) = stated_title(&xml)?
    {
        body.out.set_title(&title);
    }
    Ok(body.out.finish())
}

fn broken(error: impl std::fmt::Display) -> ParseError {
    ParseError::broken("DOCX", error)
}

/// A part of the archive, as text; none where it has no such part.
fn part(archive: &mut ZipArchive<Cursor<&[u8]>>, name: &str) -> Result<Option<String>, ParseError> {
    let file = match archive.by_name(name) {
        Ok(file) => file,
        Err(zip::result::ZipError::FileNotFound) => return Ok(None),
        Err(zip::result::ZipError::UnsupportedArchive(detail)) if detail.contains("assword") => {
            return Err(ParseError::Encrypted("DOCX"));
        }
        Err(error) => return Err(broken(format!("{name}: {error}"))),
    };
    let mut bytes = Vec::new();
    file.take(MAX_PART_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| broken(format!("{name}: {error}")))?;
    if bytes.len() as u64 > MAX_PART_BYTES {
        return Err(ParseError::TooLarge {
            what: format!("{name} when expanded"),
            limit: MAX_PART_BYTES,
            got: bytes.len() as u64,
        });
    }
    let text = super::text::decode(&bytes).map_err(|error| broken(format!("{name}: {error}")))?;
    Ok(Some(text))
}

/// What a paragraph style makes of a paragraph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Style {
    /// 0 for the title, else the outline level from 1.
    level: Option<u8>,
    list: bool,
}

fn attribute(tag: &BytesStart<'_>, name: &[u8]) -> Option<String> {
    tag.attributes()
        .flatten()
        .find(|attribute| attribute.key.as_ref() == name)
        .and_then(|attribute| attribute.unescape_value().ok().map(|v| v.into_owned()))
}

/// The heading level that a style's name says: `Title`, `heading 1`, `Heading1`.
fn named_level(name: &str) -> Option<u8> {
    let name = name.to_lowercase().replace(' ', "");
    match name.strip_prefix("heading") {
        Some(number) => number.parse().ok().filter(|level| (1..=9).contains(level)),
        None => (name == "title").then_some(0),
    }
}

fn read_styles(xml: &str) -> Result<HashMap<String, Style>, ParseError> {
    let mut reader = Reader::from_str(xml);
    let mut styles: HashMap<String, Style> = HashMap::new();
    let mut parents: HashMap<String, String> = HashMap::new();
    let mut id = String::new();
    loop {
        match reader.read_event().map_err(broken)? {
            Event::Start(tag) | Event::Empty(tag) => {
                let value = attribute(&tag, b"w:val");
                match tag.name().as_ref() {
                    b"w:style" => {
                        id = attribute(&tag, b"w:styleId").unwrap_or_default();
                        styles.insert(id.clone(), Style::default());
                    }
                    b"w:basedOn" => {
                        parents.insert(id.clone(), value.unwrap_or_default());
                    }
                    b"w:numPr" => styles.entry(id.clone()).or_default().list = true,
                    b"w:name" => {
                        let level = named_level(&value.unwrap_or_default());
                        styles.entry(id.clone()).or_default().level = level;
                    }
                    b"w:outlineLvl" => {
                        let style = styles.entry(id.clone()).or_default();
                        let stated = value.and_then(|v| v.parse::<u8>().ok());
                        style.level = style.level.or(stated.filter(|&l| l < 9).map(|l| l + 1));
                    }
                    _ => {}
                }
            }
            Event::Eof => break,
            _ => {}
        }
    }
    // A style without a level of its own has its parent's; a few steps do, and a circle ends.
    let own = styles.clone();
    for (id, style) in &mut styles {
        let mut at = id;
        for _ in 0..8 {
            let Some(parent) = parents.get(at) else { break };
            let inherited = own.get(parent).copied().unwrap_or_default();
            style.level = style.level.or(inherited.level);
            style.list |= inherited.list;
            at = parent;
        }
    }
    Ok(styles)
}

fn stated_title(xml: &str) -> Result<Option<String>, ParseError> {
    let mut reader = Reader::from_str(xml);
    let mut inside = false;
    let mut title = String::new();
    loop {
        match reader.read_event().map_err(broken)? {
            Event::Start(tag) => inside = tag.name().as_ref() == b"dc:title",
            Event::End(_) => inside = false,
            Event::Text(text) if inside => title.push_str(&text.decode().map_err(broken)?),
            Event::GeneralRef(name) if inside => title.push_str(&resolve(&name)?),
            Event::Eof => return Ok((!title.trim().is_empty()).then_some(title)),
            _ => {}
        }
    }
}

/// The character that a reference stands for. Only XML's own names and numbers are known: a
/// document type's entities are not expanded.
fn resolve(reference: &BytesRef<'_>) -> Result<String, ParseError> {
    if let Some(c) = reference.resolve_char_ref().map_err(broken)? {
        return Ok(c.to_string());
    }
    let name = reference.decode().map_err(broken)?;
    match quick_xml::escape::resolve_xml_entity(&name) {
        Some(text) => Ok(text.to_owned()),
        None => Err(broken(format!("unknown entity &{name};"))),
    }
}

/// A paragraph that is being read.
#[derive(Default)]
struct Paragraph {
    text: String,
    style: Style,
}

/// Reads a part's paragraphs and tables.
struct Body<'a> {
    styles: &'a HashMap<String, Style>,
    out: TextBuilder,
    /// A text box holds paragraphs inside a paragraph.
    open: Vec<Paragraph>,
    tables: usize,
    row: Vec<String>,
    cell: Vec<String>,
    in_text: bool,
    /// How many elements deep inside one that is not read.
    skipped: usize,
}

impl<'a> Body<'a> {
    fn new(styles: &'a HashMap<String, Style>) -> Self {
        Self {
            styles,
            out: TextBuilder::default(),
            open: Vec::new(),
            tables: 0,
            row: Vec::new(),
            cell: Vec::new(),
            in_text: false,
            skipped: 0,
        }
    }

    fn read(&mut self, xml: &str) -> Result<(), ParseError> {
        let mut reader = Reader::from_str(xml);
        let mut depth = 0_usize;
        loop {
            let position = reader.buffer_position();
            let event = reader
                .read_event()
                .map_err(|error| broken(format!("at byte {position}: {error}")))?;
            match event {
                Event::Start(tag) => {
                    depth += 1;
                    self.start(&tag);
                }
                Event::Empty(tag) => {
                    self.start(&tag);
                    self.end(tag.name().as_ref());
                }
                Event::End(tag) => {
                    depth = depth.saturating_sub(1);
                    self.end(tag.name().as_ref());
                }
                Event::Text(text) => self.text(&text.decode().map_err(broken)?),
                Event::CData(text) => self.text(&text.decode().map_err(broken)?),
                Event::GeneralRef(name) => self.text(&resolve(&name)?),
                Event::Eof if depth > 0 => {
                    return Err(broken("a part ends inside an element"));
                }
                Event::Eof => return Ok(()),
                _ => {}
            }
        }
    }

    fn text(&mut self, text: &str) {
        if self.in_text
            && self.skipped == 0
            && let Some(paragraph) = self.open.last_mut()
        {
            paragraph.text.push_str(text);
        }
    }

    fn start(&mut self, tag: &BytesStart<'_>) {
        let name = tag.name();
        let name = name.as_ref();
        // The fallback repeats its alternative; separators of notes hold no text.
        if self.skipped > 0 || matches!(name, b"mc:Fallback" | b"w:del" | b"w:moveFrom") {
            self.skipped += 1;
            return;
        }
        match name {
            b"w:p" => self.open.push(Paragraph::default()),
            b"w:t" => self.in_text = true,
            b"w:tbl" => self.tables += 1,
            b"w:tr" if self.tables == 1 => self.row.clear(),
            b"w:tc" if self.tables == 1 => self.cell.clear(),
            _ => {
                if let Some(paragraph) = self.open.last_mut() {
                    match name {
                        b"w:pStyle" => {
                            let id = attribute(tag, b"w:val").unwrap_or_default();
                            let list = paragraph.style.list;
                            paragraph.style = self.styles.get(&id).copied().unwrap_or(Style {
                                level: named_level(&id),
                                list: false,
                            });
                            paragraph.style.list |= list;
                        }
                        b"w:outlineLvl" => {
                            let level = attribute(tag, b"w:val").and_then(|v| v.parse::<u8>().ok());
                            if let Some(level) = level.filter(|&l| l < 9) {
                                paragraph.style.level = Some(level + 1);
                            }
                        }
                        b"w:numPr" => paragraph.style.list = true,
                        b"w:br" | b"w:cr" => paragraph.text.push('\n'),
                        b"w:tab" | b"w:ptab" => paragraph.text.push('\t'),
                        b"w:noBreakHyphen" => paragraph.text.push('-'),
                        _ => {}
                    }
                }
            }
        }
    }

    fn end(&mut self, name: &[u8]) {
        if self.skipped > 0 {
            self.skipped -= 1;
            return;
        }
        match name {
            b"w:p" => {
                if let Some(paragraph) = self.open.pop() {
                    self.write(&paragraph);
                }
            }
            b"w:t" => self.in_text = false,
            b"w:tc" if self.tables == 1 => self.row.push(self.cell.join(" ")),
            b"w:tr" if self.tables == 1 => self.out.row(&self.row),
            b"w:tbl" => {
                self.tables = self.tables.saturating_sub(1);
                if self.tables == 0 {
                    self.out.end_group();
                }
            }
            _ => {}
        }
    }

    fn write(&mut self, paragraph: &Paragraph) {
        if self.tables > 0 {
            let text = collapse(&paragraph.text);
            if !text.is_empty() {
                self.cell.push(text);
            }
            return;
        }
        match paragraph.style {
            Style {
                level: Some(level), ..
            } => {
                self.out.heading(level.max(1), &paragraph.text);
            }
            Style { list: true, .. } if !paragraph.text.trim().is_empty() => {
                let text = collapse_lines(&paragraph.text);
                self.out.push(Block::Item, &format!("- {text}"));
            }
            _ => self
                .out
                .push(Block::Paragraph, &collapse_lines(&paragraph.text)),
        }
    }
}
