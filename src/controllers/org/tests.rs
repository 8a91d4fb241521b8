//! What the controller makes of what it sees, without a cluster.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    OrgDriver,
    concerns::concerns,
    deletion,
    namespace_loss::{self, Loss},
    observe::{Observed, observe},
    residency, situation, spread,
    status::{self, Findings},
    tombstone,
    validate::{Obstacle, Valid, validate},
    webhook::{Exposure, Found, exposure},
};
use crate::{
    adapters::kube::{
        child::ChildFact,
        facts::{NodeFact, PodFact, VolumeFact},
        index::Index,
    },
    api::{
        conditions::{reasons, types},
        orgtombstone::OrgTombstone,
        trayorg::{BackupStatus, TrayOrg, TrayOrgStatus},
    },
    controllers::{
        Driver,
        backup_facts::{BackupFacts, BackupView},
        changes::{Change, Changes},
        conditions::{ConditionFact, Truth, find, is_true},
        support::observe::{OpenGrant, Support},
    },
    domain::{residency::Residency, support::Role},
    resources::{child::ChildKind, org::fixtures},
};

const ID: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
const UID: &str = "11111111-1111-4111-8111-111111111111";

/// A cluster in which org acme is not placed yet, and could be.
struct World {
    index: Arc<Index>,
    facts: BackupFacts,
    org: Value,
    region: Value,
    policy: Value,
    others: Vec<Value>,
    support: Support,
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "platform.tray.ai/v1alpha1", "kind": kind,
        "metadata": {"name": name, "uid": UID, "generation": 3, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": spec,
    })
}

impl World {
    fn new() -> Self {
        let mut region = object("Region", "eu", &serde_json::to_value(fixtures::region()).unwrap());
        region["status"] = json!({"conditions": [condition("Ready", "True", "all is well")]});
        let index = Arc::<Index>::default();
        Self {
            facts: BackupFacts::new(Arc::new(Changes::new(index.clone()))),
            index,
            org: object("TrayOrg", "acme", &serde_json::to_value(fixtures::org()).unwrap()),
            region,
            policy: object("RetentionPolicy", "standard", &json!({})),
            others: vec![],
            support: Support::default(),
        }
    }

    fn placed() -> Self {
        let mut world = Self::new();
        world.org["status"] = json!({
            "observedGeneration": 3, "orgId": ID, "namespace": "org-acme-7c9e6679",
            "region": {"name": "eu", "jurisdiction": "EU", "cloudRegion": "eu-west-1"},
        });
        world
    }

    fn recorded(mut self, conditions: &Value) -> Self {
        self.org["status"]["conditions"] = conditions.clone();
        self
    }

    fn child(&self, kind: ChildKind, labels: &Value, object: &Value) {
        let mut object = object.clone();
        object["metadata"]["labels"] = labels.clone();
        let live = serde_json::from_value(object).unwrap();
        self.index.children.observe(ChildFact::of(kind, &live));
    }

    fn observed(&self) -> Observed {
        let read = |value: &Value| serde_json::from_value(value.clone()).unwrap();
        if !self.region.is_null() {
            self.index
                .regions
                .put(serde_json::from_value(self.region.clone()).unwrap());
        }
        if !self.policy.is_null() {
            self.index
                .policies
                .put(serde_json::from_value(self.policy.clone()).unwrap());
            let spec = json!({"schedule": "0 */12 * * *"});
            let schedule = object("BackupSchedule", "standard", &spec);
            self.index
                .schedules
                .put(serde_json::from_value(schedule).unwrap());
        }
        for other in &self.others {
            self.index.orgs.put(read(other));
        }
        let org: TrayOrg = read(&self.org);
        self.index.orgs.put(org);
        Observed {
            support: self.support.clone(),
            ..observe(&self.index, &self.facts, self.index.orgs.get("acme").unwrap())
        }
    }

    fn valid(&self) -> Valid {
        validate(&self.observed()).unwrap()
    }

    fn obstacle(&self) -> Obstacle {
        validate(&self.observed()).unwrap_err()
    }

    /// The status after a pass in which `workloads` was found.
    fn status(&self, workloads: &ConditionFact) -> TrayOrgStatus {
        let observed = self.observed();
        let findings = Findings {
            residency: fact(true, "AllInRegion"),
            mended: false,
            placement: None,
            zones: fact(true, "Spread"),
            isolation: fact(true, "Acknowledged"),
            quota: fact(true, "AsSpecified"),
            workloads: workloads.clone(),
            webhook: Found::default(),
            refused: None,
        };
        status::of_valid(&observed, &validate(&observed).unwrap(), &findings, now())
    }
}

