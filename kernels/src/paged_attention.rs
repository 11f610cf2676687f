//! Launches of `paged_attention.cu`: attention over the paged cache for heads of any width.

use crate::kv_write::KvPoolArgs;
use crate::{CudaError, Device, Grid, Kernel, KvPool, Parameters, View, ViewMut};

/// Widest head that the kernel has room for.
const MOST_HEAD_DIM: usize = 256;

/// The attention of `rows` rows.
#[derive(Debug)]
pub struct PagedAttention<'a> {
    /// `(rows, heads, head_dim)`, rotated already.
    pub queries: View<'a, f32>,
    /// One score a head that joins its softmax and has no value.
    pub sinks: Option<View<'a, f32>>,
    /// Of the queries' shape.
    pub out: ViewMut<'a, f32>,
    /// Rows.
    pub rows: usize,
    /// Heads of the queries, a multiple of those of the cache.
    pub heads: usize,
    /// How many positions a row sees, its own included, going back.
    pub window: Option<usize>,
    /// Multiplies the scores.
    pub scale: f32,
    /// Bounds the scaled scores.
    pub soft_cap: Option<f32>,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct PagedAttentionArgs {
    pool: KvPoolArgs,
    queries: u64,
    sinks: u64,
    out: u64,
    heads: u32,
    window: u32,
    scale: f32,
    cap: f32,
}

// SAFETY: as the struct of that name in paged_attention.cu, without padding.
unsafe impl Parameters for PagedAttentionArgs {}

/// Computes the attention of each row over its sequence's positions up to its own, which are written.
///
/// # Errors
/// [`CudaError::Shape`] for views that are too short or heads above 256 elements; what the driver says.
pub fn paged_attention(
    device: &Device,
    pool: KvPool<'_>,
    attention: PagedAttention<'_>,
) -> Result<(), CudaError> {
    let PagedAttention { rows, heads, .. } = attention;
    let width = heads * pool.head_dim;
    let enough = attention.queries.len >= rows * width
        && attention.out.len >= rows * width
        && attention.sinks.is_none_or(|sinks| sinks.len >= heads);
    let groups = pool.kv_heads > 0 && heads.is_multiple_of(pool.kv_heads);
    if !enough || !groups || pool.head_dim > MOST_HEAD_DIM {
        return Err(CudaError::Shape(format!(
            "attention of {rows} rows of {heads} heads over {} of {} elements (at most \
             {MOST_HEAD_DIM}): a view is shorter, or the heads do not divide",
            pool.kv_heads, pool.head_dim
        )));
    }
    let arguments = PagedAttentionArgs {
        pool: pool.arguments(rows)?,
        queries: attention.queries.address,
        sinks: attention.sinks.map_or(0, |sinks| sinks.address),
        out: attention.out.address,
        heads: heads as u32,
        window: attention
            .window
            .map_or(0, |w| w.min(u32::MAX as usize) as u32),
        scale: attention.scale,
        cap: attention.soft_cap.unwrap_or(0.0),
    };
    let kernel = Kernel {
        file: "paged_attention",
        name: pool.format.attention(),
    };
    let blocks = (heads as u32, rows as u32, 1);
    // SAFETY: the lengths were held against the shape; the caller promised the pages.
    unsafe { device.launch(kernel, Grid::new(blocks, 128), &arguments) }
}
