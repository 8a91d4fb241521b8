//! Proves that a part can come back, before a restore touches anything: opens the copy with a freshly unwrapped key, finds
//! everything that it needs, and writes nothing.

use std::sync::Arc;

use tray_domain::{
    ids::{PartId, RunId},
    mover_task::{FailureReason, MoverOutcome},
};
use tray_engine::SnapshotId;

use super::{
    failure::Failure,
    progress::Phase,
    restore_objects::Archive,
    session::{Session, blocking},
};

/// Proves that a volume of `capacity_bytes` can be filled from a repository snapshot.
pub(crate) async fn volume(
    session: &Session,
    volume: &PartId,
    repository_snapshot: &str,
    content_digest: &str,
    capacity_bytes: u64,
) -> Result<MoverOutcome, Failure> {
    let snapshot: SnapshotId = repository_snapshot
        .parse()
        .map_err(|error| Failure::permanent(FailureReason::TaskInvalid, format!("{error}")))?;
    let key = session.master_key().await?.repository(volume);
    let (engine, store) = (Arc::clone(&session.ports.engine), session.repository(volume));
    let cache = session.places.cache.clone();
    let phase = Phase::begin("prove");
    let counter = phase.counter();
    let proof = blocking(move || {
        let repository = engine.open(store, &key, &cache)?;
        drop(key);
        Ok(repository.prove(&snapshot, &*counter)?)
    })
    .await?;
    if proof.content_digest != content_digest {
        return Err(Failure::permanent(
            FailureReason::VerificationFailed,
            format!(
                "the copy of {volume} has the digest {}, but the manifest says {content_digest}: the repository is not the run's",
                proof.content_digest
            ),
        ));
    }
    if proof.bytes > capacity_bytes {
        return Err(Failure::permanent(
            FailureReason::TargetFailed,
            format!(
                "the copy of {volume} needs {} bytes, and its claim has {capacity_bytes}: raise volume.size of its workload",
                proof.bytes
            ),
        ));
    }
    tracing::info!(
        files = proof.files,
        bytes = proof.bytes,
        packs = proof.packs,
        "proven"
    );
    Ok(MoverOutcome::Proven { bytes: proof.bytes })
}

/// Proves that the archive of a run opens, is whole and is the run's.
pub(crate) async fn objects(
    session: &Session,
    run: &RunId,
    content_digest: &str,
) -> Result<MoverOutcome, Failure> {
    let _phase = Phase::begin("prove");
    let archive = Archive::open(session, run).await?;
    archive.verify(content_digest).await?;
    tracing::info!("proven");
    Ok(MoverOutcome::Proven {
        bytes: archive.bytes() as u64,
    })
}
