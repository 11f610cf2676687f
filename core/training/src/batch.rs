//! Rows of several sequences that one pass goes through, one behind the other, without padding.

/// In the place of a target: the row is not learned from.
pub const NO_TARGET: u32 = u32::MAX;

/// Packed sequences. A sequence sees itself only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The tokens.
    pub ids: Vec<u32>,
    /// What should follow each token: an id, or [`NO_TARGET`].
    pub targets: Vec<u32>,
    /// Tokens of each sequence.
    pub lengths: Vec<usize>,
}

impl Batch {
    /// Adds a sequence, learned where `is_learned` says so of the token that follows.
    pub fn push(&mut self, ids: &[u32], is_learned: impl Fn(usize) -> bool) {
        self.ids.extend_from_slice(ids);
        self.targets
            .extend((1..=ids.len()).map(|next| match ids.get(next) {
                Some(id) if is_learned(next) => *id,
                _ => NO_TARGET,
            }));
        self.lengths.push(ids.len());
    }

    /// How many rows are learned from.
    pub fn learned(&self) -> usize {
        self.targets.iter().filter(|t| **t != NO_TARGET).count()
    }
}
