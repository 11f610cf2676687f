//! Which pages of the KV cache are free, which sequences own the others, and which keep a known prefix.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::prefix_index::{Link, Parent, PrefixIndex, Scope};

/// Tokens whose keys and values one page holds.
pub const PAGE_TOKENS: usize = 32;

/// The pages of a cache of fixed size. It only counts: the bytes are the cache's.
///
/// A page is free, or has owners (sequences that share it have computed the same tokens behind the
/// same prefix), or is kept: nobody owns it, and what it holds may be asked for again. Kept pages
/// give way, least recently used first, when no free one is left.
#[derive(Debug)]
pub struct BlockPool {
    pages: Vec<Page>,
    /// Free pages, the next to be handed out last.
    free: Vec<u32>,
    /// Kept pages by when they were last used. Behind a page in its chain stand only earlier ones.
    kept: BTreeMap<u64, u32>,
    index: PrefixIndex,
    /// Serial numbers and times of use.
    clock: u64,
}

#[derive(Debug, Default)]
struct Page {
    owners: u32,
    /// Its place in the index, once its tokens are computed.
    link: Option<Link>,
    /// Its key in `kept`.
    used: u64,
}

/// The pages of one sequence in order of its tokens. It goes back by [`BlockPool::release`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct BlockTable {
    pages: Vec<u32>,
    /// How many of the pages stand in the index.
    indexed: usize,
}

impl BlockTable {
    /// The page numbers: token `t` lies in the page at `t / PAGE_TOKENS`.
    pub fn pages(&self) -> &[u32] {
        &self.pages
    }

    /// Tokens for which there are pages.
    pub fn capacity(&self) -> usize {
        self.pages.len() * PAGE_TOKENS
    }
}

/// The beginning of a page that is to be copied to another, for a sequence that goes on differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageCopy {
    /// The page that holds the tokens.
    pub from: u32,
    /// The sequence's own.
    pub to: u32,
}

/// How many pages are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageCounts {
    /// All pages.
    pub total: usize,
    /// Pages that hold nothing.
    pub free: usize,
    /// Pages that nobody owns and that keep a known prefix.
    pub kept: usize,
}

impl BlockPool {
    /// A pool of as many pages as hold `tokens` tokens.
    pub fn new(tokens: usize) -> Self {
        let pages = tokens.div_ceil(PAGE_TOKENS);
        let mut all = Vec::new();
        all.resize_with(pages, Page::default);
        Self {
            free: (0..pages as u32).rev().collect(),
            pages: all,
            kept: BTreeMap::new(),
            index: PrefixIndex::default(),
            clock: 0,
        }
    }

    /// Tokens that all pages together hold.
    pub fn capacity(&self) -> usize {
        self.pages.len() * PAGE_TOKENS
    }

    /// Tokens that the pages without an owner hold.
    pub fn available(&self) -> usize {
        self.available_pages() * PAGE_TOKENS
    }

    /// Pages without an owner.
    pub(crate) fn available_pages(&self) -> usize {
        self.free.len() + self.kept.len()
    }

    /// How many pages are in which state.
    pub(crate) fn counts(&self) -> PageCounts {
        PageCounts {
            total: self.pages.len(),
            free: self.free.len(),
            kept: self.kept.len(),
        }
    }

    /// Pages for `tokens` tokens; `None`, and nothing taken, where too few are without an owner.
    pub fn allocate(&mut self, tokens: usize) -> Option<BlockTable> {
        let mut table = BlockTable::default();
        self.grow(&mut table, tokens).then_some(table)
    }

    /// Adds pages to `table` until it holds `tokens` tokens. False, and nothing taken, where too few
    /// are without an owner.
    pub fn grow(&mut self, table: &mut BlockTable, tokens: usize) -> bool {
        let more = tokens
            .div_ceil(PAGE_TOKENS)
            .saturating_sub(table.pages.len());
        if more > self.available_pages() {
            return false;
        }
        let taken = (0..more).filter_map(|_| self.take());
        table.pages.extend(taken);
        true
    }

    /// Takes the pages of `table` back. What of them stands in the index is kept.
    pub fn release(&mut self, table: BlockTable) {
        // The last first: it gives way before those that its chain needs.
        for page in table.pages.into_iter().rev() {
            self.disown(page);
        }
    }

    /// Adds the pages to `table`, whose own are all whole and in the index, that hold the tokens
    /// which come next in `tokens`: whole pages are shared, and of a page that holds only some of
    /// them a copy is wanted. Gives for how many of the first `most` tokens there are values now, 0 where nothing can be added.
    pub(crate) fn extend(
        &mut self,
        scope: Scope,
        table: &mut BlockTable,
        tokens: &[u32],
        most: usize,
    ) -> (usize, Option<PageCopy>) {
        let mut end = table.capacity();
        if table.indexed < table.pages.len() || most <= end {
            return (0, None);
        }
        let mut parent = self.parent(scope, table);
        while let Some(next) = tokens[..most].get(end..end + PAGE_TOKENS) {
            let Some(page) = self.index.find(parent, next) else {
                break;
            };
            self.own(page);
            parent = self.behind(page).unwrap_or(parent);
            table.pages.push(page);
            table.indexed += 1;
            end += PAGE_TOKENS;
        }
        let next = &tokens[end..most.min(end + PAGE_TOKENS)];
        let Some((from, count)) = self.index.longest(parent, next) else {
            return (end, None);
        };
        // Owned for the moment, so that it does not give way to its own copy.
        self.own(from);
        let copy = self.take().map(|to| {
            table.pages.push(to);
            PageCopy { from, to }
        });
        self.disown(from);
        (end + copy.map_or(0, |_| count), copy)
    }

