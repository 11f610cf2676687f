//! Which pages of the KV cache are free, and which sequence owns the others.

/// Tokens whose keys and values one page holds.
pub const PAGE_TOKENS: usize = 32;

/// The free pages of a cache of fixed size. It only counts: the bytes are the cache's.
#[derive(Debug)]
pub struct BlockPool {
    /// Free pages, the next to be handed out last.
    free: Vec<u32>,
    pages: usize,
}

/// The pages of one sequence in order of its tokens. It goes back by [`BlockPool::release`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct BlockTable {
    pages: Vec<u32>,
}

impl BlockTable {
    /// The page numbers: token `t` lies in the page at `t / PAGE_TOKENS`.
    pub fn pages(&self) -> &[u32] {
        &self.pages
    }
}

impl BlockPool {
    /// A pool of as many pages as hold `tokens` tokens.
    pub fn new(tokens: usize) -> Self {
        let pages = tokens.div_ceil(PAGE_TOKENS);
        Self {
            free: (0..pages as u32).rev().collect(),
            pages,
        }
    }

    /// Tokens that all pages together hold.
    pub fn capacity(&self) -> usize {
        self.pages * PAGE_TOKENS
    }

    /// Tokens that the free pages hold.
    pub fn available(&self) -> usize {
        self.free.len() * PAGE_TOKENS
    }

    /// Pages for `tokens` tokens; `None`, and nothing taken, where too few are free.
    pub fn allocate(&mut self, tokens: usize) -> Option<BlockTable> {
        let wanted = tokens.div_ceil(PAGE_TOKENS);
        let left = self.free.len().checked_sub(wanted)?;
        let mut pages = self.free.split_off(left);
        pages.reverse();
        Some(BlockTable { pages })
    }

    /// Takes the pages of `table` back.
    pub fn release(&mut self, table: BlockTable) {
        self.free.extend(table.pages.into_iter().rev());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_does_not_fit_takes_nothing() {
        let mut pool = BlockPool::new(3 * PAGE_TOKENS);
        let table = pool.allocate(PAGE_TOKENS + 1).unwrap();
        assert_eq!(table.pages(), [0, 1]);
        assert_eq!(pool.allocate(2 * PAGE_TOKENS), None);
        assert_eq!(pool.available(), PAGE_TOKENS);
        pool.release(table);
        assert_eq!(pool.available(), pool.capacity());
    }

    proptest! {
        #[test]
        fn no_page_has_two_owners_and_none_is_lost(sizes in prop::collection::vec((1usize..200, any::<bool>()), 1..60)) {
            let mut pool = BlockPool::new(512);
            let mut held: Vec<BlockTable> = Vec::new();
            for (tokens, give_back) in sizes {
                if give_back && !held.is_empty() {
                    let table = held.remove(tokens % held.len());
                    pool.release(table);
                } else if let Some(table) = pool.allocate(tokens) {
                    prop_assert!(table.pages().len() * PAGE_TOKENS >= tokens);
                    held.push(table);
                }
                let mut all: Vec<u32> = held.iter().flat_map(|t| t.pages().iter().copied()).collect();
                prop_assert_eq!(all.len() * PAGE_TOKENS + pool.available(), pool.capacity());
                all.sort_unstable();
                all.dedup();
                prop_assert_eq!(all.len() * PAGE_TOKENS + pool.available(), pool.capacity());
            }
        }
    }
}
