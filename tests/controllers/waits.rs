//! What waits, and who takes it up: what OrgSnapshots say while they wait, what keeps an org's backups from getting on, and a `post`
//! hook that an operator which is gone has left outstanding.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tray_api::{conditions::reasons, orgsnapshot::OrgSnapshot};
use tray_operator::controllers::{backup::BackupDriver, changes::Change};

use crate::{
    backups::{
        Org, at_rest, end, mover, mover_that, nothing_is_left, post_hooks, pruner, restore_of, restored,
        says, snapshot, succeed, succeed_with_database, waits_for, with_a_database, write_down,
    },
    support::{
        api_server::{self, eventually},
        operator::Operator,
        orgs::gone,
    },
};

/// The org's status says that its ledger rests: of a time before the hook was outstanding. Whoever starts runs it all the same.
pub(crate) async fn a_post_hook_that_is_outstanding_is_run_again_by_who_starts_next(operator: &Operator) {
    let org = with_a_database("owing", "dddddddd-dddd-4ddd-8ddd-dddddddddddd").await;
    let first = operator.beside().await;
    let running = first.start(vec![Arc::new(BackupDriver::default())]).await;
    org.ask("owing-one").await;
    succeed_with_database(&first, &org).await;
    snapshot("owing-one", "Committed").await;
    post_hooks("owing-one", "Ended").await;
    nothing_is_left(&org).await;
    let view = at_rest(&first, &org).await;
    running.stop().await;
    write_down(&org, &view).await;
    let snapshots: Api<OrgSnapshot> = Api::all(api_server::shared().await.client().await);
    let outstanding = Patch::Merge(json!({"status": {"postHooks": "Outstanding"}}));
    snapshots
        .patch_status("owing-one", &PatchParams::default(), &outstanding)
        .await
        .unwrap();

    let posts = || {
        let begun = operator.hooks.begun();
        begun.iter().filter(|begun| *begun == "db-0 post").count()
    };
    let before = posts();
    let next = operator.beside().await;
    let running = next.start(vec![Arc::new(BackupDriver::default())]).await;
    let again = eventually(async || (posts() > before).then_some(()));
    assert!(again.await.is_some(), "{:?}", operator.hooks.begun());
    post_hooks("owing-one", "Ended").await;
    running.stop().await;
}

/// A mover of which no pod is made, an OrgSnapshot behind it, and a restore before both.
pub(crate) async fn what_waits_says_for_what_and_since_when(operator: &Operator) {
    let org = Org::place("waiting", "eeeeeeee-eeee-4eee-8eee-eeeeeeeeeeee").await;
    let own = operator.beside().await;
    let running = own.start(vec![Arc::new(BackupDriver::default())]).await;
    org.ask("waiting-zero").await;
    succeed(&own, &org, "waiting-zero", 3).await;
    snapshot("waiting-zero", "Committed").await;
    nothing_is_left(&org).await;
    says(&own, &org, reasons::LAST_RUN_GOOD, "").await;

    org.ask("waiting-one").await;
    let job = mover(&org, "waiting-one").await;
    org.ask("waiting-two").await;
    waits_for(
        "waiting-two",
        "waits for OrgSnapshot waiting-one, whose run is open since 20",
    )
    .await;
    waits_for("waiting-two", "; asked for at 20").await;
    waits_for(
        "waiting-one",
        "0 of 1 parts are copied and verified; the run is open since 20",
    )
    .await;

    // Its controller has begun the Job, and makes no pod.
    let jobs: Api<Job> = Api::namespaced(api_server::shared().await.client().await, &org.namespace());
    let now = Timestamp::from_second(own.ctx.now().as_second()).unwrap();
    let begun = Patch::Merge(json!({"status": {"startTime": now.to_string()}}));
    jobs.patch_status(&job.name_any(), &PatchParams::default(), &begun)
        .await
        .unwrap();
    own.clock.put_forward(SignedDuration::from_mins(16));
    own.ctx.changes.publish(&Change::Org(org.name.to_owned()));
    let words = format!("no pod of Job {} is made", job.name_any());
    says(&own, &org, reasons::MOVER_NOT_STARTED, &words).await;
    waits_for("waiting-one", &words).await;

    // A restore ends the run, whose mover goes when its last pod has. Then the one behind it waits for the restore, and runs when that has ended.
    restore_of(org.name, "waiting-back").await;
    let failed = snapshot("waiting-one", "Failed").await;
    assert_eq!(
        failed["status"]["failure"],
        "OrgRestore waiting-back was asked for"
    );
    let told = eventually(async || jobs.get(&job.name_any()).await.ok()?.metadata.deletion_timestamp);
    assert!(told.await.is_some(), "the mover of the run that has ended stays");
    gone(&jobs, &job.name_any()).await;
    let (proof, _) = mover_that(&org.namespace(), "ProveObjects").await;
    waits_for(
        "waiting-two",
        "waits for OrgRestore waiting-back, which is under way",
    )
    .await;
    end(&proof, Some("enough")).await;
    restored("waiting-back", "Failed").await;
    succeed(&own, &org, "waiting-two", 3).await;
    snapshot("waiting-two", "Committed").await;
    end(&pruner(&org).await, None).await;
    says(&own, &org, reasons::LAST_RUN_GOOD, "").await;
    nothing_is_left(&org).await;
    running.stop().await;
}
