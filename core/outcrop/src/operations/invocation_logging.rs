//! Invocation logging: whether the bodies of model calls are kept, in the home's audit log and in a
//! bucket's folder.

use outcrop_api::{Error, Result};
use serde_json::{Map, Value};

use super::{Answer, Call};
use crate::desk::{INVOCATION_LOGGING, SETTINGS, delivery};

/// Kinds of data that are kept with the bodies they are in, so only together with the text.
const WITH_THE_TEXT: [&str; 4] = [
    "imageDataDeliveryEnabled",
    "embeddingDataDeliveryEnabled",
    "videoDataDeliveryEnabled",
    "audioDataDeliveryEnabled",
];

/// `PutModelInvocationLoggingConfiguration`.
pub(super) fn put(call: &Call) -> Result<Answer> {
    let config = &call.input["loggingConfig"];
    if config.get("cloudWatchConfig").is_some() {
        return Err(Error::validation(format!(
            "loggingConfig.cloudWatchConfig is not supported: bodies are kept in the audit log of \
             the home {} and, with s3Config, in the folder of a mapped bucket.",
            call.session.home().display()
        )));
    }
    // The bucket is one that is here.
    delivery(call.session.store(), config)?;
    let text = config.get("textDataDeliveryEnabled") != Some(&Value::Bool(false));
    let apart = |name: &&&str| config.get(**name).is_some_and(|given| *given != text);
    if let Some(name) = WITH_THE_TEXT.iter().find(apart) {
        return Err(Error::validation(format!(
            "loggingConfig.{name} can't differ from textDataDeliveryEnabled: a body is kept whole."
        )));
    }
    call.session
        .store()
        .put_record(SETTINGS, INVOCATION_LOGGING, config)?;
    Ok(Answer::default())
}

/// `GetModelInvocationLoggingConfiguration`.
pub(super) fn get(call: &Call) -> Result<Answer> {
    let config: Option<Value> = call
        .session
        .store()
        .get_record(SETTINGS, INVOCATION_LOGGING)?;
    let output = config.map(|config| Map::from_iter([("loggingConfig".to_string(), config)]));
    Ok(Answer {
        output: output.unwrap_or_default(),
        ..Answer::default()
    })
}

/// `DeleteModelInvocationLoggingConfiguration`: from then on no bodies are kept.
pub(super) fn delete(call: &Call) -> Result<Answer> {
    call.session
        .store()
        .delete_record(SETTINGS, INVOCATION_LOGGING)?;
    Ok(Answer::default())
}
