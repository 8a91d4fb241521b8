//! Makes an org's children be as they should be.

use std::{collections::BTreeSet, sync::Arc};

use futures::{StreamExt, stream};
use tray_api::{
    conditions::reasons,
    region::RegionSpec,
    trayorg::{ExecutionLogsStatus, LogMode},
};
use tray_domain::{ids::OrgId, names};

use super::{
    deletion,
    isolation::Isolation,
    observe::Observed,
    retention::Kept,
    situation,
    validate::{self, Obstacle, Valid},
};
use crate::{
    adapters::kube::{
        apply::{Applied, ApplyError},
        child::ChildFact,
    },
    controllers::{Failure, context::Context, view::org::is_abandoned},
    resources::{
        child::{ChildId, ChildKind, DesiredChild},
        org::{Inputs, Placement, Surroundings, access, children, log_policy, namespace},
    },
};

/// Requests of one org that are under way at once.
const AT_ONCE: usize = 8;
/// Stages that have to be whole before anything runs: the namespace, access and isolation.
const FOUNDATION: usize = 3;

/// What came of applying an org's children.
pub(super) struct Outcome {
    /// What the API server refuses.
    pub refused: Option<Obstacle>,
    /// What it has of what isolates the org.
    pub isolation: Isolation,
}

/// Applies every child and removes those that are no longer wanted; `others` are wanted, too, and applied elsewhere. What
/// the API server refuses for good is returned; what may work later is a failure.
pub(super) async fn apply(
    ctx: &Context,
    observed: &Observed,
    valid: &Valid,
    region: &RegionSpec,
    kept: &Kept,
    others: Vec<ChildId>,
) -> Result<Outcome, Failure> {
    hide_logs(ctx, observed, &valid.placement, kept.logs.as_ref()).await?;
    let situation = situation::of(observed, valid);
    let surroundings = Surroundings {
        api_server_ports: ctx.settings.api_server_ports.clone(),
    };
    let stages = children(&Inputs {
        placement: &valid.placement,
        org: &observed.org.spec,
        region,
        workloads: &valid.effective.workloads,
        limits: &valid.fitted.limits,
        logs: kept.logs.as_ref(),
        situation: &situation,
        surroundings: &surroundings,
        support: observed.support.debug_groups.as_deref(),
    });
    let mut wanted: BTreeSet<ChildId> = stages.iter().flatten().map(|child| child.id.clone()).collect();
    wanted.extend(others);
    let mut outcome = Outcome {
        refused: None,
        isolation: Isolation::of(&stages),
    };
    for (number, stage) in stages.into_iter().enumerate() {
        let obstacle = apply_stage(ctx, stage, &mut outcome.isolation).await?;
        let unfounded = obstacle.is_some() && number < FOUNDATION;
        outcome.refused = outcome.refused.or(obstacle);
        if unfounded {
            return Ok(outcome);
        }
    }
    for id in surplus(observed, valid, &wanted) {
        ctx.cluster
            .remove(&id)
            .await
            .map_err(|error| Failure::retry(error.to_string()))?;
    }
    Ok(outcome)
}

/// Keeps the namespace's word on who of support may debug, and who may let support in, true where nothing else can be
/// worked on: who is out must not stay in because of it.
pub(super) async fn gate(ctx: &Context, observed: &Observed) -> Result<(), Failure> {
    let debug = observed.support.debug_groups.as_deref();
    let own_admins = namespace::admins(&observed.org.spec.owners);
    let namespaces = observed
        .children
        .iter()
        .filter(|child| child.id.kind == ChildKind::Namespace);
    for namespace in namespaces {
        let admins = own_admins.as_deref().filter(|_| is_its_own(observed, namespace));
        let told = |annotation: &str| namespace.annotations.get(annotation).map(String::as_str);
        if told(names::ANNOTATION_SUPPORT_ACCESS) == debug && told(names::ANNOTATION_ADMINS) == admins {
            continue;
        }
        let gate = namespace::gate(&namespace.id.name, debug, admins);
        let ensured = ctx.cluster.ensure(&gate).await;
        ensured.map_err(|error| Failure::retry(error.to_string()))?;
    }
    Ok(())
}

/// Keeps who may read the org's execution logs, and what its workloads are told of them, true where nothing else can be
/// worked on: who hides them means now.
pub(super) async fn keep_logs(ctx: &Context, observed: &Observed, kept: &Kept) -> Result<(), Failure> {
    let Some(placement) = deletion::placement(observed) else {
        return Ok(());
    };
    let namespace = validate::namespace(observed, &placement.org_id);
    if !namespace.is_some_and(|namespace| !namespace.deleting && is_its_own(observed, namespace)) {
        return Ok(());
    }
    let (org, logs) = (&observed.org.spec, kept.logs.as_ref());
    hide_logs(ctx, observed, &placement, logs).await?;
    // What its Admins have without logs takes the place of what they had; nothing is opened while nobody can work on it.
    let hidden = log_policy::mode(org, logs) == LogMode::Hidden;
    let instead = access::admins(&placement, &org.owners, LogMode::Hidden).filter(|_| hidden);
    let told = logs.map(|hours| log_policy::config_map(&placement, hours));
    for child in instead.into_iter().chain(told) {
        let ensured = ctx.cluster.ensure(&child).await;
        ensured.map_err(|error| Failure::retry(error.to_string()))?;
    }
    Ok(())
}

