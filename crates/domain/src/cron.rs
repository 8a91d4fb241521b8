//! Cron texts of five fields, as Vixie's cron reads them: the days and the times of day that they name. Nothing here knows
//! a time zone, so nothing is skipped or repeated; [`super::slots`] puts what is found onto the clock of a zone.
//!
//! [`FIELDS`] is the one table that the CRD's rules and this reading are made of.

use jiff::civil::{Date, DateTime};

/// The longest search in steps: of days, or of months that are not named. The rarest day is 29 February on one weekday,
/// which may be 40 years away.
const MOST_STEPS: usize = 4_000;
/// Days of the months of a leap year.
const LONGEST: [u8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// What one of the five fields may hold.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// As people call it.
    pub name: &'static str,
    /// Which of the five.
    pub place: &'static str,
    least: u8,
    greatest: u8,
    /// Names of the numbers from `least` on, in upper case; any case is read.
    names: &'static [&'static str],
    /// The numbers as a regular expression: a leading zero may stand before one digit.
    numbers: &'static str,
    /// The steps, likewise.
    steps: &'static str,
}

/// The five fields.
pub const FIELDS: [Field; 5] = [
    Field {
        name: "minute",
        place: "first",
        least: 0,
        greatest: 59,
        names: &[],
        numbers: "[0-5]?[0-9]",
        steps: "0?[1-9]|[1-5][0-9]",
    },
    Field {
        name: "hour",
        place: "second",
        least: 0,
        greatest: 23,
        names: &[],
        numbers: "[01]?[0-9]|2[0-3]",
        steps: "0?[1-9]|1[0-9]|2[0-3]",
    },
    Field {
        name: "day of month",
        place: "third",
        least: 1,
        greatest: 31,
        names: &[],
        numbers: "0?[1-9]|[12][0-9]|3[01]",
        steps: "0?[1-9]|[12][0-9]|3[01]",
    },
    Field {
        name: "month",
        place: "fourth",
        least: 1,
        greatest: 12,
        names: &[
            "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
        ],
        numbers: "0?[1-9]|1[0-2]",
        steps: "0?[1-9]|1[0-2]",
    },
    Field {
        name: "day of week",
        place: "fifth",
        least: 0,
        greatest: 7,
        names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
        numbers: "0?[0-7]",
        steps: "0?[1-7]",
    },
];

/// A regular expression for five fields of whatever kind.
pub const FIVE_FIELDS: &str = "^[^ ]+( +[^ ]+){4}$";
/// What a text that has not five fields should be.
pub const FIVE_FIELDS_REMEDY: &str = "must be five fields with spaces between them: minute, hour, day of month, month and day of week, such as 0 */12 * * *";
/// What a range that begins above its end should be.
pub const ASCENDING_REMEDY: &str = "a range must begin at or below its end: write 5-7 for Friday to Sunday, and 22-23,0-4 for the hours from 22 to 4";
/// What a text without any slot should be.
pub const NEVER_REMEDY: &str = "no month named by the fourth field has a day named by the third, so that no snapshot would ever be due: name a day that comes, such as 28";

impl Field {
    /// What the field must be, for people.
    pub fn remedy(&self) -> String {
        let names = match self.names {
            [first, .., last] => format!(" ({first} to {last})"),
            _ => String::new(),
        };
        let Self {
            name,
            place,
            least,
            greatest,
            ..
        } = self;
        format!(
            "the {name} ({place} field) must be * or a number from {least} to {greatest}{names}, a range of them such as {least}-{greatest}, one of those with a step from 1 to {greatest} such as */2, or a list of those with commas"
        )
    }

    /// A regular expression (RE2) for the field, which does not look whether ranges begin below their ends.
    pub fn pattern(&self) -> String {
        let value = if self.names.is_empty() {
            format!("({})", self.numbers)
        } else {
            format!("({}|(?i:{}))", self.numbers, self.names.join("|"))
        };
        let item = format!("([*]|{value}(-{value})?)(/({}))?", self.steps);
        format!("{item}(,{item})*")
    }

