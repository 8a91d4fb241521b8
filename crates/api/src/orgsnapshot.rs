//! `OrgSnapshot`: one snapshot run.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tray_domain::manifest::{Consistency, RunVerdict};

use super::shared::{NameRef, is_false};

/// Most hooks that a status lists.
pub const MOST_HOOKS: usize = 50;
/// Most claims, and most reasons for objects, that a status lists as not copied.
pub const MOST_NOT_COPIED: usize = 100;
/// So much is told of each of those reasons, in characters.
pub const LONGEST_NOT_COPIED: usize = 1_000;
/// So much is told of why a run failed, in characters.
pub const LONGEST_FAILURE: usize = 2_000;
/// Most failures of hooks that a status lists.
pub const MOST_HOOK_FAILURES: usize = 10;
/// So much of each is told, in characters.
pub const LONGEST_HOOK_FAILURE: usize = 1_000;

/// What run this is. Never changes.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "platform.tray.ai",
    version = "v1alpha1",
    kind = "OrgSnapshot",
    status = "OrgSnapshotStatus",
    shortname = "osnap",
    category = "tray",
    derive = "PartialEq",
    doc = "One snapshot run of an org. Create one to take a snapshot now. It is a view of the org's ledger in the bucket: deleting it deletes no data.",
    selectable = ".spec.orgRef.name",
    printcolumn(name = "Org", type_ = "string", json_path = ".spec.orgRef.name"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict"),
    printcolumn(
        name = "Consistency-Point",
        type_ = "string",
        json_path = ".status.consistencyPoint"
    ),
    printcolumn(name = "Read", type_ = "integer", json_path = ".status.bytesRead"),
    printcolumn(name = "Added", type_ = "integer", json_path = ".status.bytesAdded"),
    printcolumn(name = "Seconds", type_ = "integer", json_path = ".status.durationSeconds"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Run-Id", type_ = "string", json_path = ".status.runId", priority = 1),
    printcolumn(name = "Bucket", type_ = "string", json_path = ".status.bucket", priority = 1),
    printcolumn(
        name = "Bucket-Region",
        type_ = "string",
        json_path = ".status.bucketCloudRegion",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.origin != 'Schedule' || has(self.slot)")
    .message("spec.slot is required where spec.origin is Schedule; to take a snapshot now use origin: Request"))]
#[x_kube(validation = Rule::new("self.origin != 'Request' || !has(self.slot)")
    .message("spec.slot must not be set where spec.origin is Request: it is taken now"))]
#[x_kube(validation = Rule::new("(self.origin == 'Discovered') == has(self.runId)")
    .message("spec.runId goes with spec.origin: Discovered: set both or neither"))]
pub struct OrgSnapshotSpec {
    /// The org.
    pub org_ref: NameRef,
    /// Schedule = due at a slot; Request = asked for by a person, taken now; Discovered = found in the ledger, never runs anything.
    #[serde(default)]
    pub origin: Origin,
    /// Slot of the schedule that it is due at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Time>,
    /// The run in the ledger that it shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 26, max = 26), regex(pattern = r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$"))]
    pub run_id: Option<String>,
}

/// Why a run exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Origin {
    #[default]
    Request,
    Schedule,
    Discovered,
}

