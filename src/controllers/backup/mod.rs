//! Backups of an org: its ledger and key, its snapshot runs, restores and pruning, and what its status says of them.
//!
//! All of an org's work is one key, so that at most one thing is done to its repositories at a time and every entry of
//! its ledger is decided on what the entry before left. A pass drives the run that is open (a restore or lost data end it), else
//! the restore under way, else the sweep that is open; else it begins the run that waits or is due, else it prunes.

mod issued;
mod keys;
mod pass;
mod prune;
mod restore;
mod run;
mod scheduling;
mod trouble;
mod view;
mod wishes;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::ResourceExt;
use tray_api::{
    conditions::reasons,
    orgrestore::OrgRestore,
    orgsnapshot::{OrgSnapshot, SnapshotPhase},
    trayorg::TrayOrg,
};
use tray_domain::{
    ids::OrgId,
    schedule::Due,
    volume_facts::{Loss, losses},
};

use self::{
    issued::Issued,
    keys::Keys,
    pass::{PRUNE_NAMESPACE, Pass},
    prune::Pruning,
    restore::status::waiting,
    run::{Drive, hooks::HookTasks},
    trouble::Trouble,
    view::Phases,
};
use super::{Driver, Failure, Next, changes::Change, context::Context, specs::Specs, until};
use crate::{
    adapters::kube::{facts::JobFact, index::Index, mover_jobs::Phase},
    controllers::view::{
        backups,
        region::elsewhere,
        subject::{Hindrance, Subject},
    },
    resources::child::ChildKind,
};

/// The controller of backups. Keys are names of TrayOrgs.
#[derive(Default)]
pub struct BackupDriver {
    keys: Keys,
    hooks: HookTasks,
    issued: Issued,
    specs: Specs,
}

/// What a pass found, for the org's status.
#[derive(Default)]
struct Found {
    losses: Vec<Loss>,
    next_due: Option<Timestamp>,
    /// Look again then.
    at: Vec<Timestamp>,
    /// Look again after that.
    after: Vec<Duration>,
}

#[async_trait::async_trait]
impl Driver for BackupDriver {
    fn name(&self) -> &'static str {
        "backup"
    }

    fn concerns(&self, change: &Change, index: &Index) -> Vec<String> {
        match change {
            change if !self.specs.are_news(change, index) => Vec::new(),
            Change::Org(org)
            | Change::Snapshot { org, .. }
            | Change::Restore { org, .. }
            | Change::Mover { org, .. } => {
                vec![org.clone()]
            }
            // A claim that comes or goes, a workload that becomes available.
            Change::Child { org, id } => match id.kind {
                ChildKind::PersistentVolumeClaim | ChildKind::StatefulSet | ChildKind::Deployment => {
                    vec![org.clone()]
                }
                _ => Vec::new(),
            },
            // A restore waits for the last pod to go; a run for the last mover of another.
            Change::Pod { org, namespace, .. } => {
                let restores = |org: &String| {
                    let restores = index.restores.of_org(org);
                    restores.iter().any(|restore| !restore.has_ended())
                };
                let org = Change::org_of_pod(org.as_ref(), namespace, index);
                org.filter(restores).into_iter().collect()
            }
            Change::Region(name) => orgs_that(index, |org| org.spec.region_ref.name == *name),
            Change::RetentionPolicy(name) => {
                orgs_that(index, |org| org.spec.retention_policy_ref.name == *name)
            }
            Change::BackupSchedule(name) => {
                orgs_that(index, |org| org.spec.backup_schedule_ref.name == *name)
            }
            Change::Node { .. }
            | Change::Volume { .. }
            | Change::Tombstone { .. }
            | Change::StorageClass(_)
            | Change::BackupFacts(_)
            | Change::Support(_)
            | Change::GatewayApi
            | Change::Malformed { .. } => Vec::new(),
        }
    }

    fn keys(&self, index: &Index) -> Vec<String> {
        index.orgs.names()
    }

    async fn reconcile(&self, ctx: &Arc<Context>, key: &str) -> Result<Next, Failure> {
        let now = ctx.now();
        let subject = match Subject::find(&ctx.index, key) {
            Ok(subject) => subject,
            Err(hindrance) => return without_org(ctx, key, &hindrance, now).await,
        };
        let services = ctx.regions.services(&subject.location).map_err(|error| {
            Trouble::remote(reasons::BUCKET_UNAVAILABLE, "reach the backup location", &error)
        });
        let opened = match services {
            Ok(services) => self.open(ctx, &subject, services, now).await,
            Err(trouble) => Err(trouble),
        };
        let pass = match opened {
            Ok(pass) => pass,
            Err(trouble) => {
                let Trouble { reason, message, .. } = &trouble;
                tell_unread(ctx, &subject.org, subject.org_id(), reason, message, now);
                if !trouble.transient {
                    snapshots_wait(ctx, key, reason, message, now).await?;
                    restores_wait(ctx, key, reason, message, now).await?;
                }
                return Err(trouble.into_failure());
            }
        };
        let mut found = Found::default();
        let result = work(&pass, &mut found).await;
        let trouble = result.as_ref().err().map(Trouble::fact);
        let read = backups::Read {
            state: &pass.state(),
            next_due: found.next_due,
            losses: &found.losses,
        };
        let (view, changes_at) = backups::view(&subject, &read, trouble.as_ref(), now);
        ctx.backup_facts.set_view(subject.org_id(), view);
        result.map_err(Trouble::into_failure)?;
        found.at.extend(changes_at);
        Ok(found.next(now))
    }
}

