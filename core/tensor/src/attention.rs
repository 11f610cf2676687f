//! Attention of one sequence's queries over keys and values in pages.
//!
//! For each head and query: scores are dot products with each key in order of the head's
//! dimensions, scaled; their softmax sums the exponentials in order of the keys; the output sums
//! the weighted values in order of the keys and is then divided by that sum. Every sum is one
//! chain per output, so a query's bits depend on its own keys only: not on the other queries of
//! the call, the pages, or the threads.

use std::ops::Range;

use half::f16;

use crate::aligned::{SharedOut, with_scratch};
use crate::blocks::half_to_f32;
use crate::interleave::interleave;
use crate::isa::{Isa, versions};
use crate::kv_rows::{floats_of_blocks, floats_of_halves};
use crate::panels::{self, MOST_ROWS, PANEL, Tile, even_tile};
use crate::{Pool, activation};

/// Rows (queries times heads that share keys) of one task.
const TASK_ROWS: usize = 64;
/// Keys whose values are gathered at once.
const VALUE_BLOCK: usize = 128;

/// Elements that share a scale in Q8_0.
pub(crate) const BLOCK: usize = 32;
/// Bytes of such a block.
pub(crate) const BLOCK_BYTES: usize = 34;

/// Writes `values`, a multiple of 32, as blocks of [`KvPages::Q8_0`]: 34 bytes for 32 elements. Each
/// block's scale is the largest magnitude by 127; elements are rounded to the nearest.
pub fn quantize_kv(values: &[f32], out: &mut [u8]) {
    let blocks = out.chunks_exact_mut(BLOCK_BYTES);
    for (values, block) in values.chunks_exact(BLOCK).zip(blocks) {
        let largest = values.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        let scale = f16::from_f32(largest / 127.0);
        block[..2].copy_from_slice(&scale.to_bits().to_le_bytes());
        let scale = half_to_f32(scale.to_bits());
        let factor = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        for (code, value) in block[2..].iter_mut().zip(values) {
            *code = (value * factor).round().clamp(-127.0, 127.0) as i8 as u8;
        }
    }
}

/// Writes `values` as halves, to the nearest; what is beyond their range becomes the largest.
pub fn halve_kv(values: &[f32], out: &mut [f16]) {
    let (least, most) = (f16::MIN.to_f32(), f16::MAX.to_f32());
    for (half, value) in out.iter_mut().zip(values) {
        *half = f16::from_f32(value.clamp(least, most));
    }
}

/// Pages of keys or values, each `(page_tokens, kv_heads, head_dim)`, in order of positions. The
/// last page in use may be shorter, as long as it holds its positions.
#[derive(Clone, Copy, Debug)]
pub enum KvPages<'a> {
    /// Singles.
    F32(&'a [&'a [f32]]),
    /// Halves.
    F16(&'a [&'a [f16]]),
    /// Blocks of 32 elements of one head, each a scale in F16 and 32 signed bytes: a head's length is
    /// a multiple of 32. See [`crate::ops::quantize_kv`].
    Q8_0(&'a [&'a [u8]]),
}

/// One sequence's attention.
#[derive(Debug)]
pub struct AttentionArgs<'a> {
    /// Queries `(tokens, heads, head_dim)`, rotated already.
    pub query: &'a [f32],
    /// Keys, rotated already.
    pub keys: KvPages<'a>,
    /// Values, in pages like the keys.
    pub values: KvPages<'a>,
    /// Positions of a page.
    pub page_tokens: usize,
    /// Positions that hold keys, those of the queries included.
    pub positions: usize,
    /// Position of the first query; the others follow it.
    pub start: usize,
    /// Heads of the queries, a multiple of `kv_heads`.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Length of a head.
    pub head_dim: usize,
    /// Whether a query sees positions up to its own only.
    pub causal: bool,
    /// How many positions a query sees, its own included, going back. Needs `causal`.
    pub window: Option<usize>,
    /// Factor of the scores, commonly `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Bounds the scaled scores: `cap * tanh(score / cap)`.
    pub soft_cap: Option<f32>,
    /// One score a query head that joins its softmax and has no value.
    pub sinks: Option<&'a [f32]>,
    /// Output `(tokens, heads, head_dim)`.
    pub out: &'a mut [f32],
}

