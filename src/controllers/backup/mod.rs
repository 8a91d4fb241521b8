//! Backups of an org: its ledger and key, its snapshot runs, restores and pruning, and what its status says of them.
//!
//! All of an org's work is one key, so that at most one thing is done to its repositories at a time and every entry of
//! its ledger is decided on what the entry before left. A pass drives the run that is open (a restore or lost data end it), else
//! the restore under way, else the sweep that is open; else it begins the run that waits or is due, else it prunes. Before it
//! acts it reads on in the ledger: another process may have.

mod annotations;
mod audit;
mod credential_times;
mod keys;
mod pass;
mod prune;
mod restore;
mod run;
mod scheduling;
mod snapshots;
mod sweep;
mod trouble;
mod work;

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use tracing::warn;
use tray_api::{conditions::reasons, kinds::Kind, orgrestore::OrgRestore, trayorg::LedgerStatus};
use tray_domain::volume_facts::{Loss, losses};

use self::{
    audit::Audits,
    credential_times::CredentialTimes,
    keys::Keys,
    pass::Pass,
    restore::{rights, status::waiting},
    run::{hooks::HookTasks, let_go::let_go},
    snapshots::Phases,
    work::{Again, advance},
};
use super::{
    Blocked, Driver, Requeue, blocked::Until, board::LostClaims, changes::Change, context::Context,
    specs::Specs, until,
};
use crate::{
    adapters::kube::index::Index,
    controllers::view::{backups, org::OrgView, rest, subject::Subject},
    resources::child::ChildKind,
};

/// The controller of backups. Keys are names of TrayOrgs.
#[derive(Default)]
pub struct BackupDriver {
    keys: Keys,
    hooks: HookTasks,
    issued: CredentialTimes,
    audits: Audits,
    specs: Specs,
    /// When this process looked at an org first.
    looks_since: OnceLock<Timestamp>,
}

#[async_trait::async_trait]
impl Driver for BackupDriver {
    fn name(&self) -> &'static str {
        "backup"
    }

    fn map_to_keys(&self, change: &Change, index: &Index) -> Vec<String> {
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
            Change::Region(_) | Change::RetentionPolicy(_) | Change::BackupSchedule(_) => {
                change.orgs_that_name_it(index)
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

    async fn reconcile(&self, ctx: &Arc<Context>, key: &str) -> Result<Requeue, Blocked> {
        let now = ctx.now();
        self.looks_since.get_or_init(|| now);
        let Some(org) = ctx.index.orgs.get(key) else {
            return report_blocked(ctx, key, None, &missing(&ctx.index, key), now).await;
        };
        let view = ctx.view(org, now);
        // Whatever else can be done for the org: nobody may do in it what no restore needs.
        let seen = rights::Seen {
            restores: &view.restores,
            children: &view.children,
            movers: &view.movers,
        };
        rights::revoke(ctx, &seen).await?;
        let subject = match Subject::of(&view) {
            Ok(subject) => subject,
            Err(blocked) => return report_blocked(ctx, key, Some(&view), &blocked, now).await,
        };
        if !self.keys.is_open(subject.org_id())
            && !self.hooks.is_at_work(key)
            && let Some(at) = rest::at_rest(&subject, now)
        {
            remember(ctx, &subject);
            return Ok(Requeue::OnChange.or_sooner(Some(until(at, now))));
        }
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
                match blocked.until {
                    Until::Service => tell_restores(ctx, key, |_| true, &blocked, false, now).await?,
                    Until::Person | Until::Time => wait_for_person(ctx, key, &blocked, now).await?,
                }
                return Err(blocked.unwatched());
            }
        };
        let (mut again, mut losses) = (Again::default(), Vec::new());
        let result = look(&pass, &mut losses, &mut again).await;
        let blocked = result.as_ref().err().map(Blocked::fact);
        let read = backups::Read {
            state: &pass.state(),
            next_due: again.next_due,
            losses: &losses,
            trouble: trouble::of(&pass),
        };
        let (mut view, changes_at) = backups::view(&subject, &read, blocked.as_ref(), now);
        again.at(changes_at);
        let settled = result.is_ok().then_some(&again);
        view.status.ledger = self.settle(&pass, settled, &losses).await;
        ctx.board.backups.set(subject.org_id(), view);
        if let Err(blocked) = &result {
            // One that has got on says itself what keeps it.
            let is_new = |restore: &OrgRestore| restore.phase().is_none();
            tell_restores(ctx, key, is_new, blocked, false, now).await?;
        }
        result.map_err(Blocked::unwatched)?;
        Ok(again.next(now))
    }
}

