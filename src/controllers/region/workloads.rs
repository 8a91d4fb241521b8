//! What the orgs of a Region run, as its status records it: how far a change has come, and which workloads were taken off
//! the list and are still run. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use sha2::{Digest, Sha256};
use tray_api::{
    conditions::{reasons, types},
    region::{Region, RegionWorkloads, RemovedWorkload, WorkloadsRevision},
    trayorg::TrayOrg,
    workload::Workload,
};
use tray_domain::rollout::{Health, Org, Progress, Removal, plan, removals};

use super::placed_in;
use crate::{
    adapters::kube::index::Index,
    controllers::conditions::{ConditionFact, Truth, find, is_true, listed, whole_seconds},
};

/// Characters of a revision's name.
const NAME_LENGTH: usize = 16;

/// What a look at a Region's workloads has found.
pub(super) struct RolloutFindings {
    /// `status.workloads`.
    pub record: RegionWorkloads,
    /// Condition WorkloadsRolledOut.
    pub rolled_out: ConditionFact,
    /// When the next workload goes that was taken off the list.
    pub next: Option<Timestamp>,
}

/// Looks at them.
pub(super) fn look(index: &Index, region: &Region, now: Timestamp) -> RolloutFindings {
    let recorded = region
        .status
        .as_ref()
        .and_then(|status| status.workloads.clone())
        .unwrap_or_default();
    let (workloads, removed) = present(&region.spec.workloads, &recorded, whole_seconds(now));
    let revision = name_of(&workloads);
    let name = region.name_any();
    let all = index.orgs.all();
    let orgs: Vec<Org> = all
        .iter()
        .filter(|org| placed_in(org) == Some(&name) && org.metadata.deletion_timestamp.is_none())
        .map(|org| as_member(org))
        .collect();
    let plan = plan(&revision, &recorded.wave, &orgs);

    let mut revisions = recorded.revisions;
    revisions.retain(|kept| {
        kept.name != revision && orgs.iter().any(|org| org.revision.as_ref() == Some(&kept.name))
    });
    revisions.push(WorkloadsRevision::new(revision.clone(), &workloads));
    RolloutFindings {
        rolled_out: condition(&revision, &plan.wave, &plan.progress),
        next: removed.iter().map(Removal::goes_at).min(),
        record: RegionWorkloads {
            revision,
            revisions,
            wave: plan.wave,
            removed: removed.into_iter().map(shown).collect(),
        },
    }
}

/// What the orgs run: the workloads of the spec, and those that were there before until their time is up.
fn present(listed: &[Workload], recorded: &RegionWorkloads, now: Timestamp) -> (Vec<Workload>, Vec<Removal>) {
    let before = recorded
        .revisions
        .iter()
        .find(|kept| kept.name == recorded.revision);
    let before = before.and_then(WorkloadsRevision::read).unwrap_or_default();
    let known: Vec<Removal> = recorded
        .removed
        .iter()
        .map(|removed| Removal {
            name: removed.name.clone(),
            at: removed.removed_at.0,
        })
        .collect();
    let removed = removals(&names(listed), &names(&before), &known, now);
    let still = before
        .iter()
        .filter(|w| removed.iter().any(|removal| removal.name == w.name));
    (listed.iter().chain(still).cloned().collect(), removed)
}

fn names(workloads: &[Workload]) -> Vec<&str> {
    workloads.iter().map(|workload| workload.name.as_str()).collect()
}

/// Made from what it holds: the same workloads have the same name whenever, and in whatever order, they were written.
fn name_of(workloads: &[Workload]) -> String {
    let mut sorted: Vec<&Workload> = workloads.iter().collect();
    sorted.sort_by_key(|workload| &workload.name);
    let text = serde_json::to_vec(&sorted).unwrap_or_default();
    let mut name = hex::encode(Sha256::digest(text));
    name.truncate(NAME_LENGTH);
    name
}

fn as_member(org: &TrayOrg) -> Org {
    let status = org.status.as_ref();
    Org {
        name: org.name_any(),
        revision: status.and_then(|status| status.workloads_revision.clone()),
        health: health(org),
    }
}

