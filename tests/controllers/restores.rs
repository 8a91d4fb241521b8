//! Restores on a real API server: what they wait for, what they name, what they leave. The test plays the movers, the TrayOrg
//! controller and whoever lets a claim go.

use std::sync::Arc;

use bytes::Bytes;
use jiff::SignedDuration;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PersistentVolumeClaim, Pod},
    rbac::v1::RoleBinding,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tray_api::{orgrestore::OrgRestore, trayorg::TrayOrg};
use tray_domain::{
    bucket_layout,
    ids::{PartId, RunId},
    ledger::LedgerState,
};
use tray_operator::controllers::{backup::BackupDriver, changes::Change};

use crate::{
    backups::{
        Org, end, last_words, look_twice, mover_that, nothing_is_left, restore_of, restored, snapshot,
    },
    support::{
        api_server::{self, eventually},
        operator::Operator,
        orgs::gone,
        runs::record,
    },
};

const VOLUME: &str = "data-db-0";

/// What happens while an operator runs. Returns the run that is restored.
pub(crate) async fn while_an_operator_runs(operator: &Operator, org: &Org) -> RunId {
    let run = copied(operator, org, "filled-one").await;
    Box::pin(a_claim_that_somebody_else_holds_is_named_before_anything_stops(
        operator, org, &run,
    ))
    .await;
    later_restores_say_which_one_they_wait_for(org).await;
    one_that_is_deleted_midway_leaves_no_right_and_an_end_in_the_ledger(operator, org).await;
    run
}

/// An org with a volume. It is suspended: its workloads are nobody's to start here.
pub(crate) async fn with_a_volume(operator: &Operator) -> Org {
    let org = Org::place("filled", "88888888-8888-4888-8888-888888888888").await;
    give_a_volume(&org, "Suspended").await;
    let seen = eventually(async || {
        let known = operator.ctx.index.orgs.get(org.name)?;
        (!known.spec.workloads.is_empty()).then_some(())
    });
    assert!(seen.await.is_some());
    org
}

async fn give_a_volume(org: &Org, state: &str) {
    let orgs: Api<TrayOrg> = Api::all(api_server::shared().await.client().await);
    let workload = json!({"name": "db", "kind": "StatefulSet", "image": "i", "runAsUser": 1000,
        "volume": {"size": "1Gi", "mountPath": "/data"}});
    let spec = json!({"spec": {"lifecycle": {"state": state}, "workloads": [workload]}});
    orgs.patch(org.name, &PatchParams::default(), &Patch::Merge(spec))
        .await
        .unwrap();
    claim(org).await;
}

/// Makes the claim, as the TrayOrg controller does. Returns its UID.
async fn claim(org: &Org) -> String {
    let client = api_server::shared().await.client().await;
    let labels = json!({"app.kubernetes.io/managed-by": "tray-operator", "platform.tray.ai/org": org.name,
        "platform.tray.ai/org-id": org.id, "platform.tray.ai/workload": "db"});
    api_server::apply(
        &client,
        &json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": VOLUME, "namespace": org.namespace(), "labels": labels},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
    )
    .await;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client, &org.namespace());
    claims.get(VOLUME).await.unwrap().uid().unwrap()
}

/// Lets the claim go that was deleted, as Kubernetes does when no pod names it any more.
async fn let_go(org: &Org, uid: &str) {
    let client = api_server::shared().await.client().await;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client, &org.namespace());
    let told = eventually(async || {
        let present = claims.get_opt(VOLUME).await.ok()?;
        let going = present.is_none_or(|claim| claim.metadata.deletion_timestamp.is_some());
        going.then_some(())
    });
    assert!(told.await.is_some(), "claim {uid} is not told to go");
    let free = Patch::Merge(json!({"metadata": {"uid": uid, "finalizers": null}}));
    drop(claims.patch(VOLUME, &PatchParams::default(), &free).await);
    let is_gone = eventually(async || {
        let present = claims.get_opt(VOLUME).await.ok()?;
        present
            .is_none_or(|claim| claim.uid().as_deref() != Some(uid))
            .then_some(())
    });
    assert!(is_gone.await.is_some());
}

