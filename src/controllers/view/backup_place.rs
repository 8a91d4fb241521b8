//! Where an org's copies are: pinned in its status and on its namespace when it is placed. Read from the index, without a
//! request, and alike for the controller that pins it and for the one that goes by it.
//!
//! An org that was placed before this was pinned is believed what is recorded of it: what its namespace says, its
//! tombstone, then the newest committed OrgSnapshot. Where nothing is recorded its Region is believed, once S3 has
//! confirmed what that says.

use jiff::Timestamp;
use kube::ResourceExt;
use tray_api::{
    conditions::types,
    orgsnapshot::{OrgSnapshot, SnapshotPhase},
    orgtombstone::OrgTombstone,
    region::Region,
    trayorg::TrayOrg,
};
use tray_domain::{
    backup_place::{BackupPlace, Said},
    ids::OrgId,
    names,
};

use super::identity::{is_of, namespace};
use crate::{
    adapters::kube::{child::ChildFact, index::Index},
    controllers::conditions::find,
};

/// What is recorded of where an org's copies are; `tombstone` is the org's own, of a deletion after which it is back.
pub(super) fn recorded(
    index: &Index,
    org: &TrayOrg,
    id: &OrgId,
    tombstone: Option<&OrgTombstone>,
) -> Option<BackupPlace> {
    let pinned = org.status.as_ref().and_then(|status| status.backup_place.clone());
    pinned
        .or_else(|| {
            let namespace = namespace(index, &names::org_namespace(&org.name_any(), id))?;
            of_namespace(&namespace).filter(|_| is_of(&namespace, id.as_str()))
        })
        .or_else(|| tombstone?.spec.backup.clone())
        .or_else(|| of_snapshots(index, org))
}

/// What a namespace says of where its org's copies are.
pub fn of_namespace(namespace: &ChildFact) -> Option<BackupPlace> {
    let place = namespace.annotations.get(names::ANNOTATION_BACKUP_PLACE)?;
    serde_json::from_str(place).ok()
}

/// What a Region says.
pub fn said(region: &Region) -> Said {
    let backup = &region.spec.backup;
    Said {
        region: region.name_any(),
        place: BackupPlace::whole(
            backup.bucket.clone(),
            backup.bucket_owner.clone(),
            backup.prefix.clone(),
        ),
        confirmed: is_confirmed(region),
    }
}

/// Whether what a condition says is of the present spec of its Region.
pub fn is_current(region: &Region, observed_generation: Option<i64>) -> bool {
    observed_generation.is_none_or(|observed| Some(observed) >= region.metadata.generation)
}

/// Whether S3 has confirmed the backup location that the present spec names. A Region that is Ready has it confirmed.
fn is_confirmed(region: &Region) -> bool {
    let conditions = region
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    let says_so = |type_| {
        find(conditions, type_).is_some_and(|condition| {
            condition.status == "True" && is_current(region, condition.observed_generation)
        })
    };
    says_so(types::BACKUP_LOCATION_VERIFIED) || says_so(types::READY)
}

/// The bucket of the newest committed run that is this org's: one from before it was created is an earlier org's of its
/// name, whose copies are no business of it.
fn of_snapshots(index: &Index, org: &TrayOrg) -> Option<BackupPlace> {
    let snapshots = index.snapshots.of_org(&org.name_any());
    let committed = snapshots
        .iter()
        .filter_map(|snapshot| Some((committed_at(snapshot, org)?, snapshot)));
    let (_, newest) = committed.max_by_key(|(at, _)| *at)?;
    let bucket = newest.status.as_ref()?.bucket.clone()?;
    Some(BackupPlace::in_bucket(bucket))
}

/// When the run of an OrgSnapshot was committed, if it was and is a run of this very org.
pub fn committed_at(snapshot: &OrgSnapshot, org: &TrayOrg) -> Option<Timestamp> {
    let status = snapshot.status.as_ref()?;
    let at = status.committed_at.as_ref()?.0;
    let created = org.creation_timestamp()?.0;
    (status.phase == Some(SnapshotPhase::Committed) && at >= created).then_some(at)
}
