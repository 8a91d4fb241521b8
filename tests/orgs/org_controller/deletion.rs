//! The end of an org, and its return.

use kube::{
    Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::support::{
    api_server::{self, api_of, eventually, permit},
    installed::conditions,
    org_world::{
        READY, child, delete, exempt, names, namespace_labels, namespace_of, object, org, orgs, patch, read,
        region, tombstones, uid, until, world,
    },
    orgs::allowed,
};

const RETAINED: &str = "platform.tray.ai/retained";
const ORPHANED: &str = "platform.tray.ai/orphaned";

/// UIDs of the org's namespace and of its volume claim.
async fn data(client: &Client, namespace: &str) -> (String, String) {
    (
        uid(client, "v1", "Namespace", "", namespace).await,
        uid(client, "v1", "PersistentVolumeClaim", namespace, "data-db-0").await,
    )
}

async fn stalled(client: &Client, name: &str, reason: &str) -> String {
    let told = until(client, name, &[("Stalled", &format!("True/{reason}"))]).await;
    conditions(&told)["Stalled"].2.clone()
}

async fn without_tombstone(client: &Client, name: &str) {
    let gone = eventually(async || tombstones(client, name).await.is_empty().then_some(())).await;
    assert!(
        gone.is_some(),
        "the tombstone stays: {:#?}",
        tombstones(client, name).await
    );
}

#[tokio::test]
async fn a_deleted_org_leaves_its_data_and_a_tombstone_and_finds_it_again() {
    let client = world().await;
    let gone = org("gone", '4', &json!({}));
    let namespace = namespace_of(&gone);
    api_server::apply(&client, &gone).await;
    until(&client, "gone", READY).await;
    let refused = orgs(&client)
        .await
        .delete("gone", &DeleteParams::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("is protected"), "{refused}");
    let before = data(&client, &namespace).await;
    // It was carried out once, and lies in Git: it must not accept the loss that comes after the deletion.
    let known = json!([{"annotation": "accept-data-loss", "value": "data-db-0", "result": "CarriedOut",
        "at": "2026-01-01T00:00:00Z"}]);
    exempt(&client, "tray-status-guard", "gone").await;
    let status = Patch::Merge(json!({"status": {"acknowledgements": known}}));
    let all = orgs(&client).await;
    let params = PatchParams::default();
    let written = eventually(async || all.patch_status("gone", &params, &status).await.ok());
    assert!(written.await.is_some());

    delete(&client, "gone").await;
    for (api_version, kind) in [
        ("apps/v1", "StatefulSet"),
        ("v1", "Service"),
        ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ] {
        let left = names(&client, api_version, kind, &namespace).await;
        assert_eq!(left, Vec::<String>::new(), "{kind}");
    }
    assert_eq!(data(&client, &namespace).await, before);
    assert_eq!(namespace_labels(&client, &namespace).await[RETAINED], "true");
    let tombstone = tombstones(&client, "gone").await.remove(0);
    assert_eq!(tombstone["metadata"]["name"], "gone-04444444");
    let spec = &tombstone["spec"];
    assert_eq!(spec["namespace"], namespace);
    assert_eq!(spec["acknowledgements"], known);
    assert_eq!(
        spec["region"],
        json!({"name": "eu", "jurisdiction": "EU", "cloudRegion": "eu-west-1"})
    );
    assert_eq!(
        spec["backup"],
        json!({"bucket": "tray-backups-eu", "bucketOwner": "111122223333", "prefix": ""})
    );
    let at = |field: &str| -> jiff::Timestamp { spec[field].as_str().unwrap().parse().unwrap() };
    assert_eq!(at("purgeAt").duration_since(at("deletedAt")).as_hours(), 90 * 24);
    assert_eq!(
        at("purgeAt").duration_since(at("erasureStartsAt")).as_hours(),
        9 * 24
    );

    api_server::apply(&client, &allowed(&gone)).await;
    until(&client, "gone", READY).await;
    assert_eq!(
        data(&client, &namespace).await,
        before,
        "the same namespace and claim"
    );
    assert!(!namespace_labels(&client, &namespace).await.contains_key(RETAINED));
    without_tombstone(&client, "gone").await;
    let back = orgs(&client).await.get("gone").await.unwrap();
    assert_eq!(back.data["status"]["acknowledgements"], known);
}

/// The rights of a user on TrayOrgs, with which he does as he likes but for one verb.
fn rights(more: &[Value]) -> Value {
    let group = ["platform.tray.ai"];
    let mut rules = json!([{
        "apiGroups": group, "resources": ["trayorgs"], "verbs": ["get", "create", "update", "patch", "delete"],
    }]);
    for name in more {
        let rule = json!({"apiGroups": group, "resources": ["trayorgs"], "resourceNames": [name], "verbs": ["reattach"]});
        rules.as_array_mut().unwrap().push(rule);
    }
    rules
}

#[tokio::test]
async fn p3_whoever_creates_an_org_gets_nothing_of_what_is_held_of_an_earlier_one_without_leave() {
    let client = world().await;
    let server = api_server::shared().await;
    permit(&client, "tenant", &rights(&[])).await;
    permit(&client, "platform", &rights(&["seized".into()])).await;
    let tenant = orgs(&server.client_of("tenant").await).await;
    let platform = orgs(&server.client_of("platform").await).await;
    let seized = org(
        "seized",
        '7',
        &json!({"orgId": "5e12ed00-7777-4777-8777-777777777777"}),
    );
    let namespace = namespace_of(&seized);
    api_server::apply(&client, &seized).await;
    until(&client, "seized", READY).await;
    let before = data(&client, &namespace).await;
    delete(&client, "seized").await;
    let held = tombstones(&client, "seized").await;
    assert_eq!(held.len(), 1);

    // Name and Region are enough to ask; the id does not help.
    let mut theirs = seized.clone();
    theirs["spec"]["owners"] = json!([{"kind": "Group", "name": "thieves", "role": "Admin"}]);
    theirs["spec"]["overrides"] = json!([{"name": "db", "image": "attacker.example/exfil:1"}]);
    let mut nameless = theirs.clone();
    nameless["spec"].as_object_mut().unwrap().remove("orgId");
    let params = PostParams::default();
    let mark = Patch::Merge(json!({"metadata": {"annotations": {"platform.tray.ai/reattach": "allowed"}}}));
    for asked in [theirs, nameless] {
        let object = |value: &Value| serde_json::from_value(value.clone()).unwrap();
        let refused = eventually(async || {
            let answer = tenant.create(&params, &object(&allowed(&asked))).await;
            let refusal = answer.unwrap_err().to_string();
            refusal.contains("'tray-reattach-guard'").then_some(refusal)
        });
        let refused = refused.await.expect("he may create orgs");
        for part in [
            "TrayOrg seized",
            "tenant has not the verb reattach",
            "tray-reattacher",
        ] {
            assert!(refused.contains(part), "{refused}");
        }
        tenant.create(&params, &object(&asked)).await.unwrap();
        let told = stalled(&client, "seized", "ReattachNotAllowed").await;
        for part in [
            "(OrgTombstone seized-5e12ed00)",
            "`kubectl annotate trayorg seized platform.tray.ai/reattach=allowed`",
        ] {
            assert!(told.contains(part), "{told}");
        }
        tenant
            .patch("seized", &PatchParams::default(), &mark)
            .await
            .expect_err("he allows himself");
        let found = read(&client, "seized").await.unwrap();
        assert_eq!(found["status"].get("namespace"), None);
        for (api_version, kind) in [
            ("apps/v1", "StatefulSet"),
            ("rbac.authorization.k8s.io/v1", "RoleBinding"),
        ] {
            let left = names(&client, api_version, kind, &namespace).await;
            assert_eq!(left, Vec::<String>::new(), "{kind}");
        }
        assert_eq!(namespace_labels(&client, &namespace).await[RETAINED], "true");
        assert_eq!(tombstones(&client, "seized").await, held);
        // It goes as it came.
        delete(&client, "seized").await;
        assert_eq!(tombstones(&client, "seized").await, held);
    }

    // The platform team looks at it, and allows it.
    tenant
        .create(&params, &serde_json::from_value(seized.clone()).unwrap())
        .await
        .unwrap();
    stalled(&client, "seized", "ReattachNotAllowed").await;
    let marked = eventually(async || {
        // His rights may be news.
        platform
            .patch("seized", &PatchParams::default(), &mark)
            .await
            .ok()
    });
    assert!(marked.await.is_some());
    until(&client, "seized", READY).await;
    assert_eq!(data(&client, &namespace).await, before);
    assert!(!namespace_labels(&client, &namespace).await.contains_key(RETAINED));
    without_tombstone(&client, "seized").await;
    // It has what it has: the leave was for taking it up.
    let unmarked = json!({"metadata": {"annotations": {"platform.tray.ai/reattach": null}}});
    patch(&client, "seized", &unmarked).await;
    patch(&client, "seized", &json!({"spec": {"displayName": "Seized"}})).await;
    until(&client, "seized", READY).await;
}

#[tokio::test]
async fn p1_an_org_comes_back_by_its_name_and_in_its_region_alone() {
    let client = world().await;
    let mut back = org("back", 'c', &json!({}));
    let id = back["spec"]["orgId"].take();
    back["spec"].as_object_mut().unwrap().remove("orgId");
    api_server::apply(&client, &back).await;
    let first = until(&client, "back", READY).await;
    let (org_id, namespace) = (
        &first["status"]["orgId"],
        first["status"]["namespace"].as_str().unwrap(),
    );
    let before = data(&client, namespace).await;
    delete(&client, "back").await;

    region(&client, "elsewhere", "eu-west-3").await;
    let mut moved = back.clone();
    moved["spec"]["regionRef"]["name"] = "elsewhere".into();
    api_server::apply(&client, &moved).await;
    let told = stalled(&client, "back", "RegionMismatch").await;
    assert!(told.contains("Region eu"), "{told}");
    // It was never placed there: what is held stays held, by the same tombstone.
    let tombstone = tombstones(&client, "back").await;
    delete(&client, "back").await;
    assert_eq!(tombstones(&client, "back").await, tombstone);

    let mut other = back.clone();
    other["spec"]["orgId"] = id;
    api_server::apply(&client, &other).await;
    let told = stalled(&client, "back", "RetainedDataExists").await;
    assert!(
        told.contains(&format!("`orgId: {}`", org_id.as_str().unwrap())),
        "{told}"
    );
    delete(&client, "back").await;

    let pretender = object(
        "TrayOrg",
        "pretender",
        &json!({"orgId": org_id, "regionRef": {"name": "eu"}, "plan": "Team"}),
    );
    api_server::apply(&client, &pretender).await;
    let told = stalled(&client, "pretender", "OrgIdInUse").await;
    assert!(told.contains("OrgTombstone back-"), "{told}");
    delete(&client, "pretender").await;

    api_server::apply(&client, &allowed(&back)).await;
    let again = until(&client, "back", READY).await;
    assert_eq!(again["status"]["orgId"], *org_id, "found by its name");
    assert_eq!(data(&client, namespace).await, before);
    without_tombstone(&client, "back").await;
}

#[tokio::test]
async fn an_org_that_was_never_placed_leaves_no_tombstone() {
    let client = world().await;
    let nowhere = org("nowhere", 'd', &json!({"regionRef": {"name": "nowhere"}}));
    api_server::apply(&client, &nowhere).await;
    stalled(&client, "nowhere", "RegionNotServed").await;
    delete(&client, "nowhere").await;
    assert_eq!(tombstones(&client, "nowhere").await, Vec::<Value>::new());
}

#[tokio::test]
async fn an_org_deleted_twice_is_held_from_the_second_time_on() {
    let client = world().await;
    let twice = org("twice", 'e', &json!({}));
    api_server::apply(&client, &twice).await;
    until(&client, "twice", READY).await;
    delete(&client, "twice").await;
    let first = tombstones(&client, "twice").await.remove(0);
    // Back, but not ready: its tombstone is still there when it goes again.
    let mut broken = twice.clone();
    broken["spec"]["retentionPolicyRef"] = json!({"name": "none"});
    api_server::apply(&client, &allowed(&broken)).await;
    stalled(&client, "twice", "RetentionPolicyMissing").await;
    assert_eq!(
        tombstones(&client, "twice").await.remove(0)["metadata"]["uid"],
        first["metadata"]["uid"]
    );
    // Deletion times are in whole seconds: the second must be another one.
    let deleted_at: jiff::Timestamp = first["spec"]["deletedAt"].as_str().unwrap().parse().unwrap();
    let later = eventually(async || {
        let org = read(&client, "twice").await?;
        let touched = json!({"metadata": {"annotations": {"touched": org["metadata"]["resourceVersion"]}}});
        patch(&client, "twice", &touched).await;
        let times = org["metadata"]["managedFields"].as_array().into_iter().flatten();
        let newest = times
            .filter_map(|entry| entry["time"].as_str()?.parse::<jiff::Timestamp>().ok())
            .max()?;
        (newest > deleted_at).then_some(())
    });
    assert!(later.await.is_some());
    delete(&client, "twice").await;
    let second = tombstones(&client, "twice").await.remove(0);
    assert_ne!(second["metadata"]["uid"], first["metadata"]["uid"]);
    assert!(second["spec"]["purgeAt"].as_str() > first["spec"]["purgeAt"].as_str());
}

#[tokio::test]
async fn an_org_deleted_past_its_protection_keeps_everything_and_is_taken_up_again() {
    let client = world().await;
    let bypassed = org("bypassed", '5', &json!({}));
    let namespace = namespace_of(&bypassed);
    api_server::apply(&client, &bypassed).await;
    until(&client, "bypassed", READY).await;
    let before = data(&client, &namespace).await;
    // What the deletion of the CRD does to every org: nobody asks the policy.
    exempt(&client, "tray-delete-protection", "bypassed").await;
    let deleted = eventually(async || {
        orgs(&client)
            .await
            .delete("bypassed", &DeleteParams::default())
            .await
            .ok();
        read(&client, "bypassed").await.is_none().then_some(())
    });
    assert!(deleted.await.is_some(), "the finalizer stays");
    assert_eq!(names(&client, "apps/v1", "StatefulSet", &namespace).await, ["db"]);
    let bindings = names(&client, "rbac.authorization.k8s.io/v1", "RoleBinding", &namespace).await;
    assert_eq!(bindings.len(), 3);
    let labels = namespace_labels(&client, &namespace).await;
    assert_eq!(labels[ORPHANED], "true");
    assert!(!labels.contains_key(RETAINED));
    assert_eq!(tombstones(&client, "bypassed").await, Vec::<Value>::new());
    let records = api_of(&client, &child("v1", "ConfigMap", "tray-system"))
        .await
        .unwrap();
    let record = async || records.get("tray-orphaned-bypassed-05555555").await.unwrap().data["data"].clone();
    assert_eq!(record().await["namespace"], namespace);
    assert_eq!(record().await["orgId"], bypassed["spec"]["orgId"]);

    let mut back = bypassed.clone();
    back["spec"].as_object_mut().unwrap().remove("orgId");
    api_server::apply(&client, &back).await;
    let told = stalled(&client, "bypassed", "ReattachNotAllowed").await;
    assert!(told.contains(&format!("(Namespace {namespace})")), "{told}");
    assert_eq!(namespace_labels(&client, &namespace).await[ORPHANED], "true");
    assert!(record().await.get("returnedAt").is_none(), "it is not back");
    api_server::apply(&client, &allowed(&back)).await;
    until(&client, "bypassed", READY).await;
    assert_eq!(data(&client, &namespace).await, before);
    assert!(!namespace_labels(&client, &namespace).await.contains_key(ORPHANED));
    assert!(record().await["returnedAt"].is_string(), "{:#?}", record().await);
}

#[tokio::test]
async fn the_days_that_a_deleted_org_is_held_are_bounded_and_frozen() {
    let client = world().await;
    let policy = |days: i32| {
        object(
            "RetentionPolicy",
            "short",
            &json!({"termination": {"purgeAfterDays": days}}),
        )
    };
    api_server::apply(&client, &policy(10)).await;
    let policies = api_of(&client, &policy(10)).await.unwrap();
    for days in [9, 91] {
        let change = Patch::Merge(json!({"spec": {"termination": {"purgeAfterDays": days}}}));
        let refused = policies
            .patch("short", &PatchParams::default(), &change)
            .await
            .unwrap_err();
        assert!(refused.to_string().contains("purgeAfterDays"), "{refused}");
    }
    let brief = org("brief", 'f', &json!({"retentionPolicyRef": {"name": "short"}}));
    // Fewer days of snapshots than Production demands would be refused: the rest of the policy has its defaults.
    api_server::apply(&client, &brief).await;
    until(&client, "brief", READY).await;
    delete(&client, "brief").await;
    let tombstone = tombstones(&client, "brief").await.remove(0);
    let at = |field: &str| -> jiff::Timestamp { tombstone["spec"][field].as_str().unwrap().parse().unwrap() };
    let held = at("purgeAt").duration_since(at("deletedAt")).as_secs();
    assert!((864_000..864_120).contains(&held), "{held}");
    // A policy that changes later changes nothing for those that are gone.
    api_server::apply(&client, &policy(90)).await;
    assert_eq!(tombstones(&client, "brief").await.remove(0), tombstone);
}
