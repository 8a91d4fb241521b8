//! A restore is made once by its name.
//!
//! Whoever makes an OrgRestore anew that was deleted, as tools do of what lies in Git, would else take back what the org has
//! written since. A person who wants it again says so by another name.

use super::{
    ledger::{LedgerState, RestoreRecord},
    restore_run::object_of,
};

/// What is known of a restore that was made before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MadeBefore<'a> {
    /// How it ended.
    Known(&'a RestoreRecord),
    /// No more than whether everything came back.
    Forgotten {
        /// It did.
        data_is_back: bool,
    },
}

/// The newest restore of that name that has come to its end, whatever its UID.
pub fn made_before<'a>(ledger: &'a LedgerState, name: &str) -> Option<MadeBefore<'a>> {
    let mut restores = ledger.restores.iter().rev();
    let known = restores.find(|record| object_of(&record.restore).0 == name);
    let mut forgotten = ledger.forgotten.restores.iter();
    let forgotten = forgotten.find(|restore| restore.name == name);
    known
        .map(MadeBefore::Known)
        .or(forgotten.map(|restore| MadeBefore::Forgotten {
            data_is_back: restore.data_is_back,
        }))
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
            let known = made_before(&story.state, name).map(|before| match before {
                MadeBefore::Known(record) => (record.succeeded, &*record.restore),
                MadeBefore::Forgotten { .. } => panic!("{name} is known"),
            });
            assert_eq!(known, found, "{name}");
        }
    }

    #[test]
    fn a_restore_is_made_once_also_after_a_hundred_others() {
        let mut story = Story::new();
        let run_id = story.good("2026-01-01T00:00:00Z", 60);
        let at = "2026-01-02T00:00:00Z".parse().unwrap();
        let mut ended = |name: &str, data_is_back| {
            let event = Event::Restored {
                restore: ledger_name(name, "u"),
                run_id: run_id.clone(),
                succeeded: data_is_back,
                data_is_back,
                seconds: 1,
                bytes: 1,
                refused: 0,
                why: None,
            };
            story.tell(event, at);
        };
        ended("back", true);
        ended("failed", false);
        for number in 0..100 {
            ended(&format!("other-{number}"), true);
        }
        // Also of a state that was read from a checkpoint.
        let text = serde_json::to_string(&story.state).unwrap();
        let state: LedgerState = serde_json::from_str(&text).unwrap();
        for (name, data_is_back) in [("back", true), ("failed", false)] {
            let found = made_before(&state, name);
            assert_eq!(found, Some(MadeBefore::Forgotten { data_is_back }), "{name}");
        }
        assert_eq!(made_before(&state, "never"), None);
    }
}
