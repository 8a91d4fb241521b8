//! An org's children on a real API server: it takes every one, gives each back as it was rendered, and what somebody
//! changes or removes is put back without a word about the rest.

use std::sync::Arc;

use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use tray_api::{
    region::Region,
    retention_policy::RetentionPolicySpec,
    trayorg::{PinnedRegion, TrayOrg},
};
use tray_domain::replicas::Situation;
use tray_operator::{
    adapters::kube::{
        apply::{Applied, ApplyError, Cluster, api_resource},
        child::ChildFact,
        compare::difference,
        index::Index,
        live::Live,
    },
    resources::{
        child::{ChildId, ChildKind, DesiredChild},
        org::{Inputs, Placement, Surroundings, access, children, effective, log_policy, quota},
    },
    telemetry::metrics::Metrics,
};

use super::support::{api_server, orgs::examples};

fn example(file: &str, name: &str) -> Value {
    let mut examples = examples(file).into_iter();
    examples.find(|d| d["metadata"]["name"] == name).unwrap()
}

/// The children of the example org acme, under another name so that tests do not meet; with a Deployment besides, and
/// with zones demanded.
fn rendered(name: &str) -> Vec<DesiredChild> {
    let runtime = json!({
        "name": "runtime", "kind": "Deployment", "image": "runtime:1", "replicas": 2, "runAsUser": 1000,
        "env": [{"name": "A", "value": "1"}, {"name": "EMPTY", "value": ""}], "envFromSecrets": ["api-keys"],
        "ports": [{"name": "http", "port": 8080}], "resources": {"cpu": 0.5, "memory": "1024Mi"},
    });
    rendered_with(
        name,
        &json!({"workloads": [runtime], "availability": {"zoneSpread": "Required"}}),
    )
}

/// The children of the example org acme with these fields of its spec.
fn rendered_with(name: &str, spec: &Value) -> Vec<DesiredChild> {
    let region: Region = serde_json::from_value(example("regions.yaml", "eu")).unwrap();
    let mut org = example("orgs/acme-eu.yaml", "acme");
    for (field, value) in spec.as_object().unwrap() {
        org["spec"][field] = value.clone();
    }
    let org: TrayOrg = serde_json::from_value(org).unwrap();
    let region_of = |r: &Region| PinnedRegion {
        name: "eu".into(),
        jurisdiction: r.spec.jurisdiction,
        cloud_region: r.spec.cloud_region.clone(),
    };
    let id = org.spec.org_id.clone().unwrap().parse().unwrap();
    let workloads = effective::workloads(&org.spec, &region.spec).unwrap().workloads;
    let stages = children(&Inputs {
        placement: &Placement::new(name, id, region_of(&region)),
        org: &org.spec,
        region: &region.spec,
        workloads: &workloads,
        limits: &quota::limits(&org.spec, &region.spec),
        logs: Some(&log_policy::wanted(&org.spec, &RetentionPolicySpec::default())),
        situation: &Situation::default(),
        surroundings: &Surroundings {
            api_server_ports: vec![443, 6443],
        },
        support: Some("support"),
    });
    stages.into_iter().flatten().collect()
}

fn api(client: &Client, id: &ChildId) -> Api<Live> {
    let resource = api_resource(id.kind);
    match id.namespace.as_str() {
        "" => Api::all_with(client.clone(), &resource),
        namespace => Api::namespaced_with(client.clone(), namespace, &resource),
    }
}

/// What is live now, as the comparison sees it.
async fn live(client: &Client, id: &ChildId) -> Value {
    let object = api(client, id).get(&id.name).await.unwrap();
    serde_json::from_str(&object.substance()).unwrap()
}

/// Takes in what a watch would show.
async fn look(client: &Client, index: &Index, id: &ChildId) {
    match api(client, id).get_opt(&id.name).await.unwrap() {
        Some(object) => drop(index.children.observe(ChildFact::of(id.kind, &object))),
        None => drop(index.children.remove(id, None)),
    }
}

