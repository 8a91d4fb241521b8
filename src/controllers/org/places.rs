//! Where an org's pods and volumes are: whether that is where the org is pinned to (condition ResidencyCompliant), and whether its
//! pods are spread over zones. Pure.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use tray_api::{
    conditions::reasons,
    region::{OnViolation, Region},
    trayorg::{NodePods, PinnedRegion, PlacementStatus, ZonePods},
};
use tray_domain::{
    names,
    replicas::Situation,
    residency::{self, Finding, Kind, Places, Residency, Sighting},
    spread::{self, RunningPods, SpreadVerdict},
};

use super::validate::Valid;
use crate::{
    controllers::{
        conditions::{ConditionFact, Truth, listed},
        view::{
            org::{OrgView, PlacedPod, PlacedVolume},
            region::elsewhere,
        },
    },
    resources::org::workload::replicas_now,
};

/// Judges everything of the org that may lie elsewhere.
pub(super) fn look(observed: &OrgView, home: &PinnedRegion) -> Residency {
    let pods = observed.pods.iter().filter_map(pod);
    let seen: Vec<Sighting> = pods.chain(observed.volumes.iter().map(volume)).collect();
    residency::judge(&home.cloud_region, &seen)
}

/// Whether a pod runs outside of the pinned region.
pub(super) fn is_elsewhere(placed: &PlacedPod, home: &PinnedRegion) -> bool {
    pod(placed).is_some_and(|seen| matches!(seen.places.seen_from(&home.cloud_region), Finding::Elsewhere(_)))
}

/// A pod that holds something on a node. Its own labels may lie, so the node is asked.
fn pod(placed: &PlacedPod) -> Option<Sighting> {
    let pod = &placed.pod;
    let node = pod.node.as_deref().filter(|_| !pod.has_ended())?;
    let mut places = Places::default();
    if let Some(known) = &placed.node
        && let Some(region) = &known.region
    {
        places.regions.insert(region.clone());
        places.zones.extend(known.zone.clone());
    }
    let namespace = if pod.namespace == names::SYSTEM_NAMESPACE {
        format!("{}/", pod.namespace)
    } else {
        String::new()
    };
    let going = if pod.deleting { " (being deleted)" } else { "" };
    Some(Sighting {
        kind: Kind::Pod,
        what: format!("pod {namespace}{}{going} on node {node}", pod.name),
        places,
    })
}

fn volume(placed: &PlacedVolume) -> Sighting {
    let volume = &placed.volume;
    let mut places = volume.places.clone();
    places
        .regions
        .extend(placed.nodes.iter().filter_map(|node| node.region.clone()));
    let claim = volume.claim.as_ref().map_or("", |(_, claim)| claim.as_str());
    Sighting {
        kind: Kind::Volume,
        what: format!("PersistentVolume {} of claim {claim}", volume.name),
        places,
    }
}

/// Condition ResidencyCompliant: everything lies where the org is pinned to, and its backups where its Region says.
/// Without a Region, or with one that is another place by now, the org is watched all the same.
pub(super) fn residency(found: &Residency, home: &PinnedRegion, region: Option<&Region>) -> ConditionFact {
    let backup = region.and_then(|region| Some((region.name_any(), elsewhere(region)?)));
    let Some(reason) = violation(found, backup.is_some()) else {
        return unviolated(found, home);
    };
    let outside: Vec<String> = found.outside.iter().map(|(_, what)| what.clone()).collect();
    let mut said = Vec::new();
    if !outside.is_empty() {
        said.push(format!("outside of {}: {}", home.cloud_region, listed(&outside)));
    }
    if found.outside_of_kind(Kind::Pod) > 0 {
        said.push(match region.filter(|region| region.spec.on_violation == OnViolation::Evict) {
            None => "delete the pods and find out who placed them there".to_owned(),
            Some(region) => format!(
                "the pods are deleted, since spec.onViolation of Region {} is Evict: find out who placed them there",
                region.name_any()
            ),
        });
    }
    if found.outside_of_kind(Kind::Volume) > 0 {
        said.push(
            "restore the org with an OrgRestore, which fills volumes in its region, and delete the others; or correct \
             labels and node affinity that say what is not so"
                .to_owned(),
        );
    }
    said.extend(backup.map(|(region, why)| format!("backups, says Region {region}: {why}")));
    ConditionFact::new(false, reason, said.join("; "))
}

/// The gravest thing that lies elsewhere; none where nothing does.
fn violation(residency: &Residency, backup: bool) -> Option<&'static str> {
    match residency.outside.first() {
        Some((Kind::Pod, _)) => Some(reasons::POD_OUTSIDE_REGION),
        Some((Kind::Volume, _)) => Some(reasons::VOLUME_OUTSIDE_REGION),
        None => backup.then_some(reasons::BACKUP_OUTSIDE_REGION),
    }
}

