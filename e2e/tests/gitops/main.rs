//! The examples in Git on the real cluster: under Argo CD's own sync engine, under kubectl both ways, and under Flux's own
//! modules. Nothing drifts, a mistake in Git deletes nothing, and `git revert` undeletes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy knows test functions, not what they call"
)]

mod argo;
mod repo;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tray_e2e::audit::AuditLog;
use tray_e2e::demo::kube::Kube;
use tray_e2e::demo::orgs::{ORGS, Org};
use tray_e2e::tools::Toolbox;
use tray_e2e::{Cluster, Program, Progress, aws, gateway, install};

use argo::Argo;
use repo::{OBJECTS, Repo};

const ACME: Org = ORGS[0];
const INITECH: Org = ORGS[2];
/// How long the deletion of an org may take.
const TWO_MINUTES: Duration = Duration::from_secs(120);
/// Our kinds in `examples/`, and what the operator makes of them for people to see.
const KINDS: &str = "retentionpolicies,backupschedules,regions,trayorgs,orgsnapshots";

/// One scenario after the other on one cluster: each needs the orgs as the one before left them.
#[test]
fn what_is_in_git_is_what_runs() {
    let cluster = support::start();
    let kube = Kube::of(&cluster).unwrap();
    install::install(&cluster, Progress::start()).unwrap();
    // From the first upgrade on a TrayOrg is marked where its creator may take up what an earlier one left.
    install::install(&cluster, Progress::start()).unwrap();
    let kinds = Toolbox::gateway(cluster.cache(), Progress::start()).unwrap();
    gateway::install_kinds(&cluster, &kinds).unwrap();
    let tools = Toolbox::gitops(cluster.cache(), Progress::start()).unwrap();
    let repo = Repo::of_examples(&cluster);
    let flux = tools
        .program("flux")
        .env("KUBECONFIG", cluster.dir().kubeconfig());
    let progress = Progress::start();
    {
        let argo = Argo::start(&cluster, &tools.program("gitops-agent"), &repo);
        the_examples_are_synced(&kube, &argo, &flux);
        progress.step("the examples are synced, every org has a snapshot");
        nothing_drifts(&cluster, &argo);
        progress.step("nothing drifts");
        a_protected_org_outlives_its_manifest(&kube, &argo, &repo);
        progress.step("a protected org outlived its manifest");
        let seconds = an_unprotected_org_goes_in_two_minutes_and_comes_back_by_revert(&kube, &argo, &repo);
        progress.step(format!("an org went in {seconds:.1} s, and came back by revert"));
    }
    for how in [&[][..], &["--server-side", "--force-conflicts"]] {
        a_second_apply_changes_nothing(&cluster, &kube, &repo, how);
    }
    progress.step("a second apply changes nothing, client-side and server-side");
    flux_takes_over_and_changes_nothing(&cluster, &kube, &repo, &flux);
    assert_eq!(aws::root_requests(cluster.dir()).unwrap(), Vec::<String>::new());
}

fn the_examples_are_synced(kube: &Kube, argo: &Argo, flux: &Program) {
    for (object, message) in argo.outcome(OBJECTS) {
        assert!(message.ends_with(" created"), "{object}: {message}");
    }
    for org in &ORGS {
        org.await_ready(kube).unwrap();
        org.first_snapshot(kube).unwrap();
    }
    // The newest status of each may still be on its way.
    let current = kube.wait("not everything is Current", TWO_MINUTES, &["trayorgs"], |_| {
        let objects = kube.list(&[KINDS]).ok()?;
        let verdicts = flux
            .clone()
            .arg("status")
            .input(json!({"objects": objects}).to_string());
        let verdicts: Value = serde_json::from_str(&verdicts.run().ok()?).ok()?;
        let all = verdicts.as_array()?.iter().all(|v| v["status"] == "Current");
        (all && objects.len() >= OBJECTS).then_some(())
    });
    assert!(current.is_ok(), "{current:?}: {:#?}", kube.list(&[KINDS]));
}

