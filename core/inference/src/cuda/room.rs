//! The room on a device that forward passes fill anew: taken once, so that none allocates.

use outcrop_tensor::cuda::{Buffer, CudaError, Device, Pinned};

use crate::decoder_config::DecoderConfig;

/// Room for so many rows.
#[derive(Debug)]
pub(super) struct Room {
    pub rows: usize,
    /// The residual stream, and the rows of it that are left behind the last layer's keys.
    pub hidden: Buffer<f32>,
    pub kept: Buffer<f32>,
    /// What goes into a projection, and what comes back to the residual stream.
    pub normed: Buffer<f32>,
    pub delta: Buffer<f32>,
    pub queries: Buffer<f32>,
    pub kept_queries: Buffer<f32>,
    pub keys: Buffer<f32>,
    pub values: Buffer<f32>,
    pub attended: Buffer<f32>,
    /// Parts of the softmax of rows that are cut in chunks, and their weights.
    pub parts: Buffer<f32>,
    pub part_weights: Buffer<f32>,
    pub gate: Buffer<f32>,
    pub up: Buffer<f32>,
    pub experts: Option<ExpertRoom>,
}

/// Room for the rows' experts.
#[derive(Debug)]
pub(super) struct ExpertRoom {
    pub scores: Buffer<f32>,
    pub chosen: Buffer<u32>,
    pub weights: Buffer<f32>,
    pub gate: Buffer<f32>,
    pub up: Buffer<f32>,
    pub down: Buffer<f32>,
}

impl Room {
    /// Room for `rows` rows of a decoder, and for `parts` parts of their softmax.
    pub fn new(
        device: &Device,
        config: &DecoderConfig,
        rows: usize,
        parts: usize,
    ) -> Result<Self, CudaError> {
        let take = |width: usize| Buffer::zeroed(device, rows * width);
        let (hidden, query, kv) = (config.hidden_size, config.query_size(), config.kv_size());
        Ok(Self {
            rows,
            hidden: take(hidden)?,
            kept: take(hidden)?,
            normed: take(hidden)?,
            delta: take(hidden)?,
            queries: take(query)?,
            kept_queries: take(query)?,
            keys: take(kv)?,
            values: take(kv)?,
            attended: take(query)?,
            parts: Buffer::zeroed(device, parts * query)?,
            part_weights: Buffer::zeroed(device, parts * 2 * config.heads)?,
            gate: take(config.intermediate_size)?,
            up: take(config.intermediate_size)?,
            experts: match &config.experts {
                None => None,
                Some(experts) => {
                    let (pairs, width) = (experts.per_token, experts.intermediate_size);
                    Some(ExpertRoom {
                        scores: take(experts.count)?,
                        chosen: Buffer::zeroed(device, rows * pairs)?,
                        weights: take(pairs)?,
                        gate: take(pairs * width)?,
                        up: take(pairs * width)?,
                        down: take(pairs * hidden)?,
                    })
                }
            },
        })
    }
}

/// Room for logits, on the device and in pinned memory beside it.
#[derive(Debug)]
pub(super) struct LogitRoom {
    pub rows: usize,
    pub device: Buffer<f32>,
    pub host: Pinned<f32>,
}

impl LogitRoom {
    /// Room for `rows` rows of `vocabulary`.
    pub fn new(device: &Device, rows: usize, vocabulary: usize) -> Result<Self, CudaError> {
        Ok(Self {
            rows,
            device: Buffer::zeroed(device, rows * vocabulary)?,
            host: Pinned::zeroed(device, rows * vocabulary)?,
        })
    }
}
