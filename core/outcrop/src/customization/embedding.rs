//! Training an embedding model: its parts, and its data.

use outcrop_api::{DOCUMENT_PROMPT, Error, QUERY_PROMPT, Result};
use outcrop_governance::Principal;
use outcrop_inference::{Checkpoint, EncoderModel};
use outcrop_models::LoadOptions;
use outcrop_training::{Pair, SentenceEncoder, Side, all_good, read_pairs};

use super::data;
use crate::session::Session;

/// Opens an embedding model to be trained; what reads its texts is the last.
///
/// # Errors
/// `ValidationException` for what has no way back; `ResourceNotFoundException`.
pub(super) fn open(
    session: &Session,
    name: &str,
) -> Result<(Checkpoint, SentenceEncoder, EncoderModel)> {
    let summary = session.shelf().summary(name, &LoadOptions::default())?;
    let reader = EncoderModel::load(&summary.path, name)?;
    let pooling = reader.plain_pooling().ok_or_else(|| {
        Error::validation(format!(
            "base_model {name}: expected one way of pooling over all tokens, and nothing but scaling \
             behind it: a model with more cannot be trained yet"
        ))
    })?;
    let base = Checkpoint::open(&summary.path)?;
    let encoder = SentenceEncoder::load(&base, pooling)?;
    Ok((base, encoder, reader))
}

/// Reads the pairs of `places` as the model reads texts, each side behind its own prompt.
///
/// # Errors
/// `ValidationException` with every bad line by its number, or for a place that cannot be read.
pub(super) fn read(
    session: &Session,
    principal: &Principal,
    (reader, most): (&EncoderModel, Option<usize>),
    places: &[&str],
) -> Result<Vec<Pair>> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let encode = |side: Side, text: &str| {
        let prompt = match side {
            Side::Anchor => QUERY_PROMPT,
            Side::Candidate => DOCUMENT_PROMPT,
        };
        let ids = reader.text_ids(prompt, text);
        let ids = ids.map_err(|error| error.message().to_owned())?;
        match most {
            Some(most) if ids.len() > most => {
                Err(format!("expected at most {most} tokens, got {}", ids.len()))
            }
            _ => Ok(ids),
        }
    };
    let (mut pairs, mut bad) = (Vec::new(), Vec::new());
    for place in places {
        for path in data::files(&data::path_of(session, principal, place)?, &["jsonl"])? {
            let text = std::fs::read_to_string(&path).map_err(data::unreadable(&path))?;
            let (own, wrong) = read_pairs(&path.display().to_string(), &text, encode);
            pairs.extend(own);
            bad.extend(wrong);
        }
    }
    all_good((pairs, bad), &places.join(", "))
}
