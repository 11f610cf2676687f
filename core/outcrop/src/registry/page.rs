//! Pages of lists: what a list asks for, and the token that goes on behind its last resource.

use outcrop_api::{Error, Result};
use serde_json::{Value, json};

use super::{Resource, digest, time};
use crate::operations::Call;

/// Resources of a page where the caller does not say how many.
const DEFAULT_PAGE: usize = 100;

/// What a list asks for.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    limit: usize,
    descending: bool,
    /// Where the page before this one ended.
    after: Option<(String, String)>,
    /// What the request asks besides its page: a token goes on with one list only.
    scope: String,
    filter: Filter,
}

/// A page of resources.
#[derive(Debug)]
pub(crate) struct Listed {
    /// The resources.
    pub resources: Vec<Resource>,
    /// What the next page is asked for with, where there is one.
    pub next_token: Option<String>,
}

/// The conditions that lists of jobs and models share.
#[derive(Clone, Debug, Default)]
struct Filter {
    after: Option<String>,
    before: Option<String>,
    status: Option<String>,
    name: Option<String>,
}

impl Page {
    /// The page that a call asks for with `maxResults`, `nextToken`, `sortOrder`, and the
    /// conditions `…After`, `…Before`, `statusEquals` and `nameContains`. The newest are
    /// first unless it says otherwise.
    ///
    /// # Errors
    /// `ValidationException` for a token that this list did not give, or a time that is none.
    pub fn of(call: &Call) -> Result<Self> {
        let scope = digest::of_request(&call.input, &["maxResults", "nextToken"]);
        let scope = digest::of_texts(&[call.operation.name, &scope]);
        let after = call.text("nextToken").map(|token| read(token, &scope));
        let limit = call.number("maxResults").map(|n| n as usize);
        Ok(Self {
            limit: limit.unwrap_or(DEFAULT_PAGE).max(1),
            descending: call.text("sortOrder") != Some("Ascending"),
            after: after.transpose()?,
            filter: Filter::of(call)?,
            scope,
        })
    }

    /// The same with the newest first, or the oldest.
    #[must_use]
    pub fn in_order(mut self, descending: bool) -> Self {
        self.descending = descending;
        self
    }

    /// The same with at most `limit` resources: more than that the shape of the answer cannot hold.
    #[must_use]
    pub fn at_most(mut self, limit: usize) -> Self {
        self.limit = self.limit.min(limit);
        self
    }

    /// The page of `all`, which are the oldest first.
    pub fn of_all(&self, all: Vec<Resource>, keep: impl Fn(&Resource) -> bool) -> Listed {
        let mut all: Vec<_> = all
            .into_iter()
            .filter(|resource| self.filter.keeps(resource) && keep(resource))
            .collect();
        if self.descending {
            all.reverse();
        }
        let is_behind = |resource: &Resource| {
            let after = self.after.as_ref();
            after.is_none_or(|(time, id)| {
                let place = (&resource.created_at, &resource.id);
                match self.descending {
                    true => place < (time, id),
                    false => place > (time, id),
                }
            })
        };
        let start = all.partition_point(|resource| !is_behind(resource));
        let mut resources = all.split_off(start);
        let more = resources.len() > self.limit;
        resources.truncate(self.limit);
        let last = resources.last().filter(|_| more);
        Listed {
            next_token: last.map(|last| write(&last.created_at, &last.id, &self.scope)),
            resources,
        }
    }
}

impl Listed {
    /// The answer of a list: the member `name` with what `summary` says of each, and `nextToken`.
    pub fn answer(&self, name: &str, summary: impl Fn(&Resource) -> Value) -> Value {
        let items: Vec<Value> = self.resources.iter().map(summary).collect();
        let mut answer = json!({});
        answer[name] = Value::Array(items);
        if let Some(token) = &self.next_token {
            answer["nextToken"] = json!(token);
        }
        answer
    }
}

