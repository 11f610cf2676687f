//! Keys and values of every sequence in flight, in pages of [`PAGE_TOKENS`] tokens.

use outcrop_tensor::{AttentionArgs, KvPages, Pool, ops};

use crate::block_pool::PAGE_TOKENS;
use crate::decoder_config::DecoderConfig;
use crate::step::Rows;

/// What a layer's attention is computed by.
#[derive(Clone, Copy, Debug)]
pub struct LayerAttention<'a> {
    /// The architecture.
    pub config: &'a DecoderConfig,
    /// The layer's number.
    pub layer: usize,
    /// The layer's sinks, one a head, where it has them.
    pub sinks: Option<&'a [f32]>,
}

/// Keys and values in F32. A page holds one sequence's tokens for all layers; its memory is taken
/// when a sequence first writes to it and given back with the cache.
#[derive(Debug)]
pub struct KvCache {
    /// Per page: for each layer the keys, `(PAGE_TOKENS, kv_size)`, and behind them the values.
    pages: Vec<Option<Box<[f32]>>>,
    layers: usize,
    kv_size: usize,
}

impl KvCache {
    /// An empty cache for `tokens` tokens of a decoder.
    pub fn new(config: &DecoderConfig, tokens: usize) -> Self {
        let mut pages = Vec::new();
        pages.resize_with(tokens.div_ceil(PAGE_TOKENS), || None);
        Self {
            pages,
            layers: config.layers(),
            kv_size: config.kv_size(),
        }
    }

    /// Tokens that it has room for.
    pub(crate) fn tokens(&self) -> usize {
        self.pages.len() * PAGE_TOKENS
    }

    /// Elements of one layer's keys, or values, in a page.
    fn half(&self) -> usize {
        PAGE_TOKENS * self.kv_size
    }

    /// Writes `layer`'s keys and values of `rows`, `(rows, kv_size)` each, to their places.
    pub fn write(&mut self, layer: usize, rows: &[Rows<'_>], keys: &[f32], values: &[f32]) {
        let (width, half, len) = (self.kv_size, self.half(), 2 * self.half() * self.layers);
        let mut sources = keys.chunks_exact(width).zip(values.chunks_exact(width));
        for r in rows {
            for (position, (key, value)) in
                (r.position..r.position + r.tokens.len()).zip(&mut sources)
            {
                let page = &mut self.pages[r.pages[position / PAGE_TOKENS] as usize];
                let page = page.get_or_insert_with(|| vec![0.0; len].into_boxed_slice());
                let at = 2 * half * layer + position % PAGE_TOKENS * width;
                page[at..at + width].copy_from_slice(key);
                page[at + half..at + half + width].copy_from_slice(value);
            }
        }
    }

    /// Copies the page `from` to the page `to`.
    pub fn copy_page(&mut self, from: u32, to: u32) {
        let (from, to) = (from as usize, to as usize);
        let Some(source) = self.pages[from].take() else {
            return;
        };
        match &mut self.pages[to] {
            Some(target) => target.copy_from_slice(&source),
            target => *target = Some(source.clone()),
        }
        self.pages[from] = Some(source);
    }

    /// A layer's attention of `queries`, `(rows, query_size)`: each row sees its own sequence's
    /// positions up to its own, which are written. `out` is of the queries' shape.
    pub fn attend(
        &self,
        pool: &Pool,
        attention: LayerAttention<'_>,
        rows: &[Rows<'_>],
        queries: &[f32],
        out: &mut [f32],
    ) {
        let LayerAttention {
            config,
            layer,
            sinks,
        } = attention;
        let positions = |r: &Rows<'_>| r.position + r.tokens.len();
        let used = |r: &Rows<'_>| positions(r).div_ceil(PAGE_TOKENS);
        let half = self.half();
        let halves = |first: usize| {
            let pages = rows.iter().flat_map(|r| &r.pages[..used(r)]);
            // Every page up to the last position was written to.
            pages.filter_map(move |&page| {
                Some(&self.pages[page as usize].as_deref()?[first..first + half])
            })
        };
        let keys: Vec<&[f32]> = halves(2 * half * layer).collect();
        let values: Vec<&[f32]> = halves(2 * half * layer + half).collect();
        let (mut keys, mut values, mut queries, mut out) = (&keys[..], &values[..], queries, out);
        let mut sequences: Vec<AttentionArgs<'_>> = rows
            .iter()
            .map(|r| {
                let width = r.tokens.len() * config.query_size();
                AttentionArgs {
                    query: queries.split_off(..width).unwrap_or_default(),
                    keys: KvPages::F32(keys.split_off(..used(r)).unwrap_or_default()),
                    values: KvPages::F32(values.split_off(..used(r)).unwrap_or_default()),
                    page_tokens: PAGE_TOKENS,
                    positions: positions(r),
                    start: r.position,
                    heads: config.heads,
                    kv_heads: config.kv_heads,
                    head_dim: config.head_dim,
                    causal: true,
                    window: config.sliding_windows[layer],
                    scale: config.attention_scale,
                    soft_cap: config.attention_soft_cap,
                    sinks,
                    out: out.split_off_mut(..width).unwrap_or_default(),
                }
            })
            .collect();
        ops::attention_batch(pool, &mut sequences);
    }
}