impl BackupDriver {
    async fn open<'a>(
        &'a self,
        ctx: &'a Arc<Context>,
        subject: &'a Subject,
        services: tray_ports::RegionServices,
        now: Timestamp,
    ) -> Result<Pass<'a>, Trouble> {
        let ledger = self
            .keys
            .ledger(subject, &services.store, &ctx.cluster_uid, now)
            .await?;
        let found = self.keys.key(subject, &services, &ledger, now).await;
        let known = ledger.state().kms_key_arn.clone();
        let pass = |key| Pass {
            ctx,
            backup: self,
            subject,
            services,
            ledger,
            key,
            now,
        };
        match (found, known) {
            (Ok(key), _) => {
                ctx.backup_facts.set_key(subject.org_id(), key.clone());
                Ok(pass(key))
            }
            // Nothing that it encrypted opens: a restore says so at its end, rather than wait for who knows how long.
            (Err(trouble), Some(key)) if !trouble.transient => {
                restore::give_up(&pass(key), &trouble).await?;
                Err(trouble)
            }
            (Err(trouble), _) => Err(trouble),
        }
    }
}

/// One look at an org whose ledger is open.
async fn work(pass: &Pass<'_>, found: &mut Found) -> Result<(), Trouble> {
    found.losses = losses(&pass.state(), &pass.subject.claims(&pass.ctx.index));
    wishes::carry_out(pass, &found.losses).await?;
    found.losses = losses(&pass.state(), &pass.subject.claims(&pass.ctx.index));
    pass.ctx
        .backup_facts
        .set_lost(pass.subject.org_id(), wishes::messages(&found.losses));

    let mut phases = Phases::new();
    let result = advance(pass, found, &mut phases).await;
    // What is known is shown, whatever went wrong.
    let shown = view::sync(pass, &phases).await;
    result.and(shown)
}

