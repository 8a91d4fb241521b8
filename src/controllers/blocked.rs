//! The one way to say "not now": why the work on an object does not go on, and what has to happen before it does.
//!
//! Every error becomes a [`Blocked`] here, by its type, its status code or its reason, never by its words.

use std::{error::Error, sync::Arc, time::Duration};

use tray_api::conditions::reasons;
use tray_domain::{
    backup_place::Changed, exclusion::Busy, placement::PlacementRefusal, reattachment::ReattachmentRefusal,
    restore_choice::RestoreRefusal, retention, session_policy::SessionPolicyError,
};
use tray_ledger::{LedgerStoreError, RemoteError};

use super::{Requeue, conditions::ConditionFact};
use crate::{
    adapters::kube::{answer::told, apply::ApplyError, mover_jobs::StartError},
    resources::org::effective::Conflict,
};

/// When what goes away by itself is looked at again, even if nothing changes.
pub const LATER: Duration = Duration::from_secs(15);

/// How long a person's remedy may go unnoticed that no watch shows: rights and keys are put in order without the operator
/// hearing of it.
const UNWATCHED: Duration = Duration::from_mins(5);

/// What has to happen before the work goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// A person acts. The condition Stalled says what is to be done.
    Person,
    /// Time passes, or something else happens first: no person has to act.
    Time,
    /// A service answers that did not, or refused for now: asked again after a pause that grows.
    Service,
}

/// Why the work on an object does not go on at present. The driver has written the status already, where it says so.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Blocked {
    /// A constant of [`reasons`].
    pub reason: &'static str,
    /// For people: names the object, the field and the remedy.
    pub message: String,
    /// What has to happen.
    pub until: Until,
    /// Look again after this at the latest, even if nothing changes; of [`Until::Service`] the pause that grows counts.
    pub again: Option<Duration>,
    /// What went wrong underneath.
    #[source]
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl Blocked {
    fn new(reason: &'static str, message: impl Into<String>, until: Until) -> Self {
        Self {
            reason,
            message: message.into(),
            until,
            again: None,
            source: None,
        }
    }

    /// A person has to act. Looked at again when something changes.
    pub fn person(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(reason, message, Until::Person)
    }

    /// It goes away by itself. Looked at again when something changes, and after `again` at the latest.
    pub fn time(reason: &'static str, message: impl Into<String>, again: Duration) -> Self {
        Self {
            again: Some(again),
            ..Self::new(reason, message, Until::Time)
        }
    }

    /// A service did not answer, or refused for now.
    pub fn service(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(reason, message, Until::Service)
    }

    /// The bucket, KMS or STS failed at what `action` says; `reason` where it is not just away.
    pub fn remote(reason: &'static str, action: &str, error: &RemoteError) -> Self {
        let until = match error {
            RemoteError::Unavailable(_) => Until::Service,
            _ => Until::Person,
        };
        Self::new(reason, format!("failed to {action}: {error}"), until).caused_by(error.clone())
    }

    /// What the status says of a child that could not be made as it should be, whoever has to act. An error on the way to the
    /// API server is nobody's fault; it is retried. `no_room` = the org's quotas have no room for it, by what Kubernetes
    /// counts: nothing else in an answer tells a full quota from a right that is missing.
    pub fn of_child(error: ApplyError, no_room: bool) -> Self {
        let (reason, until) = match &error {
            ApplyError::Foreign(_) => (reasons::NAMESPACE_TAKEN, Until::Person),
            ApplyError::Refused { .. } | ApplyError::Fixed { .. } => (reasons::APPLY_REFUSED, Until::Person),
            ApplyError::Contested { .. } => (reasons::CHILD_CONTESTED, Until::Time),
            // A quota, a policy, or a right that was not granted yet: the object is good, and may be let in later.
            ApplyError::Failed { source, .. } => match &**source {
                kube::Error::Api(status) if status.is_forbidden() && no_room => {
                    (reasons::QUOTA_EXCEEDED, Until::Time)
                }
                kube::Error::Api(status) if status.is_forbidden() => (reasons::APPLY_REFUSED, Until::Time),
                _ => return Self::from(error),
            },
        };
        let message = match reason {
            reasons::QUOTA_EXCEEDED => {
                format!("{error}; the org's quotas have no room for it, see QuotaSatisfied")
            }
            _ => error.to_string(),
        };
        Self {
            again: (until == Until::Time).then_some(LATER),
            ..Self::new(reason, message, until).caused_by(error)
        }
    }

    /// What a person does about it may show in no watch: looked at now and then.
    #[must_use]
    pub fn unwatched(self) -> Self {
        match self.until {
            Until::Person => self.looked_at(Requeue::After(UNWATCHED)),
            Until::Time | Until::Service => self,
        }
    }

    fn caused_by(self, error: impl Error + Send + Sync + 'static) -> Self {
        Self {
            source: Some(Arc::new(error)),
            ..self
        }
    }

    /// The same, told otherwise. What is underneath goes: it may tell what `message` does not.
    #[must_use]
    pub fn saying(self, message: String) -> Self {
        Self {
            message,
            source: None,
            ..self
        }
    }

    /// The same, looked at again when `next` says so at the latest.
    #[must_use]
    pub fn looked_at(self, next: Requeue) -> Self {
        let due = match next {
            Requeue::OnChange => None,
            Requeue::After(delay) => Some(delay),
        };
        Self {
            again: self.again.into_iter().chain(due).min(),
            ..self
        }
    }

    /// As a condition that is False because of it.
    pub fn fact(&self) -> ConditionFact {
        ConditionFact::new(false, self.reason, self.message.clone())
    }

    /// What went wrong at the very bottom. It may quote others, and what is an org's alone: for nobody but whoever looks for a fault.
    pub fn cause(&self) -> Option<String> {
        let mut innermost: &dyn Error = self.source.as_deref()?;
        while let Some(deeper) = innermost.source() {
            innermost = deeper;
        }
        Some(innermost.to_string())
    }

    /// Label of metrics.
    pub const fn class(&self) -> &'static str {
        match self.until {
            Until::Person => "stall",
            Until::Time => "wait",
            Until::Service => "retry",
        }
    }
}

