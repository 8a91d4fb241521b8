//! The TrayOrg controller: view → check → apply → judge → status.
//!
//! An org whose spec cannot be carried out keeps what it has; its status says what a person has to do. Replicas are
//! decided here alone: by what the backup controller says on the board, and by how far an OrgRestore is.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use kube::ResourceExt;
use tray_api::{
    conditions::{reasons, types},
    trayorg::TrayOrgStatus,
};
use tray_domain::names;

use self::{
    applied::AppliedOrgs,
    status::Findings,
    validate::{Valid, validate},
};
use super::{
    Blocked, Driver, Requeue,
    blocked::Until,
    changes::Change,
    context::Context,
    specs::Specs,
    until,
    view::{org::OrgView, subject::Subject},
};
use crate::{
    adapters::kube::{events::Severity, index::Index},
    controllers::conditions::{find, is_true},
};

mod applied;
mod apply;
mod deletion;
mod enforcement;
mod evict;
mod mapper;
mod namespace_loss;
mod places;
mod retention;
mod status;
mod validate;
mod webhook_host;
mod workloads;

#[cfg(test)]
mod tests;

/// How long a status waits for what is merely on its way, so that it is written once.
const DEBOUNCE: Duration = Duration::from_secs(15);

/// Reconciles TrayOrgs; keys are their names.
#[derive(Default)]
pub struct OrgDriver {
    /// Since when an org has been on its way without its status saying so.
    on_their_way: Mutex<HashMap<String, Timestamp>>,
    /// What orgs go by of each Region, as last seen. Ignores what only the counts of a Region's status show: else each new org
    /// would have all others of its Region looked at.
    regions: Mutex<HashMap<String, mapper::RegionMark>>,
    /// The same of what else orgs name.
    specs: Specs,
    /// Pods that were deleted since they ran elsewhere.
    evictions: evict::Evictions,
    /// Webhook tokens, which no watch shows.
    tokens: webhook_host::KnownTokens,
    /// What was found to be applied.
    applied: AppliedOrgs,
}

#[async_trait::async_trait]
impl Driver for OrgDriver {
    fn name(&self) -> &'static str {
        "org"
    }

    fn map_to_keys(&self, change: &Change, index: &Index) -> Vec<String> {
        match change {
            Change::Region(name) if !self.is_news(name, index) => mapper::reached(index, name),
            change if !self.specs.are_news(change, index) => Vec::new(),
            change => mapper::keys_of(change, index),
        }
    }

    fn keys(&self, index: &Index) -> Vec<String> {
        index.orgs.names()
    }

    fn org(&self, _: &Index, key: &str) -> Option<String> {
        Some(key.to_owned())
    }

    async fn reconcile(&self, ctx: &Arc<Context>, key: &str) -> Result<Requeue, Blocked> {
        let now = ctx.now();
        let Some(org) = ctx.index.orgs.get(key) else {
            self.forget(key);
            self.evictions.forget(key);
            self.tokens.forget(key);
            self.applied.forget(key);
            return Ok(Requeue::OnChange);
        };
        let observed = ctx.view(org, now);
        let looked = if observed.is_terminating() {
            deletion::finish(ctx, &observed, now).await
        } else {
            self.look(ctx, &observed, now).await
        };
        if let Err(failed) = &looked
            && failed.until == Until::Service
            && let Some(org) = ctx.index.orgs.get(key)
            && let Some(turned) = status::by_the_clock(&org, observed.known.backups.as_deref(), now)
        {
            ctx.cluster
                .write_status(&*org, org.status.as_ref(), &turned)
                .await?;
        }
        looked
    }
}

impl OrgDriver {
    /// One look at an org that is meant to be there.
    async fn look(&self, ctx: &Context, observed: &OrgView, now: Timestamp) -> Result<Requeue, Blocked> {
        match check(ctx, observed).await? {
            Ok(valid) => {
                deletion::take_up(ctx, observed, &valid.placement, now).await?;
                let findings = self.carry_out(ctx, observed, &valid, now).await?;
                let status = status::of_valid(observed, &valid, &findings, now);
                let reported = self.report(ctx, observed, &status, now).await?;
                if is_true(&status.conditions, types::READY) {
                    deletion::remove_tombstone(ctx, observed).await?;
                }
                let evicted = self.evictions.evict(ctx, observed, &valid, now).await;
                let reduced = findings.kept.changes_at(now).map(|at| until(at, now));
                // Pods that have to go, a token that has to end, a time that waits, an objective that is missed then.
                let turned = status::turns_at(&status, now).map(|at| until(at, now));
                let again = [evicted, findings.webhook.again, reduced, turned];
                let next = reported.or_sooner(again.into_iter().flatten().min());
                match findings.refused.or(valid.flaw) {
                    None => Ok(next),
                    Some(blocked) => Err(blocked.looked_at(next)),
                }
            }
            Err(blocked) => {
                let kept = retention::kept(observed, now);
                apply::gate(ctx, observed).await?;
                apply::keep_logs(ctx, observed, &kept).await?;
                let placed = observed.is_placed().then(|| Subject::of(observed));
                let hindrance = placed.and_then(Result::err).map(|hindrance| hindrance.fact());
                let status = status::of_blocked(observed, &blocked, hindrance.as_ref(), &kept, now);
                let reported = self.report(ctx, observed, &status, now).await?;
                let reduced = kept.changes_at(now).map(|at| until(at, now));
                let turned = status::turns_at(&status, now).map(|at| until(at, now));
                Err(blocked.looked_at(reported.or_sooner(reduced.into_iter().chain(turned).min())))
            }
        }
    }
}

