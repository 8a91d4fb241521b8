//! The backup controller on a real API server, with AWS in memory and movers that are only Jobs: the test says how each
//! ends.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    batch::v1::Job,
    coordination::v1::Lease,
    core::v1::{Pod, Secret},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tray_api::{
    orgrestore::{OrgRestore, RestorePhase},
    orgsnapshot::OrgSnapshot,
    region::Region,
    trayorg::TrayOrg,
};
use tray_domain::{
    bucket_layout,
    ids::{OrgId, PartId, RunId},
    ledger::{Entry, Event, LastSweep},
    manifest::{LeftOut, LeftOutReason},
    run_plan,
    stage::Stage,
};
use tray_ledger::{Ledger, ObjectStore, RemoteError};
use tray_operator::{
    controllers::{
        backup::BackupDriver,
        board::BackupView,
        changes::Change,
        conditions::{ConditionFact, Truth},
    },
    resources::mover_job,
};
use tray_testkit::memory::Operation;

use crate::support::{
    api_server::{self, eventually},
    flux,
    operator::{Operator, passes},
    orgs::{api, gone, patch_status},
    runs::{self, LEDGER_KEY, record},
};
use crate::{
    restores, waits,
    words::{is_told_nowhere, keep_logs, what_services_say_is_told_in_codes},
};

/// An org without workloads, placed as the TrayOrg controller places one.
pub(crate) struct Org {
    /// Name of the TrayOrg.
    pub(crate) name: &'static str,
    /// Its id.
    pub(crate) id: OrgId,
}

impl Org {
    pub(crate) async fn place(name: &'static str, id: &str) -> Self {
        Self::place_by(name, id, "backups").await
    }

    /// By that BackupSchedule.
    async fn place_by(name: &'static str, id: &str, schedule: &str) -> Self {
        let client = api_server::shared().await.client().await;
        let namespace = format!("org-{name}-{}", &id[..8]);
        api_server::apply(
            &client,
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
        )
        .await;
        api_server::apply(
            &client,
            &json!({
                "apiVersion": "platform.tray.ai/v1alpha1", "kind": "TrayOrg", "metadata": {"name": name},
                "spec": {"orgId": id, "plan": "Team", "regionRef": {"name": "backups"},
                    "retentionPolicyRef": {"name": "backups"}, "backupScheduleRef": {"name": schedule}},
            }),
        )
        .await;
        let status = json!({"status": {"orgId": id, "namespace": namespace,
            "region": {"name": "backups", "jurisdiction": "EU", "cloudRegion": "eu-south-1"},
            "snapshotRetention": {"keepDays": 14, "keepAtLeast": 3}}});
        let orgs: Api<TrayOrg> = Api::all(client);
        orgs.patch_status(name, &PatchParams::default(), &Patch::Merge(status))
            .await
            .unwrap();
        Self {
            name,
            id: id.parse().unwrap(),
        }
    }

    /// As the TrayOrg controller says how long its snapshots are kept at present.
    async fn keeps(&self, days: i32) {
        let status = json!({"status": {"snapshotRetention": {"keepDays": days, "keepAtLeast": 3}}});
        let orgs: Api<TrayOrg> = Api::all(api_server::shared().await.client().await);
        orgs.patch_status(self.name, &PatchParams::default(), &Patch::Merge(status))
            .await
            .unwrap();
    }

    pub(crate) fn namespace(&self) -> String {
        format!("org-{}-{}", self.name, &self.id.as_str()[..8])
    }

    pub(crate) async fn ask(&self, snapshot: &str) {
        let client = api_server::shared().await.client().await;
        api_server::apply(&client, &json!({
            "apiVersion": "platform.tray.ai/v1alpha1", "kind": "OrgSnapshot", "metadata": {"name": snapshot},
            "spec": {"orgRef": {"name": self.name}},
        }))
        .await;
    }

    pub(crate) async fn ledger(&self, operator: &Operator) -> Ledger {
        runs::ledger(operator, &self.id).await
    }
}

pub(crate) async fn platform() {
    let client = api_server::shared().await.client().await;
    let group = "platform.tray.ai/v1alpha1";
    for object in [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tray-system"}}),
        json!({"apiVersion": group, "kind": "RetentionPolicy", "metadata": {"name": "backups"}, "spec": {}}),
        // Suspended: the only runs are those that a test asks for.
        json!({"apiVersion": group, "kind": "BackupSchedule", "metadata": {"name": "backups"},
            "spec": {"schedule": "0 */12 * * *", "suspend": true}}),
        // The operator alone can tell that neither month has that day.
        json!({"apiVersion": group, "kind": "BackupSchedule", "metadata": {"name": "never"},
            "spec": {"schedule": "0 0 31 2-4/2 *"}}),
        json!({"apiVersion": group, "kind": "Region", "metadata": {"name": "backups"}, "spec": {
            "jurisdiction": "EU", "cloudRegion": "eu-south-1", "minZones": 1, "zones": ["eu-south-1a"],
            "storage": {"storageClassName": "org-encrypted"},
            "backup": {"bucket": "tray-backups-eu", "bucketOwner": "111122223333", "cloudRegion": "eu-central-1",
                "kms": {"ledgerKeyArn": LEDGER_KEY}, "moverRoleArn": "arn:aws:iam::111122223333:role/tray-mover"},
        }}),
    ] {
        api_server::apply(&client, &object).await;
    }
}

/// The mover of the org that works for `owner`, once it was let run: one that goes, or that an operator which is behind has
/// made for earlier work, is not it.
pub(crate) async fn mover(org: &Org, owner: &str) -> Job {
    let jobs: Api<Job> = Api::namespaced(api_server::shared().await.client().await, &org.namespace());
    let of_owner = ListParams::default().labels(&format!("platform.tray.ai/owner={owner}"));
    let started = eventually(async || {
        let jobs = jobs.list(&of_owner).await.ok()?.items;
        jobs.into_iter().find(|job| {
            let runs = job.spec.as_ref().and_then(|spec| spec.suspend) == Some(false);
            runs && job.metadata.deletion_timestamp.is_none()
        })
    });
    started
        .await
        .unwrap_or_else(|| panic!("no mover of {owner} was started for {}", org.name))
}

/// The mover that prunes for the org, once it was let run.
pub(crate) async fn pruner(org: &Org) -> Job {
    let jobs: Api<Job> = Api::namespaced(api_server::shared().await.client().await, "tray-system");
    let of_org = ListParams::default().labels(&format!("platform.tray.ai/org-id={}", org.id));
    let started = eventually(async || {
        let jobs = jobs.list(&of_org).await.ok()?.items;
        jobs.into_iter()
            .find(|job| job.spec.as_ref().and_then(|spec| spec.suspend) == Some(false))
    });
    started
        .await
        .unwrap_or_else(|| panic!("nothing is pruned for {}", org.name))
}

/// What a mover was told.
pub(crate) async fn task(job: &Job) -> Value {
    let secrets: Api<Secret> = Api::namespaced(
        api_server::shared().await.client().await,
        &job.namespace().unwrap(),
    );
    let name = mover_job::secret_name(&job.name_any());
    let secret = secrets.get(&name).await.unwrap();
    serde_json::from_slice(&secret.data.unwrap()["task.json"].0).unwrap()
}

/// Ends a mover, as the Job controller does when its pod has ended.
pub(crate) async fn end(job: &Job, failure: Option<&str>) {
    let jobs: Api<Job> = Api::namespaced(
        api_server::shared().await.client().await,
        &job.namespace().unwrap(),
    );
    let now = Timestamp::from_second(1_800_000_000).unwrap().to_string();
    // One that is begun stays begun since then.
    let begun = jobs
        .get(&job.name_any())
        .await
        .unwrap()
        .status
        .unwrap_or_default()
        .start_time;
    let begun = begun.map_or_else(|| json!(now), |begun| json!(begun));
    let conditions = |types: [&str; 2], message: &str| {
        types.map(|type_| json!({"type": type_, "status": "True", "reason": "Ended", "message": message}))
    };
    let status = match failure {
        None => json!({"startTime": begun, "completionTime": now, "succeeded": 1,
            "conditions": conditions(["SuccessCriteriaMet", "Complete"], "")}),
        Some(why) => {
            json!({"startTime": begun, "failed": 1, "conditions": conditions(["FailureTarget", "Failed"], why)})
        }
    };
    let patch = Patch::Merge(json!({"status": status}));
    jobs.patch_status(&job.name_any(), &PatchParams::default(), &patch)
        .await
        .unwrap();
}

