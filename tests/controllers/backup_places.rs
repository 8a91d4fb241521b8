//! A Region whose backup place changes under its orgs, a ledger that is not where it was, and objectives that are missed
//! while something else stands in an org's way. With the TrayOrg and the backup controller at work on a real API server.

#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use support::{
    api_server::{self, eventually},
    installed::conditions,
    operator::{Operator, Running},
    orgs::{self, api, gone, message, object, patch, patch_status, until},
    runs,
};
use tokio::sync::Mutex;
use tray_domain::{
    bucket_layout,
    ids::{OrgId, RunId},
    ledger::LedgerState,
    run_plan,
    schedule::snapshot_name,
    stage::Stage,
};
use tray_operator::controllers::{backup::BackupDriver, org::OrgDriver};

const OURS: &str = "platform.tray.ai/v1alpha1";
const KEPT: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
/// How late a verdict may turn on a machine that has other things to do.
const LATE: SignedDuration = SignedDuration::from_secs(10);

/// One test at a time: an operator works on every org of the API server.
static TURN: Mutex<()> = Mutex::const_new(());

struct World {
    client: Client,
    operator: Operator,
}

impl World {
    /// A cluster with Region `eu`, ready, whose orgs are copied when somebody asks for it.
    async fn new() -> Self {
        let operator = Operator::new().await;
        let client = api_server::shared().await.client().await;
        orgs::platform(&client).await;
        let system = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tray-system"}});
        api_server::apply(&client, &system).await;
        let by_hand = json!({"schedule": "0 */12 * * *", "suspend": true});
        api_server::apply(&client, &object("BackupSchedule", "by-hand", &by_hand)).await;
        let ready = json!({"conditions": [{"type": "Ready", "status": "True", "reason": "AsSpecified",
            "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
        let region = orgs::region("eu", "eu-west-1", &json!({"workloads": []}));
        api_server::apply(&client, &region).await;
        patch_status(&api(&client, OURS, "Region", "").await, "eu", &ready).await;
        Self { client, operator }
    }

    async fn start(&self) -> Running {
        let drivers: Vec<Arc<dyn tray_operator::controllers::Driver>> =
            vec![Arc::new(OrgDriver::default()), Arc::new(BackupDriver::default())];
        self.operator.start(drivers).await
    }

    /// Another operator over the same buckets, that knows nothing yet.
    async fn anew(self) -> Self {
        Self {
            operator: self.operator.beside().await,
            client: self.client,
        }
    }

    async fn apply(&self, kind: &str, name: &str, spec: &Value) {
        api_server::apply(&self.client, &object(kind, name, spec)).await;
    }

    async fn kept(&self, wanted: &[(&str, &str)]) -> Value {
        until(&self.client, "TrayOrg", "kept", wanted).await
    }

    async fn bucket(&self, bucket: &str) {
        let regions = api(&self.client, OURS, "Region", "").await;
        patch(&regions, "eu", &json!({"spec": {"backup": {"bucket": bucket}}})).await;
    }

    /// The object as soon as its conditions say so, and no other.
    async fn says(&self, kind: &str, name: &str, reason: &str) -> Value {
        let all = api(&self.client, OURS, kind, "").await;
        let found = eventually(async || {
            let object = serde_json::to_value(all.get(name).await.ok()?).unwrap();
            (conditions(&object).get("Stalled")?.1 == reason).then_some(object)
        });
        let Some(object) = found.await else {
            panic!("{kind} {name} does not say {reason}: {:#?}", all.get(name).await);
        };
        object
    }

    /// Keys of the ledger's entries.
    fn entries(&self) -> Vec<String> {
        let (keys, folder) = (self.operator.regions.store.keys(), ledger_folder());
        keys.into_iter().filter(|key| key.starts_with(&folder)).collect()
    }

    /// Removes every entry of the ledger; returns them.
    fn remove_ledger(&self) -> Vec<(String, Bytes)> {
        let store = &self.operator.regions.store;
        let entries = self.entries().into_iter();
        let removed = entries.map(|key| {
            let body = store.object(&key).unwrap().body;
            store.remove(&key);
            (key, body)
        });
        removed.collect()
    }

    async fn ledger(&self) -> LedgerState {
        let id = KEPT.parse().unwrap();
        (*runs::ledger(&self.operator, &id).await.state()).clone()
    }
}

/// The folder of the ledger of `kept`.
fn ledger_folder() -> String {
    bucket_layout::ledger_prefix("", &KEPT.parse().unwrap())
}

/// A good run in the ledger of `kept`, an hour old, as an operator would have written it.
async fn seed(operator: &Operator) -> RunId {
    let id: OrgId = KEPT.parse().unwrap();
    let at: Timestamp = operator.ctx.now() - SignedDuration::from_hours(1);
    let run_id = RunId::of(at, KEPT);
    let plan = run_plan::plan(run_id.clone(), "taken-before", None, &[]);
    let ledger = runs::begun(operator, &id, at).await;
    runs::commit(&ledger, plan, Stage::Production, at).await;
    run_id
}

/// RpoMet True, and the good copy that is recent enough until `deadline`, as a status has them recorded.
fn recent_until(deadline: Timestamp) -> Value {
    let condition = |type_: &str| {
        json!({"type": type_, "status": "True", "reason": "Recorded", "message": "m",
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    json!({
        "backup": {"count": 1, "lastCommitted": "2026-01-01T00:00:00Z",
            "rpo": {"verdict": "Met", "deadline": deadline.to_string()}},
        "conditions": [condition("BackupHealthy"), condition("RpoMet"), condition("DataLost")],
    })
}

fn soon(world: &World, seconds: i64) -> Timestamp {
    let now = world.operator.ctx.now().as_second();
    Timestamp::from_second(now + seconds).unwrap()
}

/// RpoMet turns at the deadline, and not before it.
async fn turns(client: &Client, org: &str, deadline: Timestamp) -> Value {
    let told = until(client, "TrayOrg", org, &[("RpoMet", "False/RpoBreached")]).await;
    assert_eq!(told["status"]["backup"]["rpo"]["verdict"], "Breached");
    let condition = told["status"]["conditions"].as_array().unwrap();
    let rpo = condition.iter().find(|c| c["type"] == "RpoMet").unwrap();
    let at: Timestamp = rpo["lastTransitionTime"].as_str().unwrap().parse().unwrap();
    assert!(
        at >= deadline && at.duration_since(deadline) < LATE,
        "{org}: {at}, not {deadline}"
    );
    told
}

#[tokio::test]
async fn an_org_and_its_copies_stay_together() {
    let _turn = TURN.lock().await;
    let world = World::new().await;
    seed(&world.operator).await;
    let running = world.start().await;
    an_org_is_pinned_as_it_is_placed(&world).await;
    a_region_that_names_another_bucket_stalls_its_orgs_which_run_on(&world).await;
    running.stop().await;
    let world = world.anew().await;
    nothing_changes_by_a_start_but_what_the_clock_turns(&world).await;
    let running = world.start().await;
    everything_goes_on_when_the_region_is_put_back(&world).await;
    running.stop().await;
    let world = world.anew().await;
    a_ledger_that_is_missing_is_read_again_once_it_is_back(&world).await;
    let world = world.anew().await;
    a_ledger_that_is_missing_is_not_begun_anew_until_a_person_says_so(&world).await;
}

async fn an_org_is_pinned_as_it_is_placed(world: &World) {
    let spec = json!({"orgId": KEPT, "regionRef": {"name": "eu"}, "plan": "Team",
        "backupScheduleRef": {"name": "by-hand"}});
    world.apply("TrayOrg", "kept", &spec).await;
    let told = world
        .kept(&[
            ("Ready", "True/AsSpecified"),
            ("BackupHealthy", "True/LastRunGood"),
        ])
        .await;
    let place = json!({"bucket": "tray-backups-eu", "bucketOwner": "111122223333", "prefix": ""});
    assert_eq!(told["status"]["backupPlace"], place);
    assert_eq!(told["status"]["backup"]["count"], 1);
    let namespaces = api(&world.client, "v1", "Namespace", "").await;
    let namespace = namespaces.get("org-kept-7c9e6679").await.unwrap();
    let noted = &namespace.metadata.annotations.unwrap()["platform.tray.ai/backup-place"];
    assert_eq!(serde_json::from_str::<Value>(noted).unwrap(), place);
}

async fn a_region_that_names_another_bucket_stalls_its_orgs_which_run_on(world: &World) {
    let World { client, operator } = world;
    let before = operator.regions.store.keys();
    world.bucket("tray-other-eu").await;
    let told = world
        .kept(&[
            ("Stalled", "True/BackupPlaceChanged"),
            ("Ready", "False/BackupPlaceChanged"),
            ("BackupHealthy", "False/BackupPlaceChanged"),
            ("ResidencyCompliant", "True/AllInRegion"),
            ("RpoMet", "True/WithinRpo"),
        ])
        .await;
    for part in [
        "tray-backups-eu",
        "tray-other-eu",
        "Region eu",
        "spec.backup.bucket",
    ] {
        let said = message(&told, "Ready");
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(told["status"]["backup"]["count"], 1);

    // The run of `ended` has ended, though no ledger here knows of it; `asked` waits.
    let spec = json!({"orgRef": {"name": "kept"}});
    world.apply("OrgSnapshot", "ended", &spec).await;
    world.says("OrgSnapshot", "ended", "BackupPlaceChanged").await;
    let snapshots = api(client, OURS, "OrgSnapshot", "").await;
    patch_status(&snapshots, "ended", &json!({"phase": "Failed"})).await;
    world.apply("OrgSnapshot", "asked", &spec).await;
    let asked = world.says("OrgSnapshot", "asked", "BackupPlaceChanged").await;
    assert_eq!(asked["status"]["phase"], "Pending");
    let restore =
        json!({"orgRef": {"name": "kept"}, "snapshot": {"latestGood": true}, "target": {"inPlace": true}});
    world.apply("OrgRestore", "back", &restore).await;
    world.says("OrgRestore", "back", "BackupPlaceChanged").await;
    let restores = api(client, OURS, "OrgRestore", "").await;
    restores.delete("back", &DeleteParams::default()).await.unwrap();
    // What is copied already is told as it was.
    let taken = eventually(async || {
        let all = snapshots.list(&ListParams::default()).await.ok()?;
        let taken = all
            .items
            .into_iter()
            .find(|s| s.data["spec"]["origin"] == "Discovered")?;
        (taken.data["status"]["phase"] == "Committed").then_some(taken)
    });
    let taken = serde_json::to_value(taken.await.expect("the run is shown")).unwrap();
    assert_eq!(conditions(&taken)["Committed"].0, "True");

    let policies = api(
        client,
        "networking.k8s.io/v1",
        "NetworkPolicy",
        "org-kept-7c9e6679",
    )
    .await;
    policies
        .delete("tray-dns", &DeleteParams::default())
        .await
        .unwrap();
    let repaired = eventually(async || policies.get("tray-dns").await.ok()).await;
    assert!(repaired.is_some(), "what it consists of is kept up");
    assert_eq!(operator.regions.store.keys(), before);
    assert_eq!(operator.regions.other.calls(), [], "nobody asks the other bucket");
}

async fn nothing_changes_by_a_start_but_what_the_clock_turns(world: &World) {
    let deadline = soon(world, 8);
    let trays = api(&world.client, OURS, "TrayOrg", "").await;
    patch_status(&trays, "kept", &recent_until(deadline)).await;
    let running = world.start().await;
    let told = world
        .kept(&[
            ("Stalled", "True/BackupPlaceChanged"),
            ("BackupHealthy", "False/BackupPlaceChanged"),
            ("RpoMet", "True/Recorded"),
        ])
        .await;
    assert_eq!(conditions(&told)["DataLost"].0, "True", "as it was");
    let told = turns(&world.client, "kept", deadline).await;
    assert_eq!(conditions(&told)["DataLost"].0, "True", "as it was");
    assert_eq!(told["status"]["backup"]["count"], 1);
    let id = KEPT.parse().unwrap();
    let looked = eventually(async || world.operator.ctx.board.backups.get(&id)).await;
    assert_eq!(looked.unwrap().healthy.reason, "BackupPlaceChanged");
    assert_eq!(world.operator.regions.other.calls(), []);
    running.stop().await;
}

async fn everything_goes_on_when_the_region_is_put_back(world: &World) {
    world.bucket("tray-backups-eu").await;
    let told = world
        .kept(&[
            ("Ready", "True/AsSpecified"),
            ("BackupHealthy", "True/LastRunGood"),
            ("RpoMet", "True/WithinRpo"),
        ])
        .await;
    assert!(
        !conditions(&told).contains_key("DataLost"),
        "nothing is lost, says the ledger"
    );
    let begun = eventually(async || {
        let state = world.ledger().await;
        let open = state.open_runs().next()?;
        Some(open.1.plan.snapshot_name.clone())
    });
    assert_eq!(
        begun.await.as_deref(),
        Some("asked"),
        "and not the one whose run has ended"
    );
    let snapshots = api(&world.client, OURS, "OrgSnapshot", "").await;
    assert_eq!(
        snapshots.get("ended").await.unwrap().data["status"]["phase"],
        "Failed"
    );
}

async fn a_ledger_that_is_missing_is_read_again_once_it_is_back(world: &World) {
    let store = &world.operator.regions.store;
    let removed = world.remove_ledger();
    let running = world.start().await;
    world.kept(&[("BackupHealthy", "False/LedgerMissing")]).await;
    for (key, entry) in removed {
        store.overwrite(&key, entry);
    }
    let asked = json!({"orgRef": {"name": "kept"}});
    world.apply("OrgSnapshot", "asked-again", &asked).await;
    world.kept(&[("BackupHealthy", "True/LastRunGood")]).await;
    running.stop().await;
}

async fn a_ledger_that_is_missing_is_not_begun_anew_until_a_person_says_so(world: &World) {
    let folder = ledger_folder();
    let entries = || world.entries();
    world.remove_ledger();
    let running = world.start().await;
    let told = world.kept(&[("BackupHealthy", "False/LedgerMissing")]).await;
    for part in [
        folder.as_str(),
        "tray-backups-eu",
        "accept-ledger-loss=tray-backups-eu",
    ] {
        let said = message(&told, "BackupHealthy");
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(told["status"]["backup"]["count"], 1);
    world.says("OrgSnapshot", "asked", "LedgerMissing").await;
    assert_eq!(entries(), Vec::<String>::new());

    let taken = the_name_of_the_first_run_is_taken(world).await;

    let trays = api(&world.client, OURS, "TrayOrg", "").await;
    let given_up =
        json!({"metadata": {"annotations": {"platform.tray.ai/accept-ledger-loss": "tray-backups-eu"}}});
    let params = PatchParams::default();
    trays
        .patch("kept", &params, &Patch::Merge(given_up))
        .await
        .unwrap();
    let begun = eventually(async || {
        let org = trays.get("kept").await.ok()?;
        let recorded = &org.data["status"]["acknowledgements"][0];
        let is_done = recorded["annotation"] == "accept-ledger-loss" && recorded["result"] == "CarriedOut";
        (is_done && !entries().is_empty() && org.data["status"]["backup"]["count"] == 0).then_some(())
    });
    assert!(begun.await.is_some(), "{:#?}", trays.get("kept").await);
    the_key_that_lies_there_stays_the_orgs(world).await;
    a_first_run_begins_under_another_name_than(world, &taken).await;
    running.stop().await;
}

async fn the_key_that_lies_there_stays_the_orgs(world: &World) {
    let name = bucket_layout::wrapped_key("", &KEPT.parse().unwrap());
    let wrapped = world.operator.regions.store.object(&name).unwrap().body;
    let wrapped: Value = serde_json::from_slice(&wrapped).unwrap();
    let known = eventually(async || world.ledger().await.kms_key_arn).await;
    assert_eq!(json!(known), wrapped["kmsKeyArn"]);
}

/// The name of the org's first run is that of an OrgSnapshot that has ended, and there is no other.
async fn the_name_of_the_first_run_is_taken(world: &World) -> String {
    let trays = api(&world.client, OURS, "TrayOrg", "").await;
    let created = trays.get("kept").await.unwrap().metadata.creation_timestamp;
    let taken = snapshot_name("kept", created.unwrap().0);
    let snapshots = api(&world.client, OURS, "OrgSnapshot", "").await;
    for snapshot in snapshots.list(&ListParams::default()).await.unwrap() {
        let name = snapshot.metadata.name.unwrap();
        snapshots.delete(&name, &DeleteParams::default()).await.unwrap();
    }
    let spec = json!({"orgRef": {"name": "kept"}});
    world.apply("OrgSnapshot", &taken, &spec).await;
    world.says("OrgSnapshot", &taken, "LedgerMissing").await;
    patch_status(&snapshots, &taken, &json!({"phase": "Failed"})).await;
    taken
}

/// The movers of the run that the ledger has forgotten: their last pods go, as where there are kubelets.
async fn what_is_deleted_goes(world: &World) {
    let jobs: Api<Job> = Api::namespaced(world.client.clone(), "org-kept-7c9e6679");
    for job in jobs.list(&ListParams::default()).await.unwrap() {
        if job.metadata.deletion_timestamp.is_some() {
            gone(&jobs, &job.name_any()).await;
        }
    }
}

async fn a_first_run_begins_under_another_name_than(world: &World, taken: &str) {
    let by_hand = json!({"schedule": "0 */12 * * *", "suspend": false});
    world.apply("BackupSchedule", "by-hand", &by_hand).await;
    let begun = eventually(async || {
        what_is_deleted_goes(world).await;
        let state = world.ledger().await;
        let (_, run) = state.open_runs().next()?;
        Some(run.plan.snapshot_name.clone())
    });
    let Some(begun) = begun.await else {
        let trays = api(&world.client, OURS, "TrayOrg", "").await;
        panic!("no first run begins: {:#?}", trays.get("kept").await);
    };
    assert!(begun.starts_with("kept-") && begun != taken, "{begun}");
}

/// Of orgs that nothing can be done for, and with nothing that happens at the deadline.
#[tokio::test]
async fn objectives_are_missed_at_their_deadline_whatever_stands_in_an_orgs_way() {
    let _turn = TURN.lock().await;
    let world = World::new().await;
    let busy = orgs::region("stalling", "eu-west-3", &json!({}));
    api_server::apply(&world.client, &busy).await;
    let taken = json!([{"name": "web", "kind": "Deployment", "image": "x", "runAsUser": 1000}]);
    let deadline = soon(&world, 15);
    for (name, id, region, workloads) in [
        ("taken", "20000001", "stalling", taken),
        ("homeless", "20000002", "nowhere", json!([])),
    ] {
        let org = orgs::org(name, id, region, &json!({"workloads": workloads}));
        api_server::apply(&world.client, &org).await;
        let mut status = recent_until(deadline);
        status["orgId"] = org["spec"]["orgId"].clone();
        status["namespace"] = format!("org-{name}-{id}").into();
        status["region"] = json!({"name": region, "jurisdiction": "EU", "cloudRegion": "eu-west-3"});
        patch_status(&api(&world.client, OURS, "TrayOrg", "").await, name, &status).await;
    }
    let running = world.start().await;
    for (name, reason) in [("taken", "WorkloadNameTaken"), ("homeless", "RegionNotServed")] {
        let (healthy, stalled) = (format!("False/{reason}"), format!("True/{reason}"));
        let wanted = [
            ("Stalled", stalled.as_str()),
            ("BackupHealthy", healthy.as_str()),
            ("RpoMet", "True/Recorded"),
        ];
        until(&world.client, "TrayOrg", name, &wanted).await;
    }
    for name in ["taken", "homeless"] {
        let told = turns(&world.client, name, deadline).await;
        assert_eq!(conditions(&told)["DataLost"].0, "True", "as it was");
    }
    running.stop().await;
}
