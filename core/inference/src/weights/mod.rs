//! A model's named tensors, memory-mapped from a Hugging Face folder or a GGUF file.
//!
//! Files are taken as hostile: headers are read by [`safetensors::read_header`] and
//! [`gguf::read_header`], which believe no count and no offset. A file that another process cuts
//! short while it is mapped is beyond that: the system then ends the process, as for any mapping.

mod error;
pub mod gguf;
mod gguf_fields;
mod gguf_split;
mod gguf_value;
mod model_file;
pub mod safetensors;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use outcrop_tensor::{Bytes, DType, Weight};

pub use error::WeightsError;
pub(crate) use gguf_fields::GgufFields;
pub use gguf_value::{GgufArray, GgufValue};
pub(crate) use model_file::{read_json, read_text};

/// Where a checkpoint is from, with what its files say of the model.
#[derive(Clone, Debug)]
pub enum ModelSource {
    /// A folder in the layout of the Hugging Face hub.
    HuggingFace {
        /// The folder.
        folder: PathBuf,
        /// Its `config.json`.
        config: serde_json::Value,
    },
    /// A GGUF file.
    Gguf {
        /// Its metadata, by key.
        metadata: BTreeMap<String, GgufValue>,
    },
}

/// One tensor: where its bytes stand.
#[derive(Debug)]
struct Tensor {
    /// Index in [`Checkpoint::files`].
    file: usize,
    dtype: Storage,
    shape: Vec<usize>,
    start: usize,
    len: usize,
}

/// How a tensor is stored.
#[derive(Clone, Copy, Debug)]
enum Storage {
    /// As numbers that the kernels read.
    Numbers(DType),
    /// In a way that only its size is known of; the name is the format's.
    Other(&'static str),
}

/// A mapped file.
#[derive(Debug)]
struct MappedFile {
    path: PathBuf,
    map: Arc<Mmap>,
}

/// The named tensors of a model folder or a GGUF file.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    source: ModelSource,
    files: Vec<MappedFile>,
    tensors: BTreeMap<String, Tensor>,
}