pub(crate) async fn snapshot(name: &str, phase: &str) -> Value {
    let snapshots: Api<OrgSnapshot> = Api::all(api_server::shared().await.client().await);
    let reached = eventually(async || {
        let snapshot = serde_json::to_value(snapshots.get(name).await.ok()?).ok()?;
        (snapshot["status"]["phase"] == phase).then_some(snapshot)
    });
    if let Some(snapshot) = reached.await {
        return snapshot;
    }
    let last = snapshots.get(name).await.map(|snapshot| snapshot.status);
    panic!("OrgSnapshot {name} did not become {phase}: {last:#?}")
}

pub(crate) async fn nothing_is_left(org: &Org) {
    let client = api_server::shared().await.client().await;
    let jobs: Api<Job> = Api::namespaced(client.clone(), &org.namespace());
    let leases: Api<Lease> = Api::namespaced(client, "tray-system");
    let clean = eventually(async || {
        let jobs = jobs.list(&ListParams::default()).await.ok()?.items;
        let lease = leases.get(&format!("repositories-{}", org.id)).await.ok()?;
        let holder = lease.spec?.holder_identity.unwrap_or_default();
        let going = jobs.iter().all(|job| job.metadata.deletion_timestamp.is_some());
        (going && holder.is_empty()).then_some(())
    });
    if clean.await.is_none() {
        let jobs = jobs.list(&ListParams::default()).await.unwrap();
        let jobs: Vec<String> = jobs.iter().map(ResourceExt::name_any).collect();
        let lease = leases.get(&format!("repositories-{}", org.id)).await;
        panic!(
            "movers or the lock of {} are left: {jobs:?}, {:?}",
            org.name,
            lease.map(|lease| lease.spec)
        );
    }
}

/// One test for all scenarios: every operator works on every org of the API server.
#[tokio::test]
async fn an_org_is_copied_pruned_and_told_about() {
    keep_logs();
    let operator = Operator::new().await;
    platform().await;
    let aged = Org::place("aged", "11111111-1111-4111-8111-111111111111").await;
    // The RetentionPolicy has said 14 days for less than a day.
    aged.keeps(30).await;
    let fresh = Org::place("fresh", "22222222-2222-4222-8222-222222222222").await;
    let pruned = seed(&operator, &aged).await;
    let running = operator.start(vec![Arc::new(BackupDriver::default())]).await;

    a_run_is_committed_when_its_mover_has_left_a_verified_record(&operator, &fresh).await;
    a_mover_that_fails_ends_its_run_with_its_reason(&operator, &fresh).await;
    a_run_that_shrank_counts_once_a_person_accepts_it(&operator, &fresh).await;
    a_run_that_is_not_there_cannot_be_restored(&operator, &fresh).await;
    a_sweep_that_cannot_start_keeps_no_run_waiting(&operator, &fresh).await;
    a_snapshot_of_no_org_says_so().await;
    an_aged_run_is_pruned_and_no_run_begins_meanwhile(&operator, &aged, &pruned).await;
    an_org_without_slots_is_pruned_and_copied_all_the_same(&operator).await;
    no_run_begins_while_a_mover_of_earlier_work_is_there(&operator, &fresh).await;
    a_restore_touches_nothing_before_its_proof(&operator, &fresh).await;
    a_restore_does_not_wait_for_one_that_was_deleted(&fresh).await;
    a_restore_names_what_was_refused(&operator, &fresh).await;
    a_restore_whose_report_is_lost_says_so(&fresh).await;
    a_suspended_org_is_restored_and_stays_suspended(&operator).await;
    let filled = restores::with_a_volume(&operator).await;
    let run = Box::pin(restores::while_an_operator_runs(&operator, &filled)).await;
    an_org_that_a_region_gives_a_shared_key_keeps_it(&operator, &fresh).await;
    what_is_made_anew_runs_and_restores_nothing_twice(&operator, &fresh).await;
    running.stop().await;
    restores::from_an_earlier_version(&operator, &filled, &run).await;
    Box::pin(restores::what_never_comes_ends_a_restore(&operator)).await;
    what_fell_due_is_swept(&operator, &fresh).await;
    waits::a_post_hook_that_is_outstanding_is_run_again_by_who_starts_next(&operator).await;
    // It dies on the way.
    let mortal = operator.beside().await;
    Box::pin(hooks_run_beside_the_passes_and_outlive_their_operator(&mortal)).await;
    Box::pin(waits::what_waits_says_for_what_and_since_when(&operator)).await;
    what_services_say_is_told_in_codes(&operator).await;
    a_wrapped_key_is_never_replaced(&operator, &fresh).await;
    a_damaged_ledger_is_named_and_nothing_is_pruned(&operator).await;
    a_start_asks_for_nothing_before_something_is_due(&operator).await;
    two_operators_at_once_copy_an_org_once(&operator, &fresh).await;
    a_fenced_cluster_begins_nothing(&operator).await;
}

/// An operator whose clock was far ahead has begun to sweep an org for which nothing was due yet: that goes to its end.
async fn what_fell_due_is_swept(operator: &Operator, org: &Org) {
    if org.ledger(operator).await.state().sweep.is_none() {
        return;
    }
    let own = operator.beside().await;
    let running = own.start(vec![Arc::new(BackupDriver::default())]).await;
    end(&pruner(org).await, None).await;
    let ended = eventually(async || org.ledger(&own).await.state().sweep.is_none().then_some(()));
    assert!(ended.await.is_some(), "the sweep of {} does not end", org.name);
    running.stop().await;
}

/// Another cluster has taken the orgs over: a process that starts asks before it does anything, and does nothing.
async fn a_fenced_cluster_begins_nothing(first: &Operator) {
    let store = &first.regions.store;
    let marker = bucket_layout::fenced("", "cluster");
    let taken = json!({"formatVersion": 1, "clusterUid": "another", "at": "2026-01-01T00:00:00Z"});
    store.overwrite(&marker, taken.to_string());
    let before = store.calls().len();
    let operator = first.beside().await;
    let org = Org::place("fenced", "abababab-abab-4bab-8bab-abababababab").await;
    org.ask("fenced-1").await;
    restore_of(org.name, "fenced-back").await;
    let running = operator.start(vec![Arc::new(BackupDriver::default())]).await;
    waits_for("fenced-1", "cluster another has taken its orgs over").await;
    let said = eventually(async || {
        let healthy = operator.ctx.board.backups.get(&org.id)?.healthy.clone();
        (healthy.reason == "Fenced").then_some(healthy.message)
    });
    let said = said.await.expect("the org does not say it");
    assert!(said.contains(&marker), "{said}");
    let asked = store.calls().split_off(before);
    let marker_alone = asked.iter().all(|call| *call == (Operation::Get, marker.clone()));
    assert!(marker_alone, "{asked:?}");
    running.stop().await;

    store.remove(&marker);
    let operator = operator.beside().await;
    let running = operator.start(vec![Arc::new(BackupDriver::default())]).await;
    succeed(&operator, &org, "fenced-1", 3).await;
    snapshot("fenced-1", "Committed").await;
    running.stop().await;
}

/// One bit of an old entry is another, long before the newest checkpoint: it is named, and nothing of the org is removed. Runs go on.
async fn a_damaged_ledger_is_named_and_nothing_is_pruned(operator: &Operator) {
    const DAMAGED: u64 = 70;
    let id: OrgId = "99999999-9999-4999-8999-999999999999".parse().unwrap();
    let ledger = runs::begun(operator, &id, operator.ctx.now()).await;
    for _ in 0..200 {
        // Of a run that is not there: it changes nothing.
        let run_id = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
        let nothing = Event::RunAccepted { run_id };
        ledger.append(nothing, operator.ctx.now()).await.unwrap();
    }
    let pruned = seed(
        operator,
        &Org {
            name: "damaged",
            id: id.clone(),
        },
    )
    .await;
    let store = &operator.regions.store;
    let key = bucket_layout::ledger_entry("", &id, DAMAGED);
    let own = store.object(&key).unwrap();
    let mut body = own.body.to_vec();
    let place = body.windows(3).position(|text| text == b"5FA").unwrap();
    body[place] ^= 1;
    // S3 dates what is written over.
    store.set_now(own.last_modified + SignedDuration::from_hours(1));
    store.overwrite(&key, body);
    store.set_now(own.last_modified);

    let org = Org::place("damaged", id.as_str()).await;
    let running = operator.start(vec![Arc::new(BackupDriver::default())]).await;
    let said = eventually(async || {
        let healthy = operator.ctx.board.backups.get(&id)?.healthy.clone();
        (healthy.reason == "LedgerInvalid").then_some(healthy.message)
    });
    let said = said.await.expect("the damage is not found");
    assert!(
        said.contains("broken at entry 71") && said.contains("nothing is pruned"),
        "{said}"
    );
    org.ask("damaged-now").await;
    succeed(operator, &org, "damaged-now", 3).await;
    snapshot("damaged-now", "Committed").await;
    nothing_is_left(&org).await;
    let state = org.ledger(operator).await.state();
    assert!(state.runs.values().all(|run| run.pruned.is_none()));
    assert!(state.sweep.is_none() && state.last_sweep == LastSweep::default());
    running.stop().await;

    // The right one is put back.
    store.overwrite(&key, own.body);
    let second = operator.beside().await;
    let running = second.start(vec![Arc::new(BackupDriver::default())]).await;
    let sweep = pruner(&org).await;
    assert_eq!(task(&sweep).await["action"]["remove"], json!([pruned]));
    end(&sweep, None).await;
    nothing_is_left(&org).await;
    running.stop().await;
}

