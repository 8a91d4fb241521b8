//! What a mover is told to do, and what it answers: the files of its Secret and its termination message.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    ids::{KmsKeyArn, OrgId, PartId, RunId, SweepId},
    ledger::Work,
    manifest::{Consistency, PartRecord},
};

/// Folder where a mover finds its Secret.
pub const TASK_DIR: &str = "/var/run/tray/task";
/// File of [`TASK_DIR`]: a [`MoverTask`].
pub const TASK_FILE: &str = "task.json";
/// File of [`TASK_DIR`]: [`SessionCredentials`]; renewed in place while the mover runs.
pub const CREDENTIALS_FILE: &str = "credentials.json";
/// File of [`TASK_DIR`]: PEM bundle to trust besides the system's roots; absent = none.
pub const CA_BUNDLE_FILE: &str = "ca.crt";
/// Where the volume is mounted in a volume mover.
pub const VOLUME_DIR: &str = "/volume";
/// Where a mover writes its [`MoverOutcome`] (at most 4 KiB): the pod's termination message.
pub const TERMINATION_LOG: &str = "/dev/termination-log";

/// Exit code of a mover whose failure another try cannot mend: the Job fails at once.
pub const EXIT_PERMANENT: i32 = 2;

/// Temporary credentials cut down to one part.
#[derive(Clone, Serialize, Deserialize, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
#[serde(rename_all = "camelCase")]
pub struct SessionCredentials {
    /// Access key id.
    pub access_key_id: String,
    /// Secret access key.
    pub secret_access_key: String,
    /// Session token.
    pub session_token: String,
    /// When they end.
    #[zeroize(skip)]
    pub expires_at: Timestamp,
}

/// A bucket and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BucketLocation {
    /// Name.
    pub bucket: String,
    /// Account id that must own it: sent with every request.
    pub bucket_owner: String,
    /// AWS region.
    pub cloud_region: String,
    /// Key prefix, empty or ending in `/`.
    pub prefix: String,
    /// Custom endpoints; empty = AWS.
    pub endpoints: Endpoints,
}

/// Custom endpoints; empty = AWS. Path style whenever `s3` is set; https only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Endpoints {
    /// S3.
    pub s3: String,
    /// KMS.
    pub kms: String,
    /// STS.
    pub sts: String,
}

/// What all movers need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MoverTask {
    /// The org.
    pub org_id: OrgId,
    /// The bucket.
    pub location: BucketLocation,
    /// The org's key.
    pub kms_key_arn: KmsKeyArn,
    /// What to do.
    pub action: Action,
}

/// What a mover does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all_fields = "camelCase")]
pub enum Action {
    /// Copy [`VOLUME_DIR`] into the volume's repository, verify, write the part record.
    SnapshotVolume {
        run_id: RunId,
        part: PartId,
        /// Only these folders; empty = all.
        paths: Vec<String>,
        consistency: Consistency,
        /// Tag of the repository snapshot.
        consistency_point: Timestamp,
    },
    /// Archive the Kubernetes objects of the mover's own namespace, verify, write the part record.
    SnapshotObjects {
        run_id: RunId,
        part: PartId,
        namespace: String,
    },
    /// Prove, without a volume and without a write, that a volume can be filled from a repository snapshot, and that it
    /// fits.
    ProveVolume {
        /// Name of the restore in the ledger.
        restore: String,
        run_id: RunId,
        part: PartId,
        repository_snapshot: String,
        content_digest: String,
        /// What the claim holds that will be filled.
        capacity_bytes: u64,
    },
    /// Prove that the archive of a run opens and is whole.
    ProveObjects {
        /// Name of the restore in the ledger.
        restore: String,
        run_id: RunId,
        content_digest: String,
    },
    /// Fill the (empty) volume from a repository snapshot.
    RestoreVolume {
        /// Name of the restore in the ledger.
        restore: String,
        run_id: RunId,
        part: PartId,
        repository_snapshot: String,
        content_digest: String,
    },
    /// Create what the archive holds and the operator does not render.
    RestoreObjects {
        /// Name of the restore in the ledger.
        restore: String,
        run_id: RunId,
        namespace: String,
        content_digest: String,
    },
    /// Remove what is left of the runs of `remove` from the repositories and the archives, mark packs that nothing needs, free
    /// old marks. What is not named stays, and so does everything that was stored after the sweep was planned.
    Prune {
        sweep_id: SweepId,
        /// When the sweep was planned.
        planned_at: Timestamp,
        /// Repositories of the org.
        volumes: Vec<PartId>,
        /// Runs that have ended and can never be restored.
        remove: Vec<RunId>,
        /// How long a marked pack waits before it is freed, in hours.
        keep_delete_hours: u32,
        /// How long a pack is left alone after it was written, in hours.
        keep_pack_hours: u32,
    },
}

