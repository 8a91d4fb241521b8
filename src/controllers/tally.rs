//! Counts the runs and restores that end, for the metrics. Decides nothing and writes nothing.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use kube::ResourceExt;

use super::{Driver, Failure, Next, changes::Change, context::Context};
use crate::{
    adapters::kube::index::Index,
    api::{
        orgrestore::{OrgRestore, RestorePhase},
        orgsnapshot::{OrgSnapshot, Origin, SnapshotPhase},
    },
    domain::manifest::Verdict,
    telemetry::metrics::Run,
};

/// Counts each run once: when it ends, if it was seen before its end.
#[derive(Default)]
pub struct Tally {
    /// Keys of what has not ended.
    open: Mutex<HashSet<String>>,
}

/// How far something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Open,
    Ended(Run),
    /// Not counted: found in the ledger, or gone.
    Nothing,
}

const SNAPSHOT: &str = "snapshot";
const RESTORE: &str = "restore";

fn of_snapshot(snapshot: &OrgSnapshot) -> Progress {
    if snapshot.spec.origin == Origin::Discovered {
        return Progress::Nothing;
    }
    let status = snapshot.status.as_ref();
    let result = match status.and_then(|status| status.phase) {
        Some(SnapshotPhase::Committed) if status.and_then(|s| s.verdict) == Some(Verdict::Suspicious) => {
            "suspicious"
        }
        Some(SnapshotPhase::Committed) => "good",
        Some(SnapshotPhase::Failed) => "failed",
        _ => return Progress::Open,
    };
    Progress::Ended(Run {
        kind: SNAPSHOT,
        result,
    })
}

fn of_restore(restore: &OrgRestore) -> Progress {
    let result = match restore.status.as_ref().and_then(|status| status.phase) {
        Some(RestorePhase::Succeeded) => "good",
        Some(RestorePhase::Failed) => "failed",
        _ => return Progress::Open,
    };
    Progress::Ended(Run {
        kind: RESTORE,
        result,
    })
}

fn look(index: &Index, key: &str) -> Progress {
    match key.split_once('/') {
        Some((SNAPSHOT, name)) => index
            .snapshots
            .get(name)
            .map_or(Progress::Nothing, |found| of_snapshot(&found)),
        Some((RESTORE, name)) => index
            .restores
            .get(name)
            .map_or(Progress::Nothing, |found| of_restore(&found)),
        _ => Progress::Nothing,
    }
}

impl Tally {
    /// What has ended with this look, if it was open at an earlier one.
    fn ended(&self, index: &Index, key: &str) -> Option<Run> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match look(index, key) {
            Progress::Open => {
                open.insert(key.to_owned());
                None
            }
            Progress::Ended(run) => open.remove(key).then_some(run),
            Progress::Nothing => {
                open.remove(key);
                None
            }
        }
    }
}

#[async_trait::async_trait]
impl Driver for Tally {
    fn name(&self) -> &'static str {
        "tally"
    }

    fn concerns(&self, change: &Change, _: &Index) -> Vec<String> {
        match change {
            Change::Snapshot { name, .. } => vec![format!("{SNAPSHOT}/{name}")],
            Change::Restore { name, .. } => vec![format!("{RESTORE}/{name}")],
            _ => Vec::new(),
        }
    }

    fn keys(&self, index: &Index) -> Vec<String> {
        let snapshots = index.snapshots.all();
        let restores = index.restores.all();
        let snapshots = snapshots.iter().map(|s| format!("{SNAPSHOT}/{}", s.name_any()));
        snapshots
            .chain(restores.iter().map(|r| format!("{RESTORE}/{}", r.name_any())))
            .collect()
    }

    async fn reconcile(&self, ctx: &Arc<Context>, key: &str) -> Result<Next, Failure> {
        if let Some(run) = self.ended(&ctx.index, key) {
            ctx.metrics.runs.get_or_create(&run).inc();
        }
        Ok(Next::OnChange)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const KEY: &str = "snapshot/s";

    fn see(index: &Index, version: u64, origin: &str, status: &Value) {
        let mut spec = json!({"orgRef": {"name": "acme"}, "origin": origin});
        if origin == "Discovered" {
            spec["runId"] = "01JD0000000000000000000000".into();
        }
        let snapshot = json!({
            "apiVersion": "platform.tray.ai/v1alpha1", "kind": "OrgSnapshot",
            "metadata": {"name": "s", "uid": "u", "resourceVersion": version.to_string()},
            "spec": spec, "status": status,
        });
        index.snapshots.put(serde_json::from_value(snapshot).unwrap());
    }
    fn results(phases: &[Value], origin: &str) -> Vec<Option<&'static str>> {
        let (index, tally) = (Index::default(), Tally::default());
        let looks = phases.iter().zip(1..).map(|(status, version)| {
            see(&index, version, origin, status);
            tally.ended(&index, KEY).map(|run| run.result)
        });
        looks.collect()
    }

    #[test]
    fn a_run_counts_once_when_it_ends() {
        let phases = [
            json!({"phase": "Copying"}),
            json!({"phase": "Committed", "verdict": "Good"}),
            json!({"phase": "Committed", "verdict": "Good", "files": 1}),
        ];
        assert_eq!(results(&phases, "Request"), [None, Some("good"), None]);
        let suspicious = [json!({}), json!({"phase": "Committed", "verdict": "Suspicious"})];
        assert_eq!(results(&suspicious, "Request"), [None, Some("suspicious")]);
    }

    #[test]
    fn what_ended_before_the_start_or_was_only_found_does_not_count() {
        assert_eq!(results(&[json!({"phase": "Failed"})], "Request"), [None]);
        let found = [json!({}), json!({"phase": "Committed", "verdict": "Good"})];
        assert_eq!(results(&found, "Discovered"), [None, None]);
    }
}
