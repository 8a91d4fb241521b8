//! Backups of an org: its ledger and key, its snapshot runs, restores and pruning, and what its status says of them.
//!
//! All of an org's work is one key, so that at most one thing is done to its repositories at a time and every entry of
//! its ledger is decided on what the entry before left. A pass drives the run that is open (a restore or lost data end it), else
//! the restore under way, else the sweep that is open; else it begins the run that waits or is due, else it prunes.

mod annotations;
mod credential_times;
mod keys;
mod pass;
mod prune;
mod restore;
mod run;
mod scheduling;
mod snapshots;

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
    schedule::Due,
    volume_facts::{Loss, losses},
};

use self::{
    credential_times::CredentialTimes,
    keys::Keys,
    pass::{PRUNE_NAMESPACE, Pass},
    prune::Pruning,
    restore::status::waiting,
    run::{Drive, hooks::HookTasks},
    snapshots::Phases,
};
use super::{
    Blocked, Driver, Next, blocked::Until, changes::Change, context::Context, specs::Specs, until,
};
use crate::{
    adapters::kube::{
        facts::{JobFact, Phase},
        index::Index,
    },
    controllers::view::{backups, org::OrgView, region::elsewhere, subject::Subject},
    resources::child::ChildKind,
};

/// The controller of backups. Keys are names of TrayOrgs.
#[derive(Default)]
pub struct BackupDriver {
    keys: Keys,
    hooks: HookTasks,
    issued: CredentialTimes,
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
            | Change::Board(_)
            | Change::Support(_)
            | Change::GatewayApi
            | Change::Malformed { .. } => Vec::new(),
        }
    }

    fn keys(&self, index: &Index) -> Vec<String> {
        index.orgs.names()
    }

    async fn reconcile(&self, ctx: &Arc<Context>, key: &str) -> Result<Next, Blocked> {
        let now = ctx.now();
        let Some(org) = ctx.index.orgs.get(key) else {
            return told(ctx, key, None, &missing(&ctx.index, key), now).await;
        };
        let view = ctx.view(org, now);
        let subject = match Subject::of(&view) {
            Ok(subject) => subject,
            Err(blocked) => return told(ctx, key, Some(&view), &blocked, now).await,
        };
        let services = ctx.regions.services(&subject.location).map_err(|error| {
            Blocked::remote(reasons::BUCKET_UNAVAILABLE, "reach the backup location", &error)
        });
        let opened = match services {
            Ok(services) => self.open(ctx, &subject, services, now).await,
            Err(blocked) => Err(blocked),
        };
        let pass = match opened {
            Ok(pass) => pass,
            Err(blocked) => {
                tell_unread(ctx, &view, &blocked, now);
                if blocked.until != Until::Service {
                    wait_for_person(ctx, key, &blocked, now).await?;
                }
                return Err(blocked.unwatched());
            }
        };
        let mut found = Found::default();
        let result = work(&pass, &mut found).await;
        let blocked = result.as_ref().err().map(Blocked::fact);
        let read = backups::Read {
            state: &pass.state(),
            next_due: found.next_due,
            losses: &found.losses,
        };
        let (view, changes_at) = backups::view(&subject, &read, blocked.as_ref(), now);
        ctx.board.backups.set(subject.org_id(), view);
        result.map_err(Blocked::unwatched)?;
        found.at.extend(changes_at);
        Ok(found.next(now))
    }
}

impl BackupDriver {
    async fn open<'a>(
        &'a self,
        ctx: &'a Arc<Context>,
        subject: &'a Subject<'a>,
        services: tray_ports::RegionServices,
        now: Timestamp,
    ) -> Result<Pass<'a>, Blocked> {
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
                ctx.board.key.set(subject.org_id(), key.clone());
                Ok(pass(key))
            }
            // Nothing that it encrypted opens: a restore says so at its end, rather than wait for who knows how long.
            (Err(blocked), Some(key)) if blocked.until != Until::Service => {
                restore::give_up(&pass(key), &blocked).await?;
                Err(blocked)
            }
            (Err(blocked), _) => Err(blocked),
        }
    }
}

/// One look at an org whose ledger is open.
async fn work(pass: &Pass<'_>, found: &mut Found) -> Result<(), Blocked> {
    found.losses = losses(&pass.state(), &pass.subject.claims());
    annotations::carry_out(pass, &found.losses).await?;
    found.losses = losses(&pass.state(), &pass.subject.claims());
    let lost = annotations::messages(&found.losses);
    pass.ctx.board.lost.set(pass.subject.org_id(), lost);

    let mut phases = Phases::new();
    let result = advance(pass, found, &mut phases).await;
    // What is known is shown, whatever went wrong.
    let shown = snapshots::sync(pass, &phases).await;
    result.and(shown)
}

