//! The rules of the CRDs (`x-kubernetes-validations`): for each the change of a valid object that it refuses, and one
//! next to it that it takes.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tray_api::crds;

use super::{Creation, valid};
use crate::edit::with;

/// What is set where (JSON pointers below `spec`; null removes).
type Change = Vec<(String, Value)>;

const LEDGER_KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/ledger";

/// Quantities of workloads and of overrides.
const QUANTITIES: [&str; 4] = [
    "resources/cpu",
    "resources/memory",
    "resources/memoryLimit",
    "volume/size",
];

/// One rule: the field that a refusal names, words of it, and a change on either side.
struct Row {
    kind: &'static str,
    field: String,
    says: &'static str,
    good: Change,
    bad: Change,
}

fn row(
    kind: &'static str,
    field: &str,
    says: &'static str,
    good: &[(&str, Value)],
    bad: &[(&str, Value)],
) -> Row {
    let own = |change: &[(&str, Value)]| {
        change
            .iter()
            .map(|(at, v)| ((*at).to_owned(), v.clone()))
            .collect()
    };
    Row {
        kind,
        field: field.to_owned(),
        says,
        good: own(good),
        bad: own(bad),
    }
}

fn rows() -> Vec<Row> {
    let mut rows = vec![
        row(
            "BackupSchedule",
            "spec.windowMinutes",
            "must be shorter than spec.objectives.rpoHours",
            &[("windowMinutes", json!(59)), ("objectives/rpoHours", json!(1))],
            &[("windowMinutes", json!(60)), ("objectives/rpoHours", json!(1))],
        ),
        row(
            "OrgRestore",
            "spec.snapshot",
            "exactly one of runId, latestGood and asOf",
            &[("snapshot", json!({"asOf": "2026-01-01T00:00:00Z"}))],
            &[("snapshot/latestGood", json!(true))],
        ),
        row(
            "OrgRestore",
            "spec.snapshot",
            "exactly one of runId, latestGood and asOf",
            &[],
            &[("snapshot", json!({}))],
        ),
        row(
            "OrgRestore",
            "spec.snapshot.latestGood",
            "must be true, or left out",
            &[("snapshot", json!({"latestGood": true}))],
            &[("snapshot", json!({"latestGood": false}))],
        ),
        row(
            "OrgRestore",
            "spec.target.inPlace",
            "must be true",
            &[],
            &[("target/inPlace", json!(false))],
        ),
        row(
            "OrgSnapshot",
            "spec",
            "spec.slot is required where spec.origin is Schedule; to take a snapshot now use origin: Request",
            &[],
            &[("slot", Value::Null)],
        ),
        row(
            "OrgSnapshot",
            "spec",
            "spec.slot must not be set where spec.origin is Request",
            &[("origin", json!("Request")), ("slot", Value::Null)],
            &[("origin", json!("Request"))],
        ),
        row(
            "OrgSnapshot",
            "spec",
            "spec.runId goes with spec.origin: Discovered: set both or neither",
            &[
                ("origin", json!("Discovered")),
                ("runId", json!("01ARZ3NDEKTSV4RRFFQ69G5FAV")),
            ],
            &[("runId", json!("01ARZ3NDEKTSV4RRFFQ69G5FAV"))],
        ),
        row(
            "OrgSnapshot",
            "spec",
            "spec.runId goes with spec.origin: Discovered",
            &[],
            &[("origin", json!("Discovered"))],
        ),
        row(
            "RetentionPolicy",
            "spec.snapshots",
            "keepAtLeast must be at most twice spec.snapshots.keepDays",
            &[("snapshots", json!({"keepDays": 1, "keepAtLeast": 2}))],
            &[("snapshots", json!({"keepDays": 1, "keepAtLeast": 3}))],
        ),
    ];
    rows.extend(of_schedules());
    rows.extend(of_regions());
    rows.extend(of_keys());
    rows.extend(of_orgs());
    for kind in ["Region", "TrayOrg"] {
        rows.extend(of_workloads(kind));
        rows.extend(of_secrets(kind));
        rows.extend(of_webhooks(kind));
        rows.extend(of_numbers(kind));
    }
    rows
}

