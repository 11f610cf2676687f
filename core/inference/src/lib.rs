//! From messages to tokens: weights, tokenizer, chat template, decoder and encoder, paged KV cache, scheduler, sampler.

mod block_pool;
mod cache_account;
mod chat_template;
mod conversation;
mod decoder;
mod decoder_config;
mod decoder_experts;
mod decoder_loader;
mod decoder_weights;
mod detokenizer;
mod encoder;
mod encoder_model;
mod engine;
mod engine_options;
mod engine_stream;
mod engine_thread;
mod gguf_tokenizer;
mod grammar;
mod inbox;
mod kv_cache;
mod logprobs;
mod lora;
mod memory_estimate;
mod own_stack;
mod pooling;
mod prefix_index;
mod prompts;
mod reply;
mod rope;
mod sampler;
mod scheduler;
mod scoring;
mod sequence;
mod statistics;
mod step;
mod step_plan;
mod stop;
mod tokenizer;
mod tool_calls;
mod turn;
mod waiting_queue;
pub mod weights;

pub use block_pool::{BlockPool, BlockTable, PAGE_TOKENS};
pub use chat_template::{ChatTemplate, Clock};
pub use decoder::{Decoder, Scratch};
pub use decoder_config::{
    ARCHITECTURES, DecoderConfig, ExpertsConfig, GatedActivation, NormPlacement, QkNorm,
    RopeConfig, RopeOrder, RopeScaling, Routing,
};
pub use decoder_weights::Site;
pub use detokenizer::Detokenizer;
pub use encoder::{Activation, Encoder, EncoderBatch, EncoderConfig};
pub use encoder_model::EncoderModel;
pub use engine::Engine;
pub use engine_options::EngineOptions;
pub use kv_cache::KvCache;
pub use lora::Adapter;
pub use memory_estimate::estimate;
pub use pooling::Pooling;
pub use rope::RotaryEmbedding;
pub use sampler::{Sampler, SamplerScratch};
pub use statistics::EngineStatistics;
pub use step::{Rows, Wanted};
pub use stop::{Passed, StopBuffer};
pub use tokenizer::Tokenizer;
pub use weights::{Checkpoint, GgufArray, GgufValue, ModelSource, WeightsError};
