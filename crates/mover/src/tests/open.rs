use std::sync::Arc;

use tray_domain::{
    ledger::LedgerState,
    manifest::Consistency,
    mover_task::{Action, FailureReason},
};
use tray_ledger::RemoteError;

use super::fakes::{Ledger, NAMESPACE, Namespace, World, run, sweep};
use crate::perform;

/// Every kind of work.
fn actions() -> Vec<Action> {
    let part = || "data-db-0".parse().unwrap();
    let restore = || "r (uid)".to_owned();
    vec![
        Action::SnapshotVolume {
            run_id: run(),
            part: part(),
            paths: vec![],
            consistency: Consistency::AtRest,
            consistency_point: "2026-01-01T00:00:00Z".parse().unwrap(),
        },
        Action::SnapshotObjects {
            run_id: run(),
            part: "objects".parse().unwrap(),
            namespace: NAMESPACE.into(),
        },
        Action::ProveVolume {
            restore: restore(),
            run_id: run(),
            part: part(),
            repository_snapshot: "0".repeat(64),
            content_digest: String::new(),
            capacity_bytes: 1,
        },
        Action::ProveObjects {
            restore: restore(),
            run_id: run(),
            content_digest: String::new(),
        },
        Action::RestoreVolume {
            restore: restore(),
            run_id: run(),
            part: part(),
            repository_snapshot: "0".repeat(64),
            content_digest: String::new(),
        },
        Action::RestoreObjects {
            restore: restore(),
            run_id: run(),
            namespace: NAMESPACE.into(),
            content_digest: String::new(),
        },
        Action::Prune {
            sweep_id: sweep(),
            planned_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            volumes: vec![part()],
            remove: vec![run()],
            keep_delete_hours: 23,
            keep_pack_hours: 72,
        },
    ]
}

#[tokio::test]
async fn a_mover_whose_work_is_not_open_in_the_ledger_touches_nothing() {
    for action in actions() {
        let world = World::new(Namespace::default());
        std::fs::write(world.volume().join("f"), "living").unwrap();
        world.bucket.put(&World::archive_key(), "sealed");
        let before = world.bucket.keys();
        let mut session = world.session("pod", action.clone());
        session.ports.ledger = Arc::new(Ledger(Ok(LedgerState::default())));
        let failure = perform(session).await.unwrap_err();
        assert_eq!(
            (failure.reason, failure.permanent),
            (FailureReason::NotOpen, true),
            "{action:?}"
        );
        assert_eq!(world.bucket.keys(), before, "{action:?}");
        assert!(world.engine.pruned.lock().unwrap().is_empty(), "{action:?}");
        assert_eq!(
            std::fs::read_to_string(world.volume().join("f")).unwrap(),
            "living"
        );
        assert!(world.namespace.names().is_empty(), "{action:?}");
    }
}

#[tokio::test]
async fn a_ledger_that_cannot_be_read_lets_nothing_be_done() {
    for (error, permanent) in [
        (RemoteError::Unavailable("away".into()), false),
        (RemoteError::Denied("no right".into()), false),
        (RemoteError::Corrupt("broken chain".into()), true),
    ] {
        let world = World::new(Namespace::default());
        let mut session = world.session("pod", actions().remove(0));
        session.ports.ledger = Arc::new(Ledger(Err(error.clone())));
        let failure = perform(session).await.unwrap_err();
        assert_eq!(
            (failure.reason, failure.permanent),
            (FailureReason::BucketFailed, permanent),
            "{error:?}"
        );
        assert!(failure.message.contains("ledger"), "{failure}");
    }
}
