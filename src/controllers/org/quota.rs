//! Whether what an org uses fits what it is given. Pure.

use tray_api::{conditions::reasons, trayorg::Plan};

use crate::{
    adapters::kube::child::ChildStatus,
    controllers::{
        conditions::{ConditionFact, Truth},
        view::org::OrgView,
    },
    resources::org::quota::{Excess, Fitted, LIMITED, QuotaUse},
};

/// What Kubernetes counts in the org's namespace.
pub(super) fn uses(observed: &OrgView, namespace: &str) -> Vec<QuotaUse> {
    let own = observed
        .children
        .iter()
        .filter(|child| child.id.namespace == namespace);
    let counted = own.filter_map(|child| match &child.observed {
        ChildStatus::Quota(uses) => Some(uses.clone()),
        _ => None,
    });
    counted.flatten().collect()
}

/// Condition QuotaSatisfied.
pub(super) fn condition(fitted: &Fitted, plan: Plan) -> ConditionFact {
    if !fitted.excess.is_empty() {
        let named: Vec<String> = fitted.excess.iter().map(said).collect();
        let message = format!(
            "more is used than plan {plan:?} and spec.quota give: {}; nothing is stopped and the old limits stay until it \
             fits: lower spec.overrides (replicas, resources), remove claims, or raise spec.quota",
            named.join(", ")
        );
        return ConditionFact::new(false, reasons::QUOTA_BELOW_USE, message);
    }
    if fitted.counted < LIMITED.len() {
        let message = "Kubernetes has not counted yet what the org uses";
        return ConditionFact::new(Truth::Unknown, reasons::NOT_OBSERVED, message);
    }
    ConditionFact::new(true, reasons::AS_SPECIFIED, "what is used fits the quotas")
}

fn said(excess: &Excess) -> String {
    let Excess {
        resource,
        used,
        given,
        by,
    } = excess;
    format!("{resource} {used} of {given}, {by} too much")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::org::{
        fixtures,
        quota::{fit, limits},
    };

    #[test]
    fn p3_the_condition_names_what_exceeds_and_by_how_much() {
        let given = limits(&fixtures::org(), &fixtures::region());
        let used = |cpu: &str, resources: &[&'static str]| -> Vec<QuotaUse> {
            let of = |resource: &&'static str| QuotaUse {
                resource,
                hard: "1000".into(),
                used: if *resource == "requests.cpu" {
                    cpu.into()
                } else {
                    "1".into()
                },
            };
            resources.iter().map(of).collect()
        };
        for (uses, status, reason, named) in [
            (used("16", &LIMITED), Truth::True, "AsSpecified", "fits"),
            (
                used("18", &LIMITED),
                Truth::False,
                "QuotaBelowUse",
                "plan Enterprise and spec.quota give: requests.cpu 18 of 16, 2 too much",
            ),
            (
                used("1", &LIMITED[..2]),
                Truth::Unknown,
                "NotObserved",
                "not counted",
            ),
            (used("1", &[]), Truth::Unknown, "NotObserved", "not counted"),
        ] {
            let fact = condition(&fit(given.clone(), &uses), Plan::Enterprise);
            assert_eq!((fact.status, fact.reason.as_str()), (status, reason));
            assert!(fact.message.contains(named), "{}", fact.message);
        }
    }
}