    /// The names and the number of each.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u8)> {
        self.names.iter().copied().zip(self.least..)
    }

    fn refusal(&self, text: &str) -> InvalidCron {
        InvalidCron::Field {
            text: text.to_owned(),
            remedy: self.remedy(),
        }
    }

    /// The numbers that a text names: bit n is number n.
    fn read(&self, text: &str) -> Result<u64, InvalidCron> {
        let (mut numbers, mut descending) = (0, None);
        for item in text.split(',') {
            let (range, step) = match item.split_once('/') {
                Some((range, step)) => (range, Some(self.step(step).ok_or_else(|| self.refusal(text))?)),
                None => (item, None),
            };
            let (from, to) = match range.split_once('-') {
                _ if range == "*" => Some((self.least, self.greatest)),
                Some((from, to)) => self.value(from).zip(self.value(to)),
                None => self
                    .value(range)
                    .map(|from| (from, if step.is_some() { self.greatest } else { from })),
            }
            .ok_or_else(|| self.refusal(text))?;
            if from > to {
                descending.get_or_insert(range);
            }
            for number in (from..=to).step_by(usize::from(step.unwrap_or(1))) {
                numbers |= 1 << number;
            }
        }
        match descending {
            Some(range) => Err(InvalidCron::Descending {
                range: range.to_owned(),
            }),
            None => Ok(numbers),
        }
    }

    fn value(&self, text: &str) -> Option<u8> {
        let named = self.named().find(|(name, _)| name.eq_ignore_ascii_case(text));
        let number = named.map(|(_, number)| number).or_else(|| number(text))?;
        (self.least..=self.greatest).contains(&number).then_some(number)
    }

    fn step(&self, text: &str) -> Option<u8> {
        number(text).filter(|step| (1..=self.greatest).contains(step))
    }
}

/// A regular expression for a range that begins above its end, of numbers of at most two digits up to 59.
pub fn descending() -> String {
    let by_one = |digit: u8| format!("0?{digit}-0?[0-{}]", digit - 1);
    let by_tens = |tens: u8| format!("{tens}[0-9]-[1-{}][0-9]", tens - 1);
    let within = |tens: u8| {
        let by_units = (1..=9).map(|digit| format!("{digit}-{tens}[0-{}]", digit - 1));
        format!("{tens}({})", by_units.collect::<Vec<_>>().join("|"))
    };
    let to_one_digit = "[1-5][0-9]-0?[0-9]".to_owned();
    let parts = (1..=9)
        .map(by_one)
        .chain([to_one_digit])
        .chain((2..=5).map(by_tens))
        .chain((1..=5).map(within));
    parts.collect::<Vec<_>>().join("|")
}

/// One or two digits.
fn number(text: &str) -> Option<u8> {
    let digits = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Why a text cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCron {
    /// It has not five fields.
    #[error("{FIVE_FIELDS_REMEDY}")]
    NotFiveFields,
    /// A field is none.
    #[error("{text:?}: {remedy}")]
    Field {
        /// The field as given.
        text: String,
        /// What it must be.
        remedy: String,
    },
    /// A range begins above its end.
    #[error("{range:?}: {ASCENDING_REMEDY}")]
    Descending {
        /// As given.
        range: String,
    },
    /// Every field is right, and no day is named.
    #[error("{NEVER_REMEDY}")]
    Never,
}

/// The days and times of day that a text names. Each is a set of numbers: bit n is number n.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// A day has to be named by the third field and by the fifth, rather than by either.
    by_both: bool,
}

impl Cron {
    /// Reads a text. One that names no day there ever is, is refused.
    pub fn parse(text: &str) -> Result<Self, InvalidCron> {
        let fields: Vec<&str> = text.split(' ').filter(|field| !field.is_empty()).collect();
        let &[minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(InvalidCron::NotFiveFields);
        };
        if text.trim() != text {
            return Err(InvalidCron::NotFiveFields);
        }
        let [minutes, hours, days, months, weekdays] = FIELDS;
        let read = [
            minutes.read(minute),
            hours.read(hour),
            days.read(day),
            months.read(month),
            weekdays.read(weekday),
        ];
        // What is no field at all is told first.
        let wrong = read.iter().filter_map(|field| field.as_ref().err());
        let first = wrong.min_by_key(|wrong| matches!(wrong, InvalidCron::Descending { .. }));
        if let Some(wrong) = first {
            return Err(wrong.clone());
        }
        let [minutes, hours, days, months, weekdays] = read.map(Result::unwrap_or_default);
        let cron = Self {
            minutes,
            hours,
            days,
            months,
            // Sunday is 0 and 7.
            weekdays: weekdays | (weekdays >> 7),
            by_both: day.starts_with('*') || weekday.starts_with('*'),
        };
        if cron.has_days() {
            Ok(cron)
        } else {
            Err(InvalidCron::Never)
        }
    }

