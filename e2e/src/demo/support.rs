//! Support staff: they alone enter the pods of an org, and only while an Admin of the org lets them in. What the demo and
//! the tests do inside of pods is done by one of them.

use serde_json::{Value, json};

use super::kube::{Kube, has_condition};
use super::orgs::Org;
use super::{PATIENCE, unexpected};
use crate::error::{Error, Result};
use crate::process::Program;
use crate::{Cluster, files};

/// The group of support staff, as `e2e/values.yaml` names it.
pub const GROUP: &str = "tray-support";
/// Name of the SupportAccess of each org.
const ACCESS: &str = "demo";

/// `kubectl` on the host, as `user` of `group`.
pub fn kubectl(cluster: &Cluster, user: &str, group: &str) -> Result<Program> {
    let kubeconfig = cluster.dir().root().join(format!("kubeconfig-{user}"));
    files::write_private(&kubeconfig, cluster.kubeconfig_for(user, Some(group))?)?;
    Ok(cluster.kubectl::<&str>([]).env("KUBECONFIG", kubeconfig))
}

/// `kubectl` as an Admin of the org.
fn admin(cluster: &Cluster, org: &Org) -> Result<Program> {
    kubectl(
        cluster,
        &format!("admin-of-{}", org.name),
        &format!("{}-admins", org.name),
    )
}

/// An Admin of the org lets support in, to debug; support may when this returns.
pub fn let_in(cluster: &Cluster, kube: &Kube, org: &Org) -> Result<()> {
    let access = json!({
        "apiVersion": "platform.tray.ai/v1alpha1", "kind": "SupportAccess",
        "metadata": {"name": ACCESS, "namespace": org.namespace},
        "spec": {
            "subjects": [{"kind": "Group", "name": GROUP}], "role": "Debug", "durationHours": 8,
            "reason": "The demo fills volumes and compares them.",
        },
    });
    let create = admin(cluster, org)?.args(["create", "-f", "-"]);
    create.input(access.to_string()).run()?;
    let what = format!("support was not let into org {}", org.name);
    let active = |access: &Value| has_condition(access, "Active", "True").then_some(());
    kube.wait(
        &what,
        PATIENCE,
        &["supportaccess", ACCESS, "-n", org.namespace],
        active,
    )
}

/// An Admin of the org puts support out; returns how support is refused from then on.
pub fn put_out(cluster: &Cluster, kube: &Kube, org: &Org) -> Result<String> {
    admin(cluster, org)?
        .args(["delete", "supportaccess", ACCESS, "-n", org.namespace])
        .run()?;
    match kube.exec(org.namespace, "web-0", &["true"]) {
        Ok(_) => Err(unexpected(
            &format!("support in org {}", org.name),
            "it was let in after its access had been deleted",
        )),
        Err(Error::Program { output, .. }) => Ok(output.trim().to_owned()),
        Err(error) => Err(error),
    }
}
