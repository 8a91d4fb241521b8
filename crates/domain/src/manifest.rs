//! What a run was meant to hold, and what it holds.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    ids::{KmsKeyArn, OrgId, PartId, RunId},
    stage::Stage,
};

/// Version of the manifest's own form.
pub const FORMAT_VERSION: u32 = 1;

/// What one part copies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub enum PartSource {
    /// The Kubernetes objects of the namespace.
    Objects {},
    /// One volume, named by its claim.
    Volume {
        /// UID of the claim when the run was planned: a new one means that the volume was replaced.
        claim_uid: String,
        /// Workload that mounts it.
        workload: String,
        /// Only these folders of the volume; empty = the whole volume.
        paths: Vec<String>,
    },
}

impl PartSource {
    /// The folders that are copied; empty = all there is.
    pub fn paths(&self) -> &[String] {
        match self {
            Self::Objects {} => &[],
            Self::Volume { paths, .. } => paths,
        }
    }
}

/// How far the bytes of a part belong to one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Consistency {
    /// Hooks of the workload made it consistent.
    Hooks,
    /// No pod had the volume mounted.
    AtRest,
    /// Files were copied while a pod had the volume mounted; the workload names no hooks.
    Live,
}

/// One part of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedPart {
    /// `objects`, or the claim's name.
    pub part: PartId,
    /// What it copies.
    pub source: PartSource,
    /// How far its bytes belong to one moment.
    pub consistency: Consistency,
}

/// What a run is meant to hold. Its digest is in the manifest, so a run that lost a part on the way shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunPlan {
    /// The run.
    pub run_id: RunId,
    /// Name of the OrgSnapshot it is the record of.
    pub snapshot_name: String,
    /// The slot it was due at; none for a run that a person asked for.
    pub slot: Option<Timestamp>,
    /// All parts, objects first, then claims by name.
    pub parts: Vec<PlannedPart>,
    /// Claims that are excluded by the workload's `backup.exclude`.
    pub excluded: Vec<PartId>,
    /// What in the org's namespace no part holds and nobody excluded; none = nothing, or it was planned by a version that did
    /// not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_copied: Option<NotCopied>,
    /// The objectives that were in force; none = it was planned by a version that did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objectives: Option<Objectives>,
}

/// Claims with a volume that a run does not copy, since no workload of the org has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotCopied {
    /// How many.
    pub count: u64,
    /// Their names, as many as there is room for.
    pub claims: Vec<String>,
}

/// What an org's BackupSchedule held it to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Objectives {
    /// How old the newest good copy may be.
    pub rpo_hours: u32,
    /// How long a restore may take.
    pub rto_hours: u32,
    /// When runs are due, as cron; none = there were no slots, and runs were due by the RPO alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The time zone of `schedule`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// What a mover says of the part it copied and verified. Written once per pod, before the pod ends well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartRecord {
    /// Version of the form: [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The run.
    pub run_id: RunId,
    /// The part.
    pub part: PartId,
    /// Snapshot in the volume's repository; none for the objects part.
    pub repository_snapshot: Option<String>,
    /// Files copied (objects part: 0).
    pub files: u64,
    /// Kubernetes objects archived (volume part: 0).
    pub objects: u64,
    /// Size of everything it holds, read now or unchanged since the last copy: what a restore brings back.
    pub bytes: u64,
    /// Bytes read from the source.
    pub bytes_read: u64,
    /// Bytes that the bucket grew by.
    pub bytes_added: u64,
    /// SHA-256 (hex) over sorted path, size and content ids; for the objects part over the plain archive.
    pub content_digest: String,
    /// When the copy began.
    pub started_at: Timestamp,
    /// When the part was verified.
    pub finished_at: Timestamp,
    /// What was left out or is worth knowing, by name: `lost+found`, kinds that are not archived. It is the org's, and is told in this
    /// record alone.
    pub warnings: Vec<String>,
    /// What the archive of objects does not hold, by reason; empty for volumes, and in records of earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// The repository was re-opened with a freshly unwrapped key, and its structure and every new pack checked.
    pub verified: bool,
    /// Version of the engine that wrote it.
    pub engine_version: String,
}

/// Most kinds that are named of what was left out for one reason.
const MOST_KINDS: usize = 32;

/// What an archive of objects does not hold, for one reason: kinds and numbers, which are nobody's secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// Why.
    pub reason: LeftOutReason,
    /// How many objects; where whole kinds are not archived, how many kinds.
    pub count: u64,
    /// Their kinds, as many as there is room for.
    pub kinds: Vec<String>,
}

/// Why objects are left out of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeftOutReason {
    /// Tokens of service accounts: they would outlive those.
    Token,
    /// They were being deleted.
    BeingDeleted,
    /// Kinds that the cluster serves and no table knows. Whether the namespace has objects of them is not known.
    NotArchived,
    /// A later version wrote it.
    #[serde(other)]
    Other,
}

impl LeftOutReason {
    /// For people, of one object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "a token, which would outlive its service account",
            Self::BeingDeleted => "being deleted",
            Self::NotArchived => "of a kind that is not archived",
            Self::Other => "for a reason that a later version knows",
        }
    }
}

