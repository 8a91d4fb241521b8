//! What the cluster enforces for an org, in the words of conditions: that it is isolated, that it uses no more than it is given,
//! and that its volumes are encrypted at rest. Pure.

use std::collections::BTreeMap;

use tray_api::{conditions::reasons, trayorg::Plan};

use crate::{
    adapters::kube::{
        apply::{Applied, ApplyError},
        child::ChildStatus,
        facts::StorageClassFact,
    },
    controllers::{
        conditions::{ConditionFact, Truth},
        view::org::OrgView,
    },
    resources::{
        child::{ChildId, ChildKind, DesiredChild},
        org::quota::{Excess, Fitted, LIMITED, QuotaUse},
    },
};

/// Kinds that isolate orgs from each other.
const ISOLATING: [ChildKind; 3] = [
    ChildKind::NetworkPolicy,
    ChildKind::ResourceQuota,
    ChildKind::LimitRange,
];

/// What is known of one child.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Acknowledgement {
    /// Why the API server has it not, or not as it is wanted.
    Missing(String),
    /// It was not its turn yet.
    NotYet,
    /// The API server has it as it is wanted.
    Acknowledged,
}

/// What came of applying the children that isolate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Isolation {
    children: BTreeMap<ChildId, Acknowledgement>,
}

impl Isolation {
    /// Before anything was applied.
    pub(super) fn of(wanted: &[Vec<DesiredChild>]) -> Self {
        let isolating = wanted
            .iter()
            .flatten()
            .filter(|child| ISOLATING.contains(&child.id.kind));
        Self {
            children: isolating
                .map(|child| (child.id.clone(), Acknowledgement::NotYet))
                .collect(),
        }
    }

    /// The API server answered, or the index says that it has it as wanted.
    pub(super) fn note(&mut self, id: &ChildId, result: &Result<Applied, ApplyError>) {
        if let Some(known) = self.children.get_mut(id) {
            *known = match result {
                Ok(Applied::Unchanged | Applied::Created | Applied::Changed) => Acknowledgement::Acknowledged,
                Ok(Applied::Going) => Acknowledgement::Missing(format!(
                    "{id} is being deleted: it is made anew when it is gone"
                )),
                Err(error) => Acknowledgement::Missing(error.to_string()),
            };
        }
    }

    /// How much isolates the org, where the API server has all of it as it is wanted.
    pub(super) fn acknowledged(&self) -> Option<Acknowledged> {
        let mut known = self.children.values();
        let number = |kind| self.children.keys().filter(|id| id.kind == kind).count();
        known
            .all(|known| *known == Acknowledgement::Acknowledged)
            .then(|| Acknowledged {
                network_policies: number(ChildKind::NetworkPolicy),
                quotas: number(ChildKind::ResourceQuota),
            })
    }

    /// Condition IsolationEnforced.
    pub(super) fn condition(&self) -> ConditionFact {
        if let Some(all) = self.acknowledged() {
            return all.condition();
        }
        let worst = self.children.iter().min_by_key(|(_, known)| *known);
        let why = match worst {
            Some((_, Acknowledgement::Missing(why))) => why.clone(),
            Some((id, _)) => format!("{id} is not made yet"),
            None => String::new(),
        };
        ConditionFact::new(false, reasons::NOT_ACKNOWLEDGED, why)
    }
}

/// What isolates an org, where the API server has all of it as it is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Acknowledged {
    network_policies: usize,
    quotas: usize,
}

impl Acknowledged {
    /// Condition IsolationEnforced.
    pub(super) fn condition(self) -> ConditionFact {
        let Self {
            network_policies,
            quotas,
        } = self;
        let message = format!(
            "the API server has {network_policies} network policies, {quotas} quotas and the limit range as they are wanted; \
             that packets obey is up to the cluster's network plugin"
        );
        ConditionFact::new(true, reasons::ACKNOWLEDGED, message)
    }
}

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
pub(super) fn quota(fitted: &Fitted, plan: Plan) -> ConditionFact {
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

/// What the Region's StorageClass says of volumes; `name` is that class.
pub(super) fn encryption(name: &str, class: Option<&StorageClassFact>) -> ConditionFact {
    match class.map(|class| (class.encrypts, &class.provisioner)) {
        Some((Some(true), _)) => ConditionFact::new(
            true,
            reasons::ENCRYPTED,
            format!("StorageClass {name} encrypts volumes; snapshots are encrypted under the org's own key"),
        ),
        Some((Some(false), _)) => ConditionFact::new(
            false,
            reasons::NOT_ENCRYPTED,
            format!(
                "StorageClass {name} does not encrypt volumes: have spec.storage.storageClassName of the Region name one \
                 that does, and restore the org with an OrgRestore, which fills volumes of it"
            ),
        ),
        Some((None, provisioner)) => ConditionFact::new(
            Truth::Unknown,
            reasons::NOT_SAID,
            format!(
                "the parameters of StorageClass {name} do not say whether {provisioner} encrypts volumes"
            ),
        ),
        None => ConditionFact::new(
            Truth::Unknown,
            reasons::STORAGE_CLASS_MISSING,
            format!("there is no StorageClass {name}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        controllers::conditions::Truth,
        resources::org::{
            fixtures,
            quota::{fit, limits},
        },
    };

    fn child(kind: ChildKind, name: &str) -> DesiredChild {
        DesiredChild::new(kind, "n", name, serde_json::json!({}))
    }

    #[test]
    fn p4_isolation_is_enforced_when_all_of_it_was_acknowledged_and_not_before() {
        let wanted = vec![
            vec![
                child(ChildKind::NetworkPolicy, "deny"),
                child(ChildKind::LimitRange, "defaults"),
            ],
            vec![
                child(ChildKind::ResourceQuota, "pods"),
                child(ChildKind::StatefulSet, "db"),
            ],
        ];
        let mut isolation = Isolation::of(&wanted);
        assert_eq!(isolation.condition().status, Truth::False);
        for child in wanted.iter().flatten().take(2) {
            isolation.note(&child.id, &Ok(Applied::Created));
        }
        let open = isolation.condition();
        assert_eq!(open.message, "ResourceQuota n/pods is not made yet");
        // What was refused is told before what waits for it.
        let deny = &wanted[0][0].id;
        isolation.note(deny, &Ok(Applied::Going));
        assert!(isolation.condition().message.contains("n/deny"));
        isolation.note(deny, &Ok(Applied::Created));
        isolation.note(&wanted[1][1].id, &Ok(Applied::Going));
        let quota = &wanted[1][0].id;
        for (result, named) in [
            (Ok(Applied::Going), "being deleted"),
            (
                Err(ApplyError::Refused {
                    id: quota.clone(),
                    message: "no".into(),
                }),
                "refuses",
            ),
        ] {
            isolation.note(quota, &result);
            let fact = isolation.condition();
            assert_eq!(
                (fact.status, fact.reason.as_str()),
                (Truth::False, "NotAcknowledged")
            );
            assert!(fact.message.contains(named), "{}", fact.message);
        }
        isolation.note(quota, &Ok(Applied::Unchanged));
        let fact = isolation.condition();
        assert_eq!(fact.status, Truth::True);
        assert!(
            fact.message.contains("1 network policies, 1 quotas"),
            "{}",
            fact.message
        );
        assert!(fact.message.contains("network plugin"), "{}", fact.message);
    }

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
            let fact = quota(&fit(given.clone(), &uses), Plan::Enterprise);
            assert_eq!((fact.status, fact.reason.as_str()), (status, reason));
            assert!(fact.message.contains(named), "{}", fact.message);
        }
    }
}
