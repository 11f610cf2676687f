//! Work on blocks of rows, shared out among threads.

use std::sync::{Mutex, PoisonError};

use outcrop_tensor::{Pool, ops};

/// Rows of a block. It is the same for any number of threads, as sums over rows are made by block.
pub(crate) const BLOCK: usize = 32;

/// Calls `work` with the blocks of `first` and `second`, rows of the two given widths.
pub(crate) fn both<F>(
    pool: &Pool,
    (first, first_width): (&mut [f32], usize),
    (second, second_width): (&mut [f32], usize),
    work: F,
) where
    F: Fn(usize, &mut [f32], &mut [f32]) + Sync,
{
    let blocks = first.chunks_mut(BLOCK * first_width);
    let blocks: Vec<_> = blocks
        .zip(second.chunks_mut(BLOCK * second_width))
        .map(Mutex::new)
        .collect();
    pool.run(blocks.len(), |index| {
        // No block is taken twice, so nobody waits for this lock.
        let mut block = blocks[index].lock().unwrap_or_else(PoisonError::into_inner);
        let (first, second) = &mut *block;
        work(index, first, second);
    });
}

/// Adds to `sums` what `work` makes of each block of `rows`, in the order of the blocks.
pub(crate) fn summed<F>(pool: &Pool, (rows, width): (&mut [f32], usize), sums: &mut [f32], work: F)
where
    F: Fn(usize, &mut [f32], &mut [f32]) + Sync,
{
    let count = (rows.len() / width).div_ceil(BLOCK);
    let mut parts = vec![0.0; count * sums.len()];
    let slots: Vec<_> = rows
        .chunks_mut(BLOCK * width)
        .zip(parts.chunks_mut(sums.len()))
        .map(Mutex::new)
        .collect();
    pool.run(count, |index| {
        let mut slot = slots[index].lock().unwrap_or_else(PoisonError::into_inner);
        let (rows, part) = &mut *slot;
        work(index, rows, part);
    });
    drop(slots);
    ops::column_sums(&parts, sums);
}

/// `out = factor * x + y`, on all threads.
pub(crate) fn sum(pool: &Pool, (factor, x): (f32, &[f32]), y: &[f32], out: &mut Vec<f32>) {
    const ELEMENTS: usize = 1 << 14;
    out.resize(x.len(), 0.0);
    pool.run_chunks(out, ELEMENTS, |index, out| {
        let own = index * ELEMENTS..index * ELEMENTS + out.len();
        ops::sum_into(factor, &x[own.clone()], &y[own], out);
    });
}

/// `y += factor * x`, on all threads.
pub(crate) fn add(pool: &Pool, factor: f32, x: &[f32], y: &mut [f32]) {
    const ELEMENTS: usize = 1 << 14;
    pool.run_chunks(y, ELEMENTS, |index, y| {
        ops::axpy(factor, &x[index * ELEMENTS..][..y.len()], y);
    });
}
