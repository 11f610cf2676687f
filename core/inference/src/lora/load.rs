//! Reads a PEFT folder: `adapter_config.json` beside `adapter_model.safetensors`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use outcrop_api::{Error, Result};

use crate::decoder_config::RopeOrder;
use crate::decoder_weights::{Decoder, Site};
use crate::lora::config::LoraConfig;
use crate::lora::{Adapter, LowRank, MODULES};
use crate::weights::{Checkpoint, ModelSource, WeightsError};

/// What PEFT writes before the base's own names.
const PREFIX: &str = "base_model.model.";

/// Modules that hold several projections, one behind the other.
const FUSED: &[(&str, &[Site])] = &[
    ("self_attn.qkv_proj", &[Site::Query, Site::Key, Site::Value]),
    ("mlp.gate_up_proj", &[Site::Gate, Site::Up]),
];

/// The number of the next adapter.
static NEXT_IDENTITY: AtomicU64 = AtomicU64::new(1);

/// A module whose two matrices stand in the file.
struct Module<'a> {
    /// Its name in the base, such as `model.layers.0.self_attn.q_proj`.
    name: &'a str,
    layer: usize,
    sites: &'a [Site],
    /// What stands behind `lora_A` and `lora_B`: `.weight`, or an adapter's name before it.
    end: &'a str,
}

/// What a folder is read by.
struct Loader<'a> {
    decoder: &'a Decoder,
    checkpoint: &'a Checkpoint,
    config: LoraConfig,
    /// Rows of queries and keys stand in llama.cpp's order.
    permuted: bool,
}

impl Adapter {
    /// Loads the adapter in `folder` for `decoder` as `name`. `is_gguf`: the decoder's weights are
    /// a GGUF file's.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where nothing is there, `ModelErrorException` naming the file
    /// and the field or tensor that is damaged, not supported, or does not fit the decoder.
    pub(crate) fn load(
        name: &str,
        folder: &Path,
        decoder: &Decoder,
        is_gguf: bool,
    ) -> Result<Self> {
        let checkpoint = Checkpoint::open_adapter(folder)?;
        let ModelSource::HuggingFace { config, .. } = checkpoint.config() else {
            return Err(Error::internal("an adapter's folder is not a GGUF file"));
        };
        let config = LoraConfig::read(config).map_err(|detail| {
            let file = folder.join("adapter_config.json");
            Error::from(WeightsError::Unsupported { file, detail })
        })?;
        let loader = Loader {
            decoder,
            checkpoint: &checkpoint,
            config,
            permuted: is_gguf
                && decoder
                    .config()
                    .ropes
                    .iter()
                    .any(|rope| rope.order == RopeOrder::Interleaved),
        };
        Ok(Self {
            name: name.to_owned(),
            identity: NEXT_IDENTITY.fetch_add(1, Ordering::Relaxed),
            layers: loader.layers()?,
        })
    }
}

