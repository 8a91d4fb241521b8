//! The OrgSnapshots of an org, as a view of its ledger, each telling what the ledger tells: at most three that the operator
//! makes, and those that others made, which stay until somebody deletes them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;
use tray_api::{
    conditions::{reasons, types},
    orgsnapshot::{
        HookKind, LONGEST_HOOK_FAILURE, LONGEST_NOT_COPIED, MOST_HOOK_FAILURES, MOST_HOOKS, MOST_NOT_COPIED,
        NotCopied, OrgSnapshot, OrgSnapshotSpec, OrgSnapshotStatus, Origin, PostHooks, SnapshotHook,
        SnapshotPart, SnapshotPhase,
    },
    shared::NameRef,
};
use tray_domain::{
    hook_run::{HookMoment, HookRun},
    ids::RunId,
    ledger::{LedgerState, Run, RunEnd},
    manifest::{LeftOut, Manifest, PartSource, RunVerdict},
    run_failure::told,
    view::{self, shown},
};

use super::{
    pass::Pass,
    run::{hooks::PostProgress, is_wanted, run_id_of},
};
use crate::controllers::{
    Blocked,
    conditions::{ConditionFact, Conditions, listed, whole_seconds},
    view::backups::does_not_count,
};

/// What a pass knows of runs that the ledger does not say: how far they are, or what they wait for.
pub(super) type Phases = BTreeMap<String, (SnapshotPhase, String)>;

/// Makes the OrgSnapshots show what the ledger says.
pub(super) async fn sync(pass: &Pass<'_>, phases: &Phases) -> Result<(), Blocked> {
    let state = pass.state();
    // As they are now: this pass may have written into one.
    let present = pass.ctx.index.snapshots.of_org(pass.subject.name());
    let shown = shown(&state);
    for snapshot in present
        .iter()
        .filter(|snapshot| snapshot.metadata.deletion_timestamp.is_none())
    {
        let run_id = run_id_of(snapshot, &state);
        let run = run_id.as_ref().and_then(|id| state.runs.get(id));
        let ended = run_id.as_ref().is_some_and(|id| state.has_ended(id));
        // A ledger that does not know its run has forgotten it, or is not the one that it is in.
        if run.is_none() && is_wanted(snapshot) && snapshot.has_ended() {
            continue;
        }
        let unknown = run.is_none() && !is_wanted(snapshot);
        let is_outstanding = snapshot.status.as_ref().and_then(|status| status.post_hooks);
        let is_outstanding = is_outstanding == Some(PostHooks::Outstanding);
        let passed = ended
            && !is_outstanding
            && is_operators(snapshot)
            && run_id.as_ref().is_some_and(|id| !shown.contains(id));
        if unknown || passed {
            pass.ctx.cluster.delete_own(&**snapshot).await?;
            continue;
        }
        let hooks = run_id.as_ref().map(|id| hooks(pass, id)).unwrap_or_default();
        let seen = Seen {
            note: phases.get(&snapshot.name_any()),
            hooks: &hooks,
        };
        let status = status(snapshot, &state, run_id.as_ref(), run, &seen, pass.now);
        pass.ctx
            .cluster
            .write_status(&**snapshot, snapshot.status.as_ref(), &status)
            .await?;
    }
    forget_hooks(pass, &state);
    discover(pass, &state, &shown, &present).await
}

/// What is seen of a run that the ledger does not say.
struct Seen<'a> {
    /// How far one is that has not ended, or what it waits for.
    note: Option<&'a (SnapshotPhase, String)>,
    /// Its hooks.
    hooks: &'a Hooks,
}

/// What this process knows of the hooks of a run.
#[derive(Default)]
struct Hooks {
    running: Vec<HookRun>,
    post: Option<PostProgress>,
}

fn hooks(pass: &Pass<'_>, run_id: &RunId) -> Hooks {
    Hooks {
        running: pass.backup.hooks.running(run_id),
        post: Some(pass.backup.hooks.post(run_id)),
    }
}

/// What became of the hooks of runs that have ended is recorded now, or there is nothing to record it in.
fn forget_hooks(pass: &Pass<'_>, state: &LedgerState) {
    let is_open = |run: &RunId| state.runs.get(run).is_some_and(|run| run.end.is_none());
    pass.backup.hooks.forget(pass.subject.name(), is_open);
}