/// Does the one thing that is next for the org.
async fn advance(pass: &Pass<'_>, found: &mut Found, phases: &mut Phases) -> Result<(), Trouble> {
    let restores = pass.ctx.index.restores.of_org(pass.subject.name());
    let restore = restore::under_way(&restores);
    if !restore
        .as_ref()
        .is_some_and(|restore| restore::has_begun(restore))
    {
        pass.ctx.backup_facts.set_restoring(pass.subject.org_id(), None);
    }
    if let Some(restore) = &restore
        && restore::refuse(pass, restore).await?
    {
        found.after.push(Duration::ZERO);
        return Ok(());
    }
    if let Drive::Open(after) = open_run(pass, found, restore.as_deref(), phases).await? {
        found.after.push(after);
        return Ok(());
    }
    if let Some(restore) = restore {
        remove_leftovers(pass, Some(&restore)).await?;
        let after = match prune::give_way(pass, "RestoreAskedFor").await? {
            Some(mover) => restore::wait_for_mover(pass, &restore, &mover).await?,
            None => restore::drive(pass, &restore).await?,
        };
        found.after.push(after);
        return Ok(());
    }
    remove_leftovers(pass, None).await?;
    restore::revoke(pass).await?;
    let run_waits = || !pending(pass).is_empty() || matches!(scheduling::next(pass), Due::Now { .. });
    if let Some(after) = prune::drive(pass, run_waits).await? {
        found.after.push(after);
        wait_all(pass, phases, "waits for pruning to end");
        return Ok(());
    }
    if let Some(loss) = found.losses.first() {
        let message = format!(
            "waits: volume {} lost its data, see DataLost of TrayOrg {}",
            loss.volume,
            pass.subject.name()
        );
        wait_all(pass, phases, &message);
        return Ok(());
    }
    // A restore may still bring the data home; none is taken out.
    if let Some(why) = elsewhere(&pass.subject.region) {
        let message = format!("no snapshot is taken while the backup location lies elsewhere: {why}");
        return Err(Trouble::new(reasons::BACKUP_OUTSIDE_REGION, message));
    }
    if let Some(after) = next_run(pass, found, phases).await? {
        found.after.push(after);
        return Ok(());
    }
    prune::retain(pass).await?;
    found.at.extend(prune::next(pass));
    match prune::begin(pass).await? {
        Pruning::Running(after) => found.after.push(after),
        Pruning::Idle(at) => found.at.extend(at),
    }
    Ok(())
}

/// Every OrgSnapshot that asks for a run says what it waits for.
fn wait_all(pass: &Pass<'_>, phases: &mut Phases, message: &str) {
    let waiting = pending(pass).into_iter().map(|snapshot| snapshot.name_any());
    phases.extend(waiting.map(|name| (name, (SnapshotPhase::Pending, message.to_owned()))));
}

/// Drives the run that the ledger has as open, if there is one.
async fn open_run(
    pass: &Pass<'_>,
    found: &Found,
    restore: Option<&OrgRestore>,
    phases: &mut Phases,
) -> Result<Drive, Trouble> {
    let state = pass.state();
    let Some((run_id, run)) = state.open_runs().next() else {
        return Ok(Drive::Ended);
    };
    let restore = restore.map(ResourceExt::name_any);
    let drive = run::drive(pass, run_id, run, &found.losses, restore.as_deref()).await;
    // Also where a service did not answer: the run is where it was.
    let jobs = pass.ctx.index.jobs.of(pass.subject.name());
    let movers = jobs
        .iter()
        .filter(|job| job.owner.as_deref() == Some(run.plan.snapshot_name.as_str()));
    let copied = movers.clone().filter(|job| job.phase == Phase::Succeeded).count();
    let (phase, message) = if movers.count() == 0 {
        (
            SnapshotPhase::Hooks,
            "hooks of the org's workloads run".to_owned(),
        )
    } else {
        let trouble = pass.subject.mover_trouble(&pass.ctx.index);
        let trouble = trouble.map_or_else(String::new, |trouble| format!("; {trouble}"));
        let planned = run.plan.parts.len();
        (
            SnapshotPhase::Copying,
            format!("{copied} of {planned} parts are copied and verified{trouble}"),
        )
    };
    phases.insert(run.plan.snapshot_name.clone(), (phase, message));
    drive
}

/// Begins the run that waits, or makes the one that is due. Returns when to look again if one began.
async fn next_run(
    pass: &Pass<'_>,
    found: &mut Found,
    phases: &mut Phases,
) -> Result<Option<Duration>, Trouble> {
    let due = scheduling::next(pass);
    if let Due::At(at) = due {
        found.next_due = Some(at);
        found.at.push(at);
    }
    let mut waiting = pending(pass);
    if let Due::Now { slot } = due
        && waiting.is_empty()
    {
        scheduling::schedule(pass, scheduling::free(pass, slot)).await?;
        waiting = pending(pass);
    }
    let Some(snapshot) = waiting.first() else {
        return Ok(None);
    };
    let Some(run_id) = run::run_id_of(snapshot) else {
        return Ok(None);
    };
    let Some(message) = run::begin(pass, snapshot, &run_id).await? else {
        return Ok(Some(Duration::ZERO));
    };
    phases.insert(snapshot.name_any(), (SnapshotPhase::Pending, message));
    Ok(Some(Duration::from_secs(5)))
}

