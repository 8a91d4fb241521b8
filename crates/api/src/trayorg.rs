//! `TrayOrg`: one customer.

use k8s_openapi::apimachinery::pkg::{
    api::resource::Quantity,
    apis::meta::v1::{Condition, Time},
};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tray_domain::{backup_place::BackupPlace, cloud_regions::Jurisdiction, support::Role};

use super::{
    shared::{NameRef, Quota, positive_quantity},
    workload::{EnvVar, Resources, Workload},
};

/// Most claims of others that a status lists.
pub const MOST_OTHER_VOLUMES: usize = 200;

/// Most values of acknowledging annotations that a status remembers.
pub const MOST_ACKNOWLEDGEMENTS: usize = 40;

/// Most grants of support access that a status lists.
pub const MOST_SUPPORT_ENTRIES: usize = 50;

/// Address ranges that an org's pods never reach: loopback, private, link-local (cloud metadata), shared, multicast
/// and reserved ones, and the IPv6 ranges that embed them.
pub const INTERNAL_CIDRS: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "224.0.0.0/3",
    "::/8",
    "64:ff9b::/32",
    "2002::/16",
    "fc00::/7",
    "fe80::/9",
    "ff00::/8",
];

/// Wanted state of an org.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "platform.tray.ai",
    version = "v1alpha1",
    kind = "TrayOrg",
    status = "TrayOrgStatus",
    shortname = "torg",
    category = "tray",
    derive = "PartialEq",
    doc = "One customer: where it lives, what it may use, who may see it and what it runs.",
    selectable = ".spec.regionRef.name",
    selectable = ".spec.lifecycle.state",
    selectable = ".spec.plan",
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.regionRef.name"),
    printcolumn(name = "Plan", type_ = "string", json_path = ".spec.plan"),
    printcolumn(name = "State", type_ = "string", json_path = ".spec.lifecycle.state"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Residency",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='ResidencyCompliant')].status"
    ),
    printcolumn(
        name = "Last-Backup",
        type_ = "date",
        json_path = ".status.backup.lastCommitted"
    ),
    printcolumn(name = "RPO", type_ = "string", json_path = ".status.backup.rpo.verdict"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Namespace",
        type_ = "string",
        json_path = ".status.namespace",
        priority = 1
    ),
    printcolumn(
        name = "Log-Hours",
        type_ = "integer",
        json_path = ".status.executionLogs.visibleHours",
        priority = 1
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.overrides) || !has(self.workloads) || self.overrides.all(o, !self.workloads.exists(w, w.name == o.name))")
    .message("spec.overrides is for workloads of the region: change a workload of the org in spec.workloads itself").field_path(".overrides"))]
#[x_kube(validation = Rule::new("!has(self.workloads) || self.workloads.filter(w, has(w.webhook)).size() <= 1")
    .message("at most one of spec.workloads may have webhook: an org has one webhook host").field_path(".workloads"))]
#[x_kube(validation = Rule::new("!has(self.addOns) || !('ExtendedLogRetention' in self.addOns) || self.plan == 'Team'")
    .message("spec.addOns: ExtendedLogRetention is for plan Team: Enterprise has its hours without it, and Pro cannot have them").field_path(".addOns"))]
#[x_kube(validation = Rule::new("!has(self.executionLogs.retentionHours) || self.executionLogs.retentionHours <= 168 || self.plan == 'Enterprise' || (has(self.addOns) && 'ExtendedLogRetention' in self.addOns)")
    .message("spec.executionLogs.retentionHours above 168 needs plan Enterprise, or plan Team with the add-on ExtendedLogRetention").field_path(".executionLogs.retentionHours"))]
pub struct TrayOrgSpec {
    /// UUID, lower case. Put it into Git, so that the org finds its data again; generated into the status unless set. Never changes once placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 36, max = 36),
        regex(pattern = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
    )]
    pub org_id: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub display_name: Option<String>,
    /// Region the org lives in. Never changes once the org has been placed.
    #[serde(default = "default_region")]
    pub region_ref: NameRef,
    /// Commercial plan: Pro, Team or Enterprise. It decides the quota, and for how long execution logs are kept.
    pub plan: Plan,
    /// What the org has besides its plan. ExtendedLogRetention (plan Team) = `teamExtendedHours` of its RetentionPolicy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 10))]
    pub add_ons: Vec<AddOn>,
    /// Who may look into the org's namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["kind".into(), "name".into()]))]
    #[schemars(length(max = 50))]
    pub owners: Vec<Owner>,
    /// Whether the org runs, and whether it may be deleted.
    #[serde(default)]
    pub lifecycle: Lifecycle,
    /// Limits of the org's namespace; a value that is not set is the plan's.
    #[serde(default)]
    pub quota: Quota,
    /// How pods are spread.
    #[serde(default)]
    pub availability: Availability,
    /// What the org's pods may reach.
    #[serde(default)]
    pub network: Network,
    /// For how long the org's execution logs can be seen and are kept.
    #[serde(default)]
    pub execution_logs: ExecutionLogs,
    /// Changes to workloads of the region, by name; what is not set is inherited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 20))]
    pub overrides: Vec<Override>,
    /// What this org runs besides the region's workloads; a name that the region uses is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 20))]
    pub workloads: Vec<Workload>,
    /// RetentionPolicy of the org's execution logs and snapshots.
    #[serde(default = "default_policy")]
    pub retention_policy_ref: NameRef,
    /// BackupSchedule of the org's snapshots.
    #[serde(default = "default_policy")]
    pub backup_schedule_ref: NameRef,
}

