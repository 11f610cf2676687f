//! What a form allows next in one output, token after token.

use llguidance::Matcher;
use outcrop_api::{Error, Result};
use toktrie::{SimpleVob, TokEnv};

use super::quotation::Quotation;

/// The state of an output that must have a form. It depends on the output's tokens only.
pub(crate) struct Constraint {
    form: Form,
    environment: TokEnv,
    /// The request's field, for messages.
    field: &'static str,
    /// The tokens that may come next; empty where the output is complete.
    allowed: SimpleVob,
    is_complete: bool,
}

/// What the output must be.
pub(super) enum Form {
    /// Text of a grammar.
    Grammar(Box<Matcher>),
    /// A span of given texts.
    Quotation(Quotation),
}

impl Constraint {
    /// The state behind the tokens that `form` forces at its beginning, and those tokens. `field`
    /// of the request asked for it.
    ///
    /// # Errors
    /// `ValidationException` where no output has the form.
    pub(super) fn start(
        form: Form,
        environment: TokEnv,
        field: &'static str,
    ) -> Result<(Self, Vec<u32>)> {
        let mut constraint = Self {
            form,
            environment,
            field,
            allowed: SimpleVob::new(),
            is_complete: false,
        };
        let forced = constraint.advance()?;
        Ok((constraint, forced))
    }

    /// A state of its own that is equal to this one.
    pub(crate) fn fork(&self) -> Self {
        let form = match &self.form {
            // Regular clones share the lexer's states, and with them its limits.
            Form::Grammar(matcher) => Form::Grammar(Box::new(matcher.deep_clone())),
            Form::Quotation(quotation) => Form::Quotation(quotation.clone()),
        };
        Self {
            form,
            environment: self.environment.clone(),
            field: self.field,
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
    /// could change that spelling. They depend on the tokens before them only, so that a request
    /// gives the same ids however it is scheduled.
    ///
    /// # Errors
    /// `ValidationException` where the form takes more work to follow than is allowed.
    pub fn commit(&mut self, id: u32) -> Result<Vec<u32>> {
        self.consume(id)?;
        self.advance()
    }

    /// Takes in what is forced and finds what may come next.
    fn advance(&mut self) -> Result<Vec<u32>> {
        let mut forced = Vec::new();
        loop {
            let spelt = self.spelt()?;
            if !spelt.is_empty() {
                forced.extend(spelt);
                continue;
            }
            let Some(allowed) = self.compute_allowed()? else {
                self.is_complete = true;
                self.allowed = SimpleVob::new();
                return Ok(forced);
            };
            let ends = self.environment.tok_trie().eos_tokens();
            match only_one(&allowed) {
                Some(id) if !ends.contains(&id) => {
                    self.consume(id)?;
                    forced.push(id);
                }
                _ => {
                    self.allowed = allowed;
                    return Ok(forced);
                }
            }
        }
    }

    /// Takes in one token.
    fn consume(&mut self, id: u32) -> Result<()> {
        match &mut self.form {
            Form::Grammar(matcher) => matcher
                .consume_token(id)
                .map_err(|error| broken(self.field, error)),
            Form::Quotation(quotation) => {
                quotation.commit(id);
                Ok(())
            }
        }
    }

    /// Takes in the tokens that spell the text that must follow, and gives them.
    fn spelt(&mut self) -> Result<Vec<u32>> {
        let Form::Grammar(matcher) = &mut self.form else {
            return Ok(Vec::new());
        };
        let spelt = match matcher.is_stopped() {
            true => Vec::new(),
            false => matcher.consume_ff_tokens(),
        };
        match matcher.get_error() {
            Some(error) => Err(broken(self.field, error)),
            None => Ok(spelt),
        }
    }

    /// The tokens that may come next; `None` where the output is complete.
    fn compute_allowed(&mut self) -> Result<Option<SimpleVob>> {
        match &mut self.form {
            Form::Grammar(matcher) if matcher.is_stopped() => Ok(None),
            Form::Grammar(matcher) => match matcher.compute_mask() {
                Ok(allowed) => Ok(Some(allowed)),
                Err(_) if matcher.stop_reason().is_ok() => Ok(None),
                Err(error) => Err(broken(self.field, error)),
            },
            Form::Quotation(quotation) if quotation.is_complete() => Ok(None),
            Form::Quotation(quotation) => Ok(Some(quotation.allowed())),
        }
    }
}

/// The id of a set that holds one only.
fn only_one(set: &SimpleVob) -> Option<u32> {
    let mut words = set.as_slice().iter().enumerate().filter(|(_, w)| **w != 0);
    let (index, word) = words.next()?;
    let is_one = word.is_power_of_two() && words.next().is_none();
    is_one.then(|| index as u32 * 32 + word.trailing_zeros())
}

/// The error of a form, asked for by `field`, that cannot be followed: the matcher's first line.
pub(super) fn broken(field: &str, error: impl std::fmt::Display) -> Error {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    Error::validation(format!("{field}: the form cannot be followed: {line}"))
}
