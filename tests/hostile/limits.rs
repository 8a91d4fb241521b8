//! Names as long as the schemas let them be: whatever is named after them is still a name.

use k8s_openapi::api::batch::v1::Job;
use kube::{
    Api,
    api::{DynamicObject, ListParams},
};
use proptest::prelude::*;
use serde_json::{Value, json};
use tray_api::{crds, trayorg::LogMode};
use tray_domain::{
    ids::{OrgId, PartId, RunId},
    names, schedule, tombstone, view,
};
use tray_operator::resources::{mover_job, support};

use crate::{
    support::{
        api_server::{self, eventually},
        orgs::{self, object, until},
    },
    world,
};

/// Longest value of a label, and longest name of most objects.
const LABEL: usize = 63;
/// Longest name of a StatefulSet: its pods carry it with a hash of ten characters, as a label.
const STATEFUL_SET: usize = 52;
const ID: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

/// The longest text that a field of a kind takes.
fn longest(kind: &str, pointer: &str) -> usize {
    let crds = crds::all_crds()
        .into_iter()
        .map(|crd| serde_json::to_value(crd).unwrap());
    let crd = crds
        .into_iter()
        .find(|crd| crd["spec"]["names"]["kind"] == kind)
        .unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let length = schema
        .pointer(&format!("{pointer}/maxLength"))
        .and_then(Value::as_u64);
    usize::try_from(length.unwrap()).unwrap()
}

fn longest_name(kind: &str) -> usize {
    longest(kind, "/properties/metadata/properties/name")
}

fn longest_workload() -> usize {
    longest(
        "TrayOrg",
        "/properties/spec/properties/workloads/items/properties/name",
    )
}

/// A DNS label of 1 to `most` characters; more often than not of `most`.
fn label(most: usize) -> impl Strategy<Value = String> {
    let length = prop_oneof![Just(most), 1..=most];
    length.prop_flat_map(|length| {
        let inner = format!("[a-z][-a-z0-9]{{{}}}", length.saturating_sub(2));
        let inner = if length < 2 {
            "[a-z]".to_owned()
        } else {
            inner + "[a-z0-9]"
        };
        proptest::string::string_regex(&inner).unwrap()
    })
}

fn is_label(name: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=LABEL).contains(&name.len())
        && name.bytes().all(is_inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn is_host(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_label)
}

proptest! {
    #[test]
    fn what_is_named_after_the_longest_names_is_a_name(
        org in label(longest_name("TrayOrg")),
        workload in label(longest_workload()),
        support_access in label(longest_name("SupportAccess")),
        domain in proptest::collection::vec(label(LABEL), 2..4),
        ordinal in 0_u32..100,
        seconds in 0_i64..4_000_000_000,
    ) {
        let id: OrgId = ID.parse().unwrap();
        let at = jiff::Timestamp::from_second(seconds).unwrap();
        let run = RunId::of(at, &org);
        let claim = names::claim_name(&workload, ordinal);
        let part: PartId = claim.parse().expect("the claim of a workload is a part of a run");
        let objects: PartId = names::OBJECTS_PART.parse().unwrap();
        for name in [
            names::org_namespace(&org, &id),
            schedule::snapshot_name(&org, at),
            view::name(&org, &run),
            tombstone::name(&org, &id),
            claim,
            mover_job::snapshot_job_name(&run, &part),
            mover_job::snapshot_job_name(&run, &objects),
            mover_job::restore_job_name(ID, &part),
            mover_job::restore_job_name(ID, &objects),
        ] {
            prop_assert!(is_label(&name), "{name}");
        }
        prop_assert!(workload.len() <= STATEFUL_SET);
        for binding in support::binding_ids("x", &support_access) {
            prop_assert!(binding.name.len() <= 253, "{binding}");
        }
        let mut domain = domain.join(".");
        domain.truncate(longest("Region", "/properties/spec/properties/ingress/properties/domain"));
        let host = names::webhook_host(&id, domain.trim_end_matches(['-', '.']));
        prop_assert!(is_host(&host), "{host}");
    }
}

/// `text`, again and again, to that length.
fn filled(text: &str, length: usize) -> String {
    text.chars().cycle().take(length).collect()
}

fn named(kind: &str) -> String {
    filled(&kind.to_lowercase(), longest_name(kind))
}

