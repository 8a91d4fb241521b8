//! An org stays where it is pinned to, and what lies elsewhere shows: on a real API server, with the operator's own
//! rights and under the chart's policies. Nodes and volumes are only objects.

#[path = "../support/mod.rs"]
mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use kube::{
    Client,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::{Value, json};
use support::{
    api_server::{self, eventually},
    installed::{self, Operator},
    orgs::{
        api, count_quotas, is_deleted, message, node, org, patch, platform, pod, region, relabel, run, until,
    },
};
use tokio::sync::OnceCell;
use tray_operator::controllers::{Driver, org::OrgDriver, region::RegionDriver};
use tray_ports::BucketFacts;
use tray_ports::RegionBucket;

const KIND: &str = "TrayOrg";
const READY: &[(&str, &str)] = &[
    ("Ready", "True/AsSpecified"),
    ("ResidencyCompliant", "True/AllInRegion"),
];

fn drivers() -> Vec<Arc<dyn Driver>> {
    vec![Arc::new(OrgDriver::default()), Arc::new(RegionDriver::default())]
}

/// A cluster with three Regions, all ready; the operator runs.
async fn world() -> (Client, &'static Operator) {
    static WORLD: OnceCell<()> = OnceCell::const_new();
    let operator = installed::shared(drivers).await;
    let client = api_server::shared().await.client().await;
    WORLD
        .get_or_init(async || {
            platform(&client).await;
            for (name, cloud_region, more) in [
                ("alert", "eu-west-1", json!({})),
                ("evict", "eu-west-3", json!({"onViolation": "Evict"})),
                ("moved", "eu-north-1", json!({})),
            ] {
                node(&client, &format!("{name}-home"), cloud_region).await;
                node(&client, &format!("{name}-other"), cloud_region).await;
                api_server::apply(&client, &region(name, cloud_region, &more)).await;
                until(&client, "Region", name, &[("Ready", "True/AsSpecified")]).await;
            }
        })
        .await;
    (client, operator)
}

/// An org that is ready, whose quotas let pods in; returns its namespace.
async fn placed(client: &Client, name: &str, id: &str, region: &str) -> String {
    api_server::apply(client, &org(name, id, region, &json!({}))).await;
    let ready = until(client, KIND, name, READY).await;
    let namespace = ready["status"]["namespace"].as_str().unwrap().to_owned();
    count_quotas(client, &namespace, &json!({})).await;
    namespace
}

/// The Region's count of violations as soon as it is that.
async fn violations(client: &Client, region: &str, wanted: i64) {
    let regions = api(client, "platform.tray.ai/v1alpha1", "Region", "").await;
    let reached = eventually(async || {
        let status = regions.get(region).await.unwrap().data["status"].clone();
        (status["violations"] == wanted).then_some(())
    });
    assert!(reached.await.is_some(), "{:#?}", regions.get(region).await);
}

fn metric(operator: &Operator, region: &str, kind: &str) -> String {
    let text = operator.ctx.metrics.render().unwrap();
    let line = format!("tray_residency_violations{{region=\"{region}\",kind=\"{kind}\"}} ");
    let found = text.lines().find_map(|shown| shown.strip_prefix(&line));
    found.unwrap_or_default().to_owned()
}

#[tokio::test]
async fn p1_a_region_alerts_unless_it_says_that_it_evicts() {
    let (client, _) = world().await;
    let regions = api(&client, "platform.tray.ai/v1alpha1", "Region", "").await;
    assert_eq!(
        regions.get("alert").await.unwrap().data["spec"]["onViolation"],
        "Alert"
    );
    let ignorant = region("ignorant", "eu-south-1", &json!({"onViolation": "Ignore"}));
    let ignorant = serde_json::from_value(ignorant).unwrap();
    let refused = regions
        .create(&PostParams::default(), &ignorant)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("spec.onViolation") && refused.contains("\"Alert\", \"Evict\""),
        "{refused}"
    );
}

