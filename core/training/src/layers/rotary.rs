//! Queries and keys before attention, forward and backward: normalised where the architecture does
//! so, and turned by their positions (arXiv:2104.09864).

use outcrop_inference::RotaryEmbedding;
use outcrop_tensor::{Pool, ops};

use super::rows::{self, BLOCK};

/// Cosines and sines of rows' positions, `(rows, pairs)` each, and the sines of going back.
#[derive(Debug, Default)]
pub(crate) struct Angles {
    cosines: Vec<f32>,
    sines: Vec<f32>,
    back: Vec<f32>,
}

impl Angles {
    /// The angles of packed sequences of these `lengths`.
    pub fn fill(&mut self, rope: &RotaryEmbedding, lengths: &[usize]) {
        let (pairs, rows) = (rope.pairs(), lengths.iter().sum::<usize>());
        self.cosines.resize(rows * pairs, 0.0);
        self.sines.resize(rows * pairs, 0.0);
        let mut start = 0;
        for length in lengths {
            let own = start..start + length * pairs;
            start = own.end;
            let (cosines, sines) = (&mut self.cosines[own.clone()], &mut self.sines[own]);
            rope.angles(*length, 0, cosines, sines);
        }
        self.back.clear();
        self.back.extend(self.sines.iter().map(|sine| -sine));
    }
}

/// What a layer does to queries and keys. Rows hold `query` elements of queries, `key` of keys, and
/// the values, `width` in all.
pub(crate) struct QueryKey<'a> {
    pub rope: Option<(&'a RotaryEmbedding, &'a Angles)>,
    /// Weights of the norms of queries and keys, each over as many elements as it has.
    pub norms: Option<(Vec<f32>, Vec<f32>)>,
    pub eps: f32,
    pub head_dim: usize,
    pub query: usize,
    pub key: usize,
    pub width: usize,
}

impl QueryKey<'_> {
    /// Changes the rows of `qkv`; those of queries and keys as they were go to `raw`, `(rows,
    /// query + key)`, where there are norms.
    pub fn forward(&self, pool: &Pool, qkv: &mut [f32], raw: &mut Vec<f32>) {
        let both = self.query + self.key;
        let rows = qkv.len() / self.width;
        raw.resize(if self.norms.is_some() { rows * both } else { 0 }, 0.0);
        let Some((queries, keys)) = &self.norms else {
            pool.run_chunks(qkv, BLOCK * self.width, |index, qkv| {
                self.turn(index, qkv, false);
            });
            return;
        };
        rows::both(pool, (qkv, self.width), (raw, both), |index, qkv, raw| {
            let own = qkv.chunks_exact_mut(self.width);
            for (row, raw) in own.zip(raw.chunks_exact_mut(both)) {
                raw.copy_from_slice(&row[..both]);
                let (query, key) = row[..both].split_at_mut(self.query);
                ops::rms_norm(&raw[..self.query], queries, self.eps, query);
                ops::rms_norm(&raw[self.query..], keys, self.eps, key);
            }
            self.turn(index, qkv, false);
        });
    }

    fn turn(&self, block: usize, qkv: &mut [f32], is_back: bool) {
        let Some((rope, angles)) = self.rope else {
            return;
        };
        let (pairs, first) = (rope.pairs(), block * BLOCK);
        let sines = if is_back { &angles.back } else { &angles.sines };
        for (row, qkv) in (first..).zip(qkv.chunks_exact_mut(self.width)) {
            let own = row * pairs..(row + 1) * pairs;
            let turned = &mut qkv[..self.query + self.key];
            rope.turn(
                turned,
                self.head_dim,
                &angles.cosines[own.clone()],
                &sines[own],
            );
        }
    }

    /// Replaces the gradients of the changed rows by those of the rows as they were, and adds those
    /// of the norms' weights, one behind the other, to `gradient` where they are wanted.
    pub fn backward(
        &self,
        pool: &Pool,
        raw: &[f32],
        dqkv: &mut [f32],
        gradient: Option<(&mut [f32], &mut [f32])>,
    ) {
        let Some((queries, keys)) = &self.norms else {
            pool.run_chunks(dqkv, BLOCK * self.width, |index, dqkv| {
                self.turn(index, dqkv, true);
            });
            return;
        };
        let both = self.query + self.key;
        let mut sums = vec![0.0; queries.len() + keys.len()];
        rows::summed(pool, (dqkv, self.width), &mut sums, |index, dqkv, part| {
            self.turn(index, dqkv, true);
            let (query_part, key_part) = part.split_at_mut(queries.len());
            let raw = raw[index * BLOCK * both..].chunks_exact(both);
            for (row, raw) in dqkv.chunks_exact_mut(self.width).zip(raw) {
                let (query, key) = row[..both].split_at_mut(self.query);
                let (raw_query, raw_key) = raw.split_at(self.query);
                ops::rms_norm_backward(raw_query, queries, self.eps, query, Some(&mut *query_part));
                ops::rms_norm_backward(raw_key, keys, self.eps, key, Some(&mut *key_part));
            }
        });
        if let Some((query, key)) = gradient {
            let (query_sums, key_sums) = sums.split_at(queries.len());
            ops::add_in_place(query, query_sums);
            ops::add_in_place(key, key_sums);
        }
    }
}
