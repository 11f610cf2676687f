//! Passages cut into the units that a quote is made of: sentences, list items and table rows.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

/// A line at least this long (characters) that ends without a mark was probably wrapped there.
const WRAPPED_LINE: usize = 45;
/// Most words of a heading without a heading's mark.
const HEADING_WORDS: usize = 10;
/// Words whose full stop does not end a sentence, in lower case.
const ABBREVIATIONS: &[&str] = &[
    "mr.", "mrs.", "ms.", "dr.", "prof.", "no.", "nr.", "art.", "sec.", "par.", "para.", "st.",
    "e.g.", "i.e.", "cf.", "approx.", "inc.", "ltd.", "co.", "corp.", "vs.", "fig.", "p.", "pp.",
    "vol.", "ch.", "max.", "min.", "incl.", "excl.", "resp.",
];

/// A piece of a passage that can be quoted on its own, or a heading that gives it its context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// Bytes of the passage.
    pub range: Range<usize>,
    /// Index of the heading before it, or of its table's head row, among the units.
    pub heading: Option<usize>,
    /// Index of the sentence before it in the same paragraph.
    pub previous: Option<usize>,
    /// A heading says what follows is about; it answers nothing, so it is never quoted.
    pub is_heading: bool,
}

/// The units of `text`, in order. Their ranges do not overlap, and leave out only white space, rules
/// and the marks of headings and list items.
pub(super) fn units(text: &str) -> Vec<Unit> {
    let mut found: Vec<Unit> = Vec::new();
    let (mut heading, mut head_row) = (None, None);
    let mut in_table = false;
    let blocks = blocks(text);
    for (at, block) in blocks.iter().enumerate() {
        let line = &text[block.clone()];
        if is_rule(line) {
            continue;
        }
        if is_row(line) {
            let underlined = blocks
                .get(at + 1)
                .is_some_and(|next| is_rule(&text[next.clone()]));
            // A passage may begin in the middle of a table: its first row can answer.
            let is_head =
                !in_table && (underlined || (at > 0 && !has_figure(&without_years(line))));
            if !in_table {
                head_row = None;
            }
            in_table = true;
            found.push(Unit {
                range: trim(text, block.clone()),
                heading: head_row.or(heading),
                previous: None,
                is_heading: is_head || is_page_line(line),
            });
            if is_head {
                head_row = Some(found.len() - 1);
            }
            continue;
        }
        in_table = false;
        if reads_as_heading(line) {
            let range = trim(text, block.clone());
            if range.is_empty() {
                continue;
            }
            found.push(Unit {
                range,
                heading,
                previous: None,
                is_heading: true,
            });
            heading = Some(found.len() - 1);
            continue;
        }
        let mut previous = None;
        let sentences = sentences(text, block.clone());
        let opens_paragraph = sentences.len() > 1 && marker(line) == 0;
        for range in sentences {
            let is_heading =
                previous.is_none() && opens_paragraph && names_only(&text[range.clone()]);
            found.push(Unit {
                range,
                heading,
                previous,
                is_heading,
            });
            previous = Some(found.len() - 1);
        }
    }
    found
}

/// A line of marks alone: it sets a heading or a table's head apart.
fn is_rule(line: &str) -> bool {
    !line.contains(char::is_alphanumeric)
}

/// A row of a table: its cells are set apart by bars, tabs or wide blanks.
pub(super) fn is_row(line: &str) -> bool {
    !line.contains('\n')
        && (line.starts_with('|')
            || line.contains(" | ")
            || line.contains('\t')
            || line.contains("   "))
}

/// A page's running foot, `Bank | Rules | Page 3`: it says where, not what.
fn is_page_line(line: &str) -> bool {
    let mut words = line.split_whitespace().rev();
    let number = words.next().is_some_and(|word| word.parse::<u32>().is_ok());
    number
        && words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case("page"))
}

