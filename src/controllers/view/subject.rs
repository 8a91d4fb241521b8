//! An org whose backups can be worked on: it is placed, its Region is there and the place that it was, and its bucket, keys
//! and workloads are known. All of it is read off the [`OrgView`] of the pass.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tray_api::{
    backup_schedule::BackupSchedule,
    conditions::{reasons, types},
    region::Region,
    trayorg::{SnapshotRetentionStatus, TrayOrg},
    workload::Workload,
};
use tray_domain::{
    acknowledgement::accepts,
    backup_place::settle,
    claim_holders::{NamingPod, PodOf},
    ids::{KmsKeyArn, OrgId, PartId},
    mover_task::BucketLocation,
    names, quantity,
    volume_facts::PresentClaim,
};

use crate::{
    adapters::kube::{
        child::{ChildFact, ChildStatus},
        facts::PodFact,
    },
    controllers::{
        blocked::Blocked,
        conditions::{Truth, find},
        view::{
            acknowledgements::asked,
            backup_place::{self, committed_at},
            identity::{is_abandoned, is_of},
            movers::{MoverHindrance, hindrance},
            org::{Home, OrgView},
            region::bucket_location,
        },
    },
    resources::{
        child::{ChildId, ChildKind},
        org::{Placement, claim, workload::child_kind},
    },
};

/// How far the clocks of two API servers may differ: an org's namespace is made after its TrayOrg, by that much less perhaps.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(1);

/// An org whose backups can be worked on.
pub struct Subject<'a> {
    /// What is known of it.
    pub view: &'a OrgView,
    /// Where it is.
    pub placement: Placement,
    /// Its Region.
    pub region: Arc<Region>,
    /// Its bucket.
    pub location: BucketLocation,
    /// The Region's key for ledgers.
    pub ledger_key: KmsKeyArn,
    /// The Region's key for orgs that have none yet; none = each gets one of its own.
    pub shared_key: Option<KmsKeyArn>,
    /// What it runs.
    pub workloads: &'a [Workload],
}

impl<'a> Subject<'a> {
    /// The org of that view; not while it is not placed, its Region is not there or is another one by now, or has its orgs'
    /// backups elsewhere by now, its workloads cannot be told, or it is going.
    pub fn of(view: &'a OrgView) -> Result<Self, Blocked> {
        let name = view.name();
        if view.is_terminating() {
            let message = format!("TrayOrg {name} is being deleted");
            return Err(Blocked::person(reasons::DELETING, message));
        }
        let Some(placement) = recorded(&view.org) else {
            let message =
                format!("TrayOrg {name} is not placed in a Region that is ready: see its conditions");
            return Err(Blocked::person(reasons::ORG_NOT_PLACED, message));
        };
        let pinned = &placement.region;
        let Some(Home {
            region, effective, ..
        }) = &view.home
        else {
            let message = format!("there is no Region {}: create it as it was", pinned.name);
            return Err(Blocked::person(reasons::REGION_NOT_SERVED, message));
        };
        let spec = &region.spec;
        if spec.cloud_region != pinned.cloud_region || spec.jurisdiction != pinned.jurisdiction {
            let message = format!(
                "Region {} was {} ({}) when the org was placed and is {} ({}) now: restore the Region as it was",
                pinned.name, pinned.cloud_region, pinned.jurisdiction, spec.cloud_region, spec.jurisdiction
            );
            return Err(Blocked::person(reasons::REGION_CHANGED, message));
        }
        if let Some(changed) = settle(view.copies.clone(), Some(&backup_place::said(region))).changed {
            return Err(changed.into());
        }
        let backup = &spec.backup;
        let key = |arn: &str, field: &str, reason| {
            arn.parse::<KmsKeyArn>().map_err(|error| {
                let message = format!("spec.backup.kms.{field} of Region {}: {error}", pinned.name);
                Blocked::person(reason, message)
            })
        };
        let ledger_key = key(
            &backup.kms.ledger_key_arn,
            "ledgerKeyArn",
            reasons::LEDGER_KEY_UNUSABLE,
        )?;
        let shared_key = backup.kms.key_arn.as_deref();
        let shared_key = shared_key
            .map(|arn| key(arn, "keyArn", reasons::KEY_UNUSABLE))
            .transpose()?;
        let workloads = match effective {
            Ok(effective) => effective.workloads.as_slice(),
            Err(conflict) => return Err(conflict.clone().into()),
        };
        Ok(Self {
            location: bucket_location(backup),
            ledger_key,
            shared_key,
            workloads,
            placement,
            region: region.clone(),
            view,
        })
    }

