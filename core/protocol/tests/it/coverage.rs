//! The page of operations is that of the table.

use outcrop_protocol::coverage_page;

#[test]
fn the_page_is_current() {
    let page = include_str!("../../../../docs/coverage.md");
    assert_eq!(page, coverage_page(), "`make docs` writes it anew");
}
