//! Attention against its formula, and in other pages, chunks and threads.

use half::f16;
use outcrop_tensor::{AttentionArgs, KvPages, Pool, ops};
use proptest::prelude::*;

use crate::{bits, numbers};

#[derive(Clone, Debug)]
struct Case {
    tokens: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    causal: bool,
    window: Option<usize>,
    halves: bool,
    soft_cap: Option<f32>,
    sinks: bool,
    seed: u64,
}

struct Data {
    query: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    sinks: Vec<f32>,
}

impl Case {
    fn data(&self) -> Data {
        let kv = self.tokens * self.kv_heads * self.head_dim;
        let round = |values: Vec<f32>| -> Vec<f32> {
            if self.halves {
                values.iter().map(|v| f16::from_f32(*v).to_f32()).collect()
            } else {
                values
            }
        };
        Data {
            query: numbers(self.seed, self.tokens * self.heads * self.head_dim),
            keys: round(numbers(self.seed + 1, kv)),
            values: round(numbers(self.seed + 2, kv)),
            sinks: numbers(self.seed + 3, self.heads),
        }
    }

    /// The queries `range`, over pages of `page` positions.
    fn run(
        &self,
        data: &Data,
        pool: &Pool,
        page: usize,
        range: std::ops::Range<usize>,
    ) -> Vec<f32> {
        let width = self.heads * self.head_dim;
        let positions = if self.causal { range.end } else { self.tokens };
        let step = page * self.kv_heads * self.head_dim;
        let cut = |values: &[f32]| -> Vec<Vec<f32>> {
            values.chunks(step).map(<[f32]>::to_vec).collect()
        };
        let halve = |pages: &[Vec<f32>]| -> Vec<Vec<f16>> {
            pages
                .iter()
                .map(|p| p.iter().map(|v| f16::from_f32(*v)).collect())
                .collect()
        };
        let (keys, values) = (cut(&data.keys), cut(&data.values));
        let (half_keys, half_values) = (halve(&keys), halve(&values));
        let keys: Vec<&[f32]> = keys.iter().map(Vec::as_slice).collect();
        let values: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
        let half_keys: Vec<&[f16]> = half_keys.iter().map(Vec::as_slice).collect();
        let half_values: Vec<&[f16]> = half_values.iter().map(Vec::as_slice).collect();
        let mut out = vec![f32::NAN; range.len() * width];
        ops::attention(
            pool,
            AttentionArgs {
                query: &data.query[range.start * width..range.end * width],
                keys: if self.halves {
                    KvPages::F16(&half_keys)
                } else {
                    KvPages::F32(&keys)
                },
                values: if self.halves {
                    KvPages::F16(&half_values)
                } else {
                    KvPages::F32(&values)
                },
                page_tokens: page,
                positions,
                start: range.start,
                heads: self.heads,
                kv_heads: self.kv_heads,
                head_dim: self.head_dim,
                causal: self.causal,
                window: self.window,
                scale: 0.7,
                soft_cap: self.soft_cap,
                sinks: self.sinks.then_some(&data.sinks),
                out: &mut out,
            },
        );
        out
    }

    fn formula(&self, data: &Data) -> Vec<f64> {
        let (dim, group) = (self.head_dim, self.heads / self.kv_heads);
        let mut out = Vec::new();
        for token in 0..self.tokens {
            let end = if self.causal { token + 1 } else { self.tokens };
            let start = self.window.map_or(0, |window| end.saturating_sub(window));
            for head in 0..self.heads {
                let query = &data.query[(token * self.heads + head) * dim..][..dim];
                let row = |from: &[f32], j: usize| -> Vec<f64> {
                    from[(j * self.kv_heads + head / group) * dim..][..dim]
                        .iter()
                        .map(|v| f64::from(*v))
                        .collect()
                };
                let weights: Vec<f64> = (start..end)
                    .map(|j| {
                        row(&data.keys, j)
                            .iter()
                            .zip(query)
                            .map(|(k, q)| k * f64::from(*q))
                            .sum::<f64>()
                            * 0.7
                    })
                    .map(|score| match self.soft_cap.map(f64::from) {
                        Some(cap) => cap * (score / cap).tanh(),
                        None => score,
                    })
                    .map(f64::exp)
                    .collect();
                let mut total: f64 = weights.iter().sum();
                if self.sinks {
                    total += f64::from(data.sinks[head]).exp();
                }
                for d in 0..dim {
                    let sum: f64 = (start..end)
                        .zip(&weights)
                        .map(|(j, w)| w * row(&data.values, j)[d])
                        .sum();
                    out.push(sum / total);
                }
            }
        }
        out
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_case(
        tokens in 1usize..150, kv_heads in 1usize..4, group in 1usize..5, head_dim in 1usize..40,
        kind in 0usize..3, window in 1usize..60, halves: bool,
        caps: bool, sinks: bool, page in 1usize..40, cut in 0.0f64..1.0, seed in 0u64..1000,
    ) {
        let case = Case {
            tokens, heads: kv_heads * group, kv_heads, head_dim, causal: kind > 0,
            window: (kind == 2).then_some(window), halves,
            soft_cap: caps.then_some(1.5), sinks, seed,
        };
        let data = case.data();
        let (one, two) = (Pool::new(1), Pool::new(2));
        let got = case.run(&data, &one, tokens, 0..tokens);
        for (got, expected) in got.iter().zip(case.formula(&data)) {
            prop_assert!((f64::from(*got) - expected).abs() < 1e-5, "{got} {expected}");
        }
        // Other pages, other threads, and the queries in two chunks: the same bits.
        let middle = (cut * tokens as f64) as usize;
        let mut chunks = case.run(&data, &two, page, 0..middle);
        chunks.extend(case.run(&data, &two, page, middle..tokens));
        prop_assert_eq!(bits(&got), bits(&chunks));
    }
}