/// The line without years: `Largest loan in 2024` heads a column.
fn without_years(line: &str) -> String {
    let is_year =
        |word: &&str| word.len() == 4 && (word.starts_with("19") || word.starts_with("20"));
    let words: Vec<&str> = line
        .split_whitespace()
        .filter(|word| !(is_year(word) && word.bytes().all(|byte| byte.is_ascii_digit())))
        .collect();
    words.join(" ")
}

fn has_figure(line: &str) -> bool {
    line.contains(|c: char| c.is_ascii_digit() || matches!(c, '%' | '€' | '$' | '£'))
}

/// A few names and no statement, as `Northern Bank, Products and Pricing.`: where it opens a
/// paragraph it is a heading with a full stop. Names are told by their capitals; those after a
/// colon or a question may answer.
fn names_only(sentence: &str) -> bool {
    let words: Vec<&str> = sentence
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    (3..=HEADING_WORDS).contains(&words.len())
        && !has_figure(sentence)
        && !sentence.contains(':')
        && sentence.ends_with('.')
        && words.iter().all(|word| {
            word.starts_with(char::is_uppercase)
                || matches!(*word, "and" | "of" | "the" | "for" | "or" | "in")
        })
}

/// Lines, with those joined that were only wrapped: paragraphs, headings, list items, table rows.
fn blocks(text: &str) -> Vec<Range<usize>> {
    let mut blocks: Vec<Range<usize>> = Vec::new();
    let mut open = false;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let range = start..start + line.len();
        start = range.end;
        let content = line.trim();
        if content.is_empty() {
            open = false;
            continue;
        }
        let lead = line.len() - line.trim_start().len();
        let trimmed = range.start + lead..range.start + lead + content.len();
        match blocks.last_mut() {
            Some(last) if open && continues(&text[last.clone()], content) => last.end = trimmed.end,
            _ => blocks.push(trimmed),
        }
        open = true;
    }
    blocks
}

/// Whether `line` goes on with the sentence that `before` left open at a line's end.
fn continues(before: &str, line: &str) -> bool {
    if begins_block(line) || is_row(before) || is_rule(before) || before.starts_with('#') {
        return false;
    }
    let last_line = before.rsplit('\n').next().unwrap_or(before).trim();
    let long = last_line.chars().count() >= WRAPPED_LINE;
    let ended = last_line.ends_with(['.', '!', '?', ':', ';']);
    let lower = line.chars().next().is_some_and(char::is_lowercase);
    lower || (long && (!ended || !last_line.ends_with(':')))
}

fn begins_block(line: &str) -> bool {
    line.starts_with(['#', '•', '>']) || is_row(line) || is_rule(line) || marker(line) > 0
}

/// Bytes of a list item's mark at the start of `line`, such as `- `, `* ` or `12. `.
fn marker(line: &str) -> usize {
    let rest = match line.chars().next() {
        Some('-' | '*' | '+' | '•' | '–' | '·') => {
            line.chars().next().map_or(line, |c| &line[c.len_utf8()..])
        }
        Some('0'..='9') => {
            let after = line.trim_start_matches(|c: char| c.is_ascii_digit());
            match after.strip_prefix(['.', ')']) {
                Some(rest) if line.len() - rest.len() <= 4 => rest,
                _ => return 0,
            }
        }
        _ => return 0,
    };
    let after = rest.trim_start_matches([' ', '\t']);
    if after.len() == rest.len() || after.is_empty() {
        return 0;
    }
    line.len() - after.len()
}

/// A mark, or a short line without a sentence's end and without a figure: `Early repayment`,
/// `3.2 Fees`. A line with a figure may be a table's row that lost its rules: it can answer.
fn reads_as_heading(line: &str) -> bool {
    if line.starts_with('#') {
        return true;
    }
    if line.starts_with(['-', '*', '•']) || line.ends_with(['.', '!', '?', ';', ',']) {
        return false;
    }
    if line.ends_with(':') && !line.contains(". ") {
        return true;
    }
    let numbered =
        line.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | ')' | '§'));
    let words = numbered.split_whitespace().count();
    words <= HEADING_WORDS
        && !has_figure(numbered)
        && numbered
            .trim_start()
            .chars()
            .next()
            .is_some_and(char::is_uppercase)
}

