//! What is known of an org when a pass over it begins: read from the index and the board of backup facts, without a
//! request, and not looked at again during the pass.

use std::sync::Arc;

use kube::ResourceExt;
use tray_api::{
    backup_schedule::BackupSchedule,
    orgrestore::{OrgRestore, RestorePhase},
    orgtombstone::OrgTombstone,
    region::Region,
    retention_policy::RetentionPolicy,
    trayorg::TrayOrg,
};
use tray_domain::{backup_place::BackupPlace, identity, ids::OrgId, names, reattachment};

use crate::{
    adapters::kube::{
        child::ChildFact,
        facts::{NodeFact, PodFact, StorageClassFact, VolumeFact},
        index::Index,
    },
    controllers::{
        backup_facts::{BackupFacts, OrgFacts},
        view::{
            backup_place, held,
            org::{is_refused, org_id},
            support::Support,
        },
    },
};

/// A pod of the org, and where it runs.
#[derive(Clone, Debug)]
pub struct PlacedPod {
    /// The pod.
    pub pod: Arc<PodFact>,
    /// Its node, which alone says where it is; none = it has no node, or one that is not known.
    pub node: Option<Arc<NodeFact>>,
}

/// A volume of the org, and the nodes that it is tied to, as far as they are known.
#[derive(Clone, Debug)]
pub struct PlacedVolume {
    /// The volume.
    pub volume: Arc<VolumeFact>,
    /// Those nodes.
    pub nodes: Vec<Arc<NodeFact>>,
}

/// What is known of an org.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The TrayOrg.
    pub org: Arc<TrayOrg>,
    /// The Region that it names.
    pub region: Option<Arc<Region>>,
    /// The StorageClass that the Region names.
    pub storage_class: Option<Arc<StorageClassFact>>,
    /// The RetentionPolicy that it names.
    pub policy: Option<Arc<RetentionPolicy>>,
    /// The BackupSchedule that it names.
    pub schedule: Option<Arc<BackupSchedule>>,
    /// Its id: [`org_id`], or that of what is held under its name.
    pub org_id: Option<OrgId>,
    /// The TrayOrg that holds its orgId.
    pub holder: Option<String>,
    /// Why what is held of orgs that are gone stands in its way.
    pub refusal: Option<reattachment::Refusal>,
    /// What is recorded of where its copies are.
    pub copies: Option<BackupPlace>,
    /// The tombstones under its name.
    pub tombstones: Vec<Arc<OrgTombstone>>,
    /// An OrgRestore of it has not ended.
    pub restore_asked: bool,
    /// Its children.
    pub children: Vec<Arc<ChildFact>>,
    /// Every pod in its namespace whatever it is labelled, and its movers elsewhere.
    pub pods: Vec<PlacedPod>,
    /// The volumes of its claims, and of claims that are gone.
    pub volumes: Vec<PlacedVolume>,
    /// What the backup controllers know of it.
    pub facts: OrgFacts,
    /// Who of support is in it.
    pub support: Support,
}

/// Looks at the index.
pub fn observe(index: &Index, facts: &BackupFacts, org: Arc<TrayOrg>) -> Observed {
    let name = org.name_any();
    let (taken_up, refusal) = match held::taken_up(index, &org) {
        Ok(taken_up) => (taken_up, None),
        Err(refusal) => (None, Some(refusal)),
    };
    let asker = Asker {
        name: &name,
        is_heir: taken_up.is_some(),
        is_refused: refusal.is_some(),
    };
    let id = taken_up.or_else(|| org_id(&org));
    let namespace = id.as_ref().map(|id| names::org_namespace(&name, id));
    let mut known = id.as_ref().map(|id| facts.get(id)).unwrap_or_default();
    let restores = index.restores.of_org(&name);
    if known.restoring.is_none() {
        // Known from the OrgRestore itself until its controller has looked at it after a start.
        let under_way = restores.iter().find(|restore| stops_workloads(restore));
        known.restoring = under_way.map(|restore| restore.name_any());
    }
    let region = index.regions.get(&org.spec.region_ref.name);
    Observed {
        storage_class: region
            .as_ref()
            .and_then(|region| index.storage_class(&region.spec.storage.storage_class_name)),
        region,
        policy: index.policies.get(&org.spec.retention_policy_ref.name),
        schedule: index.schedules.get(&org.spec.backup_schedule_ref.name),
        holder: id.as_ref().and_then(|id| holder(index, id, asker)),
        copies: id.as_ref().and_then(|id| backup_place::known(index, &org, id)),
        org_id: id,
        refusal,
        tombstones: index.tombstones.of_org(&name),
        restore_asked: restores.iter().any(|restore| !restore.has_ended()),
        children: index.children.of(&name),
        pods: pods(index, &name, namespace.as_deref()),
        volumes: volumes(index, namespace.as_deref()),
        facts: known,
        support: Support::default(),
        org,
    }
}

fn pods(index: &Index, org: &str, namespace: Option<&str>) -> Vec<PlacedPod> {
    let mut elsewhere = index.pods.of(names::SYSTEM_NAMESPACE);
    elsewhere.retain(|pod| pod.org.as_deref() == Some(org));
    let own = namespace
        .into_iter()
        .flat_map(|namespace| index.pods.of(namespace));
    own.chain(elsewhere)
        .map(|pod| PlacedPod {
            node: pod.node.as_deref().and_then(|name| index.node(name)),
            pod,
        })
        .collect()
}

fn volumes(index: &Index, namespace: Option<&str>) -> Vec<PlacedVolume> {
    let volumes = namespace
        .into_iter()
        .flat_map(|namespace| index.volumes.of(namespace));
    volumes
        .map(|volume| PlacedVolume {
            nodes: volume.nodes.iter().filter_map(|name| index.node(name)).collect(),
            volume,
        })
        .collect()
}

fn stops_workloads(restore: &OrgRestore) -> bool {
    let phase = restore.status.as_ref().and_then(|status| status.phase);
    matches!(phase, Some(RestorePhase::Draining | RestorePhase::Filling))
}

/// The TrayOrg that is looked at, and how it stands to what is held of orgs that are gone.
#[derive(Clone, Copy)]
struct Asker<'a> {
    name: &'a str,
    /// What is held of its orgId is for it.
    is_heir: bool,
    /// What is held is kept from it.
    is_refused: bool,
}

/// Who holds an orgId. Nobody has it before the heir who merely asked for it earlier, nor before anybody else who is
/// refused what is held.
fn holder(index: &Index, org_id: &OrgId, asker: Asker<'_>) -> Option<String> {
    let orgs = index.orgs.claiming(org_id.as_str());
    let is_recorded = |org: &TrayOrg| org.status.as_ref().is_some_and(|status| status.org_id.is_some());
    if asker.is_heir && !orgs.iter().any(|org| is_recorded(org)) {
        return Some(asker.name.to_owned());
    }
    let refused = |org: &TrayOrg| match org.metadata.name.as_deref() {
        Some(name) if name == asker.name => asker.is_refused,
        _ => is_refused(index, org),
    };
    let claimants: Vec<identity::Claimant<'_>> = orgs
        .iter()
        .filter_map(|org| {
            Some(identity::Claimant {
                name: org.metadata.name.as_deref()?,
                wanted: org.spec.org_id.as_deref(),
                recorded: org.status.as_ref().and_then(|status| status.org_id.as_deref()),
                created_at: org.metadata.creation_timestamp.as_ref()?.0,
                refused: refused(org),
            })
        })
        .collect();
    identity::holder(org_id.as_str(), &claimants).map(str::to_owned)
}