/// A cluster in which every child of an org of that name was made.
async fn made(name: &str) -> (Client, Arc<Index>, Cluster, Vec<DesiredChild>) {
    let client = api_server::shared().await.client().await;
    let index = Arc::<Index>::default();
    let cluster = Cluster::new(client.clone(), index.clone());
    let wanted = rendered(name);
    for child in &wanted {
        // The first write of a quota is counted by nobody here: what it is on is refused from then on.
        if child.id.kind != ChildKind::ResourceQuota {
            let applied = cluster.ensure(child).await;
            assert!(
                matches!(applied, Ok(Applied::Created)),
                "{}: {applied:?}",
                child.id
            );
        }
    }
    for child in wanted
        .iter()
        .filter(|child| child.id.kind == ChildKind::ResourceQuota)
    {
        cluster.ensure(child).await.unwrap();
    }
    (client, index, cluster, wanted)
}

/// An org's workload that says as little as it can, with these fields besides.
fn runtime(fields: &Value) -> Value {
    let mut workload = json!({"name": "runtime", "kind": "Deployment", "image": "runtime:1"});
    for (field, value) in fields.as_object().unwrap() {
        workload[field] = value.clone();
    }
    json!({"workloads": [workload]})
}

/// A StatefulSet that says everything it can.
fn everything() -> Value {
    json!({
        "name": "all", "kind": "StatefulSet", "image": "all:1", "replicas": 3, "command": ["a"], "args": ["b"],
        "env": [{"name": "A", "value": "1"}, {"name": "EMPTY", "value": ""}], "envFromSecrets": ["one", "two"],
        "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000, "scratch": ["/tmp", "/run"],
        "ports": [{"name": "http", "port": 8080}, {"name": "admin", "port": 8081}],
        "resources": {"cpu": "1000m", "memory": "1024Mi", "memoryLimit": "2048Mi"},
        "readiness": {"httpPath": "/healthz", "port": "http"}, "volume": {"size": "1024Mi", "mountPath": "/data"},
        "executionLogPolicy": {"mountPath": "/etc/tray/logs"},
    })
}

fn find<'a>(wanted: &'a [DesiredChild], kind: ChildKind, name: &str) -> &'a DesiredChild {
    wanted
        .iter()
        .find(|child| child.id.kind == kind && child.id.name == name)
        .unwrap()
}

#[tokio::test]
async fn every_child_is_given_back_as_it_was_rendered_and_not_written_again() {
    let (client, _, cluster, wanted) = made("fixpoint").await;
    for child in &wanted {
        let live = live(&client, &child.id).await;
        assert_eq!(difference(&child.body, &live), None, "{}: {live:#}", child.id);
        assert!(
            matches!(cluster.ensure(child).await, Ok(Applied::Unchanged)),
            "{}",
            child.id
        );
    }
    // And by an operator that starts and sees everything for the first time.
    let index = Arc::<Index>::default();
    for child in &wanted {
        look(&client, &index, &child.id).await;
    }
    let started = Cluster::new(client, index);
    for child in &wanted {
        assert!(
            matches!(started.ensure(child).await, Ok(Applied::Unchanged)),
            "{}",
            child.id
        );
    }
}

