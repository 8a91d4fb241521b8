//! The org that a pass is about: what is known of it without asking anybody.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::{
    adapters::kube::{
        child::{ChildFact, Observed},
        facts::{PodFact, Trouble},
        index::Index,
    },
    api::{
        backup_schedule::BackupSchedule,
        region::Region,
        retention_policy::RetentionPolicy,
        trayorg::{LifecycleState, SnapshotRetentionStatus, TrayOrg},
        workload::Workload,
    },
    controllers::{region::location::bucket_location, regional},
    domain::{
        ids::{KmsKeyArn, OrgId, PartId},
        mover_task::BucketLocation,
        names, quantity,
        volume_facts::PresentClaim,
    },
    resources::{
        child::{ChildId, ChildKind},
        org::{Placement, claim, effective},
    },
};

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
}

impl Subject {
    /// The org of that name; none while it is not placed, its Region is not there or is another one by now, or it is
    /// going. The TrayOrg controller says so in its status.
    pub fn find(index: &Index, name: &str) -> Option<Self> {
        let org = index.orgs.get(name)?;
        if org.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let status = org.status.as_ref()?;
        let pinned = status.region.clone()?;
        let org_id: OrgId = status.org_id.as_deref()?.parse().ok()?;
        let region = index
            .regions
            .get(&pinned.name)
            .filter(|r| r.spec.cloud_region == pinned.cloud_region)?;
        let backup = &region.spec.backup;
        let mut placement = Placement::new(name, org_id, pinned);
        placement.namespace = status.namespace.clone()?;
        Some(Self {
            location: bucket_location(backup),
            ledger_key: backup.kms.ledger_key_arn.parse().ok()?,
            shared_key: backup.kms.key_arn.as_deref().map(str::parse).transpose().ok()?,
            workloads: effective::workloads(&org.spec, &regional::of(&region, &org).spec)
                .ok()?
                .workloads,
            policy: index.policies.get(&org.spec.retention_policy_ref.name),
            schedule: index.schedules.get(&org.spec.backup_schedule_ref.name),
            placement,
            region,
            org,
        })
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

/// When an org was placed, as near as the cluster remembers.
pub fn placed_at(org: &TrayOrg) -> Timestamp {
    let created = org.creation_timestamp();
    created.map_or(Timestamp::UNIX_EPOCH, |created| created.0)
}

/// The holder of an org's repositories in the words of the lock: `<kind>/<name>`.
pub fn holder(kind: &str, name: &str) -> String {
    format!("{kind}/{name}")
}

/// Label value of the movers that prune for an org.
pub fn prune_owner(org: &str) -> String {
    format!("{org}.prune")
}

/// Name of the namespace that pruning runs in.
pub const PRUNE_NAMESPACE: &str = names::SYSTEM_NAMESPACE;