/// Lets the movers of `owner` go once they are told to, as Kubernetes does when their last pods have gone.
async fn let_movers_go(org: &Org, owner: &str) {
    let jobs: Api<Job> = Api::namespaced(api_server::shared().await.client().await, &org.namespace());
    let of_owner = ListParams::default().labels(&format!("platform.tray.ai/owner={owner}"));
    let are_gone = eventually(async || {
        let present = jobs.list(&of_owner).await.ok()?.items;
        let told = present
            .iter()
            .filter(|job| job.metadata.deletion_timestamp.is_some());
        for job in told {
            gone(&jobs, &job.name_any()).await;
        }
        present.is_empty().then_some(())
    });
    assert!(are_gone.await.is_some(), "movers of {owner} stay");
}

/// Copies the org: both its parts.
async fn copied(operator: &Operator, org: &Org, name: &str) -> RunId {
    org.ask(name).await;
    let mut run = None;
    for (action, part) in [("SnapshotObjects", "objects"), ("SnapshotVolume", VOLUME)] {
        let (job, told) = mover_that(&org.namespace(), action).await;
        let id: RunId = told["action"]["runId"].as_str().unwrap().parse().unwrap();
        let part: PartId = part.parse().unwrap();
        let mut record = record(&id, &part, 3, operator.ctx.now());
        if part.as_str() == VOLUME {
            (record.files, record.repository_snapshot) = (3, Some("0".repeat(64)));
        }
        let key = bucket_layout::part_record("", &org.id, &id, &part, "pod-uid");
        let body = Bytes::from(serde_json::to_vec(&record).unwrap());
        operator.regions.store.overwrite(&key, body);
        end(&job, None).await;
        run = Some(id);
    }
    snapshot(name, "Committed").await;
    nothing_is_left(org).await;
    run.unwrap()
}

/// The status of the restore, once it says that.
async fn tells(name: &str, what: &str) -> Value {
    let restores: Api<OrgRestore> = Api::all(api_server::shared().await.client().await);
    let said = eventually(async || {
        let restore = serde_json::to_value(restores.get(name).await.ok()?).ok()?;
        let said = [&restore["status"]["conditions"], &restore["status"]["waitingFor"]].map(Value::to_string);
        said.iter()
            .any(|said| said.contains(what))
            .then(|| restore["status"].clone())
    });
    let last = restores.get(name).await.map(|restore| restore.status);
    said.await
        .unwrap_or_else(|| panic!("OrgRestore {name} does not say {what:?}: {last:#?}"))
}

/// Brings a restore to where it stops the org.
async fn proven(org: &Org) {
    for action in ["ProveObjects", "ProveVolume"] {
        let (job, _) = mover_that(&org.namespace(), action).await;
        end(&job, None).await;
    }
}

async fn pod_of_somebody_else(client: &Client, org: &Org) -> Api<Pod> {
    let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": VOLUME}}]);
    api_server::apply(
        client,
        &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pr-debug", "namespace": org.namespace()},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}], "volumes": volumes}}),
    )
    .await;
    Api::namespaced(client.clone(), &org.namespace())
}

fn filled(state: &LedgerState) -> Option<&str> {
    let volume: PartId = VOLUME.parse().unwrap();
    state.holders.get(&volume).map(|holder| holder.claim_uid.as_str())
}

