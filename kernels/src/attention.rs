//! Launches of `attention.cu`: attention over the paged cache on tensor cores.

use crate::kv_write::KvPoolArgs;
use crate::{
    CudaError, Device, Grid, Kernel, KvFormat, KvPool, PagedAttention, Parameters, View, ViewMut,
};

/// Rows, that is queries of heads that share keys, of a tile of prefill.
const TILE_ROWS: usize = 64;
/// Rows of a tile of decode.
const DECODE_ROWS: usize = 16;
/// Keys of a step.
const KEYS: usize = 64;
/// Positions whose part of the softmax a block of decode computes.
pub const ATTENTION_CHUNK: usize = 512;

/// Whether the tensor-core forms serve heads of this length, in groups of `group` that share keys, over
/// a cache of this format; [`crate::paged_attention`] serves the rest.
pub fn attention_serves(format: KvFormat, head_dim: usize, group: usize) -> bool {
    format != KvFormat::F32
        && [64, 96, 128, 256].contains(&head_dim)
        && (1..=DECODE_ROWS).contains(&group)
}

/// Cuts a step's rows into tiles for [`attention_prefill`]: see [`tiles_of`].
pub fn attention_tiles(sequences: &[u32], positions: &[u32], group: usize) -> Vec<u32> {
    tiles_of(TILE_ROWS, sequences, positions, group)
}

/// Cuts a step's rows into tiles of up to `tile_rows` rows, each `(first row, rows, position,
/// sequence)`: rows of one sequence at successive positions, as many as `group` heads leave room for.
/// How they are cut changes no bit of a row.
pub(crate) fn tiles_of(
    tile_rows: usize,
    sequences: &[u32],
    positions: &[u32],
    group: usize,
) -> Vec<u32> {
    let most = (tile_rows / group.max(1)).max(1);
    let mut tiles: Vec<u32> = Vec::new();
    for (row, (&sequence, &position)) in sequences.iter().zip(positions).enumerate() {
        if let Some([_, tokens, first, of]) = tiles.last_chunk_mut::<4>()
            && *of == sequence
            && *first + *tokens == position
            && (*tokens as usize) < most
        {
            *tokens += 1;
            continue;
        }
        tiles.extend([row as u32, 1, position, sequence]);
    }
    tiles
}

/// Where [`attention_decode`] keeps the parts of the softmax.
#[derive(Debug)]
pub struct DecodeRoom<'a> {
    /// `(rows, heads, chunks, head_dim)`.
    pub parts: ViewMut<'a, f32>,
    /// `(rows, heads, chunks, 2)`.
    pub weights: ViewMut<'a, f32>,
    /// Chunks of [`ATTENTION_CHUNK`] positions that a row may have: its position is below all of them.
    /// More than there are costs a block each that ends at once.
    pub chunks: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct AttentionArgs {
    pool: KvPoolArgs,
    queries: u64,
    sinks: u64,
    out: u64,
    tiles: u64,
    parts: u64,
    weights: u64,
    heads: u32,
    window: u32,
    chunks: u32,
    rows: u32,
    scale: f32,
    cap: f32,
}

// SAFETY: as the struct of that name in attention.cu, without padding.
unsafe impl Parameters for AttentionArgs {}

fn arguments(
    pool: &KvPool<'_>,
    attention: &PagedAttention<'_>,
) -> Result<AttentionArgs, CudaError> {
    let &PagedAttention { rows, heads, .. } = attention;
    let width = heads * pool.head_dim;
    let enough = attention.queries.len >= rows * width
        && attention.out.len >= rows * width
        && attention.sinks.is_none_or(|sinks| sinks.len >= heads);
    let groups = pool.kv_heads > 0 && heads.is_multiple_of(pool.kv_heads);
    if !enough || !groups || !attention_serves(pool.format, pool.head_dim, heads / pool.kv_heads) {
        return Err(CudaError::Shape(format!(
            "attention on tensor cores of {rows} rows of {heads} heads over {} of {} elements in \
             {:?}: expected 64, 96, 128 or 256 elements, up to {DECODE_ROWS} heads that share \
             keys, 16-bit or 8-bit floats, and views of that size",
            pool.kv_heads, pool.head_dim, pool.format
        )));
    }
    Ok(AttentionArgs {
        pool: pool.arguments(rows)?,
        queries: attention.queries.address,
        sinks: attention.sinks.map_or(0, |sinks| sinks.address),
        out: attention.out.address,
        tiles: 0,
        parts: 0,
        weights: 0,
        heads: heads as u32,
        window: attention
            .window
            .map_or(0, |w| w.min(u32::MAX as usize) as u32),
        chunks: 0,
        rows: rows as u32,
        scale: attention.scale,
        cap: attention.soft_cap.unwrap_or(0.0),
    })
}

