//! The families of decoders that are known, as a table.

use super::{NormPlacement, QkNorm, RopeOrder};

/// What sets a family apart before its configuration is read.
#[derive(Debug)]
pub(super) struct Family {
    /// Hugging Face's `model_type`.
    pub name: &'static str,
    /// llama.cpp's `general.architecture`.
    pub gguf: &'static str,
    pub norms: NormPlacement,
    /// Added to norms as Hugging Face stores them; llama.cpp's converter has added it already.
    pub norm_offset: f32,
    pub qk_norm: QkNorm,
    /// Whether queries, keys and values always have biases.
    pub qkv_bias: bool,
    /// Whether `attention_bias` and `mlp_bias` are fields of the family.
    pub bias_fields: bool,
    /// Whether embeddings are multiplied by the root of their width.
    pub scales_embedding: bool,
    pub experts: Experts,
    pub windows: Windows,
    /// Whether the output is the embedding where `tie_word_embeddings` is absent.
    pub tied: bool,
    /// How Hugging Face's fields are where they are absent: its configuration class's defaults.
    pub defaults: &'static [(&'static str, f64)],
    /// The order of llama.cpp's rows of queries and keys.
    pub gguf_order: RopeOrder,
}

/// Which kind of mixture of experts a family has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Experts {
    None,
    Mixtral,
    Qwen3Moe,
    GptOss,
}

/// Which layers have a window where `layer_types` does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Windows {
    /// None.
    None,
    /// All.
    All,
    /// All where `use_sliding_window` says so.
    AllIfUsed,
    /// Those from `max_window_layers` on, where `use_sliding_window` says so.
    LateIfUsed,
    /// All but the last of every so many.
    AllBut(usize),
    /// Those without a rotary embedding, where `use_sliding_window` says so.
    WithoutRope,
}

const PLAIN: Family = Family {
    name: "",
    gguf: "",
    norms: NormPlacement::Before,
    norm_offset: 0.0,
    qk_norm: QkNorm::None,
    qkv_bias: false,
    bias_fields: false,
    scales_embedding: false,
    experts: Experts::None,
    windows: Windows::None,
    tied: false,
    defaults: &[],
    gguf_order: RopeOrder::Halves,
};

const GEMMA: Family = Family {
    norms: NormPlacement::Both,
    norm_offset: 1.0,
    bias_fields: true,
    scales_embedding: true,
    tied: true,
    ..PLAIN
};

