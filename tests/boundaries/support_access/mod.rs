//! Support access on a real API server, with the operator's own rights and under the chart's policies: let in, put out, by
//! time, by deletion, with the org, after a time without an operator; and the access record.

#[path = "../../support/mod.rs"]
mod support;
mod world;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use jiff::SignedDuration;
use k8s_openapi::api::{authorization::v1::SubjectAccessReview, rbac::v1::RoleBinding};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use support::api_server::{api_of, eventually};
use tray_api::{
    conditions::{reasons, types},
    support_access::SupportAccess,
    trayorg::TrayOrg,
};
use tray_domain::support::Action;
use tray_ledger::RemoteError;
use tray_operator::{
    adapters::kube::index::Index,
    controllers::{Blocked, Driver, Requeue, changes::Change, conditions::find, context::Context},
};
use tray_ports::Clock;
use tray_testkit::memory::{Fault, Operation};
use world::{World, drivers, history, make_region, passes, region, requests, say_of_logs};

#[tokio::test]
async fn p17_support_is_let_in_by_a_grant_and_put_out_when_it_is_deleted() {
    let world = World::new("granted", '1').await;
    let running = world.at_work().await;
    world.until_listed(&[]).await;
    world.grant("ticket-7", "View", &["support"], 4).await;
    let access = world.until_active("ticket-7").await;
    let binding = world.binding("ticket-7").await.unwrap();
    assert_eq!(binding.role_ref.name, "tray-support-view");
    let subjects = binding.subjects.unwrap();
    assert_eq!((subjects.len(), subjects[0].name.as_str()), (1, "support"));
    let status = access.status.clone().unwrap();
    let created = access.metadata.creation_timestamp.clone().unwrap().0;
    assert_eq!(
        status.expires_at.unwrap().0,
        created + SignedDuration::from_hours(4)
    );
    assert!(status.granted_at.is_some());

    let org = world.until_listed(&["ticket-7"]).await;
    let org = org.status.unwrap();
    let told = find(&org.conditions, types::SUPPORT_ACCESS_ACTIVE).unwrap();
    assert_eq!(told.status, "True");
    for part in ["support may View until", "ticket-7"] {
        assert!(told.message.contains(part), "{}", told.message);
    }
    // Looking does not open the gate.
    world.until_announced(None).await;
    world
        .until("ticket-7", types::ACCESS_RECORDED, "True", reasons::RECORDED)
        .await;
    // Looked at again it costs nothing.
    let (written, passes) = (requests(&running), passes(&running));
    world.look_again(&running, "ticket-7");
    let looked = eventually(async || (world::passes(&running) > passes).then_some(()));
    assert!(looked.await.is_some());
    assert_eq!(requests(&running), written);

    let line = world.lines().remove(0);
    for (field, want) in [
        ("action", "Granted"),
        ("org", "granted"),
        ("orgId", "11111111-7425-40de-944b-e07fc1f90ae7"),
        ("role", "View"),
        ("reason", "ticket 7"),
        ("supportAccess", "ticket-7"),
        ("uid", &access.uid().unwrap()),
    ] {
        assert_eq!(line[field], want, "{field}");
    }

    world.delete("ticket-7").await;
    world.until_gone("ticket-7").await;
    assert!(world.binding("ticket-7").await.is_none());
    world.until_listed(&[]).await;
    assert_eq!(world.actions(), ["Granted", "Removed"]);
    running.stop().await;
}