impl From<kube::Error> for Blocked {
    /// Without a better word for it, what the API server says is tried again.
    fn from(error: kube::Error) -> Self {
        Self::service(reasons::RETRYING, told(&error)).caused_by(error)
    }
}

impl From<ApplyError> for Blocked {
    /// Where nothing is said of the child in a status, it is tried again whatever it is.
    fn from(error: ApplyError) -> Self {
        Self::service(reasons::APPLY_REFUSED, error.to_string()).caused_by(error)
    }
}

impl From<StartError> for Blocked {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Foreign { .. } => Self::person(reasons::APPLY_REFUSED, error.to_string()),
            StartError::Api(error) => error.into(),
        }
    }
}

impl From<RemoteError> for Blocked {
    /// Tried again, too: rights and keys are put in order without the operator hearing of it.
    fn from(error: RemoteError) -> Self {
        Self::service(reasons::RETRYING, error.to_string()).caused_by(error)
    }
}

impl From<LedgerStoreError> for Blocked {
    fn from(error: LedgerStoreError) -> Self {
        let reason = match &error {
            LedgerStoreError::ClaimLost { .. } => reasons::CLAIM_LOST,
            LedgerStoreError::Invalid { .. } | LedgerStoreError::Stray { .. } => reasons::LEDGER_INVALID,
            LedgerStoreError::Newer { .. } => reasons::LEDGER_NEWER,
            LedgerStoreError::Unclaimed { .. } | LedgerStoreError::Overtaken { .. } => reasons::RETRYING,
            LedgerStoreError::Remote { .. } => reasons::BUCKET_UNAVAILABLE,
        };
        let until = if error.is_transient() {
            Until::Service
        } else {
            Until::Person
        };
        Self::new(reason, error.to_string(), until).caused_by(error)
    }
}

impl From<SessionPolicyError> for Blocked {
    fn from(error: SessionPolicyError) -> Self {
        Self::person(reasons::MOVER_FAILED, error.to_string()).caused_by(error)
    }
}

impl From<PlacementRefusal> for Blocked {
    fn from(refusal: PlacementRefusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            PlacementRefusal::NotServed(_) => Self::person(reasons::REGION_NOT_SERVED, message),
            PlacementRefusal::Moved { .. } | PlacementRefusal::Relocated { .. } => {
                Self::person(reasons::REGION_CHANGED, message)
            }
            PlacementRefusal::Cordoned(_) => Self::person(reasons::REGION_CORDONED, message),
            PlacementRefusal::NotReady { .. } => Self::time(reasons::REGION_NOT_READY, message, LATER),
        }
    }
}

impl From<ReattachmentRefusal> for Blocked {
    fn from(refusal: ReattachmentRefusal) -> Self {
        let reason = match &refusal {
            ReattachmentRefusal::RetainedData { .. } => reasons::RETAINED_DATA_EXISTS,
            ReattachmentRefusal::RegionMismatch { .. } => reasons::REGION_MISMATCH,
            ReattachmentRefusal::OtherName { .. } => reasons::ORG_ID_IN_USE,
            ReattachmentRefusal::NotAllowed { .. } => reasons::REATTACH_NOT_ALLOWED,
        };
        Self::person(reason, refusal.to_string())
    }
}

impl From<Changed> for Blocked {
    fn from(changed: Changed) -> Self {
        Self::person(reasons::BACKUP_PLACE_CHANGED, changed.to_string())
    }
}

