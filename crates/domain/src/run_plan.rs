//! What a run is meant to hold, and how the record of a complete run is put together.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    bucket_layout,
    ids::{KmsKeyArn, OrgId, PartId, RunId},
    manifest::{
        Consistency, FORMAT_VERSION, Manifest, ManifestPart, NotCopied, PartRecord, PartSource, PlannedPart,
        RunPlan, RunVerdict,
    },
    names,
    stage::Stage,
};

/// A volume of the org at the time of planning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeFacts {
    /// The claim's name.
    pub claim: PartId,
    /// The claim's UID.
    pub claim_uid: String,
    /// The workload that it belongs to.
    pub workload: String,
    /// `backup.exclude` of the workload.
    pub excluded: bool,
    /// `backup.paths` of the workload.
    pub paths: Vec<String>,
    /// Whether the workload has a `backup.pre` hook.
    pub has_hooks: bool,
    /// Whether a pod has it mounted.
    pub mounted: bool,
}

/// Plans a run over the objects and every volume that is not excluded.
///
/// Where no pod has the volume mounted the hooks cannot run, so a folder that they would have filled is older than
/// the data: the whole volume is copied instead.
pub fn plan(run_id: RunId, snapshot_name: &str, slot: Option<Timestamp>, volumes: &[VolumeFacts]) -> RunPlan {
    let mut volumes: Vec<&VolumeFacts> = volumes.iter().collect();
    volumes.sort_by(|a, b| a.claim.cmp(&b.claim));
    let mut parts = vec![PlannedPart {
        part: objects_part(),
        source: PartSource::Objects {},
        consistency: Consistency::Live,
    }];
    parts.extend(volumes.iter().filter(|v| !v.excluded).map(|volume| {
        let consistency = match (volume.mounted, volume.has_hooks) {
            (false, _) => Consistency::AtRest,
            (true, true) => Consistency::Hooks,
            (true, false) => Consistency::Live,
        };
        PlannedPart {
            part: volume.claim.clone(),
            source: PartSource::Volume {
                claim_uid: volume.claim_uid.clone(),
                workload: volume.workload.clone(),
                paths: if volume.mounted {
                    volume.paths.clone()
                } else {
                    Vec::new()
                },
            },
            consistency,
        }
    }));
    let excluded = volumes
        .iter()
        .filter(|v| v.excluded)
        .map(|v| v.claim.clone())
        .collect();
    RunPlan {
        run_id,
        snapshot_name: snapshot_name.to_owned(),
        slot,
        parts,
        excluded,
        not_copied: None,
        objectives: None,
    }
}

/// So many claims that are not copied are named.
const MOST_NOT_COPIED: usize = 100;

/// The claims with a volume that no workload of the org has: no part holds them.
pub fn not_copied<'a>(
    claims: impl IntoIterator<Item = &'a str>,
    volumes: &[VolumeFacts],
) -> Option<NotCopied> {
    let is_known = |claim: &&str| volumes.iter().any(|volume| volume.claim.as_str() == *claim);
    let others: BTreeSet<&str> = claims.into_iter().filter(|claim| !is_known(claim)).collect();
    (!others.is_empty()).then(|| NotCopied {
        count: others.len() as u64,
        claims: others
            .into_iter()
            .take(MOST_NOT_COPIED)
            .map(str::to_owned)
            .collect(),
    })
}

/// The id of the objects part.
pub fn objects_part() -> PartId {
    #[allow(clippy::expect_used, reason = "a constant that a test holds valid")]
    names::OBJECTS_PART.parse().expect("a DNS label")
}

/// SHA-256 (hex) of the plan's JSON.
pub fn plan_digest(plan: &RunPlan) -> Result<String, serde_json::Error> {
    use sha2::Digest;
    Ok(hex::encode(sha2::Sha256::digest(serde_json::to_vec(plan)?)))
}

/// A part that its mover has copied and verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedPart {
    /// What the mover recorded.
    pub record: PartRecord,
    /// UID of the pod that recorded it.
    pub pod_uid: String,
    /// When its hook began; none = when the copy began.
    pub hook_started_at: Option<Timestamp>,
}

