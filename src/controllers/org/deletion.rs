//! The end of a TrayOrg: a tombstone is written, what runs and who may enter go; the namespace, its volumes and claims, the
//! key and all snapshots stay. Never waits for anything but the API server.
//!
//! A deletion that bypassed the protection tears nothing down at all: see [`super::orphan`].

use jiff::Timestamp;
use kube::ResourceExt;
use tray_api::trayorg::DeletionProtection;
use tray_domain::names;

use super::{apply, orphan, status, tombstone};
use crate::{
    controllers::{Blocked, Requeue, context::Context, until, view::org::OrgView},
    resources::org::{Placement, namespace},
};

/// Lets go of an org that is being deleted.
pub(super) async fn finish(ctx: &Context, observed: &OrgView, now: Timestamp) -> Result<Requeue, Blocked> {
    let org = &*observed.org;
    if !org
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == names::FINALIZER_ORG)
    {
        return told(ctx, observed, now).await;
    }
    if let Some(placement) = observed.placement() {
        let deleted_at = org.metadata.deletion_timestamp.as_ref().map_or(now, |at| at.0);
        if org.spec.lifecycle.deletion_protection == DeletionProtection::Enabled {
            orphan::leave(ctx, observed, &placement, deleted_at).await?;
        } else {
            tombstone::write(ctx, observed, &placement, deleted_at, now).await?;
            take_down(ctx, observed, &placement).await?;
        }
        ctx.board.forget(&placement.org_id);
    }
    ctx.cluster
        .set_finalizer(org, names::FINALIZER_ORG, false)
        .await?;
    Ok(Requeue::OnChange)
}

/// Somebody else still holds the TrayOrg: its status must not go on saying how well the org fares.
async fn told(ctx: &Context, observed: &OrgView, now: Timestamp) -> Result<Requeue, Blocked> {
    let org = &*observed.org;
    let Some(status) = status::of_deleted(observed, now) else {
        return Ok(Requeue::OnChange);
    };
    match ctx.cluster.write_status(org, org.status.as_ref(), &status).await {
        // Gone meanwhile.
        Err(kube::Error::Api(refused)) if refused.is_not_found() => return Ok(Requeue::OnChange),
        written => written?,
    };
    let turned = status::turns_at(&status, now).map(|at| until(at, now));
    Ok(Requeue::OnChange.or_sooner(turned))
}

async fn take_down(ctx: &Context, observed: &OrgView, placement: &Placement) -> Result<(), Blocked> {
    for id in apply::running(&observed.children).into_iter().flatten() {
        ctx.cluster.remove(&id).await?;
    }
    for job in ctx.movers.of_org(&placement.namespace, &placement.org) {
        ctx.movers.remove(&job).await?;
    }
    if observed.namespace.is_some() {
        ctx.cluster.ensure(&namespace::retained(placement)).await?;
    }
    Ok(())
}
