//! The registry: the named resources of a home, with their ids, ARNs, times and tags.
//!
//! ```text
//! session.resources(&PROMPTS).create(Draft)   a new one, once for each client token
//!                            .get / .find     by id or ARN; find also by name
//!                            .update .delete
//!                            .page(Page)      a page of a list, stable while others are created
//! session.resources(&DATA_SOURCES).under(knowledge_base_id)     those that belong to another
//! ```
//!
//! One resource is one record of the store, which is written whole or not at all. Several
//! processes may work on one registry: a writer holds it for the time of one change.

mod digest;
mod directory;
mod kind;
mod page;
mod resources;
mod tags;
mod time;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(crate) use directory::{Directory, STANDS_FOR};
pub(crate) use kind::*;
pub(crate) use page::Page;
pub(crate) use resources::{Resources, request_digest};
pub(crate) use tags::{Tags, read_tags, tag_list};
pub(crate) use time::{hours_after, is_older_than, now};

use crate::session::Session;

/// A resource of the home.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Resource {
    /// Its id, in the form that its service gives ids.
    pub id: String,
    /// Its ARN.
    pub arn: String,
    /// The id of what it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Its name, which no other of its kind and parent has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it was made, RFC 3339 with microseconds and `Z`.
    pub created_at: String,
    /// When it was last changed.
    pub updated_at: String,
    /// Its tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: Tags,
    /// What else it is, by the names that its operations give the members.
    pub members: Map<String, Value>,
}

/// A resource that is to be made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft<'a> {
    /// Its id, where the caller chooses it; otherwise one is made.
    pub id: Option<&'a str>,
    /// Its name, where it is to be the only one of that name.
    pub name: Option<&'a str>,
    /// The caller's `clientToken` or `clientRequestToken`: the same token and request make one
    /// resource, however often they come.
    pub token: Option<&'a str>,
    /// The members of the request that the token stands for.
    pub request: Option<&'a Value>,
    /// Its tags.
    pub tags: Tags,
    /// What else it is.
    pub members: Map<String, Value>,
}

impl Resource {
    /// The text of a member, empty where it is not there.
    pub fn text(&self, member: &str) -> &str {
        self.members
            .get(member)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

impl Session {
    /// The resources of `kind` in this home.
    pub(crate) fn resources(&self, kind: &'static Kind) -> Resources {
        Resources::new(self.store().clone(), kind)
    }
}
