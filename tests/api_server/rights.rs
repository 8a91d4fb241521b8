//! Who has which rights, asked of the API server by SubjectAccessReview. Every question is asked for everybody.

use std::collections::BTreeSet;

use kube::Client;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tray_api::trayorg::{LogMode, Owner, OwnerKind, OwnerRole, PinnedRegion};
use tray_domain::{cloud_regions::Jurisdiction, names, support::Role};
use tray_operator::resources::{
    org::{Placement, access},
    support,
};

use crate::{
    policies::world::{self, world},
    support::{api_server, installed},
};

/// Everybody whose rights are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    /// An owner of the org with role Admin.
    Admin,
    /// An owner with role Viewer.
    Viewer,
    /// Support staff whom the org let in to look.
    SupportView,
    /// Support staff whom the org let in to debug.
    SupportDebug,
    /// Support staff whom it did not let in.
    Support,
    Operator,
    /// The movers of the org.
    Mover,
    /// The workloads of the org.
    Workload,
    /// An Admin of another org.
    Neighbour,
    /// Whom the platform gave ClusterRole `tray-snapshot-requester`.
    SnapshotRequester,
    /// Whom it gave `tray-restore-requester`.
    RestoreRequester,
    /// Whom it gave `tray-reattacher`.
    Reattacher,
    /// Whom it gave every verb on TrayOrgs.
    Everything,
    /// Anybody else whom the cluster knows.
    Stranger,
}
use Who::{
    Admin, Everything, Mover, Neighbour, Operator, Reattacher, RestoreRequester, SnapshotRequester, Stranger,
    Support, SupportDebug, SupportView, Viewer, Workload,
};

const EVERYBODY: [Who; 14] = [
    Admin,
    Viewer,
    SupportView,
    SupportDebug,
    Support,
    Operator,
    Mover,
    Workload,
    Neighbour,
    SnapshotRequester,
    RestoreRequester,
    Reattacher,
    Everything,
    Stranger,
];

/// Where something is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The org's namespace.
    Org,
    /// That of another org of the same people, which lets the same support in and hides its execution logs.
    HiddenOrg,
    /// That of another org, which Neighbour owns.
    OtherOrg,
    /// The operator's.
    System,
    /// Cluster-scoped, or in all namespaces.
    Cluster,
}
use Place::{Cluster, HiddenOrg, Org, OtherOrg, System};

/// `verb resource[.group][/subresource][ name]`, where, and all who may.
type Row = (&'static str, Place, &'static [Who]);

const READERS: &[Who] = &[Admin, Viewer, SupportView, SupportDebug];
const READERS_AND_OPERATOR: &[Who] = &[Admin, Viewer, SupportView, SupportDebug, Operator];
const ALL_READERS: &[Who] = &[Admin, Viewer, SupportView, SupportDebug, Operator, Mover];

/// What is seen of an org.
const SEEING: &[Row] = &[
    ("get pods", Org, READERS_AND_OPERATOR),
    ("watch events", Org, READERS),
    ("get configmaps", Org, READERS_AND_OPERATOR),
    ("list configmaps", Org, ALL_READERS),
    ("list deployments.apps", Org, ALL_READERS),
    ("get statefulsets.apps", Org, READERS_AND_OPERATOR),
    ("list jobs.batch", Org, READERS_AND_OPERATOR),
    ("list networkpolicies.networking.k8s.io", Org, ALL_READERS),
    ("list rolebindings.rbac.authorization.k8s.io", Org, ALL_READERS),
    ("list resourcequotas", Org, ALL_READERS),
    ("list endpointslices.discovery.k8s.io", Org, READERS),
    ("list supportaccesses.platform.tray.ai", Org, READERS_AND_OPERATOR),
    ("get pods/log", Org, &[Admin, SupportView, SupportDebug]),
    // Hidden means hidden, whoever asks; all else is seen as ever.
    ("get pods/log", HiddenOrg, &[]),
    ("get pods", HiddenOrg, READERS_AND_OPERATOR),
    ("list deployments.apps", HiddenOrg, READERS_AND_OPERATOR),
    ("get secrets tray-webhook-token", Org, &[Admin, Operator]),
    ("get secrets tray-webhook-token", HiddenOrg, &[Admin, Operator]),
    // Secrets: the operator asks for those it knows by name, the archive reads all of them.
    ("get secrets", Org, &[Operator]),
    ("list secrets", Org, &[Mover]),
    ("watch secrets", Org, &[]),
    ("list secrets", Cluster, &[]),
    ("get secrets", System, &[Operator]),
    // The webhook's token stands in them.
    ("list httproutes.gateway.networking.k8s.io", Org, &[Operator]),
    // Another org.
    ("get pods", OtherOrg, &[Operator, Neighbour]),
    ("get pods/log", OtherOrg, &[Neighbour]),
    ("list configmaps", OtherOrg, &[Operator, Neighbour]),
    ("list secrets", OtherOrg, &[]),
    // It watches those that bear its label: what an org's workloads are told of logs.
    ("get configmaps", Cluster, &[Operator]),
    ("get pods", Cluster, &[Operator]),
    ("get configmaps", System, &[Operator]),
];

