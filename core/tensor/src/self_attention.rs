//! Attention within whole sequences, each token seeing those before and behind it.
//!
//! Computed as [`crate::ops::attention`] does: for each head and query the scores are dot products
//! with each key in order of the head's dimensions, scaled; their softmax sums the exponentials in
//! order of the keys; the output sums the weighted values in order of the keys and is then divided
//! by that sum. A token's bits depend on its own sequence only. Queries, keys and values stand side
//! by side, as one product makes them.

use std::ops::Range;

use crate::Pool;
use crate::aligned::{SharedOut, with_scratch};
use crate::attention::softmax_columns;
use crate::interleave::interleave;
use crate::isa::{Isa, versions};
use crate::panels::{self, MOST_ROWS, PANEL, Tile, even_tile};

/// Queries of one task.
const TASK_ROWS: usize = 64;

/// The attention of several sequences, one after the other.
#[derive(Debug)]
pub struct SelfAttentionArgs<'a> {
    /// Queries, keys and values, `(tokens, 3, heads, head_dim)`.
    pub qkv: &'a [f32],
    /// Tokens of each sequence.
    pub lengths: &'a [usize],
    /// Number of heads.
    pub heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// How many positions a token sees to either side; `None`: all.
    pub window: Option<usize>,
    /// Factor of the scores, commonly `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Output `(tokens, heads, head_dim)`.
    pub out: &'a mut [f32],
}

/// Computes the attention of each sequence.
pub fn self_attention(pool: &Pool, args: SelfAttentionArgs<'_>) {
    self_attention_with(Isa::best(), pool, args);
}

fn self_attention_with(isa: Isa, pool: &Pool, args: SelfAttentionArgs<'_>) {
    let width = args.heads * args.head_dim;
    let tokens: usize = args.lengths.iter().sum();
    assert!(width > 0, "self_attention: empty shape");
    assert_eq!(
        args.qkv.len(),
        3 * width * tokens,
        "self_attention: qkv is not ({tokens}, 3, {width})"
    );
    assert_eq!(
        args.out.len(),
        width * tokens,
        "self_attention: out is not ({tokens}, {width})"
    );
    let mut tiles = Vec::new();
    let mut first = 0;
    for &length in args.lengths {
        for tile in 0..length.div_ceil(TASK_ROWS) {
            let (query, count) = even_tile(length, TASK_ROWS, tile);
            tiles.push(QueryTile {
                sequence: first..first + length,
                query: first + query,
                count,
            });
        }
        first += length;
    }
    let job = Job {
        isa,
        qkv: args.qkv,
        heads: args.heads,
        dim: args.head_dim,
        window: args.window.unwrap_or(usize::MAX),
        scale: args.scale,
        out: SharedOut::new(args.out),
    };
    pool.run(tiles.len() * args.heads, |task| {
        job.run(&tiles[task / job.heads], task % job.heads);
    });
}

/// Some queries of one sequence.
struct QueryTile {
    /// The sequence's tokens.
    sequence: Range<usize>,
    /// The first query's token.
    query: usize,
    count: usize,
}

struct Job<'a> {
    isa: Isa,
    qkv: &'a [f32],
    heads: usize,
    dim: usize,
    window: usize,
    scale: f32,
    out: SharedOut,
}

/// What a task computes in: each part starts on a cache line.
struct Room<'a> {
    query: &'a mut [f32],
    keys: &'a mut [f32],
    values: &'a mut [f32],
    scores: &'a mut [f32],
    sums: &'a mut [f32],
}

