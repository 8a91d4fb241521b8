//! `RetentionPolicy`: how long things are kept.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::Usage;
use crate::domain::tombstone;

/// How long things are kept.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "platform.tray.ai",
    version = "v1alpha1",
    kind = "RetentionPolicy",
    status = "Usage",
    plural = "retentionpolicies",
    shortname = "rtp",
    category = "tray",
    derive = "PartialEq",
    doc = "How long an org's snapshots are kept, and what is held of an org that was deleted. What it leads to is said by each TrayOrg that names it; one that is named cannot be deleted.",
    printcolumn(
        name = "Snapshot-Days",
        type_ = "integer",
        json_path = ".spec.snapshots.keepDays"
    ),
    printcolumn(
        name = "At-Least",
        type_ = "integer",
        json_path = ".spec.snapshots.keepAtLeast"
    ),
    printcolumn(
        name = "Purge-Days",
        type_ = "integer",
        json_path = ".spec.termination.purgeAfterDays"
    ),
    printcolumn(name = "Orgs", type_ = "integer", json_path = ".status.orgs"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct RetentionPolicySpec {
    /// Snapshots.
    #[serde(default)]
    pub snapshots: SnapshotRetention,
    /// Orgs that were deleted.
    #[serde(default)]
    pub termination: TerminationRetention,
}

/// How long snapshots are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.keepAtLeast <= 2 * self.keepDays",
    "message": "spec.snapshots.keepAtLeast must be at most twice spec.snapshots.keepDays: at two runs a day, more never exist",
}]))]
pub struct SnapshotRetention {
    /// Days after which a snapshot goes. At least 14 for orgs of a Production region.
    #[schemars(range(min = 1, max = 365))]
    pub keep_days: i32,
    /// Good snapshots of every volume that stay however old they are.
    #[schemars(range(min = 1, max = 100))]
    pub keep_at_least: i32,
}

/// How long what is left of a deleted org is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TerminationRetention {
    /// Days from the deletion of a TrayOrg until `purgeAt` of its OrgTombstone, which is frozen then: a later change is
    /// for later deletions. At least 10 days from when the operator saw the deletion. This version erases nothing.
    #[schemars(range(min = 10, max = 90))]
    pub purge_after_days: i32,
}

impl Default for TerminationRetention {
    fn default() -> Self {
        Self {
            purge_after_days: tombstone::PURGE_AFTER_DAYS,
        }
    }
}

impl Default for SnapshotRetention {
    fn default() -> Self {
        Self {
            keep_days: 14,
            keep_at_least: 3,
        }
    }
}