fn health(org: &TrayOrg) -> Health {
    let conditions = org
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    if is_true(conditions, types::READY) {
        return Health::Good;
    }
    if let Some(stalled) = find(conditions, types::STALLED) {
        return Health::Failing(stalled.reason.clone());
    }
    let on_its_way = [reasons::ROLLING_OUT, reasons::RESTORING, reasons::SUSPENDED];
    match find(conditions, types::WORKLOADS_AVAILABLE) {
        Some(workloads)
            if workloads.status == "False" && !on_its_way.contains(&workloads.reason.as_str()) =>
        {
            Health::Failing(workloads.reason.clone())
        }
        _ => Health::OnItsWay,
    }
}

fn shown(removal: Removal) -> RemovedWorkload {
    RemovedWorkload {
        removed_at: Time(removal.at),
        goes_at: Time(removal.goes_at()),
        name: removal.name,
    }
}

/// Says nothing that changes with every single org: a status is not written for each of thousands.
fn condition(revision: &str, wave: &[String], progress: &Progress) -> ConditionFact {
    match progress {
        Progress::Done => {
            let message = format!("every org runs revision {revision} of the region's workloads");
            ConditionFact::new(true, reasons::AS_SPECIFIED, message)
        }
        Progress::Going { waiting } => {
            let message = format!(
                "revision {revision} of the region's workloads reaches a few orgs at a time: {} now, {waiting} after them",
                listed(wave)
            );
            ConditionFact::new(Truth::False, reasons::ROLLING_OUT, message)
        }
        Progress::Stopped { failing, waiting } => {
            let failing: Vec<String> = failing
                .iter()
                .map(|(org, why)| format!("{org} ({why})"))
                .collect();
            let message = format!(
                "revision {revision} of the region's workloads goes no further, since orgs that have it fail: {}; {waiting} \
                 orgs keep what they have; correct spec.workloads, or what is wrong with those orgs",
                listed(&failing)
            );
            ConditionFact::new(Truth::False, reasons::ROLLOUT_STOPPED, message)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        controllers::region::fixtures,
        resources::org::fixtures::{database, runtime},
    };

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(hour * 3_600).unwrap()
    }
    /// A Region that lists these workloads and records that.
    fn region(workloads: &[Workload], recorded: Option<&RegionWorkloads>) -> Region {
        let mut region = fixtures::region();
        region.spec.workloads = workloads.to_vec();
        let status = json!({"workloads": recorded});
        region.status = recorded.map(|_| serde_json::from_value(status).unwrap());
        region
    }
    fn place(index: &Index, name: &str, revision: &str, conditions: Value) {
        let org = json!({
            "apiVersion": "platform.tray.ai/v1alpha1", "kind": "TrayOrg", "metadata": {"name": name, "uid": name},
            "spec": {"regionRef": {"name": "eu"}, "plan": "Pro"},
            "status": {
                "region": {"name": "eu", "jurisdiction": "EU", "cloudRegion": "eu-west-1"},
                "workloadsRevision": revision, "conditions": conditions,
            },
        });
        index.orgs.put(serde_json::from_value(org).unwrap());
    }
    fn condition(type_: &str, status: &str, reason: &str) -> Value {
        json!([{"type": type_, "status": status, "reason": reason, "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}])
    }
    fn ready() -> Value {
        condition("Ready", "True", "AsSpecified")
    }

    #[test]
    fn a_region_records_what_its_orgs_run_and_nothing_ticks() {
        let index = Index::default();
        let first = look(&index, &region(&[database()], None), at(0));
        assert_eq!(first.record.revisions.len(), 1);
        assert_eq!(first.rolled_out.status, Truth::True);
        let again = look(&index, &region(&[database()], Some(&first.record)), at(9));
        assert_eq!((again.record, again.next), (first.record, None));
    }

    /// Whoever runs orgs upgrades: a name that changes with the program rolls every org of the Region. Move no field of a
    /// workload, and rename none.
    #[test]
    fn a_revision_has_the_name_that_earlier_versions_gave_it() {
        let everything = json!({
            "name": "db", "kind": "StatefulSet", "image": "db:1", "command": ["start"], "args": ["now"],
            "env": [{"name": "MODE", "value": "on"}], "envFromSecrets": ["connector"], "replicas": 2,
            "runAsUser": 999, "runAsGroup": 998, "fsGroup": 997, "scratch": ["/tmp"],
            "ports": [{"name": "sql", "port": 5432}],
            "resources": {"cpu": "100m", "memory": "128Mi", "memoryLimit": "256Mi"},
            "readiness": {"httpPath": "/healthz", "port": "sql", "exec": ["ready"]},
            "volume": {"size": "10Gi", "mountPath": "/data"}, "executionLogPolicy": {"mountPath": "/etc/tray/logs"},
            "webhook": {"port": "sql"},
            "backup": {
                "exclude": true, "paths": ["backup"],
                "pre": {"command": ["copy"], "timeoutSeconds": 60}, "post": {"command": ["clean"]},
            },
        });
        let everything: Workload = serde_json::from_value(everything).unwrap();
        assert_eq!(name_of(&[runtime(), everything]), "c195d30bbbf0d376");
        assert_eq!(name_of(&[]), "4f53cda18c2baa0c");
    }

    #[test]
    fn a_change_goes_to_one_org_and_stops_where_it_fails() {
        let index = Index::default();
        let old = look(&index, &region(&[database()], None), at(0)).record;
        for name in ["a", "b"] {
            place(&index, name, &old.revision, ready());
        }
        let mut changed = database();
        changed.image = "db:2".into();
        let first = look(&index, &region(&[changed.clone()], Some(&old)), at(1));
        assert_eq!(first.record.wave, ["a"]);
        assert_eq!(first.rolled_out.reason, reasons::ROLLING_OUT);
        let kept: Vec<&str> = first.record.revisions.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(kept, [old.revision.as_str(), first.record.revision.as_str()]);
        assert_eq!(first.record.revisions[0].read().unwrap(), [database()]);

        for (conditions, reason) in [
            (condition("Stalled", "True", "ApplyRefused"), "a (ApplyRefused)"),
            (
                condition("WorkloadsAvailable", "False", "ImageUnavailable"),
                "a (ImageUnavailable)",
            ),
        ] {
            place(&index, "a", &first.record.revision, conditions);
            let stopped = look(&index, &region(&[changed.clone()], Some(&first.record)), at(2));
            assert_eq!(stopped.record.wave, ["a"]);
            assert_eq!(stopped.rolled_out.reason, reasons::ROLLOUT_STOPPED);
            assert!(
                stopped.rolled_out.message.contains(reason),
                "{}",
                stopped.rolled_out.message
            );
        }
        place(&index, "a", &first.record.revision, ready());
        let next = look(&index, &region(&[changed.clone()], Some(&first.record)), at(3));
        assert_eq!(next.record.wave, ["b"]);
        place(&index, "b", &first.record.revision, ready());
        let done = look(&index, &region(&[changed], Some(&next.record)), at(4));
        assert_eq!(
            (done.rolled_out.status, done.record.revisions.len()),
            (Truth::True, 1)
        );
    }

    #[test]
    fn a_workload_off_the_list_runs_for_a_day_and_then_goes_like_any_change() {
        let index = Index::default();
        let both = look(&index, &region(&[database(), runtime()], None), at(0)).record;
        place(&index, "a", &both.revision, ready());
        let listed = [database()];
        let waiting = look(&index, &region(&listed, Some(&both)), at(1));
        assert_eq!(
            waiting.record.revision, both.revision,
            "nothing changes for the orgs"
        );
        assert_eq!(waiting.record.removed[0].name, "runtime");
        assert_eq!(
            (waiting.record.removed[0].removed_at.0, waiting.next),
            (at(1), Some(at(25)))
        );
        let back = look(
            &index,
            &region(&[database(), runtime()], Some(&waiting.record)),
            at(2),
        );
        assert_eq!(back.record, both);
        let gone = look(&index, &region(&listed, Some(&waiting.record)), at(25));
        assert_ne!(gone.record.revision, both.revision);
        assert_eq!(
            (gone.record.removed, gone.record.wave),
            (vec![], vec!["a".to_owned()])
        );
    }

    #[test]
    fn a_revision_that_cannot_be_read_does_not_make_a_region_unreadable() {
        let record: RegionWorkloads = serde_json::from_value(
            json!({"revision": "1", "revisions": [{"name": "1", "workloads": [{"kind": "Robot"}]}]}),
        )
        .unwrap();
        assert_eq!(record.revisions[0].read(), None);
        let found = look(&Index::default(), &region(&[database()], Some(&record)), at(0));
        assert_eq!(found.record.revisions.len(), 1);
    }
}