    /// The TrayOrg.
    pub fn org(&self) -> &TrayOrg {
        &self.view.org
    }

    /// Its BackupSchedule, if it is there.
    pub fn schedule(&self) -> Option<&BackupSchedule> {
        self.view.schedule.as_deref()
    }

    /// Whether copies of it are on record outside of its ledger, or may be there since it is back after its deletion, so that an
    /// empty ledger is not its own. A person may have given them up.
    pub fn has_copies(&self) -> bool {
        !self.has_given_up_ledger() && (self.has_recorded_copies() || self.is_back())
    }

    /// Whether a person has accepted that its ledger is lost, and that was not carried out yet.
    pub fn has_given_up_ledger(&self) -> bool {
        let value = asked(self.view, names::ANNOTATION_ACCEPT_LEDGER_LOSS);
        value.is_some_and(|value| accepts(value, &self.location.bucket))
    }

    /// Whether its status or an OrgSnapshot tells of a good copy.
    fn has_recorded_copies(&self) -> bool {
        let status = self.org().status.as_ref();
        let backup = status.and_then(|status| status.backup.as_ref());
        backup.is_some_and(|backup| {
            backup.last_committed.is_some() || backup.count.is_some_and(|count| count > 0)
        }) || self
            .view
            .snapshots
            .iter()
            .any(|snapshot| committed_at(snapshot, self.org()).is_some())
    }

    /// Whether it was there before its TrayOrg was: its tombstone has not gone yet, its namespace says that it was left, or is
    /// older than the TrayOrg. Nothing of these says whether there was a copy, but as a rule there was a ledger: one that is not
    /// found is told of rather than begun anew.
    fn is_back(&self) -> bool {
        let namespace = self.view.namespace.as_deref();
        let own = namespace.filter(|namespace| is_of(namespace, self.org_id().as_str()));
        self.view.own_tombstone().is_some()
            || own.is_some_and(|namespace| is_abandoned(namespace) || is_older(namespace, self.org()))
    }

    /// How long its snapshots are kept at present. What became shorter waits, by what the TrayOrg controller has recorded;
    /// what became longer does not wait for it. None while nothing is recorded, or its RetentionPolicy is not there.
    pub fn snapshot_retention(&self) -> Option<SnapshotRetentionStatus> {
        let wanted = &self.view.policy.as_ref()?.spec.snapshots;
        let in_force = self.org().status.as_ref()?.snapshot_retention?;
        Some(SnapshotRetentionStatus {
            keep_days: in_force.keep_days.max(wanted.keep_days),
            keep_at_least: in_force.keep_at_least.max(wanted.keep_at_least),
        })
    }

    /// Name of the TrayOrg.
    pub fn name(&self) -> &str {
        &self.placement.org
    }

    /// Its id.
    pub fn org_id(&self) -> &OrgId {
        &self.placement.org_id
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.placement.namespace
    }

    /// When it was placed, as near as the cluster remembers: from here its RPO counts.
    pub fn placed_at(&self) -> Timestamp {
        placed_at(self.org())
    }

    /// What a fresh claim of that name holds; none where no workload has such a volume.
    pub fn capacity_bytes(&self, claim: &PartId) -> Option<u64> {
        let volume = self.workload_of(claim)?.volume.as_ref()?;
        u64::try_from(quantity::milli(&volume.size.0)? / 1_000).ok()
    }

    /// The workload of that name.
    pub fn workload(&self, name: &str) -> Option<&Workload> {
        self.workloads.iter().find(|workload| workload.name == name)
    }

    /// The workload that a claim belongs to.
    pub fn workload_of(&self, claim: &PartId) -> Option<&Workload> {
        self.workloads.iter().find(|workload| {
            claim::claim_names(workload)
                .iter()
                .any(|name| name == claim.as_str())
        })
    }

