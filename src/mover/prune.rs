//! Prunes: removes what the operator's plan does not keep. The plan was made from the ledger, which says `Pruned` first.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tray_engine::{EngineError, PruneRequest, Repository, SnapshotId};

use super::{
    failure::Failure,
    progress::Phase,
    session::{Session, blocking},
};
use crate::domain::{
    ids::RunId,
    mover_task::{FailureReason, MoverOutcome, PruneVolume, PrunedVolume},
};

/// Prunes each repository, then removes the objects archives.
pub async fn prune(
    session: &Session,
    volumes: &[PruneVolume],
    remove_archives: &[RunId],
) -> Result<MoverOutcome, Failure> {
    let now = session.ports.clock.now();
    let mut pruned = Vec::with_capacity(volumes.len());
    for volume in volumes {
        pruned.push(prune_volume(session, volume, now).await?);
    }
    for run in remove_archives {
        let (bucket, key) = (session.ports.bucket.at(""), session.archive(run));
        blocking(move || Ok(bucket.delete(&key)?)).await?;
        tracing::info!(run = %run, "objects archive removed");
    }
    Ok(MoverOutcome::Pruned { volumes: pruned })
}

async fn prune_volume(
    session: &Session,
    volume: &PruneVolume,
    now: Timestamp,
) -> Result<PrunedVolume, Failure> {
    let key = session.master_key().await?.repository(&volume.volume);
    let (engine, store) = (
        Arc::clone(&session.ports.engine),
        session.repository(&volume.volume),
    );
    let (cache, volume) = (session.places.cache.clone(), volume.clone());
    let _phase = Phase::begin("prune");
    let pruned = blocking(move || {
        let mut repository = match engine.open(store, &key, &cache) {
            // No copy of this volume has ever got as far as a repository.
            Err(EngineError::NoRepository(_)) if volume.keep.is_empty() => {
                return Ok(PrunedVolume {
                    volume: volume.volume,
                    removed_snapshots: 0,
                    marked_packs: 0,
                    freed_bytes: 0,
                });
            }
            opened => opened?,
        };
        drop(key);
        let removed = removable(&mut *repository, &volume)?;
        repository.forget(&removed)?;
        let report = repository.prune(&PruneRequest {
            now,
            keep_pack: SignedDuration::from_hours(volume.keep_pack_hours.into()),
            keep_delete: SignedDuration::from_hours(volume.keep_delete_hours.into()),
        })?;
        Ok(PrunedVolume {
            volume: volume.volume,
            removed_snapshots: removed.len() as u64,
            marked_packs: report.packs_marked,
            freed_bytes: report.bytes_freed,
        })
    })
    .await?;
    tracing::info!(
        volume = %pruned.volume, removed_snapshots = pruned.removed_snapshots,
        marked_packs = pruned.marked_packs, freed_bytes = pruned.freed_bytes, "pruned"
    );
    Ok(pruned)
}

/// The snapshots to remove. One that is to be kept and is not there means that plan and repository do not belong
/// together, or that a copy is lost: then nothing is removed.
fn removable(repository: &mut dyn Repository, volume: &PruneVolume) -> Result<Vec<SnapshotId>, Failure> {
    let present: Vec<SnapshotId> = repository.snapshots()?.into_iter().map(|s| s.id).collect();
    let lost = volume
        .keep
        .iter()
        .find(|kept| !present.iter().any(|id| id.as_str() == kept.as_str()));
    if let Some(lost) = lost {
        return Err(Failure::permanent(
            FailureReason::RepositoryFailed,
            format!(
                "the repository of {} has no snapshot {lost}, which is to be kept: nothing was pruned; verify its run",
                volume.volume
            ),
        ));
    }
    Ok(present
        .into_iter()
        .filter(|id| !volume.keep.iter().any(|kept| kept == id.as_str()))
        .collect())
}
