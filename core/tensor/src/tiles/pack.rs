//! Matrices laid in tiles: the conversion to bfloat16, and the order of the pairs.

use super::{Operand, SIDE, STEPS, Tile, bf16};
use crate::Pool;
use crate::isa::{Isa, versions};
use crate::matmul::Matrix;

/// Lines of right tiles that a task packs: its parts of the memory's rows are some cache lines long.
const LINES: usize = 8;

/// Writes the tiles of the lines `first..` of `matrix`, whole lines of tiles one behind the
/// other, and of its steps of the inner dimension from `step` on, to `out`, `count` tiles a line of `parts` each. A line
/// is sixteen rows of a left matrix, or sixteen columns of a right one. What is beyond the matrix is zero.
pub(super) fn pack(
    isa: Isa,
    (matrix, operand): (Matrix<'_>, Operand),
    first: usize,
    (step, count, parts): (usize, usize, usize),
    out: &mut [Tile],
) {
    let lines = out.len() / (count * parts);
    // Along the memory's rows: all lines first where a row holds one step of each.
    let by_steps = by_steps(matrix, operand);
    let (outer, inner) = if by_steps {
        (count, lines)
    } else {
        (lines, count)
    };
    for i in 0..outer {
        for j in 0..inner {
            let (line, number) = if by_steps { (j, i) } else { (i, j) };
            let (own, steps) = (first + line * SIDE, step + number * STEPS);
            let part = Part::of(matrix, operand, own, steps);
            let tiles = &mut out[(line * count + number) * parts..][..parts];
            fill(isa, &part, tiles);
        }
    }
}

/// Whether the memory's rows are steps of the inner dimension.
fn by_steps(matrix: Matrix<'_>, operand: Operand) -> bool {
    matrix.is_turned() == (operand == Operand::Left)
}

/// Lays a whole matrix in tiles of `parts`, lines one behind the other.
pub(crate) fn pack_whole(
    isa: Isa,
    pool: &Pool,
    (matrix, operand): (Matrix<'_>, Operand),
    parts: usize,
    tiles: &mut Vec<Tile>,
) {
    let (lines, steps) = extent(matrix, operand);
    let (lines, count) = (lines.div_ceil(SIDE), steps.div_ceil(STEPS));
    let line = count * parts;
    if tiles.len() < lines * line {
        tiles.resize(lines * line, Tile::ZERO);
    }
    if line > 0 {
        let share = (lines / (2 * pool.available())).clamp(1, LINES);
        pool.run_chunks(&mut tiles[..lines * line], share * line, |index, tiles| {
            let first = index * share * SIDE;
            pack(isa, (matrix, operand), first, (0, count, parts), tiles);
        });
    }
}

/// Lines and steps of the inner dimension, in numbers.
fn extent(matrix: Matrix<'_>, operand: Operand) -> (usize, usize) {
    match operand {
        Operand::Left => (matrix.rows(), matrix.columns()),
        Operand::Right => (matrix.columns(), matrix.rows()),
    }
}

/// What a tile is filled from: memory whose rows are `stride` apart, of which `rows` and `columns` are there.
///
/// With `by_steps` its rows are steps of the inner dimension, up to 32 of them, and its columns the
/// lines of the tile, up to 16; otherwise the other way round.
pub(super) struct Part<'a> {
    pub data: &'a [f32],
    pub stride: usize,
    pub rows: usize,
    pub columns: usize,
    pub by_steps: bool,
    pub operand: Operand,
}

impl<'a> Part<'a> {
    fn of(matrix: Matrix<'a>, operand: Operand, line: usize, step: usize) -> Self {
        let (lines, steps) = extent(matrix, operand);
        let by_steps = by_steps(matrix, operand);
        let (lines, steps) = (
            lines.saturating_sub(line).min(SIDE),
            steps.saturating_sub(step).min(STEPS),
        );
        let (data, stride) = matrix.memory();
        let (row, column) = if by_steps { (step, line) } else { (line, step) };
        let (rows, columns) = if by_steps {
            (steps, lines)
        } else {
            (lines, steps)
        };
        let is_there = rows > 0 && columns > 0;
        Self {
            data: if is_there {
                &data[row * stride + column..]
            } else {
                &[]
            },
            stride,
            rows: if is_there { rows } else { 0 },
            columns,
            by_steps,
            operand,
        }
    }
}

fn fill(isa: Isa, part: &Part<'_>, tiles: &mut [Tile]) {
    match (isa, tiles) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: where there is AMX, there are these instructions; `part` is within its memory.
        (Isa::Amx, [tile]) => unsafe { super::avx512::fill(part, [tile]) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        (Isa::Amx, [high, middle, low]) => unsafe {
            super::avx512::fill(part, [high, middle, low]);
        },
        (_, tiles) => fill_with(isa, part, tiles),
    }
}

versions!(fn fill_with(part: &Part<'_>, tiles: &mut [Tile]) = fill_body);

#[inline(always)]
fn fill_body(part: &Part<'_>, tiles: &mut [Tile]) {
    tiles.fill(Tile::ZERO);
    for row in 0..part.rows {
        let values = &part.data[row * part.stride..][..part.columns];
        for (column, value) in values.iter().enumerate() {
            let (line, step) = if part.by_steps {
                (column, row)
            } else {
                (row, column)
            };
            let place = match part.operand {
                Operand::Left => line * SIDE + step / 2,
                Operand::Right => step / 2 * SIDE + line,
            };
            let shift = 16 * (step % 2);
            if let [tile] = &mut *tiles {
                tile.0[place] |= bf16(*value) << shift;
                continue;
            }
            let (mut rest, last) = (*value, tiles.len() - 1);
            for (index, tile) in tiles.iter_mut().enumerate() {
                // Half a unit is added to what is cut; the last part is all that is left.
                let round = if index == last { 0 } else { 0x8000 };
                let own = rest.to_bits().wrapping_add(round) & 0xffff_0000;
                let is_small = own & 0x7f80_0000 == 0;
                tile.0[place] |= (if is_small { own & 0x8000_0000 } else { own }) >> 16 << shift;
                rest -= f32::from_bits(own);
            }
        }
    }
}
