//! Puts archived objects back: what the operator renders is the operator's, everything else comes from the archive.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::Value;
use tray_domain::{
    archived_kinds::{ARCHIVED, ObjectKind, of_object},
    archived_objects::{OfPresent, Triage, for_restore, of_present, triage},
    ids::{OrgId, RunId},
    mover_task::{FailureReason, LaterObjects, MoverOutcome, RefusedObjects},
};
use tray_ledger::PutOutcome;

use super::{
    archive::{self, Summary},
    failure::Failure,
    keys::ArchiveKey,
    progress::Phase,
    session::{Session, blocking},
};
use crate::ports::{NamespaceObjects, ObjectError, ObjectRefusal};

/// A ConfigMap that the cluster publishes into every namespace.
const ALWAYS_THERE: &str = "kube-root-ca.crt";
/// How often objects are tried again that the API server, or a webhook that it asked, failed at, or that are being deleted.
const MORE_ROUNDS: usize = 3;
/// Before each of those rounds.
const PAUSE: Duration = Duration::from_secs(2);
/// Tries of an object that somebody changes at the same time.
const TRIES: usize = 3;

/// Restores the objects of a run. Done twice it does nothing the second time, so a try that died is begun again. An object
/// that is refused is named, and stops no other.
pub(crate) async fn restore(
    session: &Session,
    run: &RunId,
    namespace: &str,
    content_digest: &str,
) -> Result<MoverOutcome, Failure> {
    let objects = session.objects()?;
    may_read(&*objects).await?;
    let archive = Archive::open(session, run).await?;
    let phase = Phase::begin("verify");
    let Contents { unknown, names } = archive.verify(content_digest).await?;
    drop(phase);

    let _phase = Phase::begin("restore");
    let mut counts = Counts::default();
    for (kind, name, api_version) in unknown {
        let said = ObjectRefusal {
            reason: "NotIncluded".to_owned(),
            message: format!("{kind}/{name}: this version does not restore {api_version}"),
        };
        counts.refused(&kind, &name, said);
    }
    let mut failed = Vec::new();
    // One pass over the archive for each kind: in the order of the table, and with one kind at a time in clear.
    for (place, kind) in ARCHIVED.iter().enumerate() {
        for object in archive.of_kind(place).await? {
            let wanted = Wanted::new(kind, for_restore(object, namespace));
            if let Some(said) = counts.count(&wanted, wanted.put_back(&*objects, namespace).await)? {
                // One object's failure: others are served. Else the server is away, and the try ends.
                may_read(&*objects).await?;
                failed.push((wanted, said));
            }
        }
    }
    try_again(&*objects, namespace, failed, &mut counts).await?;
    find_later(&*objects, &names, &mut counts).await?;
    if counts.refused > 0 {
        // Where the right to restore was taken away meanwhile, it is not the objects that were refused.
        may_read(&*objects).await?;
    }
    Ok(counts.outcome())
}

