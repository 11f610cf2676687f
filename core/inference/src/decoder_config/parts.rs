//! The parts that a decoder's description chooses from.

/// Where the two halves of a layer are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormPlacement {
    /// What goes in (Llama).
    Before,
    /// What comes out (OLMo 2).
    After,
    /// Both (Gemma 2).
    Both,
}

impl NormPlacement {
    /// Whether what goes into a half is normalised.
    pub fn is_before(self) -> bool {
        self != Self::After
    }

    /// Whether what comes out of a half is normalised.
    pub fn is_after(self) -> bool {
        self != Self::Before
    }
}

/// How queries and keys are normalised before they are turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkNorm {
    /// Not at all.
    None,
    /// Each head by itself, by one weight of a head's width (Qwen3).
    Heads,
    /// All heads together, by a weight of their width (OLMo 2).
    Whole,
}

/// What a gated MLP does with its gate `g` and its other half `u`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GatedActivation {
    /// `silu(g) * u`.
    Silu,
    /// `gelu(g) * u`, with the error function.
    Gelu,
    /// `gelu(g) * u`, by the approximation with tanh.
    GeluTanh,
    /// `g * sigmoid(alpha * g) * (u + 1)`, g at most `limit` and u within `limit` of 0 (GPT-OSS).
    ClampedSwiglu {
        /// Steepness of the sigmoid.
        alpha: f32,
        /// Bound of both halves.
        limit: f32,
    },
}

/// A mixture of experts in the place of the MLP.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpertsConfig {
    /// Experts of a layer.
    pub count: usize,
    /// Experts that a token goes through.
    pub per_token: usize,
    /// Width of one expert's MLP.
    pub intermediate_size: usize,
    /// How the router's scores become weights.
    pub routing: Routing,
    /// The router has a bias.
    pub router_bias: bool,
    /// One entry a layer: whether it has experts or the dense MLP.
    pub layers: Vec<bool>,
}

/// How the router's scores become the weights of the chosen experts. The best scores are chosen;
/// of equal ones the lower expert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// Softmax over all experts; the chosen ones keep their part.
    Softmax,
    /// Softmax over the chosen ones only; the same as bringing their parts to a sum of 1.
    SoftmaxOfChosen,
}

/// Rotary position embedding (arXiv:2104.09864).
#[derive(Clone, Debug, PartialEq)]
pub struct RopeConfig {
    /// Base of the frequencies.
    pub theta: f64,
    /// Width of the part of a head that is turned, from its start.
    pub dimensions: usize,
    /// Which elements of a head form a pair.
    pub order: RopeOrder,
    /// How the frequencies are changed for a longer context.
    pub scaling: RopeScaling,
    /// Multiplies the turned part of queries and keys.
    pub attention_factor: f32,
}

/// Which elements of a head are turned together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeOrder {
    /// `i` and `i + dimensions / 2`: Hugging Face's layout, ggml's NEOX.
    Halves,
    /// `2 i` and `2 i + 1`: the papers' layout, ggml's NORM. llama.cpp's converter permutes the
    /// rows of Llama's query and key projections to it.
    Interleaved,
}

/// How rope's frequencies are changed for a longer context.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All divided by `factor` (arXiv:2306.15595).
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Low ones divided by `factor`, high ones kept, blended between (Llama 3.1).
    Llama3 {
        /// Divides the low frequencies.
        factor: f64,
        /// Wavelengths above `original_context / low_freq_factor` are scaled.
        low_freq_factor: f64,
        /// Wavelengths below `original_context / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// The context before scaling.
        original_context: f64,
    },
    /// The base raised with the length of a sequence beyond `original_context` ("dynamic NTK").
    Dynamic {
        /// How fast.
        factor: f64,
        /// The context before scaling.
        original_context: usize,
    },
    /// Low ones divided by `factor`, high ones kept, by a ramp over the pairs (arXiv:2309.00071).
    Yarn {
        /// Divides the low frequencies.
        factor: f64,
        /// Turns within the original context from which on a frequency is kept.
        beta_fast: f64,
        /// Turns up to which a frequency is divided whole.
        beta_slow: f64,
        /// The context before scaling.
        original_context: f64,
        /// Whether the ramp's ends are brought to whole pairs.
        truncate: bool,
    },
    /// Each divided by a factor of its own, by the length of the sequence (arXiv:2402.13753).
    LongRope {
        /// Factors of sequences up to `original_context`, one a pair.
        short: Vec<f64>,
        /// Factors of longer ones.
        long: Vec<f64>,
        /// The context before scaling.
        original_context: usize,
    },
}
