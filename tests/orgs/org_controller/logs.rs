//! For how long an org's execution logs can be seen and are kept, and its snapshots: at once where that is longer, a day
//! later where it is shorter.

use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use tray_operator::adapters::clock::SystemClock;
use tray_ports::Clock as _;

use super::support::{
    api_server::{self, api_of, eventually},
    installed::conditions,
    org_world::{READY, child, exempt, names, namespace_of, object, org, orgs, patch, read, until, world},
};

/// A policy of that name alone, which the test may change.
async fn policy(client: &Client, name: &str, spec: &Value) {
    api_server::apply(client, &object("RetentionPolicy", name, spec)).await;
}

async fn change_policy(client: &Client, name: &str, spec: &Value) {
    let policies = api_of(client, &object("RetentionPolicy", name, &json!({})))
        .await
        .unwrap();
    let change = Patch::Merge(json!({"spec": spec}));
    policies
        .patch(name, &PatchParams::default(), &change)
        .await
        .unwrap();
}

async fn config_maps(client: &Client, namespace: &str) -> Api<DynamicObject> {
    api_of(client, &child("v1", "ConfigMap", namespace))
        .await
        .unwrap()
}

/// Waits until the ConfigMap says that.
async fn told(client: &Client, namespace: &str, data: &Value) {
    let maps = config_maps(client, namespace).await;
    let found = eventually(async || {
        let map = maps.get_opt("execution-log-policy").await.unwrap()?;
        (map.data["data"] == *data && map.metadata.deletion_timestamp.is_none()).then_some(())
    });
    let found = found.await;
    let last = maps.get_opt("execution-log-policy").await;
    assert!(found.is_some(), "not {data}: {last:#?}");
}

/// The org's status as soon as `field` of it is `wanted`.
async fn status_with(client: &Client, name: &str, field: &str, wanted: &Value) -> Value {
    let found = eventually(async || {
        let status = read(client, name).await?["status"].clone();
        (status[field] == *wanted).then_some(status)
    });
    match found.await {
        Some(status) => status,
        None => panic!(
            "{field} is not {wanted}: {:#}",
            read(client, name).await.unwrap()["status"]
        ),
    }
}

#[tokio::test]
async fn p12_hidden_logs_are_gone_from_sight_at_once_and_from_disk_a_day_later() {
    let client = world().await;
    let spec = json!({"orgId": "10900001-7777-4777-8777-777777777777", "plan": "Enterprise"});
    let hidden = org("hidden", '7', &spec);
    let namespace = namespace_of(&hidden);
    api_server::apply(&client, &hidden).await;
    let ready = until(&client, "hidden", READY).await;
    let visible = json!({"visibleHours": 720, "keptHours": 720, "source": "Plan"});
    assert_eq!(ready["status"]["executionLogs"], visible);
    let all = json!({"mode": "Visible", "visibleHours": "720", "keptHours": "720"});
    told(&client, &namespace, &all).await;

    let asked_at = SystemClock.now();
    patch(
        &client,
        "hidden",
        &json!({"spec": {"executionLogs": {"mode": "Hidden"}}}),
    )
    .await;
    let nothing = json!({"mode": "Hidden", "visibleHours": "0", "keptHours": "720"});
    told(&client, &namespace, &nothing).await;
    let waiting = json!({"visibleHours": 0, "keptHours": 720, "source": "Hidden"});
    let status = status_with(&client, "hidden", "executionLogs", &waiting).await;
    let pending = &status["pendingReductions"][0];
    assert_eq!(
        (&pending["field"], &pending["from"], &pending["to"]),
        (&json!("executionLogs.keptHours"), &json!(720), &json!(24))
    );
    let at: Timestamp = pending["at"].as_str().unwrap().parse().unwrap();
    assert!(
        (86_399..86_400 + 120).contains(&at.duration_since(asked_at).as_secs()),
        "{at}"
    );
    let events = api_of(&client, &child("v1", "Event", "default")).await.unwrap();
    let said = eventually(async || {
        let all = events.list(&kube::api::ListParams::default()).await.unwrap();
        all.into_iter().find_map(|event| {
            let of = event.data["involvedObject"]["name"] == "hidden"
                && event.data["reason"] == "ReductionPending";
            of.then(|| event.data["message"].as_str().unwrap().to_owned())
        })
    });
    let said = said.await.expect("an event tells of it");
    assert!(
        said.contains("executionLogs.keptHours goes from 720 to 24"),
        "{said}"
    );

    // The day is over.
    exempt(&client, "tray-status-guard", "hidden").await;
    let over =
        json!([{"field": "executionLogs.keptHours", "from": 720, "to": 24, "at": "2026-01-01T00:00:00Z"}]);
    let change = Patch::Merge(json!({"status": {"pendingReductions": over}}));
    let orgs = orgs(&client).await;
    let edited = eventually(async || {
        // The exemption takes a moment.
        orgs.patch_status("hidden", &PatchParams::default(), &change)
            .await
            .ok()
    });
    assert!(edited.await.is_some());
    let done = json!({"mode": "Hidden", "visibleHours": "0", "keptHours": "24"});
    told(&client, &namespace, &done).await;
    status_with(&client, "hidden", "pendingReductions", &Value::Null).await;
}

