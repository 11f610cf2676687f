//! One forward pass on a device: the steps of [`Decoder::forward`], launched one behind the other.

use outcrop_tensor::cuda::{
    Buffer, CudaError, DecodeRoom, Device, ExpertLinear, Gated, Gather, Linear as Product, Norm,
    PagedAttention, Rotary, Routing, add_experts, attention_decode, attention_prefill,
    expert_linear, finish_logits, gated, gather_rows, linear, paged_attention, rms_norm, rotary,
    route,
};

use crate::decoder_config::{DecoderConfig, GatedActivation, RopeOrder, Routing as RoutingKind};
use crate::decoder_weights::Decoder;

use super::pages::DevicePages;
use super::room::{ExpertRoom, LogitRoom, Room};
use super::step_rows::{Cut, StepRows};
use super::weights::{
    DeviceExperts, DeviceGatedMlp, DeviceLayer, DeviceMlp, DeviceWeights, ExpertMatrices,
};

type Done = Result<(), CudaError>;

/// What a pass goes by.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub device: &'a Device,
    pub decoder: &'a Decoder,
    pub weights: &'a DeviceWeights,
    pub rows: &'a StepRows,
    /// Rows of the step.
    pub count: usize,
    /// Those of them whose logits are wanted.
    pub wanted: usize,
}