    /// Which child a claim is.
    pub fn claim_id(&self, claim: &PartId) -> ChildId {
        ChildId {
            kind: ChildKind::PersistentVolumeClaim,
            namespace: self.namespace().to_owned(),
            name: claim.to_string(),
        }
    }

    /// The claim of that name, if it is there.
    pub fn claim(&self, claim: &PartId) -> Option<Arc<ChildFact>> {
        let (id, children) = (self.claim_id(claim), &self.view.children);
        children.iter().find(|child| child.id == id).cloned()
    }

    /// Every claim that is there.
    pub fn claims(&self) -> Vec<PresentClaim> {
        let claims = self.view.children.iter().filter(|child| {
            child.id.kind == ChildKind::PersistentVolumeClaim && child.id.namespace == self.namespace()
        });
        claims
            .filter_map(|claim| {
                Some(PresentClaim {
                    volume: claim.id.name.parse().ok()?,
                    uid: claim.identity.uid.clone(),
                })
            })
            .collect()
    }

    /// The pods of its workloads that still exist.
    pub fn workload_pods(&self) -> Vec<Arc<PodFact>> {
        let own = self.own_pods();
        own.filter(|pod| !pod.mover && !pod.has_ended())
            .cloned()
            .collect()
    }

    /// Every pod in its namespace, by the claims that it names.
    pub fn naming_pods(&self) -> Vec<NamingPod<'_>> {
        let pods = self.view.pods.iter().map(|placed| &*placed.pod);
        let here = pods.filter(|pod| pod.namespace == self.namespace());
        here.map(|pod| {
            let of_workload = || {
                let workload = pod.workload.as_deref().and_then(|name| self.workload(name));
                pod.org.as_deref() == Some(self.name()) && workload.is_some()
            };
            NamingPod {
                name: &pod.name,
                uid: &pod.identity.uid,
                claims: &pod.claims,
                of: if pod.mover {
                    PodOf::Mover
                } else if of_workload() {
                    PodOf::Workload
                } else {
                    PodOf::Other
                },
                has_ended: pod.has_ended(),
                deleting: pod.deleting,
            }
        })
        .collect()
    }

    /// A pod that has the claim mounted, or is about to.
    pub fn pod_with(&self, claim: &PartId) -> Option<Arc<PodFact>> {
        let pods = self.workload_pods();
        pods.into_iter()
            .find(|pod| pod.claims.iter().any(|name| name == claim.as_str()))
    }

    /// Why a mover in the org's namespace does not run, for people: it is not given up before its deadline.
    pub fn mover_problem(&self, now: Timestamp) -> Option<String> {
        self.mover_hindrance(now).map(|found| found.to_string())
    }

    /// What keeps a mover in the org's namespace from its work.
    pub fn mover_hindrance(&self, now: Timestamp) -> Option<MoverHindrance> {
        let jobs = self.view.movers.iter().map(|job| &**job);
        let pods = self.own_pods().filter(|pod| pod.mover).map(|pod| &**pod);
        hindrance(jobs.filter(|job| job.namespace == self.namespace()), pods, now)
    }

    /// The pods in its namespace that say they are its own.
    fn own_pods(&self) -> impl Iterator<Item = &Arc<PodFact>> {
        let pods = self.view.pods.iter().map(|placed| &placed.pod);
        pods.filter(|pod| pod.namespace == self.namespace() && pod.org.as_deref() == Some(self.name()))
    }

    /// Why its workloads are not available, for people; none = they are, or it is suspended and has none to wait for.
    pub fn unavailable(&self) -> Option<String> {
        if self.view.is_suspended() || self.is_available() {
            return None;
        }
        let status = self.org().status.as_ref();
        let told = status.and_then(|status| find(&status.conditions, types::WORKLOADS_AVAILABLE));
        let why = told.filter(|told| told.status == Truth::False.as_str());
        Some(why.map_or_else(
            || "replicas of its workloads are not available yet".to_owned(),
            |why| why.message.clone(),
        ))
    }

    /// Whether all workloads that should run have all their replicas available.
    pub fn is_available(&self) -> bool {
        let available = |workload: &Workload| {
            let wanted = i64::from(claim::declared_replicas(workload));
            let fact = self.view.children.iter().find(|child| {
                child.id.kind == child_kind(workload.kind)
                    && child.id.namespace == self.namespace()
                    && child.id.name == workload.name
            });
            fact.is_some_and(|child| match &child.observed {
                ChildStatus::Workload(fact) => fact.rolled_out() && fact.available >= wanted,
                _ => false,
            })
        };
        self.workloads.iter().all(available)
    }
}

