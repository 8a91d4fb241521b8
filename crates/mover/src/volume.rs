//! Volume parts: copies a volume into its repository and proves the copy; fills a volume from one.

use std::{path::PathBuf, sync::Arc};

use jiff::Timestamp;
use tray_domain::{
    ids::{PartId, RunId},
    manifest::{FORMAT_VERSION, PartRecord},
    mover_task::{FailureReason, MoverOutcome},
};
use tray_engine::{BackupReport, BackupRequest, EngineError, SnapshotId};

use super::{
    failure::Failure,
    progress::Phase,
    session::{Session, blocking},
};

/// One volume part of a run.
#[derive(Clone, Debug)]
pub(crate) struct VolumePart {
    /// The run.
    pub run: RunId,
    /// The claim.
    pub part: PartId,
    /// Only these folders; empty = all.
    pub paths: Vec<String>,
    /// Time of the repository snapshot.
    pub consistency_point: Timestamp,
}

/// Copies the volume, proves the copy with a freshly unwrapped key, and only then writes the part record.
pub(crate) async fn snapshot(session: &Session, part: VolumePart) -> Result<MoverOutcome, Failure> {
    let started_at = session.ports.clock.now();
    let copied = copy(session, &part).await?;
    tracing::info!(
        snapshot = %copied.snapshot, files = copied.files, bytes_read = copied.bytes_read,
        bytes_added = copied.bytes_added, "copied"
    );
    verify(session, &part.part, copied.snapshot.clone()).await?;
    tell_of(&copied.warnings);
    let record = PartRecord {
        format_version: FORMAT_VERSION,
        run_id: part.run,
        part: part.part,
        repository_snapshot: Some(copied.snapshot.to_string()),
        files: copied.files,
        objects: 0,
        bytes: copied.bytes_read,
        bytes_read: copied.bytes_read,
        bytes_added: copied.bytes_added,
        content_digest: copied.content_digest,
        started_at,
        finished_at: session.ports.clock.now(),
        warnings: copied.warnings,
        left_out: Vec::new(),
        verified: true,
        engine_version: session.ports.engine.version(),
    };
    session.put_record(&record).await?;
    Ok(MoverOutcome::snapshotted(record))
}

/// Warnings name files: how many there are is for everybody.
pub(crate) fn tell_of(warnings: &[String]) {
    if !warnings.is_empty() {
        tracing::warn!(warnings = warnings.len(), "there are warnings");
    }
    for warning in warnings {
        tracing::debug!("{warning}");
    }
}

async fn copy(session: &Session, part: &VolumePart) -> Result<BackupReport, Failure> {
    let key = session.master_key().await?.repository(&part.part);
    let (engine, store) = (Arc::clone(&session.ports.engine), session.repository(&part.part));
    let cache = session.places.cache.clone();
    let request = BackupRequest {
        root: session.places.volume.clone(),
        paths: part.paths.iter().map(PathBuf::from).collect(),
        time: part.consistency_point,
        run_id: part.run.to_string(),
        host: part.part.to_string(),
        parent: None,
    };
    let phase = Phase::begin("copy");
    let counter = phase.counter();
    blocking(move || {
        let mut repository = engine.open_or_init(store, &key, &cache)?;
        drop(key);
        Ok(repository.backup(&request, &*counter)?)
    })
    .await
}

/// A copy counts if somebody who has nothing but the bucket and KMS can open it: so nothing of the copying is used.
async fn verify(session: &Session, volume: &PartId, snapshot: SnapshotId) -> Result<(), Failure> {
    let key = session.master_key().await?.repository(volume);
    let (engine, store) = (Arc::clone(&session.ports.engine), session.repository(volume));
    let cache = session.places.cache.clone();
    let phase = Phase::begin("verify");
    let counter = phase.counter();
    let proven = blocking(move || {
        let mut repository = engine.open(store, &key, &cache)?;
        drop(key);
        Ok(repository.verify(&snapshot, &*counter)?)
    })
    .await
    .map_err(|failure| failure.under(FailureReason::VerificationFailed))?;
    tracing::info!(packs = proven.packs, bytes = proven.bytes, "verified");
    Ok(())
}

/// Fills the empty volume from a repository snapshot, which has to hold what the manifest says. A try that was killed is
/// begun again by the next: the engine knows what it left.
pub(crate) async fn restore(
    session: &Session,
    volume: &PartId,
    repository_snapshot: &str,
    content_digest: &str,
) -> Result<MoverOutcome, Failure> {
    let started_at = session.ports.clock.now();
    let snapshot: SnapshotId = repository_snapshot
        .parse()
        .map_err(|error| Failure::permanent(FailureReason::TaskInvalid, format!("{error}")))?;
    let key = session.master_key().await?.repository(volume);
    let (engine, store) = (Arc::clone(&session.ports.engine), session.repository(volume));
    let (cache, target) = (session.places.cache.clone(), session.places.volume.clone());
    let expected = content_digest.to_owned();
    let phase = Phase::begin("restore");
    let counter = phase.counter();
    let report = blocking(move || {
        let mut repository = engine.open(store, &key, &cache)?;
        drop(key);
        let report = repository.restore(&snapshot, &target, &*counter).map_err(of_target)?;
        if report.content_digest == expected {
            return Ok(report);
        }
        Err(Failure::permanent(
            FailureReason::TargetFailed,
            format!(
                "what was restored has the digest {}, but the manifest says {expected}: the repository is not the run's",
                report.content_digest
            ),
        ))
    })
    .await?;
    tell_of(&report.warnings);
    let seconds = session.ports.clock.now().duration_since(started_at).as_secs();
    tracing::info!(files = report.files, bytes = report.bytes, seconds, "restored");
    Ok(MoverOutcome::RestoredVolume {
        files: report.files,
        bytes: report.bytes,
        seconds: u64::try_from(seconds).unwrap_or_default(),
    })
}

/// What the engine refuses of a restore is its target: a volume that is not empty.
fn of_target(error: EngineError) -> Failure {
    match error {
        EngineError::Refused(_) => Failure::from(error).under(FailureReason::TargetFailed),
        other => other.into(),
    }
}
