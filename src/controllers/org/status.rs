//! The status of an org, from what was observed and done. Pure: the same facts give the same status to the last bit.

use std::{borrow::Cow, collections::BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use tray_api::{
    conditions::{reasons, types},
    trayorg::{
        BackupStatus, MOST_OTHER_VOLUMES, MOST_SUPPORT_ENTRIES, PlacementStatus, SupportAccessEntry, TrayOrg,
        TrayOrgStatus,
    },
};

use super::{enforcement, namespace_loss, places, retention::Kept, validate::Valid, webhook_host};
use crate::{
    controllers::{
        blocked::{Blocked, Until},
        board::BackupView,
        conditions::{ConditionFact, Conditions, Truth, find, is_true},
        view::{
            backups::{before_any_run, deadline, turn},
            org::OrgView,
        },
    },
    resources::{
        child::ChildKind,
        org::{self, claim, webhook::Webhook},
    },
};

/// What a pass over an org that can be worked on has found.
#[derive(Clone, Debug)]
pub(super) struct Findings {
    /// Condition ResidencyCompliant.
    pub residency: ConditionFact,
    /// What lies elsewhere is put right without a person.
    pub mended: bool,
    /// Where its pods run.
    pub placement: Option<PlacementStatus>,
    /// Condition ZonesSpread.
    pub zones: ConditionFact,
    /// Condition IsolationEnforced.
    pub isolation: ConditionFact,
    /// Condition QuotaSatisfied.
    pub quota: ConditionFact,
    /// Condition WorkloadsAvailable.
    pub workloads: ConditionFact,
    /// What was found out about the webhook host.
    pub webhook: webhook_host::WebhookFindings,
    /// How long its execution logs and snapshots are kept.
    pub kept: Kept,
    /// Why a child could not be made as it should be.
    pub refused: Option<Blocked>,
}

/// The status of an org that can be worked on.
pub(super) fn of_valid(
    observed: &OrgView,
    valid: &Valid,
    findings: &Findings,
    now: Timestamp,
) -> TrayOrgStatus {
    let placement = &valid.placement;
    let mut conditions = begin(observed, now);
    let placed = format!(
        "namespace {} in Region {} ({})",
        placement.namespace, placement.region.name, placement.region.cloud_region
    );
    conditions.set(
        types::PLACED,
        &ConditionFact::new(true, reasons::AS_SPECIFIED, placed),
    );
    conditions.set(types::RESIDENCY_COMPLIANT, &findings.residency);
    conditions.set(types::WORKLOADS_AVAILABLE, &findings.workloads);
    conditions.set(types::ZONES_SPREAD, &findings.zones);
    conditions.set(types::ISOLATION_ENFORCED, &findings.isolation);
    let class = &valid.region.spec.storage.storage_class_name;
    let encryption = enforcement::encryption(class, observed.storage_class.as_deref());
    conditions.set(types::ENCRYPTION_ENFORCED, &encryption);
    conditions.set(types::QUOTA_SATISFIED, &findings.quota);
    if let Some(fact) = &findings.webhook.condition {
        conditions.set(types::WEBHOOK_READY, fact);
    }
    let lost = lost_data(observed);
    match (&lost, &observed.known.lost) {
        (Some(fact), _) => {
            conditions.set(types::DATA_LOST, fact);
        }
        (None, None) => {
            conditions.keep(types::DATA_LOST);
        }
        (None, Some(_)) => {}
    }
    let view = view(observed, &findings.workloads, now);
    let moved = valid.flaw.as_ref().filter(|_| valid.is_backed_up_elsewhere());
    let moved = moved.map(Blocked::fact);
    let backup = backups(&mut conditions, observed, view.as_deref(), moved.as_ref(), now);
    conditions.set(types::SUPPORT_ACCESS_ACTIVE, &support_access(observed));
    let refused = findings.refused.as_ref();
    if let Some(contest) = refused.filter(|blocked| blocked.reason == reasons::CHILD_CONTESTED) {
        let fact = ConditionFact::new(true, contest.reason, contest.message.clone());
        conditions.set(types::CHILD_CONTESTED, &fact);
    }
    ready(&mut conditions, observed, valid, findings);
    TrayOrgStatus {
        observed_generation: observed.org.metadata.generation,
        org_id: Some(placement.org_id.to_string()),
        namespace: Some(placement.namespace.clone()),
        region: Some(placement.region.clone()),
        backup_place: placement.backup.clone(),
        placement: findings.placement.clone(),
        webhook_host: webhook_host(valid),
        execution_logs: findings.kept.logs,
        snapshot_retention: findings.kept.snapshots,
        pending_reductions: findings.kept.pending.clone(),
        backup,
        workloads_revision: valid.regional.revision.clone(),
        unused_volumes: unused_volumes(observed, valid),
        other_volumes: other_volumes(observed, &placement.namespace),
        raised_workloads: valid.effective.raised.clone(),
        excluded_volumes: excluded_volumes(valid),
        acknowledgements: namespace_loss::acknowledged(observed, placement, now),
        support_access: support_status(observed),
        conditions: conditions.build(),
    }
}

/// The status of an org that cannot be worked on: what is recorded stays, and what blocks it is told. Whatever became of
/// its Region, where its pods and volumes are is looked at, and where its copies are stays pinned. `hindrance` = why no
/// snapshot can be taken either, if that is so.
pub(super) fn of_blocked(
    observed: &OrgView,
    blocked: &Blocked,
    hindrance: Option<&ConditionFact>,
    kept: &Kept,
    now: Timestamp,
) -> TrayOrgStatus {
    let mut recorded = observed.org.status.clone().unwrap_or_default();
    if recorded.region.is_some() {
        recorded.execution_logs = kept.logs;
        recorded.snapshot_retention = kept.snapshots;
        recorded.pending_reductions.clone_from(&kept.pending);
    }
    let mut conditions = begin(observed, now);
    if let Some(home) = &recorded.region {
        recorded.backup_place = observed.settled(home).place;
        let found = places::look(observed, home);
        recorded.placement = places::placement(observed, &found);
        conditions.set(types::RESIDENCY_COMPLIANT, &places::residency(&found, home, None));
        for kept in [
            types::PLACED,
            types::WORKLOADS_AVAILABLE,
            types::ZONES_SPREAD,
            types::ISOLATION_ENFORCED,
            types::ENCRYPTION_ENFORCED,
            types::QUOTA_SATISFIED,
            types::WEBHOOK_READY,
            types::DATA_LOST,
        ] {
            conditions.keep(kept);
        }
        if blocked.reason == reasons::NAMESPACE_LOST {
            let fact = blocked.fact();
            conditions.set(types::WORKLOADS_AVAILABLE, &fact);
        }
    } else {
        let fact = blocked.fact();
        conditions.set(types::PLACED, &fact);
    }
    let view = observed.known.backups.as_deref();
    // Nothing can be copied out of a namespace that is not there.
    let lost = (blocked.reason == reasons::NAMESPACE_LOST).then(|| blocked.fact());
    // Nor is there anything to copy of an org that is nowhere yet.
    let unplaced = recorded.region.is_none().then(|| {
        let message = format!(
            "no snapshot is taken before the org is placed: {}",
            blocked.message
        );
        ConditionFact::new(Truth::Unknown, blocked.reason, message)
    });
    let hindrance = hindrance.or(lost.as_ref()).or(unplaced.as_ref());
    let backup = backups(&mut conditions, observed, view, hindrance, now);
    if recorded.region.is_some() {
        conditions.set(types::SUPPORT_ACCESS_ACTIVE, &support_access(observed));
    }
    tell(&mut conditions, blocked);
    TrayOrgStatus {
        observed_generation: observed.org.metadata.generation,
        backup,
        support_access: support_status(observed),
        conditions: conditions.build(),
        ..recorded
    }
}

/// What is recorded of an org, with what turns by time alone; none where that says so already, or more is known on the
/// board. For a pass that fails: the next ones may, too.
pub(super) fn by_the_clock(
    org: &TrayOrg,
    known: Option<&BackupView>,
    now: Timestamp,
) -> Option<TrayOrgStatus> {
    if known.is_some_and(|view| deadline(&view.status).is_some_and(|deadline| deadline > now)) {
        return None;
    }
    let recorded = org.status.as_ref()?;
    let mut backup = recorded.backup.clone()?;
    let condition = find(&recorded.conditions, types::RPO_MET)?;
    let mut rpo = ConditionFact::of(condition);
    turn(&mut backup, &mut rpo, now);
    let mut conditions = Conditions::new(&recorded.conditions, condition.observed_generation, now);
    for condition in &recorded.conditions {
        conditions.keep(&condition.type_);
    }
    conditions.set(types::RPO_MET, &rpo);
    let turned = TrayOrgStatus {
        backup: Some(backup),
        conditions: conditions.build(),
        ..recorded.clone()
    };
    (turned != *recorded).then_some(turned)
}

/// The status of an org whose TrayOrg is being deleted and held by somebody else: nobody works on it any more.
pub(super) fn of_deleted(observed: &OrgView, now: Timestamp) -> Option<TrayOrgStatus> {
    let recorded = observed.org.status.clone()?;
    recorded.region.as_ref()?;
    let holders = observed.org.finalizers().join(", ");
    let message = format!(
        "the TrayOrg is being deleted, and is held by finalizers of others: {holders}; its OrgTombstone says what is kept"
    );
    let mut conditions = begin(observed, now);
    let gone = ConditionFact::new(false, reasons::DELETING, message);
    conditions.set(types::READY, &gone);
    conditions.keep(types::DATA_LOST);
    let backup = backups(&mut conditions, observed, None, Some(&gone), now);
    Some(TrayOrgStatus {
        observed_generation: observed.org.metadata.generation,
        backup,
        conditions: conditions.build(),
        ..recorded
    })
}

/// When a status says something else by time alone.
pub(super) fn turns_at(status: &TrayOrgStatus, now: Timestamp) -> Option<Timestamp> {
    let backup = status.backup.as_ref()?;
    deadline(backup).filter(|deadline| *deadline > now)
}

fn begin(observed: &OrgView, now: Timestamp) -> Conditions<'_> {
    let status = observed.org.status.as_ref();
    let recorded = status
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    Conditions::new(recorded, observed.org.metadata.generation, now)
}

