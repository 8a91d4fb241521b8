//! When the next snapshot of an org is due.
//!
//! A run is due at the **earlier** of the next slot of the schedule and the RPO guard: the last moment at which a run,
//! and one more if it fails, still ends before the newest good copy becomes too old. Everything is computed from the
//! ledger, so an operator that comes back after an outage finds exactly one run due, never a pile.

use std::cmp::{max, min};

use jiff::{SignedDuration, Timestamp};

use super::{
    ids::OrgId,
    ledger::{LedgerState, Run},
    slots::Slots,
};

/// A run whose length nobody knows yet is taken to last this long.
const ASSUMED_RUN: SignedDuration = SignedDuration::from_mins(30);
/// Wait after a run that failed; doubles with each further failure.
const FIRST_RETRY: SignedDuration = SignedDuration::from_mins(15);
/// The longest wait after failures.
const LONGEST_RETRY: SignedDuration = SignedDuration::from_hours(6);
/// The first run waits for the workloads, at most this long after the org was placed.
const FIRST_RUN_WAIT: SignedDuration = SignedDuration::from_hours(1);
/// When runs of one org are due by the clock.
#[derive(Clone, Debug)]
pub struct Schedule {
    slots: Slots,
    offset: SignedDuration,
}

impl Schedule {
    /// Runs of `org` start at its own fixed point within `window_minutes` after each slot.
    pub fn new(slots: Slots, window_minutes: u32, org: &OrgId) -> Self {
        Self {
            slots,
            offset: offset(org, window_minutes),
        }
    }

    /// The newest slot whose point for this org is not after `now`.
    fn latest_slot(&self, now: Timestamp) -> Option<Timestamp> {
        self.slots.until(now.checked_sub(self.offset).ok()?)
    }

    /// The first slot whose point for this org is after `now`.
    fn next_slot(&self, now: Timestamp) -> Option<Timestamp> {
        self.slots.after(now.checked_sub(self.offset).ok()?)
    }

    fn due_at(&self, slot: Timestamp) -> Timestamp {
        slot.checked_add(self.offset).unwrap_or(slot)
    }
}

/// The org's own point in the window: the same at every slot, spread evenly over all orgs.
fn offset(org: &OrgId, window_minutes: u32) -> SignedDuration {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(org.as_str().as_bytes());
    let hash = digest
        .iter()
        .take(8)
        .fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
    let window = max(1, u64::from(window_minutes) * 60);
    SignedDuration::from_secs((hash % window).cast_signed())
}

/// What decides when a run is due.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// When the org was placed.
    pub placed_at: Timestamp,
    /// All its workloads are available: the first run need not wait longer.
    pub workloads_available: bool,
    /// The recovery point objective.
    pub rpo: SignedDuration,
    /// The schedule is suspended.
    pub suspended: bool,
}

/// When a run is due, and the slot it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Now. The slot names the run: two looks at the same facts name the same run.
    Now {
        /// The slot.
        slot: Timestamp,
    },
    /// Then, unless something changes.
    At(Timestamp),
    /// Not by schedule.
    Never,
}

/// When the next run of the org is due. Without a schedule that could be read there are no slots, and everything else
/// goes on: the first run, the RPO guard, another try after a failure.
pub fn due(
    schedule: Option<&Schedule>,
    ledger: &LedgerState,
    circumstances: &Circumstances,
    now: Timestamp,
) -> Due {
    if circumstances.suspended {
        return Due::Never;
    }
    let runs = Runs::of(ledger);
    let candidates = if runs.none() {
        vec![first(circumstances, now)]
    } else {
        let at_its_own_slot = |at: Option<Timestamp>| at.map(|at| (whole_second(at), at));
        vec![
            schedule.and_then(|schedule| by_clock(schedule, ledger, &runs, now)),
            at_its_own_slot(guard(ledger, &runs, circumstances)),
            at_its_own_slot(runs.retry_at()),
        ]
    };
    match candidates.into_iter().flatten().min_by_key(|(_, at)| *at) {
        Some((slot, at)) if at <= now => Due::Now { slot },
        Some((_, at)) => Due::At(at),
        None => Due::Never,
    }
}

/// How long a run of this org takes: the 95th percentile of those that are known.
pub fn run_time(ledger: &LedgerState) -> SignedDuration {
    let mut seconds: Vec<u64> = ledger
        .runs
        .values()
        .filter(|run| run.manifest().is_some())
        .filter_map(Run::seconds)
        .collect();
    if seconds.is_empty() {
        return ASSUMED_RUN;
    }
    seconds.sort_unstable();
    let rank = (seconds.len() * 95).div_ceil(100).saturating_sub(1);
    SignedDuration::from_secs(seconds.get(rank).map_or(0, |found| found.cast_signed()))
}

