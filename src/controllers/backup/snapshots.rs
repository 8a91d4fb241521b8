//! The OrgSnapshots of an org, as a view of its ledger: at most three, each telling what the ledger tells.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;
use tray_api::{
    conditions::{reasons, types},
    orgsnapshot::{OrgSnapshot, OrgSnapshotSpec, OrgSnapshotStatus, Origin, SnapshotPart, SnapshotPhase},
    shared::NameRef,
};
use tray_domain::{
    ids::RunId,
    ledger::{LedgerState, Run, RunEnd},
    manifest::{Manifest, RunVerdict},
    view::{self, shown},
};

use super::{
    pass::Pass,
    run::{is_wanted, run_id_of},
};
use crate::controllers::{
    Blocked,
    conditions::{ConditionFact, Conditions, whole_seconds},
    view::backups::does_not_count,
};

/// What a pass knows of runs that the ledger does not say: how far they are, or what they wait for.
pub(super) type Phases = BTreeMap<String, (SnapshotPhase, String)>;

/// Makes the OrgSnapshots show what the ledger says.
pub(super) async fn sync(pass: &Pass<'_>, phases: &Phases) -> Result<(), Blocked> {
    let state = pass.state();
    let present = &pass.subject.view.snapshots;
    let shown = shown(&state);
    for snapshot in present
        .iter()
        .filter(|snapshot| snapshot.metadata.deletion_timestamp.is_none())
    {
        let run_id = run_id_of(snapshot);
        let run = run_id.as_ref().and_then(|id| state.runs.get(id));
        let ended = run_id.as_ref().is_some_and(|id| state.has_ended(id));
        // A ledger that does not know its run has forgotten it, or is not the one that it is in.
        if run.is_none() && is_wanted(snapshot) && snapshot.has_ended() {
            continue;
        }
        let unknown = run.is_none() && !is_wanted(snapshot);
        if unknown || (ended && run_id.as_ref().is_some_and(|id| !shown.contains(id))) {
            pass.ctx.cluster.delete_own(&**snapshot).await?;
            continue;
        }
        let status = status(
            snapshot,
            &state,
            run_id.as_ref(),
            run,
            phases.get(&snapshot.name_any()),
            pass.now,
        );
        pass.ctx
            .cluster
            .write_status(&**snapshot, snapshot.status.as_ref(), &status)
            .await?;
    }
    discover(pass, &state, &shown, present).await
}

/// Makes an OrgSnapshot for each run that should be shown and is not. An open run without one was given up by whoever
/// deleted it.
async fn discover(
    pass: &Pass<'_>,
    state: &LedgerState,
    shown: &[RunId],
    present: &[std::sync::Arc<OrgSnapshot>],
) -> Result<(), Blocked> {
    for run_id in shown {
        let run = state.runs.get(run_id).filter(|run| run.end.is_some());
        let is_there = present
            .iter()
            .any(|snapshot| run_id_of(snapshot).as_ref() == Some(run_id));
        let (Some(run), false) = (run, is_there) else {
            continue;
        };
        let taken = present
            .iter()
            .any(|snapshot| snapshot.name_any() == run.plan.snapshot_name);
        let name = if taken {
            view::name(pass.subject.name(), run_id)
        } else {
            run.plan.snapshot_name.clone()
        };
        let spec = OrgSnapshotSpec {
            org_ref: NameRef::new(pass.subject.name()),
            origin: Origin::Discovered,
            slot: None,
            run_id: Some(run_id.to_string()),
        };
        pass.ctx
            .cluster
            .create_own(&OrgSnapshot::new(&name, spec))
            .await?;
    }
    Ok(())
}