    /// Whether any day is ever named. By weekday some are in every month, and every day of the calendar comes on every
    /// weekday within 400 years.
    fn has_days(&self) -> bool {
        let first = next(self.days, 1);
        let comes = |(month, longest): (u8, u8)| {
            has(self.months, month) && first.is_some_and(|first| first <= longest)
        };
        !self.by_both || (1..).zip(LONGEST).any(comes)
    }

    fn is_day(&self, date: Date) -> bool {
        let by_date = has(self.days, date.day().unsigned_abs());
        let by_weekday = has(
            self.weekdays,
            date.weekday().to_sunday_zero_offset().unsigned_abs(),
        );
        let named = if self.by_both {
            by_date && by_weekday
        } else {
            by_date || by_weekday
        };
        named && self.is_month(date)
    }

    fn is_month(&self, date: Date) -> bool {
        has(self.months, date.month().unsigned_abs())
    }

    /// The first minute that is named after `moment`.
    pub fn after(&self, moment: DateTime) -> Option<DateTime> {
        let (hour, minute) = (moment.hour().unsigned_abs(), moment.minute().unsigned_abs());
        let today = Some(moment.date()).filter(|today| self.is_day(*today));
        if let Some((date, (hour, minute))) = today.zip(self.time_from(hour, minute + 1)) {
            return Some(at(date, hour, minute));
        }
        let date = self.day_from(moment.date().tomorrow().ok()?)?;
        let (hour, minute) = self.time_from(0, 0)?;
        Some(at(date, hour, minute))
    }

    /// The last minute that is named and not after `moment`.
    pub fn until(&self, moment: DateTime) -> Option<DateTime> {
        let (hour, minute) = (moment.hour().unsigned_abs(), moment.minute().unsigned_abs());
        let today = Some(moment.date()).filter(|today| self.is_day(*today));
        if let Some((date, (hour, minute))) = today.zip(self.time_until(hour, minute)) {
            return Some(at(date, hour, minute));
        }
        let date = self.day_until(moment.date().yesterday().ok()?)?;
        let (hour, minute) = self.time_until(23, 59)?;
        Some(at(date, hour, minute))
    }

    /// The first day from `date` on, in a bounded number of steps.
    fn day_from(&self, mut date: Date) -> Option<Date> {
        for _ in 0..MOST_STEPS {
            if self.is_day(date) {
                return Some(date);
            }
            let last_skipped = if self.is_month(date) {
                date
            } else {
                date.last_of_month()
            };
            date = last_skipped.tomorrow().ok()?;
        }
        None
    }

    /// The last day up to `date`, likewise.
    fn day_until(&self, mut date: Date) -> Option<Date> {
        for _ in 0..MOST_STEPS {
            if self.is_day(date) {
                return Some(date);
            }
            let last_skipped = if self.is_month(date) {
                date
            } else {
                date.first_of_month()
            };
            date = last_skipped.yesterday().ok()?;
        }
        None
    }

    /// The first time of day, hour and minute, that is not before this one.
    fn time_from(&self, hour: u8, minute: u8) -> Option<(u8, u8)> {
        if has(self.hours, hour)
            && let Some(minute) = next(self.minutes, minute)
        {
            return Some((hour, minute));
        }
        next(self.hours, hour + 1).zip(next(self.minutes, 0))
    }

    /// The last time of day that is not after this one.
    fn time_until(&self, hour: u8, minute: u8) -> Option<(u8, u8)> {
        if has(self.hours, hour)
            && let Some(minute) = last(self.minutes, minute)
        {
            return Some((hour, minute));
        }
        last(self.hours, hour.checked_sub(1)?).zip(last(self.minutes, 59))
    }
}

fn at(date: Date, hour: u8, minute: u8) -> DateTime {
    date.at(hour.cast_signed(), minute.cast_signed(), 0, 0)
}

