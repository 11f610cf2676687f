//! Keys and values of every sequence in flight, in pages of [`PAGE_TOKENS`] tokens.

use std::ops::Range;

use half::f16;
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

/// How keys and values are stored. Attention reads them back as F32 whichever it is, and a row's
/// numbers depend on its own sequence only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvDtype {
    /// As they were computed. 4 bytes an element.
    #[default]
    F32,
    /// Halves. 2 bytes an element.
    F16,
    /// Blocks of 32 bytes with a scale. 1.0625 bytes an element; heads are a multiple of 32 long.
    Q8_0,
}

impl KvDtype {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            KvDtype::F32 => "F32",
            KvDtype::F16 => "F16",
            KvDtype::Q8_0 => "Q8_0",
        }
    }

    /// Bytes of `elements` elements.
    pub fn bytes(self, elements: usize) -> usize {
        match self {
            KvDtype::F32 => 4 * elements,
            KvDtype::F16 => 2 * elements,
            KvDtype::Q8_0 => elements / 32 * 34,
        }
    }
}

/// Keys and values. A page holds one sequence's tokens for all layers; its memory is taken when a
/// sequence first writes to it and given back with the cache.
#[derive(Debug)]
pub struct KvCache {
    pages: Pages,
    layers: usize,
    kv_size: usize,
}

/// Per page: for each layer the keys, `(PAGE_TOKENS, kv_size)`, and behind them the values.
#[derive(Debug)]
enum Pages {
    F32(Vec<Page<f32>>),
    F16(Vec<Page<f16>>),
    Q8_0(Vec<Page<u8>>),
}

type Page<T> = Option<Box<[T]>>;

/// One layer's keys and values of the pages of several sequences, in order.
enum Halves<'a> {
    F32(Vec<&'a [f32]>, Vec<&'a [f32]>),
    F16(Vec<&'a [f16]>, Vec<&'a [f16]>),
    Q8_0(Vec<&'a [u8]>, Vec<&'a [u8]>),
}

impl Halves<'_> {
    /// The pages at `own`.
    fn part(&self, own: Range<usize>) -> (KvPages<'_>, KvPages<'_>) {
        match self {
            Halves::F32(keys, values) => {
                (KvPages::F32(&keys[own.clone()]), KvPages::F32(&values[own]))
            }
            Halves::F16(keys, values) => {
                (KvPages::F16(&keys[own.clone()]), KvPages::F16(&values[own]))
            }
            Halves::Q8_0(keys, values) => (
                KvPages::Q8_0(&keys[own.clone()]),
                KvPages::Q8_0(&values[own]),
            ),
        }
    }
}

impl KvCache {
    /// An empty cache in F32 for `tokens` tokens of a decoder.
    pub fn new(config: &DecoderConfig, tokens: usize) -> Self {
        Self::of_dtype(config, tokens, KvDtype::F32)
    }

    /// An empty cache for `tokens` tokens of a decoder, whose heads are of a length that `dtype` can
    /// store.
    pub fn of_dtype(config: &DecoderConfig, tokens: usize, dtype: KvDtype) -> Self {
        let count = tokens.div_ceil(PAGE_TOKENS);
        Self {
            pages: match dtype {
                KvDtype::F32 => Pages::F32(empty(count)),
                KvDtype::F16 => Pages::F16(empty(count)),
                KvDtype::Q8_0 => Pages::Q8_0(empty(count)),
            },
            layers: config.layers(),
            kv_size: config.kv_size(),
        }
    }

    /// Tokens that it has room for.
    pub(crate) fn tokens(&self) -> usize {
        let pages = match &self.pages {
            Pages::F32(pages) => pages.len(),
            Pages::F16(pages) => pages.len(),
            Pages::Q8_0(pages) => pages.len(),
        };
        pages * PAGE_TOKENS
    }

