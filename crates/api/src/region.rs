//! `Region`: a place where orgs live.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tray_domain::{cloud_regions::Jurisdiction, stage::Stage};

use super::{shared::Quota, trayorg::Plan, workload::Workload};

/// Wanted state of a Region.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "platform.tray.ai",
    version = "v1alpha1",
    kind = "Region",
    status = "RegionStatus",
    shortname = "rgn",
    category = "tray",
    derive = "PartialEq",
    doc = "A place where orgs live: its jurisdiction, cloud region, zones and storage, where its backups go, and what every org there runs.",
    printcolumn(name = "Jurisdiction", type_ = "string", json_path = ".spec.jurisdiction"),
    printcolumn(name = "Cloud-Region", type_ = "string", json_path = ".spec.cloudRegion"),
    printcolumn(
        name = "Backup-Region",
        type_ = "string",
        json_path = ".spec.backup.cloudRegion"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(name = "Orgs", type_ = "integer", json_path = ".status.orgs"),
    printcolumn(name = "Violations", type_ = "integer", json_path = ".status.violations"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Scheduling",
        type_ = "string",
        json_path = ".spec.scheduling",
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
#[x_kube(validation = Rule::new(in_jurisdiction("self.cloudRegion"))
    .message(jurisdiction_message("spec.cloudRegion").as_str()).field_path(".cloudRegion"))]
#[x_kube(validation = Rule::new(in_jurisdiction("self.backup.cloudRegion"))
    .message(jurisdiction_message("spec.backup.cloudRegion").as_str()).field_path(".backup.cloudRegion"))]
#[x_kube(validation = Rule::new("self.backup.cloudRegion != self.cloudRegion")
    .message("spec.backup.cloudRegion must be another region than spec.cloudRegion: one disaster must not take data and backups; name a region of the same jurisdiction")
    .field_path(".backup.cloudRegion"))]
#[x_kube(validation = Rule::new("self.zones.all(z, z.startsWith(self.cloudRegion) && z.size() == self.cloudRegion.size() + 1)")
    .message("every item of spec.zones must be a zone of spec.cloudRegion, such as eu-west-1a for eu-west-1").field_path(".zones"))]
#[x_kube(validation = Rule::new("self.minZones <= self.zones.size()")
    .message("spec.minZones (2 unless set) must be at most the number of spec.zones: lower it or name more zones").field_path(".minZones"))]
#[x_kube(validation = Rule::new("self.backup.kms.ledgerKeyArn.split(':')[3] == self.backup.cloudRegion")
    .message("spec.backup.kms.ledgerKeyArn must name a key in spec.backup.cloudRegion").field_path(".backup.kms.ledgerKeyArn"))]
#[x_kube(validation = Rule::new("!has(self.backup.kms.keyArn) || self.backup.kms.keyArn.split(':')[3] == self.backup.cloudRegion")
    .message("spec.backup.kms.keyArn must name a key in spec.backup.cloudRegion").field_path(".backup.kms.keyArn"))]
#[x_kube(validation = Rule::new("!has(self.logLocation) || self.logLocation.bucket != self.backup.bucket")
    .message("spec.logLocation.bucket must be another bucket than spec.backup.bucket, which lies in another region: name one in spec.cloudRegion").field_path(".logLocation.bucket"))]
#[x_kube(validation = Rule::new("self.stage != 'Production' || has(self.backup.moverRoleArn)")
    .message("spec.backup.moverRoleArn is required where spec.stage is Production: movers assume it, cut down to one part each"))]
#[x_kube(validation = Rule::new("!has(self.workloads) || self.workloads.filter(w, has(w.webhook)).size() <= 1")
    .message("at most one of spec.workloads may have webhook: an org has one webhook host").field_path(".workloads"))]
#[x_kube(validation = Rule::new("has(self.ingress) || !has(self.workloads) || !self.workloads.exists(w, has(w.webhook))")
    .message("a workload with webhook needs spec.ingress: name domain and gatewayRef there, or remove webhook").field_path(".workloads"))]
pub struct RegionSpec {
    /// Under whose law data has to stay: US, EU or APAC. Never changes.
    pub jurisdiction: Jurisdiction,
    /// AWS region whose nodes run the orgs: the value of the nodes' label `topology.kubernetes.io/region`. Never changes.
    #[schemars(length(min = 1, max = 32))]
    pub cloud_region: String,
    /// Production demands more: a role for movers, and retention of at least 14 days. What was snapshotted there is never
    /// restored into a NonProduction region. Never changes.
    #[serde(default)]
    pub stage: Stage,
    /// Zones of the cloud region that orgs may use.
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 10), inner(length(min = 1, max = 33)))]
    pub zones: Vec<String>,
    /// With ready nodes in fewer zones than this, ZonesAvailable is False; orgs keep running.
    #[serde(default = "default_min_zones")]
    #[schemars(range(min = 1, max = 10))]
    pub min_zones: i32,
    /// Cordoned = no new orgs; those that are here stay.
    #[serde(default)]
    pub scheduling: Scheduling,
    /// What happens to a pod that is found outside of the region: Alert = the org's status, an event and a metric say so;
    /// Evict = the pod is deleted, too. Volumes are never touched.
    #[serde(default)]
    pub on_violation: OnViolation,
    /// Storage of the orgs' volumes.
    pub storage: Storage,
    /// Where snapshots go.
    pub backup: BackupLocation,
    /// Where access records go: who of support was let into an org, and when. Without it there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_location: Option<LogLocation>,
    /// Where webhooks come in. Unset = no org here has a webhook host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Ingress>,
    /// What a plan gives in this region; a plan that is not named has built-in values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 3))]
    pub plans: Vec<PlanValues>,
    /// What every org in this region runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 20))]
    pub workloads: Vec<Workload>,
}