/// Computes one sequence's attention.
pub fn attention(pool: &Pool, args: AttentionArgs<'_>) {
    attention_batch(pool, &mut [args]);
}

/// Computes the attention of several sequences; each result is that of the sequence alone.
pub fn attention_batch(pool: &Pool, sequences: &mut [AttentionArgs<'_>]) {
    attention_with(Isa::best(), pool, sequences);
}

fn attention_with(isa: Isa, pool: &Pool, sequences: &mut [AttentionArgs<'_>]) {
    let jobs: Vec<Job<'_>> = sequences.iter_mut().map(Job::new).collect();
    let mut ends = Vec::with_capacity(jobs.len());
    let mut tasks = 0;
    for job in &jobs {
        tasks += job.tasks();
        ends.push(tasks);
    }
    pool.run(tasks, |task| {
        let index = ends.partition_point(|end| *end <= task);
        let before = if index == 0 { 0 } else { ends[index - 1] };
        jobs[index].run(isa, task - before);
    });
}

struct Job<'a> {
    query: &'a [f32],
    keys: KvPages<'a>,
    values: KvPages<'a>,
    page_tokens: usize,
    positions: usize,
    start: usize,
    tokens: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    causal: bool,
    window: usize,
    scale: f32,
    soft_cap: Option<f32>,
    sinks: Option<&'a [f32]>,
    out: SharedOut,
}

impl<'a> Job<'a> {
    fn new(args: &mut AttentionArgs<'a>) -> Self {
        let width = args.heads * args.head_dim;
        assert!(
            args.kv_heads > 0 && width > 0 && args.page_tokens > 0,
            "attention: empty shape"
        );
        assert!(
            args.heads.is_multiple_of(args.kv_heads),
            "attention: heads share keys unevenly"
        );
        assert!(
            args.query.len().is_multiple_of(width),
            "attention: ragged queries"
        );
        assert_eq!(
            args.query.len(),
            args.out.len(),
            "attention: queries and output"
        );
        let tokens = args.query.len() / width;
        assert!(
            !args.causal || args.start + tokens <= args.positions,
            "attention: queries lack keys"
        );
        assert!(
            args.window.is_none() || args.causal,
            "attention: a window needs causal order"
        );
        assert!(
            args.sinks.is_none_or(|sinks| sinks.len() == args.heads),
            "attention: expected a sink a head"
        );
        Self {
            query: args.query,
            keys: args.keys,
            values: args.values,
            page_tokens: args.page_tokens,
            positions: args.positions,
            start: args.start,
            tokens,
            heads: args.heads,
            kv_heads: args.kv_heads,
            head_dim: args.head_dim,
            causal: args.causal,
            window: args.window.unwrap_or(usize::MAX).max(1),
            scale: args.scale,
            soft_cap: args.soft_cap,
            sinks: args.sinks,
            out: SharedOut::new(args.out),
        }
    }

    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    fn task_tokens(&self) -> usize {
        (TASK_ROWS / self.group()).max(1)
    }

    fn token_tiles(&self) -> usize {
        self.tokens.div_ceil(self.task_tokens())
    }

    fn tasks(&self) -> usize {
        if self.positions == 0 {
            0
        } else {
            self.token_tiles() * self.kv_heads
        }
    }

    /// The keys that the query at `token` sees.
    fn visible(&self, token: usize) -> Range<usize> {
        if !self.causal {
            return 0..self.positions;
        }
        let end = self.start + token + 1;
        end.saturating_sub(self.window)..end
    }

    /// One task: some tokens' queries of the heads that share one head of keys.
    fn run(&self, isa: Isa, task: usize) {
        let kv_head = task % self.kv_heads;
        let (token, tokens) = even_tile(self.tokens, self.task_tokens(), task / self.kv_heads);
        let rows = tokens * self.group();
        let width = rows.next_multiple_of(PANEL);
        let keys = self.visible(token).start..self.visible(token + tokens - 1).end;
        let (dim, most_rows) = (self.head_dim, panels::largest(isa).0);
        let padded_dim = dim.next_multiple_of(PANEL);
        let sizes = [
            width * dim,
            keys.len() * width,
            (2 * most_rows * dim).max(VALUE_BLOCK * padded_dim),
            rows * padded_dim,
            width,
        ];
        // Each part starts on a cache line.
        let total = sizes.iter().map(|size| size.next_multiple_of(16)).sum();
        with_scratch(total, |mut scratch| {
            let [query, scores, gathered, out, sums] = sizes.map(|size| {
                let (part, rest) =
                    std::mem::take(&mut scratch).split_at_mut(size.next_multiple_of(16));
                scratch = rest;
                &mut part[..size]
            });
            self.gather_queries(isa, kv_head, token, rows, width, query);
            self.scores(isa, kv_head, keys.clone(), width, query, gathered, scores);
            let mut scale = self.scale;
            if let Some(cap) = self.soft_cap {
                activation::soft_cap_with(isa, scores, scale, cap);
                scale = 1.0;
            }
            self.mask(token, rows, width, keys.clone(), scores);
            self.gather_sinks(kv_head, rows, sums);
            softmax_columns(isa, scores, width, scale, sums);
            self.weigh(isa, kv_head, keys, [rows, width], scores, gathered, out);
            self.store(kv_head, token, rows, out, sums);
        });
    }

    /// Where row `row` of a task stands in queries and output.
    fn offset(&self, kv_head: usize, token: usize, row: usize) -> usize {
        let group = self.group();
        let head = kv_head * group + row % group;
        ((token + row / group) * self.heads + head) * self.head_dim
    }

    #[allow(clippy::too_many_arguments)]
    /// Lays the task's queries out in panels of 16 rows, `(panels, head_dim, 16)`.
    fn gather_queries(
        &self,
        isa: Isa,
        kv_head: usize,
        token: usize,
        rows: usize,
        width: usize,
        query: &mut [f32],
    ) {
        let dim = self.head_dim;
        for (panel, out) in query
            .chunks_exact_mut(dim * PANEL)
            .take(width / PANEL)
            .enumerate()
        {
            let mut parts: [&[f32]; PANEL] = [&[]; PANEL];
            let count = PANEL.min(rows - panel * PANEL);
            for (part, row) in parts.iter_mut().zip(panel * PANEL..rows) {
                let at = self.offset(kv_head, token, row);
                *part = &self.query[at..at + dim];
            }
            if count < PANEL {
                out.fill(0.0);
            }
            interleave(isa, &parts[..count], PANEL, out);
        }
    }

    /// Writes unscaled scores `(keys, width)`.
    #[allow(clippy::too_many_arguments)]
    fn scores(
        &self,
        isa: Isa,
        kv_head: usize,
        keys: Range<usize>,
        width: usize,
        query: &[f32],
        gathered: &mut [f32],
        scores: &mut [f32],
    ) {
        let (most_rows, most_panels) = panels::largest(isa);
        let dim = self.head_dim;
        let (gathered, room) = gathered.split_at_mut(most_rows * dim);
        for tile in 0..keys.len().div_ceil(most_rows) {
            let (first, count) = even_tile(keys.len(), most_rows, tile);
            let own = keys.start + first..keys.start + first + count;
            self.gather_keys(isa, kv_head, own, room, gathered);
            for column in (0..width).step_by(most_panels * PANEL) {
                let columns = (width - column).min(most_panels * PANEL);
                let tile = Tile {
                    k: dim,
                    a: gathered.as_ptr(),
                    a_row: 1,
                    a_step: count,
                    b: query[column * dim..].as_ptr(),
                    b_stride: PANEL,
                    panel_stride: dim * PANEL,
                    c: scores[first * width + column..].as_mut_ptr(),
                    c_stride: width,
                    columns,
                    bias: std::ptr::null(),
                    ahead: std::ptr::null(),
                    accumulate: false,
                };
                // SAFETY: `gathered` holds `count` keys, `query` the panels of `columns` rows,
                // and `scores` `count` rows of `width` from `first`.
                unsafe { panels::run(isa, count, columns.div_ceil(PANEL), &tile) };
            }
        }
    }

    /// Lays the keys of `count` positions side by side, `(head_dim, count)`. `room` holds as many.
    fn gather_keys(
        &self,
        isa: Isa,
        kv_head: usize,
        keys: Range<usize>,
        room: &mut [f32],
        out: &mut [f32],
    ) {
        let (dim, count) = (self.head_dim, keys.len());
        let mut rows: [&[f32]; MOST_ROWS] = [&[]; MOST_ROWS];
        if let KvPages::F32(pages) = self.keys {
            for (row, position) in rows.iter_mut().zip(keys) {
                let at = self.place(kv_head, position);
                *row = &pages[position / self.page_tokens][at..at + dim];
            }
        } else {
            for (row, position) in room.chunks_exact_mut(dim).zip(keys) {
                self.read(isa, self.keys, (kv_head, position), row);
            }
            for (row, own) in rows.iter_mut().zip(room.chunks_exact(dim).take(count)) {
                *row = own;
            }
        }
        interleave(isa, &rows[..count], count, out);
    }

    /// Where the row of a position and a head begins in its page, in elements.
    fn place(&self, kv_head: usize, position: usize) -> usize {
        (position % self.page_tokens * self.kv_heads + kv_head) * self.head_dim
    }

    /// Copies the key or value of one position to `out`, `head_dim` long.
    #[inline]
    fn read(
        &self,
        isa: Isa,
        pages: KvPages<'a>,
        (kv_head, position): (usize, usize),
        out: &mut [f32],
    ) {
        let (at, page) = (self.place(kv_head, position), position / self.page_tokens);
        let end = at + self.head_dim;
        match pages {
            KvPages::F32(pages) => out.copy_from_slice(&pages[page][at..end]),
            KvPages::F16(pages) => floats_of_halves(isa, &pages[page][at..end], out),
            KvPages::Q8_0(pages) => {
                let blocks = at / BLOCK * BLOCK_BYTES..end / BLOCK * BLOCK_BYTES;
                floats_of_blocks(isa, &pages[page][blocks], out);
            }
        }
    }

    /// Fills `sums` with each row's sink; a row that has none gets one that weighs nothing.
    fn gather_sinks(&self, kv_head: usize, rows: usize, sums: &mut [f32]) {
        sums.fill(f32::NEG_INFINITY);
        if let Some(sinks) = self.sinks {
            let own = &sinks[kv_head * self.group()..(kv_head + 1) * self.group()];
            for (sum, sink) in sums[..rows].iter_mut().zip(own.iter().cycle()) {
                *sum = *sink;
            }
        }
    }

    /// Hides the keys that a query does not see.
    fn mask(
        &self,
        token: usize,
        rows: usize,
        width: usize,
        keys: Range<usize>,
        scores: &mut [f32],
    ) {
        if !self.causal {
            return;
        }
        for row in 0..rows {
            let seen = self.visible(token + row / self.group());
            for key in (keys.start..seen.start).chain(seen.end..keys.end) {
                scores[(key - keys.start) * width + row] = f32::NEG_INFINITY;
            }
        }
    }

    /// Writes the sums of values weighted by `scores`, `(rows, padded head_dim)`.
    #[allow(clippy::too_many_arguments)]
    fn weigh(
        &self,
        isa: Isa,
        kv_head: usize,
        keys: Range<usize>,
        [rows, width]: [usize; 2],
        scores: &[f32],
        gathered: &mut [f32],
        out: &mut [f32],
    ) {
        let (most_rows, most_panels) = panels::largest(isa);
        let padded = self.head_dim.next_multiple_of(PANEL);
        for first in (0..keys.len()).step_by(VALUE_BLOCK) {
            let count = VALUE_BLOCK.min(keys.len() - first);
            for (i, slots) in gathered.chunks_exact_mut(padded).take(count).enumerate() {
                let (own, padding) = slots.split_at_mut(self.head_dim);
                self.read(isa, self.values, (kv_head, keys.start + first + i), own);
                padding.fill(0.0);
            }
            for tile in 0..rows.div_ceil(most_rows) {
                let (row, tile_rows) = even_tile(rows, most_rows, tile);
                for column in (0..padded).step_by(most_panels * PANEL) {
                    let columns = (padded - column).min(most_panels * PANEL);
                    let tile = Tile {
                        k: count,
                        a: scores[first * width + row..].as_ptr(),
                        a_row: 1,
                        a_step: width,
                        b: gathered[column..].as_ptr(),
                        b_stride: padded,
                        panel_stride: PANEL,
                        c: out[row * padded + column..].as_mut_ptr(),
                        c_stride: padded,
                        columns,
                        bias: std::ptr::null(),
                        ahead: std::ptr::null(),
                        accumulate: first > 0,
                    };
                    // SAFETY: `scores` holds `count` rows of `width` from `first`, `gathered`
                    // `count` padded values, `out` `rows` padded rows.
                    unsafe { panels::run(isa, tile_rows, columns.div_ceil(PANEL), &tile) };
                }
            }
        }
    }

    /// Divides by the sums and writes the task's part of the output.
    fn store(&self, kv_head: usize, token: usize, rows: usize, out: &[f32], sums: &[f32]) {
        let padded = self.head_dim.next_multiple_of(PANEL);
        for (row, values) in out.chunks_exact(padded).take(rows).enumerate() {
            let factor = 1.0 / sums[row];
            let at = self.offset(kv_head, token, row);
            for (i, value) in values[..self.head_dim].iter().enumerate() {
                // SAFETY: within `out` (its length is the queries'), and this task's alone.
                unsafe { *self.out.get().add(at + i) = value * factor };
            }
        }
    }
}

versions!(pub(crate) fn softmax_columns(scores: &mut [f32], width: usize, scale: f32, sums: &mut [f32]) = softmax_columns_body);

/// Turns each column of scores `(keys, width)` into `exp(scale * score - max)`, their sums in
/// `sums`, which holds a score of each column that joins it without a key.
#[inline(always)]
fn softmax_columns_body(scores: &mut [f32], width: usize, scale: f32, sums: &mut [f32]) {
    for column in (0..width).step_by(PANEL) {
        let own: &mut [f32; PANEL] = &mut sums[column..].as_chunks_mut::<PANEL>().0[0];
        let mut max = *own;
        for row in scores.chunks_exact(width) {
            let row: &[f32; PANEL] = &row[column..].as_chunks::<PANEL>().0[0];
            for i in 0..PANEL {
                let score = row[i] * scale;
                max[i] = if score > max[i] { score } else { max[i] };
            }
        }
        let mut sum = [0.0f32; PANEL];
        for i in 0..PANEL {
            sum[i] = activation::exp_down(own[i] - max[i]);
        }
        for row in scores.chunks_exact_mut(width) {
            let row: &mut [f32; PANEL] = &mut row[column..].as_chunks_mut::<PANEL>().0[0];
            for i in 0..PANEL {
                row[i] = activation::exp_down(row[i] * scale - max[i]);
                sum[i] += row[i];
            }
        }
        *own = sum;
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

    #[test]
    fn every_isa_gives_the_same_bits() {
        for (tokens, heads, kv_heads, dim, causal) in [
            (1, 4, 2, 64, true),
            (7, 4, 1, 20, true),
            (33, 2, 2, 32, false),
            (70, 3, 3, 17, true),
        ] {
            let positions = tokens + 21;
            let query = numbers(1, tokens * heads * dim);
            let (keys, values) = (
                numbers(2, positions * kv_heads * dim),
                numbers(3, positions * kv_heads * dim),
            );
            let halves: Vec<f16> = keys.iter().map(|v| f16::from_f32(*v)).collect();
            let sinks = [0.3, -1.0, 2.0, 0.0];
            let mut first: [Option<Vec<u32>>; 2] = [None, None];
            for isa in Isa::available() {
                for (kind, first) in first.iter_mut().enumerate() {
                    let mut out = vec![f32::NAN; query.len()];
                    let args = AttentionArgs {
                        query: &query,
                        keys: if kind == 0 {
                            KvPages::F32(&[&keys])
                        } else {
                            KvPages::F16(&[&halves])
                        },
                        values: KvPages::F32(&[&values]),
                        page_tokens: positions,
                        positions,
                        start: positions - tokens,
                        heads,
                        kv_heads,
                        head_dim: dim,
                        causal,
                        window: causal.then_some(19),
                        scale: 0.2,
                        soft_cap: causal.then_some(2.0),
                        sinks: causal.then_some(&sinks[..heads]),
                        out: &mut out,
                    };
                    attention_with(isa, &Pool::new(1), &mut [args]);
                    assert!(out.iter().all(|v| v.is_finite()));
                    let bits: Vec<u32> = out.iter().map(|v| v.to_bits()).collect();
                    assert_eq!(
                        *first.get_or_insert(bits.clone()),
                        bits,
                        "{isa:?} {tokens} {kind}"
                    );
                }
            }
        }
    }
}
