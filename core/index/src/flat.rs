//! Exact search: every row is compared with every query.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use outcrop_tensor::Pool;
use outcrop_tensor::search::dot_products;

use crate::top_k::{Hit, TopK, merge};

/// Rows that one task of the pool takes.
const TASK_ROWS: usize = 2048;
/// Rows that all queries go over while they lie in the second-level cache.
const BLOCK_ROWS: usize = 64;
/// Queries that share one pass over the rows.
const BATCH_QUERIES: usize = 256;
/// The largest value in a query: dot products of 65,536 of them are still finite.
const MAX_VALUE: f32 = 1e15;

/// A search that cannot be made.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum IndexError {
    /// A slice does not hold whole rows.
    #[error("{field}: expected whole rows of {dims} values, got {len} values")]
    Shape {
        /// The argument.
        field: &'static str,
        /// The length of a row.
        dims: usize,
        /// The length of the slice.
        len: usize,
    },
    /// A query holds a value that is not finite or beyond 1e15.
    #[error("queries: expected values from -1e15 to 1e15, got {value}")]
    Value {
        /// The value.
        value: f32,
    },
    /// A set of rows has too few words for the rows.
    #[error("{field}: expected a bit for each of {rows} rows, got {len} words of 64")]
    RowSet {
        /// The argument.
        field: &'static str,
        /// How many rows there are.
        rows: usize,
        /// How many words came.
        len: usize,
    },
    /// There are more rows than numbers for them.
    #[error("rows: expected fewer than 2^32, got {rows}")]
    TooManyRows {
        /// How many rows there are.
        rows: usize,
    },
}

/// An exact index over borrowed rows. It owns nothing and is free to make.
#[derive(Clone, Debug)]
pub struct FlatIndex<'a> {
    dims: usize,
    rows: usize,
    pieces: Vec<&'a [f32]>,
    live: Option<&'a [u64]>,
}

/// Neighbouring rows of one piece.
struct Task<'a> {
    first: usize,
    rows: &'a [f32],
}

impl<'a> FlatIndex<'a> {
    /// An index over `pieces`, each (rows, dims) row-major. Rows are numbered through the pieces from 0.
    ///
    /// Values must be finite and within ±1e15, as the store guarantees of what it holds.
    ///
    /// # Errors
    /// `Shape` where a piece does not hold whole rows or `dims` is 0, `TooManyRows`.
    pub fn new(dims: usize, pieces: Vec<&'a [f32]>) -> Result<Self, IndexError> {
        check_shape("rows", dims, 0)?;
        for piece in &pieces {
            check_shape("rows", dims, piece.len())?;
        }
        let rows = pieces.iter().map(|piece| piece.len() / dims).sum();
        if u32::try_from(rows).is_err() {
            return Err(IndexError::TooManyRows { rows });
        }
        Ok(Self {
            dims,
            rows,
            pieces,
            live: None,
        })
    }

    /// The same index over those rows alone whose bit is set, lowest bit of the first word first.
    ///
    /// # Errors
    /// `RowSet` where there are fewer bits than rows.
    pub fn with_live(mut self, live: &'a [u64]) -> Result<Self, IndexError> {
        IndexError::check_row_set("live", self.rows, live)?;
        self.live = Some(live);
        Ok(self)
    }

    /// How many rows there are, dead ones included.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The best `k` rows, or as many as there are, for each of `queries`, (queries, dims) row-major: by dot
    /// product, the higher first, of equal ones the lower row first. `allow` has a bit for each row and leaves
    /// the others out.
    ///
    /// The result does not depend on the number of threads, nor on what else is in the batch.
    ///
    /// # Errors
    /// `Shape`, `Value`, `RowSet`.
    pub fn search(
        &self,
        pool: &Pool,
        queries: &[f32],
        k: usize,
        allow: Option<&[u64]>,
    ) -> Result<Vec<Vec<Hit>>, IndexError> {
        check_shape("queries", self.dims, queries.len())?;
        let bad = queries.iter().find(|v| v.is_nan() || v.abs() > MAX_VALUE);
        if let Some(&value) = bad {
            return Err(IndexError::Value { value });
        }
        if let Some(allow) = allow {
            IndexError::check_row_set("allow", self.rows, allow)?;
        }
        let k = k.min(self.rows);
        let batches = queries.chunks(BATCH_QUERIES * self.dims);
        Ok(batches
            .flat_map(|batch| self.search_batch(pool, batch, k, allow))
            .collect())
    }

