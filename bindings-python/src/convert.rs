//! Python values into the API's and back.

use numpy::ndarray::Array2;
use numpy::{IntoPyArray, PyReadonlyArray1};
use outcrop::{Error, to_json};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};
use serde::Serialize;

use crate::error::raise;
use crate::future::Object;

/// JSON text as a Python string.
pub fn json_string(py: Python<'_>, value: &impl Serialize) -> PyResult<Object> {
    let text = to_json(value).map_err(|error| raise(py, error))?;
    Ok(PyString::new(py, &text).into_any().unbind())
}

/// Caller's vectors, one or none a document, as the numpy arrays that Python made of them.
pub fn vectors(values: &Bound<'_, PyList>) -> PyResult<Vec<Option<Vec<f32>>>> {
    let vector = |value: Bound<'_, PyAny>| {
        if value.is_none() {
            return Ok(None);
        }
        let array: PyReadonlyArray1<'_, f32> = value.extract()?;
        Ok(Some(array.as_array().to_vec()))
    };
    values.iter().map(vector).collect()
}

/// A numpy array `(rows, columns)` that owns `values`: nothing is copied.
pub fn matrix(py: Python<'_>, values: Vec<f32>, rows: usize, columns: usize) -> PyResult<Object> {
    let length = values.len();
    py.import("numpy")?; // see `vector`
    let array = Array2::from_shape_vec((rows, columns), values).map_err(|_| {
        let message = format!("{length} numbers came for an array of {rows} x {columns}");
        raise(py, Error::internal(message))
    })?;
    Ok(array.into_pyarray(py).into_any().unbind())
}

/// A numpy array `(values,)` that owns `values`.
pub fn vector(py: Python<'_>, values: Vec<f32>) -> PyResult<Object> {
    // The crate's own first import runs inside a once-cell, and releases the GIL there: a child
    // forked then would wait for it for ever. After this line, the cell is filled in one go.
    py.import("numpy")?;
    Ok(values.into_pyarray(py).into_any().unbind())
}
