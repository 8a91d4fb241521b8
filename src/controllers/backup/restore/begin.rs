//! How a restore begins: in its turn, with an entry of the ledger, and with its run pinned in its status.

use std::time::Duration;

use kube::ResourceExt;
use tracing::info;
use tray_api::orgrestore::{OrgRestore, RestorePart, RestorePartState, RestorePhase};
use tray_domain::{
    backup_pass::RestoreFacts,
    exclusion::Beginning,
    ids::RunId,
    ledger::{Event, Run, RunEnd},
    manifest::ManifestPart,
    restore_choice::{RestoreRefusal, resolve as choose},
    restore_once::made_before,
    restore_waits::Wait,
};

use super::{
    End, Failure, choice, end::end, is_mover_of, lock, name_in_ledger, open_in, status, wait, wait_for_mover,
    write,
};
use crate::controllers::{Blocked, backup::pass::Pass};

/// What decides whether a restore is refused.
pub(in super::super) fn facts(pass: &Pass<'_>, restore: &OrgRestore) -> RestoreFacts {
    let has_begun = restore.has_begun() || open_in(&pass.state(), restore).is_some();
    RestoreFacts {
        has_begun,
        means_run: has_begun || (!was_made_before(pass, restore) && chosen(pass, restore).is_ok()),
    }
}

/// Whether a restore of its name has come to its end: this one was made anew, and restores nothing more.
fn was_made_before(pass: &Pass<'_>, restore: &OrgRestore) -> bool {
    made_before(&pass.state(), &restore.name_any()).is_some()
}

fn chosen(pass: &Pass<'_>, restore: &OrgRestore) -> Result<RunId, RestoreRefusal> {
    let (state, stage) = (pass.state(), pass.subject.region.spec.stage);
    choose(&state, choice(restore), stage).map(|(run_id, _)| run_id.clone())
}

/// Ends a restore that means no run, or was made before, before anything gives way to it.
pub(in super::super) async fn refuse(pass: &Pass<'_>, restore: &OrgRestore) -> Result<(), Blocked> {
    if let Some(before) = made_before(&pass.state(), &restore.name_any()) {
        return write(pass, restore, status::made_before(restore, before, pass.now)).await;
    }
    if let Err(refusal) = chosen(pass, restore) {
        let recorded = restore.status.clone().unwrap_or_default();
        let failed = Failure::from(Blocked::from(refusal));
        end(pass, restore, &recorded, End::Failed(failed)).await?;
    }
    Ok(())
}

/// Ends the restore that has touched nothing yet, since what is `blocked` keeps all copies from being opened.
pub(in super::super) async fn give_up(pass: &Pass<'_>, blocked: &Blocked) -> Result<(), Blocked> {
    let Some(restore) = &pass.subject.view.restore else {
        return Ok(());
    };
    let recorded = restore.status.clone().unwrap_or_default();
    if matches!(
        recorded.phase,
        None | Some(RestorePhase::Pending | RestorePhase::Proving)
    ) {
        let why = format!("it cannot be proven that the copy opens: {}", blocked.message);
        let failed = Failure::new(blocked.reason, why);
        end(pass, restore, &recorded, End::Failed(failed)).await?;
    }
    Ok(())
}

/// The OrgRestores that come later say for which one they wait.
pub(in super::super) async fn tell_turns(
    pass: &Pass<'_>,
    driven: Option<&OrgRestore>,
) -> Result<(), Blocked> {
    let Some(first) = driven else {
        return Ok(());
    };
    let message = format!("waits for OrgRestore {} to end", first.name_any());
    for restore in &pass.subject.view.restores {
        if restore.uid() != first.uid() {
            wait(pass, restore, Wait::Turn, &message).await?;
        }
    }
    Ok(())
}

/// Begins the restore in the ledger, then pins the run, and the claims that are there now, in its status.
pub(super) async fn resolve(pass: &Pass<'_>, restore: &OrgRestore) -> Result<Duration, Blocked> {
    let state = pass.state();
    // One that has begun, and whose status was lost, is of the run that the ledger says.
    let run_id = match open_in(&state, restore) {
        Some(open) => open.run_id.clone(),
        // One that means no run was refused before anything gave way to it.
        None => match chosen(pass, restore) {
            Ok(run_id) => run_id,
            Err(_) => return Ok(Duration::ZERO),
        },
    };
    let Some((run, manifest)) = state
        .runs
        .get(&run_id)
        .and_then(|run| Some((run, run.manifest()?)))
    else {
        return Ok(Duration::ZERO);
    };
    if let Some(after) = hold(pass, restore, &run_id).await? {
        return Ok(after);
    }
    let part = |part: &ManifestPart| {
        let claim = pass.subject.claim(&part.planned.part);
        RestorePart {
            part: part.planned.part.to_string(),
            state: RestorePartState::Pending,
            replaced_claim_uid: claim.map(|claim| claim.identity.uid.clone()),
            filled_claim_uid: None,
            items: None,
            bytes: None,
            seconds: None,
        }
    };
    let parts = manifest.parts.iter().map(part).collect();
    let digest = digest_of(run);
    let status = status::resolved(restore, &run_id, digest, manifest.bytes(), parts, pass.now);
    write(pass, restore, status).await?;
    info!(restore = restore.name_any(), run = %run_id, "restore begins");
    // The answer to the write is in the index: the next look goes on from it.
    Ok(Duration::ZERO)
}

fn digest_of(run: &Run) -> Option<String> {
    match &run.end {
        Some(RunEnd::Committed { manifest_digest, .. }) => Some(manifest_digest.clone()),
        _ => None,
    }
}

/// Takes the lock, and writes the entry with which the restore begins, where it is not in the ledger yet: an earlier version
/// began one without. Returns when to look again where it has to wait for that; none = it is the only work that is open.
pub(super) async fn hold(
    pass: &Pass<'_>,
    restore: &OrgRestore,
    run_id: &RunId,
) -> Result<Option<Duration>, Blocked> {
    if let Some(busy) = lock(pass, restore).await? {
        return wait(pass, restore, Wait::OtherWork, &busy).await.map(Some);
    }
    if open_in(&pass.state(), restore).is_some() {
        return Ok(None);
    }
    let event = Event::RestorePlanned {
        restore: name_in_ledger(restore),
        run_id: run_id.clone(),
    };
    let begun = pass.begin_beside(&event, |job| is_mover_of(restore, job)).await?;
    match begun {
        Beginning::Written => Ok(None),
        Beginning::Overtaken => Ok(Some(Duration::ZERO)),
        Beginning::Waits(mover) => wait_for_mover(pass, restore, &mover).await.map(Some),
    }
}
