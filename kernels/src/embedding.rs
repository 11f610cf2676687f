//! Launches of `embedding.cu`: rows of a table, by their numbers.

use crate::{CudaError, Device, Grid, Kernel, Matrix, Parameters, View, ViewMut};

/// Columns that a block gathers.
const COLUMNS: usize = 2048;

/// Which rows are gathered from where.
#[derive(Debug)]
pub struct Gather<'a> {
    /// One number a row of the result.
    pub ids: View<'a, u32>,
    /// `(rows, cols)`.
    pub out: ViewMut<'a, f32>,
    /// Rows of the result.
    pub rows: usize,
    /// Multiplies each element.
    pub multiplier: f32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct GatherArgs {
    table: u64,
    ids: u64,
    out: u64,
    row_bytes: u64,
    rows: u32,
    cols: u32,
    multiplier: f32,
    padding: u32,
}

// SAFETY: as the struct of that name in embedding.cu, its end spelled out.
unsafe impl Parameters for GatherArgs {}

impl Gather<'_> {
    /// Gathers rows of `table` as floats. The row of a number outside it is NaN.
    ///
    /// # Errors
    /// [`CudaError::Shape`] for views that are too short; what the driver says.
    pub fn of(self, device: &Device, table: &Matrix) -> Result<(), CudaError> {
        let place = (table.address(), table.row_bytes());
        self.launch(
            device,
            table.format().gather(),
            place,
            (table.rows(), table.cols()),
        )
    }

    fn launch(
        self,
        device: &Device,
        name: &'static str,
        (table, row_bytes): (u64, usize),
        (rows, cols): (usize, usize),
    ) -> Result<(), CudaError> {
        if self.ids.len < self.rows || self.out.len < self.rows * cols {
            return Err(CudaError::Shape(format!(
                "gather of {} rows of {cols}: {} numbers, room for {}",
                self.rows, self.ids.len, self.out.len
            )));
        }
        let arguments = GatherArgs {
            table,
            ids: self.ids.address,
            out: self.out.address,
            row_bytes: row_bytes as u64,
            rows: rows as u32,
            cols: cols as u32,
            multiplier: self.multiplier,
            padding: 0,
        };
        let kernel = Kernel {
            file: "embedding",
            name,
        };
        let blocks = (self.rows as u32, cols.div_ceil(COLUMNS) as u32, 1);
        // SAFETY: the lengths were held against the shape; the kernel checks the numbers.
        unsafe { device.launch(kernel, Grid::new(blocks, 256), &arguments) }
    }
}

/// Copies rows of `width` floats of `source` by `gather`'s numbers.
///
/// # Errors
/// As [`Gather::of`].
pub fn gather_rows(
    device: &Device,
    source: View<'_, f32>,
    width: usize,
    gather: Gather<'_>,
) -> Result<(), CudaError> {
    let rows = source.len / width.max(1);
    gather.launch(
        device,
        "gather_f32",
        (source.address, 4 * width),
        (rows, width),
    )
}
