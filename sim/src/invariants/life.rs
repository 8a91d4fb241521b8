//! Invariants 8, 18 and 19: what was promised, asked for, and is due.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tray_domain::{ledger::LedgerState, mover_lifetime::RESTORE_DEADLINE};
use tray_testkit::cluster::Name;

use super::{Invariants, Org};
use crate::{
    people,
    truth::{condition, phase},
};

/// The RPO of the world's schedule.
const RPO: SignedDuration = SignedDuration::from_hours(24);
/// How long a verdict may be behind.
const VERDICT: SignedDuration = SignedDuration::from_mins(2);
/// How long a restore may wait for what was begun before it.
const PATIENCE: SignedDuration = SignedDuration::from_hours(24);
/// How long a hook may live that nobody waits for any more: until the next run.
const HOOK: SignedDuration = SignedDuration::from_hours(23);

impl Invariants {
    /// 8: RpoMet is True only while the newest good copy is within the RPO.
    pub(super) fn keeps_rpo(&self, org: &Org, state: &LedgerState, now: Timestamp) {
        let verdict =
            |object: &Value| condition(object, "RpoMet").is_some_and(|found| found["status"] == "True");
        let name = Name::new("", org.name.clone());
        if self
            .world
            .server
            .read("trayorgs.platform.tray.ai", &name, verdict)
            != Some(true)
        {
            return;
        }
        let newest = newest_copy(state);
        let skew = self.world.skew();
        if newest.is_none_or(|newest| now.duration_since(newest) > RPO + VERDICT + skew) {
            let what = format!(
                "RpoMet of {} is True, and its newest good copy is of {newest:?}",
                org.name
            );
            self.world.log.broken(8, what);
        }
    }

    /// 19: every restore ends within its deadline.
    pub(super) fn restores_end(&self, now: Timestamp) {
        let deadline = SignedDuration::try_from(RESTORE_DEADLINE).unwrap_or_default() + PATIENCE;
        let late = self
            .world
            .server
            .read_all("orgrestores.platform.tray.ai", |restore| {
                let made: Option<Timestamp> = restore["metadata"]["creationTimestamp"].as_str()?.parse().ok();
                let is_late = made.is_some_and(|made| now.duration_since(made) > deadline);
                (is_late && !has_ended(restore)).then(|| said(restore))
            });
        for restore in late.into_iter().flatten() {
            self.world
                .log
                .broken(19, format!("OrgRestore {restore} does not end"));
        }
    }

    /// 18: what was asked for is done. 16: each `pre` hook has had its `post`, and no hook runs on.
    pub(super) fn all_is_done(&self) {
        let now = tray_ports::Clock::now(&self.world.clock);
        let begun = now.checked_sub(HOOK).unwrap_or(Timestamp::MIN);
        for (Name { namespace, name }, what) in self.world.containers.older_than(begun) {
            let what = format!("hook {what} in {namespace}/{name} runs on, a day after all was well");
            self.world.log.broken(16, what);
        }
        for Name { namespace, name } in self.world.containers.quiesced() {
            let what =
                format!("the pre hook in {namespace}/{name} has had no post, a day after all was well");
            self.world.log.broken(16, what);
        }
        for kind in ["orgrestores.platform.tray.ai", "orgsnapshots.platform.tray.ai"] {
            let open = self
                .world
                .server
                .read_all(kind, |object| (!has_ended(object)).then(|| said(object)));
            for object in open.into_iter().flatten() {
                self.world.log.broken(
                    18,
                    format!("{object} of {kind} is not done a day after all was well"),
                );
            }
        }
    }

    /// 18: the org is as its manifest says.
    pub(super) fn is_as_wanted(&self, org: &Org) {
        let name = Name::new("", org.name.clone());
        let why = self
            .world
            .server
            .read("trayorgs.platform.tray.ai", &name, |object| {
                let ready = condition(object, "Ready");
                let is_ready = ready.is_some_and(|ready| ready["status"] == "True");
                (!is_ready).then(|| ready.map(ToString::to_string).unwrap_or_default())
            });
        if let Some(Some(why)) = why {
            self.world.log.broken(
                18,
                format!("{} is not ready a day after all was well: {why}", org.name),
            );
        }
        let namespace = org.namespace();
        for kind in ["statefulsets.apps", "deployments.apps"] {
            let missing = self.world.server.read_all(kind, |workload| {
                let is_ours = workload["metadata"]["namespace"] == namespace.as_str();
                let lacks = workload["status"]["readyReplicas"] != workload["spec"]["replicas"];
                (is_ours && lacks).then(|| said(workload))
            });
            for workload in missing.into_iter().flatten() {
                self.world
                    .log
                    .broken(18, format!("{workload} of {} lacks replicas", org.name));
            }
        }
    }

    /// 18: due copies are there.
    pub(super) fn is_copied(&self, org: &Org, state: &LedgerState) {
        let now = tray_ports::Clock::now(&self.world.clock);
        let newest = newest_copy(state);
        if newest.is_none_or(|newest| now.duration_since(newest) > RPO) {
            let what = format!(
                "{} has no good copy of the last day: the newest is of {newest:?}",
                org.name
            );
            self.world.log.broken(18, what);
        }
    }
}

/// The consistency point of the newest good copy.
fn newest_copy(state: &LedgerState) -> Option<Timestamp> {
    let (_, run) = state.newest_good()?;
    Some(run.manifest()?.consistency_point)
}

fn has_ended(object: &Value) -> bool {
    people::has_ended(phase(object))
}

fn said(object: &Value) -> String {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let messages: Vec<String> = conditions
        .map(|condition| {
            format!(
                "{}={} {}",
                condition["type"], condition["status"], condition["message"]
            )
        })
        .collect();
    format!(
        "{} ({}): {}",
        object["metadata"]["name"],
        phase(object),
        messages.join("; ")
    )
}