impl Action {
    /// What has to be open in the org's ledger for this to be done.
    pub fn work(&self) -> Work<'_> {
        match self {
            Self::SnapshotVolume { run_id, .. } | Self::SnapshotObjects { run_id, .. } => Work::Run(run_id),
            Self::ProveVolume { restore, run_id, .. }
            | Self::ProveObjects { restore, run_id, .. }
            | Self::RestoreVolume { restore, run_id, .. }
            | Self::RestoreObjects { restore, run_id, .. } => Work::Restore { restore, run_id },
            Self::Prune { sweep_id, .. } => Work::Sweep(sweep_id),
        }
    }
}

/// What a mover says at its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all_fields = "camelCase")]
pub enum MoverOutcome {
    /// A part was copied and verified.
    Snapshotted { record: Box<PartRecord> },
    /// A volume was filled.
    RestoredVolume { files: u64, bytes: u64, seconds: u64 },
    /// It is proven that the part can be restored: so much is to be written.
    Proven { bytes: u64 },
    /// Objects were created, or given their archived content back (`updated`), or refused by the API server: `refused` of
    /// them, of which `named` holds what fits. `later` are there and not in the copy, and stay; none = a mover of before did
    /// not look.
    RestoredObjects {
        created: u64,
        updated: u64,
        unchanged: u64,
        refused: u64,
        named: Vec<RefusedObjects>,
        #[serde(default)]
        later: Option<u64>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        later_named: Vec<LaterObjects>,
    },
    /// Repositories were pruned.
    Pruned { volumes: Vec<PrunedVolume> },
    /// It failed: the reason is one of a fixed list, the message is for everybody.
    Failed { reason: FailureReason, message: String },
}

impl MoverOutcome {
    /// A part was copied. Its warnings name what is the org's alone; they, and what is long, stand in its record in the bucket.
    pub fn snapshotted(record: PartRecord) -> Self {
        let record = PartRecord {
            warnings: Vec::new(),
            left_out: Vec::new(),
            ..record
        };
        Self::Snapshotted {
            record: Box::new(record),
        }
    }
}

/// Objects of one kind that the API server, or a webhook that it asked, refused for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedObjects {
    /// Kind in URLs and rights: `configmaps`, `deployments.apps`.
    pub kind: String,
    /// The API server's own word (`Invalid`, `Forbidden`, `InternalError`), or `Terminating` or `Immutable`, where it was not
    /// asked.
    pub reason: String,
    /// What it said of the first of them; it may be cut.
    pub message: String,
    /// Their names.
    pub names: Vec<String>,
}

/// Objects of one kind that are there and were not when the copy was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaterObjects {
    /// Kind in URLs and rights: `configmaps`, `deployments.apps`.
    pub kind: String,
    /// Their names, as far as they fit.
    pub names: Vec<String>,
}

/// What pruning did to one repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrunedVolume {
    /// The volume.
    pub volume: PartId,
    /// Repository snapshots removed.
    pub removed_snapshots: u64,
    /// Packs marked for removal.
    pub marked_packs: u64,
    /// Bytes freed.
    pub freed_bytes: u64,
}

/// Why a mover failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureReason {
    /// A file or folder of the volume could not be read; the message names the path.
    SourceUnreadable,
    /// The bucket refused or did not answer.
    BucketFailed,
    /// KMS refused or did not answer.
    KeyFailed,
    /// What was written could not be verified.
    VerificationFailed,
    /// The repository is damaged or of another key.
    RepositoryFailed,
    /// The volume to fill is not empty or too small, or what it holds differs from the snapshot.
    TargetFailed,
    /// What it was started for is not open in the ledger: it did nothing.
    NotOpen,
    /// The Kubernetes API refused or did not answer.
    KubernetesFailed,
    /// The task or credentials file cannot be read.
    TaskInvalid,
    /// It was told to stop: its node drains, or its Job was deleted or ran out of time.
    Interrupted,
    /// A fault of the mover itself.
    Internal,
}

impl FailureReason {
    /// What is told of it to everybody: file names, and what other systems said, are the org's alone.
    pub fn told(self) -> &'static str {
        match self {
            Self::SourceUnreadable => {
                "a file or folder of the volume cannot be read, or changed while it was"
            }
            Self::BucketFailed => "the bucket did not do what it was asked",
            Self::KeyFailed => "KMS did not do what it was asked",
            Self::VerificationFailed => "the copy does not hold what it should",
            Self::RepositoryFailed => "the repository is damaged, not there, or of another key",
            Self::TargetFailed => "the volume could not be filled, or does not hold what the copy does",
            Self::NotOpen => "what it was started for is not open in the ledger: it did nothing",
            Self::KubernetesFailed => "the Kubernetes API did not do what it was asked",
            Self::TaskInvalid => "its task or its credentials cannot be used",
            Self::Interrupted => "it was told to stop before it was done",
            Self::Internal => "a fault of the mover itself",
        }
    }
}
