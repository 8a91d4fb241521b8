//! The record of an org that was deleted past its protection, or unread: where no kind of ours is needed to read it, beside the
//! operator, and by a label on the namespace that it left. Nothing of the org is touched.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tray_domain::{names, tombstone};

use super::{
    Blocked,
    context::Context,
    view::{backup_place, identity::pinned_by, org::pinned_region},
};
use crate::{
    adapters::kube::child::ChildFact,
    resources::{
        child::ChildKind,
        org::{Placement, namespace},
    },
};

/// Records the deletion of a TrayOrg that could not be read, and says so on the namespace that it left, off which is read what
/// it was.
pub(crate) async fn leave_unread(ctx: &Context, org: &str, deleted_at: Timestamp) -> Result<(), Blocked> {
    for namespace in ctx.index.children.of(org) {
        if namespace.labels.contains_key(names::LABEL_RETAINED) {
            continue;
        }
        if let Some(placement) = placement_of(org, &namespace) {
            let data = record(&placement, deleted_at, "while it could not be read");
            ctx.cluster.write_record(&record_name(&placement), &data).await?;
            label(ctx, &placement).await?;
        }
    }
    Ok(())
}

/// Says on the namespace that its org went.
pub(crate) async fn label(ctx: &Context, placement: &Placement) -> Result<(), Blocked> {
    ctx.cluster.ensure(&namespace::orphaned(placement)).await?;
    Ok(())
}

/// Which org a namespace is of, and where that was placed.
fn placement_of(org: &str, namespace: &ChildFact) -> Option<Placement> {
    if namespace.id.kind != ChildKind::Namespace {
        return None;
    }
    let id = namespace.labels.get(names::LABEL_ORG_ID)?.parse().ok()?;
    let region = pinned_region(pinned_by(namespace)?);
    let placement = Placement::new(org, id, region).with_backup(backup_place::of_namespace(namespace));
    (placement.namespace == namespace.id.name).then_some(placement)
}

/// Name of the record, beside the operator.
pub(crate) fn record_name(placement: &Placement) -> String {
    format!(
        "tray-orphaned-{}",
        tombstone::name(&placement.org, &placement.org_id)
    )
}

/// What finds the org again. Never its spec.
pub(crate) fn record(
    placement: &Placement,
    deleted_at: Timestamp,
    how: &str,
) -> BTreeMap<&'static str, String> {
    let region = &placement.region;
    let mut record = BTreeMap::from([
        ("org", placement.org.clone()),
        ("orgId", placement.org_id.to_string()),
        ("namespace", placement.namespace.clone()),
        ("region", region.name.clone()),
        ("jurisdiction", region.jurisdiction.as_str().to_owned()),
        ("cloudRegion", region.cloud_region.clone()),
        ("deletedAt", deleted_at.to_string()),
        (
            "what",
            format!(
                "This TrayOrg was deleted {how}. Nothing of it was removed. Apply it again, with this orgId, to take it \
                 up; returnedAt says when that was."
            ),
        ),
    ]);
    if let Some(place) = &placement.backup {
        record.insert("backupBucket", place.bucket.clone());
        record.extend(
            place
                .bucket_owner
                .clone()
                .map(|owner| ("backupBucketOwner", owner)),
        );
        record.extend(place.prefix.clone().map(|prefix| ("backupPrefix", prefix)));
    }
    record
}
