//! What lies outside of the region.

use serde_json::{Value, json};
use tray_api::conditions::{reasons, types};
use tray_domain::residency::Residency;

use super::world::{World, fact, now, reason_of, said};
use crate::{
    adapters::kube::facts::{NodeFact, PodFact, VolumeFact},
    controllers::{
        changes::Change,
        org::{
            mapper::keys_of,
            places,
            retention::Kept,
            status::{self, Findings},
            webhook_host::WebhookFindings,
        },
    },
    resources::{child::ChildKind, org::fixtures},
};

#[test]
fn p1_a_pod_in_another_region_is_worse_than_anything_else() {
    let world = World::placed();
    let observed = world.observed();
    for (mended, then) in [(false, types::STALLED), (true, types::RECONCILING)] {
        let findings = Findings {
            residency: fact(false, reasons::POD_OUTSIDE_REGION),
            mended,
            placement: None,
            zones: fact(true, "Spread"),
            isolation: fact(true, "Acknowledged"),
            quota: fact(true, "AsSpecified"),
            workloads: fact(true, "AsSpecified"),
            webhook: WebhookFindings::default(),
            kept: Kept::default(),
            refused: None,
        };
        let told = status::of_valid(&observed, &world.valid(), &findings, now());
        assert_eq!(reason_of(&told, types::READY), said("False", "PodOutsideRegion"));
        assert_eq!(reason_of(&told, then), said("True", "PodOutsideRegion"));
    }
}

/// A node in a cloud region, and in its zone `a`.
fn node(world: &World, name: &str, region: Option<&str>) {
    let labels = region.map(|region| {
        json!({"topology.kubernetes.io/region": region, "topology.kubernetes.io/zone": format!("{region}a")})
    });
    let node = json!({"metadata": {"name": name, "labels": labels}});
    let fact = NodeFact::of(&serde_json::from_value(node).unwrap());
    world.index.nodes.put(fact);
}

/// A running pod in the org's namespace.
fn pod(world: &World, name: &str, labels: &Value, node: &str) {
    let pod = json!({
        "metadata": {"name": name, "namespace": "org-acme-7c9e6679", "uid": name, "labels": labels},
        "spec": {"nodeName": node, "containers": []}, "status": {"phase": "Running"},
    });
    let fact = PodFact::of(&serde_json::from_value(pod).unwrap());
    world.index.pods.put(fact);
}

fn volume(world: &World, name: &str, node: &str) {
    let terms = json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]);
    let volume = json!({
        "metadata": {"name": name},
        "spec": {
            "claimRef": {"namespace": "org-acme-7c9e6679", "name": "data-db-0"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
        },
    });
    let fact = VolumeFact::of(&serde_json::from_value(volume).unwrap());
    world.index.volumes.put(fact);
}

#[test]
fn p1_a_relabelled_node_shows_at_what_is_on_it_and_is_forgotten_when_it_is_put_right() {
    let world = World::placed();
    node(&world, "home", Some("eu-west-1"));
    node(&world, "other", Some("eu-west-1"));
    // No label of ours: the namespace alone says whose it is.
    pod(&world, "stray", &json!({}), "other");
    pod(&world, "web-0", &json!({"platform.tray.ai/org": "acme"}), "home");
    volume(&world, "pv-1", "other");
    let home = fixtures::placement().region;
    let found = || places::look(&world.observed(), &home);
    assert_eq!(found(), Residency::default());

    node(&world, "other", Some("us-west-2"));
    let outside = found().outside;
    assert_eq!(
        outside.iter().map(|(_, what)| what.as_str()).collect::<Vec<_>>(),
        [
            "pod stray on node other in us-west-2",
            "PersistentVolume pv-1 of claim data-db-0 in us-west-2"
        ]
    );
    let placement = places::placement(&world.observed(), &found()).unwrap();
    assert_eq!(
        (placement.pods_outside, placement.volumes_outside),
        (Some(1), Some(1))
    );
    let zones: Vec<_> = placement
        .zones
        .iter()
        .map(|zone| (zone.zone.as_str(), zone.pods))
        .collect();
    assert_eq!(zones, [("eu-west-1a", 1), ("us-west-2a", 1)]);

    node(&world, "other", None);
    assert_eq!(found().outside, []);
    assert_eq!(found().unknown.len(), 2, "nothing says where it is");
    node(&world, "other", Some("eu-west-1"));
    assert_eq!(found(), Residency::default());
}

#[test]
fn p1_an_org_whose_region_is_gone_is_watched_all_the_same() {
    let mut world = World::placed();
    world.region = Value::Null;
    node(&world, "other", Some("us-west-2"));
    pod(&world, "web-0", &json!({}), "other");
    let told = world.status_of_obstacle();
    assert_eq!(
        reason_of(&told, types::RESIDENCY_COMPLIANT),
        said("False", "PodOutsideRegion")
    );
    assert_eq!(told.placement.unwrap().pods_outside, Some(1));
}

#[test]
fn p1_a_change_of_a_pod_a_volume_or_a_node_concerns_the_org_that_it_is_of() {
    let world = World::placed();
    let labels = json!({"platform.tray.ai/org": "acme"});
    world.child(
        ChildKind::Namespace,
        &labels,
        &json!({"metadata": {"name": "org-acme-7c9e6679"}}),
    );
    pod(&world, "stray", &json!({}), "n1");
    volume(&world, "pv-1", "n2");
    let namespace = || "org-acme-7c9e6679".to_owned();
    for change in [
        Change::Pod {
            org: None,
            namespace: namespace(),
            name: "stray".into(),
        },
        Change::Volume {
            namespace: namespace(),
            name: "pv-1".into(),
        },
        Change::Node {
            name: "n1".into(),
            regions: vec![],
        },
        Change::Node {
            name: "n2".into(),
            regions: vec![],
        },
    ] {
        assert_eq!(keys_of(&change, &world.index), ["acme"], "{change:?}");
    }
    let elsewhere = Change::Node {
        name: "n3".into(),
        regions: vec![],
    };
    assert_eq!(keys_of(&elsewhere, &world.index), Vec::<String>::new());
}
