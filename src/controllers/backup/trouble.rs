//! What keeps an org's snapshots from getting on although no entry of its ledger says so: hooks that hang or left their workload
//! as it was, movers that do not begin.

use tray_api::{conditions::reasons, orgsnapshot::PostHooks};
use tray_domain::{hook_run::hanging, ledger::LedgerState};

use super::pass::Pass;
use crate::controllers::{
    conditions::ConditionFact,
    view::{backups::Trouble, movers::MoverHindrance},
};

/// What there is, and when there may be more.
pub(super) fn of(pass: &Pass<'_>) -> Trouble {
    let running = pass.backup.hooks.running_of(pass.subject.name());
    let (hook, hangs_at) = match hanging(&running, pass.now) {
        Ok(hook) => {
            let message = format!("{hook}: see what it waits for in that pod");
            (
                Some(ConditionFact::new(false, reasons::HOOK_HANGS, message)),
                None,
            )
        }
        Err(later) => (None, later),
    };
    let hindrance = pass.subject.mover_hindrance(pass.now);
    let told_at = hindrance.as_ref().map(MoverHindrance::is_trouble_from);
    let mover = hindrance.filter(|found| found.is_trouble_from() <= pass.now);
    let mover = mover.map(|found| {
        let message = format!("a mover of the org does not begin: {found}");
        ConditionFact::new(false, reasons::MOVER_NOT_STARTED, message)
    });
    let changes_at = hangs_at
        .into_iter()
        .chain(told_at)
        .filter(|at| *at > pass.now)
        .min();
    Trouble {
        now: hook.or(mover),
        owed: owed(pass, &pass.state()),
        changes_at,
    }
}

/// What the newest run that has ended owes its workloads for good.
fn owed(pass: &Pass<'_>, state: &LedgerState) -> Option<ConditionFact> {
    let (run_id, _) = state.newest_ended()?;
    let snapshots = pass.ctx.index.snapshots.of_org(pass.subject.name());
    let failed = snapshots.iter().find_map(|snapshot| {
        let status = snapshot.status.as_ref()?;
        let is_it = status.run_id.as_deref() == Some(run_id.as_str());
        (is_it && status.post_hooks == Some(PostHooks::Failed)).then_some(status)
    })?;
    let message = format!(
        "run {run_id} is complete, but what it owed its workloads failed: {}",
        failed.post_hook_failures.join("; ")
    );
    Some(ConditionFact::new(false, reasons::HOOK_FAILED, message))
}