/// A Region elsewhere: the whole of what goes together.
fn place(jurisdiction: &str, cloud_region: &str, backup: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("jurisdiction", json!(jurisdiction)),
        ("cloudRegion", json!(cloud_region)),
        (
            "zones",
            json!([format!("{cloud_region}a"), format!("{cloud_region}b")]),
        ),
        ("backup/cloudRegion", json!(backup)),
        (
            "backup/kms/ledgerKeyArn",
            json!(format!("arn:aws:kms:{backup}:111122223333:key/ledger")),
        ),
        (
            "backup/kms/keyArn",
            json!(format!("arn:aws:kms:{backup}:111122223333:key/orgs")),
        ),
    ]
}

fn of_regions() -> Vec<Row> {
    let in_jurisdiction = "must lie in spec.jurisdiction: US has us-east-1";
    let mut rows = vec![
        // London and Zurich are not in the EU; a name that only begins like one of the APAC's is none.
        row(
            "Region",
            "spec.cloudRegion",
            in_jurisdiction,
            &place("EU", "eu-north-1", "eu-west-3"),
            &place("EU", "eu-west-2", "eu-west-3"),
        ),
        row(
            "Region",
            "spec.cloudRegion",
            in_jurisdiction,
            &place("US", "us-west-2", "us-east-2"),
            &place("US", "eu-west-1", "us-east-2"),
        ),
        row(
            "Region",
            "spec.cloudRegion",
            in_jurisdiction,
            &place("APAC", "ap-southeast-2", "ap-southeast-1"),
            &place("APAC", "ap-nowhere-9", "ap-southeast-1"),
        ),
        row(
            "Region",
            "spec.backup.cloudRegion",
            "spec.backup.cloudRegion must lie in spec.jurisdiction",
            &place("EU", "eu-west-1", "eu-south-2"),
            &place("EU", "eu-west-1", "eu-central-2"),
        ),
        row(
            "Region",
            "spec.logLocation.bucket",
            "must be another bucket than spec.backup.bucket",
            &[("logLocation/bucket", json!("tray-logs-eu"))],
            &[("logLocation/bucket", json!("tray-backups-eu"))],
        ),
        row(
            "Region",
            "spec.backup.cloudRegion",
            "must be another region than spec.cloudRegion",
            &[],
            &place("EU", "eu-west-1", "eu-west-1"),
        ),
        row(
            "Region",
            "spec.zones",
            "must be a zone of spec.cloudRegion, such as eu-west-1a",
            &[("zones", json!(["eu-west-1c", "eu-west-1a"]))],
            &[("zones", json!(["eu-west-1a", "eu-west-3a"]))],
        ),
        row(
            "Region",
            "spec.zones",
            "must be a zone of spec.cloudRegion",
            &[],
            &[("zones", json!(["eu-west-1a", "eu-west-11a"]))],
        ),
        row(
            "Region",
            "spec.workloads",
            "a workload with webhook needs spec.ingress: name domain and gatewayRef there, or remove webhook",
            &[("ingress", Value::Null), ("workloads/0/webhook", Value::Null)],
            &[("ingress", Value::Null)],
        ),
        row(
            "Region",
            "spec.minZones",
            "at most the number of spec.zones: lower it or name more zones",
            &[("minZones", json!(1))],
            &[("minZones", json!(3))],
        ),
        row(
            "Region",
            "spec",
            "spec.backup.moverRoleArn is required where spec.stage is Production",
            &[
                ("stage", json!("NonProduction")),
                ("backup/moverRoleArn", Value::Null),
            ],
            &[("backup/moverRoleArn", Value::Null)],
        ),
    ];
    for quantity in ["cpu", "memory", "storage"] {
        rows.extend(of_quantity("Region", &format!("plans/0/quota/{quantity}")));
    }
    rows
}

