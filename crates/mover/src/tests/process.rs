//! The process around a part: files in, termination message and exit code out.

use std::{future, process::ExitCode};

use serde_json::json;
use tray_domain::mover_task::{
    Action, CA_BUNDLE_FILE, CREDENTIALS_FILE, FailureReason, MoverOutcome, TASK_FILE,
};

use super::fakes::{NAMESPACE, Namespace, World, run};

fn action() -> Action {
    Action::SnapshotObjects {
        run_id: run(),
        part: "objects".parse().unwrap(),
        namespace: NAMESPACE.into(),
    }
}
fn with_task(world: &World) {
    let task = World::task(action());
    let folder = world.places("").task;
    std::fs::write(folder.join(TASK_FILE), serde_json::to_vec(&task).unwrap()).unwrap();
    let credentials = json!({"accessKeyId": "a", "secretAccessKey": "s", "sessionToken": "t",
        "expiresAt": "2026-01-01T00:00:00Z"});
    std::fs::write(folder.join(CREDENTIALS_FILE), credentials.to_string()).unwrap();
    std::fs::write(folder.join(CA_BUNDLE_FILE), "pem").unwrap();
}
fn said(world: &World) -> MoverOutcome {
    serde_json::from_slice(&std::fs::read(world.places("").termination_log).unwrap()).unwrap()
}
/// `ExitCode` compares by nothing but its text.
fn code(code: ExitCode) -> String {
    format!("{code:?}")
}

#[tokio::test]
async fn a_mover_says_what_it_did_and_ends_with_0() {
    let world = World::new(Namespace::default());
    with_task(&world);
    let connect = async |task: &_, places: &crate::Places, ca: Option<Vec<u8>>| {
        let _: &tray_domain::mover_task::MoverTask = task;
        assert!(places.credentials().ends_with(CREDENTIALS_FILE));
        assert_eq!(ca.unwrap(), b"pem");
        Ok(world.ports(&action()))
    };
    let ended = crate::run(world.places("pod-1"), connect, future::pending()).await;
    assert_eq!(code(ended), code(ExitCode::SUCCESS));
    assert!(matches!(said(&world), MoverOutcome::Snapshotted { record } if record.verified));
}

#[tokio::test]
async fn a_mover_without_a_task_ends_for_good() {
    let world = World::new(Namespace::default());
    let connect = async |_: &_, _: &_, _| Ok(world.ports(&action()));
    let ended = crate::run(world.places("pod-1"), connect, future::pending()).await;
    assert_eq!(code(ended), code(ExitCode::from(2)));
    assert!(matches!(
        said(&world),
        MoverOutcome::Failed {
            reason: FailureReason::TaskInvalid,
            ..
        }
    ));
}

#[tokio::test]
async fn a_mover_that_is_told_to_stop_says_so_and_may_be_tried_again() {
    let world = World::new(Namespace::default());
    with_task(&world);
    let connect = async |_: &_, _: &_, _| future::pending().await;
    let ended = crate::run(world.places("pod-1"), connect, future::ready(())).await;
    assert_eq!(code(ended), code(ExitCode::from(1)));
    assert!(matches!(
        said(&world),
        MoverOutcome::Failed {
            reason: FailureReason::Interrupted,
            ..
        }
    ));
}
