//! What people apply: the platform, Regions and orgs.

use serde_json::{Value, json};
use tray_domain::names;

use crate::random::Random;

/// A Region of the world, and where the copies of its orgs lie.
#[derive(Debug, PartialEq, Eq)]
pub struct Home {
    /// The Region's name.
    pub region: &'static str,
    /// Its jurisdiction.
    pub jurisdiction: &'static str,
    /// Cloud region that orgs live in.
    pub cloud_region: &'static str,
    /// Cloud region of the bucket.
    pub backup_region: &'static str,
    /// The bucket of backups.
    pub bucket: &'static str,
    /// The key that ledgers are under.
    pub ledger_key: &'static str,
}

/// Every Region.
pub const HOMES: [Home; 2] = [
    Home {
        region: "eu",
        jurisdiction: "EU",
        cloud_region: "eu-west-1",
        backup_region: "eu-central-1",
        bucket: "tray-backups-eu",
        ledger_key: "arn:aws:kms:eu-central-1:111122223333:key/ledger-eu",
    },
    Home {
        region: "us",
        jurisdiction: "US",
        cloud_region: "us-east-2",
        backup_region: "us-west-2",
        bucket: "tray-backups-us",
        ledger_key: "arn:aws:kms:us-west-2:111122223333:key/ledger-us",
    },
];

/// The Region of an org by its number.
pub const fn home(number: usize) -> &'static Home {
    &HOMES[number % HOMES.len()]
}

/// A part of the name of every file of every volume, and what is in every org's own Secret: it must appear nowhere else.
pub const PLANTED: &str = "planted";
/// A ConfigMap in an org's namespace that is the org's own.
pub const NOTE: &str = "note";
/// A ConfigMap that is nobody's business.
pub const FOREIGN: &str = "foreign";

/// An object of one of our kinds.
pub fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "platform.tray.ai/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// What of the platform is not the same in every world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Variant {
    /// The database is made consistent by hooks.
    pub hooks: bool,
    /// Of its volume one folder alone is copied.
    pub paths: bool,
}

impl Variant {
    /// Of a seed.
    pub fn drawn(random: &Random) -> Self {
        let mut random = random.stream("variant");
        Self {
            hooks: random.chance(0.5),
            paths: random.chance(0.25),
        }
    }
}

/// What the hooks of the database are called.
pub const PRE_HOOK: &str = "quiesce";
/// See [`PRE_HOOK`].
pub const POST_HOOK: &str = "resume";

/// What is there before any org.
pub fn platform(variant: Variant) -> Vec<Value> {
    let mut objects = vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": names::SYSTEM_NAMESPACE}}),
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "org-encrypted"},
            "provisioner": "ebs.csi.aws.com", "reclaimPolicy": "Retain", "volumeBindingMode": "WaitForFirstConsumer",
            "parameters": {"encrypted": "true"},
        }),
    ];
    objects.push(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": FOREIGN, "namespace": "default"}, "data": {"a": "b"},
    }));
    for home in &HOMES {
        objects.extend(["a", "b"].map(|zone| node(home, zone)));
    }
    objects.extend([
        object(
            "RetentionPolicy",
            "standard",
            &json!({"snapshots": {"keepDays": 14, "keepAtLeast": 3}}),
        ),
        object(
            "BackupSchedule",
            "standard",
            &json!({"schedule": "0 */12 * * *", "timeZone": "UTC", "windowMinutes": 60}),
        ),
    ]);
    objects.extend(HOMES.iter().map(|home| region(home, variant)));
    objects
}

fn node(home: &Home, zone: &str) -> Value {
    let zone = format!("{}{zone}", home.cloud_region);
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": zone, "labels": {
            names::NODE_REGION: home.cloud_region, names::NODE_ZONE: zone, "kubernetes.io/hostname": zone,
        }},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn region(home: &Home, variant: Variant) -> Value {
    let mut backup = json!({});
    if variant.hooks {
        backup["pre"] = json!({"command": [PRE_HOOK]});
        backup["post"] = json!({"command": [POST_HOOK]});
    }
    if variant.paths {
        backup["paths"] = json!(["data"]);
    }
    let zones = ["a", "b"].map(|zone| format!("{}{zone}", home.cloud_region));
    let spec = json!({
        "jurisdiction": home.jurisdiction, "cloudRegion": home.cloud_region, "minZones": 1,
        "zones": zones,
        "storage": {"storageClassName": "org-encrypted"},
        "backup": {
            "bucket": home.bucket, "bucketOwner": "111122223333", "cloudRegion": home.backup_region,
            "kms": {"ledgerKeyArn": home.ledger_key}, "moverRoleArn": "arn:aws:iam::111122223333:role/tray-mover",
        },
        "workloads": [
            {"name": "db", "kind": "StatefulSet", "image": "db:1", "runAsUser": 999, "ports": [{"name": "sql", "port": 5432}],
                "volume": {"size": "1Gi", "mountPath": "/data"}, "backup": backup},
            {"name": "web", "kind": "Deployment", "image": "web:1", "runAsUser": 1000, "replicas": 1},
        ],
    });
    object("Region", home.region, &spec)
}

/// The name of an org by its number.
pub fn org_name(number: usize) -> String {
    format!("org{number}")
}

/// The id of an org by its number.
pub fn org_id(number: usize) -> String {
    format!("{:08x}-7425-40de-944b-e07fc1f90ae7", 0x7700_0000 + number)
}

/// The namespace of an org by its number.
pub fn org_namespace(number: usize) -> String {
    let id = org_id(number).parse();
    id.map(|id| names::org_namespace(&org_name(number), &id))
        .unwrap_or_default()
}

/// An org, as the mutating policies of the chart complete it.
pub fn org(number: usize) -> Value {
    let spec = json!({
        "orgId": org_id(number), "regionRef": {"name": home(number).region}, "plan": "Team",
        "owners": [{"kind": "Group", "name": "them", "role": "Admin"}],
        "retentionPolicyRef": {"name": "standard"}, "backupScheduleRef": {"name": "standard"},
    });
    let mut org = object("TrayOrg", &org_name(number), &spec);
    org["metadata"]["finalizers"] = json!([names::FINALIZER_ORG]);
    org["metadata"]["annotations"][names::ANNOTATION_REATTACH] = json!(names::REATTACH_ALLOWED);
    org
}

/// A snapshot of an org that somebody asks for.
pub fn snapshot(name: &str, org: &str) -> Value {
    object("OrgSnapshot", name, &json!({"orgRef": {"name": org}}))
}

/// A restore of the newest good run of an org.
pub fn restore(name: &str, org: &str) -> Value {
    object(
        "OrgRestore",
        name,
        &json!({"orgRef": {"name": org}, "snapshot": {"latestGood": true}, "target": {"inPlace": true}}),
    )
}