fn tell(conditions: &mut Conditions<'_>, blocked: &Blocked) {
    match blocked.until {
        Until::Person => {
            conditions.stalled(blocked.reason, &blocked.message);
        }
        Until::Time | Until::Service => {
            conditions
                .set(types::READY, &blocked.fact())
                .reconciling(blocked.reason, &blocked.message);
        }
    }
}

/// Ready, and Stalled or Reconciling where it is not. The gravest comes first: a residency violation is told before
/// anything else, and a failed backup never makes an org unready.
fn ready(conditions: &mut Conditions<'_>, observed: &OrgView, valid: &Valid, findings: &Findings) {
    if findings.residency.status == Truth::False {
        let (reason, message) = (&findings.residency.reason, &findings.residency.message);
        if findings.mended {
            conditions
                .set(types::READY, &findings.residency)
                .reconciling(reason, message);
        } else {
            conditions.stalled(reason, message);
        }
        return;
    }
    if let Some(blocked) = findings.refused.as_ref().or(valid.flaw.as_ref()) {
        return tell(conditions, blocked);
    }
    if let Some(restore) = observed.stopped_by() {
        let message =
            format!("OrgRestore {restore} is under way: workloads start when its volumes are filled");
        conditions.set(
            types::READY,
            &ConditionFact::new(false, reasons::RESTORING, message.clone()),
        );
        conditions.reconciling(reasons::RESTORING, &message);
        return;
    }
    if let Some(lost) = lost_data(observed) {
        conditions.stalled(&lost.reason, &lost.message);
        return;
    }
    if observed.is_suspended() {
        let message = "suspended by spec.lifecycle.state: nothing runs, data and snapshots stay";
        conditions.set(
            types::READY,
            &ConditionFact::new(true, reasons::SUSPENDED, message),
        );
        return;
    }
    let workloads = &findings.workloads;
    conditions.set(types::READY, workloads);
    if workloads.status != Truth::True {
        conditions.reconciling(&workloads.reason, &workloads.message);
    }
}