/// Bindings of people in the org's namespace, as soon as they are these.
async fn bound(client: &Client, namespace: &str, wanted: &[&str]) {
    let of_people = async || {
        let mut names = names(client, "rbac.authorization.k8s.io/v1", "RoleBinding", namespace).await;
        names.retain(|name| !["tray-archive", "tray-operator"].contains(&name.as_str()));
        names
    };
    let found = eventually(async || (of_people().await == wanted).then_some(()));
    assert!(found.await.is_some(), "not {wanted:?}: {:?}", of_people().await);
}

/// Waits until a member of that group may, or may not, read logs there; meanwhile he sees pods.
async fn reads_logs(client: &Client, namespace: &str, group: &str, wanted: bool) {
    let may = async |resource: &str, subresource: &str| {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": "somebody", "groups": [group], "resourceAttributes": {
                "verb": "get", "resource": resource, "subresource": subresource, "namespace": namespace}},
        });
        let request = http::Request::post("/apis/authorization.k8s.io/v1/subjectaccessreviews")
            .header("content-type", "application/json")
            .body(serde_json::to_vec(&review).unwrap())
            .unwrap();
        let answer: Value = client.request(request).await.unwrap();
        answer["status"]["allowed"] == true
    };
    // The authorizer hears of a binding a moment after it was made.
    let so = eventually(async || (may("pods", "log").await == wanted && may("pods", "").await).then_some(()));
    assert!(so.await.is_some(), "{group} reads logs: not {wanted}");
}

#[tokio::test]
async fn p12_whoever_owns_an_org_reads_no_logs_while_they_are_hidden() {
    let client = world().await;
    let spec = json!({"orgId": "10900005-7777-4777-8777-777777777777", "owners": [
        {"kind": "Group", "name": "them", "role": "Admin"}, {"kind": "Group", "name": "others", "role": "Viewer"},
    ]});
    let ghost = org("ghost", '7', &spec);
    let namespace = namespace_of(&ghost);
    api_server::apply(&client, &ghost).await;
    until(&client, "ghost", READY).await;
    bound(&client, &namespace, &["tray-admins", "tray-viewers"]).await;
    reads_logs(&client, &namespace, "them", true).await;
    let mode = |mode: &str| json!({"spec": {"executionLogs": {"mode": mode}}});

    patch(&client, "ghost", &mode("Hidden")).await;
    bound(&client, &namespace, &["tray-admins-without-logs", "tray-viewers"]).await;
    reads_logs(&client, &namespace, "them", false).await;
    until(&client, "ghost", READY).await;

    patch(&client, "ghost", &mode("Visible")).await;
    bound(&client, &namespace, &["tray-admins", "tray-viewers"]).await;
    reads_logs(&client, &namespace, "them", true).await;
    reads_logs(&client, &namespace, "others", false).await;
}