/// An org at rest keeps no ledger in memory. What its status has recorded stands after a start, and nothing is asked of S3 for it,
/// until something is due or somebody asks for something; then its ledger is read by few requests.
async fn a_start_asks_for_nothing_before_something_is_due(first: &Operator) {
    let org = Org::place("rested", "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa").await;
    let store = &first.regions.store;
    let asked = |since: usize| {
        let calls = store.calls().split_off(since);
        let of_org = calls.into_iter().filter(|(_, key)| key.contains(org.id.as_str()));
        of_org.collect::<Vec<_>>()
    };
    let driver = Arc::new(BackupDriver::default());
    let running = first.start(vec![driver.clone()]).await;
    org.ask("rested-1").await;
    mover(&org, "rested-1").await;
    assert!(driver.ledgers_in_memory() > 0, "while a run is open");
    succeed(first, &org, "rested-1", 3).await;
    snapshot("rested-1", "Committed").await;
    nothing_is_left(&org).await;
    let view = at_rest(first, &org).await;
    let closed = eventually(async || (driver.ledgers_in_memory() == 0).then_some(()));
    assert!(
        closed.await.is_some(),
        "{} are in memory",
        driver.ledgers_in_memory()
    );
    // Whatever is looked at again meanwhile, S3 is not.
    let before = store.calls().len();
    let looks = passes(&first.ctx, "backup");
    first.ctx.changes.publish(&Change::Org(org.name.to_owned()));
    let looked = eventually(async || (passes(&first.ctx, "backup") > looks).then_some(()));
    assert!(looked.await.is_some());
    assert_eq!(asked(before), []);
    running.stop().await;

    write_down(&org, &view).await;

    let before = store.calls().len();
    let second = first.beside().await;
    let running = second.start(vec![Arc::new(BackupDriver::default())]).await;
    let known = eventually(async || second.ctx.board.backups.get(&org.id));
    assert_eq!(known.await.as_deref(), Some(&*view));
    assert_eq!(asked(before), [], "a start asks S3 for nothing");

    org.ask("rested-2").await;
    mover(&org, "rested-2").await;
    let calls = asked(before);
    let reads = calls
        .iter()
        .take_while(|(operation, _)| *operation != Operation::Put);
    let reads = reads.count();
    println!("S3 requests until the run was planned, of an org whose ledger was read: {reads}");
    assert!(reads <= 8, "{calls:?}");
    succeed(&second, &org, "rested-2", 3).await;
    snapshot("rested-2", "Committed").await;
    nothing_is_left(&org).await;
    running.stop().await;
}

/// What is said of the org's backups, once its ledger rests and all is well.
pub(crate) async fn at_rest(operator: &Operator, org: &Org) -> Arc<BackupView> {
    let rests = eventually(async || {
        let view = operator.ctx.board.backups.get(&org.id)?;
        let rests = view.status.ledger.as_ref()?.rests_until.is_some();
        (rests && view.healthy.status == Truth::True).then_some(view)
    });
    let last = operator.ctx.board.backups.get(&org.id);
    rests
        .await
        .unwrap_or_else(|| panic!("{} does not come to rest: {last:?}", org.name))
}

