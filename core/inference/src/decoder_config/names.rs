//! The names of a decoder's tensors in each kind of checkpoint, as two tables.

use super::{DecoderConfig, NormPlacement};

/// Names of tensors, behind the checkpoint's prefix. Those of a layer hold `{}` where its number
/// stands, those of an expert `<>` where the expert's does.
#[derive(Clone, Copy, Debug)]
pub struct TensorNames {
    /// The tokens' embeddings.
    pub embedding: &'static str,
    /// The norm before the output.
    pub norm: &'static str,
    /// What normalises the input of attention.
    pub attention_norm: &'static str,
    /// What normalises the output of attention.
    pub attention_post_norm: &'static str,
    /// The projection to queries, without its part `.weight`.
    pub query: &'static str,
    /// The projection to keys.
    pub key: &'static str,
    /// The projection to values.
    pub value: &'static str,
    /// Query, key and value in one matrix, one behind the other, where there is such a tensor.
    pub fused_qkv: &'static str,
    /// The norm of queries.
    pub query_norm: &'static str,
    /// The norm of keys.
    pub key_norm: &'static str,
    /// Attention's sinks.
    pub sinks: &'static str,
    /// Attention's output projection.
    pub attention_output: &'static str,
    /// What normalises the input of the MLP.
    pub mlp_norm: &'static str,
    /// What normalises the output of the MLP.
    pub mlp_post_norm: &'static str,
    /// The MLP's gate.
    pub gate: &'static str,
    /// The MLP's other half.
    pub up: &'static str,
    /// The MLP's output projection.
    pub down: &'static str,
    /// Gate and up in one matrix, where there is such a tensor.
    pub fused_gate_up: &'static str,
    /// What chooses experts.
    pub router: &'static str,
    /// An expert's gate.
    pub expert_gate: &'static str,
    /// An expert's other half.
    pub expert_up: &'static str,
    /// An expert's output projection.
    pub expert_down: &'static str,
    /// The experts of a layer stand in one tensor, `(experts, rows, cols)`.
    pub stacked_experts: bool,
}

impl TensorNames {
    /// Hugging Face's names, behind `model.`.
    const HUGGING_FACE: Self = Self {
        embedding: "embed_tokens.weight",
        norm: "norm.weight",
        attention_norm: "layers.{}.input_layernorm.weight",
        attention_post_norm: "layers.{}.post_attention_layernorm.weight",
        query: "layers.{}.self_attn.q_proj",
        key: "layers.{}.self_attn.k_proj",
        value: "layers.{}.self_attn.v_proj",
        fused_qkv: "layers.{}.self_attn.qkv_proj",
        query_norm: "layers.{}.self_attn.q_norm.weight",
        key_norm: "layers.{}.self_attn.k_norm.weight",
        sinks: "layers.{}.self_attn.sinks",
        attention_output: "layers.{}.self_attn.o_proj",
        mlp_norm: "layers.{}.post_attention_layernorm.weight",
        mlp_post_norm: "layers.{}.post_feedforward_layernorm.weight",
        gate: "layers.{}.mlp.gate_proj",
        up: "layers.{}.mlp.up_proj",
        down: "layers.{}.mlp.down_proj",
        fused_gate_up: "layers.{}.mlp.gate_up_proj",
        router: "layers.{}.mlp.gate",
        expert_gate: "layers.{}.mlp.experts.<>.gate_proj",
        expert_up: "layers.{}.mlp.experts.<>.up_proj",
        expert_down: "layers.{}.mlp.experts.<>.down_proj",
        stacked_experts: false,
    };

    /// llama.cpp's names (`gguf-py/gguf/constants.py`).
    const GGUF: Self = Self {
        embedding: "token_embd.weight",
        norm: "output_norm.weight",
        attention_norm: "blk.{}.attn_norm.weight",
        attention_post_norm: "blk.{}.post_attention_norm.weight",
        query: "blk.{}.attn_q",
        key: "blk.{}.attn_k",
        value: "blk.{}.attn_v",
        fused_qkv: "blk.{}.attn_qkv",
        query_norm: "blk.{}.attn_q_norm.weight",
        key_norm: "blk.{}.attn_k_norm.weight",
        sinks: "blk.{}.attn_sinks.weight",
        attention_output: "blk.{}.attn_output",
        mlp_norm: "blk.{}.ffn_norm.weight",
        mlp_post_norm: "blk.{}.post_ffw_norm.weight",
        gate: "blk.{}.ffn_gate",
        up: "blk.{}.ffn_up",
        down: "blk.{}.ffn_down",
        fused_gate_up: "blk.{}.ffn_up",
        router: "blk.{}.ffn_gate_inp",
        expert_gate: "blk.{}.ffn_gate_exps",
        expert_up: "blk.{}.ffn_up_exps",
        expert_down: "blk.{}.ffn_down_exps",
        stacked_experts: true,
    };

    /// The names in a Hugging Face checkpoint of `config`'s architecture.
    pub fn hugging_face(config: &DecoderConfig) -> Self {
        let mut names = Self::HUGGING_FACE;
        if config.norms == NormPlacement::Both {
            names.mlp_norm = "layers.{}.pre_feedforward_layernorm.weight";
        }
        match config.architecture.as_str() {
            "mixtral" => {
                names.router = "layers.{}.block_sparse_moe.gate";
                names.expert_gate = "layers.{}.block_sparse_moe.experts.<>.w1";
                names.expert_up = "layers.{}.block_sparse_moe.experts.<>.w3";
                names.expert_down = "layers.{}.block_sparse_moe.experts.<>.w2";
            }
            "gpt_oss" => names.router = "layers.{}.mlp.router",
            _ => {}
        }
        names
    }

    /// The names in a GGUF file of `config`'s architecture.
    pub fn gguf(config: &DecoderConfig) -> Self {
        let mut names = Self::GGUF;
        if config.architecture == "gpt_oss" {
            names.mlp_norm = names.attention_post_norm;
        }
        names
    }
}

/// The name of layer `layer`'s tensor by its `pattern`.
pub fn of_layer(pattern: &str, layer: usize) -> String {
    pattern.replace("{}", &layer.to_string())
}
