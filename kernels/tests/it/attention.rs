//! Attention on tensor cores: as the CPU computes it, and the same bits however rows are put together.

use half::{bf16, f16};
use outcrop_kernels::{
    ATTENTION_CHUNK, Buffer, DecodeRoom, Device, KvFormat, KvPool, PagedAttention,
    attention_decode, attention_prefill, attention_sm90, attention_sm90_tiles, attention_tiles,
};
use outcrop_tensor::{AttentionArgs, KvPages, Pool, ops};

use crate::stand_in::{device, hopper, numbers};

const PAGE: usize = 32;

#[derive(Clone, Copy)]
struct Shape {
    format: KvFormat,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    window: Option<usize>,
    soft_cap: Option<f32>,
    sinks: bool,
}

const PLAIN: Shape = Shape {
    format: KvFormat::F16,
    heads: 4,
    kv_heads: 2,
    head_dim: 64,
    window: None,
    soft_cap: None,
    sinks: false,
};

/// By tiles, each row by itself, or by Hopper's own means.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Prefill,
    Decode,
    Hopper,
}

/// A cache of several sequences, of which layer 1 of 2 is filled, and the queries of all positions.
struct Case {
    shape: Shape,
    lengths: Vec<usize>,
    /// Keys and values of each sequence as the cache stores them, `(positions, kv_heads, head_dim)`.
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    queries: Vec<Vec<f32>>,
    sinks: Vec<f32>,
    bytes: Vec<u8>,
    pages: Vec<u32>,
    starts: Vec<u32>,
}

/// A number as the cache stores it: its bytes, and what they say.
fn stored(format: KvFormat, value: f32) -> (Vec<u8>, f32) {
    match format {
        KvFormat::F32 => (value.to_le_bytes().to_vec(), value),
        KvFormat::F16 => {
            let half = f16::from_f32(value);
            (half.to_le_bytes().to_vec(), half.to_f32())
        }
        KvFormat::BF16 => {
            let half = bf16::from_f32(value);
            (half.to_le_bytes().to_vec(), half.to_f32())
        }
        // Powers of two times 1.0 to 1.875: exact in E4M3.
        KvFormat::E4M3 => {
            let eighths = ((value.abs() * 7.9) as u8) & 7;
            let sign = if value < 0.0 { 0x80 } else { 0 };
            let exponent = 4 + (eighths & 3);
            let float = (1.0 + f32::from(eighths) / 8.0) * 2f32.powi(i32::from(exponent) - 7);
            let signed = if value < 0.0 { -float } else { float };
            (vec![sign | exponent << 3 | eighths], signed)
        }
    }
}

impl Case {
    /// What no position holds are no numbers.
    fn new(shape: Shape, lengths: &[usize]) -> Self {
        Self::filled(0xff, shape, lengths)
    }

    fn filled(fill: u8, shape: Shape, lengths: &[usize]) -> Self {
        let width = shape.kv_heads * shape.head_dim;
        let half = PAGE * width * shape.format.bytes();
        let counts: Vec<usize> = lengths.iter().map(|n| n.div_ceil(PAGE)).collect();
        let total: usize = counts.iter().sum();
        let mut case = Self {
            shape,
            lengths: lengths.to_vec(),
            keys: Vec::new(),
            values: Vec::new(),
            queries: Vec::new(),
            sinks: numbers(9, shape.heads),
            bytes: vec![fill; (total + 1) * 4 * half],
            pages: Vec::new(),
            starts: Vec::new(),
        };
        for (s, &length) in lengths.iter().enumerate() {
            case.starts.push(case.pages.len() as u32);
            // Pages lie backwards, with one unused at the beginning.
            let used = case.pages.len();
            case.pages
                .extend((0..counts[s]).map(|i| (total - used - i) as u32));
            let mut sides = [Vec::new(), Vec::new()];
            for (side, out) in sides.iter_mut().enumerate() {
                let raw = numbers((7 * s + side) as u32 + 1, length * width);
                for (i, value) in raw.into_iter().enumerate() {
                    let (bytes, exact) = stored(shape.format, value);
                    let (position, column) = (i / width, i % width);
                    let page = case.pages[used + position / PAGE] as usize;
                    let at = page * 4 * half + 2 * half + side * half;
                    let slot = (position % PAGE * width + column) * shape.format.bytes();
                    case.bytes[at + slot..][..bytes.len()].copy_from_slice(&bytes);
                    out.push(exact);
                }
            }
            let [keys, values] = sides;
            case.keys.push(keys);
            case.values.push(values);
            let queries = numbers(s as u32 + 77, length * shape.heads * shape.head_dim);
            case.queries.push(queries.iter().map(|q| q * 2.0).collect());
        }
        case
    }