/// Names what is there, and was not when the copy was taken: it stays as it is. What the operator renders is its own.
async fn find_later(
    objects: &dyn NamespaceObjects,
    archived: &HashSet<(usize, String)>,
    counts: &mut Counts,
) -> Result<(), Failure> {
    for (place, kind) in ARCHIVED.iter().enumerate() {
        let mut after = None;
        loop {
            let page = match objects.list(kind, after.as_deref()).await {
                Ok(page) => page,
                Err(error @ ObjectError::Unavailable(_)) => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(%kind, %error, "what came after the copy is not known of this kind");
                    break;
                }
            };
            for object in &page.objects {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                let is_archived = archived.contains(&(place, name.to_owned()));
                if !is_archived && triage(object) == (Triage::Archive { rendered: false }) {
                    counts.is_later(kind, name);
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// What was failed at is tried some more times: a webhook may come back. What still fails is refused.
async fn try_again(
    objects: &dyn NamespaceObjects,
    namespace: &str,
    mut failed: Vec<(Wanted, ObjectRefusal)>,
    counts: &mut Counts,
) -> Result<(), Failure> {
    for _ in 0..MORE_ROUNDS {
        if failed.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
        let mut still = Vec::new();
        for (wanted, _) in failed {
            if let Some(said) = counts.count(&wanted, wanted.put_back(objects, namespace).await)? {
                still.push((wanted, said));
            }
        }
        failed = still;
    }
    may_read(objects).await?;
    for (wanted, said) in failed {
        counts.refused(&wanted.kind.to_string(), &wanted.name, said);
    }
    Ok(())
}

/// The right to restore is bound when a restore begins, and is known everywhere a moment later. Without this look every
/// object would be refused, and the restore would end.
async fn may_read(objects: &dyn NamespaceObjects) -> Result<(), Failure> {
    for kind in ARCHIVED.iter().filter(|kind| kind.plural == "configmaps") {
        objects.get(kind, ALWAYS_THERE).await?;
    }
    Ok(())
}

/// What an archive holds, without the objects.
pub(crate) struct Contents {
    /// Kind, name and apiVersion of the objects that this version does not know.
    pub(crate) unknown: Vec<(String, String, String)>,
    /// The others, rendered or not, by the place of their kind.
    names: HashSet<(usize, String)>,
}

/// The archive of the run, sealed.
#[derive(Clone)]
pub(crate) struct Archive {
    key: Arc<ArchiveKey>,
    org: OrgId,
    run: RunId,
    sealed: Bytes,
}

impl Archive {
    /// Fetches it, with a freshly unwrapped key.
    pub(crate) async fn open(session: &Session, run: &RunId) -> Result<Self, Failure> {
        Ok(Self {
            key: Arc::new(session.master_key().await?.objects(run)),
            org: session.task.org_id.clone(),
            run: run.clone(),
            sealed: session.get(session.archive(run)).await?,
        })
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> usize {
        self.sealed.len()
    }

    fn read(&self, each: impl FnMut(bool, Value)) -> Result<Summary, Failure> {
        Ok(archive::read(
            &self.key,
            &self.org,
            &self.run,
            &self.sealed,
            each,
        )?)
    }

    /// Reads all of it before anything is written.
    pub(crate) async fn verify(&self, digest: &str) -> Result<Contents, Failure> {
        let (archive, digest) = (self.clone(), digest.to_owned());
        blocking(move || {
            let (mut unknown, mut names) = (Vec::new(), HashSet::new());
            let summary = archive.read(|rendered, object| {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let name = text(&object["metadata"]["name"]);
                match place(&object) {
                    Some(place) => drop(names.insert((place, name))),
                    None if rendered => {}
                    None => unknown.push((text(&object["kind"]), name, text(&object["apiVersion"]))),
                }
            })?;
            if summary.content_digest == digest {
                return Ok(Contents { unknown, names });
            }
            Err(Failure::permanent(
                FailureReason::VerificationFailed,
                format!(
                    "the archive of run {} has the digest {}, but the manifest says {digest}",
                    archive.run, summary.content_digest
                ),
            ))
        })
        .await
    }

    /// The objects of one kind that the operator does not render.
    async fn of_kind(&self, wanted: usize) -> Result<Vec<Value>, Failure> {
        let archive = self.clone();
        blocking(move || {
            let mut objects = Vec::new();
            archive.read(|rendered, object| {
                if !rendered && place(&object) == Some(wanted) {
                    objects.push(object);
                }
            })?;
            Ok(objects)
        })
        .await
    }
}

/// Its place in the order of a restore.
fn place(object: &Value) -> Option<usize> {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    of_object(text("apiVersion"), text("kind")).map(|(place, _)| place)
}

/// What was done about one object.
enum Done {
    Created,
    Updated,
    Unchanged,
    /// It is there and being deleted.
    Going(String),
    /// It is there and never changes.
    Immutable(String),
}

/// One object that comes back.
struct Wanted {
    kind: &'static ObjectKind,
    name: String,
    body: Value,
}

impl Wanted {
    fn new(kind: &'static ObjectKind, body: Value) -> Self {
        let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        Self { kind, name, body }
    }

    fn says(&self, what: &str) -> String {
        format!("{}/{}: {what}", self.kind, self.name)
    }

    async fn put_back(&self, objects: &dyn NamespaceObjects, namespace: &str) -> Result<Done, ObjectError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.once(objects, namespace).await {
                Err(ObjectError::Conflict(_)) if tries < TRIES => {}
                done => return done,
            }
        }
    }

    async fn once(&self, objects: &dyn NamespaceObjects, namespace: &str) -> Result<Done, ObjectError> {
        let (kind, name) = (self.kind, &self.name);
        if objects.create(kind, &self.body).await? == PutOutcome::Created {
            return Ok(Done::Created);
        }
        let Some(present) = objects.get(kind, name).await? else {
            return Err(ObjectError::Conflict(format!(
                "{kind}/{name} was there and is gone: somebody deletes it while it is restored"
            )));
        };
        match of_present(&self.body, &present, namespace) {
            OfPresent::Leave => Ok(Done::Unchanged),
            OfPresent::Update(body) => objects.replace(kind, &body).await.map(|()| Done::Updated),
            OfPresent::IsGoing(why) => Ok(Done::Going(why)),
            OfPresent::Immutable(why) => Ok(Done::Immutable(why)),
        }
    }
}

#[derive(Default)]
struct Counts {
    created: u64,
    updated: u64,
    unchanged: u64,
    refused: u64,
    named: Vec<RefusedObjects>,
    later: u64,
    later_named: Vec<LaterObjects>,
}

impl Counts {
    /// Counts what became of an object. A refusal is of this object; what the server failed at, or what is on its way out, is
    /// given back, to be tried again; a server that does not answer ends the try.
    fn count(
        &mut self,
        wanted: &Wanted,
        done: Result<Done, ObjectError>,
    ) -> Result<Option<ObjectRefusal>, Failure> {
        let refused = |reason: &str, message: String| ObjectRefusal {
            reason: reason.to_owned(),
            message,
        };
        let said = match done {
            Ok(Done::Created) => {
                self.created += 1;
                return Ok(None);
            }
            Ok(Done::Updated) => {
                self.updated += 1;
                return Ok(None);
            }
            Ok(Done::Unchanged) => {
                self.unchanged += 1;
                return Ok(None);
            }
            Ok(Done::Going(why)) => return Ok(Some(refused("Terminating", wanted.says(&why)))),
            Ok(Done::Immutable(why)) => refused("Immutable", wanted.says(&why)),
            Err(error @ ObjectError::Unavailable(_)) => return Err(error.into()),
            Err(ObjectError::Failed(said)) => return Ok(Some(said)),
            Err(ObjectError::Refused(said)) => said,
            Err(ObjectError::Conflict(text)) => refused("Conflict", text),
            Err(ObjectError::NotServed(text)) => refused("NotFound", text),
        };
        self.refused(&wanted.kind.to_string(), &wanted.name, said);
        Ok(None)
    }

    fn refused(&mut self, kind: &str, name: &str, said: ObjectRefusal) {
        // Which one it is stands in the status of the OrgRestore: how an org's objects are called is not for everybody.
        tracing::warn!(kind, reason = said.reason, "an object was refused");
        tracing::debug!(kind, name, "{}", said.message);
        self.refused += 1;
        let same = |of_one: &&mut RefusedObjects| of_one.kind == kind && of_one.reason == said.reason;
        if let Some(of_one) = self.named.iter_mut().find(same) {
            of_one.names.push(name.to_owned());
            return;
        }
        self.named.push(RefusedObjects {
            kind: kind.to_owned(),
            reason: said.reason,
            message: said.message,
            names: vec![name.to_owned()],
        });
    }

    fn is_later(&mut self, kind: &ObjectKind, name: &str) {
        self.later += 1;
        let kind = kind.to_string();
        let same = |of_one: &&mut LaterObjects| of_one.kind == kind;
        if let Some(of_one) = self.later_named.iter_mut().find(same) {
            return of_one.names.push(name.to_owned());
        }
        let names = vec![name.to_owned()];
        self.later_named.push(LaterObjects { kind, names });
    }

    fn outcome(self) -> MoverOutcome {
        let Self {
            created,
            updated,
            unchanged,
            refused,
            named,
            later,
            later_named,
        } = self;
        tracing::info!(created, updated, unchanged, refused, later, "objects restored");
        MoverOutcome::RestoredObjects {
            created,
            updated,
            unchanged,
            refused,
            named,
            later: Some(later),
            later_named,
        }
    }
}
