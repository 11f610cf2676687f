//! The header of a safetensors file, read from bytes that may be hostile.
//!
//! A file is eight bytes of header length `n` (little endian), `n` bytes of JSON, and the tensors'
//! bytes, which the JSON's offsets must cover once and without a gap.
//! Format: <https://github.com/huggingface/safetensors#format>.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

/// Most bytes of JSON that a header may hold: the limit of the reference implementation.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Most dimensions of one tensor.
const MAX_DIMENSIONS: usize = 8;

/// One tensor of a header: where its bytes stand in the file, and how they are to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorEntry {
    /// Its name.
    pub name: String,
    /// How an element is stored.
    pub dtype: ElementType,
    /// Its shape, slowest dimension first. Empty for a scalar.
    pub shape: Vec<usize>,
    /// First byte in the file.
    pub start: usize,
    /// Number of bytes.
    pub len: usize,
}

/// How an element of a safetensors tensor is stored.
#[allow(missing_docs, reason = "the names are the format's own")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum ElementType {
    #[serde(rename = "BOOL")]
    Bool,
    U8,
    I8,
    #[serde(rename = "F8_E5M2")]
    F8E5M2,
    #[serde(rename = "F8_E4M3")]
    F8E4M3,
    I16,
    U16,
    F16,
    #[serde(rename = "BF16")]
    Bf16,
    I32,
    U32,
    F32,
    F64,
    I64,
    U64,
}

impl ElementType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 | Self::F8E5M2 | Self::F8E4M3 => 1,
            Self::I16 | Self::U16 | Self::F16 | Self::Bf16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }
}

/// Reads the header of `file`, the bytes of a whole safetensors file, and checks that the tensors
/// cover the bytes behind it exactly.
///
/// Memory is bounded by a small multiple of the header's own bytes.
///
/// # Errors
/// What was expected and what came, for any file that is not whole and sound.
pub fn read_header(file: &[u8]) -> Result<Vec<TensorEntry>, String> {
    let Some((length, rest)) = file.split_first_chunk::<8>() else {
        return Err(format!(
            "expected 8 bytes of header length, the file has {}",
            file.len()
        ));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER_BYTES {
        return Err(format!(
            "header length: expected at most {MAX_HEADER_BYTES}, got {length}"
        ));
    }
    // At most 100 MB, so it fits.
    let length = length as usize;
    let Some((header, data)) = rest.split_at_checked(length) else {
        return Err(format!(
            "header: expected {length} bytes, the file has {} behind the length",
            rest.len()
        ));
    };
    let Entries(entries) =
        serde_json::from_slice(header).map_err(|error| format!("header: {error}"))?;
    let mut tensors = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        tensors.push(check_entry(name, entry, 8 + length, data.len())?);
    }
    check_cover(&tensors, 8 + length, data.len())?;
    Ok(tensors)
}

/// One entry of the JSON as it stands there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: ElementType,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// The JSON's entries without `__metadata__`, in their order.
struct Entries(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;
        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                let mut has_metadata = false;
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        if has_metadata {
                            return Err(A::Error::custom("__metadata__ stands there twice"));
                        }
                        has_metadata = true;
                        map.next_value::<serde::de::IgnoredAny>()?;
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(EntriesVisitor)
    }
}

/// An entry with its shape and offsets checked against each other and the `data_len` bytes that
/// stand from `data_start` in the file.
fn check_entry(
    name: String,
    entry: Entry,
    data_start: usize,
    data_len: usize,
) -> Result<TensorEntry, String> {
    let [begin, end] = entry.data_offsets;
    if entry.shape.len() > MAX_DIMENSIONS {
        return Err(format!(
            "tensor {name}: expected at most {MAX_DIMENSIONS} dimensions, got {}",
            entry.shape.len()
        ));
    }
    let bytes = entry
        .shape
        .iter()
        .try_fold(entry.dtype.size() as u64, |n, &d| n.checked_mul(d))
        .ok_or_else(|| format!("tensor {name}: shape {:?} overflows", entry.shape))?;
    if begin > end || end > data_len as u64 {
        return Err(format!(
            "tensor {name}: expected offsets within 0..={data_len}, got {begin}..{end}"
        ));
    }
    if end - begin != bytes {
        return Err(format!(
            "tensor {name}: expected {bytes} bytes for {:?} of {:?}, its offsets hold {}",
            entry.dtype,
            entry.shape,
            end - begin
        ));
    }
    // A dimension may be large beside a zero, where the product says nothing about it.
    let shape = entry
        .shape
        .iter()
        .map(|&d| usize::try_from(d).map_err(|_| format!("tensor {name}: dimension {d}")))
        .collect::<Result<_, _>>()?;
    Ok(TensorEntry {
        name,
        dtype: entry.dtype,
        shape,
        start: data_start + begin as usize,
        len: bytes as usize,
    })
}

/// Checks that the tensors cover the data once and that no name stands there twice.
fn check_cover(tensors: &[TensorEntry], data_start: usize, data_len: usize) -> Result<(), String> {
    let mut by_place: Vec<&TensorEntry> = tensors.iter().collect();
    by_place.sort_by_key(|t| (t.start, t.len));
    let mut next = data_start;
    for tensor in by_place {
        if tensor.start != next {
            return Err(format!(
                "tensor {}: expected it to start at byte {next} of the file, where the one before it ends, got {}",
                tensor.name, tensor.start
            ));
        }
        next += tensor.len;
    }
    if next != data_start + data_len {
        return Err(format!(
            "expected {} bytes of tensors, the file has {data_len}",
            next - data_start
        ));
    }
    let mut names: Vec<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("tensor {}: the name stands there twice", pair[0])),
        None => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    #[test]
    fn a_sound_header_gives_places_in_the_file() {
        let header = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#;
        let tensors = read_header(&file(header, 16)).unwrap();
        assert_eq!(tensors[0].name, "b");
        assert_eq!(tensors[0].start, 8 + header.len() + 4);
        assert_eq!((tensors[0].len, tensors[1].len), (12, 4));
    }

    #[test]
    fn each_lie_is_an_error_that_says_what_is_wrong() {
        let huge = u64::MAX;
        for (header, data, expected) in [
            (r#"[]"#.to_owned(), 0, "object of tensors"),
            (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#.to_owned(), 3, "offsets"),
            (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#.to_owned(), 5, "bytes of tensors"),
            (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#.to_owned(), 4, "expected 8 bytes"),
            (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#.to_owned(), 4, "offsets"),
            (format!(r#"{{"a":{{"dtype":"F32","shape":[{huge},4],"data_offsets":[0,4]}}}}"#), 4, "overflows"),
            (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#.to_owned(), 6, "start at byte"),
            (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#.to_owned(), 8, "twice"),
            (r#"{"a":{"dtype":"Q9","shape":[1],"data_offsets":[0,4]}}"#.to_owned(), 4, "unknown variant"),
            (format!(r#"{{"__metadata__":{}"#, "[".repeat(100_000)), 0, "EOF while parsing"),
            (r#"{"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}}"#.to_owned(), 4, "8 dimensions"),
        ] {
            let error = read_header(&file(&header, data)).expect_err(&header[..header.len().min(90)]);
            assert!(error.contains(expected), "{error}: expected {expected}");
        }
        assert!(
            read_header(&u64::MAX.to_le_bytes())
                .unwrap_err()
                .contains("at most")
        );
        assert!(
            read_header(&100u64.to_le_bytes())
                .unwrap_err()
                .contains("expected 100 bytes")
        );
        assert!(read_header(&[1, 2]).unwrap_err().contains("8 bytes"));
    }
}