impl Job<'_> {
    /// The query (0), key (1) or value (2) of a token's head.
    fn part(&self, kind: usize, token: usize, head: usize) -> &[f32] {
        let at = ((3 * token + kind) * self.heads + head) * self.dim;
        &self.qkv[at..at + self.dim]
    }

    /// The tokens that the one at `token` sees.
    fn visible(&self, sequence: &Range<usize>, token: usize) -> Range<usize> {
        let first = token.saturating_sub(self.window).max(sequence.start);
        let end = token.saturating_add(self.window).saturating_add(1);
        first..end.min(sequence.end)
    }

    fn run(&self, tile: &QueryTile, head: usize) {
        let width = tile.count.next_multiple_of(PANEL);
        let padded = self.dim.next_multiple_of(PANEL);
        let first = self.visible(&tile.sequence, tile.query);
        let last = self.visible(&tile.sequence, tile.query + tile.count - 1);
        let keys = first.start..last.end;
        let sizes = [
            width * self.dim,
            panels::largest(self.isa).0 * self.dim,
            keys.len() * padded,
            keys.len() * width,
            width,
        ]
        .map(|size| size.next_multiple_of(16));
        with_scratch(sizes.iter().sum(), |mut scratch| {
            let [query, key_room, values, scores, sums] = sizes.map(|size| {
                let (part, rest) = std::mem::take(&mut scratch).split_at_mut(size);
                scratch = rest;
                part
            });
            let room = Room {
                query,
                keys: key_room,
                values,
                scores: &mut scores[..keys.len() * width],
                sums: &mut sums[..width],
            };
            self.attend(tile, head, keys, width, room);
        });
    }

    fn attend(
        &self,
        tile: &QueryTile,
        head: usize,
        keys: Range<usize>,
        width: usize,
        room: Room<'_>,
    ) {
        self.gather_queries(tile, head, room.query);
        self.scores(
            head,
            keys.clone(),
            width,
            &room.query[..],
            room.keys,
            room.scores,
        );
        if self.window < usize::MAX {
            self.mask(tile, &keys, width, room.scores);
        }
        // No score joins without a key.
        room.sums.fill(f32::NEG_INFINITY);
        softmax_columns(self.isa, room.scores, width, self.scale, room.sums);
        let padded = self.dim.next_multiple_of(PANEL);
        for (slots, token) in room.values.chunks_exact_mut(padded).zip(keys.clone()) {
            slots[..self.dim].copy_from_slice(self.part(2, token, head));
            slots[self.dim..].fill(0.0);
        }
        self.weigh(tile, head, [keys.len(), width], room.scores, room.values);
        self.divide(tile, head, room.sums);
    }

    /// Lays the queries out in panels of 16, `(panels, dim, 16)`.
    fn gather_queries(&self, tile: &QueryTile, head: usize, out: &mut [f32]) {
        for (panel, out) in out.chunks_exact_mut(self.dim * PANEL).enumerate() {
            let count = PANEL.min(tile.count.saturating_sub(panel * PANEL));
            let mut rows: [&[f32]; PANEL] = [&[]; PANEL];
            for (i, row) in rows.iter_mut().enumerate().take(count) {
                *row = self.part(0, tile.query + panel * PANEL + i, head);
            }
            if count < PANEL {
                out.fill(0.0);
            }
            interleave(self.isa, &rows[..count], PANEL, out);
        }
    }

    /// Writes unscaled scores `(keys, width)`.
    fn scores(
        &self,
        head: usize,
        keys: Range<usize>,
        width: usize,
        query: &[f32],
        gathered: &mut [f32],
        scores: &mut [f32],
    ) {
        let (most_rows, most_panels) = panels::largest(self.isa);
        for tile in 0..keys.len().div_ceil(most_rows) {
            let (first, count) = even_tile(keys.len(), most_rows, tile);
            let mut rows: [&[f32]; MOST_ROWS] = [&[]; MOST_ROWS];
            for (i, row) in rows.iter_mut().enumerate().take(count) {
                *row = self.part(1, keys.start + first + i, head);
            }
            interleave(self.isa, &rows[..count], count, gathered);
            for column in (0..width).step_by(most_panels * PANEL) {
                let columns = (width - column).min(most_panels * PANEL);
                let tile = Tile {
                    k: self.dim,
                    a: gathered.as_ptr(),
                    a_row: 1,
                    a_step: count,
                    b: query[column * self.dim..].as_ptr(),
                    b_stride: PANEL,
                    panel_stride: self.dim * PANEL,
                    c: scores[first * width + column..].as_mut_ptr(),
                    c_stride: width,
                    columns,
                    bias: std::ptr::null(),
                    ahead: std::ptr::null(),
                    accumulate: false,
                };
                // SAFETY: `gathered` holds `count` keys, `query` the panels of `columns` queries,
                // and `scores` `count` rows of `width` from `first`.
                unsafe { panels::run(self.isa, count, columns.div_ceil(PANEL), &tile) };
            }
        }
    }

    /// Hides the keys that a query does not see.
    fn mask(&self, tile: &QueryTile, keys: &Range<usize>, width: usize, scores: &mut [f32]) {
        for row in 0..tile.count {
            let seen = self.visible(&tile.sequence, tile.query + row);
            for key in (keys.start..seen.start).chain(seen.end..keys.end) {
                scores[(key - keys.start) * width + row] = f32::NEG_INFINITY;
            }
        }
    }

    /// Writes the sums of values weighted by scores to the output.
    fn weigh(
        &self,
        tile: &QueryTile,
        head: usize,
        [keys, width]: [usize; 2],
        scores: &[f32],
        values: &[f32],
    ) {
        let (most_rows, most_panels) = panels::largest(self.isa);
        let padded = self.dim.next_multiple_of(PANEL);
        for index in 0..tile.count.div_ceil(most_rows) {
            let (row, rows) = even_tile(tile.count, most_rows, index);
            for column in (0..self.dim).step_by(most_panels * PANEL) {
                let columns = (self.dim - column).min(most_panels * PANEL);
                let at = ((tile.query + row) * self.heads + head) * self.dim + column;
                // SAFETY: `scores` holds `keys` rows of `width`, `values` `keys` padded rows; the
                // task alone writes its head of its queries' output.
                unsafe {
                    let tile = Tile {
                        k: keys,
                        a: scores[row..].as_ptr(),
                        a_row: 1,
                        a_step: width,
                        b: values[column..].as_ptr(),
                        b_stride: padded,
                        panel_stride: PANEL,
                        c: self.out.get().add(at),
                        c_stride: self.heads * self.dim,
                        columns,
                        bias: std::ptr::null(),
                        ahead: std::ptr::null(),
                        accumulate: false,
                    };
                    panels::run(self.isa, rows, columns.div_ceil(PANEL), &tile);
                }
            }
        }
    }

    /// Divides the output by the sums.
    fn divide(&self, tile: &QueryTile, head: usize, sums: &[f32]) {
        for (row, sum) in sums.iter().enumerate().take(tile.count) {
            let at = ((tile.query + row) * self.heads + head) * self.dim;
            // SAFETY: within the output, and this task's alone.
            let out = unsafe { std::slice::from_raw_parts_mut(self.out.get().add(at), self.dim) };
            scale_with(self.isa, out, 1.0 / sum);
        }
    }
}

