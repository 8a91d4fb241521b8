//! A cluster with the chart, two orgs and everybody who may knock: requests are sent as one of them, and answered.

use std::collections::HashMap;

use http::{Method, Request, header::CONTENT_TYPE};
use kube::{Client, core::Status};
use serde_json::{Value, json};
use tokio::sync::{Mutex, OnceCell, RwLock, RwLockReadGuard};
use tray_api::crds;
use tray_domain::names;

use super::{
    binding::{NODES, WAITING},
    cases::{change, create, delete},
    child_guard::{FOREIGN, OURS, guarded},
    crd_guard,
    delete_protection::UNPROTECTED,
    mover_exec::MOVER,
    mover_pods::{SUSPENDED, TAKEN},
    mover_secrets::{MARKED, TAKING},
    pod_logs::TELLING,
    pod_pinning::UNPINNED,
    pods, run_authority,
    service_type::INSIDE,
    support_access,
    volume_class::{NEW, OLD, claim},
};
use crate::edit::with;
use crate::support::{
    api_server::{self, eventually},
    chart, installed,
};

/// Namespace of an org, under PodSecurity as the operator makes it. Support has access.
pub(crate) const ORG: &str = "org-acme-00000001";
/// Namespace of an org whose PodSecurity labels somebody managed to remove: the policies hold without them.
pub(crate) const BARE: &str = "org-bare-00000002";
/// A namespace that is no org's.
pub(crate) const PLAIN: &str = "plain";
/// The region that both orgs are pinned to.
pub(crate) const CLOUD_REGION: &str = "eu-west-1";
/// The StorageClass of that region.
pub(crate) const CLASS: &str = "org-encrypted";
/// Groups of support staff. The first has access to [`ORG`] at present.
pub(crate) const STAFF: [&str; 2] = ["support", "sre"];

/// What the API server adds to a user whose token is bound to a pod: where that runs.
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
/// Kinds that the policies speak of and the API does not have yet.
const TO_COME: [(&str, &str, &str); 1] = [("orgtombstones", "OrgTombstone", "Cluster")];
/// The objects of the chart, as it is installed here.
pub(crate) fn chart() -> Vec<Value> {
    chart::render(&[installed::SUPPORT_GROUPS]).unwrap()
}