#[tokio::test]
async fn p17_a_group_may_debug_until_the_last_of_its_grants_ends() {
    let world = World::new("overlap", '2').await;
    let running = world.at_work().await;
    world.grant("short", "Debug", &["support"], 1).await;
    world.until_active("short").await;
    world.until_announced(Some("support")).await;
    world.grant("long", "Debug", &["sre", "support"], 3).await;
    world.until_active("long").await;
    world.until_announced(Some("sre,support")).await;
    assert_eq!(
        world.binding("long").await.unwrap().role_ref.name,
        "tray-support-debug"
    );

    world.put_clock_forward(SignedDuration::from_hours(2));
    world.look_again(&running, "short");
    world
        .until("short", types::ACTIVE, "False", reasons::SUPPORT_EXPIRED)
        .await;
    world.until_listed(&["long"]).await;
    world.until_announced(Some("sre,support")).await;
    world.delete("long").await;
    world.until_announced(None).await;
    world.until_gone("long").await;
    running.stop().await;
}

#[tokio::test]
async fn p19_a_grant_ends_by_itself_and_is_not_let_in_again() {
    let world = World::new("expired", '3').await;
    let running = world.at_work().await;
    let access = world.grant("hour", "View", &["support"], 1).await;
    world.until_active("hour").await;
    // To two seconds before its end: from then on only time passes.
    let end = access.metadata.creation_timestamp.unwrap().0 + SignedDuration::from_hours(1);
    world.put_clock_forward(end.duration_since(world.clock.now()) - SignedDuration::from_secs(2));
    world.look_again(&running, "hour");
    world
        .until("hour", types::ACTIVE, "False", reasons::SUPPORT_EXPIRED)
        .await;
    assert!(world.binding("hour").await.is_none());
    world.put_clock_forward(SignedDuration::from_hours(-1));
    world.look_again(&running, "hour");
    let access = world
        .until("hour", types::ACCESS_RECORDED, "True", reasons::RECORDED)
        .await;
    assert_eq!(history(&access), [Action::Granted, Action::Expired]);
    assert!(world.binding("hour").await.is_none());
    world.delete("hour").await;
    world.until_gone("hour").await;
    running.stop().await;
    assert_eq!(
        world.actions(),
        ["Expired", "Granted"],
        "what had ended was not removed"
    );
}

/// Looks, as its first act, which bindings of support there are.
struct Witness {
    client: Client,
    namespace: String,
    seen: Arc<AtomicUsize>,
}

#[async_trait::async_trait]
impl Driver for Witness {
    fn name(&self) -> &'static str {
        "witness"
    }
    fn map_to_keys(&self, _: &Change, _: &Index) -> Vec<String> {
        Vec::new()
    }
    fn keys(&self, _: &Index) -> Vec<String> {
        vec!["look".to_owned()]
    }
    async fn reconcile(&self, _: &Arc<Context>, _: &str) -> Result<Requeue, Blocked> {
        let bindings: Api<RoleBinding> = Api::namespaced(self.client.clone(), &self.namespace);
        let all = bindings.list(&ListParams::default()).await.unwrap();
        let of_support = all.iter().filter(|b| b.name_any().starts_with("tray-support-"));
        self.seen.store(of_support.count(), Ordering::SeqCst);
        Ok(Requeue::OnChange)
    }
}

#[tokio::test]
async fn p19_what_ended_while_no_operator_lived_is_closed_before_any_controller_begins() {
    let world = World::new("absent", '4').await;
    let running = world.at_work().await;
    for (name, hours) in [("ended", 1), ("vanished", 24), ("open", 24)] {
        world.grant(name, "View", &["support"], hours).await;
        world.until_active(name).await;
    }
    let operators: Api<SupportAccess> = Api::namespaced(support::installed::client().await, &world.namespace);
    running.stop().await;
    let strip = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    operators
        .patch("vanished", &PatchParams::default(), &strip)
        .await
        .unwrap();
    world.delete("vanished").await;
    world.until_gone("vanished").await;
    world.put_clock_forward(SignedDuration::from_hours(2));
    for name in ["ended", "vanished"] {
        assert!(world.binding(name).await.is_some(), "nobody closes {name}");
    }

    let seen = Arc::new(AtomicUsize::new(usize::MAX));
    let witness = Witness {
        client: world.client.clone(),
        namespace: world.namespace.clone(),
        seen: seen.clone(),
    };
    let running = world
        .start([vec![Arc::new(witness) as Arc<dyn Driver>], drivers()].concat())
        .await;
    let access = world
        .until("ended", types::ACTIVE, "False", reasons::SUPPORT_EXPIRED)
        .await;
    assert_eq!(history(&access), [Action::Granted, Action::Expired]);
    let looked = eventually(async || (seen.load(Ordering::SeqCst) != usize::MAX).then_some(()));
    assert!(looked.await.is_some());
    assert_eq!(
        seen.load(Ordering::SeqCst),
        1,
        "only the open one was there when controllers began"
    );
    world.until_listed(&["open"]).await;
    running.stop().await;
}

