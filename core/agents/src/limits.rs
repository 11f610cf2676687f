//! What one turn may use.

use outcrop_api::{Error, Result, Usage};
use serde::{Deserialize, Serialize};

/// What one turn may use. All are on; a turn that reaches one ends and says which.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Limits {
    /// Model calls. Default 20.
    pub max_steps: usize,
    /// Tokens that the model reads and makes, over all its calls. Default 1,000,000.
    pub max_tokens: usize,
    /// Seconds that the model, the tools and the look-ups take together; a pause does not count.
    /// Default 600.
    pub max_seconds: f64,
    /// Cost in dollars, by the agent's price. Default 10.
    pub max_cost: f64,
    /// Times that one call with the same arguments is run. Default 2.
    pub max_repeats: usize,
    /// Calls that the model may ask for in one reply. Default 16.
    pub max_calls: usize,
    /// Characters of one result; what is longer is cut, with a mark. Default 25,000.
    pub max_result_chars: usize,
    /// Seconds of one call. Default 60.
    pub max_call_seconds: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_steps: 20,
            max_tokens: 1_000_000,
            max_seconds: 600.0,
            max_cost: 10.0,
            max_repeats: 2,
            max_calls: 16,
            max_result_chars: 25_000,
            max_call_seconds: 60.0,
        }
    }
}

impl Limits {
    /// Refuses a limit that lets nothing happen.
    ///
    /// # Errors
    /// `ValidationException` that names it.
    pub fn validate(&self) -> Result<()> {
        let counts = [
            ("maxSteps", self.max_steps),
            ("maxTokens", self.max_tokens),
            ("maxRepeats", self.max_repeats),
            ("maxCalls", self.max_calls),
            ("maxResultChars", self.max_result_chars),
        ];
        for (name, count) in counts {
            if count == 0 {
                return Err(Error::validation(format!(
                    "limits.{name}: expected 1 or more, got 0"
                )));
            }
        }
        let numbers = [
            ("maxSeconds", self.max_seconds),
            ("maxCallSeconds", self.max_call_seconds),
            ("maxCost", self.max_cost),
        ];
        for (name, number) in numbers {
            // Ten million seconds are four months: a duration that every clock holds.
            if !(number > 0.0 && number <= 1e7) {
                return Err(Error::validation(format!(
                    "limits.{name}: expected above 0, at most 1e7, got {number}"
                )));
            }
        }
        Ok(())
    }
}

/// Dollars for a million tokens. A model of this machine costs nothing: the default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Price {
    /// Of those that are read.
    pub input: f64,
    /// Of those that are made.
    pub output: f64,
}

impl Price {
    /// Refuses what is no price.
    ///
    /// # Errors
    /// `ValidationException` that names it.
    pub fn validate(&self) -> Result<()> {
        for (name, price) in [("input", self.input), ("output", self.output)] {
            if !(price >= 0.0 && price.is_finite()) {
                return Err(Error::validation(format!(
                    "price.{name}: expected 0 or more, got {price}"
                )));
            }
        }
        Ok(())
    }

    /// What `usage` costs.
    pub fn of(&self, usage: &Usage) -> f64 {
        (usage.input_tokens as f64 * self.input + usage.output_tokens as f64 * self.output) / 1e6
    }
}
