//! The way back through attention over packed sequences.

use super::{Block, PackedAttention, Part, ROOMS, Room, columns, hide, inner};
use crate::Pool;
use crate::aligned::SharedOut;
use crate::gradient::{exp_less, softmax_backward};
use crate::isa::Isa;
use crate::matmul::{Matrix, Place};
use crate::vector::scale_in_place;

/// Writes the gradient of `qkv` to `dqkv`, from that of [`packed_attention`]'s output.
pub fn packed_attention_backward(
    pool: &Pool,
    attention: &PackedAttention<'_>,
    (qkv, sums): (&[f32], &[f32]),
    dout: &[f32],
    dqkv: &mut [f32],
) {
    attention.check(qkv, dout, sums);
    assert_eq!(qkv.len(), dqkv.len(), "attention: dqkv");
    let (isa, parts) = (Isa::best(), attention.parts());
    pool.run_chunks(dqkv, 1 << 14, |_, dqkv| dqkv.fill(0.0));
    let dqkv = SharedOut::new(dqkv);
    pool.run(parts.len(), |index| {
        ROOMS.with_borrow_mut(|rooms| {
            let room = &mut rooms[attention.precision as usize];
            let saved = (qkv, sums, dout);
            // SAFETY: each part writes its own rows and heads.
            unsafe { attention.backward(isa, pool, parts[index], saved, dqkv, room) };
        });
    });
}

impl PackedAttention<'_> {
    /// # Safety
    /// The part's rows and heads of `dqkv` are written by nobody else.
    unsafe fn backward(
        &self,
        isa: Isa,
        pool: &Pool,
        part: Part,
        saved: (&[f32], &[f32], &[f32]),
        dqkv: SharedOut,
        room: &mut Room,
    ) {
        let qkv = saved.0;
        let keys = self.rows(qkv, part, self.key_column(part));
        let values = self.rows(qkv, part, self.value_column(part));
        room.keys.pack(pool, keys);
        room.keys_turned.pack(pool, keys.turned());
        room.values.pack(pool, values.turned());
        for head in self.group(part) {
            for block in self.blocks(part) {
                self.block_gradients(isa, pool, (part, head), &block, saved, room);
                // SAFETY: passed on.
                unsafe { self.spread(isa, pool, (part, head), &block, saved, dqkv, room) };
            }
        }
    }

    /// Fills `room.scores` with a block's probabilities and `room.gradients` with the gradients of its
    /// scores before they were scaled.
    fn block_gradients(
        &self,
        isa: Isa,
        pool: &Pool,
        (part, head): (Part, usize),
        block: &Block,
        (qkv, sums, dout): (&[f32], &[f32], &[f32]),
        room: &mut Room,
    ) {
        let (count, keys) = (block.queries.len(), block.keys.len());
        room.scores.resize(count * keys, 0.0);
        room.gradients.resize(count * keys, 0.0);
        let queries = self.head_rows(qkv, self.width(), part, (&block.queries, head));
        let right = columns(&room.keys_turned, &block.keys);
        self.scores(isa, pool, queries, right, &mut room.scores);
        if self.soft_cap.is_some() {
            room.capped.clone_from(&room.scores);
        }
        let outs = self.head_rows(
            dout,
            self.heads * self.head_dim,
            part,
            (&block.queries, head),
        );
        let place = Place {
            out: SharedOut::new(&mut room.gradients),
            stride: keys,
            accumulate: false,
        };
        // SAFETY: the gradients are borrowed mutably and hold the block.
        unsafe { columns(&room.values, &block.keys).multiply(isa, pool, outs, place) };
        let rows = room.scores.chunks_exact_mut(keys);
        let rows = rows.zip(room.gradients.chunks_exact_mut(keys));
        for (index, ((row, gradient), query)) in rows.zip(block.queries.clone()).enumerate() {
            let seen = self.seen(block, query);
            hide(row, &seen);
            hide(gradient, &seen);
            let sum = sums[(part.first + query) * self.heads + head];
            exp_less(&mut row[seen.clone()], self.softmax_scale(), sum);
            let own = &mut gradient[seen.clone()];
            softmax_backward(&row[seen.clone()], own, self.softmax_scale());
            if let Some(cap) = self.soft_cap {
                for (gradient, capped) in own.iter_mut().zip(&room.capped[index * keys..][seen]) {
                    let tanh = capped / cap;
                    *gradient *= 1.0 - tanh * tanh;
                }
                scale_in_place(own, self.scale);
            }
        }
    }

    /// Brings a block's gradients to queries, keys and values.
    ///
    /// # Safety
    /// As [`PackedAttention::backward`].
    #[allow(clippy::too_many_arguments)]
    unsafe fn spread(
        &self,
        isa: Isa,
        pool: &Pool,
        (part, head): (Part, usize),
        block: &Block,
        (qkv, _, dout): (&[f32], &[f32], &[f32]),
        dqkv: SharedOut,
        room: &mut Room,
    ) {
        let (width, keys) = (self.width(), block.keys.len());
        let queries = self.head_rows(qkv, width, part, (&block.queries, head));
        let outs = self.head_rows(
            dout,
            self.heads * self.head_dim,
            part,
            (&block.queries, head),
        );
        room.queries.pack(pool, queries);
        room.outs.pack(pool, outs);
        let gradients = Matrix::of_rows(&room.gradients, keys);
        let probabilities = Matrix::of_rows(&room.scores, keys);
        let place = |row: usize, column: usize| Place {
            // SAFETY: within `dqkv`.
            out: unsafe { dqkv.from((part.first + row) * width + column) },
            stride: width,
            accumulate: true,
        };
        let (query, key) = (block.queries.start, block.keys.start);
        let to_queries = place(query, head * self.head_dim);
        let to_keys = place(key, self.key_column(part));
        let to_values = place(key, self.value_column(part));
        // SAFETY: passed on.
        unsafe {
            let keys = inner(&room.keys, &block.keys);
            keys.multiply(isa, pool, gradients, to_queries);
            let (queries, outs) = (room.queries.whole(), room.outs.whole());
            queries.multiply(isa, pool, gradients.turned(), to_keys);
            outs.multiply(isa, pool, probabilities.turned(), to_values);
        }
    }
}
