//! What a layer computes of each token alone: all but the attention, block by block of rows.
//!
//! A block goes through the products of a layer's end and of the next one's beginning while its
//! rows lie near, and the threads meet but once. An input of few rows is one block, within which
//! each operation's work is shared.

use std::sync::PoisonError;

use outcrop_tensor::{FeedForward, Pool, ops};

use super::config::NormOrder;
use super::{Encoder, Part, Scratch, Turns};
use crate::dense::{Dense, LayerNorm};

/// Rows of a block at most: their inner vectors stay in a core's own cache.
const BLOCK_ROWS: usize = 128;
/// With fewer rows for each thread, threads share the weights instead of the rows.
const LEAST_ROWS: usize = 48;
/// Rows of one task of an operation within a block.
const ROWS: usize = 16;

/// Some tokens' rows.
pub(super) struct Rows<'a> {
    /// The first row's token.
    first: usize,
    /// The residual stream, `(rows, hidden)`.
    hidden: &'a mut [f32],
    /// `(rows, 3, hidden)`.
    qkv: &'a mut [f32],
    /// What the attention gave, `(rows, hidden)`.
    attended: &'a [f32],
}

/// Room of a block, each `(rows, width)`.
#[derive(Default)]
pub(super) struct Room {
    delta: Vec<f32>,
    normed: Vec<f32>,
}

impl Room {
    /// Grows or shrinks a part; what stands in it does not matter.
    fn part(part: &mut Vec<f32>, len: usize) -> &mut [f32] {
        part.resize(len, 0.0);
        part
    }
}

impl Encoder {
    /// Calls `task` with each block of rows, on all threads.
    pub(super) fn by_rows(
        &self,
        pool: &Pool,
        part: &mut Part<'_>,
        scratch: &mut Scratch,
        task: impl Fn(&mut Rows<'_>, &mut Room) + Sync,
    ) {
        let width = self.config.hidden;
        let tokens = part.hidden.len() / width;
        let threads = pool.available();
        let blocks = match tokens < LEAST_ROWS * threads {
            true => 1,
            false => tokens.div_ceil(BLOCK_ROWS).next_multiple_of(threads),
        };
        let rows = tokens.div_ceil(blocks);
        let first = part.first;
        let parts = part.hidden.chunks_mut(rows * width).zip(
            (scratch.qkv.chunks_mut(3 * rows * width)).zip(scratch.attended.chunks(rows * width)),
        );
        let mut parts: Vec<_> = parts
            .enumerate()
            .map(|(block, (hidden, (qkv, attended)))| Rows {
                first: first + block * rows,
                hidden,
                qkv,
                attended,
            })
            .collect();
        let rooms = &scratch.rooms;
        pool.run_chunks(&mut parts, 1, |_, parts| {
            let lent = rooms.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut room = lent.unwrap_or_default();
            parts.iter_mut().for_each(|rows| task(rows, &mut room));
            let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
            rooms.push(room);
        });
    }

    /// A layer up to its attention: `hidden` to `qkv`. Behind the last layer, the final norm.
    pub(super) fn begin(
        &self,
        pool: &Pool,
        index: usize,
        turns: Option<&Turns>,
        rows: &mut Rows<'_>,
        room: &mut Room,
    ) {
        let Some(layer) = self.layers.get(index) else {
            if let Some(norm) = &self.final_norm {
                norm.apply(rows.hidden);
            }
            return;
        };
        let input = self.input(
            pool,
            layer.attention_norm.as_ref(),
            rows.hidden,
            &mut room.normed,
        );
        layer.qkv.apply(pool, input, rows.qkv);
        if let Some(turns) = turns {
            let theta = self.config.layers[index].theta;
            self.turn(pool, turns, theta, rows);
        }
    }

    /// A layer from its attention on: `attended` to `hidden`.
    pub(super) fn finish(&self, pool: &Pool, index: usize, rows: &mut Rows<'_>, room: &mut Room) {
        let layer = &self.layers[index];
        let delta = Room::part(&mut room.delta, rows.hidden.len());
        layer.attention_output.apply(pool, rows.attended, delta);
        self.add(pool, rows.hidden, delta, layer.attention_norm.as_ref());
        let norm = Some(&layer.mlp_norm);
        let input = self.input(pool, norm, rows.hidden, &mut room.normed);
        let mlp = FeedForward {
            up: layer.up.parts(),
            factor: layer.factor.as_ref().map(Dense::parts),
            down: layer.down.parts(),
        };
        let activation = self.config.activation;
        ops::feed_forward(pool, input, &mlp, |x| activation.apply(x), delta);
        self.add(pool, rows.hidden, delta, norm);
    }

    /// What goes into a half of a layer: with [`NormOrder::Pre`] the normalised rows, in `normed`;
    /// otherwise, or without a norm, the rows as they are.
    fn input<'a>(
        &self,
        pool: &Pool,
        norm: Option<&LayerNorm>,
        hidden: &'a [f32],
        normed: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        let Some(norm) = norm.filter(|_| self.config.norm_order == NormOrder::Pre) else {
            return hidden;
        };
        let normed = Room::part(normed, hidden.len());
        let chunk = ROWS * self.config.hidden;
        pool.run_chunks(normed, chunk, |index, rows| {
            norm.apply_to(&hidden[index * chunk..index * chunk + rows.len()], rows);
        });
        normed
    }

    /// Adds a half's result to the residual stream, normalised there with [`NormOrder::Post`].
    fn add(&self, pool: &Pool, hidden: &mut [f32], delta: &[f32], norm: Option<&LayerNorm>) {
        let chunk = ROWS * self.config.hidden;
        let norm = norm.filter(|_| self.config.norm_order == NormOrder::Post);
        pool.run_chunks(hidden, chunk, |index, rows| {
            let delta = &delta[index * chunk..index * chunk + rows.len()];
            match norm {
                Some(norm) => norm.add_and_apply(rows, delta),
                None => ops::add_in_place(rows, delta),
            }
        });
    }

    /// Turns queries and keys by their positions.
    fn turn(&self, pool: &Pool, turns: &Turns, theta: f64, rows: &mut Rows<'_>) {
        let Some((_, rope, cosines, sines)) = turns.ropes.iter().find(|rope| rope.0 == theta)
        else {
            return;
        };
        let (hidden, pairs, first) = (self.config.hidden, rope.pairs(), rows.first);
        pool.run_chunks(rows.qkv, ROWS * 3 * hidden, |chunk, rows| {
            for (row, &at) in rows
                .chunks_exact_mut(3 * hidden)
                .zip(&turns.rows[first + chunk * ROWS..])
            {
                let angles = at * pairs..(at + 1) * pairs;
                // Queries and keys stand side by side, so they are turned as heads of one row.
                rope.turn(
                    &mut row[..2 * hidden],
                    self.config.head_dim(),
                    &cosines[angles.clone()],
                    &sines[angles],
                );
            }
        });
    }
}
