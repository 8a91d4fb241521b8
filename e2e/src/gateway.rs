//! A Gateway on the local cluster, for what calls webhook hosts: the kinds of the Gateway API, traefik, the Gateway of
//! `examples/gateway.yaml`, and certificates for its listeners from the cluster's own authority.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::files;
use crate::image::{self, TRAEFIK};
use crate::paths::workspace;
use crate::pki::Authority;
use crate::process::Program;
use crate::progress::Progress;
use crate::tools::Toolbox;
use crate::wait;

/// The namespace of the Gateway.
const NAMESPACE: &str = "tray-edge";
/// Domains of the Regions in `examples/regions.yaml`, with the Secrets of the listeners' certificates.
const DOMAINS: [(&str, &str); 3] = [
    ("hooks.us.tray.example", "hooks-us"),
    ("hooks.eu.tray.example", "hooks-eu"),
    ("hooks.apac.tray.example", "hooks-apac"),
];

/// A Gateway that answers.
pub struct Gateway<'a> {
    cluster: &'a Cluster,
    address: String,
}

/// Makes the cluster serve the Gateway API.
pub fn install_kinds(cluster: &Cluster, tools: &Toolbox) -> Result<()> {
    for path in tools
        .files()
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
    {
        // On the server: the largest is too large for the annotation that kubectl would write.
        let apply = cluster.kubectl(["apply", "--server-side"]);
        apply.flag("filename", &path).run()?;
    }
    Ok(())
}

impl<'a> Gateway<'a> {
    /// Installs it, and waits until it takes routes.
    pub fn install(cluster: &'a Cluster, progress: Progress) -> Result<Self> {
        let tools = Toolbox::gateway(cluster.cache(), progress)?;
        progress.step("loading the Gateway's image on every node");
        cluster.load_image(&image::traefik(cluster.cache(), &tools.path("traefik"))?)?;
        progress.step("installing the Gateway API and a Gateway");
        install_kinds(cluster, &tools)?;
        let apply = || cluster.kubectl(["apply", "--filename=-"]);
        let example = files::read(&workspace().join("examples/gateway.yaml"))?;
        apply().input(example).run()?;
        apply().input(certificates(cluster)?.to_string()).run()?;
        let traefik = include_str!("../manifests/traefik.yaml").replace("${IMAGE}", TRAEFIK);
        apply().input(traefik).run()?;
        cluster
            .kubectl(["rollout", "status", "deployment/traefik", "--timeout=90s"])
            .flag("namespace", NAMESPACE)
            .run()?;
        let gateway = cluster.kubectl([
            "get",
            "gateway",
            "edge",
            "--output=json",
            "--namespace",
            NAMESPACE,
        ]);
        wait::until(
            "the Gateway was not programmed",
            Duration::from_secs(60),
            &cluster.dir().logs(),
            || Ok(is_programmed(&parsed(&gateway.run()?)?).then_some(())),
        )?;
        // The pod's own address: those of Services lead somewhere from pods alone.
        let pods = cluster.kubectl(["get", "pods", "--selector=app=traefik", "--output=json"]);
        let pods = parsed(&pods.flag("namespace", NAMESPACE).run()?)?;
        let address = &pods["items"][0]["status"]["podIP"];
        Ok(Self {
            cluster,
            address: address.as_str().unwrap_or_default().to_owned(),
        })
    }

    /// Calls `https://<host>/` over TLS, checked against the cluster's authority, with that token in the header; the status of
    /// the answer.
    pub fn call(&self, host: &str, token: Option<&str>) -> Result<u16> {
        // Python knows names, authorities and headers, and is there: the AWS stand-in runs in it.
        let script = "import socket, ssl, sys\n\
            address, host, token = sys.argv[2], sys.argv[3], sys.argv[4:]\n\
            context = ssl.create_default_context(cafile=sys.argv[1])\n\
            with context.wrap_socket(socket.create_connection((address, 443), 10), server_hostname=host) as tls:\n\
            \x20   header = ''.join(f'x-csrf-token: {t}\\r\\n' for t in token)\n\
            \x20   tls.sendall(f'GET / HTTP/1.1\\r\\nHost: {host}\\r\\n{header}Connection: close\\r\\n\\r\\n'.encode())\n\
            \x20   print(tls.makefile().readline().split()[1])";
        let python = Program::new("python3")
            .args(["-c", script])
            .arg(self.cluster.dir().pki().join("ca.crt"))
            .args([&self.address, host])
            .args(token);
        let answer = self.cluster.enter(python).run()?;
        answer
            .trim()
            .parse()
            .map_err(Error::unexpected("the answer of the Gateway"))
    }
}

/// A Secret for each listener, all with one certificate for every domain.
fn certificates(cluster: &Cluster) -> Result<Value> {
    let names = DOMAINS.map(|(domain, _)| format!("*.{domain}"));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let identity = Authority::load(&cluster.dir().pki())?.server("tray webhooks", &names, &[])?;
    let secret = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "stringData": {"tls.crt": identity.certificate, "tls.key": identity.key},
        })
    };
    Ok(json!({"apiVersion": "v1", "kind": "List", "items": DOMAINS.map(|(_, name)| secret(name))}))
}

/// Whether every listener of a Gateway has what it needs.
fn is_programmed(gateway: &Value) -> bool {
    let holds = |of: &Value| {
        let conditions = of["conditions"].as_array().into_iter().flatten();
        conditions
            .into_iter()
            .any(|c| c["type"] == "Programmed" && c["status"] == "True")
    };
    let status = &gateway["status"];
    let listeners = status["listeners"].as_array().into_iter().flatten();
    holds(status) && listeners.filter(|listener| holds(listener)).count() == DOMAINS.len()
}

fn parsed(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(Error::unexpected("the answer of kubectl"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_programmed_with_all_its_listeners() {
        let said = |status: &str| json!([{"type": "Accepted", "status": "True"}, {"type": "Programmed", "status": status}]);
        let gateway = |last: &str| {
            let listeners = ["True", "True", last].map(|status| json!({"conditions": said(status)}));
            json!({"status": {"conditions": said("True"), "listeners": listeners}})
        };
        assert!(is_programmed(&gateway("True")));
        assert!(!is_programmed(&gateway("False")) && !is_programmed(&json!({})));
    }
}
