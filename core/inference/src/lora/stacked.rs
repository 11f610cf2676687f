//! Reads the changes of experts that a base holds in two parameters, all of a layer's in one.

use std::sync::Arc;

use crate::decoder_weights::Site;
use crate::lora::load::{Loader, Module};
use crate::lora::{LowRank, modules, turned};
use crate::weights::WeightsError;

type Read<T> = std::result::Result<T, WeightsError>;

/// A parameter that holds a layer's experts.
struct Parameter {
    /// What the adapter chooses it by.
    name: String,
    /// Inputs and outputs of one expert.
    inputs: usize,
    outputs: usize,
    is_down: bool,
}

impl Loader<'_> {
    /// What `module`, which holds a layer's experts, changes in each of them. PEFT's A has the
    /// experts one behind the other, its B for each rank a column of each expert.
    pub(super) fn experts(&self, module: &Module<'_>) -> Read<Vec<(Site, LowRank)>> {
        let parameter = self.parameter(module)?;
        let Parameter {
            inputs,
            outputs,
            is_down,
            ..
        } = parameter;
        let config = self.decoder.config();
        let count = config.experts.as_ref().map_or(0, |experts| experts.count);
        let rank = self.config.rank(&parameter.name);
        let all_down = self.matrix(module, "A", [count * rank, inputs])?;
        let all_up = self.matrix(module, "B", [outputs, rank * count])?;
        let is_alternate = config.architecture == "gpt_oss";
        let mut changes = Vec::new();
        for (expert, down) in all_down.chunks_exact(rank * inputs).enumerate() {
            let down = Arc::new(down.to_vec());
            let (gate, up) = (Site::ExpertGate(expert), Site::ExpertUp(expert));
            // Where a projection's rows begin, and how far apart they stand.
            let parts: &[(Site, usize, usize)] = match (is_down, is_alternate) {
                (true, _) => &[(Site::ExpertDown(expert), 0, 1)],
                (_, false) => &[(gate, 0, 1), (up, outputs / 2, 1)],
                (_, true) => &[(gate, 0, 2), (up, 1, 2)],
            };
            for &(site, first, step) in parts {
                let own = outputs / parts.len();
                let rows = (first..outputs).step_by(step).take(own);
                let columns = (expert..rank * count).step_by(count);
                let change = LowRank {
                    inputs,
                    outputs: own,
                    down: down.clone(),
                    up: turned(&all_up, rank * count, rows, columns),
                    scale: self.config.scale(&parameter.name),
                };
                changes.push((site, change));
            }
        }
        Ok(changes)
    }

    /// The parameter that `module` changes. PEFT's names do not say which one is meant; the shapes
    /// of its matrices do, since no expert is as wide as the model and half as wide at once.
    fn parameter(&self, module: &Module<'_>) -> Read<Parameter> {
        let Some((hidden, width)) = self.shape(module.layer, Site::ExpertDown(0)) else {
            return Err(self.wrong(format!(
                "module {}: the base has no experts in layer {}",
                module.name, module.layer
            )));
        };
        let shape = |matrix| self.checkpoint.shape(&self.tensor(module, matrix));
        let is_down = shape("B").is_some_and(|shape| shape.first() == Some(&hidden))
            && shape("A").is_some_and(|shape| shape.last() == Some(&width));
        let (own, inputs, outputs) = match is_down {
            true => ("down_proj", width, hidden),
            false => ("gate_up_proj", hidden, 2 * width),
        };
        let (before, _) = module.name.split_once(modules::STACKED).unwrap_or_default();
        let name = format!("{before}{}.{own}", modules::STACKED);
        if !self.config.targets_parameter(&name) {
            return Err(self.not_chosen(&name));
        }
        Ok(Parameter {
            name,
            inputs,
            outputs,
            is_down,
        })
    }
}