/// Who asks. All but [`Who::Granted`] have every right, so that it is the policies that refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// An administrator of the cluster.
    Admin,
    /// The operator's service account.
    Operator,
    /// A service account of that name beside the operator.
    Neighbour(&'static str),
    /// A controller of Kubernetes: its service account in kube-system.
    Controller(&'static str),
    /// Kubernetes' own scheduler.
    Scheduler,
    /// A kubelet: that of node `n1`.
    Kubelet,
    /// A pod on that node, by a token that is bound to it.
    PodOn(&'static str),
    /// The movers of that namespace.
    Mover(&'static str),
    /// Somebody in that group.
    In(&'static str),
    /// The user of that name.
    User(&'static str),
    /// The user of that name in that group, with the rights that RBAC gives them and no others.
    Granted(&'static str, &'static str),
}

impl Who {
    /// Name and groups.
    fn user(self) -> (String, Vec<&'static str>) {
        let account = |namespace: &str, name: &str| format!("system:serviceaccount:{namespace}:{name}");
        let everything = "system:masters";
        match self {
            Self::Admin => ("admin".to_owned(), vec![everything]),
            Self::Operator => (installed::OPERATOR.to_owned(), vec![everything]),
            Self::Neighbour(name) => (account("tray-system", name), vec![everything]),
            Self::Controller(name) => (account("kube-system", name), vec![everything]),
            Self::Scheduler => ("system:kube-scheduler".to_owned(), vec![everything]),
            Self::Kubelet => ("system:node:n1".to_owned(), vec!["system:nodes", everything]),
            Self::PodOn(_) => (account("kube-system", "node-agent"), vec![everything]),
            Self::Mover(namespace) => (account(namespace, "tray-mover"), vec![everything]),
            Self::In(group) => ("somebody".to_owned(), vec![group, everything]),
            Self::User(name) => (name.to_owned(), vec![everything]),
            Self::Granted(name, group) => (name.to_owned(), vec![group]),
        }
    }

    /// The node that the token says it is used on.
    fn node(self) -> Option<&'static str> {
        match self {
            Self::PodOn(node) => Some(node),
            _ => None,
        }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub method: Method,
    pub path: String,
    pub body: Value,
}

/// What came of it.
pub(crate) type Answer = Result<Value, Status>;

/// Written to while a binding is away.
static BINDINGS: RwLock<()> = RwLock::const_new(());

/// The cluster of this process, as one test sees it: connections end with the test that made them.
#[derive(Default)]
pub(crate) struct World {
    clients: Mutex<HashMap<Who, Client>>,
}

/// The cluster of this process; the first caller makes it.
pub(crate) async fn world() -> World {
    static MADE: OnceCell<()> = OnceCell::const_new();
    let world = World::default();
    MADE.get_or_init(|| world.make()).await;
    world
}

impl World {
    async fn make(&self) {
        let admin = self.client(Who::Admin).await;
        for crd in crds::all_crds() {
            api_server::apply(&admin, &serde_json::to_value(crd).unwrap()).await;
        }
        let known = |kind: &str| crds::all_crds().iter().any(|crd| crd.spec.names.kind == kind);
        for (plural, kind, scope) in TO_COME.into_iter().filter(|(_, kind, _)| !known(kind)) {
            let name = format!("{plural}.{}", names::GROUP);
            let spec = crd(names::GROUP, plural, kind, scope);
            let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": name}, "spec": spec});
            api_server::apply(&admin, &crd).await;
        }
        // Before the policies: some things could not come to be under them.
        self.fill(&admin).await;
        installed::install(&admin).await;
        self.at_work(&admin).await;
    }

    /// Waits until the policies work: one that is made last and refuses something follows them all.
    async fn at_work(&self, admin: &Client) {
        let rules = json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]);
        let refuse = json!([{"expression": "object.metadata.name != 'last'"}]);
        let policy = json!({"matchConstraints": {"resourceRules": rules}, "validations": refuse});
        let binding = json!({"policyName": "last", "validationActions": ["Deny"]});
        for (kind, spec) in [
            ("ValidatingAdmissionPolicy", policy),
            ("ValidatingAdmissionPolicyBinding", binding),
        ] {
            let version = "admissionregistration.k8s.io/v1";
            let object =
                json!({"apiVersion": version, "kind": kind, "metadata": {"name": "last"}, "spec": spec});
            api_server::apply(admin, &object).await;
        }
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "last"}});
        let ask = create("/api/v1/namespaces/default/configmaps", body);
        let refused = eventually(async || self.dry_run(Who::Admin, &ask).await.err()).await;
        assert!(refused.is_some(), "the policies do not work");
    }

    /// While this is held every policy is bound.
    pub(crate) async fn bound(&self) -> RwLockReadGuard<'static, ()> {
        BINDINGS.read().await
    }

    /// Does what `policy` refuses to an administrator, as the documentation has it for an emergency: deletes its binding,
    /// does it, undoes it, and applies the binding again.
    ///
    /// # Panics
    /// When it is not refused before and after.
    pub(crate) async fn break_glass(&self, policy: &str, ask: &Ask, undo: &Ask) {
        let work = async || {
            self.ask(Who::Admin, ask).await.unwrap();
            self.ask(Who::Admin, undo).await.unwrap();
        };
        self.without(policy, Who::Admin, ask, work).await;
    }

    /// Does `work` while `policy` is not bound. By `ask`, which this policy alone refuses to `who`, it is known to be so.
    ///
    /// # Panics
    /// When that is not refused before and after, or is refused without the binding.
    pub(crate) async fn without(&self, policy: &str, who: Who, ask: &Ask, work: impl AsyncFnOnce()) {
        let _alone = BINDINGS.write().await;
        let refused = async || self.dry_run(who, ask).await.err().map(|status| status.code);
        assert_eq!(refused().await, Some(403));
        let kind = "ValidatingAdmissionPolicyBinding";
        let objects = chart();
        let binding = objects
            .iter()
            .find(|object| object["kind"] == kind && object["spec"]["policyName"] == policy)
            .unwrap();
        let bindings = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
        self.ask(Who::Admin, &delete(format!("{bindings}/{policy}")))
            .await
            .unwrap();
        let passes = eventually(async || refused().await.is_none().then_some(())).await;
        assert!(passes.is_some(), "it is refused without the binding of {policy}");
        work().await;
        api_server::apply(&self.client(Who::Admin).await, binding).await;
        let back = eventually(async || refused().await).await;
        assert_eq!(back, Some(403));
    }

    /// A client of `who`.
    pub(crate) async fn client(&self, who: Who) -> Client {
        let mut clients = self.clients.lock().await;
        if let Some(client) = clients.get(&who) {
            return client.clone();
        }
        let (user, groups) = who.user();
        let mut config = api_server::shared().await.config_as(Some(&user), &groups).await;
        config.auth_info.impersonate_user_extra = who
            .node()
            .map(|node| HashMap::from([(NODE_NAME.to_owned(), vec![node.to_owned()])]));
        let client = Client::try_from(config).unwrap();
        clients.insert(who, client.clone());
        client
    }

    /// Asks as `who`; what it asks for is done.
    pub(crate) async fn ask(&self, who: Who, ask: &Ask) -> Answer {
        self.send(who, ask, "").await
    }

    /// Asks as `who`; nothing is kept of it.
    pub(crate) async fn dry_run(&self, who: Who, ask: &Ask) -> Answer {
        // A connection is made to something that is not there.
        let dry = if ask.method == Method::GET {
            ""
        } else {
            "dryRun=All"
        };
        self.send(who, ask, dry).await
    }

    async fn send(&self, who: Who, ask: &Ask, query: &str) -> Answer {
        let join = if ask.path.contains('?') { '&' } else { '?' };
        let kind = if ask.method == Method::PATCH {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        // With a body the options of a deletion are read from it, and not from the query.
        let body = match &ask.body {
            Value::Null => Vec::new(),
            body => serde_json::to_vec(body).unwrap(),
        };
        let request = Request::builder()
            .method(ask.method.clone())
            .uri(format!("{}{join}{query}", ask.path))
            .header(CONTENT_TYPE, kind)
            .body(body)
            .unwrap();
        match self.client(who).await.request::<Value>(request).await {
            Ok(answer) => Ok(answer),
            Err(kube::Error::Api(status)) => Err(*status),
            Err(error) => panic!("{who:?} {ask:?}: {error}"),
        }
    }

    /// What the cases need to be there.
    async fn fill(&self, admin: &Client) {
        let make = async |api_version: &str, kind: &str, namespace: &str, name: &str, body: Value| {
            let mut object = body;
            object["apiVersion"] = api_version.into();
            object["kind"] = kind.into();
            object["metadata"]["name"] = name.into();
            if !namespace.is_empty() {
                object["metadata"]["namespace"] = namespace.into();
            }
            api_server::apply(admin, &object).await;
        };
        for (group, plural) in crd_guard::OTHERS {
            let crd = json!({"spec": crd(group, plural, "Thing", "Cluster")});
            make(
                "apiextensions.k8s.io/v1",
                "CustomResourceDefinition",
                "",
                &format!("{plural}.{group}"),
                crd,
            )
            .await;
        }
        for name in [ORG, BARE] {
            make("v1", "Namespace", "", name, json!({"metadata": metadata(name)})).await;
        }
        make("v1", "Namespace", "", PLAIN, json!({})).await;
        for (name, region) in NODES {
            let labels = region.map(|region| json!({"topology.kubernetes.io/region": region}));
            make("v1", "Node", "", name, json!({"metadata": {"labels": labels}})).await;
        }
        for namespace in [ORG, PLAIN] {
            for (pod, component) in [(WAITING, "workload"), (MOVER, "mover"), (MARKED, "mover")] {
                let labels = json!({"platform.tray.ai/component": component});
                let body = json!({"metadata": {"labels": labels}, "spec": pods::spec()});
                make("v1", "Pod", namespace, pod, body).await;
            }
            for account in ["tray-mover", "tray-workload"] {
                make("v1", "ServiceAccount", namespace, account, json!({})).await;
            }
        }
        let mut job = pods::spec();
        job["restartPolicy"] = "Never".into();
        let job = json!({"spec": {"suspend": true, "template": {"spec": job}}});
        make("batch/v1", "Job", ORG, SUSPENDED, job.clone()).await;
        let labels = json!({"platform.tray.ai/component": "mover"});
        let held = json!({"labels": labels, "finalizers": ["example.com/held"]});
        make("batch/v1", "Job", ORG, TAKEN, with(job, "/metadata", held)).await;
        for (name, pointer, value) in [
            (UNPINNED, "/nodeSelector", json!({})),
            (TAKING, "/imagePullSecrets", json!([{"name": "tray-registry"}])),
            (
                TELLING,
                "/containers/0/terminationMessagePolicy",
                json!("FallbackToLogsOnError"),
            ),
        ] {
            let spec = with(pods::spec(), pointer, value);
            let template = json!({"metadata": {"labels": {"app": "x"}}, "spec": spec});
            let deployment = json!({"selector": {"matchLabels": {"app": "x"}}, "template": template});
            make("apps/v1", "Deployment", ORG, name, json!({"spec": deployment})).await;
        }
        for (name, class) in [(OLD, "cheap"), (NEW, CLASS)] {
            let spec = json!({"spec": claim(&json!(class))});
            make("v1", "PersistentVolumeClaim", ORG, name, spec).await;
        }
        make(
            "v1",
            "Service",
            ORG,
            INSIDE,
            json!({"spec": {"ports": [{"port": 80}]}}),
        )
        .await;
        for (_, body) in guarded(ORG) {
            let (api_version, kind) = (body["apiVersion"].clone(), body["kind"].clone());
            let (api_version, kind) = (api_version.as_str().unwrap(), kind.as_str().unwrap());
            make(api_version, kind, ORG, FOREIGN, body.clone()).await;
            let mut ours = body;
            ours["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "tray-operator"});
            make(api_version, kind, ORG, OURS, ours).await;
        }
        make("v1", "Pod", ORG, pods::FROM_BEFORE, pods::from_before()).await;
        let debugged = pods::debug(ORG, pods::FROM_BEFORE, &[pods::old_debugger()]);
        self.ask(Who::Admin, &debugged).await.unwrap();
        for object in run_authority::rights() {
            api_server::apply(admin, &object).await;
        }
        for (kind, namespace, name, body) in ours() {
            make("platform.tray.ai/v1alpha1", kind, namespace, name, body).await;
        }
        for (of, status) in statuses() {
            let path = format!("/apis/platform.tray.ai/v1alpha1/{of}/status");
            self.ask(Who::Operator, &change(path, json!({"status": status})))
                .await
                .unwrap();
        }
    }
}

/// The namespace of an org, as the operator makes it.
pub(crate) fn metadata(namespace: &str) -> Value {
    let mut labels = json!({
        "app.kubernetes.io/managed-by": "tray-operator", "platform.tray.ai/org": &namespace[4..8],
        "platform.tray.ai/region": CLOUD_REGION, "platform.tray.ai/storage-class": CLASS,
    });
    if namespace == ORG {
        labels["pod-security.kubernetes.io/enforce"] = "restricted".into();
        labels["platform.tray.ai/org-id"] = "00000001-0000-4000-8000-000000000000".into();
    }
    let notes = json!({
        "platform.tray.ai/support-access": STAFF[0],
        "platform.tray.ai/admins": "Group/acme-admins\nUser/ann",
        "platform.tray.ai/backup-place": "{\"bucket\":\"tray-backups-eu\"}",
    });
    json!({"name": namespace, "labels": labels, "annotations": notes})
}

/// The spec of a CRD that takes anything.
fn crd(group: &str, plural: &str, kind: &str, scope: &str) -> Value {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "group": group, "scope": scope, "names": {"plural": plural, "kind": kind},
        "versions": [{"name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": schema}}],
    })
}