/// Of cron texts: what the refusal says, a text that is taken, and texts beside it that are not.
fn of_schedules() -> Vec<Row> {
    let texts: [(&str, &str, &[&str]); 8] = [
        (
            "must be five fields with spaces between them",
            "0   3 * * 1-5",
            &["0 3 * * 1-5 *", " 0 3 * * 1-5", "@every 12 hours"],
        ),
        (
            "the minute (first field) must be * or a number from 0 to 59",
            "0,30-59/5 * * * *",
            &["60 * * * *", "*/0 * * * *", "H H * * *"],
        ),
        (
            "the hour (second field) must be * or a number from 0 to 23",
            "0 00,23 * * *",
            &["0 25 * * *", "0 */24 * * *"],
        ),
        (
            "the day of month (third field) must be * or a number from 1 to 31",
            "* * 31 * *",
            &["* * 0 * *", "* * 32 * *", "0 3 L * *"],
        ),
        (
            "the month (fourth field) must be * or a number from 1 to 12 (JAN to DEC)",
            "0 0 1 jan-JUN,12 *",
            &["0 0 1 13 *", "0 0 1 MON *"],
        ),
        (
            "the day of week (fifth field) must be * or a number from 0 to 7 (SUN to SAT)",
            "0 0 * * 0,Sat,7",
            &["0 0 * * 8", "0 0 * * 5L", "0 0 * * MON#1"],
        ),
        (
            "a range must begin at or below its end",
            "0 22-23,0-4 * * MON-FRI",
            &["0 22-4 * * *", "0 0 * * FRI-SUN", "0 0 1 NOV-2 *"],
        ),
        (
            "no month named by the fourth field has a day named by the third",
            "0 0 29,30 2 *",
            &["0 0 30,31 2 *", "0 0 31 4,JUN,09,11 *", "0 0 31 feb */2"],
        ),
    ];
    let rows = texts.into_iter().flat_map(|(says, good, bad)| {
        bad.iter().map(move |bad| {
            let (good, bad) = ([("schedule", json!(good))], [("schedule", json!(bad))]);
            row("BackupSchedule", "spec.schedule", says, &good, &bad)
        })
    });
    rows.collect()
}

/// Of the keys of backup locations.
fn of_keys() -> Vec<Row> {
    vec![
        row(
            "Region",
            "spec.backup.kms.ledgerKeyArn",
            "must name a key in spec.backup.cloudRegion",
            &[],
            &[(
                "backup/kms/ledgerKeyArn",
                json!("arn:aws:kms:eu-west-1:111122223333:key/ledger"),
            )],
        ),
        row(
            "Region",
            "spec.backup.kms.keyArn",
            "must name a key in spec.backup.cloudRegion",
            &[],
            &[(
                "backup/kms/keyArn",
                json!("arn:aws:kms:eu-west-1:111122223333:key/orgs"),
            )],
        ),
        row(
            "Region",
            "spec.backup.kms.keyArn",
            "goes with backup.kms.mode: SharedKey: set both or neither",
            &[("backup/kms", json!({"ledgerKeyArn": LEDGER_KEY}))],
            &[("backup/kms/mode", json!("PerOrgKey"))],
        ),
        row(
            "Region",
            "spec.backup.kms.keyArn",
            "goes with backup.kms.mode: SharedKey",
            &[],
            &[("backup/kms/keyArn", Value::Null)],
        ),
        row(
            "Region",
            "spec.backup.kms.keyArn",
            "must be another key than backup.kms.ledgerKeyArn",
            &[],
            &[("backup/kms/keyArn", json!(LEDGER_KEY))],
        ),
    ]
}

