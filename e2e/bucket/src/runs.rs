//! The runs of an org, as its ledger tells of them, and what of each lies in the bucket.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use serde::Serialize;
use tray_domain::{
    bucket_layout,
    ids::{PartId, RunId},
    ledger::Run,
    manifest::{Manifest, ManifestPart, PartSource, RunVerdict},
    mover_task::{Action, MoverOutcome},
    session_policy::SessionScope,
};
use tray_mover::session::blocking;
use tray_operator::adapters::clock::SystemClock;

use crate::{
    Failed,
    org::{Folders, Org},
};

/// One committed run.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShownRun {
    run_id: RunId,
    name: String,
    consistency_point: Timestamp,
    verdict: RunVerdict,
    pruned: bool,
    bucket: String,
    bucket_region: String,
    kms_key_arn: String,
    bytes_read: u64,
    bytes_added: u64,
    files: u64,
    objects: u64,
    seconds: u64,
    /// Parts of it whose repository snapshot, or archive, lies in the bucket.
    present: Vec<PartId>,
    /// Parts of it of which nothing can be found in the bucket.
    absent: Vec<PartId>,
}

/// Every committed run of the ledger, by consistency point.
pub(crate) async fn show(org: &Org) -> Result<Vec<ShownRun>, Failed> {
    let state = org.ledger.state();
    let mut in_bucket = BTreeSet::new();
    for volume in &state.repositories {
        in_bucket.extend(snapshots(org, volume).await?);
    }
    let mut shown = Vec::new();
    for (run_id, run) in &state.runs {
        let Some(manifest) = run.manifest() else {
            continue;
        };
        let (mut present, mut absent) = (Vec::new(), Vec::new());
        for part in &manifest.parts {
            let is_there = match &part.record.repository_snapshot {
                Some(snapshot) => in_bucket.contains(snapshot),
                None => has_archive(org, run_id).await?,
            };
            let list = if is_there { &mut present } else { &mut absent };
            list.push(part.planned.part.clone());
        }
        shown.push(of(run_id, run, manifest, present, absent));
    }
    shown.sort_by_key(|run| run.consistency_point);
    Ok(shown)
}

fn of(run_id: &RunId, run: &Run, manifest: &Manifest, present: Vec<PartId>, absent: Vec<PartId>) -> ShownRun {
    ShownRun {
        run_id: run_id.clone(),
        name: manifest.snapshot_name.clone(),
        consistency_point: manifest.consistency_point,
        verdict: manifest.verdict,
        pruned: run.pruned.is_some(),
        bucket: manifest.bucket.clone(),
        bucket_region: manifest.bucket_cloud_region.clone(),
        kms_key_arn: manifest.kms_key_arn.to_string(),
        bytes_read: manifest.bytes_read(),
        bytes_added: manifest.bytes_added(),
        files: manifest.files(),
        objects: manifest.objects(),
        seconds: run.seconds().unwrap_or_default(),
        present,
        absent,
    }
}

/// The snapshots in the repository of a volume.
async fn snapshots(org: &Org, volume: &PartId) -> Result<Vec<String>, Failed> {
    let folders = Folders::make()?;
    let reader = org.reader(&folders, volume).await?;
    let key = reader.master_key().await?.repository(volume);
    let (engine, store) = (reader.ports.engine.clone(), reader.repository(volume));
    let cache = reader.places.cache.clone();
    let listed = blocking(move || Ok(engine.open(store, &key, &cache)?.snapshots()?)).await?;
    Ok(listed
        .into_iter()
        .map(|snapshot| snapshot.id.to_string())
        .collect())
}

async fn has_archive(org: &Org, run_id: &RunId) -> Result<bool, Failed> {
    let key = bucket_layout::objects_archive(&org.location.prefix, &org.id, run_id);
    let listed = org.services.store.list(&key).await?;
    Ok(listed.iter().any(|object| object.key == key))
}

/// Restores every volume of every run that is not pruned into an empty folder. The mover compares what then lies there
/// with the manifest. Returns the runs' names.
pub(crate) async fn restore_all(org: &Org) -> Result<Vec<String>, Failed> {
    let state = org.ledger.state();
    let mut restored = Vec::new();
    for (_, run) in state.restorable_runs() {
        let Some(manifest) = run.manifest() else {
            continue;
        };
        for part in &manifest.parts {
            if matches!(part.planned.source, PartSource::Volume { .. }) {
                restore(org, &Folders::make()?, manifest, part).await?;
            }
        }
        restored.push(manifest.snapshot_name.clone());
    }
    Ok(restored)
}

/// Fills the volume of `folders` with a part of a run.
pub(crate) async fn restore(
    org: &Org,
    folders: &Folders,
    manifest: &Manifest,
    part: &ManifestPart,
) -> Result<(), Failed> {
    let volume = part.planned.part.clone();
    let snapshot = part.record.repository_snapshot.clone();
    let action = Action::RestoreVolume {
        restore: "tray-bucket".to_owned(),
        run_id: manifest.run_id.clone(),
        part: volume.clone(),
        repository_snapshot: snapshot.ok_or_else(|| format!("{volume} has no repository snapshot"))?,
        content_digest: part.record.content_digest.clone(),
    };
    let scope = SessionScope::RestoreVolume {
        volume: volume.clone(),
    };
    match org
        .perform(folders, &scope, action, Arc::new(SystemClock))
        .await?
    {
        MoverOutcome::RestoredVolume { .. } => Ok(()),
        other => Err(format!("the restore of {volume} said {other:?}").into()),
    }
}