/// Name of the OrgSnapshot of a slot: `<org>-<compact UTC time>`, the same however often it is computed.
pub fn snapshot_name(org_name: &str, slot: Timestamp) -> String {
    format!("{org_name}-{}", slot.strftime("%Y%m%d%H%M%S"))
}

/// What the ledger says of runs, as far as the schedule cares.
struct Runs {
    /// When the newest attempt was planned.
    newest_planned: Option<Timestamp>,
    /// When the newest attempt ended badly, and how many did so since the newest good one.
    failed: Option<(Timestamp, u32)>,
}

impl Runs {
    fn of(ledger: &LedgerState) -> Self {
        let newest_planned = ledger.newest_planned();
        let newest_good = ledger
            .good_runs()
            .into_iter()
            .map(|(_, run)| run.planned_at)
            .max();
        let since_good = |run: &&Run| newest_good.is_none_or(|good| run.planned_at > good);
        let failures: Vec<Timestamp> = ledger
            .runs
            .values()
            .filter(since_good)
            .filter_map(Run::aborted_at)
            .collect();
        let count = u32::try_from(failures.len()).unwrap_or(u32::MAX);
        Self {
            newest_planned,
            failed: failures.into_iter().max().map(|at| (at, count)),
        }
    }

    fn none(&self) -> bool {
        self.newest_planned.is_none()
    }

    /// When to try again after failures.
    fn retry_at(&self) -> Option<Timestamp> {
        let (at, count) = self.failed?;
        let doubled = FIRST_RETRY.saturating_mul(1 << min(count.saturating_sub(1), 10));
        at.checked_add(min(doubled, LONGEST_RETRY)).ok()
    }
}

/// The first run: as soon as there is something to copy. It and its time of starting.
fn first(circumstances: &Circumstances, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let latest = first_at_latest(circumstances.placed_at)?;
    let at = if circumstances.workloads_available {
        min(now, latest)
    } else {
        latest
    };
    Some((whole_second(circumstances.placed_at), at))
}

/// When an org's first run is due, whatever becomes of its workloads.
pub fn first_at_latest(placed_at: Timestamp) -> Option<Timestamp> {
    placed_at.checked_add(FIRST_RUN_WAIT).ok()
}

/// The last moment at which a run and one retry still end before the newest good copy is too old.
fn guard(ledger: &LedgerState, runs: &Runs, circumstances: &Circumstances) -> Option<Timestamp> {
    let (_, newest) = ledger.newest_good()?;
    let point = newest.manifest()?.consistency_point;
    let two_runs = run_time(ledger).saturating_mul(2).saturating_add(FIRST_RETRY);
    // However long runs take, half of the RPO is left alone: else they would follow each other without end.
    let wait = max(circumstances.rpo.saturating_sub(two_runs), circumstances.rpo / 2);
    let at = point.checked_add(wait).ok()?;
    // Tried since: what failed is tried again by its own rule, and what is Suspicious waits for a person.
    runs.newest_planned
        .is_none_or(|planned| planned < at)
        .then_some(at)
}

/// By the schedule alone: a slot that was missed, else the next. A slot that an attempt followed is done with, whatever
/// came of the attempt; so is one that was attempted for its own sake before the schedule's window became longer.
fn by_clock(
    schedule: &Schedule,
    ledger: &LedgerState,
    runs: &Runs,
    now: Timestamp,
) -> Option<(Timestamp, Timestamp)> {
    let missed = |slot: &Timestamp| {
        let followed = runs
            .newest_planned
            .is_none_or(|planned| planned >= schedule.due_at(*slot));
        let forgotten = ledger.forgotten.slot;
        let slots = ledger.runs.values().map(|run| run.plan.slot).chain([forgotten]);
        let attempted = slots.flatten().any(|attempted| attempted == *slot);
        !followed && !attempted
    };
    let slot = match schedule.latest_slot(now).filter(missed) {
        Some(slot) => slot,
        None => schedule.next_slot(now)?,
    };
    Some((slot, schedule.due_at(slot)))
}

fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::testing::{Story, org};

    const RPO: SignedDuration = SignedDuration::from_hours(24);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }
    fn schedule(text: &str, zone: &str, window: u32) -> Schedule {
        Schedule::new(Slots::parse(text, zone).unwrap(), window, &org())
    }
    fn twice_a_day(window: u32) -> Schedule {
        schedule("0 */12 * * *", "Etc/UTC", window)
    }
    fn circumstances() -> Circumstances {
        Circumstances {
            placed_at: at("2026-01-01T03:00:00.5Z"),
            workloads_available: true,
            rpo: RPO,
            suspended: false,
        }
    }
    fn at_noon(story: &Story, now: &str) -> Due {
        due(Some(&twice_a_day(0)), &story.state, &circumstances(), at(now))
    }

    #[test]
    fn the_first_run_waits_for_workloads_but_not_for_ever() {
        let story = Story::new();
        let slot = at("2026-01-01T03:00:00Z");
        assert_eq!(at_noon(&story, "2026-01-01T03:01:00Z"), Due::Now { slot });
        let waiting = Circumstances {
            workloads_available: false,
            ..circumstances()
        };
        let look = |now: &str| due(Some(&twice_a_day(0)), &story.state, &waiting, at(now));
        assert_eq!(
            look("2026-01-01T03:01:00Z"),
            Due::At(at("2026-01-01T04:00:00.5Z"))
        );
        assert_eq!(look("2026-01-01T04:00:01Z"), Due::Now { slot });
    }

    #[test]
    fn the_next_slot_follows_a_good_run() {
        let mut story = Story::new();
        story.good("2026-01-01T03:00:00Z", 60);
        assert_eq!(
            at_noon(&story, "2026-01-01T03:02:00Z"),
            Due::At(at("2026-01-01T12:00:00Z"))
        );
        assert_eq!(
            at_noon(&story, "2026-01-01T12:00:00Z"),
            Due::Now {
                slot: at("2026-01-01T12:00:00Z")
            }
        );
    }

    #[test]
    fn an_outage_leaves_one_run_due_not_a_pile() {
        let mut story = Story::new();
        story.good("2026-01-01T03:00:00Z", 60);
        assert_eq!(
            at_noon(&story, "2026-01-09T05:00:00Z"),
            Due::Now {
                slot: at("2026-01-02T02:43:00Z")
            }
        );
        story.good("2026-01-09T05:00:01Z", 60);
        assert_eq!(
            at_noon(&story, "2026-01-09T05:02:00Z"),
            Due::At(at("2026-01-09T12:00:00Z"))
        );
    }

    #[test]
    fn a_failure_is_tried_again_later_and_later() {
        let mut story = Story::new();
        story.good("2026-01-01T00:00:10Z", 60);
        story.aborted("2026-01-01T12:00:00Z", 60);
        assert_eq!(
            at_noon(&story, "2026-01-01T12:02:00Z"),
            Due::At(at("2026-01-01T12:16:00Z"))
        );
        story.aborted("2026-01-01T12:16:00Z", 60);
        assert_eq!(
            at_noon(&story, "2026-01-01T12:20:00Z"),
            Due::At(at("2026-01-01T12:47:00Z"))
        );
        story.good("2026-01-01T12:47:00Z", 60);
        assert_eq!(
            at_noon(&story, "2026-01-01T12:49:00Z"),
            Due::At(at("2026-01-02T00:00:00Z"))
        );
    }

    #[test]
    fn the_guard_speaks_before_a_rare_schedule_does() {
        let mut story = Story::new();
        story.good("2026-01-01T03:00:00Z", 3600);
        let weekly = schedule("0 0 * * 0", "Etc/UTC", 0);
        // 24 h − 2 runs of an hour − 15 minutes.
        let guard = at("2026-01-02T00:45:00Z");
        assert_eq!(
            due(
                Some(&weekly),
                &story.state,
                &circumstances(),
                at("2026-01-01T05:00:00Z")
            ),
            Due::At(guard)
        );
        assert_eq!(
            due(Some(&weekly), &story.state, &circumstances(), guard),
            Due::Now { slot: guard }
        );
    }

    #[test]
    fn suspicious_runs_do_not_follow_each_other_without_end() {
        let mut story = Story::new();
        story.good("2026-01-01T03:00:00Z", 60);
        story.suspicious("2026-01-02T02:45:00Z", 60);
        assert_eq!(
            at_noon(&story, "2026-01-02T03:00:00Z"),
            Due::At(at("2026-01-02T12:00:00Z"))
        );
    }

    #[test]
    fn a_suspended_schedule_makes_no_runs() {
        let suspended = Circumstances {
            suspended: true,
            ..circumstances()
        };
        assert_eq!(
            due(
                Some(&twice_a_day(0)),
                &Story::new().state,
                &suspended,
                at("2026-02-01T00:00:00Z")
            ),
            Due::Never
        );
    }

    #[test]
    fn without_a_schedule_the_first_run_the_guard_and_the_retries_go_on() {
        let mut story = Story::new();
        let look = |story: &Story, now: &str| due(None, &story.state, &circumstances(), at(now));
        let slot = at("2026-01-01T03:00:00Z");
        assert_eq!(look(&story, "2026-01-01T03:01:00Z"), Due::Now { slot });
        story.good("2026-01-01T03:00:00Z", 3600);
        // 24 h − 2 runs of an hour − 15 minutes.
        let guard = at("2026-01-02T00:45:00Z");
        assert_eq!(look(&story, "2026-01-01T05:00:00Z"), Due::At(guard));
        assert_eq!(look(&story, "2026-01-02T00:46:00Z"), Due::Now { slot: guard });
        story.aborted("2026-01-02T00:46:00Z", 60);
        assert_eq!(
            look(&story, "2026-01-02T00:50:00Z"),
            Due::At(at("2026-01-02T01:02:00Z"))
        );
        let suspended = Circumstances {
            suspended: true,
            ..circumstances()
        };
        assert_eq!(
            due(None, &story.state, &suspended, at("2026-02-01T00:00:00Z")),
            Due::Never
        );
    }

    #[test]
    fn a_slot_that_was_attempted_is_done_with_when_the_window_becomes_longer() {
        let mut story = Story::new();
        story.at_slot("2026-01-01T12:00:00Z", 60);
        let window = 720;
        let longer = twice_a_day(window);
        let point = longer.due_at(at("2026-01-01T12:00:00Z"));
        assert!(point > at("2026-01-01T12:01:00Z"), "{point}");
        let found = due(
            Some(&longer),
            &story.state,
            &circumstances(),
            point + SignedDuration::from_mins(1),
        );
        assert_eq!(found, Due::At(longer.due_at(at("2026-01-02T00:00:00Z"))));
    }

    #[test]
    fn a_slot_names_its_snapshot() {
        assert_eq!(
            snapshot_name("acme", at("2026-01-01T12:00:00Z")),
            "acme-20260101120000"
        );
    }

    proptest! {
        /// Whatever minute one looks at, running what is due and looking again finds nothing due.
        #[test]
        fn what_is_due_is_due_once(minutes in 1i64..60_000, window in 0u32..720) {
            let mut story = Story::new();
            story.good("2026-01-01T03:00:00Z", 60);
            let schedule = twice_a_day(window);
            let now = at("2026-01-01T03:05:00Z") + SignedDuration::from_mins(minutes);
            if let Due::Now { .. } = due(Some(&schedule), &story.state, &circumstances(), now) {
                story.good(&now.to_string(), 60);
            }
            let then = now + SignedDuration::from_secs(61);
            let again = due(Some(&schedule), &story.state, &circumstances(), then);
            // A slot may fall into those 61 seconds; then it is later than the run.
            let nothing_missed = match again {
                Due::Now { slot } => schedule.due_at(slot) > now,
                Due::At(at) => at > then,
                Due::Never => false,
            };
            prop_assert!(nothing_missed, "{again:?}");
        }

        /// A run is always due before the newest good copy is too old.
        #[test]
        fn the_rpo_is_never_slept_through(hours in 1i64..48, window in 0u32..720) {
            let mut story = Story::new();
            story.good("2026-01-01T03:00:00Z", 60);
            let now = at("2026-01-01T03:02:00Z") + SignedDuration::from_hours(hours);
            let limit = at("2026-01-01T03:00:00Z") + RPO;
            match due(Some(&twice_a_day(window)), &story.state, &circumstances(), now) {
                Due::Now { .. } => {}
                Due::At(at) => prop_assert!(at < limit),
                Due::Never => prop_assert!(false),
            }
        }

        /// However often a schedule is changed, and to whatever: each change makes one run due at most, and the clock
        /// never more than there are slots.
        #[test]
        fn a_change_of_schedule_makes_no_pile(changes in proptest::collection::vec((0_usize..6, 0_usize..5, 0_u32..720, 1_i64..2_000), 1..12)) {
            const TEXTS: [&str; 6] = ["0 */12 * * *", "0 3 * * *", "30 2 * * *", "0 0 1 * *", "0 0 * * SUN", "0 0 29 2 *"];
            const ZONES: [&str; 5] = ["Etc/UTC", "Australia/Lord_Howe", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Africa/Cairo"];
            let mut story = Story::new();
            story.good("2026-01-01T03:00:00Z", 60);
            // Only the clock makes runs due.
            let patient = Circumstances { rpo: SignedDuration::from_hours(24 * 365), ..circumstances() };
            let mut now = at("2026-01-01T03:05:00Z");
            for (text, zone, window, minutes) in changes {
                now += SignedDuration::from_mins(minutes);
                let changed = schedule(TEXTS[text], ZONES[zone], window);
                let mut runs = 0;
                while let Due::Now { slot } = due(Some(&changed), &story.state, &patient, now) {
                    prop_assert!(changed.due_at(slot) <= now);
                    story.good(&now.to_string(), 60);
                    runs += 1;
                    prop_assert!(runs <= 1, "{slot} at {now}");
                }
            }
        }
    }
}
