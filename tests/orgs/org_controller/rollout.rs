//! How a change of a Region's workloads reaches its orgs.

use kube::{
    Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::support::{
    api_server::{self, api_of, eventually},
    installed::{self, conditions},
    org_world::{
        READY, child, database, names, namespace_of, object, org, patch, read, region_until, region_with,
        until, world,
    },
    orgs::count_quotas,
};

/// Orgs of that Region, ready, by name.
async fn place(client: &Client, region: &str, orgs: &[(&str, u32)]) -> Vec<Value> {
    let mut placed = vec![];
    for (name, number) in orgs {
        let id = format!("0d0d0d0d-0000-4000-8000-{number:012}");
        let org = org(name, 'd', &json!({"orgId": id, "regionRef": {"name": region}}));
        api_server::apply(client, &org).await;
        until(client, name, READY).await;
        placed.push(org);
    }
    placed
}

async fn image(client: &Client, org: &Value) -> String {
    let sets = api_of(client, &child("apps/v1", "StatefulSet", &namespace_of(org)))
        .await
        .unwrap();
    let set = sets.get("db").await.unwrap();
    set.data["spec"]["template"]["spec"]["containers"][0]["image"]
        .as_str()
        .unwrap()
        .to_owned()
}

async fn until_image(client: &Client, org: &Value, wanted: &str) {
    let found = eventually(async || (image(client, org).await == wanted).then_some(())).await;
    assert!(
        found.is_some(),
        "{} has not {wanted}, but {}",
        org["metadata"]["name"],
        image(client, org).await
    );
}

async fn set_workloads(client: &Client, region: &str, workloads: &Value) {
    let regions = api_of(client, &object("Region", region, &json!({})))
        .await
        .unwrap();
    let change = Patch::Merge(json!({"spec": {"workloads": workloads}}));
    regions
        .patch(region, &PatchParams::default(), &change)
        .await
        .unwrap();
}

/// Status of the org's database as its controllers would write it.
async fn set_database_status(client: &Client, org: &Value, status: &Value) {
    let sets = api_of(client, &child("apps/v1", "StatefulSet", &namespace_of(org)))
        .await
        .unwrap();
    let change = Patch::Merge(json!({"status": status}));
    sets.patch_status("db", &PatchParams::default(), &change)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_changed_region_workload_reaches_one_org_after_the_other_and_stops_at_one_that_fails() {
    let client = world().await;
    region_with(&client, "rolling", "eu-north-1", &json!([database("db:1")])).await;
    let orgs = place(&client, "rolling", &[("roll-a", 1), ("roll-b", 2), ("roll-c", 3)]).await;
    region_until(&client, "rolling", "WorkloadsRolledOut", "True/AsSpecified").await;

    set_workloads(&client, "rolling", &json!([database("db:2")])).await;
    until_image(&client, &orgs[0], "db:2").await;
    let told = region_until(&client, "rolling", "WorkloadsRolledOut", "False/RollingOut").await;
    assert_eq!(told["status"]["workloads"]["wave"], json!(["roll-a"]));
    assert_eq!(image(&client, &orgs[1]).await, "db:1");
    // What an org itself changes does not wait.
    patch(
        &client,
        "roll-c",
        &json!({"spec": {"overrides": [{"name": "db", "image": "db:own"}]}}),
    )
    .await;
    until_image(&client, &orgs[2], "db:own").await;
    assert_eq!(image(&client, &orgs[1]).await, "db:1");

    // The first fails: the second keeps what it has.
    let failing =
        json!({"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "no pods are made"}]});
    count_quotas(&client, &namespace_of(&orgs[0]), &json!({"pods": "200"})).await;
    set_database_status(&client, &orgs[0], &failing).await;
    let told = region_until(&client, "rolling", "WorkloadsRolledOut", "False/RolloutStopped").await;
    let message = &conditions(&told)["WorkloadsRolledOut"].2;
    assert!(message.contains("roll-a (QuotaExceeded)"), "{message}");
    assert_eq!(
        conditions(&told)["Ready"].0,
        "True",
        "the Region takes orgs all the same"
    );
    assert_eq!(image(&client, &orgs[1]).await, "db:1");

    // The correction goes to the one that the mistake broke, and on from there.
    set_workloads(&client, "rolling", &json!([database("db:3")])).await;
    until_image(&client, &orgs[0], "db:3").await;
    assert_eq!(image(&client, &orgs[1]).await, "db:1");
    set_database_status(&client, &orgs[0], &json!({"conditions": null})).await;
    for (org, name) in orgs.iter().zip(["roll-a", "roll-b", "roll-c"]) {
        let wanted = if name == "roll-c" { "db:own" } else { "db:3" };
        until_image(&client, org, wanted).await;
        until(&client, name, READY).await;
    }
    let told = region_until(&client, "rolling", "WorkloadsRolledOut", "True/AsSpecified").await;
    let record = &told["status"]["workloads"];
    assert_eq!(record.get("wave"), None);
    assert_eq!(
        record["revisions"].as_array().unwrap().len(),
        1,
        "nothing is kept that nobody has"
    );
    let org = read(&client, "roll-b").await.unwrap();
    assert_eq!(org["status"]["workloadsRevision"], record["revision"]);
}

#[tokio::test]
async fn a_workload_off_the_regions_list_runs_for_a_day_and_its_volume_stays() {
    let client = world().await;
    let mut cache = database("cache:1");
    cache["name"] = "cache".into();
    region_with(
        &client,
        "shrinking",
        "eu-west-3",
        &json!([database("db:1"), cache]),
    )
    .await;
    let orgs = place(&client, "shrinking", &[("shrink", 4)]).await;
    let namespace = namespace_of(&orgs[0]);

    set_workloads(&client, "shrinking", &json!([database("db:1")])).await;
    let regions = api_of(&client, &object("Region", "x", &json!({}))).await.unwrap();
    let removed = eventually(async || {
        let region = serde_json::to_value(regions.get("shrinking").await.unwrap()).unwrap();
        region["status"]["workloads"]["removed"].as_array().cloned()
    });
    let mut removed = removed
        .await
        .expect("it is not recorded that the workload is gone");
    assert_eq!(removed[0]["name"], "cache");
    until(&client, "shrink", READY).await;
    assert_eq!(
        names(&client, "apps/v1", "StatefulSet", &namespace).await,
        ["cache", "db"]
    );

    // A day later.
    removed[0]["removedAt"] = "2026-01-01T00:00:00Z".into();
    let regions = api_of(&installed::client().await, &object("Region", "x", &json!({})))
        .await
        .unwrap();
    let later = Patch::Merge(json!({"status": {"workloads": {"removed": removed}}}));
    regions
        .patch_status("shrinking", &PatchParams::default(), &later)
        .await
        .unwrap();
    let gone = eventually(async || {
        (names(&client, "apps/v1", "StatefulSet", &namespace).await == ["db"]).then_some(())
    });
    assert!(gone.await.is_some(), "the workload stays");
    let told = eventually(async || {
        let org = read(&client, "shrink").await?;
        (org["status"]["unusedVolumes"] == json!(["data-cache-0"])).then_some(())
    });
    assert!(told.await.is_some(), "{:#?}", read(&client, "shrink").await);
    let claims = names(&client, "v1", "PersistentVolumeClaim", &namespace).await;
    assert_eq!(claims, ["data-cache-0", "data-db-0"]);
    region_until(&client, "shrinking", "WorkloadsRolledOut", "True/AsSpecified").await;
}
