//! The best k of a stream of scores, in bounded memory.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A row that was found, and its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// The row's number.
    pub row: u32,
    /// How well it fits the query: a dot product, or BM25.
    pub score: f32,
}

/// The order of results: the higher score first, then the lower row.
pub(crate) fn rank(a: &Hit, b: &Hit) -> Ordering {
    let by_score = b.score.partial_cmp(&a.score).unwrap_or(Ordering::Equal);
    by_score.then(a.row.cmp(&b.row))
}

/// A hit in a heap whose greatest element is the worst of those kept.
#[derive(Clone, Debug)]
struct Worst(Hit);

impl Ord for Worst {
    fn cmp(&self, other: &Self) -> Ordering {
        rank(&self.0, &other.0)
    }
}

impl PartialOrd for Worst {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Worst {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Worst {}

/// The best `k` hits so far. Rows must be offered in ascending order: of equal scores, the first one stays.
#[derive(Clone, Debug)]
pub(crate) struct TopK {
    k: usize,
    heap: BinaryHeap<Worst>,
    /// What a score must exceed.
    threshold: f32,
}

impl TopK {
    pub(crate) fn new(k: usize) -> Self {
        Self {
            k,
            heap: BinaryHeap::new(),
            threshold: if k == 0 {
                f32::INFINITY
            } else {
                f32::NEG_INFINITY
            },
        }
    }

    /// Whether a row with this score would be kept.
    pub(crate) fn admits(&self, score: f32) -> bool {
        score > self.threshold
    }

    /// Keeps a hit that is admitted.
    pub(crate) fn push(&mut self, hit: Hit) {
        if self.heap.len() < self.k {
            self.heap.push(Worst(hit));
        } else if let Some(mut worst) = self.heap.peek_mut() {
            *worst = Worst(hit);
        }
        if self.heap.len() == self.k {
            self.threshold = self
                .heap
                .peek()
                .map_or(f32::INFINITY, |worst| worst.0.score);
        }
    }

    pub(crate) fn into_hits(self) -> impl Iterator<Item = Hit> {
        self.heap.into_iter().map(|worst| worst.0)
    }
}

/// The best `k` of several parts, in the order of results.
pub(crate) fn merge(parts: impl Iterator<Item = TopK>, k: usize) -> Vec<Hit> {
    let mut hits: Vec<Hit> = parts.flat_map(TopK::into_hits).collect();
    hits.sort_unstable_by(rank);
    hits.truncate(k);
    hits
}
