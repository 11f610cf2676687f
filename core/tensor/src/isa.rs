//! Which instructions this machine has, asked once, and the macro that compiles a body for each.

use std::sync::OnceLock;

/// A set of instructions that operations are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    /// Whatever the target guarantees.
    Portable,
    /// AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// The same with VNNI.
    #[cfg(target_arch = "x86_64")]
    Vnni,
    /// The same with tiles of bfloat16 and of bytes (AMX).
    #[cfg(target_arch = "x86_64")]
    Amx,
    /// NEON, which every 64-bit ARM has.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Isa {
    /// The best that this machine has, or the lower one that `OUTCROP_ISA` (`portable`, `avx2`,
    /// `avx512`, `vnni`, `amx`, `neon`) names, to measure it: results are the same to the bit.
    pub(crate) fn best() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| {
            let wanted = std::env::var("OUTCROP_ISA").unwrap_or_default();
            let all = Isa::available();
            let named = all
                .iter()
                .find(|isa| format!("{isa:?}").eq_ignore_ascii_case(&wanted));
            named.or(all.last()).copied().unwrap_or(Isa::Portable)
        })
    }

    /// Whether it multiplies tiles, of bfloat16 among others.
    pub(crate) fn has_tiles(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => true,
            _ => false,
        }
    }

    /// All that this machine has, the best last.
    pub(crate) fn available() -> Vec<Isa> {
        #[allow(unused_mut)]
        let mut all = vec![Isa::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            let avx2 = has!("avx2") && has!("fma") && has!("f16c");
            if avx2 {
                all.push(Isa::Avx2);
            }
            if avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") {
                all.push(Isa::Avx512);
                if has!("avx512vnni") {
                    all.push(Isa::Vnni);
                    if crate::tiles::amx::is_available() {
                        all.push(Isa::Amx);
                    }
                }
            }
        }
        #[cfg(target_arch = "aarch64")]
        all.push(Isa::Neon);
        all
    }
}

/// Defines `fn name(isa, ..)`, which runs `body(..)` (an `#[inline(always)]` function) as compiled
/// for `isa`. The compiler may not reorder float arithmetic, so every form gives the same bits.
macro_rules! versions {
    ($vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:path) => {
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(isa: $crate::isa::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,f16c")]
                unsafe fn avx2($($arg: $ty),*) $(-> $ret)? { $body($($arg),*) }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
                unsafe fn avx512($($arg: $ty),*) $(-> $ret)? { $body($($arg),*) }
                match isa {
                    // SAFETY: `Isa::available` found these instructions on this machine.
                    $crate::isa::Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    // SAFETY: as above.
                    $crate::isa::Isa::Avx512 | $crate::isa::Isa::Vnni | $crate::isa::Isa::Amx => {
                        return unsafe { avx512($($arg),*) };
                    }
                    $crate::isa::Isa::Portable => {}
                }
            }
            let _ = isa;
            $body($($arg),*)
        }
    };
}
pub(crate) use versions;
