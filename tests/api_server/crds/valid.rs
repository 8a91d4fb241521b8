//! Objects that are right. Together they set every field of every spec; for each kind the first sets as many as can be
//! set at once, the last as few.

use serde_json::{Value, json};
use tray_api::kinds::Kind;

use crate::edit::with;

/// A namespace of an org: the policies may be at work, and let a SupportAccess into no other.
pub(crate) const NAMESPACE: &str = "org-valid-7c9e6679";

fn object(kind: &str, spec: &Value) -> Value {
    json!({"apiVersion": "platform.tray.ai/v1alpha1", "kind": kind, "metadata": {"name": "valid"}, "spec": spec})
}

/// Every object.
pub(crate) fn all() -> Vec<Value> {
    Kind::ALL.into_iter().flat_map(of).collect()
}

fn of(kind: Kind) -> Vec<Value> {
    match kind {
        Kind::Region => regions(),
        Kind::RetentionPolicy => retention_policies(),
        Kind::BackupSchedule => schedules(),
        Kind::TrayOrg => orgs(),
        Kind::OrgSnapshot => snapshots(),
        Kind::OrgRestore => restores(),
        Kind::SupportAccess => support_accesses(),
        Kind::OrgTombstone => tombstones(),
    }
}

/// The first object of that kind.
pub(crate) fn fullest(kind: &str) -> Value {
    let found = all().into_iter().find(|object| object["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind} is known to be valid: add one"))
}

fn workload() -> Value {
    json!({
        "name": "db", "kind": "StatefulSet", "image": "db:1", "command": ["start"], "args": ["now"],
        "env": [{"name": "MODE", "value": "on"}], "envFromSecrets": ["connector"], "replicas": 2,
        "runAsUser": 999, "runAsGroup": 998, "fsGroup": 997, "scratch": ["/tmp"],
        "ports": [{"name": "sql", "port": 5432}],
        "resources": {"cpu": "100m", "memory": "128Mi", "memoryLimit": "256Mi"},
        "readiness": {"httpPath": "/healthz", "port": "sql"},
        "volume": {"size": "10Gi", "mountPath": "/data"}, "executionLogPolicy": {"mountPath": "/etc/tray/logs"}, "webhook": {"port": "sql"},
        "backup": {
            "exclude": false, "paths": ["backup"],
            "pre": {"command": ["copy"], "timeoutSeconds": 60}, "post": {"command": ["clean"], "timeoutSeconds": 60},
        },
    })
}

fn asked_by_command() -> Value {
    json!({"name": "web", "kind": "Deployment", "image": "web:1", "readiness": {"exec": ["ready"]}})
}

fn regions() -> Vec<Value> {
    let least = json!({
        "jurisdiction": "EU", "cloudRegion": "eu-west-1", "zones": ["eu-west-1a", "eu-west-1b"],
        "storage": {"storageClassName": "org-encrypted"},
        "backup": {
            "bucket": "tray-backups-eu", "bucketOwner": "111122223333", "cloudRegion": "eu-central-1",
            "kms": {"ledgerKeyArn": "arn:aws:kms:eu-central-1:111122223333:key/ledger"},
            "moverRoleArn": "arn:aws:iam::111122223333:role/tray-mover",
        },
    });
    let mut full = least.clone();
    full["stage"] = "Production".into();
    full["minZones"] = 2.into();
    full["scheduling"] = "Schedulable".into();
    full["onViolation"] = "Alert".into();
    full["logLocation"] = json!({"bucket": "tray-logs-eu", "prefix": "platform/"});
    full["ingress"] =
        json!({"domain": "hooks.eu.example.com", "gatewayRef": {"name": "public", "namespace": "edge"}});
    full["backup"]["prefix"] = "orgs/".into();
    full["backup"]["objectLock"] = "Governance".into();
    full["backup"]["kms"]["mode"] = "SharedKey".into();
    full["backup"]["kms"]["keyArn"] = "arn:aws:kms:eu-central-1:111122223333:key/orgs".into();
    let endpoint = "https://aws.example";
    full["backup"]["endpoints"] = json!({"s3": endpoint, "kms": endpoint, "sts": endpoint});
    full["plans"] = json!([{
        "name": "Enterprise", "minReplicas": 2,
        "quota": {"cpu": "16", "memory": "32Gi", "storage": "500Gi", "pods": 200},
    }]);
    full["workloads"] = json!([workload(), asked_by_command()]);
    vec![object("Region", &full), object("Region", &least)]
}

fn retention_policies() -> Vec<Value> {
    let full = json!({
        "executionLogs": {"proHours": 168, "teamHours": 168, "teamExtendedHours": 720, "enterpriseHours": 720},
        "snapshots": {"keepDays": 14, "keepAtLeast": 3}, "termination": {"purgeAfterDays": 90},
    });
    vec![
        object("RetentionPolicy", &full),
        object("RetentionPolicy", &json!({})),
    ]
}

