//! Hand-written CUDA kernels, one file an operation, with a typed launcher beside each.
//!
//! `kernels/cuda/<operation>.cu` computes, `kernels/src/<operation>.rs` checks shapes and launches.
//! The driver is opened at run time: [`probe`] says what is there, or why nothing is. Every kernel
//! has one order of reduction for each output, whatever else is in the launch, so that a row's bits
//! depend on that row only.

mod activation;
mod attention;
mod attention_encoder;
mod attention_sm90;
mod buffer;
mod device;
mod embedding;
mod error;
mod experts;
mod graph;
mod images;
mod kv_write;
mod linear;
mod norm;
mod packs;
mod paged_attention;
mod probe;
mod rotary;
mod sample;
mod search;

pub use activation::{Gated, finish_logits, gated};
pub use attention::{
    ATTENTION_CHUNK, DecodeRoom, attention_decode, attention_prefill, attention_serves,
    attention_tiles,
};
pub use attention_encoder::{
    EncoderAttention, attention_encoder, attention_encoder_serves, attention_encoder_tiles,
};
pub use attention_sm90::{attention_sm90, attention_sm90_serves, attention_sm90_tiles};
pub use buffer::{Buffer, Element, Pinned, View, ViewMut};
pub use device::{Device, Grid, Kernel, Parameters};
pub use embedding::{Gather, gather_rows};
pub use error::CudaError;
pub use experts::{ExpertLinear, Routing, add_experts, expert_linear, route};
pub use graph::Graph;
pub use images::{check_images, use_images};
pub use kv_write::{KvFormat, KvPool, KvWrite, kv_write};
pub use linear::{Format, Linear, Matrix, linear};
pub use norm::{Norm, layer_norm, rms_norm};
pub use packs::{image_architectures, image_bytes};
pub use paged_attention::{PagedAttention, paged_attention};
pub use probe::{DeviceInfo, Driver, MIN_DRIVER, probe};
pub use rotary::{Rotary, rotary};
pub use sample::{Choices, LogprobRow, MOST_LOGPROBS, NO_MASK, SampleRow, logprobs, sample};
pub use search::{MOST_NEIGHBOURS, Metric, Neighbour, Search, SearchRows, VectorFormat};
