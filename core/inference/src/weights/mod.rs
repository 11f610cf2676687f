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
mod open;
pub mod safetensors;
mod storage;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use outcrop_tensor::{Bytes, DType, Weight};

pub use error::WeightsError;
pub(crate) use gguf_fields::GgufFields;
pub use gguf_value::{GgufArray, GgufValue};
pub(crate) use model_file::{read_json, read_text};
use storage::{Storage, alignment};

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
