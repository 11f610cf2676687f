//! Launches of `search.cu`: exact nearest neighbours.

use crate::{Buffer, CudaError, Device, Grid, Kernel, Parameters, View};

/// Most neighbours of a query, as in `search.cu`.
pub const MOST_NEIGHBOURS: usize = 256;
/// Bytes of shared memory that a query may take.
const MOST_QUERY: usize = 40 << 10;
/// Fewest rows of a slice: below it sorting costs more than reading.
const LEAST_SLICE: usize = 4096;

/// How a row's elements are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorFormat {
    /// Singles.
    F32,
    /// Halves.
    F16,
    /// The upper halves of singles.
    BF16,
    /// Signed bytes with a scale a row.
    I8,
}

impl VectorFormat {
    /// Bytes of an element.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::I8 => 1,
        }
    }

    const fn kernel(self) -> &'static str {
        match self {
            Self::F32 => "search_f32",
            Self::F16 => "search_f16",
            Self::BF16 => "search_bf16",
            Self::I8 => "search_i8",
        }
    }
}

/// What makes rows near.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// The dot product.
    Dot,
    /// The cosine of the angle; 0 where a length is 0.
    Cosine,
    /// The Euclidean distance; scores are minus its square.
    L2,
}

/// Rows that are searched: all, or one part of them after the other.
#[derive(Clone, Copy, Debug)]
pub struct SearchRows<'a> {
    /// `(count, dims)`.
    pub bytes: View<'a, u8>,
    /// One a row, for signed bytes.
    pub scales: Option<View<'a, f32>>,
    /// A bit a row, in words of 32: only rows whose bit is set take part.
    pub mask: Option<View<'a, u32>>,
    /// Rows.
    pub count: usize,
    /// Id of the first row; the last is below 2^32 - 1.
    pub first_id: u64,
}

/// A search of some queries, over as many parts of rows as are given to it.
#[derive(Debug)]
pub struct Search {
    queries: Buffer<f32>,
    keys: Buffer<u64>,
    scores: Buffer<f32>,
    ids: Buffer<u32>,
    format: VectorFormat,
    metric: Metric,
    dims: usize,
    k: usize,
    slices: usize,
}

/// A row that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// Its id.
    pub id: u32,
    /// Its score; larger is nearer.
    pub score: f32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct SearchArgs {
    rows: u64,
    scales: u64,
    queries: u64,
    mask: u64,
    keys: u64,
    count: u64,
    row_bytes: u64,
    slice: u64,
    first_id: u64,
    dims: u32,
    k: u32,
    metric: u32,
    padding: u32,
}

// SAFETY: as the struct of that name in search.cu, without padding.
unsafe impl Parameters for SearchArgs {}

#[repr(C)]
#[derive(Clone, Copy)]
struct JoinArgs {
    keys: u64,
    scores: u64,
    ids: u64,
    lists: u32,
    k: u32,
}

// SAFETY: as the struct of that name in search.cu, without padding.
unsafe impl Parameters for JoinArgs {}

impl Search {
    /// A search for the `k` best rows of each of `queries`, `(queries, dims)`.
    ///
    /// # Errors
    /// [`CudaError::Shape`] for more than 256 neighbours, queries that are not whole or too long for
    /// the shared memory; [`CudaError::OutOfMemory`].
    pub fn new(
        device: &Device,
        queries: &[f32],
        (format, metric): (VectorFormat, Metric),
        (dims, k): (usize, usize),
    ) -> Result<Self, CudaError> {
        let is_whole = dims > 0 && queries.len().is_multiple_of(dims) && !queries.is_empty();
        if !is_whole || k == 0 || k > MOST_NEIGHBOURS || 4 * dims > MOST_QUERY {
            return Err(CudaError::Shape(format!(
                "a search for {k} neighbours (1 to {MOST_NEIGHBOURS}) of {} numbers in queries of \
                 {dims} (1 to {})",
                queries.len(),
                MOST_QUERY / 4
            )));
        }
        let count = queries.len() / dims;
        // As many blocks as the device runs at once, whatever the number of queries.
        let blocks = 4 * device.info().multiprocessors.max(1) as usize;
        let slices = (blocks / count).max(1);
        Ok(Self {
            queries: Buffer::from_slice(device, queries)?,
            keys: Buffer::zeroed(device, count * slices * k)?,
            scores: Buffer::zeroed(device, count * k)?,
            ids: Buffer::zeroed(device, count * k)?,
            format,
            metric,
            dims,
            k,
            slices,
        })
    }

