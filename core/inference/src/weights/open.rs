//! Opening a checkpoint: which files it is of, and the tensors that their headers tell of.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use super::storage::Storage;
use super::{
    Checkpoint, GgufValue, MappedFile, ModelSource, Tensor, WeightsError, gguf, gguf_split,
    model_file, read_json, safetensors,
};

impl Checkpoint {
    pub(super) fn open_folder(folder: &Path) -> Result<Self, WeightsError> {
        let config = read_json(&folder.join("config.json"), "the model's configuration")?;
        let mut checkpoint = Self {
            path: folder.to_owned(),
            source: ModelSource::HuggingFace {
                folder: folder.to_owned(),
                config,
            },
            files: Vec::new(),
            tensors: BTreeMap::new(),
        };
        for (file, names) in model_file::safetensors_files(folder)? {
            checkpoint.add_safetensors(&file)?;
            if let Some(name) = names.iter().find(|name| !checkpoint.contains(name)) {
                return Err(WeightsError::NoTensor {
                    file,
                    name: name.clone(),
                });
            }
        }
        Ok(checkpoint)
    }

    /// Opens a PEFT adapter's folder: `adapter_config.json` beside `adapter_model.safetensors`.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open_adapter(folder: &Path) -> Result<Self, WeightsError> {
        if !folder.exists() {
            return Err(WeightsError::NotFound {
                path: folder.to_owned(),
            });
        }
        let config = folder.join("adapter_config.json");
        let mut checkpoint = Self {
            path: folder.to_owned(),
            source: ModelSource::HuggingFace {
                folder: folder.to_owned(),
                config: read_json(&config, "a LoRA adapter's configuration, as PEFT writes it")?,
            },
            files: Vec::new(),
            tensors: BTreeMap::new(),
        };
        let weights = folder.join("adapter_model.safetensors");
        if !weights.exists() {
            return Err(WeightsError::Missing {
                file: weights,
                expected: "a LoRA adapter's matrices, as PEFT writes them",
            });
        }
        checkpoint.add_safetensors(&weights)?;
        Ok(checkpoint)
    }

    fn add_safetensors(&mut self, path: &Path) -> Result<(), WeightsError> {
        let map = model_file::map(path)?;
        let entries =
            safetensors::read_header(&map).map_err(|detail| WeightsError::corrupt(path, detail))?;
        self.add_file(path, map, |file| {
            entries.into_iter().map(move |entry| {
                let tensor = Tensor {
                    file,
                    dtype: Storage::of_element(entry.dtype),
                    shape: entry.shape,
                    start: entry.start,
                    len: entry.len,
                };
                (entry.name, tensor)
            })
        })
    }

    pub(super) fn open_gguf(path: &Path) -> Result<Self, WeightsError> {
        let mut checkpoint = Self {
            path: path.to_owned(),
            source: ModelSource::Gguf {
                metadata: BTreeMap::new(),
            },
            files: Vec::new(),
            tensors: BTreeMap::new(),
        };
        let metadata = checkpoint.add_gguf(path)?;
        for (file, number) in gguf_split::other_files(path, &metadata)?.iter().zip(1..) {
            let own = checkpoint.add_gguf(file)?;
            gguf_split::check_number(file, &own, number)?;
        }
        checkpoint.source = ModelSource::Gguf { metadata };
        Ok(checkpoint)
    }

    /// Adds a file's tensors and gives its metadata.
    fn add_gguf(&mut self, path: &Path) -> Result<BTreeMap<String, GgufValue>, WeightsError> {
        let map = model_file::map(path)?;
        let header =
            gguf::read_header(&map).map_err(|detail| WeightsError::corrupt(path, detail))?;
        self.add_file(path, map, |file| {
            header.tensors.into_iter().map(move |t| {
                let tensor = Tensor {
                    file,
                    dtype: Storage::of_ggml(t.dtype),
                    shape: t.shape,
                    start: t.start,
                    len: t.len,
                };
                (t.name, tensor)
            })
        })?;
        Ok(header.metadata)
    }

    /// Adds a mapped file with its tensors, whose names must be new.
    fn add_file<I: Iterator<Item = (String, Tensor)>>(
        &mut self,
        path: &Path,
        map: Arc<Mmap>,
        tensors: impl FnOnce(usize) -> I,
    ) -> Result<(), WeightsError> {
        let file = self.files.len();
        self.files.push(MappedFile {
            path: path.to_owned(),
            map,
        });
        for (name, tensor) in tensors(file) {
            match self.tensors.entry(name) {
                Entry::Vacant(place) => place.insert(tensor),
                Entry::Occupied(other) => {
                    return Err(WeightsError::corrupt(
                        path,
                        format!(
                            "tensor {} also stands in {}",
                            other.key(),
                            self.files[other.get().file].path.display()
                        ),
                    ));
                }
            };
        }
        Ok(())
    }

    /// The checkpoint with `prefix` before the name of each tensor that does not begin with it.
    pub(crate) fn with_prefix(mut self, prefix: &str) -> Self {
        self.tensors = std::mem::take(&mut self.tensors)
            .into_iter()
            .map(|(name, tensor)| match name.starts_with(prefix) {
                true => (name, tensor),
                false => (format!("{prefix}{name}"), tensor),
            })
            .collect();
        self
    }
}
