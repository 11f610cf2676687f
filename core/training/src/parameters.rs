//! Named tensors in one run of floats, as an optimiser goes through them.

use std::ops::Range;

/// One tensor: its name in a checkpoint, its shape, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// The name.
    pub name: String,
    /// The shape, slowest dimension first.
    pub shape: Vec<usize>,
    /// Its elements in [`Parameters::values`].
    pub range: Range<usize>,
}

/// Named tensors, one behind the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    /// The tensors, in the order of their elements.
    pub tensors: Vec<Tensor>,
    /// The elements of all.
    pub values: Vec<f32>,
}

impl Parameters {
    /// Adds a tensor behind the others and gives its elements' range.
    pub(crate) fn add(&mut self, name: String, shape: &[usize], values: &[f32]) -> Range<usize> {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        let range = self.values.len()..self.values.len() + values.len();
        self.values.extend_from_slice(values);
        self.tensors.push(Tensor {
            name,
            shape: shape.to_vec(),
            range: range.clone(),
        });
        range
    }

    /// The elements of a range.
    pub(crate) fn at(&self, range: &Range<usize>) -> &[f32] {
        &self.values[range.clone()]
    }

    /// The tensor of that name with its elements.
    pub fn tensor(&self, name: &str) -> Option<(&Tensor, &[f32])> {
        let tensor = self.tensors.iter().find(|tensor| tensor.name == name)?;
        Some((tensor, self.at(&tensor.range)))
    }
}