fn of_orgs() -> Vec<Row> {
    let public = "must not touch private, link-local, metadata, multicast or reserved ranges";
    let mut rows = vec![
        row(
            "TrayOrg",
            "spec.overrides",
            "change a workload of the org in spec.workloads itself",
            &[("overrides/0/name", json!("api"))],
            &[("overrides/0/name", json!("db"))],
        ),
        row(
            "TrayOrg",
            "spec.network",
            "network.allowCidrs goes with network.egress: AllowList: set both or neither",
            &[("network", json!({"egress": "None"}))],
            &[("network/egress", json!("None"))],
        ),
        row(
            "TrayOrg",
            "spec.network",
            "network.allowCidrs goes with network.egress: AllowList",
            &[("network", json!({}))],
            &[("network", json!({"egress": "AllowList"}))],
        ),
        row(
            "TrayOrg",
            "spec.network.allowCidrs",
            "must hold CIDR ranges, such as 203.0.113.0/24",
            &[("network/allowCidrs", json!(["2606:4700::/32", "203.0.113.7/32"]))],
            &[("network/allowCidrs", json!(["203.0.113.7"]))],
        ),
        row(
            "TrayOrg",
            "spec.owners[0].name",
            "owners must not name a system: user or group",
            &[("owners/0/name", json!("systems"))],
            &[("owners/0/name", json!("system:authenticated"))],
        ),
        row(
            "TrayOrg",
            "spec.owners[0].name",
            "must not hold line breaks or other control characters",
            &[("owners/0/name", json!("Ann O'Neill"))],
            &[("owners/0/name", json!("acme\nGroup/others"))],
        ),
    ];
    let add_on = json!(["ExtendedLogRetention"]);
    for plan in ["Pro", "Enterprise"] {
        rows.push(row(
            "TrayOrg",
            "spec.addOns",
            "ExtendedLogRetention is for plan Team",
            &[("addOns", add_on.clone()), ("plan", json!("Team"))],
            &[
                ("addOns", add_on.clone()),
                ("plan", json!(plan)),
                ("executionLogs", json!({})),
            ],
        ));
    }
    for plan in ["Pro", "Team"] {
        rows.push(row(
            "TrayOrg",
            "spec.executionLogs.retentionHours",
            "above 168 needs plan Enterprise, or plan Team with the add-on ExtendedLogRetention",
            &[
                ("plan", json!(plan)),
                ("executionLogs/retentionHours", json!(168)),
            ],
            &[
                ("plan", json!(plan)),
                ("executionLogs/retentionHours", json!(169)),
            ],
        ));
    }
    for internal in [
        "10.1.0.0/16",
        "169.254.169.254/32",
        "0.0.0.0/0",
        "8.0.0.0/6",
        "fd00::/8",
        "::/0",
    ] {
        let bad = [("network/allowCidrs", json!(["203.0.113.0/24", internal]))];
        rows.push(row("TrayOrg", "spec.network.allowCidrs", public, &[], &bad));
    }
    for quantity in ["quota/cpu", "quota/memory", "quota/storage"] {
        rows.extend(of_quantity("TrayOrg", quantity));
    }
    for quantity in QUANTITIES {
        rows.extend(of_quantity("TrayOrg", &format!("overrides/0/{quantity}")));
    }
    rows.push(row(
        "TrayOrg",
        "spec.overrides[0].resources.memory",
        "memory must be at most memoryLimit",
        &[("overrides/0/resources/memoryLimit", json!(1_073_741_824))],
        &[("overrides/0/resources/memoryLimit", json!(1_073_741_823))],
    ));
    rows
}