/// Whether a region takes new orgs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Scheduling {
    #[default]
    Schedulable,
    Cordoned,
}

/// What happens to a pod that is found outside of its region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnViolation {
    #[default]
    Alert,
    Evict,
}

/// Storage of a region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// The only StorageClass that orgs may use; it must have `reclaimPolicy: Retain`.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub storage_class_name: String,
}

/// Where the snapshots of a region's orgs go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupLocation {
    /// Versioned, encrypted, private S3 bucket; nobody but this operator writes under the prefix. Orgs keep bucket,
    /// bucketOwner and prefix that they were placed with (`status.backupPlace` of the TrayOrg): with others here they are
    /// `Stalled, BackupPlaceChanged` until these are put back.
    #[schemars(length(min = 3, max = 63), regex(pattern = r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$"))]
    pub bucket: String,
    /// AWS account that must own the bucket: sent with every request.
    #[schemars(length(min = 12, max = 12), regex(pattern = r"^[0-9]{12}$"))]
    pub bucket_owner: String,
    /// AWS region of the bucket and the keys: another one than the region's own, in the same jurisdiction.
    #[schemars(length(min = 1, max = 32))]
    pub cloud_region: String,
    /// Put before every object's name; empty, or ending in `/`.
    #[serde(default)]
    #[schemars(length(max = 200), regex(pattern = r"^([A-Za-z0-9_.-]+/)*$"))]
    pub prefix: String,
    /// Keys.
    pub kms: Kms,
    /// Governance = the bucket must have a default object lock of mode GOVERNANCE and 1 to 10 days, so that nobody takes away
    /// what was written lately; pruning hides such objects, and the bucket's lifecycle rule removes them when their lock has
    /// ended. A longer lock might outlast an org. None = a default lock is not asked for.
    #[serde(default)]
    pub object_lock: ObjectLock,
    /// Role that the operator assumes per part of a run, cut down to that part. Required in a Production region; elsewhere nothing is copied or restored without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 200),
        regex(pattern = r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$")
    )]
    pub mover_role_arn: Option<String>,
    /// Custom endpoints. Empty = AWS.
    #[serde(default)]
    pub endpoints: Endpoints,
}

/// Where the access records of a region's orgs go: a bucket in the region's own cloud region, of the account in
/// `backup.bucketOwner`, reached by `backup.endpoints`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct LogLocation {
    /// Encrypted, private S3 bucket in spec.cloudRegion; another one than the backups'.
    #[schemars(length(min = 3, max = 63), regex(pattern = r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$"))]
    pub bucket: String,
    /// Put before every object's name; empty, or ending in `/`.
    #[serde(default)]
    #[schemars(length(max = 200), regex(pattern = r"^([A-Za-z0-9_.-]+/)*$"))]
    pub prefix: String,
}

/// What object lock a backup location must have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ObjectLock {
    #[default]
    None,
    Governance,
}

/// Keys of a backup location.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.mode == 'SharedKey') == has(self.keyArn)")
    .message("backup.kms.keyArn goes with backup.kms.mode: SharedKey: set both or neither").field_path(".keyArn"))]
#[x_kube(validation = Rule::new("!has(self.keyArn) || self.keyArn != self.ledgerKeyArn")
    .message("backup.kms.keyArn must be another key than backup.kms.ledgerKeyArn: movers use it").field_path(".keyArn"))]
pub struct Kms {
    /// PerOrgKey = the operator makes a key for every org. SharedKey = new orgs are under `keyArn`; each still has a master
    /// key of its own, bound to its orgId. An org keeps the key that it began with.
    #[serde(default)]
    pub mode: KeyMode,
    /// KMS key of the orgs, in the backup's cloud region. Where it goes, all of their snapshots do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 200),
        regex(pattern = r"^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$")
    )]
    pub key_arn: Option<String>,
    /// KMS key of the orgs' ledgers, in the backup's cloud region. It outlives every org.
    #[schemars(
        length(max = 200),
        regex(pattern = r"^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$")
    )]
    pub ledger_key_arn: String,
}

/// Under which keys orgs are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyMode {
    #[default]
    PerOrgKey,
    SharedKey,
}