/// Condition DataLost; none where nothing is known to be lost.
fn lost_data(observed: &OrgView) -> Option<ConditionFact> {
    let lost = observed.known.lost.as_ref()?;
    let (first, of_first) = lost.first_key_value()?;
    let named: Vec<String> = lost
        .iter()
        .map(|(claim, lost)| format!("{claim}: {}", lost.why))
        .collect();
    let org = observed.org.name_any();
    // The value means this loss and none that may come later: it may stay, in Git or on the object.
    let uid: String = of_first.lost_uid.chars().take(8).collect();
    let message = format!(
        "{}; create an OrgRestore of TrayOrg {org}, or give the data up, a volume at a time: \
         kubectl annotate --overwrite trayorg {org} {}={first}/{uid}",
        named.join("; "),
        tray_domain::names::ANNOTATION_ACCEPT_DATA_LOSS,
    );
    Some(ConditionFact::new(true, reasons::VOLUME_REPLACED, message))
}

/// BackupHealthy and RpoMet, and `status.backup`: what is recorded holds until the ledger has been read, and RpoMet until its
/// deadline whatever else was found. While something keeps snapshots from being taken, BackupHealthy says what.
fn backups(
    conditions: &mut Conditions<'_>,
    observed: &OrgView,
    view: Option<&BackupView>,
    hindrance: Option<&ConditionFact>,
    now: Timestamp,
) -> Option<BackupStatus> {
    let recorded = || observed.org.status.as_ref()?.backup.clone();
    let mut status = view.map(|view| view.status.clone()).or_else(recorded);
    let said = |type_: &str, of_view: fn(&BackupView) -> &ConditionFact| {
        let recorded = || conditions.recorded(type_).map(ConditionFact::of);
        view.map(of_view).cloned().or_else(recorded).unwrap_or_else(|| {
            ConditionFact::new(
                Truth::Unknown,
                reasons::NO_SNAPSHOT_YET,
                "no snapshot has been taken yet",
            )
        })
    };
    let healthy = said(types::BACKUP_HEALTHY, |view| &view.healthy);
    let mut rpo = said(types::RPO_MET, |view| &view.rpo);
    if let Some(status) = &mut status {
        turn(status, &mut rpo, now);
        // Before the first copy there is little to read, and nothing else is written when it has been read.
        status.ledger.take_if(|_| status.last_committed.is_none());
    }
    let healthy = hindrance.cloned().unwrap_or(healthy);
    for (type_, fact) in [(types::BACKUP_HEALTHY, healthy), (types::RPO_MET, rpo)] {
        if view.is_none() && conditions.recorded(type_).map(ConditionFact::of).as_ref() == Some(&fact) {
            conditions.keep(type_);
        } else {
            conditions.set(type_, &fact);
        }
    }
    status
}

