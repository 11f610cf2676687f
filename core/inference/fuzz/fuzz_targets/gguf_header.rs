//! Whatever the bytes: an error, or tensors that lie within them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outcrop_inference::weights::gguf::read_header;

fuzz_target!(|file: &[u8]| {
    let Ok(header) = read_header(file) else {
        return;
    };
    for tensor in header.tensors {
        let blocks = tensor.shape.iter().product::<usize>() / tensor.dtype.block_len();
        assert_eq!(
            file[tensor.start..tensor.start + tensor.len].len(),
            blocks * tensor.dtype.block_bytes()
        );
    }
});
