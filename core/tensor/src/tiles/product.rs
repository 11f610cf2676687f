//! A product of matrices in tiles, shared out among threads.

use std::cell::RefCell;

use super::{Operand, SIDE, STEPS, Tile, pack, portable};
use crate::Pool;
use crate::isa::Isa;
use crate::matmul::{Matrix, Place};
use crate::panels::even_part;

/// Tiles of the inner dimension that are multiplied before the next ones are packed: two lines of
/// them stay in the first cache.
const DEPTH: usize = 16;
/// Blocks of columns whose right tiles stay in the second cache, while a block's rows go along them: what
/// it writes of a row lies together.
const PAIRS: usize = 16;
/// Lines of left tiles in a task.
const LINES: usize = 8;
/// Rows and columns of sums that are computed at a time.
const BLOCK: usize = 2 * SIDE;

thread_local! {
    static LEFT: RefCell<Vec<Tile>> = const { RefCell::new(Vec::new()) };
}

/// Part of a right matrix in tiles, lines of sixteen columns: `inner` of its rows from tile `first`
/// of the `depth` of each line on, and the columns from line `line` on.
#[derive(Clone, Copy)]
pub(crate) struct Right<'a> {
    pub tiles: &'a [Tile],
    pub depth: usize,
    pub first: usize,
    pub inner: usize,
    pub line: usize,
    pub columns: usize,
}

/// Writes `left right` to `place`.
///
/// # Safety
/// `place` may be written for the product's rows and columns, and nobody else does.
pub(crate) unsafe fn multiply(
    isa: Isa,
    pool: &Pool,
    left: Matrix<'_>,
    right: Right<'_>,
    place: Place,
) {
    assert_eq!(
        left.columns(),
        right.inner,
        "matmul: the inner dimensions differ"
    );
    let depth = right.inner.div_ceil(STEPS);
    let lines = right.columns.div_ceil(SIDE);
    let fits = right.first + depth <= right.depth
        && (right.line + lines) * right.depth <= right.tiles.len();
    assert!(fits, "matmul: right");
    let rows = left.rows();
    if rows == 0 || right.columns == 0 {
        return;
    }
    let threads = pool.available();
    let (row_lines, pairs) = (rows.div_ceil(SIDE), lines.div_ceil(2));
    let row_blocks = match row_lines.div_ceil(LINES) {
        1 => 1,
        blocks => blocks.next_multiple_of(threads).min(row_lines.div_ceil(2)),
    };
    let column_blocks = threads.div_ceil(row_blocks).min(pairs);
    let job = Job {
        isa,
        left,
        right,
        place,
        depth,
    };
    pool.run(row_blocks * column_blocks, |task| {
        // Blocks begin at even lines, so that all but the last go in twos.
        let own = even_part(row_lines.div_ceil(2), row_blocks, task / column_blocks);
        let columns = even_part(pairs, column_blocks, task % column_blocks);
        LEFT.with_borrow_mut(|room| job.block(own, columns, room));
    });
}

/// One product: what its tasks share.
struct Job<'a> {
    isa: Isa,
    left: Matrix<'a>,
    right: Right<'a>,
    place: Place,
    depth: usize,
}