/// Writes it into the status, as the TrayOrg controller does.
pub(crate) async fn write_down(org: &Org, view: &BackupView) {
    let condition = |type_: &str, fact: &ConditionFact| {
        json!({"type": type_, "status": fact.status.as_str(), "reason": fact.reason, "message": fact.message,
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    let conditions = [
        condition("BackupHealthy", &view.healthy),
        condition("RpoMet", &view.rpo),
    ];
    let status = json!({"status": {"backup": view.status, "conditions": conditions}});
    let orgs: Api<TrayOrg> = Api::all(api_server::shared().await.client().await);
    let params = PatchParams::default();
    orgs.patch_status(org.name, &params, &Patch::Merge(status))
        .await
        .unwrap();
}

/// Leadership can be lost without being noticed at once: two work on one org, of which the second holds the Lease, and then the first
/// is gone in the middle.
async fn two_operators_at_once_copy_an_org_once(first: &Operator, org: &Org) {
    let second = first.beside().await;
    let running = first.start(vec![Arc::new(BackupDriver::default())]).await;
    let others = second.start(vec![Arc::new(BackupDriver::default())]).await;
    let mut wanted = BTreeMap::new();
    for name in ["fresh-twice", "fresh-twice-more"] {
        org.ask(name).await;
        wanted.insert(succeed(first, org, name, 3).await, name.to_owned());
        snapshot(name, "Committed").await;
        nothing_is_left(org).await;
    }
    org.ask("fresh-cut-off").await;
    mover(org, "fresh-cut-off").await;
    running.cut_off().await;
    its_watch_is_behind(&second, org, "fresh-cut-off").await;
    wanted.insert(
        succeed(&second, org, "fresh-cut-off", 3).await,
        "fresh-cut-off".to_owned(),
    );
    snapshot("fresh-cut-off", "Committed").await;
    nothing_is_left(org).await;
    others.stop().await;

    let state = org.ledger(&second).await.state();
    let asked = state.runs.iter().filter(|(_, run)| {
        let name = &run.plan.snapshot_name;
        wanted.values().any(|asked| asked == name)
    });
    let runs: BTreeMap<RunId, String> = asked
        .map(|(id, run)| (id.clone(), run.plan.snapshot_name.clone()))
        .collect();
    assert_eq!(runs, wanted, "each snapshot is one run");
    assert!(runs.keys().all(|run| state.runs[run].committed_at().is_some()));
    let claims = claims(&second, org);
    let newest = claims.last().map(String::as_str);
    assert_eq!(newest, Some(second.ctx.writer.leadership.holder()), "{claims:?}");
}

/// Who has claimed the org's ledger, one after the other. Each entry is of the newest claim's epoch.
fn claims(operator: &Operator, org: &Org) -> Vec<String> {
    let (store, folder) = (&operator.regions.store, bucket_layout::ledger_prefix("", &org.id));
    let keys = store.keys().into_iter().filter(|key| key.starts_with(&folder));
    let (mut claims, mut newest) = (Vec::new(), 0);
    for (seq, key) in (0..).zip(keys) {
        let entry = Entry::decode(seq, &store.object(&key).unwrap().body).unwrap();
        match entry.event {
            Event::Claim { holder } => {
                assert_eq!(entry.epoch, newest + 1, "{key}");
                newest = entry.epoch;
                claims.push(holder);
            }
            // In front of a claim a checkpoint is of the one that comes.
            Event::Checkpoint { .. } => assert!(entry.epoch.abs_diff(newest) <= 1, "{key}"),
            _ => assert_eq!(entry.epoch, newest, "{key}"),
        }
    }
    claims
}

/// An operator whose watch has not shown yet whose run it is that the ledger has as open lets it go on.
async fn its_watch_is_behind(operator: &Operator, org: &Org, snapshot: &str) {
    operator.ctx.index.snapshots.remove(snapshot, None);
    look_twice(operator, org).await;
    let state = org.ledger(operator).await.state();
    assert!(
        state.open_runs().next().is_some(),
        "the run of {snapshot} was ended"
    );
    // The watch catches up.
    let snapshots: Api<OrgSnapshot> = Api::all(api_server::shared().await.client().await);
    let change = Patch::Merge(json!({"metadata": {"annotations": {"example.com/touched": "true"}}}));
    snapshots
        .patch(snapshot, &PatchParams::default(), &change)
        .await
        .unwrap();
}

/// Has the operator look at the org: the pass that may be under way, and one more.
pub(crate) async fn look_twice(operator: &Operator, org: &Org) {
    for _ in 0..2 {
        let before = passes(&operator.ctx, "backup");
        operator.ctx.changes.publish(&Change::Org(org.name.to_owned()));
        let looked = eventually(async || (passes(&operator.ctx, "backup") > before).then_some(()));
        assert!(looked.await.is_some());
    }
}

/// Lets the mover of the run that an OrgSnapshot asks for leave a verified record of that many objects, and end well.
pub(crate) async fn succeed(operator: &Operator, org: &Org, snapshot: &str, objects: u64) -> RunId {
    let job = mover(org, snapshot).await;
    let task = task(&job).await;
    assert_eq!(task["action"]["action"], "SnapshotObjects");
    assert!(
        task["kmsKeyArn"]
            .as_str()
            .unwrap()
            .starts_with("arn:aws:kms:eu-central-1:"),
        "{task}"
    );
    let run: RunId = task["action"]["runId"].as_str().unwrap().parse().unwrap();
    let part = run_plan::objects_part();
    let record = record(&run, &part, objects, operator.ctx.now());
    let key = bucket_layout::part_record("", &org.id, &run, &part, "pod-uid");
    let body = Bytes::from(serde_json::to_vec(&record).unwrap());
    operator.regions.store.overwrite(&key, body);
    end(&job, None).await;
    run
}

/// New orgs are under the Region's key; those that have one already keep it, also when the Region changes its mind.
async fn an_org_that_a_region_gives_a_shared_key_keeps_it(operator: &Operator, older: &Org) {
    let own = older.ledger(operator).await.state().kms_key_arn.clone().unwrap();
    let regions: Api<Region> = Api::all(api_server::shared().await.client().await);
    let kms = async |mode: &str, key: Option<&str>| {
        let kms = json!({"mode": mode, "keyArn": key, "ledgerKeyArn": LEDGER_KEY});
        let change = Patch::Merge(json!({"spec": {"backup": {"kms": kms}}}));
        let params = PatchParams::default();
        regions.patch("backups", &params, &change).await.unwrap();
        let seen = eventually(async || {
            let region = operator.ctx.index.regions.get("backups")?;
            (region.spec.backup.kms.key_arn.as_deref() == key).then_some(())
        });
        assert!(seen.await.is_some());
    };
    let shared = "arn:aws:kms:eu-central-1:111122223333:key/shared";
    kms("SharedKey", Some(shared)).await;
    let sharing = Org::place("sharing", "44444444-4444-4444-8444-444444444444").await;
    sharing.ask("sharing-one").await;
    succeed(operator, &sharing, "sharing-one", 3).await;
    let shown = snapshot("sharing-one", "Committed").await;
    assert_eq!(shown["status"]["kmsKeyArn"], shared);
    nothing_is_left(&sharing).await;
    let state = sharing.ledger(operator).await.state();
    assert!(state.key_intent.is_none(), "no key was made for it");

    kms("PerOrgKey", None).await;
    sharing.ask("sharing-two").await;
    succeed(operator, &sharing, "sharing-two", 3).await;
    let shown = snapshot("sharing-two", "Committed").await;
    assert_eq!(shown["status"]["kmsKeyArn"], shared);
    nothing_is_left(&sharing).await;
    assert_eq!(
        older.ledger(operator).await.state().kms_key_arn.clone(),
        Some(own)
    );
}

/// A BackupSchedule that cannot be used, or is not there, stops neither runs by the RPO, nor pruning, nor what a person asks
/// for; and the org says so.
async fn an_org_without_slots_is_pruned_and_copied_all_the_same(operator: &Operator) {
    for (name, id, schedule, reason) in [
        (
            "never",
            "55555555-5555-4555-8555-555555555555",
            "never",
            "BackupScheduleInvalid",
        ),
        (
            "nowhere",
            "66666666-6666-4666-8666-666666666666",
            "nowhere",
            "BackupScheduleMissing",
        ),
    ] {
        let id: OrgId = id.parse().unwrap();
        let pruned = seed(operator, &Org { name, id: id.clone() }).await;
        let org = Org::place_by(name, id.as_str(), schedule).await;
        let sweep = pruner(&org).await;
        assert_eq!(task(&sweep).await["action"]["remove"], json!([pruned]));
        end(&sweep, None).await;

        let asked = format!("{name}-now");
        org.ask(&asked).await;
        succeed(operator, &org, &asked, 3).await;
        snapshot(&asked, "Committed").await;
        nothing_is_left(&org).await;

        // The newest copy is of now: the next is due before it is a day old.
        let next = eventually(async || {
            let view = operator.ctx.board.backups.get(&org.id)?;
            (view.healthy.reason == reason)
                .then_some(view.status.next_due.clone())
                .flatten()
        });
        let next = next
            .await
            .unwrap_or_else(|| panic!("{name} does not say {reason}, or what is due"));
        let hours = next.0.duration_since(operator.ctx.now()).as_hours();
        assert!((12..24).contains(&hours), "due in {hours} hours");
    }
}

async fn a_run_is_committed_when_its_mover_has_left_a_verified_record(operator: &Operator, org: &Org) {
    org.ask("fresh-one").await;
    let run = succeed(operator, org, "fresh-one", 3).await;
    let shown = snapshot("fresh-one", "Committed").await;
    let status = &shown["status"];
    assert_eq!(status["verdict"], "Good");
    assert_eq!(status["runId"], run.as_str());
    assert_eq!(status["objects"], 3);
    assert_eq!(status["bucketCloudRegion"], "eu-central-1");
    nothing_is_left(org).await;
    assert_eq!(flux::verdicts(&[shown])[0].status, "Current");
}

async fn a_run_that_shrank_counts_once_a_person_accepts_it(operator: &Operator, org: &Org) {
    org.ask("fresh-three").await;
    let run = succeed(operator, org, "fresh-three", 1).await;
    let shown = snapshot("fresh-three", "Committed").await;
    assert_eq!(shown["status"]["verdict"], "Suspicious");
    let message = shown["status"]["conditions"][0]["message"].as_str().unwrap();
    assert!(
        message.contains("holds 100 bytes, its last good copy held 300") && message.contains("accept-run"),
        "{message}"
    );
    let orgs: Api<TrayOrg> = Api::all(api_server::shared().await.client().await);
    let accept = json!({"metadata": {"annotations": {"platform.tray.ai/accept-run": run}}});
    orgs.patch(org.name, &PatchParams::default(), &Patch::Merge(accept))
        .await
        .unwrap();
    let accepted = eventually(async || {
        let good = snapshot("fresh-three", "Committed").await["status"]["verdict"] == "Good";
        let org = orgs.get(org.name).await.ok()?;
        let recorded = org.status.as_ref()?.acknowledgements.clone();
        (good && !recorded.is_empty()).then_some((org, recorded))
    });
    let (annotated, recorded) = accepted.await.expect("the run is accepted");
    assert_eq!(
        (recorded.len(), recorded[0].annotation.as_str()),
        (1, "accept-run")
    );
    assert_eq!(recorded[0].value, run.as_str());
    assert_eq!(
        annotated
            .annotations()
            .get("platform.tray.ai/accept-run")
            .map(String::as_str),
        Some(run.as_str()),
        "it may lie in Git"
    );
    nothing_is_left(org).await;
    let accepted = org.ledger(operator).await.state().next_seq;
    look_twice(operator, org).await;
    assert_eq!(
        org.ledger(operator).await.state().next_seq,
        accepted,
        "the same value is carried out once"
    );
}

/// What a person or Git made is never deleted, and made anew it is the same run, or restores nothing more.
async fn what_is_made_anew_runs_and_restores_nothing_twice(operator: &Operator, org: &Org) {
    let snapshots: Api<OrgSnapshot> = Api::all(api_server::shared().await.client().await);
    let restores: Api<OrgRestore> = Api::all(api_server::shared().await.client().await);
    let ledger = org.ledger(operator).await.state();
    let first = snapshot("fresh-one", "Committed").await;
    let newest = ledger.newest_good().unwrap().0;
    assert_ne!(
        first["status"]["runId"],
        newest.as_str(),
        "long since there is a newer one"
    );
    snapshots
        .delete("fresh-one", &DeleteParams::default())
        .await
        .unwrap();
    org.ask("fresh-one").await;
    let again = snapshot("fresh-one", "Committed").await;
    assert_ne!(again["metadata"]["uid"], first["metadata"]["uid"]);
    for field in ["runId", "committedAt", "manifestDigest", "verdict"] {
        assert_eq!(again["status"][field], first["status"][field], "{field}");
    }
    // One that failed is tried again.
    snapshots
        .delete("fresh-two", &DeleteParams::default())
        .await
        .unwrap();
    org.ask("fresh-two").await;
    let run = succeed(operator, org, "fresh-two", 3).await;
    let shown = snapshot("fresh-two", "Committed").await;
    assert_eq!(shown["status"]["runId"], run.as_str());
    nothing_is_left(org).await;

    for (name, phase) in [
        ("fresh-refused", "SucceededWithRefusals"),
        ("fresh-unproven", "Failed"),
    ] {
        let before = restored(name, phase).await;
        restores.delete(name, &DeleteParams::default()).await.unwrap();
        restore_of(org.name, name).await;
        let again = restored(name, phase).await;
        assert_ne!(again["metadata"]["uid"], before["metadata"]["uid"]);
        assert_eq!(again["status"]["runId"], before["status"]["runId"]);
        let said = again["status"]["conditions"].to_string();
        assert!(said.contains("nothing was restored again"), "{said}");
        assert!(said.contains(&format!("of another name than {name}")), "{said}");
    }
    // One that was deleted on its way has ended by that.
    restore_of(org.name, "fresh-gone").await;
    let said = restored("fresh-gone", "Failed").await["status"]["conditions"].to_string();
    assert!(
        said.contains("RestoreDeleted") && said.contains("nothing was restored again"),
        "{said}"
    );
    nothing_is_left(org).await;
    let now = org.ledger(operator).await.state();
    assert_eq!(now.runs.len(), ledger.runs.len() + 1);
    assert_eq!(now.restores.len(), ledger.restores.len());
}

/// An org with a database in a pod that has its volume mounted.
pub(crate) async fn with_a_database(name: &'static str, id: &str) -> Org {
    let org = Org::place(name, id).await;
    let client = api_server::shared().await.client().await;
    let orgs: Api<TrayOrg> = Api::all(client.clone());
    let workload = json!({"name": "db", "kind": "StatefulSet", "image": "i", "runAsUser": 1000,
        "volume": {"size": "1Gi", "mountPath": "/data"},
        "backup": {"pre": {"command": ["pre"]}, "post": {"command": ["post"], "timeoutSeconds": 1500}}});
    let cache = json!({"name": "cache", "kind": "StatefulSet", "image": "i", "runAsUser": 1000,
        "volume": {"size": "1Gi", "mountPath": "/data"}, "backup": {"exclude": true}});
    let spec = json!({"spec": {"workloads": [workload, cache]}});
    orgs.patch(name, &PatchParams::default(), &Patch::Merge(spec))
        .await
        .unwrap();
    let labels = json!({"app.kubernetes.io/managed-by": "tray-operator", "platform.tray.ai/org": name,
        "platform.tray.ai/org-id": id});
    let namespace = org.namespace();
    for claim in ["data-db-0", "data-cache-0"] {
        api_server::apply(
            &client,
            &json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"name": claim, "namespace": namespace, "labels": labels},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            }),
        )
        .await;
    }
    // Nobody's: no workload has it.
    api_server::apply(&client, &json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": format!("{name}-own")},
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/own"},
            "claimRef": {"namespace": namespace, "name": "pr-own"}},
    }))
    .await;
    let volumes: Api<DynamicObject> = api(&client, "v1", "PersistentVolume", "").await;
    patch_status(&volumes, &format!("{name}-own"), &json!({"phase": "Bound"})).await;
    api_server::apply(&client, &json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "db-0", "namespace": namespace, "labels": labels},
        "spec": {"containers": [{"name": "main", "image": "i"}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}}]},
    }))
    .await;
    let pods: Api<DynamicObject> = api(&client, "v1", "Pod", &namespace).await;
    patch_status(&pods, "db-0", &json!({"phase": "Running"})).await;
    org
}

