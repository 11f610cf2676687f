//! Launches of `attention_sm90.cu`: prefill attention by the tensor copies and products of Hopper.

use cudarc::driver::sys;

use crate::attention::tiles_of;
use crate::device::failed;
use crate::{CudaError, Device, Grid, Kernel, KvFormat, KvPool, PagedAttention, Parameters, View};

/// Rows of a tile, and keys of a step.
const ROWS: usize = 128;
/// Tokens of a copy; a page is a multiple of them.
const BOX_TOKENS: usize = 32;
/// Columns of a copy: 128 bytes, which its swizzle covers.
const BOX_COLUMNS: usize = 64;

/// Whether the form for Hopper serves this: GPUs of capability 9.0, 16-bit caches, heads of 64 and 128.
pub fn attention_sm90_serves(
    capability: (i32, i32),
    format: KvFormat,
    head_dim: usize,
    group: usize,
) -> bool {
    capability == (9, 0)
        && matches!(format, KvFormat::F16 | KvFormat::BF16)
        && [64, 128].contains(&head_dim)
        && (1..=ROWS).contains(&group)
}

/// Cuts a step's rows into tiles for [`attention_sm90`], as [`crate::attention_tiles`] does.
pub fn attention_sm90_tiles(sequences: &[u32], positions: &[u32], group: usize) -> Vec<u32> {
    tiles_of(ROWS, sequences, positions, group)
}

/// What the driver makes of a tensor: a `CUtensorMap`.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct TensorMap([u64; 16]);

#[repr(C)]
#[derive(Clone, Copy)]
struct AttentionSm90Args {
    keys: TensorMap,
    values: TensorMap,
    queries: u64,
    sinks: u64,
    out: u64,
    tiles: u64,
    pages: u64,
    starts: u64,
    page_tokens: u32,
    page_count: u32,
    heads: u32,
    kv_heads: u32,
    window: u32,
    scale: f32,
    cap: f32,
    padding: [u32; 9],
}

// SAFETY: as the struct of that name in attention_sm90.cu, filled up to a multiple of its alignment.
unsafe impl Parameters for AttentionSm90Args {}

/// Describes one side (keys, or values) of the pool's layer as `(page, token, head, column)`.
fn describe(pool: &KvPool<'_>, address: u64) -> Result<TensorMap, CudaError> {
    let mut map = sys::CUtensorMap { opaque: [0; 16] };
    let kind = match pool.format {
        KvFormat::BF16 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        _ => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
    };
    let (columns, bytes) = (pool.head_dim as u64, pool.page_bytes() as u64);
    let (heads, tokens) = (pool.kv_heads as u64, pool.page_tokens as u64);
    let sizes = [columns, heads, tokens, pool.bytes.len as u64 / bytes];
    let strides = [2 * columns, 2 * columns * heads, bytes];
    let boxed = [BOX_COLUMNS as u32, 1, BOX_TOKENS as u32, 1];
    let steps = [1u32; 4];
    // SAFETY: the arrays have the tensor's four sizes, three strides, and four numbers of the box; the
    // driver only reads them, and the address only from the kernels that are given the map.
    unsafe {
        sys::cuTensorMapEncodeTiled(
            &mut map,
            kind,
            4,
            address as *mut std::ffi::c_void,
            sizes.as_ptr(),
            strides.as_ptr(),
            boxed.as_ptr(),
            steps.as_ptr(),
            sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
            sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    }
    .result()
    .map_err(|e| failed("cuTensorMapEncodeTiled", e))?;
    Ok(TensorMap(map.opaque))
}

/// Computes the attention of each row as [`crate::attention_prefill`] does, up to rounding: a row's bits
/// depend on the row alone, but they are not those of [`crate::attention_decode`]. Places of the cache
/// that no position fills hold numbers, not NaN: a new cache is zeroed.
///
/// # Errors
/// [`CudaError::Shape`] for what [`attention_sm90_serves`] does not name, and views that are too short;
/// what the driver says.
pub fn attention_sm90(
    device: &Device,
    pool: KvPool<'_>,
    attention: PagedAttention<'_>,
    tiles: View<'_, u32>,
) -> Result<(), CudaError> {
    let PagedAttention { rows, heads, .. } = attention;
    let width = heads * pool.head_dim;
    let enough = attention.queries.len >= rows * width
        && attention.out.len >= rows * width
        && attention.sinks.is_none_or(|sinks| sinks.len >= heads)
        && tiles.address.is_multiple_of(16)
        && tiles.len.is_multiple_of(4);
    let groups = pool.kv_heads > 0 && heads.is_multiple_of(pool.kv_heads);
    let capability = device.info().capability;
    let group = heads / pool.kv_heads.max(1);
    if !enough || !groups || !attention_sm90_serves(capability, pool.format, pool.head_dim, group) {
        return Err(CudaError::Shape(format!(
            "attention for Hopper of {rows} rows of {heads} heads over {} of {} elements in {:?}, \
             on a GPU of capability {capability:?}: expected (9, 0), 16-bit floats, 64 or 128 \
             elements, and views of that size",
            pool.kv_heads, pool.head_dim, pool.format
        )));
    }
    let places = pool.arguments(rows)?;
    let keys = places.keys();
    let arguments = AttentionSm90Args {
        keys: describe(&pool, keys)?,
        values: describe(&pool, keys + places.half_bytes())?,
        queries: attention.queries.address,
        sinks: attention.sinks.map_or(0, |sinks| sinks.address),
        out: attention.out.address,
        tiles: tiles.address,
        pages: pool.pages.address,
        starts: pool.starts.address,
        page_tokens: pool.page_tokens as u32,
        page_count: (pool.bytes.len / pool.page_bytes()) as u32,
        heads: heads as u32,
        kv_heads: pool.kv_heads as u32,
        window: attention
            .window
            .map_or(0, |w| w.min(u32::MAX as usize) as u32),
        scale: attention.scale,
        cap: attention.soft_cap.unwrap_or(0.0),
        padding: [0; 9],
    };
    let name = match (pool.format, pool.head_dim) {
        (KvFormat::BF16, 64) => "attention_sm90_bf16_64",
        (KvFormat::BF16, _) => "attention_sm90_bf16_128",
        (_, 64) => "attention_sm90_f16_64",
        (_, _) => "attention_sm90_f16_128",
    };
    let kernel = Kernel {
        file: "attention_sm90",
        name,
    };
    let grid = Grid {
        blocks: ((tiles.len / 4) as u32, pool.kv_heads as u32, 1),
        threads: 384,
        shared: (5 * ROWS * pool.head_dim * 2) as u32,
    };
    // SAFETY: the lengths were held against the shape; the caller promised the pages and the tiles.
    unsafe { device.launch(kernel, grid, &arguments) }
}