/// What an OrgSnapshot shows. `note` is what the pass knows of a run that has not ended.
fn status(
    snapshot: &OrgSnapshot,
    state: &LedgerState,
    run_id: Option<&RunId>,
    run: Option<&Run>,
    note: Option<&(SnapshotPhase, String)>,
    now: Timestamp,
) -> OrgSnapshotStatus {
    let generation = snapshot.metadata.generation;
    let recorded = snapshot
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.conditions);
    let mut conditions = Conditions::new(recorded, generation, now);
    let mut status = OrgSnapshotStatus {
        observed_generation: generation,
        run_id: run_id.map(ToString::to_string),
        ..OrgSnapshotStatus::default()
    };
    match run.map(|run| (run, run.end.as_ref())) {
        Some((
            run,
            Some(RunEnd::Committed {
                manifest,
                at,
                manifest_digest,
                ..
            }),
        )) => {
            fill(&mut status, manifest);
            status.phase = Some(SnapshotPhase::Committed);
            status.committed_at = Some(Time(whole_seconds(*at)));
            status.duration_seconds = run.seconds().map(|seconds| seconds as i64);
            status.manifest_digest = Some(manifest_digest.clone());
            status.verdict = Some(if run.is_suspicious() {
                RunVerdict::Suspicious
            } else {
                RunVerdict::Good
            });
            status.pruned = run.pruned.is_some();
            conditions.set(types::COMMITTED, &committed(state, run, manifest));
        }
        Some((_, Some(RunEnd::Aborted { why, .. }))) => {
            status.phase = Some(SnapshotPhase::Failed);
            conditions
                .set(
                    types::COMMITTED,
                    &ConditionFact::new(false, reasons::LAST_RUN_FAILED, why.clone()),
                )
                // It never becomes anything else: whoever waits for it is told.
                .set(
                    types::STALLED,
                    &ConditionFact::new(true, reasons::LAST_RUN_FAILED, why.clone()),
                );
        }
        open => {
            let waiting = (SnapshotPhase::Pending, "waits for its turn".to_owned());
            let (phase, message) = note.cloned().unwrap_or(waiting);
            let reason = if open.is_some() {
                reasons::PROGRESSING
            } else {
                reasons::WAITING
            };
            status.phase = Some(phase);
            conditions.set(
                types::COMMITTED,
                &ConditionFact::new(false, reason, message.clone()),
            );
            conditions.reconciling(reason, &message);
        }
    }
    status.conditions = conditions.build();
    status
}

fn committed(state: &LedgerState, run: &Run, manifest: &Manifest) -> ConditionFact {
    if run.is_suspicious() {
        let message = format!("it {}", does_not_count(state, manifest));
        return ConditionFact::new(true, reasons::LAST_RUN_SUSPICIOUS, message);
    }
    ConditionFact::new(
        true,
        reasons::AS_SPECIFIED,
        "every part was copied, verified and committed",
    )
}

fn fill(status: &mut OrgSnapshotStatus, manifest: &Manifest) {
    status.consistency_point = Some(Time(whole_seconds(manifest.consistency_point)));
    status.bytes_read = Some(manifest.bytes_read() as i64);
    status.bytes_added = Some(manifest.bytes_added() as i64);
    status.files = Some(manifest.files() as i64);
    status.objects = Some(manifest.objects() as i64);
    status.kms_key_arn = Some(manifest.kms_key_arn.to_string());
    status.bucket = Some(manifest.bucket.clone());
    status.bucket_cloud_region = Some(manifest.bucket_cloud_region.clone());
    let part = |part: &tray_domain::manifest::ManifestPart| SnapshotPart {
        part: part.planned.part.to_string(),
        files: part.record.files as i64,
        bytes_read: part.record.bytes_read as i64,
        bytes_added: part.record.bytes_added as i64,
        consistency: part.planned.consistency,
    };
    status.parts = manifest.parts.iter().map(part).collect();
}

/// The status of an OrgSnapshot whose org cannot be looked at.
pub(super) fn status_without_org(
    snapshot: &OrgSnapshot,
    blocked: &Blocked,
    now: Timestamp,
) -> OrgSnapshotStatus {
    let recorded = snapshot.status.clone().unwrap_or_default();
    let generation = snapshot.metadata.generation;
    let mut conditions = Conditions::new(&recorded.conditions, generation, now);
    conditions.set(types::COMMITTED, &blocked.fact()).set(
        types::STALLED,
        &ConditionFact::new(true, blocked.reason, blocked.message.clone()),
    );
    let conditions: Vec<Condition> = conditions.build();
    OrgSnapshotStatus {
        observed_generation: generation,
        phase: recorded.phase.or(Some(SnapshotPhase::Pending)),
        conditions,
        ..recorded
    }
}
