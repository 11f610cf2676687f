//! LoRA adapters (arXiv:2106.09685): low-rank changes to a decoder's projections, by sequence.

mod config;
mod load;
mod modules;
mod registry;
mod stacked;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use outcrop_api::AdapterInfo;
use outcrop_tensor::{Pool, ops};

pub(crate) use registry::Adapters;

use crate::decoder_weights::Site;
use crate::step::Rows;

/// Rows that one task computes.
const TASK_ROWS: usize = 16;

/// A LoRA adapter in memory: it changes the rows of the sequences that name it.
#[derive(Debug)]
pub struct Adapter {
    name: String,
    identity: u64,
    layers: Vec<BTreeMap<Site, LowRank>>,
}

/// What is added to one projection: `scale * up (down x)`.
#[derive(Debug)]
struct LowRank {
    inputs: usize,
    outputs: usize,
    /// PEFT's A, `(rank, inputs)`; projections that were one in training share it.
    down: Arc<Vec<f32>>,
    /// PEFT's B, turned: `(rank, outputs)`.
    up: Vec<f32>,
    scale: f32,
}

impl Adapter {
    /// The name that requests call it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A number that no other adapter of this process has or had, nor the same one loaded again.
    pub fn identity(&self) -> u64 {
        self.identity
    }

    /// Its change to a projection of `layer`.
    fn change(&self, layer: usize, site: Site) -> Option<&LowRank> {
        self.layers.get(layer)?.get(&site)
    }

    /// What is known of it.
    pub fn info(&self) -> AdapterInfo {
        let changes = || self.layers.iter().flat_map(BTreeMap::values);
        let sites: BTreeSet<Site> = self
            .layers
            .iter()
            .flat_map(BTreeMap::keys)
            .copied()
            .collect();
        let mut kinds: Vec<String> = sites.into_iter().map(modules::kind).collect();
        kinds.dedup();
        let downs: BTreeMap<*const f32, usize> = changes()
            .map(|change| (change.down.as_ptr(), change.down.len()))
            .collect();
        let ups: usize = changes().map(|change| change.up.len()).sum();
        let ranks: BTreeSet<usize> = changes().map(LowRank::rank).collect();
        AdapterInfo {
            name: self.name.clone(),
            modules: kinds,
            ranks: ranks.into_iter().collect(),
            bytes: 4 * (downs.values().sum::<usize>() + ups) as u64,
        }
    }
}

/// Consecutive rows of one adapter, or of none.
#[derive(Clone, Copy)]
pub(crate) struct Span<'a> {
    pub adapter: Option<&'a Adapter>,
    pub rows: usize,
}

/// The spans of whole sequences.
pub(crate) fn spans<'a>(rows: &[Rows<'a>]) -> impl Iterator<Item = Span<'a>> + Clone {
    rows.iter().map(|r| Span {
        adapter: r.adapter,
        rows: r.tokens.len(),
    })
}

/// Adds to `out`, `(rows, outputs)`, what the rows' adapters change in a projection of `layer`
/// whose input is `x`, `(rows, inputs)`.
///
/// The bits of each row depend on its own input and adapter only.
pub(crate) fn apply<'a>(
    pool: &Pool,
    (layer, site): (usize, Site),
    spans: impl Iterator<Item = Span<'a>> + Clone,
    x: &[f32],
    out: &mut [f32],
) {
    if spans.clone().all(|span| span.adapter.is_none()) {
        return;
    }
    let count: usize = spans.clone().map(|span| span.rows).sum();
    let (inputs, outputs) = (x.len() / count, out.len() / count);
    let (mut x, mut out, mut tasks) = (x, out, Vec::new());
    for span in spans {
        let (own_x, others) = x.split_at(span.rows * inputs);
        let own_out = out.split_off_mut(..span.rows * outputs);
        x = others;
        let change = span.adapter.and_then(|adapter| adapter.change(layer, site));
        if let (Some(change), Some(own_out)) = (change, own_out) {
            let parts = own_x
                .chunks(TASK_ROWS * inputs)
                .zip(own_out.chunks_mut(TASK_ROWS * outputs));
            tasks.extend(parts.map(|(x, out)| Mutex::new((change, x, out))));
        }
    }
    pool.run(tasks.len(), |index| {
        // No task is taken twice, so nobody waits for this lock.
        let mut task = tasks[index].lock().unwrap_or_else(PoisonError::into_inner);
        let (change, x, out) = &mut *task;
        change.add(x, out);
    });
}

impl LowRank {
    fn rank(&self) -> usize {
        self.down.len() / self.inputs
    }

    /// Adds its change of `x`, `(rows, inputs)`, to `out`, `(rows, outputs)`.
    fn add(&self, x: &[f32], out: &mut [f32]) {
        let rows = x.chunks_exact(self.inputs);
        for (x, out) in rows.zip(out.chunks_exact_mut(self.outputs)) {
            let matrices = self.down.chunks_exact(self.inputs);
            for (down, up) in matrices.zip(self.up.chunks_exact(self.outputs)) {
                ops::axpy(self.scale * ops::dot(down, x), up, out);
            }
        }
    }
}

/// The part of `matrix`, whose rows are `width` long, with some rows and columns, transposed.
fn turned(
    matrix: &[f32],
    width: usize,
    rows: impl Iterator<Item = usize> + Clone,
    columns: impl Iterator<Item = usize>,
) -> Vec<f32> {
    columns
        .flat_map(|column| rows.clone().map(move |row| matrix[row * width + column]))
        .collect()
}
