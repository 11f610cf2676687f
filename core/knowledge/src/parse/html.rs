//! HTML as text: its tokens are read in one pass, so that depth of nesting costs nothing.

use std::cell::RefCell;

use encoding_rs::Encoding;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{
    BufferQueue, StartTag, Tag, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
};

use super::builder::{Block, TextBuilder, collapse_lines};
use super::{ParseError, ParsedDocument, text};

/// How far into a document the declaration of its encoding may stand, in bytes (HTML standard).
const DECLARATION_BYTES: usize = 1024;

/// The characters of an HTML file: by its byte order mark, else by the encoding that it declares,
/// else UTF-8.
///
/// # Errors
/// Bytes that are not of that encoding, or an unknown encoding's name.
pub(super) fn decode(bytes: &[u8]) -> Result<String, ParseError> {
    let marked = bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]);
    let declared = if marked {
        None
    } else {
        declared_encoding(bytes)
    };
    let Some(label) = declared else {
        return text::decode(bytes);
    };
    let encoding = Encoding::for_label(label.as_bytes())
        .ok_or_else(|| ParseError::broken("HTML", format!("unknown charset {label:?}")))?;
    if encoding == encoding_rs::UTF_8 {
        return text::decode(bytes);
    }
    match encoding.decode_without_bom_handling_and_without_replacement(bytes) {
        Some(decoded) => Ok(decoded.into_owned()),
        None => Err(ParseError::broken(
            "HTML",
            format!("its bytes are not {}, which it declares", encoding.name()),
        )),
    }
}

fn declared_encoding(bytes: &[u8]) -> Option<String> {
    let head: String = bytes
        .iter()
        .take(DECLARATION_BYTES)
        .map(|&byte| byte.to_ascii_lowercase() as char)
        .collect();
    let meta = head.find("<meta")?;
    let after = &head[meta..];
    let value = after[after.find("charset")? + "charset".len()..].trim_start();
    let value = value
        .strip_prefix('=')?
        .trim_start()
        .trim_start_matches(['"', '\'']);
    let label: String = value
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || "-_:.".contains(*c))
        .collect();
    (!label.is_empty()).then_some(label)
}

/// The text of an HTML document: scripts and styles dropped, headings as lines, tables as rows.
///
/// A page that says where its content is (`main`) is read without the `nav` and `footer` elements
/// that stand outside of it and of every `article`; other pages are read with all their text.
pub(super) fn parse(source: &str) -> ParsedDocument {
    let mut reader = read(source, Reader::default());
    if reader.saw_main && reader.saw_furniture {
        let without = Reader {
            drops_furniture: true,
            ..Reader::default()
        };
        reader = read(source, without);
    }
    let mut document = reader.out.finish();
    // Sites add their own name to a page's title: its first heading is the shorter one.
    if let (Some(title), Some(heading)) = (&document.title, document.headings.first())
        && title.starts_with(&heading.text)
    {
        document.title = Some(heading.text.clone());
    }
    document
}

/// Appends the text of a piece of HTML.
pub(super) fn append(source: &str, out: &mut TextBuilder) {
    let reader = Reader {
        out: std::mem::take(out),
        ..Reader::default()
    };
    *out = read(source, reader).out;
}

/// `reader` after all of `source`.
fn read(source: &str, reader: Reader) -> Reader {
    let tokenizer = Tokenizer::new(Sink(RefCell::new(reader)), TokenizerOpts::default());
    let input = BufferQueue::default();
    input.push_back(StrTendril::from_slice(source));
    let _ = tokenizer.feed(&input);
    tokenizer.end();
    let mut reader = tokenizer.sink.0.into_inner();
    reader.close_tables();
    reader.flush();
    reader.out.end_group();
    reader
}

struct Sink(RefCell<Reader>);

