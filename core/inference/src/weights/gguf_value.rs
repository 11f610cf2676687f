//! The values of GGUF metadata, and the cursor that reads them from bytes that may be hostile.

use std::fmt;

/// Longest string in bytes: chat templates and merges are far below it.
const MAX_STRING: u64 = 1 << 26;

/// Deepest nesting of arrays in arrays.
const MAX_DEPTH: usize = 4;

/// A value of GGUF metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum GgufValue {
    /// An unsigned integer of 8 to 64 bits.
    Unsigned(u64),
    /// A signed integer of 8 to 64 bits.
    Signed(i64),
    /// A number of 32 or 64 bits.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Text.
    String(String),
    /// Values of one type.
    Array(GgufArray),
}

/// An array of GGUF metadata: its elements are of one type.
#[derive(Clone, Debug, PartialEq)]
pub enum GgufArray {
    /// Bytes.
    U8(Vec<u8>),
    /// Signed bytes.
    I8(Vec<i8>),
    /// Truth values.
    Bool(Vec<bool>),
    /// 16-bit unsigned integers.
    U16(Vec<u16>),
    /// 16-bit signed integers.
    I16(Vec<i16>),
    /// 32-bit unsigned integers.
    U32(Vec<u32>),
    /// 32-bit signed integers.
    I32(Vec<i32>),
    /// 64-bit unsigned integers.
    U64(Vec<u64>),
    /// 64-bit signed integers.
    I64(Vec<i64>),
    /// 32-bit numbers.
    F32(Vec<f32>),
    /// 64-bit numbers.
    F64(Vec<f64>),
    /// Texts.
    String(Vec<String>),
    /// Arrays.
    Array(Vec<GgufArray>),
}

impl GgufValue {
    /// The value where it is an integer that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::Unsigned(n) => Some(n),
            Self::Signed(n) => u64::try_from(n).ok(),
            _ => None,
        }
    }

    /// The value where it is a number.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::Float(x) => Some(x),
            Self::Unsigned(n) => Some(n as f64),
            Self::Signed(n) => Some(n as f64),
            _ => None,
        }
    }

    /// The value where it is a truth value.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(b) => Some(b),
            _ => None,
        }
    }

    /// The value where it is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The value where it is an array of texts.
    pub fn as_strings(&self) -> Option<&[String]> {
        match self {
            Self::Array(GgufArray::String(texts)) => Some(texts),
            _ => None,
        }
    }

    /// The value where it is an array of numbers of any type, as `f32`.
    pub fn to_f32s(&self) -> Option<Vec<f32>> {
        match self {
            Self::Array(GgufArray::F32(numbers)) => Some(numbers.clone()),
            Self::Array(GgufArray::F64(numbers)) => {
                Some(numbers.iter().map(|&x| x as f32).collect())
            }
            _ => None,
        }
    }

    /// The value where it is an array of integers of any type, none of them negative or beyond `i64`.
    pub fn to_integers(&self) -> Option<Vec<i64>> {
        let Self::Array(array) = self else {
            return None;
        };
        Some(match array {
            GgufArray::U8(v) => v.iter().map(|&n| i64::from(n)).collect(),
            GgufArray::I8(v) => v.iter().map(|&n| i64::from(n)).collect(),
            GgufArray::U16(v) => v.iter().map(|&n| i64::from(n)).collect(),
            GgufArray::I16(v) => v.iter().map(|&n| i64::from(n)).collect(),
            GgufArray::U32(v) => v.iter().map(|&n| i64::from(n)).collect(),
            GgufArray::I32(v) => v.iter().map(|&n| i64::from(n)).collect(),
            GgufArray::I64(v) => v.clone(),
            GgufArray::U64(v) => v
                .iter()
                .map(|&n| i64::try_from(n).ok())
                .collect::<Option<_>>()?,
            _ => return None,
        })
    }
}

impl fmt::Display for GgufValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(n) => n.fmt(f),
            Self::Signed(n) => n.fmt(f),
            Self::Float(x) => x.fmt(f),
            Self::Bool(b) => b.fmt(f),
            Self::String(text) => {
                let start: String = text.chars().take(80).collect();
                write!(f, "{start:?}")
            }
            Self::Array(_) => f.write_str("an array"),
        }
    }
}