/// Where an org was placed, as its status has it.
fn recorded(org: &TrayOrg) -> Option<Placement> {
    let status = org.status.as_ref()?;
    let id: OrgId = status.org_id.as_deref()?.parse().ok()?;
    let mut placement = Placement::new(org.name_any(), id, status.region.clone()?);
    placement.namespace = status.namespace.clone()?;
    Some(placement)
}

fn is_older(namespace: &ChildFact, org: &TrayOrg) -> bool {
    let created_at = org.creation_timestamp().map(|created| created.0);
    let times = namespace.observed.made_at().zip(created_at);
    times.is_some_and(|(made_at, created_at)| created_at.duration_since(made_at) > CLOCKS_DIFFER)
}

/// When an org was placed, as near as the cluster remembers.
pub fn placed_at(org: &TrayOrg) -> Timestamp {
    let created = org.creation_timestamp();
    created.map_or(Timestamp::UNIX_EPOCH, |created| created.0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        adapters::kube::index::Index,
        controllers::{board::Board, changes::Changes, view::org::Sources},
        resources::org::fixtures,
    };

    const ID: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

    fn object(kind: &str, name: &str, spec: &Value) -> Value {
        json!({"apiVersion": "platform.tray.ai/v1alpha1", "kind": kind, "spec": spec,
            "metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"}})
    }
    fn org(backup: &Value) -> Value {
        let mut org = object("TrayOrg", "acme", &serde_json::to_value(fixtures::org()).unwrap());
        org["status"] = json!({"orgId": ID, "namespace": "org-acme-7c9e6679", "backup": backup,
            "region": {"name": "eu", "jurisdiction": "EU", "cloudRegion": "eu-west-1"}});
        org
    }
    fn index(org: &Value) -> Index {
        let index = Index::default();
        let region = object("Region", "eu", &serde_json::to_value(fixtures::region()).unwrap());
        index.regions.put(serde_json::from_value(region).unwrap());
        index.orgs.put(serde_json::from_value(org.clone()).unwrap());
        index
    }

    fn view(index: Index) -> OrgView {
        let index = Arc::new(index);
        let sources = Sources {
            index: &index,
            board: &Board::new(Arc::new(Changes::new(index.clone()))),
            support_groups: &[],
            now: Timestamp::UNIX_EPOCH,
        };
        OrgView::of(index.orgs.get("acme").unwrap(), &sources)
    }
    fn has_copies(index: Index) -> bool {
        Subject::of(&view(index)).unwrap().has_copies()
    }

    #[test]
    fn what_keeps_an_orgs_backups_is_named() {
        let change = |pointer: &str, value: Value| {
            let mut org = org(&json!({}));
            *org.pointer_mut(pointer).unwrap() = value;
            index(&org)
        };
        for (index, reason, names) in [
            (
                change("/status", Value::Null),
                reasons::ORG_NOT_PLACED,
                "see its conditions",
            ),
            (
                change("/status/region/name", "us".into()),
                reasons::REGION_NOT_SERVED,
                "Region us",
            ),
            (
                change("/status/region/cloudRegion", "eu-west-3".into()),
                reasons::REGION_CHANGED,
                "eu-west-3",
            ),
            (change("/status/backup", json!({})), "", ""),
            (
                change("/spec", {
                    let mut spec = serde_json::to_value(fixtures::org()).unwrap();
                    spec["workloads"] = json!([{"name": "db", "kind": "Deployment", "image": "x"}]);
                    spec
                }),
                reasons::WORKLOAD_NAME_TAKEN,
                "db",
            ),
        ] {
            let view = view(index);
            let found = Subject::of(&view).err();
            let said = found
                .as_ref()
                .map_or(("", ""), |found| (found.reason, found.message.as_str()));
            assert_eq!(said.0, reason);
            assert!(said.1.contains(names), "{said:?}");
            assert_eq!(view.is_placed(), reason != reasons::ORG_NOT_PLACED, "{reason}");
        }
    }

    #[test]
    fn copies_on_record_need_a_ledger_until_a_person_gives_them_up() {
        let has = |org: &Value| has_copies(index(org));
        for (backup, wanted) in [
            (json!({}), false),
            (json!({"count": 0}), false),
            (json!({"count": 1}), true),
            (json!({"count": 0, "lastCommitted": "2026-01-02T00:00:00Z"}), true),
        ] {
            assert_eq!(has(&org(&backup)), wanted, "{backup}");
        }
        let mut given_up = org(&json!({"count": 1}));
        for (bucket, wanted) in [("another", true), ("tray-backups-eu", false)] {
            given_up["metadata"]["annotations"] = json!({names::ANNOTATION_ACCEPT_LEDGER_LOSS: bucket});
            assert_eq!(has(&given_up), wanted, "{bucket}");
        }
        // It was carried out once, and the annotation is left alone: another loss needs another value.
        given_up["status"]["acknowledgements"] = json!([{"annotation": "accept-ledger-loss",
            "value": "tray-backups-eu", "result": "CarriedOut", "at": "2026-01-01T00:00:00Z"}]);
        for (value, wanted) in [("tray-backups-eu", true), ("tray-backups-eu/2", false)] {
            given_up["metadata"]["annotations"] = json!({names::ANNOTATION_ACCEPT_LEDGER_LOSS: value});
            assert_eq!(has(&given_up), wanted, "{value}");
        }
        for (at, wanted) in [("2026-01-02T00:00:00Z", true), ("2025-12-31T00:00:00Z", false)] {
            let index = index(&org(&json!({})));
            let mut snapshot = object("OrgSnapshot", "s", &json!({"orgRef": {"name": "acme"}}));
            snapshot["status"] =
                json!({"phase": "Committed", "committedAt": at, "bucket": "tray-backups-eu"});
            index.snapshots.put(serde_json::from_value(snapshot).unwrap());
            assert_eq!(has_copies(index), wanted, "{at}");
        }
    }

    /// The namespace of acme, made at that time, as an org's of that id, with one label more.
    fn with_namespace(index: &Index, made_at: &str, id: &str, label: &str) {
        let namespace = json!({"metadata": {
            "name": "org-acme-7c9e6679", "creationTimestamp": made_at,
            "labels": {names::LABEL_ORG: "acme", names::LABEL_ORG_ID: id, label: "true"},
        }});
        let live = serde_json::from_value(namespace).unwrap();
        let fact = ChildFact::of(ChildKind::Namespace, &live);
        index.children.observe(fact);
    }
    fn tombstone(of: &str) -> Value {
        let spec = json!({
            "org": "acme", "orgId": of, "namespace": "org-acme-7c9e6679", "reason": "Deletion",
            "region": {"name": "eu", "jurisdiction": "EU", "cloudRegion": "eu-west-1"},
            "deletedAt": "2025-12-31T00:00:00Z", "purgeAt": "2026-04-01T00:00:00Z",
            "erasureStartsAt": "2026-03-23T00:00:00Z",
        });
        object("OrgTombstone", "acme-7c9e6679", &spec)
    }

    #[test]
    fn an_org_that_is_back_after_its_deletion_needs_its_ledger_until_a_person_gives_it_up() {
        let another = "0b1b7a3e-2f0c-4a3b-9f0e-3a1c2d4e5f60";
        for (id, wanted) in [(ID, true), (another, false)] {
            let index = index(&org(&json!({})));
            index
                .tombstones
                .put(serde_json::from_value(tombstone(id)).unwrap());
            assert_eq!(has_copies(index), wanted, "tombstone of {id}");
        }
        let (before, since) = ("2025-12-31T00:00:00Z", "2026-01-01T00:00:01Z");
        for (made_at, id, label, wanted) in [
            (before, ID, names::LABEL_REGION, true),
            (before, another, names::LABEL_REGION, false),
            ("2025-12-31T23:59:30Z", ID, names::LABEL_REGION, false),
            (since, ID, names::LABEL_REGION, false),
            (since, ID, names::LABEL_RETAINED, true),
            (since, ID, names::LABEL_ORPHANED, true),
        ] {
            let index = index(&org(&json!({})));
            with_namespace(&index, made_at, id, label);
            assert_eq!(has_copies(index), wanted, "{label} of {id}, made at {made_at}");
        }
        let mut given_up = org(&json!({}));
        given_up["metadata"]["annotations"] =
            json!({names::ANNOTATION_ACCEPT_LEDGER_LOSS: "tray-backups-eu"});
        let index = index(&given_up);
        with_namespace(&index, before, ID, names::LABEL_RETAINED);
        assert!(!has_copies(index));
    }

    #[test]
    fn the_restore_that_has_begun_goes_first_then_the_oldest_and_one_that_is_being_deleted_not_at_all() {
        let index = index(&org(&json!({})));
        let restore = |name: &str, created: &str, status: &Value| {
            let spec = json!({"orgRef": {"name": "acme"}, "snapshot": {"latestGood": true}, "target": {"inPlace": true}});
            let mut restore = object("OrgRestore", name, &spec);
            restore["metadata"]["creationTimestamp"] = created.into();
            restore["status"] = status.clone();
            restore
        };
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z");
        let mut going = restore("going", early, &json!({"phase": "Proving", "runId": "r"}));
        going["metadata"]["deletionTimestamp"] = late.into();
        for restore in [
            restore("b", late, &json!({"phase": "Proving", "runId": "r"})),
            restore("a", early, &json!({"phase": "Pending"})),
            restore("aa", early, &json!({})),
            restore("ended", early, &json!({"phase": "Failed", "runId": "r"})),
            going,
        ] {
            index.restores.put(serde_json::from_value(restore).unwrap());
        }
        let view = view(index);
        let names: Vec<String> = view.restores.iter().map(|restore| restore.name_any()).collect();
        assert_eq!(names, ["b", "a", "aa"]);
        assert_eq!(view.restore.unwrap().name_any(), "b");
    }

    #[test]
    fn a_pod_is_a_workloads_only_where_the_org_has_that_workload() {
        let mut acme = org(&json!({}));
        acme["spec"]["workloads"] = json!([{"name": "own", "kind": "Deployment", "image": "x"}]);
        let index = index(&acme);
        let pod = |name: &str, namespace: &str, labels: &Value| {
            let pod = json!({"metadata": {"name": name, "namespace": namespace, "labels": labels}});
            PodFact::of(&serde_json::from_value(pod).unwrap())
        };
        let own = "org-acme-7c9e6679";
        for pod in [
            pod(
                "a",
                own,
                &json!({names::LABEL_ORG: "acme", names::LABEL_WORKLOAD: "own"}),
            ),
            pod(
                "b",
                own,
                &json!({names::LABEL_ORG: "acme", names::LABEL_WORKLOAD: "former"}),
            ),
            pod("c", own, &json!({names::LABEL_WORKLOAD: "own"})),
            pod(
                "d",
                own,
                &json!({names::LABEL_ORG: "acme", names::LABEL_COMPONENT: names::COMPONENT_MOVER}),
            ),
            pod("e", own, &json!({})),
            pod("f", names::SYSTEM_NAMESPACE, &json!({names::LABEL_ORG: "acme"})),
        ] {
            index.pods.put(pod);
        }
        let view = view(index);
        let subject = Subject::of(&view).unwrap();
        let found: Vec<(&str, PodOf)> = subject
            .naming_pods()
            .iter()
            .map(|pod| (pod.name, pod.of))
            .collect();
        assert_eq!(
            found,
            [
                ("a", PodOf::Workload),
                ("b", PodOf::Other),
                ("c", PodOf::Other),
                ("d", PodOf::Mover),
                ("e", PodOf::Other)
            ]
        );
    }
}
