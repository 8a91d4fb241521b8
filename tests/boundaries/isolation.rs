//! Orgs are kept from each other and within what they are given: on a real API server, with the operator's own rights and
//! under the chart's policies. Who may reach whom is asked of an evaluator that knows nothing of this operator.

#[path = "../support/mod.rs"]
mod support;

use std::{collections::BTreeMap, sync::Arc};

use kube::{
    Client,
    api::{DeleteParams, DynamicObject, ListParams, PostParams},
};
use serde_json::{Value, json};
use support::{
    api_server::{self, eventually},
    installed,
    objects::{dry_run, refusal},
    orgs::{api, count_quotas, examples, message, org, patch, patch_status, platform, pod, region, until},
    reachability::{Peer, Question, ask},
};
use tray_operator::{
    controllers::{Driver, org::OrgDriver},
    resources::mover_job::Mover,
};

const KIND: &str = "TrayOrg";
const READY: &[(&str, &str)] = &[
    ("Ready", "True/AsSpecified"),
    ("IsolationEnforced", "True/Acknowledged"),
];

async fn world() -> Client {
    installed::shared(|| vec![Arc::new(OrgDriver::default()) as Arc<dyn Driver>]).await;
    let client = api_server::shared().await.client().await;
    platform(&client).await;
    ready_region(&client, &region("here", "eu-west-1", &json!({}))).await;
    client
}

