//! The CUDA kernels, on the stand-in with its checks, against the operations on the CPU.

use outcrop_tensor::cuda::{
    Buffer, Device, Gated, Gather, KvFormat, KvPool, KvWrite, Linear, Metric, Neighbour, Norm,
    PagedAttention, Routing, Search, SearchRows, VectorFormat, add_experts, gated, kv_write,
    layer_norm, linear, paged_attention, rms_norm, route, upload, use_images,
};
use outcrop_tensor::{AttentionArgs, Bytes, DType, KvPages, Pool, Weight, ops};

use crate::{bits, numbers};

/// A device of the stand-in, in every schedule that `check` is to run in.
fn on_stand_in(test: &str, check: impl Fn(&Device)) {
    if !outcrop_kernels_cpu::install_or_skip(test) {
        return;
    }
    if let Some(images) = outcrop_kernels_cpu::images() {
        use_images(images);
    }
    outcrop_kernels_cpu::set_checks(true);
    for schedule in 0..3 {
        outcrop_kernels_cpu::set_schedule(schedule);
        let device = Device::open(0).unwrap();
        check(&device);
        device.synchronize().unwrap();
        assert_eq!(outcrop_kernels_cpu::take_report(), None);
    }
}

fn close(test: &str, got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len(), "{test}");
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let room = tolerance * (1.0 + expected.abs());
        assert!(
            (got - expected).abs() <= room,
            "{test}, {index}: {got} for {expected}"
        );
    }
}

/// Bytes of a matrix of `dtype` that hold no NaN and no great scale.
fn stored(dtype: DType, rows: usize, cols: usize, seed: u64) -> Weight {
    if dtype == DType::F32 {
        return Weight::from_f32(rows, cols, numbers(seed, rows * cols)).unwrap();
    }
    let len = dtype.row_bytes(cols).unwrap() * rows;
    let noise = numbers(seed, len);
    let mut bytes: Vec<u8> = noise.iter().map(|v| (v * 127.0) as i8 as u8).collect();
    let half = half::f16::from_f32(0.03).to_le_bytes();
    let small = half::f16::from_f32(0.0003).to_le_bytes();
    for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
        match dtype {
            DType::F16 => block.copy_from_slice(&half::f16::from_f32(noise[0]).to_le_bytes()),
            DType::BF16 => block[1] = 0x3e,
            DType::MXFP4 => block[0] = 125,
            // Its scales and codes are large: sums of great numbers would hide what is wrong.
            DType::Q6_K => block[208..210].copy_from_slice(&small),
            DType::Q4_1 | DType::Q5_1 | DType::Q4_K | DType::Q5_K => {
                block[..2].copy_from_slice(&half);
                block[2..4].copy_from_slice(&half);
            }
            _ => block[..2].copy_from_slice(&half),
        }
    }
    Weight::new(dtype, rows, cols, Bytes::from_vec(bytes)).unwrap()
}

const FORMATS: [DType; 12] = [
    DType::F32,
    DType::F16,
    DType::BF16,
    DType::Q8_0,
    DType::Q4_0,
    DType::Q4_1,
    DType::Q5_0,
    DType::Q5_1,
    DType::Q4_K,
    DType::Q5_K,
    DType::Q6_K,
    DType::MXFP4,
];

