//! The low-rank adapter of a decoder: which projections it changes, and where its matrices stand.

use std::ops::Range;

use outcrop_api::{Error, Result};

use outcrop_inference::Checkpoint;
use serde::{Deserialize, Serialize};

use super::layout::Slot;
use super::{Decoder, LayerSlots};
use crate::layers::low_rank::{Dropout, LowRank};
use crate::parameters::Parameters;
use crate::random::Random;

/// How a LoRA adapter is made (arXiv:2106.09685).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LowRankOptions {
    /// Rank of the matrices (8).
    pub rank: usize,
    /// The change is multiplied by `alpha / rank` (16).
    pub alpha: f32,
    /// Probability of dropping an element of what goes in (0).
    pub dropout: f32,
    /// Modules that are changed, by the ends of their names (`q_proj`, `v_proj`, ...).
    pub target_modules: Vec<String>,
}

impl Default for LowRankOptions {
    fn default() -> Self {
        let all = "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj";
        Self {
            rank: 8,
            alpha: 16.0,
            dropout: 0.0,
            target_modules: all.split(' ').map(str::to_owned).collect(),
        }
    }
}

/// Which product of a layer is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Site {
    Qkv,
    Output,
    GateUp,
    Down,
}

/// One changed module: part of a product's output features.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub site: Site,
    pub outputs: Range<usize>,
    down: Range<usize>,
    up: Range<usize>,
}

/// An adapter's matrices, and where they go.
#[derive(Clone, Debug)]
pub(super) struct LowRankModel {
    pub options: LowRankOptions,
    pub parameters: Parameters,
    /// One entry a layer.
    pub layers: Vec<Vec<Change>>,
}

/// What a pass's dropout is made from; none is dropped without it.
#[derive(Clone, Copy, Debug)]
pub struct DropoutKey {
    /// The job's seed.
    pub seed: u64,
    /// The optimiser's step.
    pub step: u64,
    /// The batch's number within the step.
    pub part: u64,
}

impl Decoder {
    /// Adds an adapter, which alone is trained then: A random by `seed`, B zero.
    ///
    /// # Errors
    /// `ValidationException` for a rank of 0, a dropout outside `0..1`, or a target module that the
    /// model does not have.
    pub fn add_low_rank(&mut self, options: LowRankOptions, seed: u64) -> Result<()> {
        check(&options)?;
        let mut parameters = Parameters::default();
        let mut layers = Vec::new();
        let mut found = vec![false; options.target_modules.len()];
        for slots in &self.layers {
            let mut changes = Vec::new();
            for (site, slot) in sites(slots) {
                for (name, outputs) in &slot.modules {
                    let Some(target) = target_of(name, &options.target_modules) else {
                        continue;
                    };
                    found[target] = true;
                    let shape = (options.rank, slot.cols, outputs.len());
                    let (down, up) = add(&mut parameters, name, shape, seed);
                    changes.push(Change {
                        site,
                        outputs: outputs.clone(),
                        down,
                        up,
                    });
                }
            }
            layers.push(changes);
        }
        if let Some(missing) = found.iter().position(|found| !found) {
            return Err(Error::validation(format!(
                "target_modules: expected modules of the model ({}), got {}",
                self.module_names().join(", "),
                options.target_modules[missing]
            )));
        }
        self.low_rank = Some(LowRankModel {
            options,
            parameters,
            layers,
        });
        Ok(())
    }

    /// Takes the adapter's matrices from PEFT's file.
    ///
    /// # Errors
    /// `ValidationException` where the decoder has no adapter; `ModelErrorException` for a matrix that
    /// is missing or of another shape.
    pub fn read_low_rank(&mut self, adapter: &Checkpoint) -> Result<()> {
        let Some(low_rank) = &mut self.low_rank else {
            return Err(Error::validation("the decoder has no adapter to read"));
        };
        let Parameters { tensors, values } = &mut low_rank.parameters;
        for tensor in tensors {
            let read = adapter.numbers(&tensor.name, &tensor.shape)?;
            values[tensor.range.clone()].copy_from_slice(&read);
        }
        Ok(())
    }

    /// The adapter's options, where the model has one.
    pub fn low_rank_options(&self) -> Option<&LowRankOptions> {
        self.low_rank.as_ref().map(|low_rank| &low_rank.options)
    }

    /// The last parts of the names of a layer's modules.
    fn module_names(&self) -> Vec<&str> {
        let slots = self.layers.first().map(sites);
        let modules = slots
            .into_iter()
            .flatten()
            .flat_map(|(_, slot)| &slot.modules);
        modules
            .filter_map(|(name, _)| name.rsplit('.').next())
            .collect()
    }

