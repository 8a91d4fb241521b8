//! Makes an org's children be as they should be.

use std::{collections::BTreeSet, sync::Arc};

use futures::{StreamExt, stream};
use kube::ResourceExt;
use tray_api::{
    conditions::reasons,
    trayorg::{ExecutionLogsStatus, LogMode},
};
use tray_domain::{names, replicas::Situation};

use super::{
    applied::{AppliedOrgs, fingerprint},
    enforcement::Isolation,
    retention::Kept,
    validate::Valid,
};
use crate::{
    adapters::kube::{
        apply::{Applied, ApplyError},
        child::ChildFact,
    },
    controllers::{
        blocked::{Blocked, LATER, Until},
        conditions::ConditionFact,
        context::Context,
        view::org::OrgView,
    },
    resources::{
        child::{ChildId, ChildKind, DesiredChild},
        org::{
            Inputs, Placement, Surroundings, access, children, log_policy, namespace,
            quota::{QuotaUse, is_full, taken_by},
        },
    },
};

/// Requests of one org that are under way at once.
const AT_ONCE: usize = 8;
/// Stages that have to be whole before anything runs: the namespace, access and isolation.
const FOUNDATION: usize = 3;

/// What came of applying an org's children.
pub(super) struct Outcome {
    /// What the API server refuses.
    pub refused: Option<Blocked>,
    /// Condition IsolationEnforced.
    pub isolation: ConditionFact,
}

/// What has come of it so far.
struct Progress {
    isolation: Isolation,
    /// Nothing was otherwise than it should be.
    unchanged: bool,
}

/// Applies every child and removes those that are no longer wanted; `others` are wanted, too, and applied elsewhere. What
/// the API server refuses for good is returned; what may work later is a failure.
pub(super) async fn apply(
    ctx: &Context,
    known: &AppliedOrgs,
    observed: &OrgView,
    valid: &Valid,
    situation: &Situation,
    kept: &Kept,
    others: Vec<ChildId>,
) -> Result<Outcome, Blocked> {
    hide_logs(ctx, observed, &valid.placement, kept.logs.as_ref()).await?;
    let surroundings = Surroundings {
        api_server_ports: ctx.settings.api_server_ports.clone(),
    };
    let inputs = Inputs {
        placement: &valid.placement,
        org: &observed.org.spec,
        region: &valid.regional.spec,
        workloads: &valid.effective.workloads,
        limits: &valid.fitted.limits,
        logs: kept.logs.as_ref(),
        situation,
        surroundings: &surroundings,
        support: observed.support.debug_groups.as_deref(),
    };
    let name = observed.org.name_any();
    let mark = fingerprint(&(&inputs, &others));
    if let Some(whole) = known.is_whole(&name, mark, ctx.index.children.mark(&name)) {
        return Ok(Outcome {
            refused: None,
            isolation: whole.condition(),
        });
    }
    let stages = children(&inputs);
    let mut wanted: BTreeSet<ChildId> = stages.iter().flatten().map(|child| child.id.clone()).collect();
    wanted.extend(others);
    let mut progress = Progress {
        isolation: Isolation::of(&stages),
        unchanged: true,
    };
    let (mut refusal, mut drained) = (None, BTreeSet::new());
    for (number, mut stage) in stages.into_iter().enumerate() {
        if number == FOUNDATION {
            drained = drain_namesakes(ctx, observed, &wanted).await?;
            progress.unchanged &= drained.is_empty();
        }
        stage.retain(|child| !drained.contains(&child.id));
        let refused = apply_stage(ctx, stage, &valid.uses, &mut progress).await?;
        let unfounded = refused.is_some() && number < FOUNDATION;
        refusal = refusal.or(refused);
        if unfounded {
            return Ok(progress.ends(refusal));
        }
    }
    let surplus = surplus(observed, valid, &wanted);
    for id in &surplus {
        ctx.cluster.remove(id).await?;
    }
    if let Some(acknowledged) = progress.isolation.acknowledged()
        && progress.unchanged
        && refusal.is_none()
        && surplus.is_empty()
    {
        // As they were before: what has come since was not looked at.
        known.note(&name, mark, observed.children_mark, acknowledged);
    }
    Ok(progress.ends(refusal))
}

impl Progress {
    fn ends(self, refused: Option<Blocked>) -> Outcome {
        Outcome {
            refused,
            isolation: self.isolation.condition(),
        }
    }
}