impl Job<'_> {
    /// Some blocks of rows with some blocks of columns, which this task alone writes.
    fn block(&self, (row, rows): (usize, usize), columns: (usize, usize), room: &mut Vec<Tile>) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Isa::available` has asked.
        let registers = (self.isa == Isa::Amx).then(|| unsafe { super::amx::Registers::shaped() });
        let chunk = DEPTH.min(self.depth.max(1));
        if room.len() < 2 * rows * chunk {
            room.resize(2 * rows * chunk, Tile::ZERO);
        }
        for start in (0..self.depth.max(1)).step_by(chunk) {
            let count = chunk.min(self.depth - start);
            let own = &mut room[..2 * rows * count];
            if count > 0 {
                let left = (self.left, Operand::Left);
                pack(self.isa, left, row * BLOCK, (start * STEPS, count), own);
            }
            let lines = |index: usize, pair: usize| Lines {
                left: &own[2 * index * count..][..2 * count],
                start,
                count,
                row: (row + index) * BLOCK,
                column: pair * BLOCK,
                accumulate: self.place.accumulate || start > 0,
            };
            let end = columns.0 + columns.1;
            for first in (columns.0..end).step_by(PAIRS) {
                let pairs = first..(first + PAIRS).min(end);
                for (index, pair) in (0..rows).flat_map(|i| pairs.clone().map(move |p| (i, p))) {
                    let lines = lines(index, pair);
                    #[cfg(target_arch = "x86_64")]
                    if let Some(registers) = &registers {
                        self.by_registers(registers, &lines);
                        continue;
                    }
                    self.by_numbers(&lines);
                }
            }
        }
    }

    /// Rows and columns of a block that are there.
    fn extent(&self, lines: &Lines<'_>) -> (usize, usize) {
        (
            (self.left.rows() - lines.row).min(BLOCK),
            (self.right.columns - lines.column).min(BLOCK),
        )
    }

    /// Line `line` of the right tiles, `count` of them from `start` on.
    fn right_line(&self, line: usize, lines: &Lines<'_>) -> &[Tile] {
        let start = (self.right.line + line) * self.right.depth + self.right.first + lines.start;
        &self.right.tiles[start..][..lines.count]
    }

    #[cfg(target_arch = "x86_64")]
    fn by_registers(&self, registers: &super::amx::Registers, lines: &Lines<'_>) {
        let (rows, columns) = self.extent(lines);
        let line = lines.column / SIDE;
        let right =
            [line, line + usize::from(columns > SIDE)].map(|l| self.right_line(l, lines).as_ptr());
        let left = [0, lines.count].map(|start| lines.left[start..].as_ptr());
        // SAFETY: `pack` has filled both lines; this block is this task's alone, and where it is not
        // whole its sums are made in memory of our own.
        unsafe {
            let out = self.out(lines);
            let stride = self.place.stride;
            if (rows, columns) == (BLOCK, BLOCK) {
                // Asked for while the sums are made, for the next block of the rows.
                for i in 0..BLOCK {
                    let next = out.wrapping_add(i * stride + BLOCK);
                    super::amx::prefetch_to_write(next);
                    super::amx::prefetch_to_write(next.wrapping_add(SIDE));
                }
                registers.multiply(left, right, lines.count, (out, stride), lines.accumulate);
                return;
            }
            let mut sums = Block([0.0; BLOCK * BLOCK]);
            if lines.accumulate {
                for (i, sums) in sums.0.chunks_exact_mut(BLOCK).enumerate().take(rows) {
                    std::ptr::copy_nonoverlapping(out.add(i * stride), sums.as_mut_ptr(), columns);
                }
            }
            let own = (sums.0.as_mut_ptr(), BLOCK);
            registers.multiply(left, right, lines.count, own, lines.accumulate);
            for (i, sums) in sums.0.chunks_exact(BLOCK).enumerate().take(rows) {
                std::ptr::copy_nonoverlapping(sums.as_ptr(), out.add(i * stride), columns);
            }
        }
    }

    fn by_numbers(&self, lines: &Lines<'_>) {
        let (rows, columns) = self.extent(lines);
        let out = self.out(lines);
        for row in (0..rows).step_by(SIDE) {
            let left = &lines.left[row / SIDE * lines.count..][..lines.count];
            for column in (0..columns).step_by(SIDE) {
                let right = self.right_line((lines.column + column) / SIDE, lines);
                let (height, width) = ((rows - row).min(SIDE), (columns - column).min(SIDE));
                let mut sums = [[0.0; SIDE]; SIDE];
                // SAFETY: this block is this task's alone.
                unsafe {
                    let out = out.add(row * self.place.stride + column);
                    if lines.accumulate {
                        for (i, sums) in sums.iter_mut().enumerate().take(height) {
                            let own = out.add(i * self.place.stride);
                            std::ptr::copy_nonoverlapping(own, sums.as_mut_ptr(), width);
                        }
                    }
                    portable::add(self.isa, left, right, &mut sums);
                    for (i, sums) in sums.iter().enumerate().take(height) {
                        let own = out.add(i * self.place.stride);
                        std::ptr::copy_nonoverlapping(sums.as_ptr(), own, width);
                    }
                }
            }
        }
    }

    /// Where a block's first sum goes.
    fn out(&self, lines: &Lines<'_>) -> *mut f32 {
        let start = lines.row * self.place.stride + lines.column;
        // SAFETY: the block is within the product.
        unsafe { self.place.out.get().add(start) }
    }
}

/// Sums of a block that is not whole.
#[repr(C, align(64))]
struct Block([f32; BLOCK * BLOCK]);

/// A block of sums: two lines of left tiles, which tiles of the inner dimension, and where it goes.
struct Lines<'a> {
    left: &'a [Tile],
    start: usize,
    count: usize,
    row: usize,
    column: usize,
    accumulate: bool,
}