impl Filter {
    fn of(call: &Call) -> Result<Self> {
        let time = |end: &str| -> Result<Option<String>> {
            let members = call.input.as_object().into_iter().flatten();
            let mut named = members.filter(|(name, _)| name.ends_with(end));
            let Some((name, value)) = named.next() else {
                return Ok(None);
            };
            let time = value.as_str().and_then(time::in_order);
            let wrong = || Error::validation(format!("{name}: expected a time, got {value}"));
            time.map(Some).ok_or_else(wrong)
        };
        Ok(Self {
            after: time("After")?,
            before: time("Before")?,
            status: call.text("statusEquals").map(str::to_string),
            name: call.text("nameContains").map(str::to_lowercase),
        })
    }

    fn keeps(&self, resource: &Resource) -> bool {
        let time = &resource.created_at;
        let name = || resource.name.as_deref().unwrap_or_default().to_lowercase();
        self.after.as_ref().is_none_or(|after| time > after)
            && self.before.as_ref().is_none_or(|before| time < before)
            && self
                .status
                .as_ref()
                .is_none_or(|s| s == resource.text("status"))
            && self.name.as_ref().is_none_or(|part| name().contains(part))
    }
}

fn write(time: &str, id: &str, scope: &str) -> String {
    let place = format!("{time} {id}");
    let seal = digest::of_texts(&[&place, scope]);
    let text = place.bytes().map(|byte| format!("{byte:02x}"));
    text.chain([seal[..SEAL].to_string()]).collect()
}

/// Digits of a token's seal.
const SEAL: usize = 32;

fn read(token: &str, scope: &str) -> Result<(String, String)> {
    let place = || {
        let end = token.len().checked_sub(SEAL)?;
        let (text, seal) = token.split_at_checked(end)?;
        let digit = |at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(digit).collect();
        let place = String::from_utf8(bytes?).ok()?;
        let (time, id) = place.split_once(' ')?;
        let is_ours = seal == &digest::of_texts(&[&place, scope])[..SEAL];
        is_ours.then(|| (time.to_string(), id.to_string()))
    };
    place().ok_or_else(|| Error::validation("The provided nextToken is not valid for this list."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn resource(n: usize) -> Resource {
        Resource {
            id: format!("id{n}"),
            arn: String::new(),
            parent: None,
            name: None,
            created_at: format!("2026-11-23T10:00:0{n}.000000Z"),
            updated_at: String::new(),
            tags: Default::default(),
            members: Default::default(),
        }
    }

    fn page(descending: bool, token: Option<&str>) -> Page {
        Page {
            limit: 2,
            descending,
            after: token.map(|token| read(token, "list").unwrap()),
            scope: "list".into(),
            filter: Filter::default(),
        }
    }

    fn walk(descending: bool) -> Vec<String> {
        let mut ids = Vec::new();
        let mut token: Option<String> = None;
        // One more is made while the pages are read.
        for made in 5..10 {
            let all = (0..made).map(resource).collect();
            let listed = page(descending, token.as_deref()).of_all(all, |_| true);
            ids.extend(listed.resources.iter().map(|resource| resource.id.clone()));
            token = listed.next_token;
            if token.is_none() {
                break;
            }
        }
        ids
    }

    #[test]
    fn pages_are_stable_while_others_are_made() {
        assert_eq!(walk(true), ["id4", "id3", "id2", "id1", "id0"]);
        assert_eq!(walk(false)[..5], ["id0", "id1", "id2", "id3", "id4"]);
    }

    #[test]
    fn a_token_of_another_list_or_a_forged_one_is_refused() {
        let token = write("2026-11-23T10:00:00.000000Z", "id0", "list");
        assert!(read(&token, "list").is_ok());
        assert!(read(&token, "other").is_err());
        for forged in [
            "",
            "x",
            "zz",
            &token[1..],
            &format!("00{token}"),
            "é".repeat(20).as_str(),
        ] {
            assert!(read(forged, "list").is_err(), "{forged}");
        }
    }
}
