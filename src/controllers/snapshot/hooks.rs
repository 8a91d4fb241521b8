//! The hooks of a run: `pre` makes a workload's volume consistent, `post` lets it go on.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use jiff::Timestamp;

use crate::{
    adapters::kube::exec::{HookError, HookTarget, run_hook},
    ports::Clock,
};

/// One command to run in a workload's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The workload.
    pub workload: String,
    /// The claim whose part the hook makes consistent.
    pub claim: String,
    /// Where it runs.
    pub target: HookTarget,
    /// What runs.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
}

/// When each claim's hook began: the consistency point of its part.
pub type HookPoints = BTreeMap<String, Timestamp>;

/// Runs all `pre` hooks at once and returns when each began. The first failure is returned after all have ended, so that
/// no hook is still running when the run is given up.
pub async fn run_pre(client: &kube::Client, clock: &dyn Clock, hooks: &[Hook]) -> Result<HookPoints, HookError> {
    let runs = hooks.iter().map(|hook| async {
        // Before the command, never after: what is committed while it runs may or may not be in the copy.
        let began = clock.now();
        run_hook(client.clone(), &hook.target, &hook.command, hook.timeout).await?;
        Ok((hook.claim.clone(), began))
    });
    join_all(runs).await.into_iter().collect()
}

/// Runs all `post` hooks at once; returns what failed. A run is not lost by a failed `post`, but it is told.
pub async fn run_post(client: &kube::Client, hooks: &[Hook]) -> Vec<HookError> {
    let runs =
        hooks.iter().map(|hook| run_hook(client.clone(), &hook.target, &hook.command, hook.timeout));
    join_all(runs).await.into_iter().filter_map(Result::err).collect()
}
