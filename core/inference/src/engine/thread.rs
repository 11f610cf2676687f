//! Starts an engine's scheduler with its model, on the CPU or on a GPU.

use std::sync::{Arc, Mutex, PoisonError};

use outcrop_api::Result;
use outcrop_tensor::Pool;

use crate::block_pool::{BlockPool, PAGE_TOKENS};
use crate::cuda::{CudaRunner, RunnerRoom};
use crate::decoder::{Decoder, DecoderRunner};
use crate::decoder_config::DecoderConfig;
use crate::device::Device;
use crate::engine_options::EngineOptions;
use crate::engine_thread::EngineThread;
use crate::kv_cache::KvCache;
use crate::scheduler::{Scheduler, StepLimits};
use crate::speculation::Speculator;
use crate::weights::Checkpoint;

/// A decoder, and the one that guesses ahead for it.
type Decoders = (Arc<Decoder>, Option<Arc<Decoder>>);

/// The engine's scheduler thread, which starts at the first call.
///
/// # Errors
/// What the GPU refuses, where the options ask for one.
pub(crate) fn start(
    decoders: Decoders,
    kv_tokens: usize,
    options: &EngineOptions,
) -> Result<EngineThread> {
    let limits = StepLimits {
        max_batch: options.max_batch,
        step_tokens: options.step_tokens,
    };
    match options.device {
        Device::Cpu => Ok(on_cpu(decoders, kv_tokens, options, limits)),
        Device::Cuda(ordinal) => on_gpu(decoders, kv_tokens, options, (limits, ordinal)),
    }
}

fn on_cpu(
    (decoder, draft): Decoders,
    kv_tokens: usize,
    options: &EngineOptions,
    limits: StepLimits,
) -> EngineThread {
    let (threads, kv_dtype) = (options.threads, options.kv_dtype);
    EngineThread::new(options.max_batch + options.queue, move |inbox| {
        let (decoder, draft) = (decoder.clone(), draft.clone());
        std::thread::Builder::new()
            .name("outcrop-engine".to_owned())
            .spawn(move || {
                let blocks = BlockPool::new(kv_tokens);
                let pool = threads.map(|threads| Arc::new(Pool::new(threads)));
                let runner = |decoder: Arc<Decoder>| {
                    let cache = KvCache::of_dtype(decoder.config(), blocks.capacity(), kv_dtype);
                    DecoderRunner::new(decoder, cache, pool.clone())
                };
                let speculator = Speculator::new(draft.map(|draft| Box::new(runner(draft)) as _));
                let model = runner(decoder);
                Scheduler::new(model, speculator, inbox, blocks, limits).run();
            })
    })
}

/// A decoder's weights, laid out for where it computes.
pub(crate) fn load_decoder(
    config: DecoderConfig,
    checkpoint: &Checkpoint,
    device: Device,
) -> Result<Decoder> {
    match device {
        Device::Cpu => Decoder::load(config, checkpoint),
        Device::Cuda(_) => Decoder::load_stored(config, checkpoint),
    }
}

/// What a model needs on a GPU is taken at once, so that it is there or refused.
fn on_gpu(
    (decoder, draft): Decoders,
    kv_tokens: usize,
    options: &EngineOptions,
    (limits, ordinal): (StepLimits, usize),
) -> Result<EngineThread> {
    let room = RunnerRoom {
        pages: kv_tokens.div_ceil(PAGE_TOKENS),
        kv_dtype: options.kv_dtype,
        rows: options.step_tokens,
        sequences: options.max_batch,
    };
    let runner = |decoder| CudaRunner::new(decoder, ordinal, room);
    let runners = (runner(decoder)?, draft.map(runner).transpose()?);
    let runners = Mutex::new(Some(runners));
    Ok(EngineThread::new(
        options.max_batch + options.queue,
        move |inbox| {
            let mut runners = runners.lock().unwrap_or_else(PoisonError::into_inner);
            let (model, draft) = runners.take().ok_or_else(|| {
                std::io::Error::other(
                    "a GPU cannot be used by a forked process: open the model in it anew",
                )
            })?;
            std::thread::Builder::new()
                .name("outcrop-engine".to_owned())
                .spawn(move || {
                    let blocks = BlockPool::new(kv_tokens);
                    let speculator = Speculator::new(draft.map(|draft| Box::new(draft) as _));
                    Scheduler::new(model, speculator, inbox, blocks, limits).run();
                })
        },
    ))
}