/// Reads little-endian values from the front of a slice. Each error names what was being read.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Bytes read so far.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    fn remaining(&self) -> u64 {
        (self.bytes.len() - self.position) as u64
    }

    fn take(&mut self, what: &str, len: u64) -> Result<&'a [u8], String> {
        if len > self.remaining() {
            return Err(format!(
                "{what}: expected {len} bytes at byte {}, the file has {} more",
                self.position,
                self.remaining()
            ));
        }
        // It is at most what remains of a slice, so it fits.
        let end = self.position + len as usize;
        let taken = &self.bytes[self.position..end];
        self.position = end;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(what, N as u64)?);
        Ok(array)
    }

    pub(crate) fn u32(&mut self, what: &str) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u64(&mut self, what: &str) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A count; [`Cursor::check_count`] says whether it can be believed.
    pub(crate) fn count(&mut self, what: &str) -> Result<u64, String> {
        self.u64(what)
    }

    /// Checks that `count` things of at least `least_bytes` each fit the bytes that remain.
    pub(crate) fn check_count(
        &self,
        what: &str,
        count: u64,
        least_bytes: u64,
    ) -> Result<(), String> {
        if count > self.remaining() / least_bytes {
            return Err(format!(
                "{what}: expected at most {}, as many as fit the {} bytes that remain, got {count}",
                self.remaining() / least_bytes,
                self.remaining()
            ));
        }
        Ok(())
    }

    pub(crate) fn string(&mut self, what: &str) -> Result<String, String> {
        let len = self.u64(what)?;
        if len > MAX_STRING {
            return Err(format!(
                "{what}: expected at most {MAX_STRING} bytes of text, got {len}"
            ));
        }
        let bytes = self.take(what, len)?;
        std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|error| format!("{what}: expected UTF-8 text: {error}"))
    }

    /// The value of metadata `key`, of the type with the number `kind`.
    pub(crate) fn value(&mut self, key: &str, kind: u32) -> Result<GgufValue, String> {
        Ok(match kind {
            0 => GgufValue::Unsigned(u8::from_le_bytes(self.array(key)?).into()),
            1 => GgufValue::Signed(i8::from_le_bytes(self.array(key)?).into()),
            2 => GgufValue::Unsigned(u16::from_le_bytes(self.array(key)?).into()),
            3 => GgufValue::Signed(i16::from_le_bytes(self.array(key)?).into()),
            4 => GgufValue::Unsigned(self.u32(key)?.into()),
            5 => GgufValue::Signed(i32::from_le_bytes(self.array(key)?).into()),
            6 => GgufValue::Float(f32::from_le_bytes(self.array(key)?).into()),
            7 => GgufValue::Bool(truth(key, self.array(key)?)?),
            8 => GgufValue::String(self.string(key)?),
            9 => GgufValue::Array(self.elements(key, 0)?),
            10 => GgufValue::Unsigned(self.u64(key)?),
            11 => GgufValue::Signed(i64::from_le_bytes(self.array(key)?)),
            12 => GgufValue::Float(f64::from_le_bytes(self.array(key)?)),
            _ => {
                return Err(format!(
                    "metadata {key}: expected a value type from 0 to 12, got {kind}"
                ));
            }
        })
    }

    fn elements(&mut self, key: &str, depth: usize) -> Result<GgufArray, String> {
        let kind = self.u32(key)?;
        let count = self.u64(key)?;
        Ok(match kind {
            0 => GgufArray::U8(self.numbers(key, count, u8::from_le_bytes)?),
            1 => GgufArray::I8(self.numbers(key, count, i8::from_le_bytes)?),
            2 => GgufArray::U16(self.numbers(key, count, u16::from_le_bytes)?),
            3 => GgufArray::I16(self.numbers(key, count, i16::from_le_bytes)?),
            4 => GgufArray::U32(self.numbers(key, count, u32::from_le_bytes)?),
            5 => GgufArray::I32(self.numbers(key, count, i32::from_le_bytes)?),
            6 => GgufArray::F32(self.numbers(key, count, f32::from_le_bytes)?),
            7 => {
                let bytes = self.numbers(key, count, |byte: [u8; 1]| byte)?;
                GgufArray::Bool(
                    bytes
                        .into_iter()
                        .map(|b| truth(key, b))
                        .collect::<Result<_, _>>()?,
                )
            }
            8 => {
                self.check_count(key, count, 8)?;
                GgufArray::String(
                    (0..count)
                        .map(|_| self.string(key))
                        .collect::<Result<_, _>>()?,
                )
            }
            9 if depth < MAX_DEPTH => {
                self.check_count(key, count, 12)?;
                let inner = (0..count).map(|_| self.elements(key, depth + 1));
                GgufArray::Array(inner.collect::<Result<_, _>>()?)
            }
            9 => {
                return Err(format!(
                    "metadata {key}: expected arrays at most {MAX_DEPTH} deep"
                ));
            }
            10 => GgufArray::U64(self.numbers(key, count, u64::from_le_bytes)?),
            11 => GgufArray::I64(self.numbers(key, count, i64::from_le_bytes)?),
            12 => GgufArray::F64(self.numbers(key, count, f64::from_le_bytes)?),
            _ => {
                return Err(format!(
                    "metadata {key}: expected an element type from 0 to 12, got {kind}"
                ));
            }
        })
    }

    fn numbers<T, const N: usize>(
        &mut self,
        key: &str,
        count: u64,
        read: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, String> {
        self.check_count(key, count, N as u64)?;
        let bytes = self.take(key, count * N as u64)?;
        Ok(bytes
            .as_chunks::<N>()
            .0
            .iter()
            .map(|&chunk| read(chunk))
            .collect())
    }
}

/// A truth value as it must stand in a file: 0 or 1.
fn truth(key: &str, byte: [u8; 1]) -> Result<bool, String> {
    match byte {
        [0] => Ok(false),
        [1] => Ok(true),
        [other] => Err(format!(
            "metadata {key}: expected a bool of 0 or 1, got {other}"
        )),
    }
}
