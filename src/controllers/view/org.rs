//! What is seen of an org by its TrayOrg and its namespace alone.

use tray_api::trayorg::TrayOrg;
use tray_domain::{cloud_regions::Jurisdiction, ids::OrgId, names, placement::Place};

use super::held;
use crate::adapters::kube::{child::ChildFact, index::Index};

/// The org's id: the recorded one; else the one that the spec asks for; else its object's own UID, which is a UUID, is
/// no other org's, and is the same at every pass.
pub fn org_id(org: &TrayOrg) -> Option<OrgId> {
    let recorded = org.status.as_ref().and_then(|status| status.org_id.as_deref());
    let wanted = recorded
        .or(org.spec.org_id.as_deref())
        .or(org.metadata.uid.as_deref());
    wanted?.parse().ok()
}

/// Whether what is under a TrayOrg's name was left by an earlier one and is kept from it.
pub fn is_refused(index: &Index, org: &TrayOrg) -> bool {
    held::taken_up(index, org).is_err()
}

/// Whether a namespace says that its org went.
pub fn is_abandoned(namespace: &ChildFact) -> bool {
    [names::LABEL_RETAINED, names::LABEL_ORPHANED]
        .iter()
        .any(|label| namespace.labels.contains_key(*label))
}

/// Where the labels of an org's namespace say that it is pinned to.
pub(crate) fn pinned_by(namespace: &ChildFact) -> Option<Place> {
    let label = |name: &str| namespace.labels.get(name);
    let jurisdiction = label(names::LABEL_JURISDICTION)?;
    Some(Place {
        region: label(names::LABEL_REGION_NAME)?.clone(),
        jurisdiction: Jurisdiction::ALL
            .into_iter()
            .find(|j| j.as_str() == jurisdiction)?,
        cloud_region: label(names::LABEL_REGION)?.clone(),
    })
}
