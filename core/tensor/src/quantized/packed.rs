//! Quantised matrices in panels.

use memmap2::{Advice, MmapMut};

use super::format::{Format, with_format};
use super::lanes::Portable;
use super::repack::repack;
use super::{BLOCK, LINE, PANEL};
use crate::isa::{Isa, versions};
use crate::{Bytes, DType, Pool};

/// Bytes of stored rows that are packed, and then given back, at a time.
const CHUNK: usize = 8 << 20;

/// A quantised matrix in panels of sixteen rows, the missing rows of the last one zeros.
pub(crate) struct Packed {
    dtype: DType,
    blocks: usize,
    /// Bytes of a panel's lines, and of its lines and scales.
    line_bytes: usize,
    panel_bytes: usize,
    data: MmapMut,
}

/// Sizes of a dtype's panel of `blocks` blocks: bytes of its lines, and of all.
fn panel_bytes(dtype: DType, blocks: usize) -> Option<(usize, usize)> {
    with_format!(
        dtype,
        F => {
            let lines = blocks.checked_mul(F::LINE_BYTES)?;
            let all = (blocks / F::UNIT).checked_mul(F::UNIT_BYTES)?.checked_add(lines)?;
            // Whole lines, so that no load of one crosses a cache line.
            Some((lines, all.checked_next_multiple_of(LINE)?))
        },
        None
    )
}

impl Packed {
    /// Packs the rows of a matrix and gives the pages of a mapped file back as it goes; `None` if
    /// the dtype has no such form or there is no memory.
    pub(crate) fn new(dtype: DType, rows: usize, cols: usize, data: &Bytes) -> Option<Self> {
        let blocks = cols / BLOCK;
        let (line_bytes, panel_bytes) = panel_bytes(dtype, blocks)?;
        let panels = rows.div_ceil(PANEL);
        let mut packed = MmapMut::map_anon(panels.checked_mul(panel_bytes)?).ok()?;
        // Fewer entries of page tables to walk; where the system has none, as well.
        let _ = packed.advise(Advice::HugePage);
        let row_bytes = dtype.row_bytes(cols)?;
        let chunk = (CHUNK / (row_bytes * PANEL)).max(1);
        let isa = Isa::best();
        for (index, part) in packed.chunks_mut(chunk * panel_bytes).enumerate() {
            let first = index * chunk * PANEL * row_bytes;
            let last = (first + chunk * PANEL * row_bytes).min(data.len());
            data.fetch(first..last);
            let stored = &data.as_slice()[first..last];
            Pool::global().run_chunks(part, panel_bytes, |panel, out| {
                let first = panel * PANEL * row_bytes;
                let rows = &stored[first..(first + PANEL * row_bytes).min(stored.len())];
                let (lines, units) = out.split_at_mut(line_bytes);
                repack(isa, dtype, rows, lines, units);
            });
            data.give_back(first..last);
        }
        Some(Self {
            dtype,
            blocks,
            line_bytes,
            panel_bytes,
            data: packed,
        })
    }

    /// The dtype of the codes.
    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// Blocks of a row.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks
    }

    /// The lines of a panel.
    pub(super) fn lines(&self, panel: usize) -> *const u8 {
        self.data[panel * self.panel_bytes..].as_ptr()
    }

    /// The scales of a panel.
    pub(super) fn units(&self, panel: usize) -> *const u8 {
        self.data[panel * self.panel_bytes + self.line_bytes..].as_ptr()
    }

    /// Writes a row as floats, to the bit as the stored blocks give it.
    pub(crate) fn dequantize_row(&self, isa: Isa, row: usize, out: &mut [f32]) {
        let panel = &self.data[row / PANEL * self.panel_bytes..][..self.panel_bytes];
        let (lines, units) = panel.split_at(self.line_bytes);
        unpack_row(isa, self.dtype, lines, units, row % PANEL, out);
    }
}

versions!(fn unpack_row(dtype: DType, lines: &[u8], units: &[u8], lane: usize, out: &mut [f32]) = unpack);

#[inline(always)]
fn unpack(dtype: DType, lines: &[u8], units: &[u8], lane: usize, out: &mut [f32]) {
    with_format!(dtype, F => unpack_format::<F>(lines, units, lane, out), ())
}

/// One lane of a panel as floats.
#[inline(always)]
fn unpack_format<F: Format>(lines: &[u8], units: &[u8], lane: usize, out: &mut [f32]) {
    let blocks = lines.chunks_exact(F::LINE_BYTES);
    for (block, (values, lines)) in out
        .as_chunks_mut::<BLOCK>()
        .0
        .iter_mut()
        .zip(blocks)
        .enumerate()
    {
        let unit = units[block / F::UNIT * F::UNIT_BYTES..][..F::UNIT_BYTES].as_ptr();
        let within = block % F::UNIT;
        for (part, values) in values.chunks_exact_mut(BLOCK / F::PARTS).enumerate() {
            // SAFETY: the unit's scales are there whole.
            let (scale, minimum) = unsafe {
                (
                    F::scales::<Portable>(unit, within, part)[lane],
                    F::minima::<Portable>(unit, within)[lane],
                )
            };
            for (t, values) in values.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                // SAFETY: the block's lines are there whole.
                let line = unsafe { F::line::<Portable>(lines.as_ptr(), part * 8 / F::PARTS + t) };
                for (value, code) in values.iter_mut().zip(&line[4 * lane..]) {
                    let code = i32::from(*code as i8) - if F::SIGNED { 0 } else { F::EXCESS };
                    let scaled = code as f32 * scale;
                    *value = if F::HAS_MINIMA {
                        scaled + minimum
                    } else {
                        scaled
                    };
                }
            }
        }
    }
}
