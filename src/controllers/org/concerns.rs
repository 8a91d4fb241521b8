//! Which orgs have to be looked at again after a change.

use kube::ResourceExt;

use super::observe::org_id;
use crate::{
    adapters::kube::index::Index,
    api::{
        conditions::{reasons, types},
        region::Region,
        trayorg::TrayOrg,
    },
    controllers::{changes::Change, conditions::find},
};

/// What orgs go by of a Region: its UID, the generation of its spec, and what its condition Ready says.
pub type RegionMark = (Option<String>, Option<i64>, Option<(String, String)>);

/// What orgs go by of a Region.
pub fn region_mark(region: &Region) -> RegionMark {
    let conditions = region
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    let ready = find(conditions, types::READY).map(|ready| (ready.status.clone(), ready.message.clone()));
    (region.metadata.uid.clone(), region.metadata.generation, ready)
}

/// Names of the orgs that `change` concerns.
pub fn concerns(change: &Change, index: &Index) -> Vec<String> {
    match change {
        Change::Org(name) if index.orgs.get(name).is_none() => {
            // Its orgId is free now.
            let mut waiting = named(index, waits_for_an_id);
            waiting.push(name.clone());
            waiting
        }
        Change::Org(name) => vec![name.clone()],
        Change::Region(name) => named(index, |org| org.spec.region_ref.name == *name),
        Change::RetentionPolicy(name) => named(index, |org| org.spec.retention_policy_ref.name == *name),
        Change::BackupSchedule(name) => named(index, |org| org.spec.backup_schedule_ref.name == *name),
        Change::Child { org, .. } | Change::Pod { org, .. } | Change::Restore { org, .. } => {
            vec![org.clone()]
        }
        // Its pods may be elsewhere than they were thought to be.
        Change::Node { name, .. } => {
            let pods = index.pods.all();
            let on_it = pods.iter().filter(|pod| pod.node.as_deref() == Some(name));
            let mut orgs: Vec<String> = on_it.filter_map(|pod| pod.org.clone()).collect();
            orgs.dedup();
            orgs
        }
        Change::BackupFacts(id) => named(index, |org| org_id(org).as_ref() == Some(id)),
        Change::Snapshot { .. }
        | Change::Mover { .. }
        | Change::StorageClass(_)
        | Change::Malformed { .. } => Vec::new(),
    }
}

fn named(index: &Index, concerned: impl Fn(&TrayOrg) -> bool) -> Vec<String> {
    let orgs = index.orgs.all();
    orgs.iter()
        .filter(|org| concerned(org))
        .map(|org| org.name_any())
        .collect()
}

fn waits_for_an_id(org: &TrayOrg) -> bool {
    let conditions = org
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    find(conditions, types::STALLED).is_some_and(|stalled| stalled.reason == reasons::ORG_ID_IN_USE)
}