fn condition(type_: &str, status: &str, message: &str) -> Value {
    json!({"type": type_, "status": status, "reason": "Recorded", "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z"})
}
fn fact(value: bool, reason: &str) -> ConditionFact {
    ConditionFact::new(value, reason, "said")
}
fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}
fn reason_of(status: &TrayOrgStatus, type_: &str) -> Option<(String, String)> {
    find(&status.conditions, type_).map(|c| (c.status.clone(), c.reason.clone()))
}
#[expect(clippy::unnecessary_wraps, reason = "what `reason_of` is compared with")]
fn said(value: &str, reason: &str) -> Option<(String, String)> {
    Some((value.to_owned(), reason.to_owned()))
}
fn is_obstacle(obstacle: &Obstacle, reason: &str, names: &[&str]) {
    assert_eq!(obstacle.reason, reason, "{}", obstacle.message);
    for name in names {
        assert!(
            obstacle.message.contains(name),
            "{name} is not named: {}",
            obstacle.message
        );
    }
}

#[test]
fn a_good_org_is_placed_in_its_region() {
    let valid = World::new().valid();
    assert_eq!(valid.placement, fixtures::placement());
    assert_eq!(valid.flaw, None);
}

#[test]
fn an_org_without_an_id_is_found_by_its_own_uid() {
    let mut world = World::new();
    world.org["spec"]["orgId"].take();
    assert_eq!(world.valid().placement.namespace, "org-acme-11111111");
}

#[test]
fn an_unknown_region_is_named() {
    let mut world = World::new();
    world.org["spec"]["regionRef"]["name"] = "mars".into();
    is_obstacle(
        &world.obstacle(),
        reasons::REGION_NOT_SERVED,
        &["mars", "spec.regionRef"],
    );
}

#[test]
fn a_region_that_is_not_ready_or_cordoned_takes_no_new_orgs_and_keeps_those_it_has() {
    for (field, value, reason, passing) in [
        (
            "/status/conditions/0/status",
            "False",
            reasons::REGION_NOT_READY,
            true,
        ),
        ("/spec/scheduling", "Cordoned", reasons::REGION_CORDONED, false),
    ] {
        let (mut new, mut placed) = (World::new(), World::placed());
        for world in [&mut new, &mut placed] {
            world.region["spec"]["scheduling"] = "Schedulable".into();
            *world.region.pointer_mut(field).unwrap() = value.into();
        }
        let obstacle = new.obstacle();
        assert_eq!((obstacle.reason, obstacle.passing), (reason, passing));
        assert_eq!(placed.valid().flaw, None);
    }
}

#[test]
fn a_placed_org_never_follows_its_region_elsewhere() {
    let mut moved = World::placed();
    moved.org["spec"]["regionRef"]["name"] = "us".into();
    is_obstacle(&moved.obstacle(), reasons::REGION_CHANGED, &["eu", "us"]);
    let mut relocated = World::placed();
    relocated.region["spec"]["cloudRegion"] = "eu-west-3".into();
    is_obstacle(
        &relocated.obstacle(),
        reasons::REGION_CHANGED,
        &["eu-west-1", "eu-west-3"],
    );
}

#[test]
fn the_namespace_pins_an_org_whose_status_was_not_written() {
    let world = World::new();
    let labels = json!({
        "platform.tray.ai/org": "acme", "platform.tray.ai/org-id": ID, "platform.tray.ai/region": "eu-west-3",
        "platform.tray.ai/region-name": "eu", "platform.tray.ai/jurisdiction": "EU", "platform.tray.ai/retained": "true",
    });
    world.child(
        ChildKind::Namespace,
        &labels,
        &json!({"metadata": {"name": "org-acme-7c9e6679"}}),
    );
    is_obstacle(&world.obstacle(), reasons::REGION_CHANGED, &["was eu-west-3"]);
}

