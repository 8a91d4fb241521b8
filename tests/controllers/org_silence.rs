//! What orgs cost the API server, counted: making one, changing one, putting back what somebody else changed, starting
//! anew, and doing nothing. Two operators at once double nothing, and one that is cut off loses nothing.
//!
//! Orgs are suspended: nothing here makes pods. One test at a time runs its operators, since each works on all orgs.

#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;

use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use support::{
    api_server::{self, api_of, eventually},
    installed::conditions,
    objects::{dry_run, refusal},
    operator::{Operator, Running},
    orgs::{self, object},
};
use tokio::sync::{Mutex, MutexGuard};
use tray_operator::{
    adapters::kube::apply::api_resource,
    controllers::{Driver, backup::BackupDriver, changes::Change, org::OrgDriver, region::RegionDriver},
    resources::child::{ChildId, ChildKind},
};

const WRITES: [&str; 4] = ["create", "update", "patch", "delete"];
const READS: [&str; 2] = ["get", "list"];

/// One test at a time.
static TURN: Mutex<()> = Mutex::const_new(());

struct World {
    client: Client,
    _turn: MutexGuard<'static, ()>,
}

/// A cluster with Region `eu`, ready, and the policies that orgs name.
async fn world() -> World {
    let turn = TURN.lock().await;
    let client = api_server::shared().await.client().await;
    for crd in tray_api::crds::all_crds() {
        api_server::apply(&client, &serde_json::to_value(crd).unwrap()).await;
    }
    let workloads = json!([
        {"name": "db", "kind": "StatefulSet", "image": "db:1", "runAsUser": 999, "fsGroup": 999,
            "ports": [{"name": "sql", "port": 5432}], "volume": {"size": "10Gi", "mountPath": "/data"}},
        {"name": "runtime", "kind": "Deployment", "image": "runtime:1", "replicas": 2, "runAsUser": 1000,
            "ports": [{"name": "http", "port": 8080}]},
    ]);
    let region = orgs::region("eu", "eu-west-1", &json!({"workloads": workloads}));
    api_server::apply(&client, &region).await;
    orgs::platform(&client).await;
    orgs::node(&client, "eu-a", "eu-west-1").await;
    let ready = json!({"conditions": [{"type": "Ready", "status": "True", "reason": "AsSpecified",
        "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    orgs::patch_status(&api_of(&client, &region).await.unwrap(), "eu", &ready).await;
    World { client, _turn: turn }
}

/// An org's id, by the hash of its name: tests share the cluster.
fn org_id(name: &str) -> String {
    let number = name
        .bytes()
        .fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    format!("{number:08x}-0000-4000-8000-000000000000")
}

fn namespace(name: &str) -> String {
    format!("org-{name}-{}", &org_id(name)[..8])
}

impl World {
    async fn orgs(&self) -> Api<DynamicObject> {
        api_of(&self.client, &object("TrayOrg", "any", &json!({})))
            .await
            .unwrap()
    }

    async fn create(&self, name: &str) {
        let spec = json!({
            "orgId": org_id(name), "regionRef": {"name": "eu"}, "plan": "Team", "lifecycle": {"state": "Suspended"},
            "owners": [{"kind": "Group", "name": "admins", "role": "Admin"}],
        });
        api_server::apply(&self.client, &object("TrayOrg", name, &spec)).await;
    }

    /// The org, as soon as its condition says so.
    async fn until(&self, name: &str, type_: &str, status: &str) -> Value {
        let orgs = self.orgs().await;
        let found = eventually(async || {
            let org = serde_json::to_value(orgs.get(name).await.ok()?).unwrap();
            (conditions(&org).get(type_)?.0 == status).then_some(org)
        });
        let Some(org) = found.await else {
            panic!("{name} is not {type_} {status}: {:#?}", orgs.get(name).await);
        };
        org
    }

    async fn ready(&self, name: &str) -> Value {
        self.until(name, "Ready", "True").await
    }

    fn children(&self, kind: ChildKind, org: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &namespace(org), &api_resource(kind))
    }

    /// Changes a child in the name of a field manager.
    async fn edit(&self, kind: ChildKind, org: &str, name: &str, manager: &str, change: Value) {
        let params = PatchParams {
            field_manager: Some(manager.to_owned()),
            ..PatchParams::default()
        };
        let api = self.children(kind, org);
        api.patch(name, &params, &Patch::Merge(change)).await.unwrap();
    }
}

fn drivers() -> Vec<Arc<dyn Driver>> {
    vec![Arc::new(OrgDriver::default())]
}

/// An operator that has looked at every org there is.
async fn at_work(world: &World) -> (Operator, Running) {
    let orgs = world
        .orgs()
        .await
        .list(&ListParams::default())
        .await
        .unwrap()
        .items;
    let operator = Operator::new().await;
    let running = operator.start(drivers()).await;
    let knows = eventually(async || {
        let known =
            operator.requests(&["watch"]).len() > 15 && operator.ctx.index.orgs.names().len() == orgs.len();
        (known && passes(&operator) >= orgs.len() as u64).then_some(())
    });
    assert!(knows.await.is_some(), "{:?}", operator.requests(&["watch"]));
    at_rest(&operator).await;
    (operator, running)
}

fn passes(operator: &Operator) -> u64 {
    support::operator::passes(&operator.ctx, "org")
}

/// Until every org that is known has been looked at, and once more: passes that were under way count among the first.
async fn at_rest(operator: &Operator) {
    let orgs = operator.ctx.index.orgs.names();
    for _ in 0..2 {
        let before = passes(operator);
        for org in &orgs {
            operator.ctx.changes.publish(&Change::Org(org.clone()));
        }
        let looked = eventually(async || (passes(operator) >= before + orgs.len() as u64).then_some(()));
        assert!(looked.await.is_some());
    }
}

fn number(operator: &Operator, verbs: &[&str]) -> u64 {
    let requests = operator.requests(verbs);
    let of = |line: &String| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
    requests.iter().map(of).sum()
}

fn children_of(operator: &Operator, org: &str) -> u64 {
    operator.ctx.index.children.of(org).len() as u64
}

#[tokio::test]
async fn an_org_takes_two_requests_beside_its_children_and_no_read_and_none_to_be_kept() {
    let world = world().await;
    let (operator, running) = at_work(&world).await;
    let before = number(&operator, &WRITES);
    for org in ["made-a", "made-b", "made-c"] {
        world.create(org).await;
    }
    let mut wanted = 0;
    for org in ["made-a", "made-b", "made-c"] {
        world.ready(org).await;
        // Its finalizer, and its status.
        wanted += children_of(&operator, org) + 2;
    }
    assert!(wanted > 3 * 18, "{wanted}");
    for _ in 0..3 {
        at_rest(&operator).await;
    }
    let writes = operator.writes();
    assert_eq!(number(&operator, &WRITES) - before, wanted, "{writes:?}");
    assert_eq!(operator.requests(&READS), Vec::<String>::new());
    assert!(
        !writes.iter().any(|line| line.contains("events")),
        "that all goes well is no news: {writes:?}"
    );
    running.stop().await;
}

#[tokio::test]
async fn the_status_of_a_new_org_is_not_written_again_when_its_ledger_is_read() {
    let world = world().await;
    let operator = Operator::new().await;
    let mut both = drivers();
    both.push(Arc::new(BackupDriver::default()));
    let running = operator.start(both).await;
    world.create("begun").await;
    let ready = world.ready("begun").await;
    let id = org_id("begun").parse().unwrap();
    let read = eventually(async || operator.ctx.board.backups.get(&id));
    let view = read.await.expect("its ledger is read");
    at_rest(&operator).await;
    let now = world.ready("begun").await;
    let mut told = view.status.clone();
    // Not before the first copy: that the ledger was read is not worth a write.
    assert!(told.ledger.take().is_some(), "{told:?}");
    assert_eq!(now["status"]["backup"], serde_json::to_value(&told).unwrap());
    assert_eq!(
        now["metadata"]["resourceVersion"],
        ready["metadata"]["resourceVersion"]
    );
    running.stop().await;
}

#[tokio::test]
async fn one_field_of_one_org_takes_one_write_of_the_child_and_one_of_the_status() {
    let world = world().await;
    world.create("changed").await;
    let (operator, running) = at_work(&world).await;
    world.ready("changed").await;
    at_rest(&operator).await;
    let before = number(&operator, &WRITES);
    let orgs = world.orgs().await;
    let change = Patch::Merge(json!({"spec": {"quota": {"pods": 7}}}));
    let changed = orgs
        .patch("changed", &PatchParams::default(), &change)
        .await
        .unwrap();
    let answered = eventually(async || {
        let org = orgs.get("changed").await.ok()?;
        let seen = org.data["status"]["observedGeneration"].as_i64();
        (seen == changed.metadata.generation).then_some(())
    });
    assert!(answered.await.is_some());
    let quota = world
        .children(ChildKind::ResourceQuota, "changed")
        .get("tray-pods")
        .await
        .unwrap();
    assert_eq!(quota.data["spec"]["hard"]["pods"], "7");
    at_rest(&operator).await;
    assert_eq!(number(&operator, &WRITES) - before, 2, "{:?}", operator.writes());
    assert_eq!(operator.requests(&READS), Vec::<String>::new());
    running.stop().await;
}

#[tokio::test]
async fn a_child_deleted_or_edited_takes_one_write_and_two_where_its_label_was_taken() {
    let world = world().await;
    world.create("repaired").await;
    let (operator, running) = at_work(&world).await;
    world.ready("repaired").await;
    at_rest(&operator).await;
    let count = || number(&operator, &WRITES);
    let policies = world.children(ChildKind::NetworkPolicy, "repaired");

    let before = count();
    policies
        .delete("tray-dns", &DeleteParams::default())
        .await
        .unwrap();
    assert!(
        eventually(async || policies.get("tray-dns").await.ok())
            .await
            .is_some()
    );
    at_rest(&operator).await;
    assert_eq!(count() - before, 1, "deleted: {:?}", operator.writes());

    let before = count();
    let opening = json!({"spec": {"ingress": [{}]}});
    world
        .edit(
            ChildKind::NetworkPolicy,
            "repaired",
            "tray-default-deny",
            "somebody",
            opening,
        )
        .await;
    let closed = eventually(async || {
        let policy = policies.get("tray-default-deny").await.ok()?;
        policy.data["spec"]["ingress"].is_null().then_some(())
    });
    assert!(closed.await.is_some());
    at_rest(&operator).await;
    assert_eq!(count() - before, 1, "edited: {:?}", operator.writes());
    assert_eq!(operator.requests(&READS), Vec::<String>::new());

    let before = count();
    let label = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}});
    world
        .edit(
            ChildKind::NetworkPolicy,
            "repaired",
            "tray-dns",
            "somebody",
            label,
        )
        .await;
    let labelled = eventually(async || {
        let policy = policies.get("tray-dns").await.ok()?;
        policy
            .metadata
            .labels?
            .contains_key("app.kubernetes.io/managed-by")
            .then_some(())
    });
    assert!(labelled.await.is_some());
    at_rest(&operator).await;
    assert_eq!(count() - before, 2, "without its label: {:?}", operator.writes());
    assert_eq!(number(&operator, &READS), 1, "who it is, is asked once");
    running.stop().await;
}