/// Takes the logs from the org's Admins where it hides them. First of all: whatever goes wrong later, nobody reads them.
async fn hide_logs(
    ctx: &Context,
    observed: &Observed,
    placement: &Placement,
    logs: Option<&ExecutionLogsStatus>,
) -> Result<(), Failure> {
    if log_policy::mode(&observed.org.spec, logs) == LogMode::Visible {
        return Ok(());
    }
    let removed = ctx.cluster.remove(&access::admins_with_logs(placement)).await;
    removed.map_err(|error| Failure::retry(error.to_string()))
}

/// Whether a namespace is the org's, and not what an org that is gone has left under its name.
fn is_its_own(observed: &Observed, namespace: &ChildFact) -> bool {
    let id = observed.org_id.as_ref().map(OrgId::as_str);
    let of = namespace.labels.get(names::LABEL_ORG_ID).map(String::as_str);
    observed.refusal.is_none() && of == id && !is_abandoned(namespace)
}

async fn apply_stage(
    ctx: &Context,
    stage: Vec<DesiredChild>,
    isolation: &mut Isolation,
) -> Result<Option<Obstacle>, Failure> {
    let results: Vec<_> = stream::iter(stage)
        .map(|child| async move { (ctx.cluster.ensure(&child).await, child.id) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut refused = None;
    for (result, id) in results {
        isolation.note(&id, &result);
        match result {
            Ok(Applied::Going) if id.kind == ChildKind::Namespace => {
                refused = Some(Obstacle {
                    reason: reasons::NAMESPACE_TAKEN,
                    message: format!("{id} is being deleted: it is made anew when it is gone"),
                    passing: true,
                });
            }
            Ok(_) => {}
            // What cannot be changed is made anew: a StatefulSet around the pods that run, for its volumes' size or their
            // StorageClass; a ConfigMap that somebody made immutable.
            Err(ApplyError::Refused { id, message }) if is_immutable(&id, &message) => {
                let removed = match id.kind {
                    ChildKind::StatefulSet => ctx.cluster.release(&id).await,
                    _ => ctx.cluster.remove(&id).await,
                };
                removed.map_err(|error| Failure::retry(error.to_string()))?;
            }
            Err(error) => refused = Some(obstacle(&error)?),
        }
    }
    Ok(refused)
}

fn is_immutable(id: &ChildId, message: &str) -> bool {
    match id.kind {
        ChildKind::StatefulSet => message.contains("updates to statefulset spec for fields other than"),
        ChildKind::ConfigMap => message.contains("field is immutable when `immutable` is set"),
        _ => false,
    }
}

/// What the status says of an error; one of the way to the API server is nobody's obstacle but tried again.
pub(super) fn obstacle(error: &ApplyError) -> Result<Obstacle, Failure> {
    let (reason, passing) = match error {
        ApplyError::Foreign(_) => (reasons::NAMESPACE_TAKEN, false),
        ApplyError::Refused { .. } => (reasons::APPLY_REFUSED, false),
        ApplyError::Contested { .. } => (reasons::CHILD_CONTESTED, true),
        // A quota, a policy, or a right that was not granted yet: the object is good, and may be let in later.
        ApplyError::Failed { source, .. } => match &**source {
            kube::Error::Api(status) if status.code == 403 && status.message.contains("exceeded quota") => {
                (reasons::QUOTA_EXCEEDED, true)
            }
            kube::Error::Api(status) if status.code == 403 => (reasons::APPLY_REFUSED, true),
            _ => return Err(Failure::retry(error.to_string())),
        },
    };
    Ok(Obstacle {
        reason,
        message: error.to_string(),
        passing,
    })
}

/// Children of earlier specs. Claims and the namespace are never among them, nor bindings that others make.
fn surplus(observed: &Observed, valid: &Valid, wanted: &BTreeSet<ChildId>) -> Vec<ChildId> {
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
    fn failed(code: u16, message: &str) -> ApplyError {
        let status = kube::core::Status {
            code,
            message: message.into(),
            ..kube::core::Status::default()
        };
        ApplyError::Failed {
            id: claim(),
            source: Box::new(kube::Error::Api(Box::new(status))),
        }
    }

    #[test]
    fn a_refusal_is_told_and_an_api_server_that_is_away_is_asked_again() {
        for (error, reason, passing) in [
            (
                failed(403, "exceeded quota: tray-objects"),
                reasons::QUOTA_EXCEEDED,
                true,
            ),
            (failed(403, "no"), reasons::APPLY_REFUSED, true),
            (
                ApplyError::Refused {
                    id: claim(),
                    message: "no".into(),
                },
                reasons::APPLY_REFUSED,
                false,
            ),
            (ApplyError::Foreign(claim()), reasons::NAMESPACE_TAKEN, false),
        ] {
            let told = obstacle(&error).unwrap();
            assert_eq!((told.reason, told.passing), (reason, passing), "{error}");
            assert!(told.message.contains("data-db-0"), "{}", told.message);
        }
        assert!(matches!(
            obstacle(&failed(500, "away")),
            Err(Failure::Retry { .. })
        ));
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