    /// The part of the model's weights that each change adds to, with its matrices.
    pub(crate) fn changed_weights(&self) -> impl Iterator<Item = (Range<usize>, LowRank<'_>)> {
        let layers = self.low_rank.iter().flat_map(|low_rank| &low_rank.layers);
        let all = layers
            .enumerate()
            .flat_map(|(layer, changes)| changes.iter().map(move |change| (layer, change)));
        all.filter_map(|(layer, change)| {
            let slots = sites(&self.layers[layer]);
            let (_, slot) = slots.into_iter().find(|(site, _)| *site == change.site)?;
            let start = slot.weight.start + change.outputs.start * slot.cols;
            let weight = start..start + change.outputs.len() * slot.cols;
            Some((weight, self.change_of(change, (layer, 0), None)?))
        })
    }

    /// The changes of a layer's product, with what drops their input.
    pub(super) fn changes(
        &self,
        layer: usize,
        site: Site,
    ) -> impl Iterator<Item = (usize, &Change)> {
        let all = self
            .low_rank
            .as_ref()
            .map(|low_rank| &low_rank.layers[layer]);
        let all = all.into_iter().flatten().enumerate();
        all.filter(move |(_, change)| change.site == site)
    }

    /// The matrices of a layer's change.
    pub(super) fn change_of(
        &self,
        change: &Change,
        (layer, number): (usize, usize),
        key: Option<DropoutKey>,
    ) -> Option<LowRank<'_>> {
        let low_rank = self.low_rank.as_ref()?;
        let options = &low_rank.options;
        let dropout = key.map(|key| {
            let parts = [key.step, key.part, layer as u64, number as u64];
            Dropout {
                probability: options.dropout,
                key: Random::of_parts(key.seed, &parts).bits(),
            }
        });
        Some(LowRank {
            down: low_rank.parameters.at(&change.down),
            up: low_rank.parameters.at(&change.up),
            rank: options.rank,
            scale: options.alpha / options.rank as f32,
            dropout: dropout.unwrap_or_default(),
        })
    }
}

impl Change {
    /// A's and B's parts of the gradients.
    pub fn split<'a>(&self, gradients: &'a mut [f32]) -> (&'a mut [f32], &'a mut [f32]) {
        let both = &mut gradients[self.down.start..self.up.end];
        both.split_at_mut(self.down.len())
    }
}

/// The products of a layer, in their order.
fn sites(slots: &LayerSlots) -> [(Site, &Slot); 4] {
    [
        (Site::Qkv, &slots.qkv),
        (Site::Output, &slots.output),
        (Site::GateUp, &slots.gate_up),
        (Site::Down, &slots.down),
    ]
}

/// Which of `targets` chooses the module `name`, as PEFT matches them.
fn target_of(name: &str, targets: &[String]) -> Option<usize> {
    targets.iter().position(|target| {
        let start = name.strip_suffix(target.as_str());
        start.is_some_and(|start| start.is_empty() || start.ends_with('.'))
    })
}

/// Adds a module's matrices under PEFT's names. A starts as PEFT's: uniform within
/// `1 / sqrt(cols)`.
fn add(
    parameters: &mut Parameters,
    module: &str,
    (rank, cols, rows): (usize, usize, usize),
    seed: u64,
) -> (Range<usize>, Range<usize>) {
    let mut random = Random::of_parts(seed, &[parameters.values.len() as u64]);
    let bound = 1.0 / (cols as f64).sqrt();
    let mut uniform = || ((random.unit() * 2.0 - 1.0) * bound) as f32;
    let down: Vec<f32> = (0..rank * cols).map(|_| uniform()).collect();
    let name = |part: &str| format!("base_model.model.{module}.{part}.weight");
    (
        parameters.add(name("lora_A"), &[rank, cols], &down),
        parameters.add(name("lora_B"), &[rows, rank], &vec![0.0; rows * rank]),
    )
}

fn check(options: &LowRankOptions) -> Result<()> {
    let wrong = |message: String| Err(Error::validation(message));
    if options.rank == 0 {
        return wrong("rank: expected at least 1, got 0".to_owned());
    }
    if !(options.alpha > 0.0 && options.alpha.is_finite()) {
        return wrong(format!("alpha: expected above 0, got {}", options.alpha));
    }
    if !(0.0..1.0).contains(&options.dropout) {
        return wrong(format!("dropout: expected 0..1, got {}", options.dropout));
    }
    if options.target_modules.is_empty() {
        return wrong("target_modules: expected at least one, got none".to_owned());
    }
    Ok(())
}
