//! Where Kubernetes serves MutatingAdmissionPolicies, an org has its finalizer from the first moment. Alone in its process:
//! the policy holds for every org of a cluster.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy knows test functions, not what they call"
)]

mod support;

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use support::{
    api_server::{self, eventually},
    chart, installed,
    objects::dry_run,
    org_world::{delete, object, org, orgs, read},
};

const FINALIZER: &str = "platform.tray.ai/org";

#[tokio::test]
async fn an_org_has_its_finalizer_from_the_first_moment() {
    // Nobody reconciles here: what is there, the API server put there.
    let client = api_server::shared().await.client().await;
    installed::install(&client).await;
    for (args, why) in [
        (&[][..], "not every cluster knows the kind"),
        (&chart::UPGRADE[..1], "the API server does not know orgs yet"),
    ] {
        assert_eq!(chart::finalizer_policy(args), Vec::<Value>::new(), "{why}");
    }
    let objects = chart::finalizer_policy(&chart::UPGRADE);
    assert_eq!(objects.len(), 2);
    for object in &objects {
        api_server::apply(&client, object).await;
    }
    let orgs = orgs(&client).await;
    let new = object(
        "TrayOrg",
        "new",
        &json!({"plan": "Pro", "regionRef": {"name": "eu"}}),
    );
    // It takes a moment to be in force.
    let in_force = eventually(async || {
        let made = dry_run(&orgs, &new).await.ok()?;
        made.metadata.finalizers
    });
    assert!(in_force.await.is_some(), "the policy is not in force");
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

async fn orgs_of_the_operator() -> kube::Api<kube::api::DynamicObject> {
    orgs(&installed::client().await).await
}
