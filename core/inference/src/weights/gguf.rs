//! The header of a GGUF file, versions 2 and 3, read from bytes that may be hostile.
//!
//! Magic, version, two counts, the metadata, the tensors' places, and behind them, aligned, the
//! tensors' bytes. Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::collections::BTreeMap;

use super::gguf_value::{Cursor, GgufValue};

/// Most dimensions of one tensor, as in ggml.
const MAX_DIMENSIONS: u32 = 4;

/// Longest tensor name in bytes. ggml itself allows 63.
const MAX_NAME: usize = 1024;

/// Largest alignment that is believed, in bytes.
const MAX_ALIGNMENT: u64 = 1 << 20;

/// What stands before the tensors' bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufHeader {
    /// The format's version: 2 or 3.
    pub version: u32,
    /// The metadata, by key.
    pub metadata: BTreeMap<String, GgufValue>,
    /// The tensors, in their order.
    pub tensors: Vec<GgufTensor>,
}

/// One tensor of a GGUF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GgufTensor {
    /// Its name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// How it is stored.
    pub dtype: GgmlType,
    /// Its shape, slowest dimension first (the reverse of the file's order).
    pub shape: Vec<usize>,
    /// First byte in the file.
    pub start: usize,
    /// Number of bytes.
    pub len: usize,
}

macro_rules! ggml_types {
    ($($(#[$doc:meta])* $name:ident, $number:literal, $block:literal, $bytes:literal;)*) => {
        /// ggml's ways to store numbers.
        #[allow(non_camel_case_types, missing_docs, reason = "the names are ggml's own")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum GgmlType { $($name,)* }

        impl GgmlType {
            /// The type by its number in the file.
            fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

            /// ggml's name of the type.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Elements of one block.
            pub fn block_len(self) -> usize {
                match self { $(Self::$name => $block,)* }
            }

            /// Bytes of one block.
            pub fn block_bytes(self) -> usize {
                match self { $(Self::$name => $bytes,)* }
            }
        }
    };
}

// Number, elements and bytes of a block: ggml.h `enum ggml_type`, ggml-common.h.
ggml_types! {
    F32, 0, 1, 4;
    F16, 1, 1, 2;
    Q4_0, 2, 32, 18;
    Q4_1, 3, 32, 20;
    Q5_0, 6, 32, 22;
    Q5_1, 7, 32, 24;
    Q8_0, 8, 32, 34;
    Q2_K, 10, 256, 84;
    Q3_K, 11, 256, 110;
    Q4_K, 12, 256, 144;
    Q5_K, 13, 256, 176;
    Q6_K, 14, 256, 210;
    IQ4_NL, 20, 32, 18;
    I8, 24, 1, 1;
    I16, 25, 1, 2;
    I32, 26, 1, 4;
    I64, 27, 1, 8;
    F64, 28, 1, 8;
    BF16, 30, 1, 2;
    MXFP4, 39, 32, 17;
}

/// Reads the header of `file`, the bytes of a whole GGUF file, and checks that each tensor's bytes
/// are there and its own.
///
/// Counts are believed only as far as the bytes that remain could hold them, so memory is bounded
/// by a small multiple of the header's own bytes.
///
/// # Errors
/// What was expected and what came, for any file that is not whole and sound.
pub fn read_header(file: &[u8]) -> Result<GgufHeader, String> {
    let mut cursor = Cursor::new(file);
    let magic: [u8; 4] = cursor.array("magic")?;
    if &magic != b"GGUF" {
        return Err(format!(
            "magic: expected GGUF, got {:?}",
            magic.escape_ascii().to_string()
        ));
    }
    let version = cursor.u32("version")?;
    if !matches!(version, 2 | 3) {
        return Err(format!(
            "version: expected 2 or 3 in little endian, got {version}"
        ));
    }
    // A tensor takes at least a name's length, a dimension count, a type and an offset.
    let tensor_count = cursor.count("number of tensors")?;
    let metadata_count = cursor.count("number of metadata entries")?;
    let metadata = read_metadata(&mut cursor, metadata_count)?;
    cursor.check_count("number of tensors", tensor_count, 8 + 4 + 4 + 8)?;
    let mut infos = Vec::new();
    for _ in 0..tensor_count {
        infos.push(read_tensor(&mut cursor)?);
    }
    let alignment = alignment(&metadata)?;
    let data_start = (cursor.position() as u64)
        .checked_next_multiple_of(alignment)
        .and_then(|start| usize::try_from(start).ok())
        .ok_or("the tensors' place overflows")?;
    let tensors = infos
        .into_iter()
        .map(|info| info.place(data_start, alignment, file.len()))
        .collect::<Result<Vec<_>, _>>()?;
    check_overlap(&tensors)?;
    Ok(GgufHeader {
        version,
        metadata,
        tensors,
    })
}

/// Reads `count` keys with their values.
fn read_metadata(
    cursor: &mut Cursor<'_>,
    count: u64,
) -> Result<BTreeMap<String, GgufValue>, String> {
    // A key's length, a type and at least one byte of value.
    cursor.check_count("number of metadata entries", count, 8 + 4 + 1)?;
    let mut metadata = BTreeMap::new();
    for _ in 0..count {
        let key = cursor.string("metadata key")?;
        let kind = cursor.u32(&key)?;
        let value = cursor.value(&key, kind)?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(format!("metadata {key}: the key stands there twice"));
        }
    }
    Ok(metadata)
}

/// The alignment of the tensors' bytes: `general.alignment`, 32 where it is absent.
fn alignment(metadata: &BTreeMap<String, GgufValue>) -> Result<u64, String> {
    let Some(value) = metadata.get("general.alignment") else {
        return Ok(32);
    };
    match value.as_u64() {
        Some(n) if n.is_power_of_two() && n <= MAX_ALIGNMENT => Ok(n),
        _ => Err(format!(
            "general.alignment: expected a power of two up to {MAX_ALIGNMENT}, got {value}"
        )),
    }
}

/// A tensor's entry as it stands in the file.
struct TensorInfo {
    name: String,
    dtype: GgmlType,
    shape: Vec<usize>,
    offset: u64,
}

/// Reads one tensor's entry.
fn read_tensor(cursor: &mut Cursor<'_>) -> Result<TensorInfo, String> {
    let name = cursor.string("tensor name")?;
    if name.len() > MAX_NAME {
        return Err(format!(
            "tensor name: expected at most {MAX_NAME} bytes, got {}",
            name.len()
        ));
    }
    let what = format!("tensor {name}");
    let dimensions = cursor.u32(&what)?;
    if dimensions > MAX_DIMENSIONS {
        return Err(format!(
            "{what}: expected at most {MAX_DIMENSIONS} dimensions, got {dimensions}"
        ));
    }
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        let size = cursor.u64(&what)?;
        shape.push(
            usize::try_from(size).map_err(|_| format!("{what}: dimension {size} overflows"))?,
        );
    }
    shape.reverse();
    let number = cursor.u32(&what)?;
    let dtype = GgmlType::from_number(number)
        .ok_or_else(|| format!("{what}: expected a known ggml type, got type {number}"))?;
    let offset = cursor.u64(&what)?;
    Ok(TensorInfo {
        name,
        dtype,
        shape,
        offset,
    })
}

