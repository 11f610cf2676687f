//! Text to token ids and back, as transformers' fast tokenizers do it.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use outcrop_api::{Error, Result};
use serde_json::Value;
use tokenizers::{
    AddedToken, DecoderWrapper, Model, NormalizerWrapper, OffsetType, PreTokenizer,
    PreTokenizerWrapper,
};

use crate::gguf_tokenizer;
use crate::weights::{Checkpoint, GgufValue, ModelSource, WeightsError, read_json};

/// What stands for a space in SentencePiece's pieces.
const SPACE_PIECE: &str = "\u{2581}";

/// The tokenizer of a model.
///
/// Truncation and padding that `tokenizer.json` asks for are not done: nothing is cut in silence.
#[derive(Debug)]
pub struct Tokenizer {
    /// Where it is from, for messages.
    file: PathBuf,
    inner: tokenizers::Tokenizer,
    special_ids: BTreeSet<u32>,
    bos: Option<u32>,
    eos: Vec<u32>,
    cleans_up_spaces: bool,
}

impl Tokenizer {
    /// Loads the tokenizer of a Hugging Face folder or of a `.gguf` file.
    ///
    /// # Errors
    /// [`WeightsError`] naming the file that is missing, not sound or not of a known kind.
    pub fn load(path: &Path) -> std::result::Result<Self, WeightsError> {
        if path.is_dir() {
            Self::from_folder(path)
        } else {
            Self::from_checkpoint(&Checkpoint::open(path)?)
        }
    }

    /// The tokenizer that belongs to opened weights.
    ///
    /// # Errors
    /// As [`Tokenizer::load`].
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> std::result::Result<Self, WeightsError> {
        match checkpoint.config() {
            ModelSource::HuggingFace { folder, .. } => Self::from_folder(folder),
            ModelSource::Gguf { metadata } => Self::from_gguf(checkpoint.path(), metadata),
        }
    }

    /// Loads `tokenizer.json` of a folder, with what `tokenizer_config.json`,
    /// `generation_config.json` and `config.json` say of special tokens, where they are there.
    ///
    /// # Errors
    /// As [`Tokenizer::load`].
    pub fn from_folder(folder: &Path) -> std::result::Result<Self, WeightsError> {
        let file = folder.join("tokenizer.json");
        let text = crate::weights::read_text(&file, "the model's tokenizer")?;
        let config = read_optional_json(&folder.join("tokenizer_config.json"))?;
        let inner = unbroken(|| {
            let mut inner = tokenizers::Tokenizer::from_bytes(&text)?;
            inner.with_truncation(None)?;
            inner.with_padding(None);
            mark_special_tokens(&mut inner, &config)?;
            Ok(inner)
        })
        .map_err(|detail| {
            WeightsError::corrupt(&file, format!("expected a tokenizer: {detail}"))
        })?;
        let id_of = |key: &str| token_text(&config[key]).and_then(|text| inner.token_to_id(text));
        let (bos, eos_token) = (id_of("bos_token"), id_of("eos_token"));
        let mut eos = Vec::new();
        for name in ["generation_config.json", "config.json"] {
            eos = token_ids(&read_optional_json(&folder.join(name))?["eos_token_id"]);
            if !eos.is_empty() {
                break;
            }
        }
        if eos.is_empty() {
            eos.extend(eos_token);
        }
        // transformers 5 takes false where the key is absent.
        let cleans_up_spaces = config["clean_up_tokenization_spaces"].as_bool() == Some(true);
        Ok(Self::new(file, inner, bos, eos, cleans_up_spaces))
    }

    /// Builds the tokenizer that a GGUF file's metadata describe. `file` is for messages.
    ///
    /// # Errors
    /// [`WeightsError`] where the metadata lack a part, contradict each other, or name a
    /// pre-tokenizer that is not known.
    pub fn from_gguf(
        file: &Path,
        metadata: &BTreeMap<String, GgufValue>,
    ) -> std::result::Result<Self, WeightsError> {
        let described = gguf_tokenizer::describe(file, metadata)?;
        Ok(Self::new(
            file.to_owned(),
            described.inner,
            described.bos,
            described.eos,
            false,
        ))
    }

    fn new(
        file: PathBuf,
        inner: tokenizers::Tokenizer,
        bos: Option<u32>,
        eos: Vec<u32>,
        cleans_up_spaces: bool,
    ) -> Self {
        let added = inner.get_added_tokens_decoder();
        let special_ids = added
            .iter()
            .filter(|(_, t)| t.special)
            .map(|(&id, _)| id)
            .collect();
        Self {
            file,
            inner,
            special_ids,
            bos,
            eos,
            cleans_up_spaces,
        }
    }

    /// The ids of `text`. Special tokens that stand in it are recognised; with `add_special` those
    /// that the model expects around a text (such as a beginning of sequence) are added.
    ///
    /// # Errors
    /// `ModelErrorException` where the tokenizer's own rules fail on the text.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>> {
        let encoding = self.apply(|inner| inner.encode_fast(text, add_special))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The ids and segment ids of a pair of texts, special tokens included.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_pair(&self, first: &str, second: &str) -> Result<(Vec<u32>, Vec<u32>)> {
        let encoding = self.apply(|inner| inner.encode_fast((first, second), true))?;
        Ok((
            encoding.get_ids().to_vec(),
            encoding.get_type_ids().to_vec(),
        ))
    }

