//! The hooks of a run: `pre` makes a workload's volume consistent, `post` lets it go on. They may take an hour, so they
//! run beside the passes over their org.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use jiff::Timestamp;
use tray_api::workload;
use tray_domain::{
    ids::{PartId, RunId},
    names,
    snapshot_run::HookProgress,
};
use tray_ports::{Clock, HookError, HookRunner, HookTarget};

use crate::controllers::{changes::Change, context::Context, view::subject::Subject};

/// One command to run in a workload's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hook {
    /// The claim whose part the hook makes consistent.
    pub claim: PartId,
    /// Where it runs.
    pub target: HookTarget,
    /// What runs.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
}

impl Hook {
    /// The hook of the workload's declaration, in the pod that has the claim mounted.
    fn of(subject: &Subject<'_>, claim: &PartId, pod: String, declared: &workload::Hook) -> Self {
        let seconds = declared
            .timeout_seconds
            .unwrap_or(workload::Hook::DEFAULT_TIMEOUT_SECONDS);
        Self {
            claim: claim.clone(),
            target: HookTarget {
                namespace: subject.namespace().to_owned(),
                pod,
                container: names::WORKLOAD_CONTAINER.to_owned(),
            },
            command: declared.command.clone(),
            timeout: Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
        }
    }
}

/// The `pre` hooks of these claims; an error names the claim that no pod runs for.
pub(crate) fn pre_hooks(subject: &Subject<'_>, claims: &[PartId]) -> Result<Vec<Hook>, String> {
    let declared = claims.iter().filter_map(|claim| {
        let backup = subject.workload_of(claim)?.backup.as_ref()?;
        Some((claim, backup.pre.as_ref()?))
    });
    declared
        .map(|(claim, hook)| {
            let pod = running_pod(subject, claim).ok_or_else(|| {
                format!("no running pod has volume {claim} mounted: its pre hook cannot run")
            })?;
            Ok(Hook::of(subject, claim, pod, hook))
        })
        .collect()
}

/// The `post` hooks of these claims, where a pod runs.
pub(crate) fn post_hooks(subject: &Subject<'_>, claims: &[PartId]) -> Vec<Hook> {
    let declared = claims.iter().filter_map(|claim| {
        let backup = subject.workload_of(claim)?.backup.as_ref()?;
        Some(Hook::of(
            subject,
            claim,
            running_pod(subject, claim)?,
            backup.post.as_ref()?,
        ))
    });
    declared.collect()
}

fn running_pod(subject: &Subject<'_>, claim: &PartId) -> Option<String> {
    let pod = subject.pod_with(claim)?;
    (pod.phase == "Running" && !pod.deleting).then(|| pod.name.clone())
}

/// When each claim's hook began: the consistency point of its part.
pub(crate) type HookPoints = BTreeMap<PartId, Timestamp>;

/// Runs all `pre` hooks at once and returns when each began. The first failure is returned after all have ended, so that
/// no hook is still running when the run is given up.
async fn run_pre(
    runner: &dyn HookRunner,
    clock: &dyn Clock,
    hooks: &[Hook],
) -> Result<HookPoints, HookError> {
    let runs = hooks.iter().map(|hook| async {
        // Before the command, never after: what is committed while it runs may or may not be in the copy.
        let began = clock.now();
        runner.run(&hook.target, &hook.command, hook.timeout).await?;
        Ok((hook.claim.clone(), began))
    });
    join_all(runs).await.into_iter().collect()
}

/// Runs all `post` hooks at once; returns what failed. A run is not lost by a failed `post`, but it is told.
pub(crate) async fn run_post(runner: &dyn HookRunner, hooks: &[Hook]) -> Vec<HookError> {
    let runs = hooks
        .iter()
        .map(|hook| runner.run(&hook.target, &hook.command, hook.timeout));
    join_all(runs).await.into_iter().filter_map(Result::err).collect()
}

/// The `pre` hooks that this process runs or has run, by run. What an operator that is gone was running is not known:
/// such a hook is run again, and replaces what the first left.
#[derive(Clone, Default)]
pub(crate) struct HookTasks {
    tasks: Arc<Mutex<HashMap<RunId, State>>>,
}

#[derive(Clone)]
enum State {
    Running,
    Ended(Result<HookPoints, String>),
}

impl HookTasks {
    fn tasks(&self) -> MutexGuard<'_, HashMap<RunId, State>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins hooks. When they have ended, `ended` is published.
    pub(crate) fn begin(&self, ctx: &Arc<Context>, run: &RunId, hooks: Vec<Hook>, ended: Change) {
        self.tasks().insert(run.clone(), State::Running);
        let (tasks, ctx, run) = (self.clone(), ctx.clone(), run.clone());
        tokio::spawn(async move {
            let result = run_pre(&*ctx.hooks, &*ctx.clock, &hooks).await;
            tasks
                .tasks()
                .insert(run, State::Ended(result.map_err(|error| error.to_string())));
            ctx.changes.publish(&ended);
        });
    }

    /// Hooks that cannot begin.
    pub(crate) fn fail(&self, run: &RunId, why: String) {
        self.tasks().insert(run.clone(), State::Ended(Err(why)));
    }

    /// How far they are.
    pub(crate) fn progress(&self, run: &RunId) -> HookProgress {
        match self.tasks().get(run) {
            None => HookProgress::NotBegun,
            Some(State::Running) => HookProgress::Running,
            Some(State::Ended(Ok(_))) => HookProgress::Succeeded,
            Some(State::Ended(Err(why))) => HookProgress::Failed(why.clone()),
        }
    }

    /// When the hook of a claim began.
    pub(crate) fn point(&self, run: &RunId, claim: &PartId) -> Option<Timestamp> {
        match self.tasks().get(run) {
            Some(State::Ended(Ok(points))) => points.get(claim).copied(),
            _ => None,
        }
    }

    /// The run has ended.
    pub(crate) fn forget(&self, run: &RunId) {
        self.tasks().remove(run);
    }
}
