//! Where the keys and values of a prompt's tokens came from, counted token by token.

/// What happened to one token of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Unknown,
    /// Found in the prefix cache.
    Read,
    /// Computed by this request.
    Computed,
    /// Computed by this request and left in the prefix cache.
    Written,
}

/// The tokens of one request's prompt. A token that is computed again after the request had to give
/// way counts once, as what it was first.
#[derive(Debug)]
pub(crate) struct CacheAccount(Vec<Origin>);

impl CacheAccount {
    /// A prompt of `tokens` tokens of which nothing is known.
    pub fn new(tokens: usize) -> Self {
        Self(vec![Origin::Unknown; tokens])
    }

    /// The positions up to `end` are there: those that were not computed were found in the cache.
    pub fn read(&mut self, end: usize) {
        self.turn(0, end, Origin::Unknown, Origin::Read);
    }

    /// The positions from `start` to `end` were computed.
    pub fn compute(&mut self, start: usize, end: usize) {
        self.turn(start, end, Origin::Unknown, Origin::Computed);
    }

    /// The positions from `start` to `end` stand in the cache by this request.
    pub fn write(&mut self, start: usize, end: usize) {
        self.turn(start, end, Origin::Computed, Origin::Written);
    }

    /// Tokens that were found in the cache.
    pub fn read_tokens(&self) -> usize {
        self.count(Origin::Read)
    }

    /// Tokens that this request computed and left in the cache.
    pub fn written_tokens(&self) -> usize {
        self.count(Origin::Written)
    }

    fn turn(&mut self, start: usize, end: usize, from: Origin, to: Origin) {
        let (start, end) = (start.min(self.0.len()), end.min(self.0.len()));
        for origin in self.0[start..end].iter_mut().filter(|o| **o == from) {
            *origin = to;
        }
    }

    fn count(&self, origin: Origin) -> usize {
        self.0.iter().filter(|o| **o == origin).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_counts_once_whatever_happens_to_it_later() {
        let mut account = CacheAccount::new(10);
        account.read(4);
        account.compute(4, 12);
        account.write(0, 8);
        // Given way, found again, computed again.
        account.read(8);
        account.compute(0, 10);
        account.write(0, 8);
        assert_eq!((account.read_tokens(), account.written_tokens()), (4, 4));
    }
}