    /// What the CPU computes for a sequence's positions from `start` on.
    fn expected(&self, sequence: usize, start: usize) -> Vec<f32> {
        let shape = self.shape;
        let width = shape.heads * shape.head_dim;
        let mut out = vec![0.0; (self.lengths[sequence] - start) * width];
        let page = self.lengths[sequence].next_multiple_of(PAGE);
        ops::attention(
            &Pool::new(1),
            AttentionArgs {
                query: &self.queries[sequence][start * width..],
                keys: KvPages::F32(&[&self.keys[sequence]]),
                values: KvPages::F32(&[&self.values[sequence]]),
                page_tokens: page,
                positions: self.lengths[sequence],
                start,
                heads: shape.heads,
                kv_heads: shape.kv_heads,
                head_dim: shape.head_dim,
                causal: true,
                window: shape.window,
                scale: self.scale(),
                soft_cap: shape.soft_cap,
                sinks: shape.sinks.then_some(&self.sinks[..]),
                out: &mut out,
            },
        );
        out
    }

    fn scale(&self) -> f32 {
        1.0 / (self.shape.head_dim as f32).sqrt()
    }

    /// Computes rows `(sequence, position)` on the device.
    fn run(&self, device: &Device, rows: &[(usize, usize)], form: Form) -> Vec<f32> {
        let shape = self.shape;
        let width = shape.heads * shape.head_dim;
        let sequences: Vec<u32> = rows.iter().map(|row| row.0 as u32).collect();
        let positions: Vec<u32> = rows.iter().map(|row| row.1 as u32).collect();
        let mut queries = Vec::new();
        for &(sequence, position) in rows {
            queries.extend_from_slice(&self.queries[sequence][position * width..][..width]);
        }
        let group = shape.heads / shape.kv_heads;
        let tiles = match form {
            Form::Hopper => attention_sm90_tiles(&sequences, &positions, group),
            _ => attention_tiles(&sequences, &positions, group),
        };
        let words = |values: &[u32]| Buffer::from_slice(device, values).unwrap();
        let (tiles, sequences, positions) = (words(&tiles), words(&sequences), words(&positions));
        let (pages, starts) = (words(&self.pages), words(&self.starts));
        let bytes = Buffer::from_slice(device, &self.bytes).unwrap();
        let queries = Buffer::from_slice(device, &queries).unwrap();
        let sinks = Buffer::from_slice(device, &self.sinks).unwrap();
        let mut out = Buffer::<f32>::zeroed(device, rows.len() * width).unwrap();
        let pool = KvPool {
            bytes: bytes.view(),
            pages: pages.view(),
            starts: starts.view(),
            sequences: sequences.view(),
            positions: positions.view(),
            format: shape.format,
            layer: (1, 2),
            page_tokens: PAGE,
            kv_heads: shape.kv_heads,
            head_dim: shape.head_dim,
        };
        let attention = PagedAttention {
            queries: queries.view(),
            sinks: shape.sinks.then(|| sinks.view()),
            out: out.view_mut(),
            rows: rows.len(),
            heads: shape.heads,
            window: shape.window,
            scale: self.scale(),
            soft_cap: shape.soft_cap,
        };
        if form == Form::Decode {
            let longest = rows.iter().map(|row| row.1).max().unwrap();
            // One more than there are: its blocks end at once.
            let chunks = longest / ATTENTION_CHUNK + 2;
            let parts = rows.len() * shape.heads * chunks;
            let mut values = Buffer::<f32>::zeroed(device, parts * shape.head_dim).unwrap();
            let mut weights = Buffer::<f32>::zeroed(device, parts * 2).unwrap();
            let room = DecodeRoom {
                parts: values.view_mut(),
                weights: weights.view_mut(),
                chunks,
            };
            attention_decode(device, pool, attention, room).unwrap();
        } else if form == Form::Hopper {
            attention_sm90(device, pool, attention, tiles.view()).unwrap();
        } else {
            attention_prefill(device, pool, attention, tiles.view()).unwrap();
        }
        let mut result = vec![0.0; rows.len() * width];
        out.read(0, &mut result).unwrap();
        device.synchronize().unwrap();
        result
    }
}