/// Of the workloads of a kind that has some.
fn of_workloads(kind: &'static str) -> Vec<Row> {
    let at = |field: &str| format!("workloads/0/{field}");
    let of = |field: &str, says, good: &[(&str, Value)], bad: &[(&str, Value)]| {
        let own = |change: &[(&str, Value)]| change.iter().map(|(f, v)| (at(f), v.clone())).collect();
        Row {
            kind,
            field: format!("spec.workloads[0]{field}"),
            says,
            good: own(good),
            bad: own(bad),
        }
    };
    let mut rows = vec![
        of(
            ".kind",
            "a workload with a volume must have kind: StatefulSet",
            &[
                ("kind", json!("Deployment")),
                ("volume", Value::Null),
                ("backup", Value::Null),
            ],
            &[("kind", json!("Deployment"))],
        ),
        of(
            "",
            "a workload with a volume must set runAsUser",
            &[
                ("runAsUser", Value::Null),
                ("volume", Value::Null),
                ("backup", Value::Null),
            ],
            &[("runAsUser", Value::Null)],
        ),
        of(
            ".backup",
            "set volume too, or remove backup",
            &[("backup", Value::Null)],
            &[("volume", Value::Null)],
        ),
        of(
            "",
            "readiness.port must be the name of one of ports",
            &[
                ("ports/0/name", json!("other")),
                ("readiness/port", json!("other")),
                ("webhook", Value::Null),
            ],
            &[("readiness/port", json!("other"))],
        ),
        of(
            "",
            "scratch must not hold volume.mountPath",
            &[("scratch", json!(["/tmp", "/data/tmp"]))],
            &[("scratch", json!(["/tmp", "/data"]))],
        ),
        of(
            ".backup",
            "remove paths, pre and post, or exclude",
            &[("backup", json!({"exclude": true}))],
            &[("backup/exclude", json!(true))],
        ),
        of(
            ".readiness",
            "exactly one of httpPath and exec",
            &[("readiness", json!({"exec": ["ready"]}))],
            &[("readiness/exec", json!(["ready"]))],
        ),
        of(
            ".readiness",
            "readiness.port goes with readiness.httpPath: set both or neither",
            &[],
            &[("readiness", json!({"httpPath": "/healthz"}))],
        ),
    ];
    for taken in ["/data", "/tmp", "/data/logs"] {
        rows.push(of(
            ".executionLogPolicy.mountPath",
            "must be a folder of its own, neither above nor below volume.mountPath and scratch",
            &[("executionLogPolicy/mountPath", json!("/data-logs"))],
            &[("executionLogPolicy/mountPath", json!(taken))],
        ));
    }
    for path in ["/backup", "../other", "a//b", "./a", "a/.."] {
        rows.push(of(
            ".backup.paths",
            "must be relative to the volume, without '.', '..' or empty steps",
            &[("backup/paths", json!(["a/b", ".hidden"]))],
            &[("backup/paths", json!(["backup", path]))],
        ));
    }
    for quantity in QUANTITIES {
        rows.extend(of_quantity(kind, &at(quantity)));
    }
    rows
}

/// Of the Secrets that a workload takes: the operator's, as they are named now and were, and names that are nearly so.
fn of_secrets(kind: &'static str) -> Vec<Row> {
    let at = "workloads/0/envFromSecrets";
    let cases = [
        ("stray-secret", "tray-webhook-token"),
        ("snap-shots", "snap-01arz3ndektsv4rrffq69g5fav-objects"),
        ("restore-7c9e667-data", "restore-7c9e6679-data-db-0"),
        ("prune-1234567g", "prune-7c9e6679-7425-40de-944b-e07fc1f90ae7"),
    ];
    let of = |(good, bad)| {
        row(
            kind,
            "spec.workloads[0].envFromSecrets",
            "must not name a Secret tray-*, nor one that is named like a mover's",
            &[(at, json!(["own", good]))],
            &[(at, json!(["own", bad]))],
        )
    };
    cases.map(of).into()
}

/// Of the workload that webhooks lead to.
fn of_webhooks(kind: &'static str) -> Vec<Row> {
    let http = json!([{"name": "http", "port": 8080}]);
    let second = [
        ("workloads/1/ports", http),
        ("workloads/1/webhook", json!({"port": "http"})),
    ];
    let moved = [second.as_slice(), &[("workloads/0/webhook", Value::Null)]].concat();
    vec![
        row(
            kind,
            "spec.workloads[0]",
            "webhook.port must be the name of one of ports",
            &[("workloads/0/webhook", Value::Null)],
            &[("workloads/0/webhook/port", json!("other"))],
        ),
        row(
            kind,
            "spec.workloads",
            "at most one of spec.workloads may have webhook: an org has one webhook host",
            &moved,
            &second,
        ),
    ]
}

