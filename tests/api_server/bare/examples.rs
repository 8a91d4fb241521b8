//! The manifests in `examples/`: each is read as the type it is, keeps the rules, and is what the documentation says.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use tray_api::{
    crds,
    kinds::Kind,
    region::{Endpoints, Region},
    with_kind,
    workload::Workload,
};

use super::support::{api_server, chart, orgs::examples, tools};

const FILES: [&str; 5] = [
    "regions.yaml",
    "policies.yaml",
    "orgs/acme-eu.yaml",
    "orgs/globex-us.yaml",
    "orgs/initech-apac.yaml",
];

fn all() -> Vec<Value> {
    FILES.iter().flat_map(|file| examples(file)).collect()
}

fn regions() -> Vec<Region> {
    let regions = examples("regions.yaml").into_iter();
    regions.map(|r| serde_json::from_value(r).unwrap()).collect()
}

/// Reads `object` as its kind and writes it again.
fn read_back(object: &Value) -> Value {
    fn through<K: serde::de::DeserializeOwned + serde::Serialize>(object: &Value) -> Value {
        let read: K = serde_json::from_value(object.clone()).unwrap();
        serde_json::to_value(read).unwrap()
    }
    let kind = object["kind"].as_str().unwrap();
    let kind = Kind::named(kind).unwrap_or_else(|| panic!("{kind} is no kind of ours"));
    with_kind!(kind, K => through::<K>(object))
}

/// Whether `whole` says everything that `part` says.
fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part
            .iter()
            .all(|(key, value)| whole.get(key).is_some_and(|w| holds(w, value))),
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(w, p)| holds(w, p))
        }
        _ => whole == part,
    }
}

#[test]
fn no_field_of_an_example_is_unknown() {
    for object in all() {
        let read = read_back(&object);
        assert!(holds(&read, &object), "read as {read:#}\nwritten as {object:#}");
    }
}

#[test]
fn every_org_has_the_annotation_that_is_advised_for_argo_cd() {
    let advice = include_str!("../../../docs/gitops/README.md");
    for org in all().iter().filter(|object| object["kind"] == "TrayOrg") {
        let options = org["metadata"]["annotations"]["argocd.argoproj.io/sync-options"]
            .as_str()
            .unwrap();
        assert!(options.contains("PruneLast=true"), "{org:#}");
        let line = format!("argocd.argoproj.io/sync-options: {options}\n");
        assert!(advice.contains(&line), "{line}");
    }
}

#[test]
fn every_region_runs_the_same_and_is_backed_up_elsewhere() {
    let regions = regions();
    let names: Vec<_> = regions.iter().filter_map(|r| r.metadata.name.clone()).collect();
    assert_eq!(names, ["us", "eu", "apac"]);
    for region in &regions {
        assert_eq!(region.spec.workloads, regions[0].spec.workloads);
        assert_ne!(region.spec.backup.cloud_region, region.spec.cloud_region);
        assert_eq!(
            region.spec.backup.endpoints,
            Endpoints::default(),
            "examples go to AWS"
        );
    }
}

#[test]
fn p1_there_are_three_regions_that_share_nothing() {
    let regions = regions();
    let places: Vec<_> = regions
        .iter()
        .map(|r| (r.spec.jurisdiction.to_string(), r.spec.cloud_region.as_str()))
        .collect();
    let expected = [
        ("US", "us-west-2"),
        ("EU", "eu-west-1"),
        ("APAC", "ap-southeast-2"),
    ];
    assert_eq!(
        places,
        expected.map(|(jurisdiction, place)| (jurisdiction.to_owned(), place))
    );
    let of = |text: fn(&Region) -> String| regions.iter().map(text).collect::<BTreeSet<_>>().len();
    assert_eq!(of(|r| r.spec.backup.bucket.clone()), 3);
    assert_eq!(of(|r| r.spec.backup.kms.ledger_key_arn.clone()), 3);
    assert_eq!(of(|r| r.spec.backup.cloud_region.clone()), 3);
}

#[test]
fn every_workload_has_a_volume_and_a_user_of_its_own() {
    let regions = regions();
    let workloads = &regions[0].spec.workloads;
    let users: Vec<Option<i64>> = workloads.iter().map(|w| w.run_as_user).collect();
    assert_eq!(users, [Some(999), Some(1001)]);
    assert!(workloads.iter().all(|w| w.volume.is_some()));
    let backup = workloads[0].backup.as_ref().unwrap();
    assert_eq!(
        backup.paths,
        ["backup"],
        "a live database is never copied file by file"
    );
    assert!(backup.pre.is_some());
}

/// The scripts that a workload hands to `sh -c`.
fn scripts(workload: &Workload) -> Vec<String> {
    let hooks = workload.backup.iter().flat_map(|b| [&b.pre, &b.post]).flatten();
    let commands = hooks.map(|hook| &hook.command).chain([&workload.command]);
    let scripts = commands.filter(|command| command.first().is_some_and(|c| c == "/bin/sh"));
    scripts.map(|command| command[2].clone()).collect()
}

