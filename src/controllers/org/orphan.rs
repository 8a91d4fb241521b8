//! An org that was deleted past its protection: its CRD was deleted, or a policy's binding; or one whose TrayOrg could not
//! be read when it was deleted. Nothing of it is touched; it is recorded where no kind of ours is needed to read it, and
//! taken up when the TrayOrg is back.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tray_api::conditions::reasons;
use tray_domain::names;

use crate::{
    adapters::kube::events::Severity,
    controllers::{Blocked, conditions::whole_seconds, context::Context, orphans, view::org::OrgView},
    resources::org::Placement,
};

/// Records the deletion and says so on the namespace. Everything else stays as it is.
pub(crate) async fn leave(
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
pub(crate) async fn take_up(
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