/// The largest difference, and what is allowed: queries and weights have 11 bits, or 8.
fn assert_close(found: &[f32], expected: &[f32], format: KvFormat, what: &str) {
    let allowed = if format == KvFormat::BF16 {
        0.02
    } else {
        0.003
    };
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!(
            (a - b).abs() <= allowed,
            "{what}: element {i} is {a}, expected {b}"
        );
    }
}

/// All positions from `start` on, of each sequence.
fn rows_from(case: &Case, starts: &[usize]) -> Vec<(usize, usize)> {
    let of = |(s, &start): (usize, &usize)| (start..case.lengths[s]).map(move |p| (s, p));
    starts.iter().enumerate().flat_map(of).collect()
}

fn agrees(device: &Device, shape: Shape, lengths: &[usize], starts: &[usize], what: &str) {
    let case = Case::new(shape, lengths);
    let rows = rows_from(&case, starts);
    let found = case.run(device, &rows, Form::Prefill);
    let expected: Vec<f32> = starts
        .iter()
        .enumerate()
        .flat_map(|(s, &start)| case.expected(s, start))
        .collect();
    assert_close(&found, &expected, shape.format, what);
    // The last row of each sequence by itself, cut along its keys: the same bits.
    let width = shape.heads * shape.head_dim;
    let lasts: Vec<usize> = (0..rows.len())
        .filter(|&i| i + 1 == rows.len() || rows[i + 1].0 != rows[i].0)
        .collect();
    let alone: Vec<(usize, usize)> = lasts.iter().map(|&i| rows[i]).collect();
    let decoded = case.run(device, &alone, Form::Decode);
    for (n, &i) in lasts.iter().enumerate() {
        let (one, other) = (&decoded[n * width..][..width], &found[i * width..][..width]);
        assert_eq!(one, other, "{what}: row {i}, decoded and prefilled");
    }
}

#[test]
fn every_form_agrees_with_the_cpu() {
    let Some((device, _alone)) = device("attention", true) else {
        return;
    };
    let wide = |head_dim| Shape {
        head_dim,
        heads: 2,
        kv_heads: 1,
        ..PLAIN
    };
    agrees(&device, PLAIN, &[70, 5], &[0, 0], "two prompts");
    agrees(&device, wide(96), &[40], &[3], "heads of 96");
    agrees(&device, wide(128), &[40], &[0], "heads of 128");
    agrees(&device, wide(256), &[40], &[30], "heads of 256");
    let capped = Shape {
        soft_cap: Some(1.5),
        sinks: true,
        ..PLAIN
    };
    agrees(&device, capped, &[66], &[20], "capped scores and sinks");
    let windowed = Shape {
        window: Some(33),
        ..PLAIN
    };
    agrees(&device, windowed, &[180], &[100], "a window");
    let brains = Shape {
        format: KvFormat::BF16,
        ..PLAIN
    };
    agrees(&device, brains, &[70], &[64], "BF16");
    let bytes = Shape {
        format: KvFormat::E4M3,
        heads: 3,
        kv_heads: 1,
        ..PLAIN
    };
    agrees(
        &device,
        bytes,
        &[70],
        &[60],
        "E4M3, three heads that share keys",
    );
}

