//! A restore is made once by its name.
//!
//! Whoever makes an OrgRestore anew that was deleted, as tools do of what lies in Git, would else take back what the org has
//! written since. A person who wants it again says so by another name.

use super::{
    ledger::{LedgerState, RestoreRecord},
    restore_run::object_of,
};

/// The newest restore of that name that has come to its end, whatever its UID.
pub fn made_before<'a>(ledger: &'a LedgerState, name: &str) -> Option<&'a RestoreRecord> {
    let mut restores = ledger.restores.iter().rev();
    restores.find(|record| object_of(&record.restore).0 == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ledger::{Event, testing::Story},
        restore_run::ledger_name,
    };

    #[test]
    fn a_restore_that_has_ended_is_known_by_its_name_whatever_made_it_anew() {
        let mut story = Story::new();
        let run_id = story.good("2026-01-01T00:00:00Z", 60);
        let ended = |restore: &str, succeeded| Event::Restored {
            restore: restore.to_owned(),
            run_id: run_id.clone(),
            succeeded,
            data_is_back: succeeded,
            seconds: 1,
            bytes: 1,
            refused: 0,
            why: (!succeeded).then(|| "the key is disabled".to_owned()),
        };
        let at = "2026-01-02T00:00:00Z".parse().unwrap();
        story.tell(ended(&ledger_name("acme-back", "u1"), false), at);
        story.tell(ended(&ledger_name("acme-back", "u2"), true), at);
        // As it was written before UIDs were.
        story.tell(ended("older", true), at);
        // One that is on its way is nobody's end.
        story.tell(
            Event::RestorePlanned {
                restore: ledger_name("acme-open", "u3"),
                run_id: run_id.clone(),
            },
            at,
        );
        for (name, found) in [
            ("acme-back", Some((true, "acme-back (u2)"))),
            ("older", Some((true, "older"))),
            ("acme-open", None),
            ("acme", None),
            ("acme-back (u1)", None),
            ("acme-back-2", None),
        ] {
            let record = made_before(&story.state, name);
            let known = record.map(|record| (record.succeeded, &*record.restore));
            assert_eq!(known, found, "{name}");
        }
    }
}
