//! The kinds of resources, with the form of each one's id and ARN.

/// A kind of resources.
#[derive(Debug)]
pub(crate) struct Kind {
    /// The store's kind of the records.
    pub records: &'static str,
    /// What it is called in an error.
    pub noun: &'static str,
    /// What stands before the id in its ARN; empty where it has no ARN of its own.
    pub arn: &'static str,
    /// The form of its ids.
    pub id: IdForm,
}

/// The form of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdForm {
    /// Ten capital letters and digits, as `bedrock-agent` gives them.
    Ten,
    /// Twelve small letters and digits, as `bedrock` gives them.
    Twelve,
    /// A version 4 UUID, as sessions have.
    Uuid,
}

impl IdForm {
    /// A fresh id of this form.
    pub fn fresh(self) -> String {
        let text = |signs: &[u8], count| -> String {
            let sign = |_| signs[fastrand::usize(..signs.len())] as char;
            (0..count).map(sign).collect()
        };
        match self {
            Self::Ten => text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", 10),
            Self::Twelve => text(b"abcdefghijklmnopqrstuvwxyz0123456789", 12),
            Self::Uuid => crate::desk::request_id(),
        }
    }
}

/// What stands before every resource in an ARN of the account that a session stands for.
pub(crate) const ARN_PREFIX: &str = "arn:aws:bedrock:local:000000000000:";

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $records:literal, $noun:literal, $arn:literal, $id:ident;)*) => {
        $($(#[$doc])* pub(crate) static $name: Kind = Kind {
            records: $records,
            noun: $noun,
            arn: $arn,
            id: IdForm::$id,
        };)*

        impl Kind {
            /// Every kind.
            pub(crate) const ALL: &[&'static Kind] = &[$(&$name,)*];
        }
    };
}

kinds! {
    /// Inference profiles that a caller made.
    INFERENCE_PROFILES = "inference-profiles", "Inference profile", "application-inference-profile", Twelve;
    /// Prompt routers. Their ARN is of the one form that the shape of `GetPromptRouter` takes.
    PROMPT_ROUTERS = "prompt-routers", "Prompt router", "default-prompt-router", Twelve;
    /// Jobs that bring a model's files in.
    MODEL_IMPORT_JOBS = "model-import-jobs", "Model import job", "model-import-job", Twelve;
    /// Models that a job brought in.
    IMPORTED_MODELS = "imported-models", "Imported model", "imported-model", Twelve;
    /// Jobs that train a model on data of its caller's. Their ARN names the base as AWS's does.
    MODEL_CUSTOMIZATION_JOBS = "model-customization-jobs", "Model customization job", "model-customization-job/outcrop.custom", Twelve;
    /// Models that such a job made.
    CUSTOM_MODELS = "custom-models", "Custom model", "custom-model/outcrop.custom", Twelve;
    /// Names by which custom models are run.
    CUSTOM_MODEL_DEPLOYMENTS = "custom-model-deployments", "Custom model deployment", "custom-model-deployment", Twelve;
    /// Batch inference.
    MODEL_INVOCATION_JOBS = "model-invocation-jobs", "Model invocation job", "model-invocation-job", Twelve;
    /// Invocations whose answer goes to a bucket.
    ASYNC_INVOKES = "async-invokes", "Async invocation", "async-invoke", Twelve;
    /// Prompts.
    PROMPTS = "prompts", "Prompt", "prompt", Ten;
    /// The numbered versions of a prompt, by number.
    PROMPT_VERSIONS = "prompt-versions", "Prompt version", "", Ten;
    /// Sessions of a conversation.
    SESSIONS = "sessions", "Session", "session", Uuid;
    /// The invocations of a session.
    INVOCATIONS = "session-invocations", "Invocation", "", Uuid;
    /// The steps of a session's invocations.
    INVOCATION_STEPS = "session-invocation-steps", "Invocation step", "", Uuid;
    /// Agents.
    AGENTS = "agents", "Agent", "agent", Ten;
    /// The numbered versions of an agent, by number.
    AGENT_VERSIONS = "agent-versions", "Agent version", "", Ten;
    /// The aliases of an agent. Their ARN names the agent too.
    AGENT_ALIASES = "agent-aliases", "Agent alias", "agent-alias", Ten;
    /// Knowledge bases.
    KNOWLEDGE_BASES = "bedrock-knowledge-bases", "Knowledge Base", "knowledge-base", Ten;
    /// The data sources of a knowledge base.
    DATA_SOURCES = "data-sources", "Data source", "", Ten;
    /// The ingestion jobs of a data source.
    INGESTION_JOBS = "ingestion-jobs", "Ingestion job", "", Ten;
}

impl Kind {
    /// The kind of the resource by that ARN, and its id, behind `parent/` where it belongs to
    /// another; none where it is of another account, or of no kind that has ARNs.
    pub(crate) fn of_arn(arn: &str) -> Option<(&'static Kind, &str)> {
        let resource = arn.strip_prefix(ARN_PREFIX)?;
        let kinds = Self::ALL.iter().filter(|kind| !kind.arn.is_empty());
        kinds.copied().find_map(|kind| {
            let id = resource.strip_prefix(kind.arn)?.strip_prefix('/')?;
            Some((kind, id))
        })
    }

    /// The ARN of the resource `id`; empty where the kind has none.
    pub(crate) fn arn_of(&self, id: &str) -> String {
        match self.arn {
            "" => String::new(),
            resource => format!("{ARN_PREFIX}{resource}/{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn arns_are_read_as_they_are_made() {
        for kind in Kind::ALL.iter().filter(|kind| !kind.arn.is_empty()) {
            let id = kind.id.fresh();
            let arn = kind.arn_of(&id);
            let (found, read) = Kind::of_arn(&arn).unwrap();
            assert!(std::ptr::eq(found, *kind), "{arn}");
            assert_eq!(read, id);
        }
        assert!(Kind::of_arn("arn:aws:bedrock:us-east-1:000000000000:prompt/AAAAAAAAAA").is_none());
        assert!(Kind::of_arn("prompt/AAAAAAAAAA").is_none());
    }

    #[test]
    fn kinds_share_no_records_and_no_arn() {
        for (at, a) in Kind::ALL.iter().enumerate() {
            for b in &Kind::ALL[..at] {
                assert_ne!(a.records, b.records);
                assert!(a.arn.is_empty() || a.arn != b.arn);
            }
        }
    }
}
