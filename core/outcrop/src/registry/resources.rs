//! Making, finding, changing and deleting the resources of one kind.

use outcrop_api::{Error, Result};
use outcrop_store::{Hold, Home};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::page::{Listed, Page};
use super::{Draft, Kind, Resource, Tags, digest, now, tags};

/// The store's kind of the records that say which resource has a name.
const NAMES: &str = "resource-names";
/// The store's kind of the records that say what was made for a client token.
const TOKENS: &str = "client-tokens";
/// Members that do not count when two requests with one token are compared.
const TOKEN_MEMBERS: &[&str] = &["clientToken", "clientRequestToken"];

/// The resources of one kind, or those of them that belong to one parent.
#[derive(Clone, Debug)]
pub(crate) struct Resources {
    home: Home,
    kind: &'static Kind,
    parent: Option<String>,
}

/// What was made for a client token.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Made {
    id: String,
    request: String,
}

impl Resources {
    pub(super) fn new(home: Home, kind: &'static Kind) -> Self {
        Self {
            home,
            kind,
            parent: None,
        }
    }

    /// Those that belong to `parent`.
    #[must_use]
    pub fn under(mut self, parent: &str) -> Self {
        self.parent = Some(parent.into());
        self
    }

    /// Makes a resource; where its token has made it before, that one, as it is now.
    ///
    /// # Errors
    /// `ConflictException` where the name or the id is taken, or the token has come with another
    /// request; `ServiceQuotaExceededException` for too many tags.
    pub fn create(&self, draft: Draft<'_>) -> Result<Resource> {
        let mut all = Tags::new();
        tags::add(&mut all, draft.tags)?;
        let _hold = self.hold()?;
        if let Some(made) = self.made(draft.token, draft.request)? {
            return Ok(made);
        }
        if let Some(name) = draft.name {
            self.check_name(name, "")?;
        }
        let id = match draft.id {
            Some(id) if self.read(id)?.is_some() => {
                return Err(self.conflict(&format!("id {id}")));
            }
            Some(id) => id.to_string(),
            None => self.kind.id.fresh(),
        };
        // What points at the resource is written before it: where the process dies in between, it
        // points at nothing, which counts as absent.
        if let Some(name) = draft.name {
            self.home.put_record(NAMES, &self.key("name", name), &id)?;
        }
        if let Some(token) = draft.token {
            let made = Made {
                id: id.clone(),
                request: draft.request.map(request_digest).unwrap_or_default(),
            };
            let token = self.key("token", token);
            self.home.put_record(TOKENS, &token, &made)?;
        }
        let time = now();
        let resource = Resource {
            arn: self.arn_of(&id),
            id,
            parent: self.parent.clone(),
            name: draft.name.map(str::to_string),
            created_at: time.clone(),
            updated_at: time,
            tags: all,
            members: draft.members,
        };
        self.write(&resource)?;
        Ok(resource)
    }

    /// The resource by its id or ARN.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where there is none.
    pub fn get(&self, identifier: &str) -> Result<Resource> {
        self.read(self.id_of(identifier))?
            .ok_or_else(|| self.not_found(identifier))
    }

    /// The resource by its id, its ARN or its name.
    ///
    /// # Errors
    /// As [`Resources::get`].
    pub fn find(&self, identifier: &str) -> Result<Resource> {
        if let Some(resource) = self.read(self.id_of(identifier))? {
            return Ok(resource);
        }
        self.named(identifier)?
            .ok_or_else(|| self.not_found(identifier))
    }

    /// Changes the resource by its id or ARN; the time of its change is set where it has changed.
    ///
    /// # Errors
    /// As [`Resources::get`]; `ConflictException` where its new name is taken; those of `change`,
    /// after which it is as it was.
    pub fn update(
        &self,
        identifier: &str,
        change: impl FnOnce(&mut Resource) -> Result<()>,
    ) -> Result<Resource> {
        let _hold = self.hold()?;
        let before = self.get(identifier)?;
        let mut resource = before.clone();
        change(&mut resource)?;
        if resource == before {
            return Ok(resource);
        }
        resource.updated_at = now();
        let renamed = resource.name != before.name;
        if let Some(name) = resource.name.as_deref().filter(|_| renamed) {
            self.check_name(name, &resource.id)?;
            self.home
                .put_record(NAMES, &self.key("name", name), &resource.id)?;
        }
        self.write(&resource)?;
        if let Some(name) = before.name.as_deref().filter(|_| renamed) {
            self.home.delete_record(NAMES, &self.key("name", name))?;
        }
        Ok(resource)
    }

    /// Adds tags to the resource by its id or ARN.
    ///
    /// # Errors
    /// As [`Resources::get`]; `ServiceQuotaExceededException` for too many tags.
    pub fn tag(&self, identifier: &str, more: Tags) -> Result<()> {
        let change = |resource: &mut Resource| tags::add(&mut resource.tags, more);
        self.update(identifier, change).map(drop)
    }

