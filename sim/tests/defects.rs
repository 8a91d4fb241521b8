//! Each invariant is seen to break: in worlds that somebody doctors, or whose players lie. One that cannot break says nothing.

#![allow(clippy::unwrap_used, reason = "in a test this is an assertion")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::sleep;
use tray_domain::{
    bucket_layout,
    ids::OrgId,
    ledger::{Entry, Event, LedgerState},
    mover_task::MoverTask,
};
use tray_ledger::{Ledger, LedgerStore, Writer};
use tray_ports::{Clock, HookError};
use tray_sim::{
    aws::{Bucket, Caller, Reach},
    lies::Lie,
    log::{Broken, Log},
    manifests::{self, FOREIGN, HOMES, PRE_HOOK, Variant},
    random::Random,
    simulation::{self, Plan},
    trouble::HookRates,
    truth::Truth,
    world::World,
};
use tray_testkit::{clock::RuntimeClock, cluster::Name};

const CLAIM: &str = "data-db-0";
const ORGS: &str = "trayorgs.platform.tray.ai";

/// A world of one org in which nothing goes wrong but what somebody does.
fn calm(days: u64) -> Plan {
    Plan {
        seed: 1,
        orgs: 1,
        days,
        faults: false,
        fenced: None,
    }
}

/// What is found broken in a world in which that is done.
fn found(plan: &Plan, begin: impl FnOnce(&Arc<World>)) -> Vec<Broken> {
    simulation::run_with(plan, begin).unwrap().broken
}

/// Whether an invariant is found broken, in words with that in them.
fn assert_broken(found: &[Broken], invariant: u8, says: &str) {
    let is_it = |broken: &Broken| broken.invariant == invariant && broken.what.contains(says);
    assert!(found.iter().any(is_it), "not {invariant}, {says:?}: {found:#?}");
}

/// Does something to a world a minute before that hour.
fn at<F: Future<Output = ()> + Send>(
    world: &Arc<World>,
    hour: u64,
    act: impl FnOnce(Arc<World>) -> F + Send + 'static,
) {
    let world = world.clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(hour * 3600 - 60)).await;
        act(world).await;
    });
}

fn org_id() -> OrgId {
    manifests::org_id(0).parse().unwrap()
}

fn namespace() -> String {
    manifests::org_namespace(0)
}

fn claim() -> Name {
    Name::new(namespace(), CLAIM)
}

fn bucket(world: &World) -> &Bucket {
    &world.places[HOMES[0].bucket].bucket
}

/// The ledger of the org.
async fn ledger(world: &World) -> Ledger {
    let place = world.places[HOMES[0].bucket].clone();
    let caller = Caller {
        name: "somebody".into(),
        gate: Arc::default(),
        doom: None,
    };
    let key = HOMES[0].ledger_key.parse().unwrap();
    let store = Arc::new(Reach::new(place, caller));
    let opened = LedgerStore::new()
        .open(store, "", key, org_id(), &Writer::none())
        .await;
    opened.unwrap()
}

/// Somebody writes into the ledger what its state makes them, as if they were its holder.
async fn append(world: &World, events: impl FnOnce(&LedgerState) -> Vec<Event>) {
    let state = ledger(world).await.state();
    let (holder, epoch) = state.claim.clone().unwrap();
    for event in events(&state) {
        put_entry(world, &holder, epoch, event).await;
    }
}

/// Puts an entry of that cluster behind the newest, whatever anybody holds of it.
async fn put_entry(world: &World, cluster_uid: &str, epoch: u64, event: Event) {
    let state = ledger(world).await.state();
    let entry = Entry {
        format_version: event.format_version(),
        org_id: org_id(),
        seq: state.next_seq,
        at: world.clock.now(),
        cluster_uid: cluster_uid.to_owned(),
        epoch,
        previous_digest: state.last_digest.clone(),
        checkpoint: state.checkpoint,
        event,
    };
    let key = bucket_layout::ledger_entry("", &org_id(), state.next_seq);
    bucket(world).place(&key, entry.encode().unwrap().into());
}

/// Every key under a folder of the org.
fn keys(world: &World, folder: &str) -> Vec<String> {
    let prefix = format!("{}{folder}", bucket_layout::org_prefix("", &org_id()));
    let listed = bucket(world).list(&prefix, "");
    listed.into_iter().map(|listed| listed.key).collect()
}

fn truth() -> (Arc<Log>, Truth, RuntimeClock) {
    let clock = RuntimeClock::from("2026-01-05T00:00:00Z".parse().unwrap());
    let log = Arc::new(Log::new(Arc::new(clock)));
    (log.clone(), Truth::new(log, clock), clock)
}

