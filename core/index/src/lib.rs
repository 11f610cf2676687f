//! Nearest neighbours and keywords over ids.
//!
//! [`keyword_search`] finds rows by the words of their texts.
//!
//! [`FlatIndex`] is exact: it reads every row for every batch of queries. Rows are borrowed, as from a mapped
//! file, in any number of pieces, and are numbered through all of them from 0.

mod flat;
mod keywords;
mod top_k;

pub use flat::{FlatIndex, IndexError};
pub use keywords::{KeywordIndex, keyword_search, terms};
/// The threads that a search runs on, so that its callers need no room below this one.
pub use outcrop_tensor::Pool;
pub use top_k::Hit;