/// Lets both movers of a run leave a verified record, and end well.
pub(crate) async fn succeed_with_database(operator: &Operator, org: &Org) {
    for action in ["SnapshotObjects", "SnapshotVolume"] {
        let (job, told) = mover_that(&org.namespace(), action).await;
        let run: RunId = told["action"]["runId"].as_str().unwrap().parse().unwrap();
        let part: PartId = told["action"]["part"].as_str().unwrap().parse().unwrap();
        let mut record = record(&run, &part, 3, operator.ctx.now());
        if part == run_plan::objects_part() {
            // Which ones they are is the org's alone.
            record.warnings = vec!["secrets/tokens-of-prod is left out".to_owned()];
            LeftOut::note(&mut record.left_out, LeftOutReason::Token, "secrets");
        }
        let key = bucket_layout::part_record("", &org.id, &run, &part, "pod-uid");
        let body = Bytes::from(serde_json::to_vec(&record).unwrap());
        operator.regions.store.overwrite(&key, body);
        end(&job, None).await;
    }
}

/// As in `copies/21` and `copies/24` of others' reports: a `post` that hangs keeps nobody waiting, and is run again by who comes
/// next; a claim that nobody has is named.
async fn hooks_run_beside_the_passes_and_outlive_their_operator(operator: &Operator) {
    let org = with_a_database("hooked", "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb").await;
    let hooks = &operator.hooks;
    hooks.hold("pre");
    hooks.hold("post");
    let running = operator.start(vec![Arc::new(BackupDriver::default())]).await;
    org.ask("hooked-one").await;
    let hooked = snapshot("hooked-one", "Hooks").await;
    let named = eventually(async || {
        let hooked = snapshot("hooked-one", "Hooks").await;
        let hook = hooked["status"]["hooks"][0].clone();
        let said = hooked["status"]["conditions"].to_string();
        (hook["pod"] == "db-0" && said.contains("the pre hook of data-db-0 runs in pod db-0 since"))
            .then_some(hook)
    });
    let hook = named
        .await
        .unwrap_or_else(|| panic!("the hook is not named: {hooked:#}"));
    assert_eq!(
        (hook["hook"].as_str(), hook["part"].as_str()),
        (Some("pre"), Some("data-db-0"))
    );
    hooks.let_go("pre");
    succeed_with_database(operator, &org).await;

    // Committed although `post` hangs, which is named with its end.
    snapshot("hooked-one", "Committed").await;
    let named = eventually(async || {
        let shown = snapshot("hooked-one", "Committed").await;
        (shown["status"]["hooks"][0]["hook"] == "post").then_some(shown)
    });
    let shown = named.await.expect("the post hook is not named");
    assert_eq!(shown["status"]["postHooks"], "Outstanding");
    assert_eq!(
        shown["status"]["notCopied"],
        json!({"claims": ["pr-own"], "claimsCount": 1, "excluded": ["data-cache-0"],
            "objects": ["1 of secrets: a token, which would outlive its service account"], "objectsCount": 1})
    );
    let said = shown["status"]["conditions"].to_string();
    assert!(
        said.contains("the post hook of data-db-0 runs in pod db-0 since"),
        "{said}"
    );
    nothing_is_left(&org).await;
    let state = org.ledger(operator).await.state();
    let plan = &state.runs.values().next().unwrap().plan;
    assert_eq!(plan.objectives.as_ref().map(|held| held.rpo_hours), Some(24));

    // The operator dies; whoever is next runs it again.
    running.cut_off().await;
    let begun = hooks.begun().iter().filter(|begun| *begun == "db-0 post").count();
    let next = operator.beside().await;
    let running = next.start(vec![Arc::new(BackupDriver::default())]).await;
    let again = eventually(async || {
        let now = hooks.begun().iter().filter(|begun| *begun == "db-0 post").count();
        (now > begun).then_some(())
    });
    assert!(again.await.is_some(), "{:?}", hooks.begun());
    Box::pin(nobody_waits_for_a_hook_that_hangs(&next, &org)).await;
    hooks.let_go("post");
    for name in ["hooked-one", "hooked-two"] {
        post_hooks(name, "Ended").await;
    }

    // One that the way to the pod fails at fails its run, and who failed says so in words of ours.
    hooks.break_off("pre", "word-of-a-kubelet");
    org.ask("hooked-lost").await;
    let failed = snapshot("hooked-lost", "Failed").await;
    let why = failed["status"]["failure"].as_str().unwrap();
    assert!(why.starts_with("failed to exec in pod db-0: "), "{why}");
    is_told_nowhere(&next, &org, "word-of-a-kubelet").await;
    hooks.mend("pre");
    post_hooks("hooked-lost", "Ended").await;
    end(&pruner(&org).await, None).await;
    nothing_is_left(&org).await;

    // One whose OrgSnapshot is deleted while `pre` runs ends at once, and so does its `pre`.
    hooks.hold("pre");
    org.ask("hooked-gone").await;
    snapshot("hooked-gone", "Hooks").await;
    let before = hooks.begun().len();
    let snapshots: Api<OrgSnapshot> = Api::all(api_server::shared().await.client().await);
    snapshots
        .delete("hooked-gone", &DeleteParams::default())
        .await
        .unwrap();
    let post = eventually(async || {
        let begun = hooks.begun();
        (begun.len() > before && begun.last().is_some_and(|last| last == "db-0 post")).then_some(())
    });
    assert!(post.await.is_some(), "{:?}", hooks.begun());
    hooks.let_go("pre");
    end(&pruner(&org).await, None).await;
    nothing_is_left(&org).await;

    // One that fails fails no run, and is told of.
    hooks.fail("post");
    org.ask("hooked-unpaid").await;
    succeed_with_database(&next, &org).await;
    snapshot("hooked-unpaid", "Committed").await;
    let shown = post_hooks("hooked-unpaid", "Failed").await;
    let why = shown["status"]["postHookFailures"].to_string();
    assert!(why.contains("exit code 3") && why.contains("pod db-0"), "{why}");
    assert_eq!(shown["status"]["verdict"], "Good");
    says(&next, &org, "HookFailed", "exit code 3").await;
    nothing_is_left(&org).await;
    running.stop().await;
    a_pre_of_before_may_live_where_nothing_ends_it(operator, &org).await;
}

