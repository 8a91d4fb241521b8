//! Pruning: what retention says may go is written into the ledger. A [sweep](super::sweep) removes it from the bucket.

use jiff::Timestamp;
use tracing::info;
use tray_domain::{
    ledger::Event,
    retention::{Removal, Retention, plan, plan_again_at},
    sweep::collectable,
};

use super::{audit::hold, pass::Pass};
use crate::controllers::Blocked;

/// Writes down which runs are gone, and which go. Returns when that is looked at again; none = how long runs are kept is not known.
pub(super) async fn prune(pass: &Pass<'_>) -> Result<Option<Timestamp>, Blocked> {
    collect(pass).await?;
    let Some(retention) = retention(pass) else {
        return Ok(None);
    };
    let mut removals = plan_of(pass, retention)?;
    if !removals.is_empty() {
        hold(pass).await?;
        // Another process may have written what keeps them.
        pass.ledger.refresh().await?;
        removals = plan_of(pass, retention)?;
    }
    for removal in &removals {
        info!(run = %removal.run_id, why = removal.why, "run pruned");
        let event = Event::Pruned {
            run_id: removal.run_id.clone(),
            why: removal.why.clone(),
        };
        let decided = pass.ledger.append_decided(pass.now, |state| {
            state.may_prune(&removal.run_id).then(|| event.clone())
        });
        decided.await?;
    }
    Ok(plan_again_at(&pass.state(), retention, pass.now))
}

/// How long runs are kept at present; none = that is not known.
fn retention(pass: &Pass<'_>) -> Option<Retention> {
    let snapshots = pass.subject.snapshot_retention()?;
    Some(Retention {
        keep_days: u32::try_from(snapshots.keep_days).unwrap_or(u32::MAX),
        keep_at_least: usize::try_from(snapshots.keep_at_least).unwrap_or(usize::MAX),
    })
}

fn plan_of(pass: &Pass<'_>, retention: Retention) -> Result<Vec<Removal>, Blocked> {
    let skew = pass.services.store.clock_skew();
    Ok(plan(&pass.state(), retention, skew, pass.now)?)
}

/// Writes down of which runs nothing is left in the bucket.
async fn collect(pass: &Pass<'_>) -> Result<(), Blocked> {
    loop {
        let decided = pass.ledger.append_decided(pass.now, |state| {
            let runs = collectable(state);
            (!runs.is_empty()).then_some(Event::Collected { runs })
        });
        match decided.await? {
            Some(_) => info!("what was removed of runs is known to be gone"),
            None => return Ok(()),
        }
    }
}