fn has(set: u64, number: u8) -> bool {
    (set >> number) & 1 == 1
}

/// The least number of a set that is not below `from`.
fn next(set: u64, from: u8) -> Option<u8> {
    let above = (set >> from) << from;
    (above != 0).then(|| above.trailing_zeros() as u8)
}

/// The greatest number of a set that is not above `until`.
fn last(set: u64, until: u8) -> Option<u8> {
    let below = set & (u64::MAX >> (63 - until));
    below.checked_ilog2().map(|number| number as u8)
}

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, civil::date, tz::TimeZone};
    use proptest::prelude::*;
    use regex::Regex;

    use super::{
        testing::{plain_texts, texts},
        *,
    };

    fn cron(text: &str) -> Cron {
        Cron::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
    }
    fn refused(text: &str) -> String {
        match Cron::parse(text) {
            Ok(cron) => panic!("{text:?} is read as {cron:?}"),
            Err(error) => error.to_string(),
        }
    }
    /// Whether the patterns of the CRD, which do not compare numbers, take a text.
    fn fits(text: &str) -> bool {
        let matches = |pattern: &str| Regex::new(&format!("^({pattern})$")).unwrap();
        let five = Regex::new(FIVE_FIELDS).unwrap().is_match(text);
        let fields = text.split(' ').filter(|field| !field.is_empty());
        five && fields
            .zip(FIELDS)
            .all(|(text, field)| matches(&field.pattern()).is_match(text))
    }

    #[test]
    fn every_form_of_every_field_is_read() {
        for text in [
            "* * * * *",
            "0 */12 * * *",
            "0   3  * *    1-5",
            "00 03 04 04 07",
            "0,15,30-45/5 0-23/2 1,31 JAN,mar-Jun,12 sun,Mon-fri,7",
            "59 23 31 12 7",
            "5/10 1/3 2/7 3/4 2/2",
            "0 0 29 2 *",
            "0 0 31 4 1",
            "0 0 */31 * 1",
        ] {
            cron(text);
            assert!(fits(text), "{text:?} is refused by the CRD");
        }
    }

    #[test]
    fn what_cannot_be_read_names_the_field_and_the_remedy() {
        for (text, says) in [
            (
                "60 * * * *",
                "the minute (first field) must be * or a number from 0 to 59,",
            ),
            (
                "0 25 * * *",
                "the hour (second field) must be * or a number from 0 to 23,",
            ),
            ("H H * * *", "the minute (first field)"),
            (
                "* * 0 * *",
                "the day of month (third field) must be * or a number from 1 to 31,",
            ),
            ("* * 32 * *", "the day of month"),
            ("* * L * *", "the day of month"),
            ("* * 15W * *", "the day of month"),
            ("* * ? * *", "the day of month"),
            (
                "* * * 13 *",
                "the month (fourth field) must be * or a number from 1 to 12 (JAN to DEC),",
            ),
            ("* * * 0 *", "the month"),
            ("* * * MON *", "the month"),
            ("* * * JANUARY *", "the month"),
            (
                "* * * * 8",
                "the day of week (fifth field) must be * or a number from 0 to 7 (SUN to SAT),",
            ),
            ("* * * * JAN", "the day of week"),
            ("* * * * 5L", "the day of week"),
            ("* * * * 5#2", "the day of week"),
            ("*/0 * * * *", "a step from 1 to 59"),
            ("*/60 * * * *", "a step from 1 to 59"),
            ("* */24 * * *", "a step from 1 to 23"),
            ("* * * * */8", "a step from 1 to 7"),
            ("1/ * * * *", "the minute"),
            ("/5 * * * *", "the minute"),
            ("1- * * * *", "the minute"),
            ("-1 * * * *", "the minute"),
            ("1-2-3 * * * *", "the minute"),
            ("*-5 * * * *", "the minute"),
            ("1,,2 * * * *", "the minute"),
            ("1, * * * *", "the minute"),
            ("001 * * * *", "the minute"),
            ("+1 * * * *", "the minute"),
            ("1\t * * * *", "the minute"),
            ("* * * *", "must be five fields"),
            ("* * * * * *", "must be five fields"),
            (" * * * * *", "must be five fields"),
            ("* * * * * ", "must be five fields"),
            ("@daily", "must be five fields"),
            ("", "must be five fields"),
        ] {
            let said = refused(text);
            assert!(said.contains(says), "{text:?}: {said}");
            assert!(!fits(text), "{text:?} is taken by the CRD");
        }
        for text in [
            "5-3 * * * *",
            "0 22-4 * * *",
            "0 0 * * FRI-SUN",
            "0 0 * NOV-FEB *",
            "9,5-3/2 * * * *",
        ] {
            let said = refused(text);
            assert!(
                said.contains("must begin at or below its end"),
                "{text:?}: {said}"
            );
        }
    }

    #[test]
    fn the_pattern_of_ranges_that_run_backwards_compares_numbers() {
        let backwards = Regex::new(&format!("^({})$", descending())).unwrap();
        for (a, b) in (0..60).flat_map(|a| (0..60).map(move |b| (a, b))) {
            for range in [
                format!("{a}-{b}"),
                format!("{a:02}-{b}"),
                format!("{a}-{b:02}"),
                format!("{a:02}-{b:02}"),
            ] {
                assert_eq!(backwards.is_match(&range), a > b, "{range}");
            }
        }
    }

    #[test]
    fn a_schedule_without_any_day_is_refused() {
        for text in [
            "0 0 30 2 *",
            "0 0 31 4,6,9,11 *",
            "0 0 30,31 FEB *",
            "0 0 31 2-4/2 */2",
        ] {
            assert_eq!(refused(text), NEVER_REMEDY, "{text:?}");
        }
        for text in [
            "0 0 29 2 *",
            "0 0 30 2 MON",
            "0 0 31 2/2 *",
            "0 0 */30 2 *",
            "0 0 28-31 2 */7",
        ] {
            cron(text);
        }
    }

    #[test]
    fn a_day_is_named_by_both_fields_where_one_begins_with_an_asterisk_else_by_either() {
        // 1 June 2026 is a Monday.
        let days = |text: &str| -> Vec<i8> {
            let cron = cron(text);
            (1..=14).filter(|day| cron.is_day(date(2026, 6, *day))).collect()
        };
        assert_eq!(days("0 0 * * MON"), [1, 8]);
        assert_eq!(days("0 0 3 * MON"), [1, 3, 8]);
        assert_eq!(days("0 0 1-31 * MON"), (1..=14).collect::<Vec<_>>());
        assert_eq!(days("0 0 */7 * MON"), [1, 8]);
        assert_eq!(days("0 0 3,10 * */7"), Vec::<i8>::new());
        assert_eq!(days("0 0 */5 * 6-7"), [6]);
        assert_eq!(days("0 0 3 7 MON"), Vec::<i8>::new(), "the month counts, too");
    }

    #[test]
    fn the_rarest_day_is_found_in_both_directions() {
        let mut found = Vec::new();
        for weekday in 0..7 {
            let cron = cron(&format!("0 0 29 2 {weekday},{weekday}"));
            let rare = Cron {
                by_both: true,
                ..cron
            };
            for year in 2000..2400 {
                let moment = date(year, 3, 1).at(0, 0, 0, 0);
                let (next, last) = (rare.after(moment).unwrap(), rare.until(moment).unwrap());
                assert!(last <= moment && moment < next);
                assert_eq!(rare.until(next), Some(next));
                found.push(next.year() - year);
            }
        }
        assert_eq!(found.into_iter().max(), Some(40));
    }

    #[test]
    fn the_calendar_ends() {
        let (new_year, leap_day) = (cron("0 0 1 1 *"), cron("0 0 29 2 *"));
        assert_eq!(new_year.after(DateTime::MAX), None);
        assert_eq!(new_year.until(DateTime::MIN), Some(DateTime::MIN));
        assert_eq!(leap_day.until(DateTime::MIN), None);
    }

    proptest! {
        /// What the CRD takes can be read, unless a range runs backwards or no day ever comes; what can be read the CRD takes.
        #[test]
        fn the_crd_takes_what_can_be_read(text in texts()) {
            match Cron::parse(&text) {
                Ok(_) | Err(InvalidCron::Descending { .. } | InvalidCron::Never) => prop_assert!(fits(&text)),
                Err(InvalidCron::Field { .. } | InvalidCron::NotFiveFields) => prop_assert!(!fits(&text)),
            }
        }

        /// Another reading of cron texts agrees, where there is no zone to disagree about.
        #[test]
        fn another_reading_finds_the_same(text in plain_texts(), second in 1_700_000_000_i64..2_000_000_000) {
            let now = Timestamp::from_second(second).unwrap();
            let other = cronexpr::parse_crontab(&format!("{text} UTC"));
            match Cron::parse(&text) {
                Ok(cron) => {
                    let found = cron.after(TimeZone::UTC.to_datetime(now)).unwrap();
                    // It looks four years ahead.
                    if let Ok(next) = other.unwrap().find_next(now) {
                        prop_assert_eq!(found, next.datetime());
                    } else {
                        prop_assert!(found.year() - 4 >= TimeZone::UTC.to_datetime(now).year());
                    }
                }
                Err(InvalidCron::Never) => prop_assert!(other.unwrap().find_next(now).is_err()),
                Err(_) => prop_assert!(other.is_err(), "{} is read by another", text),
            }
        }

        /// The last before the next is the one before.
        #[test]
        fn both_directions_agree(text in texts(), minutes in 0_i64..40_000_000) {
            let Ok(cron) = Cron::parse(&text) else { return Ok(()) };
            let moment = date(1990, 1, 1).at(0, 0, 30, 0) + jiff::SignedDuration::from_mins(minutes);
            let next = cron.after(moment).unwrap();
            let before = cron.until(moment).unwrap();
            prop_assert!(before <= moment && moment < next);
            prop_assert_eq!(cron.until(next), Some(next));
            let just_before = next - jiff::SignedDuration::from_mins(1);
            prop_assert_eq!(cron.until(just_before), Some(before));
            prop_assert_eq!(cron.after(before), Some(next));
        }
    }
}

