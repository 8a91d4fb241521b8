//! Makes an org's children be as they should be.

use std::{collections::BTreeSet, sync::Arc};

use futures::{StreamExt, stream};

use super::{
    observe::Observed,
    situation,
    validate::{Obstacle, Valid},
};
use crate::{
    adapters::kube::apply::{Applied, ApplyError},
    api::{conditions::reasons, region::RegionSpec},
    controllers::{Failure, context::Context},
    resources::{
        child::{ChildId, ChildKind, DesiredChild},
        org::{Inputs, Surroundings, access, children},
    },
};

/// Requests of one org that are under way at once.
const AT_ONCE: usize = 8;
/// Stages that have to be whole before anything runs: the namespace, access and isolation.
const FOUNDATION: usize = 3;

/// Applies every child and removes those that are no longer wanted. What the API server refuses for good is returned;
/// what may work later is a failure.
pub async fn apply(
    ctx: &Context,
    observed: &Observed,
    valid: &Valid,
    region: &RegionSpec,
) -> Result<Option<Obstacle>, Failure> {
    let situation = situation::of(observed, valid);
    let surroundings = Surroundings {
        api_server_ports: ctx.settings.api_server_ports.clone(),
    };
    let stages = children(&Inputs {
        placement: &valid.placement,
        org: &observed.org.spec,
        region,
        workloads: &valid.effective.workloads,
        situation: &situation,
        surroundings: &surroundings,
    });
    let wanted: BTreeSet<ChildId> = stages.iter().flatten().map(|child| child.id.clone()).collect();
    let mut refused = None;
    for (number, stage) in stages.into_iter().enumerate() {
        let obstacle = apply_stage(ctx, stage).await?;
        if obstacle.is_some() && number < FOUNDATION {
            return Ok(obstacle);
        }
        refused = refused.or(obstacle);
    }
    for id in surplus(observed, valid, &wanted) {
        ctx.cluster
            .remove(&id)
            .await
            .map_err(|error| Failure::retry(error.to_string()))?;
    }
    Ok(refused)
}

async fn apply_stage(ctx: &Context, stage: Vec<DesiredChild>) -> Result<Option<Obstacle>, Failure> {
    let results: Vec<_> = stream::iter(stage)
        .map(|child| async move { (ctx.cluster.ensure(&child).await, child.id) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut refused = None;
    for (result, id) in results {
        match result {
            Ok(Applied::Going) if id.kind == ChildKind::Namespace => {
                refused = Some(Obstacle {
                    reason: reasons::NAMESPACE_TAKEN,
                    message: format!("{id} is being deleted: it is made anew when it is gone"),
                    passing: true,
                });
            }
            Ok(_) => {}
            // What cannot be changed is made anew around the pods that run: its volumes' size, or their StorageClass.
            Err(ApplyError::Refused { id, message }) if is_immutable(&id, &message) => {
                ctx.cluster
                    .release(&id)
                    .await
                    .map_err(|error| Failure::retry(error.to_string()))?;
            }
            Err(error) => refused = Some(obstacle(&error)?),
        }
    }
    Ok(refused)
}

fn is_immutable(id: &ChildId, message: &str) -> bool {
    id.kind == ChildKind::StatefulSet && message.contains("updates to statefulset spec for fields other than")
}

fn obstacle(error: &ApplyError) -> Result<Obstacle, Failure> {
    let reason = match error {
        ApplyError::Foreign(_) => reasons::NAMESPACE_TAKEN,
        ApplyError::Refused { .. } => reasons::APPLY_REFUSED,
        ApplyError::Failed { .. } => return Err(Failure::retry(error.to_string())),
    };
    Ok(Obstacle {
        reason,
        message: error.to_string(),
        passing: false,
    })
}

/// Children of earlier specs. Claims and the namespace are never among them, nor bindings that others make.
fn surplus(observed: &Observed, valid: &Valid, wanted: &BTreeSet<ChildId>) -> Vec<ChildId> {
    let ours = observed.children.iter().filter(|child| {
        child.id.namespace == valid.placement.namespace && !child.deleting && is_removable(&child.id)
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
        | ChildKind::NetworkPolicy => true,
        ChildKind::RoleBinding => access::OWNER_BINDINGS.contains(&id.name.as_str()),
        ChildKind::Namespace
        | ChildKind::ResourceQuota
        | ChildKind::LimitRange
        | ChildKind::ServiceAccount
        | ChildKind::PersistentVolumeClaim => false,
    }
}

/// The org's children that run or give access: what goes when the org goes.
pub fn running(observed: &[Arc<crate::adapters::kube::child::ChildFact>]) -> Vec<Vec<ChildId>> {
    let of = |kinds: &[ChildKind]| {
        let present = observed.iter().filter(|child| kinds.contains(&child.id.kind));
        present.map(|child| child.id.clone()).collect()
    };
    vec![
        of(&[ChildKind::RoleBinding]),
        of(&[
            ChildKind::Deployment,
            ChildKind::StatefulSet,
            ChildKind::Service,
            ChildKind::PodDisruptionBudget,
        ]),
    ]
}