/// Ways into running pods.
const ENTERING: &[Row] = &[
    ("create pods/exec", Org, &[SupportDebug, Operator]),
    ("get pods/exec", Org, &[SupportDebug, Operator]),
    ("create pods/attach", Org, &[SupportDebug]),
    ("create pods/portforward", Org, &[SupportDebug]),
    ("patch pods/ephemeralcontainers", Org, &[SupportDebug]),
    ("get pods/proxy", Org, &[]),
    ("get services/proxy", Org, &[]),
    ("create pods/exec", HiddenOrg, &[SupportDebug, Operator]),
    ("create pods/exec", OtherOrg, &[Operator]),
    ("create pods/exec", System, &[]),
    ("create pods/exec", Cluster, &[]),
    ("get nodes/proxy", Cluster, &[]),
    // Who lets support in.
    ("create supportaccesses.platform.tray.ai", Org, &[Admin]),
    ("delete supportaccesses.platform.tray.ai", Org, &[Admin]),
    ("create supportaccesses.platform.tray.ai", HiddenOrg, &[Admin]),
    ("patch supportaccesses.platform.tray.ai", Org, &[Operator]),
    ("create supportaccesses.platform.tray.ai", OtherOrg, &[Neighbour]),
    ("create supportaccesses.platform.tray.ai", Cluster, &[]),
];

/// What opens or isolates an org: the network, its doors, and what runs in it.
const OPENING: &[Row] = &[
    ("create networkpolicies.networking.k8s.io", Org, &[Operator]),
    ("delete networkpolicies.networking.k8s.io", Org, &[Operator]),
    ("create services", Org, &[Operator]),
    ("create ingresses.networking.k8s.io", Org, &[]),
    ("create pods", Org, &[]),
    ("delete pods", Org, &[Operator]),
    ("delete pods", System, &[]),
    ("create jobs.batch", Org, &[Operator]),
    ("create cronjobs.batch", Org, &[]),
    ("patch deployments.apps", Org, &[Operator]),
    ("patch deployments.apps/scale", Org, &[]),
    ("update resourcequotas", Org, &[Operator]),
    ("delete persistentvolumeclaims", Org, &[Operator]),
    ("create configmaps", Org, &[Operator]),
    ("delete configmaps", Org, &[Operator]),
    ("patch configmaps", Cluster, &[]),
    ("patch namespaces", Cluster, &[Operator]),
    ("delete namespaces", Cluster, &[]),
    ("patch nodes", Cluster, &[]),
    ("create persistentvolumes", Cluster, &[]),
];

/// What would give more rights than one has.
const RISING: &[Row] = &[
    ("create serviceaccounts", Org, &[Operator]),
    ("create serviceaccounts/token tray-mover", Org, &[]),
    ("create serviceaccounts/token tray-operator", System, &[]),
    ("impersonate users", Cluster, &[]),
    ("impersonate groups", Cluster, &[]),
    ("impersonate serviceaccounts tray-mover", Org, &[]),
    ("create rolebindings.rbac.authorization.k8s.io", Org, &[Operator]),
    (
        "create rolebindings.rbac.authorization.k8s.io",
        OtherOrg,
        &[Operator],
    ),
    ("create roles.rbac.authorization.k8s.io", Org, &[]),
    ("escalate roles.rbac.authorization.k8s.io", Org, &[]),
    (
        "bind clusterroles.rbac.authorization.k8s.io tray-org-admin",
        Cluster,
        &[Operator],
    ),
    (
        "bind clusterroles.rbac.authorization.k8s.io tray-org-admin-without-logs",
        Cluster,
        &[Operator],
    ),
    (
        "bind clusterroles.rbac.authorization.k8s.io tray-support-view-without-logs",
        Cluster,
        &[Operator],
    ),
    (
        "bind clusterroles.rbac.authorization.k8s.io tray-support-debug-without-logs",
        Cluster,
        &[Operator],
    ),
    (
        "bind clusterroles.rbac.authorization.k8s.io cluster-admin",
        Cluster,
        &[],
    ),
    (
        "bind clusterroles.rbac.authorization.k8s.io tray-operator",
        Cluster,
        &[],
    ),
    ("update clusterroles.rbac.authorization.k8s.io", Cluster, &[]),
    (
        "create clusterrolebindings.rbac.authorization.k8s.io",
        Cluster,
        &[],
    ),
    (
        "create certificatesigningrequests.certificates.k8s.io",
        Cluster,
        &[],
    ),
    (
        "delete validatingadmissionpolicybindings.admissionregistration.k8s.io",
        Cluster,
        &[],
    ),
    (
        "delete customresourcedefinitions.apiextensions.k8s.io",
        Cluster,
        &[],
    ),
    ("list nodes", Cluster, &[Operator]),
    (
        "list trayorgs.platform.tray.ai",
        Cluster,
        &[Operator, SnapshotRequester, RestoreRequester, Everything],
    ),
    ("create trayorgs.platform.tray.ai", Cluster, &[Everything]),
    ("delete trayorgs.platform.tray.ai", Cluster, &[Everything]),
    ("patch trayorgs.platform.tray.ai/status", Cluster, &[Operator]),
    ("patch regions.platform.tray.ai", Cluster, &[]),
    ("delete regions.platform.tray.ai", Cluster, &[]),
];

