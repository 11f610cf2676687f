//! Attention over packed sequences, forward and backward: what training computes.
//!
//! Rows of several sequences stand one behind the other; each sees its own sequence only, and of
//! that what comes before it, itself included, or all. A task is one sequence's key head with the
//! query heads that it serves, and goes through blocks of queries in order, so no sum depends on
//! the number of threads. Scores are kept for one block only: going back, they are computed anew
//! from the logarithms of their sums.

mod backward;

use std::cell::RefCell;
use std::ops::Range;

use crate::aligned::SharedOut;
use crate::gradient::softmax_log_sum;
use crate::isa::Isa;
use crate::matmul::{Matrix, Packed, Panels, Place, Precision};
use crate::tiles::STEPS;
use crate::{Pool, activation};
pub use backward::packed_attention_backward;

/// Queries of a block.
const BLOCK: usize = 64;

/// The heads and sequences of packed rows. A row holds its queries, keys and values, one behind the
/// other: `(heads + 2 * kv_heads) * head_dim`.
#[derive(Clone, Copy, Debug)]
pub struct PackedAttention<'a> {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Multiplies the scores; above 0.
    pub scale: f32,
    /// Bounds the scaled scores: `cap * tanh(score / cap)`.
    pub soft_cap: Option<f32>,
    /// Whether a row sees only those before it, and itself.
    pub is_causal: bool,
    /// How many positions back a row sees, itself included; of causal attention.
    pub window: Option<usize>,
    /// What the numbers of the products are rounded to.
    pub precision: Precision,
    /// Rows of each sequence, in their order.
    pub lengths: &'a [usize],
}

/// What a task uses again.
#[derive(Default)]
struct Room {
    keys: Panels,
    keys_turned: Panels,
    values: Panels,
    queries: Panels,
    outs: Panels,
    scores: Vec<f32>,
    gradients: Vec<f32>,
    capped: Vec<f32>,
}

impl Room {
    fn new(precision: Precision) -> Self {
        Self {
            keys: Panels::new(precision),
            keys_turned: Panels::new(precision),
            values: Panels::new(precision),
            queries: Panels::new(precision),
            outs: Panels::new(precision),
            ..Self::default()
        }
    }
}

thread_local! {
    /// One for each precision.
    static ROOMS: RefCell<[Room; 2]> =
        RefCell::new([Precision::Float32, Precision::Bfloat16].map(Room::new));
}

/// A sequence's key head: the rows of the sequence and the head's number.
#[derive(Clone, Copy)]
struct Part {
    first: usize,
    rows: usize,
    kv_head: usize,
}

/// A block of queries, `queries`, with the keys that any of them sees, both counted in the sequence.
#[derive(Clone)]
struct Block {
    queries: Range<usize>,
    keys: Range<usize>,
}