/// The families, in the order in which errors list them.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        name: "llama",
        gguf: "llama",
        bias_fields: true,
        gguf_order: RopeOrder::Interleaved,
        ..PLAIN
    },
    Family {
        name: "mistral",
        // llama.cpp's converter writes Mistral as Llama.
        gguf: "",
        windows: Windows::All,
        defaults: &[("sliding_window", 4096.0)],
        gguf_order: RopeOrder::Interleaved,
        ..PLAIN
    },
    Family {
        name: "mixtral",
        gguf: "llama",
        experts: Experts::Mixtral,
        windows: Windows::All,
        defaults: &[
            ("rms_norm_eps", 1e-5),
            ("num_key_value_heads", 8.0),
            ("num_local_experts", 8.0),
            ("num_experts_per_tok", 2.0),
            ("rope_theta", 1e6),
        ],
        gguf_order: RopeOrder::Interleaved,
        ..PLAIN
    },
    Family {
        name: "qwen2",
        gguf: "qwen2",
        qkv_bias: true,
        windows: Windows::LateIfUsed,
        defaults: &[("sliding_window", 4096.0)],
        ..PLAIN
    },
    Family {
        name: "qwen3",
        gguf: "qwen3",
        qk_norm: QkNorm::Heads,
        bias_fields: true,
        windows: Windows::LateIfUsed,
        defaults: &[("sliding_window", 4096.0), ("head_dim", 128.0)],
        ..PLAIN
    },
    Family {
        name: "qwen3_moe",
        gguf: "qwen3moe",
        qk_norm: QkNorm::Heads,
        bias_fields: true,
        experts: Experts::Qwen3Moe,
        windows: Windows::AllIfUsed,
        defaults: &[
            ("sliding_window", 4096.0),
            ("num_key_value_heads", 4.0),
            ("moe_intermediate_size", 768.0),
            ("num_experts", 128.0),
            ("num_experts_per_tok", 8.0),
        ],
        ..PLAIN
    },
    Family {
        name: "gemma2",
        gguf: "gemma2",
        windows: Windows::AllBut(2),
        defaults: &[
            ("num_key_value_heads", 4.0),
            ("head_dim", 256.0),
            ("query_pre_attn_scalar", 256.0),
            ("sliding_window", 4096.0),
            ("final_logit_softcapping", 30.0),
            ("attn_logit_softcapping", 50.0),
        ],
        ..GEMMA
    },
    Family {
        name: "gemma3_text",
        gguf: "gemma3",
        qk_norm: QkNorm::Heads,
        windows: Windows::AllBut(6),
        // The hub's files for text with images leave out what is as here.
        defaults: &[
            ("vocab_size", 262_208.0),
            ("hidden_size", 2304.0),
            ("intermediate_size", 9216.0),
            ("num_hidden_layers", 26.0),
            ("num_attention_heads", 8.0),
            ("num_key_value_heads", 4.0),
            ("head_dim", 256.0),
            ("max_position_embeddings", 131_072.0),
            ("query_pre_attn_scalar", 256.0),
            ("sliding_window", 4096.0),
            ("rope_theta", 1e6),
        ],
        ..GEMMA
    },
    Family {
        name: "phi3",
        gguf: "phi3",
        windows: Windows::All,
        defaults: &[
            ("rms_norm_eps", 1e-5),
            ("original_max_position_embeddings", 4096.0),
        ],
        ..PLAIN
    },
    Family {
        name: "smollm3",
        gguf: "smollm3",
        bias_fields: true,
        windows: Windows::WithoutRope,
        tied: true,
        defaults: &[
            ("num_key_value_heads", 4.0),
            ("no_rope_layer_interval", 4.0),
            ("rope_theta", 2e6),
        ],
        gguf_order: RopeOrder::Interleaved,
        ..PLAIN
    },
    Family {
        name: "granite",
        gguf: "granite",
        bias_fields: true,
        defaults: &[("attention_multiplier", 1.0)],
        gguf_order: RopeOrder::Interleaved,
        ..PLAIN
    },
    Family {
        name: "olmo2",
        gguf: "olmo2",
        norms: NormPlacement::After,
        qk_norm: QkNorm::Whole,
        bias_fields: true,
        defaults: &[("rms_norm_eps", 1e-5)],
        ..PLAIN
    },
    Family {
        name: "gpt_oss",
        gguf: "gpt-oss",
        bias_fields: true,
        experts: Experts::GptOss,
        windows: Windows::AllBut(2),
        defaults: &[
            ("rms_norm_eps", 1e-5),
            ("head_dim", 64.0),
            ("num_key_value_heads", 8.0),
            ("sliding_window", 128.0),
            ("num_local_experts", 128.0),
            ("num_experts_per_tok", 4.0),
            ("swiglu_alpha", 1.702),
            ("swiglu_limit", 7.0),
            ("rope_theta", 150_000.0),
        ],
        ..PLAIN
    },
];

impl Family {
    /// The family by Hugging Face's `model_type`.
    pub fn of_model_type(name: &str) -> Option<&'static Self> {
        FAMILIES.iter().find(|family| family.name == name)
    }

    /// The default of a field.
    pub fn default(&self, name: &str) -> Option<f64> {
        let found = self.defaults.iter().find(|(field, _)| *field == name);
        found.map(|(_, value)| *value)
    }
}
