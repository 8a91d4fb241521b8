//! The mapper: which orgs have to be looked at again after a change.

use std::collections::BTreeSet;

use kube::ResourceExt;
use tray_api::{
    conditions::{reasons, types},
    region::Region,
    trayorg::TrayOrg,
};

use super::places;
use crate::{
    adapters::kube::{index::Index, table::Row},
    controllers::{
        changes::Change,
        conditions::find,
        view::{backup_place, identity::org_id, region::elsewhere, support::home},
    },
    resources::child::ChildKind,
};

/// What orgs go by of a Region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RegionMark {
    uid: Option<String>,
    generation: Option<i64>,
    /// What its condition Ready says, and whether of its present spec.
    ready: Option<(String, String, bool)>,
    /// What is said of backups that lie elsewhere.
    backup_elsewhere: Option<String>,
    /// S3 has confirmed where backups go.
    confirmed: bool,
    /// Where pods can be spread.
    zones: BTreeSet<String>,
    /// Its status records revisions of its workloads.
    records: bool,
}

/// What orgs go by of a Region.
pub(super) fn region_mark(region: &Region) -> RegionMark {
    let conditions = region
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    let ready = find(conditions, types::READY).map(|ready| {
        let is_current = backup_place::is_current(region, ready.observed_generation);
        (ready.status.clone(), ready.message.clone(), is_current)
    });
    RegionMark {
        uid: region.metadata.uid.clone(),
        generation: region.metadata.generation,
        ready,
        backup_elsewhere: elsewhere(region).map(str::to_owned),
        confirmed: backup_place::said(region).confirmed,
        zones: places::usable_zones(region),
        records: region
            .status
            .as_ref()
            .is_some_and(|status| status.workloads.is_some()),
    }
}

/// The orgs that a change of the Region's workloads has reached and that do not have it yet.
pub(super) fn reached(index: &Index, region: &str) -> Vec<String> {
    let region = index.regions.get(region);
    let Some(record) = region
        .as_ref()
        .and_then(|region| region.status.as_ref()?.workloads.as_ref())
    else {
        return Vec::new();
    };
    let is_behind = |name: &&String| {
        let org = index.orgs.get(name);
        let status = org.as_ref().and_then(|org| org.status.as_ref());
        status.is_some_and(|status| status.workloads_revision.as_ref() != Some(&record.revision))
    };
    record.wave.iter().filter(is_behind).cloned().collect()
}

/// Names of the orgs that `change` concerns.
pub(super) fn keys_of(change: &Change, index: &Index) -> Vec<String> {
    match change {
        Change::Org(name) if index.orgs.get(name).is_none_or(|org| asks_anew(&org)) => {
            with_waiting(index, name)
        }
        Change::Tombstone { org, .. } => with_waiting(index, org),
        Change::Child { org, id } if id.kind == ChildKind::Namespace && index.children.get(id).is_none() => {
            with_waiting(index, org)
        }
        Change::Org(name) => vec![name.clone()],
        Change::Region(_) | Change::RetentionPolicy(_) | Change::BackupSchedule(_) => {
            change.orgs_that_name_it(index)
        }
        Change::Child { org, .. } | Change::Restore { org, .. } => vec![org.clone()],
        Change::Pod { org, namespace, .. } => Change::org_of_pod(org.as_ref(), namespace, index)
            .into_iter()
            .collect(),
        Change::Volume { namespace, .. } => index.org_of(namespace).into_iter().collect(),
        Change::Node { name, .. } => on_node(index, name),
        // Its namespace says who may debug, its status who is in.
        Change::Support(key) => {
            let namespace = key.split_once('/').map_or("", |(namespace, _)| namespace);
            home(index, namespace).map(|home| home.org).into_iter().collect()
        }
        Change::GatewayApi => index.orgs.names_where(|org| {
            let region = index.regions.get(&org.spec.region_ref.name);
            region.is_some_and(|region| region.spec.ingress.is_some())
        }),
        Change::Board(id) => {
            let orgs = index.orgs.claiming(id.as_str());
            let of_it = orgs.iter().filter(|org| org_id(org).as_ref() == Some(id));
            of_it.map(|org| org.name_any()).collect()
        }
        Change::StorageClass(class) => index.orgs.names_where(|org| {
            let region = index.regions.get(&org.spec.region_ref.name);
            region.is_some_and(|region| region.spec.storage.storage_class_name == *class)
        }),
        Change::Snapshot { .. } | Change::Mover { .. } | Change::Malformed { .. } => Vec::new(),
    }
}

/// Orgs whose pods or volumes are on a node: they may be elsewhere than they were thought to be.
fn on_node(index: &Index, node: &str) -> Vec<String> {
    let pods = index.pods.all();
    let pods = pods.iter().filter(|pod| pod.node.as_deref() == Some(node));
    let of_pods = pods.filter_map(|pod| Change::org_of_pod(pod.org.as_ref(), &pod.namespace, index));
    let volumes = index.volumes.all();
    let volumes = volumes.iter().filter(|volume| volume.nodes.contains(node));
    let of_volumes = volumes.filter_map(|volume| index.org_of(volume.group()?));
    let orgs: BTreeSet<String> = of_pods.chain(of_volumes).collect();
    orgs.into_iter().collect()
}

/// That org, and those that wait for an orgId, which may be free now.
fn with_waiting(index: &Index, org: &str) -> Vec<String> {
    let mut waiting = index.orgs.names_where(waits_for_an_id);
    if !waiting.iter().any(|name| name == org) {
        waiting.push(org.to_owned());
    }
    waiting
}

/// Whether an org that is not placed was changed since it was looked at: it may ask for another orgId now.
fn asks_anew(org: &TrayOrg) -> bool {
    let unplaced = org.status.as_ref().filter(|status| status.region.is_none());
    let seen = unplaced.and_then(|status| status.observed_generation);
    seen.is_some_and(|seen| seen > 0 && Some(seen) != org.metadata.generation)
}

fn waits_for_an_id(org: &TrayOrg) -> bool {
    let conditions = org
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    find(conditions, types::STALLED).is_some_and(|stalled| stalled.reason == reasons::ORG_ID_IN_USE)
}
