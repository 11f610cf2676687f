//! Buckets: names of S3, each mapped to a folder of this machine.

use std::path::{Component, Path, PathBuf};

use outcrop_api::{Error, Result};
use outcrop_store::Home;
use serde::{Deserialize, Serialize};

use crate::governance::Principal;
use crate::session::Session;

/// The store's kind of these records, by the bucket's name.
const BUCKETS: &str = "buckets";

/// A bucket and the folder that it is mapped to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// The folder, absolute.
    pub folder: PathBuf,
}

impl Session {
    /// Maps the bucket `name` to a folder, which is created where it is not there: from then on
    /// `s3://name/key` is the file `key` of that folder, in every operation that takes an S3 URI.
    /// `None` takes the mapping away; the folder stays. Kept in the home.
    ///
    /// # Errors
    /// `ValidationException` for a name that is no bucket's, or a path that is no folder;
    /// `ResourceNotFoundException` where there is no mapping to take away.
    pub fn map_bucket(&self, name: &str, folder: Option<&Path>) -> Result<Option<Bucket>> {
        let record = self.open_own_record("MapBucket", "name", name)?;
        let mapped = self.set_bucket(name, folder);
        record.close(mapped.as_ref().err())?;
        mapped
    }

    fn set_bucket(&self, name: &str, folder: Option<&Path>) -> Result<Option<Bucket>> {
        check_name(name)?;
        let Some(folder) = folder else {
            return match self.store().delete_record(BUCKETS, name)? {
                true => Ok(None),
                false => Err(unmapped(Error::not_found, name)),
            };
        };
        let wrong = |error: std::io::Error| {
            Error::validation(format!("folder: {}: {error}", folder.display())).with_source(error)
        };
        std::fs::create_dir_all(folder).map_err(wrong)?;
        let bucket = Bucket {
            name: name.into(),
            folder: folder.canonicalize().map_err(wrong)?,
        };
        self.store().put_record(BUCKETS, name, &bucket)?;
        Ok(Some(bucket))
    }

    /// The buckets that are mapped, by name.
    ///
    /// # Errors
    /// An error that names the file where a record is damaged.
    pub fn buckets(&self) -> Result<Vec<Bucket>> {
        self.check()?;
        let buckets = self.store().list_records(BUCKETS)?;
        Ok(buckets.into_iter().map(|(_, bucket)| bucket).collect())
    }

    /// The path of an S3 URI whose bucket is mapped. A `file://` URI is its path, for the owner of
    /// the home only: whoever else may call is kept to the mapped folders. Whether anything is
    /// there is not looked at.
    ///
    /// # Errors
    /// `ValidationException` for another form, a bucket that is not mapped, or a key that would
    /// leave the bucket's folder.
    pub(crate) fn resolve_s3_uri(&self, uri: &str, principal: &Principal) -> Result<PathBuf> {
        if let Some(path) = uri.strip_prefix("file://") {
            return match principal.is_owner() && Path::new(path).is_absolute() {
                true => Ok(path.into()),
                false => Err(Error::validation(format!(
                    "Invalid S3 URI {uri}: a file URI is an absolute path, and for the owner of \
                     the home only"
                ))),
            };
        }
        let place = uri.strip_prefix("s3://").ok_or_else(|| {
            Error::validation(format!("Invalid S3 URI {uri}: expected s3://bucket/key"))
        })?;
        let (name, key) = place.split_once('/').unwrap_or((place, ""));
        bucket_folder(self.store(), name, key)
    }
}

/// The path of `key` in the folder that the bucket `name` is mapped to.
///
/// # Errors
/// `ValidationException` for a name that is no bucket's, a bucket that is not mapped, or a key that
/// would leave its folder.
pub(crate) fn bucket_folder(home: &Home, name: &str, key: &str) -> Result<PathBuf> {
    check_name(name)?;
    let bucket: Bucket = home
        .get_record(BUCKETS, name)?
        .ok_or_else(|| unmapped(Error::validation, name))?;
    let is_inside = Path::new(key)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    match is_inside {
        true => Ok(bucket.folder.join(key)),
        false => Err(Error::validation(format!(
            "Invalid S3 URI s3://{name}/{key}: its key leaves the bucket's folder"
        ))),
    }
}

fn unmapped(error: impl FnOnce(String) -> Error, name: &str) -> Error {
    error(format!(
        "The bucket {name} is mapped to no folder: map it with map_bucket({name:?}, folder)"
    ))
    .with_resource(name)
}

fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_name = (3..=63).contains(&name.len())
        && name.chars().all(plain)
        && name.starts_with(ends)
        && name.ends_with(ends);
    match is_name {
        true => Ok(()),
        false => Err(Error::validation(format!(
            "bucket: expected 3 to 63 small letters, digits, '.' and '-', got {name:?}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::SessionOptions;

    #[test]
    fn a_uri_of_a_mapped_bucket_is_a_path_in_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let session = Session::open(SessionOptions {
            home: Some(folder.path().join("home")),
            ..SessionOptions::default()
        })
        .unwrap();
        let data = folder.path().join("data");
        session.map_bucket("acme-data", Some(&data)).unwrap();
        let data = data.canonicalize().unwrap();
        let owner = Principal::owner();
        let at = |uri: &str| session.resolve_s3_uri(uri, &owner);
        assert_eq!(at("s3://acme-data").unwrap(), data);
        assert_eq!(
            at("s3://acme-data/a/b.jsonl").unwrap(),
            data.join("a/b.jsonl")
        );
        assert_eq!(at("file:///etc/x").unwrap(), Path::new("/etc/x"));
        for wrong in [
            "s3://other-data/a",
            "s3://acme-data/../x",
            "s3://acme-data//etc/x",
            "s3://A",
            "x",
            "file://x",
        ] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
        let key = Principal::key("ci", "AKIA1");
        assert!(session.resolve_s3_uri("file:///etc/x", &key).is_err());
        assert_eq!(session.buckets().unwrap().len(), 1);
        session.map_bucket("acme-data", None).unwrap();
        assert!(session.map_bucket("acme-data", None).is_err());
        assert!(at("s3://acme-data").is_err());
    }
}
