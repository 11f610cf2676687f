//! Prints `docs/coverage.md`.

fn main() {
    print!("{}", outcrop_protocol::coverage_page());
}
