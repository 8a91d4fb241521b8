//! The backup controller on a real API server, with AWS in memory and movers that are only Jobs: the test says how each
//! ends.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{batch::v1::Job, coordination::v1::Lease, core::v1::Secret};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tray_operator::{
    adapters::ledger_store::{Ledger, LedgerStore},
    api::{orgrestore::OrgRestore, orgsnapshot::OrgSnapshot, region::Region, trayorg::TrayOrg},
    controllers::{backup::BackupDriver, changes::Change},
    domain::{
        bucket_layout,
        ids::{OrgId, PartId, RunId},
        ledger::Event,
        manifest::{FORMAT_VERSION, PartRecord},
        run_plan::{self, CopiedPart, RunFacts},
        stage::Stage,
    },
    ports::ObjectStore,
};

use crate::support::{
    api_server::{self, eventually},
    flux,
    operator::{Operator, passes},
};

const LEDGER_KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/ledger";

/// An org without workloads, placed as the TrayOrg controller places one.
struct Org {
    name: &'static str,
    id: OrgId,
}

impl Org {
    async fn place(name: &'static str, id: &str) -> Self {
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

    fn namespace(&self) -> String {
        format!("org-{}-{}", self.name, &self.id.as_str()[..8])
    }

    async fn ask(&self, snapshot: &str) {
        let client = api_server::shared().await.client().await;
        api_server::apply(&client, &json!({
            "apiVersion": "platform.tray.ai/v1alpha1", "kind": "OrgSnapshot", "metadata": {"name": snapshot},
            "spec": {"orgRef": {"name": self.name}},
        }))
        .await;
    }

    async fn ledger(&self, operator: &Operator) -> Ledger {
        let store: Arc<dyn ObjectStore> = operator.regions.store.clone();
        let key = LEDGER_KEY.parse().unwrap();
        LedgerStore::new()
            .open(store, "", key, self.id.clone(), "cluster")
            .await
            .unwrap()
    }
}

async fn platform() {
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

fn record(run_id: &RunId, part: &PartId, objects: u64, at: Timestamp) -> PartRecord {
    PartRecord {
        format_version: FORMAT_VERSION,
        run_id: run_id.clone(),
        part: part.clone(),
        repository_snapshot: None,
        files: 0,
        objects,
        bytes: 100 * objects,
        bytes_read: 300,
        bytes_added: 100,
        content_digest: "digest".into(),
        started_at: at,
        finished_at: at,
        warnings: vec![],
        verified: true,
        engine_version: "engine".into(),
    }
}

/// The one mover of `namespace`, once it was let run.
async fn mover(namespace: &str) -> Job {
    mover_of(namespace, "").await
}

/// The one whose name holds `part`.
async fn mover_of(namespace: &str, part: &str) -> Job {
    let jobs: Api<Job> = Api::namespaced(api_server::shared().await.client().await, namespace);
    let started = eventually(async || {
        let jobs = jobs.list(&ListParams::default()).await.ok()?.items;
        jobs.into_iter()
            .filter(|job| job.name_any().contains(part))
            .find(|job| job.spec.as_ref().and_then(|spec| spec.suspend) == Some(false))
    });
    started
        .await
        .unwrap_or_else(|| panic!("no mover was started in {namespace}"))
}

/// What a mover was told.
async fn task(job: &Job) -> Value {
    let secrets: Api<Secret> = Api::namespaced(
        api_server::shared().await.client().await,
        &job.namespace().unwrap(),
    );
    let secret = secrets.get(&job.name_any()).await.unwrap();
    serde_json::from_slice(&secret.data.unwrap()["task.json"].0).unwrap()
}

/// Ends a mover, as the Job controller does when its pod has ended.
async fn end(job: &Job, failure: Option<&str>) {
    let jobs: Api<Job> = Api::namespaced(
        api_server::shared().await.client().await,
        &job.namespace().unwrap(),
    );
    let now = Timestamp::from_second(1_800_000_000).unwrap().to_string();
    let conditions = |types: [&str; 2], message: &str| {
        types.map(|type_| json!({"type": type_, "status": "True", "reason": "Ended", "message": message}))
    };
    let status = match failure {
        None => json!({"startTime": now, "completionTime": now, "succeeded": 1,
            "conditions": conditions(["SuccessCriteriaMet", "Complete"], "")}),
        Some(why) => {
            json!({"startTime": now, "failed": 1, "conditions": conditions(["FailureTarget", "Failed"], why)})
        }
    };
    let patch = Patch::Merge(json!({"status": status}));
    jobs.patch_status(&job.name_any(), &PatchParams::default(), &patch)
        .await
        .unwrap();
}

async fn snapshot(name: &str, phase: &str) -> Value {
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

async fn nothing_is_left(org: &Org) {
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
    assert!(
        clean.await.is_some(),
        "movers or the lock of {} are left",
        org.name
    );
}

/// One test for all scenarios: every operator works on every org of the API server.
#[tokio::test]
async fn an_org_is_copied_pruned_and_told_about() {
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
    a_run_that_is_not_there_cannot_be_restored(&fresh).await;
    a_snapshot_of_no_org_says_so().await;
    an_aged_run_is_pruned_and_its_archive_removed(&operator, &aged, &pruned).await;
    an_org_without_slots_is_pruned_and_copied_all_the_same(&operator).await;
    an_org_that_a_region_gives_a_shared_key_keeps_it(&operator, &fresh).await;
    running.stop().await;
    two_operators_at_once_copy_an_org_once(&operator, &fresh).await;
}

/// Leadership can be lost without being noticed at once: two work on one org, and then one is gone in the middle.
async fn two_operators_at_once_copy_an_org_once(first: &Operator, org: &Org) {
    let second = first.beside().await;
    let running = first.start(vec![Arc::new(BackupDriver::default())]).await;
    let others = second.start(vec![Arc::new(BackupDriver::default())]).await;
    let mut wanted = BTreeMap::new();
    for name in ["fresh-twice", "fresh-twice-more"] {
        org.ask(name).await;
        wanted.insert(succeed(first, org, 3).await, name.to_owned());
        snapshot(name, "Committed").await;
        nothing_is_left(org).await;
    }
    org.ask("fresh-cut-off").await;
    mover(&org.namespace()).await;
    running.cut_off().await;
    its_watch_is_behind(&second, org, "fresh-cut-off").await;
    wanted.insert(succeed(&second, org, 3).await, "fresh-cut-off".to_owned());
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
}

/// An operator whose watch has not shown yet whose run it is that the ledger has as open lets it go on.
async fn its_watch_is_behind(operator: &Operator, org: &Org, snapshot: &str) {
    operator.ctx.index.snapshots.remove(snapshot, None);
    // The pass that may be under way, and one more.
    for _ in 0..2 {
        let before = passes(&operator.ctx, "backup");
        operator.ctx.changes.publish(&Change::Org(org.name.to_owned()));
        let looked = eventually(async || (passes(&operator.ctx, "backup") > before).then_some(()));
        assert!(looked.await.is_some());
    }
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

/// Lets the mover of the org's run leave a verified record of that many objects, and end well.
async fn succeed(operator: &Operator, org: &Org, objects: u64) -> RunId {
    let job = mover(&org.namespace()).await;
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
    succeed(operator, &sharing, 3).await;
    let shown = snapshot("sharing-one", "Committed").await;
    assert_eq!(shown["status"]["kmsKeyArn"], shared);
    nothing_is_left(&sharing).await;
    let state = sharing.ledger(operator).await.state();
    assert!(state.key_intent.is_none(), "no key was made for it");

    kms("PerOrgKey", None).await;
    sharing.ask("sharing-two").await;
    succeed(operator, &sharing, 3).await;
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
        let sweep = mover_of("tray-system", id.as_str()).await;
        assert_eq!(task(&sweep).await["action"]["removeArchives"], json!([pruned]));
        end(&sweep, None).await;

        let asked = format!("{name}-now");
        org.ask(&asked).await;
        succeed(operator, &org, 3).await;
        snapshot(&asked, "Committed").await;
        nothing_is_left(&org).await;

        // The newest copy is of now: the next is due before it is a day old.
        let next = eventually(async || {
            let view = operator.ctx.backup_facts.get(&org.id).view?;
            (view.healthy.reason == reason)
                .then_some(view.status.next_due)
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
    let run = succeed(operator, org, 3).await;
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
    let run = succeed(operator, org, 1).await;
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
        let taken_away = orgs.get(org.name).await.ok()?.annotations().is_empty();
        (good && taken_away).then_some(())
    });
    assert!(accepted.await.is_some(), "the run was not accepted");
    nothing_is_left(org).await;
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
    end(&mover(&org.namespace()).await, Some("the disk is on fire")).await;
    let shown = snapshot("fresh-two", "Failed").await;
    let message = shown["status"]["conditions"][0]["message"].as_str().unwrap();
    assert!(
        message.contains("part objects") && message.contains("the disk is on fire"),
        "{message}"
    );
    assert_eq!(
        flux::verdicts(&[shown])[0].status,
        "Failed",
        "whoever waits is told"
    );
    nothing_is_left(org).await;
    let state = org.ledger(operator).await.state();
    let committed = state.runs.values().filter(|run| run.committed_at().is_some());
    assert_eq!((committed.count(), state.runs.len()), (1, 2));
}

async fn a_run_that_is_not_there_cannot_be_restored(org: &Org) {
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
}

/// Four good runs, the first of them 15 days old, as an operator would have written them.
async fn seed(operator: &Operator, org: &Org) -> RunId {
    let ledger = org.ledger(operator).await;
    let now = operator.ctx.now();
    let volume: PartId = "data-db-0".parse().unwrap();
    ledger.claim(now).await.unwrap();
    ledger.append(Event::RepoInit { volume }, now).await.unwrap();
    let mut oldest = None;
    for hours in [15 * 24, 36, 24, 12] {
        let at = now - SignedDuration::from_hours(hours);
        let run_id = RunId::of(at, &hours.to_string());
        let name = format!("{}-{hours}", org.name);
        let plan = run_plan::plan(run_id.clone(), &name, Some(at), &[]);
        let part = run_plan::objects_part();
        let copied = CopiedPart {
            record: record(&run_id, &part, 3, at),
            pod_uid: "pod".into(),
            hook_started_at: None,
        };
        let facts = RunFacts {
            org_id: org.id.clone(),
            cluster_uid: "cluster".into(),
            stage: Stage::Production,
            kms_key_arn: "arn:aws:kms:eu-central-1:111122223333:key/org".parse().unwrap(),
            bucket: "tray-backups-eu".into(),
            bucket_cloud_region: "eu-central-1".into(),
            prefix: String::new(),
            operator_version: "0".into(),
        };
        let manifest = run_plan::manifest(&plan, &facts, &[copied], vec![]).unwrap();
        ledger.append(Event::RunPlanned { plan }, at).await.unwrap();
        ledger
            .append(
                Event::RunCommitted {
                    manifest: Box::new(manifest),
                },
                at,
            )
            .await
            .unwrap();
        oldest.get_or_insert(run_id);
    }
    oldest.unwrap()
}

async fn an_aged_run_is_pruned_and_its_archive_removed(operator: &Operator, org: &Org, pruned: &RunId) {
    let state = org.ledger(operator).await.state();
    assert!(
        state.runs.values().all(|run| run.pruned.is_none()),
        "nothing goes by what is not in force yet"
    );
    org.keeps(14).await;
    let job = mover("tray-system").await;
    let action = task(&job).await["action"].clone();
    assert_eq!(action["removeArchives"], json!([pruned]));
    assert_eq!(action["volumes"][0]["keepDeleteHours"], 23);
    let state = org.ledger(operator).await.state();
    let gone: Vec<&RunId> = state
        .runs
        .iter()
        .filter(|(_, run)| run.pruned.is_some())
        .map(|(id, _)| id)
        .collect();
    assert_eq!(gone, [pruned]);
    // What is removed is in the ledger before anything is removed.
    assert!(state.swept.is_empty());
    end(&job, None).await;
    let swept = eventually(async || {
        let state = org.ledger(operator).await.state();
        (!state.swept.is_empty()).then_some(())
    });
    assert!(swept.await.is_some(), "the sweep is not in the ledger");
}