/// What acts on an org's data: verbs of their own, which the policies ask for, and the kinds that stand for it.
const ACTING: &[Row] = &[
    (
        "snapshot trayorgs.platform.tray.ai acme",
        Cluster,
        &[SnapshotRequester, Everything],
    ),
    (
        "restore trayorgs.platform.tray.ai acme",
        Cluster,
        &[RestoreRequester, Everything],
    ),
    (
        "reattach trayorgs.platform.tray.ai acme",
        Cluster,
        &[Reattacher, Everything],
    ),
    (
        "create orgsnapshots.platform.tray.ai",
        Cluster,
        &[Operator, SnapshotRequester, Everything],
    ),
    (
        "delete orgsnapshots.platform.tray.ai",
        Cluster,
        &[Operator, SnapshotRequester, Everything],
    ),
    (
        "update orgsnapshots.platform.tray.ai",
        Cluster,
        &[Operator, Everything],
    ),
    (
        "list orgsnapshots.platform.tray.ai",
        Cluster,
        &[Operator, SnapshotRequester, RestoreRequester, Everything],
    ),
    (
        "create orgrestores.platform.tray.ai",
        Cluster,
        &[RestoreRequester, Everything],
    ),
    (
        "delete orgrestores.platform.tray.ai",
        Cluster,
        &[RestoreRequester, Everything],
    ),
    (
        "update orgrestores.platform.tray.ai",
        Cluster,
        &[Operator, Everything],
    ),
    (
        "watch orgrestores.platform.tray.ai",
        Cluster,
        &[Operator, RestoreRequester, Everything],
    ),
    (
        "update trayorgs.platform.tray.ai",
        Cluster,
        &[Operator, Everything],
    ),
    (
        "get trayorgs.platform.tray.ai acme",
        Cluster,
        &[Operator, SnapshotRequester, RestoreRequester, Everything],
    ),
];

fn placement(org: &str, id: u8) -> Placement {
    let region = PinnedRegion {
        name: "eu".to_owned(),
        jurisdiction: Jurisdiction::Eu,
        cloud_region: world::CLOUD_REGION.to_owned(),
    };
    Placement::new(
        org,
        format!("0000000{id}-0000-4000-8000-000000000000")
            .parse()
            .unwrap(),
        region,
    )
}

/// The org that is asked about.
fn own() -> Placement {
    placement("rights", 7)
}

fn other() -> Placement {
    placement("other", 8)
}

fn hidden() -> Placement {
    placement("hidden", 9)
}

/// The orgs with the bindings that the operator makes, and those of support.
async fn bound() -> Client {
    static BOUND: OnceCell<()> = OnceCell::const_new();
    let world = world().await;
    let operator = world.client(world::Who::Operator).await;
    let owner = |name: &str, role| Owner {
        kind: OwnerKind::Group,
        name: name.to_owned(),
        role,
    };
    let bind = async || {
        let admins = owner("admins", OwnerRole::Admin);
        let viewers = owner("viewers", OwnerRole::Viewer);
        let neighbours = owner("neighbours", OwnerRole::Admin);
        let owners = vec![admins, viewers];
        for (placement, owners, logs) in [
            (own(), owners.clone(), LogMode::Visible),
            (hidden(), owners, LogMode::Hidden),
            (other(), vec![neighbours], LogMode::Visible),
        ] {
            let labels = json!({"platform.tray.ai/org": placement.org});
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": placement.namespace, "labels": labels}});
            api_server::apply(&operator, &namespace).await;
            for binding in access::role_bindings(&placement, &owners, logs) {
                apply_binding(&operator, &placement, &binding.id.name, binding.body).await;
            }
        }
        for (placement, logs) in [(own(), LogMode::Visible), (hidden(), LogMode::Hidden)] {
            for (group, role) in [("lookers", Role::View), ("debuggers", Role::Debug)] {
                let spec = json!({
                    "subjects": [{"kind": "Group", "name": group}], "role": role, "durationHours": 1, "reason": "r",
                });
                let binding = support::binding(support::Grant {
                    namespace: &placement.namespace,
                    org: &placement.org,
                    org_id: &placement.org_id,
                    name: group,
                    uid: "u",
                    spec: &serde_json::from_value(spec).unwrap(),
                    logs,
                });
                apply_binding(&operator, &placement, &binding.id.name, binding.body).await;
            }
        }
        // To groups of the same names as in the cases of the policy that asks for these verbs, which has them bound.
        let reattacher = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "reattachers"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "tray-reattacher"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "reattachers"}],
        });
        api_server::apply(&world.client(world::Who::Admin).await, &reattacher).await;
    };
    BOUND.get_or_init(bind).await;
    api_server::shared().await.client().await
}

