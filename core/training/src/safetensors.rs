//! Tensors as a safetensors file holds them, in F32.

use serde_json::{Map, Value, json};

use crate::parameters::Parameters;

/// The bytes of a file with these tensors.
pub fn to_safetensors(parameters: &Parameters) -> Vec<u8> {
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    for tensor in &parameters.tensors {
        let about = json!({
            "dtype": "F32",
            "shape": tensor.shape,
            "data_offsets": [4 * tensor.range.start, 4 * tensor.range.end],
        });
        header.insert(tensor.name.clone(), about);
    }
    let mut header = Value::Object(header).to_string();
    // The data begin at a multiple of eight, as the format's own writer has it.
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let mut bytes = Vec::with_capacity(8 + header.len() + 4 * parameters.values.len());
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(
        parameters
            .values
            .iter()
            .flat_map(|value| value.to_le_bytes()),
    );
    bytes
}
