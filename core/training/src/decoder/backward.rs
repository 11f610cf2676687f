//! The way back through a decoder.

use std::ops::Range;

use outcrop_api::Result;
use outcrop_tensor::{Pool, ops};

use super::forward::{Buffers, Pass, attention, slot};
use super::low_rank::{DropoutKey, Site};
use super::room::{Room, Saved};
use super::{Decoder, Trained, learned};
use crate::batch::Batch;
use crate::layers::linear::LinearGradients;
use crate::layers::{embedding, gated, norm, rows};

/// Where the gradients of the trained weights are added.
struct Gradients<'a> {
    all: &'a mut [f32],
    trained: Trained,
}

impl Gradients<'_> {
    /// The gradient of a tensor of the model itself, where it is trained.
    fn at(&mut self, range: &Range<usize>) -> Option<&mut [f32]> {
        match self.trained {
            Trained::Full => Some(&mut self.all[range.clone()]),
            Trained::LowRank => None,
        }
    }
}

impl Decoder {
    /// Adds to `gradients` those of the trained weights, of the losses of the rows of `batch` that have
    /// a target, multiplied by `scale`, and gives the sum of the losses themselves.
    ///
    /// # Errors
    /// As [`Decoder::logits`].
    pub fn loss_and_gradients(
        &self,
        pool: &Pool,
        batch: &Batch,
        (scale, key): (f32, Option<DropoutKey>),
        gradients: &mut [f32],
        room: &mut Room,
    ) -> Result<f64> {
        self.check_batch(batch)?;
        let (picked, targets) = learned(batch);
        if picked.is_empty() {
            return Ok(0.0);
        }
        let mut gradients = Gradients {
            all: gradients,
            trained: self.trained(),
        };
        self.forward(pool, batch, room, key);
        self.gather(pool, &picked, room);
        let loss = self.head_backward(pool, (&picked, &targets), scale, &mut gradients, room);
        for layer in (0..self.layers.len()).rev() {
            let mut saved = room.take(layer);
            let recompute = room.recompute;
            let (pass, mut buffers) = room.parts(pool, batch, key);
            if recompute {
                self.layer_forward(pass, layer, &mut saved, &mut buffers);
                self.kept_delta(pass, layer, &mut saved, &mut buffers);
            }
            self.mlp_backward(pass, layer, &mut saved, &mut buffers, &mut gradients);
            self.attention_backward(pass, layer, &mut saved, &mut buffers, &mut gradients);
            room.put(layer, saved);
        }
        if let Some(gradient) = gradients.at(&self.embedding) {
            let tokens = (&batch.ids[..], self.config.embedding_multiplier);
            let width = self.config.hidden_size;
            embedding::backward(pool, &room.gradient, tokens, width, gradient);
        }
        Ok(loss)
    }

    /// The loss, and the residual stream's gradient in `room.gradient`.
    fn head_backward(
        &self,
        pool: &Pool,
        (picked, targets): (&[usize], &[u32]),
        scale: f32,
        gradients: &mut Gradients<'_>,
        room: &mut Room,
    ) -> f64 {
        let (config, width) = (&self.config, self.config.hidden_size);
        room.picked_gradient.resize(room.picked.len(), 0.0);
        let output = self.output.as_ref().unwrap_or(&self.embedding);
        let loss = self.head().loss_and_gradients(
            pool,
            &mut room.head,
            (&room.picked_normed, targets),
            scale,
            (&mut room.picked_gradient, gradients.at(output)),
        );
        let weight = self.norm_weight(&self.norm);
        let weight = (&weight[..], config.norm_eps);
        let gradient = gradients.at(&self.norm);
        norm::backward(
            pool,
            &room.picked,
            weight,
            &mut room.picked_gradient,
            gradient,
        );
        room.gradient.clear();
        room.gradient.resize(room.hidden.len(), 0.0);
        for (row, gradient) in picked.iter().zip(room.picked_gradient.chunks_exact(width)) {
            room.gradient[row * width..(row + 1) * width].copy_from_slice(gradient);
        }
        loss
    }

