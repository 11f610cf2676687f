//! Cross-entropy of the tokens that are learned, from the last hidden rows, forward and backward in
//! one: the logits of a few rows stand at a time.

use outcrop_tensor::{Matrix, Panels, Pool, Precision, Product, ops};

use super::rows::{self, BLOCK};

/// Elements of the logits that stand at a time.
const LOGITS: usize = 4 << 20;

/// The output projection and what it does to logits.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    /// `(vocabulary, hidden)`.
    pub weight: &'a [f32],
    pub hidden: usize,
    /// Multiplies the logits.
    pub multiplier: f32,
    /// Bounds them.
    pub soft_cap: Option<f32>,
}

/// Where the gradient of the rows is written, and that of the weight added where it is wanted.
pub(crate) type HeadGradients<'a> = (&'a mut [f32], Option<&'a mut [f32]>);

/// Room that passes use again.
#[derive(Debug, Default)]
pub(crate) struct HeadRoom {
    logits: Vec<f32>,
    turned: Panels,
    straight: Panels,
    panels: Panels,
    losses: Vec<f32>,
}

impl HeadRoom {
    pub fn new(precision: Precision) -> Self {
        Self {
            turned: Panels::new(precision),
            straight: Panels::new(precision),
            panels: Panels::new(precision),
            ..Self::default()
        }
    }
}

impl Head<'_> {
    fn vocabulary(&self) -> usize {
        self.weight.len() / self.hidden
    }

    /// Rows whose logits stand at a time.
    pub fn chunk(vocabulary: usize) -> usize {
        (LOGITS / vocabulary).clamp(16, 1024) / 16 * 16
    }

    /// The logits of `x`, `(rows, hidden)`.
    pub fn logits(&self, pool: &Pool, room: &mut HeadRoom, x: &[f32]) -> Vec<f32> {
        room.turned
            .pack(pool, Matrix::of_rows(self.weight, self.hidden).turned());
        let mut logits = vec![0.0; x.len() / self.hidden * self.vocabulary()];
        self.project(pool, &room.turned, x, &mut logits);
        logits
    }

    fn project(&self, pool: &Pool, turned: &Panels, x: &[f32], logits: &mut [f32]) {
        let vocabulary = self.vocabulary();
        let product = Product {
            data: logits,
            stride: vocabulary,
            accumulate: false,
        };
        ops::matmul_panels(pool, Matrix::of_rows(x, self.hidden), turned, product);
        if self.multiplier == 1.0 && self.soft_cap.is_none() {
            return;
        }
        pool.run_chunks(logits, BLOCK * vocabulary, |_, logits| {
            ops::scale_in_place(logits, self.multiplier);
            if let Some(cap) = self.soft_cap {
                ops::soft_cap_in_place(logits, 1.0, cap);
            }
        });
    }

    /// The sum of the losses of rows `x` with their `targets`.
    pub fn loss(&self, pool: &Pool, room: &mut HeadRoom, x: &[f32], targets: &[u32]) -> f64 {
        self.run(pool, room, (x, targets), None)
    }

    /// As [`Head::loss`]; writes the gradient of `x` of the losses multiplied by `scale` to `dx`, and
    /// adds that of the weight to `gradient` where it is wanted.
    pub fn loss_and_gradients(
        &self,
        pool: &Pool,
        room: &mut HeadRoom,
        rows: (&[f32], &[u32]),
        scale: f32,
        gradients: HeadGradients<'_>,
    ) -> f64 {
        room.straight
            .pack(pool, Matrix::of_rows(self.weight, self.hidden));
        self.run(pool, room, rows, Some((scale, gradients)))
    }

    fn run(
        &self,
        pool: &Pool,
        room: &mut HeadRoom,
        (x, targets): (&[f32], &[u32]),
        back: Option<(f32, HeadGradients<'_>)>,
    ) -> f64 {
        let (hidden, vocabulary) = (self.hidden, self.vocabulary());
        let chunk = Self::chunk(vocabulary);
        room.turned
            .pack(pool, Matrix::of_rows(self.weight, hidden).turned());
        let (scale, mut gradients) = match back {
            Some((scale, gradients)) => (scale, Some(gradients)),
            None => (1.0, None),
        };
        let mut sum = 0.0;
        for (index, targets) in targets.chunks(chunk).enumerate() {
            let own = index * chunk * hidden..(index * chunk + targets.len()) * hidden;
            let x = &x[own.clone()];
            room.logits.resize(targets.len() * vocabulary, 0.0);
            room.losses.resize(targets.len(), 0.0);
            self.project(pool, &room.turned, x, &mut room.logits);
            let logits = (&mut room.logits[..], vocabulary);
            rows::both(
                pool,
                logits,
                (&mut room.losses, 1),
                |block, logits, losses| {
                    let rows = logits.chunks_exact_mut(vocabulary).zip(losses);
                    for ((row, loss), target) in rows.zip(&targets[block * BLOCK..]) {
                        *loss = self.row(row, *target as usize, scale);
                    }
                },
            );
            sum += room.losses.iter().map(|loss| f64::from(*loss)).sum::<f64>();
            if let Some((dx, gradient)) = &mut gradients {
                let dlogits = Matrix::of_rows(&room.logits, vocabulary);
                let product = |data, accumulate| Product {
                    data,
                    stride: hidden,
                    accumulate,
                };
                ops::matmul_panels(pool, dlogits, &room.straight, product(&mut dx[own], false));
                if let Some(gradient) = gradient.as_deref_mut() {
                    room.panels.pack(pool, Matrix::of_rows(x, hidden));
                    let out = product(gradient, true);
                    ops::matmul_panels(pool, dlogits.turned(), &room.panels, out);
                }
            }
        }
        sum
    }

    /// The loss of one row; the row becomes its gradient times `scale`.
    fn row(&self, row: &mut [f32], target: usize, scale: f32) -> f32 {
        let logit = row[target];
        let slopes: Option<Vec<f32>> = self.soft_cap.map(|cap| {
            let slope = |y: &f32| 1.0 - (y / cap) * (y / cap);
            row.iter().map(slope).collect()
        });
        let factor = scale * self.multiplier;
        let sum = ops::softmax_log_sum(row, 1.0, factor);
        row[target] -= factor;
        if let Some(slopes) = slopes {
            ops::multiply_in_place(row, &slopes);
        }
        sum - logit
    }
}
