//! A prefix whose keys and values stay in the cache while it is held: it forks, and goes to bytes and back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use outcrop_api::{Error, ErrorKind, Result};
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::oneshot;

use crate::engine::Engine;
use crate::inbox::{Command, Inbox, stopped};
use crate::prefix_index::Scope;
use crate::sequence::{Sequence, SequenceEvent};

/// What a saved prefix begins with: a name and the version of its form.
const MAGIC: &[u8; 16] = b"outcrop-prefix-1";

static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// A held prefix. Requests whose prompt begins with its tokens start behind them; dropping it lets
/// its pages go the way of others. The held prefixes are part of the KV budget.
pub struct Prefix {
    engine: Engine,
    inbox: Arc<Inbox>,
    number: u64,
    ids: Vec<u32>,
}

/// A saved prefix on its way back to the cache.
pub(crate) struct Saved {
    /// The number to hold it by.
    pub number: u64,
    /// Its tokens.
    pub ids: Vec<u32>,
    /// Its pages' bytes.
    pub pages: Vec<u8>,
    /// What it depends on.
    pub scope: Scope,
}

impl Engine {
    /// Computes the keys and values of `ids` and holds them.
    ///
    /// # Errors
    /// As [`Engine::generate`] for the prompt; `ServiceQuotaExceededException` where the KV budget has
    /// no room for it beside what else is held and running.
    pub async fn prefix(&self, ids: &[u32]) -> Result<Prefix> {
        self.check_prompt("ids", ids)?;
        let context = self.info().context_length;
        if ids.len() >= context {
            return Err(Error::validation(format!(
                "ids: expected fewer tokens than the context of {context}, got {}",
                ids.len()
            )));
        }
        let held = self.hold(ids)?;
        let (sender, receiver) = unbounded_channel();
        let sequence = Sequence::prefix(ids.to_vec(), held.number, sender);
        let mut events = self.submit(sequence, receiver)?;
        loop {
            if let SequenceEvent::Done { .. } = events.next().await? {
                return Ok(held);
            }
        }
    }

    /// Brings a saved prefix back, without computing it, and holds it.
    ///
    /// # Errors
    /// `ValidationException` for bytes that are no saved prefix; `ConflictException` where they are
    /// of another model or KV dtype, naming both; `ServiceQuotaExceededException` as
    /// [`Engine::prefix`].
    pub async fn restore(&self, bytes: &[u8]) -> Result<Prefix> {
        let (identity, ids, pages) = read(bytes)?;
        let own = self.identity();
        if identity != own {
            return Err(Error::new(
                ErrorKind::ConflictException,
                format!("prefix: expected one of model and KV dtype {own}, got {identity}"),
            ));
        }
        self.check_prompt("prefix", &ids)?;
        let held = self.hold(&ids)?;
        let (sender, answer) = oneshot::channel();
        let saved = Saved {
            number: held.number,
            ids,
            pages: pages.to_vec(),
            scope: Scope {
                rope: self.rope_class(held.ids.len()),
                ..Scope::default()
            },
        };
        held.inbox
            .command(Command::Restore(Box::new(saved), sender));
        answer.await.unwrap_or_else(|_| Err(stopped()))?;
        Ok(held)
    }

    fn hold(&self, ids: &[u32]) -> Result<Prefix> {
        Ok(Prefix {
            engine: self.clone(),
            inbox: self.inbox()?,
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            ids: ids.to_vec(),
        })
    }
}

impl Prefix {
    /// Its tokens.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// A prefix that goes on from this one by `more` tokens (none: the same again). What both have is
    /// shared; a page in which they part is copied.
    ///
    /// # Errors
    /// As [`Engine::prefix`].
    pub async fn fork(&self, more: &[u32]) -> Result<Prefix> {
        self.engine.prefix(&[&self.ids, more].concat()).await
    }

    /// Its tokens, keys and values as bytes for [`Engine::restore`], bound to the model's weights and
    /// the KV dtype.
    ///
    /// # Errors
    /// `InternalServerException` where the engine has ended.
    pub async fn save(&self) -> Result<Vec<u8>> {
        let (sender, answer) = oneshot::channel();
        self.inbox.command(Command::Save(self.number, sender));
        let pages = answer.await.unwrap_or_else(|_| Err(stopped()))?;
        let identity = self.engine.identity();
        let mut bytes = MAGIC.to_vec();
        bytes.extend((identity.len() as u64).to_le_bytes());
        bytes.extend(identity.as_bytes());
        bytes.extend((self.ids.len() as u64).to_le_bytes());
        bytes.extend(self.ids.iter().flat_map(|id| id.to_le_bytes()));
        bytes.extend(pages);
        Ok(bytes)
    }
}

impl Drop for Prefix {
    fn drop(&mut self) {
        self.inbox.command(Command::Unpin(self.number));
    }
}

/// The identity, the tokens and the pages of a saved prefix.
fn read(bytes: &[u8]) -> Result<(&str, Vec<u32>, &[u8])> {
    let damaged =
        |what: &str| Error::validation(format!("prefix: expected a saved prefix, got {what}"));
    let rest = bytes
        .strip_prefix(MAGIC)
        .ok_or_else(|| damaged("other bytes or another version"))?;
    let short = || damaged("fewer bytes than it says");
    let (identity, rest) = part(rest, 1).ok_or_else(short)?;
    let (ids, pages) = part(rest, 4).ok_or_else(short)?;
    let identity = std::str::from_utf8(identity).map_err(|_| damaged("a name that is no text"))?;
    let ids = ids
        .as_chunks::<4>()
        .0
        .iter()
        .map(|id| u32::from_le_bytes(*id));
    Ok((identity, ids.collect(), pages))
}

/// The items of `size` bytes whose number `bytes` begin with, and what follows them.
fn part(bytes: &[u8], size: usize) -> Option<(&[u8], &[u8])> {
    let (count, rest) = bytes.split_first_chunk::<8>()?;
    let count = usize::try_from(u64::from_le_bytes(*count)).ok()?;
    rest.split_at_checked(count.checked_mul(size)?)
}
