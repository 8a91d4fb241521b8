//! What keeps an org's workloads from running at present. Pure.

use std::collections::BTreeSet;

use super::{observe::Observed, validate::Valid};
use crate::{
    adapters::kube::child::Observed as Seen,
    api::conditions::types,
    controllers::conditions::is_true,
    domain::replicas::Situation,
    resources::{child::ChildKind, org::claim},
};

/// From what was observed.
pub fn of(observed: &Observed, valid: &Valid) -> Situation {
    let lost_claims = match &observed.facts.lost {
        Some(lost) => lost.keys().cloned().collect(),
        None if lost_is_recorded(observed) => claims_of_stopped(observed, valid),
        None => BTreeSet::new(),
    };
    Situation {
        suspended: valid.suspended,
        restoring: observed.facts.restoring.is_some(),
        lost_claims,
    }
}

fn lost_is_recorded(observed: &Observed) -> bool {
    let status = observed.org.status.as_ref();
    status.is_some_and(|status| is_true(&status.conditions, types::DATA_LOST))
}

/// After a start it is not known yet which claims are lost, only that some are. What was stopped for them stays so.
fn claims_of_stopped(observed: &Observed, valid: &Valid) -> BTreeSet<String> {
    let stopped = observed.children.iter().filter(|child| {
        child.id.kind == ChildKind::StatefulSet
            && matches!(&child.observed, Seen::Workload(fact) if fact.replicas == 0)
    });
    let stopped: BTreeSet<&str> = stopped.map(|child| child.id.name.as_str()).collect();
    let workloads = valid
        .effective
        .workloads
        .iter()
        .filter(|w| stopped.contains(w.name.as_str()));
    workloads.flat_map(claim::claim_names).collect()
}
