//! Markdown (CommonMark with tables and footnotes) as text.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::ParsedDocument;
use super::builder::{Block, TextBuilder, collapse_lines};
use super::html;

/// The text of a Markdown document: marks dropped, headings as lines, tables as rows.
pub(super) fn parse(source: &str) -> ParsedDocument {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS;
    let mut reader = Reader::default();
    for event in Parser::new_ext(source, options) {
        reader.read(event);
    }
    reader.flush();
    reader.out.finish()
}

#[derive(Default)]
struct Reader {
    out: TextBuilder,
    /// Text of the block that is open.
    inline: String,
    /// What an item's first line begins with, until it is written.
    marker: String,
    /// The next number of each open list; none for bullets.
    lists: Vec<Option<u64>>,
    row: Vec<String>,
    html: String,
    verbatim: bool,
}

impl Reader {
    fn read(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) | Event::Code(text) => self.inline.push_str(&text),
            Event::InlineMath(text) | Event::DisplayMath(text) => self.inline.push_str(&text),
            Event::Html(text) => self.html.push_str(&text),
            Event::InlineHtml(tag) => {
                if tag.to_ascii_lowercase().starts_with("<br") {
                    self.inline.push('\n');
                }
            }
            Event::FootnoteReference(label) => self.inline.push_str(&format!("[^{label}]")),
            Event::SoftBreak => self.inline.push(' '),
            Event::HardBreak => self.inline.push('\n'),
            Event::Rule => self.flush(),
            Event::TaskListMarker(done) => {
                self.inline.push_str(if done { "[x] " } else { "[ ] " });
            }
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Heading { .. } | Tag::Paragraph | Tag::Table(_) | Tag::HtmlBlock => self.flush(),
            Tag::CodeBlock(_) | Tag::MetadataBlock(_) => {
                self.flush();
                self.verbatim = true;
            }
            Tag::List(first) => {
                self.flush();
                self.lists.push(first);
            }
            Tag::Item => {
                let depth = self.lists.len().saturating_sub(1);
                let mark = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        let mark = format!("{number}. ");
                        *number += 1;
                        mark
                    }
                    _ => "- ".to_owned(),
                };
                self.marker = "  ".repeat(depth.min(8)) + &mark;
            }
            Tag::FootnoteDefinition(label) => {
                self.flush();
                self.inline.push_str(&format!("[^{label}]: "));
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(level) => {
                let text = std::mem::take(&mut self.inline);
                self.out.heading(depth(level), &text);
            }
            TagEnd::TableCell => self.row.push(std::mem::take(&mut self.inline)),
            TagEnd::TableHead | TagEnd::TableRow => {
                let row = std::mem::take(&mut self.row);
                self.out.row(&row);
            }
            TagEnd::Table => self.out.end_group(),
            TagEnd::List(_) => {
                self.flush();
                self.lists.pop();
                if self.lists.is_empty() {
                    self.out.end_group();
                }
            }
            TagEnd::HtmlBlock => {
                let source = std::mem::take(&mut self.html);
                html::append(&source, &mut self.out);
            }
            TagEnd::CodeBlock | TagEnd::MetadataBlock(_) => {
                self.flush();
                self.verbatim = false;
            }
            TagEnd::Paragraph | TagEnd::Item | TagEnd::FootnoteDefinition => self.flush(),
            _ => {}
        }
    }

    /// Writes the open block, as an item inside a list and as a paragraph outside.
    fn flush(&mut self) {
        let text = std::mem::take(&mut self.inline);
        if text.trim().is_empty() {
            return;
        }
        let text = if self.verbatim {
            text
        } else {
            collapse_lines(&text)
        };
        if self.lists.is_empty() {
            self.out.push(Block::Paragraph, &text);
        } else {
            // The depth shows by the mark: the builder trims white space at a block's ends.
            let marker = std::mem::take(&mut self.marker);
            self.out
                .push(Block::Item, &format!("{}{text}", marker.trim_start()));
        }
    }
}

fn depth(level: HeadingLevel) -> u8 {
    match level {
        HeadingLevel::H1 => 1,
        HeadingLevel::H2 => 2,
        HeadingLevel::H3 => 3,
        HeadingLevel::H4 => 4,
        HeadingLevel::H5 => 5,
        HeadingLevel::H6 => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_lists_and_tables_become_lines() {
        let document = parse(
            "# Fees\n\nA *wire* costs\n[five](http://x) euros.<br>Always.\n\n- one\n  1. deep\n- two\n\n| Item | Fee |\n|---|--:|\n| Card \\| gold | 10 |\n| Wire | 5 |\n\n<table><tr><td>a</td><td>b</td></tr></table>\n\n```\nx  = 1\n```\n",
        );
        assert_eq!(
            document.text,
            "Fees\n\nA wire costs five euros.\nAlways.\n\n- one\n1. deep\n- two\n\nItem | Fee\nCard | gold | 10\nWire | 5\n\na | b\n\nx  = 1"
        );
        assert_eq!(document.title.as_deref(), Some("Fees"));
        assert_eq!(document.headings.len(), 1);
    }
}