fn schedules() -> Vec<Value> {
    let full = json!({
        "schedule": "0 */12 * * *", "timeZone": "Europe/Dublin", "windowMinutes": 60, "suspend": true,
        "objectives": {"rpoHours": 24, "rtoHours": 14},
    });
    let least = json!({"schedule": "0 0 * * *"});
    vec![object("BackupSchedule", &full), object("BackupSchedule", &least)]
}

fn orgs() -> Vec<Value> {
    let full = json!({
        "orgId": "7c9e6679-7425-40de-944b-e07fc1f90ae7", "displayName": "Acme Ltd", "regionRef": {"name": "eu"},
        "plan": "Enterprise", "owners": [{"kind": "Group", "name": "acme-admins", "role": "Admin"}],
        "lifecycle": {"state": "Active", "deletionProtection": "Enabled"},
        "quota": {"cpu": "8", "memory": "16Gi", "storage": "200Gi", "pods": 50},
        "availability": {"zoneSpread": "Required"},
        "network": {"egress": "AllowList", "allowCidrs": ["203.0.113.0/24"]},
        "executionLogs": {"mode": "Visible", "retentionHours": 300},
        "overrides": [{
            "name": "runtime", "image": "runtime:2", "replicas": 3, "env": [{"name": "MODE", "value": "on"}],
            "resources": {"cpu": "1", "memory": "1Gi", "memoryLimit": "2Gi"}, "volume": {"size": "20Gi"},
        }],
        "workloads": [workload(), asked_by_command()],
        "retentionPolicyRef": {"name": "standard"}, "backupScheduleRef": {"name": "standard"},
    });
    vec![
        object("TrayOrg", &full),
        object(
            "TrayOrg",
            &json!({"plan": "Team", "addOns": ["ExtendedLogRetention"]}),
        ),
        object("TrayOrg", &json!({"plan": "Pro"})),
    ]
}

fn snapshots() -> Vec<Value> {
    let at_a_slot = json!({"orgRef": {"name": "acme"}, "origin": "Schedule", "slot": "2026-01-01T00:00:00Z"});
    let discovered =
        json!({"orgRef": {"name": "acme"}, "origin": "Discovered", "runId": "01ARZ3NDEKTSV4RRFFQ69G5FAV"});
    let least = json!({"orgRef": {"name": "acme"}});
    let specs = [at_a_slot, discovered, least];
    specs.iter().map(|spec| object("OrgSnapshot", spec)).collect()
}

fn restores() -> Vec<Value> {
    let choices = [
        json!({"runId": "01ARZ3NDEKTSV4RRFFQ69G5FAV"}),
        json!({"latestGood": true}),
        json!({"asOf": "2026-01-01T00:00:00Z"}),
    ];
    let of =
        |snapshot| json!({"orgRef": {"name": "acme"}, "snapshot": snapshot, "target": {"inPlace": true}});
    choices
        .iter()
        .map(|choice| object("OrgRestore", &of(choice)))
        .collect()
}

fn tombstones() -> Vec<Value> {
    let at = "2026-01-01T00:00:00Z";
    let least = json!({
        "org": "gone", "orgId": "7c9e6679-7425-40de-944b-e07fc1f90ae7", "namespace": "org-gone-7c9e6679",
        "region": {"name": "eu", "jurisdiction": "EU", "cloudRegion": "eu-west-1"}, "reason": "Deletion",
        "deletedAt": at, "purgeAt": at, "erasureStartsAt": at,
    });
    let mut full = least.clone();
    full["kmsKeyArn"] = "arn:aws:kms:eu-central-1:111122223333:key/org".into();
    full["backup"] = json!({"bucket": "tray-backups-eu", "bucketOwner": "111122223333", "prefix": "orgs/"});
    full["acknowledgements"] = json!([{"annotation": "accept-run", "value": "01M8Q99358W02H56RHPFE1PTEA", "result": "CarriedOut",
        "at": at}]);
    full["webhookHost"] = "7c9e6679-7425-40de-944b-e07fc1f90ae7.hooks.eu.example.com".into();
    vec![object("OrgTombstone", &full), object("OrgTombstone", &least)]
}

fn support_accesses() -> Vec<Value> {
    let spec = json!({
        "subjects": [{"kind": "Group", "name": "support"}], "role": "Debug", "durationHours": 4, "reason": "ticket 7",
    });
    vec![with(
        object("SupportAccess", &spec),
        "/metadata/namespace",
        json!(NAMESPACE),
    )]
}
