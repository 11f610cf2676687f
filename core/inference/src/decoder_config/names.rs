//! The names of a decoder's tensors in each kind of checkpoint, as two tables.

/// Names of tensors. Those of a layer hold `{}` where its number stands.
#[derive(Debug)]
pub(crate) struct TensorNames {
    pub embedding: &'static str,
    pub norm: &'static str,
    pub output: &'static str,
    pub attention_norm: &'static str,
    pub query: &'static str,
    pub key: &'static str,
    pub value: &'static str,
    pub query_norm: &'static str,
    pub key_norm: &'static str,
    pub attention_output: &'static str,
    pub mlp_norm: &'static str,
    pub gate: &'static str,
    pub up: &'static str,
    pub down: &'static str,
}

impl TensorNames {
    /// Hugging Face's names of Llama, Qwen2 and Qwen3.
    pub const HUGGING_FACE: Self = Self {
        embedding: "model.embed_tokens.weight",
        norm: "model.norm.weight",
        output: "lm_head.weight",
        attention_norm: "model.layers.{}.input_layernorm.weight",
        query: "model.layers.{}.self_attn.q_proj",
        key: "model.layers.{}.self_attn.k_proj",
        value: "model.layers.{}.self_attn.v_proj",
        query_norm: "model.layers.{}.self_attn.q_norm.weight",
        key_norm: "model.layers.{}.self_attn.k_norm.weight",
        attention_output: "model.layers.{}.self_attn.o_proj",
        mlp_norm: "model.layers.{}.post_attention_layernorm.weight",
        gate: "model.layers.{}.mlp.gate_proj",
        up: "model.layers.{}.mlp.up_proj",
        down: "model.layers.{}.mlp.down_proj",
    };

    /// llama.cpp's names (`gguf-py/gguf/constants.py`).
    pub const GGUF: Self = Self {
        embedding: "token_embd.weight",
        norm: "output_norm.weight",
        output: "output.weight",
        attention_norm: "blk.{}.attn_norm.weight",
        query: "blk.{}.attn_q",
        key: "blk.{}.attn_k",
        value: "blk.{}.attn_v",
        query_norm: "blk.{}.attn_q_norm.weight",
        key_norm: "blk.{}.attn_k_norm.weight",
        attention_output: "blk.{}.attn_output",
        mlp_norm: "blk.{}.ffn_norm.weight",
        gate: "blk.{}.ffn_gate",
        up: "blk.{}.ffn_up",
        down: "blk.{}.ffn_down",
    };

    /// GGUF's tensor of divisors of rope's frequencies, where a model has one.
    pub const ROPE_DIVISORS: &'static str = "rope_freqs.weight";
}

/// The name of layer `layer`'s tensor by its `pattern`.
pub(crate) fn of_layer(pattern: &str, layer: usize) -> String {
    pattern.replace("{}", &layer.to_string())
}
