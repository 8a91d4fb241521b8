//! One node: a containerd and a kubelet with folders, sockets, address and cgroup of their own.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;

use super::Inside;
use super::control_plane::inside_server;
use crate::error::Result;
use crate::files;
use crate::image::PAUSE;
use crate::paths::{ClusterDir, NodeDir};
use crate::pki::Authority;
use crate::topology::{CGROUP_ROOT, DNS_SERVICE, Node};
use crate::wait;

/// Writes the node's certificates and configuration.
pub(super) fn configure(dir: &ClusterDir, node: &Node, authority: &Authority) -> Result<()> {
    let folder = dir.node(node);
    let user = format!("system:node:{}", node.name);
    let kubeconfig = authority.kubeconfig(&inside_server(), &user, Some("system:nodes"))?;
    files::write_private(&folder.join("kubelet.kubeconfig"), kubeconfig)?;
    let server = authority.server(node.name, &[node.name], &[IpAddr::V4(node.address())])?;
    server.write(&folder.join("pki"), "kubelet")?;
    files::write(
        &folder.join("kubelet.json"),
        kubelet_config(dir, node).to_string(),
    )?;
    files::write(
        &folder.join("cni/10-bridge.conflist"),
        cni_config(&folder, node).to_string(),
    )?;
    files::write(&folder.join("containerd.toml"), containerd_config(&folder))
}

/// Starts the node's containerd and returns when it answers.
pub(super) fn start_containerd(inside: &Inside, node: &Node) -> Result<()> {
    let name = format!("containerd-{}", node.name);
    let folder = inside.dir.node(node);
    let containerd = inside.tools.path("containerd");
    // containerd looks its shim up in PATH.
    let path = containerd
        .parent()
        .map_or_else(String::new, |folder| folder.display().to_string());
    inside.daemons.start(
        &name,
        inside
            .tools
            .program("containerd")
            .arg("--config")
            .arg(folder.join("containerd.toml"))
            .env(
                "PATH",
                format!("{path}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ),
    )?;
    let version = inside
        .tools
        .program("ctr")
        .arg("--address")
        .arg(folder.containerd_socket())
        .arg("version");
    wait::until(
        &format!("containerd of {} did not answer", node.name),
        Duration::from_secs(30),
        &inside.dir.log(&name),
        || Ok(version.output()?.status.success().then_some(())),
    )
}

/// Starts the node's kubelet.
pub(super) fn start_kubelet(inside: &Inside, node: &Node) -> Result<()> {
    let folder = inside.dir.node(node);
    let labels = format!(
        "topology.kubernetes.io/region={},topology.kubernetes.io/zone={}",
        node.region,
        node.zone()
    );
    inside.daemons.start(
        &format!("kubelet-{}", node.name),
        inside
            .tools
            .program("kubelet")
            .flag("config", folder.join("kubelet.json"))
            .flag("kubeconfig", folder.join("kubelet.kubeconfig"))
            .flag("root-dir", folder.join("kubelet"))
            .flag("cert-dir", folder.join("pki"))
            .flag("hostname-override", node.name)
            .flag("node-ip", node.address().to_string())
            .flag("node-labels", labels),
    )
}

fn kubelet_config(dir: &ClusterDir, node: &Node) -> serde_json::Value {
    let folder = dir.node(node);
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address(),
        "port": 10250,
        "readOnlyPort": 0,
        "healthzBindAddress": node.address(),
        "tlsCertFile": folder.join("pki/kubelet.crt"),
        "tlsPrivateKeyFile": folder.join("pki/kubelet.key"),
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": dir.pki().join("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{CGROUP_ROOT}/{}", node.name),
        "enforceNodeAllocatable": [],
        // Kubernetes 1.35 and later refuse version 1 otherwise.
        "failCgroupV1": false,
        "failSwapOn": false,
        "oomScoreAdj": 0,
        // nftables is all that the machine needs to have.
        "makeIPTablesUtilChains": false,
        "clusterDomain": "cluster.local",
        "clusterDNS": [DNS_SERVICE],
        "resolvConf": "",
        "containerRuntimeEndpoint": format!("unix://{}", folder.containerd_socket().display()),
        // The nodes share the machine's disk and memory: leave no node under pressure because of the machine.
        "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "50Mi"},
        "imageGCHighThresholdPercent": 100,
        "localStorageCapacityIsolation": false,
        // Kubelets that share this folder remove each other's logs as orphans.
        "podLogsDir": folder.join("pod-logs"),
        "volumePluginDir": folder.join("volume-plugins"),
        // Pods that mount a changed Secret see it, and short-lived pods end, without a wait of a minute.
        "syncFrequency": "10s",
    })
}

fn cni_config(folder: &NodeDir, node: &Node) -> serde_json::Value {
    json!({
        "cniVersion": "1.0.0",
        "name": node.name,
        "plugins": [{
            "type": "bridge",
            "bridge": node.pod_bridge(),
            "isGateway": true,
            "ipMasq": false,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "dataDir": folder.join("addresses"),
                "ranges": [[{"subnet": node.pod_subnet()}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
}

fn containerd_config(folder: &NodeDir) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    format!(
        r#"version = 3
root = "{root}"
state = "{state}"
# The file systems are not there; NRI and the folder of optional plugins have one fixed place for the whole machine.
disabled_plugins = [
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.nri.v1.nri",
  "io.containerd.internal.v1.opt",
]
[grpc]
  address = "{socket}"
[ttrpc]
  address = "{ttrpc}"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{PAUSE}"
[plugins.'io.containerd.cri.v1.runtime']
  # Without CAP_SYS_RESOURCE runc cannot lower the score, and fails with "can't get final child's PID from pipe: EOF".
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["/usr/lib/cni"]
  conf_dir = "{cni}"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  BinaryName = "/usr/sbin/runc"
"#,
        root = path("containerd"),
        state = path("containerd-state"),
        socket = path("containerd.sock"),
        ttrpc = path("containerd.ttrpc.sock"),
        cni = path("cni"),
    )
}
