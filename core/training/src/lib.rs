//! Fine-tuning and distillation: data set, backward pass, LoRA, optimizer, checkpoint.

mod batch;
mod decoder;
mod layers;
mod optimizer;
mod parameters;
mod random;

pub use batch::{Batch, NO_TARGET};
pub use decoder::{Decoder, DropoutKey, LowRankOptions, Room, Trained};
pub use optimizer::{AdamW, AdamWOptions};
pub use parameters::{Parameters, Tensor};
pub use random::Random;
