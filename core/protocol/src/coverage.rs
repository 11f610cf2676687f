//! The page that says which operations are here: written from the table of operations.

use std::fmt::Write;

use outcrop::operations::{Operation, Service};

/// `docs/coverage.md`.
pub fn coverage_page() -> String {
    let here = |rows: &[Operation]| rows.iter().filter(|row| row.handler.is_some()).count();
    let all: usize = Service::ALL
        .into_iter()
        .map(|it| Operation::of(it).len())
        .sum();
    let all_here: usize = Service::ALL
        .into_iter()
        .map(|it| here(Operation::of(it)))
        .sum();
    let mut page = format!(
        "# Operations\n\n{all_here} of the {all} operations of Bedrock's four services are here. \
         Calling another one answers HTTP 501, `NotImplementedException`, with its name. This page \
         is written by `make docs` from the table of operations.\n"
    );
    for service in Service::ALL {
        let rows = Operation::of(service);
        let (count, of) = (here(rows), rows.len());
        // Writing to a text cannot fail.
        let _ = write!(page, "\n## {}: {count} of {of}\n\n", service.name());
        for (title, is_here) in [("Here", true), ("Not here", false)] {
            let rows = rows.iter().filter(|row| row.handler.is_some() == is_here);
            let names: Vec<String> = rows.map(|row| format!("`{}`", row.name)).collect();
            let names = match names.is_empty() {
                true => "none".to_string(),
                false => names.join(", "),
            };
            let _ = writeln!(page, "- {title}: {names}");
        }
    }
    page
}