#[test]
fn chunks_are_joined_to_the_same_bits() {
    let Some((device, _alone)) = device("attention chunks", false) else {
        return;
    };
    let shape = Shape {
        heads: 2,
        kv_heads: 1,
        ..PLAIN
    };
    agrees(
        &device,
        shape,
        &[1100, 600],
        &[1080, 590],
        "three chunks and two",
    );
    let windowed = Shape {
        window: Some(600),
        sinks: true,
        ..shape
    };
    agrees(
        &device,
        windowed,
        &[1100],
        &[1090],
        "chunks before a window",
    );
}

#[test]
fn neighbours_tiles_and_schedules_change_no_bit() {
    let Some((device, _alone)) = device("attention bits", false) else {
        return;
    };
    let case = Case::new(
        Shape {
            window: Some(50),
            ..PLAIN
        },
        &[130, 90],
    );
    let width = case.shape.heads * case.shape.head_dim;
    let whole = case.run(&device, &rows_from(&case, &[0, 0]), Form::Prefill);
    for schedule in 1..4 {
        outcrop_kernels_cpu::set_schedule(schedule);
        let from = 17 * schedule as usize;
        let part = case.run(&device, &rows_from(&case, &[from, 90]), Form::Prefill);
        assert_eq!(part, whole[from * width..130 * width], "from {from}");
    }
    outcrop_kernels_cpu::set_schedule(0);
}

#[test]
fn hoppers_form_agrees_with_the_cpu_in_every_schedule() {
    let Some((device, _alone)) = hopper("attention for Hopper") else {
        return;
    };
    let wide = Shape {
        head_dim: 128,
        heads: 2,
        kv_heads: 1,
        ..PLAIN
    };
    let brains = Shape {
        format: KvFormat::BF16,
        window: Some(40),
        ..PLAIN
    };
    let capped = Shape {
        soft_cap: Some(1.5),
        sinks: true,
        ..PLAIN
    };
    let cases = [
        (wide, vec![300], vec![290]),
        (PLAIN, vec![70, 5], vec![0, 0]),
        (brains, vec![200], vec![130]),
        (capped, vec![66], vec![20]),
    ];
    for (schedule, (shape, lengths, starts)) in cases.into_iter().enumerate() {
        outcrop_kernels_cpu::set_schedule(schedule as u32);
        let case = Case::filled(0, shape, &lengths);
        let rows = rows_from(&case, &starts);
        let found = case.run(&device, &rows, Form::Hopper);
        let expected: Vec<f32> = starts
            .iter()
            .enumerate()
            .flat_map(|(s, &start)| case.expected(s, start))
            .collect();
        assert_close(
            &found,
            &expected,
            shape.format,
            &format!("schedule {schedule}"),
        );
    }
    outcrop_kernels_cpu::set_schedule(0);
    outcrop_kernels_cpu::set_device(outcrop_kernels_cpu::Device::default());
}

#[test]
fn shapes_that_are_not_served_are_errors() {
    let Some((device, _alone)) = device("attention shapes", false) else {
        return;
    };
    let odd = Case::new(
        Shape {
            head_dim: 80,
            ..PLAIN
        },
        &[8],
    );
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        odd.run(&device, &[(0, 7)], Form::Prefill)
    }));
    assert!(refused.is_err());
}

#[test]
fn tiles_hold_successive_positions_of_one_sequence() {
    let tiles = attention_tiles(&[0, 0, 0, 2, 2], &[5, 6, 8, 0, 1], 2);
    assert_eq!(tiles, [0, 2, 5, 0, 2, 1, 8, 0, 3, 2, 0, 2]);
    let long: Vec<u32> = (0..40).collect();
    let tiles = attention_tiles(&[1; 40], &long, 4);
    assert_eq!(tiles, [0, 16, 0, 1, 16, 16, 16, 1, 32, 8, 32, 1]);
}