#[test]
fn two_orgs_never_share_an_id() {
    let mut world = World::new();
    let mut older = object("TrayOrg", "first", &world.org["spec"]);
    older["metadata"]["creationTimestamp"] = "2025-01-01T00:00:00Z".into();
    world.others.push(older);
    is_obstacle(&world.obstacle(), reasons::ORG_ID_IN_USE, &["first", ID]);
    // And look again when that one is gone.
    let observed = world.observed();
    let told = status::of_obstacle(&observed, &world.obstacle(), now());
    world.org["status"] = serde_json::to_value(told).unwrap();
    world.observed();
    world.index.orgs.remove("first", None);
    let concerned = concerns(&Change::Org("first".into()), &world.index);
    assert!(concerned.contains(&"acme".to_owned()), "{concerned:?}");
}

#[test]
fn an_id_that_is_known_never_changes() {
    let mut world = World::placed();
    world.org["spec"]["orgId"] = UID.into();
    is_obstacle(&world.obstacle(), reasons::ORG_ID_CHANGED, &[ID]);
}

#[test]
fn a_missing_policy_stops_a_new_org_and_is_told_of_a_placed_one() {
    let (mut new, mut placed) = (World::new(), World::placed());
    (new.policy, placed.policy) = (Value::Null, Value::Null);
    is_obstacle(
        &new.obstacle(),
        reasons::RETENTION_POLICY_MISSING,
        &["standard", "spec.retentionPolicyRef"],
    );
    let flaw = placed.valid().flaw.unwrap();
    is_obstacle(&flaw, reasons::RETENTION_POLICY_MISSING, &["standard"]);
    let told = placed.status(&fact(true, "AsSpecified"));
    assert_eq!(
        reason_of(&told, types::STALLED),
        said("True", "RetentionPolicyMissing")
    );
    assert!(!is_true(&told.conditions, types::READY));
}

#[test]
fn a_missing_schedule_is_told() {
    let mut world = World::placed();
    world.org["spec"]["backupScheduleRef"] = json!({"name": "gone"});
    is_obstacle(
        &world.valid().flaw.unwrap(),
        reasons::BACKUP_SCHEDULE_MISSING,
        &["gone"],
    );
}

#[test]
fn a_production_region_demands_two_weeks_of_snapshots() {
    let mut world = World::new();
    world.policy["spec"]["snapshots"] = json!({"keepDays": 13, "keepAtLeast": 3});
    is_obstacle(
        &world.obstacle(),
        reasons::RETENTION_TOO_SHORT,
        &["standard", "13", "14"],
    );
    world.region["spec"]["stage"] = "NonProduction".into();
    assert_eq!(world.valid().flaw, None);
}

#[test]
fn a_name_of_the_regions_workloads_is_refused() {
    let mut world = World::placed();
    world.org["spec"]["workloads"] = json!([{"name": "db", "kind": "Deployment", "image": "x"}]);
    is_obstacle(&world.obstacle(), reasons::WORKLOAD_NAME_TAKEN, &["db"]);
}

#[test]
fn a_status_pins_the_org_and_says_that_it_is_ready() {
    let told = World::new().status(&fact(true, "AsSpecified"));
    assert_eq!(told.org_id.as_deref(), Some(ID));
    assert_eq!(told.namespace.as_deref(), Some("org-acme-7c9e6679"));
    assert_eq!(
        told.region.as_ref().map(|r| r.cloud_region.as_str()),
        Some("eu-west-1")
    );
    assert_eq!(told.observed_generation, Some(3));
    for type_ in [
        types::READY,
        types::PLACED,
        types::RESIDENCY_COMPLIANT,
        types::WORKLOADS_AVAILABLE,
    ] {
        assert!(is_true(&told.conditions, type_), "{type_}");
    }
    for type_ in [types::RECONCILING, types::STALLED, types::DATA_LOST] {
        assert!(
            find(&told.conditions, type_).is_none(),
            "{type_} is absent unless true"
        );
    }
    assert_eq!(reason_of(&told, types::RPO_MET), said("Unknown", "NoSnapshotYet"));
}

#[test]
fn a_status_edited_by_hand_is_corrected() {
    let mut world = World::placed();
    let right = world.status(&fact(true, "AsSpecified"));
    world.org["status"] = serde_json::to_value(&right).unwrap();
    assert_eq!(
        world.status(&fact(true, "AsSpecified")),
        right,
        "what is right is written once"
    );
    world.org["status"]["conditions"][0]["status"] = "False".into();
    world.org["status"]["raisedWorkloads"] = json!(["made-up"]);
    let corrected = world.status(&fact(true, "AsSpecified"));
    assert!(is_true(&corrected.conditions, types::READY));
    assert_eq!(corrected.raised_workloads, right.raised_workloads);
}