async fn a_claim_that_somebody_else_holds_is_named_before_anything_stops(
    operator: &Operator,
    org: &Org,
    run: &RunId,
) {
    let client = api_server::shared().await.client().await;
    let before = claim(org).await;
    let pods = pod_of_somebody_else(&client, org).await;
    restore_of(org.name, "filled-back").await;
    proven(org).await;
    let status = tells("filled-back", "pr-debug (data-db-0)").await;
    assert_eq!(status["phase"], "Proving", "the org runs on");
    assert_eq!(status["waitingFor"]["what"], "ClaimHolders");
    // It ends, and holds the claim all the same: it is removed, and the claim goes.
    let ended = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
    pods.patch_status("pr-debug", &PatchParams::default(), &ended)
        .await
        .unwrap();
    let removed = eventually(async || pods.get_opt("pr-debug").await.ok()?.is_none().then_some(()));
    assert!(removed.await.is_some(), "the pod that has ended is not removed");
    let_go(org, &before).await;

    // The first claim is replaced behind the mover's back: what is filled is the second one.
    let first = claim(org).await;
    let (job, _) = mover_that(&org.namespace(), "RestoreVolume").await;
    assert_eq!(job.annotations()["platform.tray.ai/claim-uid"], first);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &org.namespace());
    claims.delete(VOLUME, &DeleteParams::default()).await.unwrap();
    let_go(org, &first).await;
    let second = claim(org).await;
    let jobs: Api<Job> = Api::namespaced(client, &org.namespace());
    let told = eventually(async || {
        let job = jobs.get_opt(&job.name_any()).await.ok()?;
        job.is_none_or(|job| job.metadata.deletion_timestamp.is_some())
            .then_some(())
    });
    assert!(told.await.is_some(), "the mover of the claim that is gone stays");
    gone(&jobs, &job.name_any()).await;
    let again = eventually(async || {
        let job = jobs.get_opt(&job.name_any()).await.ok()??;
        let said = job.annotations().get("platform.tray.ai/claim-uid")?;
        (*said == second && job.spec?.suspend == Some(false)).then_some(())
    });
    assert!(again.await.is_some(), "the second claim is not filled");
    let (job, _) = mover_that(&org.namespace(), "RestoreVolume").await;
    end(&job, None).await;
    let (job, _) = mover_that(&org.namespace(), "RestoreObjects").await;
    let words = json!({"outcome": "RestoredObjects", "created": 3, "updated": 0, "unchanged": 0, "refused": 0, "named": [],
        "later": 2, "laterNamed": [{"kind": "configmaps", "names": ["b", "a"]}]});
    last_words(&job, &words).await;
    end(&job, None).await;
    let shown = restored("filled-back", "Succeeded").await;
    let status = &shown["status"];
    assert!(
        status["conditions"].to_string().contains("stays suspended"),
        "{status}"
    );
    assert_eq!(status["laterCount"], 2);
    assert_eq!(
        status["laterObjects"],
        json!([{"kind": "configmaps", "name": "b"}, {"kind": "configmaps", "name": "a"}])
    );
    assert!(status.get("waitingFor").is_none());
    let part = status["parts"].as_array().unwrap().iter();
    let part = part.clone().find(|part| part["part"] == VOLUME).unwrap();
    assert_eq!(part["replacedClaimUid"], before);
    assert_eq!(part["filledClaimUid"], second);
    let state = org.ledger(operator).await.state();
    assert_eq!(filled(&state), Some(&*second));
    let recorded = state.restores.last().unwrap();
    assert_eq!((&recorded.run_id, recorded.succeeded), (run, true));
    nothing_is_left(org).await;
    let orgs: Api<TrayOrg> = Api::all(api_server::shared().await.client().await);
    let spec = orgs.get(org.name).await.unwrap().spec;
    assert_eq!(serde_json::to_value(spec.lifecycle.state).unwrap(), "Suspended");
}

async fn later_restores_say_which_one_they_wait_for(org: &Org) {
    restore_of(org.name, "filled-first").await;
    let (job, _) = mover_that(&org.namespace(), "ProveVolume").await;
    restored("filled-first", "Proving").await;
    restore_of(org.name, "filled-second").await;
    let status = tells("filled-second", "waits for OrgRestore filled-first to end").await;
    assert_eq!(status["phase"], "Pending");
    assert_eq!(status["waitingFor"]["what"], "Turn");
    end(&job, Some("enough")).await;
    restored("filled-first", "Failed").await;
    let_movers_go(org, "filled-first").await;
    let (job, _) = mover_that(&org.namespace(), "ProveVolume").await;
    end(&job, Some("enough")).await;
    restored("filled-second", "Failed").await;
    let_movers_go(org, "filled-second").await;
    nothing_is_left(org).await;
}

