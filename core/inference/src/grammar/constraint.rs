//! What a grammar allows next in one output, token after token.

use llguidance::Matcher;
use outcrop_api::{Error, Result};
use toktrie::SimpleVob;

/// The state of an output that must have a form. It depends on the output's tokens only.
pub(crate) struct Constraint {
    matcher: Matcher,
    /// The tokens that may come next; empty where the output is complete.
    allowed: SimpleVob,
    is_complete: bool,
}

impl Constraint {
    /// The state behind the tokens that `matcher` forces at its beginning, and those tokens.
    ///
    /// # Errors
    /// `ValidationException` where no output has the form.
    pub(super) fn start(matcher: Matcher) -> Result<(Self, Vec<u32>)> {
        let mut constraint = Self {
            matcher,
            allowed: SimpleVob::new(),
            is_complete: false,
        };
        let forced = constraint.advance()?;
        Ok((constraint, forced))
    }

    /// A state of its own that is equal to this one.
    pub(super) fn fork(&self) -> Self {
        Self {
            // Regular clones share the lexer's states, and with them its limits.
            matcher: self.matcher.deep_clone(),
            allowed: self.allowed.clone(),
            is_complete: self.is_complete,
        }
    }

    /// The tokens that may come next as bits: `id % 32` of word `id / 32`. Ids behind the last word
    /// are not allowed.
    pub fn allowed(&self) -> &[u32] {
        self.allowed.as_slice()
    }

    /// Whether the output has the form and nothing more can follow.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Takes in `id`, which was allowed. Gives the tokens behind it that the form leaves no choice
    /// about: they are taken in too.
    ///
    /// They are the tokenizer's own spelling of the text that must follow, as far as no later token
    /// could change that spelling.
    ///
    /// # Errors
    /// `ValidationException` where the form takes more work to follow than is allowed.
    pub fn commit(&mut self, id: u32) -> Result<Vec<u32>> {
        self.matcher.consume_token(id).map_err(broken)?;
        self.advance()
    }

    /// Takes in what is forced and finds what may come next.
    fn advance(&mut self) -> Result<Vec<u32>> {
        let mut forced = Vec::new();
        loop {
            if self.stopped()? {
                break;
            }
            let spelt = self.matcher.consume_ff_tokens();
            if !spelt.is_empty() {
                forced.extend(spelt);
                continue;
            }
            if self.stopped()? {
                break;
            }
            let allowed = match self.matcher.compute_mask() {
                Ok(allowed) => allowed,
                Err(_) if self.matcher.stop_reason().is_ok() => break,
                Err(error) => return Err(broken(error)),
            };
            match only_one(&allowed) {
                Some(id) if !self.ends(id)? => {
                    self.matcher.consume_token(id).map_err(broken)?;
                    forced.push(id);
                }
                _ => {
                    self.allowed = allowed;
                    return Ok(forced);
                }
            }
        }
        self.is_complete = true;
        self.allowed = SimpleVob::new();
        Ok(forced)
    }

    /// Whether the matcher has nothing left to match.
    fn stopped(&self) -> Result<bool> {
        match self.matcher.get_error() {
            Some(error) => Err(broken(error)),
            None => Ok(self.matcher.is_stopped()),
        }
    }

    /// Whether `id` ends the model's turn.
    fn ends(&self, id: u32) -> Result<bool> {
        let environment = self.matcher.tok_env().map_err(broken)?;
        Ok(environment.tok_trie().eos_tokens().contains(&id))
    }
}

/// The id of a set that holds one only.
fn only_one(set: &SimpleVob) -> Option<u32> {
    let mut words = set.as_slice().iter().enumerate().filter(|(_, w)| **w != 0);
    let (index, word) = words.next()?;
    let is_one = word.is_power_of_two() && words.next().is_none();
    is_one.then(|| index as u32 * 32 + word.trailing_zeros())
}

/// The error of a form that cannot be followed, by the matcher's first line.
pub(super) fn broken(error: impl std::fmt::Display) -> Error {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    Error::validation(format!(
        "output_format: the form cannot be followed: {line}"
    ))
}
