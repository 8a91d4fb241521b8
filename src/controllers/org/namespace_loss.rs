//! A namespace that once held an org's volumes and is gone: somebody deleted it past the policies. It is not made anew
//! in silence: an empty one would pass for the org's.

use jiff::Timestamp;
use kube::ResourceExt;
use tray_api::{
    conditions::reasons,
    trayorg::{Acknowledgement, AcknowledgementResult},
};
use tray_domain::{acknowledgement::accepts, names};

use super::validate::Valid;
use crate::{
    controllers::{
        Blocked,
        context::Context,
        view::{
            acknowledgements::{asked, known, offered, with},
            org::OrgView,
        },
    },
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
pub(super) fn of(observed: &OrgView) -> Option<Loss> {
    let status = observed.org.status.as_ref();
    let had_one =
        status.is_some_and(|status| status.namespace.is_some()) || observed.own_tombstone().is_some();
    match &observed.namespace {
        Some(namespace) if namespace.deleting && had_one => Some(Loss::Going),
        None if had_one => Some(Loss::Missing),
        _ => None,
    }
}

/// Why an org whose namespace is lost cannot be worked on; none where it is there, or is to be made anew.
pub(super) async fn blocked(
    ctx: &Context,
    observed: &OrgView,
    valid: &Valid,
) -> Result<Option<Blocked>, Blocked> {
    let namespace = &valid.placement.namespace;
    match of(observed) {
        None => return Ok(None),
        Some(Loss::Going) => {
            let message = format!(
                "namespace {namespace} of the org is being deleted with everything in it; its PersistentVolumes and \
                 snapshots stay. Find out who deleted it; once it is gone, this message says how to go on"
            );
            return Ok(Some(Blocked::person(reasons::NAMESPACE_LOST, message)));
        }
        Some(Loss::Missing) => {}
    }
    let id = ChildId {
        kind: ChildKind::Namespace,
        namespace: String::new(),
        name: namespace.clone(),
    };
    if ctx.cluster.exists(&id).await? || is_wanted_anew(observed, namespace) {
        return Ok(None);
    }
    let (org, annotation) = (observed.org.name_any(), names::ANNOTATION_ACCEPT_NAMESPACE_LOSS);
    let value = offered(observed, annotation, namespace);
    let message = format!(
        "namespace {namespace}, which held the volumes of the org, is gone; its PersistentVolumes and snapshots stay. \
         To bring the org back from a snapshot, create an OrgRestore of TrayOrg {org}; to begin anew with empty volumes \
         where there is no snapshot, annotate it with {annotation}={value}"
    );
    Ok(Some(Blocked::person(reasons::NAMESPACE_LOST, message)))
}

/// A person wants it made anew, and it is known which volumes held data: their workloads stay stopped until a restore
/// has filled them.
fn is_wanted_anew(observed: &OrgView, namespace: &str) -> bool {
    let value = asked(observed, names::ANNOTATION_ACCEPT_NAMESPACE_LOSS);
    let accepted = value.is_some_and(|value| accepts(value, namespace));
    (accepted || observed.restore.is_some()) && observed.known.lost.is_some()
}

/// What the status remembers of acknowledgements. One of this loss has been carried out: the namespace is there.
pub(super) fn acknowledged(
    observed: &OrgView,
    placement: &Placement,
    now: Timestamp,
) -> Vec<Acknowledgement> {
    let annotation = names::ANNOTATION_ACCEPT_NAMESPACE_LOSS;
    let known = known(observed);
    match asked(observed, annotation).filter(|value| accepts(value, &placement.namespace)) {
        Some(value) => with(&known, annotation, value, AcknowledgementResult::CarriedOut, now),
        None => known,
    }
}
