//! A run of some days ago: written as the operator writes one, by a clock that is late.
//!
//! It holds what the newest good run holds, so that both share packs and pruning one must not harm the other, and in each
//! volume a file of its own, so that something of it is nobody else's.

use std::{fs, path::Path, sync::Arc};

use serde::Serialize;
use tray_domain::{
    ids::RunId,
    ledger::Event,
    manifest::{Manifest, ManifestPart, PartSource, RunPlan},
    mover_task::{Action, MoverOutcome},
    run_plan::{self, CopiedPart, RunFacts},
    schedule::snapshot_name,
    session_policy::SessionScope,
    volume_facts::suspicions,
};
use tray_ports::Clock;
use uuid::Uuid;

use crate::{
    Failed,
    org::{DaysAgo, Folders, Org},
    runs::restore,
};

/// Bytes of the file that only the aged run holds.
const OWN_BYTES: usize = 2 << 20;

/// What was written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Aged {
    run_id: RunId,
    name: String,
}

/// Writes a run whose every time lies `days` back, as the next entries under the cluster's claim.
pub(crate) async fn write(org: &Org, days: u32) -> Result<Aged, Failed> {
    let clock: Arc<dyn Clock> = Arc::new(DaysAgo(days));
    let state = org.ledger.state();
    let newest = state.newest_good().and_then(|(_, run)| run.manifest());
    let model =
        newest.ok_or_else(|| format!("org {} has no good run to write an aged one after", org.name))?;
    let began = clock.now();
    let plan = RunPlan {
        run_id: RunId::of(began, &Uuid::new_v4().to_string()),
        snapshot_name: snapshot_name(&org.name, began),
        slot: None,
        parts: model.parts.iter().map(|part| part.planned.clone()).collect(),
        excluded: model.excluded.clone(),
        not_copied: None,
        objectives: None,
    };
    org.ledger
        .append(Event::RunPlanned { plan: plan.clone() }, began)
        .await?;
    let mut copied = Vec::new();
    for part in &model.parts {
        copied.push(copy(org, &plan.run_id, model, part, &clock).await?);
    }
    let records = plan
        .parts
        .iter()
        .cloned()
        .zip(copied.iter().map(|copied| copied.record.clone()));
    let suspicions = suspicions(&state, &records.collect::<Vec<_>>());
    let facts = RunFacts {
        org_id: org.id.clone(),
        cluster_uid: org.cluster_uid.clone(),
        kms_key_arn: org.key.clone(),
        bucket: org.location.bucket.clone(),
        bucket_cloud_region: org.services.store.facts(&org.location.prefix).await?.cloud_region,
        prefix: org.location.prefix.clone(),
        stage: model.stage,
        operator_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let manifest = Box::new(run_plan::manifest(&plan, &facts, &copied, suspicions)?);
    org.ledger
        .append(Event::RunCommitted { manifest }, clock.now())
        .await?;
    Ok(Aged {
        run_id: plan.run_id,
        name: plan.snapshot_name,
    })
}

/// Copies one part by the mover that would have copied it then.
async fn copy(
    org: &Org,
    run_id: &RunId,
    model: &Manifest,
    part: &ManifestPart,
    clock: &Arc<dyn Clock>,
) -> Result<CopiedPart, Failed> {
    let folders = Folders::make()?;
    let (run_id, name) = (run_id.clone(), part.planned.part.clone());
    let (scope, action) = match &part.planned.source {
        PartSource::Objects {} => {
            let scope = SessionScope::SnapshotObjects {
                run_id: run_id.clone(),
            };
            let namespace = org.namespace.clone();
            let action = Action::SnapshotObjects {
                run_id,
                part: name,
                namespace,
            };
            (scope, action)
        }
        PartSource::Volume { paths, .. } => {
            restore(org, &folders, model, part).await?;
            let first = paths.first().map_or("", String::as_str);
            write_own_file(&folders.volume().join(first))?;
            let scope = SessionScope::SnapshotVolume {
                run_id: run_id.clone(),
                volume: name.clone(),
            };
            let action = Action::SnapshotVolume {
                run_id,
                part: name,
                paths: paths.clone(),
                consistency: part.planned.consistency,
                consistency_point: clock.now(),
            };
            (scope, action)
        }
    };
    let session = org.mover(&folders, &scope, action, clock.clone()).await?;
    let pod_uid = session.places.pod_uid.clone();
    match tray_mover::perform(session).await? {
        MoverOutcome::Snapshotted { record } => Ok(CopiedPart {
            record: *record,
            pod_uid,
            hook_started_at: None,
        }),
        other => Err(format!("the mover of {} said {other:?}", part.planned.part).into()),
    }
}

/// Bytes that neither compress nor repeat.
fn write_own_file(folder: &Path) -> Result<(), Failed> {
    let mut bytes = Vec::with_capacity(OWN_BYTES);
    while bytes.len() < OWN_BYTES {
        bytes.extend_from_slice(Uuid::new_v4().as_bytes());
    }
    Ok(fs::write(folder.join("only-of-the-aged-run"), bytes)?)
}
