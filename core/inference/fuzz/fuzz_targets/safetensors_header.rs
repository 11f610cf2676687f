//! Whatever the bytes: an error, or tensors that lie within them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outcrop_inference::weights::safetensors::read_header;

fuzz_target!(|file: &[u8]| {
    let Ok(tensors) = read_header(file) else {
        return;
    };
    for tensor in tensors {
        assert_eq!(
            file[tensor.start..tensor.start + tensor.len].len(),
            tensor.shape.iter().product::<usize>() * tensor.dtype.size()
        );
    }
});