#[tokio::test]
async fn p19_a_group_that_the_operator_does_not_know_gets_nothing() {
    let world = World::new("stranger", '5').await;
    let running = world.at_work().await;
    // The chart's policy knows it still.
    world.grant("stale", "Debug", &["support", "dismissed"], 1).await;
    let access = world
        .until("stale", types::STALLED, "True", reasons::SUBJECT_NOT_ALLOWED)
        .await;
    let conditions = access.status.unwrap().conditions;
    let stalled = find(&conditions, types::STALLED).unwrap();
    for part in ["spec.subjects", "dismissed", "--support-groups"] {
        assert!(stalled.message.contains(part), "{}", stalled.message);
    }
    assert!(world.binding("stale").await.is_none());
    world.until_announced(None).await;
    // Nothing became of it, so it goes at once.
    world.delete("stale").await;
    world.until_gone("stale").await;
    assert_eq!(world.actions(), Vec::<String>::new());
    running.stop().await;
}

#[tokio::test]
async fn p17_a_suspended_org_lets_nobody_in() {
    let world = World::new("suspended", '6').await;
    let running = world.at_work().await;
    world.grant("ticket", "Debug", &["support"], 4).await;
    world.until_active("ticket").await;
    world.set_state("Suspended").await;
    world
        .until("ticket", types::ACTIVE, "False", reasons::SUSPENDED)
        .await;
    assert!(world.binding("ticket").await.is_none());
    world.until_announced(None).await;
    world.until_listed(&[]).await;
    world.set_state("Active").await;
    let access = world.until_active("ticket").await;
    assert_eq!(
        history(&access),
        [Action::Granted, Action::Closed, Action::Reopened]
    );
    world
        .until("ticket", types::ACCESS_RECORDED, "True", reasons::RECORDED)
        .await;
    world.delete("ticket").await;
    world.until_gone("ticket").await;
    running.stop().await;
    assert_eq!(world.actions(), ["Closed", "Granted", "Removed", "Reopened"]);
}