    /// Notes that the pages of `table` hold `tokens`, all computed; at the end of a text
    /// (`with_rest`) a last page that is not full counts too. Gives the positions that were not known
    /// before. Of pages that hold the same after all only the older stays.
    pub(crate) fn index(
        &mut self,
        scope: Scope,
        table: &mut BlockTable,
        tokens: &[u32],
        with_rest: bool,
    ) -> Vec<Range<usize>> {
        let mut added = Vec::new();
        while let Some(&page) = table.pages.get(table.indexed) {
            let start = table.indexed * PAGE_TOKENS;
            let Some(own) = tokens.get(start..tokens.len().min(start + PAGE_TOKENS)) else {
                break;
            };
            let is_rest = own.len() < PAGE_TOKENS;
            if own.is_empty() || is_rest && !with_rest {
                break;
            }
            let parent = self.parent(scope, table);
            if is_rest {
                let known = self.index.longest(parent, own);
                if let Some((known, _)) = known.filter(|(_, count)| *count == own.len()) {
                    self.own(known);
                    self.disown(page);
                    table.pages[table.indexed] = known;
                    break;
                }
            } else if let Some(known) = self.index.find(parent, own) {
                self.own(known);
                self.disown(page);
                table.pages[table.indexed] = known;
                table.indexed += 1;
                continue;
            }
            let link = Link {
                parent,
                serial: self.tick(),
                tokens: own.into(),
            };
            self.index.insert(&link, page);
            self.pages[page as usize].link = Some(link);
            added.push(start..start + own.len());
            if is_rest {
                break;
            }
            table.indexed += 1;
        }
        added
    }

    /// What the page behind the indexed ones of `table` has before it.
    fn parent(&self, scope: Scope, table: &BlockTable) -> Parent {
        let last = table.indexed.checked_sub(1).map(|last| table.pages[last]);
        last.and_then(|page| self.behind(page))
            .unwrap_or(Parent::Scope(scope))
    }

    /// What a page behind `page` has before it.
    fn behind(&self, page: u32) -> Option<Parent> {
        let link = self.pages[page as usize].link.as_ref()?;
        Some(Parent::Page(link.serial))
    }

    /// A page without an owner for a new one: a free one, or the kept one that was not used for
    /// the longest time.
    fn take(&mut self) -> Option<u32> {
        let page = self.free.pop().or_else(|| {
            let (_, page) = self.kept.pop_first()?;
            if let Some(link) = self.pages[page as usize].link.take() {
                self.index.remove(&link);
            }
            Some(page)
        })?;
        self.pages[page as usize].owners = 1;
        Some(page)
    }

    fn own(&mut self, page: u32) {
        let state = &mut self.pages[page as usize];
        if state.owners == 0 {
            self.kept.remove(&state.used);
        }
        state.owners += 1;
    }

    fn disown(&mut self, page: u32) {
        let now = self.tick();
        let state = &mut self.pages[page as usize];
        state.owners -= 1;
        if state.owners > 0 {
            return;
        }
        if state.link.is_some() {
            state.used = now;
            self.kept.insert(now, page);
        } else {
            self.free.push(page);
        }
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Checks that every page is in just one state, that `tables` are all that own any, and that the
    /// index knows each page that it should and no other.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn check<'t>(
        &self,
        tables: impl Iterator<Item = &'t BlockTable>,
    ) -> Result<(), String> {
        let mut owners = vec![0; self.pages.len()];
        for table in tables {
            for &page in &table.pages {
                owners[page as usize] += 1;
            }
        }
        let mut idle = vec![0; self.pages.len()];
        for &page in self.free.iter().chain(self.kept.values()) {
            idle[page as usize] += 1;
        }
        let mut links = 0;
        for (page, state) in self.pages.iter().enumerate() {
            if state.owners != owners[page] {
                let (says, are) = (state.owners, owners[page]);
                return Err(format!("page {page}: {says} owners noted, {are} there"));
            }
            if idle[page] != u32::from(state.owners == 0) {
                let (lists, owners) = (idle[page], state.owners);
                return Err(format!(
                    "page {page}: {owners} owners and idle {lists} times"
                ));
            }
            let is_kept = self.kept.get(&state.used) == Some(&(page as u32));
            if state.owners == 0 && state.link.is_some() != is_kept {
                return Err(format!("page {page}: idle in the wrong list"));
            }
            if let Some(link) = &state.link {
                links += 1;
                if self.index.find(link.parent, &link.tokens) != Some(page as u32) {
                    return Err(format!("page {page}: the index has another in its place"));
                }
            }
        }
        if links != self.index.len() {
            return Err(format!(
                "index: {} pages, of which {links} say so",
                self.index.len()
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