    fn search_batch(
        &self,
        pool: &Pool,
        queries: &[f32],
        k: usize,
        allow: Option<&[u64]>,
    ) -> Vec<Vec<Hit>> {
        let tasks = self.tasks();
        let parts: Vec<Mutex<Vec<TopK>>> = tasks.iter().map(|_| Mutex::default()).collect();
        pool.run(tasks.len(), |i| {
            if let (Some(task), Some(part)) = (tasks.get(i), parts.get(i)) {
                let found = self.search_task(task, queries, k, allow);
                *part.lock().unwrap_or_else(PoisonError::into_inner) = found;
            }
        });
        let mut parts: Vec<_> = parts
            .into_iter()
            .map(|part| {
                part.into_inner()
                    .unwrap_or_else(PoisonError::into_inner)
                    .into_iter()
            })
            .collect();
        (0..queries.len() / self.dims)
            .map(|_| merge(parts.iter_mut().filter_map(Iterator::next), k))
            .collect()
    }

    fn tasks(&self) -> Vec<Task<'a>> {
        let mut tasks = Vec::with_capacity(self.rows / TASK_ROWS + self.pieces.len());
        let mut first = 0;
        for piece in &self.pieces {
            for rows in piece.chunks(TASK_ROWS * self.dims) {
                tasks.push(Task { first, rows });
                first += rows.len() / self.dims;
            }
        }
        tasks
    }

    /// The best of one task's rows for each query.
    fn search_task(
        &self,
        task: &Task<'_>,
        queries: &[f32],
        k: usize,
        allow: Option<&[u64]>,
    ) -> Vec<TopK> {
        let count = queries.len() / self.dims;
        let mut best = vec![TopK::new(k); count];
        let mut scores = vec![0f32; BLOCK_ROWS * count];
        let mut first = task.first;
        for block in task.rows.chunks(BLOCK_ROWS * self.dims) {
            let rows = block.len() / self.dims;
            let range = first..first + rows;
            first += rows;
            if !self.any_wanted(range.clone(), allow) {
                continue;
            }
            let scores = scores.get_mut(..rows * count).unwrap_or_default();
            dot_products(block, queries, self.dims, scores);
            for (best, scores) in best.iter_mut().zip(scores.chunks_exact(rows)) {
                for (row, &score) in range.clone().zip(scores.iter()) {
                    if best.admits(score) && self.is_wanted(row, allow) {
                        best.push(Hit {
                            row: row as u32,
                            score,
                        });
                    }
                }
            }
        }
        best
    }

    fn is_wanted(&self, row: usize, allow: Option<&[u64]>) -> bool {
        let has = |set| has_row(set, row);
        self.live.is_none_or(has) && allow.is_none_or(has)
    }

    fn any_wanted(&self, mut rows: Range<usize>, allow: Option<&[u64]>) -> bool {
        (self.live.is_none() && allow.is_none()) || rows.any(|row| self.is_wanted(row, allow))
    }
}

/// Whether the bit of `row` is set.
pub(crate) fn has_row(set: &[u64], row: usize) -> bool {
    set.get(row / 64)
        .is_some_and(|word| word >> (row % 64) & 1 == 1)
}

impl IndexError {
    pub(crate) fn check_row_set(field: &'static str, rows: usize, set: &[u64]) -> Result<(), Self> {
        if set.len() < rows.div_ceil(64) {
            let len = set.len();
            return Err(Self::RowSet { field, rows, len });
        }
        Ok(())
    }
}

fn check_shape(field: &'static str, dims: usize, len: usize) -> Result<(), IndexError> {
    if dims == 0 || !len.is_multiple_of(dims) {
        return Err(IndexError::Shape { field, dims, len });
    }
    Ok(())
}
