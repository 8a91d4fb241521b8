//! Children on a real API server: made, left alone, put back, taken over, refused; and what each costs in requests.

use std::sync::Arc;

use crate::support::{
    api_server::{self, api_of, eventually},
    operator::Operator,
};
use k8s_openapi::api::{core::v1::Namespace, networking::v1::NetworkPolicy};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tray_operator::{
    adapters::kube::{
        apply::{Applied, ApplyError},
        child::ChildFact,
        index::Index,
    },
    controllers::{Blocked, Driver, Requeue, changes::Change, context::Context},
    resources::child::{ChildKind, DesiredChild},
};

const ORG_ID: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

fn labels(org: &str) -> Value {
    json!({
        "app.kubernetes.io/managed-by": "tray-operator",
        "platform.tray.ai/org": org,
        "platform.tray.ai/org-id": ORG_ID,
    })
}

fn namespace(org: &str) -> DesiredChild {
    DesiredChild::new(
        ChildKind::Namespace,
        "",
        format!("org-{org}"),
        json!({"metadata": {"labels": labels(org)}}),
    )
}

fn policy(org: &str) -> DesiredChild {
    DesiredChild::new(
        ChildKind::NetworkPolicy,
        format!("org-{org}"),
        "tray-default-deny",
        json!({
            "metadata": {"labels": labels(org)},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": null, "egress": null},
        }),
    )
}

fn deployment(org: &str, replicas: i32) -> DesiredChild {
    let pods = json!({"app": "web"});
    DesiredChild::new(
        ChildKind::Deployment,
        format!("org-{org}"),
        "web",
        json!({
            "metadata": {"labels": labels(org)},
            "spec": {
                "replicas": replicas,
                "paused": null,
                "selector": {"matchLabels": pods},
                "template": {
                    "metadata": {"labels": pods},
                    "spec": {
                        "nodeSelector": {"topology.kubernetes.io/region": "eu-west-1"},
                        "containers": [{
                            "name": "web", "image": "web:1",
                            "resources": {"requests": {"memory": "1024Mi", "cpu": "0.5"}},
                        }],
                    },
                },
            },
        }),
    )
}

fn service(org: &str) -> DesiredChild {
    DesiredChild::new(
        ChildKind::Service,
        format!("org-{org}"),
        "web",
        json!({
            "metadata": {"labels": labels(org)},
            "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 8080, "targetPort": "http"}]},
        }),
    )
}

fn all(org: &str) -> Vec<DesiredChild> {
    vec![namespace(org), policy(org), service(org), deployment(org, 2)]
}

/// Keeps these children as they should be: the smallest controller there is.
struct Keeper {
    org: String,
    children: Vec<DesiredChild>,
}

#[async_trait::async_trait]
impl Driver for Keeper {
    fn name(&self) -> &'static str {
        "keeper"
    }
    fn map_to_keys(&self, change: &Change, _: &Index) -> Vec<String> {
        match change {
            Change::Child { org, .. } if *org == self.org => vec![org.clone()],
            _ => Vec::new(),
        }
    }
    fn keys(&self, _: &Index) -> Vec<String> {
        vec![self.org.clone()]
    }
    async fn reconcile(&self, ctx: &Arc<Context>, _: &str) -> Result<Requeue, Blocked> {
        for child in &self.children {
            ctx.cluster.ensure(child).await?;
        }
        Ok(Requeue::OnChange)
    }
}

fn keeper(org: &str) -> Vec<Arc<dyn Driver>> {
    vec![Arc::new(Keeper {
        org: org.to_owned(),
        children: all(org),
    })]
}

#[tokio::test]
async fn a_child_costs_one_request_and_nothing_more_while_it_is_as_it_should_be() {
    let operator = Operator::new().await;
    for child in all("once") {
        assert_eq!(
            operator.ctx.cluster.ensure(&child).await.unwrap(),
            Applied::Created
        );
    }
    let written = [
        "create deployments 1",
        "create namespaces 1",
        "create networkpolicies 1",
        "create services 1",
    ];
    assert_eq!(operator.writes(), written);
    for child in all("once") {
        assert_eq!(
            operator.ctx.cluster.ensure(&child).await.unwrap(),
            Applied::Unchanged
        );
    }
    assert_eq!(operator.writes(), written);

    let more = deployment("once", 3);
    assert_eq!(
        operator.ctx.cluster.ensure(&more).await.unwrap(),
        Applied::Changed
    );
    assert_eq!(
        operator.ctx.cluster.ensure(&more).await.unwrap(),
        Applied::Unchanged
    );
    assert!(operator.requests(&["get", "list"]).is_empty());
}