#[tokio::test]
async fn p12_support_that_is_in_reads_no_logs_from_the_moment_on_in_which_they_are_hidden() {
    let world = World::new("ghostly", 'd').await;
    let running = world.at_work().await;
    for (name, role, hours) in [("look", "View", 4), ("debug", "Debug", 5)] {
        world.grant(name, role, &["support"], hours).await;
        world.until_active(name).await;
    }
    let exchanged = async |hidden: bool| {
        for (name, role) in [("look", "tray-support-view"), ("debug", "tray-support-debug")] {
            let found = eventually(async || {
                let (shown, without) = (world.binding(name).await, world.binding_without_logs(name).await);
                let (there, away) = if hidden {
                    (without, shown)
                } else {
                    (shown, without)
                };
                there.filter(|_| away.is_none())
            });
            let binding = found.await.expect("the bindings are not exchanged");
            let suffix = if hidden { "-without-logs" } else { "" };
            assert_eq!(binding.role_ref.name, format!("{role}{suffix}"));
            assert_eq!(binding.subjects.unwrap()[0].name, "support");
        }
        world.until_listed(&["look", "debug"]).await;
    };
    exchanged(false).await;
    world.set_logs("Hidden").await;
    exchanged(true).await;
    // Still in, to do what is left; nothing new happened to the grants.
    let access = world.until_active("debug").await;
    assert_eq!(history(&access), [Action::Granted]);
    world.until_announced(Some("support")).await;
    // Let in while they are hidden.
    world.grant("later", "View", &["support"], 4).await;
    world.until_active("later").await;
    assert!(world.binding("later").await.is_none());
    world.delete("later").await;
    world.until_gone("later").await;
    assert!(world.binding_without_logs("later").await.is_none());

    world.set_logs("Visible").await;
    exchanged(false).await;
    // Hidden while no operator lived: closed before any controller begins.
    running.stop().await;
    world.set_logs("Hidden").await;
    let seen = Arc::new(AtomicUsize::new(usize::MAX));
    let witness = Witness {
        client: world.client.clone(),
        namespace: world.namespace.clone(),
        seen: seen.clone(),
    };
    let running = world
        .start([vec![Arc::new(witness) as Arc<dyn Driver>], drivers()].concat())
        .await;
    exchanged(true).await;
    let looked = eventually(async || (seen.load(Ordering::SeqCst) != usize::MAX).then_some(()));
    assert!(looked.await.is_some());
    assert_eq!(seen.load(Ordering::SeqCst), 0, "of those with logs");
    for name in ["debug", "look"] {
        world.delete(name).await;
        world.until_gone(name).await;
        assert!(world.binding_without_logs(name).await.is_none());
    }
    world.set_logs("Visible").await;
    running.stop().await;
}

#[tokio::test]
async fn p19_an_org_that_cannot_be_worked_on_still_shuts_its_gate() {
    let world = World::new("stalled", 'b').await;
    let running = world.at_work().await;
    world.grant("ticket", "Debug", &["support"], 4).await;
    world.until_active("ticket").await;
    let region = region();
    let regions = api_of(&world.client, &region).await.unwrap();
    regions.delete("eu", &DeleteParams::default()).await.unwrap();
    let orgs: Api<TrayOrg> = Api::all(world.client.clone());
    let stalled = eventually(async || {
        let conditions = orgs.get(&world.org).await.unwrap().status?.conditions;
        (find(&conditions, types::STALLED)?.reason == reasons::REGION_NOT_SERVED).then_some(())
    });
    assert!(stalled.await.is_some());
    world.delete("ticket").await;
    world.until_announced(None).await;
    // By another controller, which may be the slower one.
    let out = eventually(async || world.binding("ticket").await.is_none().then_some(()));
    assert!(out.await.is_some());
    make_region(&world.client).await;
    world.until_gone("ticket").await;
    running.stop().await;
}

#[tokio::test]
async fn p17_closing_waits_for_no_bucket_and_every_line_is_written_once() {
    let world = World::new("bucket", '7').await;
    let running = world.at_work().await;
    let logs = &world.regions.logs;
    // Written, and the answer lost: the next attempt finds it.
    logs.fail_next(Operation::Put, Fault::AnswerLost);
    world.grant("ticket", "View", &["support"], 4).await;
    world
        .until("ticket", types::ACCESS_RECORDED, "True", reasons::RECORDED)
        .await;
    assert_eq!(world.actions(), ["Granted"]);
    let away = RemoteError::Unavailable("no answer from s3".to_owned());
    for _ in 0..2 {
        logs.fail_next(Operation::Put, Fault::Refused(away.clone()));
    }
    world.delete("ticket").await;
    let out = eventually(async || world.binding("ticket").await.is_none().then_some(()));
    assert!(out.await.is_some());
    world.until_gone("ticket").await;
    running.stop().await;
    assert_eq!(world.actions(), ["Granted", "Removed"]);
}

