//! From messages to tokens: weights, tokenizer, chat template, decoder and encoder, paged KV cache, scheduler, sampler.

mod backbone;
mod backlog;
mod block_pool;
mod cache_account;
mod chat_template;
pub mod conversation;
mod cuda;
mod decoder;
mod decoder_config;
mod decoder_experts;
mod decoder_loader;
mod decoder_weights;
mod dense;
mod detokenizer;
mod device;
mod device_report;
mod draft;
mod encoder;
mod encoder_loader;
mod encoder_model;
mod engine;
mod engine_options;
mod engine_stream;
mod engine_thread;
mod gguf_tokenizer;
mod gpt_oss_experts;
mod grammar;
mod inbox;
mod kv_cache;
mod logprobs;
mod lora;
mod memory_estimate;
mod model_identity;
mod model_kind;
mod own_stack;
mod pair_prompt;
mod pins;
mod pooling;
mod prefix;
mod prefix_index;
mod prompts;
mod reply;
mod rope;
mod sampler;
mod scheduler;
mod score_head;
mod scoring;
mod sentence_transformers;
mod sequence;
mod speculation;
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
    RopeConfig, RopeOrder, RopeScaling, Routing, TensorNames, of_layer,
};
pub use decoder_loader::tensor_place;
pub use decoder_weights::Site;
pub use dense::Precision;
pub use detokenizer::Detokenizer;
pub use device::{Device, DeviceChoice};
pub use device_report::{DeviceEntry, DeviceReport};
pub use encoder::{
    Activation, Biases, ENCODER_ARCHITECTURES, Encoder, EncoderBatch, EncoderConfig,
    LayerAttention, NormOrder, Positions,
};
pub use encoder_model::{EncoderModel, EncoderOptions};
pub use engine::Engine;
pub use engine_options::EngineOptions;
pub use grammar::conforms;
pub use kv_cache::{KvCache, KvDtype};
pub use lora::Adapter;
pub use memory_estimate::estimate;
pub use model_kind::{gguf_kind, model_kind};
pub use own_stack::on_own_stack;
pub use pooling::{Pooling, PoolingMode};
pub use prefix::Prefix;
pub use rope::RotaryEmbedding;
pub use sampler::{Sampler, SamplerScratch};
pub use statistics::EngineStatistics;
pub use step::{Rows, Wanted};
pub use stop::{Passed, StopBuffer};
pub use tokenizer::Tokenizer;
pub use weights::{Checkpoint, GgufArray, GgufValue, ModelSource, WeightsError};
