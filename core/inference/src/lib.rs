//! From messages to tokens: weights, tokenizer, chat template, decoder and encoder, paged KV cache, scheduler, sampler.
