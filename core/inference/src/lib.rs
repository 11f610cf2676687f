//! From messages to tokens: weights, tokenizer, chat template, decoder and encoder, paged KV cache, scheduler, sampler.

mod block_pool;
mod chat_template;
mod conversation;
mod decoder;
mod decoder_config;
mod detokenizer;
mod engine;
mod engine_stream;
mod engine_thread;
mod gguf_tokenizer;
mod inbox;
mod kv_cache;
mod rope;
mod sampler;
mod scheduler;
mod sequence;
mod step;
mod stop;
mod tokenizer;
mod tool_calls;
pub mod weights;

pub use block_pool::{BlockPool, BlockTable, PAGE_TOKENS};
pub use chat_template::{ChatTemplate, Clock};
pub use decoder::{Decoder, Scratch};
pub use decoder_config::{ARCHITECTURES, DecoderConfig, RopeConfig, RopeOrder, RopeScaling};
pub use detokenizer::Detokenizer;
pub use engine::{Engine, EngineOptions};
pub use kv_cache::KvCache;
pub use rope::RotaryEmbedding;
pub use sampler::{Sampler, SamplerScratch};
pub use step::{Rows, Wanted};
pub use stop::{Passed, StopBuffer};
pub use tokenizer::Tokenizer;
pub use weights::{Checkpoint, GgufArray, GgufValue, ModelSource, WeightsError};