impl PackedAttention<'_> {
    fn width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    fn parts(&self) -> Vec<Part> {
        let mut first = 0;
        let mut parts = Vec::new();
        for &rows in self.lengths {
            parts.extend((0..self.kv_heads).map(|kv_head| Part {
                first,
                rows,
                kv_head,
            }));
            first += rows;
        }
        parts
    }

    fn check(&self, qkv: &[f32], out: &[f32], sums: &[f32]) {
        let rows: usize = self.lengths.iter().sum();
        assert!(self.heads.is_multiple_of(self.kv_heads), "attention: heads");
        assert_eq!(qkv.len(), rows * self.width(), "attention: qkv");
        assert_eq!(
            out.len(),
            rows * self.heads * self.head_dim,
            "attention: out"
        );
        assert_eq!(sums.len(), rows * self.heads, "attention: sums");
    }

    fn blocks(&self, part: Part) -> impl Iterator<Item = Block> + use<> {
        let (is_causal, window) = (self.is_causal, self.window);
        (0..part.rows).step_by(BLOCK).map(move |first| {
            let end = (first + BLOCK).min(part.rows);
            let start = window.map_or(0, |window| (first + 1).saturating_sub(window));
            Block {
                queries: first..end,
                // Parts of what is packed begin at whole tiles.
                keys: if is_causal {
                    start / STEPS * STEPS..end
                } else {
                    0..part.rows
                },
            }
        })
    }

    /// The keys that query `query` of the sequence sees, counted from the block's first.
    fn seen(&self, block: &Block, query: usize) -> Range<usize> {
        if !self.is_causal {
            return block.keys.clone();
        }
        let start = self
            .window
            .map_or(0, |window| (query + 1).saturating_sub(window));
        start.max(block.keys.start) - block.keys.start..query + 1 - block.keys.start
    }

    /// Rows of the part from column `column` of `qkv` on.
    fn rows<'a>(&self, data: &'a [f32], part: Part, column: usize) -> Matrix<'a> {
        let width = self.width();
        Matrix::new(
            &data[part.first * width + column..],
            part.rows,
            self.head_dim,
            width,
        )
    }

    fn key_column(&self, part: Part) -> usize {
        (self.heads + part.kv_head) * self.head_dim
    }

    fn value_column(&self, part: Part) -> usize {
        (self.heads + self.kv_heads + part.kv_head) * self.head_dim
    }

    fn group(&self, part: Part) -> Range<usize> {
        let group = self.heads / self.kv_heads;
        part.kv_head * group..(part.kv_head + 1) * group
    }

    /// Rows `queries` of head `head` in `data` of `width` a row.
    fn head_rows<'a>(
        &self,
        data: &'a [f32],
        width: usize,
        part: Part,
        (queries, head): (&Range<usize>, usize),
    ) -> Matrix<'a> {
        let start = (part.first + queries.start) * width + head * self.head_dim;
        Matrix::new(&data[start..], queries.len(), self.head_dim, width)
    }

    /// The scores of a block, bounded where they are.
    fn scores(
        &self,
        isa: Isa,
        pool: &Pool,
        queries: Matrix<'_>,
        keys: Packed<'_>,
        out: &mut [f32],
    ) {
        let place = Place {
            out: SharedOut::new(out),
            stride: keys.columns(),
            accumulate: false,
        };
        // SAFETY: `out` is borrowed mutably and holds the block.
        unsafe { keys.multiply(isa, pool, queries, place) };
        if let Some(cap) = self.soft_cap {
            activation::soft_cap_with(isa, out, self.scale, cap);
        }
    }

    /// What scores are multiplied by in the softmax.
    fn softmax_scale(&self) -> f32 {
        if self.soft_cap.is_some() {
            1.0
        } else {
            self.scale
        }
    }
}

/// Zero in a row where nothing is seen.
fn hide(row: &mut [f32], seen: &Range<usize>) {
    row[..seen.start].fill(0.0);
    row[seen.end..].fill(0.0);
}

/// Some columns of turned rows in panels: keys as the right matrix of scores.
fn columns<'a>(panels: &'a Panels, columns: &Range<usize>) -> Packed<'a> {
    panels.part(0..panels.rows(), columns.clone())
}

/// Some rows in panels: values as the right matrix of outputs.
fn inner<'a>(panels: &'a Panels, rows: &Range<usize>) -> Packed<'a> {
    panels.part(rows.clone(), 0..panels.columns())
}

/// Writes what each row of `qkv` attends to to `out` `(rows, heads * head_dim)`, and the logarithms of
/// the softmaxes' sums to `sums` `(rows, heads)`.
pub fn packed_attention(
    pool: &Pool,
    attention: &PackedAttention<'_>,
    qkv: &[f32],
    out: &mut [f32],
    sums: &mut [f32],
) {
    attention.check(qkv, out, sums);
    let (isa, parts) = (Isa::best(), attention.parts());
    let (out, sums) = (SharedOut::new(out), SharedOut::new(sums));
    pool.run(parts.len(), |index| {
        ROOMS.with_borrow_mut(|rooms| {
            let room = &mut rooms[attention.precision as usize];
            // SAFETY: each part writes its own rows and heads.
            unsafe { attention.forward(isa, pool, parts[index], qkv, (out, sums), room) };
        });
    });
}

