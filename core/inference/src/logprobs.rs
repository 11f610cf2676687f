//! Log-probabilities of tokens by the model's own softmax over a row of logits.

use outcrop_api::{Error, Result, TokenLogprobs};

/// Most tokens that stand beside a chosen one with their log-probabilities.
pub(crate) const MAX_LOGPROBS: usize = 20;

/// The natural logarithm of the sum of the exponentials of `logits`, in F64.
///
/// # Errors
/// `ModelErrorException` for logits that are not numbers.
pub(crate) fn log_sum_exp(logits: &[f32]) -> Result<f64> {
    if let Some(token) = logits.iter().position(|logit| logit.is_nan()) {
        return Err(Error::model(format!(
            "logits: expected numbers, got NaN for token {token}"
        )));
    }
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !max.is_finite() {
        return Err(Error::model(format!(
            "logits: expected a finite number at least, the largest is {max}"
        )));
    }
    let sum: f64 = logits
        .iter()
        .map(|&logit| (f64::from(logit) - f64::from(max)).exp())
        .sum();
    Ok(f64::from(max) + sum.ln())
}

/// The log-probability that `logits` give to `token`.
///
/// # Errors
/// As [`log_sum_exp`].
pub(crate) fn logprob(logits: &[f32], token: u32) -> Result<f32> {
    let total = log_sum_exp(logits)?;
    Ok((f64::from(logits[token as usize]) - total) as f32)
}

/// The log-probability of the chosen `token`, and the `top` most likely tokens with theirs.
///
/// # Errors
/// As [`log_sum_exp`].
pub(crate) fn token_logprobs(logits: &[f32], token: u32, top: usize) -> Result<TokenLogprobs> {
    let total = log_sum_exp(logits)?;
    let of = |logit: f32| (f64::from(logit) - total) as f32;
    Ok(TokenLogprobs {
        id: token,
        logprob: of(logits[token as usize]),
        top: most_likely(logits, top)
            .into_iter()
            .map(|(id, logit)| (id, of(logit)))
            .collect(),
    })
}

/// The `count` largest logits with their tokens, the largest first and the lower token among equals.
fn most_likely(logits: &[f32], count: usize) -> Vec<(u32, f32)> {
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
    for (id, &logit) in logits.iter().enumerate() {
        if best.len() == count && best.last().is_none_or(|(_, least)| logit <= *least) {
            continue;
        }
        let place = best.partition_point(|(_, other)| *other >= logit);
        best.insert(place, (id as u32, logit));
        best.truncate(count);
    }
    best
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_logits_share_the_probability_and_the_lower_token_comes_first() {
        let found = token_logprobs(&[1.5; 8], 5, 3).unwrap();
        let each = -(8f64.ln()) as f32;
        assert_eq!((found.id, found.logprob), (5, each));
        assert_eq!(found.top, [(0, each), (1, each), (2, each)]);
        assert!(token_logprobs(&[1.5; 8], 5, 0).unwrap().top.is_empty());
    }

    #[test]
    fn masked_tokens_are_impossible_and_what_is_no_number_is_an_error() {
        let row = [0.0, f32::NEG_INFINITY, 0.0];
        assert_eq!(logprob(&row, 1).unwrap(), f32::NEG_INFINITY);
        assert_eq!(logprob(&row, 0).unwrap(), -(2f64.ln()) as f32);
        for wrong in [
            [0.0, f32::NAN],
            [0.0, f32::INFINITY],
            [f32::NEG_INFINITY; 2],
        ] {
            assert!(logprob(&wrong, 0).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn probabilities_sum_to_one_and_the_top_is_a_sorted_row(
            row in prop::collection::vec(-90f32..90.0, 1..300), count in 0usize..=MAX_LOGPROBS,
        ) {
            let sum: f64 = (0..row.len())
                .map(|token| f64::from(logprob(&row, token as u32).unwrap()).exp())
                .sum();
            prop_assert!((sum - 1.0).abs() < 1e-4, "{sum}");
            let mut sorted: Vec<(u32, f32)> = (0..).zip(row.iter().copied()).collect();
            sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            sorted.truncate(count);
            prop_assert_eq!(most_likely(&row, count), sorted);
        }
    }
}
