//! Whether the bodies of model calls are kept, and where: the home's setting for invocation logging.

use std::sync::{Mutex, PoisonError};

use outcrop_api::Result;
use outcrop_governance::InvocationLog;
use outcrop_store::{Home, Stamp};
use serde_json::Value;

use super::Action;
use crate::buckets::bucket_folder;

/// The store's kind of the home's settings.
pub(crate) const SETTINGS: &str = "settings";
/// The setting, in the form of `loggingConfig`.
pub(crate) const INVOCATION_LOGGING: &str = "model-invocation-logging";

/// What is done with the bodies of a call, where they are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bodies {
    /// The bucket that they are delivered to, beside the audit log.
    pub delivered: Option<InvocationLog>,
}

/// The setting as it was read last.
#[derive(Debug, Default)]
pub(super) struct Logging(Mutex<(Option<Stamp>, Value)>);

impl Logging {
    /// What is to be done with the bodies of a call of `action`; none where they are dropped.
    ///
    /// # Errors
    /// An error that names the setting's file where it cannot be read, or the bucket where that is
    /// mapped no more: a call whose body was to be kept is not made without.
    pub fn of(&self, home: &Home, action: Action) -> Result<Option<Bodies>> {
        let name = action.name;
        if !name.starts_with("InvokeModel") && !name.starts_with("Converse") {
            return Ok(None);
        }
        let stamp = home.record_stamp(SETTINGS, INVOCATION_LOGGING)?;
        if stamp.is_none() {
            return Ok(None);
        }
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != stamp {
            let config = home.get_record(SETTINGS, INVOCATION_LOGGING)?;
            *last = (stamp, config.unwrap_or_default());
        }
        let config = &last.1;
        if config.is_null() || config["textDataDeliveryEnabled"] == false {
            return Ok(None);
        }
        let delivered = delivery(home, config)?;
        Ok(Some(Bodies { delivered }))
    }
}

/// The log in the bucket that a `loggingConfig` names, where it names one.
///
/// # Errors
/// `ValidationException` for a bucket that is not mapped, or a prefix that leaves its folder.
pub(crate) fn delivery(home: &Home, config: &Value) -> Result<Option<InvocationLog>> {
    let Some(s3) = config.get("s3Config") else {
        return Ok(None);
    };
    let text = |member: &str| s3[member].as_str().unwrap_or_default();
    let folder = bucket_folder(home, text("bucketName"), text("keyPrefix"))?;
    Ok(Some(InvocationLog::new(folder)))
}
