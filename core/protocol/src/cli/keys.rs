//! `outcrop keys create` and `outcrop keys list`.

use outcrop::Session;
use outcrop::api::Result;

use crate::cli::output::Output;

/// Makes a key and shows its secrets, this once.
pub(super) fn create(
    session: &Session,
    name: &str,
    expires: Option<u64>,
    output: &mut Output,
) -> Result<()> {
    let key = session.access_keys().create(name, expires)?;
    if output.is_json {
        return output.json(&key);
    }
    let expires = key.summary.expires.as_deref().unwrap_or("never");
    output.text(&format!(
        "# The key of {}; expires: {expires}. The secrets are not shown again.\n\
         AWS_ACCESS_KEY_ID={}\n\
         AWS_SECRET_ACCESS_KEY={}\n\
         AWS_BEARER_TOKEN_BEDROCK={}\n",
        key.summary.name, key.summary.access_key_id, key.secret_access_key, key.bearer_token
    ))
}

/// The keys of the home, without their secrets.
pub(super) fn list(session: &Session, output: &mut Output) -> Result<()> {
    let keys = session.access_keys().list()?;
    if output.is_json {
        return keys.iter().try_for_each(|key| output.json(key));
    }
    let rows: Vec<[String; 4]> = keys
        .into_iter()
        .map(|key| {
            let expires = match (key.expires, key.expired) {
                (Some(time), true) => format!("{time} (over)"),
                (Some(time), false) => time,
                (None, _) => "never".to_string(),
            };
            [key.access_key_id, key.name, key.created, expires]
        })
        .collect();
    output.table(["ID", "NAME", "CREATED", "EXPIRES"], &rows)
}
