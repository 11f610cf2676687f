//! The knowledge bases that somebody has open, so that their files are checked and mapped once.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use outcrop_api as api;
use outcrop_store::Home;

use crate::knowledge_base::KnowledgeBase;
use crate::record::find;

/// The knowledge bases of one home that were asked for, by id.
#[derive(Default)]
pub struct OpenKnowledgeBases(Mutex<BTreeMap<String, KnowledgeBase>>);

impl OpenKnowledgeBases {
    /// The knowledge base of `home` by its name or id: the open one where its record is still what it
    /// was opened with.
    ///
    /// # Errors
    /// As [`KnowledgeBase::open`].
    pub fn get(&self, home: &Home, name_or_id: &str) -> api::Result<KnowledgeBase> {
        let found = find(home, name_or_id);
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(record) = found else {
            open.retain(|id, base| id != name_or_id && base.name() != name_or_id);
            return KnowledgeBase::open(home, name_or_id);
        };
        match open.get(&record.id) {
            Some(base) if base.is_of(&record) => Ok(base.clone()),
            _ => {
                let base = KnowledgeBase::of(home, &record);
                open.insert(record.id, base.clone());
                Ok(base)
            }
        }
    }
}
