//! The orgs of a bench, and their children as the product renders them.

use futures::{StreamExt, stream};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use tray_api::{
    crds,
    region::Region,
    retention_policy::RetentionPolicySpec,
    trayorg::{PinnedRegion, TrayOrg},
};
use tray_domain::{backup_place::BackupPlace, replicas::Situation};
use tray_operator::resources::{
    child::DesiredChild,
    org::{Inputs, Placement, Surroundings, children, effective, log_policy, quota},
};

use super::{
    chart,
    objects::{api_of, apply, dry_run, eventually, refusal},
};

/// Ports of the API server that the operator is told, here and in the ghost.
pub(crate) const API_SERVER_PORTS: [u16; 2] = [443, 6443];

/// The Region that every org is in.
fn region() -> Value {
    json!({
        "apiVersion": "platform.tray.ai/v1alpha1", "kind": "Region", "metadata": {"name": "eu"},
        "spec": {
            "jurisdiction": "EU", "cloudRegion": "eu-west-1", "minZones": 1, "zones": ["eu-west-1a"],
            "storage": {"storageClassName": "org-encrypted"},
            "backup": {
                "bucket": "tray-backups-eu", "bucketOwner": "111122223333", "cloudRegion": "eu-central-1",
                "kms": {"ledgerKeyArn": "arn:aws:kms:eu-central-1:111122223333:key/ledger"},
                "moverRoleArn": "arn:aws:iam::111122223333:role/tray-mover",
            },
            "workloads": [
                {
                    "name": "db", "kind": "StatefulSet", "image": "postgres:15", "runAsUser": 999, "runAsGroup": 999,
                    "fsGroup": 999, "scratch": ["/tmp", "/run"], "ports": [{"name": "postgres", "port": 5432}],
                    "resources": {"cpu": "100m", "memory": "256Mi", "memoryLimit": "512Mi"},
                    "readiness": {"exec": ["pg_isready", "-q"]}, "volume": {"size": "10Gi", "mountPath": "/data"},
                },
                {
                    "name": "runtime", "kind": "Deployment", "image": "runtime:1", "replicas": 2, "runAsUser": 1000,
                    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], "scratch": ["/tmp"],
                    "ports": [{"name": "http", "port": 8080}], "resources": {"cpu": "100m", "memory": "128Mi"},
                    "readiness": {"httpPath": "/healthz", "port": "http"},
                },
            ],
        },
    })
}

/// Name of an org.
pub(crate) fn name(number: usize) -> String {
    format!("org-{number:05}")
}

fn org(number: usize) -> Value {
    json!({
        "apiVersion": "platform.tray.ai/v1alpha1", "kind": "TrayOrg", "metadata": {"name": name(number)},
        "spec": {
            "orgId": format!("{number:08x}-0000-4000-8000-000000000000"), "displayName": format!("Org {number}"),
            "regionRef": {"name": "eu"}, "plan": "Team", "lifecycle": {"state": "Suspended"},
            "owners": [
                {"kind": "Group", "name": format!("admins-{number}"), "role": "Admin"},
                {"kind": "Group", "name": format!("viewers-{number}"), "role": "Viewer"},
            ],
        },
    })
}

/// The children of an org by the order they are made in.
pub(crate) fn rendered(number: usize) -> Vec<Vec<DesiredChild>> {
    let region: Region = serde_json::from_value(region()).unwrap();
    let org: TrayOrg = serde_json::from_value(org(number)).unwrap();
    let pinned = PinnedRegion {
        name: "eu".into(),
        jurisdiction: region.spec.jurisdiction,
        cloud_region: region.spec.cloud_region.clone(),
    };
    let id = org.spec.org_id.clone().unwrap().parse().unwrap();
    let workloads = effective::workloads(&org.spec, &region.spec).unwrap().workloads;
    let backup = &region.spec.backup;
    let copies = BackupPlace::whole(&*backup.bucket, &*backup.bucket_owner, &*backup.prefix);
    children(&Inputs {
        placement: &Placement::new(name(number), id, pinned).with_backup(Some(copies)),
        org: &org.spec,
        region: &region.spec,
        workloads: &workloads,
        limits: &quota::limits(&org.spec, &region.spec),
        logs: Some(&log_policy::wanted(&org.spec, &RetentionPolicySpec::default())),
        situation: &Situation {
            suspended: true,
            ..Situation::default()
        },
        surroundings: &Surroundings {
            api_server_ports: API_SERVER_PORTS.into(),
        },
        support: None,
    })
}