impl From<Conflict> for Blocked {
    fn from(conflict: Conflict) -> Self {
        let reason = match &conflict {
            Conflict::ByRegion(_) | Conflict::ByMovers(_) => reasons::WORKLOAD_NAME_TAKEN,
            Conflict::TwoWebhooks(..) => reasons::WEBHOOK_NOT_UNIQUE,
            Conflict::SecretOfOperator { .. } => reasons::SECRET_RESERVED,
            Conflict::MemoryAboveLimit { .. } => reasons::OVERRIDE_INVALID,
        };
        Self::person(reason, conflict.to_string())
    }
}

impl From<Busy> for Blocked {
    /// It passes when the other has ended, which shows in no watch.
    fn from(busy: Busy) -> Self {
        Self::service(reasons::ORG_BUSY, busy.to_string())
    }
}

impl From<retention::Unsafe> for Blocked {
    fn from(refused: retention::Unsafe) -> Self {
        Self::person(reasons::PRUNING_STOPPED, refused.to_string()).caused_by(refused)
    }
}

impl From<RestoreRefusal> for Blocked {
    fn from(refusal: RestoreRefusal) -> Self {
        let reason = match &refusal {
            RestoreRefusal::Pruned { .. } => reasons::RUN_PRUNED,
            RestoreRefusal::ProductionData { .. } => reasons::PRODUCTION_DATA,
            RestoreRefusal::Unknown { .. } | RestoreRefusal::NoGood { .. } => reasons::RUN_NOT_FOUND,
        };
        Self::person(reason, refusal.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_blocked_is_looked_at_when_something_is_due_and_soon_where_it_passes() {
        let (second, day) = (Duration::from_secs(1), Duration::from_hours(24));
        let person = || Blocked::person(reasons::MALFORMED, "said");
        let time = || Blocked::time(reasons::MALFORMED, "said", LATER);
        for (blocked, next, again) in [
            (person(), Requeue::OnChange, None),
            (person(), Requeue::After(day), Some(day)),
            (person().unwatched(), Requeue::After(day), Some(UNWATCHED)),
            (time(), Requeue::OnChange, Some(LATER)),
            (time(), Requeue::After(day), Some(LATER)),
            (time(), Requeue::After(second), Some(second)),
        ] {
            assert_eq!(blocked.looked_at(next).again, again, "{next:?}");
        }
    }

    #[test]
    fn each_refusal_has_its_reason() {
        let known = || "none".to_owned();
        let run_id = || "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned();
        for (blocked, reason) in [
            (
                Blocked::from(Conflict::ByRegion("db".into())),
                "WorkloadNameTaken",
            ),
            (Conflict::ByMovers("snap".into()).into(), "WorkloadNameTaken"),
            (
                Conflict::TwoWebhooks("a".into(), "b".into()).into(),
                "WebhookNotUnique",
            ),
            (
                RestoreRefusal::Unknown {
                    run_id: run_id(),
                    known: known(),
                }
                .into(),
                "RunNotFound",
            ),
            (
                RestoreRefusal::NoGood {
                    when: String::new(),
                    known: known(),
                }
                .into(),
                "RunNotFound",
            ),
            (
                RestoreRefusal::Pruned {
                    run_id: run_id(),
                    why: "old".into(),
                    known: known(),
                }
                .into(),
                "RunPruned",
            ),
            (
                RestoreRefusal::ProductionData {
                    run_id: run_id().parse().unwrap(),
                }
                .into(),
                "ProductionData",
            ),
            (PlacementRefusal::Cordoned("eu".into()).into(), "RegionCordoned"),
            (PlacementRefusal::NotServed("eu".into()).into(), "RegionNotServed"),
        ] {
            assert_eq!(
                (blocked.reason, blocked.until),
                (reason, Until::Person),
                "{blocked}"
            );
        }
        let busy = Blocked::from(Busy {
            holder: "OrgRestore/r".into(),
            mover: None,
        });
        assert_eq!((busy.reason, busy.until), ("OrgBusy", Until::Service));
    }

    #[test]
    fn who_has_to_act_is_decided_by_what_went_wrong_and_not_by_its_words() {
        let away = || RemoteError::Unavailable("access denied".to_owned());
        let denied = || RemoteError::Denied("unavailable".to_owned());
        let remote = |error| Blocked::remote(reasons::KEY_UNUSABLE, "open the key", &error);
        assert_eq!(remote(away()).until, Until::Service);
        assert_eq!(remote(denied()).until, Until::Person);
        // Where nobody says what it means for the object it is tried again.
        assert_eq!(Blocked::from(denied()).until, Until::Service);
        let lost = remote(denied());
        assert_eq!(lost.message, "failed to open the key: access denied: unavailable");
        assert!(lost.source().is_some(), "what went wrong underneath is kept");
    }
}