/// The operator dies while `pre` runs in a container without a shell: no other hook begins there beside it.
async fn a_pre_of_before_may_live_where_nothing_ends_it(operator: &Operator, org: &Org) {
    let hooks = &operator.hooks;
    hooks.hold("pre");
    // Behind what was written by clocks that were put forward.
    let later = SignedDuration::from_mins(30);
    let first = operator.beside().await;
    first.clock.put_forward(later);
    let running = first.start(vec![Arc::new(BackupDriver::default())]).await;
    org.ask("hooked-shell-less").await;
    snapshot("hooked-shell-less", "Hooks").await;
    running.cut_off().await;
    hooks.without_shell(true);
    let before = hooks.begun();
    let next = operator.beside().await;
    next.clock.put_forward(later);
    let running = next.start(vec![Arc::new(BackupDriver::default())]).await;
    let failed = snapshot("hooked-shell-less", "Failed").await;
    let said = failed["status"]["conditions"].to_string();
    assert!(said.contains("there is no shell to end it by"), "{said}");
    let shown = post_hooks("hooked-shell-less", "Failed").await;
    let why = shown["status"]["postHookFailures"].to_string();
    assert!(why.contains("it was not begun"), "{why}");
    assert_eq!(hooks.begun(), before, "nothing was begun");
    end(&pruner(org).await, None).await;
    nothing_is_left(org).await;
    hooks.without_shell(false);
    hooks.let_go("pre");
    running.stop().await;
}

/// The `post` hook of the org's last run hangs: it is told of, the next run begins, and a restore does.
async fn nobody_waits_for_a_hook_that_hangs(operator: &Operator, org: &Org) {
    let words = "the post hook of data-db-0 runs in pod db-0 since";
    operator.clock.put_forward(SignedDuration::from_mins(15));
    operator.ctx.changes.publish(&Change::Org(org.name.to_owned()));
    says(operator, org, "HookHangs", words).await;
    org.ask("hooked-two").await;
    waits_for("hooked-two", "its pre hooks wait for other hooks to end").await;
    restore_of(org.name, "hooked-back").await;
    let (other, _) = mover_that(&org.namespace(), "ProveVolume").await;
    let (job, _) = mover_that(&org.namespace(), "ProveObjects").await;
    end(&job, Some("enough")).await;
    restored("hooked-back", "Failed").await;
    // It is told to go, and goes when its last pod has.
    let jobs: Api<Job> = Api::namespaced(api_server::shared().await.client().await, &org.namespace());
    let name = other.name_any();
    let told = eventually(async || jobs.get(&name).await.ok()?.metadata.deletion_timestamp);
    assert!(
        told.await.is_some(),
        "the mover of the restore that has ended stays"
    );
    gone(&jobs, &name).await;
    let given_up = snapshot("hooked-two", "Failed").await;
    let said = given_up["status"]["conditions"].to_string();
    assert!(said.contains("hooked-back"), "{said}");
    assert_eq!(given_up["status"]["postHooks"], "Outstanding");
    let hanging = snapshot("hooked-one", "Committed").await;
    assert_eq!(hanging["status"]["postHooks"], "Outstanding");
    // What the failed run left behind goes at once, too.
    end(&pruner(org).await, None).await;
    nothing_is_left(org).await;
}

/// The OrgSnapshot, when its `post` hooks have come so far and none of them runs.
pub(crate) async fn post_hooks(name: &str, progress: &str) -> Value {
    let snapshots: Api<OrgSnapshot> = Api::all(api_server::shared().await.client().await);
    let reached = eventually(async || {
        let shown = serde_json::to_value(snapshots.get(name).await.ok()?).ok()?;
        let status = &shown["status"];
        (status["postHooks"] == progress && status["hooks"].is_null()).then_some(shown)
    });
    let last = snapshots.get(name).await.map(|snapshot| snapshot.status);
    reached
        .await
        .unwrap_or_else(|| panic!("the post hooks of {name} are not {progress}: {last:#?}"))
}

/// The operator says of the org's backups that reason, with these words.
pub(crate) async fn says(operator: &Operator, org: &Org, reason: &str, words: &str) {
    let said = eventually(async || {
        let healthy = operator.ctx.board.backups.get(&org.id)?.healthy.clone();
        (healthy.reason == reason && healthy.message.contains(words)).then_some(())
    });
    let said = said.await;
    let last = operator.ctx.board.backups.get(&org.id);
    assert!(said.is_some(), "not {reason} {words:?}: {last:?}");
}

async fn a_snapshot_of_no_org_says_so() {
    let nobody = Org {
        name: "nobody",
        id: "33333333-3333-4333-8333-333333333333".parse().unwrap(),
    };
    nobody.ask("of-nobody").await;
    let shown = snapshot("of-nobody", "Pending").await;
    let conditions = shown["status"]["conditions"].to_string();
    assert!(
        conditions.contains("there is no TrayOrg nobody") && conditions.contains("OrgMissing"),
        "{conditions}"
    );
}

async fn a_mover_that_fails_ends_its_run_with_its_reason(operator: &Operator, org: &Org) {
    org.ask("fresh-two").await;
    end(&mover(org, "fresh-two").await, Some("the disk is on fire")).await;
    let shown = snapshot("fresh-two", "Failed").await;
    let message = shown["status"]["conditions"][0]["message"].as_str().unwrap();
    assert!(message.contains("part objects: Ended"), "{message}");
    assert_eq!(shown["status"]["failure"], "part objects: Ended");
    is_told_nowhere(operator, org, "the disk is on fire").await;
    let state = org.ledger(operator).await.state();
    let (_, failed) = state.newest_failed().unwrap();
    let recorded = serde_json::to_value(failed).unwrap()["end"]["why"].clone();
    assert_eq!(recorded, "Ended objects", "a code and the part");
    assert_eq!(
        flux::verdicts(&[shown])[0].status,
        "Failed",
        "whoever waits is told"
    );
    // What the failed run left behind goes at once.
    end(&pruner(org).await, None).await;
    nothing_is_left(org).await;
    let state = org.ledger(operator).await.state();
    let committed = state.runs.values().filter(|run| run.committed_at().is_some());
    assert_eq!((committed.count(), state.runs.len()), (1, 2));
}

