//! The end of a TrayOrg, and its return. A tombstone is written, what runs and who may enter go; the namespace, its volumes and
//! claims, the key and all snapshots stay. Never waits for anything but the API server.
//!
//! A deletion past the protection (its CRD was deleted, or a policy's binding) tears nothing down at all: it is recorded where no
//! kind of ours is needed to read it, and taken up when the TrayOrg is back.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use tray_api::{
    conditions::reasons,
    orgtombstone::{OrgTombstone, OrgTombstoneSpec, TombstoneReason},
    retention_policy::TerminationRetention,
    trayorg::DeletionProtection,
};
use tray_domain::{
    names::{self, OPERATOR},
    tombstone,
};

use super::{apply, status};
use crate::{
    adapters::kube::events::Severity,
    controllers::{
        Blocked, Requeue,
        conditions::whole_seconds,
        context::Context,
        orphans, until,
        view::{acknowledgements, org::OrgView},
    },
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
            leave(ctx, observed, &placement, deleted_at).await?;
        } else {
            write_tombstone(ctx, observed, &placement, deleted_at, now).await?;
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
    // As they are now: one may have been made since the pass began.
    for job in ctx.index.jobs.of(&placement.org) {
        if job.namespace == placement.namespace {
            ctx.movers.remove(&job).await?;
        }
    }
    if observed.namespace.is_some() {
        ctx.cluster.ensure(&namespace::retained(placement)).await?;
    }
    Ok(())
}

/// Writes the tombstone of an org that was deleted at `deleted_at`, unless it is there. One of an earlier deletion, after
/// which the org was back but never Ready, makes place for it: its dates are past.
async fn write_tombstone(
    ctx: &Context,
    observed: &OrgView,
    placement: &Placement,
    deleted_at: Timestamp,
    now: Timestamp,
) -> Result<(), Blocked> {
    let wanted = tombstone_of(observed, placement, deleted_at, now);
    let name = wanted.name_any();
    let present = observed
        .tombstones
        .iter()
        .find(|present| present.name_any() == name);
    if let Some(present) = present {
        if present.spec.deleted_at == wanted.spec.deleted_at {
            return Ok(());
        }
        ctx.cluster.delete_own(&**present).await?;
    }
    Ok(ctx.cluster.create_own(&wanted).await?)
}

/// The org is back: what its tombstones held is its own again.
pub(super) async fn remove_tombstone(ctx: &Context, observed: &OrgView) -> Result<(), Blocked> {
    if let Some(tombstone) = observed.own_tombstone() {
        ctx.cluster.delete_own(tombstone).await?;
    }
    Ok(())
}

/// Pure.
pub(super) fn tombstone_of(
    observed: &OrgView,
    placement: &Placement,
    deleted_at: Timestamp,
    first_seen: Timestamp,
) -> OrgTombstone {
    let policy = observed
        .policy
        .as_ref()
        .map(|policy| policy.spec.termination.clone());
    let TerminationRetention { purge_after_days } = policy.unwrap_or_default();
    let deadlines = tombstone::deadlines(deleted_at, whole_seconds(first_seen), purge_after_days);
    let spec = OrgTombstoneSpec {
        org: placement.org.clone(),
        org_id: placement.org_id.to_string(),
        region: placement.region.clone(),
        namespace: placement.namespace.clone(),
        kms_key_arn: observed.known.key.as_ref().map(ToString::to_string),
        backup: placement.backup.clone(),
        webhook_host: observed
            .org
            .status
            .as_ref()
            .and_then(|status| status.webhook_host.clone()),
        acknowledgements: acknowledgements::known(observed),
        reason: TombstoneReason::Deletion,
        deleted_at: Time(deleted_at),
        purge_at: Time(deadlines.purge_at),
        erasure_starts_at: Time(deadlines.erasure_starts_at),
    };
    let mut tombstone = OrgTombstone::new(&tombstone::name(&placement.org, &placement.org_id), spec);
    tombstone
        .labels_mut()
        .insert(names::LABEL_MANAGED_BY.to_owned(), OPERATOR.to_owned());
    tombstone
}

/// Records the deletion and says so on the namespace. Everything else stays as it is.
async fn leave(
    ctx: &Context,
    observed: &OrgView,
    placement: &Placement,
    deleted_at: Timestamp,
) -> Result<(), Blocked> {
    let note = "deleted although spec.lifecycle.deletionProtection is Enabled: everything stays as it is; \
                apply the TrayOrg again to take it up";
    ctx.events
        .publish(
            &*observed.org,
            Severity::Warning,
            reasons::DELETION_BYPASSED,
            "Release",
            note,
        )
        .await;
    let data = orphans::record(
        placement,
        deleted_at,
        "although its spec.lifecycle.deletionProtection is Enabled",
    );
    ctx.cluster
        .write_record(&orphans::record_name(placement), &data)
        .await?;
    if observed.namespace.is_some() {
        orphans::label(ctx, placement).await?;
    }
    Ok(())
}

/// The TrayOrg is back: the record says when. Before the namespace's label goes, so that it is not forgotten.
pub(super) async fn take_up(
    ctx: &Context,
    observed: &OrgView,
    placement: &Placement,
    now: Timestamp,
) -> Result<(), Blocked> {
    let namespace = observed.namespace.as_ref();
    if namespace.is_some_and(|namespace| namespace.labels.contains_key(names::LABEL_ORPHANED)) {
        let data = BTreeMap::from([("returnedAt", whole_seconds(now).to_string())]);
        ctx.cluster
            .add_to_record(&orphans::record_name(placement), &data)
            .await?;
    }
    Ok(())
}