/// A Region that says of itself that it is ready.
async fn ready_region(client: &Client, region: &Value) {
    api_server::apply(client, region).await;
    let ready = json!({"conditions": [{"type": "Ready", "status": "True", "reason": "AsSpecified", "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    let operator = installed::client().await;
    let regions = api(&operator, "platform.tray.ai/v1alpha1", "Region", "").await;
    patch_status(&regions, region["metadata"]["name"].as_str().unwrap(), &ready).await;
}

async fn placed(client: &Client, org: &Value) -> String {
    api_server::apply(client, org).await;
    let ready = until(client, KIND, org["metadata"]["name"].as_str().unwrap(), READY).await;
    ready["status"]["namespace"].as_str().unwrap().to_owned()
}

/// Every object of a kind in a namespace.
async fn list(client: &Client, api_version: &str, kind: &str, namespace: &str) -> Vec<DynamicObject> {
    let api = api(client, api_version, kind, namespace).await;
    api.list(&ListParams::default()).await.unwrap().items
}

/// When an object that nobody changed since was made: the API server counts.
fn made_at(object: &DynamicObject) -> u64 {
    object
        .metadata
        .resource_version
        .as_ref()
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn p4_isolation_is_in_the_api_server_before_anything_that_bears_pods() {
    let client = world().await;
    let ordered = org("ordered", "20000001", "here", &json!({}));
    api_server::apply(&client, &ordered).await;
    let namespace = "org-ordered-20000001";
    let first = eventually(async || {
        list(&client, "apps/v1", "Deployment", namespace)
            .await
            .into_iter()
            .next()
    });
    let first = made_at(&first.await.expect("nothing was made"));
    let mut isolating = list(&client, "networking.k8s.io/v1", "NetworkPolicy", namespace).await;
    assert_eq!(isolating.len(), 6);
    isolating.extend(list(&client, "v1", "LimitRange", namespace).await);
    assert_eq!(isolating.len(), 7);
    for object in isolating {
        assert!(
            made_at(&object) < first,
            "{:?} came after pods",
            object.metadata.name
        );
    }
}

#[tokio::test]
async fn p4_nothing_runs_while_one_policy_is_not_acknowledged_and_the_org_says_so() {
    let client = world().await;
    let namespace = "org-unsafe-20000002";
    let refused = format!("request.namespace in ['{namespace}', 'default'] && request.name == 'tray-dns'");
    let resource = ("networking.k8s.io", "networkpolicies");
    for object in refusal("test-refuses", resource, &refused, "not today") {
        api_server::apply(&client, &object).await;
    }
    let probe = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "tray-dns"},
        "spec": {"podSelector": {}}});
    let policies = api(&client, "networking.k8s.io/v1", "NetworkPolicy", "default").await;
    let effective = eventually(async || dry_run(&policies, &probe).await.is_err().then_some(()));
    assert!(effective.await.is_some());

    api_server::apply(&client, &org("unsafe", "20000002", "here", &json!({}))).await;
    let told = until(
        &client,
        KIND,
        "unsafe",
        &[("IsolationEnforced", "False/NotAcknowledged")],
    )
    .await;
    let said = message(&told, "IsolationEnforced");
    assert!(said.contains("tray-dns: Forbidden (HTTP 403)"), "{said}");
    assert!(list(&client, "apps/v1", "Deployment", namespace).await.is_empty());

    let bindings = api(
        &client,
        "admissionregistration.k8s.io/v1",
        "ValidatingAdmissionPolicyBinding",
        "",
    )
    .await;
    bindings
        .delete("test-refuses", &DeleteParams::default())
        .await
        .unwrap();
    until(&client, KIND, "unsafe", READY).await;
}

/// Thousandths, or whatever the server made of it: the limits of an org's quotas.
async fn hard(client: &Client, namespace: &str) -> BTreeMap<String, String> {
    let quotas = list(client, "v1", "ResourceQuota", namespace).await;
    let limits = quotas
        .iter()
        .flat_map(|quota| quota.data["spec"]["hard"].as_object().unwrap());
    limits
        .map(|(resource, limit)| (resource.clone(), limit.as_str().unwrap().to_owned()))
        .collect()
}

#[tokio::test]
async fn p3_a_smaller_plan_waits_until_what_is_used_fits() {
    let client = world().await;
    let namespace = placed(
        &client,
        &org("shrinking", "20000003", "here", &json!({"plan": "Enterprise"})),
    )
    .await;
    until(
        &client,
        KIND,
        "shrinking",
        &[("QuotaSatisfied", "Unknown/NotObserved")],
    )
    .await;
    count_quotas(
        &client,
        &namespace,
        &json!({"requests.cpu": "10", "pods": "30", "requests.memory": "20Gi"}),
    )
    .await;
    until(
        &client,
        KIND,
        "shrinking",
        &[("QuotaSatisfied", "True/AsSpecified")],
    )
    .await;

    let orgs = api(&client, "platform.tray.ai/v1alpha1", KIND, "").await;
    patch(&orgs, "shrinking", &json!({"spec": {"plan": "Team"}})).await;
    let told = until(
        &client,
        KIND,
        "shrinking",
        &[
            ("QuotaSatisfied", "False/QuotaBelowUse"),
            ("Ready", "True/AsSpecified"),
        ],
    )
    .await;
    let said = message(&told, "QuotaSatisfied");
    for named in [
        "plan Team",
        "requests.cpu 10 of 8, 2 too much",
        "requests.memory 20Gi of 16Gi, 4Gi too much",
    ] {
        assert!(said.contains(named), "{said}");
    }
    // What fits is lowered, what does not stays.
    let lowered = eventually(async || (hard(&client, &namespace).await["pods"] == "100").then_some(()));
    assert!(lowered.await.is_some());
    let limits = hard(&client, &namespace).await;
    assert_eq!(
        (
            limits["requests.cpu"].as_str(),
            limits["requests.memory"].as_str()
        ),
        ("16", "32Gi")
    );

    count_quotas(
        &client,
        &namespace,
        &json!({"requests.cpu": "7500m", "requests.memory": "16Gi"}),
    )
    .await;
    until(
        &client,
        KIND,
        "shrinking",
        &[("QuotaSatisfied", "True/AsSpecified")],
    )
    .await;
    let fits = eventually(async || {
        let limits = hard(&client, &namespace).await;
        (limits["requests.cpu"] == "8" && limits["requests.memory"] == "16Gi").then_some(())
    });
    assert!(fits.await.is_some(), "{:?}", hard(&client, &namespace).await);
}

fn mover(org: &str, namespace: &str, part: &str) -> Mover {
    Mover {
        name: format!("mover-{part}"),
        namespace: namespace.to_owned(),
        org_name: org.to_owned(),
        org_id: "7c9e6679-7425-40de-944b-e07fc1f90ae7".parse().unwrap(),
        owner: "snapshot".to_owned(),
        run_id: None,
        part: Some(part.parse().unwrap()),
        cloud_region: "eu-west-1".to_owned(),
        image: "operator:test".to_owned(),
        image_pull_policy: None,
        volume: None,
        kubernetes_api: part == "objects",
        consistency_point: None,
        deadline_seconds: 3_600,
    }
}

#[tokio::test]
async fn p7_a_full_org_still_gets_its_snapshot() {
    let client = world().await;
    let namespace = placed(&client, &org("full", "20000004", "here", &json!({}))).await;
    let everything = json!({"pods": "100", "requests.cpu": "8", "requests.memory": "16Gi"});
    count_quotas(&client, &namespace, &everything).await;
    let pods = api(&client, "v1", "Pod", &namespace).await;
    let one_more: DynamicObject =
        serde_json::from_value(pod(&namespace, "one-more", "eu-west-1", &json!({}))).unwrap();
    let refused = eventually(async || pods.create(&PostParams::default(), &one_more).await.err());
    let refused = refused.await.expect("a full org takes another pod").to_string();
    assert!(refused.contains("exceeded quota: tray-pods"), "{refused}");

    // The pod that the Job controller makes of a mover's Job.
    let template = mover("full", &namespace, "data-db-0")
        .job()
        .spec
        .unwrap()
        .template;
    let mut mover = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "mover"}});
    mover["metadata"]["labels"] = serde_json::to_value(template.metadata.unwrap().labels).unwrap();
    mover["spec"] = serde_json::to_value(template.spec).unwrap();
    let controller = api_server::shared()
        .await
        .client_as(
            Some("system:serviceaccount:kube-system:job-controller"),
            &["system:masters"],
        )
        .await;
    let pods = api(&controller, "v1", "Pod", &namespace).await;
    let mover: DynamicObject = serde_json::from_value(mover).unwrap();
    pods.create(&PostParams::default(), &mover).await.unwrap();
}

