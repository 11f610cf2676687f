//! Keys and values of every sequence in flight, in pages on a device.

use outcrop_tensor::cuda::{Buffer, CudaError, Device, KvFormat, KvPool, KvWrite, View, kv_write};

use crate::block_pool::PAGE_TOKENS;
use crate::decoder_config::DecoderConfig;
use crate::kv_cache::KvDtype;

use super::step_rows::{RowNumbers, StepRows};

/// Pages, each of the same bytes as on the CPU. All their memory is taken at once.
#[derive(Debug)]
pub(super) struct DevicePages {
    bytes: Buffer<u8>,
    format: KvFormat,
    page_bytes: usize,
}

impl DevicePages {
    /// `count` pages for a decoder.
    ///
    /// # Errors
    /// [`CudaError::Shape`] for a dtype that is not stored on a device; [`CudaError::OutOfMemory`].
    pub fn new(
        device: &Device,
        config: &DecoderConfig,
        count: usize,
        dtype: KvDtype,
    ) -> Result<Self, CudaError> {
        let format = match dtype {
            KvDtype::F32 => KvFormat::F32,
            KvDtype::F16 => KvFormat::F16,
            KvDtype::Q8_0 => {
                return Err(CudaError::Shape(
                    "kv_dtype: expected F32 or F16 on a GPU, got Q8_0".to_owned(),
                ));
            }
        };
        let page_bytes = 2 * config.layers() * PAGE_TOKENS * config.kv_size() * format.bytes();
        Ok(Self {
            bytes: Buffer::zeroed(device, count * page_bytes)?,
            format,
            page_bytes,
        })
    }

    /// How they store an element.
    pub fn format(&self) -> KvFormat {
        self.format
    }

    /// Bytes of a page.
    pub fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// Appends the bytes of `page` to `out`.
    pub fn read(&self, page: u32, out: &mut Vec<u8>) -> Result<(), CudaError> {
        let start = out.len();
        out.resize(start + self.page_bytes, 0);
        self.bytes
            .read(page as usize * self.page_bytes, &mut out[start..])
    }

    /// Fills `page` with what [`DevicePages::read`] gave.
    pub fn write(&mut self, page: u32, bytes: &[u8]) -> Result<(), CudaError> {
        self.bytes.write(page as usize * self.page_bytes, bytes)
    }

    /// Copies the page `from` to the page `to`.
    pub fn copy(&mut self, from: u32, to: u32) -> Result<(), CudaError> {
        let size = self.page_bytes;
        self.bytes
            .copy_within(from as usize * size, to as usize * size, size)
    }

    /// `layer`'s part of the pages, for the rows of `numbers`.
    pub fn pool<'a>(
        &'a self,
        config: &DecoderConfig,
        layer: usize,
        rows: &'a StepRows,
        numbers: RowNumbers<'a>,
    ) -> Result<KvPool<'a>, CudaError> {
        let (pages, starts) = rows.pages()?;
        Ok(KvPool {
            bytes: self.bytes.view(),
            pages,
            starts,
            sequences: numbers.sequences,
            positions: numbers.positions,
            format: self.format,
            layer: (layer, config.layers()),
            page_tokens: PAGE_TOKENS,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
        })
    }

    /// Writes `layer`'s keys and values of the first `count` rows to their places.
    pub fn store(
        &mut self,
        config: &DecoderConfig,
        layer: usize,
        rows: &StepRows,
        (keys, values, count): (View<'_, f32>, View<'_, f32>, usize),
    ) -> Result<(), CudaError> {
        let device = self.bytes.device().clone();
        let write = KvWrite {
            keys,
            values,
            rows: count,
        };
        let pool = self.pool(config, layer, rows, rows.all()?)?;
        kv_write(&device, pool, write)
    }
}
