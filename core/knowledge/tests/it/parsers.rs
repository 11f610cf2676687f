//! Whatever the bytes, a parser gives text or a reason, and soon.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use outcrop_knowledge::parse::{Format, ParseError, ParsedDocument, parse};

use crate::doubles::Numbers;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join(name)).unwrap()
}

fn parsed(name: &str) -> Result<ParsedDocument, ParseError> {
    parse(Format::of(name.as_ref()).unwrap(), bytes(name))
}

fn page(document: &ParsedDocument, number: usize) -> String {
    let range = document.pages[number - 1].clone();
    document
        .text
        .chars()
        .skip(range.start)
        .take(range.len())
        .collect()
}

#[test]
fn a_pdf_keeps_pages_headings_lists_and_tables() {
    let document = parsed("policy.pdf").unwrap();
    assert_eq!(document.title.as_deref(), Some("Retail Lending Policy"));
    assert_eq!(document.pages.len(), 2);
    let headings: Vec<(u8, &str)> = document
        .headings
        .iter()
        .map(|h| (h.level, h.text.as_str()))
        .collect();
    assert_eq!(
        headings,
        [
            (1, "Retail Lending Policy 2024"),
            (2, "1. Purpose and scope"),
            (3, "1.1 Definitions"),
            (2, "2. Fees")
        ]
    );
    let first = page(&document, 1);
    assert!(first.contains("Loan-to-value limits are in section 3. This policy sets out"));
    assert!(first.contains("\nPersonal loan | 5.9 % | 84 months\nCar loan | 4.2 % | 96 months\n"));
    assert!(
        first.contains("known customers of the branch | The branch manager alone, on the basis of")
    );
    assert!(first.contains("• An affiliate is efficient."));
    assert!(page(&document, 2).contains("2. Fees") && !page(&document, 2).contains("1.1"));
}

#[test]
fn pdfs_of_other_writers_read_as_well() {
    let fees = parsed("fees.pdf").unwrap();
    assert!(
        fees.text.contains("Card | Yearly fee | Notes"),
        "{}",
        fees.text
    );
    assert!(
        fees.text.contains(
            "travel insurance for the holder and the family when the trip is paid by card"
        )
    );
    let columns = parsed("columns.pdf").unwrap().text;
    let at = |n: usize| {
        columns
            .find(&format!("Para {n}. This policy sets out the conditions"))
            .unwrap()
    };
    assert!(
        (1..30).all(|n| at(n - 1) < at(n)),
        "columns run into each other"
    );
    assert!(!columns.contains(" | "));
    assert_eq!(parsed("empty_password.pdf").unwrap().pages.len(), 2);
}

#[test]
fn a_pdf_without_readable_text_says_why() {
    assert_eq!(
        parsed("password.pdf").unwrap_err(),
        ParseError::Encrypted("PDF")
    );
    assert_eq!(
        parsed("no_text.pdf").unwrap_err().to_string(),
        "no text layer: none of its 2 pages holds text"
    );
    let error = parse(Format::Pdf, b"hello".to_vec()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "broken PDF: it does not begin with %PDF-"
    );
}

#[test]
fn a_docx_keeps_headings_lists_and_tables() {
    let document = parsed("complaints.docx").unwrap();
    assert_eq!(document.title.as_deref(), Some("Complaints Procedure"));
    let headings: Vec<&str> = document.headings.iter().map(|h| h.text.as_str()).collect();
    assert_eq!(
        headings,
        ["Complaints Procedure", "1. Receiving", "2. Answer"]
    );
    assert!(document.text.contains("e-mail, letter & phone."));
    assert!(
        document
            .text
            .contains("- First\n- Second\n\nStep | Owner | Days\nConfirm receipt | Branch | 2\n")
    );
    assert!(document.text.ends_with("Within 15 days.\nOr thirty."));
}

/// A PDF of one page, with the given objects from number 4 on.
fn pdf(page: &str, content: &str, objects: &[&str]) -> Vec<u8> {
    let mut out = b"%PDF-1.4\n".to_vec();
    let mut offsets = Vec::new();
    let stream = format!(
        "<< /Length {} >>\nstream\n{content}\nendstream",
        content.len()
    );
    let all = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        page.to_owned(),
        stream,
    ];
    for (at, object) in all
        .iter()
        .map(String::as_str)
        .chain(objects.iter().copied())
        .enumerate()
    {
        offsets.push(out.len());
        out.extend(format!("{} 0 obj\n{object}\nendobj\n", at + 1).bytes());
    }
    let start = out.len();
    out.extend(format!("xref\n0 {}\n0000000000 65535 f \n", offsets.len() + 1).bytes());
    for offset in &offsets {
        out.extend(format!("{offset:010} 00000 n \n").bytes());
    }
    let size = offsets.len() + 1;
    out.extend(
        format!("trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF").bytes(),
    );
    out
}

