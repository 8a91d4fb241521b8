//! Who lets a TrayOrg take up what is held of an earlier one: whoever has the verb `reattach` on it, and nobody else,
//! whatever else he may do with TrayOrgs.

use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    policies::world::world,
    support::{
        api_server::{self, eventually, permit},
        objects::dry_run,
        orgs::{self, allowed},
    },
};

/// The policy that this is about.
pub(crate) const POLICY: &str = "tray-reattach-guard";
const REATTACH: &str = "platform.tray.ai/reattach";

/// What somebody asks for.
enum Ask {
    /// To create a TrayOrg.
    Create(Value),
    /// The same by server-side apply.
    Apply(Value),
    /// To change one that is there.
    Change(&'static str, Value),
}
use Ask::{Apply, Change, Create};

async fn orgs_as(user: Option<&str>) -> Api<DynamicObject> {
    let server = api_server::shared().await;
    let client = match user {
        Some(user) => server.client_of(user).await,
        None => server.client().await,
    };
    orgs::api(&client, "platform.tray.ai/v1alpha1", "TrayOrg", "").await
}

/// Asks; nothing is kept of it.
async fn ask(user: &str, ask: &Ask) -> kube::Result<DynamicObject> {
    let orgs = orgs_as(Some(user)).await;
    match ask {
        Create(org) => dry_run(&orgs, org).await,
        Apply(org) => {
            let params = PatchParams::apply(user).dry_run();
            let name = org["metadata"]["name"].as_str().unwrap();
            orgs.patch(name, &params, &Patch::Apply(org)).await
        }
        Change(name, change) => {
            let params = PatchParams::default().dry_run();
            orgs.patch(name, &params, &Patch::Merge(change)).await
        }
    }
}

fn mark(value: &Value) -> Value {
    json!({"metadata": {"annotations": {REATTACH: value}}})
}

/// Users who may do what they like with TrayOrgs: `tenant` without the verb, `team` with it on those named `mine` and
/// `marked-mine`, `gitops` with every verb there is.
async fn people() {
    let _world = world().await;
    let admin = api_server::shared().await.client().await;
    let group = ["platform.tray.ai"];
    let all = json!({"apiGroups": group, "resources": ["trayorgs"],
        "verbs": ["get", "list", "create", "update", "patch", "delete"]});
    let verb = json!({"apiGroups": group, "resources": ["trayorgs"], "resourceNames": ["mine", "marked-mine"],
        "verbs": ["reattach"]});
    let everything = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]});
    permit(&admin, "tenant", &json!([all])).await;
    permit(&admin, "team", &json!([all, verb])).await;
    permit(&admin, "gitops", &json!([everything])).await;
    for name in ["marked", "marked-mine"] {
        api_server::apply(&admin, &allowed(&new(name))).await;
    }
    for (user, org) in [
        ("tenant", new("mine")),
        ("team", allowed(&new("mine"))),
        ("gitops", allowed(&new("mine"))),
    ] {
        let learned = eventually(async || ask(user, &Create(org.clone())).await.ok()).await;
        assert!(learned.is_some(), "{user} creates no orgs");
    }
}

fn new(name: &str) -> Value {
    let id = if name == "marked" { "00000a01" } else { "00000a02" };
    orgs::org(name, id, "eu", &json!({}))
}

#[tokio::test]
async fn p3_whoever_has_the_verb_on_an_org_lets_it_take_up_what_is_held_and_nobody_else() {
    people().await;
    let mut generated = allowed(&new("x"));
    generated["metadata"]["name"].take();
    generated["metadata"]["generateName"] = "mine".into();
    let yes = json!("allowed");
    let mut denied = new("mine");
    denied["metadata"]["annotations"] = json!({REATTACH: "denied"});
    for (user, request, passes) in [
        ("tenant", Create(new("mine")), true),
        ("tenant", Create(allowed(&new("mine"))), false),
        ("tenant", Apply(allowed(&new("mine"))), false),
        // Whatever it says: there is one way to tell.
        ("tenant", Create(denied), false),
        ("team", Create(allowed(&new("mine"))), true),
        ("team", Apply(allowed(&new("mine"))), true),
        ("team", Create(allowed(&new("other"))), false),
        ("team", Create(generated), false),
        ("gitops", Create(allowed(&new("other"))), true),
        // One that is there.
        ("tenant", Change("unplaced", mark(&yes)), false),
        ("team", Change("unplaced", mark(&yes)), false),
        ("gitops", Change("unplaced", mark(&yes)), true),
        (
            "tenant",
            Change("marked", json!({"spec": {"displayName": "A"}})),
            true,
        ),
        ("tenant", Change("marked", mark(&yes)), true),
        ("tenant", Change("marked", mark(&json!("other"))), false),
        ("tenant", Change("marked", mark(&Value::Null)), true),
        ("team", Change("marked-mine", mark(&json!("other"))), true),
    ] {
        let what = match &request {
            Create(org) | Apply(org) => org["metadata"].to_string(),
            Change(name, change) => format!("{name} {change}"),
        };
        match (ask(user, &request).await, passes) {
            (Ok(_), true) => {}
            (Err(kube::Error::Api(status)), false) => {
                assert_eq!(status.code, 403, "{user} {what}: {}", status.message);
                for part in [
                    format!("'{POLICY}' with binding"),
                    format!("{user} has not the verb reattach"),
                    "ClusterRole tray-reattacher".to_owned(),
                ] {
                    assert!(
                        status.message.contains(&part),
                        "{user} {what}: {}",
                        status.message
                    );
                }
            }
            (answer, _) => panic!("{user} {what}: {answer:?}, passes: {passes}"),
        }
    }
}
