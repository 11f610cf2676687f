//! Times exact search with its top-k over many vectors.

use outcrop_kernels::{Buffer, CudaError, Metric, Search, SearchRows, VectorFormat};

use crate::measure::{Bench, Case, Limit, Target, filled, half_noise, noise};

const DIMS: usize = 384;
const NEIGHBOURS: usize = 10;

pub fn all(bench: &mut Bench) -> Result<(), CudaError> {
    for (format, queries, target) in [
        (VectorFormat::F16, 1, 0.93),
        (VectorFormat::F16, 8, 0.90),
        (VectorFormat::F16, 64, 0.85),
        (VectorFormat::I8, 1, 0.90),
    ] {
        search(bench, format, (bench.size(queries, queries.min(2)), target))?;
    }
    Ok(())
}

fn search(
    bench: &mut Bench,
    format: VectorFormat,
    (queries, target): (usize, f64),
) -> Result<(), CudaError> {
    if !bench.wants("search") {
        return Ok(());
    }
    let device = bench.device.clone();
    let count = bench.size(10_000_000, 3000);
    let bytes = count * DIMS * format.bytes();
    // A part that has no whole number of rows, so that few rows are equal.
    let rows = filled(&device, bytes, &half_noise((32 << 20) / 3 * 2))?;
    let scales = match format {
        VectorFormat::I8 => Some(Buffer::from_slice(&device, &vec![0.01f32; count])?),
        _ => None,
    };
    let asked = noise(queries * DIMS);
    let kind = (format, Metric::Dot);
    let mut search = Search::new(&device, &asked, kind, (DIMS, NEIGHBOURS))?;
    let case = Case {
        name: "search with top 10",
        shape: format!("{count} x {DIMS} {format:?}, {queries} queries"),
        limit: Limit::Bytes(bytes),
        target: Target::Share(target),
    };
    bench.run(case, |_| {
        search.restart()?;
        let part = SearchRows {
            bytes: rows.view(),
            scales: scales.as_ref().map(Buffer::view),
            mask: None,
            count,
            first_id: 0,
        };
        search.add(&device, part)?;
        search.join(&device)
    })
}
