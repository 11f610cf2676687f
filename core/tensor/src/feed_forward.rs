//! The two products of a layer's MLP with the function between them, over blocks of its inner
//! vectors.
//!
//! A block of inner vectors is made, goes through the function and is multiplied while it lies in
//! the core's own cache; the sums of the second product go on from block to block. They are the
//! chains that the product of whole rows computes, to the bit.

use crate::aligned::{SharedOut, with_scratch};
use crate::isa::Isa;
use crate::linear::linear_with;
use crate::panel_block::{PackedPart, PanelBlock};
use crate::weight::Layout;
use crate::{Pool, Projection, Weight, vector};

/// Inner numbers of a row that are made at a time.
const CHUNK: usize = 384;
/// Rows of a task of the function between the products.
const ROWS: usize = 16;

/// A matrix with what is added to its products, where something is.
pub type Biased<'a> = (&'a Weight, Option<&'a [f32]>);

/// The matrices of an MLP.
#[derive(Clone, Copy, Debug)]
pub struct FeedForward<'a> {
    /// `(inner, cols)`: its products go through the function.
    pub up: Biased<'a>,
    /// `(inner, cols)`: what the function's results are multiplied by, where there is a gate.
    pub factor: Option<Biased<'a>>,
    /// `(rows, inner)`.
    pub down: Biased<'a>,
}

/// Writes `down(activate(up x) * factor x)` to `out`: x `(m, cols)`, out `(m, rows)`. `activate`
/// replaces each number alone. Every row's bits are those of [`crate::ops::linear`], the function
/// and [`crate::ops::linear`].
pub fn feed_forward(
    pool: &Pool,
    x: &[f32],
    layers: &FeedForward<'_>,
    activate: impl Fn(&mut [f32]) + Sync,
    out: &mut [f32],
) {
    feed_forward_with(Isa::best(), pool, x, layers, activate, out);
}

fn feed_forward_with(
    isa: Isa,
    pool: &Pool,
    x: &[f32],
    layers: &FeedForward<'_>,
    activate: impl Fn(&mut [f32]) + Sync,
    out: &mut [f32],
) {
    let (inner, cols) = (layers.up.0.rows(), layers.up.0.cols());
    let m = x.len() / cols;
    assert_eq!(layers.down.0.cols(), inner, "feed_forward: up and down");
    assert_eq!(
        out.len(),
        m * layers.down.0.rows(),
        "feed_forward: out is not whole rows"
    );
    assert!(
        layers
            .factor
            .is_none_or(|f| (f.0.rows(), f.0.cols()) == (inner, cols)),
        "feed_forward: up and factor"
    );
    if m == 0 {
        return;
    }
    // Threads that share one input share whole products.
    match Packed::new(layers).filter(|_| pool.available() == 1) {
        Some(packed) => packed.run(isa, x, activate, out),
        None => whole(isa, pool, x, layers, activate, out),
    }
}

/// One product after the other.
fn whole(
    isa: Isa,
    pool: &Pool,
    x: &[f32],
    layers: &FeedForward<'_>,
    activate: impl Fn(&mut [f32]) + Sync,
    out: &mut [f32],
) {
    let width = layers.up.0.rows();
    let len = x.len() / layers.up.0.cols() * width;
    let product = |(weight, bias): Biased<'_>, x: &[f32], out: &mut [f32]| {
        linear_with(isa, pool, x, &mut [Projection { weight, bias, out }]);
    };
    with_scratch(len, |inner| {
        product(layers.up, x, inner);
        match layers.factor {
            None => pool.run_chunks(inner, ROWS * width, |_, rows| activate(rows)),
            Some(factor) => with_scratch(len, |factors| {
                product(factor, x, factors);
                pool.run_chunks(inner, ROWS * width, |index, rows| {
                    activate(rows);
                    let own = &factors[index * ROWS * width..][..rows.len()];
                    vector::multiply_in_place(rows, own);
                });
            }),
        }
        product(layers.down, inner, out);
    });
}

/// Panels of F32, `(panels, cols, 16)`, with the bias.
#[derive(Clone, Copy)]
struct Panels<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    bias: Option<&'a [f32]>,
}

impl<'a> Panels<'a> {
    fn new((weight, bias): Biased<'a>) -> Option<Self> {
        match weight.layout() {
            Layout::Panels(data) => Some(Self {
                data,
                rows: weight.rows(),
                cols: weight.cols(),
                bias,
            }),
            _ => None,
        }
    }

    fn part(&self, columns: std::ops::Range<usize>) -> PackedPart<'a> {
        PackedPart::new(self.data, self.cols, columns)
    }
}

/// The matrices, all of them packed as F32.
struct Packed<'a> {
    up: Panels<'a>,
    factor: Option<Panels<'a>>,
    down: Panels<'a>,
}

