//! How a checkpoint holds runs: what a restore, retention and the verdicts need of them, and nothing twice. All the rest of a
//! manifest stands in its `RunCommitted`.
//!
//! What an earlier version wrote is read as well: it has more fields, and the same names.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Run, RunEnd};
use crate::{
    ids::{KmsKeyArn, OrgId, PartId, RunId},
    manifest::{
        self, LeftOut, Manifest, ManifestPart, NotCopied, Objectives, PartRecord, PlannedPart, RunPlan,
        RunVerdict,
    },
    stage::Stage,
};

/// A run as a checkpoint holds it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StoredRun {
    /// Of a committed run it is in its manifest, but for the next two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plan: Option<RunPlan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_copied: Option<NotCopied>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    objectives: Option<Objectives>,
    planned_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<StoredEnd>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pruned: Option<(Timestamp, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    marked_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    collected_at: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "end", rename_all_fields = "camelCase")]
enum StoredEnd {
    Committed {
        manifest: Box<StoredManifest>,
        at: Timestamp,
        manifest_digest: String,
        accepted: bool,
    },
    Aborted {
        why: String,
        at: Timestamp,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredManifest {
    org_id: OrgId,
    run_id: RunId,
    #[serde(default)]
    stage: Stage,
    snapshot_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slot: Option<Timestamp>,
    consistency_point: Timestamp,
    parts: Vec<StoredPart>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    excluded: Vec<PartId>,
    kms_key_arn: KmsKeyArn,
    bucket: String,
    bucket_cloud_region: String,
    verdict: RunVerdict,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    suspicions: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredPart {
    planned: PlannedPart,
    record: StoredRecord,
    /// None = the run's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    consistency_point: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repository_snapshot: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    files: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    objects: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    bytes: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    bytes_read: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    bytes_added: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    content_digest: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<LeftOut>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What the state keeps of a manifest: the same whether it was read from `RunCommitted` or from a checkpoint.
pub(super) fn kept(manifest: &Manifest) -> Manifest {
    Manifest::from(StoredManifest::from(manifest))
}

impl From<Run> for StoredRun {
    fn from(run: Run) -> Self {
        let end = run.end.map(|end| match end {
            RunEnd::Committed {
                manifest,
                at,
                manifest_digest,
                accepted,
            } => StoredEnd::Committed {
                manifest: Box::new(StoredManifest::from(&*manifest)),
                at,
                manifest_digest,
                accepted,
            },
            RunEnd::Aborted { why, at } => StoredEnd::Aborted { why, at },
        });
        let (plan, not_copied, objectives) = match end {
            Some(StoredEnd::Committed { .. }) => (None, run.plan.not_copied, run.plan.objectives),
            _ => (Some(run.plan), None, None),
        };
        Self {
            plan,
            not_copied,
            objectives,
            planned_at: run.planned_at,
            end,
            pruned: run.pruned,
            marked_at: run.marked_at,
            collected_at: run.collected_at,
        }
    }
}

impl TryFrom<StoredRun> for Run {
    type Error = &'static str;

    fn try_from(stored: StoredRun) -> Result<Self, Self::Error> {
        let end = stored.end.map(|end| match end {
            StoredEnd::Committed {
                manifest,
                at,
                manifest_digest,
                accepted,
            } => RunEnd::Committed {
                manifest: Box::new(Manifest::from(*manifest)),
                at,
                manifest_digest,
                accepted,
            },
            StoredEnd::Aborted { why, at } => RunEnd::Aborted { why, at },
        });
        let plan = match (&end, stored.plan) {
            (Some(RunEnd::Committed { manifest, .. }), _) => RunPlan {
                not_copied: stored.not_copied,
                objectives: stored.objectives,
                ..plan_of(manifest)
            },
            (_, Some(plan)) => plan,
            (_, None) => return Err("a run that was not committed has no plan"),
        };
        Ok(Self {
            plan,
            planned_at: stored.planned_at,
            end,
            pruned: stored.pruned,
            marked_at: stored.marked_at,
            collected_at: stored.collected_at,
        })
    }
}

/// The plan that a manifest is the result of, as far as that says so.
fn plan_of(manifest: &Manifest) -> RunPlan {
    RunPlan {
        run_id: manifest.run_id.clone(),
        snapshot_name: manifest.snapshot_name.clone(),
        slot: manifest.slot,
        parts: manifest.parts.iter().map(|part| part.planned.clone()).collect(),
        excluded: manifest.excluded.clone(),
        not_copied: None,
        objectives: None,
    }
}

impl From<&Manifest> for StoredManifest {
    fn from(manifest: &Manifest) -> Self {
        let part = |part: &ManifestPart| StoredPart {
            planned: part.planned.clone(),
            record: StoredRecord::from(&part.record),
            consistency_point: Some(part.consistency_point)
                .filter(|point| *point != manifest.consistency_point),
        };
        Self {
            org_id: manifest.org_id.clone(),
            run_id: manifest.run_id.clone(),
            stage: manifest.stage,
            snapshot_name: manifest.snapshot_name.clone(),
            slot: manifest.slot,
            consistency_point: manifest.consistency_point,
            parts: manifest.parts.iter().map(part).collect(),
            excluded: manifest.excluded.clone(),
            kms_key_arn: manifest.kms_key_arn.clone(),
            bucket: manifest.bucket.clone(),
            bucket_cloud_region: manifest.bucket_cloud_region.clone(),
            verdict: manifest.verdict,
            suspicions: manifest.suspicions.clone(),
        }
    }
}

impl From<StoredManifest> for Manifest {
    fn from(stored: StoredManifest) -> Self {
        let (run_id, point) = (stored.run_id, stored.consistency_point);
        let part = |part: StoredPart| {
            let consistency_point = part.consistency_point.unwrap_or(point);
            ManifestPart {
                record: part.record.of(&run_id, &part.planned.part, consistency_point),
                planned: part.planned,
                consistency_point,
                record_key: String::new(),
            }
        };
        let parts = stored.parts.into_iter().map(part).collect();
        Self {
            format_version: manifest::FORMAT_VERSION,
            org_id: stored.org_id,
            cluster_uid: String::new(),
            run_id,
            stage: stored.stage,
            snapshot_name: stored.snapshot_name,
            slot: stored.slot,
            plan_digest: String::new(),
            consistency_point: point,
            parts,
            excluded: stored.excluded,
            kms_key_arn: stored.kms_key_arn,
            wrapped_key_id: String::new(),
            bucket: stored.bucket,
            bucket_cloud_region: stored.bucket_cloud_region,
            verdict: stored.verdict,
            suspicions: stored.suspicions,
            operator_version: String::new(),
            engine_version: String::new(),
        }
    }
}

impl From<&PartRecord> for StoredRecord {
    fn from(record: &PartRecord) -> Self {
        Self {
            repository_snapshot: record.repository_snapshot.clone(),
            files: record.files,
            objects: record.objects,
            bytes: record.bytes,
            bytes_read: record.bytes_read,
            bytes_added: record.bytes_added,
            content_digest: record.content_digest.clone(),
            left_out: record.left_out.clone(),
        }
    }
}

impl StoredRecord {
    fn of(self, run_id: &RunId, part: &PartId, at: Timestamp) -> PartRecord {
        PartRecord {
            format_version: manifest::FORMAT_VERSION,
            run_id: run_id.clone(),
            part: part.clone(),
            repository_snapshot: self.repository_snapshot,
            files: self.files,
            objects: self.objects,
            bytes: self.bytes,
            bytes_read: self.bytes_read,
            bytes_added: self.bytes_added,
            content_digest: self.content_digest,
            started_at: at,
            finished_at: at,
            warnings: Vec::new(),
            left_out: self.left_out,
            // Nothing else is ever committed.
            verified: true,
            engine_version: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ledger::testing::Story, manifest::LeftOutReason, run_plan::not_copied};

    #[test]
    fn a_committed_run_keeps_what_it_was_held_to_and_what_it_does_not_hold() {
        let mut story = Story::new();
        story.promise(Objectives {
            rpo_hours: 12,
            rto_hours: 4,
            schedule: Some("0 */12 * * *".to_owned()),
            time_zone: Some("Etc/UTC".to_owned()),
        });
        let run_id = story.good("2026-01-01T00:00:00Z", 60);
        let run = story.state.runs.get_mut(&run_id).unwrap();
        run.plan.not_copied = not_copied(["made-by-somebody"], &[]);
        let Some(RunEnd::Committed { manifest, .. }) = &mut run.end else {
            panic!("it is committed")
        };
        let record = &mut manifest.parts[0].record;
        LeftOut::note(&mut record.left_out, LeftOutReason::Token, "secrets");
        record.warnings = vec!["secrets/of-somebody is left out".to_owned()];
        **manifest = kept(manifest);
        let text = serde_json::to_string(&*run).unwrap();
        let read: Run = serde_json::from_str(&text).unwrap();
        assert_eq!(read, *run);
        assert!(
            !text.contains("of-somebody") && text.contains("made-by-somebody"),
            "{text}"
        );
    }
}