/// And ends nothing that is under way.
async fn a_run_that_is_not_there_cannot_be_restored(operator: &Operator, org: &Org) {
    org.ask("fresh-goes-on").await;
    mover(org, "fresh-goes-on").await;
    let restores: Api<OrgRestore> = Api::all(api_server::shared().await.client().await);
    let restore = serde_json::from_value(json!({
        "apiVersion": "platform.tray.ai/v1alpha1", "kind": "OrgRestore", "metadata": {"name": "of-nothing"},
        "spec": {"orgRef": {"name": org.name}, "snapshot": {"runId": "01ARZ3NDEKTSV4RRFFQ69G5FAV"}, "target": {"inPlace": true}},
    }))
    .unwrap();
    restores.create(&PostParams::default(), &restore).await.unwrap();
    let failed = eventually(async || {
        let restore = serde_json::to_value(restores.get("of-nothing").await.ok()?).ok()?;
        (restore["status"]["phase"] == "Failed").then_some(restore)
    });
    let conditions = failed.await.expect("the restore fails")["status"]["conditions"].clone();
    assert_eq!(conditions[0]["reason"], "RunNotFound", "{conditions}");
    assert!(
        conditions[0]["message"]
            .as_str()
            .unwrap()
            .contains("01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        "{conditions}"
    );
    succeed(operator, org, "fresh-goes-on", 3).await;
    snapshot("fresh-goes-on", "Committed").await;
    nothing_is_left(org).await;
}

/// A person has to act before any pruner starts: the sweep ends, and is tried again later.
async fn a_sweep_that_cannot_start_keeps_no_run_waiting(operator: &Operator, org: &Org) {
    org.ask("fresh-unswept").await;
    let job = mover(org, "fresh-unswept").await;
    let sessions = &operator.regions.sessions;
    sessions.set_failure(Some(RemoteError::Denied("not yours".to_owned())));
    end(&job, Some("the disk is on fire")).await;
    snapshot("fresh-unswept", "Failed").await;
    let ended = eventually(async || {
        let state = org.ledger(operator).await.state();
        let failed = state.last_sweep.failed.clone();
        (state.sweep.is_none() && failed.is_some()).then_some(())
    });
    assert!(
        ended.await.is_some(),
        "{:?}",
        org.ledger(operator).await.state().sweep
    );
    sessions.set_failure(None);
    org.ask("fresh-unswept-next").await;
    succeed(operator, org, "fresh-unswept-next", 3).await;
    snapshot("fresh-unswept-next", "Committed").await;
    nothing_is_left(org).await;
}

/// Four good runs, the first of them 15 days old, as an operator would have written them.
async fn seed(operator: &Operator, org: &Org) -> RunId {
    let now = operator.ctx.now();
    let volume: PartId = "data-db-0".parse().unwrap();
    let ledger = runs::begun(operator, &org.id, now).await;
    ledger.append(Event::RepoInit { volume }, now).await.unwrap();
    let mut oldest = None;
    for hours in [15 * 24, 36, 24, 12] {
        let at = now - SignedDuration::from_hours(hours);
        let run_id = RunId::of(at, &hours.to_string());
        let name = format!("{}-{hours}", org.name);
        let plan = run_plan::plan(run_id.clone(), &name, Some(at), &[]);
        runs::commit(&ledger, plan, Stage::Production, at).await;
        oldest.get_or_insert(run_id);
    }
    oldest.unwrap()
}

async fn an_aged_run_is_pruned_and_no_run_begins_meanwhile(operator: &Operator, org: &Org, pruned: &RunId) {
    let state = org.ledger(operator).await.state();
    assert!(
        state.runs.values().all(|run| run.pruned.is_none()),
        "nothing goes by what is not in force yet"
    );
    org.keeps(14).await;
    let job = pruner(org).await;
    let action = task(&job).await["action"].clone();
    assert_eq!(action["remove"], json!([pruned]));
    assert_eq!(action["volumes"], json!(["data-db-0"]));
    assert_eq!(action["keepDeleteHours"], 23);
    let state = org.ledger(operator).await.state();
    let sweep = state.sweep.clone().expect("it is in the ledger before its Job");
    assert_eq!(action["sweepId"], json!(sweep.sweep_id));
    assert_eq!(action["plannedAt"], json!(sweep.planned_at));
    let gone: Vec<&RunId> = state
        .runs
        .iter()
        .filter(|(_, run)| run.pruned.is_some())
        .map(|(id, _)| id)
        .collect();
    assert_eq!(gone, [pruned]);
    // What is removed is in the ledger before anything is removed.
    assert!(state.swept.is_empty());
    // No pod of the pruner was ever seen; its Job has not ended, so nothing else begins.
    org.ask("aged-meanwhile").await;
    waits_for("aged-meanwhile", "waits for pruning to end").await;
    let state = org.ledger(operator).await.state();
    assert!(state.open_runs().next().is_none() && state.sweep.as_ref() == Some(&sweep));
    end(&job, None).await;
    let run = succeed(operator, org, "aged-meanwhile", 3).await;
    snapshot("aged-meanwhile", "Committed").await;
    let state = org.ledger(operator).await.state();
    assert!(state.sweep.is_none() && !state.swept.is_empty());
    assert_eq!(state.last_sweep.good, Some(sweep.planned_at));
    assert!(state.runs[&run].planned_at > sweep.planned_at);
}

/// The OrgSnapshot waits, and says for what.
pub(crate) async fn waits_for(name: &str, what: &str) {
    let snapshots: Api<OrgSnapshot> = Api::all(api_server::shared().await.client().await);
    let said = eventually(async || {
        let status = snapshots.get(name).await.ok()?.status?;
        let mut said = status.conditions.iter();
        said.any(|condition| condition.message.contains(what))
            .then_some(())
    });
    let last = snapshots.get(name).await.map(|snapshot| snapshot.status);
    assert!(
        said.await.is_some(),
        "OrgSnapshot {name} does not say {what:?}: {last:#?}"
    );
}

/// A mover that a leader which is behind has started: no pod is seen, and no watch has shown the Job when it is asked for.
async fn no_run_begins_while_a_mover_of_earlier_work_is_there(operator: &Operator, org: &Org) {
    let client = api_server::shared().await.client().await;
    let jobs: Api<Job> = Api::namespaced(client.clone(), &org.namespace());
    let labels = json!({"app.kubernetes.io/managed-by": "tray-operator", "platform.tray.ai/component": "mover",
        "platform.tray.ai/org": org.name, "platform.tray.ai/org-id": org.id, "platform.tray.ai/owner": "earlier"});
    let pod = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "snap-earlier", "labels": labels,
        "namespace": org.namespace(), "finalizers": ["example.com/its-pod-lives"]},
        "spec": {"template": {"spec": pod}}});
    api_server::apply(&client, &job).await;
    org.ask("fresh-after-earlier").await;
    waits_for(
        "fresh-after-earlier",
        "waits for mover snap-earlier of earlier work to end",
    )
    .await;
    assert!(org.ledger(operator).await.state().is_idle());
    // What is left over is told to go. Its last pod goes, and with it the Job.
    let told = eventually(async || jobs.get("snap-earlier").await.ok()?.metadata.deletion_timestamp);
    assert!(told.await.is_some(), "the Job that was left over is not removed");
    gone(&jobs, "snap-earlier").await;
    succeed(operator, org, "fresh-after-earlier", 3).await;
    snapshot("fresh-after-earlier", "Committed").await;
    nothing_is_left(org).await;
}

pub(crate) async fn restore_of(org: &str, name: &str) {
    let client = api_server::shared().await.client().await;
    api_server::apply(
        &client,
        &json!({
            "apiVersion": "platform.tray.ai/v1alpha1", "kind": "OrgRestore", "metadata": {"name": name},
            "spec": {"orgRef": {"name": org}, "snapshot": {"latestGood": true}, "target": {"inPlace": true}},
        }),
    )
    .await;
}

pub(crate) async fn restored(name: &str, phase: &str) -> Value {
    let restores: Api<OrgRestore> = Api::all(api_server::shared().await.client().await);
    let reached = eventually(async || {
        let restore = serde_json::to_value(restores.get(name).await.ok()?).ok()?;
        (restore["status"]["phase"] == phase).then_some(restore)
    });
    let last = restores.get(name).await.map(|restore| restore.status);
    reached
        .await
        .unwrap_or_else(|| panic!("OrgRestore {name} did not become {phase}: {last:#?}"))
}

/// The mover of `namespace` with that action, once it was let run, and what it was told.
pub(crate) async fn mover_that(namespace: &str, action: &str) -> (Job, Value) {
    let jobs: Api<Job> = Api::namespaced(api_server::shared().await.client().await, namespace);
    let started = eventually(async || {
        for job in jobs.list(&ListParams::default()).await.ok()?.items {
            let runs = job.spec.as_ref().and_then(|spec| spec.suspend) == Some(false);
            if runs && job.metadata.deletion_timestamp.is_none() {
                let told = task(&job).await;
                if told["action"]["action"] == action {
                    return Some((job, told));
                }
            }
        }
        None
    });
    started
        .await
        .unwrap_or_else(|| panic!("no mover was started in {namespace} to {action}"))
}

/// Whether the org's workloads have to stand still for the restore, as the operator sees it.
fn stops_its_org(operator: &Operator, restore: &str) -> bool {
    let restore = operator.ctx.index.restores.get(restore);
    let phase = restore.and_then(|restore| restore.phase());
    phase.is_some_and(RestorePhase::stops_workloads)
}

async fn a_restore_touches_nothing_before_its_proof(operator: &Operator, org: &Org) {
    restore_of(org.name, "fresh-unproven").await;
    let (job, told) = mover_that(&org.namespace(), "ProveObjects").await;
    assert!(
        told["action"]["restore"]
            .as_str()
            .unwrap()
            .starts_with("fresh-unproven (")
    );
    restored("fresh-unproven", "Proving").await;
    assert!(!stops_its_org(operator, "fresh-unproven"), "the org runs on");
    end(&job, Some("the key is disabled")).await;
    let failed = restored("fresh-unproven", "Failed").await;
    let said = failed["status"]["conditions"].to_string();
    assert!(
        said.contains("Ended") && said.contains("before anything of the org was touched"),
        "{said}"
    );
    is_told_nowhere(operator, org, "the key is disabled").await;
    assert!(!stops_its_org(operator, "fresh-unproven"));
    let state = org.ledger(operator).await.state();
    let recorded = state
        .restores
        .iter()
        .find(|known| known.restore.starts_with("fresh-unproven ("));
    let recorded = recorded.expect("its end is in the ledger");
    assert_eq!(
        (recorded.succeeded, recorded.why.as_deref()),
        (false, Some("MoverFailed")),
        "a code, and no words"
    );
    nothing_is_left(org).await;
}