/// Commercial plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Plan {
    Pro,
    Team,
    Enterprise,
}

/// What an org has besides its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AddOn {
    ExtendedLogRetention,
}

/// For how long an org's execution logs can be seen and are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionLogs {
    /// Hidden = nobody sees them, and run data is kept for 24 hours so that runs can be tried again.
    #[serde(default)]
    pub mode: LogMode,
    /// Fewer hours than the RetentionPolicy gives the org's plan; more of them change nothing. Without effect while Hidden.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 24, max = 720))]
    pub retention_hours: Option<i32>,
}

/// Whether an org's execution logs can be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LogMode {
    #[default]
    Visible,
    Hidden,
}

/// One who may look into the org's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Owner {
    /// Group or User.
    pub kind: OwnerKind,
    /// Name, as the cluster's authentication gives it.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("!self.matches('[[:cntrl:]]')")
        .message("owners must not hold line breaks or other control characters"))]
    #[x_kube(validation = Rule::new("!self.startsWith('system:')")
        .message("owners must not name a system: user or group, which would open the org to everybody or to the cluster's own parts"))]
    pub name: String,
    /// Admin reads everything but Secrets; Viewer the same without logs.
    pub role: OwnerRole,
}

/// Kind of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OwnerKind {
    Group,
    User,
}

impl OwnerKind {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Group => "Group",
            Self::User => "User",
        }
    }
}

/// Role of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OwnerRole {
    Admin,
    Viewer,
}

/// Whether the org runs, and whether it may be deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lifecycle {
    /// Suspended = no pods; data, snapshots, retention and residency go on, and the RPO counts.
    #[serde(default)]
    pub state: LifecycleState,
    /// Enabled = the TrayOrg cannot be deleted.
    #[serde(default)]
    pub deletion_protection: DeletionProtection,
}

/// Whether an org runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LifecycleState {
    #[default]
    Active,
    Suspended,
}

/// Whether a TrayOrg may be deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionProtection {
    #[default]
    Enabled,
    Disabled,
}

/// How pods are spread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Availability {
    /// Required = a pod stays pending rather than unbalance the zones.
    #[serde(default)]
    pub zone_spread: ZoneSpread,
}

/// How strictly pods are spread over zones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ZoneSpread {
    #[default]
    BestEffort,
    Required,
}

/// What an org's pods may reach. Internal addresses are never among it, but DNS and the org's own pods always are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.egress == 'AllowList') == has(self.allowCidrs)")
    .message("network.allowCidrs goes with network.egress: AllowList: set both or neither"))]
pub struct Network {
    /// PublicOnly = the Internet; AllowList = only `allowCidrs`; None = nothing.
    #[serde(default)]
    pub egress: Egress,
    /// Public ranges that egress AllowList opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[x_kube(validation = Rule::new("self.all(c, isCIDR(c))")
        .message("network.allowCidrs must hold CIDR ranges, such as 203.0.113.0/24"))]
    #[x_kube(validation = Rule::new(public_only())
        .message("network.allowCidrs must not touch private, link-local, metadata, multicast or reserved ranges: name public ones, or use egress: PublicOnly for the whole Internet"))]
    #[schemars(length(min = 1, max = 50), inner(length(max = 43)))]
    pub allow_cidrs: Option<Vec<String>>,
}

/// What an org's pods may reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Egress {
    #[default]
    PublicOnly,
    None,
    AllowList,
}

/// Changes to a workload of the region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Override {
    /// Name of the region's workload.
    #[schemars(length(min = 1, max = 30), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Instead of the region's image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^[!-}]+$"))]
    pub image: Option<String>,
    /// Instead of the region's replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub replicas: Option<i32>,
    /// Instead of the region's resources, field by field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Added to the region's environment, or instead of an entry of the same name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 100))]
    pub env: Vec<EnvVar>,
    /// Instead of the region's volume size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeOverride>,
}

/// Change to a volume of the region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
pub struct VolumeOverride {
    /// Size, e.g. `50Gi`.
    #[schemars(schema_with = "positive_quantity")]
    pub size: Quantity,
}