#[test]
fn runs_1_and_2_whose_packs_are_gone() {
    let found = found(&calm(2), |world| {
        at(world, 30, |world| async move {
            for key in keys(&world, &format!("repo/{CLAIM}/data/")) {
                bucket(&world).lose(&key);
            }
        });
    });
    assert_broken(&found, 1, "are in no pack");
    assert_broken(&found, 2, "are in no pack");
}

#[test]
fn an_archive_1_that_is_changed_and_one_that_is_gone() {
    for (changed, says) in [(true, "cannot be decrypted"), (false, "is not there")] {
        let found = found(&calm(2), |world| {
            at(world, 30, move |world| async move {
                let key = keys(&world, "objects/").pop().unwrap();
                if changed {
                    let mut body = bucket(&world).get(&key).unwrap().body.to_vec();
                    *body.last_mut().unwrap() ^= 1;
                    bucket(&world).place(&key, body.into());
                } else {
                    bucket(&world).lose(&key);
                }
            });
        });
        assert_broken(&found, 1, says);
    }
}

#[test]
fn a_copy_3_of_a_run_that_nobody_knows() {
    let found = found(&calm(10), |world| {
        at(world, 1, |world| async move {
            let archives = bucket_layout::objects_archives("", &org_id());
            let key = format!("{archives}01ARZ3NDEKTSV4RRFFQ69G5FAV.tray");
            bucket(&world).place(&key, Bytes::from_static(b"left"));
        });
    });
    assert_broken(&found, 3, "01ARZ3NDEKTSV4RRFFQ69G5FAV.tray is still there");
}

#[test]
fn an_operator_4_that_prunes_every_copy() {
    let found = found(&calm(2), |world| {
        at(world, 30, |world| async move {
            let prune = |state: &LedgerState| {
                let good = state.good_runs().into_iter().map(|(run, _)| Event::Pruned {
                    run_id: run.clone(),
                    why: "none".to_owned(),
                });
                good.collect()
            };
            append(&world, prune).await;
        });
    });
    assert_broken(&found, 4, "has no good copy any more");
}

