//! What tells one model's weights from another's, without reading them all.

use std::fmt::Write;

use crate::weights::Checkpoint;

/// Most bytes of a tensor that count at its beginning, and again at its end.
const SAMPLE: usize = 4096;

/// The identity of a model's weights and of how its keys and values are stored: a hash of every
/// tensor's name, shape and dtype and of samples of its bytes, the files' length, and `kv_dtype`.
pub(crate) fn identity(checkpoint: &Checkpoint, kv_dtype: &str) -> String {
    let mut hash = Fnv::default();
    for (name, shape, dtype, bytes) in checkpoint.tensors() {
        hash.add(name.as_bytes());
        hash.add(format!("{shape:?} {dtype}").as_bytes());
        let sample = SAMPLE.min(bytes.len());
        hash.add(&bytes[..sample]);
        hash.add(&bytes[bytes.len() - sample..]);
    }
    let mut identity = String::new();
    // Writing to a text cannot fail.
    let _ = write!(
        identity,
        "{:032x}-{}-{kv_dtype}",
        hash.0,
        checkpoint.bytes()
    );
    identity
}

/// FNV-1a of 128 bits.
struct Fnv(u128);

impl Default for Fnv {
    fn default() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().chain(&[0xff]) {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b);
        }
    }
}
