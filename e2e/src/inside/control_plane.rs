//! etcd, the API server and what stands directly around it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::json;

use super::Inside;
use crate::error::Result;
use crate::files;
use crate::pki::{self, Authority, Identity};
use crate::process::Program;
use crate::topology::{API_PORT, API_SERVICE, CLUSTER_ADDRESS, GATEWAY, NODES, POD_NETWORK, SERVICE_NETWORK};
use crate::wait;

const ETCD: &str = "http://127.0.0.1:2379";
/// The issuer of service account tokens, projected ones for other audiences included.
pub const TOKEN_ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Makes all certificates and kubeconfigs of the control plane, and the administrator's.
pub(super) fn write_identities(inside: &Inside, authority: &Authority) -> Result<()> {
    let pki = inside.dir.pki();
    let addresses: Vec<IpAddr> = [Ipv4Addr::LOCALHOST, API_SERVICE, GATEWAY, CLUSTER_ADDRESS]
        .map(IpAddr::V4)
        .to_vec();
    let names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    authority
        .server("kube-apiserver", &names, &addresses)?
        .write(&pki, "apiserver")?;
    let to_kubelets: Identity = authority.client("kube-apiserver-kubelet-client", Some("system:masters"))?;
    to_kubelets.write(&pki, "apiserver-kubelet-client")?;
    pki::write_key_pair(&pki, "service-accounts")?;

    for (file, user, group) in [
        ("admin", "kubernetes-admin", Some("system:masters")),
        ("kube-controller-manager", "system:kube-controller-manager", None),
        ("kube-scheduler", "system:kube-scheduler", None),
        ("kube-proxy", "system:kube-proxy", None),
    ] {
        let text = authority.kubeconfig(&inside_server(), user, group)?;
        files::write_private(&pki.join(format!("{file}.kubeconfig")), text)?;
    }
    let admin = authority.kubeconfig(&host_server(), "kubernetes-admin", Some("system:masters"))?;
    files::write_private(&inside.dir.kubeconfig(), admin)
}

/// The API server's address for everything inside the namespaces.
pub(super) fn inside_server() -> String {
    format!("https://{GATEWAY}:{API_PORT}")
}

/// The API server's address for the host.
pub(super) fn host_server() -> String {
    format!("https://{CLUSTER_ADDRESS}:{API_PORT}")
}

/// Starts etcd and the API server, and returns when the latter is ready.
pub(super) fn start_api(inside: &Inside) -> Result<()> {
    inside.daemons.start("etcd", etcd(inside))?;
    inside.daemons.start("kube-apiserver", api_server(inside)?)?;
    let ready = kubectl(inside).args(["get", "--raw=/readyz"]);
    wait::until(
        "the API server did not become ready",
        Duration::from_mins(1),
        &inside.dir.log("kube-apiserver"),
        || Ok(ready.output()?.status.success().then_some(())),
    )
}

/// Starts the controllers, the scheduler and the Service proxy.
pub(super) fn start_controllers(inside: &Inside) -> Result<()> {
    let pki = inside.dir.pki();
    let component = |name: &str| {
        inside
            .tools
            .program(name)
            .flag("kubeconfig", pki.join(format!("{name}.kubeconfig")))
    };
    inside.daemons.start(
        "kube-controller-manager",
        component("kube-controller-manager")
            .args([
                "--use-service-account-credentials",
                "--leader-elect=false",
                "--bind-address=127.0.0.1",
            ])
            .flag(
                "service-account-private-key-file",
                pki.join("service-accounts.key"),
            )
            .flag("root-ca-file", pki.join("ca.crt"))
            .flag("flex-volume-plugin-dir", inside.dir.root().join("volume-plugins")),
    )?;
    inside.daemons.start(
        "kube-scheduler",
        component("kube-scheduler").args(["--leader-elect=false", "--bind-address=127.0.0.1"]),
    )?;
    inside.daemons.start(
        "kube-proxy",
        // One proxy serves all nodes, since they share one network namespace. Its limits on connection tracking and its
        // place in the kernel's out-of-memory order are left as they are: both belong to the machine.
        component("kube-proxy")
            .args([
                "--proxy-mode=nftables",
                "--bind-address=127.0.0.1",
                "--oom-score-adj=0",
            ])
            .args([
                "--healthz-bind-address=127.0.0.1:10256",
                "--metrics-bind-address=127.0.0.1:10249",
            ])
            .args(["--conntrack-max-per-core=0", "--conntrack-min=0"])
            .args([
                "--conntrack-tcp-timeout-established=0s",
                "--conntrack-tcp-timeout-close-wait=0s",
            ])
            .flag("cluster-cidr", POD_NETWORK)
            .flag("hostname-override", NODES[0].name),
    )
}

/// kubectl as the administrator, inside.
pub(super) fn kubectl(inside: &Inside) -> Program {
    inside
        .tools
        .program("kubectl")
        .flag("kubeconfig", inside.dir.pki().join("admin.kubeconfig"))
        .flag("cache-dir", inside.dir.kubectl_cache())
}

fn etcd(inside: &Inside) -> Program {
    inside
        .tools
        .program("etcd")
        .flag("data-dir", inside.dir.root().join("etcd"))
        .flag("listen-client-urls", ETCD)
        .flag("advertise-client-urls", ETCD)
        // The state of a cluster that ends with its processes need not survive a power cut.
        .args(["--listen-peer-urls=http://127.0.0.1:2380", "--unsafe-no-fsync"])
}

fn api_server(inside: &Inside) -> Result<Program> {
    let pki = inside.dir.pki();
    let policy = pki.join("audit-policy.json");
    files::write(
        &policy,
        json!({
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata"}],
        })
        .to_string(),
    )?;
    Ok(inside
        .tools
        .program("kube-apiserver")
        .flag("etcd-servers", ETCD)
        .flag("bind-address", "0.0.0.0")
        .flag("advertise-address", GATEWAY.to_string())
        .flag("secure-port", API_PORT.to_string())
        .flag("tls-cert-file", pki.join("apiserver.crt"))
        .flag("tls-private-key-file", pki.join("apiserver.key"))
        .flag("client-ca-file", pki.join("ca.crt"))
        .args([
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
        ])
        .args(["--anonymous-auth=false", "--allow-privileged=true"])
        .flag(
            "kubelet-client-certificate",
            pki.join("apiserver-kubelet-client.crt"),
        )
        .flag("kubelet-client-key", pki.join("apiserver-kubelet-client.key"))
        .flag("kubelet-certificate-authority", pki.join("ca.crt"))
        // Or exec and logs look the node's name up in DNS.
        .flag("kubelet-preferred-address-types", "InternalIP")
        .flag("service-cluster-ip-range", SERVICE_NETWORK)
        .flag("service-account-issuer", TOKEN_ISSUER)
        .flag("service-account-key-file", pki.join("service-accounts.pub"))
        .flag(
            "service-account-signing-key-file",
            pki.join("service-accounts.key"),
        )
        .flag("audit-policy-file", policy)
        .flag("audit-log-path", inside.dir.audit_log())
        // Megabytes. Requests are counted by position in the one file, so it is never rotated.
        .flag("audit-log-maxsize", "16384"))
}
