//! What an org's namespace says of itself, by its labels.

use std::sync::Arc;

use tray_domain::{cloud_regions::Jurisdiction, names, placement::Place};

use crate::{
    adapters::kube::{child::ChildFact, index::Index},
    resources::child::{ChildId, ChildKind},
};

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
