//! Whether an org is where it is pinned to: what was observed, in the words of condition ResidencyCompliant. Pure.

use kube::ResourceExt;
use tray_api::{
    conditions::reasons,
    region::{OnViolation, Region},
    trayorg::PinnedRegion,
};
use tray_domain::{
    names,
    residency::{Finding, Kind, Places, Residency, Sighting, judge},
};

use crate::controllers::{
    conditions::{ConditionFact, Truth, listed},
    view::{
        org::{OrgView, PlacedPod, PlacedVolume},
        region::elsewhere,
    },
};

/// Judges everything of the org that may lie elsewhere.
pub(super) fn look(observed: &OrgView, home: &PinnedRegion) -> Residency {
    let pods = observed.pods.iter().filter_map(pod);
    let seen: Vec<Sighting> = pods.chain(observed.volumes.iter().map(volume)).collect();
    judge(&home.cloud_region, &seen)
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
pub(super) fn condition(
    residency: &Residency,
    home: &PinnedRegion,
    region: Option<&Region>,
) -> ConditionFact {
    let backup = region.and_then(|region| Some((region.name_any(), elsewhere(region)?)));
    let Some(reason) = violation(residency, backup.is_some()) else {
        return unviolated(residency, home);
    };
    let outside: Vec<String> = residency.outside.iter().map(|(_, what)| what.clone()).collect();
    let mut said = Vec::new();
    if !outside.is_empty() {
        said.push(format!("outside of {}: {}", home.cloud_region, listed(&outside)));
    }
    if residency.outside_of_kind(Kind::Pod) > 0 {
        said.push(match region.filter(|region| region.spec.on_violation == OnViolation::Evict) {
            None => "delete the pods and find out who placed them there".to_owned(),
            Some(region) => format!(
                "the pods are deleted, since spec.onViolation of Region {} is Evict: find out who placed them there",
                region.name_any()
            ),
        });
    }
    if residency.outside_of_kind(Kind::Volume) > 0 {
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
            let fact = condition(&found, &home, Some(&region));
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
}
