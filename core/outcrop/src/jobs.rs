//! Jobs: work that goes on behind the call that started it, and after a kill.
//!
//! A job is a resource whose member `status` tells how far it is. While it runs, a record of the
//! store names it and its process holds it: when the process dies, the next session that has the
//! home open takes the job over. What it does is done as the principal who started it; every model
//! that it runs is a call of its own, decided, recorded and metered at the desk.

use std::time::Duration;

use outcrop_api::{BoxFuture, Error, Result};
use outcrop_store::Hold;
use serde_json::{Map, Value, json};

use crate::desk::Record;
use crate::governance::{Caller, Principal};
use crate::operations::{Call, JOBS};
use crate::registry::{Draft, Kind, Resource, now};
use crate::runtime::runtime;
use crate::session::{Session, WeakSession, blocking};

/// The store's kind of the records that name the jobs that have not ended.
const RUNNING: &str = "running-jobs";
/// How often a session looks whether the process that runs a job is gone.
const WATCH: Duration = Duration::from_millis(500);

/// The members that a job ends with, or why it has failed.
type Ended = Result<Map<String, Value>>;

/// A kind of jobs.
pub(crate) struct JobKind {
    /// The resources that are these jobs.
    pub kind: &'static Kind,
    /// The member that says why a job has failed.
    pub failure: &'static str,
    /// The work, from its beginning or from where it broke off; the members that it ends with.
    pub run: fn(Job) -> BoxFuture<'static, Ended>,
}

/// A job that runs.
#[derive(Clone)]
pub(crate) struct Job {
    /// The session that runs it.
    pub session: Session,
    /// Its id.
    pub id: String,
    /// As whom it makes its calls.
    pub caller: Caller,
    kind: &'static JobKind,
}

impl Job {
    /// The job as it is now.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where it was deleted.
    pub fn resource(&self) -> Result<Resource> {
        self.session.resources(self.kind.kind).get(&self.id)
    }

    /// Changes members of the job, unless `unless` is its status.
    ///
    /// # Errors
    /// As [`Job::resource`].
    pub fn note(&self, members: Map<String, Value>, unless: &str) -> Result<Resource> {
        let jobs = self.session.resources(self.kind.kind);
        jobs.update(&self.id, |job| {
            let kept = (job.text("status") == unless).then(|| job.members.get("status").cloned());
            job.members.extend(members);
            if let Some(Some(status)) = kept {
                job.members.insert("status".into(), status);
            }
            Ok(())
        })
    }

    async fn run(self, hold: Hold) {
        let ended = (self.kind.run)(self.clone()).await;
        // A job of a session that was closed goes on when the home is opened again.
        if self.session.check().is_err() {
            return;
        }
        let mut members = ended.unwrap_or_else(|error| {
            Map::from_iter([
                ("status".to_string(), json!("Failed")),
                (self.kind.failure.to_string(), json!(shortened(&error))),
            ])
        });
        members.insert("endTime".into(), json!(now()));
        // Where even that cannot be written, the record of the running job stays, and the job is
        // taken over.
        let _ = blocking(move || {
            self.note(members, "")?;
            self.session
                .store()
                .delete_record(RUNNING, &key(self.kind, &self.id))?;
            drop(hold);
            Ok(())
        })
        .await;
    }
}

/// The message of an error, of the 2,048 characters that a job's member holds.
fn shortened(error: &Error) -> String {
    error.message().chars().take(2048).collect()
}

/// Makes a job of `kind` as `draft` says, and sets it to work; where its client token has made it
/// before, that one.
///
/// # Errors
/// Those of the registry.
pub(crate) fn start(call: &Call, kind: &'static JobKind, draft: Draft<'_>) -> Result<Resource> {
    start_for(&call.session, (&call.principal, &call.record), kind, draft)
}

/// The same for a call that is none of an operation's.
///
/// # Errors
/// As [`start`].
pub(crate) fn start_for(
    session: &Session,
    (principal, record): (&Principal, &Record),
    kind: &'static JobKind,
    draft: Draft<'_>,
) -> Result<Resource> {
    let id = kind.kind.id.fresh();
    let key = key(kind, &id);
    let home = session.store();
    let hold = home.hold(&key)?;
    home.put_record(RUNNING, &key, principal)?;
    let draft = Draft {
        id: Some(&id),
        ..draft
    };
    let made = session.resources(kind.kind).create(draft);
    match made {
        Ok(resource) if resource.id == id => {
            record.resource(&resource.arn);
            let job = job(session.clone(), kind, id, principal.clone());
            runtime()?.spawn(job.run(hold));
            Ok(resource)
        }
        before_or_error => {
            home.delete_record(RUNNING, &key)?;
            before_or_error
        }
    }
}

/// Takes over the jobs of the home whose process is gone, now or while this session is open.
///
/// # Errors
/// Where the home cannot be read.
pub(crate) fn take_over(session: &Session) -> Result<()> {
    for key in session.store().list_record_ids(RUNNING)? {
        let Some((records, id)) = key.split_once('.') else {
            continue;
        };
        if let Some(kind) = JOBS.iter().find(|job| job.kind.records == records) {
            runtime()?.spawn(watch(session.downgrade(), kind, id.to_string()));
        }
    }
    Ok(())
}

/// Waits until nobody holds the job, and runs it, unless it has ended.
async fn watch(session: WeakSession, kind: &'static JobKind, id: String) {
    let key = key(kind, &id);
    loop {
        let Some(session) = session.upgrade().filter(|session| session.check().is_ok()) else {
            return;
        };
        let (home, name) = (session.store().clone(), key.clone());
        let held = blocking(move || {
            let hold = home.try_hold(&name)?;
            Ok((hold, home.get_record::<Principal>(RUNNING, &name)?))
        });
        match held.await {
            Ok((Some(hold), Some(principal))) => {
                // Killed before the resource was made: there is no job.
                if session.resources(kind.kind).get(&id).is_ok() {
                    job(session, kind, id, principal).run(hold).await;
                } else {
                    let _ = session.store().delete_record(RUNNING, &key);
                }
                return;
            }
            Ok((None, Some(_))) => {}
            Ok((_, None)) | Err(_) => return,
        }
        drop(session);
        tokio::time::sleep(WATCH).await;
    }
}

fn job(session: Session, kind: &'static JobKind, id: String, principal: Principal) -> Job {
    Job {
        caller: Caller {
            principal,
            source: kind.kind.arn_of(&id),
            user_agent: Caller::in_process().user_agent,
        },
        session,
        id,
        kind,
    }
}

fn key(kind: &JobKind, id: &str) -> String {
    format!("{}.{id}", kind.kind.records)
}