    fn count(&self) -> usize {
        self.queries.len() / self.dims
    }

    /// Searches `rows` too.
    ///
    /// # Errors
    /// [`CudaError::Shape`] for views that are too short or ids that are too large; what the driver
    /// says.
    pub fn add(&mut self, device: &Device, rows: SearchRows<'_>) -> Result<(), CudaError> {
        let row_bytes = self.dims * self.format.bytes();
        let count = rows.count;
        let enough = rows.bytes.len >= count * row_bytes
            && rows.scales.is_none_or(|scales| scales.len >= count)
            && rows.mask.is_none_or(|mask| mask.len >= count.div_ceil(32));
        let has_ids = rows.first_id + (count as u64) < u64::from(u32::MAX);
        if !enough || !has_ids || (self.format == VectorFormat::I8) != rows.scales.is_some() {
            return Err(CudaError::Shape(format!(
                "a search over {count} rows of {} {:?} from id {}: a view is shorter, scales are \
                 there for other elements than bytes, or ids pass 2^32 - 2",
                self.dims, self.format, rows.first_id
            )));
        }
        let slice = count
            .div_ceil(self.slices)
            .max(LEAST_SLICE.min(count))
            .max(1);
        let arguments = SearchArgs {
            rows: rows.bytes.address,
            scales: rows.scales.map_or(0, |scales| scales.address),
            queries: self.queries.address(),
            mask: rows.mask.map_or(0, |mask| mask.address),
            keys: self.keys.address(),
            count: count as u64,
            row_bytes: row_bytes as u64,
            slice: slice as u64,
            first_id: rows.first_id,
            dims: self.dims as u32,
            k: self.k as u32,
            metric: match self.metric {
                Metric::Dot => 0,
                Metric::Cosine => 1,
                Metric::L2 => 2,
            },
            padding: 0,
        };
        let kernel = Kernel {
            file: "search",
            name: self.format.kernel(),
        };
        let grid = Grid {
            blocks: (self.slices as u32, self.count() as u32, 1),
            threads: 256,
            shared: 4 * self.dims as u32,
        };
        // SAFETY: the lengths were held against the shape.
        unsafe { device.launch(kernel, grid, &arguments) }
    }

    /// Forgets the rows that were searched.
    ///
    /// # Errors
    /// What the driver says.
    pub fn restart(&mut self) -> Result<(), CudaError> {
        self.keys.clear()
    }

    /// Joins what was found in the parts, on the device.
    ///
    /// # Errors
    /// What the driver says.
    pub fn join(&mut self, device: &Device) -> Result<(), CudaError> {
        let arguments = JoinArgs {
            keys: self.keys.address(),
            scores: self.scores.address(),
            ids: self.ids.address(),
            lists: self.slices as u32,
            k: self.k as u32,
        };
        let kernel = Kernel {
            file: "search",
            name: "search_join",
        };
        let grid = Grid::new((self.count() as u32, 1, 1), 256);
        // SAFETY: the buffers are of the shape that the arguments say.
        unsafe { device.launch(kernel, grid, &arguments) }
    }

    /// The best rows of each query, the nearest first, of equal ones the lower id; fewer than `k`
    /// where fewer took part. Waits for the device.
    ///
    /// # Errors
    /// What the driver says.
    pub fn finish(mut self, device: &Device) -> Result<Vec<Vec<Neighbour>>, CudaError> {
        self.join(device)?;
        let (scores, ids) = (self.scores.to_vec()?, self.ids.to_vec()?);
        let pairs = ids.chunks_exact(self.k).zip(scores.chunks_exact(self.k));
        let found = |(ids, scores): (&[u32], &[f32])| {
            ids.iter()
                .zip(scores)
                .filter(|(id, _)| **id != u32::MAX)
                .map(|(&id, &score)| Neighbour { id, score })
                .collect()
        };
        Ok(pairs.map(found).collect())
    }
}
