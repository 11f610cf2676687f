//! Dtypes, quantised blocks, buffers, and the operations on them on the CPU.
//!
//! Every operation has a fixed order of reduction: the bits of an output depend on its own row
//! and column only, never on the number of rows, the tiling, the number of threads or the
//! instruction set. All forms (AVX-512 with and without VNNI, AVX2, NEON, portable) compute the same
//! chain of fused multiply-adds, of floats or of exact sums of integers, so they agree to the bit. One
//! thing is apart: F32 products of training are sums of bfloat16 products where
//! there is AMX (`tiles`), nearer to the exact ones than chains are; `OUTCROP_ISA=vnni` gives the others' bits.

mod activation;
mod aligned;
mod attention;
mod blocks;
mod bytes;
pub mod cuda;
mod dtype;
mod error;
mod feed_forward;
#[cfg(target_arch = "x86_64")]
mod formats;
mod gradient;
mod interleave;
mod isa;
mod kv_rows;
mod lanes;
mod linear;
mod map_file;
mod matmul;
mod norm;
mod packed_attention;
mod panel_block;
mod panels;
mod pool;
mod quantize;
mod quantized;
mod row_tiles;
pub mod search;
mod self_attention;
#[cfg(target_arch = "x86_64")]
mod simd;
mod tiles;
mod vector;
mod weight;

pub use activation::Gate;
pub use attention::{AttentionArgs, KvPages};
pub use bytes::Bytes;
pub use dtype::DType;
pub use error::TensorError;
pub use feed_forward::FeedForward;
pub use gradient::{AdamwRows, AdamwStep};
pub use linear::Projection;
pub use map_file::map_file;
pub use matmul::{Matrix, Panels, Precision, Product};
pub use packed_attention::PackedAttention;
pub use pool::{Pool, give_way};
pub use self_attention::SelfAttentionArgs;
pub use weight::Weight;

/// The operations. Slices are row-major; a slice whose length does not fit is a fault of the
/// caller and panics before anything is read.
pub mod ops {
    pub use crate::activation::{
        clamped_swiglu, gelu_in_place, gelu_mul, gelu_tanh_in_place, gelu_tanh_mul, silu_in_place,
        silu_mul, soft_cap_in_place, softmax_in_place, tanh_in_place,
    };
    pub use crate::attention::{attention, attention_batch, halve_kv, quantize_kv};
    pub use crate::feed_forward::feed_forward;
    pub use crate::gradient::{
        adamw, column_sums, exp_less, gate_backward, gelu_backward, layer_norm_backward,
        rms_norm_backward, softmax_backward, softmax_log_sum, square_sum,
    };
    pub use crate::linear::{linear, linear_many};
    pub use crate::matmul::{matmul, matmul_panels};
    pub use crate::norm::{add_layer_norm, layer_norm, layer_norm_in_place, rms_norm};
    pub use crate::packed_attention::{packed_attention, packed_attention_backward};
    pub use crate::self_attention::self_attention;
    pub use crate::vector::{add_in_place, axpy, dot, multiply_in_place, scale_in_place, sum_into};
}
