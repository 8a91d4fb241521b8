//! The kinds that sequences are about, with what is written of them: always what their schemas let through, for the server in
//! memory has none.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

/// A kind.
pub(super) struct Sample {
    /// What is before the plural in paths, without the namespace.
    pub root: &'static str,
    pub plural: &'static str,
    pub kind: &'static str,
    pub is_namespaced: bool,
    /// What the status may be; none = it is not written.
    pub status: Option<fn(u64) -> Value>,
    /// It is replaced as a whole by some of our calls.
    pub is_replaced: bool,
    /// What an object of that name may be, but for metadata.
    pub body: fn(u64, &str) -> Value,
    /// What takes a field away.
    pub less: fn() -> Value,
}

impl Sample {
    pub(super) fn api_version(&self) -> &'static str {
        self.root.trim_start_matches("/apis/").trim_start_matches("/api/")
    }

    /// The path of all its objects, or of those in a namespace.
    pub(super) fn path(&self, namespace: Option<&str>) -> String {
        match namespace.filter(|_| self.is_namespaced) {
            Some(namespace) => format!("{}/namespaces/{namespace}/{}", self.root, self.plural),
            None => format!("{}/{}", self.root, self.plural),
        }
    }
}

const CORE: &str = "/api/v1";
const OURS: &str = "/apis/platform.tray.ai/v1alpha1";

pub(super) static CONFIG_MAP: Sample = Sample {
    root: CORE,
    plural: "configmaps",
    kind: "ConfigMap",
    is_namespaced: true,
    status: None,
    is_replaced: true,
    body: |n, _| {
        let extra = format!("k{}", n % 3);
        json!({"data": {"k": format!("v{}", n % 4), extra: "x"}})
    },
    less: || json!({"data": {"k": null}}),
};

pub(super) static TRAY_ORG: Sample = Sample {
    root: OURS,
    plural: "trayorgs",
    kind: "TrayOrg",
    is_namespaced: false,
    status: Some(|n| json!({"namespace": format!("org-{}", n % 3), "observedGeneration": n % 4})),
    is_replaced: true,
    body: |n, _| json!({"spec": {"plan": "Team", "regionRef": {"name": "eu"}, "displayName": format!("Acme {}", n % 4)}}),
    less: || json!({"spec": {"displayName": null}}),
};

