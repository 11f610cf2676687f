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

/// Queries whose scores are held at a time.
const TILE_ROWS: usize = 64;
/// Queries of one task, which lays keys and values out once. Behind a window they are no more than
/// a tile, as the next ones see other keys.
const TASK_ROWS: usize = 256;

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
    let tasks = tasks(&args, pool.available());
    let job = Job {
        isa,
        qkv: args.qkv,
        heads: args.heads,
        dim: args.head_dim,
        window: args.window.unwrap_or(usize::MAX),
        scale: args.scale,
        out: SharedOut::new(args.out),
    };
    pool.run(tasks.len() * args.heads, |task| {
        job.run(&tasks[task / job.heads], task % job.heads);
    });
}

/// Cuts the sequences' queries into the tasks of each head.
fn tasks(args: &SelfAttentionArgs<'_>, threads: usize) -> Vec<Queries> {
    let most = match args.window.is_some() || threads > args.heads {
        true => TILE_ROWS,
        false => TASK_ROWS,
    };
    let mut tasks = Vec::new();
    let mut first = 0;
    for &length in args.lengths {
        for task in 0..length.div_ceil(most) {
            let (query, count) = even_tile(length, most, task);
            tasks.push(Queries {
                sequence: first..first + length,
                query: first + query,
                count,
            });
        }
        first += length;
    }
    tasks
}

/// Some queries of one sequence.
struct Queries {
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

    fn run(&self, task: &Queries, head: usize) {
        let width = task.count.min(TILE_ROWS).next_multiple_of(PANEL);
        let padded = self.dim.next_multiple_of(PANEL);
        let first = self.visible(&task.sequence, task.query);
        let last = self.visible(&task.sequence, task.query + task.count - 1);
        let keys = first.start..last.end;
        let sizes = [
            width * self.dim,
            keys.len() * self.dim,
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
            self.gather_keys(head, keys.clone(), key_room);
            for (slots, token) in values.chunks_exact_mut(padded).zip(keys.clone()) {
                slots[..self.dim].copy_from_slice(self.part(2, token, head));
                slots[self.dim..].fill(0.0);
            }
            let mut room = Room {
                query,
                keys: key_room,
                values,
                scores,
                sums,
            };
            for index in 0..task.count.div_ceil(TILE_ROWS) {
                let (query, count) = even_tile(task.count, TILE_ROWS, index);
                let tile = Queries {
                    sequence: task.sequence.clone(),
                    query: task.query + query,
                    count,
                };
                self.attend(&tile, head, keys.clone(), &mut room);
            }
        });
    }

    /// The attention of a tile of queries.
    fn attend(&self, tile: &Queries, head: usize, keys: Range<usize>, room: &mut Room<'_>) {
        let width = tile.count.next_multiple_of(PANEL);
        let scores = &mut room.scores[..keys.len() * width];
        let sums = &mut room.sums[..width];
        self.gather_queries(tile, head, &mut room.query[..width * self.dim]);
        self.scores(keys.len(), width, room.query, room.keys, scores);
        if self.window < usize::MAX {
            self.mask(tile, &keys, width, scores);
        }
        // No score joins without a key.
        sums.fill(f32::NEG_INFINITY);
        softmax_columns(self.isa, scores, width, self.scale, sums);
        self.weigh(tile, head, [keys.len(), width], scores, room.values);
        let at = (tile.query * self.heads + head) * self.dim;
        // SAFETY: the rows of this head of the tile's queries, which are this task's alone.
        unsafe {
            let rows = Strided {
                first: self.out.get().add(at),
                stride: self.heads * self.dim,
                width: self.dim,
            };
            divide_with(self.isa, rows, &sums[..tile.count]);
        }
    }

    /// Lays the keys out side by side, in the tiles that [`Job::scores`] goes through.
    fn gather_keys(&self, head: usize, keys: Range<usize>, out: &mut [f32]) {
        let most_rows = panels::largest(self.isa).0;
        for tile in 0..keys.len().div_ceil(most_rows) {
            let (first, count) = even_tile(keys.len(), most_rows, tile);
            let mut rows: [&[f32]; MOST_ROWS] = [&[]; MOST_ROWS];
            for (i, row) in rows.iter_mut().enumerate().take(count) {
                *row = self.part(1, keys.start + first + i, head);
            }
            let own = &mut out[first * self.dim..(first + count) * self.dim];
            interleave(self.isa, &rows[..count], count, own);
        }
    }

    /// Lays the queries out in panels of 16, `(panels, dim, 16)`.
    fn gather_queries(&self, tile: &Queries, head: usize, out: &mut [f32]) {
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
        keys: usize,
        width: usize,
        query: &[f32],
        gathered: &[f32],
        scores: &mut [f32],
    ) {
        let (most_rows, most_panels) = panels::largest(self.isa);
        for tile in 0..keys.div_ceil(most_rows) {
            let (first, count) = even_tile(keys, most_rows, tile);
            for column in (0..width).step_by(most_panels * PANEL) {
                let columns = (width - column).min(most_panels * PANEL);
                let tile = Tile {
                    k: self.dim,
                    a: gathered[first * self.dim..].as_ptr(),
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
    fn mask(&self, tile: &Queries, keys: &Range<usize>, width: usize, scores: &mut [f32]) {
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
        tile: &Queries,
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
}

/// Rows that do not lie side by side.
#[derive(Clone, Copy)]
struct Strided {
    first: *mut f32,
    stride: usize,
    width: usize,
}

versions!(fn divide_with(rows: Strided, sums: &[f32]) = divide_body);

/// Divides each row by its sum. The rows may be written, as the caller of the only caller says.
#[inline(always)]
fn divide_body(rows: Strided, sums: &[f32]) {
    for (row, sum) in sums.iter().enumerate() {
        let factor = 1.0 / sum;
        // SAFETY: see above.
        let own = unsafe {
            std::slice::from_raw_parts_mut(rows.first.add(row * rows.stride), rows.width)
        };
        for value in own {
            *value *= factor;
        }
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
