//! A mover's last words: JSON in the pod's termination message, which holds 4 KiB.

use std::{io, path::Path};

use crate::domain::mover_task::MoverOutcome;

/// What the kubelet keeps of a termination message.
const LARGEST: usize = 4096;
/// Entries of a list that could fit at the very most: a longer one is cut to this before it is measured.
const MOST: usize = 256;

/// The outcome as JSON that fits. Lists lose their end, which a last line says; a long message loses its end.
pub fn encode(outcome: &MoverOutcome) -> String {
    let mut outcome = outcome.clone();
    let mut dropped = 0;
    if let Some(list) = list(&mut outcome) {
        dropped = list.len().saturating_sub(MOST);
        list.truncate(MOST);
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
        MoverOutcome::RestoredObjects { refused, .. } => Some(refused),
        _ => None,
    }
}

fn shorten(outcome: &mut MoverOutcome) -> bool {
    if let Some(list) = list(outcome) {
        return list.pop().is_some();
    }
    if let MoverOutcome::Failed { message, .. } = outcome {
        let end = message.len().saturating_sub(1 + message.len() / 8);
        message.truncate(message.floor_char_boundary(end));
        return !message.is_empty();
    }
    false
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
    use crate::domain::mover_task::FailureReason;

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
    fn a_long_list_loses_its_end_and_says_so() {
        let outcome = MoverOutcome::RestoredObjects {
            created: 1,
            updated: 0,
            unchanged: 0,
            refused: (0..50_000)
                .map(|n| format!("secrets/s{n}: refused: \"why\""))
                .collect(),
        };
        let text = encode(&outcome);
        assert!(text.len() <= LARGEST);
        let MoverOutcome::RestoredObjects { refused, .. } = serde_json::from_str(&text).unwrap() else {
            unreachable!("it was this outcome")
        };
        assert!(refused.len() > 50);
        let more: usize = 50_000 - (refused.len() - 1);
        assert!(refused.last().unwrap().contains(&format!("and {more} more")));
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