#[tokio::test]
async fn the_smallest_and_the_largest_body_of_each_kind_are_what_the_server_keeps() {
    let client = api_server::shared().await.client().await;
    let metrics = Arc::<Metrics>::default();
    let cluster = Cluster::new(client, Arc::default()).counting(metrics.clone());
    let smallest =
        json!({"owners": [], "network": {"egress": "None"}, "workloads": runtime(&json!({}))["workloads"]});
    let largest = json!({
        "workloads": [everything(), runtime(&json!({"replicas": 4, "readiness": {"exec": ["x"]}}))["workloads"][0]],
        "quota": {"cpu": "64000m", "memory": "1048576Ki", "storage": "0.5Ti", "pods": 1000},
        "network": {"egress": "AllowList", "allowCidrs": ["203.0.113.0/24", "2001:db8::/32"]},
        "availability": {"zoneSpread": "Required"},
        "owners": [
            {"kind": "Group", "name": "a", "role": "Admin"}, {"kind": "User", "name": "b", "role": "Admin"},
            {"kind": "User", "name": "c", "role": "Viewer"}],
    });
    for (name, spec) in [("smallest", smallest), ("largest", largest)] {
        for child in rendered_with(name, &spec) {
            assert!(
                matches!(cluster.ensure(&child).await, Ok(Applied::Created)),
                "{}",
                child.id
            );
            let text = metrics.render().unwrap();
            assert!(
                !text.contains("kept_otherwise_total{"),
                "{} of {name}: {text}",
                child.id
            );
        }
    }
}

#[tokio::test]
async fn each_optional_field_that_was_set_and_is_unset_is_gone() {
    let client = api_server::shared().await.client().await;
    let cluster = Cluster::new(client.clone(), Arc::default());
    let base = rendered_with("unset", &runtime(&json!({})));
    let mut before = Vec::new();
    for child in &base {
        cluster.ensure(child).await.unwrap();
        before.push(live(&client, &child.id).await);
    }
    let of_workload = [
        json!({"command": ["a", "b"]}),
        json!({"args": ["a"]}),
        json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}),
        json!({"envFromSecrets": ["keys"]}),
        json!({"replicas": 5}),
        json!({"runAsUser": 1000}),
        json!({"runAsGroup": 1000}),
        json!({"fsGroup": 1000}),
        json!({"scratch": ["/tmp", "/run"]}),
        json!({"ports": [{"name": "http", "port": 8080}]}),
        json!({"resources": {"cpu": "2"}}),
        json!({"resources": {"memory": "3Gi"}}),
        json!({"resources": {"memoryLimit": "4Gi"}}),
        json!({"readiness": {"exec": ["x"]}}),
        json!({"ports": [{"name": "http", "port": 8080}], "readiness": {"httpPath": "/", "port": "http"}}),
        json!({"executionLogPolicy": {"mountPath": "/etc/tray/logs"}}),
    ];
    let of_org = [
        json!({"owners": [{"kind": "User", "name": "x", "role": "Admin"}, {"kind": "Group", "name": "y", "role": "Viewer"}]}),
        json!({"quota": {"cpu": "1", "memory": "1Gi", "storage": "1Gi", "pods": 1}}),
        json!({"network": {"egress": "AllowList", "allowCidrs": ["203.0.113.0/24"]}}),
        json!({"availability": {"zoneSpread": "Required"}}),
        json!({"executionLogs": {"mode": "Hidden"}}),
    ];
    let with_workload = |mut spec: Value| {
        spec["workloads"] = runtime(&json!({}))["workloads"].clone();
        spec
    };
    let variations = of_workload
        .iter()
        .map(runtime)
        .chain(of_org.into_iter().map(with_workload));
    for variation in variations {
        let set = rendered_with("unset", &variation);
        let mut changed = 0;
        for child in &base {
            let Some(child) = set.iter().find(|other| other.id == child.id) else {
                // What is exchanged for another.
                assert!(
                    access::OWNER_BINDINGS.contains(&child.id.name.as_str()),
                    "{} without {variation}",
                    child.id
                );
                continue;
            };
            changed += i32::from(matches!(cluster.ensure(child).await, Ok(Applied::Changed)));
        }
        assert!(changed > 0, "{variation}");
        for (child, before) in base.iter().zip(&before) {
            cluster.ensure(child).await.unwrap();
            assert_eq!(
                live(&client, &child.id).await,
                *before,
                "{} after {variation}",
                child.id
            );
        }
    }
}