/// What a manifest says besides its parts.
#[derive(Clone, Debug)]
pub struct RunFacts {
    /// The org.
    pub org_id: OrgId,
    /// The cluster.
    pub cluster_uid: String,
    /// Stage of the Region.
    pub stage: Stage,
    /// The org's key.
    pub kms_key_arn: KmsKeyArn,
    /// The bucket.
    pub bucket: String,
    /// Its region, as S3 says it.
    pub bucket_cloud_region: String,
    /// Prefix in the bucket.
    pub prefix: String,
    /// Version of the operator.
    pub operator_version: String,
}

/// Why a run is not complete.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IncompleteRun {
    /// A planned part has no record.
    #[error("part {0} of the plan was not copied")]
    Missing(PartId),
    /// A record says that it was not verified.
    #[error("part {0} was copied but not verified")]
    Unverified(PartId),
    /// Its mover said that it was copied, and no record says so.
    #[error("part {0} ended well but left no verified record in the bucket")]
    Unrecorded(PartId),
    /// The plan cannot be written down.
    #[error("the plan cannot be digested: {0}")]
    Plan(String),
}

/// The record of a part that counts, with the UID of the pod that wrote it: the newest verified one. Each pod of a mover leaves
/// its own; of two that ended at the same moment the first counts.
pub fn record_that_counts(
    part: &PartId,
    records: impl IntoIterator<Item = (String, PartRecord)>,
) -> Result<(String, PartRecord), IncompleteRun> {
    let verified = records.into_iter().filter(|(_, record)| record.verified);
    let newest = verified.reduce(|newest, next| {
        if newest.1.finished_at < next.1.finished_at {
            next
        } else {
            newest
        }
    });
    newest.ok_or_else(|| IncompleteRun::Unrecorded(part.clone()))
}