#[test]
fn products_of_every_format_and_one_order_of_sums() {
    on_stand_in("linear", |device| {
        for dtype in FORMATS {
            let cols = if dtype.block_len() == 1 { 83 } else { 512 };
            let (rows, tokens) = (11, 9);
            let weight = stored(dtype, rows, cols, 7);
            let matrix = upload(device, &weight).unwrap();
            let (x, bias) = (numbers(8, tokens * cols), numbers(9, rows));
            let mut expected = vec![0.0; tokens * rows];
            // Dequantised first: the CPU rounds the activations of some formats.
            let mut floats = vec![0.0; rows * cols];
            for (row, out) in floats.chunks_exact_mut(cols).enumerate() {
                weight.dequantize_row(row, out);
            }
            let exact = Weight::from_f32(rows, cols, floats.clone()).unwrap();
            ops::linear(Pool::global(), &x, &exact, Some(&bias), &mut expected);
            let product = |x: &[f32], tokens: usize| {
                let (x, bias) = (
                    Buffer::from_slice(device, x),
                    Buffer::from_slice(device, &bias),
                );
                let mut y = Buffer::zeroed(device, tokens * rows).unwrap();
                let product = Linear {
                    matrix: &matrix,
                    bias: Some(bias.as_ref().unwrap().view()),
                    x: x.as_ref().unwrap().view(),
                    y: y.view_mut(),
                    tokens,
                    accumulate: false,
                };
                linear(device, product).unwrap();
                y.to_vec().unwrap()
            };
            let all = product(&x, tokens);
            close(dtype.name(), &all, &expected, 2e-5);
            let last = product(&x[(tokens - 1) * cols..], 1);
            assert_eq!(
                bits(&last),
                bits(&all[(tokens - 1) * rows..]),
                "{}",
                dtype.name()
            );
            let ids = Buffer::from_slice(device, &[10u32, 0, 3]).unwrap();
            let mut out = Buffer::zeroed(device, 3 * cols).unwrap();
            let gather = Gather {
                ids: ids.view(),
                out: out.view_mut(),
                rows: 3,
                multiplier: 1.0,
            };
            gather.of(device, &matrix).unwrap();
            let chosen: Vec<f32> = [10, 0, 3]
                .iter()
                .flat_map(|row| floats[row * cols..(row + 1) * cols].to_vec())
                .collect();
            close(dtype.name(), &out.to_vec().unwrap(), &chosen, 1e-6);
        }
    });
}

#[test]
fn norms_add_and_normalise() {
    on_stand_in("norms", |device| {
        for width in [3, 64, 300] {
            let (rows, scale, eps) = (3, 0.5, 1e-5);
            let (x, delta) = (numbers(1, rows * width), numbers(2, rows * width));
            let (weight, bias) = (numbers(3, width), numbers(4, width));
            let sum: Vec<f32> = x.iter().zip(&delta).map(|(x, d)| x + scale * d).collect();
            let buffer = |values: &[f32]| Buffer::from_slice(device, values).unwrap();
            let (weights, biases, deltas) = (buffer(&weight), buffer(&bias), buffer(&delta));
            for is_layer in [false, true] {
                let (mut hidden, mut out) = (buffer(&x), buffer(&x));
                let norm = Norm {
                    hidden: hidden.view_mut(),
                    delta: Some((deltas.view(), scale)),
                    weight: Some(weights.view()),
                    bias: is_layer.then(|| biases.view()),
                    out: Some(out.view_mut()),
                    rows,
                    width,
                    eps,
                };
                let mut expected = vec![0.0; rows * width];
                if is_layer {
                    layer_norm(device, norm).unwrap();
                    ops::layer_norm(&sum, &weight, &bias, eps, &mut expected);
                } else {
                    rms_norm(device, norm).unwrap();
                    ops::rms_norm(&sum, &weight, eps, &mut expected);
                }
                close("the sum", &hidden.to_vec().unwrap(), &sum, 1e-6);
                close("the norm", &out.to_vec().unwrap(), &expected, 2e-5);
            }
        }
    });
}

#[test]
fn activations_are_those_of_the_cpu() {
    on_stand_in("activations", |device| {
        let (gate, up) = (numbers(5, 300), numbers(6, 300));
        let up: Vec<f32> = up.iter().map(|u| 9.0 * u).collect();
        let clamped = Gated::ClampedSwiglu {
            alpha: 1.7,
            limit: 7.0,
        };
        for kind in [Gated::Silu, Gated::Gelu, Gated::GeluTanh, clamped] {
            let mut expected = gate.clone();
            match kind {
                Gated::Silu => ops::silu_mul(&mut expected, &up),
                Gated::Gelu => ops::gelu_mul(&mut expected, &up),
                Gated::GeluTanh => ops::gelu_tanh_mul(&mut expected, &up),
                _ => ops::clamped_swiglu(&mut expected, &up, 1.7, 7.0),
            }
            let mut got = Buffer::from_slice(device, &gate).unwrap();
            let halves = Buffer::from_slice(device, &up).unwrap();
            gated(
                device,
                kind,
                got.view_mut(),
                Some(halves.view()),
                gate.len(),
            )
            .unwrap();
            close(
                &format!("{kind:?}"),
                &got.to_vec().unwrap(),
                &expected,
                2e-5,
            );
        }
    });
}

