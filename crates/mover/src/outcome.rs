//! A mover's last words: JSON in the pod's termination message, which holds 4 KiB.

use std::{io, path::Path};

use tray_domain::mover_task::{LaterObjects, MoverOutcome, RefusedObjects};

/// What the kubelet keeps of a termination message.
const LARGEST: usize = 4096;
/// Entries of a list that could fit at the very most: a longer one is cut to this before it is measured.
const MOST: usize = 256;
/// Names that could fit at the very most, each with its quotes and a comma.
const MOST_NAMES: usize = LARGEST / 4;

/// The outcome as JSON that fits. Lists lose their end, which a last line says; a long message loses its end.
pub fn encode(outcome: &MoverOutcome) -> String {
    let mut outcome = outcome.clone();
    let mut dropped = 0;
    if let Some(list) = list(&mut outcome) {
        dropped = list.len().saturating_sub(MOST);
        list.truncate(MOST);
    }
    if let MoverOutcome::RestoredObjects {
        named, later_named, ..
    } = &mut outcome
    {
        let refused = named.iter_mut().map(|of_one| &mut of_one.names);
        for names in refused.chain(later_named.iter_mut().map(|of_one| &mut of_one.names)) {
            names.truncate(MOST_NAMES);
        }
    }
    loop {
        let text = serde_json::to_string(&with_note(&outcome, dropped)).unwrap_or_default();
        if text.len() <= LARGEST || !shorten(&mut outcome) {
            return text;
        }
        dropped += 1;
    }
}

/// Writes it where the kubelet looks.
pub fn write(path: &Path, outcome: &MoverOutcome) -> io::Result<()> {
    std::fs::write(path, encode(outcome))
}

/// The list that may be long.
fn list(outcome: &mut MoverOutcome) -> Option<&mut Vec<String>> {
    match outcome {
        MoverOutcome::Snapshotted { record } => Some(&mut record.warnings),
        _ => None,
    }
}

fn shorten(outcome: &mut MoverOutcome) -> bool {
    if let Some(list) = list(outcome) {
        return list.pop().is_some();
    }
    if let MoverOutcome::RestoredObjects {
        named, later_named, ..
    } = outcome
    {
        return shorten_later(later_named) || shorten_refused(named);
    }
    if let MoverOutcome::Failed { message, .. } = outcome {
        let end = message.len().saturating_sub(1 + message.len() / 8);
        message.truncate(message.floor_char_boundary(end));
        return !message.is_empty();
    }
    false
}

/// What came after the copy is worth less than what was refused, so it goes first, down to this many names of a kind.
const LEAST_LATER: usize = 8;

/// Takes the last name of the longest list away.
fn shorten_later(later: &mut [LaterObjects]) -> bool {
    let longest = later.iter_mut().max_by_key(|of_one| of_one.names.len());
    longest
        .filter(|of_one| of_one.names.len() > LEAST_LATER)
        .is_some_and(|of_one| of_one.names.pop().is_some())
}

/// Names are worth most: messages go first, then the last name of the longest list. How many were refused is counted beside
/// them.
fn shorten_refused(named: &mut Vec<RefusedObjects>) -> bool {
    let longest = named.iter_mut().max_by_key(|of_one| of_one.message.len());
    if let Some(of_one) = longest.filter(|of_one| !of_one.message.is_empty()) {
        let end = of_one.message.len() / 2;
        of_one.message.truncate(of_one.message.floor_char_boundary(end));
        return true;
    }
    let Some(of_most) = named.iter_mut().max_by_key(|of_one| of_one.names.len()) else {
        return false;
    };
    of_most.names.pop();
    named.retain(|of_one| !of_one.names.is_empty());
    true
}

fn with_note(outcome: &MoverOutcome, dropped: usize) -> MoverOutcome {
    let mut outcome = outcome.clone();
    if let Some(list) = list(&mut outcome)
        && dropped > 0
    {
        list.push(format!("… and {dropped} more, in the mover's log"));
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use tray_domain::mover_task::FailureReason;

    #[test]
    fn what_fits_is_written_as_it_is() {
        let outcome = MoverOutcome::RestoredVolume {
            files: 1,
            bytes: 2,
            seconds: 3,
        };
        let read: MoverOutcome = serde_json::from_str(&encode(&outcome)).unwrap();
        assert_eq!(read, outcome);
    }

    #[test]
    fn refused_objects_are_named_as_far_as_they_fit_and_counted_all() {
        let of = |kind: &str, count: usize| RefusedObjects {
            kind: kind.to_owned(),
            reason: "Invalid".to_owned(),
            message: "field is immutable when `immutable` is set ".repeat(20),
            names: (0..count).map(|n| format!("settings-{n}")).collect(),
        };
        let said = |counts: [usize; 2]| {
            let outcome = MoverOutcome::RestoredObjects {
                created: 1,
                updated: 0,
                unchanged: 0,
                refused: (counts[0] + counts[1]) as u64,
                named: vec![of("configmaps", counts[0]), of("secrets", counts[1])],
                later: Some(0),
                later_named: Vec::new(),
            };
            let text = encode(&outcome);
            assert!(text.len() <= LARGEST);
            match serde_json::from_str(&text).unwrap() {
                MoverOutcome::RestoredObjects { refused, named, .. } => (refused, named),
                other => unreachable!("it was {outcome:?}, not {other:?}"),
            }
        };
        // A message each is cut before a name is left out.
        let (_, named) = said([60, 40]);
        assert_eq!(
            named.iter().map(|of_one| of_one.names.len()).collect::<Vec<_>>(),
            [60, 40]
        );
        assert!(!named[0].message.is_empty());
        let (refused, named) = said([50_000, 3]);
        assert_eq!((refused, named[1].names.len()), (50_003, 3));
        assert!(named[0].names.len() > 200, "{}", named[0].names.len());
    }

    #[test]
    fn what_came_later_is_cut_before_what_was_refused() {
        let names = |what: &str, count: usize| (0..count).map(|n| format!("{what}-{n}")).collect();
        let outcome = MoverOutcome::RestoredObjects {
            created: 0,
            updated: 0,
            unchanged: 0,
            refused: 50,
            named: vec![RefusedObjects {
                kind: "configmaps".to_owned(),
                reason: "Immutable".to_owned(),
                message: "it is immutable".to_owned(),
                names: names("settings", 50),
            }],
            later: Some(10_000),
            later_named: vec![LaterObjects {
                kind: "secrets".to_owned(),
                names: names("later", 10_000),
            }],
        };
        let text = encode(&outcome);
        assert!(text.len() <= LARGEST);
        let MoverOutcome::RestoredObjects {
            named,
            later,
            later_named,
            ..
        } = serde_json::from_str(&text).unwrap()
        else {
            unreachable!("it was this outcome")
        };
        assert_eq!((named[0].names.len(), later), (50, Some(10_000)));
        assert!(!named[0].message.is_empty());
        assert!(later_named[0].names.len() > 100, "{}", later_named[0].names.len());
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        for message in ["é\"\n".repeat(4000), "🙂".repeat(4000)] {
            let outcome = MoverOutcome::Failed {
                reason: FailureReason::SourceUnreadable,
                message: message.clone(),
            };
            let text = encode(&outcome);
            assert!(text.len() <= LARGEST);
            let MoverOutcome::Failed { message: cut, .. } = serde_json::from_str(&text).unwrap() else {
                unreachable!("it was this outcome")
            };
            assert!(cut.len() > 500 && message.starts_with(&cut));
        }
    }
}
