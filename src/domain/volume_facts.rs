//! Whether what a volume holds can be believed: volumes that lost their data, and copies that look wrong.

use super::{
    ids::PartId,
    ledger::LedgerState,
    manifest::{ManifestPart, PartRecord, PartSource, PlannedPart},
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

/// Why a copy looks wrong: it is empty or under half of the last good copy of the same folders, where that one held
/// something. Empty = nothing looks wrong. An empty first copy is good.
pub fn suspicions(ledger: &LedgerState, copied: &[(PlannedPart, PartRecord)]) -> Vec<String> {
    let judge = |(planned, record): &(PlannedPart, PartRecord)| {
        let last = last_comparable(ledger, planned)?;
        suspicion(&planned.part, record, &last.record)
    };
    copied.iter().filter_map(judge).collect()
}

/// The newest good copy of the same folders: a copy of the whole volume says nothing of one of its folders.
fn last_comparable<'a>(ledger: &'a LedgerState, planned: &PlannedPart) -> Option<&'a ManifestPart> {
    let comparable = |part: &&ManifestPart| {
        part.planned.part == planned.part && paths(&part.planned.source) == paths(&planned.source)
    };
    let runs = ledger.good_runs();
    runs.into_iter()
        .find_map(|(_, run)| run.manifest()?.parts.iter().find(comparable))
}

fn paths(source: &PartSource) -> &[String] {
    match source {
        PartSource::Objects {} => &[],
        PartSource::Volume { paths, .. } => paths,
    }
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
        "part {part} holds {now} {what}, its last good copy held {last}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        ledger::{
            Event, FilledClaim,
            testing::{Story, record},
        },
        manifest::Consistency,
    };

    fn story(files: u64) -> Story {
        let mut story = Story::new();
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        story.committed(
            at,
            60,
            &[("data-db-0", files)],
            crate::domain::manifest::Verdict::Good,
        );
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

    fn copy(files: u64, paths: &[&str]) -> Vec<(PlannedPart, PartRecord)> {
        let part: PartId = "data-db-0".parse().unwrap();
        let source = PartSource::Volume {
            claim_uid: "uid".into(),
            workload: "db".into(),
            paths: paths.iter().map(|&path| path.to_owned()).collect(),
        };
        let run = crate::domain::ids::RunId::of("2026-01-03T00:00:00Z".parse().unwrap(), "uid");
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
    fn a_folder_is_not_compared_with_the_whole_volume() {
        assert!(suspicions(&story(10).state, &copy(1, &["backup"])).is_empty());
    }
}
