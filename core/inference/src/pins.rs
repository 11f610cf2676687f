//! The prefixes that callers hold: their pages stay in the KV cache until they are let go.

use std::collections::{HashMap, HashSet};

use outcrop_api::{Error, ErrorKind, Result};

use crate::block_pool::{BlockPool, BlockTable, PAGE_TOKENS};
use crate::sequence::Sequence;

/// The held prefixes by their numbers.
#[derive(Default)]
pub(crate) struct Pins {
    held: HashMap<u64, BlockTable>,
    pages: HashSet<u32>,
}

impl Pins {
    /// The tables of all.
    pub fn tables(&self) -> impl Iterator<Item = &BlockTable> {
        self.held.values()
    }

    /// Pages that are held.
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// The pages of one.
    pub fn get(&self, number: u64) -> Option<&BlockTable> {
        self.held.get(&number)
    }

    /// Holds `table` as `number`, where that leaves each of `running` the room that it may need.
    ///
    /// # Errors
    /// `ServiceQuotaExceededException` with the numbers, and the table goes back.
    pub fn hold(
        &mut self,
        number: u64,
        table: BlockTable,
        running: &[Sequence],
        blocks: &mut BlockPool,
    ) -> Result<()> {
        self.held.insert(number, table);
        self.count();
        let lacking = running
            .iter()
            .find_map(|s| self.check_room(s, blocks).err());
        // A prefix that takes all there is would let nothing run at all.
        let full = (self.pages.len() * PAGE_TOKENS >= blocks.capacity()).then(|| {
            no_room(
                blocks.capacity(),
                self.pages.len() * PAGE_TOKENS,
                PAGE_TOKENS,
            )
        });
        match lacking.or(full) {
            None => Ok(()),
            Some(error) => {
                self.release(number, blocks);
                Err(error)
            }
        }
    }

    /// Lets go of one.
    pub fn release(&mut self, number: u64, blocks: &mut BlockPool) {
        if let Some(table) = self.held.remove(&number) {
            blocks.release(table);
        }
        self.count();
    }

    /// Whether `sequence` can come to its end beside what is held, alone if it must.
    ///
    /// # Errors
    /// `ServiceQuotaExceededException` with the numbers.
    pub fn check_room(&self, sequence: &Sequence, blocks: &BlockPool) -> Result<()> {
        let own = sequence.blocks.pages().iter();
        let shared = own.filter(|page| self.pages.contains(page)).count();
        let needed = sequence.worst_case().div_ceil(PAGE_TOKENS) - shared;
        let held = self.pages.len() * PAGE_TOKENS;
        if needed * PAGE_TOKENS + held > blocks.capacity() {
            return Err(no_room(blocks.capacity(), held, needed * PAGE_TOKENS));
        }
        Ok(())
    }

    fn count(&mut self) {
        let pages = self.held.values().flat_map(|table| table.pages());
        self.pages = pages.copied().collect();
    }
}

fn no_room(capacity: usize, held: usize, needed: usize) -> Error {
    let left = capacity.saturating_sub(held);
    Error::new(
        ErrorKind::ServiceQuotaExceededException,
        format!(
            "kv_tokens: expected room for {needed} tokens, got {left}: held prefixes take {held} of {capacity}"
        ),
    )
}
