//! The objects part on a real API server, with the rights that the chart gives and no others: archived, lost, put back.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy knows test functions, not what they call"
)]

mod support;

use std::{path::Path, sync::Arc};

use jiff::Timestamp;
use kube::{Client, api::DeleteParams};
use serde_json::{Value, json};
use support::{api_server, chart};
use tray_engine::{BlobStore, DirStore, Engine, EngineError, Repository, RepositoryKey};
use tray_operator::{
    adapters::kube::namespace_objects::KubeNamespaceObjects,
    domain::{
        ids::{KmsKeyArn, OrgId, RunId},
        manifest::PartRecord,
        mover_task::{Action, BucketLocation, Endpoints, FailureReason, MoverOutcome, MoverTask},
        names,
    },
    mover::{self, Bucket, Places, Ports, Session, failure::Failure},
    ports::{Clock, RemoteError, mover::MasterKeys},
};
use zeroize::Zeroizing;

const KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/k";

struct Folder(tempfile::TempDir);

impl Bucket for Folder {
    fn at(&self, prefix: &str) -> Arc<dyn BlobStore> {
        Arc::new(DirStore::new(self.0.path().join(prefix)))
    }
}

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
}

#[async_trait::async_trait]
impl MasterKeys for Fixed {
    async fn unwrap(&self, _: &KmsKeyArn, _: &OrgId, _: &[u8]) -> Result<Zeroizing<Vec<u8>>, RemoteError> {
        Ok(Zeroizing::new(vec![7; 64]))
    }
}

/// The objects part has no use for an engine but its version.
impl Engine for Fixed {
    fn open_or_init(
        &self,
        store: Arc<dyn BlobStore>,
        key: &RepositoryKey,
        work_dir: &Path,
    ) -> Result<Box<dyn Repository>, EngineError> {
        self.open(store, key, work_dir)
    }
    fn open(
        &self,
        store: Arc<dyn BlobStore>,
        _: &RepositoryKey,
        _: &Path,
    ) -> Result<Box<dyn Repository>, EngineError> {
        Err(EngineError::NoRepository(store.location()))
    }
    fn version(&self) -> String {
        "none".into()
    }
}

/// One org's namespace, and the mover of it.
struct Org {
    namespace: String,
    admin: Client,
    bucket: Arc<Folder>,
}

impl Org {
    async fn new(namespace: &str) -> Self {
        let admin = api_server::shared().await.client().await;
        api_server::apply(
            &admin,
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
        )
        .await;
        for role in chart::render(&[]).unwrap() {
            let name = &role["metadata"]["name"];
            let of_movers =
                *name == *names::CLUSTER_ROLE_ORG_ARCHIVE || *name == *names::CLUSTER_ROLE_ORG_RESTORE;
            if role["kind"] == "ClusterRole" && of_movers {
                api_server::apply(&admin, &role).await;
            }
        }
        let bucket = Folder(tempfile::tempdir().unwrap());
        let wrapped =
            json!({"formatVersion": 1, "kmsKeyArn": KEY, "purpose": "master-key", "ciphertext": "Bw=="});
        let key = "v1/orgs/7c9e6679-7425-40de-944b-e07fc1f90ae7/key/0001.json";
        bucket
            .at("")
            .put_if_absent(key, wrapped.to_string().into())
            .unwrap();
        Self {
            namespace: namespace.to_owned(),
            admin,
            bucket: Arc::new(bucket),
        }
    }

    async fn put(&self, mut object: Value) {
        object["metadata"]["namespace"] = json!(self.namespace);
        api_server::apply(&self.admin, &object).await;
    }

    async fn bind(&self, role: &str) {
        self.put(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": role, "labels": {(names::LABEL_MANAGED_BY): names::OPERATOR}},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": names::MOVER_SERVICE_ACCOUNT, "namespace": self.namespace}],
        }))
        .await;
    }

    async fn mover(&self, pod_uid: &str, action: Action) -> Result<MoverOutcome, Failure> {
        let user = format!(
            "system:serviceaccount:{}:{}",
            self.namespace,
            names::MOVER_SERVICE_ACCOUNT
        );
        let groups = ["system:serviceaccounts", "system:authenticated"];
        let client = api_server::shared().await.client_as(Some(&user), &groups).await;
        let session = Session {
            ports: Ports {
                engine: Arc::new(Fixed),
                bucket: Arc::clone(&self.bucket) as _,
                keys: Arc::new(Fixed),
                objects: Some(Arc::new(KubeNamespaceObjects::new(client, &self.namespace))),
                clock: Arc::new(Fixed),
            },
            task: MoverTask {
                org_id: "7c9e6679-7425-40de-944b-e07fc1f90ae7".parse().unwrap(),
                location: BucketLocation {
                    bucket: "b".into(),
                    bucket_owner: "111122223333".into(),
                    cloud_region: "eu-central-1".into(),
                    prefix: String::new(),
                    endpoints: Endpoints::default(),
                },
                kms_key_arn: KEY.parse().unwrap(),
                action,
            },
            places: Places::of_pod(pod_uid.to_owned()),
        };
        mover::perform(session).await
    }

    fn snapshot(&self) -> Action {
        Action::SnapshotObjects {
            run_id: run(),
            part: "objects".parse().unwrap(),
            namespace: self.namespace.clone(),
        }
    }

    fn restore(&self, record: &PartRecord) -> Action {
        Action::RestoreObjects {
            run_id: run(),
            namespace: self.namespace.clone(),
            content_digest: record.content_digest.clone(),
        }
    }

    /// Archives, once the right to it is known to the server.
    async fn archived(&self) -> PartRecord {
        self.bind(names::CLUSTER_ROLE_ORG_ARCHIVE).await;
        let outcome = api_server::eventually(async || self.mover("pod-1", self.snapshot()).await.ok()).await;
        match outcome.unwrap() {
            MoverOutcome::Snapshotted { record } => *record,
            other => panic!("{other:?}"),
        }
    }

    async fn one(&self, api_version: &str, kind: &str, name: &str) -> Option<Value> {
        let what =
            json!({"apiVersion": api_version, "kind": kind, "metadata": {"namespace": self.namespace}});
        let api = api_server::api_of(&self.admin, &what).await.unwrap();
        let object = api.get_opt(name).await.unwrap()?;
        Some(serde_json::to_value(object).unwrap())
    }

    async fn delete(&self, api_version: &str, kind: &str, name: &str) {
        let what =
            json!({"apiVersion": api_version, "kind": kind, "metadata": {"namespace": self.namespace}});
        let api = api_server::api_of(&self.admin, &what).await.unwrap();
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }
}