/// Lets the former of a workload that changes its kind go with its pods, and returns which children wait for that: two kinds at
/// once would run it twice, and the pods of one hold the volume that the other mounts. Claims stay.
async fn drain_namesakes(
    ctx: &Context,
    observed: &OrgView,
    wanted: &BTreeSet<ChildId>,
) -> Result<BTreeSet<ChildId>, Blocked> {
    let mut waiting = BTreeSet::new();
    for (id, former) in wanted.iter().filter_map(|id| Some((id, namesake(id)?))) {
        if observed.children.iter().any(|child| child.id == former) {
            ctx.cluster.drain(&former).await?;
            waiting.insert(id.clone());
        }
    }
    Ok(waiting)
}

/// The child that the workload was of before it changed its kind.
fn namesake(id: &ChildId) -> Option<ChildId> {
    let kind = match id.kind {
        ChildKind::Deployment => ChildKind::StatefulSet,
        ChildKind::StatefulSet => ChildKind::Deployment,
        _ => return None,
    };
    Some(ChildId { kind, ..id.clone() })
}

/// Keeps the namespace's word on who of support may debug, and who may let support in, true where nothing else can be
/// worked on: who is out must not stay in because of it.
pub(super) async fn gate(ctx: &Context, observed: &OrgView) -> Result<(), Blocked> {
    let debug = observed.support.debug_groups.as_deref();
    let own_admins = namespace::admins(&observed.org.spec.owners);
    let namespaces = observed
        .children
        .iter()
        .filter(|child| child.id.kind == ChildKind::Namespace);
    for namespace in namespaces {
        let admins = own_admins.as_deref().filter(|_| observed.is_its_own(namespace));
        let told = |annotation: &str| namespace.annotations.get(annotation).map(String::as_str);
        if told(names::ANNOTATION_SUPPORT_ACCESS) == debug && told(names::ANNOTATION_ADMINS) == admins {
            continue;
        }
        let gate = namespace::gate(&namespace.id.name, debug, admins);
        ctx.cluster.ensure(&gate).await?;
    }
    Ok(())
}

/// Keeps who may read the org's execution logs, and what its workloads are told of them, true where nothing else can be
/// worked on: who hides them means now.
pub(super) async fn keep_logs(ctx: &Context, observed: &OrgView, kept: &Kept) -> Result<(), Blocked> {
    let Some(placement) = observed.placement() else {
        return Ok(());
    };
    let namespace = observed.namespace.as_deref();
    if !namespace.is_some_and(|namespace| !namespace.deleting && observed.is_its_own(namespace)) {
        return Ok(());
    }
    let (org, logs) = (&observed.org.spec, kept.logs.as_ref());
    hide_logs(ctx, observed, &placement, logs).await?;
    // What its Admins have without logs takes the place of what they had; nothing is opened while nobody can work on it.
    let hidden = log_policy::mode(org, logs) == LogMode::Hidden;
    let instead = access::admins(&placement, &org.owners, LogMode::Hidden).filter(|_| hidden);
    let told = logs.map(|hours| log_policy::config_map(&placement, hours));
    for child in instead.into_iter().chain(told) {
        ctx.cluster.ensure(&child).await?;
    }
    Ok(())
}

/// Takes the logs from the org's Admins where it hides them. First of all: whatever goes wrong later, nobody reads them.
async fn hide_logs(
    ctx: &Context,
    observed: &OrgView,
    placement: &Placement,
    logs: Option<&ExecutionLogsStatus>,
) -> Result<(), Blocked> {
    if log_policy::mode(&observed.org.spec, logs) == LogMode::Visible {
        return Ok(());
    }
    Ok(ctx.cluster.remove(&access::admins_with_logs(placement)).await?)
}