impl Checkpoint {
    /// Opens a folder with `config.json` and `*.safetensors` (one file, or shards with an index),
    /// or a `.gguf` file (of a model that is split over files the first), and checks every header.
    /// Tensors are mapped, not read.
    ///
    /// # Errors
    /// [`WeightsError`] naming the file: missing, unreadable, not sound, or of an unknown format.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let found = std::fs::metadata(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => WeightsError::NotFound {
                path: path.to_owned(),
            },
            _ => WeightsError::Io {
                file: path.to_owned(),
                source,
            },
        })?;
        if found.is_dir() {
            Self::open_folder(path)
        } else {
            Self::open_gguf(path)
        }
    }

    fn open_folder(folder: &Path) -> Result<Self, WeightsError> {
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

    fn open_gguf(path: &Path) -> Result<Self, WeightsError> {
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

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors' names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Every tensor's name, shape, storage and bytes, in alphabetical order.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&str, &[usize], String, &[u8])> {
        self.tensors.iter().map(|(name, tensor)| {
            let storage = format!("{:?}", tensor.dtype);
            let bytes = &self.files[tensor.file].map[tensor.start..tensor.start + tensor.len];
            (name.as_str(), tensor.shape.as_slice(), storage, bytes)
        })
    }

    /// Whether there is a tensor of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// A tensor's shape, slowest dimension first; for GGUF too.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|t| t.shape.as_slice())
    }

    /// A matrix of `rows` output features by `cols` input features, in its stored dtype.
    ///
    /// # Errors
    /// [`WeightsError`] where it is missing, of another shape, or stored in a dtype that is not read.
    pub fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Weight, WeightsError> {
        self.rows(name, &[rows, cols], 0..rows)
    }

    /// Some `rows` of the tensor `name` of `shape`, each as long as its last dimension, in its stored
    /// dtype and without a copy.
    ///
    /// # Errors
    /// [`WeightsError`] where it is missing, of another shape, or stored in a dtype that is not read.
    pub fn rows(
        &self,
        name: &str,
        shape: &[usize],
        rows: Range<usize>,
    ) -> Result<Weight, WeightsError> {
        let (tensor, dtype) = self.checked(name, shape)?;
        let cols = shape.last().copied().unwrap_or(1);
        let all = tensor.elements() as usize / cols.max(1);
        let row_bytes = dtype.row_bytes(cols).filter(|_| rows.end <= all);
        let Some(row_bytes) = row_bytes else {
            let detail = format!("tensor {name}: expected rows {rows:?} of {cols} {dtype:?} each");
            return Err(WeightsError::corrupt(&self.files[tensor.file].path, detail));
        };
        let part = Tensor {
            start: tensor.start + rows.start * row_bytes,
            len: rows.len() * row_bytes,
            shape: vec![rows.len(), cols],
            ..*tensor
        };
        self.weight(name, &part, dtype, rows.len(), cols)
    }

    /// The bytes of the tensor `name` of `shape`, whose elements are bytes.
    ///
    /// # Errors
    /// [`WeightsError`] where it is missing, of another shape, or of larger elements.
    pub fn raw(&self, name: &str, shape: &[usize]) -> Result<&[u8], WeightsError> {
        let tensor = self.shaped(name, shape)?;
        let file = &self.files[tensor.file];
        match tensor.dtype {
            Storage::Other("U8") => Ok(&file.map[tensor.start..tensor.start + tensor.len]),
            dtype => Err(WeightsError::Unsupported {
                file: file.path.clone(),
                detail: format!("tensor {name}: expected U8, got {dtype:?}"),
            }),
        }
    }

    /// All numbers of the tensor `name` of `shape`, converted to `f32`.
    ///
    /// # Errors
    /// As [`Checkpoint::rows`].
    pub fn numbers(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let count = shape.iter().product::<usize>();
        let rows = count / shape.last().copied().unwrap_or(1).max(1);
        let weight = self.rows(name, shape, 0..rows)?;
        let mut values = vec![0.0; count];
        for (row, values) in values.chunks_exact_mut(weight.cols()).enumerate() {
            weight.dequantize_row(row, values);
        }
        Ok(values)
    }

    /// A vector of `len` numbers, converted to `f32` from whatever float dtype it is stored in.
    ///
    /// # Errors
    /// [`WeightsError`] where it is missing, of another shape, or stored in a dtype that is not read.
    pub fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, WeightsError> {
        self.numbers(name, &[len])
    }

    /// What the model's files say of it.
    pub fn config(&self) -> &ModelSource {
        &self.source
    }

    /// Bytes of its weights.
    pub fn bytes(&self) -> u64 {
        self.weights().map(|(tensor, _)| tensor.len as u64).sum()
    }

    /// Storage of most weights, such as `BF16` or `Q4_K`.
    pub fn quantization(&self) -> String {
        let mut elements: BTreeMap<String, u64> = BTreeMap::new();
        for (tensor, dtype) in self.weights() {
            *elements.entry(format!("{dtype:?}")).or_default() += tensor.elements();
        }
        let most = elements.into_iter().max_by_key(|(_, count)| *count);
        most.map(|(name, _)| name).unwrap_or_default()
    }

    /// Number of parameters.
    pub fn parameters(&self) -> u64 {
        self.weights().map(|(tensor, _)| tensor.elements()).sum()
    }

    /// The tensors that hold weights (not, say, the integer positions of old BERT files).
    fn weights(&self) -> impl Iterator<Item = (&Tensor, DType)> {
        self.tensors.values().filter_map(|t| match t.dtype {
            Storage::Numbers(dtype) => Some((t, dtype)),
            Storage::Other(_) => None,
        })
    }

    /// A tensor that must have a certain shape.
    fn shaped(&self, name: &str, shape: &[usize]) -> Result<&Tensor, WeightsError> {
        let Some(tensor) = self.tensors.get(name) else {
            return Err(WeightsError::NoTensor {
                file: self.path.clone(),
                name: name.to_owned(),
            });
        };
        if tensor.shape != shape {
            return Err(WeightsError::Shape {
                file: self.files[tensor.file].path.clone(),
                name: name.to_owned(),
                expected: shape.to_vec(),
                got: tensor.shape.clone(),
            });
        }
        Ok(tensor)
    }

    /// A tensor that must have a certain shape and a dtype that is read.
    fn checked(&self, name: &str, shape: &[usize]) -> Result<(&Tensor, DType), WeightsError> {
        let tensor = self.shaped(name, shape)?;
        let file = &self.files[tensor.file].path;
        match tensor.dtype {
            Storage::Numbers(dtype) => Ok((tensor, dtype)),
            Storage::Other(other) => Err(WeightsError::Unsupported {
                file: file.clone(),
                detail: format!(
                    "tensor {name}: expected one of {}, got {other}",
                    DType::ALL
                        .iter()
                        .map(|d| d.name())
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            }),
        }
    }

    fn weight(
        &self,
        name: &str,
        tensor: &Tensor,
        dtype: DType,
        rows: usize,
        cols: usize,
    ) -> Result<Weight, WeightsError> {
        let file = &self.files[tensor.file];
        let range = tensor.start..tensor.start + tensor.len;
        let corrupt = |error| WeightsError::corrupt(&file.path, format!("tensor {name}: {error}"));
        // The kernels read whole numbers in place: a tensor that a sloppy writer put astride of
        // its alignment is copied.
        let data = if tensor.start.is_multiple_of(alignment(dtype)) {
            Bytes::mapped(Arc::clone(&file.map), range).map_err(corrupt)?
        } else {
            Bytes::from_vec(file.map[range].to_vec())
        };
        Weight::new(dtype, rows, cols, data).map_err(corrupt)
    }
}

