//! Whether what a volume holds can be believed: volumes that lost their data, and copies that look wrong.

use super::{
    ids::PartId,
    ledger::LedgerState,
    manifest::{Consistency, Manifest, ManifestPart, PartRecord, PlannedPart},
};

/// A claim as the cluster shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentClaim {
    /// Its name.
    pub volume: PartId,
    /// Its UID.
    pub uid: String,
}

/// A volume that once held data and does no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The claim's name.
    pub volume: PartId,
    /// UID of the claim that held the data.
    pub lost_uid: String,
    /// UID of the claim that took its place; none = none did.
    pub present_uid: Option<String>,
}

/// The volumes that held files, by the ledger, and whose claim is gone or another one now.
///
/// While there is one, nothing may be copied or pruned: a copy of the empty volume would bury the last good one.
pub fn losses(ledger: &LedgerState, present: &[PresentClaim]) -> Vec<Loss> {
    let held = ledger.holders.iter().filter(|(_, holder)| holder.held_files);
    held.filter_map(|(volume, holder)| {
        let present_uid = present
            .iter()
            .find(|claim| claim.volume == *volume)
            .map(|claim| claim.uid.clone());
        (present_uid.as_deref() != Some(&holder.claim_uid)).then(|| Loss {
            volume: volume.clone(),
            lost_uid: holder.claim_uid.clone(),
            present_uid,
        })
    })
    .collect()
}

/// Why a copy looks wrong: it is empty or under half of the last good copy, where that one held something, whatever folders
/// either of them is of. Empty = nothing looks wrong. An empty first copy is good.
pub fn suspicions(ledger: &LedgerState, copied: &[(PlannedPart, PartRecord)]) -> Vec<String> {
    let judge = |(planned, record): &(PlannedPart, PartRecord)| {
        let last = last_comparable(ledger, planned)?;
        suspicion(&planned.part, record, &last.record)
    };
    copied.iter().filter_map(judge).collect()
}

/// The newest good copy of the part. Other folders are no excuse: who changes them by mistake would bury what there was. One
/// taken at rest is of the whole volume, whatever folders are named: it is asked only where there is no other one, so that
/// an org that was suspended goes on as before.
fn last_comparable<'a>(ledger: &'a LedgerState, planned: &PlannedPart) -> Option<&'a ManifestPart> {
    let runs = ledger.good_runs();
    let copies = runs.into_iter().filter_map(|(_, run)| {
        let mut parts = run.manifest()?.parts.iter();
        parts.find(|part| part.planned.part == planned.part)
    });
    let copies: Vec<&ManifestPart> = copies.collect();
    let comparable = |copy: &&&ManifestPart| {
        copy.planned.consistency != Consistency::AtRest
            || copy.planned.source.paths() == planned.source.paths()
    };
    copies.iter().find(comparable).or(copies.first()).copied()
}

fn suspicion(part: &PartId, now: &PartRecord, last: &PartRecord) -> Option<String> {
    let measures = [
        ("files", now.files, last.files),
        ("bytes", now.bytes, last.bytes),
        ("objects", now.objects, last.objects),
    ];
    let (what, now, last) = measures
        .into_iter()
        .find(|(_, now, last)| now.saturating_mul(2) < *last)?;
    Some(format!(
        "{}{now} {what}, its last good copy held {last}",
        beginning(part)
    ))
}

/// How a suspicion of a part begins. It stands so in the manifests of all ledgers, and never changes: [`suspects`] reads it.
fn beginning(part: &PartId) -> String {
    format!("part {part} holds ")
}