/// What is known of the org's backups; of a new org, of which nothing is recorded or held, what will be found in its ledger.
fn view<'a>(observed: &'a OrgView, workloads: &ConditionFact, now: Timestamp) -> Option<Cow<'a, BackupView>> {
    if let Some(view) = &observed.known.backups {
        return Some(Cow::Borrowed(view));
    }
    let status = observed.org.status.as_ref();
    let is_recorded = |status: &TrayOrgStatus| {
        status.backup.is_some() && find(&status.conditions, types::BACKUP_HEALTHY).is_some()
    };
    let is_new = !status.is_some_and(is_recorded) && observed.tombstones.is_empty();
    let schedule = observed.schedule.as_ref().filter(|_| is_new)?;
    let available = workloads.status == Truth::True;
    let first = before_any_run(&observed.org, schedule, available, now);
    // An older org has a ledger with something in it: no verdict before it was read.
    (first.rpo.status == Truth::Unknown).then_some(Cow::Owned(first))
}

/// Condition SupportAccessActive: who, until when.
fn support_access(observed: &OrgView) -> ConditionFact {
    let who: Vec<String> = observed
        .support
        .bound
        .iter()
        .map(|grant| {
            let (groups, role) = (grant.groups.join(", "), grant.role.as_str());
            format!("{groups} may {role} until {} ({})", grant.until, grant.name)
        })
        .collect();
    if who.is_empty() {
        return ConditionFact::new(false, reasons::NO_SUPPORT_ACCESS, "nobody of support is let in");
    }
    ConditionFact::new(true, reasons::SUPPORT_GRANTED, who.join("; "))
}