/// Does the one thing that is next for the org.
async fn advance(pass: &Pass<'_>, found: &mut Found, phases: &mut Phases) -> Result<(), Blocked> {
    let restore = pass.subject.view.restore.clone();
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
        return Err(Blocked::person(reasons::BACKUP_OUTSIDE_REGION, message));
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
) -> Result<Drive, Blocked> {
    let state = pass.state();
    let Some((run_id, run)) = state.open_runs().next() else {
        return Ok(Drive::Ended);
    };
    let restore = restore.map(ResourceExt::name_any);
    let drive = run::drive(pass, run_id, run, &found.losses, restore.as_deref()).await;
    // Also where a service did not answer: the run is where it was.
    let movers = pass.movers_of(&run.plan.snapshot_name);
    let copied = movers.iter().filter(|job| job.phase == Phase::Succeeded).count();
    let (phase, message) = if movers.is_empty() {
        (
            SnapshotPhase::Hooks,
            "hooks of the org's workloads run".to_owned(),
        )
    } else {
        let trouble = pass.subject.mover_trouble();
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
) -> Result<Option<Duration>, Blocked> {
    let due = scheduling::next(pass);
    if let Due::At(at) = due {
        found.next_due = Some(at);
        found.at.push(at);
    }
    let waiting = pending(pass);
    if let Due::Now { slot } = due
        && waiting.is_empty()
    {
        scheduling::schedule(pass, scheduling::free(pass, slot)).await?;
        // The answer is in the index: the next look begins its run.
        return Ok(Some(Duration::ZERO));
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
    let mut pending = pass.subject.view.snapshots.clone();
    pending.retain(|snapshot| {
        run::is_wanted(snapshot)
            && !snapshot.has_ended()
            && run::run_id_of(snapshot).is_some_and(|id| !state.runs.contains_key(&id))
    });
    pending.sort_by_key(|snapshot| (snapshot.creation_timestamp(), snapshot.name_any()));
    pending
}

/// Movers of runs, restores and sweeps that have ended: the operator died before it removed them, or one that was behind made
/// them. Those of `restore` are not.
async fn remove_leftovers(pass: &Pass<'_>, restore: Option<&OrgRestore>) -> Result<(), Blocked> {
    let open = pass
        .state()
        .sweep
        .as_ref()
        .map(|open| prune::job_name(pass, open));
    let is_wanted = |job: &JobFact| {
        open.as_ref() == Some(&job.name)
            || restore.is_some_and(|restore| restore::is_mover_of(restore, &job.name))
    };
    for namespace in [pass.subject.namespace(), PRUNE_NAMESPACE] {
        for job in pass.ctx.movers.of_org(namespace, pass.subject.name()) {
            if !is_wanted(&job) {
                pass.remove(&job).await?;
            }
        }
    }
    Ok(())
}

/// Why nothing can be done for an org that is not there.
fn missing(index: &Index, org: &str) -> Blocked {
    match index.malformed("TrayOrg", org) {
        Some(_) => Blocked::person(
            reasons::MALFORMED,
            format!("TrayOrg {org} cannot be read: see its conditions"),
        ),
        None => Blocked::person(
            reasons::ORG_MISSING,
            format!("spec.orgRef.name: there is no TrayOrg {org}"),
        ),
    }
}

/// Snapshots and restores of an org for which nothing can be done say why, and so do its conditions.
async fn told(
    ctx: &Context,
    org: &str,
    view: Option<&OrgView>,
    blocked: &Blocked,
    now: Timestamp,
) -> Result<Next, Blocked> {
    // One that is going tells of itself.
    let placed = view.filter(|view| view.is_placed() && !view.is_terminating());
    let turns_at = placed.and_then(|view| tell_unread(ctx, view, blocked, now));
    wait_for_person(ctx, org, blocked, now).await?;
    Ok(Next::OnChange.or_sooner(turns_at.map(|at| until(at, now))))
}

/// Puts on the board why an org's ledger is not read. Returns when RpoMet turns by time alone.
fn tell_unread(ctx: &Context, view: &OrgView, blocked: &Blocked, now: Timestamp) -> Option<Timestamp> {
    let id = view.org_id.as_ref()?;
    let backups = backups::unread(&view.org, view.known.backups.as_deref(), blocked, now);
    let turns_at = backups::deadline(&backups.status).filter(|at| *at > now);
    ctx.board.backups.set(id, backups);
    turns_at
}

/// Snapshots and restores that a person has to clear the way for say so. What has ended stays as it is.
async fn wait_for_person(ctx: &Context, org: &str, blocked: &Blocked, now: Timestamp) -> Result<(), Blocked> {
    for snapshot in ctx.index.snapshots.of_org(org) {
        if !snapshot.has_ended() {
            let status = snapshots::status_without_org(&snapshot, blocked, now);
            ctx.cluster
                .write_status(&*snapshot, snapshot.status.as_ref(), &status)
                .await?;
        }
    }
    for restore in ctx.index.restores.of_org(org) {
        if !restore.has_ended() {
            let status = waiting(&restore, blocked.reason, &blocked.message, true, now);
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
