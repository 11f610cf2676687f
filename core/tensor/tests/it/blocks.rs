//! Each dtype's values against those of ggml's own Python package.

use outcrop_tensor::{Bytes, DType, Weight};

const ELEMENTS: usize = 512;

#[test]
fn each_dtype_has_the_values_of_ggml() {
    use DType::*;
    // Made by tests/make_fixtures/blocks.py, in this order.
    let mut rest = &include_bytes!("../fixtures/blocks.bin")[..];
    for dtype in [
        Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, IQ4_NL, MXFP4, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K,
    ] {
        let (stored, after) = rest.split_at(dtype.row_bytes(ELEMENTS).unwrap());
        let (floats, after) = after.split_at(4 * ELEMENTS);
        rest = after;
        let weight = Weight::new(dtype, 1, ELEMENTS, Bytes::from_vec(stored.to_vec())).unwrap();
        let mut got = [0.0; ELEMENTS];
        weight.dequantize_row(0, &mut got);
        for (i, (got, bytes)) in got.iter().zip(floats.as_chunks::<4>().0).enumerate() {
            let expected = f32::from_le_bytes(*bytes);
            assert_eq!(*got, expected, "{dtype:?} element {i}");
        }
    }
    assert!(rest.is_empty());
}

#[test]
fn safetensors_mxfp4_are_the_same_numbers() {
    // Two blocks of one row: the codes of a pair of neighbours share a byte, the even one below.
    let codes: Vec<u8> = (0..32).map(|i| (i * 7 + 3) as u8).collect();
    let weight = Weight::from_mxfp4(1, 64, &codes, &[127, 130]).unwrap();
    let mut got = [0.0; 64];
    weight.dequantize_row(0, &mut got);
    let value = |code: u8| {
        let size = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0][usize::from(code & 7)];
        if code & 8 == 0 { size } else { -size }
    };
    for (i, byte) in codes.iter().enumerate() {
        let scale = if i < 16 { 1.0 } else { 8.0 };
        assert_eq!(got[2 * i], scale * value(byte & 15), "element {}", 2 * i);
        assert_eq!(
            got[2 * i + 1],
            scale * value(byte >> 4),
            "element {}",
            2 * i + 1
        );
    }
    assert!(Weight::from_mxfp4(1, 64, &codes[1..], &[127, 130]).is_err());
    assert!(Weight::from_mxfp4(1, 64, &codes, &[127]).is_err());
}

#[test]
fn quantising_to_q8_0_is_within_half_a_step() {
    let values = crate::numbers(4, 3 * 64);
    let floats = Weight::from_f32(3, 64, values.clone()).unwrap();
    let weight = floats.quantize(DType::Q8_0).unwrap();
    assert_eq!(weight.dtype(), DType::Q8_0);
    let mut row = [0.0; 64];
    for (i, expected) in values.chunks_exact(64).enumerate() {
        weight.dequantize_row(i, &mut row);
        for (got, expected) in row.chunks_exact(32).zip(expected.chunks_exact(32)) {
            let largest = expected.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            for (got, expected) in got.iter().zip(expected) {
                // Half a step of the codes, and the rounding of the scale to a half.
                assert!((got - expected).abs() <= largest * (0.51 / 127.0 + 1.0 / 2048.0));
            }
        }
    }
    assert!(floats.quantize(DType::Q4_K).is_err());
    let ragged = Weight::from_f32(1, 33, vec![1.0; 33]).unwrap();
    assert!(ragged.quantize(DType::Q8_0).is_err());
}