#[tokio::test]
async fn p12_logs_are_hidden_of_an_org_that_cannot_be_worked_on_and_of_one_that_is_new() {
    let client = world().await;
    let spec = json!({"orgId": "10900006-7777-4777-8777-777777777777"});
    let stuck = org("stuck", '7', &spec);
    let namespace = namespace_of(&stuck);
    api_server::apply(&client, &stuck).await;
    until(&client, "stuck", READY).await;
    // A name of the Region's.
    let taken = json!({"spec": {"workloads": [{"name": "db", "kind": "Deployment", "image": "x", "runAsUser": 1000}]}});
    patch(&client, "stuck", &taken).await;
    let told = until(&client, "stuck", &[("Stalled", "True/WorkloadNameTaken")]).await;
    assert!(conditions(&told).contains_key("Placed"));
    bound(&client, &namespace, &["tray-admins"]).await;
    let hidden = json!({"spec": {"executionLogs": {"mode": "Hidden"}}});
    patch(&client, "stuck", &hidden).await;
    bound(&client, &namespace, &["tray-admins-without-logs"]).await;
    reads_logs(&client, &namespace, "them", false).await;
    // What opens waits until somebody can work on it.
    patch(
        &client,
        "stuck",
        &json!({"spec": {"executionLogs": {"mode": "Visible"}}}),
    )
    .await;
    until(&client, "stuck", &[("Stalled", "True/WorkloadNameTaken")]).await;
    bound(&client, &namespace, &["tray-admins-without-logs"]).await;
    patch(&client, "stuck", &json!({"spec": {"workloads": null}})).await;
    until(&client, "stuck", READY).await;
    bound(&client, &namespace, &["tray-admins"]).await;

    let spec = json!({"orgId": "10900007-7777-4777-8777-777777777777", "executionLogs": {"mode": "Hidden"}});
    let new = org("secret", '7', &spec);
    api_server::apply(&client, &new).await;
    until(&client, "secret", READY).await;
    bound(&client, &namespace_of(&new), &["tray-admins-without-logs"]).await;
}

#[tokio::test]
async fn p11_a_shorter_policy_waits_for_a_day_says_so_and_can_be_taken_back() {
    let client = world().await;
    policy(&client, "lowered", &json!({})).await;
    let spec = json!({
        "orgId": "10900002-7777-4777-8777-777777777777",
        "retentionPolicyRef": {"name": "lowered"}, "addOns": ["ExtendedLogRetention"],
    });
    let lowered = org("lowered", '7', &spec);
    let namespace = namespace_of(&lowered);
    api_server::apply(&client, &lowered).await;
    let ready = until(&client, "lowered", READY).await;
    assert_eq!(ready["status"]["executionLogs"]["source"], "AddOn");
    assert_eq!(
        ready["status"]["snapshotRetention"],
        json!({"keepDays": 14, "keepAtLeast": 3})
    );

    let bad_merge =
        json!({"executionLogs": {"teamExtendedHours": 48}, "snapshots": {"keepDays": 20, "keepAtLeast": 1}});
    change_policy(&client, "lowered", &bad_merge).await;
    let kept = json!({"keepDays": 20, "keepAtLeast": 3});
    let status = status_with(&client, "lowered", "snapshotRetention", &kept).await;
    let fields: Vec<&str> = status["pendingReductions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pending| pending["field"].as_str().unwrap())
        .collect();
    assert_eq!(
        fields,
        ["executionLogs.keptHours", "snapshotRetention.keepAtLeast"]
    );
    let told_meanwhile = json!({"mode": "Visible", "visibleHours": "48", "keptHours": "720"});
    told(&client, &namespace, &told_meanwhile).await;

    let taken_back = json!({"executionLogs": {"teamExtendedHours": 720}, "snapshots": {"keepAtLeast": 3}});
    change_policy(&client, "lowered", &taken_back).await;
    let status = status_with(&client, "lowered", "pendingReductions", &Value::Null).await;
    assert_eq!(status["executionLogs"]["keptHours"], 720);
    assert_eq!(status["snapshotRetention"], kept);
}

#[tokio::test]
async fn what_workloads_are_told_of_logs_is_put_back_even_where_somebody_froze_it() {
    let client = world().await;
    let id = json!({"orgId": "10900003-7777-4777-8777-777777777777"});
    let frozen = org("frozen", '7', &id);
    let namespace = namespace_of(&frozen);
    api_server::apply(&client, &frozen).await;
    until(&client, "frozen", READY).await;
    let right = json!({"mode": "Visible", "visibleHours": "168", "keptHours": "168"});
    let maps = config_maps(&client, &namespace).await;
    for edit in [
        json!({"data": {"keptHours": "1"}, "immutable": true}),
        json!({"data": {"more": "x"}}),
    ] {
        let change = Patch::Merge(edit);
        maps.patch("execution-log-policy", &PatchParams::default(), &change)
            .await
            .unwrap();
        told(&client, &namespace, &right).await;
    }
    maps.delete("execution-log-policy", &DeleteParams::default())
        .await
        .unwrap();
    told(&client, &namespace, &right).await;
}
