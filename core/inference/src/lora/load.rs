//! Reads a PEFT folder: `adapter_config.json` beside `adapter_model.safetensors`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use outcrop_api::{Error, Result};

use crate::decoder_config::RopeOrder;
use crate::decoder_weights::{Decoder, Site};
use crate::lora::config::LoraConfig;
use crate::lora::modules::{self, Content};
use crate::lora::{Adapter, LowRank, turned};
use crate::weights::{Checkpoint, ModelSource, WeightsError};

/// What PEFT writes before the base's own names.
const PREFIX: &str = "base_model.model.";

/// The number of the next adapter.
static NEXT_IDENTITY: AtomicU64 = AtomicU64::new(1);

type Read<T> = std::result::Result<T, WeightsError>;

/// A module whose two matrices stand in the file.
pub(super) struct Module<'a> {
    /// Its name in the base, such as `model.layers.0.self_attn.q_proj`.
    pub(super) name: &'a str,
    pub(super) layer: usize,
    content: Content,
    /// What stands behind `lora_A` and `lora_B`: `.weight`, or an adapter's name before it.
    end: &'a str,
}

/// What a folder is read by.
pub(super) struct Loader<'a> {
    pub(super) decoder: &'a Decoder,
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) config: LoraConfig,
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
    pub(super) fn shape(&self, layer: usize, site: Site) -> Option<(usize, usize)> {
        let linear = self.decoder.layers.get(layer)?.linear(site)?;
        Some((linear.weight.rows(), linear.weight.cols()))
    }

    fn layers(&self) -> Read<Vec<BTreeMap<Site, LowRank>>> {
        let mut layers: Vec<BTreeMap<Site, LowRank>> = Vec::new();
        layers.resize_with(self.decoder.config().layers(), BTreeMap::new);
        let mut modules = BTreeMap::new();
        for tensor in self.checkpoint.names() {
            let module = self.module(tensor)?;
            modules.insert((module.name, module.end), module);
        }
        for module in modules.values() {
            let changes = match &module.content {
                Content::Linear(sites) => self.linear(module, sites)?,
                Content::Experts => self.experts(module)?,
            };
            for (site, change) in changes {
                if layers[module.layer].insert(site, change).is_some() {
                    return Err(self.wrong(format!(
                        "module {}: expected it changed once, the file has two changes",
                        module.name
                    )));
                }
            }
        }
        self.check_whole(&layers, modules.values().next())?;
        Ok(layers)
    }

    /// The module that `tensor` belongs to.
    fn module<'n>(&self, tensor: &'n str) -> Read<Module<'n>> {
        let expected = || {
            self.wrong(format!(
                "tensor {tensor}: expected lora_A or lora_B of a layer's {}",
                modules::expected()
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
        let content = modules::content(kind).ok_or_else(expected)?;
        let count = self.decoder.config().layers();
        if layer >= count {
            return Err(self.wrong(format!(
                "tensor {tensor}: expected a layer below {count}, as the base has, got {layer}"
            )));
        }
        Ok(Module {
            name,
            layer,
            content,
            end,
        })
    }

    /// What the adapter chooses the linear module `name` by, where it does: the module, or its
    /// weight alone.
    fn chosen(&self, name: &str, layer: usize) -> Option<String> {
        let weight = format!("{name}.weight");
        if self.config.targets(name, layer) {
            Some(name.to_owned())
        } else {
            self.config.targets_parameter(&weight).then_some(weight)
        }
    }

    /// What a linear `module` changes in each of its projections.
    fn linear(&self, module: &Module<'_>, sites: &[Site]) -> Read<Vec<(Site, LowRank)>> {
        let mut shapes = Vec::new();
        for &site in sites {
            let Some(shape) = self.shape(module.layer, site) else {
                return Err(self.wrong(format!(
                    "module {}: the base has none of that name in layer {}",
                    module.name, module.layer
                )));
            };
            shapes.push(shape);
        }
        let Some(chosen) = self.chosen(module.name, module.layer) else {
            return Err(self.not_chosen(module.name));
        };
        let rank = self.config.rank(&chosen);
        let inputs = shapes[0].1;
        let total: usize = shapes.iter().map(|(outputs, _)| outputs).sum();
        let down = Arc::new(self.matrix(module, "A", [rank, inputs])?);
        let up = self.matrix(module, "B", [total, rank])?;
        let mut first = 0;
        let mut changes = Vec::new();
        for (&site, (outputs, _)) in sites.iter().zip(shapes) {
            let rows = (0..outputs).map(|row| first + self.trained_row(site, row));
            let change = LowRank {
                inputs,
                outputs,
                down: down.clone(),
                up: turned(&up, rank, rows, 0..rank),
                scale: self.config.scale(&chosen),
            };
            changes.push((site, change));
            first += outputs;
        }
        Ok(changes)
    }

    /// The name of a module's A or B.
    pub(super) fn tensor(&self, module: &Module<'_>, matrix: &str) -> String {
        format!("{PREFIX}{}.lora_{matrix}{}", module.name, module.end)
    }

    /// The numbers of a module's A or B.
    pub(super) fn matrix(
        &self,
        module: &Module<'_>,
        matrix: &str,
        shape: [usize; 2],
    ) -> Read<Vec<f32>> {
        self.checkpoint
            .numbers(&self.tensor(module, matrix), &shape)
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

    /// Checks that nothing that the configuration chooses lacks its tensors. `like` is a module that
    /// is there.
    fn check_whole(
        &self,
        layers: &[BTreeMap<Site, LowRank>],
        like: Option<&Module<'_>>,
    ) -> Read<()> {
        let Some(like) = like else {
            return Err(self.wrong("expected tensors lora_A and lora_B, got none"));
        };
        let (before, _) = like.name.split_once("layers.").unwrap_or_default();
        for (layer, changes) in layers.iter().enumerate() {
            for site in self.decoder.layers[layer].sites() {
                if changes.contains_key(&site) {
                    continue;
                }
                let names = self.names(site).into_iter();
                let mut names = names.map(|kind| format!("{before}layers.{layer}.{kind}"));
                if let Some(name) = names.find(|name| self.chosen(name, layer).is_some()) {
                    return Err(self.missing(&name, like));
                }
                let stacked = format!("{before}layers.{layer}.{}", modules::STACKED);
                let parameter = match site {
                    Site::ExpertGate(_) => "gate_up_proj",
                    Site::ExpertDown(_) => "down_proj",
                    _ => continue,
                };
                if self
                    .config
                    .targets_parameter(&format!("{stacked}.{parameter}"))
                {
                    return Err(self.missing(&stacked, like));
                }
            }
        }
        Ok(())
    }

    /// The names that PEFT may know the module at `site` by.
    fn names(&self, site: Site) -> Vec<String> {
        let is_expert = matches!(
            site,
            Site::ExpertGate(_) | Site::ExpertUp(_) | Site::ExpertDown(_)
        );
        // GPT-OSS's experts are no modules of their own in any version of transformers.
        match is_expert && self.decoder.config().architecture == "gpt_oss" {
            true => Vec::new(),
            false => modules::names(site),
        }
    }

    fn missing(&self, module: &str, like: &Module<'_>) -> WeightsError {
        WeightsError::NoTensor {
            file: self.checkpoint.path().to_owned(),
            name: format!("{PREFIX}{module}.lora_A{}", like.end),
        }
    }

    pub(super) fn not_chosen(&self, name: &str) -> WeightsError {
        self.wrong(format!(
            "{name}: expected tensors of what adapter_config.json chooses, it does not choose this"
        ))
    }

    /// The file as one that this decoder cannot take.
    pub(super) fn wrong(&self, detail: impl Into<String>) -> WeightsError {
        WeightsError::Unsupported {
            file: self.checkpoint.path().to_owned(),
            detail: detail.into(),
        }
    }
}
