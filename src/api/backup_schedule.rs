//! `BackupSchedule`: when snapshots are taken, and what they are held to.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::Usage;

/// When snapshots are taken, and what they are held to.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "platform.tray.ai",
    version = "v1alpha1",
    kind = "BackupSchedule",
    status = "Usage",
    plural = "backupschedules",
    shortname = "bks",
    category = "tray",
    derive = "PartialEq",
    doc = "When an org's snapshots are taken, and the objectives they are held to. What it leads to is said by each TrayOrg that names it; one that is named cannot be deleted.",
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule"),
    printcolumn(name = "Time-Zone", type_ = "string", json_path = ".spec.timeZone"),
    printcolumn(name = "Suspended", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(
        name = "RPO-Hours",
        type_ = "integer",
        json_path = ".spec.objectives.rpoHours"
    ),
    printcolumn(
        name = "RTO-Hours",
        type_ = "integer",
        json_path = ".spec.objectives.rtoHours"
    ),
    printcolumn(name = "Orgs", type_ = "integer", json_path = ".status.orgs"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.windowMinutes < 60 * self.objectives.rpoHours")
    .message("spec.windowMinutes must be shorter than spec.objectives.rpoHours: an org at the end of the window would miss its RPO").field_path(".windowMinutes"))]
pub struct BackupScheduleSpec {
    /// Five cron fields: minute, hour, day of month, month, day of week.
    #[schemars(
        length(min = 9, max = 100),
        regex(pattern = r"^[0-9A-Za-z*,/#?-]+( +[0-9A-Za-z*,/#?-]+){4}$")
    )]
    pub schedule: String,
    /// Time zone of the schedule, by its IANA name.
    #[serde(default = "default_time_zone")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9_+/-]+$"))]
    pub time_zone: String,
    /// Orgs start spread over this many minutes after a slot, each always at the same point.
    #[serde(default = "default_window_minutes")]
    #[schemars(range(min = 0, max = 720))]
    pub window_minutes: i32,
    /// No runs by schedule. The RPO counts on.
    #[serde(default)]
    pub suspend: bool,
    /// What snapshots and restores are held to.
    #[serde(default)]
    pub objectives: Objectives,
}

/// What snapshots and restores are held to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Objectives {
    /// Recovery point objective: the newest good copy is never older than this.
    #[schemars(range(min = 1, max = 168))]
    pub rpo_hours: i32,
    /// Recovery time objective: a restore takes no longer than this.
    #[schemars(range(min = 1, max = 720))]
    pub rto_hours: i32,
}

impl Default for Objectives {
    fn default() -> Self {
        Self {
            rpo_hours: 24,
            rto_hours: 14,
        }
    }
}

fn default_time_zone() -> String {
    "Etc/UTC".into()
}

fn default_window_minutes() -> i32 {
    360
}