/// A pod of an org as its StatefulSet or Deployment makes it, in the namespace as it is.
async fn pod_of(client: &Client, namespace: &str, kind: &str, workload: &str) -> Peer {
    let workload = api(client, "apps/v1", kind, namespace)
        .await
        .get(workload)
        .await
        .unwrap();
    let labels = workload.data["spec"]["template"]["metadata"]["labels"].clone();
    Peer {
        pod_labels: serde_json::from_value(labels).unwrap(),
        ..in_namespace(client, namespace).await
    }
}

async fn in_namespace(client: &Client, namespace: &str) -> Peer {
    let labels = api(client, "v1", "Namespace", "")
        .await
        .get(namespace)
        .await
        .unwrap();
    Peer {
        namespace_labels: labels.metadata.labels.unwrap(),
        ..Peer::pod(namespace, &[])
    }
}

async fn mover_of(client: &Client, org: &str, namespace: &str, part: &str) -> Peer {
    let template = mover(org, namespace, part).job().spec.unwrap().template;
    Peer {
        pod_labels: template.metadata.unwrap().labels.unwrap(),
        ..in_namespace(client, namespace).await
    }
}

/// Who may reach whom: from, to, port, and whether it flows.
type Cell = (&'static str, &'static str, u16, bool);

/// Whoever the cells name, but for an org's own pods.
fn others() -> BTreeMap<&'static str, Peer> {
    BTreeMap::from([
        ("dns", Peer::pod("kube-system", &[("k8s-app", "kube-dns")])),
        ("kube-system", Peer::pod("kube-system", &[("k8s-app", "other")])),
        ("gateway", Peer::pod("tray-edge", &[("app", "gateway")])),
        ("operator", Peer::pod("tray-system", &[("app", "tray-operator")])),
        ("internet", Peer::address("93.184.216.34")),
        ("internet6", Peer::address("2606:2800:220:1::1")),
        ("metadata", Peer::address("169.254.169.254")),
        ("metadata6", Peer::address("fd00:ec2::254")),
        ("private10", Peer::address("10.1.2.3")),
        ("private172", Peer::address("172.16.5.5")),
        ("private192", Peer::address("192.168.1.1")),
        ("shared100", Peer::address("100.64.0.1")),
        ("local6", Peer::address("fe80::1")),
        ("nat64", Peer::address("64:ff9b::a01:203")),
        ("api-service", Peer::address("10.96.0.1")),
        ("api-server", Peer::address("10.199.0.1")),
    ])
}

