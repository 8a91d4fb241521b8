//! The data plane, run as Jobs: copies, proves, gives back and prunes one part of one org. It knows ports and domain,
//! never controllers.
//!
//! A mover reads its task from its Secret, proves by the ledger that it is still wanted, does it, and ends with an outcome in the
//! pod's termination message and one of three exit codes: 0 = done, 1 = another try may mend it, `EXIT_PERMANENT` = only a person can.

pub mod archive;
pub mod failure;
pub mod keys;
mod objects;
pub mod outcome;
pub mod ports;
mod progress;
mod prove;
mod prune;
mod restore_objects;
pub mod session;
pub mod task;
mod volume;

use std::process::ExitCode;

use jiff::SignedDuration;
use tracing::Instrument;

pub use session::{Bucket, Ports, Session};
pub use task::Places;

use failure::Failure;
use tray_domain::mover_task::{Action, FailureReason, MoverOutcome, MoverTask};

/// Runs the mover of this pod. `connect` makes the ports out of the task and the PEM bundle to trust besides the system's
/// roots; `stop` ends when the process is told to stop.
///
/// When this returns, a thread may still be at work on what was given up: the caller ends the process without waiting.
pub async fn run(
    places: Places,
    connect: impl AsyncFnOnce(&MoverTask, &Places, Option<Vec<u8>>) -> Result<Ports, Failure>,
    stop: impl Future<Output = ()>,
) -> ExitCode {
    let log = places.termination_log.clone();
    let work = attempt(places, connect);
    let result = tokio::select! {
        result = work => result,
        () = stop => Err(Failure::passing(
            FailureReason::Interrupted,
            "the mover was told to stop before it was done: its node drains, or its Job ended",
        )),
    };
    let (outcome, code) = match result {
        Ok(outcome) => (outcome, 0),
        Err(failure) => {
            tracing::error!(reason = ?failure.reason, permanent = failure.permanent, "{}", failure.told);
            (failure.outcome(), failure.exit_code())
        }
    };
    if let Err(error) = outcome::write(&log, &outcome) {
        // The exit code still tells the Job what to do; a snapshot's record is in the bucket.
        tracing::error!("the outcome cannot be written to {}: {error}", log.display());
    }
    ExitCode::from(code)
}

async fn attempt(
    places: Places,
    connect: impl AsyncFnOnce(&MoverTask, &Places, Option<Vec<u8>>) -> Result<Ports, Failure>,
) -> Result<MoverOutcome, Failure> {
    let task = task::load(&places)?;
    let (action, run, part) = said_of(&task.action);
    let span = tracing::info_span!("mover", org = %task.org_id, action, run, part);
    async move {
        let ca_bundle = task::ca_bundle(&places)?;
        let ports = connect(&task, &places, ca_bundle).await?;
        perform(Session { ports, task, places }).await
    }
    .instrument(span)
    .await
}

/// Does what the task says. What fails is kept in detail for the org's own people.
pub async fn perform(session: Session) -> Result<MoverOutcome, Failure> {
    let done = do_task(&session).await;
    if let Err(failure) = &done {
        session.put_failure(failure).await;
    }
    done
}

async fn do_task(session: &Session) -> Result<MoverOutcome, Failure> {
    session.prove_open().await?;
    match session.task.action.clone() {
        Action::SnapshotVolume {
            run_id,
            part,
            paths,
            consistency_point,
            consistency: _,
        } => {
            let part = volume::VolumePart {
                run: run_id,
                part,
                paths,
                consistency_point,
            };
            volume::snapshot(session, part).await
        }
        Action::SnapshotObjects {
            run_id,
            part,
            namespace,
        } => objects::snapshot(session, run_id, part, &namespace).await,
        Action::ProveVolume {
            restore: _,
            run_id: _,
            part,
            repository_snapshot,
            content_digest,
            capacity_bytes,
        } => {
            prove::volume(
                session,
                &part,
                &repository_snapshot,
                &content_digest,
                capacity_bytes,
            )
            .await
        }
        Action::ProveObjects {
            restore: _,
            run_id,
            content_digest,
        } => prove::objects(session, &run_id, &content_digest).await,
        Action::RestoreVolume {
            restore: _,
            run_id: _,
            part,
            repository_snapshot,
            content_digest,
        } => volume::restore(session, &part, &repository_snapshot, &content_digest).await,
        Action::RestoreObjects {
            restore: _,
            run_id,
            namespace,
            content_digest,
        } => restore_objects::restore(session, &run_id, &namespace, &content_digest).await,
        Action::Prune {
            sweep_id: _,
            planned_at,
            volumes,
            remove,
            keep_delete_hours,
            keep_pack_hours,
        } => {
            let ages = prune::Ages {
                planned_at,
                keep_delete: SignedDuration::from_hours(keep_delete_hours.into()),
                keep_pack: SignedDuration::from_hours(keep_pack_hours.into()),
            };
            prune::prune(session, &volumes, &remove, ages).await
        }
    }
}

/// What each line of the log says of the task: action, run, part.
fn said_of(action: &Action) -> (&'static str, &str, &str) {
    match action {
        Action::SnapshotVolume { run_id, part, .. } => ("snapshotVolume", run_id.as_str(), part.as_str()),
        Action::SnapshotObjects { run_id, part, .. } => ("snapshotObjects", run_id.as_str(), part.as_str()),
        Action::ProveVolume { run_id, part, .. } => ("proveVolume", run_id.as_str(), part.as_str()),
        Action::ProveObjects { run_id, .. } => ("proveObjects", run_id.as_str(), ""),
        Action::RestoreVolume { run_id, part, .. } => ("restoreVolume", run_id.as_str(), part.as_str()),
        Action::RestoreObjects { run_id, .. } => ("restoreObjects", run_id.as_str(), ""),
        Action::Prune { sweep_id, .. } => ("prune", sweep_id.as_str(), ""),
    }
}

#[cfg(test)]
mod tests;