#[tokio::test]
async fn a_retained_namespace_loses_its_label_when_its_org_is_back() {
    let client = api_server::shared().await.client().await;
    let cluster = Cluster::new(client.clone(), Arc::default());
    let wanted = rendered("back").remove(0);
    cluster.ensure(&wanted).await.unwrap();
    let before = live(&client, &wanted.id).await;
    let mut retained = wanted.clone();
    retained.body["metadata"]["labels"]["platform.tray.ai/retained"] = "true".into();
    for child in [&retained, &wanted] {
        assert!(matches!(cluster.ensure(child).await, Ok(Applied::Changed)));
    }
    assert_eq!(live(&client, &wanted.id).await, before);
}

#[tokio::test]
async fn what_is_there_already_is_taken_over_and_what_others_own_of_it_stays() {
    let (client, _, _, wanted) = made("adopted").await;
    let child = find(&wanted, ChildKind::Service, "runtime");
    let params = PatchParams {
        field_manager: Some("somebody".into()),
        ..PatchParams::default()
    };
    let change = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null, "theirs": "x"}},
        "spec": {"selector": {"more": "x"}, "externalIPs": ["192.0.2.1"]}});
    let api = api(&client, &child.id);
    api.patch("runtime", &params, &Patch::Merge(change))
        .await
        .unwrap();
    // An operator that has never heard of it.
    let cluster = Cluster::new(client.clone(), Arc::default());
    assert!(matches!(cluster.ensure(child).await, Ok(Applied::Changed)));
    let live = live(&client, &child.id).await;
    assert_eq!(difference(&child.body, &live), None);
    assert_eq!(live["metadata"]["labels"]["theirs"], "x");
    assert_eq!(live["spec"]["selector"].as_object().unwrap().len(), 1);
    assert!(live["spec"].get("externalIPs").is_none());
}

#[tokio::test]
async fn what_somebody_changed_is_put_back() {
    let (client, index, cluster, wanted) = made("edited").await;
    for (kind, name, edit) in [
        (ChildKind::StatefulSet, "db", json!({"spec": {"replicas": 5}})),
        (
            ChildKind::StatefulSet,
            "web",
            json!({"spec": {"template": {"spec": {"hostNetwork": true}}}}),
        ),
        (
            ChildKind::Deployment,
            "runtime",
            json!({"spec": {"template": {"spec": {"nodeSelector": {"x": "y"}}}}}),
        ),
        (
            ChildKind::Deployment,
            "runtime",
            json!({"spec": {"template": {"spec": {"tolerations": [{"operator": "Exists"}]}}}}),
        ),
        (
            ChildKind::NetworkPolicy,
            "tray-default-deny",
            json!({"spec": {"ingress": [{}]}}),
        ),
        (
            ChildKind::NetworkPolicy,
            "tray-default-deny",
            json!({"spec": {"podSelector": {"matchLabels": {"a": "b"}}}}),
        ),
        (
            ChildKind::NetworkPolicy,
            "tray-dns",
            json!({"spec": {"egress": [{"to": [{"namespaceSelector": {}}]}]}}),
        ),
        (ChildKind::RoleBinding, "tray-admins", json!({"subjects": []})),
        (
            ChildKind::ResourceQuota,
            "tray-pods",
            json!({"spec": {"hard": {"pods": "1"}}}),
        ),
        (
            ChildKind::ServiceAccount,
            "tray-mover",
            json!({"automountServiceAccountToken": true}),
        ),
        (
            ChildKind::Service,
            "runtime",
            json!({"spec": {"type": "NodePort"}}),
        ),
        (
            ChildKind::ConfigMap,
            "execution-log-policy",
            json!({"data": {"keptHours": "1"}}),
        ),
        (
            ChildKind::ConfigMap,
            "execution-log-policy",
            json!({"data": {"more": "x"}, "binaryData": {"other": "eA=="}}),
        ),
    ] {
        let child = find(&wanted, kind, name);
        let api = api(&client, &child.id);
        api.patch(name, &PatchParams::default(), &Patch::Merge(edit.clone()))
            .await
            .unwrap();
        look(&client, &index, &child.id).await;
        let applied = cluster.ensure(child).await;
        assert!(
            matches!(applied, Ok(Applied::Changed)),
            "{} {edit}: {applied:?}",
            child.id
        );
        let live = live(&client, &child.id).await;
        assert_eq!(difference(&child.body, &live), None, "{} {edit}", child.id);
    }
}

