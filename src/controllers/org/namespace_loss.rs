//! A namespace that once held an org's volumes and is gone: somebody deleted it past the policies. It is not made anew
//! in silence: an empty one would pass for the org's.

use kube::ResourceExt;
use tray_api::conditions::reasons;
use tray_domain::names;

use super::{
    observe::Observed,
    validate::{self, Obstacle, Valid},
};
use crate::{
    controllers::{Failure, context::Context},
    resources::{
        child::{ChildId, ChildKind},
        org::Placement,
    },
};

/// What became of the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// It is being deleted, with all that is in it.
    Going,
    /// It is not known: gone, or without the label by which it is watched.
    Missing,
}

/// Whether the namespace of an org that had one is there. Pure.
pub(super) fn of(observed: &Observed, placement: &Placement) -> Option<Loss> {
    let id = &placement.org_id;
    let status = observed.org.status.as_ref();
    let had_one = status.is_some_and(|status| status.namespace.is_some())
        || observed
            .tombstones
            .iter()
            .any(|tombstone| tombstone.spec.org_id == id.as_str());
    match validate::namespace(observed, id) {
        Some(namespace) if namespace.deleting && had_one => Some(Loss::Going),
        None if had_one => Some(Loss::Missing),
        _ => None,
    }
}

/// Why an org whose namespace is lost cannot be worked on; none where it is there, or is to be made anew.
pub(super) async fn obstacle(
    ctx: &Context,
    observed: &Observed,
    valid: &Valid,
) -> Result<Option<Obstacle>, Failure> {
    let namespace = &valid.placement.namespace;
    match of(observed, &valid.placement) {
        None => return Ok(None),
        Some(Loss::Going) => {
            let message = format!(
                "namespace {namespace} of the org is being deleted with everything in it; its PersistentVolumes and \
                 snapshots stay. Find out who deleted it; once it is gone, this message says how to go on"
            );
            return Ok(Some(Obstacle::new(reasons::NAMESPACE_LOST, message)));
        }
        Some(Loss::Missing) => {}
    }
    let id = ChildId {
        kind: ChildKind::Namespace,
        namespace: String::new(),
        name: namespace.clone(),
    };
    let exists = ctx.cluster.exists(&id).await;
    if exists.map_err(|error| Failure::retry(error.to_string()))? || is_wanted_anew(observed, namespace) {
        return Ok(None);
    }
    let org = observed.org.name_any();
    let message = format!(
        "namespace {namespace}, which held the volumes of the org, is gone; its PersistentVolumes and snapshots stay. \
         To bring the org back from a snapshot, create an OrgRestore of TrayOrg {org}; to begin anew with empty volumes \
         where there is no snapshot, annotate it with {}={namespace}",
        names::ANNOTATION_ACCEPT_NAMESPACE_LOSS
    );
    Ok(Some(Obstacle::new(reasons::NAMESPACE_LOST, message)))
}

/// A person wants it made anew, and it is known which volumes held data: their workloads stay stopped until a restore
/// has filled them.
fn is_wanted_anew(observed: &Observed, namespace: &str) -> bool {
    let accepted = observed
        .org
        .annotations()
        .get(names::ANNOTATION_ACCEPT_NAMESPACE_LOSS);
    let accepted = accepted.is_some_and(|accepted| accepted == namespace);
    (accepted || observed.restore_asked) && observed.facts.lost.is_some()
}

/// Takes the annotation away that was carried out.
pub(super) async fn done(ctx: &Context, observed: &Observed, placement: &Placement) -> Result<(), Failure> {
    let annotation = names::ANNOTATION_ACCEPT_NAMESPACE_LOSS;
    let accepted = observed.org.annotations().get(annotation);
    if accepted.is_some_and(|accepted| *accepted == placement.namespace) {
        ctx.cluster
            .set_annotation(&*observed.org, annotation, None)
            .await?;
    }
    Ok(())
}