#[test]
fn a_pdf_that_goes_round_in_circles_ends() {
    let pages = "<< /Type /Pages /Kids [4 0 R] /Count 1 /MediaBox [0 0 100 100] >>";
    let with_form =
        "<< /Type /Page /Parent 2 0 R /Contents 3 0 R /Resources << /XObject << /F 5 0 R >> >> >>";
    let form = "<< /Type /XObject /Subtype /Form /Length 5 >>\nstream\n/F Do\nendstream";
    let error = parse(Format::Pdf, pdf(pages, "/F Do", &[with_form, form])).unwrap_err();
    assert!(
        error.to_string().contains("forms are nested deeper"),
        "{error}"
    );

    let wide = "<< /Type /XObject /Subtype /Form /Resources << /XObject << /F 6 0 R >> >> /Length 0 >>\nstream\n\nendstream";
    let many = "/F Do ".repeat(3_000);
    let error = parse(Format::Pdf, pdf(pages, &many, &[with_form, wide])).unwrap_err();
    assert!(
        error.to_string().contains("more than 2000 forms"),
        "{error}"
    );

    let own_parent = "<< /Type /Page /Parent 4 0 R /Contents 3 0 R >>";
    let error = parse(Format::Pdf, pdf(pages, "", &[own_parent])).unwrap_err();
    assert!(error.to_string().contains("page"), "{error}");
}

fn zip_of(name: &str, body: impl Fn(&mut dyn Write)) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    archive.start_file(name, options).unwrap();
    body(&mut archive);
    archive.finish().unwrap().into_inner()
}

#[test]
fn a_docx_that_expands_without_measure_is_refused() {
    let bomb = zip_of("word/document.xml", |out| {
        let zeros = vec![b' '; 1 << 20];
        (0..200).for_each(|_| out.write_all(&zeros).unwrap());
    });
    assert!(bomb.len() < 1 << 20);
    let error = parse(Format::Docx, bomb).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("word/document.xml when expanded: expected at most"),
        "{error}"
    );
    let deep = zip_of("word/document.xml", |out| {
        (0..200_000).for_each(|_| out.write_all(b"<w:p><w:r>").unwrap());
    });
    let error = parse(Format::Docx, deep).unwrap_err();
    assert!(
        error.to_string().contains("ends inside an element"),
        "{error}"
    );
    let error = parse(Format::Docx, zip_of("other.xml", |_| {})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "broken DOCX: it has no word/document.xml"
    );
}

#[test]
fn damaged_bytes_of_every_format_give_text_or_a_reason() {
    let html = b"<html><head><meta charset=utf-8><title>T</title></head><body><table><tr><td>a<ul><li>b</table><p>c</body>".to_vec();
    let samples = [
        (Format::Pdf, bytes("policy.pdf")),
        (Format::Pdf, bytes("fees.pdf")),
        (Format::Pdf, bytes("empty_password.pdf")),
        (Format::Docx, bytes("complaints.docx")),
        (Format::Html, html.clone()),
        (Format::Markdown, html.clone()),
        (Format::Text, html),
    ];
    let mut numbers = Numbers(7);
    let mut slowest = Duration::ZERO;
    for (format, sample) in &samples {
        for round in 0..120 {
            let mut damaged = sample.clone();
            if round % 3 == 0 {
                damaged.truncate(numbers.below(sample.len() as u64) as usize);
            } else {
                for _ in 0..=numbers.below(20) {
                    let at = numbers.below(sample.len() as u64) as usize;
                    damaged[at] = numbers.below(256) as u8;
                }
            }
            let started = Instant::now();
            match parse(*format, damaged) {
                Ok(document) => {
                    let chars = document.text.chars().count();
                    assert!(
                        document
                            .pages
                            .iter()
                            .all(|p| p.start <= p.end && p.end <= chars)
                    );
                    for heading in &document.headings {
                        assert_eq!(document.text[heading.bytes.clone()], heading.text);
                    }
                }
                Err(reason) => assert!(!reason.to_string().is_empty()),
            }
            slowest = slowest.max(started.elapsed());
        }
    }
    assert!(slowest < Duration::from_secs(10), "one took {slowest:?}");
}

#[test]
fn random_bytes_give_text_or_a_reason() {
    let mut numbers = Numbers(11);
    for format in [
        Format::Pdf,
        Format::Docx,
        Format::Html,
        Format::Markdown,
        Format::Text,
    ] {
        for _ in 0..60 {
            let mut noise: Vec<u8> = (0..numbers.below(3_000))
                .map(|_| numbers.below(256) as u8)
                .collect();
            if format == Format::Pdf {
                noise.splice(0..0, *b"%PDF-1.7\n");
            }
            let _ = parse(format, noise);
        }
    }
}
