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
    org_world::{delete, object, org, orgs, read},
};

const FINALIZER: &str = "platform.tray.ai/org";

fn of_the_chart(args: &[&str]) -> Vec<Value> {
    let mut objects = chart::render(args).unwrap();
    objects.retain(|object| {
        object["kind"]
            .as_str()
            .is_some_and(|kind| kind.starts_with("MutatingAdmissionPolicy"))
    });
    objects
}

#[tokio::test]
async fn an_org_has_its_finalizer_from_the_first_moment() {
    // Nobody reconciles here: what is there, the API server put there.
    let client = api_server::shared().await.client().await;
    installed::install(&client).await;
    assert_eq!(
        of_the_chart(&[]),
        Vec::<Value>::new(),
        "not every cluster knows the kind"
    );
    let served = ["--api-versions=admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"];
    let objects = of_the_chart(&served);
    assert_eq!(objects.len(), 2);
    for object in &objects {
        api_server::apply(&client, object).await;
    }
    let orgs = orgs(&client).await;
    let numbers = std::cell::Cell::new(0);
    // It takes a moment to be in force.
    let found = eventually(async || {
        let name = format!("new-{}", numbers.replace(numbers.get() + 1));
        let new = object(
            "TrayOrg",
            &name,
            &json!({"plan": "Pro", "regionRef": {"name": "eu"}}),
        );
        api_server::apply(&client, &new).await;
        let made = read(&client, &name).await?;
        (made["metadata"]["finalizers"] == json!([FINALIZER])).then_some(name)
    });
    let name = found.await.expect("no org has the finalizer");

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
        .patch(&name, &PatchParams::default(), &change)
        .await
        .unwrap();
    let left = orgs.get(&name).await.unwrap();
    assert_eq!(left.metadata.finalizers, None);
    delete(&client, &name).await;
}

async fn orgs_of_the_operator() -> kube::Api<kube::api::DynamicObject> {
    orgs(&installed::client().await).await
}
