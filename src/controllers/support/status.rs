//! The status of a SupportAccess, from what was observed and done. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use tray_api::{
    conditions::{reasons, types},
    support_access::{SupportAccess, SupportAccessStatus, SupportEvent},
};
use tray_domain::support::{Action, Door, Standing};

use super::record::Place;
use crate::controllers::{
    conditions::{ConditionFact, Conditions, Truth, whole_seconds},
    view::support::{Home, grant},
};

/// Longest history that is kept.
const HISTORY: usize = 20;

/// What came of a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The cluster is as the standing says.
    InForce,
    /// It will be: this comes first.
    Waiting(String),
    /// The API server refuses the binding.
    Refused(String),
}

/// A pass over a grant.
pub(super) struct Pass<'a> {
    /// The SupportAccess.
    pub access: &'a SupportAccess,
    /// The org whose namespace it is in.
    pub home: Option<&'a Home>,
    /// How it stands.
    pub standing: &'a Standing,
    /// What came of it.
    pub effect: &'a Effect,
    /// Where its lines go.
    pub place: &'a Place,
    /// What became of it before, with what is recorded of it by now.
    pub history: &'a [SupportEvent],
}

/// The history after a pass: what is new comes last.
pub(super) fn history(pass: &Pass<'_>, now: Timestamp) -> Vec<SupportEvent> {
    let mut history = pass.history.to_vec();
    let groups = pass.access.spec.groups();
    let grant = tray_domain::support::Grant {
        history: history.iter().map(|event| event.action).collect(),
        ..grant(pass.access, &groups, now)
    };
    // What is only on its way has not become of it yet.
    if *pass.effect == Effect::InForce
        && let Some(action) = grant.news(pass.standing)
    {
        history.push(SupportEvent {
            action,
            at: Time(whole_seconds(now)),
            recorded: false,
        });
    }
    history.drain(..history.len().saturating_sub(HISTORY));
    history
}

/// The status after a pass.
pub(super) fn of(pass: &Pass<'_>, now: Timestamp) -> SupportAccessStatus {
    let access = pass.access;
    let recorded = access.status.as_ref();
    let conditions = recorded
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    let groups = access.spec.groups();
    let grant = grant(access, &groups, now);
    let history = history(pass, now);
    let first = history.iter().find(|event| event.action == Action::Granted);
    let granted_at = recorded
        .and_then(|status| status.granted_at.clone())
        .or_else(|| first.map(|event| event.at.clone()));

    let mut conditions = Conditions::new(conditions, access.metadata.generation, now);
    standing(&mut conditions, pass, grant.until());
    if let Some(fact) = in_record(pass.place, &history) {
        conditions.set(types::ACCESS_RECORDED, &fact);
    }
    SupportAccessStatus {
        observed_generation: access.metadata.generation,
        granted_at,
        expires_at: Some(Time(grant.until())),
        history,
        conditions: conditions.build(),
    }
}

/// Sets Active and Ready, and Stalled or Reconciling where it is not as its spec says.
fn standing(conditions: &mut Conditions<'_>, pass: &Pass<'_>, until: Timestamp) {
    let spec = &pass.access.spec;
    let who = spec.groups().join(", ");
    let role = spec.role.as_str();
    let ended = |reason, message: String| (ConditionFact::new(false, reason, message), true);
    let (active, well) = match (pass.standing, pass.effect) {
        (_, Effect::Refused(message)) => {
            conditions.stalled(reasons::APPLY_REFUSED, message);
            (
                ConditionFact::new(false, reasons::APPLY_REFUSED, message.clone()),
                false,
            )
        }
        (_, Effect::Waiting(message)) => {
            let fact = ConditionFact::new(false, reasons::PROGRESSING, message.clone());
            conditions.set(types::READY, &fact);
            conditions.reconciling(reasons::PROGRESSING, message);
            (fact, false)
        }
        (Standing::Open, Effect::InForce) => {
            let message = format!("{who} may {role} until {until}");
            (ConditionFact::new(true, reasons::SUPPORT_GRANTED, message), true)
        }
        (Standing::Expired, _) => ended(
            reasons::SUPPORT_EXPIRED,
            format!("it ended at {until}: create another to let support in again"),
        ),
        (Standing::Removed, _) => ended(
            reasons::DELETING,
            "it is being deleted: support is out".to_owned(),
        ),
        (Standing::Shut(Door::Suspended), _) => ended(
            reasons::SUSPENDED,
            "the org is suspended: support is in again when it is resumed before the time is over".to_owned(),
        ),
        (Standing::Shut(_), _) => {
            let message = match pass.home {
                Some(home) => format!("there is no TrayOrg {} that could be looked into", home.org),
                None => format!(
                    "namespace {} is no org's: create the SupportAccess in the namespace that the TrayOrg's status names",
                    pass.access.namespace().unwrap_or_default()
                ),
            };
            conditions.stalled(reasons::ORG_MISSING, &message);
            (ConditionFact::new(false, reasons::ORG_MISSING, message), false)
        }
        (Standing::NotAllowed(strangers), _) => {
            let message = format!(
                "spec.subjects: {} may not be let in: name groups of support staff, which the platform team lists in the \
                 operator's --support-groups (chart value supportGroups)",
                strangers.join(", ")
            );
            conditions.stalled(reasons::SUBJECT_NOT_ALLOWED, &message);
            (
                ConditionFact::new(false, reasons::SUBJECT_NOT_ALLOWED, message),
                false,
            )
        }
    };
    if well {
        let ready = ConditionFact {
            status: Truth::True,
            ..active.clone()
        };
        conditions.set(types::READY, &ready);
    }
    conditions.set(types::ACTIVE, &active);
}