/// What the operator found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct TrayOrgStatus {
    /// Generation of the spec that this status answers; -1 = none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The org's id: from the spec, or generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub org_id: Option<String>,
    /// The org's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// Where the org was placed: pinned for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<PinnedRegion>,
    /// Where the org's snapshots are: pinned for good when the org is placed. While its Region's `spec.backup` names another
    /// bucket, bucketOwner or prefix, no snapshot is taken, removed or restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_place: Option<BackupPlace>,
    /// Where the org's pods run, counted; absent while none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<PlacementStatus>,
    /// Host of the org's webhooks: `https://<webhookHost>/…`. Set where one of its workloads has `webhook`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub webhook_host: Option<String>,
    /// For how long its execution logs can be seen and are kept. ConfigMap `execution-log-policy` tells its workloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_logs: Option<ExecutionLogsStatus>,
    /// How long its snapshots are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_retention: Option<SnapshotRetentionStatus>,
    /// Shorter times that wait for 24 hours before anything goes by them. Put the value back before then, and nothing
    /// goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["field".into()]))]
    #[schemars(length(max = 3))]
    pub pending_reductions: Vec<PendingReduction>,
    /// The org's snapshots, as the ledger has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupStatus>,
    /// Revision of the region's workloads that the org has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub workloads_revision: Option<String>,
    /// Claims that no workload uses any more. They are kept, and no new snapshot holds what is in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4000))]
    pub unused_volumes: Vec<String>,
    /// Claims in the org's namespace that have a volume and that the operator did not make: no snapshot holds what is in them. As
    /// many as there is room for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MOST_OTHER_VOLUMES), inner(length(max = 253)))]
    pub other_volumes: Vec<String>,
    /// Workloads whose replicas were raised to the plan's least number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 40))]
    pub raised_workloads: Vec<String>,
    /// Claims that no snapshot holds, since their workload says `backup.exclude`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4000))]
    pub excluded_volumes: Vec<String>,
    /// Values of annotations `platform.tray.ai/accept-…` that were looked at, the newest last. The annotations are left alone; the
    /// same value is never carried out again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["annotation".into(), "value".into()]))]
    #[schemars(length(max = MOST_ACKNOWLEDGEMENTS))]
    pub acknowledgements: Vec<Acknowledgement>,
    /// Who of support is let in at present, those first that end first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = MOST_SUPPORT_ENTRIES))]
    pub support_access: Vec<SupportAccessEntry>,
    /// Ready, Placed, ResidencyCompliant, WorkloadsAvailable, ZonesSpread, IsolationEnforced, EncryptionEnforced, QuotaSatisfied, BackupHealthy, RpoMet, SupportAccessActive, WebhookReady (with a webhook host); Reconciling, Stalled, DataLost and ChildContested while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 20))]
    pub conditions: Vec<Condition>,
}

/// A value of an annotation by which a person accepts something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Acknowledgement {
    /// The annotation, without its group: `accept-run`.
    #[schemars(length(max = 63))]
    pub annotation: String,
    /// Its value, or of a long one the beginning.
    #[schemars(length(max = 253))]
    pub value: String,
    /// What became of it.
    pub result: AcknowledgementResult,
    /// When it was looked at.
    pub at: Time,
}

/// What became of an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AcknowledgementResult {
    /// It was carried out, or had been before.
    CarriedOut,
    /// There was nothing that it accepts.
    Refused,
}

/// For how long execution logs can be seen and are kept, from the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionLogsStatus {
    /// Hours for which they can be seen; 0 = never. A shorter time is in force at once.
    pub visible_hours: i32,
    /// Hours for which they are kept. A shorter time waits for 24 hours.
    pub kept_hours: i32,
    /// What decided: Plan, AddOn, Org (`spec.executionLogs.retentionHours`) or Hidden (`spec.executionLogs.mode`).
    pub source: LogHoursSource,
}

/// What decided for how long execution logs are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LogHoursSource {
    /// What the RetentionPolicy gives the org's plan.
    Plan,
    /// What the RetentionPolicy gives plan Team with ExtendedLogRetention.
    AddOn,
    /// `spec.executionLogs.retentionHours`.
    Org,
    /// `spec.executionLogs.mode` is Hidden.
    Hidden,
}

/// How long snapshots are kept: the RetentionPolicy's, shorter ones 24 hours later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotRetentionStatus {
    /// Days after which a snapshot goes.
    pub keep_days: i32,
    /// Good snapshots of every volume that stay however old they are.
    pub keep_at_least: i32,
}

/// A shorter time that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct PendingReduction {
    /// Field of this status.
    pub field: RetainedField,
    /// What is in force until then.
    pub from: i32,
    /// What is in force from then on.
    pub to: i32,
    /// When.
    pub at: Time,
}