#[tokio::test(start_paused = true)]
async fn two_movers_5_at_work_for_one_org() {
    let (log, truth, _) = truth();
    for (uid, run) in [
        ("a", "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        ("b", "01ARZ3NDEKTSV4RRFFQ69G5FAW"),
    ] {
        let task: MoverTask = serde_json::from_value(json!({
            "orgId": org_id(), "kmsKeyArn": HOMES[0].ledger_key,
            "location": {"bucket": "b", "bucketOwner": "1", "cloudRegion": "r", "prefix": "",
                "endpoints": {"s3": "", "kms": "", "sts": ""}},
            "action": {"action": "SnapshotObjects", "runId": run, "part": "objects", "namespace": namespace()},
        }))
        .unwrap();
        truth.mover_begins(&task, &Name::new(namespace(), uid), uid);
        truth.mover_works(uid);
    }
    assert_broken(
        &log.found(),
        5,
        "b works for run 01ARZ3NDEKTSV4RRFFQ69G5FAW while a works",
    );
}

#[test]
fn a_claim_6_that_goes_before_it_was_copied() {
    let found = found(&calm(2), |world| {
        let world = world.clone();
        tokio::spawn(async move {
            while world.volume_of(&claim()).is_none() {
                sleep(Duration::from_secs(1)).await;
            }
            world.delete("persistentvolumeclaims", &claim());
        });
    });
    assert_broken(&found, 6, "was deleted without a good copy of it");
}

#[test]
fn copies_7_of_a_volume_that_has_lost_its_content() {
    let found = found(&calm(3), |world| {
        at(world, 26, |world| async move {
            world.truth.emptied(&world.volume_of(&claim()).unwrap());
        });
    });
    assert_broken(&found, 7, "had lost its content");
}

#[test]
fn operators_8_18_19_that_are_gone() {
    let found = found(&calm(4), |world| {
        at(world, 20, |world| async move {
            world.lies.tell(Lie::NobodyLeads);
            sleep(Duration::from_secs(3600)).await;
            world.put(manifests::restore("late", &manifests::org_name(0)));
            world.put(manifests::snapshot("later", &manifests::org_name(0)));
        });
    });
    assert_broken(&found, 8, "RpoMet of org0 is True");
    assert_broken(&found, 18, "\"later\" (): ");
    assert_broken(&found, 18, "has no good copy of the last day");
    assert_broken(&found, 19, "OrgRestore \"late\"");
}

#[test]
fn movers_9_that_fill_nothing() {
    let found = found(&calm(3), |world| {
        world.lies.tell(Lie::NothingIsFilled);
        at(world, 26, |world| async move {
            world.put(manifests::restore("nothing", &manifests::org_name(0)));
        });
    });
    assert_broken(&found, 9, "was filled from None");
}

#[tokio::test(start_paused = true)]
async fn an_object_9_that_comes_back_as_another() {
    let (log, truth, clock) = truth();
    truth.archived("run", Some("as it was".to_owned()));
    truth.put_back("one", "run", clock.now(), Some("as it was".to_owned()));
    assert!(log.found().is_empty());
    truth.put_back("one", "run", clock.now(), Some("as it never was".to_owned()));
    assert_broken(&log.found(), 9, "as it never was");
}

#[test]
fn hooks_10_that_do_not_run() {
    let has_hooks = |seed: &u64| Variant::drawn(&Random::of(*seed)).hooks;
    let seed = (1..1_000).find(has_hooks).unwrap();
    let plan = Plan { seed, ..calm(2) };
    let found = found(&plan, |world| world.lies.tell(Lie::NoHookRuns));
    assert_broken(&found, 10, "was consistent since None");
}

#[test]
fn a_run_11_that_is_planned_twice() {
    let found = found(&calm(2), |world| {
        at(world, 30, |world| async move {
            let again = |state: &LedgerState| {
                let run = state.runs.values().next().unwrap();
                vec![Event::RunPlanned {
                    plan: run.plan.clone(),
                }]
            };
            append(&world, again).await;
        });
    });
    assert_broken(&found, 11, "was planned 2 times");
}

#[test]
fn an_entry_12_that_is_gone_and_one_that_is_another() {
    let lost = found(&calm(2), |world| {
        at(world, 30, |world| async move {
            bucket(&world).lose(&bucket_layout::ledger_entry("", &org_id(), 2));
        });
    });
    assert_broken(&lost, 12, "0000000002.json was deleted");
    let replaced = found(&calm(2), |world| {
        at(world, 30, |world| async move {
            let key = bucket_layout::ledger_entry("", &org_id(), 2);
            let body = bucket(&world).get(&key).unwrap().body;
            bucket(&world).place(&key, body);
        });
    });
    assert_broken(&replaced, 12, "was written twice");
}

#[test]
fn a_wrapped_key_12_that_is_put_twice() {
    let found = found(&calm(2), |world| {
        at(world, 30, |world| async move {
            let key = bucket_layout::wrapped_key("", &org_id());
            let body = bucket(&world).get(&key).unwrap().body;
            bucket(&world).place(&key, body);
        });
    });
    assert_broken(&found, 12, "was written 2 times");
}

#[test]
fn a_checkpoint_13_that_is_no_fold() {
    let found = found(&calm(2), |world| {
        at(world, 30, |world| async move {
            let forgetful = |state: &LedgerState| {
                let mut state = state.clone();
                state.runs.clear();
                vec![Event::Checkpoint {
                    state: Box::new(state),
                }]
            };
            append(&world, forgetful).await;
        });
    });
    assert_broken(&found, 13, "is not what the entries before it add up to");
}

#[test]
fn an_entry_15_behind_the_claim_of_another_cluster() {
    let found = found(&calm(2), |world| {
        at(world, 30, |world| async move {
            let (ours, epoch) = ledger(&world).await.state().claim.clone().unwrap();
            put_entry(
                &world,
                "another",
                epoch + 1,
                Event::Claim {
                    holder: "another".to_owned(),
                },
            )
            .await;
            let late = Event::KeyPlanned {
                intent: "late".to_owned(),
            };
            put_entry(&world, &ours, epoch, late).await;
        });
    });
    assert_broken(&found, 15, "stands behind the claim of another cluster");
}

#[test]
fn a_hook_16_that_runs_on_and_one_without_its_post() {
    let found = found(&calm(2), |world| {
        at(world, 20, |world| async move {
            let pod = Name::new(namespace(), "other-0");
            let hangs = HookRates {
                hangs: 1.0,
                ..HookRates::default()
            };
            let (hook, limit) = ([PRE_HOOK.to_owned()], Duration::from_secs(60));
            let ended = world.containers.run(&pod, &hook, limit, hangs).await;
            assert!(matches!(ended, Err(HookError::TimedOut { .. })), "{ended:?}");
        });
    });
    assert_broken(&found, 16, "runs on");
    assert_broken(&found, 16, "has had no post");
}

#[test]
fn an_object_17_in_another_bucket_and_one_in_another_folder() {
    let found = found(&calm(2), |world| {
        at(world, 30, |world| async move {
            let key = bucket_layout::wrapped_key("", &org_id());
            let body = bucket(&world).get(&key).unwrap().body;
            world.places[HOMES[1].bucket].bucket.place(&key, body.clone());
            bucket(&world).place(&format!("copies/{key}"), body);
        });
    });
    assert_broken(&found, 17, "in bucket tray-backups-us");
    assert_broken(&found, 17, "object copies/");
}

#[test]
fn a_volume_17_in_another_region() {
    let found = found(&calm(2), |world| {
        at(world, 47, |world| async move {
            let volume = Name::new("", world.volume_of(&claim()).unwrap());
            let moved = world.server.change("persistentvolumes", &volume, |volume| {
                volume["metadata"]["labels"]["topology.kubernetes.io/region"] = json!(HOMES[1].cloud_region);
            });
            moved.unwrap();
        });
    });
    assert_broken(&found, 17, "is of org0, whose Region is eu");
}

#[test]
fn a_ledger_20_that_grows() {
    let found = found(&calm(2), |world| {
        at(world, 30, |world| async move {
            let large = |state: &LedgerState| {
                let mut plan = state.runs.values().next().unwrap().plan.clone();
                plan.run_id = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
                plan.snapshot_name = "n".repeat(500 * 1024);
                vec![Event::RunPlanned { plan }]
            };
            append(&world, large).await;
        });
    });
    assert_broken(&found, 20, "the state of");
}

#[test]
fn an_operator_21_that_asks_and_asks() {
    let found = found(&calm(2), |world| {
        at(world, 30, |world| async move {
            let client = world.server.client("operator-9");
            let list = || http::Request::get("/api/v1/nodes").body(Vec::new()).unwrap();
            for _ in 0..2_000 {
                client.request_text(list()).await.unwrap();
            }
        });
    });
    assert_broken(&found, 21, "requests in an hour");
}

#[test]
fn a_volume_22_of_an_org_that_is_gone() {
    let found = found(&calm(2), |world| {
        at(world, 20, |world| async move {
            let org = Name::new("", manifests::org_name(0));
            let unprotected = world.server.change(ORGS, &org, |org| {
                org["spec"]["lifecycle"]["deletionProtection"] = json!("Disabled");
            });
            unprotected.unwrap();
            world.delete(ORGS, &org);
            sleep(Duration::from_secs(2 * 3600)).await;
            world.server.remove("persistentvolumeclaims", &claim());
        });
    });
    assert_broken(&found, 22, "had claim data-db-0");
}

#[test]
fn a_name_23_that_is_told() {
    let found = found(&calm(2), |world| {
        at(world, 47, |world| async move {
            let name = Name::new("", manifests::org_name(0));
            let told = world.server.change(ORGS, &name, |org| {
                org["metadata"]["annotations"]["example/file"] = json!(format!("{}01", manifests::PLANTED));
            });
            told.unwrap();
            bucket(&world).place("log", Bytes::from(format!("lost: {}02", manifests::PLANTED)));
        });
    });
    assert_broken(&found, 23, "of trayorgs.platform.tray.ai tells");
    assert_broken(&found, 23, "log tells");
}

#[test]
fn a_foreign_object_24_that_is_changed() {
    let found = found(&calm(2), |world| {
        at(world, 30, |world| async move {
            let changed = world
                .server
                .change("configmaps", &Name::new("default", FOREIGN), |object| {
                    object["data"]["a"] = json!("c");
                });
            changed.unwrap();
        });
    });
    assert_broken(&found, 24, "ConfigMap foreign was changed");
}

#[test]
fn credentials_25_that_have_run_out() {
    let found = found(&calm(2), |world| {
        let world = world.clone();
        tokio::spawn(async move {
            let mut changes = world.server.changes(&["secrets"]);
            loop {
                let change = changes.next().await;
                let is_of_mover = |secret: &Value| secret["data"]["credentials.json"].is_string();
                if change.before().is_none() && change.after().is_some_and(is_of_mover) {
                    let ended = world.server.change("secrets", change.name(), |secret| {
                        secret["stringData"]["credentials.json"] = json!(
                            json!({"accessKeyId": "", "secretAccessKey": "", "sessionToken": "",
                                "expiresAt": "2026-01-01T00:00:00Z"})
                            .to_string()
                        );
                    });
                    ended.unwrap();
                }
            }
        });
    });
    assert_broken(&found, 25, "which ended at 2026-01-01T00:00:00Z");
}

#[test]
fn a_workload_26_that_stays_changed() {
    let found = found(&calm(2), |world| {
        at(world, 40, |world| async move {
            world.lies.tell(Lie::NobodyLeads);
            sleep(Duration::from_secs(2 * 3600)).await;
            let web = Name::new(namespace(), "web");
            let changed = world.server.change("deployments.apps", &web, |web| {
                web["spec"]["replicas"] = json!(5);
            });
            changed.unwrap();
        });
    });
    assert_broken(&found, 26, "deployments.apps web of org0");
}
