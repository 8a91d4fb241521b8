//! Verdicts on the recovery objectives, from the ledger alone.

use jiff::{SignedDuration, Timestamp};

use super::{
    ledger::{LedgerState, Run},
    manifest::Objectives,
    schedule::run_time,
};

/// Where an org stands with its recovery point objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RpoVerdict {
    /// The newest good copy is recent enough, and the next will be in time.
    Met,
    /// The deadline is nearer than a run takes.
    AtRisk,
    /// The newest good copy is too old.
    Breached,
    /// Nothing to go by: there is no good copy yet, and it is not too late for one.
    Unknown,
}

/// The verdict on the recovery point objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rpo {
    /// The verdict.
    pub verdict: RpoVerdict,
    /// When the newest good copy becomes too old.
    pub deadline: Timestamp,
    /// When the verdict changes if nothing happens; none = it stays.
    pub changes_at: Option<Timestamp>,
}

/// Judges the newest good copy. An org without one had nothing to lose until `placed_at`: from then on it has as long as
/// its objective, and no verdict is better than one without data.
pub fn rpo(ledger: &LedgerState, objective: SignedDuration, placed_at: Timestamp, now: Timestamp) -> Rpo {
    let newest = ledger.newest_good().and_then(|(_, run)| run.manifest());
    let point = newest.map_or(placed_at, |manifest| manifest.consistency_point);
    let deadline = point.checked_add(objective).unwrap_or(Timestamp::MAX);
    let at_risk = deadline.checked_sub(run_time(ledger)).unwrap_or(deadline);
    let (verdict, changes_at) = if now >= deadline {
        (RpoVerdict::Breached, None)
    } else if newest.is_none() {
        (RpoVerdict::Unknown, Some(deadline))
    } else if now >= at_risk {
        (RpoVerdict::AtRisk, Some(deadline))
    } else {
        (RpoVerdict::Met, Some(at_risk))
    };
    Rpo {
        verdict,
        deadline,
        changes_at,
    }
}

/// Where an org stands with its recovery time objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtoVerdict {
    /// A restore is estimated to take less than the objective.
    Estimated,
    /// The newest restore took longer, or would by now.
    Breached,
    /// Nothing to go by: nothing was ever restored.
    Unknown,
}

/// The verdict on the recovery time objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rto {
    /// The verdict.
    pub verdict: RtoVerdict,
    /// How long a restore of the newest good run would take.
    pub seconds: Option<u64>,
    /// When the restore ended that the estimate rests on.
    pub at: Option<Timestamp>,
}

/// Judges the newest restore that succeeded: data that has grown since takes longer in proportion, data that has shrunk
/// is taken to need as long as then, since much of a restore is not the copying.
pub fn rto(ledger: &LedgerState, objective: SignedDuration) -> Rto {
    let Some(restore) = ledger.restores.iter().rev().find(|restore| restore.succeeded) else {
        return Rto {
            verdict: RtoVerdict::Unknown,
            seconds: None,
            at: None,
        };
    };
    let newest = ledger.newest_good().and_then(|(_, run)| run.manifest());
    let bytes = newest.map_or(restore.bytes, super::manifest::Manifest::bytes);
    let growth = if restore.bytes == 0 {
        1.0
    } else {
        (bytes as f64 / restore.bytes as f64).max(1.0)
    };
    let seconds = (restore.seconds as f64 * growth).ceil() as u64;
    let within = i64::try_from(seconds).is_ok_and(|seconds| SignedDuration::from_secs(seconds) <= objective);
    let verdict = if within {
        RtoVerdict::Estimated
    } else {
        RtoVerdict::Breached
    };
    Rto {
        verdict,
        seconds: Some(seconds),
        at: Some(restore.at),
    }
}

/// Both verdicts at one moment, and by what they were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// On the recovery point objective.
    pub rpo: Rpo,
    /// On the recovery time objective.
    pub rto: Rto,
    /// What was in force.
    pub objectives: Objectives,
}

