//! A Region as one of its orgs has it at present: a change of its workloads reaches orgs a few at a time, and until it
//! does an org is rendered from the revision that it has. The Region controller records which orgs were reached.

use kube::ResourceExt;
use tray_api::{
    region::{Region, RegionSpec},
    trayorg::TrayOrg,
};
use tray_domain::rollout;

/// A Region as one of its orgs has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Regional {
    /// Its spec, with the workloads of that revision.
    pub spec: RegionSpec,
    /// The revision; none = the Region's status has no record of any yet.
    pub revision: Option<String>,
}

/// What `org` has of `region`.
pub fn of(region: &Region, org: &TrayOrg) -> Regional {
    let mut spec = region.spec.clone();
    let Some(record) = region
        .status
        .as_ref()
        .and_then(|status| status.workloads.as_ref())
    else {
        return Regional { spec, revision: None };
    };
    let own = org
        .status
        .as_ref()
        .and_then(|status| status.workloads_revision.as_deref());
    let read = |name: &str| record.revisions.iter().find(|kept| kept.name == name)?.read();
    let reached = record.wave.contains(&org.name_any());
    let revision = rollout::revision(own, &record.revision, reached, |name| read(name).is_some());
    if let Some(workloads) = read(revision) {
        spec.workloads = workloads;
    }
    Regional {
        spec,
        revision: Some(revision.to_owned()),
    }
}