/// Puts the record of a complete run together; `suspicions` empty = good.
pub fn manifest(
    plan: &RunPlan,
    facts: &RunFacts,
    copied: &[CopiedPart],
    suspicions: Vec<String>,
) -> Result<Manifest, IncompleteRun> {
    let mut parts = Vec::with_capacity(plan.parts.len());
    for planned in &plan.parts {
        let copied = copied
            .iter()
            .find(|c| c.record.part == planned.part && c.record.run_id == plan.run_id)
            .ok_or_else(|| IncompleteRun::Missing(planned.part.clone()))?;
        if !copied.record.verified {
            return Err(IncompleteRun::Unverified(planned.part.clone()));
        }
        parts.push(ManifestPart {
            planned: planned.clone(),
            consistency_point: copied.hook_started_at.unwrap_or(copied.record.started_at),
            record_key: bucket_layout::part_record(
                &facts.prefix,
                &facts.org_id,
                &plan.run_id,
                &planned.part,
                &copied.pod_uid,
            ),
            // What it warns of names files and objects: that is the org's, and stays in the part's record.
            record: PartRecord {
                warnings: Vec::new(),
                ..copied.record.clone()
            },
        });
    }
    let oldest = parts.iter().map(|p| p.consistency_point).min();
    let engine_version = parts
        .first()
        .map(|p| p.record.engine_version.clone())
        .unwrap_or_default();
    Ok(Manifest {
        format_version: FORMAT_VERSION,
        org_id: facts.org_id.clone(),
        cluster_uid: facts.cluster_uid.clone(),
        run_id: plan.run_id.clone(),
        stage: facts.stage,
        snapshot_name: plan.snapshot_name.clone(),
        slot: plan.slot,
        plan_digest: plan_digest(plan).map_err(|error| IncompleteRun::Plan(error.to_string()))?,
        consistency_point: oldest.ok_or_else(|| IncompleteRun::Missing(objects_part()))?,
        parts,
        excluded: plan.excluded.clone(),
        kms_key_arn: facts.kms_key_arn.clone(),
        wrapped_key_id: "key/0001.json".to_owned(),
        bucket: facts.bucket.clone(),
        bucket_cloud_region: facts.bucket_cloud_region.clone(),
        verdict: if suspicions.is_empty() {
            RunVerdict::Good
        } else {
            RunVerdict::Suspicious
        },
        suspicions,
        operator_version: facts.operator_version.clone(),
        engine_version,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Objectives;

    fn run() -> RunId {
        "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap()
    }
    fn volume(claim: &str, mounted: bool, has_hooks: bool) -> VolumeFacts {
        VolumeFacts {
            claim: claim.parse().unwrap(),
            claim_uid: format!("uid-{claim}"),
            workload: "db".into(),
            excluded: false,
            paths: vec!["backup".into()],
            has_hooks,
            mounted,
        }
    }
    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }
    fn copied(part: &str, started: i64, hook: Option<i64>) -> CopiedPart {
        CopiedPart {
            record: PartRecord {
                format_version: FORMAT_VERSION,
                run_id: run(),
                part: part.parse().unwrap(),
                repository_snapshot: None,
                files: 1,
                objects: 0,
                bytes: 1,
                bytes_read: 1,
                bytes_added: 1,
                content_digest: String::new(),
                started_at: at(started),
                finished_at: at(started + 1),
                warnings: vec![],
                left_out: vec![],
                verified: true,
                engine_version: "e".into(),
            },
            pod_uid: "pod".into(),
            hook_started_at: hook.map(at),
        }
    }
    fn facts() -> RunFacts {
        RunFacts {
            org_id: "7c9e6679-7425-40de-944b-e07fc1f90ae7".parse().unwrap(),
            cluster_uid: "c".into(),
            stage: Stage::Production,
            kms_key_arn: "arn:aws:kms:eu-central-1:111122223333:key/k".parse().unwrap(),
            bucket: "b".into(),
            bucket_cloud_region: "eu-central-1".into(),
            prefix: String::new(),
            operator_version: "o".into(),
        }
    }

    #[test]
    fn of_the_records_of_a_part_the_newest_verified_one_counts() {
        let part: PartId = "data-db-0".parse().unwrap();
        let record = |finished: i64, verified| PartRecord {
            finished_at: at(finished),
            verified,
            ..copied("data-db-0", 0, None).record
        };
        let unrecorded = Err(IncompleteRun::Unrecorded(part.clone()));
        for (records, counts) in [
            (vec![], unrecorded.clone()),
            (vec![("a", 1, false)], unrecorded),
            (vec![("a", 1, true), ("b", 2, true)], Ok("b".to_owned())),
            (vec![("a", 2, true), ("b", 1, true)], Ok("a".to_owned())),
            (vec![("a", 1, true), ("b", 2, false)], Ok("a".to_owned())),
            (vec![("a", 3, false), ("b", 1, true)], Ok("b".to_owned())),
            (
                vec![("a", 1, true), ("b", 2, true), ("c", 2, true)],
                Ok("b".to_owned()),
            ),
        ] {
            let pairs = records.iter();
            let pairs =
                pairs.map(|(pod, finished, verified)| ((*pod).to_owned(), record(*finished, *verified)));
            let found = record_that_counts(&part, pairs).map(|(pod, _)| pod);
            assert_eq!(found, counts, "{records:?}");
        }
        assert_eq!(
            IncompleteRun::Unrecorded(part).to_string(),
            "part data-db-0 ended well but left no verified record in the bucket"
        );
    }

    #[test]
    fn objects_come_first_then_volumes_by_name() {
        let plan = plan(
            run(),
            "s",
            None,
            &[volume("data-web-0", true, false), volume("data-db-0", true, true)],
        );
        let parts: Vec<&str> = plan.parts.iter().map(|p| p.part.as_str()).collect();
        assert_eq!(parts, ["objects", "data-db-0", "data-web-0"]);
    }

    #[test]
    fn a_volume_at_rest_is_copied_whole() {
        for (mounted, hooks, want, paths) in [
            (false, true, Consistency::AtRest, 0),
            (true, true, Consistency::Hooks, 1),
            (true, false, Consistency::Live, 1),
        ] {
            let plan = plan(run(), "s", None, &[volume("data-db-0", mounted, hooks)]);
            assert_eq!(plan.parts[1].consistency, want);
            let PartSource::Volume { paths: planned, .. } = &plan.parts[1].source else {
                panic!()
            };
            assert_eq!(planned.len(), paths);
        }
    }

    #[test]
    fn an_excluded_volume_is_named_and_not_copied() {
        let mut excluded = volume("data-cache-0", true, false);
        excluded.excluded = true;
        let plan = plan(run(), "s", None, &[excluded]);
        assert_eq!(plan.parts.len(), 1);
        assert_eq!(plan.excluded[0].as_str(), "data-cache-0");
    }

    #[test]
    fn the_consistency_point_is_the_oldest_and_a_hook_counts_from_its_start() {
        let plan = plan(run(), "s", None, &[volume("data-db-0", true, true)]);
        let manifest = manifest(
            &plan,
            &facts(),
            &[copied("objects", 50, None), copied("data-db-0", 90, Some(40))],
            vec![],
        )
        .unwrap();
        assert_eq!(manifest.consistency_point, at(40));
        assert_eq!(manifest.verdict, RunVerdict::Good);
    }

    #[test]
    fn a_part_that_is_missing_of_another_run_or_unverified_is_no_manifest() {
        let plan = plan(run(), "s", None, &[volume("data-db-0", true, true)]);
        let objects = copied("objects", 1, None);
        let part: PartId = "data-db-0".parse().unwrap();
        assert_eq!(
            manifest(&plan, &facts(), std::slice::from_ref(&objects), vec![]),
            Err(IncompleteRun::Missing(part.clone()))
        );
        let mut other = copied("data-db-0", 1, None);
        other.record.run_id = "01ARZ3NDEKTSV4RRFFQ69G5FAW".parse().unwrap();
        assert_eq!(
            manifest(&plan, &facts(), &[objects.clone(), other], vec![]),
            Err(IncompleteRun::Missing(part.clone()))
        );
        let mut unverified = copied("data-db-0", 1, None);
        unverified.record.verified = false;
        assert_eq!(
            manifest(&plan, &facts(), &[objects, unverified], vec![]),
            Err(IncompleteRun::Unverified(part))
        );
    }

    #[test]
    fn a_claim_that_no_workload_has_is_named_and_of_very_many_the_first() {
        let own = [volume("data-db-0", true, false)];
        assert_eq!(not_copied(["data-db-0"], &own), None);
        let found = not_copied(["pr-own", "data-db-0", "data-old-0", "pr-own"], &own).unwrap();
        assert_eq!(
            (found.count, found.claims.join(" ")),
            (2, "data-old-0 pr-own".to_owned())
        );
        let many: Vec<String> = (0..1_000).map(|n| format!("c{n:04}")).collect();
        let found = not_copied(many.iter().map(String::as_str), &own).unwrap();
        assert_eq!((found.count, found.claims.len()), (1_000, 100));
    }

    /// What an earlier version has planned keeps its digest, and what a later one adds is left out by it.
    #[test]
    fn a_plan_of_an_earlier_version_is_the_same_plan() {
        let plan = plan(run(), "s", None, &[volume("data-db-0", true, true)]);
        let written = serde_json::to_value(&plan).unwrap();
        let fields: Vec<&str> = written.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["excluded", "parts", "runId", "slot", "snapshotName"]);
        assert_eq!(serde_json::from_value::<RunPlan>(written).unwrap(), plan);
        let told = RunPlan {
            objectives: Some(Objectives {
                rpo_hours: 24,
                rto_hours: 14,
                schedule: Some("0 3 * * *".into()),
                time_zone: Some("Etc/UTC".into()),
            }),
            not_copied: not_copied(["pr-own"], &[]),
            ..plan.clone()
        };
        let read: RunPlan = serde_json::from_value(serde_json::to_value(&told).unwrap()).unwrap();
        assert_eq!(read, told);
        assert_ne!(plan_digest(&told).unwrap(), plan_digest(&plan).unwrap());
    }

    #[test]
    fn the_plan_digest_moves_with_the_plan() {
        let one = plan(run(), "s", None, &[volume("data-db-0", true, true)]);
        let two = plan(run(), "s", None, &[]);
        assert_ne!(plan_digest(&one).unwrap(), plan_digest(&two).unwrap());
    }
}