/// The verdicts of a past moment. `ledger` is what its entries until then add up to: whatever came later, such as a run that was
/// pruned or accepted, does not count. None where no entry until then says what was in force.
pub fn verdict_at(ledger: &LedgerState, placed_at: Timestamp, at: Timestamp) -> Option<Verdict> {
    let planned = ledger.runs.values().filter(|run| run.planned_at <= at);
    let newest: Option<&Run> = planned.max_by_key(|run| run.planned_at);
    let objectives = newest?.plan.objectives.clone()?;
    let hours = |hours: u32| SignedDuration::from_hours(i64::from(hours));
    Some(Verdict {
        rpo: rpo(ledger, hours(objectives.rpo_hours), placed_at, at),
        rto: rto(ledger, hours(objectives.rto_hours)),
        objectives,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ledger::{Event, testing::Story},
        manifest::RunVerdict,
    };

    const DAY: SignedDuration = SignedDuration::from_hours(24);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }
    fn restored(story: &mut Story, seconds: u64, bytes: u64, succeeded: bool) {
        let run_id = story.state.newest_good().unwrap().0.clone();
        let restore = format!("restore-{}", story.state.next_seq);
        story.tell(
            Event::Restored {
                refused: 0,
                why: None,
                data_is_back: succeeded,
                restore,
                run_id,
                succeeded,
                seconds,
                bytes,
            },
            at("2026-01-02T00:00:00Z"),
        );
    }

    #[test]
    fn the_verdict_follows_the_age_of_the_newest_good_copy() {
        let mut story = Story::new();
        story.good("2026-01-01T00:00:00Z", 3600);
        story.suspicious("2026-01-01T20:00:00Z", 60);
        let deadline = at("2026-01-02T00:00:00Z");
        for (now, verdict, changes_at) in [
            (
                "2026-01-01T22:59:59Z",
                RpoVerdict::Met,
                Some(at("2026-01-01T23:00:00Z")),
            ),
            ("2026-01-01T23:00:00Z", RpoVerdict::AtRisk, Some(deadline)),
            ("2026-01-02T00:00:00Z", RpoVerdict::Breached, None),
        ] {
            let found = rpo(&story.state, DAY, at("2025-01-01T00:00:00Z"), at(now));
            assert_eq!(
                found,
                Rpo {
                    verdict,
                    deadline,
                    changes_at
                },
                "at {now}"
            );
        }
    }

    #[test]
    fn an_org_without_a_copy_is_never_green_and_too_late_from_its_placement_on() {
        let placed = at("2026-01-01T00:00:00Z");
        let deadline = at("2026-01-02T00:00:00Z");
        for (now, verdict, changes_at) in [
            ("2026-01-01T00:00:00Z", RpoVerdict::Unknown, Some(deadline)),
            ("2026-01-01T23:59:59Z", RpoVerdict::Unknown, Some(deadline)),
            ("2026-01-02T00:00:00Z", RpoVerdict::Breached, None),
        ] {
            let found = rpo(&Story::new().state, DAY, placed, at(now));
            let expected = Rpo {
                verdict,
                deadline,
                changes_at,
            };
            assert_eq!(found, expected, "at {now}");
        }
    }

    fn in_force(rpo_hours: u32) -> Objectives {
        Objectives {
            rpo_hours,
            rto_hours: 1,
            schedule: None,
            time_zone: None,
        }
    }

    /// A story told up to each moment; the objectives change in the middle.
    #[test]
    fn the_verdict_of_a_past_moment_is_by_what_was_known_and_in_force_then() {
        use RpoVerdict::{Breached, Met};
        let placed = at("2026-01-01T00:00:00Z");
        let mut story = Story::new();
        let mut told = vec![("2026-01-01T00:00:00Z", story.state.clone())];
        story.promise(in_force(24));
        story.good("2026-01-01T06:00:00Z", 60);
        told.push(("2026-01-01T06:01:00Z", story.state.clone()));
        story.promise(in_force(12));
        story.aborted("2026-01-01T20:00:00Z", 60);
        told.push(("2026-01-01T20:01:00Z", story.state.clone()));
        let newest = story.state.newest_good().unwrap().0.clone();
        restored(&mut story, 7_200, 1_000, true);
        story.tell(
            Event::Pruned {
                run_id: newest,
                why: "aged".into(),
            },
            at("2026-01-03T00:00:00Z"),
        );
        told.push(("2026-01-03T00:00:00Z", story.state.clone()));
        for (moment, verdicts) in [
            // Nothing is planned yet: nobody knows what was in force.
            ("2026-01-01T05:00:00Z", None),
            ("2026-01-01T06:01:00Z", Some((Met, RtoVerdict::Unknown, 24))),
            // By now this is too late; then it was not.
            ("2026-01-01T19:00:00Z", Some((Met, RtoVerdict::Unknown, 24))),
            ("2026-01-01T20:01:00Z", Some((Breached, RtoVerdict::Unknown, 12))),
            // The run has been pruned since: what there was then counted then.
            ("2026-01-02T12:00:00Z", Some((Breached, RtoVerdict::Unknown, 12))),
            ("2026-01-03T00:00:00Z", Some((Breached, RtoVerdict::Breached, 12))),
        ] {
            let until = told.iter().rev().find(|(known, _)| at(known) <= at(moment));
            let state = &until.unwrap().1;
            let found = verdict_at(state, placed, at(moment));
            let found = found.map(|found| (found.rpo.verdict, found.rto.verdict, found.objectives.rpo_hours));
            assert_eq!(found, verdicts, "at {moment}");
        }
    }

    #[test]
    fn the_verdict_of_a_state_that_was_read_from_a_checkpoint_is_the_same() {
        let mut story = Story::new();
        story.promise(in_force(12));
        story.good("2026-01-01T06:00:00Z", 60);
        let text = serde_json::to_string(&story.state).unwrap();
        let read: LedgerState = serde_json::from_str(&text).unwrap();
        let (placed, later) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T07:00:00Z"));
        let found = verdict_at(&read, placed, later);
        assert_eq!(found.as_ref().map(|found| found.objectives.rpo_hours), Some(12));
        assert_eq!(found, verdict_at(&story.state, placed, later));
    }

    #[test]
    fn entries_of_an_earlier_version_do_not_say_what_was_in_force() {
        let mut story = Story::new();
        story.good("2026-01-01T06:00:00Z", 60);
        let later = at("2026-01-01T07:00:00Z");
        assert_eq!(verdict_at(&story.state, later, later), None);
    }

    #[test]
    fn restores_are_scaled_to_what_there_is_now() {
        let mut story = Story::new();
        story.good("2026-01-01T00:00:00Z", 60);
        assert_eq!(rto(&story.state, DAY).verdict, RtoVerdict::Unknown);
        restored(&mut story, 600, 1_000, true);
        restored(&mut story, 9, 1_000, false);
        let found = rto(&story.state, DAY);
        assert_eq!((found.verdict, found.seconds), (RtoVerdict::Estimated, Some(600)));
        story.committed(
            at("2026-01-03T00:00:00Z"),
            60,
            &[("data-db-0", 40)],
            RunVerdict::Good,
        );
        assert_eq!(rto(&story.state, DAY).seconds, Some(2_400));
        assert_eq!(
            rto(&story.state, SignedDuration::from_secs(2_399)).verdict,
            RtoVerdict::Breached
        );
    }
}