#[test]
fn what_is_on_its_way_is_reconciling_and_not_settled() {
    let told = World::placed().status(&fact(false, reasons::ROLLING_OUT));
    assert_eq!(reason_of(&told, types::RECONCILING), said("True", "RollingOut"));
    assert!(!status::is_settled(&told));
    let told = World::placed().status(&fact(false, reasons::IMAGE_UNAVAILABLE));
    assert!(
        status::is_settled(&told),
        "what a person can mend is told at once"
    );
}

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
            webhook: Found::default(),
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
    let found = || residency::look(&world.observed(), &home);
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
    let placement = spread::placement(&world.observed(), &found()).unwrap();
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
    let told = status::of_obstacle(&world.observed(), &world.obstacle(), now());
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
        assert_eq!(concerns(&change, &world.index), ["acme"], "{change:?}");
    }
    let elsewhere = Change::Node {
        name: "n3".into(),
        regions: vec![],
    };
    assert_eq!(concerns(&elsewhere, &world.index), Vec::<String>::new());
}

#[test]
fn a_failed_backup_or_a_missed_objective_does_not_make_an_org_unready() {
    let world = World::placed();
    let status = BackupStatus {
        count: Some(2),
        ..BackupStatus::default()
    };
    let view = BackupView {
        status,
        healthy: fact(false, "LastRunFailed"),
        rpo: fact(false, "RpoBreached"),
    };
    world.facts.set_view(&ID.parse().unwrap(), view);
    let told = world.status(&fact(true, "AsSpecified"));
    assert!(is_true(&told.conditions, types::READY));
    assert_eq!(
        reason_of(&told, types::BACKUP_HEALTHY),
        said("False", "LastRunFailed")
    );
    assert_eq!(told.backup.and_then(|backup| backup.count), Some(2));
}

#[test]
fn what_was_known_of_backups_holds_until_the_ledger_is_read() {
    let mut world = World::placed().recorded(&json!([
        condition("RpoMet", "True", "m"),
        condition("DataLost", "True", "m")
    ]));
    world.org["status"]["backup"] = json!({"count": 7});
    let told = world.status(&fact(true, "AsSpecified"));
    assert_eq!(reason_of(&told, types::RPO_MET), said("True", "Recorded"));
    assert!(is_true(&told.conditions, types::DATA_LOST));
    assert_eq!(told.backup.as_ref().and_then(|backup| backup.count), Some(7));
    world.facts.set_lost(&ID.parse().unwrap(), BTreeMap::new());
    assert!(
        find(
            &world.status(&fact(true, "AsSpecified")).conditions,
            types::DATA_LOST
        )
        .is_none()
    );
}

#[test]
fn lost_data_stops_its_workload_and_asks_for_a_person() {
    let world = World::placed();
    let lost = BTreeMap::from([("data-db-0".to_owned(), "the claim is gone".to_owned())]);
    world.facts.set_lost(&ID.parse().unwrap(), lost);
    let situation = situation::of(&world.observed(), &world.valid());
    assert_eq!(situation.lost_claims.iter().collect::<Vec<_>>(), ["data-db-0"]);
    let stopped = situation::why_stopped(&situation).unwrap();
    assert!(
        stopped.status == Truth::False && stopped.message.contains("data-db-0"),
        "{stopped:?}"
    );
    let told = world.status(&stopped);
    assert_eq!(reason_of(&told, types::STALLED), said("True", "VolumeReplaced"));
    let message = &find(&told.conditions, types::DATA_LOST).unwrap().message;
    assert!(
        message.contains("data-db-0") && message.contains("OrgRestore"),
        "{message}"
    );
}

#[test]
fn what_was_stopped_for_lost_data_stays_so_over_a_start() {
    let world = World::placed().recorded(&json!([condition("DataLost", "True", "m")]));
    let labels = json!({"platform.tray.ai/org": "acme"});
    let stateful_set = |name: &str, replicas: i64| json!({"metadata": {"name": name, "namespace": "org-acme-7c9e6679"}, "spec": {"replicas": replicas}});
    world.child(ChildKind::StatefulSet, &labels, &stateful_set("db", 0));
    let situation = situation::of(&world.observed(), &world.valid());
    assert_eq!(situation.lost_claims.iter().collect::<Vec<_>>(), ["data-db-0"]);
}