/// The movers of one that is gone are removed while another one waits, which says what it waits for.
async fn a_restore_does_not_wait_for_one_that_was_deleted(org: &Org) {
    let client = api_server::shared().await.client().await;
    let restores: Api<OrgRestore> = Api::all(client.clone());
    let jobs: Api<Job> = Api::namespaced(client, &org.namespace());
    restore_of(org.name, "fresh-gone").await;
    let (job, _) = mover_that(&org.namespace(), "ProveObjects").await;
    restored("fresh-gone", "Proving").await;
    restore_of(org.name, "fresh-stays").await;
    restores
        .delete("fresh-gone", &DeleteParams::default())
        .await
        .unwrap();
    let name = job.name_any();
    let says = eventually(async || {
        let restore = serde_json::to_value(restores.get("fresh-stays").await.ok()?).ok()?;
        let said = restore["status"]["conditions"].to_string();
        said.contains(&format!("waits for mover {name} of earlier work to end"))
            .then_some(())
    });
    let last = restores.get("fresh-stays").await.map(|restore| restore.status);
    assert!(says.await.is_some(), "{last:#?}");
    let told = eventually(async || jobs.get(&name).await.ok()?.metadata.deletion_timestamp);
    assert!(
        told.await.is_some(),
        "the mover of the restore that is gone stays"
    );
    gone(&jobs, &name).await;
    let (job, told) = mover_that(&org.namespace(), "ProveObjects").await;
    let restore = told["action"]["restore"].as_str().unwrap();
    assert!(restore.starts_with("fresh-stays ("), "{restore}");
    end(&job, Some("enough")).await;
    restored("fresh-stays", "Failed").await;
    nothing_is_left(org).await;
}

/// Says a mover's last words, as its pod does.
pub(crate) async fn last_words(job: &Job, words: &Value) {
    let client = api_server::shared().await.client().await;
    let name = format!("{}-pod", job.name_any());
    let namespace = job.namespace().unwrap();
    let labels = json!({"batch.kubernetes.io/job-name": job.name_any()});
    api_server::apply(
        &client,
        &json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "mover", "image": "i"}]}}),
    )
    .await;
    let now = Timestamp::from_second(1_800_000_000).unwrap().to_string();
    let ended = json!({"exitCode": 0, "finishedAt": now, "startedAt": now, "message": words.to_string()});
    let container = json!({"name": "mover", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": ended}});
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    let status = Patch::Merge(json!({"status": {"phase": "Succeeded", "containerStatuses": [container]}}));
    pods.patch_status(&name, &PatchParams::default(), &status)
        .await
        .unwrap();
}

async fn a_restore_names_what_was_refused(operator: &Operator, org: &Org) {
    restore_of(org.name, "fresh-refused").await;
    let (job, _) = mover_that(&org.namespace(), "ProveObjects").await;
    end(&job, None).await;
    let (job, _) = mover_that(&org.namespace(), "RestoreObjects").await;
    assert!(stops_its_org(operator, "fresh-refused"), "now the org stops");
    let named = json!([{"kind": "configmaps", "reason": "Invalid", "message": "field is immutable",
        "names": ["pr-settings", "other"]}]);
    let words = json!({"outcome": "RestoredObjects", "created": 1, "updated": 2, "unchanged": 3, "refused": 2, "named": named});
    last_words(&job, &words).await;
    end(&job, None).await;
    let shown = restored("fresh-refused", "SucceededWithRefusals").await;
    let status = &shown["status"];
    assert_eq!(status["parts"][0]["items"], 6);
    assert_eq!(status["refusedCount"], 2);
    assert_eq!(
        status["refusedObjects"],
        json!([{"kind": "configmaps", "name": "pr-settings", "reason": "Invalid", "message": "field is immutable"},
            {"kind": "configmaps", "name": "other", "reason": "Invalid"}])
    );
    let said = status["conditions"].to_string();
    assert!(
        said.contains("configmaps/pr-settings (Invalid)") && said.contains("ObjectsRefused"),
        "{said}"
    );
    assert!(!said.contains(r#""status":"True","type":"Restored""#), "{said}");
    nothing_is_left(org).await;
}

/// A report that is lost is not taken for a good one.
async fn a_restore_whose_report_is_lost_says_so(org: &Org) {
    restore_of(org.name, "fresh-unheard").await;
    let (job, _) = mover_that(&org.namespace(), "ProveObjects").await;
    end(&job, None).await;
    let (job, _) = mover_that(&org.namespace(), "RestoreObjects").await;
    end(&job, None).await;
    let shown = restored("fresh-unheard", "SucceededWithRefusals").await;
    assert_eq!(shown["status"]["refusedObjects"][0]["reason"], "ReportLost");
    nothing_is_left(org).await;
}

async fn a_suspended_org_is_restored_and_stays_suspended(operator: &Operator) {
    let org = Org::place("suspended", "77777777-7777-4777-8777-777777777777").await;
    org.ask("suspended-one").await;
    succeed(operator, &org, "suspended-one", 3).await;
    snapshot("suspended-one", "Committed").await;
    let orgs: Api<TrayOrg> = Api::all(api_server::shared().await.client().await);
    let workload = json!({"name": "web", "kind": "Deployment", "image": "i", "runAsUser": 1000});
    let spec = json!({"spec": {"lifecycle": {"state": "Suspended"}, "workloads": [workload]}});
    orgs.patch(org.name, &PatchParams::default(), &Patch::Merge(spec))
        .await
        .unwrap();
    let seen = eventually(async || {
        let known = operator.ctx.index.orgs.get(org.name)?;
        (!known.spec.workloads.is_empty()).then_some(())
    });
    assert!(seen.await.is_some());
    restore_of(org.name, "suspended-back").await;
    let (job, _) = mover_that(&org.namespace(), "ProveObjects").await;
    end(&job, None).await;
    let (job, _) = mover_that(&org.namespace(), "RestoreObjects").await;
    let words = json!({"outcome": "RestoredObjects", "created": 3, "updated": 0, "unchanged": 0, "refused": 0, "named": []});
    last_words(&job, &words).await;
    end(&job, None).await;
    let shown = restored("suspended-back", "Succeeded").await;
    let said = shown["status"]["conditions"].to_string();
    assert!(
        said.contains("stays suspended") && !said.contains("available"),
        "{said}"
    );
    nothing_is_left(&org).await;
}

/// What encrypted an org's copies is gone, or another one lies there: nothing is made in its place.
async fn a_wrapped_key_is_never_replaced(operator: &Operator, org: &Org) {
    let name = bucket_layout::wrapped_key("", &org.id);
    let store = &operator.regions.store;
    let own = store.get(&name).await.unwrap().unwrap();
    let digest = org.ledger(operator).await.state().wrapped_key_digest.clone();
    assert_eq!(digest, Some(tray_domain::ledger::digest(&own)));
    let runs = org.ledger(operator).await.state().runs.len();
    for (there, words) in [
        (None, "is missing"),
        (Some(Bytes::from("another")), "is another one"),
    ] {
        match &there {
            None => store.remove(&name),
            Some(other) => store.overwrite(&name, other.clone()),
        }
        let restore = format!("fresh-keyless-{}", there.is_some());
        restore_of(org.name, &restore).await;
        // Of a process that has not looked yet; one that has looks again within a minute.
        running_anew_says(operator, org, "KeyMissing", words).await;
        let failed = restored(&restore, "Failed").await["status"]["conditions"].to_string();
        assert!(
            failed.contains("KeyMissing") && failed.contains(words),
            "{failed}"
        );
        assert_eq!(store.get(&name).await.unwrap(), there);
    }
    store.overwrite(&name, own);
    assert_eq!(
        org.ledger(operator).await.state().runs.len(),
        runs,
        "no run was made"
    );
}

/// A new process says of the org's backups that reason, with these words.
async fn running_anew_says(operator: &Operator, org: &Org, reason: &str, words: &str) {
    let other = operator.beside().await;
    let running = other.start(vec![Arc::new(BackupDriver::default())]).await;
    says(&other, org, reason, words).await;
    running.stop().await;
}
