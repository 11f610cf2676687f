//! Times products with weights as they are stored: of one token, of a batch, of a prompt.

use outcrop_kernels::{Buffer, CudaError, Format, Linear, Matrix, linear};

use crate::measure::{Bench, Case, Limit, Target, half_noise, noise};

pub fn all(bench: &mut Bench) -> Result<(), CudaError> {
    let wide = (bench.size(28672, 64), bench.size(4096, 256));
    let square = (bench.size(4096, 64), bench.size(4096, 256));
    let share = Target::Share;
    for (format, target) in [
        (Format::BF16, share(0.85)),
        (Format::Q8_0, share(0.85)),
        (Format::Q4_K, share(0.78)),
    ] {
        product(bench, format, wide, (1, target))?;
    }
    product(bench, Format::Q4_K, square, (1, Target::Micros(4.5)))?;
    product(bench, Format::Q4_K, wide, (bench.size(16, 4), share(0.75)))?;
    product(
        bench,
        Format::BF16,
        wide,
        (bench.size(512, 16), share(0.70)),
    )?;
    product(
        bench,
        Format::Q4_K,
        wide,
        (bench.size(512, 16), share(0.60)),
    )
}

fn product(
    bench: &mut Bench,
    format: Format,
    (rows, cols): (usize, usize),
    (tokens, target): (usize, Target),
) -> Result<(), CudaError> {
    let name = match tokens {
        1 => "matrix by vector",
        2..=64 => "matrix by a batch",
        _ => "matrix by a prompt",
    };
    if !bench.wants(name) {
        return Ok(());
    }
    let device = bench.device.clone();
    let bytes = rows * cols / format.block_len() * format.block_bytes();
    let block = half_noise(1 << 16);
    let stored: Vec<u8> = block.iter().copied().cycle().take(bytes).collect();
    let copies = bench.copies(bytes);
    let matrices = (0..copies)
        .map(|_| Matrix::upload(&device, format, (rows, cols), &stored))
        .collect::<Result<Vec<_>, _>>()?;
    let x = Buffer::from_slice(&device, &noise(tokens * cols))?;
    let mut y = Buffer::zeroed(&device, tokens * rows)?;
    let case = Case {
        name,
        shape: format!("{rows} x {cols} {format:?}, {tokens} tokens"),
        limit: match tokens {
            0..=64 => Limit::Bytes(bytes),
            _ => Limit::Flops(2 * rows * cols * tokens),
        },
        target,
    };
    bench.run(case, |turn| {
        let product = Linear {
            matrix: &matrices[turn % copies],
            bias: None,
            x: x.view(),
            y: y.view_mut(),
            tokens,
            accumulate: false,
        };
        linear(&device, product)
    })
}