impl PackedAttention<'_> {
    /// # Safety
    /// The part's rows and heads of `out` and `sums` are written by nobody else.
    unsafe fn forward(
        &self,
        isa: Isa,
        pool: &Pool,
        part: Part,
        qkv: &[f32],
        (out, sums): (SharedOut, SharedOut),
        room: &mut Room,
    ) {
        let (width, out_width) = (self.width(), self.heads * self.head_dim);
        let (keys, values) = (self.key_column(part), self.value_column(part));
        room.keys_turned
            .pack(pool, self.rows(qkv, part, keys).turned());
        room.values.pack(pool, self.rows(qkv, part, values));
        for (head, block) in self
            .group(part)
            .flat_map(|head| self.blocks(part).map(move |block| (head, block)))
        {
            let (count, keys) = (block.queries.len(), block.keys.len());
            room.scores.resize(count * keys, 0.0);
            let queries = self.head_rows(qkv, width, part, (&block.queries, head));
            let right = columns(&room.keys_turned, &block.keys);
            self.scores(isa, pool, queries, right, &mut room.scores);
            let rows = room.scores.chunks_exact_mut(keys);
            for (row, query) in rows.zip(block.queries.clone()) {
                let seen = self.seen(&block, query);
                hide(row, &seen);
                let sum = softmax_log_sum(&mut row[seen], self.softmax_scale(), 1.0);
                // SAFETY: this part's own.
                unsafe { *sums.get().add((part.first + query) * self.heads + head) = sum };
            }
            let start = (part.first + block.queries.start) * out_width + head * self.head_dim;
            // SAFETY: this part's own rows and head.
            unsafe {
                let place = Place {
                    out: out.from(start),
                    stride: out_width,
                    accumulate: false,
                };
                let left = Matrix::of_rows(&room.scores, keys);
                inner(&room.values, &block.keys).multiply(isa, pool, left, place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(seed: usize, count: usize) -> Vec<f32> {
        (0..count)
            .map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0)
            .collect()
    }

    fn forms() -> Vec<PackedAttention<'static>> {
        let plain = PackedAttention {
            heads: 4,
            kv_heads: 2,
            head_dim: 4,
            scale: 0.7,
            soft_cap: None,
            is_causal: true,
            window: None,
            precision: Precision::Float32,
            lengths: &[3, 70, 1],
        };
        vec![
            plain,
            PackedAttention {
                soft_cap: Some(0.8),
                window: Some(21),
                ..plain
            },
            PackedAttention {
                is_causal: false,
                ..plain
            },
        ]
    }

    fn forward(attention: &PackedAttention<'_>, qkv: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let (mut out, mut sums) = (vec![f32::NAN; 74 * 16], vec![f32::NAN; 74 * 4]);
        packed_attention(&Pool::new(2), attention, qkv, &mut out, &mut sums);
        (out, sums)
    }

    /// The formula in double precision.
    fn expected(attention: &PackedAttention<'_>, qkv: &[f32]) -> Vec<f64> {
        let at = |row: usize, column: usize| f64::from(qkv[row * 32 + column]);
        let (mut out, mut first) = (Vec::new(), 0);
        for &length in attention.lengths {
            for (i, head) in (0..length).flat_map(|i| (0..4).map(move |h| (i, h))) {
                let kv = head / 2;
                let score = |j: usize| {
                    let is_seen = !attention.is_causal
                        || j <= i && attention.window.is_none_or(|window| i - j < window);
                    let dot: f64 = (0..4)
                        .map(|d| at(first + i, head * 4 + d) * at(first + j, 16 + kv * 4 + d))
                        .sum();
                    let scaled = dot * f64::from(attention.scale);
                    let cap = attention.soft_cap.map(f64::from);
                    let score = cap.map_or(scaled, |cap| cap * (scaled / cap).tanh());
                    if is_seen { score.exp() } else { 0.0 }
                };
                let sum: f64 = (0..length).map(score).sum();
                out.extend((0..4).map(|d| {
                    let value = |j| score(j) * at(first + j, 24 + kv * 4 + d);
                    (0..length).map(value).sum::<f64>() / sum
                }));
            }
            first += length;
        }
        out
    }

    #[test]
    fn it_is_the_formula_and_goes_back_as_its_differences() {
        let (qkv, dout) = (numbers(1, 74 * 32), numbers(2, 74 * 16));
        for attention in forms() {
            let (out, sums) = forward(&attention, &qkv);
            for (got, expected) in out.iter().zip(expected(&attention, &qkv)) {
                assert!((f64::from(*got) - expected).abs() < 2e-6, "{attention:?}");
            }
            let mut dqkv = vec![f32::NAN; qkv.len()];
            packed_attention_backward(&Pool::new(2), &attention, (&qkv, &sums), &dout, &mut dqkv);
            let loss = |qkv: &[f32]| -> f64 {
                let out = expected(&attention, qkv);
                out.iter().zip(&dout).map(|(o, d)| o * f64::from(*d)).sum()
            };
            for at in (0..qkv.len()).step_by(97) {
                let moved = |by: f32| {
                    let mut qkv = qkv.clone();
                    qkv[at] += by;
                    loss(&qkv)
                };
                let expected = (moved(1e-3) - moved(-1e-3)) / 2e-3;
                let error = (f64::from(dqkv[at]) - expected).abs();
                assert!(error < 1e-4, "{attention:?} {at}: {} {expected}", dqkv[at]);
            }
        }
    }

    #[test]
    fn in_bfloat16_it_is_near_the_formula_with_its_gradient() {
        let (qkv, dout) = (numbers(1, 74 * 32), numbers(2, 74 * 16));
        for attention in forms() {
            let exact = forward(&attention, &qkv);
            let back = |attention: &PackedAttention<'_>, sums: &[f32]| {
                let mut dqkv = vec![f32::NAN; qkv.len()];
                packed_attention_backward(&Pool::new(2), attention, (&qkv, sums), &dout, &mut dqkv);
                dqkv
            };
            let rounded = PackedAttention {
                precision: Precision::Bfloat16,
                ..attention
            };
            let near = forward(&rounded, &qkv);
            let error = |a: &[f32], b: &[f32]| {
                let square = |(a, b): (&f32, &f32)| f64::from(a - b).powi(2);
                let size: f64 = a.iter().map(|a| f64::from(*a).powi(2)).sum();
                (a.iter().zip(b).map(square).sum::<f64>() / size).sqrt()
            };
            let errors = [
                error(&exact.0, &near.0),
                error(&back(&attention, &exact.1), &back(&rounded, &near.1)),
            ];
            assert!(errors.iter().all(|e| *e < 6e-3), "{rounded:?} {errors:?}");
            assert_ne!(exact.0, near.0);
        }
    }

    #[test]
    fn a_sequence_beside_others_and_threads_change_no_bit() {
        let (qkv, dout) = (numbers(1, 74 * 32), numbers(2, 74 * 16));
        let rounded = forms().into_iter().map(|form| PackedAttention {
            precision: Precision::Bfloat16,
            ..form
        });
        for attention in forms().into_iter().chain(rounded) {
            let (out, sums) = forward(&attention, &qkv);
            let alone = PackedAttention {
                lengths: &[70],
                ..attention
            };
            let own = &qkv[3 * 32..73 * 32];
            let (mut own_out, mut own_sums) = (vec![0.0; 70 * 16], vec![0.0; 70 * 4]);
            packed_attention(&Pool::new(1), &alone, own, &mut own_out, &mut own_sums);
            assert_eq!(own_out, out[3 * 16..73 * 16]);
            let (mut all, mut part) = (vec![0.0; qkv.len()], vec![0.0; own.len()]);
            let pool = Pool::new(3);
            packed_attention_backward(&pool, &attention, (&qkv, &sums), &dout, &mut all);
            let dout = &dout[3 * 16..73 * 16];
            let saved = (own, &own_sums[..]);
            packed_attention_backward(&Pool::new(1), &alone, saved, dout, &mut part);
            assert_eq!(part, all[3 * 32..73 * 32]);
        }
    }
}