/// Custom endpoints; empty = AWS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Endpoints {
    /// URL of S3, `https://…`; path-style requests whenever it is set.
    #[serde(default)]
    #[schemars(length(max = 200), regex(pattern = r"^(https://[^\s/]+/?)?$"))]
    pub s3: String,
    /// URL of KMS, `https://…`.
    #[serde(default)]
    #[schemars(length(max = 200), regex(pattern = r"^(https://[^\s/]+/?)?$"))]
    pub kms: String,
    /// URL of STS, `https://…`.
    #[serde(default)]
    #[schemars(length(max = 200), regex(pattern = r"^(https://[^\s/]+/?)?$"))]
    pub sts: String,
}

/// Where webhooks come in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ingress {
    /// An org's host is `<orgId>.<domain>`. DNS and the Gateway's certificate have to cover `*.<domain>`.
    #[schemars(
        length(min = 1, max = 200),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)+$")
    )]
    pub domain: String,
    /// Gateway of the Gateway API that they come in through; its pods run in its own namespace.
    pub gateway_ref: GatewayRef,
}

/// Names a Gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct GatewayRef {
    /// Name of the Gateway.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Its namespace.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub namespace: String,
}

/// What a plan gives in a region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanValues {
    /// The plan.
    pub name: Plan,
    /// Limits of an org's namespace; a value that is not set is the built-in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// Least replicas of an org's Deployments; a lower number is raised, and the org's status says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub min_replicas: Option<i32>,
}

/// What the operator found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct RegionStatus {
    /// Generation of the spec that this status answers; -1 = none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Orgs placed here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orgs: Option<i32>,
    /// Pods and volumes of its orgs that were found elsewhere, and 1 for a backup location that lies elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub violations: Option<i32>,
    /// Ready nodes of the cloud region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<i32>,
    /// Ready nodes by zone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub zones: BTreeMap<String, i32>,
    /// What the orgs run, and how a change of `spec.workloads` reaches them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workloads: Option<RegionWorkloads>,
    /// Ready, NodesAvailable, ZonesAvailable, BackupLocationVerified, LogLocationVerified (with logLocation), IngressAvailable (with ingress), WorkloadsRolledOut; Fenced, Reconciling and Stalled while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 20))]
    pub conditions: Vec<Condition>,
}

/// What the orgs of a region run, and how a change of it reaches them: one org in twenty at once (at least one, at most
/// 100), the next when those are ready with it, and no further while one of them fails.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegionWorkloads {
    /// Revision that every org gets: the workloads of the spec, and those in `removed`.
    #[schemars(length(max = 16))]
    pub revision: String,
    /// Revisions that orgs have, the newest among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 1000))]
    pub revisions: Vec<WorkloadsRevision>,
    /// Orgs that were let have the newest revision and are not known to be well with it yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(max = 40)))]
    pub wave: Vec<String>,
    /// Workloads that are not in the spec any more and are still run for a day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 100))]
    pub removed: Vec<RemovedWorkload>,
}

/// The workloads of a region as they were.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
pub struct WorkloadsRevision {
    /// Name of the revision, made from what it holds.
    #[schemars(length(max = 16))]
    pub name: String,
    /// The workloads, as they were in the spec. One that this version cannot read must not make the Region unreadable.
    #[schemars(schema_with = "as_it_was")]
    pub workloads: Vec<Value>,
}

impl WorkloadsRevision {
    /// Of these workloads.
    pub fn new(name: String, workloads: &[Workload]) -> Self {
        Self {
            name,
            workloads: workloads
                .iter()
                .filter_map(|workload| serde_json::to_value(workload).ok())
                .collect(),
        }
    }

    /// The workloads; none where this version cannot read one of them.
    pub fn read(&self) -> Option<Vec<Workload>> {
        self.workloads
            .iter()
            .map(|workload| Workload::deserialize(workload).ok())
            .collect()
    }
}

/// A workload that is not in the spec any more and is still run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemovedWorkload {
    /// Its name.
    #[schemars(length(max = 30))]
    pub name: String,
    /// When it was first missed in the spec.
    pub removed_at: Time,
    /// From then on it is taken from the orgs, a few at a time. Its volumes stay.
    pub goes_at: Time,
}

/// Schema of a record: no defaults of today get into what was written before them.
fn as_it_was(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    })
}

fn default_min_zones() -> i32 {
    2
}

/// CEL: the cloud region in `field` lies in `self.jurisdiction`.
fn in_jurisdiction(field: &str) -> String {
    let clauses = Jurisdiction::ALL.map(|jurisdiction| {
        let regions = jurisdiction.cloud_regions().join("', '");
        format!("self.jurisdiction == '{jurisdiction}' && {field} in ['{regions}']")
    });
    clauses.join(" || ")
}

fn jurisdiction_message(field: &str) -> String {
    let lists = Jurisdiction::ALL
        .map(|jurisdiction| format!("{jurisdiction} has {}", jurisdiction.cloud_regions().join(", ")));
    format!("{field} must lie in spec.jurisdiction: {}", lists.join("; "))
}