/// Columns that a block computes, and how many such there are.
fn columns(head_dim: usize) -> (usize, usize) {
    if head_dim > 128 {
        (head_dim / 2, 2)
    } else {
        (head_dim, 1)
    }
}

fn shared_bytes(head_dim: usize, rows: usize) -> u32 {
    let stride = |width: usize| 2 * width + 16;
    ((rows + KEYS) * stride(head_dim) + KEYS * stride(columns(head_dim).0)) as u32
}

fn named(prefill: bool, pool: &KvPool<'_>) -> Kernel {
    macro_rules! names {
        ($form:literal) => {
            match pool.head_dim {
                64 => concat!($form, "_64"),
                96 => concat!($form, "_96"),
                128 => concat!($form, "_128"),
                _ => concat!($form, "_256"),
            }
        };
    }
    let name = match (prefill, pool.format) {
        (true, KvFormat::BF16) => names!("attention_prefill_bf16"),
        (true, KvFormat::E4M3) => names!("attention_prefill_e4m3"),
        (true, _) => names!("attention_prefill_f16"),
        (false, KvFormat::BF16) => names!("attention_decode_bf16"),
        (false, KvFormat::E4M3) => names!("attention_decode_e4m3"),
        (false, _) => names!("attention_decode_f16"),
    };
    Kernel {
        file: "attention",
        name,
    }
}

/// Computes the attention of each row over its sequence's positions up to its own, which are written.
/// `tiles` are those of [`attention_tiles`], on the device. Each row has the bits that
/// [`attention_decode`] gives it.
///
/// # Errors
/// [`CudaError::Shape`] for shapes that [`attention_serves`] does not name, views that are too short
/// or tiles that are not aligned to 16 bytes; what the driver says.
pub fn attention_prefill(
    device: &Device,
    pool: KvPool<'_>,
    attention: PagedAttention<'_>,
    tiles: View<'_, u32>,
) -> Result<(), CudaError> {
    let mut arguments = arguments(&pool, &attention)?;
    if !tiles.address.is_multiple_of(16) || !tiles.len.is_multiple_of(4) {
        return Err(CudaError::Shape(format!(
            "tiles of attention: expected four words each, aligned to 16 bytes, got {} words",
            tiles.len
        )));
    }
    arguments.tiles = tiles.address;
    let halves = columns(pool.head_dim).1;
    let grid = Grid {
        blocks: ((tiles.len / 4) as u32, (pool.kv_heads * halves) as u32, 1),
        threads: 128,
        shared: shared_bytes(pool.head_dim, TILE_ROWS),
    };
    // SAFETY: the lengths were held against the shape; the caller promised the pages and the tiles.
    unsafe { device.launch(named(true, &pool), grid, &arguments) }
}

/// As [`attention_prefill`], each row by itself and each chunk of its positions in a block: for few
/// rows over many positions.
///
/// # Errors
/// As [`attention_prefill`].
pub fn attention_decode(
    device: &Device,
    pool: KvPool<'_>,
    attention: PagedAttention<'_>,
    room: DecodeRoom<'_>,
) -> Result<(), CudaError> {
    let &PagedAttention { rows, heads, .. } = &attention;
    let mut arguments = arguments(&pool, &attention)?;
    let parts = rows * heads * room.chunks;
    if room.parts.len < parts * pool.head_dim || room.weights.len < parts * 2 || room.chunks == 0 {
        return Err(CudaError::Shape(format!(
            "room for {} chunks of attention of {rows} rows of {heads} heads: expected {} and {} \
             numbers, got {} and {}",
            room.chunks,
            parts * pool.head_dim,
            parts * 2,
            room.parts.len,
            room.weights.len
        )));
    }
    (arguments.parts, arguments.weights) = (room.parts.address, room.weights.address);
    arguments.chunks = room.chunks as u32;
    let halves = columns(pool.head_dim).1;
    let grid = Grid {
        blocks: (
            room.chunks as u32,
            (pool.kv_heads * halves) as u32,
            rows as u32,
        ),
        threads: 32,
        shared: shared_bytes(pool.head_dim, DECODE_ROWS),
    };
    let join = Kernel {
        file: "attention",
        name: "attention_join",
    };
    let joins = Grid::new((heads as u32, rows as u32, 1), pool.head_dim as u32);
    // SAFETY: the lengths were held against the shape; the caller promised the pages.
    unsafe {
        device.launch(named(false, &pool), grid, &arguments)?;
        device.launch(join, joins, &arguments)
    }
}
