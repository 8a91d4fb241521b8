//! Whether an org can be worked on: a chain of checks over what was observed, first come first told. Pure.

use std::sync::Arc;

use kube::ResourceExt;
use tray_api::{
    conditions::{reasons, types},
    region::{Region, Scheduling},
    trayorg::{LifecycleState, PinnedRegion},
};
use tray_domain::{
    backup_place::{Settled, settle},
    ids::OrgId,
    names,
    placement::{self, Candidate, Place, Refusal},
    reattachment,
    stage::Stage,
};

use super::{observe::Observed, quota};
use crate::{
    adapters::kube::child::ChildFact,
    controllers::{
        conditions,
        view::{
            backup_place,
            org::pinned_by,
            regional::{self, Regional},
        },
    },
    resources::{
        child::ChildKind,
        org::{
            Placement,
            effective::{self, Effective},
            quota::{Fitted, fit, limits},
        },
    },
};

/// Least days for which a Production region's orgs keep their snapshots.
pub(super) const LEAST_KEEP_DAYS: i32 = 14;

/// What stands in an org's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Obstacle {
    /// A constant of `api::conditions::reasons`.
    pub reason: &'static str,
    /// Names the object, the field and the remedy.
    pub message: String,
    /// It goes away by itself: no person has to act.
    pub passing: bool,
}

impl Obstacle {
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            passing: false,
        }
    }
}

/// An org that can be worked on.
#[derive(Clone, Debug)]
pub(super) struct Valid {
    /// Which org, and where.
    pub placement: Placement,
    /// The Region it lives in.
    pub region: Arc<Region>,
    /// The same as the org has it at present.
    pub regional: Regional,
    /// What it runs.
    pub effective: Effective,
    /// What it may use, as far as that fits what it uses.
    pub fitted: Fitted,
    /// It is suspended.
    pub suspended: bool,
    /// What a person has to put in order, though what the org has goes on and is kept up.
    pub flaw: Option<Obstacle>,
}

impl Valid {
    /// Its Region has the backups of its orgs in another place than its own are in.
    pub(super) fn is_backed_up_elsewhere(&self) -> bool {
        let flaw = self.flaw.as_ref();
        flaw.is_some_and(|flaw| flaw.reason == reasons::BACKUP_PLACE_CHANGED)
    }
}

/// Checks an org. An obstacle leaves whatever it has as it is: nothing is ever torn down for one.
pub(super) fn validate(observed: &Observed) -> Result<Valid, Obstacle> {
    let org = &*observed.org;
    let id = identity(observed)?;
    let placement = place(observed, id)?;
    let Some(region) = observed.region.clone() else {
        return Err(Obstacle::new(
            reasons::REGION_NOT_SERVED,
            Refusal::NotServed(placement.region.name).to_string(),
        ));
    };
    let regional = regional::of(&region, org);
    let effective = effective::workloads(&org.spec, &regional.spec)
        .map_err(|conflict| Obstacle::new(conflict.reason(), conflict.to_string()))?;
    let uses = quota::uses(observed, &placement.namespace);
    let fitted = fit(limits(&org.spec, &region.spec), &uses);
    let Settled { place, changed } = settled(observed, &placement.region);
    let placement = placement.with_backup(place);
    let moved = changed.map(|changed| Obstacle::new(reasons::BACKUP_PLACE_CHANGED, changed.to_string()));
    let flaw = moved
        .or_else(|| references(observed, &region))
        .or_else(|| idle_overrides(&effective));
    match flaw {
        // A namespace is not made for an org whose snapshots nobody can take.
        Some(flaw) if !is_placed(observed) => Err(flaw),
        flaw => Ok(Valid {
            placement,
            region,
            regional,
            effective,
            fitted,
            suspended: org.spec.lifecycle.state == LifecycleState::Suspended,
            flaw,
        }),
    }
}

fn identity(observed: &Observed) -> Result<OrgId, Obstacle> {
    let org = &*observed.org;
    let name = org.name_any();
    let recorded = org.status.as_ref().and_then(|status| status.org_id.as_deref());
    if let (Some(recorded), Some(wanted)) = (recorded, org.spec.org_id.as_deref())
        && recorded != wanted
    {
        let message = format!("spec.orgId of TrayOrg {name} was {recorded} and never changes: put it back");
        return Err(Obstacle::new(reasons::ORG_ID_CHANGED, message));
    }
    let id = observed.org_id.clone().ok_or_else(|| {
        Obstacle::new(
            reasons::MALFORMED,
            format!("spec.orgId of TrayOrg {name} must be a lower-case UUID"),
        )
    })?;
    if let Some(holder) = observed.holder.as_deref().filter(|holder| *holder != name) {
        let message =
            format!("spec.orgId: {id} is the orgId of TrayOrg {holder}: give {name} one of its own");
        return Err(Obstacle::new(reasons::ORG_ID_IN_USE, message));
    }
    match &observed.refusal {
        Some(refusal) => Err(Obstacle::new(held_reason(refusal), refusal.to_string())),
        None => Ok(id),
    }
}

fn held_reason(refusal: &reattachment::Refusal) -> &'static str {
    match refusal {
        reattachment::Refusal::RetainedData { .. } => reasons::RETAINED_DATA_EXISTS,
        reattachment::Refusal::RegionMismatch { .. } => reasons::REGION_MISMATCH,
        reattachment::Refusal::OtherName { .. } => reasons::ORG_ID_IN_USE,
        reattachment::Refusal::NotAllowed { .. } => reasons::REATTACH_NOT_ALLOWED,
    }
}