impl Loader<'_> {
    /// Outputs and inputs of a projection, where the layer has it.
    fn shape(&self, layer: usize, site: Site) -> Option<(usize, usize)> {
        let linear = self.decoder.layers.get(layer)?.linear(site)?;
        Some((linear.weight.rows(), linear.weight.cols()))
    }

    fn layers(&self) -> std::result::Result<Vec<[Option<LowRank>; MODULES.len()]>, WeightsError> {
        let mut layers: Vec<[Option<LowRank>; MODULES.len()]> = Vec::new();
        layers.resize_with(self.decoder.config().layers(), Default::default);
        let mut modules = BTreeMap::new();
        for tensor in self.checkpoint.names() {
            let module = self.module(tensor)?;
            modules.insert((module.name, module.end), module);
        }
        for module in modules.values() {
            for (site, change) in self.changes(module)? {
                let place = MODULES.iter().position(|(_, of)| *of == site);
                if let Some(place) = place.and_then(|at| layers[module.layer].get_mut(at)) {
                    if place.is_some() {
                        return Err(self.wrong(format!(
                            "module {}: expected it changed once, the file has two changes",
                            module.name
                        )));
                    }
                    *place = Some(change);
                }
            }
        }
        self.check_whole(&layers, modules.values().next())?;
        Ok(layers)
    }

    /// The module that `tensor` belongs to.
    fn module<'n>(&self, tensor: &'n str) -> std::result::Result<Module<'n>, WeightsError> {
        let expected = || {
            let names = MODULES.iter().map(|(name, _)| *name);
            let all: Vec<&str> = names.chain(FUSED.iter().map(|(name, _)| *name)).collect();
            self.wrong(format!(
                "tensor {tensor}: expected lora_A or lora_B of a layer's {}",
                all.join(", ")
            ))
        };
        let own = tensor.strip_prefix(PREFIX).ok_or_else(expected)?;
        let (name, end) = own
            .split_once(".lora_A")
            .or_else(|| own.split_once(".lora_B"))
            .filter(|(_, end)| end.starts_with('.') && end.ends_with(".weight"))
            .ok_or_else(expected)?;
        let (_, place) = name.split_once("layers.").ok_or_else(expected)?;
        let (layer, kind) = place.split_once('.').ok_or_else(expected)?;
        let layer: usize = layer.parse().map_err(|_| expected())?;
        let single = MODULES.iter().find(|(name, _)| *name == kind);
        let fused = FUSED.iter().find(|(name, _)| *name == kind);
        let sites = match (single, fused) {
            (Some((_, site)), _) => std::slice::from_ref(site),
            (_, Some((_, sites))) => *sites,
            _ => return Err(expected()),
        };
        let count = self.decoder.config().layers();
        if layer >= count {
            return Err(self.wrong(format!(
                "tensor {tensor}: expected a layer below {count}, as the base has, got {layer}"
            )));
        }
        if !self.config.targets(name, layer) {
            return Err(self.wrong(format!(
                "tensor {tensor}: expected tensors of the modules that adapter_config.json chooses, {name} is none of them"
            )));
        }
        Ok(Module {
            name,
            layer,
            sites,
            end,
        })
    }

    /// What `module` changes in each of its projections.
    fn changes(
        &self,
        module: &Module<'_>,
    ) -> std::result::Result<Vec<(Site, LowRank)>, WeightsError> {
        let rank = self.config.rank(module.name);
        let mut shapes = Vec::new();
        for &site in module.sites {
            let Some(shape) = self.shape(module.layer, site) else {
                return Err(self.wrong(format!(
                    "module {}: the base has none of that name in layer {}",
                    module.name, module.layer
                )));
            };
            shapes.push(shape);
        }
        let inputs = shapes[0].1;
        let outputs: usize = shapes.iter().map(|(outputs, _)| outputs).sum();
        let name = |matrix: &str| format!("{PREFIX}{}.lora_{matrix}{}", module.name, module.end);
        let down = self.checkpoint.matrix(&name("A"), rank, inputs)?;
        let up = self.checkpoint.matrix(&name("B"), outputs, rank)?;
        let mut floats = vec![0.0; rank * inputs];
        for (row, out) in floats.chunks_exact_mut(inputs).enumerate() {
            down.dequantize_row(row, out);
        }
        let down = Arc::new(floats);
        let mut first = 0;
        let mut changes = Vec::new();
        for (&site, (outputs, _)) in module.sites.iter().zip(shapes) {
            let mut turned = vec![0.0; rank * outputs];
            let mut row = vec![0.0; rank];
            for output in 0..outputs {
                up.dequantize_row(first + self.trained_row(site, output), &mut row);
                for (value, place) in row.iter().zip(turned[output..].iter_mut().step_by(outputs)) {
                    *place = *value;
                }
            }
            first += outputs;
            let change = LowRank {
                inputs,
                outputs,
                down: down.clone(),
                up: turned,
                scale: self.config.scale(module.name),
            };
            changes.push((site, change));
        }
        Ok(changes)
    }

    /// The row of the trained matrix that gives output `row` of the base's projection. llama.cpp's
    /// converter puts the two halves of each query's and key's head one into the other.
    fn trained_row(&self, site: Site, row: usize) -> usize {
        if !self.permuted || !matches!(site, Site::Query | Site::Key) {
            return row;
        }
        let width = self.decoder.config().head_dim;
        let (head, at) = (row / width, row % width);
        head * width + at % 2 * (width / 2) + at / 2
    }

    /// Checks that no module that the configuration chooses lacks its tensors. `like` is one that
    /// is there.
    fn check_whole(
        &self,
        layers: &[[Option<LowRank>; MODULES.len()]],
        like: Option<&Module<'_>>,
    ) -> std::result::Result<(), WeightsError> {
        let Some(like) = like else {
            return Err(self.wrong("expected tensors lora_A and lora_B, got none"));
        };
        let (before, _) = like.name.split_once("layers.").unwrap_or_default();
        for (layer, changes) in layers.iter().enumerate() {
            for ((kind, site), change) in MODULES.iter().zip(changes) {
                let name = format!("{before}layers.{layer}.{kind}");
                let is_there = change.is_some() || self.shape(layer, *site).is_none();
                if !is_there && self.config.targets(&name, layer) {
                    return Err(WeightsError::NoTensor {
                        file: self.checkpoint.path().to_owned(),
                        name: format!("{PREFIX}{name}.lora_A{}", like.end),
                    });
                }
            }
        }
        Ok(())
    }

    /// The file as one that this decoder cannot take.
    fn wrong(&self, detail: impl Into<String>) -> WeightsError {
        WeightsError::Unsupported {
            file: self.checkpoint.path().to_owned(),
            detail: detail.into(),
        }
    }
}
