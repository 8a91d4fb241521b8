//! The org that a pass is about: what is known of it without asking anybody.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tray_api::{
    backup_schedule::BackupSchedule,
    conditions::reasons,
    region::Region,
    retention_policy::RetentionPolicy,
    trayorg::{LifecycleState, SnapshotRetentionStatus, TrayOrg},
    workload::Workload,
};
use tray_domain::{
    backup_place::settle,
    ids::{KmsKeyArn, OrgId, PartId},
    mover_task::BucketLocation,
    names, quantity,
    volume_facts::PresentClaim,
};

use crate::{
    adapters::kube::{
        child::{ChildFact, Observed},
        facts::{PodFact, Trouble},
        index::Index,
    },
    controllers::view::{
        backup_place::{self, committed_at},
        org::is_abandoned,
        region::bucket_location,
        regional,
    },
    resources::{
        child::{ChildId, ChildKind},
        org::{Placement, claim, effective},
    },
};

/// How far the clocks of two API servers may differ: an org's namespace is made after its TrayOrg, by that much less perhaps.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(1);

/// An org that is placed, in a Region that is there.
pub struct Subject {
    /// The TrayOrg.
    pub org: Arc<TrayOrg>,
    /// Where it is.
    pub placement: Placement,
    /// Its Region.
    pub region: Arc<Region>,
    /// Its RetentionPolicy, if it is there.
    pub policy: Option<Arc<RetentionPolicy>>,
    /// Its BackupSchedule, if it is there.
    pub schedule: Option<Arc<BackupSchedule>>,
    /// Its bucket.
    pub location: BucketLocation,
    /// The Region's key for ledgers.
    pub ledger_key: KmsKeyArn,
    /// The Region's key for orgs that have none yet; none = each gets one of its own.
    pub shared_key: Option<KmsKeyArn>,
    /// What it runs.
    pub workloads: Vec<Workload>,
    /// Copies of it are on record outside of its ledger, or it is back after its deletion: there must be one.
    has_copies: bool,
}

/// Why nothing can be done for an org's backups.
#[derive(Clone, Debug, PartialEq)]
pub struct Hindrance {
    /// A constant of [`reasons`].
    pub reason: &'static str,
    /// Names the object and the remedy.
    pub message: String,
    /// The org, where it has been placed: it has backups that something can be said of.
    pub placed: Option<(Arc<TrayOrg>, OrgId)>,
}

/// Why nothing can be done for the backups of the org of that name at present; none where something can.
pub fn hindrance(index: &Index, name: &str) -> Option<Hindrance> {
    Subject::find(index, name).err()
}

impl Subject {
    /// The org of that name; not while it is not placed, its Region is not there or is another one by now, or has its orgs'
    /// backups elsewhere by now, its workloads cannot be told, or it is going.
    pub fn find(index: &Index, name: &str) -> Result<Self, Hindrance> {
        let unplaced = |reason, message| Hindrance {
            reason,
            message,
            placed: None,
        };
        let Some(org) = index.orgs.get(name) else {
            return Err(match index.malformed("TrayOrg", name) {
                Some(_) => unplaced(
                    reasons::MALFORMED,
                    format!("TrayOrg {name} cannot be read: see its conditions"),
                ),
                None => unplaced(
                    reasons::ORG_MISSING,
                    format!("spec.orgRef.name: there is no TrayOrg {name}"),
                ),
            });
        };
        if org.metadata.deletion_timestamp.is_some() {
            return Err(unplaced(
                reasons::DELETING,
                format!("TrayOrg {name} is being deleted"),
            ));
        }
        let Some(placement) = placed(&org) else {
            let message =
                format!("TrayOrg {name} is not placed in a Region that is ready: see its conditions");
            return Err(unplaced(reasons::ORG_NOT_PLACED, message));
        };
        Self::of(index, org.clone(), placement.clone()).map_err(|(reason, message)| Hindrance {
            reason,
            message,
            placed: Some((org, placement.org_id)),
        })
    }

