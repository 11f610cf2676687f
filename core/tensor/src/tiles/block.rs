//! A block of sums of tiles: two lines of left ones with two of right ones.

#[cfg(target_arch = "x86_64")]
use super::amx;
use super::{SIDE, Tile, portable};
use crate::isa::Isa;

/// Rows and columns of a block.
pub(super) const BLOCK: usize = 2 * SIDE;

/// Lines of tiles of one length. Where there is one line only, it is named twice.
#[derive(Clone, Copy)]
pub(super) struct Lines<'a> {
    pub left: [&'a [Tile]; 2],
    pub right: [&'a [Tile]; 2],
    /// Tiles of each number.
    pub parts: usize,
}

/// Where a block goes.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub out: *mut f32,
    pub stride: usize,
    pub rows: usize,
    pub columns: usize,
}

/// What computes blocks: this thread's tile registers, or numbers.
pub(super) struct Blocks {
    isa: Isa,
    #[cfg(target_arch = "x86_64")]
    registers: Option<amx::Registers>,
}

/// Sums of a block that is not whole.
#[cfg(target_arch = "x86_64")]
#[repr(C, align(64))]
struct Own([f32; BLOCK * BLOCK]);

impl Blocks {
    pub fn new(isa: Isa) -> Self {
        Self {
            isa,
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Isa::available` has asked.
            registers: (isa == Isa::Amx).then(|| unsafe { amx::Registers::shaped() }),
        }
    }

    /// Computes a block, or adds it to what stands there.
    ///
    /// # Safety
    /// The target is memory that nobody else writes; the lines are of one length.
    pub unsafe fn compute(&self, lines: Lines<'_>, target: Target, accumulate: bool) {
        #[cfg(target_arch = "x86_64")]
        if let Some(registers) = &self.registers {
            // SAFETY: passed on.
            return unsafe { by_registers(registers, lines, target, accumulate) };
        }
        // SAFETY: passed on.
        unsafe { by_numbers(self.isa, lines, target, accumulate) };
    }
}

#[cfg(target_arch = "x86_64")]
unsafe fn by_registers(
    registers: &amx::Registers,
    lines: Lines<'_>,
    target: Target,
    accumulate: bool,
) {
    let Target {
        out,
        stride,
        rows,
        columns,
    } = target;
    let left = lines.left.map(<[Tile]>::as_ptr);
    let right = lines.right.map(<[Tile]>::as_ptr);
    let count = (lines.left[0].len() / lines.parts, lines.parts);
    // SAFETY: the target is ours; a block that is not whole is made in memory of our own.
    unsafe {
        if (rows, columns) == (BLOCK, BLOCK) {
            // Asked for while the sums are made, for the next block of the rows.
            for i in 0..BLOCK {
                let next = out.wrapping_add(i * stride + BLOCK);
                amx::prefetch_to_write(next);
                amx::prefetch_to_write(next.wrapping_add(SIDE));
            }
            registers.multiply(left, right, count, (out, stride), accumulate);
            return;
        }
        let mut sums = Own([0.0; BLOCK * BLOCK]);
        if accumulate {
            for (i, sums) in sums.0.chunks_exact_mut(BLOCK).enumerate().take(rows) {
                std::ptr::copy_nonoverlapping(out.add(i * stride), sums.as_mut_ptr(), columns);
            }
        }
        let own = (sums.0.as_mut_ptr(), BLOCK);
        registers.multiply(left, right, count, own, accumulate);
        for (i, sums) in sums.0.chunks_exact(BLOCK).enumerate().take(rows) {
            std::ptr::copy_nonoverlapping(sums.as_ptr(), out.add(i * stride), columns);
        }
    }
}

unsafe fn by_numbers(isa: Isa, lines: Lines<'_>, target: Target, accumulate: bool) {
    for (row, left) in (0..target.rows).step_by(SIDE).zip(lines.left) {
        for (column, right) in (0..target.columns).step_by(SIDE).zip(lines.right) {
            let height = (target.rows - row).min(SIDE);
            let width = (target.columns - column).min(SIDE);
            let mut sums = [[0.0; SIDE]; SIDE];
            // SAFETY: within the target, which is ours.
            let own = |i: usize| unsafe { target.out.add((row + i) * target.stride + column) };
            if accumulate {
                for (i, sums) in sums.iter_mut().enumerate().take(height) {
                    // SAFETY: as above.
                    unsafe { std::ptr::copy_nonoverlapping(own(i), sums.as_mut_ptr(), width) };
                }
            }
            portable::add(isa, left, right, lines.parts, &mut sums);
            for (i, sums) in sums.iter().enumerate().take(height) {
                // SAFETY: as above.
                unsafe { std::ptr::copy_nonoverlapping(sums.as_ptr(), own(i), width) };
            }
        }
    }
}
