//! Why a run ended without a result: what the ledger has of it, and what people are told.
//!
//! An entry stays for ever and is read by people of others, so it holds a code, and the part that it is of. The sentence, which may
//! name pods and commands of the org, stands in the status of the OrgSnapshot.

use super::{
    ids::PartId, mover_task::FailureReason, restore_run::MoverFailure, run_plan::IncompleteRun,
    snapshot_run::RunFault,
};

/// Code of a `pre` hook that failed.
const HOOK_FAILED: &str = "HookFailed";
/// Code of a run that is not complete though its movers ended well.
const INCOMPLETE: &str = "Incomplete";

/// Why a run ended without a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFailure {
    code: String,
    part: Option<PartId>,
    message: String,
}

impl RunFailure {
    /// A `pre` hook failed, as `message` says.
    pub fn of_hook(message: String) -> Self {
        Self {
            code: HOOK_FAILED.to_owned(),
            part: None,
            message,
        }
    }

    /// The mover of a part failed.
    pub fn of_mover(part: &PartId, why: &MoverFailure) -> Self {
        Self {
            code: why.code.clone(),
            part: Some(part.clone()),
            message: format!("part {part}: {why}"),
        }
    }

    /// What the ledger has of it: the code, and the part where it is of one.
    pub fn recorded(&self) -> String {
        match &self.part {
            Some(part) => format!("{} {part}", self.code),
            None => self.code.clone(),
        }
    }

    /// All of it, in words of our own.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<RunFault> for RunFailure {
    fn from(fault: RunFault) -> Self {
        let message = fault.to_string();
        let (code, part) = match fault {
            RunFault::VolumeLost(volume) => ("VolumeLost", Some(volume)),
            RunFault::RestoreAskedFor(_) => ("RestoreAskedFor", None),
            RunFault::TookTooLong => ("TookTooLong", None),
            RunFault::ClaimReplaced(volume) => ("ClaimReplaced", Some(volume)),
            RunFault::MountedAtRest { volume, .. } => ("MountedAtRest", Some(volume)),
            RunFault::NotAskedFor(_) => ("NotAskedFor", None),
        };
        Self {
            code: code.to_owned(),
            part,
            message,
        }
    }
}

impl From<IncompleteRun> for RunFailure {
    fn from(incomplete: IncompleteRun) -> Self {
        let message = incomplete.to_string();
        let part = match incomplete {
            IncompleteRun::Missing(part)
            | IncompleteRun::Unverified(part)
            | IncompleteRun::Unrecorded(part) => Some(part),
            IncompleteRun::Plan(_) => None,
        };
        Self {
            code: INCOMPLETE.to_owned(),
            part,
            message,
        }
    }
}

/// What is told of a failure by what the ledger has of it alone. An earlier version wrote whole sentences.
pub fn told(recorded: &str) -> String {
    let (code, part) = match recorded.split_once(' ') {
        Some((code, part)) => (code, part.parse::<PartId>().ok()),
        None => (recorded, None),
    };
    let is_code = code.starts_with(char::is_uppercase) && code.chars().all(char::is_alphanumeric);
    if !is_code || (part.is_none() && code != recorded) {
        return recorded.to_owned();
    }
    let of = part.map_or_else(String::new, |part| format!("part {part}: "));
    match words(code) {
        Some(words) => format!("{of}{code}: {words}"),
        None => format!("{of}{code}"),
    }
}

fn words(code: &str) -> Option<&'static str> {
    Some(match code {
        HOOK_FAILED => "a pre hook failed",
        INCOMPLETE => "what its movers left in the bucket is not complete",
        "VolumeLost" => "the volume lost its data while the run was open",
        "RestoreAskedFor" => "a restore of the org was asked for",
        "TookTooLong" => "it took too long",
        "ClaimReplaced" => "the claim was replaced while the run was open",
        "MountedAtRest" => "a pod mounted the volume while it was copied as being at rest",
        "NotAskedFor" => "its OrgSnapshot was deleted while the run was open, or cannot be read any more",
        code => return of_mover(code),
    })
}

fn of_mover(code: &str) -> Option<&'static str> {
    let reason: FailureReason = serde_json::from_value(code.into()).ok()?;
    Some(reason.told())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part() -> PartId {
        "data-db-0".parse().unwrap()
    }

    #[test]
    fn the_ledger_has_a_code_and_the_part_and_no_word_more() {
        let mover = MoverFailure {
            code: "SourceUnreadable".to_owned(),
            words: "a file or folder of the volume cannot be read".to_owned(),
        };
        let mounted = RunFault::MountedAtRest {
            pod: "db-0".to_owned(),
            volume: part(),
        };
        for (failure, recorded, said) in [
            (
                RunFailure::of_hook("hook pg_dump failed: exit code 3".to_owned()),
                "HookFailed",
                "exit code 3",
            ),
            (
                RunFailure::of_mover(&part(), &mover),
                "SourceUnreadable data-db-0",
                "part data-db-0: SourceUnreadable: a file",
            ),
            (mounted.into(), "MountedAtRest data-db-0", "pod db-0"),
            (
                RunFault::RestoreAskedFor("back".to_owned()).into(),
                "RestoreAskedFor",
                "OrgRestore back",
            ),
            (
                IncompleteRun::Unrecorded(part()).into(),
                "Incomplete data-db-0",
                "left no verified record",
            ),
        ] {
            assert_eq!(failure.recorded(), recorded);
            assert!(failure.message().contains(said), "{failure:?}");
            // Everybody who reads the ledger alone is told what it means.
            let told = told(recorded);
            let code = recorded.split(' ').next().unwrap();
            assert!(told.contains(&format!("{code}: ")), "{told}");
            assert_eq!(
                told.contains("data-db-0"),
                recorded.contains("data-db-0"),
                "{told}"
            );
        }
    }

    #[test]
    fn every_code_has_its_words_and_a_sentence_of_an_earlier_version_is_as_it_was() {
        for (recorded, expected) in [
            ("TookTooLong", "TookTooLong: it took too long"),
            (
                "ClaimReplaced data-db-0",
                "part data-db-0: ClaimReplaced: the claim was replaced while the run was open",
            ),
            // Of the Job controller.
            ("DeadlineExceeded objects", "part objects: DeadlineExceeded"),
            ("part data-db-0: it ended", "part data-db-0: it ended"),
            ("a mover failed", "a mover failed"),
            ("", ""),
        ] {
            assert_eq!(told(recorded), expected);
        }
    }
}
