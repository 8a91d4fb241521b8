//! What keeps an org's workloads from running at present. Pure.

use std::collections::BTreeSet;

use tray_api::conditions::{reasons, types};
use tray_domain::replicas::Situation;

use super::validate::Valid;
use crate::{
    adapters::kube::child::ChildStatus,
    controllers::{
        conditions::{ConditionFact, is_true},
        view::org::OrgView,
    },
    resources::{child::ChildKind, org::claim},
};

/// From what was observed.
pub(super) fn of(observed: &OrgView, valid: &Valid) -> Situation {
    let lost_claims = match &observed.known.lost {
        Some(lost) => lost.keys().cloned().collect(),
        None if lost_is_recorded(observed) => claims_of_stopped(observed, valid),
        None => BTreeSet::new(),
    };
    Situation {
        suspended: observed.is_suspended(),
        restoring: observed.stopped_by().is_some(),
        lost_claims,
    }
}

/// Why workloads that are meant to run do not; none where nothing keeps them.
pub(super) fn why_stopped(situation: &Situation) -> Option<ConditionFact> {
    let (reason, message) = if situation.suspended {
        let message = "nothing runs while spec.lifecycle.state is Suspended";
        (reasons::SUSPENDED, message.to_owned())
    } else if situation.restoring {
        let message = "nothing runs until the restore has filled the volumes";
        (reasons::RESTORING, message.to_owned())
    } else if situation.lost_claims.is_empty() {
        return None;
    } else {
        let claims: Vec<&str> = situation.lost_claims.iter().map(String::as_str).collect();
        let message = format!(
            "the workloads of {} are stopped: their data is lost",
            claims.join(", ")
        );
        (reasons::VOLUME_REPLACED, message)
    };
    Some(ConditionFact::new(false, reason, message))
}

fn lost_is_recorded(observed: &OrgView) -> bool {
    let status = observed.org.status.as_ref();
    status.is_some_and(|status| is_true(&status.conditions, types::DATA_LOST))
}

/// After a start it is not known yet which claims are lost, only that some are. What was stopped for them stays so.
fn claims_of_stopped(observed: &OrgView, valid: &Valid) -> BTreeSet<String> {
    let stopped = observed.children.iter().filter(|child| {
        child.id.kind == ChildKind::StatefulSet
            && matches!(&child.observed, ChildStatus::Workload(fact) if fact.replicas == 0)
    });
    let stopped: BTreeSet<&str> = stopped.map(|child| child.id.name.as_str()).collect();
    let workloads = valid
        .effective
        .workloads
        .iter()
        .filter(|w| stopped.contains(w.name.as_str()));
    workloads.flat_map(claim::claim_names).collect()
}