/// What holds for every org. `other-…` is another org's.
const EVERYBODY: &[Cell] = &[
    // Within the namespace, and DNS.
    ("web", "db", 5432, true),
    ("db", "web", 8080, true),
    ("web", "dns", 53, true),
    ("web", "dns", 443, false),
    ("web", "kube-system", 53, false),
    // Other orgs, both ways, on any port.
    ("web", "other-web", 8080, false),
    ("web", "other-db", 5432, false),
    ("other-web", "db", 5432, false),
    ("other-web", "web", 443, false),
    ("web", "other-mover", 443, false),
    // The gateway's namespace comes in to the one port that takes webhooks, and whoever else is not of the org to none.
    ("gateway", "web", 8080, true),
    ("gateway", "web", 443, false),
    ("gateway", "db", 5432, false),
    ("gateway", "db", 8080, false),
    ("gateway", "mover", 8080, false),
    ("operator", "web", 8080, false),
    ("kube-system", "web", 8080, false),
    ("operator", "db", 5432, false),
    ("internet", "web", 8080, false),
    ("internet6", "web", 8080, false),
    ("private10", "db", 5432, false),
    // Out: never to anything internal.
    ("web", "metadata", 80, false),
    ("web", "metadata6", 80, false),
    ("web", "private10", 443, false),
    ("web", "private172", 443, false),
    ("web", "private192", 443, false),
    ("web", "shared100", 443, false),
    ("web", "local6", 443, false),
    ("web", "nat64", 443, false),
    ("web", "api-service", 443, false),
    ("web", "api-server", 6443, false),
    ("web", "operator", 8080, false),
    ("web", "gateway", 443, false),
    // Movers: the backup location's port and DNS, and nobody of the org either way.
    ("mover", "internet", 443, true),
    ("mover", "internet6", 443, true),
    ("mover", "private10", 443, true),
    ("mover", "dns", 53, true),
    ("mover", "internet", 80, false),
    ("mover", "metadata", 80, false),
    ("mover", "private10", 5432, false),
    ("mover", "web", 443, false),
    ("mover", "db", 5432, false),
    ("mover", "other-web", 443, false),
    ("mover", "other-mover", 443, false),
    ("web", "mover", 443, false),
    ("web", "objects", 443, false),
    ("gateway", "mover", 443, false),
    ("mover", "objects", 443, false),
    // Those of objects reach the API server, the others do not.
    ("objects", "api-service", 443, true),
    ("objects", "api-server", 6443, true),
    ("mover", "api-server", 6443, false),
    ("objects", "web", 6443, false),
];

const PUBLIC_ONLY: &[Cell] = &[("web", "internet", 443, true), ("web", "internet6", 25, true)];
const NONE: &[Cell] = &[("web", "internet", 443, false), ("web", "internet6", 443, false)];
const ALLOW_LIST: &[Cell] = &[
    ("web", "listed", 443, true),
    ("web", "listed6", 443, true),
    ("web", "unlisted", 443, false),
    ("web", "unlisted6", 443, false),
    ("web", "internet", 443, false),
    ("web", "internet6", 443, false),
];

