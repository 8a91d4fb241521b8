//! Prunes: removes what is left of the runs that it is told. The plan was made from the ledger, which says `SweepPlanned`
//! first. What is not named stays, and so does everything that was stored after the sweep was planned.

use std::{collections::BTreeSet, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use tray_domain::{
    bucket_layout,
    ids::{PartId, RunId},
    mover_task::{MoverOutcome, PrunedVolume},
};
use tray_engine::{EngineError, PruneRequest, SnapshotId, SnapshotInfo};

use super::{
    failure::Failure,
    progress::Phase,
    session::{Session, blocking},
};

/// From when on things are too young to go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ages {
    /// When the sweep was planned: nothing that was stored later goes.
    pub planned_at: Timestamp,
    /// How long a marked pack waits before it is freed.
    pub keep_delete: SignedDuration,
    /// How long a pack is left alone after it was written.
    pub keep_pack: SignedDuration,
}

/// Removes what is left of the runs of `remove`: from each repository, then their objects archives, then their part records.
pub(crate) async fn prune(
    session: &Session,
    volumes: &[PartId],
    remove: &[RunId],
    ages: Ages,
) -> Result<MoverOutcome, Failure> {
    let now = session.ports.clock.now();
    let removed: Arc<BTreeSet<RunId>> = Arc::new(remove.iter().cloned().collect());
    let mut pruned = Vec::with_capacity(volumes.len());
    for volume in volumes {
        pruned.push(prune_volume(session, volume, &removed, ages, now).await?);
    }
    let (prefix, org) = (session.prefix(), &session.task.org_id);
    let archives: Vec<String> = remove.iter().map(|run| session.archive(run)).collect();
    let records: Vec<String> = remove
        .iter()
        .map(|run| bucket_layout::run(prefix, org, run))
        .collect();
    let planned_at = ages.planned_at;
    remove_objects(
        session,
        bucket_layout::objects_archives(prefix, org),
        archives,
        planned_at,
    )
    .await?;
    remove_objects(session, bucket_layout::runs(prefix, org), records, planned_at).await?;
    Ok(MoverOutcome::Pruned { volumes: pruned })
}

async fn prune_volume(
    session: &Session,
    volume: &PartId,
    removed: &Arc<BTreeSet<RunId>>,
    ages: Ages,
    now: Timestamp,
) -> Result<PrunedVolume, Failure> {
    let key = session.master_key().await?.repository(volume);
    let (engine, store) = (Arc::clone(&session.ports.engine), session.repository(volume));
    let (cache, volume, removed) = (session.places.cache.clone(), volume.clone(), Arc::clone(removed));
    let _phase = Phase::begin("prune");
    let pruned = blocking(move || {
        let mut repository = match engine.open(store, &key, &cache) {
            // No copy of this volume has ever got as far as a repository.
            Err(EngineError::NoRepository(_)) => {
                return Ok(PrunedVolume {
                    volume,
                    removed_snapshots: 0,
                    marked_packs: 0,
                    freed_bytes: 0,
                });
            }
            opened => opened?,
        };
        drop(key);
        let removable = removable(&repository.snapshots()?, &removed, ages.planned_at);
        repository.forget(&removable)?;
        let report = repository.prune(&PruneRequest {
            now,
            keep_pack: ages.keep_pack,
            keep_delete: ages.keep_delete,
        })?;
        Ok(PrunedVolume {
            volume,
            removed_snapshots: removable.len() as u64,
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

/// The snapshots to remove: of runs that were named, and older than the sweep by what they say and by the store's word.
fn removable(present: &[SnapshotInfo], removed: &BTreeSet<RunId>, planned_at: Timestamp) -> Vec<SnapshotId> {
    let named = |snapshot: &&SnapshotInfo| {
        snapshot
            .run_id
            .parse()
            .is_ok_and(|run: RunId| removed.contains(&run))
    };
    let older = |snapshot: &&SnapshotInfo| {
        snapshot.time <= planned_at && snapshot.stored_at.is_some_and(|at| at <= planned_at)
    };
    let removable = present.iter().filter(named).filter(older);
    removable.map(|snapshot| snapshot.id.clone()).collect()
}

/// Removes the objects of `folder` whose key begins with one of `named`, and no other: what is there is asked for first, so that
/// what is gone already costs nothing.
async fn remove_objects(
    session: &Session,
    folder: String,
    named: Vec<String>,
    planned_at: Timestamp,
) -> Result<(), Failure> {
    let bucket = session.ports.bucket.at("");
    let _phase = Phase::begin("prune");
    blocking(move || {
        let present = bucket.list(&folder)?;
        let older = present.iter().filter(|object| object.last_modified <= planned_at);
        for object in older.filter(|object| named.iter().any(|named| object.name.starts_with(named))) {
            bucket.delete(&object.name)?;
            tracing::info!(object = object.name, "removed");
        }
        Ok(())
    })
    .await
}
