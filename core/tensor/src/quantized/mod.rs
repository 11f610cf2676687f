//! Products of quantised weights by quantised activations.
//!
//! Activations are rounded row by row to signed bytes with one scale for 32 ([`activations::Narrow`]).
//! Weights lie in panels of sixteen rows ([`packed`]), so that one register holds four codes each
//! of sixteen outputs. The products of a block of codes are summed as integers, exactly; the sums
//! of the blocks join an output's float by fused multiply-adds in order of the blocks. An output
//! is one such chain, whatever the tile, the threads or the instructions, so its bits depend on
//! its own row of activations and row of weights only.

mod activations;
mod format;
mod lanes;
#[cfg(target_arch = "aarch64")]
mod neon;
mod packed;
mod repack;
mod tile;
pub(crate) mod wide;
#[cfg(target_arch = "x86_64")]
mod x86;

use activations::Narrow;
pub(crate) use packed::Packed;
pub(crate) use tile::{Columns, run};

/// Elements of a block: what shares one scale of the activations.
pub(crate) const BLOCK: usize = 32;

/// Rows of activations as the kernels of this module read them.
pub(crate) type Activations<'a> = activations::Activations<'a, Narrow, BLOCK>;

/// Rows of weights that lie side by side.
pub(crate) const PANEL: usize = 16;

/// Bytes of one line of a panel: four elements of sixteen rows.
const LINE: usize = 64;
