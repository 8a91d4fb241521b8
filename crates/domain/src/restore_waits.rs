//! What a restore waits for, and for how long: each step that waits has a limit, after which the restore ends and says why. Pure.

use jiff::{SignedDuration, Timestamp};

use super::{
    mover_lifetime::RESTORE_DEADLINE,
    restore_run::{RestoreFault, RestoreStep, first_of, listed},
};

/// What a restore waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Another OrgRestore of the org is under way. That one has limits of its own.
    Turn,
    /// A run or a sweep, or movers of theirs, are on their way out.
    OtherWork,
    /// It is proven that every part can come back.
    Proofs,
    /// Pods of others hold claims.
    ClaimHolders,
    /// Pods of the org's workloads still run.
    Pods,
    /// Old claims go.
    ClaimsGone,
    /// Fresh claims are made.
    ClaimsMade,
    /// Volumes are filled, objects are put back.
    Fills,
    /// The org's workloads start.
    Workloads,
}

/// How long claims, and whoever holds them, are waited for.
pub(super) const HOURS_FOR_CLAIMS: i64 = 1;
/// How long workloads are waited for. They go on starting after that: the data is back, and a person is told.
pub const WORKLOADS_START_WITHIN: SignedDuration = SignedDuration::from_mins(20);

impl Wait {
    /// After that a restore ends; none = what it waits for has a limit of its own.
    pub fn limit(self) -> Option<SignedDuration> {
        let of_movers = SignedDuration::try_from(RESTORE_DEADLINE).unwrap_or(SignedDuration::MAX);
        match self {
            Self::Turn => None,
            Self::Proofs | Self::Fills => Some(of_movers),
            Self::OtherWork | Self::ClaimHolders | Self::Pods | Self::ClaimsGone | Self::ClaimsMade => {
                Some(SignedDuration::from_hours(HOURS_FOR_CLAIMS))
            }
            Self::Workloads => Some(WORKLOADS_START_WITHIN),
        }
    }

    /// Whether that limit is over for who has waited since then.
    pub fn is_over(self, since: Timestamp, now: Timestamp) -> bool {
        self.limit()
            .is_some_and(|limit| now.duration_since(since) > limit)
    }
}

impl RestoreStep {
    /// What is waited for until another step comes next; none = the end.
    pub fn wait(&self) -> Option<Wait> {
        Some(match self {
            Self::Resolve => Wait::OtherWork,
            Self::StartProofs(_) | Self::WaitForProofs => Wait::Proofs,
            Self::WaitForHolders(_) => Wait::ClaimHolders,
            Self::WaitUntilDrained(_) => Wait::Pods,
            Self::RemoveClaims { .. } => Wait::ClaimsGone,
            Self::WaitForClaims(_) => Wait::ClaimsMade,
            Self::Refill(_) | Self::StartMovers(_) | Self::WaitForMovers(_) | Self::RecordFilled(_) => {
                Wait::Fills
            }
            Self::WaitForWorkloads(_) => Wait::Workloads,
            Self::Succeed | Self::SucceedWithoutWorkloads(_) | Self::Fail(_) => return None,
        })
    }
}

/// That step, or the end of the restore where it has been waited for it too long. `waiting` is what it waited for when last
/// looked at, and since when.
pub fn in_time(step: RestoreStep, waiting: Option<(Wait, Timestamp)>, now: Timestamp) -> RestoreStep {
    let Some((wait, since)) = waiting.filter(|(wait, _)| step.wait() == Some(*wait)) else {
        return step;
    };
    if let RestoreStep::WaitForMovers(unbound) = &step
        && !unbound.is_empty()
        && now.duration_since(since) > SignedDuration::from_hours(HOURS_FOR_CLAIMS)
    {
        let message = format!(
            "claims {} got no volume within {HOURS_FOR_CLAIMS} h: see their events and the Region's StorageClass, then make an OrgRestore \
             OrgRestore",
            listed(unbound)
        );
        return RestoreStep::Fail(RestoreFault::TookTooLong(message));
    }
    if wait.is_over(since, now) {
        overdue(step)
    } else {
        step
    }
}