#[tokio::test]
async fn a_start_writes_nothing_reads_no_object_and_lists_each_kind_once() {
    let world = world().await;
    for org in ["kept-a", "kept-b"] {
        world.create(org).await;
    }
    let (_, running) = at_work(&world).await;
    for org in ["kept-a", "kept-b"] {
        world.ready(org).await;
    }
    running.stop().await;

    let (operator, running) = at_work(&world).await;
    assert_eq!(operator.writes(), Vec::<String>::new());
    assert_eq!(operator.requests(&READS), Vec::<String>::new());
    let watches = operator.requests(&["watch"]);
    assert!(watches.len() > 15, "{watches:?}");
    // Whether HTTPRoutes and ReferenceGrants are served is watched by name.
    let once = |line: &String| line.ends_with(" 1") || line == "watch customresourcedefinitions 2";
    assert!(
        watches.iter().all(once),
        "each lists once, and is the list: {watches:?}"
    );
    running.stop().await;
}

#[tokio::test]
async fn the_count_of_orgs_is_not_written_for_each() {
    let world = world().await;
    let operator = Operator::new().await;
    let running = operator
        .start(vec![
            Arc::new(OrgDriver::default()),
            Arc::new(RegionDriver::default()),
        ])
        .await;
    let names: Vec<String> = (0..12).map(|n| format!("counted-{n}")).collect();
    for org in &names {
        world.create(org).await;
    }
    let regions = api_of(&world.client, &object("Region", "eu", &json!({})))
        .await
        .unwrap();
    let counted = eventually(async || {
        let region = regions.get("eu").await.ok()?;
        let placed = operator.ctx.index.orgs.names().len() as i64;
        (region.data["status"]["orgs"].as_i64() == Some(placed)).then_some(())
    });
    assert!(counted.await.is_some());
    let written = operator.requests(&["patch"]);
    let of_regions = written
        .iter()
        .find(|line| line.starts_with("patch regions/status"));
    let times: u64 = of_regions.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap());
    assert!(times < names.len() as u64, "{written:?}");
    running.stop().await;
}