#[tokio::test]
async fn a_start_on_what_is_there_writes_nothing() {
    let before = Operator::new().await;
    for child in all("restart") {
        before.ctx.cluster.ensure(&child).await.unwrap();
    }
    let operator = Operator::new().await;
    let running = operator.start(keeper("restart")).await;
    let settled = eventually(async || {
        let text = operator.ctx.metrics.render().unwrap();
        text.contains("tray_reconciles_total{controller=\"keeper\"}")
            .then_some(())
    });
    assert!(settled.await.is_some());
    running.stop().await;
    assert_eq!(operator.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn what_somebody_edits_or_deletes_is_put_back() {
    let operator = Operator::new().await;
    let running = operator.start(keeper("repair")).await;
    let client = api_server::shared().await.client().await;
    let policies: Api<NetworkPolicy> = Api::namespaced(client.clone(), "org-repair");
    let there = eventually(async || policies.get("tray-default-deny").await.ok()).await;
    let uid = there.expect("the policy is made").uid();

    // An opening, put in beside what is wanted.
    let opening = json!({"spec": {"egress": [{}]}});
    let patched = policies
        .patch(
            "tray-default-deny",
            &PatchParams::default(),
            &Patch::Merge(opening),
        )
        .await
        .unwrap();
    assert_eq!(patched.spec.unwrap().egress.map(|rules| rules.len()), Some(1));
    let closed = eventually(async || {
        let policy = policies.get("tray-default-deny").await.ok()?;
        policy
            .spec?
            .egress
            .is_none_or(|rules| rules.is_empty())
            .then_some(())
    });
    assert!(closed.await.is_some(), "the opening stays");

    // Without its label no watch shows it any more.
    let label = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}});
    policies
        .patch("tray-default-deny", &PatchParams::default(), &Patch::Merge(label))
        .await
        .unwrap();
    let labelled = eventually(async || {
        let policy = policies.get("tray-default-deny").await.ok()?;
        policy
            .labels()
            .contains_key("app.kubernetes.io/managed-by")
            .then_some(policy)
    });
    assert_eq!(labelled.await.expect("the label stays away").uid(), uid);

    policies
        .delete("tray-default-deny", &DeleteParams::default())
        .await
        .unwrap();
    let again = eventually(async || {
        let policy = policies.get("tray-default-deny").await.ok()?;
        (policy.uid() != uid).then_some(())
    });
    assert!(again.await.is_some(), "the policy stays away");
    running.stop().await;
}

#[tokio::test]
async fn a_namespace_of_somebody_else_is_refused_and_left_alone() {
    let operator = Operator::new().await;
    let client = api_server::shared().await.client().await;
    let namespaces: Api<Namespace> = Api::all(client);
    let theirs: Namespace = serde_json::from_value(json!({"metadata": {"name": "org-taken"}})).unwrap();
    namespaces.create(&PostParams::default(), &theirs).await.unwrap();

    let refused = operator.ctx.cluster.ensure(&namespace("taken")).await;
    assert!(
        matches!(&refused, Err(ApplyError::Foreign(id)) if id.name == "org-taken"),
        "{refused:?}"
    );
    let left = namespaces.get("org-taken").await.unwrap();
    assert!(!left.labels().contains_key("platform.tray.ai/org"));
}

