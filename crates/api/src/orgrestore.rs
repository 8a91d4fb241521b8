//! `OrgRestore`: one restore.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::NameRef;

/// What is restored, and where to. Never changes.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "platform.tray.ai",
    version = "v1alpha1",
    kind = "OrgRestore",
    status = "OrgRestoreStatus",
    shortname = "orst",
    category = "tray",
    derive = "PartialEq",
    doc = "One restore of an org. Creating it starts it: in place, the org's workloads stop, its volumes are filled anew from the snapshot, its objects are put back, and the workloads start.",
    selectable = ".spec.orgRef.name",
    printcolumn(name = "Org", type_ = "string", json_path = ".spec.orgRef.name"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Run-Id", type_ = "string", json_path = ".status.runId"),
    printcolumn(name = "Bytes", type_ = "integer", json_path = ".status.bytes"),
    printcolumn(name = "Of", type_ = "integer", json_path = ".status.bytesTotal"),
    printcolumn(name = "Seconds", type_ = "integer", json_path = ".status.seconds"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Bytes-Per-Second",
        type_ = "integer",
        json_path = ".status.rateBytesPerSecond",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct OrgRestoreSpec {
    /// The org.
    pub org_ref: NameRef,
    /// The run that is restored: exactly one of `runId`, `latestGood` and `asOf`.
    pub snapshot: SnapshotChoice,
    /// Where to.
    pub target: RestoreTarget,
}

/// Names a run: exactly one field. Resolved once, when the restore begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.runId), has(self.latestGood), has(self.asOf)].filter(chosen, chosen).size() == 1")
    .message("spec.snapshot must have exactly one of runId, latestGood and asOf"))]
pub struct SnapshotChoice {
    /// This run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 26, max = 26), regex(pattern = r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$"))]
    pub run_id: Option<String>,
    /// `true` = the newest good run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self").message("spec.snapshot.latestGood must be true, or left out"))]
    pub latest_good: Option<bool>,
    /// The newest good run whose consistency point is not after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Time>,
}

/// Where a restore goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreTarget {
    /// `true` = into the org itself. What its volumes hold now is set aside (their PersistentVolumes are retained).
    #[x_kube(validation = Rule::new("self").message("spec.target.inPlace must be true: there is no other target"))]
    pub in_place: bool,
}

/// How far the restore is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct OrgRestoreStatus {
    /// Generation of the spec that this status answers; -1 = none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pending, Proving, Draining, Filling, Starting, then Succeeded, SucceededWithRefusals or Failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<RestorePhase>,
    /// The run that the choice resolved to: fixed from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 26))]
    pub run_id: Option<String>,
    /// SHA-256 of that run's manifest, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub manifest_digest: Option<String>,
    /// When the run was resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When the workloads were available again, or the restore ended without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// From the creation of the OrgRestore to its end: what it waited for before it began counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<i64>,
    /// What it waits for at present, and since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<RestoreWaiting>,
    /// Bytes filled into volumes so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// Bytes to fill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<i64>,
    /// Bytes filled per second, over all parts that are done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_bytes_per_second: Option<i64>,
    /// The objects, and each volume.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["part".into()]))]
    #[schemars(length(max = 500))]
    pub parts: Vec<RestorePart>,
    /// How many objects the API server, or a webhook that it asked, did not take back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_count: Option<i64>,
    /// Those objects, as many as there is room for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub refused_objects: Vec<RefusedObject>,
    /// How many objects are there that the run does not hold: they came later, and stay as they are. None = not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub later_count: Option<i64>,
    /// Those objects, as many as there is room for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub later_objects: Vec<LaterObject>,
    /// Restored; Reconciling and Stalled while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 20))]
    pub conditions: Vec<Condition>,
}

/// How far a restore is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RestorePhase {
    /// Not begun.
    Pending,
    /// It is proven that every part can come back. Nothing of the org is touched yet.
    Proving,
    /// The org's workloads stop and its old claims go.
    Draining,
    /// Movers fill volumes and put objects back.
    Filling,
    /// The org's workloads start.
    Starting,
    /// Every volume and every object is back. Where the workloads did not become available in time, the conditions say so.
    Succeeded,
    /// Every volume is back; some objects were refused, and are named.
    SucceededWithRefusals,
    /// Ended without a result.
    Failed,
}

impl RestorePhase {
    /// Whether a restore that is so far has come to its end: nothing more is done.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Succeeded | Self::SucceededWithRefusals | Self::Failed)
    }

    /// Whether the org's workloads stand still meanwhile: from the moment when it is proven that every part can come back,
    /// until the fresh claims are filled.
    pub const fn stops_workloads(self) -> bool {
        matches!(self, Self::Draining | Self::Filling)
    }
}

impl OrgRestore {
    /// How far it is; none = nobody has looked at it.
    pub fn phase(&self) -> Option<RestorePhase> {
        self.status.as_ref()?.phase
    }

    /// Whether it has come to its end: nothing more is done.
    pub fn has_ended(&self) -> bool {
        self.phase().is_some_and(RestorePhase::is_end)
    }

    /// Whether it still asks for its restore: it has not ended, and is not being deleted.
    pub fn is_open(&self) -> bool {
        !self.has_ended() && self.metadata.deletion_timestamp.is_none()
    }

    /// Whether its run is pinned.
    pub fn has_begun(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.run_id.is_some())
    }
}

/// What a restore waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreWaiting {
    /// What; the conditions name the objects.
    pub what: RestoreWait,
    /// Since when.
    pub since: Time,
}

/// What a restore waits for. But for its turn, each has a limit, after which the restore ends and says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RestoreWait {
    /// Another OrgRestore of the org comes first.
    Turn,
    /// A run or a sweep of the org, or movers of theirs, are on their way out.
    OtherWork,
    /// It is proven that every part can come back.
    Proofs,
    /// Pods of others hold claims that are to be replaced: delete them.
    ClaimHolders,
    /// Pods of the org's workloads stop.
    Pods,
    /// Old claims go.
    ClaimsGone,
    /// Fresh claims are made.
    ClaimsMade,
    /// Volumes are filled, objects are put back.
    Fills,
    /// The org's workloads start.
    Workloads,
}

/// An object that came after the run that was restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LaterObject {
    /// Kind in URLs and rights: `configmaps`, `deployments.apps`.
    #[schemars(length(max = 317))]
    pub kind: String,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
}

/// An object that a restore could not put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefusedObject {
    /// Kind in URLs and rights: `configmaps`, `deployments.apps`.
    #[schemars(length(max = 317))]
    pub kind: String,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The API server's own word: `Invalid`, `Forbidden`, `InternalError`; or `Terminating`, or `Immutable`.
    #[schemars(length(max = 253))]
    pub reason: String,
    /// What it said; none where it is the same as of an object before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub message: Option<String>,
}

/// One part of a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestorePart {
    /// `objects`, or the claim's name.
    #[schemars(length(max = 63))]
    pub part: String,
    /// How far the part is.
    pub state: RestorePartState,
    /// UID of the claim that was there when the restore began: a claim of another UID is the fresh one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub replaced_claim_uid: Option<String>,
    /// UID of the claim that the mover has filled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub filled_claim_uid: Option<String>,
    /// Files filled, or objects put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<i64>,
    /// Bytes filled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// How long the mover took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<i64>,
}

/// How far a part of a restore is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RestorePartState {
    /// Not begun.
    Pending,
    /// It is proven that it can come back.
    Proven,
    /// Its mover runs.
    Running,
    /// Filled and compared.
    Restored,
    /// Its mover failed; the conditions say why.
    Failed,
}
