//! The names that a model is asked for by: an id, an ARN, a path, or a place on the hub.

use std::path::PathBuf;

use outcrop_api::{Error, Result};

/// Foundation models of the account that a session stands for.
const ARN_PREFIX: &str = "arn:aws:bedrock:local:000000000000:";

/// What a caller asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// An id of the catalogue or of an imported model.
    Id(String),
    /// A Hugging Face folder or a `.gguf` file.
    Path(PathBuf),
    /// A model on the hub.
    Hub(HubReference),
}

/// A model on the hub: `hf:org/name[@revision]`, or one file, `hf:org/name/file.gguf[@revision]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubReference {
    /// `org/name`.
    pub repo: String,
    /// A branch, a tag or a commit. Default `main`.
    pub revision: String,
    /// A `.gguf` file of the repository; otherwise its safetensors.
    pub file: Option<String>,
}

impl Reference {
    /// Reads a name. Whether anything is there is not looked at, except that a name without a
    /// separator is an id.
    ///
    /// # Errors
    /// `ValidationException` for an empty name, or an ARN or hub name of the wrong form.
    pub fn parse(name: &str) -> Result<Self> {
        let name = name.trim();
        if name.is_empty() {
            return Err(Error::validation(
                "model: expected an id, an ARN, a path or hf:org/name, got an empty text",
            ));
        }
        if name.starts_with("arn:") {
            return Arn::parse(name).map(|arn| Reference::Id(arn.id().unwrap_or(name).into()));
        }
        if let Some(place) = name.strip_prefix("hf:") {
            return HubReference::parse(place).map(Reference::Hub);
        }
        let is_path = name.contains(['/', '\\'])
            || name == "."
            || name == ".."
            || std::path::Path::new(name)
                .extension()
                .is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
        Ok(match is_path {
            true => Reference::Path(name.into()),
            false => Reference::Id(name.into()),
        })
    }
}

/// The ARN of the foundation model `id`.
pub fn arn(id: &str) -> String {
    format!("{ARN_PREFIX}foundation-model/{id}")
}

/// The ARN of something in Bedrock that runs as a model.
pub(crate) struct Arn<'a> {
    is_local: bool,
    resource: &'a str,
    name: &'a str,
}

/// The resources of Bedrock that a model may be asked for by.
const RESOURCES: [&str; 9] = [
    "foundation-model",
    "inference-profile",
    "application-inference-profile",
    "imported-model",
    "custom-model",
    "custom-model-deployment",
    "provisioned-model",
    "prompt-router",
    "default-prompt-router",
];

impl<'a> Arn<'a> {
    /// Reads an ARN of any partition, region and account.
    ///
    /// # Errors
    /// `ValidationException` where it is none of Bedrock's, or of nothing that runs.
    pub fn parse(arn: &'a str) -> Result<Self> {
        let mut parts = arn.splitn(6, ':');
        let mut part = || parts.next().unwrap_or_default();
        let (is_arn, partition, service) = (part() == "arn", part(), part());
        let (region, account, resource) = (part(), part(), part());
        let plain = |text: &str, extra: &str| {
            text.chars()
                .all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
        };
        let (resource, name) = resource.split_once('/').unwrap_or_default();
        let is_sound = is_arn
            && partition.starts_with("aws")
            && service == "bedrock"
            && plain(partition, "-")
            && plain(region, "-")
            && plain(account, "")
            && RESOURCES.contains(&resource)
            && !name.is_empty()
            && plain(name, "-_.:/");
        match is_sound {
            true => Ok(Self {
                is_local: arn.starts_with(ARN_PREFIX),
                resource,
                name,
            }),
            false => Err(Error::validation(format!(
                "model: expected {ARN_PREFIX}foundation-model/<id>, or another ARN of Bedrock with \
                 {}, got {arn:?}",
                RESOURCES.join(", ")
            ))),
        }
    }

    /// The id that it says as well as its ARN does: a foundation model or an inference profile of
    /// AWS in whatever region, and what is imported into the account that a session stands for.
    pub fn id(&self) -> Option<&'a str> {
        match self.resource {
            "foundation-model" | "inference-profile" => Some(self.name),
            "imported-model" if self.is_local && !self.name.contains('/') => Some(self.name),
            _ => None,
        }
    }
}

