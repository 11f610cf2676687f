//! Access keys: the secrets by which callers over HTTP show who they are.
//!
//! A key has an id, a secret that requests are signed with, and a bearer token. The secret is kept
//! as it is, for a signature cannot be checked without it, in a file that only its owner may read;
//! of the token only the SHA-256 is kept.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use chrono::{DateTime, SecondsFormat, Utc};
use outcrop_api::{Error, Result};
use outcrop_store::Home;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const KIND: &str = "access-keys";
const ID_LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const ID_LENGTH: usize = 20;
const TOKEN_PREFIX: &str = "outcrop-";
const LONGEST_NAME: usize = 64;

/// A key as it is kept in the home.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessKey {
    id: String,
    name: String,
    created: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    secret: String,
    token_sha256: String,
}

/// What may be told of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessKeySummary {
    /// Its id.
    pub access_key_id: String,
    /// The name of who uses it; audit records carry it.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// When it ends, where it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Whether that time has come.
    pub expired: bool,
}

/// A key that was just made: the one time that its secrets are told.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewAccessKey {
    /// What is told of it later too.
    #[serde(flatten)]
    pub summary: AccessKeySummary,
    /// What requests are signed with.
    pub secret_access_key: String,
    /// What stands in `Authorization: Bearer`.
    pub bearer_token: String,
}

/// The access keys of a home.
#[derive(Clone, Debug)]
pub struct AccessKeys {
    home: Home,
}

impl AccessKeys {
    /// The keys of `home`.
    pub fn new(home: Home) -> Self {
        Self { home }
    }

    /// Makes a key for `name`, good for `seconds`, or until it is deleted.
    ///
    /// # Errors
    /// `ValidationException` for a name that is empty, too long or of other signs than IAM takes.
    pub fn create(&self, name: &str, seconds: Option<u64>) -> Result<NewAccessKey> {
        check_name(name)?;
        let now = now();
        let id = new_id()?;
        let secret = STANDARD_NO_PAD.encode(random::<30>()?);
        let token = format!(
            "{TOKEN_PREFIX}{id}-{}",
            URL_SAFE_NO_PAD.encode(random::<32>()?)
        );
        let key = AccessKey {
            id,
            name: name.to_string(),
            created: rfc3339(now)?,
            expires: seconds
                .map(|seconds| rfc3339(now.saturating_add_unsigned(seconds)))
                .transpose()?,
            token_sha256: digest(&token),
            secret: secret.clone(),
        };
        self.home.create_record(KIND, &key.id, &key)?;
        Ok(NewAccessKey {
            summary: key.summary(),
            secret_access_key: secret,
            bearer_token: token,
        })
    }

    /// Every key, in the order of the ids.
    ///
    /// # Errors
    /// `InternalServerException` where one cannot be read.
    pub fn list(&self) -> Result<Vec<AccessKeySummary>> {
        let keys = self.home.list_records::<AccessKey>(KIND)?;
        Ok(keys.iter().map(|(_, key)| key.summary()).collect())
    }

    /// Deletes a key: requests that come later are refused.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where there is none by that id.
    pub fn delete(&self, id: &str) -> Result<()> {
        if is_id(id) && self.home.delete_record(KIND, id)? {
            return Ok(());
        }
        Err(Error::not_found(format!("there is no access key {id}")).with_resource(id))
    }

    /// The key of that id.
    ///
    /// # Errors
    /// `InternalServerException` where it cannot be read.
    pub fn by_id(&self, id: &str) -> Result<Option<AccessKey>> {
        if !is_id(id) {
            return Ok(None);
        }
        Ok(self.home.get_record(KIND, id)?)
    }

    /// The key whose bearer token this is.
    ///
    /// # Errors
    /// As [`AccessKeys::by_id`].
    pub fn by_token(&self, token: &str) -> Result<Option<AccessKey>> {
        let Some(rest) = token.strip_prefix(TOKEN_PREFIX) else {
            return Ok(None);
        };
        let key = self.by_id(rest.get(..ID_LENGTH).unwrap_or_default())?;
        Ok(key.filter(|key| is_same(&key.token_sha256, &digest(token))))
    }
}

