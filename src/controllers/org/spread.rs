//! Where an org's pods run: counted for the status, and whether they are spread. Pure.

use std::collections::{BTreeMap, BTreeSet};

use tray_api::{
    conditions::reasons,
    region::Region,
    trayorg::{NodePods, PlacementStatus, ZonePods},
};
use tray_domain::{
    replicas::Situation,
    residency::{Kind, Residency},
    spread::{RunningPods, SpreadVerdict, judge},
};

use super::validate::Valid;
use crate::{
    controllers::{
        conditions::{ConditionFact, Truth, listed},
        view::org::{OrgView, PlacedPod},
    },
    resources::org::workload::replicas_now,
};

/// Nodes of a zone that a status lists: the zone's own count is of all.
const LISTED: usize = 50;
/// Zone of a node that says none.
const UNKNOWN_ZONE: &str = "unknown";

/// The zones of a Region in which pods can run now, as its status has them.
pub(super) fn usable_zones(region: &Region) -> BTreeSet<String> {
    let zones = region.status.iter().flat_map(|status| &status.zones);
    zones
        .filter(|(_, ready)| **ready > 0)
        .map(|(zone, _)| zone.clone())
        .collect()
}

/// The pods of the org's workloads that run. Movers come and go and are no part of where an org runs.
fn running(observed: &OrgView) -> impl Iterator<Item = &PlacedPod> {
    let pods = observed.pods.iter();
    pods.filter(|placed| !placed.pod.mover && !placed.pod.deleting && placed.pod.phase == "Running")
}

fn zone_of(placed: &PlacedPod) -> String {
    let zone = placed.node.as_ref().and_then(|node| node.zone.clone());
    zone.unwrap_or_else(|| UNKNOWN_ZONE.to_owned())
}

/// `status.placement`; none where nothing runs and nothing lies elsewhere.
pub(super) fn placement(observed: &OrgView, residency: &Residency) -> Option<PlacementStatus> {
    let mut zones: BTreeMap<String, BTreeMap<String, i32>> = BTreeMap::new();
    for placed in running(observed) {
        let node = placed.pod.node.clone().unwrap_or_default();
        *zones.entry(zone_of(placed)).or_default().entry(node).or_default() += 1;
    }
    let zone = |(zone, nodes): (String, BTreeMap<String, i32>)| ZonePods {
        zone,
        pods: nodes.values().sum(),
        nodes: nodes
            .into_iter()
            .take(LISTED)
            .map(|(node, pods)| NodePods { node, pods })
            .collect(),
    };
    let outside = |kind| {
        let found = residency.outside_of_kind(kind);
        (found > 0).then(|| i32::try_from(found).unwrap_or(i32::MAX))
    };
    let placement = PlacementStatus {
        zones: zones.into_iter().map(zone).collect(),
        pods_outside: outside(Kind::Pod),
        volumes_outside: outside(Kind::Volume),
    };
    (placement != PlacementStatus::default()).then_some(placement)
}

/// Condition ZonesSpread.
pub(super) fn condition(observed: &OrgView, valid: &Valid, situation: &Situation) -> ConditionFact {
    let of_workload = |name: &str| {
        let mut by_zone: BTreeMap<String, usize> = BTreeMap::new();
        for placed in running(observed).filter(|placed| placed.pod.workload.as_deref() == Some(name)) {
            *by_zone.entry(zone_of(placed)).or_default() += 1;
        }
        by_zone
    };
    let workloads = valid.effective.workloads.iter().map(|workload| RunningPods {
        workload: workload.name.clone(),
        wanted: usize::try_from(replicas_now(workload, situation)).unwrap_or_default(),
        by_zone: of_workload(&workload.name),
    });
    let workloads: Vec<RunningPods> = workloads.collect();
    let region = &valid.placement.region;
    said(judge(&workloads, &usable_zones(&valid.region)), &region.name)
}

fn said(verdict: SpreadVerdict, region: &str) -> ConditionFact {
    match verdict {
        SpreadVerdict::Spread => ConditionFact::new(
            true,
            reasons::SPREAD,
            "every workload of several pods runs in as many zones as it can",
        ),
        SpreadVerdict::Clustered(workloads) => ConditionFact::new(
            false,
            reasons::FEWER_ZONES,
            format!(
                "{}: pods that run are not moved; they are spread when they are next made anew (kubectl delete pod, one at \
                 a time), where their volumes let them",
                listed(&workloads)
            ),
        ),
        SpreadVerdict::OneZone(zone) => {
            let there = zone.map_or("no zone".to_owned(), |zone| format!("one zone, {zone}"));
            ConditionFact::new(
                false,
                reasons::ONE_ZONE,
                format!(
                    "Region {region} has ready nodes in {there}: pods cannot be spread until another has"
                ),
            )
        }
        SpreadVerdict::Incomplete(workloads) => {
            ConditionFact::new(Truth::Unknown, reasons::ROLLING_OUT, listed(&workloads))
        }
        SpreadVerdict::NothingToSpread => ConditionFact::new(
            Truth::Unknown,
            reasons::NOTHING_TO_SPREAD,
            "no workload should run more than one pod at present",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p2_one_zone_only_is_explained_and_nothing_to_spread_is_never_green() {
        for (verdict, status, reason, named) in [
            (SpreadVerdict::Spread, Truth::True, "Spread", "as many zones"),
            (
                SpreadVerdict::OneZone(Some("eu-west-1a".into())),
                Truth::False,
                "OneZone",
                "Region eu has ready nodes in one zone, eu-west-1a",
            ),
            (
                SpreadVerdict::OneZone(None),
                Truth::False,
                "OneZone",
                "in no zone",
            ),
            (
                SpreadVerdict::Clustered(vec!["web runs in 1 of 2 zones".into()]),
                Truth::False,
                "FewerZones",
                "web",
            ),
            (
                SpreadVerdict::Incomplete(vec!["web runs 1 of 2 pods".into()]),
                Truth::Unknown,
                "RollingOut",
                "web",
            ),
            (
                SpreadVerdict::NothingToSpread,
                Truth::Unknown,
                "NothingToSpread",
                "no workload",
            ),
        ] {
            let fact = said(verdict, "eu");
            assert_eq!((fact.status, fact.reason.as_str()), (status, reason));
            assert!(fact.message.contains(named), "{}", fact.message);
        }
    }
}