/// Whether the operator made it. What a person made, or a tool from Git, would be made again if it went.
fn is_operators(snapshot: &OrgSnapshot) -> bool {
    match snapshot.spec.origin {
        Origin::Schedule | Origin::Discovered => true,
        Origin::Request => false,
    }
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
            .any(|snapshot| run_id_of(snapshot, state).as_ref() == Some(run_id));
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

/// What an OrgSnapshot shows.
fn status(
    snapshot: &OrgSnapshot,
    state: &LedgerState,
    run_id: Option<&RunId>,
    run: Option<&Run>,
    seen: &Seen<'_>,
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
    show_hooks(&mut status, snapshot.status.as_ref(), seen.hooks);
    let owed = owed(&status);
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
            status.not_copied = not_copied(run, manifest);
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
            conditions.set(types::COMMITTED, &committed(state, run, manifest, &owed));
        }
        Some((_, Some(RunEnd::Aborted { why, .. }))) => {
            status.phase = Some(SnapshotPhase::Failed);
            // The ledger has a code. What there was to say besides was written down before the end.
            status.failure = recorded_failure(snapshot, run_id);
            let said = status.failure.clone().unwrap_or_else(|| told(why));
            let why = format!("{said}{owed}");
            conditions
                .set(
                    types::COMMITTED,
                    &ConditionFact::new(false, reasons::LAST_RUN_FAILED, why.clone()),
                )
                // It never becomes anything else: whoever waits for it is told.
                .set(
                    types::STALLED,
                    &ConditionFact::new(true, reasons::LAST_RUN_FAILED, why),
                );
        }
        open => {
            let waiting = (SnapshotPhase::Pending, "waits for its turn".to_owned());
            let (phase, mut message) = seen.note.cloned().unwrap_or(waiting);
            if open.is_none()
                && let Some(created) = snapshot.creation_timestamp()
            {
                message = format!("{message}; asked for at {}", whole_seconds(created.0));
            }
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

/// Why the run failed, as its status has it.
fn recorded_failure(snapshot: &OrgSnapshot, run_id: Option<&RunId>) -> Option<String> {
    let recorded = snapshot.status.as_ref()?;
    let is_of_it = recorded.run_id.as_deref() == run_id.map(RunId::as_str);
    recorded.failure.clone().filter(|_| is_of_it)
}

/// What is said of a committed run; `owed` = of its `post` hooks.
fn committed(state: &LedgerState, run: &Run, manifest: &Manifest, owed: &str) -> ConditionFact {
    if run.is_suspicious() {
        let message = format!("it {}{owed}", does_not_count(state, manifest));
        return ConditionFact::new(true, reasons::LAST_RUN_SUSPICIOUS, message);
    }
    ConditionFact::new(
        true,
        reasons::AS_SPECIFIED,
        format!("every part was copied, verified and committed{owed}"),
    )
}

/// The hooks that run, and how far those at the end of the run are. What is recorded holds where this process knows nothing.
fn show_hooks(status: &mut OrgSnapshotStatus, recorded: Option<&OrgSnapshotStatus>, hooks: &Hooks) {
    let shown = hooks.running.iter().take(MOST_HOOKS).map(|hook| SnapshotHook {
        part: hook.part.to_string(),
        hook: match hook.moment {
            HookMoment::Pre => HookKind::Pre,
            HookMoment::Post => HookKind::Post,
        },
        pod: hook.pod.clone(),
        since: Time(whole_seconds(hook.since)),
        until: Time(whole_seconds(hook.until)),
    });
    status.hooks = shown.collect();
    let recorded_post = recorded.and_then(|recorded| recorded.post_hooks);
    match &hooks.post {
        Some(PostProgress::Running) => status.post_hooks = Some(PostHooks::Outstanding),
        Some(PostProgress::Ended(failed)) if !failed.is_empty() => {
            status.post_hooks = Some(PostHooks::Failed);
            let shortened = failed
                .iter()
                .map(|why| why.chars().take(LONGEST_HOOK_FAILURE).collect());
            status.post_hook_failures = shortened.take(MOST_HOOK_FAILURES).collect();
        }
        Some(PostProgress::Ended(_)) => {
            status.post_hooks = recorded_post.map(|recorded| match recorded {
                PostHooks::Failed => PostHooks::Failed,
                PostHooks::Outstanding | PostHooks::Ended => PostHooks::Ended,
            });
        }
        Some(PostProgress::NotBegun) | None => status.post_hooks = recorded_post,
    }
    if status.post_hooks == Some(PostHooks::Failed) && status.post_hook_failures.is_empty() {
        status.post_hook_failures = recorded
            .map(|recorded| recorded.post_hook_failures.clone())
            .unwrap_or_default();
    }
}

/// What of the `post` hooks of a run that has ended is still to come, or failed: behind what else is said of it.
fn owed(status: &OrgSnapshotStatus) -> String {
    match status.post_hooks {
        None | Some(PostHooks::Ended) => String::new(),
        Some(PostHooks::Failed) => format!("; {}", status.post_hook_failures.join("; ")),
        Some(PostHooks::Outstanding) if status.hooks.is_empty() => {
            "; its post hooks wait for a pod to run in, or for other hooks to end".to_owned()
        }
        Some(PostHooks::Outstanding) => {
            let running = status.hooks.iter().map(|hook| {
                format!(
                    "the post hook of {} runs in pod {} since {}, until {} at the latest",
                    hook.part, hook.pod, hook.since.0, hook.until.0
                )
            });
            format!("; {}", listed(&running.collect::<Vec<_>>()))
        }
    }
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

/// What in the org's namespace a run does not hold.
fn not_copied(run: &Run, manifest: &Manifest) -> Option<NotCopied> {
    let claims = run.plan.not_copied.as_ref();
    let mut objects = manifest
        .parts
        .iter()
        .filter(|part| part.planned.source == PartSource::Objects {});
    let left_out = objects
        .next()
        .map(|part| part.record.left_out.as_slice())
        .unwrap_or_default();
    let shortened = left_out
        .iter()
        .map(|of_one| of_one.to_string().chars().take(LONGEST_NOT_COPIED).collect());
    let objects_count: u64 = left_out.iter().map(LeftOut::objects).sum();
    let found = NotCopied {
        claims: claims
            .map(|others| others.claims.iter().take(MOST_NOT_COPIED).cloned().collect())
            .unwrap_or_default(),
        claims_count: claims.and_then(|others| i64::try_from(others.count).ok()),
        excluded: manifest.excluded.iter().map(ToString::to_string).collect(),
        objects: shortened.take(MOST_NOT_COPIED).collect(),
        objects_count: i64::try_from(objects_count).ok().filter(|count| *count > 0),
    };
    (found != NotCopied::default()).then_some(found)
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
        // Nobody looks at them meanwhile.
        hooks: Vec::new(),
        conditions,
        ..recorded
    }
}