impl Pass<'_> {
    fn config(&self) -> &DecoderConfig {
        &self.decoder.config
    }

    /// Whether behind the last layer's keys and values fewer rows go on.
    fn drops_rows(&self) -> bool {
        self.wanted < self.count
    }

    /// Launches the pass; the wanted logits go to `logits`. `keep_going` is asked before each layer:
    /// whether it never said no.
    pub fn run(
        self,
        room: &mut Room,
        pages: &mut DevicePages,
        logits: &mut LogitRoom,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<bool, CudaError> {
        let config = self.config();
        let embedding = Gather {
            ids: self.rows.tokens()?,
            out: room.hidden.view_mut(),
            rows: self.count,
            multiplier: config.embedding_multiplier,
        };
        embedding.of(self.device, &self.weights.embedding)?;
        let last = self.weights.layers.len() - 1;
        for (index, layer) in self.weights.layers.iter().enumerate() {
            if !keep_going() {
                return Ok(false);
            }
            self.remember(index, layer, room, pages)?;
            let is_kept = index == last && self.drops_rows();
            if is_kept {
                self.keep_wanted(room)?;
            }
            let count = if is_kept { self.wanted } else { self.count };
            if count > 0 {
                self.attend((index, layer), (count, is_kept), room, pages)?;
                self.mix(layer, count, room)?;
            }
        }
        self.project(room, logits)?;
        Ok(true)
    }

    /// Computes a layer's queries, and writes its keys and values to `pages`.
    fn remember(
        self,
        index: usize,
        layer: &DeviceLayer,
        room: &mut Room,
        pages: &mut DevicePages,
    ) -> Done {
        let (device, config, count) = (self.device, self.config(), self.count);
        self.normalise(layer.attention_norm.as_ref(), count, room)?;
        let input = match layer.attention_norm {
            Some(_) => room.normed.view(),
            None => room.hidden.view(),
        };
        layer
            .query
            .apply(device, count, input, room.queries.view_mut())?;
        layer
            .key
            .apply(device, count, input, room.keys.view_mut())?;
        layer
            .value
            .apply(device, count, input, room.values.view_mut())?;
        if let Some((query_norm, key_norm)) = &layer.qk_norms {
            let sizes = (config.query_size(), config.kv_size());
            self.norm_heads(query_norm, count * sizes.0, &mut room.queries)?;
            self.norm_heads(key_norm, count * sizes.1, &mut room.keys)?;
        }
        if let Some(rope) = config.layer_ropes[index] {
            self.turn(rope, config.heads, &mut room.queries)?;
            self.turn(rope, config.kv_heads, &mut room.keys)?;
        }
        let given = (room.keys.view(), room.values.view(), count);
        pages.store(config, index, self.rows, given)
    }

    /// Normalises the residual stream by `weight`, where there is one, to `room.normed`.
    fn normalise(self, weight: Option<&Buffer<f32>>, count: usize, room: &mut Room) -> Done {
        let Some(weight) = weight else { return Ok(()) };
        let norm = Norm {
            hidden: room.hidden.view_mut(),
            delta: None,
            weight: Some(weight.view()),
            bias: None,
            out: Some(room.normed.view_mut()),
            rows: count,
            width: self.config().hidden_size,
            eps: self.config().norm_eps,
        };
        rms_norm(self.device, norm)
    }

    /// Normalises each part of the first `len` elements of `x` that is as long as `weight` by it.
    fn norm_heads(self, weight: &Buffer<f32>, len: usize, x: &mut Buffer<f32>) -> Done {
        let norm = Norm {
            hidden: x.view_mut(),
            delta: None,
            weight: Some(weight.view()),
            bias: None,
            out: None,
            rows: len / weight.len(),
            width: weight.len(),
            eps: self.config().norm_eps,
        };
        rms_norm(self.device, norm)
    }

    fn turn(self, rope: usize, heads: usize, x: &mut Buffer<f32>) -> Done {
        let numbers = self.rows.all()?;
        let own = &self.decoder.ropes[rope];
        let turned = Rotary {
            x: x.view_mut(),
            frequencies: self.rows.frequencies(rope)?,
            sequences: numbers.sequences,
            positions: numbers.positions,
            rows: self.count,
            heads,
            head_dim: self.config().head_dim,
            pairs: own.pairs(),
            interleaved: own.order() == RopeOrder::Interleaved,
            factor: own.factor(),
        };
        rotary(self.device, turned)
    }

    /// Leaves only the rows whose logits are wanted.
    fn keep_wanted(self, room: &mut Room) -> Done {
        let (device, config, rows) = (self.device, self.config(), self.wanted);
        let ids = self.rows.kept_rows()?;
        let gather = |out| Gather {
            ids,
            out,
            rows,
            multiplier: 1.0,
        };
        let width = config.hidden_size;
        gather_rows(
            device,
            room.hidden.view(),
            width,
            gather(room.kept.view_mut()),
        )?;
        let width = config.query_size();
        let out = gather(room.kept_queries.view_mut());
        gather_rows(device, room.queries.view(), width, out)?;
        std::mem::swap(&mut room.hidden, &mut room.kept);
        std::mem::swap(&mut room.queries, &mut room.kept_queries);
        Ok(())
    }

    /// The attention half of a layer, for `count` rows: all, or those that are kept.
    fn attend(
        self,
        (index, layer): (usize, &DeviceLayer),
        (count, is_kept): (usize, bool),
        room: &mut Room,
        pages: &DevicePages,
    ) -> Done {
        let config = self.config();
        let numbers = match is_kept {
            true => self.rows.kept()?,
            false => self.rows.all()?,
        };
        let attention = PagedAttention {
            queries: room.queries.view(),
            sinks: layer.sinks.as_ref().map(Buffer::view),
            out: room.attended.view_mut(),
            rows: count,
            heads: config.heads,
            window: config.sliding_windows[index],
            scale: config.attention_scale,
            soft_cap: config.attention_soft_cap,
        };
        let pool = pages.pool(config, index, self.rows, numbers)?;
        match numbers.cut {
            None => paged_attention(self.device, pool, attention)?,
            Some(Cut::Tiles(tiles)) => attention_prefill(self.device, pool, attention, tiles)?,
            Some(Cut::Chunks(chunks)) => {
                let parts = DecodeRoom {
                    parts: room.parts.view_mut(),
                    weights: room.part_weights.view_mut(),
                    chunks,
                };
                attention_decode(self.device, pool, attention, parts)?;
            }
        }
        let (input, out) = (room.attended.view(), room.delta.view_mut());
        layer.output.apply(self.device, count, input, out)?;
        self.add(layer.attention_post_norm.as_ref(), count, room)
    }

    /// The MLP half of a layer, for `count` rows.
    fn mix(self, layer: &DeviceLayer, count: usize, room: &mut Room) -> Done {
        let device = self.device;
        self.normalise(layer.mlp_norm.as_ref(), count, room)?;
        let input = match layer.mlp_norm {
            Some(_) => room.normed.view(),
            None => room.hidden.view(),
        };
        match &layer.mlp {
            DeviceMlp::Dense(own) => {
                let DeviceGatedMlp { gate, up, down } = &**own;
                gate.apply(device, count, input, room.gate.view_mut())?;
                up.apply(device, count, input, room.up.view_mut())?;
                let len = count * self.config().intermediate_size;
                let kind = activation(self.config().activation);
                gated(
                    device,
                    kind,
                    room.gate.view_mut(),
                    Some(room.up.view()),
                    len,
                )?;
                down.apply(device, count, room.gate.view(), room.delta.view_mut())?;
            }
            DeviceMlp::Experts(mixture) => {
                let DeviceExperts {
                    router,
                    gate,
                    up,
                    down,
                } = &**mixture;
                let own = room.experts.as_mut().ok_or_else(no_experts)?;
                router.apply(device, count, input, own.scores.view_mut())?;
                self.route(count, own)?;
                let sources = [(gate, &mut own.gate), (up, &mut own.up)];
                for (matrices, out) in sources {
                    let x = (input, self.per_token()?);
                    self.through(matrices, x, (count, &own.chosen), out)?;
                }
                let len = count * self.per_token()? * gate.shape.0;
                let kind = activation(self.config().activation);
                gated(device, kind, own.gate.view_mut(), Some(own.up.view()), len)?;
                let x = (own.gate.view(), 1);
                self.through(down, x, (count, &own.chosen), &mut own.down)?;
                let shape = (count, self.per_token()?, self.config().hidden_size);
                let weights = own.weights.view();
                add_experts(
                    device,
                    shape,
                    own.down.view(),
                    weights,
                    room.delta.view_mut(),
                )?;
            }
        }
        self.add(layer.mlp_post_norm.as_ref(), count, room)
    }

    fn per_token(self) -> Result<usize, CudaError> {
        let experts = self.config().experts.as_ref();
        experts.map(|e| e.per_token).ok_or_else(no_experts)
    }

    fn route(self, count: usize, room: &mut ExpertRoom) -> Done {
        let config = self.config().experts.as_ref().ok_or_else(no_experts)?;
        let routing = Routing {
            rows: count,
            count: config.count,
            chosen: config.per_token,
            of_chosen: config.routing == RoutingKind::SoftmaxOfChosen,
        };
        let (scores, chosen) = (room.scores.view(), room.chosen.view_mut());
        route(
            self.device,
            routing,
            scores,
            chosen,
            room.weights.view_mut(),
        )
    }

    /// The products of `count` rows with their experts' matrices; `sharing` pairs share a row of `x`.
    fn through(
        self,
        matrices: &ExpertMatrices,
        (x, sharing): (outcrop_tensor::cuda::View<'_, f32>, usize),
        (count, chosen): (usize, &Buffer<u32>),
        out: &mut Buffer<f32>,
    ) -> Done {
        let product = ExpertLinear {
            matrices: matrices.addresses.view(),
            biases: matrices.biases.as_ref().map(Buffer::view),
            experts: chosen.view(),
            x,
            y: out.view_mut(),
            format: matrices.format,
            shape: matrices.shape,
            pairs: count * self.per_token()?,
            pairs_per_row: sharing,
        };
        expert_linear(self.device, product)
    }

    /// Adds what a half of a layer gave, normalised by `weight`, to the residual stream.
    fn add(self, weight: Option<&Buffer<f32>>, count: usize, room: &mut Room) -> Done {
        let config = self.config();
        if let Some(weight) = weight {
            self.norm_heads(weight, count * config.hidden_size, &mut room.delta)?;
        }
        let addition = Norm {
            hidden: room.hidden.view_mut(),
            delta: Some((room.delta.view(), config.residual_multiplier)),
            weight: None,
            bias: None,
            out: None,
            rows: count,
            width: config.hidden_size,
            eps: config.norm_eps,
        };
        rms_norm(self.device, addition)
    }

    /// The logits of the rows that are left.
    fn project(self, room: &mut Room, logits: &mut LogitRoom) -> Done {
        if self.drops_rows() {
            // Restores the buffers' places, which a recorded graph knows them by.
            std::mem::swap(&mut room.hidden, &mut room.kept);
            std::mem::swap(&mut room.queries, &mut room.kept_queries);
        }
        if self.wanted == 0 {
            return Ok(());
        }
        let config = self.config();
        let hidden = match self.drops_rows() {
            true => &mut room.kept,
            false => &mut room.hidden,
        };
        let norm = Norm {
            hidden: hidden.view_mut(),
            delta: None,
            weight: Some(self.weights.norm.view()),
            bias: None,
            out: Some(room.normed.view_mut()),
            rows: self.wanted,
            width: config.hidden_size,
            eps: config.norm_eps,
        };
        rms_norm(self.device, norm)?;
        let product = Product {
            matrix: self
                .weights
                .output
                .as_ref()
                .unwrap_or(&self.weights.embedding),
            bias: None,
            x: room.normed.view(),
            y: logits.device.view_mut(),
            tokens: self.wanted,
            accumulate: false,
        };
        linear(self.device, product)?;
        let changes = (config.logits_multiplier, config.logits_soft_cap);
        if changes == (1.0, None) {
            return Ok(());
        }
        let len = self.wanted * config.vocab_size;
        finish_logits(self.device, logits.device.view_mut(), len, changes)
    }
}

fn activation(kind: GatedActivation) -> Gated {
    match kind {
        GatedActivation::Silu => Gated::Silu,
        GatedActivation::Gelu => Gated::Gelu,
        GatedActivation::GeluTanh => Gated::GeluTanh,
        GatedActivation::ClampedSwiglu { alpha, limit } => Gated::ClampedSwiglu { alpha, limit },
    }
}

fn no_experts() -> CudaError {
    CudaError::Shape("a layer of experts in a model that describes none".to_owned())
}