#[test]
fn a_restore_stops_everything_even_before_its_controller_looked_at_it() {
    let world = World::placed();
    assert!(!situation::of(&world.observed(), &world.valid()).restoring);
    let spec =
        json!({"orgRef": {"name": "acme"}, "snapshot": {"latestGood": true}, "target": {"inPlace": true}});
    for (phase, stops) in [
        ("Pending", false),
        ("Draining", true),
        ("Filling", true),
        ("Starting", false),
    ] {
        let mut restore = object("OrgRestore", "r", &spec);
        restore["status"] = json!({"phase": phase});
        world.index.restores.put(serde_json::from_value(restore).unwrap());
        assert_eq!(
            situation::of(&world.observed(), &world.valid()).restoring,
            stops,
            "{phase}"
        );
    }
    world.facts.set_restoring(&ID.parse().unwrap(), Some("r".into()));
    let told = world.status(&fact(false, reasons::ROLLING_OUT));
    assert_eq!(reason_of(&told, types::READY), said("False", "Restoring"));
}

#[test]
fn a_suspended_org_is_as_it_should_be() {
    let mut world = World::placed();
    world.org["spec"]["lifecycle"] = json!({"state": "Suspended"});
    assert!(situation::of(&world.observed(), &world.valid()).suspended);
    let told = world.status(&fact(false, reasons::SUSPENDED));
    assert_eq!(reason_of(&told, types::READY), said("True", "Suspended"));
    assert_eq!(
        reason_of(&told, types::WORKLOADS_AVAILABLE),
        said("False", "Suspended")
    );
}

#[test]
fn an_obstacle_leaves_what_is_recorded() {
    let mut world = World::placed().recorded(&json!([condition("WorkloadsAvailable", "True", "m")]));
    world.region = Value::Null;
    let (observed, obstacle) = (world.observed(), world.obstacle());
    let told = status::of_obstacle(&observed, &obstacle, now());
    assert_eq!(told.namespace.as_deref(), Some("org-acme-7c9e6679"));
    assert!(is_true(&told.conditions, types::WORKLOADS_AVAILABLE));
    assert_eq!(reason_of(&told, types::STALLED), said("True", "RegionNotServed"));
    let truth = find(&told.conditions, types::READY).map(|c| Truth::parse(&c.status));
    assert_eq!(truth, Some(Truth::False));
}

#[test]
fn orgs_are_looked_at_again_when_what_they_name_changes() {
    let world = World::placed();
    world.observed();
    let acme = vec!["acme".to_owned()];
    for (change, concerned) in [
        (Change::Region("eu".into()), acme.clone()),
        (Change::Region("us".into()), vec![]),
        (Change::RetentionPolicy("standard".into()), acme.clone()),
        (Change::BackupSchedule("other".into()), vec![]),
        (Change::BackupFacts(ID.parse().unwrap()), acme.clone()),
        (
            Change::Restore {
                name: "r".into(),
                org: "acme".into(),
            },
            acme,
        ),
    ] {
        assert_eq!(concerns(&change, &world.index), concerned, "{change:?}");
    }
}

#[test]
fn a_region_that_only_counts_its_orgs_is_no_news() {
    let mut world = World::placed();
    world.observed();
    let driver = OrgDriver::default();
    let concerned = || driver.concerns(&Change::Region("eu".into()), &world.index);
    assert_eq!(concerned(), ["acme"]);
    assert_eq!(concerned(), Vec::<String>::new());
    world.region["status"]["orgs"] = 5.into();
    world.observed();
    assert_eq!(
        driver.concerns(&Change::Region("eu".into()), &world.index),
        Vec::<String>::new()
    );
    world.region["metadata"]["generation"] = 4.into();
    world.observed();
    assert_eq!(
        driver.concerns(&Change::Region("eu".into()), &world.index),
        ["acme"]
    );
    world.index.regions.remove("eu", None);
    assert_eq!(
        driver.concerns(&Change::Region("eu".into()), &world.index),
        ["acme"]
    );
}

