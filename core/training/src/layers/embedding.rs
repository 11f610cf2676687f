//! The tokens' rows of a table, forward and backward.

use outcrop_tensor::{Pool, ops};

use super::rows::BLOCK;

/// Parts of the table, each of which one task adds to.
const PARTS: usize = 64;

/// Writes the tokens' rows of `table`, multiplied, to `out`, `(tokens, width)`.
pub(crate) fn forward(
    pool: &Pool,
    table: &[f32],
    (ids, multiplier): (&[u32], f32),
    width: usize,
    out: &mut [f32],
) {
    pool.run_chunks(out, BLOCK * width, |index, out| {
        let ids = &ids[index * BLOCK..];
        for (out, id) in out.chunks_exact_mut(width).zip(ids) {
            out.copy_from_slice(&table[*id as usize * width..][..width]);
            if multiplier != 1.0 {
                ops::scale_in_place(out, multiplier);
            }
        }
    });
}

/// Adds the gradients `dy` of the tokens' rows, multiplied, to that of the table. Tokens are taken in
/// their order, so a row's sum does not depend on the threads.
pub(crate) fn backward(
    pool: &Pool,
    dy: &[f32],
    (ids, multiplier): (&[u32], f32),
    width: usize,
    gradient: &mut [f32],
) {
    // Each task owns a range of the table's rows, and looks for its tokens.
    let rows = gradient.len() / width;
    let share = rows.div_ceil(PARTS).max(1);
    pool.run_chunks(gradient, share * width, |index, gradient| {
        let first = index * share;
        for (id, dy) in ids.iter().zip(dy.chunks_exact(width)) {
            let Some(row) = (*id as usize).checked_sub(first).filter(|row| *row < share) else {
                continue;
            };
            if let Some(sum) = gradient.get_mut(row * width..(row + 1) * width) {
                ops::axpy(multiplier, dy, sum);
            }
        }
    });
}