fn nothing_drifts(cluster: &Cluster, argo: &Argo) {
    let log = AuditLog::new(cluster.dir().audit_log());
    let mark = log.mark().unwrap();
    for (object, message) in argo.sync(OBJECTS) {
        assert!(message.ends_with(" unchanged"), "{object}: {message}");
    }
    let requests = log.since(mark).unwrap().only(argo::USER);
    let verbs: Vec<&str> = requests.by_verb(argo::USER).into_keys().collect();
    assert!(verbs.contains(&"get"), "{requests}");
    let writes = ["create", "update", "patch", "delete"];
    assert!(!verbs.iter().any(|verb| writes.contains(verb)), "{requests}");
}

fn a_protected_org_outlives_its_manifest(kube: &Kube, argo: &Argo, repo: &Repo) {
    let before = identity(kube, &INITECH);
    repo.remove("orgs/initech-apac.yaml");
    repo.edit("orgs/globex-us.yaml", "Globex Corporation", "Globex Inc");
    repo.commit("Forget initech, and call globex by its new name");
    let outcome = argo.sync(OBJECTS);
    let refusal = &outcome["TrayOrg/initech"];
    assert!(
        refusal.contains("is forbidden")
            && refusal
                .contains("TrayOrg initech is protected: set spec.lifecycle.deletionProtection to Disabled"),
        "{refusal}"
    );
    let globex = kube.get(&["trayorg", "globex"]).unwrap();
    assert_eq!(globex["spec"]["displayName"], "Globex Inc");
    let initech = kube.get(&["trayorg", INITECH.name]).unwrap();
    assert!(
        initech["metadata"].get("deletionTimestamp").is_none(),
        "{initech:#}"
    );
    INITECH.await_ready(kube).unwrap();
    assert_eq!(identity(kube, &INITECH), before);
    repo.revert();
    let outcome = argo.sync(OBJECTS);
    assert!(outcome["TrayOrg/initech"].ends_with(" unchanged"), "{outcome:#?}");
}

/// Returns how many seconds it took to go.
fn an_unprotected_org_goes_in_two_minutes_and_comes_back_by_revert(
    kube: &Kube,
    argo: &Argo,
    repo: &Repo,
) -> f64 {
    let before = identity(kube, &ACME);
    let file = "orgs/acme-eu.yaml";
    repo.edit(
        file,
        "  plan: Enterprise\n",
        "  plan: Enterprise\n  lifecycle:\n    deletionProtection: Disabled\n",
    );
    repo.commit("Protect acme no more");
    let outcome = argo.sync(OBJECTS);
    assert!(outcome["TrayOrg/acme"].ends_with(" configured"), "{outcome:#?}");

    repo.remove(file);
    repo.commit("Remove acme");
    let started = Instant::now();
    let outcome = argo.sync(OBJECTS);
    assert_eq!(outcome["TrayOrg/acme"], "pruned", "{outcome:#?}");
    let rest = TWO_MINUTES.saturating_sub(started.elapsed());
    kube.wait("acme is still there", rest, &["trayorgs"], |orgs| {
        let mut items = orgs["items"].as_array()?.iter();
        items
            .all(|org| org["metadata"]["name"] != ACME.name)
            .then_some(())
    })
    .unwrap();
    let seconds = started.elapsed().as_secs_f64();
    let going = kube.list(&["trayorgs,namespaces,orgtombstones"]).unwrap();
    let going: Vec<&Value> = going
        .iter()
        .filter(|object| object["metadata"].get("deletionTimestamp").is_some())
        .collect();
    assert!(going.is_empty(), "{going:#?}");
    assert_eq!(tombstones(kube), [format!("{}-7c9e6679", ACME.name)]);
    assert_eq!(identity(kube, &ACME), before);

    repo.revert();
    let outcome = argo.sync(OBJECTS);
    assert!(outcome["TrayOrg/acme"].ends_with(" created"), "{outcome:#?}");
    ACME.await_ready(kube).unwrap();
    assert_eq!(identity(kube, &ACME), before);
    kube.wait("the tombstone stays", TWO_MINUTES, &["orgtombstones"], |list| {
        list["items"].as_array()?.is_empty().then_some(())
    })
    .unwrap();
    repo.edit(file, "  lifecycle:\n    deletionProtection: Disabled\n", "");
    repo.commit("Protect acme again");
    argo.sync(OBJECTS);
    let acme = kube.get(&["trayorg", ACME.name]).unwrap();
    assert_eq!(acme["spec"]["lifecycle"]["deletionProtection"], "Enabled");
    seconds
}

