//! Orgs in Regions that are ready, with the Region and the TrayOrg controller at work: for tests of their life.

use std::{collections::BTreeMap, sync::Arc};

use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tray_operator::controllers::{Driver, malformed::MalformedObjects, org::OrgDriver, region::RegionDriver};

pub(crate) use super::orgs::object;
use super::{
    api_server::{self, api_of, eventually},
    installed::{self, Operator, conditions, play_kubernetes},
    orgs as manifests,
};

fn drivers() -> Vec<Arc<dyn Driver>> {
    vec![
        Arc::new(RegionDriver::default()),
        Arc::new(OrgDriver::default()),
        Arc::new(MalformedObjects::default()),
    ]
}

/// The running operator.
pub(crate) async fn operator() -> &'static Operator {
    installed::shared(drivers).await
}

/// A cluster with Region `eu`, ready, and the policies that orgs name; the operator runs.
pub(crate) async fn world() -> Client {
    operator().await;
    let client = api_server::shared().await.client().await;
    region(&client, "eu", "eu-west-1").await;
    for (kind, spec) in [
        ("RetentionPolicy", json!({})),
        ("BackupSchedule", json!({"schedule": "0 */12 * * *"})),
    ] {
        api_server::apply(&client, &object(kind, "standard", &spec)).await;
    }
    client
}

/// A Region that every org runs a database in, as soon as it is ready.
pub(crate) async fn region(client: &Client, name: &str, cloud_region: &str) {
    region_with(client, name, cloud_region, &json!([database("db:1")])).await;
}

/// A StatefulSet with a volume.
pub(crate) fn database(image: &str) -> Value {
    json!({
        "name": "db", "kind": "StatefulSet", "image": image, "runAsUser": 999, "ports": [{"name": "sql", "port": 5432}],
        "volume": {"size": "1Gi", "mountPath": "/data"},
    })
}

/// A Region with these workloads, as soon as it is ready: with a node of its own and the storage class.
pub(crate) async fn region_with(client: &Client, name: &str, cloud_region: &str, workloads: &Value) {
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "org-encrypted"},
        "provisioner": "kubernetes.io/no-provisioner", "reclaimPolicy": "Retain",
    });
    api_server::apply(client, &class).await;
    let zone = format!("{cloud_region}a");
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": cloud_region, "labels": {
            "topology.kubernetes.io/region": cloud_region, "topology.kubernetes.io/zone": zone,
        }},
    });
    api_server::apply(client, &node).await;
    let ready = Patch::Merge(json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}));
    let nodes = api_of(client, &node).await.unwrap();
    nodes
        .patch_status(cloud_region, &PatchParams::default(), &ready)
        .await
        .unwrap();

    let region = manifests::region(
        name,
        cloud_region,
        &json!({"zones": [zone], "workloads": workloads}),
    );
    api_server::apply(client, &region).await;
    region_until(client, name, "Ready", "True/AsSpecified").await;
}

/// The Region as soon as one of its conditions is so: status/reason.
pub(crate) async fn region_until(client: &Client, name: &str, type_: &str, wanted: &str) -> Value {
    let regions = api_of(client, &object("Region", name, &json!({}))).await.unwrap();
    let look = async || serde_json::to_value(regions.get(name).await.unwrap()).unwrap();
    let found = eventually(async || {
        let region = look().await;
        let honest = region["status"]["observedGeneration"] == region["metadata"]["generation"];
        let met = conditions(&region)
            .get(type_)
            .is_some_and(|(status, reason, _)| format!("{status}/{reason}") == wanted);
        (honest && met).then_some(region)
    });
    match found.await {
        Some(region) => region,
        None => panic!("Region {name} did not become {wanted}: {:#?}", look().await),
    }
}

/// An org with the id `<digit>…`.
pub(crate) fn org(name: &str, digit: char, more: &Value) -> Value {
    let id: String = "77777777-7777-4777-8777-777777777777"
        .replace('7', &digit.to_string())
        .replacen(digit, "0", 1);
    let id = format!("{}4{}", &id[..14], &id[15..]);
    let mut spec = json!({"orgId": id, "regionRef": {"name": "eu"}, "plan": "Team",
        "owners": [{"kind": "Group", "name": "them", "role": "Admin"}]});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    object("TrayOrg", name, &spec)
}

/// The namespace that an org gets.
pub(crate) fn namespace_of(org: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    format!(
        "org-{}-{}",
        text(&org["metadata"]["name"]),
        &text(&org["spec"]["orgId"])[..8]
    )
}

/// The TrayOrgs.
pub(crate) async fn orgs(client: &Client) -> Api<DynamicObject> {
    api_of(client, &object("TrayOrg", "x", &json!({}))).await.unwrap()
}

/// The TrayOrg of that name, if it is there.
pub(crate) async fn read(client: &Client, name: &str) -> Option<Value> {
    let found = orgs(client).await.get_opt(name).await.unwrap();
    found.map(|object| serde_json::to_value(object).unwrap())
}