impl LeftOut {
    /// Adds an object of that kind, or the kind itself, to what was left out for that reason.
    pub fn note(all: &mut Vec<Self>, reason: LeftOutReason, kind: &str) {
        if !all.iter().any(|known| known.reason == reason) {
            all.push(Self {
                reason,
                count: 0,
                kinds: Vec::new(),
            });
        }
        for known in all.iter_mut().filter(|known| known.reason == reason) {
            known.count += 1;
            if known.kinds.len() < MOST_KINDS && !known.kinds.iter().any(|known| known == kind) {
                known.kinds.push(kind.to_owned());
            }
        }
    }

    /// How many objects are known to be left out.
    pub fn objects(&self) -> u64 {
        match self.reason {
            LeftOutReason::NotArchived => 0,
            _ => self.count,
        }
    }
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (count, kinds) = (self.count, self.kinds.join(", "));
        match self.reason {
            LeftOutReason::NotArchived => {
                write!(
                    f,
                    "kinds that are not archived, if there are objects of them: {kinds}"
                )?;
                match count.saturating_sub(self.kinds.len() as u64) {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            reason => write!(f, "{count} of {kinds}: {}", reason.as_str()),
        }
    }
}

/// Whether a committed run counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunVerdict {
    /// Planned, complete, verified, committed.
    Good,
    /// A part is empty or under half of its last good one: it does not count until a person accepts it.
    Suspicious,
}

/// One part of a committed run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestPart {
    /// As planned.
    pub planned: PlannedPart,
    /// As the mover recorded it.
    pub record: PartRecord,
    /// Its consistency point.
    pub consistency_point: Timestamp,
    /// Name of the part record's object under the org's prefix.
    pub record_key: String,
}

/// The record of a committed run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Version of the form: [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The org.
    pub org_id: OrgId,
    /// UID of the kube-system namespace of the cluster that ran it.
    pub cluster_uid: String,
    /// The run.
    pub run_id: RunId,
    /// Stage of the Region that it ran in: where it may be restored.
    #[serde(default)]
    pub stage: Stage,
    /// Name of its OrgSnapshot.
    pub snapshot_name: String,
    /// The slot it was due at.
    pub slot: Option<Timestamp>,
    /// SHA-256 (hex) of the canonical JSON of the [`RunPlan`].
    pub plan_digest: String,
    /// The oldest consistency point of its parts.
    pub consistency_point: Timestamp,
    /// Every planned part.
    pub parts: Vec<ManifestPart>,
    /// Claims left out by the workload's `backup.exclude`.
    pub excluded: Vec<PartId>,
    /// The org's KMS key.
    pub kms_key_arn: KmsKeyArn,
    /// Object name of the wrapped master key, under the org's prefix.
    pub wrapped_key_id: String,
    /// The bucket.
    pub bucket: String,
    /// The bucket's region as S3 says it, not as the spec does.
    pub bucket_cloud_region: String,
    /// Whether it counts.
    pub verdict: RunVerdict,
    /// Why it is Suspicious; empty when Good.
    pub suspicions: Vec<String>,
    /// Version of the operator that committed it.
    pub operator_version: String,
    /// Version of the engine.
    pub engine_version: String,
}

impl Manifest {
    /// Size of what a restore brings back, over all parts.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|p| p.record.bytes).sum()
    }
    /// Bytes read from the sources, over all parts.
    pub fn bytes_read(&self) -> u64 {
        self.parts.iter().map(|p| p.record.bytes_read).sum()
    }
    /// Bytes that the bucket grew by, over all parts.
    pub fn bytes_added(&self) -> u64 {
        self.parts.iter().map(|p| p.record.bytes_added).sum()
    }
    /// Files, over all parts.
    pub fn files(&self) -> u64 {
        self.parts.iter().map(|p| p.record.files).sum()
    }
    /// Kubernetes objects.
    pub fn objects(&self) -> u64 {
        self.parts.iter().map(|p| p.record.objects).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_counted_by_reason_and_named_by_kind() {
        let mut all = Vec::new();
        for (reason, kind) in [
            (LeftOutReason::Token, "secrets"),
            (LeftOutReason::BeingDeleted, "secrets"),
            (LeftOutReason::BeingDeleted, "configmaps"),
            (LeftOutReason::BeingDeleted, "secrets"),
        ] {
            LeftOut::note(&mut all, reason, kind);
        }
        for number in 0..40 {
            let kind = format!("k{number}.example.com");
            LeftOut::note(&mut all, LeftOutReason::NotArchived, &kind);
        }
        let said: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(
            said[0],
            "1 of secrets: a token, which would outlive its service account"
        );
        assert_eq!(said[1], "3 of secrets, configmaps: being deleted");
        let (start, end) = (
            "kinds that are not archived, if there are objects of them: k0.example.com, ",
            " and 8 more",
        );
        assert!(
            said[2].starts_with(start) && said[2].ends_with(end),
            "{}",
            said[2]
        );
        assert_eq!(all.iter().map(LeftOut::objects).sum::<u64>(), 4);
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Vec<LeftOut>>(&text).unwrap(), all);
    }

    #[test]
    fn a_reason_of_a_later_version_is_read_as_another_one() {
        let later = r#"{"reason": "Encrypted", "count": 2, "kinds": ["secrets"]}"#;
        let read: LeftOut = serde_json::from_str(later).unwrap();
        assert_eq!((read.reason, read.objects()), (LeftOutReason::Other, 2));
    }
}
