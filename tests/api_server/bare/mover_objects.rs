//! The objects part on a real API server, with the rights that the chart gives and no others: archived, lost, put back.

use std::{path::Path, sync::Arc};

use jiff::Timestamp;
use kube::{Client, api::DeleteParams};
use serde_json::{Value, json};
use tray_domain::{
    ids::{KmsKeyArn, OrgId, RunId},
    ledger::{LedgerState, OpenRestore, Run, RunEnd},
    manifest::{Consistency, Manifest, PartRecord, PartSource, PlannedPart, RunPlan},
    mover_task::{Action, BucketLocation, Endpoints, FailureReason, MoverOutcome, MoverTask},
    names,
    run_plan::{self, CopiedPart, RunFacts},
    stage::Stage,
};
use tray_engine::{BlobStore, DirStore, Engine, EngineError, Repository, RepositoryKey};
use tray_ledger::RemoteError;
use tray_mover::{Bucket, Places, Ports, Session, failure::Failure, ports::LedgerReader};
use tray_operator::adapters::kube::namespace_objects::KubeNamespaceObjects;
use tray_ports::{Clock, MasterKeys};
use zeroize::Zeroizing;

use super::support::{api_server, chart};

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

/// A ledger in which the work of a task is open: the run, or a restore of it.
struct OpenLedger(LedgerState);

impl OpenLedger {
    fn of(action: &Action) -> Self {
        let plan = RunPlan {
            run_id: run(),
            snapshot_name: "acme-1".to_owned(),
            slot: None,
            parts: vec![PlannedPart {
                part: run_plan::objects_part(),
                source: PartSource::Objects {},
                consistency: Consistency::Live,
            }],
            excluded: vec![],
            not_copied: None,
            objectives: None,
        };
        let restore = match action {
            Action::RestoreObjects { restore, run_id, .. } => Some(OpenRestore {
                restore: restore.clone(),
                run_id: run_id.clone(),
                planned_at: Timestamp::UNIX_EPOCH,
            }),
            _ => None,
        };
        let end = restore.is_some().then(|| RunEnd::Committed {
            manifest: Box::new(manifest(&plan)),
            at: Timestamp::UNIX_EPOCH,
            manifest_digest: String::new(),
            accepted: false,
        });
        let known = Run {
            plan,
            planned_at: Timestamp::UNIX_EPOCH,
            end,
            pruned: None,
            marked_at: None,
            collected_at: None,
        };
        let mut state = LedgerState {
            restore,
            ..LedgerState::default()
        };
        state.runs.insert(run(), known);
        Self(state)
    }
}

fn manifest(plan: &RunPlan) -> Manifest {
    let record = PartRecord {
        format_version: 1,
        run_id: run(),
        part: run_plan::objects_part(),
        repository_snapshot: None,
        files: 0,
        objects: 1,
        bytes: 1,
        bytes_read: 1,
        bytes_added: 1,
        content_digest: String::new(),
        started_at: Timestamp::UNIX_EPOCH,
        finished_at: Timestamp::UNIX_EPOCH,
        warnings: vec![],
        left_out: vec![],
        verified: true,
        engine_version: "none".to_owned(),
    };
    let copied = CopiedPart {
        record,
        pod_uid: "pod".to_owned(),
        hook_started_at: None,
    };
    let facts = RunFacts {
        org_id: "7c9e6679-7425-40de-944b-e07fc1f90ae7".parse().unwrap(),
        cluster_uid: "cluster".to_owned(),
        stage: Stage::Production,
        kms_key_arn: KEY.parse().unwrap(),
        bucket: "b".to_owned(),
        bucket_cloud_region: "eu-central-1".to_owned(),
        prefix: String::new(),
        operator_version: "0".to_owned(),
    };
    run_plan::manifest(plan, &facts, &[copied], vec![]).unwrap()
}

#[async_trait::async_trait]
impl LedgerReader for OpenLedger {
    async fn read(&self) -> Result<LedgerState, RemoteError> {
        Ok(self.0.clone())
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
                ledger: Arc::new(OpenLedger::of(&action)),
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
        tray_mover::perform(session).await
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
            restore: "r (uid)".to_owned(),
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
        ..
    } = outcome.unwrap()
    else {
        panic!("a restore was asked for")
    };
    assert_eq!((created, updated, refused), (5, 1, 0));
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
    assert_eq!(
        refused_of(&outcome.unwrap()),
        [(
            "roles.rbac.authorization.k8s.io/exec".to_owned(),
            "Forbidden".to_owned()
        )]
    );
}