#[tokio::test]
async fn what_the_server_refuses_names_the_child_and_the_field() {
    let operator = Operator::new().await;
    operator.ctx.cluster.ensure(&namespace("refused")).await.unwrap();
    let mut child = deployment("refused", 2);
    child.body["spec"]["selector"]["matchLabels"]["app"] = "another".into();
    let error = operator.ctx.cluster.ensure(&child).await.unwrap_err();
    assert!(matches!(error, ApplyError::Refused { .. }), "{error}");
    let text = error.to_string();
    for part in ["Deployment org-refused/web", "spec.template.metadata.labels"] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn a_child_that_is_no_longer_wanted_is_removed() {
    let operator = Operator::new().await;
    for child in [namespace("less"), service("less")] {
        operator.ctx.cluster.ensure(&child).await.unwrap();
    }
    let gone = service("less").id;
    operator.ctx.cluster.remove(&gone).await.unwrap();
    let client = api_server::shared().await.client().await;
    let services: Api<k8s_openapi::api::core::v1::Service> = Api::namespaced(client, "org-less");
    assert!(services.get_opt("web").await.unwrap().is_none());
    // The index has not heard of it: success all the same.
    operator.ctx.cluster.remove(&gone).await.unwrap();
}

#[tokio::test]
async fn a_limit_that_is_no_longer_wanted_goes() {
    let operator = Operator::new().await;
    operator.ctx.cluster.ensure(&namespace("limits")).await.unwrap();
    let quota = |hard: Value| {
        let body = json!({"metadata": {"labels": labels("limits")}, "spec": {"hard": hard}});
        DesiredChild::new(ChildKind::ResourceQuota, "org-limits", "tray-compute", body)
    };
    let (both, one) = (
        quota(json!({"pods": "5", "limits.cpu": "1000m"})),
        quota(json!({"pods": "5"})),
    );
    assert_eq!(
        operator.ctx.cluster.ensure(&both).await.unwrap(),
        Applied::Created
    );
    assert_eq!(
        operator.ctx.cluster.ensure(&both).await.unwrap(),
        Applied::Unchanged
    );
    assert_eq!(operator.ctx.cluster.ensure(&one).await.unwrap(), Applied::Changed);
    let client = api_server::shared().await.client().await;
    let quotas: Api<k8s_openapi::api::core::v1::ResourceQuota> = Api::namespaced(client, "org-limits");
    let hard = quotas
        .get("tray-compute")
        .await
        .unwrap()
        .spec
        .unwrap()
        .hard
        .unwrap();
    assert_eq!(hard.into_keys().collect::<Vec<_>>(), ["pods"]);
}

/// A child of each kind as it was and as it should be, where a living one never becomes it; and whether its pods are let be.
fn remade(org: &str) -> Vec<(&'static str, DesiredChild, DesiredChild)> {
    let child = |kind, name: &str, spec: Value| {
        let mut body = spec;
        body["metadata"] = json!({"labels": labels(org)});
        DesiredChild::new(kind, format!("org-{org}"), name, body)
    };
    let service = |address: Value| {
        let spec = json!({"clusterIP": address, "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 8080, "targetPort": "http", "protocol": "TCP"}]});
        child(ChildKind::Service, "remade", json!({"spec": spec}))
    };
    let stateful_set = |name: &str, claims: Value, policy: &str| {
        let pods = json!({"app": name});
        let template =
            json!({"metadata": {"labels": pods}, "spec": {"containers": [{"name": "main", "image": "i:1"}]}});
        child(
            ChildKind::StatefulSet,
            name,
            json!({"spec": {"replicas": 1, "serviceName": name,
            "podManagementPolicy": policy, "selector": {"matchLabels": pods}, "template": template,
            "volumeClaimTemplates": claims}}),
        )
    };
    let claims = |size: &str| {
        json!([{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}}}}])
    };
    let settings = |value: &str, immutable: Value| {
        child(
            ChildKind::ConfigMap,
            "remade",
            json!({"data": {"key": value}, "immutable": immutable}),
        )
    };
    let binding = |role: &str| {
        child(
            ChildKind::RoleBinding,
            "remade",
            json!({
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "a"}]}),
        )
    };
    let quota = |scopes: Value| {
        child(
            ChildKind::ResourceQuota,
            "remade",
            json!({"spec": {"hard": {"pods": "5"}, "scopes": scopes}}),
        )
    };
    vec![
        ("headless", service(Value::Null), service("None".into())),
        ("with an address", service("None".into()), service(Value::Null)),
        (
            "a larger template",
            stateful_set("larger", claims("1Gi"), "Parallel"),
            stateful_set("larger", claims("2Gi"), "Parallel"),
        ),
        (
            "no template",
            stateful_set("none", claims("1Gi"), "Parallel"),
            stateful_set("none", Value::Null, "Parallel"),
        ),
        (
            "another policy",
            stateful_set("policy", Value::Null, "OrderedReady"),
            stateful_set("policy", Value::Null, "Parallel"),
        ),
        (
            "no longer immutable",
            settings("a", true.into()),
            settings("b", Value::Null),
        ),
        ("another role", binding("one"), binding("another")),
        ("no scope", quota(json!(["NotTerminating"])), quota(Value::Null)),
    ]
}

