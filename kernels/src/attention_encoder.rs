//! Launches of `attention_encoder.cu`: attention within whole sequences, to both sides.

use crate::{CudaError, Device, Grid, Kernel, Parameters, View, ViewMut};

/// Tokens of a tile, and keys of a step.
const TILE: usize = 64;

/// Whether the kernel serves heads of this length.
pub fn attention_encoder_serves(head_dim: usize) -> bool {
    [32, 64, 96, 128].contains(&head_dim)
}

/// Cuts sequences of these lengths, one behind the other, into tiles for [`attention_encoder`]. How
/// they are cut changes no bit of a token.
pub fn attention_encoder_tiles(lengths: &[usize]) -> Vec<u32> {
    let (mut tiles, mut first) = (Vec::new(), 0);
    for &length in lengths {
        for start in (0..length).step_by(TILE) {
            let count = TILE.min(length - start);
            let tile = [first + start, count, first, length];
            tiles.extend(tile.map(|number| number as u32));
        }
        first += length;
    }
    tiles
}

/// The attention of several sequences, one behind the other.
#[derive(Debug)]
pub struct EncoderAttention<'a> {
    /// Queries, keys and values, `(tokens, 3, heads, head_dim)`.
    pub qkv: View<'a, f32>,
    /// `(tokens, heads, head_dim)`.
    pub out: ViewMut<'a, f32>,
    /// Those of [`attention_encoder_tiles`], on the device.
    pub tiles: View<'a, u32>,
    /// Tokens of all sequences.
    pub tokens: usize,
    /// Number of heads.
    pub heads: usize,
    /// Length of a head.
    pub head_dim: usize,
    /// How many positions a token sees to either side; `None`: all.
    pub window: Option<usize>,
    /// Multiplies the scores.
    pub scale: f32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct EncoderAttentionArgs {
    qkv: u64,
    out: u64,
    tiles: u64,
    heads: u32,
    window: u32,
    scale: f32,
    padding: u32,
}

// SAFETY: as the struct of that name in attention_encoder.cu.
unsafe impl Parameters for EncoderAttentionArgs {}

/// Computes the attention of each token within its sequence.
///
/// # Errors
/// [`CudaError::Shape`] for heads that [`attention_encoder_serves`] does not name, a window of nothing,
/// or views that are too short; what the driver says.
pub fn attention_encoder(
    device: &Device,
    attention: EncoderAttention<'_>,
) -> Result<(), CudaError> {
    let &EncoderAttention {
        tokens,
        heads,
        head_dim,
        ..
    } = &attention;
    let width = heads * head_dim;
    let enough = attention.qkv.len >= 3 * tokens * width
        && attention.out.len >= tokens * width
        && attention.tiles.len.is_multiple_of(4)
        && attention.tiles.address.is_multiple_of(16);
    if !enough || !attention_encoder_serves(head_dim) || attention.window == Some(0) {
        return Err(CudaError::Shape(format!(
            "attention of an encoder's {tokens} tokens, {heads} heads of {head_dim}, window {:?}: \
             expected heads of 32, 64, 96 or 128, a window of at least 1, and views of that size",
            attention.window
        )));
    }
    let arguments = EncoderAttentionArgs {
        qkv: attention.qkv.address,
        out: attention.out.address,
        tiles: attention.tiles.address,
        heads: heads as u32,
        // Beyond 2^30 no sequence reaches, and sums with positions stay in range.
        window: attention.window.map_or(0, |w| w.min(1 << 30) as u32),
        scale: attention.scale,
        padding: 0,
    };
    let name = match head_dim {
        32 => "attention_encoder_32",
        64 => "attention_encoder_64",
        96 => "attention_encoder_96",
        _ => "attention_encoder_128",
    };
    let kernel = Kernel {
        file: "attention_encoder",
        name,
    };
    let grid = Grid {
        blocks: ((attention.tiles.len / 4) as u32, heads as u32, 1),
        threads: 128,
        shared: (3 * TILE * (2 * head_dim + 16)) as u32,
    };
    // SAFETY: the lengths were held against the shape; the caller promised the tiles.
    unsafe { device.launch(kernel, grid, &arguments) }
}
