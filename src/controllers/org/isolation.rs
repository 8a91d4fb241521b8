//! Whether the API server has everything that isolates an org: what came of applying it, in the words of condition
//! IsolationEnforced. Pure.

use std::collections::BTreeMap;

use tray_api::conditions::reasons;

use crate::{
    adapters::kube::apply::{Applied, ApplyError},
    controllers::conditions::ConditionFact,
    resources::child::{ChildId, ChildKind, DesiredChild},
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

    /// Condition IsolationEnforced.
    pub(super) fn condition(&self) -> ConditionFact {
        let worst = self.children.iter().min_by_key(|(_, known)| *known);
        match worst {
            Some((_, Acknowledgement::Missing(why))) => {
                return ConditionFact::new(false, reasons::NOT_ACKNOWLEDGED, why.clone());
            }
            Some((id, Acknowledgement::NotYet)) => {
                return ConditionFact::new(false, reasons::NOT_ACKNOWLEDGED, format!("{id} is not made yet"));
            }
            Some((_, Acknowledgement::Acknowledged)) | None => {}
        }
        let number = |kind| self.children.keys().filter(|id| id.kind == kind).count();
        let message = format!(
            "the API server has {} network policies, {} quotas and the limit range as they are wanted; that packets obey \
             is up to the cluster's network plugin",
            number(ChildKind::NetworkPolicy),
            number(ChildKind::ResourceQuota)
        );
        ConditionFact::new(true, reasons::ACKNOWLEDGED, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::conditions::Truth;

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
                    immutable: false,
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
}
