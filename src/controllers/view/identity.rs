//! Which org a TrayOrg is: its orgId, who holds one that several ask for, its namespace, and what is retained of orgs that are
//! gone as far as it concerns one that is not placed yet. Pure.

use std::sync::Arc;

use kube::ResourceExt;
use tray_api::{orgtombstone::OrgTombstone, trayorg::TrayOrg};
use tray_domain::{
    cloud_regions::Jurisdiction,
    identity,
    ids::OrgId,
    names,
    placement::Place,
    reattachment::{Asking, ReattachmentRefusal, Retained, take_up},
};

use crate::{
    adapters::kube::{child::ChildFact, index::Index},
    resources::child::{ChildId, ChildKind},
};

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
    taken_up(index, org).is_err()
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

/// The orgId under which `org` takes up what is held of it; none = it is new, or placed already. One that is placed has what
/// it has: it was asked before.
pub(crate) fn taken_up(index: &Index, org: &TrayOrg) -> Result<Option<OrgId>, ReattachmentRefusal> {
    let status = org.status.as_ref();
    if status.is_some_and(|status| status.region.is_some()) {
        return Ok(None);
    }
    let name = org.name_any();
    let asking = Asking {
        name: &name,
        org_id: org.spec.org_id.as_deref(),
        region: &org.spec.region_ref.name,
        allowed: org
            .annotations()
            .get(names::ANNOTATION_REATTACH)
            .is_some_and(|value| value == names::REATTACH_ALLOWED),
    };
    let held = held(index, org, asking);
    Ok(take_up(asking, &held)?.and_then(|id| id.parse().ok()))
}

/// Everything under the name or the orgId of the one who asks.
fn held(index: &Index, org: &TrayOrg, asking: Asking<'_>) -> Vec<Retained> {
    let tombstones = index
        .tombstones
        .all()
        .into_iter()
        .map(|tombstone| by_tombstone(&tombstone));
    // Without an orgId only what has its name can be meant.
    let of_id = asking.org_id.map(|id| {
        index
            .children
            .namespaces_ending(&id.chars().take(8).collect::<String>())
    });
    let namespaces = index
        .children
        .of(asking.name)
        .into_iter()
        .chain(of_id.unwrap_or_default());
    let namespaces = namespaces
        .filter_map(|namespace| by_namespace(org, &namespace))
        .filter(|held| held.org == asking.name || !is_in_use(index, held));
    tombstones
        .chain(namespaces)
        .filter(|held| held.org == asking.name || asking.org_id == Some(&held.org_id))
        .collect()
}

fn by_tombstone(tombstone: &OrgTombstone) -> Retained {
    let spec = &tombstone.spec;
    Retained {
        by: format!("OrgTombstone {}", tombstone.name_any()),
        org: spec.org.clone(),
        org_id: spec.org_id.clone(),
        region: spec.region.name.clone(),
        // Written when an org went.
        its_own: false,
    }
}

fn by_namespace(org: &TrayOrg, child: &ChildFact) -> Option<Retained> {
    let label = |name: &str| child.labels.get(name).cloned();
    if child.id.kind != ChildKind::Namespace {
        return None;
    }
    Some(Retained {
        by: format!("Namespace {}", child.id.name),
        org: label(names::LABEL_ORG)?,
        org_id: label(names::LABEL_ORG_ID)?,
        region: label(names::LABEL_REGION_NAME)?,
        its_own: has_made(org, child),
    })
}

/// Whether `org` itself had a namespace made, though its status does not say so. A name has one TrayOrg at a time: what was
/// made under it since this one was created was made for this one. An older one is what another left, even where nobody
/// could label it when that one went.
fn has_made(org: &TrayOrg, namespace: &ChildFact) -> bool {
    let created_at = org.metadata.creation_timestamp.as_ref().map(|at| at.0);
    let since = created_at.zip(namespace.observed.made_at());
    since.is_some_and(|(created_at, made_at)| made_at >= created_at)
        && namespace.org == org.metadata.name
        && !is_abandoned(namespace)
}

/// Whether it is the namespace of an org that is placed under that very id: who holds an orgId among the living is decided
/// apart from what is held. That there is some TrayOrg of its name says nothing: one that waits for leave has no right to it.
fn is_in_use(index: &Index, held: &Retained) -> bool {
    let org = index.orgs.get(&held.org);
    let status = org.as_ref().and_then(|org| org.status.as_ref());
    status.is_some_and(|status| status.region.is_some() && status.org_id.as_ref() == Some(&held.org_id))
}

/// The namespace of that name, if it is of an org.
pub fn namespace(index: &Index, name: &str) -> Option<Arc<ChildFact>> {
    index.children.get(&ChildId {
        kind: ChildKind::Namespace,
        namespace: String::new(),
        name: name.to_owned(),
    })
}

/// Whether a namespace says that its org went.
pub fn is_abandoned(namespace: &ChildFact) -> bool {
    [names::LABEL_RETAINED, names::LABEL_ORPHANED]
        .iter()
        .any(|label| namespace.labels.contains_key(*label))
}

/// Whether a namespace says that it is of the org of that id.
pub fn is_of(namespace: &ChildFact, org_id: &str) -> bool {
    let of = namespace.labels.get(names::LABEL_ORG_ID);
    of.is_some_and(|of| of == org_id)
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