versions!(fn scale_with(row: &mut [f32], factor: f32) = scale_body);

#[inline(always)]
fn scale_body(row: &mut [f32], factor: f32) {
    for value in row {
        *value *= factor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(seed: usize, count: usize) -> Vec<f32> {
        (0..count)
            .map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0)
            .collect()
    }

    fn attend(isa: Isa, qkv: &[f32], lengths: &[usize], heads: usize, dim: usize) -> Vec<f32> {
        let mut out = vec![f32::NAN; qkv.len() / 3];
        let args = SelfAttentionArgs {
            qkv,
            lengths,
            heads,
            head_dim: dim,
            window: (dim == 17).then_some(9),
            scale: 0.3,
            out: &mut out,
        };
        self_attention_with(isa, &Pool::new(1), args);
        out
    }

    /// One output by the formula, in doubles.
    fn expected(qkv: &[f32], length: usize, [heads, dim]: [usize; 2], at: [usize; 3]) -> f64 {
        let [token, head, element] = at;
        let part = |kind: usize, token: usize| {
            let at = ((3 * token + kind) * heads + head) * dim;
            &qkv[at..at + dim]
        };
        let sees = |key: usize| dim != 17 || token.abs_diff(key) <= 9;
        let weights: Vec<f64> = (0..length)
            .map(|key| {
                let dot: f64 = (part(0, token).iter().zip(part(1, key)))
                    .map(|(a, b)| f64::from(*a) * f64::from(*b))
                    .sum();
                if sees(key) { (0.3 * dot).exp() } else { 0.0 }
            })
            .collect();
        let weighted: f64 = (0..length)
            .map(|key| weights[key] * f64::from(part(2, key)[element]))
            .sum();
        weighted / weights.iter().sum::<f64>()
    }

    #[test]
    fn every_isa_computes_the_formula_and_a_sequence_is_its_own() {
        for (lengths, heads, dim) in [
            (&[1, 33, 70][..], 2, 32),
            (&[5, 90], 3, 17),
            (&[16, 2], 1, 48),
        ] {
            let tokens: usize = lengths.iter().sum();
            let qkv = numbers(1, 3 * tokens * heads * dim);
            let reference = attend(Isa::Portable, &qkv, lengths, heads, dim);
            for isa in Isa::available() {
                let out = attend(isa, &qkv, lengths, heads, dim);
                let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&out), bits(&reference), "{isa:?}");
                let mut first = 0;
                for &length in lengths {
                    let (from, end) = (first * heads * dim, (first + length) * heads * dim);
                    let own = attend(isa, &qkv[3 * from..3 * end], &[length], heads, dim);
                    assert_eq!(bits(&own), bits(&out[from..end]), "{isa:?}");
                    first += length;
                }
            }
            let mut first = 0;
            for &length in lengths {
                let own = &qkv[3 * first * heads * dim..];
                for token in [0, length / 2, length - 1] {
                    let at = [token, heads - 1, dim / 2];
                    let got = reference[((first + token) * heads + at[1]) * dim + at[2]];
                    let want = expected(own, length, [heads, dim], at);
                    assert!((f64::from(got) - want).abs() < 2e-6, "{got} {want}");
                }
                first += length;
            }
        }
    }
}