/// Those that end first, where there are too many to list.
fn support_status(observed: &OrgView) -> Vec<SupportAccessEntry> {
    let bound = observed.support.bound.iter().take(MOST_SUPPORT_ENTRIES);
    bound
        .map(|grant| SupportAccessEntry {
            name: grant.name.clone(),
            role: grant.role,
            subjects: grant.groups.clone(),
            until: Time(grant.until),
        })
        .collect()
}

fn webhook_host(valid: &Valid) -> Option<String> {
    let region = &valid.regional.spec;
    Webhook::of(region, &valid.effective.workloads)?;
    org::webhook::webhook_host(&valid.placement.org_id, region)
}

/// Claims of workloads that were removed or have fewer pods now.
fn unused_volumes(observed: &OrgView, valid: &Valid) -> Vec<String> {
    let used: BTreeSet<String> = valid
        .effective
        .workloads
        .iter()
        .flat_map(claim::claim_names)
        .collect();
    let claims = observed.children.iter().filter(|child| {
        child.id.kind == ChildKind::PersistentVolumeClaim
            && child.id.namespace == valid.placement.namespace
            && !child.deleting
    });
    let unused: BTreeSet<String> = claims
        .filter(|claim| !used.contains(&claim.id.name))
        .map(|claim| claim.id.name.clone())
        .collect();
    unused.into_iter().collect()
}

/// Claims with a volume that the operator did not make: no workload has them, so no run copies them.
fn other_volumes(observed: &OrgView, namespace: &str) -> Vec<String> {
    let is_own = |claim: &&str| {
        observed.children.iter().any(|child| {
            child.id.kind == ChildKind::PersistentVolumeClaim
                && child.id.namespace == namespace
                && child.id.name == *claim
        })
    };
    let others = observed
        .claims_with_volume(namespace)
        .filter(|claim| !is_own(claim));
    let others: BTreeSet<&str> = others.collect();
    others
        .into_iter()
        .take(MOST_OTHER_VOLUMES)
        .map(str::to_owned)
        .collect()
}

fn excluded_volumes(valid: &Valid) -> Vec<String> {
    let workloads = valid.effective.workloads.iter();
    let excluded = workloads.filter(|w| w.backup.as_ref().is_some_and(|backup| backup.exclude));
    excluded.flat_map(claim::claim_names).collect()
}

/// Whether a status says all there is to say: nothing is merely on its way.
pub(super) fn is_settled(status: &TrayOrgStatus) -> bool {
    let reconciling = status.conditions.iter().find(|c| c.type_ == types::RECONCILING);
    let on_its_way = [reasons::ROLLING_OUT, reasons::REGION_NOT_READY];
    reconciling.is_none_or(|condition| !on_its_way.contains(&condition.reason.as_str()))
}

/// Whether the recorded status calls the org ready in its newest generation.
pub(super) fn was_ready(observed: &OrgView) -> bool {
    observed.org.status.as_ref().is_some_and(|status| {
        status.observed_generation == observed.org.metadata.generation
            && is_true(&status.conditions, types::READY)
    })
}
