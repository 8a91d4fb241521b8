//! `BackupSchedule`: when snapshots are taken, and what they are held to.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tray_domain::{
    cron::{ASCENDING_REMEDY, FIELDS, FIVE_FIELDS, FIVE_FIELDS_REMEDY, Field, NEVER_REMEDY, descending},
    time_zones,
};

use super::shared::Usage;

/// When snapshots are taken, and what they are held to.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "platform.tray.ai",
    version = "v1alpha1",
    kind = "BackupSchedule",
    status = "BackupScheduleStatus",
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
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(name = "Orgs", type_ = "integer", json_path = ".status.orgs"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.windowMinutes < 60 * self.objectives.rpoHours")
    .message("spec.windowMinutes must be shorter than spec.objectives.rpoHours: an org at the end of the window would miss its RPO").field_path(".windowMinutes"))]
pub struct BackupScheduleSpec {
    /// Five cron fields: minute, hour, day of month, month, day of week. Each is `*`, a number, a range, one of those with a
    /// step, or a list of those with commas; months and days of week have names, too. Where neither the day of month nor
    /// the day of week begins with `*`, either makes the day.
    #[schemars(schema_with = "cron_schema")]
    pub schedule: String,
    /// Time zone of the schedule, by its name in the tz database. A slot whose time is skipped when the clock is put
    /// forward comes just after; one whose time is shown twice comes the first time.
    // A text, not an enum of the names: an object that names a zone of another version can be read, and says so itself.
    #[serde(default = "default_time_zone")]
    #[schemars(schema_with = "time_zone_schema")]
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

/// What the operator found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct BackupScheduleStatus {
    /// Generation of the spec that this status answers; -1 = none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Orgs that name it: while there are any, it cannot be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orgs: Option<i32>,
    /// Ready, and Stalled while the schedule cannot be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 20))]
    pub conditions: Vec<Condition>,
}

impl BackupScheduleStatus {
    /// How many orgs name it.
    pub fn usage(&self) -> Usage {
        Usage {
            observed_generation: self.observed_generation,
            orgs: self.orgs,
        }
    }
}

/// Schema of a cron text: what [`Cron::parse`](tray_domain::cron::Cron::parse) reads, as rules, each of which says which
/// field is wrong.
fn cron_schema(_: &mut SchemaGenerator) -> Schema {
    let five_fields = json!({
        "rule": format!("self.matches('{FIVE_FIELDS}')"),
        "message": format!("spec.schedule {FIVE_FIELDS_REMEDY}"),
    });
    let each_field = FIELDS.iter().zip(0..).map(|(field, before)| {
        let pattern = format!("^([^ ]+ +){{{before}}}({})( |$)", field.pattern());
        json!({
            "rule": format!("!self.matches('{FIVE_FIELDS}') || self.matches('{pattern}')"),
            "message": format!("spec.schedule: {}", field.remedy()),
        })
    });
    let others = [
        json!({"rule": ascending(), "message": format!("spec.schedule: {ASCENDING_REMEDY}")}),
        json!({"rule": some_day(), "message": format!("spec.schedule: {NEVER_REMEDY}")}),
    ];
    let rules: Vec<Value> = std::iter::once(five_fields)
        .chain(each_field)
        .chain(others)
        .collect();
    json_schema!({
        "type": "string",
        "minLength": 9,
        "maxLength": 100,
        "x-kubernetes-validations": rules,
    })
}

/// No range begins above its end. By a pattern: the API server estimates the cost of comparing numbers of a text that is
/// cut up to be beyond what it allows.
fn ascending() -> String {
    let named = FIELDS.iter().flat_map(Field::named);
    let numbers = named.fold("self.upperAscii()".to_owned(), |text, (name, number)| {
        format!("{text}.replace('{name}', '{number}')")
    });
    format!("!{numbers}.matches('(^|[ ,])({})($|[ ,/])')", descending())
}

/// A day is named that comes. A rule for the plain ways to name none: the operator tells the rest by a condition.
fn some_day() -> String {
    let late = |days: &str, months: &str| {
        format!("!self.matches('^[^ ]+ +[^ ]+ +({days})(,({days}))* +({months})(,({months}))* +[*]')")
    };
    [
        late("30|31|30-31", "0?2|(?i:FEB)"),
        late("31", "0?[2469]|11|(?i:FEB|APR|JUN|SEP|NOV)"),
    ]
    .join(" && ")
}

/// Schema of the name of a time zone.
fn time_zone_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": time_zones::names()})
}

fn default_time_zone() -> String {
    "Etc/UTC".into()
}

fn default_window_minutes() -> i32 {
    360
}