#[tokio::test]
async fn p4_nobody_reaches_an_org_and_it_reaches_only_what_it_may() {
    let client = world().await;
    for region in examples("regions.yaml") {
        ready_region(&client, &region).await;
    }
    let with = |name: &str, id: &str, network: Value| {
        let mut org = org(name, id, "eu", &json!({}));
        org["spec"]["network"] = network;
        org
    };
    let listed = json!({"egress": "AllowList", "allowCidrs": ["203.0.113.0/24", "2001:db8:1::/48"]});
    let orgs = [
        (examples("orgs/acme-eu.yaml").remove(0), PUBLIC_ONLY),
        (examples("orgs/globex-us.yaml").remove(0), PUBLIC_ONLY),
        (examples("orgs/initech-apac.yaml").remove(0), PUBLIC_ONLY),
        (with("sealed", "20000005", json!({"egress": "None"})), NONE),
        (with("listed", "20000006", listed), ALLOW_LIST),
    ];
    let mut namespaces = Vec::new();
    for (org, cells) in &orgs {
        let namespace = placed(&client, org).await;
        namespaces.push((org["metadata"]["name"].as_str().unwrap(), namespace, *cells));
    }
    let mut policies = Vec::new();
    for (_, namespace, _) in &namespaces {
        let listed = list(&client, "networking.k8s.io/v1", "NetworkPolicy", namespace).await;
        policies.extend(listed.iter().map(|policy| serde_json::to_value(policy).unwrap()));
    }

    let (mut cells, mut questions) = (Vec::new(), Vec::new());
    for (number, (name, namespace, own)) in namespaces.iter().enumerate() {
        let (other, other_namespace, _) = &namespaces[(number + 1) % namespaces.len()];
        let mut peers = others();
        for (role, ip) in [
            ("listed", "203.0.113.7"),
            ("listed6", "2001:db8:1::7"),
            ("unlisted", "203.0.114.7"),
            ("unlisted6", "2001:db8:2::7"),
        ] {
            peers.insert(role, Peer::address(ip));
        }
        for (role, workload) in [("web", "web"), ("db", "db")] {
            peers.insert(role, pod_of(&client, namespace, "StatefulSet", workload).await);
        }
        peers.insert(
            "other-web",
            pod_of(&client, other_namespace, "StatefulSet", "web").await,
        );
        peers.insert(
            "other-db",
            pod_of(&client, other_namespace, "StatefulSet", "db").await,
        );
        peers.insert("mover", mover_of(&client, name, namespace, "data-db-0").await);
        peers.insert("objects", mover_of(&client, name, namespace, "objects").await);
        peers.insert(
            "other-mover",
            mover_of(&client, other, other_namespace, "data-db-0").await,
        );
        for (from, to, port, flows) in EVERYBODY.iter().chain(*own).copied() {
            // DNS is asked by UDP first.
            for protocol in if port == 53 { &["UDP", "TCP"][..] } else { &["TCP"] } {
                cells.push((format!("{name}: {from} -> {to}:{port} {protocol}"), flows));
                questions.push(Question {
                    from: peers[from].clone(),
                    to: peers[to].clone(),
                    port,
                    protocol,
                });
            }
        }
    }
    let wrong = |answers: Vec<bool>| -> Vec<String> {
        let cells = cells.iter().zip(answers);
        cells
            .filter(|((_, flows), answer)| flows != answer)
            .map(|((cell, _), _)| cell.clone())
            .collect()
    };
    assert_eq!(wrong(ask(&policies, &questions)), Vec::<String>::new());
    // It is the policies that do it.
    let open = cells.iter().filter(|(_, flows)| !flows).count();
    assert!(open > 150);
    assert_eq!(wrong(ask(&[], &questions)).len(), open);
    for name in [
        "tray-default-deny",
        "tray-same-namespace",
        "tray-dns",
        "tray-egress",
        "tray-mover-backup",
        "tray-mover-objects",
        "tray-webhook",
    ] {
        let without: Vec<Value> = policies
            .iter()
            .filter(|p| p["metadata"]["name"] != name)
            .cloned()
            .collect();
        let missed = wrong(ask(&without, &questions));
        assert!(!missed.is_empty(), "nobody would miss {name}");
    }
}
