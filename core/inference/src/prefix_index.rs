//! Which pages of the KV cache hold which tokens: a chain of pages for every prefix that is known.
//!
//! A page is found by the page before it in its chain and by its tokens themselves. Pages before it
//! are named by serial numbers that are never used twice, so a chain is only ever followed where
//! every token before it was compared: no collision of hashes can give one text another's values.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound::{Included, Unbounded};

/// What keys and values depend on beside their tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    /// The identity of the adapter, where there is one.
    pub adapter: Option<u64>,
    /// How positions are turned: [`crate::step::StepModel::rope_class`].
    pub rope: usize,
    /// Whether the draft model's values are there too.
    pub draft: bool,
}

/// What stands before a page in its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Parent {
    /// Nothing: the page begins a text.
    Scope(Scope),
    /// The page of this serial number.
    Page(u64),
}

/// A page's place in its chain.
#[derive(Debug)]
pub(crate) struct Link {
    /// What stands before it.
    pub parent: Parent,
    /// Its own serial number.
    pub serial: u64,
    /// Its tokens: a whole page of them, or fewer where a text ended.
    pub tokens: Box<[u32]>,
}

/// The pages by their place.
#[derive(Debug, Default)]
pub(crate) struct PrefixIndex {
    /// Sorted by tokens: the page with the longest common beginning is a neighbour.
    children: HashMap<Parent, BTreeMap<Box<[u32]>, u32>>,
}

impl PrefixIndex {
    /// The page that holds just `tokens` behind `parent`.
    pub fn find(&self, parent: Parent, tokens: &[u32]) -> Option<u32> {
        self.children.get(&parent)?.get(tokens).copied()
    }

    /// The page behind `parent` that begins with the most of `tokens`, and how many: at least 1.
    pub fn longest(&self, parent: Parent, tokens: &[u32]) -> Option<(u32, usize)> {
        let pages = self.children.get(&parent)?;
        let below = pages
            .range::<[u32], _>((Unbounded, Included(tokens)))
            .next_back();
        let above = pages
            .range::<[u32], _>((Included(tokens), Unbounded))
            .next();
        let found = [above, below].into_iter().flatten();
        let found = found.map(|(own, page)| (*page, common(own, tokens)));
        found
            .max_by_key(|(_, count)| *count)
            .filter(|(_, count)| *count > 0)
    }

    /// Notes that `page` holds the tokens of `link`, whose place is free.
    pub fn insert(&mut self, link: &Link, page: u32) {
        let pages = self.children.entry(link.parent).or_default();
        let before = pages.insert(link.tokens.clone(), page);
        debug_assert_eq!(before, None, "two pages in one place");
    }

    /// Forgets the page at `link`.
    pub fn remove(&mut self, link: &Link) {
        debug_assert!(
            !self.children.contains_key(&Parent::Page(link.serial)),
            "a page is forgotten before those behind it"
        );
        if let Some(pages) = self.children.get_mut(&link.parent) {
            pages.remove(&link.tokens);
            if pages.is_empty() {
                self.children.remove(&link.parent);
            }
        }
    }

    /// Number of pages.
    pub fn len(&self) -> usize {
        self.children.values().map(BTreeMap::len).sum()
    }
}

/// How many tokens two texts begin with alike.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