fn run() -> RunId {
    "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap()
}

#[tokio::test]
async fn what_the_operator_never_made_comes_back_after_it_was_lost() {
    let org = Org::new("org-objects-1").await;
    let core = |kind: &str, name: &str, rest: Value| {
        let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
        for (field, value) in rest.as_object().unwrap() {
            object[field] = value.clone();
        }
        object
    };
    // More than a page.
    for n in 0..120 {
        org.put(core(
            "ConfigMap",
            &format!("c{n:03}"),
            json!({"data": {"n": n.to_string()}}),
        ))
        .await;
    }
    org.put(core(
        "Secret",
        "theirs",
        json!({"stringData": {"password": "hunter2"}}),
    ))
    .await;
    org.put(core("ServiceAccount", "theirs", json!({}))).await;
    org.put(core(
        "Service",
        "theirs",
        json!({"spec": {"ports": [{"port": 80}]}}),
    ))
    .await;
    org.put(core(
        "PersistentVolumeClaim",
        "theirs",
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
    ))
    .await;
    org.put(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "theirs"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}},
    }))
    .await;
    let record = org.archived().await;
    assert!(record.objects >= 125, "{record:?}");

    for (api_version, kind, name) in [
        ("v1", "Secret", "theirs"),
        ("v1", "ConfigMap", "c007"),
        ("v1", "Service", "theirs"),
        ("v1", "ServiceAccount", "theirs"),
        ("apps/v1", "Deployment", "theirs"),
    ] {
        org.delete(api_version, kind, name).await;
    }
    org.put(core("ConfigMap", "c008", json!({"data": {"n": "changed"}})))
        .await;

    org.bind(names::CLUSTER_ROLE_ORG_RESTORE).await;
    let outcome = api_server::eventually(async || org.mover("pod-2", org.restore(&record)).await.ok()).await;
    let MoverOutcome::RestoredObjects {
        created,
        updated,
        unchanged,
        refused,
    } = outcome.unwrap()
    else {
        panic!("a restore was asked for")
    };
    assert_eq!((created, updated, refused), (5, 1, vec![]));
    assert!(unchanged >= 119, "{unchanged}");
    assert_eq!(
        org.one("v1", "Secret", "theirs").await.unwrap()["data"]["password"],
        "aHVudGVyMg=="
    );
    assert_eq!(
        org.one("v1", "ConfigMap", "c008").await.unwrap()["data"]["n"],
        "8"
    );
    // Defaults and addresses are the server's again.
    assert!(org.one("v1", "Service", "theirs").await.unwrap()["spec"]["clusterIP"].is_string());
    assert_eq!(
        org.one("apps/v1", "Deployment", "theirs").await.unwrap()["spec"]["replicas"],
        0
    );

    // And once more: a mover that died after its last object is followed by one that changes nothing.
    let again = org.mover("pod-3", org.restore(&record)).await.unwrap();
    assert!(
        matches!(
            again,
            MoverOutcome::RestoredObjects {
                created: 0,
                updated: 0,
                ..
            }
        ),
        "{again:?}"
    );
}

#[tokio::test]
async fn a_restore_gives_no_rights_that_the_mover_has_not() {
    let org = Org::new("org-objects-2").await;
    org.put(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "exec"},
        "rules": [{"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]}],
    }))
    .await;
    let record = org.archived().await;
    org.delete("rbac.authorization.k8s.io/v1", "Role", "exec").await;
    org.bind(names::CLUSTER_ROLE_ORG_RESTORE).await;
    let outcome = api_server::eventually(async || org.mover("pod-2", org.restore(&record)).await.ok()).await;
    let MoverOutcome::RestoredObjects { refused, .. } = outcome.unwrap() else {
        panic!("a restore was asked for")
    };
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(
        refused[0].starts_with("roles.rbac.authorization.k8s.io/exec: forbidden"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_mover_without_its_role_archives_nothing() {
    let org = Org::new("org-objects-3").await;
    let failure = org.mover("pod-1", org.snapshot()).await.unwrap_err();
    assert_eq!(
        (failure.reason, failure.permanent),
        (FailureReason::KubernetesFailed, false)
    );
    assert!(failure.message.contains("limitranges"), "{failure}");
    assert!(
        org.bucket
            .at("")
            .list("v1/orgs/7c9e6679-7425-40de-944b-e07fc1f90ae7/objects/")
            .unwrap()
            .is_empty()
    );
}