/// What the longest org needs, and the org.
fn objects() -> Vec<Value> {
    let class = filled("class", LABEL);
    let class_object = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": class},
        "provisioner": "kubernetes.io/no-provisioner", "reclaimPolicy": "Retain"});
    let workload = |letter: &str, kind: &str| {
        let port = filled("port", 15);
        json!({
            "name": filled(letter, longest_workload()), "kind": kind, "image": filled("image/", 511) + "x", "replicas": 2,
            "runAsUser": i32::MAX, "runAsGroup": i32::MAX, "fsGroup": i32::MAX,
            "env": [{"name": filled("NAME", 128), "value": filled("👍", 4096)}],
            "envFromSecrets": [filled("secret", LABEL) + "." + &filled("more", LABEL)],
            "ports": [{"name": port, "port": 65535}], "readiness": {"httpPath": filled("/ready", 256), "port": port},
            "scratch": [filled("/scratch", 256)],
        })
    };
    let (mut stateful, mut web) = (workload("s", "StatefulSet"), workload("d", "Deployment"));
    stateful["volume"] = json!({"size": "1Gi", "mountPath": filled("/volume", 256)});
    web["webhook"] = json!({"port": filled("port", 15)});
    let label = filled("hooks", LABEL);
    let region = orgs::region(
        &named("Region"),
        "eu-west-1",
        &json!({
            "zones": ('a'..='j').map(|zone| format!("eu-west-1{zone}")).collect::<Vec<_>>(),
            "storage": {"storageClassName": class},
            "ingress": {
                "domain": format!("{label}.{label}.{label}.{}", filled("com", 200 - 3 * (LABEL + 1))),
                "gatewayRef": {"name": filled("gateway", LABEL), "namespace": filled("edge", LABEL)},
            },
            "workloads": [stateful, web],
        }),
    );
    let org = orgs::org(
        &named("TrayOrg"),
        "0000ffff",
        &named("Region"),
        &json!({
            "displayName": filled("Größe 日本 👩‍👩‍👧 ", 200),
            "owners": [
                {"kind": "Group", "name": filled("admins ", 252) + "x", "role": "Admin"},
                {"kind": "User", "name": "admin", "role": "Admin"},
            ],
            "retentionPolicyRef": {"name": named("RetentionPolicy")},
            "backupScheduleRef": {"name": named("BackupSchedule")},
        }),
    );
    vec![
        class_object,
        object("RetentionPolicy", &named("RetentionPolicy"), &json!({})),
        object(
            "BackupSchedule",
            &named("BackupSchedule"),
            &json!({"schedule": "0 0 * * *"}),
        ),
        region,
        org,
    ]
}

#[tokio::test]
async fn an_org_of_the_longest_names_becomes_ready_and_is_copied() {
    let (_, client) = world().await;
    for object in objects() {
        api_server::apply(&client, &object).await;
    }
    let ready = until(
        &client,
        "TrayOrg",
        &named("TrayOrg"),
        &[
            ("Ready", "True/AsSpecified"),
            ("WebhookReady", "Unknown/RoutePending"),
        ],
    )
    .await;
    let namespace = ready["status"]["namespace"].as_str().unwrap().to_owned();

    // Support is let in, and what a person asks for is done: by Jobs that the API server takes.
    let mut access = object(
        "SupportAccess",
        &named("SupportAccess"),
        &json!({"subjects": [{"kind": "Group", "name": "support"}], "role": "View", "durationHours": 1, "reason": filled("why ", 500)}),
    );
    access["metadata"]["namespace"] = namespace.clone().into();
    let asked = json!({"orgRef": {"name": named("TrayOrg")}});
    let mut back = asked.clone();
    back["snapshot"] = json!({"runId": "01ARZ3NDEKTSV4RRFFQ69G5FAV"});
    back["target"] = json!({"inPlace": true});
    for object in [access, object("OrgSnapshot", &named("OrgSnapshot"), &asked)] {
        api_server::apply(&client, &object).await;
    }
    let bindings: Api<DynamicObject> =
        orgs::api(&client, "rbac.authorization.k8s.io/v1", "RoleBinding", &namespace).await;
    let binding = support::binding_id(&namespace, &named("SupportAccess"), LogMode::Visible).name;
    assert!(
        eventually(async || bindings.get_opt(&binding).await.unwrap())
            .await
            .is_some()
    );
    let jobs: Api<Job> = Api::namespaced(client.clone(), &namespace);
    let movers = eventually(async || {
        let jobs = jobs.list(&ListParams::default()).await.unwrap().items;
        (jobs.len() >= 3).then_some(jobs)
    });
    let movers = movers.await.expect("the objects and two volumes are copied");
    let names: Vec<&str> = movers
        .iter()
        .filter_map(|job| job.metadata.name.as_deref())
        .collect();
    assert!(names.iter().all(|name| is_label(name)), "{names:?}");
    api_server::apply(&client, &object("OrgRestore", &named("OrgRestore"), &back)).await;
    let told = eventually(async || {
        let restores = orgs::api(&client, "platform.tray.ai/v1alpha1", "OrgRestore", "").await;
        let restore = restores.get(&named("OrgRestore")).await.unwrap();
        restore.data["status"]["conditions"]
            .as_array()
            .filter(|said| !said.is_empty())
            .map(drop)
    });
    assert!(told.await.is_some());
}