    /// Computes anew what the MLP gave, where the way back needs it.
    fn kept_delta(
        &self,
        pass: Pass<'_>,
        layer: usize,
        saved: &mut Saved,
        buffers: &mut Buffers<'_>,
    ) {
        let is_changed = self.changes(layer, Site::Down).next().is_some();
        if self.layers[layer].mlp_post_norm.is_some() || is_changed {
            self.layer_end(pass, layer, saved, buffers);
        }
    }

    fn mlp_backward(
        &self,
        pass: Pass<'_>,
        layer: usize,
        saved: &mut Saved,
        buffers: &mut Buffers<'_>,
        gradients: &mut Gradients<'_>,
    ) {
        let (slots, width) = (&self.layers[layer], self.config.intermediate_size);
        self.half_gradient(
            pass.pool,
            slots.mlp_post_norm.as_ref(),
            &saved.mlp_delta,
            buffers,
            gradients,
        );
        if self.changes(layer, Site::Down).next().is_some() {
            buffers.activated.resize(saved.gate_up.len() / 2, 0.0);
            gated::forward(
                pass.pool,
                self.gate,
                &saved.gate_up,
                width,
                buffers.activated,
            );
        }
        let mut product = std::mem::take(buffers.activated);
        let delta = std::mem::take(buffers.delta);
        let mut input = std::mem::take(buffers.input_gradient);
        self.input_gradient(
            pass,
            (layer, Site::Down),
            (&product, &delta),
            saved,
            (&mut input, gradients),
            buffers,
        );
        gated::backward(pass.pool, self.gate, &mut saved.gate_up, width, &mut input);
        // The gradient has become what went into the product.
        self.weight_gradient(
            pass,
            (layer, Site::Down),
            (&input, &delta),
            gradients,
            buffers,
        );
        (*buffers.delta, *buffers.input_gradient) = (delta, product);
        product = input;
        *buffers.activated = product;
        let gate_up = std::mem::take(&mut saved.gate_up);
        let middle = std::mem::take(&mut saved.middle);
        let norm = slots.mlp_norm.as_ref();
        self.stream_backward(
            pass,
            (layer, Site::GateUp),
            (norm, &middle),
            &gate_up,
            saved,
            (buffers, gradients),
        );
        (saved.gate_up, saved.middle) = (gate_up, middle);
    }

    fn attention_backward(
        &self,
        pass: Pass<'_>,
        layer: usize,
        saved: &mut Saved,
        buffers: &mut Buffers<'_>,
        gradients: &mut Gradients<'_>,
    ) {
        let slots = &self.layers[layer];
        let post = slots.attention_post_norm.as_ref();
        self.half_gradient(pass.pool, post, &saved.attention_delta, buffers, gradients);
        let delta = std::mem::take(buffers.delta);
        let attended = std::mem::take(&mut saved.attended);
        let mut attended_gradient = std::mem::take(buffers.attended_gradient);
        let rows = (&attended[..], &delta[..]);
        let site = (layer, Site::Output);
        self.input_gradient(
            pass,
            site,
            rows,
            saved,
            (&mut attended_gradient, gradients),
            buffers,
        );
        self.weight_gradient(pass, site, rows, gradients, buffers);
        *buffers.delta = delta;
        let mut dqkv = std::mem::take(buffers.qkv_gradient);
        dqkv.resize(saved.qkv.len(), 0.0);
        let shape = attention(&self.config, layer, pass);
        let kept = (&saved.qkv[..], &saved.sums[..]);
        ops::packed_attention_backward(pass.pool, &shape, kept, &attended_gradient, &mut dqkv);
        let norms = slots.qk_norms.as_ref();
        let norms = norms.and_then(|(query, key)| {
            let both = gradients.at(&(query.start..key.end))?;
            Some(both.split_at_mut(query.len()))
        });
        let query_key = self.query_key(pass, layer);
        query_key.backward(pass.pool, &saved.raw, &mut dqkv, norms);
        saved.attended = attended;
        *buffers.attended_gradient = attended_gradient;
        let input = std::mem::take(&mut saved.input);
        let norm = slots.attention_norm.as_ref();
        self.stream_backward(
            pass,
            (layer, Site::Qkv),
            (norm, &input),
            &dqkv,
            saved,
            (buffers, gradients),
        );
        saved.input = input;
        *buffers.qkv_gradient = dqkv;
    }

