//! What is held of orgs that are gone, as far as it concerns one that is not placed yet. Pure.

use kube::ResourceExt;
use tray_api::{orgtombstone::OrgTombstone, trayorg::TrayOrg};
use tray_domain::{
    ids::OrgId,
    names,
    reattachment::{Asking, ReattachmentRefusal, Retained, take_up},
};

use super::namespace::is_abandoned;
use crate::{
    adapters::kube::{child::ChildFact, index::Index},
    resources::child::ChildKind,
};

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