    /// The ids of `text` where it stands in the middle of an output: special tokens are not
    /// recognised, and neither are a prefix or special tokens added nor is the text normalised.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub(crate) fn encode_fragment(&self, text: &str) -> Result<Vec<u32>> {
        self.apply(|inner| {
            let mut added = inner.get_added_vocabulary().clone();
            added.set_encode_special_tokens(true);
            let spelt = match self.spells_spaces() {
                true => text.replace(' ', SPACE_PIECE),
                false => text.to_owned(),
            };
            let mut parts = added.extract_and_normalize(None::<&NormalizerWrapper>, &spelt);
            match inner.get_pre_tokenizer() {
                // It would put a prefix before the text.
                None | Some(PreTokenizerWrapper::Metaspace(_)) => {}
                Some(pre_tokenizer) => pre_tokenizer.pre_tokenize(&mut parts)?,
            }
            parts.tokenize(|part| inner.get_model().tokenize(part.get()))?;
            let encoding = parts.into_encoding(None, 0, OffsetType::None)?;
            Ok(encoding.get_ids().to_vec())
        })
    }

    /// Whether pieces spell a space as SentencePiece does.
    fn spells_spaces(&self) -> bool {
        match self.decoder() {
            Some(DecoderWrapper::Metaspace(_)) => true,
            Some(DecoderWrapper::Sequence(sequence)) => sequence
                .get_decoders()
                .iter()
                .any(|decoder| matches!(decoder, DecoderWrapper::ByteFallback(_))),
            _ => false,
        }
    }

    /// The text of `ids`. Ids that no token has give nothing; `skip_special` leaves special tokens out.
    ///
    /// # Errors
    /// `ModelErrorException` where the tokenizer's own rules fail.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        // Some decoders count on a token being there.
        if !ids.iter().any(|&id| self.piece(id, skip_special).is_some()) {
            return Ok(String::new());
        }
        let mut text = self.apply(|inner| inner.decode(ids, skip_special))?;
        if self.cleans_up_spaces {
            for (pattern, replacement) in SPACE_CLEAN_UP {
                text = text.replace(pattern, replacement);
            }
        }
        Ok(text)
    }

    /// Number of tokens, added ones included. The model's logits may range over more.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of the token that begins a sequence, where there is one.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The ids that end a generation.
    pub fn eos(&self) -> &[u32] {
        &self.eos
    }

    /// Whether `id` is a special token's, which decoded text leaves out.
    pub fn is_special(&self, id: u32) -> bool {
        self.special_ids.contains(&id)
    }

    /// The id of a token by its text.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// A token's own text as the vocabulary spells it.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.piece(id, false)
    }

    /// The token that decoding `id` begins with; `None` where the id is unknown or left out.
    pub(crate) fn piece(&self, id: u32, skip_special: bool) -> Option<String> {
        let added = self.inner.get_added_vocabulary();
        let piece = added
            .simple_id_to_token(id)
            .or_else(|| self.inner.get_model().id_to_token(id))?;
        (!(skip_special && added.is_special_token(&piece))).then_some(piece)
    }

    /// Applies the tokenizer's rules, which may be hostile.
    fn apply<T>(
        &self,
        rules: impl FnOnce(&tokenizers::Tokenizer) -> tokenizers::Result<T>,
    ) -> Result<T> {
        unbroken(|| rules(&self.inner)).map_err(|detail| {
            let file = self.file.display().to_string();
            Error::model(format!("{file}: the tokenizer's rules fail: {detail}"))
                .with_resource(file)
        })
    }

    /// How pieces become text.
    pub(crate) fn decoder(&self) -> Option<&DecoderWrapper> {
        self.inner.get_decoder()
    }

    /// Whether decoded text has the spaces before punctuation taken out ([`SPACE_CLEAN_UP`]).
    pub(crate) fn cleans_up_spaces(&self) -> bool {
        self.cleans_up_spaces
    }
}

/// What transformers replaces, in this order, where `clean_up_tokenization_spaces` is set.
pub(crate) const SPACE_CLEAN_UP: [(&str, &str); 10] = [
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
];

/// What `work` gives, or why not. The rules of a `tokenizer.json` can break the library that runs
/// them off (a panic): that is the file's fault, and an error like any other.
///
/// # Errors
/// The library's own error, or what it broke off with.
pub(crate) fn unbroken<T>(
    work: impl FnOnce() -> tokenizers::Result<T>,
) -> std::result::Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(panic) => {
            let message = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Err(message.unwrap_or("they break off").to_owned())
        }
    }
}

/// A JSON file of the folder; null where it is absent.
fn read_optional_json(file: &Path) -> std::result::Result<Value, WeightsError> {
    match read_json(file, "a configuration") {
        Err(WeightsError::Missing { .. }) => Ok(Value::Null),
        read => read,
    }
}

/// A token of `tokenizer_config.json`: its text, or an object with it.
pub(crate) fn token_text(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token["content"].as_str())
}

/// One id or a list of them.
fn token_ids(ids: &Value) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match ids {
        Value::Array(ids) => ids.iter().filter_map(id).collect(),
        one => id(one).into_iter().collect(),
    }
}

/// Marks the tokens that `tokenizer_config.json` names as special, as transformers does: a
/// `tokenizer.json` need not say it itself.
fn mark_special_tokens(
    inner: &mut tokenizers::Tokenizer,
    config: &Value,
) -> tokenizers::Result<()> {
    const KEYS: [&str; 7] = [
        "bos_token",
        "eos_token",
        "unk_token",
        "sep_token",
        "pad_token",
        "cls_token",
        "mask_token",
    ];
    let additional = config["additional_special_tokens"].as_array();
    let named = KEYS
        .iter()
        .map(|key| &config[*key])
        .chain(additional.into_iter().flatten());
    let missing: Vec<AddedToken> = named
        .filter_map(token_text)
        .filter(|text| !inner.get_added_vocabulary().is_special_token(text))
        .filter(|text| inner.token_to_id(text).is_some())
        .map(|text| AddedToken::from(text, true))
        .collect();
    if !missing.is_empty() {
        inner.add_special_tokens(missing)?;
    }
    Ok(())
}