/// OrgSnapshots that ask for a run, the oldest first.
fn pending(pass: &Pass<'_>) -> Vec<Arc<OrgSnapshot>> {
    let state = pass.state();
    let mut pending = pass.ctx.index.snapshots.of_org(pass.subject.name());
    pending.retain(|snapshot| {
        run::is_wanted(snapshot)
            && !view::has_ended(snapshot)
            && run::run_id_of(snapshot).is_some_and(|id| !state.runs.contains_key(&id))
    });
    pending.sort_by_key(|snapshot| (snapshot.creation_timestamp(), snapshot.name_any()));
    pending
}

/// Movers of runs, restores and sweeps that have ended: the operator died before it removed them, or one that was behind made
/// them. Those of `restore` are not.
async fn remove_leftovers(pass: &Pass<'_>, restore: Option<&OrgRestore>) -> Result<(), Trouble> {
    let open = pass
        .state()
        .sweep
        .as_ref()
        .map(|open| prune::job_name(pass, open));
    let places = [pass.subject.namespace(), PRUNE_NAMESPACE];
    let is_wanted = |job: &JobFact| {
        open.as_ref() == Some(&job.name)
            || restore.is_some_and(|restore| restore::is_mover_of(restore, &job.name))
    };
    for job in pass.ctx.index.jobs.of(pass.subject.name()) {
        if places.contains(&job.namespace.as_str()) && !is_wanted(&job) {
            pass.jobs(&job.namespace).remove(&job.name, job.phase).await?;
        }
    }
    Ok(())
}

/// Snapshots and restores of an org for which nothing can be done say why, and so do its conditions.
async fn without_org(
    ctx: &Arc<Context>,
    org: &str,
    hindrance: &Hindrance,
    now: Timestamp,
) -> Result<Next, Failure> {
    let Hindrance {
        reason,
        message,
        placed,
    } = hindrance;
    let turns_at = placed
        .as_ref()
        .and_then(|(org, id)| tell_unread(ctx, org, id, reason, message, now));
    snapshots_wait(ctx, org, reason, message, now).await?;
    restores_wait(ctx, org, reason, message, now).await?;
    Ok(Next::OnChange.or_sooner(turns_at.map(|at| until(at, now))))
}

/// Puts on the board why an org's ledger is not read. Returns when RpoMet turns by time alone.
fn tell_unread(
    ctx: &Context,
    org: &TrayOrg,
    id: &OrgId,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Option<Timestamp> {
    let known = ctx.backup_facts.get(id).view;
    let view = backups::unread(org, known, reason, message, now);
    let turns_at = backups::deadline(&view.status).filter(|at| *at > now);
    ctx.backup_facts.set_view(id, view);
    turns_at
}

/// Snapshots that a person has to clear the way for say so. What has ended stays as it is.
async fn snapshots_wait(
    ctx: &Arc<Context>,
    org: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Result<(), Failure> {
    for snapshot in ctx.index.snapshots.of_org(org) {
        if !view::has_ended(&snapshot) {
            let status = view::status_without_org(&snapshot, reason, message, now);
            ctx.cluster
                .write_status(&*snapshot, snapshot.status.as_ref(), &status)
                .await?;
        }
    }
    Ok(())
}

/// Restores that a person has to clear the way for say so.
async fn restores_wait(
    ctx: &Arc<Context>,
    org: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Result<(), Failure> {
    for restore in ctx.index.restores.of_org(org) {
        if !restore.has_ended() {
            let status = waiting(&restore, reason, message, true, now);
            ctx.cluster
                .write_status(&*restore, restore.status.as_ref(), &status)
                .await?;
        }
    }
    Ok(())
}

impl Found {
    fn next(&self, now: Timestamp) -> Next {
        let times = self.at.iter().map(|at| until(*at, now));
        let soonest = times.chain(self.after.iter().copied()).min();
        soonest.map_or(Next::OnChange, Next::After)
    }
}

fn orgs_that(index: &Index, concerned: impl Fn(&TrayOrg) -> bool) -> Vec<String> {
    let orgs: BTreeMap<String, _> = index
        .orgs
        .all()
        .into_iter()
        .map(|org| (org.name_any(), org))
        .collect();
    orgs.into_iter()
        .filter(|(_, org)| concerned(org))
        .map(|(name, _)| name)
        .collect()
}
