//! An image and a Secret that do not exist.

use serde_json::{Value, json};
use tray_e2e::demo::kube::{Kube, condition};
use tray_e2e::{Cluster, examples, image};

use super::{PATIENCE, region_beside_apac};

/// Each is named with what to do, and the org is Ready as soon as it is done.
pub(crate) fn an_image_and_a_secret_that_are_not_there_are_named(cluster: &Cluster, kube: &Kube) {
    region_beside_apac(cluster, kube, "bare", &[]);
    apply(cluster, "registry.invalid/api:1", &[]);
    let said = told(kube, "ImageUnavailable");
    assert!(
        said.contains("workload api, pod api-") && said.contains("registry.invalid/api:1"),
        "{said}"
    );
    assert!(said.contains("correct the image"), "{said}");

    apply(cluster, image::WEB, &["credentials"]);
    let said = told(kube, "SecretMissing");
    assert!(
        said.contains(r#"secret "credentials" not found"#) && said.contains("envFromSecrets"),
        "{said}"
    );

    let org = kube.get(&["trayorg", "wanting"]).unwrap();
    let namespace = org["status"]["namespace"].as_str().unwrap();
    kube.run(&[
        "create",
        "secret",
        "generic",
        "credentials",
        "--from-literal=KEY=value",
        "-n",
        namespace,
    ])
    .unwrap();
    examples::await_ready(kube, "trayorg", Some("wanting"), PATIENCE).unwrap();
}

fn apply(cluster: &Cluster, image: &str, secrets: &[&str]) {
    let api = json!({
        "name": "api", "kind": "Deployment", "image": image, "runAsUser": 1001, "envFromSecrets": secrets,
        "command": ["sleep", "infinity"], "resources": {"cpu": "10m", "memory": "16Mi"},
    });
    let org = json!({"apiVersion": "platform.tray.ai/v1alpha1", "kind": "TrayOrg", "metadata": {"name": "wanting"},
        "spec": {"displayName": "Wanting", "regionRef": {"name": "bare"}, "plan": "Pro", "workloads": [api]}});
    examples::apply(cluster, &[org]).unwrap();
}

/// What WorkloadsAvailable says once it is False for that reason.
fn told(kube: &Kube, reason: &str) -> String {
    let told = |org: &Value| {
        let found = condition(org, "WorkloadsAvailable")?;
        let is_so = found["status"] == "False" && found["reason"] == reason;
        is_so.then(|| found["message"].as_str().unwrap_or_default().to_owned())
    };
    let what = format!("the org did not say {reason}");
    kube.wait(&what, PATIENCE, &["trayorg", "wanting"], told).unwrap()
}
