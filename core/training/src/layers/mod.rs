//! The layers of a transformer, each with its forward and its backward half.
//!
//! Here, and in the operations of `outcrop_tensor` that these call, all arithmetic of a pass is
//! done: a pass names the layers, and holds no loop over numbers of its own.

pub(crate) mod contrastive;
pub(crate) mod embedding;
pub(crate) mod gated;
pub(crate) mod gelu;
pub(crate) mod layer_norm;
pub(crate) mod linear;
pub(crate) mod loss;
pub(crate) mod low_rank;
pub(crate) mod norm;
pub(crate) mod pooling;
pub(crate) mod rotary;
pub(crate) mod rows;