/// The sentences of one block, trimmed, by UAX #29 with abbreviations and enumerators mended.
fn sentences(text: &str, block: Range<usize>) -> Vec<Range<usize>> {
    // A wrapped line is a blank to the segmenter; each replaced byte keeps its place.
    let flat: String = text[block.clone()]
        .chars()
        .map(|c| {
            if matches!(c, '\n' | '\r' | '\u{c}') {
                ' '
            } else {
                c
            }
        })
        .collect();
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut joined = false;
    for (at, sentence) in flat.split_sentence_bound_indices() {
        let range = block.start + at..block.start + at + sentence.len();
        match found.last_mut() {
            Some(last) if joined => last.end = range.end,
            _ => found.push(range),
        }
        let whole = found.last().map_or("", |r| &text[r.clone()]);
        joined = !ends_sentence(whole.trim_end());
    }
    found
        .into_iter()
        .map(|range| trim(text, range))
        .filter(|range| !range.is_empty())
        .collect()
}

/// False after an abbreviation, an initial, or an enumerator that stands alone.
fn ends_sentence(sentence: &str) -> bool {
    let Some(last) = sentence.split_whitespace().next_back() else {
        return false;
    };
    let lower = last.trim_start_matches(['(', '"', '“']).to_lowercase();
    let initial = lower.chars().count() == 2
        && lower.ends_with('.')
        && lower.starts_with(char::is_alphabetic);
    let enumerator = last.len() == sentence.trim_start().len()
        && last.ends_with(['.', ')'])
        && last
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, '.' | ')'));
    !(initial || enumerator || ABBREVIATIONS.contains(&lower.as_str()))
}

