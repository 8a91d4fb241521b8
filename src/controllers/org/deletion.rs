//! The end of a TrayOrg: a tombstone is written, what runs and who may enter go; the namespace, its volumes and claims, the
//! key and all snapshots stay. Never waits for anything but the API server.
//!
//! A deletion that bypassed the protection tears nothing down at all: see [`super::orphan`].

use jiff::Timestamp;
use kube::ResourceExt;
use tray_api::trayorg::{DeletionProtection, PinnedRegion};
use tray_domain::names;

use super::{apply, observe::Observed, orphan, status, tombstone, validate};
use crate::{
    adapters::kube::mover_jobs::MoverJobs,
    controllers::{Failure, Next, context::Context, until, view::org::is_abandoned},
    resources::org::{Placement, namespace},
};

/// Lets go of an org that is being deleted.
pub(super) async fn finish(ctx: &Context, observed: &Observed, now: Timestamp) -> Result<Next, Failure> {
    let org = &*observed.org;
    if !org
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == names::FINALIZER_ORG)
    {
        return told(ctx, observed, now).await;
    }
    if let Some(placement) = placement(observed) {
        let deleted_at = org.metadata.deletion_timestamp.as_ref().map_or(now, |at| at.0);
        if org.spec.lifecycle.deletion_protection == DeletionProtection::Enabled {
            orphan::leave(ctx, observed, &placement, deleted_at).await?;
        } else {
            tombstone::write(ctx, observed, &placement, deleted_at, now).await?;
            take_down(ctx, observed, &placement).await?;
        }
        ctx.backup_facts.forget(&placement.org_id);
    }
    ctx.cluster
        .set_finalizer(org, names::FINALIZER_ORG, false)
        .await?;
    Ok(Next::OnChange)
}

/// Somebody else still holds the TrayOrg: its status must not go on saying how well the org fares.
async fn told(ctx: &Context, observed: &Observed, now: Timestamp) -> Result<Next, Failure> {
    let org = &*observed.org;
    let Some(status) = status::of_deleted(observed, now) else {
        return Ok(Next::OnChange);
    };
    match ctx.cluster.write_status(org, org.status.as_ref(), &status).await {
        // Gone meanwhile.
        Err(kube::Error::Api(refused)) if refused.is_not_found() => return Ok(Next::OnChange),
        written => written?,
    };
    let turned = status::turns_at(&status, now).map(|at| until(at, now));
    Ok(Next::OnChange.or_sooner(turned))
}

/// Where the org was placed; none where it never was, whatever may be held of an earlier one of its name.
pub(super) fn placement(observed: &Observed) -> Option<Placement> {
    let id = observed.org_id.clone()?;
    let status = observed.org.status.as_ref();
    let recorded = status.is_some_and(|status| status.region.is_some());
    if !recorded && !has_made_its_namespace(observed, &id) {
        return None;
    }
    let place = validate::pinned(observed, &id)?;
    let region = PinnedRegion {
        name: place.region,
        jurisdiction: place.jurisdiction,
        cloud_region: place.cloud_region,
    };
    let copies = validate::settled(observed, &region).place;
    Some(Placement::new(observed.org.name_any(), id, region).with_backup(copies))
}

/// Its status was never written, or is lost, but there is a namespace that no earlier org left, or that it took up.
fn has_made_its_namespace(observed: &Observed, id: &tray_domain::ids::OrgId) -> bool {
    observed.refusal.is_none()
        && validate::namespace(observed, id).is_some_and(|namespace| !is_abandoned(namespace))
}

async fn take_down(ctx: &Context, observed: &Observed, placement: &Placement) -> Result<(), Failure> {
    let retry = |error: crate::adapters::kube::apply::ApplyError| Failure::retry(error.to_string());
    for id in apply::running(&observed.children).into_iter().flatten() {
        ctx.cluster.remove(&id).await.map_err(retry)?;
    }
    let movers = MoverJobs::new(ctx.client.clone(), &placement.namespace);
    for job in ctx.index.jobs.of(&placement.org) {
        if job.namespace == placement.namespace {
            movers.remove(&job.name, job.phase).await?;
        }
    }
    if validate::namespace(observed, &placement.org_id).is_some() {
        let retained = namespace::retained(placement);
        ctx.cluster.ensure(&retained).await.map_err(retry)?;
    }
    Ok(())
}