/// Kinds that a sequence takes some of, beside the two above.
pub(super) static OTHERS: [Sample; 12] = [
    Sample {
        root: CORE,
        plural: "secrets",
        kind: "Secret",
        is_namespaced: true,
        status: None,
        is_replaced: true,
        body: |n, _| {
            let value = format!("v{}", n % 4);
            let mut body = if n.is_multiple_of(2) {
                json!({"stringData": {"k": value}})
            } else {
                json!({"data": {"l": BASE64_STANDARD.encode(value)}})
            };
            if n % 16 == 15 {
                body["immutable"] = true.into();
            }
            body
        },
        less: || json!({"data": {"k": null}}),
    },
    Sample {
        root: "/apis/coordination.k8s.io/v1",
        plural: "leases",
        kind: "Lease",
        is_namespaced: true,
        status: None,
        is_replaced: true,
        body: |n, _| {
            let renewed = format!("2026-01-01T00:00:0{}.000000Z", n % 5);
            json!({"spec": {"holderIdentity": format!("holder-{}", n % 3), "leaseDurationSeconds": 15, "renewTime": renewed}})
        },
        less: || json!({"spec": {"holderIdentity": null}}),
    },
    Sample {
        root: "/apis/batch/v1",
        plural: "jobs",
        kind: "Job",
        is_namespaced: true,
        status: Some(|n| json!({"active": n % 3})),
        is_replaced: false,
        body: |n, _| {
            let mut template = pods("main");
            template["spec"]["restartPolicy"] = "Never".into();
            json!({"spec": {"suspend": n.is_multiple_of(2), "parallelism": 1 + n % 3, "template": template}})
        },
        less: || json!({"spec": {"activeDeadlineSeconds": null}}),
    },
    Sample {
        root: CORE,
        plural: "services",
        kind: "Service",
        is_namespaced: true,
        status: None,
        is_replaced: false,
        body: |n, _| {
            let port = json!({"name": "http", "port": 80, "targetPort": 8080});
            json!({"spec": {"selector": {"app": format!("app-{}", n % 3)}, "ports": [port]}})
        },
        less: || json!({"spec": {"selector": null}}),
    },
    Sample {
        root: "/apis/apps/v1",
        plural: "statefulsets",
        kind: "StatefulSet",
        is_namespaced: true,
        status: Some(|n| json!({"replicas": n % 3, "readyReplicas": n % 2, "observedGeneration": n % 4})),
        is_replaced: false,
        body: |n, _| {
            let service = if n % 16 == 15 { "other" } else { "db" };
            json!({"spec": {"replicas": n % 3, "serviceName": service, "selector": {"matchLabels": {"app": "x"}},
                "template": pods("db")}})
        },
        less: || json!({"spec": {"template": {"metadata": {"annotations": null}}}}),
    },
    Sample {
        root: "/apis/apps/v1",
        plural: "deployments",
        kind: "Deployment",
        is_namespaced: true,
        status: Some(|n| json!({"replicas": n % 3, "updatedReplicas": n % 3, "observedGeneration": n % 4})),
        is_replaced: false,
        body: |n, _| json!({"spec": {"replicas": n % 3, "selector": {"matchLabels": {"app": "x"}}, "template": pods("web")}}),
        less: || json!({"spec": {"paused": null}}),
    },
    Sample {
        root: CORE,
        plural: "pods",
        kind: "Pod",
        is_namespaced: true,
        status: Some(|n| {
            let phase = ["Pending", "Running", "Succeeded", "Failed"][n as usize % 4];
            json!({"phase": phase})
        }),
        is_replaced: false,
        // One waits for a node, the others run.
        body: |_, name| {
            let mut spec = pods("main")["spec"].clone();
            if name != "a" {
                spec["nodeName"] = "node".into();
                spec["terminationGracePeriodSeconds"] = 60.into();
            }
            json!({"spec": spec})
        },
        less: || json!({"metadata": {"labels": {"shade": null}}}),
    },
    Sample {
        root: CORE,
        plural: "persistentvolumeclaims",
        kind: "PersistentVolumeClaim",
        is_namespaced: true,
        status: Some(|n| json!({"phase": if n.is_multiple_of(2) { "Pending" } else { "Bound" }})),
        is_replaced: false,
        body: |_, _| json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}}}),
        less: || json!({"metadata": {"labels": {"shade": null}}}),
    },
    Sample {
        root: "/apis/networking.k8s.io/v1",
        plural: "networkpolicies",
        kind: "NetworkPolicy",
        is_namespaced: true,
        status: None,
        is_replaced: false,
        body: |n, _| {
            let app = format!("app-{}", n % 3);
            json!({"spec": {"podSelector": {"matchLabels": {"app": app}}, "policyTypes": ["Ingress", "Egress"]}})
        },
        less: || json!({"spec": {"podSelector": {"matchLabels": null}}}),
    },
    Sample {
        root: CORE,
        plural: "serviceaccounts",
        kind: "ServiceAccount",
        is_namespaced: true,
        status: None,
        is_replaced: false,
        body: |n, _| json!({"automountServiceAccountToken": n.is_multiple_of(2)}),
        less: || json!({"automountServiceAccountToken": null}),
    },
    Sample {
        root: CORE,
        plural: "nodes",
        kind: "Node",
        is_namespaced: false,
        status: Some(|n| {
            let status = if n.is_multiple_of(2) { "True" } else { "False" };
            json!({"conditions": [{"type": "Ready", "status": status}]})
        }),
        is_replaced: false,
        body: |n, _| json!({"spec": {"podCIDR": "10.1.0.0/24", "unschedulable": n.is_multiple_of(2)}}),
        less: || json!({"spec": {"unschedulable": null}}),
    },
    Sample {
        root: OURS,
        plural: "orgsnapshots",
        kind: "OrgSnapshot",
        is_namespaced: false,
        status: Some(|n| {
            let phase = ["Pending", "Hooks", "Copying", "Committed"][n as usize % 4];
            json!({"phase": phase, "bytesRead": n % 3})
        }),
        is_replaced: true,
        body: |_, _| json!({"spec": {"orgRef": {"name": "acme"}}}),
        less: || json!({"metadata": {"labels": {"shade": null}}}),
    },
];

/// A namespace: made, labelled, held and deleted like any other object, and let go by its controller, which is the test.
pub(super) static NAMESPACE: Sample = Sample {
    root: CORE,
    plural: "namespaces",
    kind: "Namespace",
    is_namespaced: false,
    status: None,
    is_replaced: false,
    body: |_, _| json!({}),
    less: || json!({"metadata": {"labels": {"shade": null}}}),
};

fn pods(container: &str) -> Value {
    let container = json!({"name": container, "image": "image:1", "resources": {"requests": {"cpu": "0.5"}}});
    json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [container]}})
}