fn a_second_apply_changes_nothing(cluster: &Cluster, kube: &Kube, repo: &Repo, how: &[&str]) {
    let kubectl = |verb: &str| {
        cluster
            .kubectl([verb, "--recursive"])
            .args(how)
            .flag("filename", repo.path())
    };
    kubectl("apply").run().unwrap();
    for org in &ORGS {
        org.await_ready(kube).unwrap();
    }
    // It fails where there is a difference.
    assert_eq!(kubectl("diff").run().unwrap(), "", "{how:?}");
    let before = at_rest(kube);
    assert_eq!(before.len(), OBJECTS);
    let said = kubectl("apply").run().unwrap();
    if how.is_empty() {
        assert!(said.lines().all(|line| line.ends_with(" unchanged")), "{said}");
    }
    assert_eq!(at_rest(kube), before, "{how:?}");
}

fn flux_takes_over_and_changes_nothing(cluster: &Cluster, kube: &Kube, repo: &Repo, flux: &Program) {
    let manifests = cluster.kubectl(["create", "--dry-run=client", "--output=json", "--recursive"]);
    let manifests = manifests.flag("filename", repo.path()).run().unwrap();
    let manifests = serde_json::Deserializer::from_str(&manifests).into_iter();
    let objects: Vec<Value> = manifests.collect::<Result<_, _>>().unwrap();
    let reconcile = || -> Value {
        let wanted = json!({"apply": objects, "prune": [], "force": false});
        let said = flux.clone().arg("reconcile").input(wanted.to_string()).run();
        serde_json::from_str(&said.unwrap()).unwrap()
    };
    assert_eq!(reconcile()["error"], "");
    for org in &ORGS {
        org.await_ready(kube).unwrap();
    }
    let again = reconcile();
    let changes = again["changes"].as_object().unwrap();
    assert_eq!(changes.len(), OBJECTS, "{again:#}");
    assert!(changes.values().all(|action| action == "unchanged"), "{again:#}");
}

/// UIDs of what an org's data lies in: its namespace, its claims and their volumes.
fn identity(kube: &Kube, org: &Org) -> BTreeMap<String, Value> {
    let uid = |object: &Value| object["metadata"]["uid"].clone();
    let namespace = kube.get(&["namespace", org.namespace]).unwrap();
    let mut found = BTreeMap::from([("namespace".to_owned(), uid(&namespace))]);
    for claim in kube
        .list(&["persistentvolumeclaims", "-n", org.namespace])
        .unwrap()
    {
        let name = claim["metadata"]["name"].as_str().unwrap();
        let volume = claim["spec"]["volumeName"].as_str().unwrap();
        let volume = kube.get(&["persistentvolume", volume]).unwrap();
        found.insert(format!("claim {name}"), uid(&claim));
        found.insert(format!("volume of {name}"), uid(&volume));
    }
    assert_eq!(found.len(), 5, "{found:#?}");
    found
}

fn tombstones(kube: &Kube) -> Vec<String> {
    let tombstones = kube.list(&["orgtombstones"]).unwrap();
    let names = tombstones.iter().map(|t| t["metadata"]["name"].as_str().unwrap());
    names.map(str::to_owned).collect()
}

/// The objects of `examples/` without what their controllers write: `Kind/name` → object.
fn at_rest(kube: &Kube) -> BTreeMap<String, Value> {
    let ours = kube
        .list(&[
            "--show-managed-fields",
            "retentionpolicies,backupschedules,regions,trayorgs",
        ])
        .unwrap();
    let edge = ["namespace/tray-edge", "gateway/edge"].map(|name| {
        kube.get(&["--show-managed-fields", "-n", "tray-edge", name])
            .unwrap()
    });
    ours.into_iter()
        .chain(edge)
        .map(|mut object| {
            let key = format!(
                "{}/{}",
                object["kind"].as_str().unwrap(),
                object["metadata"]["name"].as_str().unwrap()
            );
            let fields = object.as_object_mut().unwrap();
            fields.remove("status");
            let metadata = fields["metadata"].as_object_mut().unwrap();
            metadata.remove("resourceVersion");
            if let Some(managers) = metadata["managedFields"].as_array_mut() {
                managers.retain(|manager| manager["subresource"] != "status");
            }
            (key, object)
        })
        .collect()
}