#[test]
fn p17_the_status_says_who_of_support_is_in_and_until_when() {
    let mut world = World::placed();
    let nobody = world.status(&fact(true, "AsSpecified"));
    assert!(!is_true(&nobody.conditions, types::SUPPORT_ACCESS_ACTIVE));
    assert!(nobody.support_access.is_empty());

    let until: Timestamp = "2026-01-05T14:00:00Z".parse().unwrap();
    let grant = |number: usize| OpenGrant {
        name: format!("ticket-{number}"),
        role: Role::Debug,
        groups: vec!["support".to_owned()],
        until,
    };
    world.support.bound = (0..60).map(grant).collect();
    let status = world.status(&fact(true, "AsSpecified"));
    let active = find(&status.conditions, types::SUPPORT_ACCESS_ACTIVE).unwrap();
    assert_eq!(active.status, "True");
    let told = "support may Debug until 2026-01-05T14:00:00Z (ticket-0)";
    assert!(active.message.contains(told), "{}", active.message);
    assert_eq!(status.support_access.len(), 50);
    assert_eq!(status.support_access[0].until.0, until);
}

/// A placed org whose Region has an ingress, and whose `runtime` takes webhooks.
fn with_webhook() -> World {
    let mut world = World::placed();
    let spec = serde_json::to_value(fixtures::region_with_webhook()).unwrap();
    world.region["spec"] = spec;
    world
}

#[test]
fn p21_a_webhook_host_needs_a_workload_an_ingress_and_a_cluster_that_routes() {
    let reason = |exposure: Exposure<'_>| match exposure {
        Exposure::Unwanted => "none".to_owned(),
        Exposure::Impossible(fact) => fact.reason,
        Exposure::To(webhook) => webhook.workload.name.clone(),
    };
    let plain = World::placed().valid();
    assert_eq!(reason(exposure(&plain, true, true)), "none");
    let valid = with_webhook().valid();
    for (webhooks, gateway_api, wanted) in [
        (false, false, reasons::WEBHOOKS_DISABLED),
        (true, false, reasons::GATEWAY_API_MISSING),
        (true, true, "runtime"),
    ] {
        assert_eq!(reason(exposure(&valid, webhooks, gateway_api)), wanted);
    }
    let mut world = with_webhook();
    world.region["spec"]["ingress"].take();
    let valid = world.valid();
    let Exposure::Impossible(fact) = exposure(&valid, true, true) else {
        panic!("there is no ingress")
    };
    assert_eq!(fact.reason, reasons::INGRESS_MISSING);
    for named in ["runtime", "Region eu", "spec.ingress"] {
        assert!(fact.message.contains(named), "{}", fact.message);
    }
}

#[test]
fn p21_a_status_names_the_host_and_is_ready_without_it() {
    let world = with_webhook();
    let observed = world.observed();
    let valid = validate(&observed).unwrap();
    let findings = Findings {
        residency: fact(true, "AllInRegion"),
        mended: false,
        placement: None,
        zones: fact(true, "Spread"),
        isolation: fact(true, "Acknowledged"),
        quota: fact(true, "AsSpecified"),
        workloads: fact(true, "AsSpecified"),
        webhook: Found {
            condition: Some(fact(false, "GatewayApiMissing")),
            again: None,
        },
        refused: None,
    };
    let told = status::of_valid(&observed, &valid, &findings, now());
    let host = format!("{ID}.hooks.eu.example.com");
    assert_eq!(told.webhook_host, Some(host));
    assert_eq!(
        reason_of(&told, types::WEBHOOK_READY),
        said("False", "GatewayApiMissing")
    );
    assert!(is_true(&told.conditions, types::READY));
    let without = World::placed().status(&fact(true, "AsSpecified"));
    assert_eq!(without.webhook_host, None);
    assert_eq!(reason_of(&without, types::WEBHOOK_READY), None);
}

#[test]
fn orgs_of_regions_with_an_ingress_are_looked_at_when_the_gateway_api_comes() {
    for (world, concerned) in [
        (with_webhook(), vec!["acme".to_owned()]),
        (World::placed(), vec![]),
    ] {
        world.observed();
        assert_eq!(concerns(&Change::GatewayApi, &world.index), concerned);
    }
}

/// The namespace of acme, with these labels besides.
fn namespace_with(world: &World, id: &str, more: &Value) {
    let mut labels = json!({
        "platform.tray.ai/org": "acme", "platform.tray.ai/org-id": id, "platform.tray.ai/region": "eu-west-1",
        "platform.tray.ai/region-name": "eu", "platform.tray.ai/jurisdiction": "EU",
    });
    for (label, value) in more.as_object().into_iter().flatten() {
        labels[label] = value.clone();
    }
    let name = format!("org-acme-{}", &id[..8]);
    world.child(
        ChildKind::Namespace,
        &labels,
        &json!({"metadata": {"name": name}}),
    );
}