    /// Writes `layer`'s keys and values of `rows`, `(rows, kv_size)` each, to their places.
    pub fn write(&mut self, layer: usize, rows: &[Rows<'_>], keys: &[f32], values: &[f32]) {
        let (at, sources, width) = ((layer, self.layers), (keys, values), self.kv_size);
        match &mut self.pages {
            Pages::F32(pages) => {
                let copy = |from: &[f32], to: &mut [f32]| to.copy_from_slice(from);
                write(pages, at, rows, (sources, width, width), copy);
            }
            Pages::F16(pages) => write(pages, at, rows, (sources, width, width), ops::halve_kv),
            Pages::Q8_0(pages) => {
                let stored = KvDtype::Q8_0.bytes(width);
                write(pages, at, rows, (sources, width, stored), ops::quantize_kv);
            }
        }
    }

    /// Bytes of a page.
    pub fn page_bytes(&self) -> usize {
        let dtype = match &self.pages {
            Pages::F32(_) => KvDtype::F32,
            Pages::F16(_) => KvDtype::F16,
            Pages::Q8_0(_) => KvDtype::Q8_0,
        };
        2 * self.layers * PAGE_TOKENS * dtype.bytes(self.kv_size)
    }

    /// Appends the bytes of `page`, which was written to, to `out`: little-endian.
    pub fn read_page(&self, page: u32, out: &mut Vec<u8>) {
        let page = page as usize;
        match &self.pages {
            Pages::F32(pages) => {
                let own = pages[page].iter().flatten();
                out.extend(own.flat_map(|value| value.to_le_bytes()));
            }
            Pages::F16(pages) => {
                let own = pages[page].iter().flatten();
                out.extend(own.flat_map(|value| value.to_le_bytes()));
            }
            Pages::Q8_0(pages) => out.extend(pages[page].iter().flatten()),
        }
    }

    /// Fills `page` with what [`KvCache::read_page`] gave.
    pub fn write_page(&mut self, page: u32, bytes: &[u8]) {
        let page = page as usize;
        match &mut self.pages {
            Pages::F32(pages) => {
                let values = bytes.as_chunks::<4>().0.iter();
                pages[page] = Some(values.map(|v| f32::from_le_bytes(*v)).collect());
            }
            Pages::F16(pages) => {
                let values = bytes.as_chunks::<2>().0.iter();
                pages[page] = Some(values.map(|v| f16::from_le_bytes(*v)).collect());
            }
            Pages::Q8_0(pages) => pages[page] = Some(bytes.into()),
        }
    }

    /// Copies the page `from` to the page `to`.
    pub fn copy_page(&mut self, from: u32, to: u32) {
        let (from, to) = (from as usize, to as usize);
        match &mut self.pages {
            Pages::F32(pages) => copy_page(pages, from, to),
            Pages::F16(pages) => copy_page(pages, from, to),
            Pages::Q8_0(pages) => copy_page(pages, from, to),
        }
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
        let numbers = || rows.iter().flat_map(|r| &r.pages[..used(r)]);
        let all = match &self.pages {
            Pages::F32(pages) => {
                let (keys, values) = halves(pages, numbers(), (layer, self.layers));
                Halves::F32(keys, values)
            }
            Pages::F16(pages) => {
                let (keys, values) = halves(pages, numbers(), (layer, self.layers));
                Halves::F16(keys, values)
            }
            Pages::Q8_0(pages) => {
                let (keys, values) = halves(pages, numbers(), (layer, self.layers));
                Halves::Q8_0(keys, values)
            }
        };
        let (mut queries, mut out, mut first) = (queries, out, 0);
        let mut sequences: Vec<AttentionArgs<'_>> = rows
            .iter()
            .map(|r| {
                let width = r.tokens.len() * config.query_size();
                let (keys, values) = all.part(first..first + used(r));
                first += used(r);
                AttentionArgs {
                    query: queries.split_off(..width).unwrap_or_default(),
                    keys,
                    values,
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

fn empty<T>(count: usize) -> Vec<Page<T>> {
    let mut pages = Vec::new();
    pages.resize_with(count, || None);
    pages
}

/// Writes rows of `width` elements, `stored` items of a page each, by `store`.
fn write<T: Copy + Default>(
    pages: &mut [Page<T>],
    (layer, layers): (usize, usize),
    rows: &[Rows<'_>],
    ((keys, values), width, stored): ((&[f32], &[f32]), usize, usize),
    store: impl Fn(&[f32], &mut [T]),
) {
    let half = PAGE_TOKENS * stored;
    let mut sources = keys.chunks_exact(width).zip(values.chunks_exact(width));
    for r in rows {
        let positions = r.position..r.position + r.tokens.len();
        for (position, (key, value)) in positions.zip(&mut sources) {
            let page = &mut pages[r.pages[position / PAGE_TOKENS] as usize];
            let page = page
                .get_or_insert_with(|| vec![T::default(); 2 * half * layers].into_boxed_slice());
            let at = 2 * half * layer + position % PAGE_TOKENS * stored;
            store(key, &mut page[at..at + stored]);
            store(value, &mut page[at + half..at + half + stored]);
        }
    }
}

fn copy_page<T: Copy>(pages: &mut [Page<T>], from: usize, to: usize) {
    let Some(source) = pages[from].take() else {
        return;
    };
    match &mut pages[to] {
        Some(target) => target.copy_from_slice(&source),
        target => *target = Some(source.clone()),
    }
    pages[from] = Some(source);
}

/// One layer's keys and values of the pages of these `numbers`, which were all written to.
fn halves<'a, T>(
    pages: &'a [Page<T>],
    numbers: impl Iterator<Item = &'a u32>,
    (layer, layers): (usize, usize),
) -> (Vec<&'a [T]>, Vec<&'a [T]>) {
    let written = numbers.filter_map(|&page| pages[page as usize].as_deref());
    written
        .map(|page| {
            let both = page.len() / layers;
            page[both * layer..both * (layer + 1)].split_at(both / 2)
        })
        .unzip()
}