/// The refused objects with the API server's word.
fn refused_of(outcome: &MoverOutcome) -> Vec<(String, String)> {
    let MoverOutcome::RestoredObjects { refused, named, .. } = outcome else {
        panic!("a restore was asked for")
    };
    let each = named.iter().flat_map(|of_one| {
        let names = of_one.names.iter();
        names.map(|name| (format!("{}/{name}", of_one.kind), of_one.reason.clone()))
    });
    let each: Vec<_> = each.collect();
    assert_eq!(each.len() as u64, *refused);
    each
}

#[tokio::test]
async fn what_the_api_server_or_a_webhook_refuses_is_named_and_the_rest_comes_back() {
    let org = Org::new("org-objects-4").await;
    let settings = |name: &str, value: &str, immutable: bool| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"guarded": name}},
            "data": {"generation": value}, "immutable": immutable})
    };
    for name in ["frozen", "guarded", "plain"] {
        org.put(settings(name, "before", false)).await;
    }
    let watched = |name: &str, value: &str| {
        let mut watched = settings(name, value, false);
        watched["metadata"]["finalizers"] = json!(["example.com/guard"]);
        watched["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner",
            "uid": "0b1b7a3e-2f0c-4a3b-9f0e-3a1c2d4e5f60"}]);
        watched
    };
    for name in ["owned", "going"] {
        org.put(watched(name, "before")).await;
    }
    let record = org.archived().await;
    for name in ["owned", "going"] {
        org.put(watched(name, "after")).await;
    }
    org.delete("v1", "ConfigMap", "going").await;
    org.put(settings("later", "after", false)).await;
    for name in ["frozen", "guarded", "plain"] {
        org.delete("v1", "ConfigMap", name).await;
    }
    // Somebody made it anew, for ever as it is.
    org.put(settings("frozen", "after", true)).await;
    // A webhook whose server is not there answers for one of them.
    let webhook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "nobody-objects-4"},
        "webhooks": [{
            "name": "nobody.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": "Fail", "timeoutSeconds": 1,
            "clientConfig": {"service": {"name": "nobody", "namespace": "default", "path": "/"}},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "org-objects-4"}},
            "objectSelector": {"matchLabels": {"guarded": "guarded"}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}],
        }],
    });
    api_server::apply(&org.admin, &webhook).await;
    org.bind(names::CLUSTER_ROLE_ORG_RESTORE).await;
    let outcome = api_server::eventually(async || org.mover("pod-2", org.restore(&record)).await.ok()).await;
    let outcome = outcome.unwrap();
    assert!(
        matches!(&outcome, MoverOutcome::RestoredObjects { later: Some(1), later_named, .. } if later_named[0].names == ["later"]),
        "{outcome:?}"
    );
    // What the API server says of that webhook in words is told nowhere.
    let words = serde_json::to_string(&outcome).unwrap();
    assert!(
        !words.contains("nobody") && words.contains("configmaps/guarded: InternalError (HTTP 500)"),
        "{words}"
    );
    let mut refused = refused_of(&outcome);
    refused.sort();
    let named = |name: &str, reason: &str| (format!("configmaps/{name}"), reason.to_owned());
    assert_eq!(
        refused,
        [
            named("frozen", "Immutable"),
            named("going", "Terminating"),
            named("guarded", "InternalError")
        ]
    );
    assert!(org.one("v1", "ConfigMap", "plain").await.is_some());
    assert!(org.one("v1", "ConfigMap", "guarded").await.is_none());
    // Whoever owns or guards a living object goes on doing so; what is on its way out is let go by nobody else.
    for (name, holds) in [("owned", "before"), ("going", "after")] {
        let object = org.one("v1", "ConfigMap", name).await.unwrap();
        assert_eq!(object["data"]["generation"], holds, "{name}");
        assert_eq!(
            object["metadata"]["finalizers"],
            json!(["example.com/guard"]),
            "{name}"
        );
        assert_eq!(
            object["metadata"]["ownerReferences"][0]["name"], "owner",
            "{name}"
        );
    }
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
