//! Launches of `experts.cu`: a mixture of experts.

use crate::{CudaError, Device, Format, Grid, Kernel, Parameters, View, ViewMut};

/// Most experts of a row, as in `experts.cu`.
const MOST_CHOSEN: usize = 32;

/// How a router's scores become experts and weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routing {
    /// Rows.
    pub rows: usize,
    /// Experts.
    pub count: usize,
    /// Experts of a row.
    pub chosen: usize,
    /// Whether the weights are the softmax over the chosen ones, in place of over all.
    pub of_chosen: bool,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct RouteArgs {
    scores: u64,
    experts: u64,
    weights: u64,
    rows: u32,
    count: u32,
    chosen: u32,
    of_chosen: u32,
}

// SAFETY: as the struct of that name in experts.cu, without padding.
unsafe impl Parameters for RouteArgs {}

/// Chooses each row's experts by `scores`, `(rows, count)`: their numbers in ascending order and their
/// weights, `(rows, chosen)` each.
///
/// # Errors
/// [`CudaError::Shape`] for views that are too short or more than 32 experts a row; what the driver
/// says.
pub fn route(
    device: &Device,
    routing: Routing,
    scores: View<'_, f32>,
    experts: ViewMut<'_, u32>,
    weights: ViewMut<'_, f32>,
) -> Result<(), CudaError> {
    let Routing {
        rows,
        count,
        chosen,
        of_chosen,
    } = routing;
    let pairs = rows * chosen;
    let enough = scores.len >= rows * count && experts.len >= pairs && weights.len >= pairs;
    if !enough || chosen == 0 || chosen > count.min(MOST_CHOSEN) {
        return Err(CudaError::Shape(format!(
            "routing {rows} rows to {chosen} (at most {MOST_CHOSEN}) of {count} experts: a view is \
             shorter, or there are fewer experts"
        )));
    }
    let arguments = RouteArgs {
        scores: scores.address,
        experts: experts.address,
        weights: weights.address,
        rows: rows as u32,
        count: count as u32,
        chosen: chosen as u32,
        of_chosen: of_chosen.into(),
    };
    let kernel = Kernel {
        file: "experts",
        name: "route",
    };
    // SAFETY: the lengths were held against the shape.
    unsafe { device.launch(kernel, Grid::new((rows as u32, 1, 1), 32), &arguments) }
}

/// Products of rows with the matrices of their experts, all of one shape and format.
#[derive(Debug)]
pub struct ExpertLinear<'a> {
    /// The addresses of the experts' matrices, which live as long as the work.
    pub matrices: View<'a, u64>,
    /// The addresses of their biases.
    pub biases: Option<View<'a, u64>>,
    /// The expert of each pair: all are below the number of matrices.
    pub experts: View<'a, u32>,
    /// `(pairs / pairs_per_row, cols)`.
    pub x: View<'a, f32>,
    /// `(pairs, rows)`.
    pub y: ViewMut<'a, f32>,
    /// How the matrices are stored.
    pub format: Format,
    /// Outputs and inputs.
    pub shape: (usize, usize),
    /// Pairs of a row and an expert.
    pub pairs: usize,
    /// Pairs that share a row of x.
    pub pairs_per_row: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct ExpertLinearArgs {
    matrices: u64,
    biases: u64,
    experts: u64,
    x: u64,
    y: u64,
    row_bytes: u64,
    rows: u32,
    cols: u32,
    pairs: u32,
    pairs_per_row: u32,
}

// SAFETY: as the struct of that name in experts.cu, without padding.
unsafe impl Parameters for ExpertLinearArgs {}

/// Computes `product`.
///
/// # Errors
/// [`CudaError::Shape`] for views that are too short; what the driver says.
pub fn expert_linear(device: &Device, product: ExpertLinear<'_>) -> Result<(), CudaError> {
    let ExpertLinear {
        format,
        shape: (rows, cols),
        pairs,
        pairs_per_row,
        ..
    } = product;
    let enough = pairs_per_row > 0
        && product.x.len >= pairs.div_ceil(pairs_per_row.max(1)) * cols
        && product.y.len >= pairs * rows
        && product.experts.len >= pairs;
    if !enough || !cols.is_multiple_of(format.block_len()) {
        return Err(CudaError::Shape(format!(
            "experts ({rows}, {cols}) of {format:?} for {pairs} pairs: a view is shorter"
        )));
    }
    let arguments = ExpertLinearArgs {
        matrices: product.matrices.address,
        biases: product.biases.map_or(0, |biases| biases.address),
        experts: product.experts.address,
        x: product.x.address,
        y: product.y.address,
        row_bytes: (cols / format.block_len() * format.block_bytes()) as u64,
        rows: rows as u32,
        cols: cols as u32,
        pairs: pairs as u32,
        pairs_per_row: pairs_per_row as u32,
    };
    let kernel = Kernel {
        file: "experts",
        name: format.expert_linear(),
    };
    let blocks = (rows.div_ceil(8) as u32, pairs as u32, 1);
    // SAFETY: the lengths were held against the shape; the caller promised matrices and numbers.
    unsafe { device.launch(kernel, Grid::new(blocks, 256), &arguments) }
}

#[repr(C)]
#[derive(Clone, Copy)]
struct AddExpertsArgs {
    y: u64,
    weights: u64,
    out: u64,
    rows: u32,
    width: u32,
    chosen: u32,
    padding: u32,
}

// SAFETY: as the struct of that name in experts.cu, its end spelled out.
unsafe impl Parameters for AddExpertsArgs {}

/// Sums what each row's experts gave, `(rows, chosen, width)`, by their weights, to `out`, `(rows,
/// width)`.
///
/// # Errors
/// As [`route`].
pub fn add_experts(
    device: &Device,
    (rows, chosen, width): (usize, usize, usize),
    y: View<'_, f32>,
    weights: View<'_, f32>,
    out: ViewMut<'_, f32>,
) -> Result<(), CudaError> {
    let pairs = rows * chosen;
    if y.len < pairs * width || weights.len < pairs || out.len < rows * width {
        return Err(CudaError::Shape(format!(
            "the sum of {chosen} experts of {rows} rows of {width}: a view is shorter"
        )));
    }
    let arguments = AddExpertsArgs {
        y: y.address,
        weights: weights.address,
        out: out.address,
        rows: rows as u32,
        width: width as u32,
        chosen: chosen as u32,
        padding: 0,
    };
    let kernel = Kernel {
        file: "experts",
        name: "add_experts",
    };
    let blocks = (width.div_ceil(256) as u32, rows as u32, 1);
    // SAFETY: the lengths were held against the shape.
    unsafe { device.launch(kernel, Grid::new(blocks, 256), &arguments) }
}