impl AccessKey {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The name of who uses it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What requests are signed with.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Whether it ended. A time that cannot be read has come.
    pub fn is_expired(&self) -> bool {
        let ended = |text: &String| {
            let end = DateTime::parse_from_rfc3339(text);
            end.map_or(true, |end| end.timestamp() <= now())
        };
        self.expires.as_ref().is_some_and(ended)
    }

    fn summary(&self) -> AccessKeySummary {
        AccessKeySummary {
            access_key_id: self.id.clone(),
            name: self.name.clone(),
            created: self.created.clone(),
            expires: self.expires.clone(),
            expired: self.is_expired(),
        }
    }
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AccessKey").field(&self.id).finish()
    }
}

fn check_name(name: &str) -> Result<()> {
    let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(is_sound) {
        return Err(Error::validation(format!(
            "name: expected 1 to {LONGEST_NAME} letters, digits and + = , . @ _ -, got {name:?}"
        )));
    }
    Ok(())
}

fn is_id(id: &str) -> bool {
    id.len() == ID_LENGTH && id.bytes().all(|byte| ID_LETTERS.contains(&byte))
}

fn new_id() -> Result<String> {
    let letters = random::<16>()?.map(|byte| ID_LETTERS[usize::from(byte % 32)] as char);
    Ok(format!("AKIA{}", letters.iter().collect::<String>()))
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::internal(format!("the system gives no random bytes: {error}")))?;
    Ok(bytes)
}

fn digest(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(token))
}

/// Compares in a time that does not depend on where they differ.
fn is_same(one: &str, other: &str) -> bool {
    let differences = one
        .bytes()
        .zip(other.bytes())
        .fold(0, |seen, (a, b)| seen | (a ^ b));
    one.len() == other.len() && std::hint::black_box(differences) == 0
}

fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn rfc3339(seconds: i64) -> Result<String> {
    let time = DateTime::<Utc>::from_timestamp(seconds, 0).ok_or_else(|| {
        Error::validation(format!(
            "expires: {seconds} seconds since 1970 is beyond the calendar"
        ))
    })?;
    Ok(time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn keys() -> (tempfile::TempDir, AccessKeys) {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        (folder, AccessKeys::new(home))
    }

    #[test]
    fn a_key_is_found_by_its_id_and_by_its_token() {
        let (folder, keys) = keys();
        let made = keys.create("ada", None).unwrap();
        let other = keys.create("bob", Some(3600)).unwrap();
        let id = &made.summary.access_key_id;
        let found = keys.by_id(id).unwrap().unwrap();
        assert_eq!(
            (found.name(), found.secret()),
            ("ada", made.secret_access_key.as_str())
        );
        assert_eq!(keys.by_token(&made.bearer_token).unwrap().unwrap().id(), id);
        let crossed = made
            .bearer_token
            .replace(id.as_str(), &other.summary.access_key_id);
        for wrong in [
            "",
            "outcrop-",
            "outcrop-é",
            &crossed,
            &made.bearer_token[1..],
            &format!("{}x", made.bearer_token),
        ] {
            assert!(keys.by_token(wrong).unwrap().is_none(), "{wrong}");
        }
        for wrong in ["", "../../home", "AKIA", &id.to_lowercase()] {
            assert!(keys.by_id(wrong).unwrap().is_none(), "{wrong}");
        }
        assert_eq!(keys.list().unwrap().len(), 2);
        keys.delete(id).unwrap();
        assert!(keys.by_id(id).unwrap().is_none());
        assert!(keys.delete(id).is_err());
        drop(folder);
    }

    #[test]
    fn the_file_is_private_and_does_not_hold_the_token() {
        let (folder, keys) = keys();
        let made = keys.create("ada", None).unwrap();
        let file = folder.path().join("records").join(KIND);
        let file = file.join(format!("{}.json", made.summary.access_key_id));
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains(&made.bearer_token));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_key_ends_when_it_was_told_to() {
        let (_folder, keys) = keys();
        let made = keys.create("ada", Some(0)).unwrap();
        assert!(made.summary.expired);
        assert!(
            keys.by_token(&made.bearer_token)
                .unwrap()
                .unwrap()
                .is_expired()
        );
        assert!(!keys.create("ada", Some(60)).unwrap().summary.expired);
        assert!(keys.create("ada", Some(u64::MAX)).is_err());
        assert!(keys.create("a b", None).is_err());
    }
}