async fn one_that_is_deleted_midway_leaves_no_right_and_an_end_in_the_ledger(operator: &Operator, org: &Org) {
    let client = api_server::shared().await.client().await;
    let restores: Api<OrgRestore> = Api::all(client.clone());
    let bindings: Api<RoleBinding> = Api::namespaced(client, &org.namespace());
    let before = claim(org).await;
    restore_of(org.name, "filled-midway").await;
    proven(org).await;
    let_go(org, &before).await;
    claim(org).await;
    let (job, told) = mover_that(&org.namespace(), "RestoreObjects").await;
    assert!(bindings.get_opt("tray-restore").await.unwrap().is_some());
    let name = told["action"]["restore"].as_str().unwrap().to_owned();
    let state = org.ledger(operator).await.state();
    assert_eq!(state.restore.as_ref().map(|open| &open.restore), Some(&name));

    restores
        .delete("filled-midway", &DeleteParams::default())
        .await
        .unwrap();
    let revoked = eventually(async || {
        let binding = bindings.get_opt("tray-restore").await.ok()?;
        binding.is_none().then_some(())
    });
    assert!(revoked.await.is_some(), "its rights are still there");
    let ended = eventually(async || {
        let state = org.ledger(operator).await.state();
        let recorded = state.restores.iter().find(|known| known.restore == name)?;
        (state.is_idle() && !recorded.succeeded).then(|| recorded.why.clone())
    });
    let why = ended.await.expect("its end is in the ledger").unwrap();
    assert_eq!(why, "RestoreDeleted", "a code");
    let_movers_go(org, "filled-midway").await;
    nothing_is_left(org).await;
    assert!(task_is_of(&job, "filled-midway"));
    let lost = eventually(async || {
        let lost = operator.ctx.board.lost.get(&org.id)?;
        lost.contains_key(VOLUME).then_some(())
    });
    assert!(lost.await.is_some(), "what it took away is not told of");

    // And another one works.
    let lost = claim(org).await;
    restore_of(org.name, "filled-again").await;
    proven(org).await;
    let_go(org, &lost).await;
    let fresh = claim(org).await;
    for action in ["RestoreVolume", "RestoreObjects"] {
        let (job, _) = mover_that(&org.namespace(), action).await;
        end(&job, None).await;
    }
    restored("filled-again", "SucceededWithRefusals").await;
    assert_eq!(filled(&org.ledger(operator).await.state()), Some(&*fresh));
    nothing_is_left(org).await;
}

/// Brings a restore to where the org's workloads are to start. Returns the UID of the claim that it has filled.
async fn filled_by(org: &Org, restore: &str) -> String {
    let before = claim(org).await;
    restore_of(org.name, restore).await;
    proven(org).await;
    let_go(org, &before).await;
    let fresh = claim(org).await;
    let (job, _) = mover_that(&org.namespace(), "RestoreVolume").await;
    end(&job, None).await;
    let (job, _) = mover_that(&org.namespace(), "RestoreObjects").await;
    let words = json!({"outcome": "RestoredObjects", "created": 0, "updated": 0, "unchanged": 3, "refused": 0, "named": [],
        "later": 0, "laterNamed": []});
    last_words(&job, &words).await;
    end(&job, None).await;
    let restores: Api<OrgRestore> = Api::all(api_server::shared().await.client().await);
    let starting = eventually(async || {
        let status = serde_json::to_value(restores.get(restore).await.ok()?.status).ok()?;
        (status["waitingFor"]["what"] == "Workloads").then_some(())
    });
    let last = restores.get(restore).await.map(|restore| restore.status);
    assert!(starting.await.is_some(), "{restore} starts nothing: {last:#?}");
    fresh
}