/// Field of an org's status that says how much or how long something is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RetainedField {
    #[serde(rename = "executionLogs.keptHours")]
    KeptHours,
    #[serde(rename = "snapshotRetention.keepDays")]
    KeepDays,
    #[serde(rename = "snapshotRetention.keepAtLeast")]
    KeepAtLeast,
}

impl RetainedField {
    /// As in the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeptHours => "executionLogs.keptHours",
            Self::KeepDays => "snapshotRetention.keepDays",
            Self::KeepAtLeast => "snapshotRetention.keepAtLeast",
        }
    }
}

/// Support that is let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct SupportAccessEntry {
    /// The SupportAccess, in the org's namespace.
    #[schemars(length(max = 63))]
    pub name: String,
    /// View or Debug.
    pub role: Role,
    /// The groups that are let in.
    #[schemars(length(max = 10))]
    pub subjects: Vec<String>,
    /// When it ends by itself.
    pub until: Time,
}

/// Where an org was placed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PinnedRegion {
    /// Name of the Region.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Its jurisdiction.
    pub jurisdiction: Jurisdiction,
    /// Its cloud region.
    #[schemars(length(max = 32))]
    pub cloud_region: String,
}

/// Where the org's pods run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlacementStatus {
    /// Running pods of its workloads, by zone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["zone".into()]))]
    #[schemars(length(max = 100))]
    pub zones: Vec<ZonePods>,
    /// Pods found outside of the pinned region; absent = none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods_outside: Option<i32>,
    /// Volumes found outside of the pinned region; absent = none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes_outside: Option<i32>,
}

/// Running pods in a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct ZonePods {
    /// The zone, as its nodes say; `unknown` where they do not.
    #[schemars(length(max = 63))]
    pub zone: String,
    /// Pods in it.
    pub pods: i32,
    /// Its nodes with pods of the org: 50 at most, the first by name.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["node".into()]))]
    #[schemars(length(max = 50))]
    pub nodes: Vec<NodePods>,
}

/// Running pods on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct NodePods {
    /// The node.
    #[schemars(length(max = 253))]
    pub node: String,
    /// Pods on it.
    pub pods: i32,
}

/// The org's snapshots, as the ledger has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupStatus {
    /// When the newest good run was committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_committed: Option<Time>,
    /// Consistency point of the newest good run: what a restore brings back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistency_point: Option<Time>,
    /// When the next run is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_due: Option<Time>,
    /// Good runs that are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<i32>,
    /// Consistency point of the oldest good run that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Time>,
    /// Bytes that the runs that are kept have added to the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// Recovery point objective.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo: Option<RpoStatus>,
    /// Recovery time objective.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rto: Option<RtoStatus>,
    /// What was read of the org's ledger, and how long that stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<LedgerStatus>,
}

/// What was read of an org's ledger when it last came to rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LedgerStatus {
    /// Number of its last entry. A ledger without that entry has lost some.
    pub last_entry: i64,
    /// SHA-256 of that entry, in hex.
    pub digest: String,
    /// The org's KMS key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key_arn: Option<String>,
    /// Until then nothing is due, and the ledger is not read but for a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rests_until: Option<Time>,
    /// Digest of schedule, retention, backup location, claims and snapshots then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged_by: Option<String>,
}

/// Where the org stands with its recovery point objective.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct RpoStatus {
    /// Met, AtRisk, Breached, or Unknown.
    pub verdict: RpoVerdict,
    /// When the newest good copy becomes too old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
}

/// Verdict on the recovery point objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RpoVerdict {
    /// The newest good copy is recent enough, and the next will be in time.
    Met,
    /// The deadline is nearer than a run takes.
    AtRisk,
    /// The newest good copy is too old.
    Breached,
    /// There is no good copy yet and it is not too late for one, or the ledger could not be read.
    Unknown,
}

/// Where the org stands with its recovery time objective.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct RtoStatus {
    /// Estimated (from restores), Breached, or Unknown.
    pub verdict: RtoVerdict,
    /// How long a restore takes or took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<i64>,
    /// When that was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
}

/// Verdict on the recovery time objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RtoVerdict {
    /// A restore is estimated to take less than the objective.
    Estimated,
    /// The newest restore took longer, or would.
    Breached,
    /// Nothing to go by.
    Unknown,
}

fn default_region() -> NameRef {
    NameRef::new("us")
}

fn default_policy() -> NameRef {
    NameRef::new("standard")
}

/// CEL: no range of `self` overlaps an internal one. Two ranges overlap when either holds the other.
fn public_only() -> String {
    let internal = INTERNAL_CIDRS.join("', '");
    format!(
        "self.all(c, !isCIDR(c) || ['{internal}'].all(i, !cidr(i).containsCIDR(cidr(c)) && !cidr(c).containsCIDR(cidr(i))))"
    )
}