/// Whether the part is one that looked wrong when the run was committed, as its message says.
pub fn suspects(manifest: &Manifest, part: &PartId) -> bool {
    let beginning = beginning(part);
    manifest
        .suspicions
        .iter()
        .any(|said| said.starts_with(&beginning))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ledger::{
            Event, FilledClaim,
            testing::{Story, record},
        },
        manifest::{Consistency, PartSource},
    };

    fn story(files: u64) -> Story {
        let mut story = Story::new();
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        story.committed(at, 60, &[("data-db-0", files)], crate::manifest::RunVerdict::Good);
        story
    }
    fn claim(uid: &str) -> Vec<PresentClaim> {
        vec![PresentClaim {
            volume: "data-db-0".parse().unwrap(),
            uid: uid.into(),
        }]
    }

    #[test]
    fn a_volume_that_held_files_is_lost_when_its_claim_is_another() {
        let story = story(5);
        assert_eq!(losses(&story.state, &claim("uid-data-db-0")), []);
        assert_eq!(
            losses(&story.state, &claim("other"))[0].present_uid.as_deref(),
            Some("other")
        );
        assert_eq!(losses(&story.state, &[])[0].lost_uid, "uid-data-db-0");
    }

    #[test]
    fn a_volume_that_never_held_files_cannot_be_lost() {
        assert_eq!(losses(&story(0).state, &[]), []);
    }

    #[test]
    fn a_restore_or_a_person_ends_the_loss() {
        let volume: PartId = "data-db-0".parse().unwrap();
        let mut restored = story(5);
        let run_id = restored.state.newest_good().unwrap().0.clone();
        let claims = vec![FilledClaim {
            volume: volume.clone(),
            claim_uid: "fresh".into(),
        }];
        let at = "2026-01-02T00:00:00Z".parse().unwrap();
        restored.tell(
            Event::Filled {
                restore: "r".into(),
                run_id,
                claims,
            },
            at,
        );
        assert_eq!(losses(&restored.state, &claim("fresh")), []);
        assert_eq!(losses(&restored.state, &claim("next")).len(), 1);
        let mut accepted = story(5);
        accepted.tell(
            Event::LossAccepted {
                volume,
                claim_uid: "other".into(),
            },
            at,
        );
        assert_eq!(losses(&accepted.state, &claim("other")), []);
    }

    /// A part as it is planned and as it was recorded.
    fn copy(files: u64, paths: &[&str]) -> Vec<(PlannedPart, PartRecord)> {
        let part: PartId = "data-db-0".parse().unwrap();
        let source = PartSource::Volume {
            claim_uid: "uid".into(),
            workload: "db".into(),
            paths: paths.iter().map(|&path| path.to_owned()).collect(),
        };
        let run = crate::ids::RunId::of("2026-01-03T00:00:00Z".parse().unwrap(), "uid");
        let record = record(&run, &part, files, "2026-01-03T00:00:00Z".parse().unwrap());
        vec![(
            PlannedPart {
                part,
                source,
                consistency: Consistency::Live,
            },
            record,
        )]
    }

    #[test]
    fn a_copy_under_half_of_the_last_is_suspicious() {
        for (last, now, suspicious) in [
            (10, 5, false),
            (10, 4, true),
            (10, 0, true),
            (0, 0, false),
            (1, 0, true),
        ] {
            let found = suspicions(&story(last).state, &copy(now, &[]));
            assert_eq!(!found.is_empty(), suspicious, "{last} then {now}: {found:?}");
        }
        assert!(suspicions(&Story::new().state, &copy(0, &[])).is_empty());
    }

    #[test]
    fn a_manifest_tells_which_parts_looked_wrong() {
        let mut story = story(10);
        let run_id = story.suspicious("2026-01-02T00:00:00Z", 60);
        let mut manifest = story.state.runs[&run_id].manifest().unwrap().clone();
        assert_eq!(
            manifest.suspicions,
            ["part data-db-0 holds 0 files, its last good copy held 10"]
        );
        let suspected = |manifest: &Manifest| {
            let parts = ["objects", "data-db-0", "data-db", "data-db-01"];
            parts.map(|part| suspects(manifest, &part.parse().unwrap()))
        };
        assert_eq!(suspected(&manifest), [false, true, false, false]);
        // In whatever words: what names no part speaks of none.
        manifest.suspicions = vec!["data-db-0 looks odd".to_owned()];
        assert_eq!(suspected(&manifest), [false; 4]);
    }

    #[test]
    fn another_folder_is_no_excuse_for_an_empty_or_much_smaller_copy() {
        for (files, suspicious) in [(0, true), (1, true), (5, false)] {
            let found = suspicions(&story(10).state, &copy(files, &["backup"]));
            assert_eq!(!found.is_empty(), suspicious, "{files}: {found:?}");
        }
    }

    #[test]
    fn a_copy_at_rest_does_not_make_the_next_one_of_a_folder_look_wrong() {
        let mut story = Story::new();
        let copied = |story: &mut Story, day: &str, files, consistency, paths: &[&str]| {
            let at = day.parse().unwrap();
            let paths: Vec<String> = paths.iter().map(|&path| path.to_owned()).collect();
            story.copied(
                at,
                &[("data-db-0", files, consistency, &paths)],
                crate::manifest::RunVerdict::Good,
            )
        };
        // Suspended: the whole volume was copied. Running again: the folder that the hook fills.
        copied(
            &mut story,
            "2026-01-01T00:00:00Z",
            10,
            Consistency::Hooks,
            &["backup"],
        );
        copied(&mut story, "2026-01-02T00:00:00Z", 90, Consistency::AtRest, &[]);
        assert!(suspicions(&story.state, &copy(10, &["backup"])).is_empty());
        assert!(!suspicions(&story.state, &copy(4, &["backup"])).is_empty());
        // There is nothing but a copy at rest: it is what there is to compare with.
        let mut at_rest = Story::new();
        copied(&mut at_rest, "2026-01-02T00:00:00Z", 90, Consistency::AtRest, &[]);
        assert!(!suspicions(&at_rest.state, &copy(10, &["backup"])).is_empty());
    }
}
