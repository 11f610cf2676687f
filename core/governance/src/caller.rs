//! Who asks, and from where.

use serde::{Deserialize, Serialize};

/// The account that a session stands for.
pub const ACCOUNT: &str = "000000000000";

/// The region that a session stands for.
pub const REGION: &str = "local";

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Principal {
    /// The principal's ARN.
    pub arn: String,
    /// The access key that the call was signed with, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
}

impl Principal {
    /// The owner of the home: whoever has opened it in this process.
    pub fn owner() -> Self {
        Self {
            arn: format!("arn:aws:iam::{ACCOUNT}:root"),
            access_key_id: None,
        }
    }

    /// The holder of the key `name`, acting by its access key.
    pub fn key(name: &str, access_key_id: &str) -> Self {
        Self {
            arn: format!("arn:aws:iam::{ACCOUNT}:user/{name}"),
            access_key_id: Some(access_key_id.to_string()),
        }
    }

    /// Whether this is the owner of the home.
    pub fn is_owner(&self) -> bool {
        self.arn.ends_with(":root")
    }
}

/// Who asks, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who asks.
    pub principal: Principal,
    /// The address of the peer; `in-process` where there is none.
    pub source: String,
    /// What the caller's program calls itself.
    pub user_agent: String,
}

impl Caller {
    /// The owner of the home, in this process.
    pub fn in_process() -> Self {
        Self {
            principal: Principal::owner(),
            source: "in-process".into(),
            user_agent: concat!("outcrop/", env!("CARGO_PKG_VERSION")).into(),
        }
    }
}