/// Cron texts, most of them right, for tests of every layer.
#[cfg(test)]
pub mod testing {
    use proptest::prelude::*;

    use super::{FIELDS, Field};

    fn value(field: Field) -> impl Strategy<Value = String> {
        let number = prop_oneof![20 => field.least..=field.greatest, 1 => 0_u8..=100];
        (number, 0..10).prop_map(move |(number, form)| {
            let name = field.named().find(|(_, of)| *of == number);
            match (form, name) {
                (0, _) => format!("{number:02}"),
                (1..=4, Some((name, _))) => name.to_owned(),
                (5, Some((name, _))) => name.to_lowercase(),
                _ => number.to_string(),
            }
        })
    }

    fn item(field: Field) -> impl Strategy<Value = String> {
        let range = prop_oneof![
            6 => value(field),
            3 => (value(field), value(field)).prop_map(|(from, to)| format!("{from}-{to}")),
            3 => Just("*".to_owned()),
        ];
        let greatest = field.greatest;
        let step = prop_oneof![
            6 => Just(String::new()),
            3 => (1..=greatest).prop_map(|step| format!("/{step}")),
            1 => (0..=greatest + 1).prop_map(|step| format!("/{step:02}")),
        ];
        (range, step).prop_map(|(range, step)| range + &step)
    }

    fn field(field: Field) -> impl Strategy<Value = String> {
        prop_oneof![
            3 => Just("*".to_owned()),
            5 => item(field),
            2 => proptest::collection::vec(item(field), 1..4).prop_map(|items| items.join(",")),
        ]
    }

    /// Texts of five fields, some of which are out of range.
    pub fn plain_texts() -> impl Strategy<Value = String> {
        let [minute, hour, day, month, weekday] = FIELDS.map(field);
        let fields = (minute, hour, day, month, weekday);
        fields.prop_map(|(a, b, c, d, e)| format!("{a} {b} {c} {d} {e}"))
    }

    /// As those, sometimes with a sign in it that does not belong there.
    pub fn texts() -> impl Strategy<Value = String> {
        let wrong = prop_oneof![
            30 => Just(None),
            10 => (any::<prop::sample::Index>(), "[-0-9A-Z*,/#? ]").prop_map(Some),
        ];
        (plain_texts(), wrong).prop_map(|(mut text, wrong)| {
            if let Some((at, sign)) = wrong {
                text.insert_str(at.index(text.len() + 1), &sign);
            }
            text
        })
    }
}