#[test]
fn attention_over_pages_is_that_of_the_cpu() {
    const PAGE: usize = 32;
    // Heads, heads of keys, width, window, cap, sinks.
    let cases = [
        (4, 2, 16, None, None, false),
        (3, 1, 40, Some(20), None, true),
        (2, 2, 64, None, Some(4.0), false),
    ];
    on_stand_in("paged attention", |device| {
        for (heads, kv_heads, dim, window, soft_cap, has_sinks) in cases {
            let (tokens, kv, width) = (75, kv_heads * dim, heads * dim);
            let query = numbers(1, tokens * width);
            let (keys, values) = (numbers(2, tokens * kv), numbers(3, tokens * kv));
            let sinks = numbers(4, heads);
            let cut =
                |x: &[f32]| -> Vec<Vec<f32>> { x.chunks(PAGE * kv).map(<[f32]>::to_vec).collect() };
            let (key_pages, value_pages) = (cut(&keys), cut(&values));
            let key_pages: Vec<&[f32]> = key_pages.iter().map(Vec::as_slice).collect();
            let value_pages: Vec<&[f32]> = value_pages.iter().map(Vec::as_slice).collect();
            let mut expected = vec![0.0; tokens * width];
            ops::attention(
                Pool::global(),
                AttentionArgs {
                    query: &query,
                    keys: KvPages::F32(&key_pages),
                    values: KvPages::F32(&value_pages),
                    page_tokens: PAGE,
                    positions: tokens,
                    start: 0,
                    heads,
                    kv_heads,
                    head_dim: dim,
                    causal: true,
                    window,
                    scale: 0.3,
                    soft_cap,
                    sinks: has_sinks.then_some(&sinks[..]),
                    out: &mut expected,
                },
            );
            // In the second of two layers, pages out of order behind another sequence's.
            let order = [9u32, 4, 0, 2];
            let pages = Buffer::from_slice(device, &order).unwrap();
            let starts = Buffer::from_slice(device, &[0u32, 1]).unwrap();
            let sequences = Buffer::from_slice(device, &vec![1u32; tokens]).unwrap();
            let positions: Vec<u32> = (0..tokens as u32).collect();
            let positions = Buffer::from_slice(device, &positions).unwrap();
            let memory = Buffer::<u8>::zeroed(device, 5 * 2 * 2 * PAGE * kv * 4).unwrap();
            let pool = KvPool {
                bytes: memory.view(),
                pages: pages.view(),
                starts: starts.view(),
                sequences: sequences.view(),
                positions: positions.view(),
                format: KvFormat::F32,
                layer: (1, 2),
                page_tokens: PAGE,
                kv_heads,
                head_dim: dim,
            };
            let buffer = |values: &[f32]| Buffer::from_slice(device, values).unwrap();
            let (keys, values, query, sinks) = (
                buffer(&keys),
                buffer(&values),
                buffer(&query),
                buffer(&sinks),
            );
            let write = KvWrite {
                keys: keys.view(),
                values: values.view(),
                rows: tokens,
            };
            kv_write(device, pool, write).unwrap();
            let mut out = Buffer::zeroed(device, tokens * width).unwrap();
            let attention = PagedAttention {
                queries: query.view(),
                sinks: has_sinks.then(|| sinks.view()),
                out: out.view_mut(),
                rows: tokens,
                heads,
                window,
                scale: 0.3,
                soft_cap,
            };
            paged_attention(device, pool, attention).unwrap();
            close(
                &format!("heads of {dim}"),
                &out.to_vec().unwrap(),
                &expected,
                3e-5,
            );
        }
    });
}