#[test]
fn scripts_are_shell() {
    let regions = regions();
    let scripts: Vec<String> = regions[0].spec.workloads.iter().flat_map(scripts).collect();
    assert_eq!(scripts.len(), 3, "two starts and the database's hook");
    for script in scripts {
        let mut sh = Command::new("sh")
            .args(["-n", "-s"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        sh.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(sh.wait().unwrap().success(), "not a script:\n{script}");
    }
}

/// Runs the hook of the example's database in `data`, with stand-ins for PostgreSQL's programs and for what measures.
fn base_backup(data: &Path, used: &str, free: &str) -> Output {
    let bin = tempfile::tempdir().unwrap();
    for (program, script) in [
        (
            "pg_basebackup",
            "mkdir backup.new && echo newer > backup.new/base".to_owned(),
        ),
        ("pg_verifybackup", "test -e \"$2\"/base".to_owned()),
        ("du", format!("printf '{used}\\tpgdata\\n'")),
        (
            "df",
            format!(
                "printf 'Filesystem 1024-blocks Used Available Capacity Mounted on\\n/dev/vdb 9 9    {free}  9%% /data\\n'"
            ),
        ),
    ] {
        let path = bin.path().join(program);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let workload = &regions()[0].spec.workloads[0];
    let hook = workload.backup.as_ref().unwrap().pre.clone().unwrap();
    let script = hook.command[2].replace("cd /data", &format!("cd {}", data.display()));
    let script = script.replace("/tmp/backup.lock", "backup.lock");
    let script = format!("PATH={}:$PATH\n{script}", bin.path().display());
    let sh = Command::new("sh").args(["-c", &script]).output();
    sh.unwrap()
}

#[test]
fn the_base_backup_of_the_example_looks_for_room_and_keeps_the_former_copy_until_then() {
    let data = tempfile::tempdir().unwrap();
    let copy = |name: &str| fs::read_to_string(data.path().join(name).join("base")).ok();
    let keep = |name: &str| {
        fs::create_dir(data.path().join(name)).unwrap();
        fs::write(data.path().join(name).join("base"), "former").unwrap();
    };
    // An earlier try ended between its moves.
    keep("backup.old");
    keep("backup.new");
    let refused = base_backup(data.path(), "5000", "5000");
    assert_eq!(refused.status.code(), Some(28));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("needs 5000 KiB, 5000 KiB are free"), "{said}");
    assert_eq!(
        (copy("backup").as_deref(), copy("backup.new")),
        (Some("former"), None)
    );

    let taken = base_backup(data.path(), "5000", "5001");
    assert!(taken.status.success(), "{taken:?}");
    assert_eq!(copy("backup").as_deref(), Some("newer\n"));
    assert_eq!((copy("backup.old"), copy("backup.new")), (None, None));
}

/// The Gateway of the example has a listener for each Region that names it, and takes routes of orgs alone.
#[test]
fn p21_the_gateway_has_a_listener_for_every_domain_and_takes_routes_of_orgs_alone() {
    let documents = examples("gateway.yaml");
    let gateway = documents.iter().find(|d| d["kind"] == "Gateway").unwrap();
    let listeners = gateway["spec"]["listeners"].as_array().unwrap();
    let regions = regions();
    assert_eq!(listeners.len(), regions.len());
    for region in &regions {
        let ingress = region.spec.ingress.as_ref().unwrap();
        assert_eq!(gateway["metadata"]["name"], ingress.gateway_ref.name);
        assert_eq!(gateway["metadata"]["namespace"], ingress.gateway_ref.namespace);
        let hostname = format!("*.{}", ingress.domain);
        let listener = listeners.iter().find(|l| l["hostname"] == hostname).unwrap();
        assert_eq!(listener["protocol"], "HTTPS");
        let namespaces = &listener["allowedRoutes"]["namespaces"];
        assert_eq!(namespaces["from"], "Selector");
        let selector = &namespaces["selector"]["matchExpressions"][0];
        assert_eq!(
            (&selector["key"], &selector["operator"]),
            (&"platform.tray.ai/org".into(), &"Exists".into())
        );
    }
    let takers = regions[0].spec.workloads.iter().filter(|w| w.webhook.is_some());
    assert_eq!(takers.map(|w| w.name.as_str()).collect::<Vec<_>>(), ["web"]);
}

#[tokio::test]
async fn an_api_server_takes_every_example() {
    let client = api_server::shared().await.client().await;
    for crd in crds::all_crds() {
        api_server::apply(&client, &serde_json::to_value(crd).unwrap()).await;
    }
    let file = tools::program("gateway.networking.k8s.io_gateways.yaml");
    for crd in chart::documents(&fs::read_to_string(file).unwrap()) {
        api_server::apply(&client, &crd).await;
    }
    for object in all().into_iter().chain(examples("gateway.yaml")) {
        api_server::apply(&client, &object).await;
    }
}
