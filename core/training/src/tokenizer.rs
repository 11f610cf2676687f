//! A tokenizer of one's own: byte-level byte pairs (arXiv:1508.07909), learned from text.

use outcrop_api::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, PreTokenizerWrapper, SplitDelimiterBehavior, TokenizerImpl};

use crate::decoder::Decoder;
use crate::export::{NamedFile, pretty};
use crate::safetensors::to_safetensors;

/// What parts words before pairs are learned; digits by themselves, as Qwen's have it.
const WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words for the 256 bytes, which no vocabulary lacks.
const BYTES: usize = 256;
/// ChatML's tokens: the end of a document, and what stands around a message.
const SPECIAL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
/// ChatML.
const TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + \
message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}\
{{ '<|im_start|>assistant\n' }}{% endif %}";
/// Positions of a new model whose shape does not say it.
const CONTEXT: u64 = 2048;

type Trained =
    TokenizerImpl<BPE, tokenizers::NormalizerWrapper, PreTokenizerWrapper, ByteLevel, ByteLevel>;

/// What a tokenizer's training is told.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenizerOptions {
    /// Words of the vocabulary, the 256 bytes and the special tokens included (4096).
    pub vocab_size: usize,
    /// Tokens that no text becomes unless it holds them as they stand (ChatML's three).
    pub special_tokens: Vec<String>,
    /// The one of them that ends an answer; none: the last.
    pub eos_token: Option<String>,
    /// The chat template, in Jinja; none: ChatML where its tokens are there.
    pub chat_template: Option<String>,
    /// Members of the `config.json` of a new Llama-shaped model, such as `hidden_size`; none: no model.
    pub model: Option<Map<String, Value>>,
    /// Of the new model's weights (0).
    pub seed: u64,
}

impl Default for TokenizerOptions {
    fn default() -> Self {
        Self {
            vocab_size: 4096,
            special_tokens: SPECIAL.map(str::to_owned).to_vec(),
            eos_token: None,
            chat_template: None,
            model: None,
            seed: 0,
        }
    }
}

/// A tokenizer as the files of a folder, and what it makes of the text that it was learned from.
#[derive(Clone, Debug)]
pub struct TrainedTokenizer {
    /// The files; the model's configuration, where there is one, is the last.
    pub files: Vec<NamedFile>,
    /// Words of the vocabulary: fewer than asked for where the text holds no more pairs.
    pub vocab_size: usize,
    /// Bytes of the text.
    pub bytes: usize,
    /// Tokens that the text becomes.
    pub tokens: usize,
    /// Weights of the new model; 0 where there is none.
    pub parameters: usize,
}

impl TokenizerOptions {
    /// The token that ends an answer.
    ///
    /// # Errors
    /// `ValidationException` naming the option, its value and what was expected.
    fn checked(&self) -> Result<&str> {
        let least = BYTES + self.special_tokens.len();
        if self.vocab_size < least {
            return Err(Error::validation(format!(
                "vocab_size: expected at least {least}, 256 bytes and {} special tokens, got {}",
                self.special_tokens.len(),
                self.vocab_size
            )));
        }
        if self.special_tokens.iter().any(String::is_empty) {
            return Err(Error::validation(
                "special_tokens: expected texts, got \"\"",
            ));
        }
        let eos = self.eos_token.as_ref().or(self.special_tokens.last());
        let Some(eos) = eos else {
            return Err(Error::validation(
                "special_tokens: expected at least one, which ends an answer, got none",
            ));
        };
        match self.special_tokens.contains(eos) {
            true => Ok(eos),
            false => Err(Error::validation(format!(
                "eos_token: expected one of the special tokens {}, got {eos}",
                self.special_tokens.join(", ")
            ))),
        }
    }

    fn template(&self) -> Option<&str> {
        let has_its_tokens = || {
            SPECIAL
                .iter()
                .all(|t| self.special_tokens.iter().any(|s| s == t))
        };
        match &self.chat_template {
            Some(template) => Some(template),
            None => has_its_tokens().then_some(TEMPLATE),
        }
    }
}

/// Learns a tokenizer from `texts`: the same texts in the same order give the same files, to the byte.
///
/// # Errors
/// `ValidationException` for options that cannot be followed, and for no text.
pub fn train_tokenizer(texts: &[String], options: &TokenizerOptions) -> Result<TrainedTokenizer> {
    let eos = options.checked()?;
    let bytes = texts.iter().map(String::len).sum();
    if bytes == 0 {
        return Err(Error::validation("training data: expected text, got none"));
    }
    let trained = learn(texts, options)
        .map_err(|error| Error::internal(format!("the tokenizer cannot be learned: {error}")))?;
    let text = trained
        .to_string(true)
        .map_err(|error| Error::internal(error.to_string()))?;
    let vocab_size = trained.get_vocab_size(true);
    let tokens = texts
        .iter()
        .map(|text| trained.encode(text.as_str(), false));
    let tokens = tokens.map(|encoding| encoding.map(|encoding| encoding.len()));
    let tokens = tokens.sum::<tokenizers::Result<usize>>();
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": eos,
        "additional_special_tokens": options.special_tokens,
        "clean_up_tokenization_spaces": false,
    });
    if let Some(template) = options.template() {
        config["chat_template"] = json!(template);
    }
    let mut files = vec![
        ("tokenizer.json", text.into_bytes()),
        ("tokenizer_config.json", pretty(&config)),
    ];
    let mut parameters = 0;
    if let Some(shape) = &options.model {
        let eos_id = trained.token_to_id(eos);
        let config = llama(shape, vocab_size, eos_id);
        let decoder = Decoder::random(&config, options.seed)?;
        parameters = decoder.parameters().values.len();
        files.push(("model.safetensors", to_safetensors(decoder.parameters())));
        files.push(("config.json", pretty(&config)));
    }
    Ok(TrainedTokenizer {
        files,
        vocab_size,
        bytes,
        tokens: tokens.map_err(|error| Error::internal(error.to_string()))?,
        parameters,
    })
}

fn learn(texts: &[String], options: &TokenizerOptions) -> tokenizers::Result<Trained> {
    let pattern = SplitPattern::Regex(WORDS.to_owned());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?;
    let bytes = ByteLevel::new(false, true, false);
    let words = Sequence::new(vec![
        PreTokenizerWrapper::Split(split),
        PreTokenizerWrapper::ByteLevel(bytes),
    ]);
    let mut tokenizer: Trained = TokenizerImpl::new(BPE::default());
    tokenizer
        .with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(words)))
        .with_post_processor(Some(bytes))
        .with_decoder(Some(bytes));
    let special = options.special_tokens.iter();
    let mut trainer = BpeTrainer::builder()
        .vocab_size(options.vocab_size)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(special.map(|t| AddedToken::from(t.clone(), true)).collect())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    tokenizer.train(&mut trainer, texts.iter())?;
    Ok(tokenizer)
}

/// The configuration of a new Llama-shaped model: what `shape` says, and what Llama's is otherwise.
fn llama(shape: &Map<String, Value>, vocab_size: usize, eos: Option<u32>) -> Value {
    let mut config = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": true,
        "attention_bias": false,
        "mlp_bias": false,
        "torch_dtype": "float32",
    });
    if let Some(config) = config.as_object_mut() {
        config.extend(shape.clone());
        config.insert("vocab_size".to_owned(), json!(vocab_size));
        config.insert("eos_token_id".to_owned(), json!(eos));
    }
    config
}