/// The org as soon as its conditions are what is `wanted`: type → status/reason.
pub(crate) async fn until(client: &Client, name: &str, wanted: &[(&str, &str)]) -> Value {
    let found = eventually(async || {
        let org = read(client, name).await?;
        if let Some(namespace) = org["status"]["namespace"].as_str() {
            play_kubernetes(client, namespace).await;
        } else if let Some(id) = org["spec"]["orgId"].as_str() {
            play_kubernetes(client, &format!("org-{name}-{}", &id[..8])).await;
        }
        let present: BTreeMap<String, String> = conditions(&org)
            .into_iter()
            .map(|(type_, (status, reason, _))| (type_, format!("{status}/{reason}")))
            .collect();
        let honest = org["status"]["observedGeneration"] == org["metadata"]["generation"];
        let met = wanted
            .iter()
            .all(|(type_, said)| present.get(*type_).is_some_and(|p| p == said));
        (honest && met).then_some(org)
    });
    match found.await {
        Some(org) => org,
        None => panic!(
            "{name} did not become {wanted:?}: {:#?}",
            read(client, name).await
        ),
    }
}

/// Conditions of an org that is as it should be.
pub(crate) const READY: &[(&str, &str)] = &[("Ready", "True/AsSpecified"), ("Placed", "True/AsSpecified")];

/// What finds the API of a namespaced kind.
pub(crate) fn child(api_version: &str, kind: &str, namespace: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"namespace": namespace}})
}

/// Names of the objects of a kind in a namespace.
pub(crate) async fn names(client: &Client, api_version: &str, kind: &str, namespace: &str) -> Vec<String> {
    let api = api_of(client, &child(api_version, kind, namespace))
        .await
        .unwrap();
    let list = api.list(&ListParams::default()).await.unwrap();
    list.into_iter()
        .filter_map(|object| object.metadata.name)
        .collect()
}

/// Labels of a namespace.
pub(crate) async fn namespace_labels(client: &Client, name: &str) -> BTreeMap<String, String> {
    let shape = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {}});
    let namespace = api_of(client, &shape).await.unwrap().get(name).await.unwrap();
    namespace.metadata.labels.unwrap()
}

/// Changes an org.
pub(crate) async fn patch(client: &Client, name: &str, change: &Value) {
    orgs(client)
        .await
        .patch(name, &PatchParams::default(), &Patch::Merge(change))
        .await
        .unwrap();
}

/// UID of an object of a namespaced kind; of a namespace itself where `namespace` is empty.
pub(crate) async fn uid(
    client: &Client,
    api_version: &str,
    kind: &str,
    namespace: &str,
    name: &str,
) -> String {
    let mut shape = child(api_version, kind, namespace);
    if namespace.is_empty() {
        shape["metadata"] = json!({});
    }
    let api = api_of(client, &shape).await.unwrap();
    api.get(name).await.unwrap().metadata.uid.unwrap()
}

/// Takes the org's protection off and deletes it. Returns when it is gone.
pub(crate) async fn delete(client: &Client, name: &str) {
    let unprotected = json!({"spec": {"lifecycle": {"deletionProtection": "Disabled"}}});
    patch(client, name, &unprotected).await;
    let params = DeleteParams::default();
    orgs(client).await.delete(name, &params).await.unwrap();
    let went = eventually(async || read(client, name).await.is_none().then_some(())).await;
    assert!(went.is_some(), "the finalizer of {name} stays");
}

/// The tombstones under an org's name.
pub(crate) async fn tombstones(client: &Client, org: &str) -> Vec<Value> {
    let api = api_of(client, &object("OrgTombstone", "x", &json!({})))
        .await
        .unwrap();
    let all = api.list(&ListParams::default()).await.unwrap().into_iter();
    let all = all.map(|tombstone| serde_json::to_value(tombstone).unwrap());
    all.filter(|tombstone| tombstone["spec"]["org"] == org).collect()
}

/// Exempts requests about objects named `name` from a policy of the chart. It takes a moment to be so.
pub(crate) async fn exempt(client: &Client, policy: &str, name: &str) {
    let policies = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {}});
    let api = api_of(client, &policies).await.unwrap();
    let exemption = json!({"name": format!("but-{name}"), "expression": format!("request.name != '{name}'")});
    // Another test may exempt from the same policy just now.
    let exempted = eventually(async || {
        let found = api.get(policy).await.unwrap();
        let mut conditions = found.data["spec"]["matchConditions"].clone();
        if conditions
            .as_array()
            .is_some_and(|present| present.contains(&exemption))
        {
            return Some(found);
        }
        match conditions.as_array_mut() {
            Some(conditions) => conditions.push(exemption.clone()),
            None => conditions = json!([exemption]),
        }
        let version = found.metadata.resource_version;
        let change =
            json!({"metadata": {"resourceVersion": version}, "spec": {"matchConditions": conditions}});
        let params = PatchParams::default();
        api.patch(policy, &params, &Patch::Merge(change)).await.ok()
    });
    assert!(exempted.await.is_some(), "{policy} does not take an exemption");
}