/// `range` without white space at its ends, and without a heading's or an item's mark.
fn trim(text: &str, range: Range<usize>) -> Range<usize> {
    let whole = &text[range.clone()];
    let mut rest = whole.trim_start();
    rest = rest.trim_start_matches('#').trim_start();
    let mark = marker(rest);
    if !rest[..mark].starts_with(|c: char| c.is_ascii_digit()) {
        rest = &rest[mark..];
    }
    let start = range.end - rest.len();
    start..start + rest.trim_end().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<(&str, bool)> {
        units(text)
            .into_iter()
            .map(|unit| (&text[unit.range], unit.is_heading))
            .collect()
    }

    #[test]
    fn sentences_keep_abbreviations_and_numbers_whole() {
        assert_eq!(
            texts(
                "Ask Dr. Smith first. See Art. 5, e.g. The fee is 1.5 % p.a. of the sum! Is it? Yes."
            ),
            [
                ("Ask Dr. Smith first.", false),
                ("See Art. 5, e.g. The fee is 1.5 % p.a. of the sum!", false),
                ("Is it?", false),
                ("Yes.", false)
            ]
        );
    }

    #[test]
    fn wrapped_lines_join_and_headings_stand_alone() {
        let text = "3.2 Early repayment\nA borrower may repay a loan before its term, in whole\nor in part. The notice is\nthirty days.\n\n# Fees\n- The card costs 12 EUR.\n- A copy is free.\n";
        assert_eq!(
            texts(text),
            [
                ("3.2 Early repayment", true),
                (
                    "A borrower may repay a loan before its term, in whole\nor in part.",
                    false
                ),
                ("The notice is\nthirty days.", false),
                ("Fees", true),
                ("The card costs 12 EUR.", false),
                ("A copy is free.", false)
            ]
        );
        let found = units(text);
        assert_eq!(found[2].heading, Some(0));
        assert_eq!(found[2].previous, Some(1));
        assert_eq!(found[5].heading, Some(3));
    }

    #[test]
    fn rows_are_units_under_their_head_row() {
        let text = "| Service | Fee |\n|---|---:|\n| Card | 12 EUR |\n| Copy | 5 EUR |\n";
        let found = units(text);
        assert_eq!(
            texts(text),
            [
                ("| Service | Fee |", true),
                ("| Card | 12 EUR |", false),
                ("| Copy | 5 EUR |", false)
            ]
        );
        assert!(found[1..].iter().all(|unit| unit.heading == Some(0)));
    }

    #[test]
    fn a_row_that_lost_its_rules_can_be_quoted() {
        assert_eq!(
            texts("Replacement card 12 EUR\nCopy of a statement 5 EUR"),
            [
                ("Replacement card 12 EUR", false),
                ("Copy of a statement 5 EUR", false)
            ]
        );
    }

    #[test]
    fn rows_with_cells_set_apart_are_cut_at_their_lines() {
        let text = "4. Liability\n------------\n\nCase                                   The holder bears\n-----------------------------------   ----------------\nCard used after it was reported        nothing\nHolder took part in the fraud          the whole loss\nAnd then the text goes on.\n\nEvent | Who acts in 2025\nFire | the floor wardens\nNorth Bank | Rules | Page 3";
        let found = units(text);
        assert_eq!(
            texts(text),
            [
                ("4. Liability", true),
                (
                    "Case                                   The holder bears",
                    true
                ),
                ("Card used after it was reported        nothing", false),
                (
                    "Holder took part in the fraud          the whole loss",
                    false
                ),
                ("And then the text goes on.", false),
                ("Event | Who acts in 2025", true),
                ("Fire | the floor wardens", false),
                ("North Bank | Rules | Page 3", true),
            ]
        );
        let above: Vec<_> = found.iter().map(|unit| unit.heading).collect();
        let expected = [
            None,
            Some(0),
            Some(1),
            Some(1),
            Some(0),
            Some(0),
            Some(5),
            Some(5),
        ];
        assert_eq!(above, expected);
    }

    #[test]
    fn a_passage_that_begins_inside_a_table_keeps_its_first_row() {
        let rows = "Transfer online | free\nPaper transfer | EUR 2.50";
        assert!(units(rows).iter().all(|unit| !unit.is_heading));
    }

    #[test]
    fn names_that_open_a_paragraph_are_a_heading() {
        let masthead = "North Bank, Products and Pricing. Valid from 1 May. Owner: Head of Cards.";
        assert_eq!(
            texts(masthead),
            [
                ("North Bank, Products and Pricing.", true),
                ("Valid from 1 May.", false),
                ("Owner: Head of Cards.", false)
            ]
        );
        for answer in [
            "Who signs? Head of Compliance.",
            "Chair of the Board.",
            "- Head of Legal. Two days.",
        ] {
            assert!(
                units(answer).iter().all(|unit| !unit.is_heading),
                "{answer}"
            );
        }
    }

    #[test]
    fn enumerators_stay_with_their_sentence() {
        assert_eq!(
            texts("1. Call the branch. 2. Send the form."),
            [("1. Call the branch.", false), ("2. Send the form.", false)]
        );
    }

    #[test]
    fn any_text_gives_ordered_ranges_on_character_borders() {
        for text in [
            "",
            "\n\n",
            "é… ü! „Ja.“ 日本語。次。",
            "|",
            "# ",
            "- ",
            "a\r\nb\r\n\r\nC",
            "\u{a0}x\u{2029}y",
        ] {
            let mut end = 0;
            for unit in units(text) {
                assert!(unit.range.start >= end && unit.range.end <= text.len());
                assert!(!text[unit.range.clone()].is_empty());
                end = unit.range.end;
            }
        }
    }
}