#[test]
fn experts_are_chosen_and_summed_in_their_order() {
    on_stand_in("experts", |device| {
        let routing = Routing {
            rows: 2,
            count: 5,
            chosen: 2,
            of_chosen: true,
        };
        // Of equal scores the lower expert.
        let scores = [0.0f32, 2.0, -1.0, 2.0, 2.0, 3.0, 0.0, 0.5, 0.25, 0.0];
        let scores = Buffer::from_slice(device, &scores).unwrap();
        let mut experts = Buffer::<u32>::zeroed(device, 4).unwrap();
        let mut weights = Buffer::<f32>::zeroed(device, 4).unwrap();
        route(
            device,
            routing,
            scores.view(),
            experts.view_mut(),
            weights.view_mut(),
        )
        .unwrap();
        assert_eq!(experts.to_vec().unwrap(), [1, 3, 0, 2]);
        let second = (-2.5f32).exp() / (1.0 + (-2.5f32).exp());
        let expected = [0.5, 0.5, 1.0 - second, second];
        close("weights", &weights.to_vec().unwrap(), &expected, 1e-6);
        let parts =
            Buffer::from_slice(device, &[1.0f32, 10.0, 2.0, 20.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let mut out = Buffer::zeroed(device, 4).unwrap();
        add_experts(
            device,
            (2, 2, 2),
            parts.view(),
            weights.view(),
            out.view_mut(),
        )
        .unwrap();
        let sums = [1.5, 15.0, 3.0 + 2.0 * second, 4.0 + 2.0 * second];
        close("sums", &out.to_vec().unwrap(), &sums, 1e-6);
    });
}

/// The neighbours by sorting all scores.
fn by_sorting(
    rows: &[f32],
    query: &[f32],
    metric: Metric,
    mask: &[u32],
    k: usize,
) -> Vec<Neighbour> {
    let dims = query.len();
    let score = |row: &[f32]| -> f32 {
        let dot: f32 = row.iter().zip(query).map(|(a, b)| a * b).sum();
        let square = |x: &[f32]| x.iter().map(|v| v * v).sum::<f32>();
        match metric {
            Metric::Dot => dot,
            Metric::Cosine => dot / (square(row).sqrt() * square(query).sqrt()),
            Metric::L2 => 2.0 * dot - square(row) - square(query),
        }
    };
    let mut all: Vec<Neighbour> = (0..)
        .zip(rows.chunks_exact(dims))
        .filter(|(id, _)| mask[*id as usize / 32] >> (id % 32) & 1 == 1)
        .map(|(id, row)| Neighbour {
            id,
            score: score(row),
        })
        .collect();
    all.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
    all.truncate(k);
    all
}

#[test]
fn the_nearest_rows_are_found_in_one_part_or_two() {
    const DIMS: usize = 19;
    on_stand_in("search", |device| {
        let count = 700;
        // Multiples of an eighth: halves and sums of products hold them exactly.
        let eighth = |v: &f32| (v * 8.0).round() / 8.0;
        let mut rows: Vec<f32> = numbers(1, count * DIMS).iter().map(eighth).collect();
        rows.copy_within(5 * DIMS..6 * DIMS, 600 * DIMS);
        let queries: Vec<f32> = numbers(2, 2 * DIMS).iter().map(eighth).collect();
        let mask: Vec<u32> = (0..count.div_ceil(32) as u32)
            .map(|i| 0xffff_0ff7 >> (i % 3))
            .collect();
        let halves: Vec<u8> = rows
            .iter()
            .flat_map(|v| half::f16::from_f32(*v).to_le_bytes())
            .collect();
        let singles: Vec<u8> = rows.iter().flat_map(|v| v.to_le_bytes()).collect();
        let bits = Buffer::from_slice(device, &mask).unwrap();
        for (format, bytes) in [(VectorFormat::F16, &halves), (VectorFormat::F32, &singles)] {
            for metric in [Metric::Dot, Metric::Cosine, Metric::L2] {
                for cut in [count, 352] {
                    let mut search =
                        Search::new(device, &queries, (format, metric), (DIMS, 10)).unwrap();
                    for part in [0..cut, cut..count] {
                        let row = DIMS * format.bytes();
                        if part.is_empty() {
                            continue;
                        }
                        let own =
                            Buffer::from_slice(device, &bytes[part.start * row..part.end * row]);
                        let rows = SearchRows {
                            bytes: own.as_ref().unwrap().view(),
                            scales: None,
                            mask: Some(bits.part(part.start / 32..mask.len()).unwrap()),
                            count: part.len(),
                            first_id: part.start as u64,
                        };
                        search.add(device, rows).unwrap();
                    }
                    let found = search.finish(device).unwrap();
                    for (query, found) in queries.chunks_exact(DIMS).zip(found) {
                        let expected = by_sorting(&rows, query, metric, &mask, 10);
                        let ids = |all: &[Neighbour]| all.iter().map(|n| n.id).collect::<Vec<_>>();
                        assert_eq!(ids(&found), ids(&expected), "{format:?} {metric:?} {cut}");
                        assert!((found[0].score - expected[0].score).abs() < 1e-4);
                    }
                }
            }
        }
    });
}