    fn of(index: &Index, org: Arc<TrayOrg>, placement: Placement) -> Result<Self, (&'static str, String)> {
        let pinned = &placement.region;
        let Some(region) = index.regions.get(&pinned.name) else {
            let message = format!("there is no Region {}: create it as it was", pinned.name);
            return Err((reasons::REGION_NOT_SERVED, message));
        };
        let spec = &region.spec;
        if spec.cloud_region != pinned.cloud_region || spec.jurisdiction != pinned.jurisdiction {
            let message = format!(
                "Region {} was {} ({}) when the org was placed and is {} ({}) now: restore the Region as it was",
                pinned.name, pinned.cloud_region, pinned.jurisdiction, spec.cloud_region, spec.jurisdiction
            );
            return Err((reasons::REGION_CHANGED, message));
        }
        let known = backup_place::known(index, &org, &placement.org_id);
        if let Some(changed) = settle(known, Some(&backup_place::said(&region))).changed {
            return Err((reasons::BACKUP_PLACE_CHANGED, changed.to_string()));
        }
        let backup = &spec.backup;
        let key = |arn: &str, field: &str, reason| {
            arn.parse::<KmsKeyArn>().map_err(|error| {
                (
                    reason,
                    format!("spec.backup.kms.{field} of Region {}: {error}", pinned.name),
                )
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
        let effective = effective::workloads(&org.spec, &regional::of(&region, &org).spec)
            .map_err(|conflict| (conflict.reason(), conflict.to_string()))?;
        Ok(Self {
            location: bucket_location(backup),
            ledger_key,
            shared_key,
            workloads: effective.workloads,
            policy: index.policies.get(&org.spec.retention_policy_ref.name),
            schedule: index.schedules.get(&org.spec.backup_schedule_ref.name),
            has_copies: has_copies(index, &org) || is_back(index, &org, &placement),
            placement,
            region,
            org,
        })
    }

    /// Whether copies of it are on record outside of its ledger, or may be there since it is back after its deletion, so that an
    /// empty ledger is not its own. A person may have given them up.
    pub fn has_copies(&self) -> bool {
        let given_up = self.org.annotations().get(names::ANNOTATION_ACCEPT_LEDGER_LOSS);
        self.has_copies && given_up != Some(&self.location.bucket)
    }

    /// How long its snapshots are kept at present. What became shorter waits, by what the TrayOrg controller has recorded;
    /// what became longer does not wait for it. None while nothing is recorded, or its RetentionPolicy is not there.
    pub fn snapshot_retention(&self) -> Option<SnapshotRetentionStatus> {
        let wanted = &self.policy.as_ref()?.spec.snapshots;
        let in_force = self.org.status.as_ref()?.snapshot_retention?;
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
        placed_at(&self.org)
    }

    /// Whether nothing of it runs, as its spec wants.
    pub fn is_suspended(&self) -> bool {
        self.org.spec.lifecycle.state == LifecycleState::Suspended
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
    pub fn claim(&self, index: &Index, claim: &PartId) -> Option<Arc<ChildFact>> {
        index.children.get(&self.claim_id(claim))
    }

    /// Every claim that is there.
    pub fn claims(&self, index: &Index) -> Vec<PresentClaim> {
        let children = index.children.of(self.name());
        let claims = children.iter().filter(|child| {
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
    pub fn workload_pods(&self, index: &Index) -> Vec<Arc<PodFact>> {
        let mut pods = index.pods.of(self.namespace());
        pods.retain(|pod| !pod.mover && self.is_of(pod) && !pod.has_ended());
        pods
    }

    /// A pod that has the claim mounted, or is about to.
    pub fn pod_with(&self, index: &Index, claim: &PartId) -> Option<Arc<PodFact>> {
        let pods = self.workload_pods(index);
        pods.into_iter()
            .find(|pod| pod.claims.iter().any(|name| name == claim.as_str()))
    }

    /// Why a mover in the org's namespace does not run, for people: it is not given up before its deadline.
    pub fn mover_trouble(&self, index: &Index) -> Option<String> {
        let pods = index.pods.of(self.namespace());
        let mut movers = pods
            .iter()
            .filter(|pod| pod.mover && self.is_of(pod) && !pod.deleting);
        movers.find_map(|pod| {
            let said = match pod.trouble.as_ref()? {
                // What the scheduler says counts nodes: it would be written again with each that comes or goes.
                (Trouble::Unschedulable, _) => "no node takes it",
                (_, said) => said,
            };
            Some(format!("pod {}: {said}", pod.name))
        })
    }

    fn is_of(&self, pod: &PodFact) -> bool {
        pod.org.as_deref() == Some(self.name())
    }

    /// Whether all workloads that should run have all their replicas available.
    pub fn is_available(&self, index: &Index) -> bool {
        let available = |workload: &Workload| {
            let wanted = i64::from(claim::declared_replicas(workload));
            let fact = [ChildKind::Deployment, ChildKind::StatefulSet]
                .into_iter()
                .find_map(|kind| {
                    let namespace = self.namespace().to_owned();
                    index.children.get(&ChildId {
                        kind,
                        namespace,
                        name: workload.name.clone(),
                    })
                });
            fact.is_some_and(|child| match &child.observed {
                Observed::Workload(fact) => fact.rolled_out() && fact.available >= wanted,
                _ => false,
            })
        };
        self.workloads.iter().all(available)
    }
}

/// Where an org was placed, as its status has it.
fn placed(org: &TrayOrg) -> Option<Placement> {
    let status = org.status.as_ref()?;
    let id: OrgId = status.org_id.as_deref()?.parse().ok()?;
    let mut placement = Placement::new(org.name_any(), id, status.region.clone()?);
    placement.namespace = status.namespace.clone()?;
    Some(placement)
}

/// Whether its status or an OrgSnapshot tells of a good copy.
fn has_copies(index: &Index, org: &TrayOrg) -> bool {
    let backup = org.status.as_ref().and_then(|status| status.backup.as_ref());
    backup
        .is_some_and(|backup| backup.last_committed.is_some() || backup.count.is_some_and(|count| count > 0))
        || index
            .snapshots
            .of_org(&org.name_any())
            .iter()
            .any(|snapshot| committed_at(snapshot, org).is_some())
}

/// Whether it was there before its TrayOrg was: its tombstone has not gone yet, its namespace says that it was left, or is
/// older than the TrayOrg. Nothing of these says whether there was a copy, but as a rule there was a ledger: one that is not
/// found is told of rather than begun anew.
fn is_back(index: &Index, org: &TrayOrg, placement: &Placement) -> bool {
    let id = placement.org_id.as_str();
    let tombstones = index.tombstones.of_org(&placement.org);
    if tombstones.iter().any(|tombstone| tombstone.spec.org_id == id) {
        return true;
    }
    let namespace = index.children.get(&ChildId {
        kind: ChildKind::Namespace,
        namespace: String::new(),
        name: placement.namespace.clone(),
    });
    let its_own = namespace.filter(|namespace| {
        let of = namespace.labels.get(names::LABEL_ORG_ID);
        of.is_some_and(|of| of == id)
    });
    its_own.is_some_and(|namespace| is_abandoned(&namespace) || is_older(&namespace, org))
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
    use crate::resources::org::fixtures;

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

    #[test]
    fn what_keeps_an_orgs_backups_is_named() {
        let change = |pointer: &str, value: Value| {
            let mut org = org(&json!({}));
            *org.pointer_mut(pointer).unwrap() = value;
            index(&org)
        };
        for (index, reason, names) in [
            (Index::default(), reasons::ORG_MISSING, "TrayOrg acme"),
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
            let found = hindrance(&index, "acme");
            let said = found
                .as_ref()
                .map_or(("", ""), |found| (found.reason, found.message.as_str()));
            assert_eq!(said.0, reason);
            assert!(said.1.contains(names), "{said:?}");
            let is_placed = found.is_some_and(|found| found.placed.is_some());
            let unplaced = ["", reasons::ORG_MISSING, reasons::ORG_NOT_PLACED];
            assert_eq!(is_placed, !unplaced.contains(&reason), "{reason}");
        }
    }

    #[test]
    fn copies_on_record_need_a_ledger_until_a_person_gives_them_up() {
        let has = |org: &Value| Subject::find(&index(org), "acme").unwrap().has_copies();
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
        for (at, wanted) in [("2026-01-02T00:00:00Z", true), ("2025-12-31T00:00:00Z", false)] {
            let index = index(&org(&json!({})));
            let mut snapshot = object("OrgSnapshot", "s", &json!({"orgRef": {"name": "acme"}}));
            snapshot["status"] =
                json!({"phase": "Committed", "committedAt": at, "bucket": "tray-backups-eu"});
            index.snapshots.put(serde_json::from_value(snapshot).unwrap());
            assert_eq!(
                Subject::find(&index, "acme").unwrap().has_copies(),
                wanted,
                "{at}"
            );
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
        let has = |index: &Index| Subject::find(index, "acme").unwrap().has_copies();
        for (id, wanted) in [(ID, true), (another, false)] {
            let index = index(&org(&json!({})));
            index
                .tombstones
                .put(serde_json::from_value(tombstone(id)).unwrap());
            assert_eq!(has(&index), wanted, "tombstone of {id}");
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
            assert_eq!(has(&index), wanted, "{label} of {id}, made at {made_at}");
        }
        let mut given_up = org(&json!({}));
        given_up["metadata"]["annotations"] =
            json!({names::ANNOTATION_ACCEPT_LEDGER_LOSS: "tray-backups-eu"});
        let index = index(&given_up);
        with_namespace(&index, before, ID, names::LABEL_RETAINED);
        assert!(!has(&index));
    }
}
