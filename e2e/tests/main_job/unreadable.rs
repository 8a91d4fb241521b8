//! A file that the workload's user may not read: of mode 0000, and of another uid.

use serde_json::Value;
use tray_e2e::demo::kube::{Kube, has_condition, said};
use tray_e2e::{Cluster, Program};

use super::{ACME, GLOBEX, PATIENCE};

/// The run fails and names the part, and no path: that is in the org's part of the bucket; another org's run at the same time does not care; without the file the next is good.
pub(crate) fn a_file_that_cannot_be_read_fails_the_run_and_is_named(cluster: &Cluster, kube: &Kube) {
    let volume = kube.folder_of(ACME.namespace, "data-web-0").unwrap();
    let shell = |script: &str| {
        let program = Program::new("sh").args(["-c", script, "sh", &volume]);
        cluster.enter(program).run().unwrap()
    };
    shell(r#"echo hidden > "$1/locked" && chown 12345:12345 "$1/locked" && chmod 0000 "$1/locked""#);
    ACME.ask_snapshot(kube, "acme-locked").unwrap();
    GLOBEX.ask_snapshot(kube, "globex-meanwhile").unwrap();

    let failed = ACME.await_end(kube, "acme-locked").unwrap();
    assert_eq!(failed["status"]["phase"], "Failed", "{failed:#}");
    let why = said(&failed, "Committed");
    assert!(
        why.contains("data-web-0") && why.contains("SourceUnreadable") && !why.contains("locked"),
        "{why}"
    );
    GLOBEX.await_snapshot(kube, "globex-meanwhile").unwrap();
    let unhealthy = |org: &Value| has_condition(org, "BackupHealthy", "False").then_some(());
    kube.wait(
        "acme's backups stayed healthy",
        PATIENCE,
        &["trayorg", "acme"],
        unhealthy,
    )
    .unwrap();

    shell(r#"rm "$1/locked""#);
    ACME.ask_snapshot(kube, "acme-unlocked").unwrap();
    ACME.await_snapshot(kube, "acme-unlocked").unwrap();
}
