//! What the API server itself gives an org as it is created, where Kubernetes serves MutatingAdmissionPolicies: its finalizer,
//! and the leave of whoever creates it to take up what is held of an earlier one. On an API server of its own: such policies
//! hold for every org of a cluster.

#[path = "../support/mod.rs"]
mod support;

use kube::{
    Client, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use support::{
    api_server::{self, eventually, permit},
    chart, installed,
    objects::dry_run,
    org_world::{delete, object, org, orgs, read},
};
use tokio::sync::OnceCell;

const FINALIZER: &str = "platform.tray.ai/org";
const REATTACH: &str = "platform.tray.ai/reattach";

/// A cluster with the chart as an upgrade leaves it. Nobody reconciles here: what is there, the API server put there.
async fn cluster() -> Client {
    static MADE: OnceCell<()> = OnceCell::const_new();
    let client = api_server::shared().await.client().await;
    let make = async || {
        installed::install(&client).await;
        installed::upgrade(&client).await;
    };
    MADE.get_or_init(make).await;
    client
}

#[test]
fn what_completes_orgs_comes_with_the_first_upgrade() {
    for (args, why) in [
        (&[][..], "not every cluster knows the kind"),
        (&chart::UPGRADE[..1], "the API server does not know orgs yet"),
    ] {
        assert_eq!(chart::mutating_policies(args), Vec::<Value>::new(), "{why}");
    }
    let names: Vec<Value> = chart::mutating_policies(&chart::UPGRADE)
        .into_iter()
        .map(|object| object["metadata"]["name"].clone())
        .collect();
    let wanted = ["tray-org-finalizer", "tray-reattach-mark"];
    assert_eq!(
        names.len(),
        2 * wanted.len(),
        "a policy and its binding each: {names:?}"
    );
    assert!(
        names
            .iter()
            .all(|name| wanted.iter().any(|wanted| name == wanted)),
        "{names:?}"
    );
}

#[tokio::test]
async fn an_org_has_its_finalizer_from_the_first_moment() {
    let client = cluster().await;
    let orgs = orgs(&client).await;
    let new = object(
        "TrayOrg",
        "new",
        &json!({"plan": "Pro", "regionRef": {"name": "eu"}}),
    );
    api_server::apply(&client, &new).await;
    let made = read(&client, "new").await.unwrap();
    assert_eq!(made["metadata"]["finalizers"], json!([FINALIZER]));

    // Whoever brings finalizers of their own, or ours, keeps them, once each.
    for (name, own, wanted) in [
        (
            "own",
            json!(["example.com/x"]),
            json!(["example.com/x", FINALIZER]),
        ),
        ("ours", json!([FINALIZER]), json!([FINALIZER])),
    ] {
        let mut with = org(name, '7', &json!({}));
        with["metadata"]["finalizers"] = own;
        api_server::apply(&client, &with).await;
        assert_eq!(
            read(&client, name).await.unwrap()["metadata"]["finalizers"],
            wanted
        );
    }
    // An update is nobody's reason to put it back: it is on its way out.
    let change = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let operator = orgs_of_the_operator().await;
    operator
        .patch("new", &PatchParams::default(), &change)
        .await
        .unwrap();
    let left = orgs.get("new").await.unwrap();
    assert_eq!(left.metadata.finalizers, None);
    delete(&client, "new").await;
}

#[tokio::test]
async fn p3_an_org_is_marked_as_allowed_where_its_creator_has_the_verb_on_it() {
    let client = cluster().await;
    let server = api_server::shared().await;
    let create = json!({"apiGroups": ["platform.tray.ai"], "resources": ["trayorgs"], "verbs": ["create"]});
    let verb = |names: &[&str]| {
        json!({"apiGroups": ["platform.tray.ai"], "resources": ["trayorgs"], "resourceNames": names,
            "verbs": ["reattach"]})
    };
    let every_verb = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]});
    permit(&client, "tenant", &json!([create])).await;
    permit(&client, "team", &json!([create, verb(&["mine"])])).await;
    permit(&client, "gitops", &json!([every_verb])).await;
    let marked_by = async |user: &str, org: &Value| {
        let orgs = orgs(&server.client_of(user).await).await;
        // His rights may be news.
        let made = eventually(async || dry_run(&orgs, org).await.ok());
        let made = made.await.unwrap_or_else(|| panic!("{user} creates no orgs"));
        made.annotations().get(REATTACH).cloned()
    };
    // The last that the API server learns are the first to be asked for.
    let learned = eventually(async || marked_by("gitops", &org("mine", '1', &json!({}))).await);
    assert!(learned.await.is_some());
    let learned = eventually(async || marked_by("team", &org("mine", '1', &json!({}))).await);
    assert!(learned.await.is_some());

    let annotated = |name: &str, annotations: Value| {
        let mut org = org(name, '1', &json!({}));
        org["metadata"]["annotations"] = annotations;
        org
    };
    let mut generated = org("x", '1', &json!({}));
    generated["metadata"] = json!({"generateName": "mine"});
    let allowed = Some("allowed");
    for (user, org, wanted) in [
        ("tenant", org("mine", '1', &json!({})), None),
        ("team", org("mine", '1', &json!({})), allowed),
        ("team", org("other", '1', &json!({})), None),
        ("team", annotated("mine", json!({"a": "b"})), allowed),
        ("gitops", org("other", '1', &json!({})), allowed),
        (
            "gitops",
            annotated("other", json!({REATTACH: "denied"})),
            Some("denied"),
        ),
        ("gitops", generated, None),
    ] {
        let found = marked_by(user, &org).await;
        assert_eq!(found.as_deref(), wanted, "{user}: {}", org["metadata"]);
    }
    // As it was written, so it is: other annotations stay.
    let orgs = orgs(&client).await;
    let kept = dry_run(&orgs, &annotated("kept", json!({"a": "b"})))
        .await
        .unwrap();
    assert_eq!(kept.annotations()["a"], "b");
}

async fn orgs_of_the_operator() -> kube::Api<kube::api::DynamicObject> {
    orgs(&installed::client().await).await
}