impl Tensor {
    fn elements(&self) -> u64 {
        self.shape.iter().map(|&d| d as u64).product()
    }
}

impl Storage {
    fn of_element(dtype: safetensors::ElementType) -> Self {
        use safetensors::ElementType as E;
        match dtype {
            E::F32 => Self::Numbers(DType::F32),
            E::F16 => Self::Numbers(DType::F16),
            E::Bf16 => Self::Numbers(DType::BF16),
            E::Bool => Self::Other("BOOL"),
            E::U8 => Self::Other("U8"),
            E::I8 => Self::Other("I8"),
            E::F8E5M2 => Self::Other("F8_E5M2"),
            E::F8E4M3 => Self::Other("F8_E4M3"),
            E::I16 => Self::Other("I16"),
            E::U16 => Self::Other("U16"),
            E::I32 => Self::Other("I32"),
            E::U32 => Self::Other("U32"),
            E::F64 => Self::Other("F64"),
            E::I64 => Self::Other("I64"),
            E::U64 => Self::Other("U64"),
        }
    }

    fn of_ggml(dtype: gguf::GgmlType) -> Self {
        use gguf::GgmlType as G;
        match dtype {
            G::F32 => Self::Numbers(DType::F32),
            G::F16 => Self::Numbers(DType::F16),
            G::BF16 => Self::Numbers(DType::BF16),
            G::Q8_0 => Self::Numbers(DType::Q8_0),
            G::Q4_0 => Self::Numbers(DType::Q4_0),
            G::Q4_1 => Self::Numbers(DType::Q4_1),
            G::Q5_0 => Self::Numbers(DType::Q5_0),
            G::Q5_1 => Self::Numbers(DType::Q5_1),
            G::IQ4_NL => Self::Numbers(DType::IQ4_NL),
            G::MXFP4 => Self::Numbers(DType::MXFP4),
            G::Q2_K => Self::Numbers(DType::Q2_K),
            G::Q3_K => Self::Numbers(DType::Q3_K),
            G::Q4_K => Self::Numbers(DType::Q4_K),
            G::Q5_K => Self::Numbers(DType::Q5_K),
            G::Q6_K => Self::Numbers(DType::Q6_K),
            other => Self::Other(other.name()),
        }
    }
}

/// The alignment in bytes that a dtype's first byte must have to be read in place.
fn alignment(dtype: DType) -> usize {
    match dtype {
        DType::F32 => 4,
        DType::MXFP4 => 1,
        _ => 2,
    }
}
