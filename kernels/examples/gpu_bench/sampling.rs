//! Times choosing tokens with top_k, top_p and min_p over a large vocabulary.

use outcrop_kernels::{Buffer, Choices, CudaError, SampleRow, sample};

use crate::measure::{Bench, Case, Limit, Target, noise};

pub fn all(bench: &mut Bench) -> Result<(), CudaError> {
    let vocabulary = bench.size(128_256, 2000);
    for (batch, micros) in [(1, 15.0), (32, 25.0), (256, 120.0)] {
        let batch = bench.size(batch, batch.min(3));
        if !bench.wants("sampling") {
            continue;
        }
        let device = bench.device.clone();
        // As peaked as a model's logits are.
        let logits: Vec<f32> = noise(batch * vocabulary)
            .iter()
            .map(|x| 12.0 * x.powi(3))
            .collect();
        let logits = Buffer::from_slice(&device, &logits)?;
        let rows: Vec<SampleRow> = (0..batch as u32)
            .map(|row| SampleRow {
                point: f64::from(row) / batch as f64,
                row,
                top_k: 50,
                temperature: 0.8,
                top_p: 0.95,
                min_p: 0.02,
                ..SampleRow::default()
            })
            .collect();
        let rows = Buffer::from_slice(&device, &rows)?;
        let words = Buffer::<u32>::zeroed(&device, 1)?;
        let mut work = Buffer::<u32>::zeroed(&device, batch * vocabulary)?;
        let mut tokens = Buffer::<i32>::zeroed(&device, batch)?;
        let case = Case {
            name: "sampling, k + p + min_p",
            shape: format!("{batch} x {vocabulary}"),
            limit: Limit::Bytes(4 * batch * vocabulary),
            target: Target::Micros(micros),
        };
        bench.run(case, |_| {
            let choices = Choices {
                logits: logits.view(),
                vocabulary,
                rows: &rows,
                count: batch,
            };
            sample(
                &device,
                choices,
                words.view(),
                work.view_mut(),
                tokens.view_mut(),
            )
        })?;
    }
    Ok(())
}
