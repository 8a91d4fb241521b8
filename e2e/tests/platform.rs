//! What runs on the local cluster: nodes in three regions, volumes that stay, guarded kubelets, counted requests.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy knows test functions, not what they call"
)]

mod support;

use std::io::Write as _;
use std::sync::LazyLock;

use serde_json::{Value, json};
use tray_e2e::audit::AuditLog;
use tray_e2e::image::WEB;
use tray_e2e::inside::addons::STORAGE_CLASS;
use tray_e2e::topology::{NODES, Node};
use tray_e2e::{Cluster, Program};

/// One for all tests of this program; it ends with the process.
static CLUSTER: LazyLock<Cluster> = LazyLock::new(support::start);

fn get(args: &[&str]) -> Value {
    let text = CLUSTER
        .kubectl(["get", "--output=json"])
        .args(args)
        .run()
        .unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn every_region_has_its_node() {
    let nodes = get(&["nodes"]);
    let mut regions: Vec<_> = nodes["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| {
            let label = |name: &str| node["metadata"]["labels"][name].as_str().unwrap().to_owned();
            (
                label("topology.kubernetes.io/region"),
                label("topology.kubernetes.io/zone"),
            )
        })
        .collect();
    regions.sort();
    let expected =
        ["ap-southeast-2", "eu-west-1", "us-west-2"].map(|region| (region.to_owned(), format!("{region}a")));
    assert_eq!(regions, expected);
}

#[test]
fn volumes_wait_for_their_pod_and_outlive_their_claim() {
    let class = get(&["storageclass", STORAGE_CLASS]);
    assert_eq!(class["reclaimPolicy"], "Retain");
    assert_eq!(class["volumeBindingMode"], "WaitForFirstConsumer");
    let volumes = get(&["persistentvolumes"]);
    for volume in volumes["items"].as_array().unwrap() {
        let spec = &volume["spec"];
        assert_eq!(spec["persistentVolumeReclaimPolicy"], "Retain", "{volume}");
        assert!(spec["local"]["path"].is_string(), "{volume}");
    }
}

/// A pod of each region with a volume: it runs on its region's node, finds names, and its volume belongs to its group.
#[test]
fn pods_run_in_their_region_with_volumes_and_dns() {
    let names = NODES.map(|node| {
        let name = format!("probe-{}", node.region);
        let manifests =
            json!({"apiVersion": "v1", "kind": "List", "items": [claim(&name), pod(&name, &node)]});
        CLUSTER
            .kubectl(["apply", "--filename=-"])
            .input(manifests.to_string())
            .run()
            .unwrap();
        name
    });
    for (name, node) in names.iter().zip(NODES) {
        CLUSTER
            .kubectl(["wait", "--for=condition=Ready", "--timeout=90s"])
            .arg(format!("pod/{name}"))
            .run()
            .unwrap();
        assert_eq!(get(&["pod", name])["spec"]["nodeName"], node.name);
        let exec = |script: &str| {
            let command = ["exec", name, "--", "sh", "-c", script];
            CLUSTER.kubectl(command).run().unwrap()
        };
        exec("nslookup kubernetes.default.svc.cluster.local");
        exec("echo here > /data/file");
        assert_eq!(exec("stat -c %g /data/file").trim(), "2000");
    }
    let selector = [
        "delete",
        "pod,persistentvolumeclaim",
        "--selector=test=probe",
        "--now",
    ];
    CLUSTER.kubectl(selector).run().unwrap();
    // Retain: what the pod wrote is still there, and nobody gets the volume.
    let volumes = get(&["persistentvolumes"]);
    let phases = volumes["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|volume| &volume["status"]["phase"]);
    assert_eq!(phases.filter(|phase| *phase == "Released").count(), NODES.len());
}

#[test]
fn a_kubelet_lets_nobody_in_without_a_name_or_a_right() {
    for node in NODES {
        assert_eq!(ask_kubelet_namelessly(&node), "401", "{}", node.name);
        let answer = ask_kubelet(&node, "mallory", None);
        assert!(answer.contains("Forbidden"), "{}: {answer}", node.name);
        // Who may ask gets as far as the pod, which is not there.
        let answer = ask_kubelet(&node, "root", Some("system:masters"));
        assert!(answer.contains("NotFound"), "{}: {answer}", node.name);
    }
}

#[test]
fn requests_are_counted_by_user() {
    let log = AuditLog::new(CLUSTER.dir().audit_log());
    let mark = log.mark().unwrap();
    let config = kubeconfig("counted", Some("system:masters"));
    for _ in 0..3 {
        let raw = ["get", "--raw=/api/v1/namespaces/default"];
        CLUSTER
            .kubectl(raw)
            .env("KUBECONFIG", config.path())
            .run()
            .unwrap();
    }
    let requests = log.since(mark).unwrap();
    assert_eq!(requests.total("counted"), 3, "{requests}");
    assert_eq!(
        requests.by_verb("counted").into_iter().collect::<Vec<_>>(),
        [("get", 3)]
    );
}

const COMMAND_IN_A_POD: &str = "/exec/default/nobody/none?command=id&output=1";

/// The status that a kubelet gives to somebody without any credentials who asks it to run a command in a pod.
/// (kubectl always has some, or asks for a password.)
fn ask_kubelet_namelessly(node: &Node) -> String {
    let script = "import ssl, sys, urllib.error, urllib.request\n\
        request = urllib.request.Request(sys.argv[1], method='POST')\n\
        try:\n  answer = urllib.request.urlopen(request, context=ssl._create_unverified_context())\n\
        except urllib.error.HTTPError as error:\n  answer = error\n\
        print(answer.status)";
    let python = Program::new("python3")
        .args(["-c", script])
        .arg(format!("https://{}:10250{COMMAND_IN_A_POD}", node.address()));
    CLUSTER.enter(python).run().unwrap().trim().to_owned()
}

/// What a kubelet says to a user who asks it to run a command in a pod that is not there.
fn ask_kubelet(node: &Node, user: &str, group: Option<&str>) -> String {
    let config = kubeconfig(user, group);
    let kubectl = CLUSTER.tools().program("kubectl");
    let create = kubectl
        .flag("kubeconfig", config.path())
        .flag("server", format!("https://{}:10250", node.address()))
        .args(["create", "--filename=-"])
        .flag("raw", COMMAND_IN_A_POD)
        .input("{}");
    CLUSTER.enter(create).run().unwrap_err().to_string()
}

fn kubeconfig(user: &str, group: Option<&str>) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut text: Value = serde_json::from_str(&CLUSTER.kubeconfig_for(user, group).unwrap()).unwrap();
    // kubectl refuses an authority together with --insecure-skip-tls-verify.
    let cluster = text["clusters"][0]["cluster"].as_object_mut().unwrap();
    cluster.remove("certificate-authority-data");
    cluster.insert("insecure-skip-tls-verify".into(), true.into());
    file.write_all(text.to_string().as_bytes()).unwrap();
    file
}

fn claim(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default", "labels": {"test": "probe"}},
        "spec": {
            "storageClassName": STORAGE_CLASS,
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    })
}

fn pod(name: &str, node: &Node) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"test": "probe"}},
        "spec": {
            "nodeSelector": {"topology.kubernetes.io/region": node.region},
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 2000, "fsGroup": 2000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "web", "image": WEB, "imagePullPolicy": "Never",
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": name}}],
        },
    })
}
