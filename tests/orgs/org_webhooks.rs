//! Webhook hosts on a real API server, with the operator's own rights and under the chart's policies. The tests play the
//! Gateway.

#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;

use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use support::{
    api_server::{self, api_of, eventually},
    installed::{self, conditions, play_kubernetes},
    objects::dry_run,
    orgs::{self, allowed, object},
};
use tokio::sync::OnceCell;
use tray_operator::controllers::{Driver, org::OrgDriver};

fn drivers() -> Vec<Arc<dyn Driver>> {
    vec![Arc::new(OrgDriver::default())]
}

/// A cluster with Regions with an ingress (`hooks`, `open`) and without (`plain`); the operator runs. The Gateway API came after it and the first org.
async fn world() -> Client {
    static WORLD: OnceCell<()> = OnceCell::const_new();
    installed::shared(drivers).await;
    let client = api_server::shared().await.client().await;
    WORLD
        .get_or_init(|| async {
            region(&client, &region_object("hooks", true)).await;
            region(&client, &region_object("plain", false)).await;
            let mut open = region_object("open", true);
            open["spec"]["workloads"] = json!([]);
            region(&client, &open).await;
            for (kind, spec) in [
                ("RetentionPolicy", json!({})),
                ("BackupSchedule", json!({"schedule": "0 */12 * * *"})),
            ] {
                api_server::apply(&client, &object(kind, "standard", &spec)).await;
            }
            api_server::apply(&client, &org("early", 'e', &json!({}))).await;
            until(&client, "early", "False/GatewayApiMissing").await;
            installed::gateway_api(&client).await;
            until(&client, "early", "Unknown/RoutePending").await;
        })
        .await;
    client
}

fn workload(name: &str) -> Value {
    json!({"name": name, "kind": "Deployment", "image": "web:1", "ports": [{"name": "http", "port": 8080}],
        "webhook": {"port": "http"}})
}

fn region_object(name: &str, ingress: bool) -> Value {
    let mut region = orgs::region(
        name,
        "eu-west-1",
        &json!({"zones": ["eu-west-1a"], "workloads": []}),
    );
    if ingress {
        region["spec"]["ingress"] =
            json!({"domain": "hooks.example.com", "gatewayRef": {"name": "edge", "namespace": "tray-edge"}});
        region["spec"]["workloads"] = json!([workload("web")]);
    }
    region
}

