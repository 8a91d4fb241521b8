//! Which orgId a TrayOrg has, and who holds one that several ask for.

use tray_api::trayorg::TrayOrg;
use tray_domain::{identity, ids::OrgId};

use super::retained;
use crate::adapters::kube::index::Index;

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
    retained::taken_up(index, org).is_err()
}

/// The TrayOrg that is looked at, and how it stands to what is held of orgs that are gone.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    /// Its name.
    pub name: &'a str,
    /// What is held of its orgId is for it.
    pub is_heir: bool,
    /// What is held is kept from it.
    pub is_refused: bool,
}

/// Who holds an orgId. Nobody has it before the heir who merely asked for it earlier, nor before anybody else who is
/// refused what is held.
pub(super) fn holder(index: &Index, org_id: &OrgId, asker: Asker<'_>) -> Option<String> {
    let orgs = index.orgs.claiming(org_id.as_str());
    let is_recorded = |org: &TrayOrg| org.status.as_ref().is_some_and(|status| status.org_id.is_some());
    if asker.is_heir && !orgs.iter().any(|org| is_recorded(org)) {
        return Some(asker.name.to_owned());
    }
    let refused = |org: &TrayOrg| match org.metadata.name.as_deref() {
        Some(name) if name == asker.name => asker.is_refused,
        _ => is_refused(index, org),
    };
    let claimants: Vec<identity::Claimant<'_>> = orgs
        .iter()
        .filter_map(|org| {
            Some(identity::Claimant {
                name: org.metadata.name.as_deref()?,
                wanted: org.spec.org_id.as_deref(),
                recorded: org.status.as_ref().and_then(|status| status.org_id.as_deref()),
                created_at: org.metadata.creation_timestamp.as_ref()?.0,
                refused: refused(org),
            })
        })
        .collect();
    identity::holder(org_id.as_str(), &claimants).map(str::to_owned)
}
