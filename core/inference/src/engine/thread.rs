//! The thread that an engine's scheduler runs on.

use std::sync::Arc;

use outcrop_tensor::Pool;

use crate::block_pool::BlockPool;
use crate::decoder::{Decoder, DecoderRunner};
use crate::engine_options::EngineOptions;
use crate::engine_thread::EngineThread;
use crate::kv_cache::KvCache;
use crate::scheduler::{Scheduler, StepLimits};
use crate::speculation::Speculator;

/// The engine's scheduler thread, which starts at the first call.
pub(super) fn thread(
    (decoder, draft): (Arc<Decoder>, Option<Arc<Decoder>>),
    kv_tokens: usize,
    options: &EngineOptions,
) -> EngineThread {
    let limits = StepLimits {
        max_batch: options.max_batch,
        step_tokens: options.step_tokens,
    };
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