async fn apply_binding(client: &Client, placement: &Placement, name: &str, mut body: Value) {
    body["apiVersion"] = "rbac.authorization.k8s.io/v1".into();
    body["kind"] = "RoleBinding".into();
    body["metadata"]["name"] = name.into();
    body["metadata"]["namespace"] = placement.namespace.clone().into();
    api_server::apply(client, &body).await;
}

/// User and groups.
fn subject(who: Who) -> (String, Vec<String>) {
    let person = |name: &str, group: &str| (name.to_owned(), vec![group.to_owned()]);
    let account = |namespace: &str, name: &str| {
        let all = "system:serviceaccounts";
        let user = format!("system:serviceaccount:{namespace}:{name}");
        (user, vec![all.to_owned(), format!("{all}:{namespace}")])
    };
    let (user, mut groups) = match who {
        Admin => person("ann", "admins"),
        Viewer => person("vic", "viewers"),
        SupportView => person("lou", "lookers"),
        SupportDebug => person("deb", "debuggers"),
        Support => person("sue", world::STAFF[0]),
        Neighbour => person("ned", "neighbours"),
        SnapshotRequester => person("sid", "snapshot-requesters"),
        RestoreRequester => person("ron", "restore-requesters"),
        Reattacher => person("rea", "reattachers"),
        Everything => person("eve", "everything"),
        Stranger => person("sam", "strangers"),
        Operator => {
            let (namespace, name) = installed::OPERATOR.rsplit_once(':').unwrap();
            account(namespace.rsplit_once(':').unwrap().1, name)
        }
        Mover => account(&own().namespace, names::MOVER_SERVICE_ACCOUNT),
        Workload => account(&own().namespace, names::WORKLOAD_SERVICE_ACCOUNT),
    };
    groups.push("system:authenticated".to_owned());
    (user, groups)
}

async fn may(client: &Client, who: Who, question: &str, place: Place) -> bool {
    let mut words = question.split(' ');
    let (verb, what, name) = (words.next().unwrap(), words.next().unwrap(), words.next());
    let (what, subresource) = what.split_once('/').unwrap_or((what, ""));
    let (resource, group) = what.split_once('.').unwrap_or((what, ""));
    let namespace = match place {
        Org => own().namespace,
        HiddenOrg => hidden().namespace,
        OtherOrg => other().namespace,
        System => names::SYSTEM_NAMESPACE.to_owned(),
        Cluster => String::new(),
    };
    let (user, groups) = subject(who);
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": user, "groups": groups, "resourceAttributes": {
            "verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": namespace,
            "name": name,
        }},
    });
    let request = http::Request::post("/apis/authorization.k8s.io/v1/subjectaccessreviews")
        .header("content-type", "application/json")
        .body(serde_json::to_vec(&review).unwrap())
        .unwrap();
    let answer: Value = client.request(request).await.unwrap();
    answer["status"]["allowed"] == true
}

/// Asks every question for everybody.
async fn ask(rows: &[Row]) {
    let client = bound().await;
    let mut wrong = Vec::new();
    for (question, place, expected) in rows {
        let mut allowed = BTreeSet::new();
        for who in EVERYBODY {
            if may(&client, who, question, *place).await {
                allowed.insert(who);
            }
        }
        if allowed != expected.iter().copied().collect() {
            wrong.push(format!(
                "{question} in {place:?}: {allowed:?} may, {expected:?} should"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn p3_an_org_is_seen_by_its_own_people_and_whom_they_let_in() {
    ask(SEEING).await;
}

#[tokio::test]
async fn p17_pods_are_entered_by_those_whom_the_org_let_in_to_debug_and_by_hooks() {
    ask(ENTERING).await;
}

#[tokio::test]
async fn p4_nobody_opens_an_org_or_runs_anything_in_it_but_the_operator() {
    ask(OPENING).await;
}

#[tokio::test]
async fn p19_nobody_gets_more_rights_than_he_has() {
    ask(RISING).await;
}

#[tokio::test]
async fn p3_what_acts_on_the_data_of_an_org_is_a_right_of_its_own() {
    ask(ACTING).await;
}
