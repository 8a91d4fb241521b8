//! How a run ends: its manifest is committed, or the reason is. Its `post` hooks run from then on.

use std::sync::Arc;

use tracing::{info, warn};
use tray_api::conditions::reasons;
use tray_domain::{
    bucket_layout,
    ids::{PartId, RunId},
    ledger::{Event, Run},
    manifest::{PartRecord, RunPlan, RunVerdict},
    run_failure::RunFailure,
    run_plan::{self, CopiedPart, RunFacts},
    volume_facts::suspicions,
};
use tray_ledger::RemoteError;

use super::let_go;
use crate::{
    adapters::kube::{events::Severity, facts::JobFact},
    controllers::{
        Blocked,
        backup::pass::{Pass, holder},
        view::backups::does_not_count,
    },
    resources::mover_job::snapshot_job_name,
    telemetry::metrics,
};

/// Commits a run all of whose parts were copied and verified.
pub(super) async fn commit(
    pass: &Pass<'_>,
    run_id: &RunId,
    plan: &RunPlan,
    jobs: &[Arc<JobFact>],
) -> Result<(), Blocked> {
    let mut copied = Vec::new();
    for planned in &plan.parts {
        let name = snapshot_job_name(run_id, &planned.part);
        let hook_started_at = jobs
            .iter()
            .find(|job| job.name == name)
            .and_then(|job| job.consistency_point);
        let records = records(pass, run_id, &planned.part).await?;
        let (pod_uid, record) = match run_plan::record_that_counts(&planned.part, records) {
            Ok(record) => record,
            Err(incomplete) => return abort(pass, run_id, plan, jobs, &incomplete.into()).await,
        };
        copied.push(CopiedPart {
            record,
            pod_uid,
            hook_started_at,
        });
    }
    let parts: Vec<_> = plan
        .parts
        .iter()
        .cloned()
        .zip(copied.iter().map(|copied| copied.record.clone()))
        .collect();
    let suspicions = suspicions(&pass.state(), &parts);
    let manifest = match run_plan::manifest(plan, &facts(pass).await?, &copied, suspicions) {
        Ok(manifest) => manifest,
        Err(incomplete) => return abort(pass, run_id, plan, jobs, &incomplete.into()).await,
    };
    let verdict = manifest.verdict;
    let event = Event::RunCommitted {
        manifest: Box::new(manifest),
    };
    let_go::record(pass, run_id, plan, None).await?;
    append_end(pass, run_id, event).await?;
    let_go::begin(pass, run_id, plan, true);
    info!(run = %run_id, ?verdict, "run committed");
    let result = match verdict {
        RunVerdict::Good => "good",
        RunVerdict::Suspicious => "suspicious",
    };
    let state = pass.state();
    let committed = state.runs.get(run_id).and_then(Run::manifest);
    if let Some(manifest) = committed.filter(|_| verdict == RunVerdict::Suspicious) {
        let note = format!("Run {run_id} {}", does_not_count(&state, manifest));
        tell(pass, reasons::LAST_RUN_SUSPICIOUS, note).await;
    }
    clean_up(pass, plan, jobs, result).await
}

/// Ends a run without a result. Its movers are stopped first, so that none writes into a run that has ended; one that a leader
/// which is behind starts later finds the end in the ledger.
pub(super) async fn abort(
    pass: &Pass<'_>,
    run_id: &RunId,
    plan: &RunPlan,
    jobs: &[Arc<JobFact>],
    failure: &RunFailure,
) -> Result<(), Blocked> {
    remove_movers(pass, jobs).await?;
    let_go::record(pass, run_id, plan, Some(failure)).await?;
    let event = Event::RunAborted {
        run_id: run_id.clone(),
        why: failure.recorded(),
    };
    append_end(pass, run_id, event).await?;
    let_go::begin(pass, run_id, plan, false);
    let why = failure.message();
    warn!(run = %run_id, why, "run aborted");
    tell(
        pass,
        reasons::LAST_RUN_FAILED,
        format!("Run {run_id} (OrgSnapshot {}) failed: {why}", plan.snapshot_name),
    )
    .await;
    clean_up(pass, plan, jobs, "failed").await
}

/// The first end of a run wins.
async fn append_end(pass: &Pass<'_>, run_id: &RunId, event: Event) -> Result<(), Blocked> {
    let decided = pass.ledger.append_decided(pass.now, |state| {
        state
            .runs
            .get(run_id)
            .is_some_and(|run| run.end.is_none())
            .then(|| event.clone())
    });
    decided.await?;
    Ok(())
}

/// The records of a part in the bucket, each with the UID of the pod that wrote it.
async fn records(
    pass: &Pass<'_>,
    run_id: &RunId,
    part: &PartId,
) -> Result<Vec<(String, PartRecord)>, Blocked> {
    let prefix =
        bucket_layout::part_records(&pass.subject.location.prefix, pass.subject.org_id(), run_id, part);
    let unreadable = |error: RemoteError| {
        let action = format!(
            "read the records of part {part} under {prefix} in bucket {}",
            pass.subject.location.bucket
        );
        Blocked::remote(reasons::BUCKET_UNAVAILABLE, &action, &error)
    };
    let store = &pass.services.store;
    let mut records = Vec::new();
    for object in store.list(&prefix).await.map_err(unreadable)? {
        let name = object.key.strip_prefix(&prefix);
        // Beside them lies what failed.
        let Some(pod) = name.and_then(|name| name.strip_suffix(".json")) else {
            continue;
        };
        let body = store.get(&object.key).await.map_err(unreadable)?;
        let record = body.and_then(|body| serde_json::from_slice(&body).ok());
        records.extend(record.map(|record| (pod.to_owned(), record)));
    }
    Ok(records)
}

async fn facts(pass: &Pass<'_>) -> Result<RunFacts, Blocked> {
    let location = &pass.subject.location;
    let bucket = pass
        .services
        .store
        .facts(&location.prefix)
        .await
        .map_err(|error| {
            Blocked::remote(
                reasons::BUCKET_UNAVAILABLE,
                &format!("ask S3 where bucket {} lies", location.bucket),
                &error,
            )
        })?;
    Ok(RunFacts {
        org_id: pass.subject.org_id().clone(),
        cluster_uid: pass.ctx.cluster_uid.clone(),
        stage: pass.subject.region.spec.stage,
        kms_key_arn: pass.key.clone(),
        bucket: location.bucket.clone(),
        bucket_cloud_region: bucket.cloud_region,
        prefix: location.prefix.clone(),
        operator_version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

async fn remove_movers(pass: &Pass<'_>, jobs: &[Arc<JobFact>]) -> Result<(), Blocked> {
    for job in jobs {
        pass.remove(job).await?;
    }
    Ok(())
}

async fn clean_up(
    pass: &Pass<'_>,
    plan: &RunPlan,
    jobs: &[Arc<JobFact>],
    result: &'static str,
) -> Result<(), Blocked> {
    pass.ctx
        .metrics
        .runs
        .get_or_create(&metrics::Run {
            kind: "snapshot",
            result,
        })
        .inc();
    remove_movers(pass, jobs).await?;
    pass.unlock(&holder("OrgSnapshot", &plan.snapshot_name)).await
}

async fn tell(pass: &Pass<'_>, reason: &str, note: String) {
    pass.ctx
        .events
        .publish(pass.subject.org(), Severity::Warning, reason, "Snapshot", note)
        .await;
}