impl HubReference {
    /// Reads what stands after `hf:`.
    ///
    /// # Errors
    /// `ValidationException` for another form, or a name that could leave its folder.
    pub fn parse(place: &str) -> Result<Self> {
        let wrong = || {
            Error::validation(format!(
                "model: expected hf:org/name, hf:org/name@revision or hf:org/name/file.gguf, got \
                 {:?}",
                format!("hf:{place}")
            ))
        };
        let (path, revision) = match place.split_once('@') {
            Some((path, revision)) => (path, revision),
            None => (place, "main"),
        };
        let mut parts = path.splitn(3, '/');
        let (Some(org), Some(name), file) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong());
        };
        let plain = |part: &str| {
            !part.is_empty()
                && part.len() <= 128
                && !part.starts_with('.')
                && !part.contains("..")
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        };
        let gguf =
            |file: &str| file.split('/').all(plain) && file.to_lowercase().ends_with(".gguf");
        if !plain(org) || !plain(name) || !revision.split('/').all(plain) || !file.is_none_or(gguf)
        {
            return Err(wrong());
        }
        Ok(Self {
            repo: format!("{org}/{name}"),
            revision: revision.into(),
            file: file.map(Into::into),
        })
    }
}

impl std::fmt::Display for HubReference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "hf:{}", self.repo)?;
        if let Some(file) = &self.file {
            write!(f, "/{file}")?;
        }
        match self.revision.as_str() {
            "main" => Ok(()),
            revision => write!(f, "@{revision}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let id = |text: &str| Reference::Id(text.into());
        assert_eq!(
            Reference::parse("outcrop.quote-v1").unwrap(),
            id("outcrop.quote-v1")
        );
        assert_eq!(
            Reference::parse(&arn("outcrop.quote-v1")).unwrap(),
            id("outcrop.quote-v1")
        );
        for path in ["./m", "a/b", "m.gguf", "/abs", "C:\\m", "M.GGUF"] {
            assert_eq!(
                Reference::parse(path).unwrap(),
                Reference::Path(path.into())
            );
        }
        for of in [
            "us-east-1::foundation-model",
            "eu-west-3:123456789012:inference-profile",
            "local:000000000000:imported-model",
        ] {
            let arn = format!("arn:aws:bedrock:{of}/x.y-v1:0");
            assert_eq!(Reference::parse(&arn).unwrap(), id("x.y-v1:0"));
        }
        let other = "arn:aws-us-gov:bedrock:us-east-1:123456789012:custom-model/x/y";
        assert_eq!(Reference::parse(other).unwrap(), id(other));
        for wrong in [
            "",
            "  ",
            "arn:aws:bedrock:us-east-1::guardrail/x",
            "arn:aws:bedrock:us-east-1::foundation-model/",
            "arn:aws:s3:::x",
            "arn:",
            "hf:name",
        ] {
            assert!(
                Reference::parse(wrong)
                    .unwrap_err()
                    .message()
                    .starts_with("model: expected")
            );
        }
    }

    #[test]
    fn hub_names_are_read_and_written() {
        for text in [
            "hf:a/b",
            "hf:a/b@v1.0",
            "hf:a/b/q4.gguf",
            "hf:a/b/x/q4.gguf@refs/pr/1",
        ] {
            let Reference::Hub(hub) = Reference::parse(text).unwrap() else {
                unreachable!("{text} is a hub name")
            };
            assert_eq!(hub.to_string(), text);
        }
        for wrong in [
            "hf:",
            "hf:a",
            "hf:a/",
            "hf:../b",
            "hf:a/..",
            "hf:a/b@",
            "hf:a/b@../x",
            "hf:a/b/c.txt",
            "hf:a/b/../c.gguf",
            "hf:a/b/.x.gguf",
            "hf:a b/c",
            "hf:a/b?x=1",
        ] {
            assert!(Reference::parse(wrong).is_err(), "{wrong}");
        }
    }
}
