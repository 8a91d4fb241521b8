//! What is seen of a Region, besides what it says of itself: its buckets, what is wrong with it, and what one of its orgs has of
//! it at present. A change of its workloads reaches orgs a few at a time, and until it does an org is rendered from the revision
//! that it has. The Region controller records which orgs were reached.

use kube::ResourceExt;
use tray_api::{
    conditions::{reasons, types},
    region::{BackupLocation, Region, RegionSpec},
    trayorg::TrayOrg,
};
use tray_domain::{
    mover_task::{BucketLocation, Endpoints},
    rollout,
};

use crate::controllers::conditions::{ConditionFact, Truth, find};

/// The bucket of a Region's backups.
pub fn bucket_location(backup: &BackupLocation) -> BucketLocation {
    BucketLocation {
        bucket: backup.bucket.clone(),
        bucket_owner: backup.bucket_owner.clone(),
        cloud_region: backup.cloud_region.clone(),
        prefix: backup.prefix.clone(),
        endpoints: Endpoints {
            s3: backup.endpoints.s3.clone(),
            kms: backup.endpoints.kms.clone(),
            sts: backup.endpoints.sts.clone(),
        },
    }
}

/// The bucket of a Region's access records; none where the spec names none.
pub fn log_location(spec: &RegionSpec) -> Option<BucketLocation> {
    let logs = spec.log_location.as_ref()?;
    Some(BucketLocation {
        bucket: logs.bucket.clone(),
        cloud_region: spec.cloud_region.clone(),
        prefix: logs.prefix.clone(),
        ..bucket_location(&spec.backup)
    })
}

/// What is recorded of a backup location that lies elsewhere than the Region says, so that its orgs' data does; none
/// where it does not. One in the Region itself is bad for backups, but takes no data away.
pub fn elsewhere(region: &Region) -> Option<&str> {
    let recorded = find(
        &region.status.as_ref()?.conditions,
        types::BACKUP_LOCATION_VERIFIED,
    )?;
    is_elsewhere(&ConditionFact::of(recorded)).then_some(recorded.message.as_str())
}

/// Whether a verdict on a backup location says so.
pub fn is_elsewhere(verdict: &ConditionFact) -> bool {
    let moved = [
        reasons::BUCKET_REGION_DIFFERS,
        reasons::BUCKET_OUTSIDE_JURISDICTION,
    ];
    verdict.status == Truth::False && moved.contains(&verdict.reason.as_str())
}

/// Why no org can have a webhook host in this cluster; none where they can.
pub fn webhook_fault(webhooks: bool, has_gateway_api: bool) -> Option<ConditionFact> {
    let (reason, message) = if !webhooks {
        (
            reasons::WEBHOOKS_DISABLED,
            "the operator was installed without webhooks: set webhooks.enabled in the values of its chart",
        )
    } else if !has_gateway_api {
        (
            reasons::GATEWAY_API_MISSING,
            "the cluster does not serve httproutes and referencegrants of gateway.networking.k8s.io: install the CRDs \
             of the Gateway API, which are taken up without a restart",
        )
    } else {
        return None;
    };
    Some(ConditionFact::new(false, reason, message))
}

/// A Region as one of its orgs has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Regional {
    /// Its spec, with the workloads of that revision.
    pub spec: RegionSpec,
    /// The revision; none = the Region's status has no record of any yet.
    pub revision: Option<String>,
}

/// What `org` has of `region`.
pub fn regional(region: &Region, org: &TrayOrg) -> Regional {
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
