//! `RetentionPolicy`: how long things are kept.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tray_domain::tombstone;

use super::{
    shared::Usage,
    trayorg::{PendingReduction, RetainedField},
};

/// Most reductions that a status lists.
pub const MOST_PENDING_REDUCTIONS: usize = 50;

/// How long things are kept.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "platform.tray.ai",
    version = "v1alpha1",
    kind = "RetentionPolicy",
    status = "RetentionPolicyStatus",
    plural = "retentionpolicies",
    shortname = "rtp",
    category = "tray",
    derive = "PartialEq",
    doc = "How long an org's execution logs and snapshots are kept, and what is held of an org that was deleted. A shorter time waits for 24 hours before anything goes by it. What it leads to is said by each TrayOrg that names it; one that is named cannot be deleted.",
    printcolumn(
        name = "Pro-Hours",
        type_ = "integer",
        json_path = ".spec.executionLogs.proHours",
        priority = 1
    ),
    printcolumn(
        name = "Team-Hours",
        type_ = "integer",
        json_path = ".spec.executionLogs.teamHours",
        priority = 1
    ),
    printcolumn(
        name = "Team-Extended-Hours",
        type_ = "integer",
        json_path = ".spec.executionLogs.teamExtendedHours",
        priority = 1
    ),
    printcolumn(
        name = "Enterprise-Hours",
        type_ = "integer",
        json_path = ".spec.executionLogs.enterpriseHours",
        priority = 1
    ),
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
    /// Execution logs.
    #[serde(default)]
    pub execution_logs: ExecutionLogRetention,
    /// Snapshots.
    #[serde(default)]
    pub snapshots: SnapshotRetention,
    /// Orgs that were deleted.
    #[serde(default)]
    pub termination: TerminationRetention,
}

/// Hours for which execution logs are kept from the end of a run, by plan. An org may ask for less in its
/// `spec.executionLogs`; one that hides them has them kept for 24 hours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExecutionLogRetention {
    /// Plan Pro.
    #[schemars(range(min = 24, max = 168))]
    pub pro_hours: i32,
    /// Plan Team.
    #[schemars(range(min = 24, max = 168))]
    pub team_hours: i32,
    /// Plan Team with the add-on ExtendedLogRetention.
    #[schemars(range(min = 24, max = 720))]
    pub team_extended_hours: i32,
    /// Plan Enterprise.
    #[schemars(range(min = 24, max = 720))]
    pub enterprise_hours: i32,
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

/// What the operator found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct RetentionPolicyStatus {
    /// Generation of the spec that this status answers; -1 = none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Orgs that name it: while there are any, it cannot be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orgs: Option<i32>,
    /// Shorter times that wait for 24 hours, by org: 50 at most, those first that are in force first. Put the value back
    /// before then, and nothing goes. Each org has its own in its status.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["org".into(), "field".into()]))]
    #[schemars(length(max = MOST_PENDING_REDUCTIONS))]
    pub pending_reductions: Vec<OrgReduction>,
}

/// A shorter time that waits, of one org.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct OrgReduction {
    /// The TrayOrg.
    #[schemars(length(max = 63))]
    pub org: String,
    /// What is kept for a shorter time.
    pub field: RetainedField,
    /// What is in force until then.
    pub from: i32,
    /// What is in force from then on.
    pub to: i32,
    /// When.
    pub at: Time,
}

impl OrgReduction {
    /// What waits for that org.
    pub fn of(org: &str, pending: &PendingReduction) -> Self {
        Self {
            org: org.to_owned(),
            field: pending.field,
            from: pending.from,
            to: pending.to,
            at: pending.at.clone(),
        }
    }
}

impl RetentionPolicyStatus {
    /// How many orgs name it.
    pub fn usage(&self) -> Usage {
        Usage {
            observed_generation: self.observed_generation,
            orgs: self.orgs,
        }
    }
}

impl Default for ExecutionLogRetention {
    fn default() -> Self {
        Self {
            pro_hours: 168,
            team_hours: 168,
            team_extended_hours: 720,
            enterprise_hours: 720,
        }
    }
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