#[tokio::test]
async fn p17_the_last_line_follows_when_the_log_bucket_is_in_order_again() {
    let world = World::new("mended", 'c').await;
    let running = world.at_work().await;
    world.grant("ticket", "View", &["support"], 4).await;
    world
        .until("ticket", types::ACCESS_RECORDED, "True", reasons::RECORDED)
        .await;
    say_of_logs("False").await;
    world.delete("ticket").await;
    let out = eventually(async || world.binding("ticket").await.is_none().then_some(()));
    assert!(out.await.is_some());
    // Longer than a grant that goes waits for its last line.
    world.put_clock_forward(SignedDuration::from_mins(2));
    world.until_gone("ticket").await;
    assert_eq!(world.actions(), ["Granted"]);
    say_of_logs("True").await;
    let written = eventually(async || (world.actions() == ["Granted", "Removed"]).then_some(()));
    assert!(written.await.is_some(), "{:?}", world.actions());
    running.stop().await;
}

#[tokio::test]
async fn p17_a_binding_that_no_grant_asks_for_is_removed_and_one_that_is_deleted_comes_back() {
    let world = World::new("stray", '8').await;
    let running = world.at_work().await;
    world.grant("ticket", "View", &["support"], 4).await;
    world.until_active("ticket").await;
    let operators: Api<RoleBinding> = Api::namespaced(support::installed::client().await, &world.namespace);
    let uid = world.binding("ticket").await.unwrap().uid();
    operators
        .delete("tray-support-ticket", &DeleteParams::default())
        .await
        .unwrap();
    let back = eventually(async || world.binding("ticket").await.filter(|b| b.uid() != uid));
    assert!(back.await.is_some(), "it stays away");

    let mut stray = world.binding("ticket").await.unwrap();
    stray.metadata =
        serde_json::from_value(json!({"name": "tray-support-stray", "labels": stray.metadata.labels}))
            .unwrap();
    operators.create(&PostParams::default(), &stray).await.unwrap();
    let gone = eventually(async || world.binding("stray").await.is_none().then_some(()));
    assert!(gone.await.is_some(), "it stays");
    world.delete("ticket").await;
    world.until_gone("ticket").await;
    running.stop().await;
}

#[tokio::test]
async fn p17_support_may_enter_while_the_org_lets_it_in_and_looks_no_further() {
    let world = World::new("rights", '9').await;
    let running = world.at_work().await;
    let may = async |verb: &str, resource: &str, subresource: &str| {
        let review = serde_json::from_value(json!({"spec": {
            "user": "sam", "groups": ["support", "system:authenticated"],
            "resourceAttributes": {"namespace": world.namespace, "verb": verb, "resource": resource, "subresource": subresource},
        }}));
        let reviews: Api<SubjectAccessReview> = Api::all(world.client.clone());
        let answer = reviews
            .create(&PostParams::default(), &review.unwrap())
            .await
            .unwrap();
        answer.status.unwrap().allowed
    };
    // The authorizer hears of a binding a moment after it was made.
    let becomes = async |wanted: bool, verb: &str, resource: &str, subresource: &str| {
        let so = eventually(async || (may(verb, resource, subresource).await == wanted).then_some(()));
        so.await.is_some()
    };
    assert!(!may("list", "pods", "").await);
    world.grant("look", "View", &["support"], 4).await;
    world.until_active("look").await;
    assert!(becomes(true, "get", "pods", "log").await);
    assert!(!may("create", "pods", "exec").await && !may("get", "secrets", "").await);
    world.grant("debug", "Debug", &["support"], 4).await;
    world.until_active("debug").await;
    assert!(becomes(true, "create", "pods", "exec").await);
    assert!(!may("get", "secrets", "").await && !may("create", "pods", "").await);
    for name in ["debug", "look"] {
        world.delete(name).await;
        world.until_gone(name).await;
    }
    assert!(becomes(false, "create", "pods", "exec").await);
    assert!(becomes(false, "list", "pods", "").await);
    running.stop().await;
}