#[tokio::test]
async fn what_somebody_removed_is_made_again() {
    let (client, index, cluster, wanted) = made("removed").await;
    for (kind, name) in [
        (ChildKind::NetworkPolicy, "tray-dns"),
        (ChildKind::Service, "db"),
        (ChildKind::RoleBinding, "tray-operator"),
    ] {
        let child = find(&wanted, kind, name);
        api(&client, &child.id)
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
        look(&client, &index, &child.id).await;
        assert!(
            matches!(cluster.ensure(child).await, Ok(Applied::Created)),
            "{}",
            child.id
        );
    }
}

#[tokio::test]
async fn a_stateful_set_that_cannot_be_changed_is_made_anew() {
    let (client, index, cluster, wanted) = made("grown").await;
    let mut child = find(&wanted, ChildKind::StatefulSet, "db").clone();
    child.body["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] = "20Gi".into();
    let before = index.children.get(&child.id).unwrap().identity.uid.clone();
    assert!(matches!(cluster.ensure(&child).await, Ok(Applied::Going)));
    let kind = api_resource(child.id.kind);
    let sets: Api<DynamicObject> = Api::namespaced_with(client.clone(), &child.id.namespace, &kind);
    let going = sets.get("db").await.unwrap();
    assert_eq!(going.finalizers(), ["orphan"], "its pods run on");
    // No garbage collector runs here to take its finalizer off.
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api(&client, &child.id)
        .patch("db", &PatchParams::default(), &free)
        .await
        .unwrap();
    look(&client, &index, &child.id).await;
    assert!(matches!(cluster.ensure(&child).await, Ok(Applied::Created)));
    assert_ne!(index.children.get(&child.id).unwrap().identity.uid, before);
}

/// The API server shows a Service that is gone as it was, and the watch may have told of its end before.
#[tokio::test]
async fn a_service_that_was_deleted_to_be_made_anew_is_not_taken_for_there() {
    let (client, index, cluster, wanted) = made("headless").await;
    let mut child = find(&wanted, ChildKind::Service, "db").clone();
    assert_eq!(child.body["spec"]["clusterIP"], "None");
    child.body["spec"]["clusterIP"] = Value::Null;
    let version = || index.children.get(&child.id).map(|fact| fact.identity.version);
    let known = version();
    assert!(matches!(cluster.ensure(&child).await, Ok(Applied::Going)));
    assert_eq!(version(), known, "what is gone was learnt");
    look(&client, &index, &child.id).await;
    assert!(matches!(cluster.ensure(&child).await, Ok(Applied::Created)));
}

#[tokio::test]
async fn a_namespace_of_somebody_else_is_never_taken() {
    let client = api_server::shared().await.client().await;
    let wanted = rendered("foreign");
    let namespace = find(&wanted, ChildKind::Namespace, &wanted[0].id.name);
    let foreign = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace.id.name}});
    api_server::apply(&client, &foreign).await;
    let cluster = Cluster::new(client, Arc::default());
    assert!(matches!(
        cluster.ensure(namespace).await,
        Err(ApplyError::Foreign(_))
    ));
}

#[tokio::test]
async fn provisioning_an_org_takes_few_requests() {
    // One each; besides them the finalizer, the status and an event.
    let example: Vec<DesiredChild> = rendered("few")
        .into_iter()
        .filter(|c| c.id.name != "runtime")
        .collect();
    assert!(example.len() + 3 <= 30, "{} children", example.len());
}
