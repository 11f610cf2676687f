//! The product of a block of rows with some panels of a packed matrix, tile after tile.

use std::ops::Range;

use crate::isa::Isa;
use crate::panels::{self, PANEL, Tile, even_tile};

/// A packed matrix, or the part of it that some of its columns are.
#[derive(Clone, Copy)]
pub(crate) struct PackedPart<'a> {
    /// The panels, `(panels, cols, 16)`, from the first of these columns on.
    pub panels: &'a [f32],
    /// Columns of the whole matrix.
    pub cols: usize,
    /// Columns of the part.
    pub count: usize,
}

impl<'a> PackedPart<'a> {
    /// `columns` of a matrix of `cols` columns.
    pub fn new(packed: &'a [f32], cols: usize, columns: Range<usize>) -> Self {
        Self {
            panels: &packed[columns.start * PANEL..],
            cols,
            count: columns.len(),
        }
    }
}

/// Some rows, by some rows of a packed matrix, whose numbers name the columns of the product.
#[derive(Clone, Copy)]
pub(crate) struct PanelBlock<'a> {
    pub isa: Isa,
    /// `(rows, weight.count)`, one behind the other.
    pub x: &'a [f32],
    pub weight: PackedPart<'a>,
    /// Added to the products; as long as the matrix has rows.
    pub bias: Option<&'a [f32]>,
    /// The product of the first row of `x` with row 0 of the matrix.
    pub out: *mut f32,
    /// From one row of `out` to the next.
    pub out_stride: usize,
    /// Continue the chains that `out` holds.
    pub accumulate: bool,
    /// What is multiplied by next: its first panels, which the last ones of this block ask for.
    pub then: Option<PackedPart<'a>>,
}

impl PanelBlock<'_> {
    /// Computes the products with `columns`, which begin at a panel.
    ///
    /// # Safety
    /// `out` may be written there for each row, and nobody else does.
    pub unsafe fn run(&self, columns: Range<usize>) {
        let (most_rows, most_panels) = panels::widest(self.isa);
        let PackedPart {
            panels,
            cols,
            count,
        } = self.weight;
        let rows = self.x.len() / count;
        let tiles = rows.div_ceil(most_rows);
        for column in columns.clone().step_by(most_panels * PANEL) {
            let width = (columns.end - column).min(most_panels * PANEL);
            let b = &panels[column * cols..];
            let bias = self
                .bias
                .map_or(std::ptr::null(), |bias| bias[column..].as_ptr());
            let next = column + most_panels * PANEL;
            let wanted = match next < columns.end {
                true => Some((self.weight, next)),
                false => self.then.map(|then| (then, 0)),
            };
            for tile in 0..tiles {
                let (first, rows) = even_tile(rows, most_rows, tile);
                let ahead = wanted.and_then(|(part, column)| {
                    let share = share_of_tile(tile, tiles, 2 * most_panels)?;
                    // Each tile asks for as much as it reads steps: half a panel.
                    let half = share % 2 * (count / 2) * PANEL;
                    part.panels
                        .get((column + share / 2 * PANEL) * part.cols + half)
                });
                // SAFETY: `b` holds the panels of `width` columns, `x` the tile's rows, and the
                // caller says that these of `out` may be written.
                unsafe {
                    let tile = Tile {
                        k: count,
                        a: self.x[first * count..].as_ptr(),
                        a_row: count,
                        a_step: 1,
                        b: b.as_ptr(),
                        b_stride: PANEL,
                        panel_stride: cols * PANEL,
                        c: self.out.add(first * self.out_stride + column),
                        c_stride: self.out_stride,
                        columns: width,
                        bias,
                        ahead: ahead.map_or(std::ptr::null(), |ahead| ahead),
                        accumulate: self.accumulate,
                    };
                    panels::run(self.isa, rows, width.div_ceil(PANEL), &tile);
                }
            }
        }
    }
}

/// Which of `shares` tile `tile` of `tiles` asks for: they lie as far apart as they can, so that
/// memory is asked evenly.
fn share_of_tile(tile: usize, tiles: usize, shares: usize) -> Option<usize> {
    let apart = (tiles / shares).max(1);
    let share = tile / apart;
    (tile.is_multiple_of(apart) && share < shares).then_some(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_share_is_asked_for_once() {
        for (tiles, expected) in [(15, 6), (6, 6), (4, 4), (28, 6)] {
            let shares: Vec<_> = (0..tiles)
                .filter_map(|t| share_of_tile(t, tiles, 6))
                .collect();
            assert_eq!(shares, (0..expected).collect::<Vec<_>>());
        }
    }
}
