//! The demo's corpus, where it is in the checkout.

use std::path::Path;

use outcrop_knowledge::parse::{Format, parse};

#[test]
fn every_document_of_the_corpus_reads_but_the_broken_one() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/corpus");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("skipped: {} is not there", folder.display());
        return;
    };
    let mut good = 0;
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(format) = Format::of(&path) else {
            continue;
        };
        match parse(format, std::fs::read(&path).unwrap()) {
            Err(reason) => assert_eq!(name, "treasury-circular.pdf", "{name}: {reason}"),
            Ok(document) => {
                assert!(
                    document.text.len() > 2_000 && document.title.is_some(),
                    "{name}"
                );
                assert!(
                    document.headings.len() >= 5,
                    "{name}: {:?}",
                    document.headings
                );
                assert_eq!(format == Format::Pdf, document.pages.len() > 1, "{name}");
                assert!(!document.text.contains('\u{fffd}'), "{name}");
                good += 1;
            }
        }
    }
    assert!(good >= 12, "{good}");
}