impl TensorInfo {
    /// The tensor with its place in the file, checked.
    fn place(
        self,
        data_start: usize,
        alignment: u64,
        file_len: usize,
    ) -> Result<GgufTensor, String> {
        let Self {
            name,
            dtype,
            shape,
            offset,
        } = self;
        let row = shape.last().copied().unwrap_or(1);
        if !row.is_multiple_of(dtype.block_len()) {
            return Err(format!(
                "tensor {name}: expected rows of a multiple of {} for {dtype:?}, got {row}",
                dtype.block_len()
            ));
        }
        let len = shape
            .iter()
            .try_fold(1usize, |n, &d| n.checked_mul(d))
            .and_then(|n| (n / dtype.block_len()).checked_mul(dtype.block_bytes()))
            .ok_or_else(|| format!("tensor {name}: shape {shape:?} overflows"))?;
        if !offset.is_multiple_of(alignment) {
            return Err(format!(
                "tensor {name}: expected an offset that is a multiple of {alignment}, got {offset}"
            ));
        }
        let start = usize::try_from(offset)
            .ok()
            .and_then(|o| o.checked_add(data_start));
        let end = start.and_then(|s| s.checked_add(len));
        match (start, end) {
            (Some(start), Some(end)) if end <= file_len => Ok(GgufTensor {
                name,
                dtype,
                shape,
                start,
                len,
            }),
            _ => Err(format!(
                "tensor {name}: expected {len} bytes at offset {offset} of the data, which starts at byte {data_start}; the file ends at {file_len}"
            )),
        }
    }
}

/// Checks that no two tensors share bytes or a name.
fn check_overlap(tensors: &[GgufTensor]) -> Result<(), String> {
    let mut by_place: Vec<&GgufTensor> = tensors.iter().filter(|t| t.len > 0).collect();
    by_place.sort_by_key(|t| t.start);
    for pair in by_place.windows(2) {
        if pair[0].start + pair[0].len > pair[1].start {
            return Err(format!(
                "tensors {} and {} overlap",
                pair[0].name, pair[1].name
            ));
        }
    }
    let mut names: Vec<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("tensor {}: the name stands there twice", pair[0])),
        None => Ok(()),
    }
}