#[tokio::test]
async fn an_org_that_always_fails_costs_the_others_nothing() {
    let world = world().await;
    // In a namespace that is there already, too, so that it can be seen to be in force.
    let refused = "request.namespace == 'default' || namespaceObject.metadata.labels['platform.tray.ai/org'] == 'failing'";
    let [policy, binding] = refusal("no-services", ("", "services"), refused, "no Services here");
    for object in [&policy, &binding] {
        api_server::apply(&world.client, object).await;
    }
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "probe", "namespace": "default"}, "spec": {"clusterIP": "None"}});
    let services = api_of(&world.client, &service).await.unwrap();
    let refused = eventually(async || dry_run(&services, &service).await.err()).await;
    assert!(refused.is_some(), "the policy is not in force");
    let (operator, running) = at_work(&world).await;
    world.create("failing").await;
    let told = world.until("failing", "Ready", "False").await;
    let (_, reason, message) = &conditions(&told)["Ready"];
    assert!(
        reason == "ApplyRefused" && message.contains("Forbidden (HTTP 403)"),
        "{message}"
    );

    let before = number(&operator, &WRITES);
    world.create("bystander").await;
    world.ready("bystander").await;
    let wanted = children_of(&operator, "bystander") + 2;
    let made = number(&operator, &WRITES) - before;
    // What fails is tried again every fifteen seconds: two Services each time.
    assert!(
        (wanted..=wanted + 4).contains(&made),
        "{made} instead of {wanted}: {:?}",
        operator.writes()
    );

    // The other tests find it as it should be.
    let bindings = api_of(&world.client, &binding).await.unwrap();
    bindings
        .delete("no-services", &DeleteParams::default())
        .await
        .unwrap();
    world.ready("failing").await;
    running.stop().await;
}