/// Condition AccessRecorded; none while there is nothing to record.
fn in_record(place: &Place, history: &[SupportEvent]) -> Option<ConditionFact> {
    if history.is_empty() {
        return None;
    }
    if history.iter().all(|event| event.recorded) {
        let message = "what became of it is in the org's access record";
        return Some(ConditionFact::new(true, reasons::RECORDED, message));
    }
    Some(match place {
        Place::Nowhere => {
            let message = "the Region has no spec.logLocation, so there is no access record: events and the API server's audit \
                           log are all there is";
            ConditionFact::new(false, reasons::NO_LOG_LOCATION, message)
        }
        Place::NotVerified(region) => {
            let message = format!(
                "the log location of Region {region} is not verified: see its condition LogLocationVerified; the lines are \
                 written when it is"
            );
            ConditionFact::new(false, reasons::LOG_LOCATION_NOT_VERIFIED, message)
        }
        Place::Bucket(location) => {
            let message = format!(
                "lines are on their way to bucket {}; what fails is in the operator's log, and tried again",
                location.bucket
            );
            ConditionFact::new(false, reasons::RETRYING, message)
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::controllers::conditions::{find, is_true};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }
    fn access() -> SupportAccess {
        serde_json::from_value(json!({
            "apiVersion": "platform.tray.ai/v1alpha1", "kind": "SupportAccess",
            "metadata": {"name": "t", "namespace": "n", "uid": "u", "generation": 1,
                "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"subjects": [{"kind": "Group", "name": "support"}], "role": "Debug", "durationHours": 1, "reason": "r"},
        }))
        .unwrap()
    }
    fn status(standing: &Standing, effect: &Effect, history: &[SupportEvent]) -> SupportAccessStatus {
        let access = access();
        of(
            &Pass {
                access: &access,
                home: None,
                standing,
                effect,
                place: &Place::Nowhere,
                history,
            },
            at(10),
        )
    }
    fn events(actions: &[Action]) -> Vec<SupportEvent> {
        let event = |action: &Action| SupportEvent {
            action: *action,
            at: Time(at(1)),
            recorded: true,
        };
        actions.iter().map(event).collect()
    }

    #[test]
    fn p17_a_grant_is_active_only_when_it_is_in_force() {
        let waiting = Effect::Waiting("first this".to_owned());
        let status_of = |effect: &Effect| status(&Standing::Open, effect, &[]);
        let active = status_of(&Effect::InForce);
        assert!(is_true(&active.conditions, types::ACTIVE));
        assert_eq!(active.granted_at, Some(Time(at(10))));
        assert_eq!(active.expires_at, Some(Time(at(3600))));
        let not_yet = status_of(&waiting);
        assert!(
            !is_true(&not_yet.conditions, types::ACTIVE) && is_true(&not_yet.conditions, types::RECONCILING)
        );
        assert!(not_yet.history.is_empty() && not_yet.granted_at.is_none());
    }

    #[test]
    fn p19_whoever_is_not_in_is_told_why() {
        let granted = events(&[Action::Granted]);
        for (standing, reason, stalled, last) in [
            (
                Standing::Expired,
                reasons::SUPPORT_EXPIRED,
                false,
                Action::Expired,
            ),
            (Standing::Removed, reasons::DELETING, false, Action::Removed),
            (
                Standing::Shut(Door::Suspended),
                reasons::SUSPENDED,
                false,
                Action::Closed,
            ),
            (
                Standing::Shut(Door::Gone),
                reasons::ORG_MISSING,
                true,
                Action::Closed,
            ),
            (
                Standing::NotAllowed(vec!["stranger".to_owned()]),
                reasons::SUBJECT_NOT_ALLOWED,
                true,
                Action::Closed,
            ),
        ] {
            let status = status(&standing, &Effect::InForce, &granted);
            let active = find(&status.conditions, types::ACTIVE).unwrap();
            assert_eq!(
                (active.status.as_str(), active.reason.as_str()),
                ("False", reason)
            );
            assert_eq!(
                is_true(&status.conditions, types::STALLED),
                stalled,
                "{standing:?}"
            );
            assert_eq!(
                is_true(&status.conditions, types::READY),
                !stalled,
                "{standing:?}"
            );
            assert_eq!(status.history.last().unwrap().action, last);
        }
    }

    #[test]
    fn a_history_keeps_the_newest_and_the_time_of_the_first_grant() {
        let turns = [Action::Granted, Action::Closed, Action::Reopened, Action::Closed];
        let many: Vec<Action> = turns
            .iter()
            .chain([&Action::Reopened, &Action::Closed])
            .copied()
            .collect();
        let mut long = events(&many.repeat(3));
        long.push(events(&[Action::Reopened, Action::Closed]).remove(0));
        let status = status(&Standing::Expired, &Effect::InForce, &long);
        assert!(status.history.len() <= HISTORY);
        assert_eq!(status.history.last().unwrap().action, Action::Expired);
    }

    #[test]
    fn without_a_log_location_the_record_is_said_to_be_missing() {
        let status = status(&Standing::Open, &Effect::InForce, &[]);
        let recorded = find(&status.conditions, types::ACCESS_RECORDED).unwrap();
        assert_eq!(recorded.reason, reasons::NO_LOG_LOCATION);
        assert!(recorded.message.contains("spec.logLocation"));
    }
}