fn overdue(step: RestoreStep) -> RestoreStep {
    let hours = RESTORE_DEADLINE.as_secs() / 3600;
    let message = match step {
        RestoreStep::WaitForWorkloads(why) => return RestoreStep::SucceedWithoutWorkloads(why),
        RestoreStep::WaitForHolders(pods) => return RestoreStep::Fail(RestoreFault::ClaimsHeld(pods)),
        RestoreStep::StartProofs(_) | RestoreStep::WaitForProofs => {
            format!("the proof took longer than {hours} h; nothing of the org was touched")
        }
        RestoreStep::WaitUntilDrained(pods) => format!(
            "pods {} of the org's workloads did not end within {HOURS_FOR_CLAIMS} h; nothing was taken from under them, and the \
             workloads start again",
            first_of(&pods)
        ),
        RestoreStep::RemoveClaims { claims, held_by, .. } => {
            let held = if held_by.is_empty() {
                String::new()
            } else {
                format!(", held by pods {}", first_of(&held_by))
            };
            format!(
                "claims {} did not go within {HOURS_FOR_CLAIMS} h{held}: when they are gone, make an OrgRestore of another name",
                listed(&claims)
            )
        }
        RestoreStep::WaitForClaims(claims) => format!(
            "fresh claims {} were not made within {HOURS_FOR_CLAIMS} h: see the TrayOrg's conditions, then make an OrgRestore of another name",
            listed(&claims)
        ),
        RestoreStep::Refill(_)
        | RestoreStep::StartMovers(_)
        | RestoreStep::WaitForMovers(_)
        | RestoreStep::RecordFilled(_) => {
            format!("filling took longer than {hours} h: make an OrgRestore of another name")
        }
        RestoreStep::Resolve
        | RestoreStep::Succeed
        | RestoreStep::SucceedWithoutWorkloads(_)
        | RestoreStep::Fail(_) => return step,
    };
    RestoreStep::Fail(RestoreFault::TookTooLong(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PartId;

    fn at(minutes: i64) -> Timestamp {
        "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minutes)
    }

    /// Whatever a restore waits for, it does so for a time, and then says what for.
    #[test]
    fn everything_that_is_waited_for_has_a_limit() {
        let claims = || -> Vec<PartId> { vec!["data-0".parse().unwrap()] };
        let removes = RestoreStep::RemoveClaims {
            claims: claims(),
            finished: Vec::new(),
            held_by: vec!["debug (data-0)".to_owned()],
        };
        let day = 20 * 60;
        for (step, minutes, said) in [
            (
                RestoreStep::StartProofs(claims()),
                day,
                "nothing of the org was touched",
            ),
            (RestoreStep::WaitForProofs, day, "nothing of the org was touched"),
            (
                RestoreStep::WaitForHolders(vec!["debug (data-0)".to_owned()]),
                60,
                "debug (data-0)",
            ),
            (
                RestoreStep::WaitUntilDrained(vec!["web-0".to_owned()]),
                60,
                "pods web-0 of the org's workloads",
            ),
            (removes, 60, "held by pods debug (data-0)"),
            (RestoreStep::WaitForClaims(claims()), 60, "fresh claims data-0"),
            (RestoreStep::Refill(claims()), day, "20 h"),
            (RestoreStep::StartMovers(claims()), day, "20 h"),
            (RestoreStep::WaitForMovers(Vec::new()), day, "20 h"),
            (
                RestoreStep::WaitForMovers(claims()),
                60,
                "claims data-0 got no volume",
            ),
            (RestoreStep::RecordFilled(Vec::new()), day, "20 h"),
        ] {
            let wait = step.wait().unwrap();
            let after = |minutes| in_time(step.clone(), Some((wait, at(0))), at(minutes));
            assert_eq!(after(minutes), step, "not yet");
            let RestoreStep::Fail(fault) = after(minutes + 1) else {
                panic!("{step:?} has no end")
            };
            assert!(fault.to_string().contains(said), "{fault}");
            // It has not waited for this until now.
            let other = if wait == Wait::Pods {
                Wait::Proofs
            } else {
                Wait::Pods
            };
            for waiting in [None, Some((other, at(0)))] {
                assert_eq!(in_time(step.clone(), waiting, at(minutes + 1)), step);
            }
        }
    }

    #[test]
    fn workloads_that_do_not_come_up_end_a_restore_whose_data_is_back() {
        let step = RestoreStep::WaitForWorkloads("its image is gone".to_owned());
        let after = |minutes| in_time(step.clone(), Some((Wait::Workloads, at(0))), at(minutes));
        assert_eq!(after(20), step);
        assert_eq!(
            after(21),
            RestoreStep::SucceedWithoutWorkloads("its image is gone".to_owned())
        );
    }
}
