//! A volume that comes back empty: the same claim, and nothing in it.

use serde_json::Value;
use tray_e2e::demo::kube::{Kube, said};
use tray_e2e::{Cluster, Program};

use super::{GLOBEX, PATIENCE};

/// Its run is committed and does not count until a person has accepted it.
pub(crate) fn an_emptied_volume_counts_once_a_person_accepts_it(cluster: &Cluster, kube: &Kube) {
    let good = GLOBEX.consistency_point(kube).unwrap();
    let volume = kube.folder_of(GLOBEX.namespace, "data-web-0").unwrap();
    let empty = Program::new("find")
        .arg(&volume)
        .args(["-mindepth", "1", "-delete"]);
    cluster.enter(empty).run().unwrap();
    GLOBEX.ask_snapshot(kube, "globex-emptied").unwrap();
    let run = GLOBEX.await_end(kube, "globex-emptied").unwrap();
    assert_eq!(run["status"]["phase"], "Committed", "{run:#}");
    assert_eq!(run["status"]["verdict"], "Suspicious", "{run:#}");
    assert_eq!(GLOBEX.consistency_point(kube).unwrap(), good, "it counts");

    let accept = format!(
        "platform.tray.ai/accept-run={}",
        run["status"]["runId"].as_str().unwrap()
    );
    let told = |org: &Value| {
        let said = said(org, "BackupHealthy");
        (said.contains("data-web-0") && said.contains(&accept)).then_some(())
    };
    kube.wait(
        "the org does not say how to accept the run",
        PATIENCE,
        &["trayorg", GLOBEX.name],
        told,
    )
    .unwrap();
    kube.run(&["annotate", "trayorg", GLOBEX.name, &accept]).unwrap();
    let accepted = |run: &Value| (run["status"]["verdict"] == "Good").then_some(());
    kube.wait(
        "the run that was accepted does not count",
        PATIENCE,
        &["orgsnapshot", "globex-emptied"],
        accepted,
    )
    .unwrap();
    assert!(GLOBEX.consistency_point(kube).unwrap() > good);
    // At its start it writes a page.
    kube.run(&["delete", "pod", "web-0", "-n", GLOBEX.namespace])
        .unwrap();
    GLOBEX.await_ready(kube).unwrap();
}
