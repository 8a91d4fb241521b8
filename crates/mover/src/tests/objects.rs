use serde_json::{Value, json};
use tray_domain::mover_task::{Action, FailureReason, MoverOutcome};

use super::{
    engine::record,
    fakes::{NAMESPACE, Namespace, World, run},
};
use crate::{perform, ports::ServedKind};

fn snapshot() -> Action {
    Action::SnapshotObjects {
        run_id: run(),
        part: "objects".parse().unwrap(),
        namespace: NAMESPACE.into(),
    }
}
fn restore(content_digest: &str) -> Action {
    Action::RestoreObjects {
        restore: "r (uid)".into(),
        run_id: run(),
        namespace: NAMESPACE.into(),
        content_digest: content_digest.to_owned(),
    }
}
fn object(api_version: &str, kind: &str, name: &str, rest: Value) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
    for (field, value) in rest.as_object().unwrap() {
        object[field] = value.clone();
    }
    object
}
fn config(name: &str, value: &str) -> Value {
    object("v1", "ConfigMap", name, json!({"data": {"k": value}}))
}
fn rendered(mut object: Value) -> Value {
    object["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "tray-operator"});
    object
}
/// Five ConfigMaps are three pages.
fn org_objects() -> Vec<Value> {
    let mut mover = rendered(object(
        "v1",
        "Secret",
        "snap-x",
        json!({"data": {"credentials.json": "c2VjcmV0"}}),
    ));
    mover["metadata"]["labels"]["platform.tray.ai/component"] = json!("mover");
    let mut objects: Vec<Value> = (0..5).map(|n| config(&format!("c{n}"), "v")).collect();
    objects.extend([
        object(
            "v1",
            "Secret",
            "theirs",
            json!({"data": {"password": "aHVudGVyMg=="}}),
        ),
        object(
            "v1",
            "Secret",
            "a-token",
            json!({"type": "kubernetes.io/service-account-token"}),
        ),
        mover,
        rendered(object(
            "v1",
            "Service",
            "db",
            json!({"spec": {"clusterIP": "None"}}),
        )),
        object(
            "v1",
            "Service",
            "extra",
            json!({"spec": {"clusterIP": "10.0.0.9", "clusterIPs": ["10.0.0.9"]}}),
        ),
        object(
            "apps/v1",
            "Deployment",
            "extra",
            json!({"spec": {"replicas": 1}, "status": {"replicas": 1}}),
        ),
    ]);
    objects
}
async fn archived(world: &World) -> tray_domain::manifest::PartRecord {
    perform(world.session("pod-1", snapshot())).await.unwrap();
    record(&world.bucket.of(&World::record_key("objects", "pod-1")).unwrap())
}
fn with_kinds(kinds: &[(&str, &str)]) -> Namespace {
    let custom_kinds = kinds.iter().map(|(group, plural)| ServedKind {
        group: (*group).into(),
        plural: (*plural).into(),
    });
    Namespace {
        custom_kinds: custom_kinds.collect(),
        ..Namespace::with(&org_objects())
    }
}

#[tokio::test]
async fn objects_go_to_the_bucket_and_come_back() {
    let world = World::new(Namespace::with(&org_objects()));
    let record = archived(&world).await;
    assert_eq!((record.objects, record.files), (9, 0));
    assert!(record.verified && record.bytes_added > 0 && record.repository_snapshot.is_none());
    assert_eq!(
        record.warnings,
        ["secrets/a-token is left out: a token, which would outlive its service account"]
    );
    let counted: Vec<String> = record.left_out.iter().map(ToString::to_string).collect();
    assert_eq!(
        counted,
        ["1 of secrets: a token, which would outlive its service account"],
        "and names no object"
    );

    let empty = World {
        namespace: Namespace::default().into(),
        ..world
    };
    let outcome = perform(empty.session("pod-2", restore(&record.content_digest)))
        .await
        .unwrap();
    let MoverOutcome::RestoredObjects {
        created,
        updated,
        unchanged,
        refused,
        named,
        later,
        later_named: _,
    } = outcome
    else {
        unreachable!("a restore was asked for")
    };
    assert_eq!(later, Some(0));
    assert_eq!((created, updated, unchanged, refused), (8, 0, 0, 0));
    assert!(named.is_empty());
    // What the operator renders is the operator's; a mover's credentials were never archived.
    assert!(empty.namespace.one("Service", "db").is_none());
    assert!(empty.namespace.one("Secret", "snap-x").is_none());
    assert_eq!(
        empty.namespace.one("Secret", "theirs").unwrap()["data"]["password"],
        "aHVudGVyMg=="
    );
    let service = empty.namespace.one("Service", "extra").unwrap();
    assert!(service["spec"].get("clusterIP").is_none());
}

#[tokio::test]
async fn nothing_of_a_secret_is_in_clear_in_the_bucket() {
    let world = World::new(Namespace::with(&org_objects()));
    archived(&world).await;
    for key in world.bucket.keys() {
        let body = world.bucket.of(&key).unwrap();
        assert!(!body.windows(8).any(|bytes| bytes == b"aHVudGVy"), "{key}");
    }
}

#[tokio::test]
async fn a_second_restore_changes_nothing() {
    let world = World::new(Namespace::with(&org_objects()));
    let record = archived(&world).await;
    let outcome = perform(world.session("pod-2", restore(&record.content_digest)))
        .await
        .unwrap();
    assert!(
        matches!(
            outcome,
            MoverOutcome::RestoredObjects {
                created: 0,
                updated: 0,
                unchanged: 8,
                ..
            }
        ),
        "{outcome:?}"
    );
    assert_eq!(
        world.namespace.writes.load(std::sync::atomic::Ordering::Relaxed),
        0
    );
}

#[tokio::test]
async fn what_was_changed_gets_its_content_back_and_the_operators_is_left() {
    let world = World::new(Namespace::with(&org_objects()));
    let record = archived(&world).await;
    world.namespace.insert(config("c1", "changed"));
    // A name that the operator has taken since.
    world.namespace.insert(rendered(config("c2", "the operator's")));
    let outcome = perform(world.session("pod-2", restore(&record.content_digest)))
        .await
        .unwrap();
    assert!(
        matches!(
            outcome,
            MoverOutcome::RestoredObjects {
                created: 0,
                updated: 1,
                unchanged: 7,
                ..
            }
        ),
        "{outcome:?}"
    );
    assert_eq!(world.namespace.one("ConfigMap", "c1").unwrap()["data"]["k"], "v");
    assert_eq!(
        world.namespace.one("ConfigMap", "c2").unwrap()["data"]["k"],
        "the operator's"
    );
}

#[tokio::test]
async fn a_refused_object_is_named_and_the_others_come_back() {
    let world = World::new(Namespace::with(&org_objects()));
    let record = archived(&world).await;
    let refusing = Namespace {
        forbidden: vec!["Deployment"],
        ..Namespace::default()
    };
    let world = World {
        namespace: refusing.into(),
        ..world
    };
    let outcome = perform(world.session("pod-2", restore(&record.content_digest)))
        .await
        .unwrap();
    assert_eq!(refused_of(&outcome, 7), ["deployments.apps/extra: Forbidden"]);
}

/// The refused objects, of an outcome with that many that were made.
fn refused_of(outcome: &MoverOutcome, made: u64) -> Vec<String> {
    let MoverOutcome::RestoredObjects {
        created,
        refused,
        named,
        ..
    } = outcome
    else {
        unreachable!("{outcome:?}")
    };
    let each = named.iter().flat_map(|of_one| {
        let names = of_one.names.iter();
        names.map(move |name| format!("{}/{name}: {}", of_one.kind, of_one.reason))
    });
    let each: Vec<String> = each.collect();
    assert_eq!((*created, *refused as usize), (made, each.len()));
    each
}

#[tokio::test]
async fn an_object_that_is_there_keeps_its_owners_and_its_finalizers() {
    let watched = |value: &str, owner: &str| {
        let mut object = config("owned", value);
        object["metadata"]["finalizers"] = json!(["example.com/guard"]);
        object["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner}]);
        object
    };
    let world = World::new(Namespace::with(&[watched("old", "uid-owner")]));
    let record = archived(&world).await;
    world.namespace.insert(watched("new", "uid-of-a-new-owner"));
    perform(world.session("pod-2", restore(&record.content_digest)))
        .await
        .unwrap();
    let now = world.namespace.one("ConfigMap", "owned").unwrap();
    assert_eq!(now["data"]["k"], "old");
    assert_eq!(now["metadata"]["finalizers"], json!(["example.com/guard"]));
    assert_eq!(now["metadata"]["ownerReferences"][0]["uid"], "uid-of-a-new-owner");
}

#[tokio::test]
async fn what_is_being_deleted_or_never_changes_is_left_alone_and_named() {
    let world = World::new(Namespace::with(&org_objects()));
    let record = archived(&world).await;
    let mut going = config("c1", "changed");
    going["metadata"]["finalizers"] = json!(["example.com/guard"]);
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    world.namespace.insert(going);
    let mut fixed = config("c2", "changed");
    fixed["immutable"] = json!(true);
    world.namespace.insert(fixed);
    let outcome = perform(world.session("pod-2", restore(&record.content_digest)))
        .await
        .unwrap();
    assert_eq!(
        refused_of(&outcome, 0),
        ["configmaps/c2: Immutable", "configmaps/c1: Terminating"]
    );
    let going = world.namespace.one("ConfigMap", "c1").unwrap();
    assert_eq!(going["metadata"]["finalizers"], json!(["example.com/guard"]));
    for name in ["c1", "c2"] {
        assert_eq!(
            world.namespace.one("ConfigMap", name).unwrap()["data"]["k"],
            "changed"
        );
    }
}

#[tokio::test]
async fn what_came_after_the_copy_is_named_and_stays() {
    let world = World::new(Namespace::with(&org_objects()));
    let record = archived(&world).await;
    world.namespace.insert(config("later", "v"));
    world.namespace.insert(rendered(config("the-operators", "v")));
    let outcome = perform(world.session("pod-2", restore(&record.content_digest)))
        .await
        .unwrap();
    let MoverOutcome::RestoredObjects {
        later, later_named, ..
    } = outcome
    else {
        unreachable!("a restore was asked for")
    };
    assert_eq!(later, Some(1));
    assert_eq!(later_named[0].kind, "configmaps");
    assert_eq!(later_named[0].names, ["later"]);
    assert!(world.namespace.one("ConfigMap", "later").is_some());
}

#[tokio::test]
async fn an_object_that_a_webhook_fails_at_is_tried_again_and_else_named() {
    let world = World::new(Namespace::with(&org_objects()));
    let record = archived(&world).await;
    let failing = Namespace {
        failing: std::sync::Mutex::new([("c1", 2), ("c3", 99)].into()),
        ..Namespace::default()
    };
    let world = World {
        namespace: failing.into(),
        ..world
    };
    let outcome = perform(world.session("pod-2", restore(&record.content_digest)))
        .await
        .unwrap();
    assert_eq!(refused_of(&outcome, 7), ["configmaps/c3: InternalError"]);
    assert!(world.namespace.one("ConfigMap", "c1").is_some());
}

#[tokio::test]
async fn a_server_that_is_away_is_no_refusal() {
    let world = World::new(Namespace::with(&org_objects()));
    let record = archived(&world).await;
    world
        .namespace
        .away
        .store(true, std::sync::atomic::Ordering::Relaxed);
    let failure = perform(world.session("pod-2", restore(&record.content_digest)))
        .await
        .unwrap_err();
    assert_eq!(
        (failure.reason, failure.exit_code()),
        (FailureReason::KubernetesFailed, 1)
    );
}
#[tokio::test]
async fn a_right_that_is_not_known_yet_is_waited_for() {
    let world = World::new(Namespace::with(&org_objects()));
    let record = archived(&world).await;
    let early = Namespace {
        no_rights: true,
        ..Namespace::default()
    };
    let world = World {
        namespace: early.into(),
        ..world
    };
    let failure = perform(world.session("pod-2", restore(&record.content_digest)))
        .await
        .unwrap_err();
    assert_eq!(
        (failure.reason, failure.exit_code()),
        (FailureReason::KubernetesFailed, 1)
    );
}

#[tokio::test]
async fn kinds_that_no_table_knows_are_named() {
    let world = World::new(with_kinds(&[
        ("example.com", "widgets"),
        ("", "endpoints"),
        ("", "secrets"),
    ]));
    let record = archived(&world).await;
    let warning = record.warnings.last().unwrap();
    assert!(
        warning.ends_with("if there are objects of them: widgets.example.com"),
        "{warning}"
    );
    let counted = record.left_out.last().unwrap();
    assert_eq!(
        (counted.count, counted.kinds.join(" ")),
        (1, "widgets.example.com".to_owned())
    );
}

#[tokio::test]
async fn an_archive_of_a_try_that_died_is_taken_up_as_it_is() {
    let world = World::new(Namespace::with(&org_objects()));
    world.bucket.refuse(Some("/parts/"));
    perform(world.session("pod-1", snapshot())).await.unwrap_err();
    world.bucket.refuse(None);
    world.namespace.insert(config("later", "v"));
    let outcome = perform(world.session("pod-2", snapshot())).await.unwrap();
    let MoverOutcome::Snapshotted { record } = outcome else {
        unreachable!("a snapshot was asked for")
    };
    // The record tells of what lies in the bucket, not of what the second try read.
    assert_eq!(record.objects, 9);
    perform(world.session("pod-3", restore(&record.content_digest)))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_damaged_archive_of_a_try_that_died_is_no_part() {
    let world = World::new(Namespace::with(&org_objects()));
    world.bucket.refuse(Some("/parts/"));
    perform(world.session("pod-1", snapshot())).await.unwrap_err();
    world.bucket.refuse(None);
    world.bucket.damage(&World::archive_key());
    let failure = perform(world.session("pod-2", snapshot())).await.unwrap_err();
    assert_eq!(
        (failure.reason, failure.permanent),
        (FailureReason::VerificationFailed, true)
    );
    let mut left = world.bucket.keys();
    left.retain(|key| key.contains("/parts/"));
    assert_eq!(
        left,
        [World::failure_key("objects", "pod-2")],
        "why, and no record"
    );
}

#[tokio::test]
async fn nothing_is_restored_from_an_archive_that_is_not_the_manifests() {
    let world = World::new(Namespace::with(&org_objects()));
    archived(&world).await;
    let world = World {
        namespace: Namespace::default().into(),
        ..world
    };
    let failure = perform(world.session("pod-2", restore(&"0".repeat(64))))
        .await
        .unwrap_err();
    assert_eq!(
        (failure.reason, failure.permanent),
        (FailureReason::VerificationFailed, true)
    );
    world.bucket.damage(&World::archive_key());
    perform(world.session("pod-2", restore(&"0".repeat(64))))
        .await
        .unwrap_err();
    assert!(world.namespace.names().is_empty());
}

#[tokio::test]
async fn a_part_without_rights_to_objects_says_so() {
    let world = World::new(Namespace::default());
    let mut session = world.session("pod-1", snapshot());
    session.ports.objects = None;
    let failure = perform(session).await.unwrap_err();
    assert!(
        failure.permanent && failure.message.contains("service account token"),
        "{failure}"
    );
}

#[tokio::test]
async fn an_archive_is_proven_without_the_kubernetes_api_and_without_a_write() {
    let world = World::new(Namespace::with(&org_objects()));
    let record = archived(&world).await;
    let before = world.bucket.keys();
    let prove = |content_digest: &str| {
        let mut session = world.session(
            "pod-2",
            Action::ProveObjects {
                restore: "r (uid)".into(),
                run_id: run(),
                content_digest: content_digest.to_owned(),
            },
        );
        session.ports.objects = None;
        session
    };
    let outcome = perform(prove(&record.content_digest)).await.unwrap();
    assert!(matches!(outcome, MoverOutcome::Proven { bytes } if bytes == record.bytes_added));
    assert_eq!(world.bucket.keys(), before);
    let other = perform(prove(&"0".repeat(64))).await.unwrap_err();
    assert_eq!(
        (other.reason, other.exit_code()),
        (FailureReason::VerificationFailed, 2)
    );
    world.bucket.damage(&World::archive_key());
    perform(prove(&record.content_digest)).await.unwrap_err();
}
