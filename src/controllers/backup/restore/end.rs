//! How a restore ends: in the ledger, then in its status, then what it needed goes.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use tracing::warn;
use tray_api::{
    conditions::reasons,
    orgrestore::{OrgRestore, OrgRestoreStatus},
};
use tray_domain::{
    ledger::{Event, OpenRestore},
    restore_run::object_of,
};

use super::{End, Failure, name_in_ledger, run_of, status, write};
use crate::{
    adapters::kube::events::Severity,
    controllers::{
        Blocked,
        backup::pass::{Pass, holder},
    },
    resources::org::access::restore_binding,
    telemetry::metrics,
};

/// Writes the end into the ledger, then into the status, then removes what the restore needed.
pub(super) async fn end(
    pass: &Pass<'_>,
    restore: &OrgRestore,
    recorded: &OrgRestoreStatus,
    end: End,
) -> Result<Duration, Blocked> {
    let suspended = pass.subject.view.is_suspended();
    let status = status::ended(restore, recorded, &end, suspended, pass.now);
    let refused = status.refused_count.unwrap_or_default();
    let name = restore.name_any();
    let in_ledger = name_in_ledger(restore);
    let open = pass.state().restore.clone();
    let open = open.filter(|open| open.restore == in_ledger);
    if let Some(run_id) = open.map(|open| open.run_id).or_else(|| run_of(recorded)) {
        let event = Event::Restored {
            restore: in_ledger,
            run_id,
            succeeded: matches!(end, End::Succeeded),
            data_is_back: !matches!(end, End::Failed(_)),
            seconds: status.seconds.unwrap_or_default().unsigned_abs(),
            bytes: status.bytes.unwrap_or_default().unsigned_abs(),
            refused: refused.unsigned_abs(),
            // What it says in full may quote others, and is for its status.
            why: code(&end),
        };
        record(pass, &event).await?;
    }
    let told = match &end {
        End::Failed(Failure { reason, why }) => Some((&**reason, format!("OrgRestore {name} failed: {why}"))),
        End::WithoutWorkloads(why) => Some((
            reasons::WORKLOADS_UNAVAILABLE,
            format!(
                "OrgRestore {name} has brought the data back, and the workloads are not available: {why}"
            ),
        )),
        End::Succeeded if refused > 0 => Some((reasons::OBJECTS_REFUSED, status::refusals(&name, &status))),
        End::Succeeded => None,
    };
    if let Some((reason, note)) = told {
        tell(pass, reason, note).await;
    }
    count(
        pass,
        match &end {
            End::Failed(_) => "failed",
            End::WithoutWorkloads(_) => "unavailable",
            End::Succeeded if refused > 0 => "refused",
            End::Succeeded => "good",
        },
    );
    write(pass, restore, status).await?;
    clean_up(pass, &name).await?;
    Ok(Duration::ZERO)
}

/// Why the restore is not as it should be, in the ledger's one word; none = it is.
fn code(end: &End) -> Option<String> {
    match end {
        End::Succeeded => None,
        End::WithoutWorkloads(_) => Some(reasons::WORKLOADS_UNAVAILABLE.to_owned()),
        End::Failed(Failure { reason, .. }) => Some(reason.to_string()),
    }
}

/// Writes the end into the ledger, unless it is there. The first end of a restore wins.
async fn record(pass: &Pass<'_>, event: &Event) -> Result<(), Blocked> {
    let Event::Restored { restore, run_id, .. } = event else {
        return Ok(());
    };
    let decided = pass.ledger.append_decided(pass.now, |state| {
        let has_ended = state.restores.iter().any(|known| known.restore == *restore);
        let is_open = state
            .restore
            .as_ref()
            .is_some_and(|open| open.restore == *restore);
        (is_open || (!has_ended && state.runs.contains_key(run_id))).then(|| event.clone())
    });
    decided.await?;
    Ok(())
}

/// Ends the restore that the ledger has as open, and that no OrgRestore which is seen asks for: it was deleted on its way, or has
/// an end in its status that somebody else wrote. Returns whether it has ended: only the API server says that the object is gone.
pub(in super::super) async fn end_gone(pass: &Pass<'_>, open: &OpenRestore) -> Result<bool, Blocked> {
    let (name, uid) = object_of(&open.restore);
    let present: Option<OrgRestore> = pass.ctx.cluster.read(name).await?;
    if present.is_some_and(|present| present.uid().as_deref() == Some(uid) && present.is_open()) {
        return Ok(false);
    }
    let event = Event::Restored {
        restore: open.restore.clone(),
        run_id: open.run_id.clone(),
        succeeded: false,
        data_is_back: pass.state().filled.contains_key(&open.restore),
        seconds: seconds_since(open.planned_at, pass.now),
        bytes: 0,
        refused: 0,
        why: Some(reasons::RESTORE_DELETED.to_owned()),
    };
    record(pass, &event).await?;
    let note = format!(
        "OrgRestore {name} was deleted before it had ended: what it had begun with is as it was left, see DataLost; make an \
         OrgRestore of another name where volumes are lost"
    );
    tell(pass, reasons::RESTORE_DELETED, note).await;
    count(pass, "failed");
    clean_up(pass, name).await?;
    Ok(true)
}

fn seconds_since(at: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.duration_since(at).as_secs()).unwrap_or_default()
}

async fn tell(pass: &Pass<'_>, reason: &str, note: String) {
    warn!("{note}");
    pass.ctx
        .events
        .publish(pass.subject.org(), Severity::Warning, reason, "Restore", note)
        .await;
}

fn count(pass: &Pass<'_>, result: &'static str) {
    let run = metrics::Run {
        kind: "restore",
        result,
    };
    pass.ctx.metrics.runs.get_or_create(&run).inc();
}

/// Removes what a restore needed: its movers, with those of this very pass, what they may do, and the lock.
async fn clean_up(pass: &Pass<'_>, restore: &str) -> Result<(), Blocked> {
    let (namespace, org) = (pass.subject.namespace(), pass.subject.name());
    for job in pass.ctx.movers.of_owner(namespace, org, restore) {
        pass.remove(&job).await?;
    }
    pass.ctx
        .cluster
        .remove(&restore_binding(&pass.subject.placement).id)
        .await?;
    pass.unlock(&holder("OrgRestore", restore)).await
}