    /// Leaves the gradient of what a half gave, before its norm, in `buffers.delta`.
    fn half_gradient(
        &self,
        pool: &Pool,
        post: Option<&Range<usize>>,
        kept: &[f32],
        buffers: &mut Buffers<'_>,
        gradients: &mut Gradients<'_>,
    ) {
        buffers.delta.clone_from(buffers.gradient);
        if self.config.residual_multiplier != 1.0 {
            ops::scale_in_place(buffers.delta, self.config.residual_multiplier);
        }
        if let Some(post) = post {
            let weight = self.norm_weight(post);
            let weight = (&weight[..], self.config.norm_eps);
            norm::backward(pool, kept, weight, buffers.delta, gradients.at(post));
        }
    }

    /// Goes back through a product of normalised rows `x` of the stream, by the gradients `dy` of the
    /// product, and adds to the stream's gradient.
    fn stream_backward(
        &self,
        pass: Pass<'_>,
        site: (usize, Site),
        (norm, x): (Option<&Range<usize>>, &[f32]),
        dy: &[f32],
        saved: &mut Saved,
        (buffers, gradients): (&mut Buffers<'_>, &mut Gradients<'_>),
    ) {
        let pool = pass.pool;
        let mut normed = std::mem::take(buffers.normed);
        self.normalised(pool, norm, x, &mut normed);
        let input = norm.map_or(x, |_| &normed[..]);
        self.weight_gradient(pass, site, (input, dy), gradients, buffers);
        let mut dx = std::mem::take(buffers.input_gradient);
        self.input_gradient(
            pass,
            site,
            (input, dy),
            saved,
            (&mut dx, gradients),
            buffers,
        );
        if let Some(norm) = norm {
            let weight = self.norm_weight(norm);
            let weight = (&weight[..], self.config.norm_eps);
            norm::backward(pool, x, weight, &mut dx, gradients.at(norm));
        }
        rows::add(pool, 1.0, &dx, buffers.gradient);
        (*buffers.normed, *buffers.input_gradient) = (normed, dx);
    }

    /// Writes the gradient of a product's input `x` to `dx`, from that of its output, and adds those of
    /// its low-rank changes.
    fn input_gradient(
        &self,
        pass: Pass<'_>,
        (layer, site): (usize, Site),
        (x, dy): (&[f32], &[f32]),
        saved: &Saved,
        (dx, gradients): (&mut Vec<f32>, &mut Gradients<'_>),
        buffers: &mut Buffers<'_>,
    ) {
        let slot = slot(&self.layers[layer], site);
        dx.resize(dy.len() / slot.rows * slot.cols, 0.0);
        self.linear(slot)
            .backward(pass.pool, buffers.panels, dy, dx);
        for (number, change) in self.changes(layer, site) {
            let Some(matrices) = self.change_of(change, (layer, number), pass.key) else {
                continue;
            };
            let (down, up) = change.split(gradients.all);
            matrices.backward(
                pass.pool,
                buffers.low_rank,
                buffers.panels,
                (x, &saved.inner[number]),
                (dy, slot.rows, change.outputs.clone()),
                (down, up, dx),
            );
        }
    }

    /// Adds the gradients of a product's matrix and bias, where they are trained.
    fn weight_gradient(
        &self,
        pass: Pass<'_>,
        (layer, site): (usize, Site),
        (x, dy): (&[f32], &[f32]),
        gradients: &mut Gradients<'_>,
        buffers: &mut Buffers<'_>,
    ) {
        let slot = slot(&self.layers[layer], site);
        let end = slot.bias.as_ref().map_or(slot.weight.end, |bias| bias.end);
        let Some(own) = gradients.at(&(slot.weight.start..end)) else {
            return;
        };
        let (weight, bias) = own.split_at_mut(slot.weight.len());
        let own = LinearGradients {
            weight,
            bias: slot.bias.is_some().then_some(bias),
        };
        own.add(pass.pool, buffers.panels, (x, slot.cols), dy);
    }
}
