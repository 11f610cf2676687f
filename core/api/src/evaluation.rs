//! How well a model predicts texts: perplexity, by text and over all.

use serde::{Deserialize, Serialize};

/// How perplexity is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PerplexityOptions {
    /// Tokens of one window: what the model sees at most to predict a token, that token included;
    /// 2 to the context's length. Default: the context's length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// Tokens by which the window moves on over a text that is longer, 1 to the window's length.
    /// Each token is predicted once, by the first window that reaches it, from at least
    /// `window - stride` tokens before it; a window's first token is predicted by none before it
    /// where stride and window are the same
    /// (<https://huggingface.co/docs/transformers/perplexity>). Default: a text longer than the
    /// window is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// Name of a loaded LoRA adapter. Default: the base model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
}

/// How well a model predicts one text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TextPerplexity {
    /// Tokens that were predicted: all but the first, unless windows stand side by side.
    pub tokens: usize,
    /// Sum over them of minus the natural logarithm of their probability.
    pub nll: f64,
    /// The exponential of `nll / tokens`.
    pub perplexity: f64,
}

/// How well a model predicts texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Perplexity {
    /// Each text's, in order.
    pub texts: Vec<TextPerplexity>,
    /// All texts' tokens together, so that each token weighs the same.
    pub overall: TextPerplexity,
}

impl TextPerplexity {
    /// The perplexity of `tokens` tokens (at least one) of the summed `nll`.
    pub fn new(tokens: usize, nll: f64) -> Self {
        Self {
            tokens,
            nll,
            perplexity: (nll / tokens as f64).exp(),
        }
    }
}

impl Perplexity {
    /// The texts' perplexities with that of all together.
    pub fn new(texts: Vec<TextPerplexity>) -> Self {
        let tokens = texts.iter().map(|text| text.tokens).sum();
        let nll = texts.iter().map(|text| text.nll).sum();
        Self {
            texts,
            overall: TextPerplexity::new(tokens, nll),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overall_weighs_each_token_the_same() {
        let (ln2, ln8) = (2f64.ln(), 8f64.ln());
        let both = Perplexity::new(vec![
            TextPerplexity::new(1, ln8),
            TextPerplexity::new(3, 3.0 * ln2),
        ]);
        assert!((both.texts[0].perplexity - 8.0).abs() < 1e-12);
        assert!((both.texts[1].perplexity - 2.0).abs() < 1e-12);
        assert_eq!(both.overall.tokens, 4);
        assert!((both.overall.perplexity - ((ln8 + 3.0 * ln2) / 4.0).exp()).abs() < 1e-12);
    }
}
