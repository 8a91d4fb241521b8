//! The tombstone of an org: written before anything of it is taken down, gone once the org is back.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use tray_api::{
    orgtombstone::{OrgTombstone, OrgTombstoneSpec, TombstoneReason},
    retention_policy::TerminationRetention,
};
use tray_domain::{names::OPERATOR, tombstone};

use crate::{
    controllers::{Blocked, conditions::whole_seconds, context::Context, view::org::OrgView},
    resources::org::Placement,
};

/// Writes the tombstone of an org that was deleted at `deleted_at`, unless it is there. One of an earlier deletion, after
/// which the org was back but never Ready, makes place for it: its dates are past.
pub(super) async fn write(
    ctx: &Context,
    observed: &OrgView,
    placement: &Placement,
    deleted_at: Timestamp,
    now: Timestamp,
) -> Result<(), Blocked> {
    let wanted = of(observed, placement, deleted_at, now);
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
pub(super) async fn remove(ctx: &Context, observed: &OrgView) -> Result<(), Blocked> {
    if let Some(tombstone) = observed.own_tombstone() {
        ctx.cluster.delete_own(tombstone).await?;
    }
    Ok(())
}

/// Pure.
pub(super) fn of(
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
        reason: TombstoneReason::Deletion,
        deleted_at: Time(deleted_at),
        purge_at: Time(deadlines.purge_at),
        erasure_starts_at: Time(deadlines.erasure_starts_at),
    };
    let mut tombstone = OrgTombstone::new(&tombstone::name(&placement.org, &placement.org_id), spec);
    tombstone.labels_mut().insert(
        tray_domain::names::LABEL_MANAGED_BY.to_owned(),
        OPERATOR.to_owned(),
    );
    tombstone
}