/// A tombstone of an org of that name with the id `ID`, whose data is in Region `eu`.
fn tombstone_of(world: &World, org: &str) {
    let spec = json!({
        "org": org, "orgId": ID, "namespace": format!("org-{org}-7c9e6679"), "reason": "Deletion",
        "region": {"name": "eu", "jurisdiction": "EU", "cloudRegion": "eu-west-1"},
        "deletedAt": "2026-01-01T00:00:00Z", "purgeAt": "2026-04-01T00:00:00Z", "erasureStartsAt": "2026-03-23T00:00:00Z",
    });
    let tombstone = object("OrgTombstone", &format!("{org}-7c9e6679"), &spec);
    world
        .index
        .tombstones
        .put(serde_json::from_value(tombstone).unwrap());
}

#[test]
fn an_org_without_an_id_takes_up_what_is_held_under_its_name() {
    for held in [
        (|world: &World| tombstone_of(world, "acme")) as fn(&World),
        |world| namespace_with(world, ID, &json!({"platform.tray.ai/orphaned": "true"})),
    ] {
        let mut world = World::new();
        world.org["spec"]["orgId"].take();
        held(&world);
        let valid = world.valid();
        assert_eq!(valid.placement.org_id.as_str(), ID);
        assert_eq!(valid.placement.namespace, "org-acme-7c9e6679");
    }
}

#[test]
fn an_org_with_another_id_is_told_the_line_that_takes_up_what_is_held() {
    let mut world = World::new();
    world.org["spec"]["orgId"] = UID.into();
    tombstone_of(&world, "acme");
    is_obstacle(
        &world.obstacle(),
        reasons::RETAINED_DATA_EXISTS,
        &[
            "`orgId: 7c9e6679-7425-40de-944b-e07fc1f90ae7`",
            "OrgTombstone acme-7c9e6679",
        ],
    );
    namespace_with(&world, ID, &json!({"platform.tray.ai/retained": "true"}));
    is_obstacle(&world.obstacle(), reasons::RETAINED_DATA_EXISTS, &[ID]);
}

#[test]
fn p1_what_is_held_in_a_region_is_taken_up_in_no_other() {
    let mut world = World::new();
    tombstone_of(&world, "acme");
    world.org["spec"]["regionRef"]["name"] = "us".into();
    for id in [json!(ID), Value::Null] {
        world.org["spec"]["orgId"] = id;
        is_obstacle(&world.obstacle(), reasons::REGION_MISMATCH, &["eu", "us"]);
    }
}

#[test]
fn an_id_that_is_held_for_another_name_is_refused_until_it_is_free() {
    let mut world = World::new();
    tombstone_of(&world, "other");
    is_obstacle(&world.obstacle(), reasons::ORG_ID_IN_USE, &["TrayOrg other", ID]);
    let told = status::of_obstacle(&world.observed(), &world.obstacle(), now());
    world.org["status"] = serde_json::to_value(told).unwrap();
    world.observed();
    let tombstone = Change::Tombstone {
        name: "other-7c9e6679".into(),
        org: "other".into(),
    };
    assert_eq!(concerns(&tombstone, &world.index), ["acme", "other"]);
}

#[test]
fn an_org_that_was_never_placed_leaves_nothing() {
    let nothing = World::new();
    assert_eq!(deletion::placement(&nothing.observed()), None);
    // What an earlier org of its name left is not its own.
    for label in ["platform.tray.ai/retained", "platform.tray.ai/orphaned"] {
        let stalled = World::new();
        tombstone_of(&stalled, "acme");
        namespace_with(&stalled, ID, &json!({label: "true"}));
        assert_eq!(deletion::placement(&stalled.observed()), None, "{label}");
    }
    // One whose status was not written yet, or is lost.
    let made = World::new();
    namespace_with(&made, ID, &json!({}));
    assert_eq!(deletion::placement(&made.observed()), Some(fixtures::placement()));
    assert_eq!(
        deletion::placement(&World::placed().observed()),
        Some(fixtures::placement())
    );
}

