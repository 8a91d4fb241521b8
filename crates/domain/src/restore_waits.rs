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
/// What is left of a limit after each start of the operator: what came while nobody looked is learnt first.
const LEFT_AFTER_A_START: SignedDuration = SignedDuration::from_mins(10);

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
}

/// What a restore waited for when it was last looked at, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// What for.
    pub wait: Wait,
    /// Since then.
    pub since: Timestamp,
    /// Since then this operator looks.
    pub looks_since: Timestamp,
}

impl Waiting {
    /// Whether its limit is over.
    pub fn is_over(self, now: Timestamp) -> bool {
        self.wait.limit().is_some_and(|limit| self.exceeds(limit, now))
    }

    fn exceeds(self, limit: SignedDuration, now: Timestamp) -> bool {
        now.duration_since(self.since) > limit
            && now.duration_since(self.looks_since) > limit.min(LEFT_AFTER_A_START)
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

/// That step, or the end of the restore where it has been waited for it too long.
pub fn in_time(step: RestoreStep, waiting: Option<Waiting>, now: Timestamp) -> RestoreStep {
    let Some(waiting) = waiting.filter(|waiting| step.wait() == Some(waiting.wait)) else {
        return step;
    };
    if let RestoreStep::WaitForMovers(unbound) = &step
        && !unbound.is_empty()
        && waiting.exceeds(SignedDuration::from_hours(HOURS_FOR_CLAIMS), now)
    {
        let message = format!(
            "claims {} got no volume within {HOURS_FOR_CLAIMS} h: see their events and the Region's StorageClass, then make an OrgRestore of \
             another name",
            listed(unbound)
        );
        return RestoreStep::Fail(RestoreFault::TookTooLong(message));
    }
    if waiting.is_over(now) { overdue(step) } else { step }
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

    fn waited(wait: Wait) -> Waiting {
        Waiting {
            wait,
            since: at(0),
            looks_since: at(0),
        }
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
            let after = |minutes| in_time(step.clone(), Some(waited(wait)), at(minutes));
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
            for waiting in [None, Some(waited(other))] {
                assert_eq!(in_time(step.clone(), waiting, at(minutes + 1)), step);
            }
        }
    }

    #[test]
    fn workloads_that_do_not_come_up_end_a_restore_whose_data_is_back() {
        let step = RestoreStep::WaitForWorkloads("its image is gone".to_owned());
        let after = |minutes| in_time(step.clone(), Some(waited(Wait::Workloads)), at(minutes));
        assert_eq!(after(20), step);
        assert_eq!(
            after(21),
            RestoreStep::SucceedWithoutWorkloads("its image is gone".to_owned())
        );
    }

    /// Else what ended while nobody looked would be taken for what never ends, or an operator that starts again and again would
    /// wait for ever.
    #[test]
    fn a_start_of_the_operator_leaves_ten_minutes_of_a_limit_and_does_not_begin_it_anew() {
        for (since, looks_since, over) in [(0, 600, 610), (0, 5, 60), (0, 55, 65)] {
            let waiting = Waiting {
                wait: Wait::Pods,
                since: at(since),
                looks_since: at(looks_since),
            };
            assert!(
                !waiting.is_over(at(over)),
                "since {since}, looks since {looks_since}"
            );
            assert!(
                waiting.is_over(at(over + 1)),
                "since {since}, looks since {looks_since}"
            );
        }
    }
}