#[tokio::test]
async fn p1_a_pod_on_a_relabelled_node_shows_with_its_name_and_clears_by_itself() {
    let (client, operator) = world().await;
    let namespace = placed(&client, "watched", "10000001", "alert").await;
    // Nothing on it says whose it is, and what it says of its place is a lie.
    let lie = json!({"topology.kubernetes.io/region": "eu-west-1"});
    run(
        &client,
        &pod(&namespace, "stray", "eu-west-1", &lie),
        "alert-other",
    )
    .await;
    let placed = eventually(async || {
        let org = until(&client, KIND, "watched", READY).await;
        (org["status"]["placement"]["zones"][0]["nodes"][0]["node"] == "alert-other").then_some(org)
    });
    let placement = placed.await.unwrap()["status"]["placement"].clone();
    assert_eq!(
        placement,
        json!({"zones": [{"zone": "eu-west-1a", "pods": 1, "nodes": [{"node": "alert-other", "pods": 1}]}]})
    );

    relabel(&client, "alert-other", "us-west-2").await;
    let told = until(
        &client,
        KIND,
        "watched",
        &[
            ("ResidencyCompliant", "False/PodOutsideRegion"),
            ("Ready", "False/PodOutsideRegion"),
            ("Stalled", "True/PodOutsideRegion"),
        ],
    )
    .await;
    let said = message(&told, "ResidencyCompliant");
    assert!(
        said.contains("pod stray on node alert-other in us-west-2"),
        "{said}"
    );
    assert_eq!(told["status"]["placement"]["podsOutside"], 1);
    violations(&client, "alert", 1).await;
    assert_eq!(metric(operator, "alert", "pod"), "1");
    let events = api(&client, "events.k8s.io/v1", "Event", "default").await;
    let event = eventually(async || {
        let events = events.list(&ListParams::default()).await.unwrap();
        let of_org =
            |event: &Value| event["regarding"]["name"] == "watched" && event["reason"] == "PodOutsideRegion";
        events.into_iter().find(|event| of_org(&event.data))
    });
    assert!(event.await.is_some(), "no event says so");
    assert!(
        !is_deleted(&client, &namespace, "stray").await,
        "Alert deletes nothing"
    );

    relabel(&client, "alert-other", "eu-west-1").await;
    let cleared = until(&client, KIND, "watched", READY).await;
    assert_eq!(cleared["status"]["placement"].get("podsOutside"), None);
    violations(&client, "alert", 0).await;
    assert_eq!(metric(operator, "alert", "pod"), "0");
}

#[tokio::test]
async fn p1_a_volume_that_lies_elsewhere_shows_and_clears_by_itself() {
    let (client, operator) = world().await;
    let namespace = placed(&client, "stored", "10000002", "moved").await;
    let volume = |name: &str, zone: &str| {
        json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "org-encrypted",
                "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/nowhere"},
                "claimRef": {"namespace": namespace, "name": "data-web-0"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone]},
                ]}]}},
            },
        })
    };
    api_server::apply(&client, &volume("pv-home", "eu-north-1a")).await;
    api_server::apply(&client, &volume("pv-away", "us-west-2b")).await;
    let told = until(
        &client,
        KIND,
        "stored",
        &[("ResidencyCompliant", "False/VolumeOutsideRegion")],
    )
    .await;
    let said = message(&told, "ResidencyCompliant");
    assert!(
        said.contains("PersistentVolume pv-away of claim data-web-0 in us-west-2b")
            && !said.contains("pv-home"),
        "{said}"
    );
    violations(&client, "moved", 1).await;
    assert_eq!(metric(operator, "moved", "volume"), "1");
    let volumes = api(&client, "v1", "PersistentVolume", "").await;
    volumes.delete("pv-away", &DeleteParams::default()).await.unwrap();
    // Nobody protects volumes here but the finalizer that the API server sets.
    patch(&volumes, "pv-away", &json!({"metadata": {"finalizers": null}})).await;
    until(&client, KIND, "stored", READY).await;

    p1_orgs_follow_a_bucket_that_moved(&client, operator).await;
}

/// After the volume, in the same Region: both are counted by it.
async fn p1_orgs_follow_a_bucket_that_moved(client: &Client, operator: &Operator) {
    let store = &operator.regions.store;
    let good = store.facts("").await.unwrap();
    store.set_facts(BucketFacts {
        cloud_region: "us-east-1".to_owned(),
        ..good.clone()
    });
    // A changed spec is asked about at once; else it would be a day.
    let regions = api(client, "platform.tray.ai/v1alpha1", "Region", "").await;
    patch(&regions, "moved", &json!({"spec": {"scheduling": "Cordoned"}})).await;
    until(
        client,
        "Region",
        "moved",
        &[("BackupLocationVerified", "False/BucketOutsideJurisdiction")],
    )
    .await;
    let told = until(
        client,
        KIND,
        "stored",
        &[("ResidencyCompliant", "False/BackupOutsideRegion")],
    )
    .await;
    let said = message(&told, "ResidencyCompliant");
    assert!(
        said.contains("Region moved") && said.contains("us-east-1"),
        "{said}"
    );
    violations(client, "moved", 1).await;
    assert_eq!(metric(operator, "moved", "backup"), "1");

    store.set_facts(good);
    patch(&regions, "moved", &json!({"spec": {"scheduling": "Schedulable"}})).await;
    until(client, KIND, "stored", READY).await;
    violations(client, "moved", 0).await;
}