/// How far the run is. Output only: what is done next is decided from the ledger and the cluster, never from this.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct OrgSnapshotStatus {
    /// Generation of the spec that this status answers; -1 = none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pending, Hooks, Copying, Committing, then Committed or Failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<SnapshotPhase>,
    /// The run in the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 26))]
    pub run_id: Option<String>,
    /// The moment that the copy is of: the oldest of its parts'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistency_point: Option<Time>,
    /// When the run was committed to the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed_at: Option<Time>,
    /// From the plan to the commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<i64>,
    /// Bytes read from volumes and objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_read: Option<i64>,
    /// Bytes that the bucket grew by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_added: Option<i64>,
    /// Files copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<i64>,
    /// Kubernetes objects archived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<i64>,
    /// The org's KMS key, which everything is encrypted under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub kms_key_arn: Option<String>,
    /// The bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub bucket: Option<String>,
    /// Where the bucket lies, as S3 says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub bucket_cloud_region: Option<String>,
    /// SHA-256 of the manifest in the ledger, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub manifest_digest: Option<String>,
    /// Good, or Suspicious: a part is empty or under half of its last good one, and a person has to accept the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<RunVerdict>,
    /// Why the run failed; absent where it did not. The ledger has its code alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LONGEST_FAILURE))]
    pub failure: Option<String>,
    /// What in the org's namespace the run does not hold; absent where there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_copied: Option<NotCopied>,
    /// The run's data was removed by retention.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pruned: bool,
    /// Hooks that run at present, in pods of the org.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["part".into(), "hook".into()]))]
    #[schemars(length(max = MOST_HOOKS))]
    pub hooks: Vec<SnapshotHook>,
    /// Whether the `post` hooks of the run have ended; absent where it has none, or has not ended itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_hooks: Option<PostHooks>,
    /// What failed of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MOST_HOOK_FAILURES), inner(length(max = LONGEST_HOOK_FAILURE)))]
    pub post_hook_failures: Vec<String>,
    /// The objects, and each volume.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["part".into()]))]
    #[schemars(length(max = 500))]
    pub parts: Vec<SnapshotPart>,
    /// Committed; Reconciling and Stalled while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 20))]
    pub conditions: Vec<Condition>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SnapshotPhase {
    /// Not begun.
    Pending,
    /// Hooks run in the org's pods.
    Hooks,
    /// Movers copy and verify.
    Copying,
    /// Everything is copied; the manifest is being written.
    Committing,
    /// In the ledger.
    Committed,
    /// Ended without a result.
    Failed,
}

impl OrgSnapshot {
    /// Whether its status says that its run has ended: it asks for none any more, whatever a ledger says.
    pub fn has_ended(&self) -> bool {
        let phase = self.status.as_ref().and_then(|status| status.phase);
        matches!(phase, Some(SnapshotPhase::Committed | SnapshotPhase::Failed))
    }
}

/// What a run does not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotCopied {
    /// Claims with a volume that no workload of the org has, when the run was planned: as many as there is room for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MOST_NOT_COPIED), inner(length(max = 253)))]
    pub claims: Vec<String>,
    /// How many such claims there were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims_count: Option<i64>,
    /// Claims whose workload says `backup.exclude`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500), inner(length(max = 63)))]
    pub excluded: Vec<String>,
    /// What the archive of objects leaves out: for each reason how many and of which kinds, and kinds that are not archived at all.
    /// Which objects they are stands in the bucket.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MOST_NOT_COPIED), inner(length(max = LONGEST_NOT_COPIED)))]
    pub objects: Vec<String>,
    /// How many objects were left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects_count: Option<i64>,
}

/// A hook that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct SnapshotHook {
    /// The claim whose volume it is for.
    #[schemars(length(max = 63))]
    pub part: String,
    /// `pre` or `post` of the workload's `backup`.
    pub hook: HookKind,
    /// The pod that it runs in.
    #[schemars(length(max = 253))]
    pub pod: String,
    /// Since when.
    pub since: Time,
    /// When its time is over, and it is ended.
    pub until: Time,
}

/// Which hook of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HookKind {
    #[serde(rename = "pre")]
    Pre,
    #[serde(rename = "post")]
    Post,
}

/// How far the `post` hooks of a run that has ended are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PostHooks {
    /// They run, or wait for a pod.
    Outstanding,
    /// All have ended well.
    Ended,
    /// One failed; the conditions say which.
    Failed,
}

/// One part of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotPart {
    /// `objects`, or the claim's name.
    #[schemars(length(max = 63))]
    pub part: String,
    /// Files copied.
    pub files: i64,
    /// Bytes read.
    pub bytes_read: i64,
    /// Bytes that the bucket grew by.
    pub bytes_added: i64,
    /// Hooks = made consistent by the workload's hooks; AtRest = nobody had it mounted; Live = copied while in use.
    pub consistency: Consistency,
}
