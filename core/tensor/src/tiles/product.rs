//! A product of matrices in tiles, shared out among threads.

use std::cell::RefCell;

use super::block::{BLOCK, Blocks, Lines, Target};
use super::{Operand, SIDE, STEPS, Tile, pack};
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

thread_local! {
    static LEFT: RefCell<Vec<Tile>> = const { RefCell::new(Vec::new()) };
}

/// Part of a right matrix in tiles, lines of sixteen columns: `inner` of its rows from tile `first`
/// of the `depth` of each line on, and the columns from line `line`
/// on. Each tile is one of the `parts` of its numbers, which stand together.
#[derive(Clone, Copy)]
pub(crate) struct Right<'a> {
    pub tiles: &'a [Tile],
    pub parts: usize,
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
        && (right.line + lines) * right.depth * right.parts <= right.tiles.len();
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
        let blocks = Blocks::new(self.isa);
        let parts = self.right.parts;
        let chunk = DEPTH.div_ceil(parts).min(self.depth.max(1));
        if room.len() < 2 * rows * chunk * parts {
            room.resize(2 * rows * chunk * parts, Tile::ZERO);
        }
        for start in (0..self.depth.max(1)).step_by(chunk) {
            let count = chunk.min(self.depth - start);
            let line = count * parts;
            let own = &mut room[..2 * rows * line];
            if count > 0 {
                let left = (self.left, Operand::Left);
                let steps = (start * STEPS, count, parts);
                pack(self.isa, left, row * BLOCK, steps, own);
            }
            let accumulate = self.place.accumulate || start > 0;
            let end = columns.0 + columns.1;
            for first in (columns.0..end).step_by(PAIRS) {
                let pairs = first..(first + PAIRS).min(end);
                for (index, pair) in (0..rows).flat_map(|i| pairs.clone().map(move |p| (i, p))) {
                    let target = self.target(row + index, pair);
                    let second = 2 * pair + usize::from(target.columns > SIDE);
                    let lines = Lines {
                        left: [0, line].map(|at| &own[2 * index * line + at..][..line]),
                        right: [2 * pair, second].map(|l| self.right_line(l, start, count)),
                        parts,
                    };
                    // SAFETY: this task alone writes the block.
                    unsafe { blocks.compute(lines, target, accumulate) };
                }
            }
        }
    }

    /// Where the block of these numbers goes.
    fn target(&self, row: usize, column: usize) -> Target {
        let (row, column) = (row * BLOCK, column * BLOCK);
        Target {
            // SAFETY: the block is within the product.
            out: unsafe { self.place.out.get().add(row * self.place.stride + column) },
            stride: self.place.stride,
            rows: (self.left.rows() - row).min(BLOCK),
            columns: (self.right.columns - column).min(BLOCK),
        }
    }

    /// Line `line` of the right tiles, `count` of them from `start` on.
    fn right_line(&self, line: usize, start: usize, count: usize) -> &[Tile] {
        let Right { depth, parts, .. } = self.right;
        let start = (self.right.line + line) * depth + self.right.first + start;
        &self.right.tiles[start * parts..][..count * parts]
    }
}