fn org_id(digit: u8) -> String {
    format!("0000000{digit}-0000-4000-8000-000000000000")
}

/// A tombstone of that name.
pub(crate) fn tombstone(name: &str) -> Value {
    let region = json!({"name": "eu", "jurisdiction": "EU", "cloudRegion": CLOUD_REGION});
    let at = "2026-01-01T00:00:00Z";
    json!({
        "apiVersion": "platform.tray.ai/v1alpha1", "kind": "OrgTombstone", "metadata": {"name": name},
        "spec": {
            "org": "gone", "orgId": org_id(9), "region": region, "namespace": "org-gone-00000009", "reason": "Deletion",
            "deletedAt": at, "purgeAt": at, "erasureStartsAt": at,
        },
    })
}

/// Objects of our kinds: kind, namespace, name and body.
fn ours() -> Vec<(&'static str, &'static str, &'static str, Value)> {
    let region = json!({"spec": {
        "jurisdiction": "EU", "cloudRegion": CLOUD_REGION, "zones": ["eu-west-1a", "eu-west-1b"],
        "storage": {"storageClassName": CLASS},
        "backup": {
            "bucket": "tray-backups-eu", "bucketOwner": "111122223333", "cloudRegion": "eu-central-1",
            "kms": {"ledgerKeyArn": "arn:aws:kms:eu-central-1:111122223333:key/k"},
            "moverRoleArn": "arn:aws:iam::111122223333:role/tray-mover",
        },
    }});
    let schedule = json!({"spec": {"schedule": "0 0 * * *"}});
    let org = |id, protection: &str| {
        let spec = json!({"orgId": org_id(id), "plan": "Team", "regionRef": {"name": "eu"},
            "lifecycle": {"deletionProtection": protection}});
        json!({"spec": spec, "metadata": {"finalizers": ["platform.tray.ai/org"]}})
    };
    let run = |org: &str| json!({"spec": {"orgRef": {"name": org}}});
    let restore = |org: &str| json!({"spec": {"orgRef": {"name": org}, "snapshot": {"latestGood": true}, "target": {"inPlace": true}}});
    let access = json!({"spec": support_access::spec(&STAFF[..1]),
        "metadata": {"finalizers": ["platform.tray.ai/support-access"]}});
    vec![
        ("Region", "", "eu", region.clone()),
        ("Region", "", "unused", region),
        ("RetentionPolicy", "", "standard", json!({"spec": {}})),
        ("RetentionPolicy", "", "unused", json!({"spec": {}})),
        ("RetentionPolicy", "", "uncounted", json!({"spec": {}})),
        ("BackupSchedule", "", "standard", schedule.clone()),
        ("BackupSchedule", "", "unused", schedule),
        ("TrayOrg", "", "acme", org(1, "Enabled")),
        ("TrayOrg", "", UNPROTECTED, org(2, "Disabled")),
        (
            "TrayOrg",
            "",
            "unplaced",
            json!({"spec": {"plan": "Team", "regionRef": {"name": "eu"}}}),
        ),
        ("TrayOrg", "", "asking", org(3, "Enabled")),
        ("TrayOrg", "", "with-region", org(4, "Enabled")),
        ("TrayOrg", "", "with-id", org(5, "Enabled")),
        ("OrgSnapshot", "", "run", run("acme")),
        ("OrgSnapshot", "", "other-run", run(UNPROTECTED)),
        ("OrgRestore", "", "back", restore("acme")),
        ("OrgRestore", "", "other-back", restore(UNPROTECTED)),
        ("OrgTombstone", "", "gone", tombstone("gone")),
        ("SupportAccess", ORG, "open", access),
    ]
}

