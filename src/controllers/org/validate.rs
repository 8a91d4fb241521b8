//! Whether an org can be worked on: a chain of checks over what was observed, first come first told. Pure.

use std::sync::Arc;

use kube::ResourceExt;
use tray_api::{
    conditions::{reasons, types},
    region::{Region, Scheduling},
};
use tray_domain::{
    backup_place::Settled,
    ids::OrgId,
    placement::{self, Candidate, Place, PlacementRefusal},
    stage::Stage,
};

use super::enforcement;
use crate::{
    controllers::{
        Blocked, conditions,
        view::{
            backup_place,
            org::{Home, OrgView, pinned_region},
            region::Regional,
        },
    },
    resources::{
        child::ChildKind,
        org::{
            Placement,
            effective::Effective,
            quota::{Fitted, QuotaUse, fit, limits},
        },
    },
};

/// Least days for which a Production region's orgs keep their snapshots.
pub(super) const LEAST_KEEP_DAYS: i32 = 14;

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
    /// What Kubernetes counts of what it uses.
    pub uses: Vec<QuotaUse>,
    /// What it may use, as far as that fits what it uses.
    pub fitted: Fitted,
    /// What a person has to put in order, though what the org has goes on and is kept up.
    pub flaw: Option<Blocked>,
}

impl Valid {
    /// Its Region has the backups of its orgs in another place than its own are in.
    pub(super) fn is_backed_up_elsewhere(&self) -> bool {
        let flaw = self.flaw.as_ref();
        flaw.is_some_and(|flaw| flaw.reason == reasons::BACKUP_PLACE_CHANGED)
    }
}

/// Checks an org. What is in its way leaves whatever it has as it is: nothing is ever torn down for it.
pub(super) fn validate(observed: &OrgView) -> Result<Valid, Blocked> {
    let id = identity(observed)?;
    let placement = place(observed, id)?;
    let Some(Home {
        region,
        regional,
        effective,
    }) = observed.home.clone()
    else {
        return Err(PlacementRefusal::NotServed(placement.region.name).into());
    };
    let effective = effective?;
    let uses = enforcement::uses(observed, &placement.namespace);
    let fitted = fit(limits(&observed.org.spec, &region.spec), &uses);
    let Settled { place, changed } = observed.settled(&placement.region);
    let placement = placement.with_backup(place);
    let flaw = changed
        .map(Blocked::from)
        .or_else(|| references(observed, &region))
        .or_else(|| idle_overrides(&effective));
    match flaw {
        // A namespace is not made for an org whose snapshots nobody can take.
        Some(flaw) if !has_a_namespace(observed) => Err(flaw),
        flaw => Ok(Valid {
            placement,
            region,
            regional,
            effective,
            uses,
            fitted,
            flaw,
        }),
    }
}

fn identity(observed: &OrgView) -> Result<OrgId, Blocked> {
    let org = &*observed.org;
    let name = org.name_any();
    let recorded = org.status.as_ref().and_then(|status| status.org_id.as_deref());
    if let (Some(recorded), Some(wanted)) = (recorded, org.spec.org_id.as_deref())
        && recorded != wanted
    {
        let message = format!("spec.orgId of TrayOrg {name} was {recorded} and never changes: put it back");
        return Err(Blocked::person(reasons::ORG_ID_CHANGED, message));
    }
    let id = observed.org_id.clone().ok_or_else(|| {
        Blocked::person(
            reasons::MALFORMED,
            format!("spec.orgId of TrayOrg {name} must be a lower-case UUID"),
        )
    })?;
    if let Some(holder) = observed.holder.as_deref().filter(|holder| *holder != name) {
        let message =
            format!("spec.orgId: {id} is the orgId of TrayOrg {holder}: give {name} one of its own");
        return Err(Blocked::person(reasons::ORG_ID_IN_USE, message));
    }
    match &observed.refusal {
        Some(refusal) => Err(refusal.clone().into()),
        None => Ok(id),
    }
}

/// Whether it was placed, or an org of its name has a namespace.
fn has_a_namespace(observed: &OrgView) -> bool {
    let mut children = observed.children.iter();
    observed.is_placed() || children.any(|child| child.id.kind == ChildKind::Namespace)
}

fn place(observed: &OrgView, id: OrgId) -> Result<Placement, Blocked> {
    let candidate = observed.region.as_deref().map(candidate);
    let wanted = &observed.org.spec.region_ref.name;
    let place = placement::place(wanted, candidate.as_ref(), observed.pinned.as_ref())?;
    Ok(Placement::new(observed.name(), id, pinned_region(place)))
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
fn references(observed: &OrgView, region: &Region) -> Option<Blocked> {
    let spec = &observed.org.spec;
    let Some(policy) = &observed.policy else {
        let name = &spec.retention_policy_ref.name;
        let message = format!(
            "spec.retentionPolicyRef: there is no RetentionPolicy {name}: create it, or name another"
        );
        return Some(Blocked::person(reasons::RETENTION_POLICY_MISSING, message));
    };
    let keep_days = policy.spec.snapshots.keep_days;
    if region.spec.stage == Stage::Production && keep_days < LEAST_KEEP_DAYS {
        let message = format!(
            "RetentionPolicy {} keeps snapshots for {keep_days} days, and Production Region {} demands \
             {LEAST_KEEP_DAYS}: raise its spec.snapshots.keepDays, or name another in spec.retentionPolicyRef",
            policy.name_any(),
            region.name_any(),
        );
        return Some(Blocked::person(reasons::RETENTION_TOO_SHORT, message));
    }
    if observed.schedule.is_none() {
        let name = &spec.backup_schedule_ref.name;
        let message =
            format!("spec.backupScheduleRef: there is no BackupSchedule {name}: create it, or name another");
        return Some(Blocked::person(reasons::BACKUP_SCHEDULE_MISSING, message));
    }
    None
}

fn idle_overrides(effective: &Effective) -> Option<Blocked> {
    let idle = &effective.idle_overrides;
    let message = || {
        format!(
            "spec.overrides: the region has no {} to change: remove it, or correct its name",
            idle.join(", ")
        )
    };
    (!idle.is_empty()).then(|| Blocked::person(reasons::OVERRIDE_UNKNOWN, message()))
}
