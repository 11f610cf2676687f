//! The product of rows with a matrix, and a bias, forward and backward.

use outcrop_tensor::{Matrix, Panels, Pool, Product, ops};

use super::rows::{self, BLOCK};

/// A matrix `(rows, cols)` of output by input features, with its bias where it has one.
#[derive(Clone, Copy)]
pub(crate) struct Linear<'a> {
    pub weight: &'a [f32],
    pub bias: Option<&'a [f32]>,
    pub cols: usize,
}

/// Where the gradients of a matrix and its bias are added.
pub(crate) struct LinearGradients<'a> {
    pub weight: &'a mut [f32],
    pub bias: Option<&'a mut [f32]>,
}

impl Linear<'_> {
    fn rows(&self) -> usize {
        self.weight.len() / self.cols
    }

    /// Writes `x W^T + bias` to `out`.
    pub fn forward(&self, pool: &Pool, panels: &mut Panels, x: &[f32], out: &mut [f32]) {
        let rows = self.rows();
        panels.pack(pool, Matrix::of_rows(self.weight, self.cols).turned());
        let product = Product {
            data: out,
            stride: rows,
            accumulate: false,
        };
        ops::matmul_panels(pool, Matrix::of_rows(x, self.cols), panels, product);
        if let Some(bias) = self.bias {
            pool.run_chunks(out, BLOCK * rows, |_, out| {
                out.chunks_exact_mut(rows)
                    .for_each(|row| ops::add_in_place(row, bias));
            });
        }
    }

    /// Writes the gradient of `x` to `dx`.
    pub fn backward(&self, pool: &Pool, panels: &mut Panels, dy: &[f32], dx: &mut [f32]) {
        panels.pack(pool, Matrix::of_rows(self.weight, self.cols));
        let product = Product {
            data: dx,
            stride: self.cols,
            accumulate: false,
        };
        ops::matmul_panels(pool, Matrix::of_rows(dy, self.rows()), panels, product);
    }
}

impl LinearGradients<'_> {
    /// Adds the gradients that the rows `x` of `cols` elements give with `dy`.
    pub fn add(self, pool: &Pool, panels: &mut Panels, (x, cols): (&[f32], usize), dy: &[f32]) {
        let rows = self.weight.len() / cols;
        panels.pack(pool, Matrix::of_rows(x, cols));
        let product = Product {
            data: self.weight,
            stride: cols,
            accumulate: true,
        };
        ops::matmul_panels(pool, Matrix::of_rows(dy, rows).turned(), panels, product);
        if let Some(bias) = self.bias {
            column_sums(pool, dy, bias);
        }
    }
}

/// Adds the rows of `dy` to `sums`, block by block.
fn column_sums(pool: &Pool, dy: &[f32], sums: &mut [f32]) {
    let width = sums.len();
    let mut parts = vec![0.0; (dy.len() / width).div_ceil(BLOCK) * width];
    pool.run_chunks(&mut parts, width, |index, part| {
        let own = dy.chunks(BLOCK * width).nth(index).unwrap_or_default();
        ops::column_sums(own, part);
    });
    ops::column_sums(&parts, sums);
}

/// `out += factor * (x A^T) B^T` needs products of slices in wider rows; this is the view of them.
pub(crate) fn part(data: &[f32], stride: usize, columns: std::ops::Range<usize>) -> Matrix<'_> {
    Matrix::new(
        &data[columns.start..],
        data.len() / stride,
        columns.len(),
        stride,
    )
}

/// As [`rows::add`], of part of each row.
pub(crate) fn add_part(
    pool: &Pool,
    factor: f32,
    x: &[f32],
    (out, stride): (&mut [f32], usize),
    columns: std::ops::Range<usize>,
) {
    let width = columns.len();
    if width == stride {
        return rows::add(pool, factor, x, out);
    }
    pool.run_chunks(out, BLOCK * stride, |index, out| {
        let x = x[index * BLOCK * width..].chunks_exact(width);
        for (out, x) in out.chunks_exact_mut(stride).zip(x) {
            ops::axpy(factor, x, &mut out[columns.clone()]);
        }
    });
}
