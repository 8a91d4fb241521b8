//! A TrayOrg is deleted in two steps.

use super::{
    cases::{Case, delete},
    holds,
    world::Who,
};

pub(super) const POLICY: &str = "tray-delete-protection";

/// An org of the world that may be deleted; all others are protected.
pub(super) const UNPROTECTED: &str = "unprotected";

pub(super) fn cases() -> Vec<Case> {
    let org = |name: &str| delete(format!("/apis/platform.tray.ai/v1alpha1/trayorgs/{name}"));
    let words = "TrayOrg acme is protected: set spec.lifecycle.deletionProtection to Disabled";
    vec![
        org(UNPROTECTED).passes_for(Who::Admin),
        org("acme").refused_to(Who::Admin, words),
        org("acme").refused_to(Who::Operator, words),
        delete("/apis/platform.tray.ai/v1alpha1/trayorgs").refused_to(Who::Admin, "is protected"),
    ]
}

#[tokio::test]
async fn an_org_is_not_deleted_by_one_mistake() {
    holds(POLICY).await;
}