async fn region(client: &Client, region: &Value) {
    api_server::apply(client, region).await;
    let ready = json!({"type": "Ready", "status": "True", "reason": "AsSpecified", "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let status = Patch::Merge(json!({"status": {"observedGeneration": 1, "conditions": [ready]}}));
    let name = region["metadata"]["name"].as_str().unwrap();
    // A status is the operator's to write.
    let api = api_of(&installed::client().await, region).await.unwrap();
    api.patch_status(name, &PatchParams::default(), &status)
        .await
        .unwrap();
}

/// The id `<digit>000…`.
fn id(digit: char) -> String {
    format!("{digit}0000000-0000-4000-8000-000000000000")
}

fn namespace(name: &str, digit: char) -> String {
    format!("org-{name}-{}", &id(digit)[..8])
}

fn org(name: &str, digit: char, more: &Value) -> Value {
    let mut spec = json!({"orgId": id(digit), "regionRef": {"name": "hooks"}, "plan": "Team",
        "owners": [{"kind": "Group", "name": format!("{name}-admins"), "role": "Admin"},
            {"kind": "Group", "name": format!("{name}-viewers"), "role": "Viewer"}]});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    object("TrayOrg", name, &spec)
}

async fn orgs(client: &Client) -> Api<DynamicObject> {
    api_of(client, &object("TrayOrg", "x", &json!({}))).await.unwrap()
}

async fn read(client: &Client, name: &str) -> Value {
    let found = orgs(client).await.get_opt(name).await.unwrap();
    found.map_or(Value::Null, |object| serde_json::to_value(object).unwrap())
}

/// The org as soon as it is ready and says so (status/reason) of its webhook host: it is ready without the host.
async fn until(client: &Client, name: &str, webhook: &str) -> Value {
    let found = eventually(async || {
        let org = read(client, name).await;
        // The status waits for what is played here.
        if let Some(id) = org["spec"]["orgId"].as_str() {
            let namespace = format!("org-{name}-{}", &id[..8]);
            play_kubernetes(client, &namespace).await;
            play_gateway(client, &namespace).await;
        }
        let said = conditions(&org);
        let (status, reason, _) = said.get("WebhookReady")?;
        let is_ready = said.get("Ready")?.0 == "True";
        (is_ready && format!("{status}/{reason}") == webhook).then_some(org)
    });
    match found.await {
        Some(org) => org,
        None => panic!("{name} did not say {webhook}: {:#}", read(client, name).await),
    }
}

async fn child(client: &Client, kind: &str, namespace: &str) -> Option<Api<DynamicObject>> {
    let api_version = match kind {
        "HTTPRoute" => "gateway.networking.k8s.io/v1",
        "ReferenceGrant" => "gateway.networking.k8s.io/v1beta1",
        "NetworkPolicy" => "networking.k8s.io/v1",
        _ => "v1",
    };
    let shape = json!({"apiVersion": api_version, "kind": kind, "metadata": {"namespace": namespace}});
    api_of(client, &shape).await
}

/// The Gateway, as far as orgs wait for it: it takes every route but that of `early`.
async fn play_gateway(client: &Client, namespace: &str) {
    let Some(routes) = child(client, "HTTPRoute", namespace).await else {
        return;
    };
    let Some(route) = routes.get_opt("tray-webhook").await.unwrap() else {
        return;
    };
    let generation = route.metadata.generation;
    let answered = &route.data["status"]["parents"][0]["conditions"][0]["observedGeneration"];
    if namespace.starts_with("org-early") || answered.as_i64() == generation {
        return;
    }
    let said = |type_: &str| {
        json!({"type": type_, "status": "True", "reason": type_, "message": "", "observedGeneration": generation,
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    let parent = json!({"parentRef": {"name": "edge", "namespace": "tray-edge"}, "controllerName": "tests.invalid/gateway",
        "conditions": [said("Accepted"), said("ResolvedRefs")]});
    let status = Patch::Merge(json!({"status": {"parents": [parent]}}));
    // Changed or gone meanwhile: the next round sees it.
    let _ = routes
        .patch_status("tray-webhook", &PatchParams::default(), &status)
        .await;
}

/// The org with its route taken, and the route's spec.
async fn exposed(client: &Client, name: &str, digit: char) -> (Value, Value) {
    let org = until(client, name, "True/RouteAccepted").await;
    (org, route(client, &namespace(name, digit)).await)
}

async fn route(client: &Client, namespace: &str) -> Value {
    let routes = child(client, "HTTPRoute", namespace).await.unwrap();
    routes.get("tray-webhook").await.unwrap().data["spec"].clone()
}

/// What the rules of a route ask for: the values of the header, and the backend's name and port.
fn rules(route: &Value) -> Vec<(Vec<String>, String, i64)> {
    let of = |rule: &Value| {
        let headers = rule["matches"].as_array().unwrap().iter();
        let values = headers.filter_map(|m| m["headers"][0]["value"].as_str().map(str::to_owned));
        let backend = &rule["backendRefs"][0];
        let name = backend["name"].as_str().unwrap().to_owned();
        (values.collect(), name, backend["port"].as_i64().unwrap())
    };
    route["rules"].as_array().unwrap().iter().map(of).collect()
}

async fn token(client: &Client, namespace: &str) -> String {
    let secrets = child(client, "Secret", namespace).await.unwrap();
    let secret = secrets.get("tray-webhook-token").await.unwrap();
    decode(&secret.data["data"]["token"])
}

fn decode(data: &Value) -> String {
    use base64::Engine as _;
    let bytes = base64::prelude::BASE64_STANDARD
        .decode(data.as_str().unwrap())
        .unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn patch(client: &Client, name: &str, change: &Value) {
    orgs(client)
        .await
        .patch(name, &PatchParams::default(), &Patch::Merge(change))
        .await
        .unwrap();
}

fn responder(port: i64) -> (Vec<String>, String, i64) {
    (vec![], "tray-responder".to_owned(), port)
}

fn web(tokens: &[&String]) -> (Vec<String>, String, i64) {
    let tokens = tokens.iter().map(|token| (*token).clone());
    (tokens.collect(), "web".to_owned(), 8080)
}

#[tokio::test]
async fn p21_the_gateway_api_is_taken_up_when_it_comes() {
    let client = world().await;
    let grants = child(&client, "ReferenceGrant", "tray-system").await.unwrap();
    assert!(grants.get(&namespace("early", 'e')).await.is_ok());
    assert!(!rules(&route(&client, &namespace("early", 'e')).await).is_empty());
}

#[tokio::test]
async fn p21_an_org_has_a_host_that_leads_to_its_workload_by_its_token_alone() {
    let client = world().await;
    api_server::apply(&client, &org("acme", '1', &json!({}))).await;
    let (acme, spec) = exposed(&client, "acme", '1').await;
    let (namespace, host) = (namespace("acme", '1'), format!("{}.hooks.example.com", id('1')));
    assert_eq!(acme["status"]["webhookHost"], host);
    assert_eq!(spec["hostnames"], json!([host]));
    let token = token(&client, &namespace).await;
    assert_eq!(token.len(), 43);
    assert_eq!(rules(&spec), [web(&[&token]), responder(8403)]);
    let policies = child(&client, "NetworkPolicy", &namespace).await.unwrap();
    let policy = policies.get("tray-webhook").await.unwrap();
    assert_eq!(
        policy.data["spec"]["ingress"][0]["ports"],
        json!([{"port": 8080, "protocol": "TCP"}])
    );

    api_server::apply(&client, &org("other", '2', &json!({}))).await;
    exposed(&client, "other", '2').await;
    assert_ne!(self::token(&client, &self::namespace("other", '2')).await, token);
}

#[tokio::test]
async fn p21_a_token_is_replaced_when_asked_for_with_an_overlap_and_told_to_nobody() {
    let client = world().await;
    api_server::apply(&client, &org("rotated", '3', &json!({}))).await;
    exposed(&client, "rotated", '3').await;
    let namespace = namespace("rotated", '3');
    let old = token(&client, &namespace).await;
    let rotate =
        |value: Value| json!({"metadata": {"annotations": {"platform.tray.ai/rotate-webhook-token": value}}});
    patch(&client, "rotated", &rotate("october".into())).await;
    let both = eventually(async || {
        let new = token(&client, &namespace).await;
        let found = rules(&route(&client, &namespace).await);
        (new != old && found == [web(&[&new, &old]), responder(8403)]).then_some(new)
    });
    let new = both.await.expect("the token was not replaced");

    // Neither a withdrawn wish nor another change of the org replaces it again.
    patch(&client, "rotated", &rotate(Value::Null)).await;
    patch(&client, "rotated", &json!({"spec": {"displayName": "Rotated"}})).await;
    let seen = eventually(async || {
        let org = read(&client, "rotated").await;
        (org["status"]["observedGeneration"] == org["metadata"]["generation"]).then_some(org)
    });
    let org = seen.await.unwrap();
    assert_eq!(token(&client, &namespace).await, new);
    let events: Api<DynamicObject> = child(&client, "Event", "default").await.unwrap();
    let events = events.list(&ListParams::default()).await.unwrap();
    let told = format!("{org}{}", serde_json::to_string(&events.items).unwrap());
    assert!(!told.contains(&new) && !told.contains(&old), "{told}");
}

#[tokio::test]
async fn p21_a_suspended_org_answers_503_and_has_its_token_back_afterwards() {
    let client = world().await;
    api_server::apply(&client, &org("paused", '4', &json!({}))).await;
    let (_, before) = exposed(&client, "paused", '4').await;
    let namespace = namespace("paused", '4');
    let lifecycle = |state: &str| json!({"spec": {"lifecycle": {"state": state}}});
    patch(&client, "paused", &lifecycle("Suspended")).await;
    until(&client, "paused", "False/Suspended").await;
    let suspended = route(&client, &namespace).await;
    assert_eq!(rules(&suspended), [responder(8503)]);
    patch(&client, "paused", &lifecycle("Active")).await;
    let (_, after) = exposed(&client, "paused", '4').await;
    assert_eq!(after, before);
}

#[tokio::test]
async fn p21_a_deleted_org_answers_no_more_and_has_its_token_again_when_it_is_back() {
    let client = world().await;
    let gone = org(
        "gone",
        '5',
        &json!({"lifecycle": {"deletionProtection": "Disabled"}}),
    );
    api_server::apply(&client, &gone).await;
    exposed(&client, "gone", '5').await;
    let namespace = namespace("gone", '5');
    let before = token(&client, &namespace).await;
    orgs(&client)
        .await
        .delete("gone", &DeleteParams::default())
        .await
        .unwrap();
    let went = eventually(async || read(&client, "gone").await.is_null().then_some(()));
    assert!(went.await.is_some(), "the finalizer stays");
    let routes = child(&client, "HTTPRoute", &namespace).await.unwrap();
    assert!(routes.get_opt("tray-webhook").await.unwrap().is_none());
    let grants = child(&client, "ReferenceGrant", "tray-system").await.unwrap();
    assert!(grants.get_opt(&namespace).await.unwrap().is_none());
    api_server::apply(&client, &allowed(&gone)).await;
    let (_, back) = exposed(&client, "gone", '5').await;
    assert_eq!(rules(&back)[0], web(&[&before]));
}

#[tokio::test]
async fn what_somebody_changes_of_a_route_is_put_back() {
    let client = world().await;
    api_server::apply(&client, &org("edited", '6', &json!({}))).await;
    let (_, right) = exposed(&client, "edited", '6').await;
    let namespace = namespace("edited", '6');
    let routes = child(&client, "HTTPRoute", &namespace).await.unwrap();
    let mut open = right["rules"].clone();
    open[0]["matches"] = json!([{"path": {"type": "PathPrefix", "value": "/"}}]);
    let mut copied = right["rules"].clone();
    copied[0]["filters"] =
        json!([{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "evil", "port": 1}}}]);
    for edit in [
        json!({"rules": open}),
        json!({"rules": copied}),
        json!({"hostnames": ["evil.example.com"]}),
    ] {
        let edit = Patch::Merge(json!({"spec": edit}));
        routes
            .patch("tray-webhook", &PatchParams::default(), &edit)
            .await
            .unwrap();
        let back = eventually(async || (route(&client, &namespace).await == right).then_some(()));
        assert!(back.await.is_some(), "{edit:?} stays");
    }
    routes
        .delete("tray-webhook", &DeleteParams::default())
        .await
        .unwrap();
    let back = eventually(async || routes.get_opt("tray-webhook").await.unwrap());
    assert_eq!(back.await.unwrap().data["spec"], right);
}

#[tokio::test]
async fn a_region_without_ingress_and_two_takers_are_told() {
    let client = world().await;
    let own = json!({"regionRef": {"name": "plain"}, "workloads": [workload("own")]});
    api_server::apply(&client, &org("bare", '7', &own)).await;
    let bare = until(&client, "bare", "False/IngressMissing").await;
    let said = &conditions(&bare)["WebhookReady"].2;
    assert!(
        said.contains("own") && said.contains("plain") && said.contains("spec.ingress"),
        "{said}"
    );
    assert_eq!(bare["status"].get("webhookHost"), None);

    api_server::apply(
        &client,
        &org("twice", '8', &json!({"workloads": [workload("own")]})),
    )
    .await;
    let stalled = eventually(async || {
        let said = conditions(&read(&client, "twice").await);
        said.get("Stalled").cloned()
    });
    let (_, reason, message) = stalled.await.unwrap();
    assert_eq!(reason, "WebhookNotUnique");
    assert!(message.contains("web") && message.contains("own"), "{message}");
}

#[tokio::test]
async fn a_host_goes_with_the_workload_that_takes_it_and_comes_back_with_the_same_token() {
    let client = world().await;
    let own = |webhook: Value| {
        let mut own = workload("own");
        own["webhook"] = webhook;
        json!({"regionRef": {"name": "open"}, "workloads": [own]})
    };
    let taking = own(json!({"port": "http"}));
    api_server::apply(&client, &org("leaves", '9', &taking)).await;
    let (_, before) = exposed(&client, "leaves", '9').await;
    let namespace = namespace("leaves", '9');
    patch(&client, "leaves", &json!({"spec": own(Value::Null)})).await;
    let routes = child(&client, "HTTPRoute", &namespace).await.unwrap();
    let policies = child(&client, "NetworkPolicy", &namespace).await.unwrap();
    let went = eventually(async || {
        let org = read(&client, "leaves").await;
        let told =
            org["status"].get("webhookHost").is_some() || conditions(&org).contains_key("WebhookReady");
        let route = routes.get_opt("tray-webhook").await.unwrap();
        let policy = policies.get_opt("tray-webhook").await.unwrap();
        (!told && route.is_none() && policy.is_none()).then_some(())
    });
    assert!(went.await.is_some(), "{:#}", read(&client, "leaves").await);
    patch(&client, "leaves", &json!({"spec": taking})).await;
    let (_, after) = exposed(&client, "leaves", '9').await;
    assert_eq!(after, before);
}

#[tokio::test]
async fn p21_owners_get_the_token_if_they_are_admins_and_never_the_route() {
    let client = world().await;
    api_server::apply(&client, &org("owned", 'a', &json!({}))).await;
    exposed(&client, "owned", 'a').await;
    let namespace = namespace("owned", 'a');
    let may = async |group: &str, verb: &str, api_group: &str, resource: &str, name: &str| {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {"name": ""},
            "spec": {"user": "jo", "groups": [group], "resourceAttributes": {
                "namespace": namespace, "verb": verb, "group": api_group, "resource": resource, "name": name}},
        });
        let api = api_of(&client, &review).await.unwrap();
        let review: DynamicObject = serde_json::from_value(review).unwrap();
        let answer = api.create(&PostParams::default(), &review).await.unwrap();
        answer.data["status"]["allowed"] == true
    };
    let gateway = "gateway.networking.k8s.io";
    for (group, verb, api_group, resource, name, allowed) in [
        ("owned-admins", "get", "", "secrets", "tray-webhook-token", true),
        ("owned-admins", "get", "", "secrets", "api-keys", false),
        ("owned-admins", "list", "", "secrets", "", false),
        ("owned-admins", "watch", "", "secrets", "", false),
        (
            "owned-admins",
            "update",
            "",
            "secrets",
            "tray-webhook-token",
            false,
        ),
        (
            "owned-admins",
            "delete",
            "",
            "secrets",
            "tray-webhook-token",
            false,
        ),
        (
            "owned-admins",
            "get",
            gateway,
            "httproutes",
            "tray-webhook",
            false,
        ),
        ("owned-admins", "list", gateway, "httproutes", "", false),
        ("owned-viewers", "get", "", "secrets", "tray-webhook-token", false),
        (
            "owned-viewers",
            "get",
            gateway,
            "httproutes",
            "tray-webhook",
            false,
        ),
        ("other-admins", "get", "", "secrets", "tray-webhook-token", false),
    ] {
        let found = may(group, verb, api_group, resource, name).await;
        assert_eq!(found, allowed, "{group} {verb} {resource}/{name}");
    }
}

#[tokio::test]
async fn rules_of_webhooks_let_through_and_refuse() {
    let client = world().await;
    let region = |change: fn(&mut Value)| {
        let mut region = region_object("ruled", true);
        change(&mut region["spec"]);
        region
    };
    let org = |workloads: Value| org("ruled", 'b', &json!({"workloads": workloads}));
    let no_port = json!({"name": "w", "kind": "Deployment", "image": "w:1", "ports": [{"name": "sql", "port": 1}],
        "webhook": {"port": "http"}});
    for (object, wanted) in [
        (region(|_| {}), None),
        (
            region(|spec| spec["workloads"] = json!([workload("a"), workload("b")])),
            Some("at most one of spec.workloads"),
        ),
        (
            region(|spec| spec["ingress"] = Value::Null),
            Some("needs spec.ingress"),
        ),
        (
            region(|spec| spec["ingress"]["domain"] = "localhost".into()),
            Some("spec.ingress.domain"),
        ),
        (
            region(|spec| spec["ingress"]["domain"] = "*.example.com".into()),
            Some("spec.ingress.domain"),
        ),
        (
            region(|spec| spec["ingress"]["gatewayRef"]["name"] = "Edge_1".into()),
            Some("spec.ingress.gatewayRef.name"),
        ),
        (
            region(|spec| drop(spec["ingress"]["gatewayRef"].take())),
            Some("spec.ingress.gatewayRef"),
        ),
        (org(json!([workload("a")])), None),
        (
            org(json!([workload("a"), workload("b")])),
            Some("at most one of spec.workloads"),
        ),
        (
            org(json!([no_port])),
            Some("webhook.port must be the name of one of ports"),
        ),
    ] {
        let api = api_of(&client, &object).await.unwrap();
        match (dry_run(&api, &object).await, wanted) {
            (Ok(_), None) => {}
            (Err(kube::Error::Api(status)), Some(wanted)) => {
                assert_eq!(status.code, 422, "{}", status.message);
                assert!(status.message.contains(wanted), "{wanted}: {}", status.message);
            }
            (answer, wanted) => panic!("{wanted:?}: {answer:?}\n{object:#}"),
        }
    }
}
