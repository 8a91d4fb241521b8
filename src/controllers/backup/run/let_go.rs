//! What a run that has ended still owes its workloads: the `post` hooks. No pass waits for them, and the run does not either. That
//! they are outstanding stands in the status of its OrgSnapshot before the run ends, so whoever is there next runs them. So does
//! why it fails, in full: the ledger has a code.

use std::time::Duration;

use kube::ResourceExt;
use tray_api::orgsnapshot::{LONGEST_FAILURE, OrgSnapshot, OrgSnapshotStatus, PostHooks};
use tray_domain::{
    hook_run::waits_for_pod_until,
    ids::{PartId, RunId},
    ledger::{Run, RunEnd},
    manifest::{Consistency, PartSource, RunPlan},
    run_failure::RunFailure,
    snapshot_run::HookProgress,
};

use super::{
    hooks::{HooksOf, PostProgress, post_hooks},
    run_id_of,
};
use crate::controllers::{Blocked, backup::pass::Pass};

/// Look again for a pod to run a hook in.
const LOOK: Duration = Duration::from_secs(60);

/// Whose hooks those of a run are.
pub(super) fn of(pass: &Pass<'_>, run_id: &RunId, snapshot: &str) -> HooksOf {
    HooksOf {
        org: pass.subject.view.org.clone(),
        name: pass.subject.name().to_owned(),
        run: run_id.clone(),
        snapshot: snapshot.to_owned(),
    }
}

/// Writes into the status of the run's OrgSnapshot that its `post` hooks are outstanding, where it has any, and why it fails, where
/// it does. Before the run ends: then nobody looks at it again.
pub(super) async fn record(
    pass: &Pass<'_>,
    run_id: &RunId,
    plan: &RunPlan,
    failure: Option<&RunFailure>,
) -> Result<(), Blocked> {
    let post = post_hooks(pass.subject, &volumes(plan), true);
    let is_owed = !post.hooks.is_empty() || !post.without_pod.is_empty();
    if !is_owed && failure.is_none() {
        return Ok(());
    }
    let Some(snapshot) = pass.ctx.index.snapshots.get(&plan.snapshot_name) else {
        return Ok(());
    };
    if run_id_of(&snapshot, &pass.state()).as_ref() != Some(run_id) {
        return Ok(());
    }
    let recorded = snapshot.status.clone().unwrap_or_default();
    let status = OrgSnapshotStatus {
        post_hooks: is_owed.then_some(PostHooks::Outstanding).or(recorded.post_hooks),
        run_id: Some(run_id.to_string()),
        failure: failure.map(|failure| failure.message().chars().take(LONGEST_FAILURE).collect()),
        ..recorded
    };
    let written = pass
        .ctx
        .cluster
        .write_status(&*snapshot, snapshot.status.as_ref(), &status);
    match written.await {
        // Who deleted it ends the run by that.
        Err(kube::Error::Api(gone)) if gone.is_not_found() || gone.is_conflict() => Ok(()),
        written => Ok(written.map(drop)?),
    }
}

/// The run has ended: so does its `pre`, and its `post` hooks begin, unless they wait for a pod.
pub(super) fn begin(pass: &Pass<'_>, run_id: &RunId, plan: &RunPlan, is_committed: bool) {
    let hooks = &pass.backup.hooks;
    // The movers of a committed run were started when its `pre` hooks had ended; of others only this process knows.
    let pre_ended = is_committed
        || hooks.progress(run_id) == HookProgress::Succeeded
        || plan
            .parts
            .iter()
            .all(|part| part.consistency != Consistency::Hooks);
    let post = post_hooks(pass.subject, &volumes(plan), pre_ended);
    let is_recorded = outstanding(pass).any(|(id, _)| id == *run_id);
    if post.without_pod.is_empty() || !is_recorded {
        hooks.end(pass.ctx, of(pass, run_id, &plan.snapshot_name), post.hooks);
    }
}

/// Begins the `post` hooks that are outstanding and that this process has not begun: whoever ended the run is gone, or there was
/// no pod to run them in. Returns when to look again.
pub(in crate::controllers::backup) fn let_go(pass: &Pass<'_>) -> Option<Duration> {
    let state = pass.state();
    let mut waits = false;
    for (run_id, snapshot) in outstanding(pass) {
        let hooks = &pass.backup.hooks;
        let run = state.runs.get(&run_id);
        if hooks.post(&run_id) != PostProgress::NotBegun || run.is_some_and(|run| run.end.is_none()) {
            continue;
        }
        let (claims, is_committed) = match run {
            Some(run) => (volumes(&run.plan), run.committed_at().is_some()),
            // It is forgotten: whatever the org has.
            None => (
                pass.subject
                    .claims()
                    .into_iter()
                    .map(|claim| claim.volume)
                    .collect(),
                false,
            ),
        };
        let post = post_hooks(pass.subject, &claims, is_committed);
        let patient = run
            .and_then(ended_at)
            .is_some_and(|at| pass.now < waits_for_pod_until(at));
        if !post.without_pod.is_empty() && patient {
            waits = true;
            continue;
        }
        hooks.end(pass.ctx, of(pass, &run_id, &snapshot.name_any()), post.hooks);
    }
    waits.then_some(LOOK)
}

/// The runs whose `post` hooks are outstanding, by the statuses of their OrgSnapshots as they are now.
fn outstanding(pass: &Pass<'_>) -> impl Iterator<Item = (RunId, std::sync::Arc<OrgSnapshot>)> {
    let state = pass.state();
    let snapshots = pass.ctx.index.snapshots.of_org(pass.subject.name());
    snapshots.into_iter().filter_map(move |snapshot| {
        let said = snapshot.status.as_ref()?.post_hooks?;
        let run_id = run_id_of(&snapshot, &state)?;
        (said == PostHooks::Outstanding).then_some((run_id, snapshot))
    })
}

/// The volumes that a pod had mounted: of the others no hook has run.
fn volumes(plan: &RunPlan) -> Vec<PartId> {
    let volumes = plan.parts.iter().filter(|planned| {
        matches!(planned.source, PartSource::Volume { .. }) && planned.consistency != Consistency::AtRest
    });
    volumes.map(|planned| planned.part.clone()).collect()
}

fn ended_at(run: &Run) -> Option<jiff::Timestamp> {
    match run.end.as_ref()? {
        RunEnd::Committed { at, .. } | RunEnd::Aborted { at, .. } => Some(*at),
    }
}