/// Whether the API server refuses the change or silently drops it: it is found by comparison, by an operator that knows what the
/// child held and by one that only knows that it was as wanted then.
#[tokio::test]
async fn what_never_changes_on_a_living_child_is_made_anew() {
    let operator = Operator::new().await;
    let client = api_server::shared().await.client().await;
    operator.ctx.cluster.ensure(&namespace("remade")).await.unwrap();
    for (what, before, after) in remade("remade") {
        for knows in [false, true] {
            let shape = json!({"apiVersion": before.id.kind.api_version(), "kind": before.id.kind.as_str(),
                "metadata": {"namespace": before.id.namespace}});
            let objects = api_of(&client, &shape).await.unwrap();
            let cluster = &operator.ctx.cluster;
            assert_eq!(cluster.ensure(&before).await.unwrap(), Applied::Created, "{what}");
            let old = objects.get(&before.id.name).await.unwrap();
            if knows {
                // As after a start: it has been read, and not compared.
                operator.ctx.index.children.remove(&before.id, None);
                let live = serde_json::from_value(serde_json::to_value(&old).unwrap()).unwrap();
                operator
                    .ctx
                    .index
                    .children
                    .observe(ChildFact::of(before.id.kind, &live));
            }
            assert_eq!(
                cluster.ensure(&after).await.unwrap(),
                Applied::Going,
                "{what}, {knows}"
            );
            let_go(&objects, &before.id.name).await;
            operator.ctx.index.children.remove(&before.id, None);
            assert_eq!(
                cluster.ensure(&after).await.unwrap(),
                Applied::Created,
                "{what}, {knows}"
            );
            assert_eq!(
                cluster.ensure(&after).await.unwrap(),
                Applied::Unchanged,
                "{what}, {knows}"
            );
            let new = objects.get(&before.id.name).await.unwrap();
            assert_ne!(new.uid(), old.uid(), "{what}, {knows}");
            cluster.remove(&after.id).await.unwrap();
            let_go(&objects, &before.id.name).await;
            operator.ctx.index.children.remove(&before.id, None);
        }
    }
}

/// Lets a deleted object go, as the garbage collector does. Returns when it is gone.
async fn let_go(objects: &Api<DynamicObject>, name: &str) {
    let none: [&str; 0] = [];
    let change = Patch::Merge(json!({"metadata": {"finalizers": none}}));
    let _ = objects.patch(name, &PatchParams::default(), &change).await;
    let gone = eventually(async || objects.get_opt(name).await.ok()?.is_none().then_some(()));
    assert!(gone.await.is_some(), "{name} stays");
}

/// A claim holds data: what of it never changes is told by name, and it stays.
#[tokio::test]
async fn a_claim_is_never_made_anew() {
    let operator = Operator::new().await;
    operator.ctx.cluster.ensure(&namespace("claims")).await.unwrap();
    let claim = |class: &str| {
        let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": class});
        let body = json!({"metadata": {"labels": labels("claims")}, "spec": spec});
        DesiredChild::new(ChildKind::PersistentVolumeClaim, "org-claims", "data-db-0", body)
    };
    operator.ctx.cluster.ensure(&claim("one")).await.unwrap();
    let before = operator.writes();
    let refused = operator.ctx.cluster.ensure(&claim("another")).await.unwrap_err();
    assert!(matches!(refused, ApplyError::Fixed { .. }), "{refused}");
    let text = refused.to_string();
    for part in [
        "PersistentVolumeClaim org-claims/data-db-0",
        "spec.storageClassName",
        "since it holds data",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(
        !operator.writes().iter().any(|write| write.starts_with("delete")),
        "{before:?}"
    );
}
