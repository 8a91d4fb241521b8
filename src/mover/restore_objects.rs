//! Puts archived objects back: what the operator renders is the operator's, everything else comes from the archive.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::{
    archive::{self, Summary},
    failure::Failure,
    keys::ArchiveKey,
    progress::Phase,
    session::{Session, blocking},
};
use crate::{
    domain::{
        archived_kinds::{ARCHIVED, ObjectKind, of_object},
        archived_objects::{OfPresent, for_restore, of_present},
        ids::{OrgId, RunId},
        mover_task::{FailureReason, MoverOutcome},
    },
    ports::{
        PutOutcome,
        mover::{NamespaceObjects, ObjectError},
    },
};

/// A ConfigMap that the cluster publishes into every namespace.
const ALWAYS_THERE: &str = "kube-root-ca.crt";

/// Restores the objects of a run. Done twice it does nothing the second time, so a try that died is begun again.
pub async fn restore(
    session: &Session,
    run: &RunId,
    namespace: &str,
    content_digest: &str,
) -> Result<MoverOutcome, Failure> {
    let objects = session.objects()?;
    may_read(&*objects).await?;
    let archive = Archive {
        key: Arc::new(session.master_key().await?.objects(run)),
        org: session.task.org_id.clone(),
        run: run.clone(),
        bytes: session.get(session.archive(run)).await?,
    };
    let phase = Phase::begin("verify");
    let unknown = archive.verify(content_digest).await?;
    drop(phase);

    let _phase = Phase::begin("restore");
    let mut counts = Counts {
        refused: unknown,
        ..Counts::default()
    };
    // One pass over the archive for each kind: in the order of the table, and with one kind at a time in clear.
    for (place, kind) in ARCHIVED.iter().enumerate() {
        for object in archive.of_kind(place).await? {
            let wanted = for_restore(object, namespace);
            let name = wanted["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let done = put_back(&*objects, kind, &name, &wanted, namespace).await;
            counts.count(kind, &name, done)?;
        }
    }
    let Counts {
        created,
        updated,
        unchanged,
        refused,
    } = counts;
    tracing::info!(
        created,
        updated,
        unchanged,
        refused = refused.len(),
        "objects restored"
    );
    for refusal in &refused {
        tracing::warn!("{refusal}");
    }
    Ok(MoverOutcome::RestoredObjects {
        created,
        updated,
        unchanged,
        refused,
    })
}

/// The right to restore is bound when a restore begins, and is known everywhere a moment later. Without this look every
/// object would be refused, and the restore would end.
async fn may_read(objects: &dyn NamespaceObjects) -> Result<(), Failure> {
    for kind in ARCHIVED.iter().filter(|kind| kind.plural == "configmaps") {
        objects.get(kind, ALWAYS_THERE).await?;
    }
    Ok(())
}

/// The archive of the run, sealed.
#[derive(Clone)]
struct Archive {
    key: Arc<ArchiveKey>,
    org: OrgId,
    run: RunId,
    bytes: Bytes,
}

impl Archive {
    fn read(&self, each: impl FnMut(bool, Value)) -> Result<Summary, Failure> {
        Ok(archive::read(&self.key, &self.org, &self.run, &self.bytes, each)?)
    }

    /// Reads all of it before anything is written: the objects of kinds that this version does not know.
    async fn verify(&self, digest: &str) -> Result<Vec<String>, Failure> {
        let (archive, digest) = (self.clone(), digest.to_owned());
        blocking(move || {
            let mut unknown = Vec::new();
            let summary = archive.read(|rendered, object| {
                if !rendered && place(&object).is_none() {
                    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                    let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
                    unknown.push(format!(
                        "{kind}/{name}: this version does not restore {}",
                        object["apiVersion"]
                    ));
                }
            })?;
            if summary.content_digest == digest {
                return Ok(unknown);
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
}

async fn put_back(
    objects: &dyn NamespaceObjects,
    kind: &ObjectKind,
    name: &str,
    wanted: &Value,
    namespace: &str,
) -> Result<Done, ObjectError> {
    if objects.create(kind, wanted).await? == PutOutcome::Created {
        return Ok(Done::Created);
    }
    let Some(present) = objects.get(kind, name).await? else {
        return Err(ObjectError::Unavailable(format!(
            "{kind}/{name} was there and is gone: somebody deletes it while it is restored"
        )));
    };
    match of_present(wanted, &present, namespace) {
        OfPresent::Leave => Ok(Done::Unchanged),
        OfPresent::Update(body) => objects.replace(kind, &body).await.map(|()| Done::Updated),
    }
}

#[derive(Default)]
struct Counts {
    created: u64,
    updated: u64,
    unchanged: u64,
    refused: Vec<String>,
}

impl Counts {
    /// A refusal is of one object and is named; a server that does not answer ends the try.
    fn count(
        &mut self,
        kind: &ObjectKind,
        name: &str,
        done: Result<Done, ObjectError>,
    ) -> Result<(), Failure> {
        match done {
            Ok(Done::Created) => self.created += 1,
            Ok(Done::Updated) => self.updated += 1,
            Ok(Done::Unchanged) => self.unchanged += 1,
            Err(error @ ObjectError::Unavailable(_)) => return Err(error.into()),
            Err(error) => self.refused.push(format!("{kind}/{name}: {error}")),
        }
        Ok(())
    }
}
