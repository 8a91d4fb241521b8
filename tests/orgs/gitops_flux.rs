//! Orgs under Flux: Flux's own modules apply, prune and force, with the operator at work, its rights and the chart's policies.
//! kustomize-controller itself is not there: what it calls in this order is.

#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use kube::{
    Client,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use support::{
    api_server::{self, api_of, eventually},
    flux::{Flux, Outcome},
    installed,
    org_world::{READY, namespace_of, object, org, read, tombstones, uid, until, world},
    orgs,
};
use tokio::sync::OnceCell;

/// The answers that make Flux's `force` delete an object and create it again.
const RECREATED_ON: [u16; 2] = [409, 422];
/// And what does by its text alone.
const RECREATED_ON_TEXT: [&str; 2] = ["is immutable", "immutable field"];

/// Whoever applies has every verb, as a GitOps controller with `*` has: what it creates again is taken up without a line
/// more in Git.
async fn flux() -> (Client, Flux) {
    static UPGRADED: OnceCell<()> = OnceCell::const_new();
    let client = world().await;
    UPGRADED.get_or_init(|| installed::upgrade(&client)).await;
    (client, Flux::of(api_server::shared().await))
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

fn changed(object: &Value, spec: &Value) -> Value {
    let mut object = object.clone();
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    object
}

fn changes(wanted: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(subject, action): &(&str, &str)| ((*subject).to_owned(), (*action).to_owned());
    wanted.iter().map(owned).collect()
}

fn expect(outcome: &Outcome, wanted: &[(&str, &str)]) {
    assert_eq!(outcome.error, "");
    assert_eq!(outcome.changes, changes(wanted));
}

/// UIDs of an org's namespace and of its claim.
async fn data(client: &Client, org: &Value) -> [String; 2] {
    let namespace = namespace_of(org);
    [
        uid(client, "v1", "Namespace", "", &namespace).await,
        uid(client, "v1", "PersistentVolumeClaim", &namespace, "data-db-0").await,
    ]
}

#[tokio::test]
async fn a_protected_org_outlives_its_manifest_and_an_unprotected_one_comes_back_by_revert() {
    let (client, flux) = flux().await;
    let (kept, gone) = (org("kept", '1', &json!({})), org("gone", '2', &json!({})));
    let both = [kept.clone(), gone.clone()];
    let outcome = flux.reconcile(&both, &[], false);
    expect(
        &outcome,
        &[("TrayOrg/kept", "created"), ("TrayOrg/gone", "created")],
    );
    until(&client, "kept", READY).await;
    let first = until(&client, "gone", READY).await;
    let outcome = flux.reconcile(&both, &[], false);
    expect(
        &outcome,
        &[("TrayOrg/kept", "unchanged"), ("TrayOrg/gone", "unchanged")],
    );
    let before = data(&client, &gone).await;

    // Its manifest vanishes, in a commit that changes the other one, and at the next interval again.
    let kept = changed(&kept, &json!({"displayName": "Kept"}));
    for action in ["configured", "unchanged"] {
        let outcome = flux.reconcile(std::slice::from_ref(&kept), std::slice::from_ref(&gone), false);
        assert_eq!(
            outcome.changes,
            changes(&[("TrayOrg/kept", action), ("TrayOrg/gone", "unknown")])
        );
        assert!(
            outcome.error.contains("TrayOrg gone is protected"),
            "{}",
            outcome.error
        );
    }
    assert_eq!(
        read(&client, "kept").await.unwrap()["spec"]["displayName"],
        "Kept"
    );
    let same = read(&client, "gone").await.unwrap();
    assert_eq!(same["metadata"]["uid"], first["metadata"]["uid"]);
    assert!(same["metadata"].get("deletionTimestamp").is_none());

    let free = changed(&gone, &json!({"lifecycle": {"deletionProtection": "Disabled"}}));
    let outcome = flux.reconcile(&[kept.clone(), free.clone()], &[], false);
    assert_eq!(outcome.changes["TrayOrg/gone"], "configured");
    let outcome = flux.reconcile(std::slice::from_ref(&kept), std::slice::from_ref(&free), false);
    expect(
        &outcome,
        &[("TrayOrg/kept", "unchanged"), ("TrayOrg/gone", "deleted")],
    );
    let went = eventually(async || read(&client, "gone").await.is_none().then_some(()));
    assert!(went.await.is_some(), "{:#?}", read(&client, "gone").await);
    assert_eq!(tombstones(&client, "gone").await.len(), 1);

    // `git revert`.
    let outcome = flux.reconcile(&[kept.clone(), free.clone()], &[], false);
    assert_eq!(outcome.changes["TrayOrg/gone"], "created");
    let back = until(&client, "gone", READY).await;
    assert_eq!(
        back["metadata"]["annotations"]["platform.tray.ai/reattach"],
        "allowed"
    );
    // What a policy put there is no drift.
    let outcome = flux.reconcile(&[kept.clone(), free.clone()], &[], false);
    expect(
        &outcome,
        &[("TrayOrg/kept", "unchanged"), ("TrayOrg/gone", "unchanged")],
    );
    assert_eq!(data(&client, &gone).await, before);
    let held = eventually(async || tombstones(&client, "gone").await.is_empty().then_some(()));
    assert!(held.await.is_some(), "{:#?}", tombstones(&client, "gone").await);
    let outcome = flux.reconcile(&[kept, gone], &[], false);
    assert_eq!(outcome.changes["TrayOrg/gone"], "configured");
}

/// A change that is never allowed, and what its refusal says.
struct Denied {
    object: Value,
    change: Value,
    message: &'static str,
}

/// Changes of objects of which nothing but the answer keeps `force` from deleting them: no org names the Region, and no
/// org is protected.
fn denied() -> Vec<Denied> {
    let free = json!({
        "lifecycle": {"deletionProtection": "Disabled"},
        "owners": [{"kind": "User", "name": "admin", "role": "Admin"}],
    });
    let denied = |object: &Value, change, message| Denied {
        object: object.clone(),
        change,
        message,
    };
    let placed = org("placed", '3', &free);
    let snapshot = object("OrgSnapshot", "fixed", &json!({"orgRef": {"name": "placed"}}));
    let latest = |name: &str| json!({"orgRef": {"name": name}, "snapshot": {"latestGood": true}, "target": {"inPlace": true}});
    let region = spare_region();
    let mut access = object(
        "SupportAccess",
        "fixed",
        &json!({"subjects": [{"kind": "Group", "name": "support"}], "role": "View", "durationHours": 1,
            "reason": "a question"}),
    );
    access["metadata"]["namespace"] = namespace_of(&placed).into();
    vec![
        denied(
            &placed,
            json!({"regionRef": {"name": "spare"}}),
            "spec.regionRef of a placed org never changes",
        ),
        denied(
            &placed,
            json!({"orgId": "00000009-0000-4000-8000-000000000000"}),
            "spec.orgId never changes",
        ),
        denied(
            &region,
            json!({"cloudRegion": "eu-north-1", "zones": ["eu-north-1a", "eu-north-1b"]}),
            "spec.cloudRegion of a Region never changes",
        ),
        denied(
            &region,
            json!({"stage": "NonProduction"}),
            "spec.stage of a Region never changes",
        ),
        denied(
            &snapshot,
            json!({"orgRef": {"name": "other"}}),
            "spec of OrgSnapshot fixed never changes",
        ),
        denied(
            &object("OrgRestore", "fixed", &latest("placed")),
            latest("other"),
            "spec of OrgRestore fixed never changes",
        ),
        denied(
            &access,
            json!({"durationHours": 72}),
            "spec of SupportAccess fixed never changes",
        ),
    ]
}

/// A Region that no org names.
fn spare_region() -> Value {
    orgs::region("spare", "eu-west-3", &json!({}))
}

#[tokio::test]
async fn force_recreates_nothing_over_a_change_that_is_denied() {
    let (client, flux) = flux().await;
    let denied = denied();
    let mut objects: Vec<Value> = denied.iter().map(|denied| denied.object.clone()).collect();
    objects.dedup();
    let (within, cluster): (Vec<Value>, Vec<Value>) = objects
        .into_iter()
        .partition(|object| object["metadata"]["namespace"].is_string());
    assert_eq!(flux.reconcile(&cluster, &[], true).error, "");
    until(&client, "placed", READY).await;
    assert_eq!(flux.reconcile(&within, &[], true).error, "");
    for Denied {
        object,
        change,
        message,
    } in denied
    {
        let wanted = changed(&object, &change);
        let api = api_of(&client, &object).await.unwrap();
        let before = api.get(name(&object)).await.unwrap().metadata.uid;

        let dynamic: DynamicObject = serde_json::from_value(wanted.clone()).unwrap();
        let params = PatchParams::apply("kustomize-controller").force().dry_run();
        let answer = api.patch(name(&object), &params, &Patch::Apply(&dynamic)).await;
        let Err(kube::Error::Api(answer)) = answer else {
            panic!("{message}: {answer:?}");
        };
        assert!(answer.message.contains(message), "{}", answer.message);
        assert_eq!(answer.code, 403, "{}", answer.message);
        assert!(!RECREATED_ON.contains(&answer.code));
        for text in RECREATED_ON_TEXT {
            assert!(!answer.message.contains(text), "{}", answer.message);
        }

        let outcome = flux.reconcile(&[wanted], &[], true);
        assert!(outcome.error.contains(message), "{}", outcome.error);
        assert_eq!(api.get(name(&object)).await.unwrap().metadata.uid, before);
    }
}

#[tokio::test]
async fn force_deletes_over_a_malformed_change_but_neither_what_is_protected_nor_what_is_in_use() {
    let (client, flux) = flux().await;
    let policy = object("RetentionPolicy", "unused", &json!({}));
    let safe = org("safe", '4', &json!({}));
    let outcome = flux.reconcile(&[policy.clone(), safe.clone()], &[], true);
    assert_eq!(outcome.error, "");
    let first = until(&client, "safe", READY).await;

    // 422: the cause is in the answer, and the org stays.
    let outcome = flux.reconcile(&[changed(&safe, &json!({"plan": "Gold"}))], &[], true);
    assert!(
        outcome.error.contains("failed to delete object")
            && outcome.error.contains("TrayOrg safe is protected"),
        "{}",
        outcome.error
    );
    assert_eq!(
        read(&client, "safe").await.unwrap()["metadata"]["uid"],
        first["metadata"]["uid"]
    );

    // Nor a Region that orgs name, where the change is both malformed and denied: the former is said first.
    let regions = api_of(&client, &spare_region()).await.unwrap();
    let in_use = eventually(async || {
        let region = regions.get("eu").await.unwrap();
        (region.data["status"]["orgs"].as_i64()? > 0).then_some(region)
    });
    let region = in_use.await.unwrap();
    let moved = changed(
        &object("Region", "eu", &region.data["spec"]),
        &json!({"cloudRegion": "eu-north-1"}),
    );
    let outcome = flux.reconcile(&[moved], &[], true);
    assert!(
        outcome.error.contains("failed to delete object") && outcome.error.contains("Region eu is in use by"),
        "{}",
        outcome.error
    );
    assert_eq!(regions.get("eu").await.unwrap().metadata.uid, region.metadata.uid);

    // What nothing protects goes, which is why `force` is not for these kinds.
    let broken = changed(&policy, &json!({"termination": {"purgeAfterDays": 1}}));
    let outcome = flux.reconcile(&[broken], &[], true);
    assert!(outcome.error.contains("purgeAfterDays"), "{}", outcome.error);
    let policies = api_of(&client, &policy).await.unwrap();
    assert!(policies.get_opt("unused").await.unwrap().is_none());
}
