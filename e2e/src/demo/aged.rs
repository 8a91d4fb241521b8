//! A run of 15 days ago, which retention has to remove: written while no operator runs, pruned by the operator's own planner
//! and by a mover that runs as a Job.

use std::{collections::BTreeSet, thread};

use serde_json::Value;

use super::{PATIENCE, kube::Kube, orgs::Org, report::SnapshotReport, unexpected};
use crate::{
    bucket::{AgedRun, Bucket, LedgerRun},
    error::Result,
    install::NAMESPACE,
    operator,
};

/// Older than any retention of the examples keeps a run that it does not need.
const DAYS: u32 = 15;

/// An org with its aged run.
struct Aged<'a> {
    org: &'a Org,
    run: AgedRun,
    /// How the names begin of the Jobs that prune for the org: one of them will prune it.
    jobs: String,
    /// The earlier ones of them that came to a good end.
    earlier: BTreeSet<String>,
}

/// Writes a run of 15 days ago for each of `orgs`, with the operator away, and starts the operator again. Each of them is
/// then pruned, and nothing else: every other run is still restored. Returns what the buckets say of the pruned runs.
pub fn prune_aged_runs(kube: &Kube, bucket: &Bucket, orgs: &[Org]) -> Result<Vec<SnapshotReport>> {
    operator::stop(kube)?;
    await_rest(kube)?;
    let aged = of_each(orgs, |org| Aged::write(kube, bucket, org))?;
    operator::start(kube)?;
    of_each(&aged, |aged| aged.await_pruned(kube, bucket))
}

/// Waits until no mover runs: a repository has one writer at a time, and nobody sees to it while the operator is away.
fn await_rest(kube: &Kube) -> Result<()> {
    let movers = ["jobs", "-A", "-l", "platform.tray.ai/component=mover"];
    kube.wait("movers still run", PATIENCE, &movers, |jobs| {
        let idle = |job: &Value| job["status"]["active"].as_u64().unwrap_or_default() == 0;
        jobs["items"].as_array()?.iter().all(idle).then_some(())
    })
}

impl<'a> Aged<'a> {
    fn write(kube: &Kube, bucket: &Bucket, org: &'a Org) -> Result<Self> {
        let id = org.id(kube)?;
        let jobs = format!("prune-{}-", id.split('-').next().unwrap_or_default());
        let run = bucket.age_run(org.name, DAYS)?;
        // The org's status knows nothing of it, and says that nothing is due: a person points to it, so that its ledger is read.
        let look = format!("platform.tray.ai/accept-run={}", run.run_id);
        kube.run(&["annotate", "trayorg", org.name, &look])?;
        Ok(Self {
            run,
            earlier: completed(kube, &jobs)?,
            org,
            jobs,
        })
    }

    fn await_pruned(&self, kube: &Kube, bucket: &Bucket) -> Result<SnapshotReport> {
        let what = format!("no Job {}… completed in {NAMESPACE}", self.jobs);
        kube.wait(&what, PATIENCE, &["events", "-n", NAMESPACE], |events| {
            let completed = completed_of(events, &self.jobs);
            (!completed.is_subset(&self.earlier)).then_some(())
        })?;
        let runs = bucket.runs(self.org.name)?;
        let aged = runs.iter().find(|run| run.run_id == self.run.run_id);
        let aged = aged.ok_or_else(|| self.wrong("it is not in the ledger"))?;
        if !aged.report.pruned || !aged.present.is_empty() {
            return Err(self.wrong(&format!("it was not pruned: {aged:?}")));
        }
        let kept: Vec<&LedgerRun> = runs.iter().filter(|run| !run.report.pruned).collect();
        if let Some(lost) = kept.iter().find(|run| !run.absent.is_empty()) {
            return Err(self.wrong(&format!("pruning took from another run: {lost:?}")));
        }
        let restored: BTreeSet<String> = bucket.restore_all(self.org.name)?.into_iter().collect();
        let names: BTreeSet<String> = kept.iter().map(|run| run.report.name.clone()).collect();
        if restored != names {
            return Err(self.wrong(&format!("of {names:?} only {restored:?} can be restored")));
        }
        Ok(aged.report.clone())
    }

    fn wrong(&self, detail: &str) -> crate::Error {
        unexpected(
            &format!("the run of {DAYS} days ago of {}", self.org.name),
            detail,
        )
    }
}

/// The Jobs whose names begin so that came to a good end, by UID: Kubernetes says so in an event that outlives the Job.
fn completed(kube: &Kube, jobs: &str) -> Result<BTreeSet<String>> {
    Ok(completed_of(&kube.get(&["events", "-n", NAMESPACE])?, jobs))
}

fn completed_of(events: &Value, jobs: &str) -> BTreeSet<String> {
    let events = events["items"].as_array().map_or(&[][..], Vec::as_slice);
    let of_job = events.iter().filter(|event| {
        let about = &event["involvedObject"];
        let is_one = about["name"].as_str().is_some_and(|name| name.starts_with(jobs));
        event["reason"] == "Completed" && about["kind"] == "Job" && is_one
    });
    of_job
        .filter_map(|event| event["involvedObject"]["uid"].as_str().map(str::to_owned))
        .collect()
}

/// Does the same for each at once.
fn of_each<'a, T: Sync, R: Send>(items: &'a [T], work: impl Fn(&'a T) -> Result<R> + Sync) -> Result<Vec<R>> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = items.iter().map(|item| scope.spawn(move || work(item))).collect();
        let joined = threads.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err(unexpected("a thread of the demo", "it panicked")))
        });
        joined.collect()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_jobs_of_the_org_that_ended_well_count() {
        let event = |reason: &str, name: &str, uid: &str| json!({"reason": reason, "involvedObject": {"kind": "Job", "name": name, "uid": uid}});
        let events = json!({"items": [
            event("SuccessfulCreate", "prune-a-1", "1"),
            event("Completed", "prune-b-2", "2"),
            event("Completed", "prune-a-3", "3"),
        ]});
        assert_eq!(
            completed_of(&events, "prune-a-"),
            BTreeSet::from(["3".to_owned()])
        );
    }
}