#[test]
fn a_tombstone_says_what_is_held_and_until_when() {
    let mut world = World::placed();
    world.policy["spec"] = json!({"termination": {"purgeAfterDays": 30}});
    world.org["status"]["webhookHost"] = "h.example.com".into();
    let key = "arn:aws:kms:eu-central-1:111122223333:key/org";
    world.facts.set_key(&ID.parse().unwrap(), key.parse().unwrap());
    let deleted_at = "2026-01-01T00:00:00Z".parse().unwrap();
    let made = |world: &World| -> OrgTombstone {
        tombstone::of(&world.observed(), &fixtures::placement(), deleted_at, deleted_at)
    };
    let spec = serde_json::to_value(made(&world).spec).unwrap();
    let expected = json!({
        "org": "acme", "orgId": ID, "namespace": "org-acme-7c9e6679", "reason": "Deletion",
        "region": {"name": "eu", "jurisdiction": "EU", "cloudRegion": "eu-west-1"},
        "kmsKeyArn": key, "backup": {"bucket": "tray-backups-eu", "prefix": ""}, "webhookHost": "h.example.com",
        "deletedAt": "2026-01-01T00:00:00Z", "purgeAt": "2026-01-31T00:00:00Z", "erasureStartsAt": "2026-01-22T00:00:00Z",
    });
    assert_eq!(spec, expected);
    // A Region of that name elsewhere says nothing of where the org's snapshots are.
    world.region["spec"]["cloudRegion"] = "eu-west-3".into();
    assert_eq!(made(&world).spec.backup, None);
}

#[test]
fn a_namespace_that_held_volumes_and_is_gone_is_lost() {
    let lost = |world: &World| namespace_loss::of(&world.observed(), &fixtures::placement());
    assert_eq!(lost(&World::new()), None, "there was none");
    assert_eq!(lost(&World::placed()), Some(Loss::Missing));
    let back = World::new();
    tombstone_of(&back, "acme");
    assert_eq!(lost(&back), Some(Loss::Missing), "the tombstone's");
    let there = World::placed();
    namespace_with(&there, ID, &json!({}));
    assert_eq!(lost(&there), None);
    let going = World::placed();
    let labels = json!({"platform.tray.ai/org": "acme"});
    let namespace =
        json!({"metadata": {"name": "org-acme-7c9e6679", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
    going.child(ChildKind::Namespace, &labels, &namespace);
    assert_eq!(lost(&going), Some(Loss::Going));
}

#[test]
fn claims_that_no_workload_uses_are_named() {
    let world = World::placed();
    let labels = json!({"platform.tray.ai/org": "acme"});
    for name in ["data-db-0", "data-db-1", "data-gone-0"] {
        let claim = json!({"metadata": {"name": name, "namespace": "org-acme-7c9e6679"}});
        world.child(ChildKind::PersistentVolumeClaim, &labels, &claim);
    }
    let told = world.status(&fact(true, "AsSpecified"));
    assert_eq!(told.unused_volumes, ["data-db-1", "data-gone-0"]);
}

#[test]
fn an_org_keeps_what_it_runs_until_a_change_of_its_region_reaches_it() {
    let mut world = World::placed();
    let old = serde_json::to_value([fixtures::database()]).unwrap();
    let new = world.region["spec"]["workloads"].clone();
    world.region["status"]["workloads"] = json!({
        "revision": "2", "revisions": [{"name": "1", "workloads": old}, {"name": "2", "workloads": new}],
        "wave": ["somebody"],
    });
    world.org["status"]["workloadsRevision"] = "1".into();
    let runs = |world: &World| -> (usize, Option<String>) {
        let valid = world.valid();
        (valid.effective.workloads.len(), valid.regional.revision)
    };
    assert_eq!(runs(&world), (1, Some("1".into())));
    // Its own change is not held back.
    world.org["spec"]["overrides"] = json!([{"name": "db", "image": "db:own"}]);
    assert_eq!(world.valid().effective.workloads[0].image, "db:own");
    let reached = |world: &World| {
        world.observed();
        let driver = OrgDriver::default();
        let change = Change::Region("eu".into());
        driver.concerns(&change, &world.index);
        driver.concerns(&change, &world.index)
    };
    assert_eq!(reached(&world), Vec::<String>::new());
    world.region["status"]["workloads"]["wave"] = json!(["acme"]);
    assert_eq!(runs(&world), (2, Some("2".into())));
    assert_eq!(reached(&world), ["acme"], "and it is looked at");
    let told = world.status(&fact(true, "AsSpecified"));
    assert_eq!(told.workloads_revision.as_deref(), Some("2"));
    // A new one has what there is.
    world.region["status"]["workloads"]["wave"] = json!([]);
    world.org["status"]["workloadsRevision"].take();
    assert_eq!(runs(&world), (2, Some("2".into())));
}
