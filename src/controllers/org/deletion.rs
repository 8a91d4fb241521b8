//! The end of a TrayOrg: what runs and who may enter go; the namespace, its volumes and claims and all snapshots stay.
//!
//! A deletion that bypassed the protection (the CRD was deleted, or the policy's binding) tears nothing down at all.
//! Either way the namespace says that its org is gone, and the same orgId takes it up again.

use kube::ResourceExt;

use super::{
    apply,
    observe::{Observed, org_id},
    validate::pinned,
};
use crate::{
    adapters::kube::events::Severity,
    api::trayorg::{DeletionProtection, PinnedRegion},
    controllers::{Failure, Next, context::Context},
    domain::names,
    resources::org::{Placement, namespace},
};

/// Lets go of an org that is being deleted. Never waits for anything but the API server.
pub async fn finish(ctx: &Context, observed: &Observed) -> Result<Next, Failure> {
    let org = &*observed.org;
    if !org
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == names::FINALIZER_ORG)
    {
        return Ok(Next::OnChange);
    }
    let is_protected = org.spec.lifecycle.deletion_protection == DeletionProtection::Enabled;
    if is_protected {
        let note = "deleted although spec.lifecycle.deletionProtection is Enabled: everything stays as it is; \
                    apply the TrayOrg again to take it up";
        ctx.events
            .publish(org, Severity::Warning, "DeletionBypassed", "Release", note)
            .await;
    } else {
        for stage in apply::running(&observed.children) {
            for id in stage {
                ctx.cluster
                    .remove(&id)
                    .await
                    .map_err(|error| Failure::retry(error.to_string()))?;
            }
        }
    }
    if let Some(id) = org_id(org) {
        if let Some(place) = pinned(observed, &id) {
            let region = PinnedRegion {
                name: place.region,
                jurisdiction: place.jurisdiction,
                cloud_region: place.cloud_region,
            };
            let retained = namespace::retained(&Placement::new(org.name_any(), id.clone(), region));
            ctx.cluster
                .ensure(&retained)
                .await
                .map_err(|error| Failure::retry(error.to_string()))?;
        }
        ctx.backup_facts.forget(&id);
    }
    ctx.cluster
        .set_finalizer(org, names::FINALIZER_ORG, false)
        .await?;
    Ok(Next::OnChange)
}
