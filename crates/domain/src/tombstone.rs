//! Until when what is left of a deleted org is held.

use jiff::{SignedDuration, Timestamp};

use super::ids::OrgId;

/// Days from a deletion until the purge, unless the RetentionPolicy says otherwise: what is promised is gone by then.
pub const PURGE_AFTER_DAYS: i32 = 90;
/// Days that are left at least after the deletion was seen: an operator that was away must not make it irrevocable.
const NOTICE_DAYS: i32 = 10;
/// Days that erasing takes: a KMS key waits for 7 at least before it is destroyed, and the rest is to be verified.
const ERASURE_DAYS: i32 = 9;

/// When an org is to be erased. Computed once, when its deletion is first seen, and never again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// By then it has to be gone.
    pub purge_at: Timestamp,
    /// From then on it is being erased.
    pub erasure_starts_at: Timestamp,
}

/// Of an org that was deleted at `deleted_at`, which was seen at `first_seen`.
pub fn deadlines(deleted_at: Timestamp, first_seen: Timestamp, purge_after_days: i32) -> Deadlines {
    let purge_at = later(deleted_at, purge_after_days).max(later(first_seen, NOTICE_DAYS));
    Deadlines {
        purge_at,
        erasure_starts_at: later(purge_at, -ERASURE_DAYS),
    }
}

/// Name of the tombstone: the org's name and the beginning of its id, as in its namespace's.
pub fn name(org: &str, org_id: &OrgId) -> String {
    format!("{org}-{}", &org_id.as_str()[..8])
}

fn later(at: Timestamp, days: i32) -> Timestamp {
    let span = SignedDuration::from_hours(24 * i64::from(days));
    at.checked_add(span).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn p15_a_deleted_org_is_held_for_the_days_of_its_policy_and_never_shorter_than_ten_from_when_it_was_seen()
    {
        for (seen, days, purge_at, erasure) in [
            (
                "2026-01-01T00:00:05Z",
                90,
                "2026-04-01T00:00:00Z",
                "2026-03-23T00:00:00Z",
            ),
            (
                "2026-01-01T00:00:00Z",
                10,
                "2026-01-11T00:00:00Z",
                "2026-01-02T00:00:00Z",
            ),
            // The operator was away: its notice counts from when it saw the deletion.
            (
                "2026-01-05T06:00:00Z",
                10,
                "2026-01-15T06:00:00Z",
                "2026-01-06T06:00:00Z",
            ),
            (
                "2026-06-01T00:00:00Z",
                90,
                "2026-06-11T00:00:00Z",
                "2026-06-02T00:00:00Z",
            ),
        ] {
            let deadlines = deadlines(at("2026-01-01T00:00:00Z"), at(seen), days);
            assert_eq!(deadlines.purge_at, at(purge_at), "{seen} {days}");
            assert_eq!(deadlines.erasure_starts_at, at(erasure), "{seen} {days}");
        }
    }

    #[test]
    fn a_tombstone_is_named_like_its_namespace() {
        let id = "7c9e6679-7425-40de-944b-e07fc1f90ae7".parse().unwrap();
        assert_eq!(name("acme", &id), "acme-7c9e6679");
    }

    proptest! {
        #[test]
        fn p15_erasure_begins_after_the_deletion_was_seen_and_has_nine_days(
            deleted in 0_i64..4_000_000_000, delay in 0_i64..20_000_000, days in 10_i32..=90,
        ) {
            let moment = |second| Timestamp::from_second(second).unwrap();
            let (deleted_at, seen) = (moment(deleted), moment(deleted + delay));
            let found = deadlines(deleted_at, seen, days);
            prop_assert!(found.erasure_starts_at > seen);
            prop_assert!(found.purge_at >= later(deleted_at, days));
            prop_assert!(found.purge_at >= later(seen, NOTICE_DAYS));
            prop_assert_eq!(later(found.erasure_starts_at, ERASURE_DAYS), found.purge_at);
            // Seen in time, it is kept no longer than promised.
            if delay <= i64::from(days - NOTICE_DAYS) * 86_400 {
                prop_assert_eq!(found.purge_at, later(deleted_at, days));
            }
        }
    }
}