#[tokio::test]
async fn a_child_that_somebody_changes_again_and_again_is_left_and_told() {
    let world = world().await;
    world.create("contested").await;
    let (operator, running) = at_work(&world).await;
    world.ready("contested").await;
    at_rest(&operator).await;
    let services = world.children(ChildKind::Service, "contested");
    let selector = || json!({"spec": {"selector": {"platform.tray.ai/workload": "mine"}}});
    world
        .edit(ChildKind::Service, "contested", "runtime", "meddler", selector())
        .await;
    let repaired = eventually(async || {
        let service = services.get("runtime").await.ok()?;
        (service.data["spec"]["selector"]["platform.tray.ai/workload"] == "runtime").then_some(())
    });
    assert!(repaired.await.is_some());
    world
        .edit(ChildKind::Service, "contested", "runtime", "meddler", selector())
        .await;
    let org = world.until("contested", "ChildContested", "True").await;
    let (_, _, message) = &conditions(&org)["ChildContested"];
    for part in ["Service", "runtime", "spec.selector", "meddler"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(conditions(&org)["Ready"].0, "False");
    // The pass that wrote this status tells of it in an event, too, before it ends.
    at_rest(&operator).await;
    let (writes, reads) = (number(&operator, &WRITES), number(&operator, &READS));
    for _ in 0..3 {
        at_rest(&operator).await;
    }
    assert_eq!(
        (number(&operator, &WRITES), number(&operator, &READS)),
        (writes, 1),
        "{reads}"
    );

    // The meddler gives way.
    let back = json!({"spec": {"selector": {"platform.tray.ai/workload": "runtime"}}});
    world
        .edit(ChildKind::Service, "contested", "runtime", "meddler", back)
        .await;
    let org = world.ready("contested").await;
    assert!(!conditions(&org).contains_key("ChildContested"));
    running.stop().await;
}

#[tokio::test]
async fn two_operators_at_once_double_nothing_and_lose_nothing() {
    let world = world().await;
    let (first, first_running) = at_work(&world).await;
    let (second, second_running) = at_work(&world).await;
    let names: Vec<String> = (0..4).map(|n| format!("twice-{n}")).collect();
    for org in &names {
        world.create(org).await;
    }
    for org in &names {
        let org = world.ready(org).await;
        assert_eq!(org["metadata"]["finalizers"].as_array().unwrap().len(), 1);
    }
    for operator in [&first, &second] {
        at_rest(operator).await;
        assert_eq!(operator.requests(&["delete"]), Vec::<String>::new());
    }
    first_running.stop().await;
    second_running.stop().await;
    nothing_is_left_to_do(&world, &names).await;
}

#[tokio::test]
async fn an_operator_that_is_cut_off_in_the_middle_leaves_nothing_half_done() {
    let world = world().await;
    let (first, running) = at_work(&world).await;
    let names: Vec<String> = (0..6).map(|n| format!("cut-{n}")).collect();
    for org in &names {
        world.create(org).await;
    }
    let begun = eventually(async || {
        (first
            .writes()
            .iter()
            .any(|line| line.starts_with("create networkpolicies")))
        .then_some(())
    });
    assert!(begun.await.is_some());
    running.cut_off().await;

    let (_, running) = at_work(&world).await;
    for org in &names {
        world.ready(org).await;
    }
    running.stop().await;
    nothing_is_left_to_do(&world, &names).await;
}

/// A third that starts finds every child there, and writes nothing.
async fn nothing_is_left_to_do(world: &World, orgs: &[String]) {
    let (operator, running) = at_work(world).await;
    assert_eq!(operator.writes(), Vec::<String>::new());
    let expected = children_of(&operator, &orgs[0]);
    for org in orgs {
        world.ready(org).await;
        let children = operator.ctx.index.children.of(org);
        let is_there = |kind, name: &str| {
            let namespace = namespace(org);
            let id = ChildId {
                kind,
                namespace,
                name: name.to_owned(),
            };
            children.iter().any(|child| child.id == id)
        };
        assert_eq!(children.len() as u64, expected, "{org}");
        assert!(
            is_there(ChildKind::ResourceQuota, "tray-pods") && is_there(ChildKind::StatefulSet, "db"),
            "{org}"
        );
    }
    running.stop().await;
}