/// An org's namespace.
pub(crate) fn namespace(number: usize) -> String {
    rendered(number)[0][0].id.name.clone()
}

/// What is there before anybody is measured: kinds, rights, a node, and `orgs` TrayOrgs made by `platform`.
pub(crate) async fn prepare(admin: &Client, platform: &Client, orgs: usize) {
    for crd in crds::all_crds() {
        apply(admin, &serde_json::to_value(crd).unwrap()).await;
    }
    for object in surroundings() {
        apply(admin, &object).await;
    }
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(admin.clone());
    let params = PatchParams::default();
    nodes
        .patch_status("eu-a", &params, &Patch::Strategic(ready))
        .await
        .unwrap();
    let api = api_of(platform, &org(0)).await.unwrap();
    put_finalizers(admin, &api).await;
    let made = stream::iter(0..orgs).map(|number| {
        let (api, object) = (api.clone(), serde_json::from_value(org(number)).unwrap());
        async move {
            api.create(&kube::api::PostParams::default(), &object)
                .await
                .unwrap()
        }
    });
    made.buffer_unordered(8).for_each(|_| async {}).await;
}

/// Has the API server put the orgs' finalizer there, as the chart does.
async fn put_finalizers(admin: &Client, orgs: &Api<DynamicObject>) {
    for object in chart::mutating_policies(&chart::UPGRADE) {
        apply(admin, &object).await;
    }
    let probe = org(0);
    let in_force = eventually(async || {
        let made = dry_run(orgs, &probe).await.ok()?;
        made.metadata.finalizers
    });
    assert!(in_force.await.is_some(), "the policy is not in force");
}

/// What refuses Services in an org's namespace.
const NO_SERVICES: &str = "no-services";

/// Has the API server refuse Services in an org's namespace; returns once it does.
pub(crate) async fn refuse_services(admin: &Client, number: usize) {
    let namespace = namespace(number);
    let refused = format!("request.namespace == '{namespace}'");
    for object in refusal(NO_SERVICES, ("", "services"), &refused, "no Services here") {
        apply(admin, &object).await;
    }
    let probe = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "probe", "namespace": namespace}, "spec": {"clusterIP": "None"}});
    let services = api_of(admin, &probe).await.unwrap();
    let in_force = eventually(async || dry_run(&services, &probe).await.err());
    assert!(in_force.await.is_some(), "the policy is not in force");
}

/// Ends what [`refuse_services`] began.
pub(crate) async fn allow_services(admin: &Client) {
    let [_, binding] = refusal(NO_SERVICES, ("", "services"), "true", "");
    let bindings = api_of(admin, &binding).await.unwrap();
    bindings
        .delete(NO_SERVICES, &DeleteParams::default())
        .await
        .unwrap();
}

fn surroundings() -> Vec<Value> {
    let of_ours = |kind: &str, spec: Value| json!({"apiVersion": "platform.tray.ai/v1alpha1", "kind": kind, "metadata": {"name": "standard"}, "spec": spec});
    vec![
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "bench"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "bench"}]}),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tray-system"}}),
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "eu-a", "labels": {
            "topology.kubernetes.io/region": "eu-west-1", "topology.kubernetes.io/zone": "eu-west-1a"}}}),
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "org-encrypted"},
            "provisioner": "kubernetes.io/no-provisioner", "reclaimPolicy": "Retain"}),
        region(),
        of_ours("RetentionPolicy", json!({})),
        of_ours("BackupSchedule", json!({"schedule": "0 */12 * * *"})),
    ]
}
