//! Times attention over the paged cache: prefill of long prompts, decode of many sequences.

use half::f16;
use outcrop_kernels::{
    ATTENTION_CHUNK, Buffer, CudaError, DecodeRoom, KvFormat, KvPool, PagedAttention,
    attention_decode, attention_prefill, attention_sm90, attention_sm90_tiles, attention_tiles,
};

use crate::measure::{Bench, Case, Limit, Target, filled, half_noise};

const HEAD: usize = 128;
const HEADS: usize = 32;
const KV_HEADS: usize = 8;
const PAGE: usize = 32;

pub fn all(bench: &mut Bench) -> Result<(), CudaError> {
    for length in [8192, 2048, 512] {
        let target = [(8192, 0.42), (2048, 0.40), (512, 0.25)];
        let hopper = [(8192, 0.70), (2048, 0.60), (512, 0.35)];
        let of = |table: [(usize, f64); 3]| table.into_iter().find(|(own, _)| *own == length);
        let (plain, hopper) = (of(target), of(hopper));
        let small = bench.size(length, length / 32);
        prefill(bench, small, false, plain.map_or(0.4, |(_, share)| share))?;
        if bench.device.info().capability == (9, 0) {
            prefill(bench, small, true, hopper.map_or(0.7, |(_, share)| share))?;
        }
    }
    for (batch, length, target) in [(32, 2048, 0.88), (1, 32768, 0.75), (8, 8192, 0.88)] {
        let (batch, length) = (
            bench.size(batch, batch.min(2)),
            bench.size(length, length / 32),
        );
        decode(bench, (batch, length), target)?;
    }
    Ok(())
}

/// Sequences of `length` positions whose cache holds noise.
struct Sequences {
    cache: Buffer<u8>,
    pages: Buffer<u32>,
    starts: Buffer<u32>,
    sequences: Buffer<u32>,
    positions: Buffer<u32>,
}

impl Sequences {
    /// `batch` of them; a row each for the last position, or for every one.
    fn new(bench: &Bench, batch: usize, length: usize, every: bool) -> Result<Self, CudaError> {
        let device = &bench.device;
        let per = length.div_ceil(PAGE);
        let page_bytes = 2 * PAGE * KV_HEADS * HEAD * size_of::<f16>();
        let numbers = |count: usize| (0..count as u32).collect::<Vec<_>>();
        let starts: Vec<u32> = (0..batch).map(|own| (own * per) as u32).collect();
        let (sequences, positions) = match every {
            true => (vec![0; length], numbers(length)),
            false => (numbers(batch), vec![length as u32 - 1; batch]),
        };
        Ok(Self {
            cache: filled(device, batch * per * page_bytes, &half_noise(1 << 20))?,
            pages: Buffer::from_slice(device, &numbers(batch * per))?,
            starts: Buffer::from_slice(device, &starts)?,
            sequences: Buffer::from_slice(device, &sequences)?,
            positions: Buffer::from_slice(device, &positions)?,
        })
    }

    fn pool(&self) -> KvPool<'_> {
        KvPool {
            bytes: self.cache.view(),
            pages: self.pages.view(),
            starts: self.starts.view(),
            sequences: self.sequences.view(),
            positions: self.positions.view(),
            format: KvFormat::F16,
            layer: (0, 1),
            page_tokens: PAGE,
            kv_heads: KV_HEADS,
            head_dim: HEAD,
        }
    }
}

fn prefill(bench: &mut Bench, length: usize, hopper: bool, target: f64) -> Result<(), CudaError> {
    let name = if hopper {
        "prefill, sm_90a"
    } else {
        "prefill, mma"
    };
    if !bench.wants(name) {
        return Ok(());
    }
    let device = bench.device.clone();
    let own = Sequences::new(bench, 1, length, true)?;
    let queries =
        Buffer::<f32>::from_slice(&device, &crate::measure::noise(length * HEADS * HEAD))?;
    let mut out = Buffer::<f32>::zeroed(&device, queries.len())?;
    let (sequences, positions) = (vec![0; length], (0..length as u32).collect::<Vec<_>>());
    let group = HEADS / KV_HEADS;
    let tiles = match hopper {
        true => attention_sm90_tiles(&sequences, &positions, group),
        false => attention_tiles(&sequences, &positions, group),
    };
    let tiles = Buffer::from_slice(&device, &tiles)?;
    let case = Case {
        name,
        shape: format!("{length} causal, {HEADS}/{KV_HEADS} heads of {HEAD}"),
        // Half of the two products, of queries with keys and of weights with values.
        limit: Limit::Flops(2 * HEADS * HEAD * length * length),
        target: Target::Share(target),
    };
    bench.run(case, |_| {
        let attention = asked(&queries, &mut out, length);
        match hopper {
            true => attention_sm90(&device, own.pool(), attention, tiles.view()),
            false => attention_prefill(&device, own.pool(), attention, tiles.view()),
        }
    })
}

fn decode(
    bench: &mut Bench,
    (batch, length): (usize, usize),
    target: f64,
) -> Result<(), CudaError> {
    if !bench.wants("paged decode") {
        return Ok(());
    }
    let device = bench.device.clone();
    let bytes = 2 * batch * length * KV_HEADS * HEAD * size_of::<f16>();
    let copies = bench.copies(bytes);
    let own = (0..copies)
        .map(|_| Sequences::new(bench, batch, length, false))
        .collect::<Result<Vec<_>, _>>()?;
    let queries = Buffer::<f32>::from_slice(&device, &crate::measure::noise(batch * HEADS * HEAD))?;
    let mut out = Buffer::<f32>::zeroed(&device, queries.len())?;
    let chunks = length.div_ceil(ATTENTION_CHUNK);
    let parts = batch * HEADS * chunks;
    let mut part_room = Buffer::<f32>::zeroed(&device, parts * HEAD)?;
    let mut weights = Buffer::<f32>::zeroed(&device, parts * 2)?;
    let case = Case {
        name: "paged decode",
        shape: format!("{batch} x {length}, {HEADS}/{KV_HEADS} heads of {HEAD}"),
        limit: Limit::Bytes(bytes),
        target: Target::Share(target),
    };
    bench.run(case, |turn| {
        let room = DecodeRoom {
            parts: part_room.view_mut(),
            weights: weights.view_mut(),
            chunks,
        };
        let attention = asked(&queries, &mut out, batch);
        attention_decode(&device, own[turn % copies].pool(), attention, room)
    })
}

fn asked<'a>(
    queries: &'a Buffer<f32>,
    out: &'a mut Buffer<f32>,
    rows: usize,
) -> PagedAttention<'a> {
    PagedAttention {
        queries: queries.view(),
        sinks: None,
        out: out.view_mut(),
        rows,
        heads: HEADS,
        window: None,
        scale: 1.0 / (HEAD as f32).sqrt(),
        soft_cap: None,
    }
}