impl TokenSink for Sink {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut reader = self.0.borrow_mut();
        match token {
            Token::TagToken(tag) if tag.kind == StartTag => return reader.start(&tag),
            Token::TagToken(tag) => reader.end(&tag),
            Token::CharacterTokens(text) => reader.characters(&text),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

#[derive(Default)]
struct Reader {
    out: TextBuilder,
    inline: String,
    heading: Option<u8>,
    lists: Vec<Option<u64>>,
    marker: String,
    tables: usize,
    row: Vec<String>,
    in_cell: bool,
    preformatted: usize,
    /// The element whose characters are not text, while it is open.
    raw: Option<String>,
    templates: usize,
    /// Open `main` and `article` elements.
    content: usize,
    /// Open `nav` and `footer` elements that began outside of these.
    furniture: usize,
    saw_main: bool,
    saw_furniture: bool,
    drops_furniture: bool,
}

impl Reader {
    /// Whether what stands here is no text of the document.
    fn hidden(&self) -> bool {
        self.templates > 0 || (self.drops_furniture && self.furniture > 0 && self.content == 0)
    }

    fn enter_part(&mut self, name: &str) {
        match name {
            "main" | "article" => {
                self.content += 1;
                self.saw_main |= name == "main";
            }
            "nav" | "footer" if self.content == 0 => {
                self.furniture += 1;
                self.saw_furniture = true;
            }
            _ => {}
        }
    }

    fn leave_part(&mut self, name: &str) {
        match name {
            "main" | "article" => self.content = self.content.saturating_sub(1),
            "nav" | "footer" if self.content == 0 => {
                self.furniture = self.furniture.saturating_sub(1);
            }
            _ => {}
        }
    }

    fn characters(&mut self, text: &str) {
        match self.raw.as_deref() {
            Some("title") => self.out.set_title(text),
            Some(_) => {}
            None if self.hidden() => {}
            // Line breaks in the source are spaces on the page.
            None if self.preformatted == 0 => {
                self.inline.extend(
                    text.chars()
                        .map(|c| if c == '\n' || c == '\r' { ' ' } else { c }),
                );
            }
            None => self.inline.push_str(text),
        }
    }

    fn start(&mut self, tag: &Tag) -> TokenSinkResult<()> {
        let name: &str = &tag.name;
        match name {
            "script" | "style" | "title" | "xmp" | "iframe" | "noembed" | "noframes" => {
                // `title` of an SVG drawing inside the body is no title of the document.
                self.raw = Some(name.to_owned());
                return TokenSinkResult::RawData(match name {
                    "script" => RawKind::ScriptData,
                    "title" => RawKind::Rcdata,
                    _ => RawKind::Rawtext,
                });
            }
            "textarea" => return TokenSinkResult::RawData(RawKind::Rcdata),
            "template" if !tag.self_closing => self.templates += 1,
            "br" => self.inline.push('\n'),
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.flush();
                self.heading = name[1..].parse().ok();
            }
            "ul" | "menu" => self.open_list(None),
            "ol" => self.open_list(Some(start_number(tag))),
            "li" => {
                self.flush();
                self.marker = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        let mark = format!("{number}. ");
                        *number += 1;
                        mark
                    }
                    _ => "- ".to_owned(),
                };
            }
            "table" => {
                if self.tables == 0 {
                    self.flush();
                }
                self.tables += 1;
            }
            "tr" if self.tables <= 1 => self.close_row(),
            "td" | "th" if self.tables <= 1 => {
                self.close_cell();
                self.in_cell = true;
            }
            "tr" | "td" | "th" => self.inline.push(' '),
            "pre" => {
                self.flush();
                self.preformatted += 1;
            }
            "img" => self.alternative_text(tag),
            _ if is_block(name) => {
                self.flush();
                if self.templates == 0 && !tag.self_closing {
                    self.enter_part(name);
                }
            }
            _ => {}
        }
        TokenSinkResult::Continue
    }

    fn end(&mut self, tag: &Tag) {
        let name: &str = &tag.name;
        if self.raw.as_deref() == Some(name) {
            self.raw = None;
            return;
        }
        match name {
            "template" => self.templates = self.templates.saturating_sub(1),
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.flush();
                self.heading = None;
            }
            "ul" | "ol" | "menu" => {
                self.flush();
                self.lists.pop();
                if self.lists.is_empty() && !self.in_cell {
                    self.out.end_group();
                }
            }
            "table" => {
                if self.tables == 1 {
                    self.close_tables();
                } else {
                    self.tables = self.tables.saturating_sub(1);
                }
            }
            "tr" if self.tables <= 1 => self.close_row(),
            "td" | "th" if self.tables <= 1 => self.close_cell(),
            "pre" => {
                self.flush();
                self.preformatted = self.preformatted.saturating_sub(1);
            }
            _ if is_block(name) => {
                self.flush();
                if self.templates == 0 {
                    self.leave_part(name);
                }
            }
            _ => {}
        }
    }

    fn open_list(&mut self, first: Option<u64>) {
        self.flush();
        self.lists.push(first);
    }

    fn alternative_text(&mut self, tag: &Tag) {
        let alt = tag.attrs.iter().find(|a| &*a.name.local == "alt");
        if let Some(alt) = alt.filter(|_| !self.hidden()) {
            self.inline.push(' ');
            self.inline.push_str(&alt.value);
            self.inline.push(' ');
        }
    }

    /// Writes the open block; inside a cell, its text goes on in the same line.
    fn flush(&mut self) {
        if self.in_cell {
            self.inline.push(' ');
            return;
        }
        let text = std::mem::take(&mut self.inline);
        if text.trim().is_empty() {
            return;
        }
        if let Some(level) = self.heading {
            self.out.heading(level, &text);
        } else if self.preformatted > 0 {
            self.out.push(Block::Paragraph, text.trim_matches('\n'));
        } else if self.lists.is_empty() {
            self.out.push(Block::Paragraph, &collapse_lines(&text));
        } else {
            let marker = std::mem::take(&mut self.marker);
            self.out
                .push(Block::Item, &format!("{marker}{}", collapse_lines(&text)));
        }
    }

    fn close_cell(&mut self) {
        if self.in_cell {
            self.row.push(std::mem::take(&mut self.inline));
            self.in_cell = false;
        } else {
            // Text between cells, such as a caption, is a block of its own.
            self.flush();
        }
    }

    fn close_row(&mut self) {
        self.close_cell();
        let row = std::mem::take(&mut self.row);
        self.out.row(&row);
    }

    fn close_tables(&mut self) {
        self.close_row();
        self.out.end_group();
        self.tables = 0;
    }
}

