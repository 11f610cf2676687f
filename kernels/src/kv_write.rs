//! Launches of `kv_write.cu`: keys and values to their places in the paged cache.

use crate::{CudaError, Device, Grid, Kernel, Parameters, View};

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KvFormat {
    /// Singles.
    F32,
    /// Halves.
    F16,
    /// The upper halves of singles.
    BF16,
    /// Floats of eight bits, E4M3.
    E4M3,
}

impl KvFormat {
    /// Bytes of an element.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::E4M3 => 1,
        }
    }

    pub(crate) const fn write(self) -> &'static str {
        match self {
            Self::F32 => "kv_write_f32",
            Self::F16 => "kv_write_f16",
            Self::BF16 => "kv_write_bf16",
            Self::E4M3 => "kv_write_e4m3",
        }
    }

    pub(crate) const fn attention(self) -> &'static str {
        match self {
            Self::F32 => "paged_attention_f32",
            Self::F16 => "paged_attention_f16",
            Self::BF16 => "paged_attention_bf16",
            Self::E4M3 => "paged_attention_e4m3",
        }
    }
}

/// A layer's part of a paged cache, and where a step's rows stand in it. A page holds `page_tokens`
/// tokens of all layers; a layer its keys, `(page_tokens, kv_heads, head_dim)`, and behind them its
/// values.
#[derive(Clone, Copy, Debug)]
pub struct KvPool<'a> {
    /// The pages.
    pub bytes: View<'a, u8>,
    /// The sequences' pages, one sequence's behind the other's: all are below the number of pages.
    pub pages: View<'a, u32>,
    /// Where each sequence's pages begin among them.
    pub starts: View<'a, u32>,
    /// Each row's sequence.
    pub sequences: View<'a, u32>,
    /// Each row's position.
    pub positions: View<'a, u32>,
    /// How keys and values are stored.
    pub format: KvFormat,
    /// The layer, and how many there are.
    pub layer: (usize, usize),
    /// Tokens of a page, a multiple of 32.
    pub page_tokens: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Length of a head.
    pub head_dim: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct KvPoolArgs {
    bytes: u64,
    pages: u64,
    starts: u64,
    sequences: u64,
    positions: u64,
    page_bytes: u64,
    layer_at: u64,
    half_bytes: u64,
    page_tokens: u32,
    kv_heads: u32,
    head_dim: u32,
    padding: u32,
}

impl KvPoolArgs {
    /// Address of the layer's keys in the first page.
    pub(crate) fn keys(&self) -> u64 {
        self.bytes + self.layer_at
    }

    /// Bytes from keys to values.
    pub(crate) fn half_bytes(&self) -> u64 {
        self.half_bytes
    }
}

impl KvPool<'_> {
    /// Bytes of a page.
    pub fn page_bytes(&self) -> usize {
        2 * self.layer.1 * self.half_bytes()
    }

    fn half_bytes(&self) -> usize {
        self.page_tokens * self.kv_heads * self.head_dim * self.format.bytes()
    }

    pub(crate) fn arguments(&self, rows: usize) -> Result<KvPoolArgs, CudaError> {
        let is_whole = self.page_tokens.is_multiple_of(32) && self.page_tokens > 0;
        let enough = self.sequences.len >= rows
            && self.positions.len >= rows
            && self.pages.len > 0
            && self.starts.len > 0
            && self.bytes.len >= self.page_bytes()
            && self.layer.0 < self.layer.1;
        if !is_whole || !enough {
            return Err(CudaError::Shape(format!(
                "a paged cache for {rows} rows: {self:?}"
            )));
        }
        Ok(KvPoolArgs {
            bytes: self.bytes.address,
            pages: self.pages.address,
            starts: self.starts.address,
            sequences: self.sequences.address,
            positions: self.positions.address,
            page_bytes: self.page_bytes() as u64,
            layer_at: (2 * self.layer.0 * self.half_bytes()) as u64,
            half_bytes: self.half_bytes() as u64,
            page_tokens: self.page_tokens as u32,
            kv_heads: self.kv_heads as u32,
            head_dim: self.head_dim as u32,
            padding: 0,
        })
    }
}

/// Keys and values of `rows` rows.
#[derive(Debug)]
pub struct KvWrite<'a> {
    /// `(rows, kv_heads, head_dim)`.
    pub keys: View<'a, f32>,
    /// Of the same shape.
    pub values: View<'a, f32>,
    /// Rows.
    pub rows: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct KvWriteArgs {
    pool: KvPoolArgs,
    keys: u64,
    values: u64,
}

// SAFETY: as the struct of that name in kv_write.cu, without padding.
unsafe impl Parameters for KvWriteArgs {}

/// Writes keys and values to the places that `pool` gives their rows. What was given to the device
/// before has read them by then.
///
/// # Errors
/// [`CudaError::Shape`] for views that are too short; what the driver says.
pub fn kv_write(device: &Device, pool: KvPool<'_>, write: KvWrite<'_>) -> Result<(), CudaError> {
    let width = pool.kv_heads * pool.head_dim;
    let rows = write.rows;
    if write.keys.len < rows * width || write.values.len < rows * width {
        return Err(CudaError::Shape(format!(
            "keys and values of {rows} rows of {width}: a view is shorter"
        )));
    }
    let arguments = KvWriteArgs {
        pool: pool.arguments(rows)?,
        keys: write.keys.address,
        values: write.values.address,
    };
    let kernel = Kernel {
        file: "kv_write",
        name: pool.format.write(),
    };
    let blocks = (width.div_ceil(256) as u32, rows as u32, 1);
    // SAFETY: the lengths were held against the shape; the caller promised the pages.
    unsafe { device.launch(kernel, Grid::new(blocks, 256), &arguments) }
}