/// Where the org is pinned to: in its status; on its namespace where the status was not written yet or is a new
/// TrayOrg's; in its tombstone where the namespace is gone, too.
pub(super) fn pinned(observed: &Observed, id: &OrgId) -> Option<Place> {
    let recorded = observed
        .org
        .status
        .as_ref()
        .and_then(|status| status.region.as_ref());
    let of_region = |region: &PinnedRegion| Place {
        region: region.name.clone(),
        jurisdiction: region.jurisdiction,
        cloud_region: region.cloud_region.clone(),
    };
    if let Some(region) = recorded {
        return Some(of_region(region));
    }
    if let Some(namespace) = namespace(observed, id) {
        return pinned_by(namespace);
    }
    let mut tombstones = observed.tombstones.iter();
    let tombstone = tombstones.find(|tombstone| tombstone.spec.org_id == id.as_str())?;
    Some(of_region(&tombstone.spec.region))
}

/// The org's namespace, if it is there.
pub(super) fn namespace<'a>(observed: &'a Observed, id: &OrgId) -> Option<&'a Arc<ChildFact>> {
    let name = names::org_namespace(&observed.org.name_any(), id);
    let mut children = observed.children.iter();
    children.find(|child| child.id.kind == ChildKind::Namespace && child.id.name == name)
}

fn is_placed(observed: &Observed) -> bool {
    let status = observed.org.status.as_ref();
    status.is_some_and(|status| status.region.is_some())
        || observed
            .children
            .iter()
            .any(|child| child.id.kind == ChildKind::Namespace)
}

fn place(observed: &Observed, id: OrgId) -> Result<Placement, Obstacle> {
    let candidate = observed.region.as_deref().map(candidate);
    let pinned = pinned(observed, &id);
    let wanted = &observed.org.spec.region_ref.name;
    let place = placement::place(wanted, candidate.as_ref(), pinned.as_ref()).map_err(|refusal| {
        let (reason, passing) = match &refusal {
            Refusal::NotServed(_) => (reasons::REGION_NOT_SERVED, false),
            Refusal::Moved { .. } | Refusal::Relocated { .. } => (reasons::REGION_CHANGED, false),
            Refusal::Cordoned(_) => (reasons::REGION_CORDONED, false),
            Refusal::NotReady { .. } => (reasons::REGION_NOT_READY, true),
        };
        Obstacle {
            reason,
            message: refusal.to_string(),
            passing,
        }
    })?;
    let region = PinnedRegion {
        name: place.region,
        jurisdiction: place.jurisdiction,
        cloud_region: place.cloud_region,
    };
    Ok(Placement::new(observed.org.name_any(), id, region))
}

/// Where the copies of an org are that lives in `home`. A Region that is another place by now says nothing of it.
pub(super) fn settled(observed: &Observed, home: &PinnedRegion) -> Settled {
    let region = observed.region.as_deref().filter(|region| {
        region.name_any() == home.name
            && region.spec.cloud_region == home.cloud_region
            && region.spec.jurisdiction == home.jurisdiction
    });
    settle(observed.copies.clone(), region.map(backup_place::said).as_ref())
}

fn candidate(region: &Region) -> Candidate {
    let recorded = region
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    // What is said of an earlier spec says nothing of the backup location that a new org would be pinned to.
    let ready = conditions::find(recorded, types::READY)
        .filter(|ready| backup_place::is_current(region, ready.observed_generation));
    let not_ready = match ready {
        Some(ready) if ready.status == "True" => None,
        Some(ready) => Some(ready.message.clone()),
        None => Some("it has not been looked at yet".to_owned()),
    };
    Candidate {
        place: Place {
            region: region.name_any(),
            jurisdiction: region.spec.jurisdiction,
            cloud_region: region.spec.cloud_region.clone(),
        },
        cordoned: region.spec.scheduling == Scheduling::Cordoned,
        not_ready,
    }
}

/// The objects that the org's snapshots are kept and taken by.
fn references(observed: &Observed, region: &Region) -> Option<Obstacle> {
    let spec = &observed.org.spec;
    let Some(policy) = &observed.policy else {
        let name = &spec.retention_policy_ref.name;
        let message = format!(
            "spec.retentionPolicyRef: there is no RetentionPolicy {name}: create it, or name another"
        );
        return Some(Obstacle::new(reasons::RETENTION_POLICY_MISSING, message));
    };
    let keep_days = policy.spec.snapshots.keep_days;
    if region.spec.stage == Stage::Production && keep_days < LEAST_KEEP_DAYS {
        let message = format!(
            "RetentionPolicy {} keeps snapshots for {keep_days} days, and Production Region {} demands \
             {LEAST_KEEP_DAYS}: raise its spec.snapshots.keepDays, or name another in spec.retentionPolicyRef",
            policy.name_any(),
            region.name_any(),
        );
        return Some(Obstacle::new(reasons::RETENTION_TOO_SHORT, message));
    }
    if observed.schedule.is_none() {
        let name = &spec.backup_schedule_ref.name;
        let message =
            format!("spec.backupScheduleRef: there is no BackupSchedule {name}: create it, or name another");
        return Some(Obstacle::new(reasons::BACKUP_SCHEDULE_MISSING, message));
    }
    None
}

fn idle_overrides(effective: &Effective) -> Option<Obstacle> {
    let idle = &effective.idle_overrides;
    let message = || {
        format!(
            "spec.overrides: the region has no {} to change: remove it, or correct its name",
            idle.join(", ")
        )
    };
    (!idle.is_empty()).then(|| Obstacle::new(reasons::OVERRIDE_UNKNOWN, message()))
}
