//! A decoder's weights on a device.

use outcrop_tensor::cuda::{
    Buffer, CudaError, Device, Format, Linear as Product, Matrix, View, ViewMut, linear, upload,
};

use crate::decoder_weights::{Decoder, GatedMlp, Layer, Linear, Mlp};

type Done<T> = Result<T, CudaError>;

/// A projection with its bias.
#[derive(Debug)]
pub(super) struct DeviceLinear {
    matrix: Matrix,
    bias: Option<Buffer<f32>>,
}

/// A projection of every expert of a layer, all of one shape and format.
#[derive(Debug)]
pub(super) struct ExpertMatrices {
    /// They hold what `addresses` name.
    _own: Vec<DeviceLinear>,
    pub addresses: Buffer<u64>,
    pub biases: Option<Buffer<u64>>,
    pub format: Format,
    pub shape: (usize, usize),
}

/// A dense gated MLP.
#[derive(Debug)]
pub(super) struct DeviceGatedMlp {
    pub gate: DeviceLinear,
    pub up: DeviceLinear,
    pub down: DeviceLinear,
}

/// A mixture of experts.
#[derive(Debug)]
pub(super) struct DeviceExperts {
    pub router: DeviceLinear,
    pub gate: ExpertMatrices,
    pub up: ExpertMatrices,
    pub down: ExpertMatrices,
}

/// The second half of a layer.
#[derive(Debug)]
pub(super) enum DeviceMlp {
    Dense(Box<DeviceGatedMlp>),
    Experts(Box<DeviceExperts>),
}

/// One layer's weights, as [`Layer`] has them.
#[derive(Debug)]
pub(super) struct DeviceLayer {
    pub attention_norm: Option<Buffer<f32>>,
    pub attention_post_norm: Option<Buffer<f32>>,
    pub query: DeviceLinear,
    pub key: DeviceLinear,
    pub value: DeviceLinear,
    pub qk_norms: Option<(Buffer<f32>, Buffer<f32>)>,
    pub sinks: Option<Buffer<f32>>,
    pub output: DeviceLinear,
    pub mlp_norm: Option<Buffer<f32>>,
    pub mlp_post_norm: Option<Buffer<f32>>,
    pub mlp: DeviceMlp,
}

/// A decoder's weights, as [`Decoder`] has them.
#[derive(Debug)]
pub(super) struct DeviceWeights {
    pub embedding: Matrix,
    pub layers: Vec<DeviceLayer>,
    pub norm: Buffer<f32>,
    /// `None`: the embedding is the output projection too.
    pub output: Option<Matrix>,
}

impl DeviceLinear {
    fn upload(device: &Device, linear: &Linear) -> Done<Self> {
        Ok(Self {
            matrix: upload(device, &linear.weight)?,
            bias: vector(device, linear.bias.as_deref())?,
        })
    }

    /// Writes the projection of `rows` rows of `x` to `y`.
    pub fn apply(
        &self,
        device: &Device,
        rows: usize,
        x: View<'_, f32>,
        y: ViewMut<'_, f32>,
    ) -> Done<()> {
        let product = Product {
            matrix: &self.matrix,
            bias: self.bias.as_ref().map(Buffer::view),
            x,
            y,
            tokens: rows,
            accumulate: false,
        };
        linear(device, product)
    }
}

impl ExpertMatrices {
    fn upload<'a>(device: &Device, linears: impl Iterator<Item = &'a Linear>) -> Done<Self> {
        let own: Vec<DeviceLinear> = linears
            .map(|linear| DeviceLinear::upload(device, linear))
            .collect::<Done<_>>()?;
        let Some(first) = own.first() else {
            return Err(CudaError::Shape("a layer of no experts".to_owned()));
        };
        let kind = |own: &DeviceLinear| (own.matrix.format(), own.matrix.rows(), own.matrix.cols());
        if let Some(other) = own.iter().find(|other| kind(other) != kind(first)) {
            return Err(CudaError::Shape(format!(
                "experts of one layer: expected all as {:?}, got {:?}",
                kind(first),
                kind(other)
            )));
        }
        let addresses: Vec<u64> = own.iter().map(|own| own.matrix.address()).collect();
        let biases: Option<Vec<u64>> = own
            .iter()
            .map(|own| own.bias.as_ref().map(Buffer::address))
            .collect();
        Ok(Self {
            addresses: Buffer::from_slice(device, &addresses)?,
            biases: biases
                .map(|biases| Buffer::from_slice(device, &biases))
                .transpose()?,
            format: first.matrix.format(),
            shape: (first.matrix.rows(), first.matrix.cols()),
            _own: own,
        })
    }
}

impl DeviceLayer {
    fn upload(device: &Device, layer: &Layer) -> Done<Self> {
        let linear = |linear: &Linear| DeviceLinear::upload(device, linear);
        let vector = |values: &Option<Vec<f32>>| vector(device, values.as_deref());
        Ok(Self {
            attention_norm: vector(&layer.attention_norm)?,
            attention_post_norm: vector(&layer.attention_post_norm)?,
            query: linear(&layer.query)?,
            key: linear(&layer.key)?,
            value: linear(&layer.value)?,
            qk_norms: match &layer.qk_norms {
                Some((query, key)) => Some((
                    Buffer::from_slice(device, query)?,
                    Buffer::from_slice(device, key)?,
                )),
                None => None,
            },
            sinks: vector(&layer.sinks)?,
            output: linear(&layer.output)?,
            mlp_norm: vector(&layer.mlp_norm)?,
            mlp_post_norm: vector(&layer.mlp_post_norm)?,
            mlp: match &layer.mlp {
                Mlp::Dense(GatedMlp { gate, up, down }) => {
                    DeviceMlp::Dense(Box::new(DeviceGatedMlp {
                        gate: linear(gate)?,
                        up: linear(up)?,
                        down: linear(down)?,
                    }))
                }
                Mlp::Experts(own) => {
                    let all = || own.experts.iter();
                    DeviceMlp::Experts(Box::new(DeviceExperts {
                        router: linear(&own.router)?,
                        gate: ExpertMatrices::upload(device, all().map(|expert| &expert.gate))?,
                        up: ExpertMatrices::upload(device, all().map(|expert| &expert.up))?,
                        down: ExpertMatrices::upload(device, all().map(|expert| &expert.down))?,
                    }))
                }
            },
        })
    }
}

impl DeviceWeights {
    /// Copies of `decoder`'s weights.
    pub fn upload(device: &Device, decoder: &Decoder) -> Done<Self> {
        let layers = decoder.layers.iter();
        Ok(Self {
            embedding: upload(device, &decoder.embedding)?,
            layers: layers
                .map(|layer| DeviceLayer::upload(device, layer))
                .collect::<Done<_>>()?,
            norm: Buffer::from_slice(device, &decoder.norm)?,
            output: match &decoder.output {
                Some(output) => Some(upload(device, output)?),
                None => None,
            },
        })
    }
}

fn vector(device: &Device, values: Option<&[f32]>) -> Done<Option<Buffer<f32>>> {
    values
        .map(|values| Buffer::from_slice(device, values))
        .transpose()
}