/// Quantities are above 0 and can be read; whole numbers need no quotes.
fn of_quantity(kind: &'static str, at: &str) -> Vec<Row> {
    let field = format!("spec.{}", at.replace("/0/", "[0].").replace('/', "."));
    let bad = [json!("banana"), json!("-5"), json!("0"), json!(0)];
    // A limit must not be below the request.
    let good = if at.ends_with("memoryLimit") {
        2_000_000_000
    } else {
        2
    };
    let rows = bad.map(|bad| {
        let says = "must be a quantity above 0, such as 500m, 2 or 10Gi";
        row(kind, &field, says, &[(at, json!(good))], &[(at, bad)])
    });
    rows.into()
}

/// Of numbers of a workload that have to go together.
fn of_numbers(kind: &'static str) -> Vec<Row> {
    vec![
        row(
            kind,
            "spec.workloads[0].ports",
            "ports must have different numbers",
            &[("workloads/0/ports", two_ports(5433))],
            &[("workloads/0/ports", two_ports(5432))],
        ),
        row(
            kind,
            "spec.workloads[0].resources.memory",
            "memory must be at most memoryLimit",
            &[("workloads/0/resources/memory", json!("0.25Gi"))],
            &[("workloads/0/resources/memory", json!("257Mi"))],
        ),
    ]
}

fn two_ports(other: u16) -> Value {
    json!([{"name": "sql", "port": 5432}, {"name": "more", "port": other}])
}

fn changed(kind: &str, change: &Change) -> Value {
    let object = valid::fullest(kind);
    change.iter().fold(object, |object, (at, value)| {
        with(object, &format!("/spec/{at}"), value.clone())
    })
}

/// A rule of a CRD: kind, the field that it names (`[]` for every index), and what it says.
type Rule = (String, String, String);

fn without_indexes(field: &str) -> String {
    let mut parts = field.split('[');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |path, part| {
        path + "[]" + part.split_once(']').map_or("", |(_, rest)| rest)
    })
}

/// Every rule below `schema`, which is at `path`.
fn rules_of(kind: &str, path: &str, schema: &Value, found: &mut BTreeSet<Rule>) {
    for rule in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let text = |name: &str| rule[name].as_str().unwrap_or_default().to_owned();
        assert_ne!(
            text("message"),
            "",
            "a rule at {path} of {kind} says nothing: {}",
            text("rule")
        );
        found.insert((
            kind.to_owned(),
            format!("{path}{}", text("fieldPath")),
            text("message"),
        ));
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        rules_of(kind, &path, property, found);
    }
    for items in ["items", "additionalProperties"] {
        if schema[items].is_object() {
            rules_of(kind, &format!("{path}[]"), &schema[items], found);
        }
    }
}

#[tokio::test]
async fn every_rule_refuses_what_breaks_it_and_nothing_next_to_it() {
    let (mut wrong, mut proved) = (Vec::new(), BTreeSet::new());
    for row in rows() {
        let creation = Creation::of(row.kind).await;
        if let Some(causes) = creation.refusal(&changed(row.kind, &row.good)).await {
            wrong.push(format!("{} {:?} is refused: {causes:?}", row.kind, row.good));
        }
        let causes = creation
            .refusal(&changed(row.kind, &row.bad))
            .await
            .unwrap_or_default();
        let named = causes
            .iter()
            .any(|c| c.field == row.field && c.message.contains(row.says));
        if !named {
            wrong.push(format!(
                "{} {:?} is not refused with {} {:?}, but with {causes:?}",
                row.kind, row.bad, row.field, row.says
            ));
        }
        let seen = causes
            .into_iter()
            .map(|c| (row.kind, without_indexes(&c.field), c.message));
        proved.extend(seen);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    let mut rules = BTreeSet::new();
    for crd in crds::all_crds() {
        let crd = serde_json::to_value(crd).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        rules_of(
            crd["spec"]["names"]["kind"].as_str().unwrap(),
            "",
            schema,
            &mut rules,
        );
    }
    assert!(rules.len() > 50, "{} rules", rules.len());
    rules.retain(|(kind, field, message)| {
        !proved
            .iter()
            .any(|(of, at, said)| of == kind && at == field && said.contains(message))
    });
    assert!(rules.is_empty(), "no row is refused by: {rules:#?}");
}