impl<'a> Packed<'a> {
    fn new(layers: &FeedForward<'a>) -> Option<Self> {
        Some(Self {
            up: Panels::new(layers.up)?,
            factor: match layers.factor {
                None => None,
                Some(factor) => Some(Panels::new(factor)?),
            },
            down: Panels::new(layers.down)?,
        })
    }

    /// All of it, on this thread.
    fn run(&self, isa: Isa, x: &[f32], activate: impl Fn(&mut [f32]), out: &mut [f32]) {
        let (width, m) = (self.up.rows, x.len() / self.up.cols);
        let room = m * CHUNK.min(width);
        with_scratch(room, |inner| {
            with_scratch(self.factor.map_or(0, |_| room), |factors| {
                for first in (0..width).step_by(CHUNK) {
                    let count = CHUNK.min(width - first);
                    let inner = &mut inner[..m * count];
                    let down = self.down.part(first..first + count);
                    let ahead = match &self.factor {
                        Some(factor) => rows_from(factor, first),
                        None => down,
                    };
                    some_rows(isa, x, &self.up, first, inner, ahead);
                    activate(inner);
                    if let Some(factor) = &self.factor {
                        let factors = &mut factors[..m * count];
                        some_rows(isa, x, factor, first, factors, down);
                        vector::multiply_in_place(inner, factors);
                    }
                    let is_last = first + count == width;
                    let block = PanelBlock {
                        isa,
                        x: inner,
                        weight: down,
                        bias: self.down.bias.filter(|_| is_last),
                        out: SharedOut::new(out).get(),
                        out_stride: self.down.rows,
                        accumulate: first > 0,
                        then: (!is_last).then(|| rows_from(&self.up, first + count)),
                    };
                    // SAFETY: `out` holds as many rows as `x`, of as many columns, and is borrowed
                    // mutably.
                    unsafe { block.run(0..self.down.rows) };
                }
            });
        });
    }
}

/// A matrix without its rows before `first`.
fn rows_from<'a>(matrix: &Panels<'a>, first: usize) -> PackedPart<'a> {
    PackedPart::new(
        &matrix.data[first * matrix.cols..],
        matrix.cols,
        0..matrix.cols,
    )
}

/// Writes the products of `x` with the rows of `matrix` from `first` on to `out`, `(m, count)`.
fn some_rows(
    isa: Isa,
    x: &[f32],
    matrix: &Panels<'_>,
    first: usize,
    out: &mut [f32],
    then: PackedPart<'_>,
) {
    let count = out.len() / (x.len() / matrix.cols);
    let block = PanelBlock {
        isa,
        x,
        weight: rows_from(matrix, first),
        bias: matrix.bias.map(|bias| &bias[first..]),
        out: SharedOut::new(out).get(),
        out_stride: count,
        accumulate: false,
        then: Some(then),
    };
    // SAFETY: `out` holds as many rows as `x`, of `count` columns, and is borrowed mutably.
    unsafe { block.run(0..count) };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ops;

    fn numbers(seed: usize, count: usize) -> Vec<f32> {
        (0..count)
            .map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0)
            .collect()
    }

    fn matrix(seed: usize, rows: usize, cols: usize) -> Weight {
        let weight = Weight::from_f32(rows, cols, numbers(seed, rows * cols)).unwrap();
        weight.pack()
    }

    #[test]
    fn blocks_give_the_bits_of_whole_products_on_every_isa() {
        // An inner width of more than one block, and no whole ones.
        let (m, cols, inner) = (21, 40, 2 * CHUNK + 50);
        let weights = [
            matrix(1, inner, cols),
            matrix(2, inner, cols),
            matrix(3, 37, inner),
        ];
        let [up_bias, down_bias] = [numbers(4, inner), numbers(5, 37)];
        let x = numbers(6, m * cols);
        for factor in [None, Some((&weights[1], None))] {
            let layers = FeedForward {
                up: (&weights[0], Some(&up_bias)),
                factor,
                down: (&weights[2], Some(&down_bias)),
            };
            let run = |isa, pool: &Pool, x: &[f32]| {
                let mut out = vec![f32::NAN; x.len() / cols * 37];
                feed_forward_with(isa, pool, x, &layers, ops::gelu_in_place, &mut out);
                out
            };
            // Two threads take the products whole.
            let expected = run(Isa::Portable, &Pool::new(2), &x);
            assert!(expected.iter().all(|value| value.is_finite()));
            for isa in Isa::available() {
                assert_eq!(run(isa, &Pool::new(1), &x), expected, "{isa:?}");
                assert_eq!(run(isa, &Pool::new(2), &x), expected, "{isa:?}");
                let alone = run(isa, &Pool::new(1), &x[3 * cols..4 * cols]);
                assert_eq!(alone, expected[3 * 37..4 * 37], "{isa:?}");
            }
        }
    }
}