async fn apply_stage(
    ctx: &Context,
    stage: Vec<DesiredChild>,
    uses: &[QuotaUse],
    progress: &mut Progress,
) -> Result<Option<Blocked>, Blocked> {
    let results: Vec<_> = stream::iter(stage)
        .map(|child| async move { (ctx.cluster.ensure(&child).await, child) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut refused = None;
    for (result, child) in results {
        let id = &child.id;
        progress.isolation.note(id, &result);
        progress.unchanged &= matches!(result, Ok(Applied::Unchanged));
        match result {
            Ok(Applied::Going) if id.kind == ChildKind::Namespace => {
                let message = format!("{id} is being deleted: it is made anew when it is gone");
                refused = Some(Blocked::time(reasons::NAMESPACE_TAKEN, message, LATER));
            }
            Ok(_) => {}
            Err(error) => refused = Some(refusal(error, is_full(uses, &taken_by(&child)))?),
        }
    }
    Ok(refused)
}

/// What the status says of an error; one on the way to the API server ends the pass. `no_room` = see [`Blocked::of_child`].
pub(super) fn refusal(error: ApplyError, no_room: bool) -> Result<Blocked, Blocked> {
    let blocked = Blocked::of_child(error, no_room);
    match blocked.until {
        Until::Service => Err(blocked),
        Until::Person | Until::Time => Ok(blocked),
    }
}

/// Children of earlier specs. Claims and the namespace are never among them, nor bindings that others make.
fn surplus(observed: &OrgView, valid: &Valid, wanted: &BTreeSet<ChildId>) -> Vec<ChildId> {
    let ours = observed.children.iter().filter(|child| {
        let id = &child.id;
        let is_here = id.kind.home().unwrap_or(&valid.placement.namespace) == id.namespace;
        is_here && !child.deleting && is_removable(id)
    });
    ours.filter(|child| !wanted.contains(&child.id))
        .map(|child| child.id.clone())
        .collect()
}

/// Whether a child of that kind and name may go with the part of a spec that asked for it.
fn is_removable(id: &ChildId) -> bool {
    match id.kind {
        ChildKind::Deployment
        | ChildKind::StatefulSet
        | ChildKind::Service
        | ChildKind::PodDisruptionBudget
        | ChildKind::NetworkPolicy
        | ChildKind::HttpRoute
        | ChildKind::ReferenceGrant => true,
        ChildKind::RoleBinding => access::OWNER_BINDINGS.contains(&id.name.as_str()),
        ChildKind::Namespace
        | ChildKind::ResourceQuota
        | ChildKind::LimitRange
        | ChildKind::ServiceAccount
        | ChildKind::PersistentVolumeClaim
        | ChildKind::ConfigMap => false,
    }
}

/// The org's children that run or give access: what goes when the org goes.
pub(super) fn running(observed: &[Arc<ChildFact>]) -> Vec<Vec<ChildId>> {
    let of = |kinds: &[ChildKind]| {
        let present = observed.iter().filter(|child| kinds.contains(&child.id.kind));
        present.map(|child| child.id.clone()).collect()
    };
    vec![
        of(&[
            ChildKind::RoleBinding,
            ChildKind::HttpRoute,
            ChildKind::ReferenceGrant,
        ]),
        of(&[
            ChildKind::Deployment,
            ChildKind::StatefulSet,
            ChildKind::Service,
            ChildKind::PodDisruptionBudget,
        ]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> ChildId {
        ChildId {
            kind: ChildKind::PersistentVolumeClaim,
            namespace: "n".into(),
            name: "data-db-0".into(),
        }
    }
    fn failed(code: u16, reason: &str) -> ApplyError {
        let status = kube::core::Status {
            code,
            reason: reason.into(),
            ..kube::core::Status::default()
        };
        ApplyError::Failed {
            id: claim(),
            source: Box::new(kube::Error::Api(Box::new(status))),
        }
    }

    #[test]
    fn a_refusal_is_told_and_an_api_server_that_is_away_is_asked_again() {
        let forbidden = || failed(403, "Forbidden");
        for (error, no_room, reason, until) in [
            (forbidden(), true, reasons::QUOTA_EXCEEDED, Until::Time),
            (forbidden(), false, reasons::APPLY_REFUSED, Until::Time),
            (
                ApplyError::Refused {
                    id: claim(),
                    message: "no".into(),
                },
                false,
                reasons::APPLY_REFUSED,
                Until::Person,
            ),
            (
                ApplyError::Foreign(claim()),
                false,
                reasons::NAMESPACE_TAKEN,
                Until::Person,
            ),
        ] {
            let told = refusal(error, no_room).unwrap();
            assert_eq!((told.reason, told.until), (reason, until), "{told}");
            assert_eq!(told.again.is_some(), until == Until::Time, "{told}");
            assert!(told.message.contains("data-db-0"), "{}", told.message);
        }
        let away = refusal(failed(500, "InternalError"), false).unwrap_err();
        assert_eq!(away.until, Until::Service);
    }

    #[test]
    fn claims_quotas_accounts_and_others_bindings_are_never_removed() {
        let id = |kind, name: &str| ChildId {
            kind,
            namespace: "n".into(),
            name: name.into(),
        };
        assert!(!is_removable(&claim()));
        assert!(!is_removable(&id(ChildKind::Namespace, "n")));
        assert!(!is_removable(&id(ChildKind::RoleBinding, "tray-restore")));
        for owners in ["tray-viewers", "tray-admins", "tray-admins-without-logs"] {
            assert!(is_removable(&id(ChildKind::RoleBinding, owners)), "{owners}");
        }
        assert!(is_removable(&id(ChildKind::StatefulSet, "db")));
    }
}