/// What the operator found: of what, and its status.
fn statuses() -> Vec<(&'static str, Value)> {
    let region = json!({"name": "eu", "jurisdiction": "EU", "cloudRegion": CLOUD_REGION});
    let org =
        |id, namespace: &str| json!({"orgId": org_id(id), "namespace": namespace, "region": region.clone()});
    let with_place = |mut status: Value, place: Value| {
        status["backupPlace"] = place;
        status
    };
    let place = json!({"bucket": "tray-backups-eu", "bucketOwner": "111122223333", "prefix": ""});
    let witness = json!({"bucket": "tray-backups-eu"});
    vec![
        ("trayorgs/acme", with_place(org(1, ORG), place)),
        (
            "trayorgs/unprotected",
            with_place(org(2, "org-unprotected-00000002"), witness),
        ),
        ("trayorgs/asking", json!({"observedGeneration": 1})),
        ("trayorgs/with-region", json!({"region": region.clone()})),
        ("trayorgs/with-id", json!({"orgId": org_id(5)})),
        ("regions/eu", json!({"orgs": 2})),
        ("regions/unused", json!({"orgs": 0})),
        ("retentionpolicies/standard", json!({"orgs": 2})),
        ("retentionpolicies/unused", json!({"orgs": 0})),
        ("backupschedules/standard", json!({"orgs": 2})),
        ("backupschedules/unused", json!({"orgs": 0})),
    ]
}
