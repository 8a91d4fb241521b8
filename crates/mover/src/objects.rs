//! The objects part of a run: archives the Kubernetes objects of the org's namespace and proves the archive.

use jiff::Timestamp;
use serde_json::Value;
use tray_domain::{
    archived_kinds::{ARCHIVED, ObjectKind, Treatment, treatment},
    archived_objects::{Triage, for_archive, triage},
    ids::{PartId, RunId},
    manifest::{FORMAT_VERSION, LeftOut, LeftOutReason, PartRecord},
    mover_task::{FailureReason, MoverOutcome},
};

use super::{
    archive::{self, ArchiveWriter, Line, Summary},
    failure::Failure,
    progress::Phase,
    session::{Session, blocking},
    volume::tell_of,
};
use crate::ports::{NamespaceObjects, ObjectError};

/// Archives, proves, and only then writes the part record.
///
/// An archive is written once. Where an earlier try of this part left one and died before its record, that one is
/// proved and recorded: what the record says comes out of the archive, whoever wrote it.
pub(crate) async fn snapshot(
    session: &Session,
    run: RunId,
    part: PartId,
    namespace: &str,
) -> Result<MoverOutcome, Failure> {
    let started_at = session.ports.clock.now();
    let phase = Phase::begin("archive");
    let own_digest = write(session, &run, namespace, started_at).await?;
    drop(phase);

    let (summary, size) = verify(session, &run)
        .await
        .map_err(|failure| failure.under(FailureReason::VerificationFailed))?;
    if summary.namespace != namespace {
        return Err(Failure::permanent(
            FailureReason::VerificationFailed,
            format!(
                "the archive of run {run} is of namespace {}, not of {namespace}",
                summary.namespace
            ),
        ));
    }
    let earlier = summary.content_digest != own_digest;
    tracing::info!(
        objects = summary.objects,
        bytes = size,
        earlier,
        "archived and verified"
    );
    tell_of(&summary.warnings);
    let record = PartRecord {
        format_version: FORMAT_VERSION,
        run_id: run,
        part,
        repository_snapshot: None,
        files: 0,
        objects: summary.objects,
        bytes: summary.bytes_read,
        bytes_read: summary.bytes_read,
        bytes_added: size,
        content_digest: summary.content_digest,
        started_at: summary.started_at,
        finished_at: session.ports.clock.now(),
        warnings: summary.warnings,
        left_out: summary.left_out,
        verified: true,
        engine_version: session.ports.engine.version(),
    };
    session.put_record(&record).await?;
    Ok(MoverOutcome::snapshotted(record))
}

/// Writes the archive unless one is there; the digest of what it would have written.
async fn write(
    session: &Session,
    run: &RunId,
    namespace: &str,
    started_at: Timestamp,
) -> Result<String, Failure> {
    let key = session.master_key().await?.objects(run);
    let objects = session.objects()?;
    let mut gathered = Gathered {
        writer: ArchiveWriter::new(&key, &session.task.org_id, run)?,
        objects: 0,
        bytes_read: 0,
        warnings: Vec::new(),
        left_out: Vec::new(),
    };
    drop(key);
    gathered.writer.write(&Line::Preamble {
        started_at,
        namespace: namespace.to_owned(),
    })?;
    for kind in ARCHIVED {
        gathered.kind(&*objects, kind).await?;
    }
    gathered.not_archived(&*objects).await?;
    let (archive, digest) = gathered.finish()?;
    let (bucket, name) = (session.ports.bucket.at(""), session.archive(run));
    blocking(move || match bucket.put_if_absent(&name, archive) {
        // Other content under the name: what an earlier try wrote. Whether it is good is found by reading it.
        Err(tray_engine::BlobError::Corrupt(why)) => {
            tracing::info!(why, "there is an archive of this run");
            Ok(())
        }
        put => Ok(put?),
    })
    .await?;
    Ok(digest)
}

/// Reads the archive back with a freshly unwrapped key: what it says of itself, and its size.
async fn verify(session: &Session, run: &RunId) -> Result<(Summary, u64), Failure> {
    let key = session.master_key().await?.objects(run);
    let archive = session.get(session.archive(run)).await?;
    let (org, run) = (session.task.org_id.clone(), run.clone());
    blocking(move || {
        let summary = archive::read(&key, &org, &run, &archive, |_, _| ())?;
        Ok((summary, archive.len() as u64))
    })
    .await
}

/// An archive in the making.
struct Gathered {
    writer: ArchiveWriter,
    objects: u64,
    bytes_read: u64,
    warnings: Vec<String>,
    left_out: Vec<LeftOut>,
}

impl Gathered {
    /// All objects of a kind, page by page.
    async fn kind(&mut self, objects: &dyn NamespaceObjects, kind: &ObjectKind) -> Result<(), Failure> {
        let mut after: Option<String> = None;
        loop {
            let page = match objects.list(kind, after.as_deref()).await {
                // What the server does not serve has no objects.
                Err(ObjectError::NotServed(_)) => return Ok(()),
                page => page?,
            };
            for object in page.objects {
                self.object(kind, object)?;
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    fn object(&mut self, kind: &ObjectKind, object: Value) -> Result<(), Failure> {
        match triage(&object) {
            Triage::Archive { rendered } => {
                let line = Line::Object {
                    rendered,
                    object: for_archive(object),
                };
                self.bytes_read += self.writer.write(&line)? as u64;
                self.objects += 1;
            }
            Triage::LeaveOut(reason) => {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                let why = reason.as_str();
                self.warnings.push(format!("{kind}/{name} is left out: {why}"));
                LeftOut::note(&mut self.left_out, reason, &kind.to_string());
            }
            Triage::Skip => {}
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(bytes::Bytes, String), Failure> {
        self.writer.write(&Line::Closing {
            objects: self.objects,
            bytes_read: self.bytes_read,
            warnings: self.warnings,
            left_out: self.left_out,
        })?;
        Ok(self.writer.finish()?)
    }

    /// Names the kinds that the cluster serves and no table knows. Movers may list what is archived and nothing else, so
    /// whether the namespace has objects of them is not known.
    async fn not_archived(&mut self, objects: &dyn NamespaceObjects) -> Result<(), Failure> {
        let kinds = not_archived(objects).await?;
        for kind in &kinds {
            LeftOut::note(&mut self.left_out, LeftOutReason::NotArchived, kind);
        }
        if !kinds.is_empty() {
            let kinds = kinds.join(", ");
            let warning = format!("kinds that are not archived, if there are objects of them: {kinds}");
            self.warnings.push(warning);
        }
        Ok(())
    }
}

/// The kinds that the cluster serves and no table knows.
async fn not_archived(objects: &dyn NamespaceObjects) -> Result<Vec<String>, Failure> {
    let mut kinds: Vec<String> = objects
        .served_kinds()
        .await?
        .into_iter()
        .filter(|kind| treatment(&kind.group, &kind.plural) == Treatment::NotIncluded)
        .map(|kind| {
            let dot = if kind.group.is_empty() { "" } else { "." };
            format!("{}{dot}{}", kind.plural, kind.group)
        })
        .collect();
    kinds.sort();
    kinds.dedup();
    Ok(kinds)
}