fn unviolated(residency: &Residency, home: &PinnedRegion) -> ConditionFact {
    if residency.unknown.is_empty() {
        let message = format!("every pod and every volume is in {}", home.cloud_region);
        return ConditionFact::new(true, reasons::ALL_IN_REGION, message);
    }
    let message = format!(
        "nothing says where these are: {}; label the nodes with {}, the volumes with {} or {}",
        listed(&residency.unknown),
        names::NODE_REGION,
        names::NODE_REGION,
        names::NODE_ZONE,
    );
    ConditionFact::new(Truth::Unknown, reasons::NOT_OBSERVED, message)
}

/// Whether what lies elsewhere is put right without a person: pods alone, where the Region says so.
pub(super) fn is_mended(residency: &Residency, region: &Region) -> bool {
    let only_pods = residency.outside.iter().all(|(kind, _)| *kind == Kind::Pod);
    region.spec.on_violation == OnViolation::Evict && only_pods && elsewhere(region).is_none()
}

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
pub(super) fn spread(observed: &OrgView, valid: &Valid, situation: &Situation) -> ConditionFact {
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
    said(
        spread::judge(&workloads, &usable_zones(&valid.region)),
        &region.name,
    )
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
    use crate::resources::org::fixtures;

    fn region(on_violation: OnViolation) -> Region {
        let mut spec = fixtures::region();
        spec.on_violation = on_violation;
        Region::new("eu", spec)
    }
    fn moved_bucket() -> Region {
        let mut region = region(OnViolation::Evict);
        let said = serde_json::json!({"conditions": [{
            "type": "BackupLocationVerified", "status": "False", "reason": "BucketOutsideJurisdiction",
            "message": "bucket b lies in us-east-1", "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]});
        region.status = Some(serde_json::from_value(said).unwrap());
        region
    }
    fn found(outside: &[(Kind, &str)], unknown: &[&str]) -> Residency {
        Residency {
            outside: outside
                .iter()
                .map(|(kind, what)| (*kind, (*what).to_owned()))
                .collect(),
            unknown: unknown.iter().map(|&what| what.to_owned()).collect(),
        }
    }

    #[test]
    fn p1_the_condition_names_what_lies_elsewhere_and_the_remedy() {
        let (pod, volume) = (
            (Kind::Pod, "pod a on node n in us-west-2"),
            (Kind::Volume, "volume v in us-west-2a"),
        );
        let home = fixtures::placement().region;
        for (found, region, status, reason, names) in [
            (
                found(&[], &[]),
                region(OnViolation::Alert),
                Truth::True,
                "AllInRegion",
                &["eu-west-1"][..],
            ),
            (
                found(&[], &["pod a on node n"]),
                region(OnViolation::Alert),
                Truth::Unknown,
                "NotObserved",
                &["pod a on node n", "topology.kubernetes.io/region"],
            ),
            (
                found(&[pod], &["pod b on node m"]),
                region(OnViolation::Alert),
                Truth::False,
                "PodOutsideRegion",
                &[
                    "outside of eu-west-1: pod a on node n in us-west-2",
                    "delete the pods",
                ],
            ),
            (
                found(&[pod], &[]),
                region(OnViolation::Evict),
                Truth::False,
                "PodOutsideRegion",
                &["the pods are deleted", "spec.onViolation of Region eu"],
            ),
            (
                found(&[volume], &[]),
                region(OnViolation::Evict),
                Truth::False,
                "VolumeOutsideRegion",
                &["volume v in us-west-2a", "OrgRestore"],
            ),
            (
                found(&[], &[]),
                moved_bucket(),
                Truth::False,
                "BackupOutsideRegion",
                &["Region eu", "bucket b lies in us-east-1"],
            ),
            (
                found(&[pod, volume], &[]),
                moved_bucket(),
                Truth::False,
                "PodOutsideRegion",
                &["pod a", "volume v", "bucket b"],
            ),
        ] {
            let fact = residency(&found, &home, Some(&region));
            assert_eq!(
                (fact.status, fact.reason.as_str()),
                (status, reason),
                "{}",
                fact.message
            );
            for name in names {
                assert!(fact.message.contains(name), "{name}: {}", fact.message);
            }
        }
    }

    #[test]
    fn p1_a_person_has_to_act_unless_pods_alone_are_evicted() {
        let (pod, volume) = ((Kind::Pod, "a"), (Kind::Volume, "v"));
        assert!(is_mended(&found(&[pod], &[]), &region(OnViolation::Evict)));
        assert!(!is_mended(&found(&[pod], &[]), &region(OnViolation::Alert)));
        assert!(!is_mended(
            &found(&[pod, volume], &[]),
            &region(OnViolation::Evict)
        ));
        assert!(!is_mended(&found(&[pod], &[]), &moved_bucket()));
    }

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