fn start_number(tag: &Tag) -> u64 {
    tag.attrs
        .iter()
        .find(|attribute| &*attribute.name.local == "start")
        .and_then(|attribute| attribute.value.parse().ok())
        .filter(|&number| number < u64::from(u32::MAX))
        .unwrap_or(1)
}

fn is_block(name: &str) -> bool {
    matches!(
        name,
        "address"
            | "article"
            | "aside"
            | "blockquote"
            | "body"
            | "caption"
            | "center"
            | "dd"
            | "details"
            | "dialog"
            | "div"
            | "dl"
            | "dt"
            | "fieldset"
            | "figcaption"
            | "figure"
            | "footer"
            | "form"
            | "head"
            | "header"
            | "hgroup"
            | "hr"
            | "html"
            | "legend"
            | "li"
            | "main"
            | "nav"
            | "option"
            | "p"
            | "search"
            | "section"
            | "summary"
            | "tbody"
            | "tfoot"
            | "thead"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn page_furniture_is_dropped_and_structure_kept() {
        let document = parse(
            "<html><head><title>Fee  list</title><style>p { color: red }</style></head><body>\
             <script>if (a < b) alert('<p>x</p>')</script><h1>Fees &amp; charges</h1>\
             <p>A wire costs\n five&nbsp;euros.<br>Always.</p><ul><li>one<li>two</ul>\
             <table><caption>Cards</caption><tr><th>Card<th>Fee<tr><th>Gold</th><td><p>10</p><p>euros</p></td></tr></table>\
             after<pre>a\n  b</pre></body>",
        );
        assert_eq!(document.title.as_deref(), Some("Fee list"));
        assert_eq!(
            document.text,
            "Fees & charges\n\nA wire costs five euros.\nAlways.\n\n- one\n- two\n\nCards\n\nCard | Fee\nGold | 10 euros\n\nafter\n\na\n  b"
        );
        assert_eq!(document.headings[0].text, "Fees & charges");
    }

    #[test]
    fn furniture_outside_of_the_declared_content_is_dropped() {
        let page = "<title>T</title><nav><ul><li>Home <img alt=logo></ul></nav>before<main><p>One.</p>\
                    <nav>Contents</nav><article>Two.<footer>Signed.</footer></article></main>\
                    <footer><article>Card.</article>Imprint</footer>after";
        assert_eq!(
            parse(page).text,
            "before\n\nOne.\n\nContents\n\nTwo.\n\nSigned.\n\nCard.\n\nafter"
        );
    }

    #[test]
    fn a_page_that_declares_no_content_keeps_all_its_text() {
        let text = parse("<nav>Home</nav><article>One.</article><footer>Imprint</footer>").text;
        assert_eq!(text, "Home\n\nOne.\n\nImprint");
        // An element left open hides nothing that the page calls content.
        assert_eq!(
            parse("<nav>Home<main>One.<footer>Two.").text,
            "One.\n\nTwo."
        );
        assert!(
            parse("<!-- <main> --><p>One.</p><footer>Two.</footer>")
                .text
                .ends_with("Two.")
        );
    }

    #[test]
    fn deep_nesting_is_read() {
        let source = "<div><table><tr><td>".repeat(100_000) + "deep";
        assert!(parse(&source).text.ends_with("deep"));
    }

    #[test]
    fn a_declared_encoding_is_obeyed_and_an_unknown_one_named() {
        let latin = b"<meta charset=\"windows-1252\"><p>5 \x80</p>";
        assert_eq!(parse(&decode(latin).unwrap()).text, "5 €");
        let unknown = decode(b"<meta charset=klingon><p>x").unwrap_err();
        assert!(unknown.to_string().contains("klingon"), "{unknown}");
        assert!(decode(b"<p>5 \x80</p>").is_err());
    }
}
