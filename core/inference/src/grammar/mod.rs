//! Output that must have a form: JSON of a schema, a regular expression, a grammar, a quotation,
//! calls of tools.

mod conforms;
mod constraint;
mod json_schema;
mod parameters;
mod quotation;
mod tools;
mod vocabulary;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::InferenceCapabilities;
use llguidance::{Matcher, ParserFactory};
use outcrop_api::{Error, OutputFormat, Result};

use crate::own_stack::on_own_stack;
use crate::tokenizer::Tokenizer;

pub use conforms::conforms;
pub(crate) use constraint::Constraint;
use constraint::{Form, broken};
use quotation::Quotation;
pub(crate) use tools::ToolForm;

/// The request's field, for messages.
const FIELD: &str = "output_format";

/// Compiled grammars that are kept for the next request with the same one.
const KEPT: usize = 32;

/// Most states of one output's lexer, of some 1 kB each: what bounds a hostile grammar's memory.
const MAX_LEXER_STATES: usize = 50_000;

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
        match format {
            OutputFormat::Quote(texts) => {
                let environment = self.factory()?.tok_env().clone();
                let quotation = Quotation::new(environment.clone(), texts)?;
                Constraint::start(Form::Quotation(quotation), environment, FIELD)
            }
            other => {
                let grammar = TopLevelGrammar::from_grammar(grammar(other)?);
                self.compiled(grammar, FIELD)
            }
        }
    }

    /// The state at the beginning of an assistant's reply that calls tools.
    ///
    /// # Errors
    /// As [`Grammars::start`], naming the tool.
    pub fn start_tools(&self, form: &ToolForm<'_>) -> Result<(Constraint, Vec<u32>)> {
        self.compiled(form.grammar(&self.tokenizer)?, "tools")
    }

    /// The state at the beginning of an output of `grammar`, which `field` of the request asked for.
    fn compiled(
        &self,
        grammar: TopLevelGrammar,
        field: &'static str,
    ) -> Result<(Constraint, Vec<u32>)> {
        let key = serde_json::to_string(&grammar)
            .map_err(|e| Error::validation(format!("{field}: expected JSON: {e}")))?;
        let start = match self.kept(&key) {
            Some(start) => start,
            None => {
                let compile = || self.compile(grammar, field);
                let start = on_own_stack("grammar", compile).map_err(|e| broken(field, e))??;
                self.keep(key, start)
            }
        };
        Ok((start.constraint.fork(), start.forced.clone()))
    }

    fn compile(&self, grammar: TopLevelGrammar, field: &'static str) -> Result<Start> {
        let factory = self.factory()?;
        let matcher = Matcher::new(factory.create_parser(grammar));
        let form = Form::Grammar(Box::new(matcher));
        let (constraint, forced) = Constraint::start(form, factory.tok_env().clone(), field)?;
        Ok(Start { constraint, forced })
    }

    /// What compiles grammars over the model's vocabulary.
    fn factory(&self) -> Result<&ParserFactory> {
        if let Some(factory) = self.factory.get() {
            return Ok(factory);
        }
        let environment = vocabulary::token_environment(self.tokenizer.clone(), self.vocab_size)?;
        let capabilities = InferenceCapabilities {
            ff_tokens: true,
            ..InferenceCapabilities::default()
        };
        let slices = SlicedBiasComputer::general_slices();
        let mut factory = ParserFactory::new(&environment, capabilities, &slices)
            .map_err(|e| Error::internal(format!("vocabulary: no trie of it: {e}")))?;
        factory.quiet();
        let limits = factory.limits_mut();
        limits.verbose_errors = false;
        limits.max_lexer_states = MAX_LEXER_STATES;
        Ok(self.factory.get_or_init(|| factory))
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

    /// Keeps a compiled grammar in place of the one that was not used for longest.
    fn keep(&self, key: String, start: Start) -> Arc<Start> {
        let start = Arc::new(start);
        let mut kept = self.lock();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((key, start.clone()));
        start
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(String, Arc<Start>)>> {
        // Nothing that can panic runs under the lock.
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The grammar of a format.
fn grammar(format: &OutputFormat) -> Result<GrammarWithLexer> {
    match format {
        OutputFormat::JsonSchema(schema) => {
            let schema = json_schema::compile(schema, FIELD)?;
            Ok(GrammarWithLexer::from_json_schema(schema))
        }
        OutputFormat::Regex(pattern) => Ok(GrammarWithLexer::from_regex(pattern)),
        OutputFormat::Lark(text) => Ok(GrammarWithLexer::from_lark(text.clone())),
        OutputFormat::Quote(_) => Err(Error::validation(
            "output_format.quote: expected a request without tools",
        )),
    }
}

#[cfg(test)]
mod tests;