/// What a restore waits for may never come. Its operator has a clock of its own, which is put forward.
pub(crate) async fn what_never_comes_ends_a_restore(operator: &Operator) {
    let org = Org::place("ending", "99999999-9999-4999-8999-999999999998").await;
    give_a_volume(&org, "Active").await;
    let own = operator.beside().await;
    let running = own.start(vec![Arc::new(BackupDriver::default())]).await;
    let later = |minutes| {
        own.clock.put_forward(SignedDuration::from_mins(minutes));
        own.ctx.changes.publish(&Change::Org(org.name.to_owned()));
    };
    copied(&own, &org, "ending-one").await;

    // No workload comes up: the data is back all the same.
    let fresh = filled_by(&org, "ending-idle").await;
    later(21);
    let shown = restored("ending-idle", "Succeeded").await;
    let said = shown["status"]["conditions"].to_string();
    assert!(said.contains("WorkloadsUnavailable"), "{said}");
    let state = org.ledger(&own).await.state();
    let recorded = state.restores.last().unwrap();
    assert!(recorded.data_is_back && !recorded.succeeded, "{recorded:?}");
    assert_eq!(filled(&state), Some(&*fresh));
    nothing_is_left(&org).await;

    // Somebody replaces the claim that was filled.
    let fresh = filled_by(&org, "ending-lost").await;
    let claims: Api<PersistentVolumeClaim> =
        Api::namespaced(api_server::shared().await.client().await, &org.namespace());
    claims.delete(VOLUME, &DeleteParams::default()).await.unwrap();
    let_go(&org, &fresh).await;
    claim(&org).await;
    let shown = restored("ending-lost", "Failed").await;
    let said = shown["status"]["conditions"].to_string();
    assert!(said.contains("VolumeReplaced") && said.contains(VOLUME), "{said}");
    nothing_is_left(&org).await;
    assert!(
        own.ctx
            .board
            .lost
            .get(&org.id)
            .is_some_and(|lost| lost.contains_key(VOLUME))
    );

    // A pod of somebody else never lets go: nothing was stopped for it.
    let pods = pod_of_somebody_else(&api_server::shared().await.client().await, &org).await;
    let held = claim(&org).await;
    restore_of(org.name, "ending-held").await;
    proven(&org).await;
    tells("ending-held", "pr-debug (data-db-0)").await;
    later(61);
    let shown = restored("ending-held", "Failed").await;
    let said = shown["status"]["conditions"].to_string();
    assert!(said.contains("ClaimHeld") && said.contains("pr-debug"), "{said}");
    assert_eq!(claim(&org).await, held, "nothing of the org was touched");
    pods.delete("pr-debug", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    nothing_is_left(&org).await;

    // An operator that starts again and again does not begin the limit anew, and has its time to look first.
    let before = claim(&org).await;
    restore_of(org.name, "ending-stuck").await;
    proven(&org).await;
    tells("ending-stuck", "ClaimsGone").await;
    running.stop().await;
    let next = operator.beside().await;
    next.clock.put_forward(SignedDuration::from_hours(3));
    let running = next.start(vec![Arc::new(BackupDriver::default())]).await;
    look_twice(&next, &org).await;
    tells("ending-stuck", "ClaimsGone").await;
    next.clock.put_forward(SignedDuration::from_mins(11));
    next.ctx.changes.publish(&Change::Org(org.name.to_owned()));
    let shown = restored("ending-stuck", "Failed").await;
    let said = shown["status"]["conditions"].to_string();
    assert!(said.contains("TookTooLong") && said.contains(VOLUME), "{said}");
    let_go(&org, &before).await;
    nothing_is_left(&org).await;
    running.stop().await;
}

fn task_is_of(job: &Job, restore: &str) -> bool {
    job.labels().get("platform.tray.ai/owner").map(String::as_str) == Some(restore)
}

/// Its run is pinned and its proof runs, and there is no entry of its begin.
pub(crate) async fn from_an_earlier_version(operator: &Operator, org: &Org, run: &RunId) {
    let restores: Api<OrgRestore> = Api::all(api_server::shared().await.client().await);
    restore_of(org.name, "filled-earlier").await;
    let claim_uid = claim(org).await;
    let status = json!({"status": {"phase": "Proving", "runId": run, "startedAt": "2026-01-01T00:00:00Z", "parts": [
        {"part": "objects", "state": "Pending"}, {"part": VOLUME, "state": "Pending", "replacedClaimUid": claim_uid}]}});
    restores
        .patch_status("filled-earlier", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    let next = operator.beside().await;
    let running = next.start(vec![Arc::new(BackupDriver::default())]).await;
    let (job, told) = mover_that(&org.namespace(), "ProveVolume").await;
    let state = org.ledger(operator).await.state();
    let open = state.restore.clone().expect("it is begun");
    assert_eq!(told["action"]["restore"], open.restore);
    assert_eq!(open.run_id, *run);
    end(&job, Some("enough")).await;
    restored("filled-earlier", "Failed").await;
    assert!(org.ledger(operator).await.state().is_idle());
    nothing_is_left(org).await;
    running.stop().await;
}