/// Whether the org can be worked on.
async fn check(ctx: &Context, observed: &OrgView) -> Result<Result<Valid, Blocked>, Blocked> {
    let valid = match validate(observed) {
        Ok(valid) => valid,
        Err(blocked) => return Ok(Err(blocked)),
    };
    Ok(match namespace_loss::blocked(ctx, observed, &valid).await? {
        Some(blocked) => Err(blocked),
        None => Ok(valid),
    })
}

impl OrgDriver {
    /// Makes the cluster agree, and says how the org fares.
    async fn carry_out(
        &self,
        ctx: &Context,
        observed: &OrgView,
        valid: &Valid,
        now: Timestamp,
    ) -> Result<Findings, Blocked> {
        let org = &*observed.org;
        ctx.cluster.set_finalizer(org, names::FINALIZER_ORG, true).await?;
        let exposure = webhook_host::exposure(valid, ctx.settings.webhooks, ctx.index.has_gateway_api());
        let exposed = exposure.children(&valid.placement);
        let kept = retention::kept(observed, now);
        let situation = workloads::situation(observed, valid);
        let applied = apply::apply(ctx, &self.applied, observed, valid, &situation, &kept, exposed).await?;
        let webhook = webhook_host::expose(ctx, &self.tokens, observed, valid, &exposure, now).await;
        let children = ctx.index.children.of(&org.name_any());
        let workloads = workloads::why_stopped(&situation).unwrap_or_else(|| {
            workloads::availability(&valid.effective.workloads, &children, &observed.pods, &valid.uses)
        });
        let found = places::look(observed, &valid.placement.region);
        // Where another backup location lies than its copies are in, says nothing of them.
        let backups = (!valid.is_backed_up_elsewhere()).then_some(&*valid.region);
        Ok(Findings {
            residency: places::residency(&found, &valid.placement.region, backups),
            mended: places::is_mended(&found, &valid.region),
            placement: places::placement(observed, &found),
            zones: places::spread(observed, valid, &situation),
            isolation: applied.isolation,
            quota: enforcement::quota(&valid.fitted, org.spec.plan),
            workloads,
            webhook,
            kept,
            refused: applied.refused,
        })
    }

    /// Writes the status where it says something else than the recorded one. What is merely on its way waits for a moment.
    async fn report(
        &self,
        ctx: &Context,
        observed: &OrgView,
        status: &TrayOrgStatus,
        now: Timestamp,
    ) -> Result<Requeue, Blocked> {
        let org = &*observed.org;
        let name = org.name_any();
        if let Some(rest) = self.debounce_left(&name, observed, status, now) {
            return Ok(Requeue::After(rest));
        }
        if ctx.cluster.write_status(org, org.status.as_ref(), status).await? {
            tell(ctx, observed, status).await;
            if let Some(reduced) = retention::news(org.status.as_ref(), status) {
                let reason = reasons::REDUCTION_PENDING;
                ctx.events
                    .publish(org, Severity::Warning, reason, "Reconcile", reduced)
                    .await;
            }
        }
        Ok(Requeue::OnChange)
    }

    /// How long a status that is not settled may still wait; none = it is written now.
    fn debounce_left(
        &self,
        name: &str,
        observed: &OrgView,
        status: &TrayOrgStatus,
        now: Timestamp,
    ) -> Option<Duration> {
        if status::is_settled(status) || status::was_ready(observed) {
            self.forget(name);
            return None;
        }
        let mut on_their_way = self.on_their_way.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *on_their_way.entry(name.to_owned()).or_insert(now);
        let waited = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        DEBOUNCE.checked_sub(waited).filter(|rest| !rest.is_zero())
    }

    /// Whether a Region is another for its orgs than it was.
    fn is_news(&self, name: &str, index: &Index) -> bool {
        let mark = index.regions.get(name).map(|region| mapper::region_mark(&region));
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mark) = mark {
            regions.insert(name.to_owned(), mark.clone()) != Some(mark)
        } else {
            regions.remove(name);
            true
        }
    }

    fn forget(&self, name: &str) {
        self.on_their_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }
}

/// An event where Ready says something else than before. That all goes well is no news, but after trouble.
async fn tell(ctx: &Context, observed: &OrgView, status: &TrayOrgStatus) {
    let recorded = observed
        .org
        .status
        .as_ref()
        .map(|s| s.conditions.as_slice())
        .unwrap_or_default();
    let before = find(recorded, types::READY).map(|c| (c.status.as_str(), c.reason.as_str()));
    let Some(ready) = find(&status.conditions, types::READY) else {
        return;
    };
    let was_well = before.is_none_or(|(status, reason)| status == "True" || reason == reasons::ROLLING_OUT);
    let unchanged = before == Some((ready.status.as_str(), ready.reason.as_str()));
    if unchanged || ready.reason == reasons::ROLLING_OUT || (was_well && ready.status == "True") {
        return;
    }
    let severity = if ready.status == "True" {
        Severity::Normal
    } else {
        Severity::Warning
    };
    ctx.events
        .publish(
            &*observed.org,
            severity,
            &ready.reason,
            "Reconcile",
            ready.message.clone(),
        )
        .await;
}
