//! Fine-tuning and distillation of decoders, contrastive training of encoders: data set, backward pass,
//! LoRA, optimizer, checkpoint.

mod batch;
mod checkpoint;
mod dataset;
mod decoder;
mod encoder;
mod export;
mod layers;
mod memory;
mod optimizer;
mod options;
mod parameters;
mod random;
mod safetensors;
mod schedule;
mod tokenizer;
mod trainable;
mod trainer;

pub use batch::{Batch, NO_TARGET};
pub use dataset::{BadLine, Example, Reader, Side, all_good, read_pairs};
pub use decoder::{Decoder, DropoutKey, LowRankOptions, Room, Trained};
pub use encoder::{EncoderRoom, Pair, SentenceEncoder};
pub use export::NamedFile;
pub use memory::{MemoryPlan, available_memory};
pub use optimizer::{AdamW, AdamWOptions};
pub use options::{EarlyStopping, Precision, TrainingOptions};
pub use parameters::{Parameters, Tensor};
pub use random::Random;
pub use safetensors::to_safetensors;
pub use schedule::{Decay, Schedule};
pub use tokenizer::{TokenizerOptions, TrainedTokenizer, train_tokenizer};
pub use trainable::{StepLoss, Trainable};
pub use trainer::{StepMetrics, Trainer};
