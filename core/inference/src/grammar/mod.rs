//! Output that must have a form: JSON of a schema, a regular expression, a grammar, a quotation.

mod constraint;
mod json_schema;
mod vocabulary;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::InferenceCapabilities;
use llguidance::{Matcher, ParserFactory};
use outcrop_api::{Error, OutputFormat, Result};

use crate::own_stack::on_own_stack;
use crate::tokenizer::Tokenizer;

pub(crate) use constraint::Constraint;

/// The request's field, for messages.
const FIELD: &str = "output_format";

/// Compiled grammars that are kept for the next request with the same one.
const KEPT: usize = 32;

/// The grammars of one model.
pub(crate) struct Grammars {
    tokenizer: Arc<Tokenizer>,
    vocab_size: usize,
    /// Made at the first use: the trie of the vocabulary.
    factory: OnceLock<ParserFactory>,
    /// The last used comes last.
    compiled: Mutex<VecDeque<(String, Arc<Start>)>>,
}

/// A grammar before the first token of an output.
struct Start {
    constraint: Constraint,
    forced: Vec<u32>,
}

impl Grammars {
    /// Grammars over the tokens of `tokenizer`, for logits over `vocab_size` ids.
    pub fn new(tokenizer: Arc<Tokenizer>, vocab_size: usize) -> Self {
        Self {
            tokenizer,
            vocab_size,
            factory: OnceLock::new(),
            compiled: Mutex::default(),
        }
    }

    /// The state at the beginning of an output of `format`, with the tokens that it begins with
    /// whatever the model says. It blocks: a grammar that is new is compiled.
    ///
    /// # Errors
    /// `ValidationException` where `format` is not sound, takes more room or time than is allowed,
    /// or asks for what is not supported.
    pub fn start(&self, format: &OutputFormat) -> Result<(Constraint, Vec<u32>)> {
        let grammar = match format {
            OutputFormat::JsonSchema(schema) => {
                GrammarWithLexer::from_json_schema(json_schema::compile(schema, FIELD)?)
            }
            OutputFormat::Regex(pattern) => GrammarWithLexer::from_regex(pattern),
            OutputFormat::Lark(text) => GrammarWithLexer::from_lark(text.clone()),
            OutputFormat::Quote(_) => {
                return Err(Error::validation(
                    "output_format.quote: not available in this version",
                ));
            }
        };
        let start = self.compile(TopLevelGrammar::from_grammar(grammar))?;
        Ok((start.constraint.fork(), start.forced.clone()))
    }

    /// The compiled form of `grammar`.
    fn compile(&self, grammar: TopLevelGrammar) -> Result<Arc<Start>> {
        let key = serde_json::to_string(&grammar)
            .map_err(|e| Error::validation(format!("output_format: expected JSON: {e}")))?;
        if let Some(start) = self.kept(&key) {
            return Ok(start);
        }
        let compiled = on_own_stack("grammar", || self.compile_new(grammar));
        let start = compiled.map_err(constraint::broken)??;
        let start = Arc::new(start);
        let mut kept = self.lock();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((key, start.clone()));
        Ok(start)
    }

    fn compile_new(&self, grammar: TopLevelGrammar) -> Result<Start> {
        let factory = match self.factory.get() {
            Some(factory) => factory,
            None => {
                let made = self.make_factory()?;
                self.factory.get_or_init(|| made)
            }
        };
        let matcher = Matcher::new(factory.create_parser(grammar));
        let (constraint, forced) = Constraint::start(matcher)?;
        Ok(Start { constraint, forced })
    }

    fn make_factory(&self) -> Result<ParserFactory> {
        let environment = vocabulary::token_environment(self.tokenizer.clone(), self.vocab_size)?;
        let capabilities = InferenceCapabilities {
            ff_tokens: true,
            ..InferenceCapabilities::default()
        };
        let slices = SlicedBiasComputer::general_slices();
        let mut factory = ParserFactory::new(&environment, capabilities, &slices)
            .map_err(|e| Error::internal(format!("vocabulary: no trie of it: {e}")))?;
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        Ok(factory)
    }

    /// The compiled grammar of `key`, which then counts as the last used.
    fn kept(&self, key: &str) -> Option<Arc<Start>> {
        let mut kept = self.lock();
        let at = kept.iter().position(|(text, _)| text == key)?;
        let entry = kept.remove(at)?;
        let start = entry.1.clone();
        kept.push_back(entry);
        Some(start)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(String, Arc<Start>)>> {
        // Nothing that can panic runs under the lock.
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