/// What a status has recorded goes onto the board, where nothing has been said since the start: it stands.
fn remember(ctx: &Context, subject: &Subject<'_>) {
    let (board, org) = (&ctx.board, subject.org_id());
    let known = &subject.view.known;
    if let (None, Some(recorded)) = (&known.backups, rest::recorded(subject.org())) {
        board.backups.set(org, recorded);
    }
    if known.lost.is_none() {
        // While anything is lost no ledger rests.
        board.lost.set(org, LostClaims::new());
    }
    if let (None, Some(key)) = (&known.key, rest::key(subject.org())) {
        board.key.set(org, key);
    }
}

impl BackupDriver {
    /// How many ledgers are in memory: those of orgs for which something is under way.
    pub fn ledgers_in_memory(&self) -> usize {
        self.keys.count()
    }

    /// What the status says of the ledger. Where nothing is under way it leaves the memory, with a short tail for whoever reads it
    /// next; `settled` = when something is due, of a look that went well.
    async fn settle(
        &self,
        pass: &Pass<'_>,
        settled: Option<&Again>,
        losses: &[Loss],
    ) -> Option<LedgerStatus> {
        let awake = || rest::awake(pass.subject);
        let waits = settled.is_some_and(Again::is_soon) || self.hooks.is_at_work(pass.subject.name());
        if !pass.state().is_idle() || waits || pass.subject.view.restore.is_some() {
            return awake();
        }
        let rest = match settled {
            Some(again) => self.rest(pass, again, losses).await,
            None => None,
        };
        self.keys.close(&pass.ledger);
        rest.or_else(awake)
    }

    /// What the status says of a ledger that comes to rest; none = the org is another one by now.
    async fn rest(&self, pass: &Pass<'_>, again: &Again, losses: &[Loss]) -> Option<LedgerStatus> {
        if let Err(error) = pass.ledger.shorten(pass.now).await {
            warn!(%error, "no checkpoint was written: whoever reads the ledger next reads more of it");
        }
        let org = pass.ctx.index.orgs.get(pass.subject.name())?;
        let view = pass.ctx.view(org, pass.now);
        let seen = rest::Seen {
            then: pass.subject,
            now: &Subject::of(&view).ok()?,
        };
        let until = losses.is_empty().then(|| again.at_latest());
        rest::ledger(&seen, &pass.state(), &pass.key, until, pass.now)
    }

    async fn open<'a>(
        &'a self,
        ctx: &'a Arc<Context>,
        subject: &'a Subject<'a>,
        services: tray_ports::RegionServices,
        now: Timestamp,
    ) -> Result<Pass<'a>, Blocked> {
        let has_read = !self.keys.is_open(subject.org_id());
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
            has_read,
            key,
            now,
            looks_since: *self.looks_since.get_or_init(|| now),
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

/// One look at an org whose ledger is open. What is known is shown, whatever went wrong.
async fn look(pass: &Pass<'_>, lost: &mut Vec<Loss>, again: &mut Again) -> Result<(), Blocked> {
    *lost = losses(&pass.state(), &pass.subject.claims());
    if !lost.is_empty() {
        // Another process may have written down that they are filled, or given up.
        pass.ledger.refresh().await?;
    }
    annotations::carry_out(pass, lost).await?;
    *lost = losses(&pass.state(), &pass.subject.claims());
    let told = annotations::told(lost);
    pass.ctx.board.lost.set(pass.subject.org_id(), told);

    let mut phases = Phases::new();
    let result = advance(pass, again, &mut phases).await;
    again.after(let_go(pass));
    let shown = snapshots::sync(pass, &phases).await;
    result.and(shown)
}

/// Why nothing can be done for an org that is not there.
fn missing(index: &Index, org: &str) -> Blocked {
    match index.malformed(Kind::TrayOrg, org) {
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
async fn report_blocked(
    ctx: &Context,
    org: &str,
    view: Option<&OrgView>,
    blocked: &Blocked,
    now: Timestamp,
) -> Result<Requeue, Blocked> {
    // One that is going tells of itself.
    let placed = view.filter(|view| view.is_placed() && !view.is_terminating());
    let turns_at = placed.and_then(|view| tell_unread(ctx, view, blocked, now));
    rights::take_back(ctx, org).await?;
    wait_for_person(ctx, org, blocked, now).await?;
    Ok(Requeue::OnChange.or_sooner(turns_at.map(|at| until(at, now))))
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
    tell_restores(ctx, org, |_| true, blocked, true, now).await
}

/// These restores of the org say what keeps them, unless they have ended; `stalled`: a person has to act.
async fn tell_restores(
    ctx: &Context,
    org: &str,
    which: impl Fn(&OrgRestore) -> bool,
    blocked: &Blocked,
    stalled: bool,
    now: Timestamp,
) -> Result<(), Blocked> {
    for restore in ctx.index.restores.of_org(org) {
        if !restore.has_ended() && which(&restore) {
            let status = waiting(&restore, blocked.reason, &blocked.message, stalled, now);
            ctx.cluster
                .write_status(&*restore, restore.status.as_ref(), &status)
                .await?;
        }
    }
    Ok(())
}