#[tokio::test]
async fn p1_evict_deletes_the_orgs_own_pods_once_and_neither_movers_nor_others() {
    let (client, _) = world().await;
    let namespace = placed(&client, "evicted", "10000003", "evict").await;
    let own = json!({"platform.tray.ai/org": "evicted"});
    run(
        &client,
        &pod(&namespace, "web-1", "eu-west-3", &own),
        "evict-other",
    )
    .await;
    // As the Job controller makes it from a Job of the operator.
    let mut mover = pod(
        &namespace,
        "mover",
        "eu-west-3",
        &json!({"platform.tray.ai/component": "mover"}),
    );
    mover["spec"]["priorityClassName"] = "tray-mover".into();
    let controller = api_server::shared()
        .await
        .client_as(
            Some("system:serviceaccount:kube-system:job-controller"),
            &["system:masters"],
        )
        .await;
    run(&controller, &mover, "evict-other").await;
    let elsewhere = pod("tray-system", "prune", "eu-west-3", &own);
    run(&client, &elsewhere, "evict-other").await;

    let began = Instant::now();
    relabel(&client, "evict-other", "us-west-2").await;
    let told = until(
        &client,
        KIND,
        "evicted",
        &[
            ("ResidencyCompliant", "False/PodOutsideRegion"),
            ("Reconciling", "True/PodOutsideRegion"),
        ],
    )
    .await;
    let said = message(&told, "ResidencyCompliant");
    assert!(
        said.contains("spec.onViolation of Region evict is Evict"),
        "{said}"
    );
    let evicted = eventually(async || is_deleted(&client, &namespace, "web-1").await.then_some(()));
    assert!(evicted.await.is_some(), "the pod stays");
    let events = api(&client, "events.k8s.io/v1", "Event", "default").await;
    let event = eventually(async || {
        let events = events.list(&ListParams::default()).await.unwrap();
        let of_org =
            |event: &Value| event["regarding"]["name"] == "evicted" && event["reason"] == "PodEvicted";
        events.into_iter().find(|event| of_org(&event.data))
    });
    let note = event.await.expect("no event says so").data["note"].to_string();
    assert!(note.contains("pod web-1 ran on node evict-other"), "{note}");

    // Somebody makes it anew at once: it is named, and not deleted in turn.
    relabel(&client, "evict-other", "eu-west-3").await;
    run(
        &client,
        &pod(&namespace, "web-2", "eu-west-3", &own),
        "evict-other",
    )
    .await;
    relabel(&client, "evict-other", "us-west-2").await;
    let named = eventually(async || {
        let org = until(
            &client,
            KIND,
            "evicted",
            &[("ResidencyCompliant", "False/PodOutsideRegion")],
        )
        .await;
        message(&org, "ResidencyCompliant")
            .contains("pod web-2")
            .then_some(())
    });
    assert!(named.await.is_some());
    let again = is_deleted(&client, &namespace, "web-2").await;
    assert!(
        !again || began.elapsed() >= Duration::from_mins(1),
        "there was no pause"
    );
    for (namespace, name) in [(namespace.as_str(), "mover"), ("tray-system", "prune")] {
        assert!(!is_deleted(&client, namespace, name).await, "{name} was deleted");
    }
}

#[tokio::test]
async fn p2_zones_are_spread_as_the_running_pods_show() {
    let (client, _) = world().await;
    let namespace = placed(&client, "spread", "10000004", "alert").await;
    // Region alert has ready nodes in zone a alone.
    let told = until(&client, KIND, "spread", &[("ZonesSpread", "False/OneZone")]).await;
    assert!(message(&told, "ZonesSpread").contains("eu-west-1a"));
    node(&client, "alert-b", "eu-west-1").await;
    let zone = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "eu-west-1b"}}});
    patch(&api(&client, "v1", "Node", "").await, "alert-b", &zone).await;
    until(&client, KIND, "spread", &[("ZonesSpread", "Unknown/RollingOut")]).await;
    let labels = json!({"platform.tray.ai/org": "spread", "platform.tray.ai/workload": "web"});
    for name in ["web-1", "web-2"] {
        run(
            &client,
            &pod(&namespace, name, "eu-west-1", &labels),
            "alert-home",
        )
        .await;
    }
    let told = until(
        &client,
        KIND,
        "spread",
        &[("ZonesSpread", "False/FewerZones"), ("Ready", "True/AsSpecified")],
    )
    .await;
    assert!(message(&told, "ZonesSpread").contains("web runs in 1 of 2 zones"));
    let pods = api(&client, "v1", "Pod", &namespace).await;
    let now = DeleteParams::default().grace_period(0);
    pods.delete("web-2", &now).await.unwrap();
    run(
        &client,
        &pod(&namespace, "web-3", "eu-west-1", &labels),
        "alert-b",
    )
    .await;
    let told = until(&client, KIND, "spread", &[("ZonesSpread", "True/Spread")]).await;
    let zones = &told["status"]["placement"]["zones"];
    assert_eq!(
        (&zones[0]["zone"], &zones[1]["zone"]),
        (&json!("eu-west-1a"), &json!("eu-west-1b"))
    );
}