    /// Deletes the resource by its id or ARN, and gives back what it was.
    ///
    /// # Errors
    /// As [`Resources::get`].
    pub fn delete(&self, identifier: &str) -> Result<Resource> {
        let _hold = self.hold()?;
        let resource = self.get(identifier)?;
        self.home
            .delete_record(self.kind.records, &self.record(&resource.id))?;
        if let Some(name) = &resource.name {
            self.home.delete_record(NAMES, &self.key("name", name))?;
        }
        Ok(resource)
    }

    /// All of them, the oldest first.
    ///
    /// # Errors
    /// `InternalServerException` that names the file where one cannot be read.
    pub fn all(&self) -> Result<Vec<Resource>> {
        let mut found = Vec::new();
        let prefix = self.record("");
        for record in self.home.list_record_ids(self.kind.records)? {
            // One may be deleted between the listing and the reading.
            if record.starts_with(&prefix)
                && let Some(resource) = self.home.get_record(self.kind.records, &record)?
            {
                found.push(resource);
            }
        }
        found.sort_unstable_by(|a: &Resource, b| {
            (&a.created_at, &a.id).cmp(&(&b.created_at, &b.id))
        });
        Ok(found)
    }

    /// A page of those that `page` asks for and `keep` keeps.
    ///
    /// # Errors
    /// As [`Resources::all`].
    pub fn page(&self, page: &Page, keep: impl Fn(&Resource) -> bool) -> Result<Listed> {
        Ok(page.of_all(self.all()?, keep))
    }

    /// The error of a resource that is not there.
    pub fn not_found(&self, identifier: &str) -> Error {
        Error::not_found(format!("{} {identifier} does not exist.", self.kind.noun))
            .with_resource(identifier)
    }

    /// What the client token has made before, with this request.
    ///
    /// # Errors
    /// `ConflictException` where it has come with another request.
    pub fn made(&self, token: Option<&str>, request: Option<&Value>) -> Result<Option<Resource>> {
        let Some(token) = token else {
            return Ok(None);
        };
        let token = self.key("token", token);
        let Some(made) = self.home.get_record::<Made>(TOKENS, &token)? else {
            return Ok(None);
        };
        let Some(resource) = self.read(&made.id)? else {
            return Ok(None);
        };
        if made.request != request.map(request_digest).unwrap_or_default() {
            return Err(Error::conflict(
                "The client token was used before in a request with other parameters.",
            ));
        }
        Ok(Some(resource))
    }

    /// Refuses a name that another than `id` has.
    fn check_name(&self, name: &str, id: &str) -> Result<()> {
        match self.named(name)? {
            Some(taken) if taken.id != id => Err(self.conflict(&format!("name {name}"))),
            _ => Ok(()),
        }
    }

    fn named(&self, name: &str) -> Result<Option<Resource>> {
        // An ARN is nobody's name.
        if name.starts_with("arn:") {
            return Ok(None);
        }
        let id = self
            .home
            .get_record::<String>(NAMES, &self.key("name", name))?;
        let Some(id) = id else {
            return Ok(None);
        };
        let found = self.read(&id)?;
        Ok(found.filter(|resource| resource.name.as_deref() == Some(name)))
    }

    fn conflict(&self, what: &str) -> Error {
        Error::conflict(format!("{} with {what} already exists.", self.kind.noun))
    }

    /// The id that an id or ARN tells; that of an ARN of another kind or account is of no resource.
    fn id_of<'a>(&self, identifier: &'a str) -> &'a str {
        match Kind::of_arn(identifier) {
            Some((kind, id)) if std::ptr::eq(kind, self.kind) => self.own(id).unwrap_or(identifier),
            _ => identifier,
        }
    }

    /// The id in what an ARN says behind its kind.
    fn own<'a>(&self, id: &'a str) -> Option<&'a str> {
        match &self.parent {
            Some(parent) => id.strip_prefix(parent.as_str())?.strip_prefix('/'),
            None => Some(id),
        }
    }

    fn arn_of(&self, id: &str) -> String {
        match &self.parent {
            Some(parent) => self.kind.arn_of(&format!("{parent}/{id}")),
            None => self.kind.arn_of(id),
        }
    }

    fn read(&self, id: &str) -> Result<Option<Resource>> {
        // A longer text is no id of ours, and no name of a file.
        if id.is_empty() || id.len() > 64 || id.contains(['/', '.']) {
            return Ok(None);
        }
        Ok(self.home.get_record(self.kind.records, &self.record(id))?)
    }

    fn write(&self, resource: &Resource) -> Result<()> {
        let record = self.record(&resource.id);
        Ok(self.home.put_record(self.kind.records, &record, resource)?)
    }

    /// The store's id of a resource.
    fn record(&self, id: &str) -> String {
        match &self.parent {
            Some(parent) => format!("{parent}.{id}"),
            None => id.to_string(),
        }
    }

    /// The store's id of a record about a name or a token.
    fn key(&self, what: &str, text: &str) -> String {
        let parent = self.parent.as_deref().unwrap_or_default();
        digest::of_texts(&[self.kind.records, parent, what, text])
    }

    fn hold(&self) -> Result<Hold> {
        Ok(self.home.hold(self.kind.records)?)
    }
}

/// The digest by which two requests with one client token are compared.
pub(crate) fn request_digest(request: &Value) -> String {
    digest::of_request(request, TOKEN_MEMBERS)
}
