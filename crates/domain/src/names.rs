//! Every name that two parts of the system have to agree on: labels, annotations, accounts, child names.

/// API group of all our kinds.
pub const GROUP: &str = "platform.tray.ai";
/// Field manager of every write, and value of [`LABEL_MANAGED_BY`].
pub const OPERATOR: &str = "tray-operator";
/// Namespace of the operator; the admission policies name its service account in it.
pub const SYSTEM_NAMESPACE: &str = "tray-system";
/// Service account of the operator, in [`SYSTEM_NAMESPACE`].
pub const OPERATOR_SERVICE_ACCOUNT: &str = "tray-operator";

/// Set on every child: who made it.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Set on every child and every pod of an org: the TrayOrg's name. On a Namespace it makes the policies apply.
pub const LABEL_ORG: &str = "platform.tray.ai/org";
/// On the Namespace and every child: the orgId.
pub const LABEL_ORG_ID: &str = "platform.tray.ai/org-id";
/// On the Namespace: the pinned cloud region. Policies compare nodes with it.
pub const LABEL_REGION: &str = "platform.tray.ai/region";
/// On the Namespace: the name of the Region object of the first placement.
pub const LABEL_REGION_NAME: &str = "platform.tray.ai/region-name";
/// On the Namespace: the pinned jurisdiction.
pub const LABEL_JURISDICTION: &str = "platform.tray.ai/jurisdiction";
/// On the Namespace: the only StorageClass its claims may use.
pub const LABEL_STORAGE_CLASS: &str = "platform.tray.ai/storage-class";
/// On the Namespace, `true`: its org is gone, its data is kept.
pub const LABEL_RETAINED: &str = "platform.tray.ai/retained";
/// On the Namespace, `true`: its org was deleted past its protection; nothing of it was touched.
pub const LABEL_ORPHANED: &str = "platform.tray.ai/orphaned";
/// On workloads, their pods, Services and claims: the workload's name.
pub const LABEL_WORKLOAD: &str = "platform.tray.ai/workload";
/// On Jobs and pods that move data: [`COMPONENT_MOVER`].
pub const LABEL_COMPONENT: &str = "platform.tray.ai/component";
/// Value of [`LABEL_COMPONENT`].
pub const COMPONENT_MOVER: &str = "mover";
/// On mover Jobs: the run they belong to, lower case.
pub const LABEL_RUN: &str = "platform.tray.ai/run-id";
/// On mover Jobs: the part they copy.
pub const LABEL_PART: &str = "platform.tray.ai/part";
/// On mover Jobs: the name of the OrgSnapshot or OrgRestore they work for.
pub const LABEL_OWNER: &str = "platform.tray.ai/owner";
/// On the bindings of support: the name of the SupportAccess.
pub const LABEL_SUPPORT_ACCESS: &str = "platform.tray.ai/support-access";
/// On the bindings of support: the UID of the SupportAccess.
pub const LABEL_SUPPORT_UID: &str = "platform.tray.ai/support-access-uid";

/// On the Namespace: the groups, separated by commas, that may debug in it at present. The exec gate goes by it.
pub const ANNOTATION_SUPPORT_ACCESS: &str = "platform.tray.ai/support-access";
/// On an org's namespace: its Admins, `Group/<name>` or `User/<name>` a line. A policy lets nobody else let support in.
pub const ANNOTATION_ADMINS: &str = "platform.tray.ai/admins";
/// On an org's namespace: where its copies are, as JSON of a `BackupPlace`. The operator finds its copies by it when the
/// TrayOrg comes back.
pub const ANNOTATION_BACKUP_PLACE: &str = "platform.tray.ai/backup-place";
/// On a TrayOrg whose ledger is missing: a person wants a new one begun. The value is the bucket's name.
pub const ANNOTATION_ACCEPT_LEDGER_LOSS: &str = "platform.tray.ai/accept-ledger-loss";
/// On a TrayOrg: a person accepts the Suspicious run that the value names.
pub const ANNOTATION_ACCEPT_RUN: &str = "platform.tray.ai/accept-run";
/// On a TrayOrg: a person accepts the loss of the volume (claim name) that the value names.
pub const ANNOTATION_ACCEPT_DATA_LOSS: &str = "platform.tray.ai/accept-data-loss";
/// On a TrayOrg: any new value has the org's webhook token replaced; the old one is good for another day.
pub const ANNOTATION_ROTATE_WEBHOOK_TOKEN: &str = "platform.tray.ai/rotate-webhook-token";
/// On the Secret of the webhook token: the value of [`ANNOTATION_ROTATE_WEBHOOK_TOKEN`] that it was last replaced for.
pub const ANNOTATION_ROTATION: &str = "platform.tray.ai/rotation";
/// On the Secret of the webhook token: until when the previous token is good, RFC 3339.
pub const ANNOTATION_PREVIOUS_UNTIL: &str = "platform.tray.ai/previous-until";
/// On a TrayOrg whose namespace is lost: a person wants it made anew, empty. The value is the namespace's name.
pub const ANNOTATION_ACCEPT_NAMESPACE_LOSS: &str = "platform.tray.ai/accept-namespace-loss";
/// On a TrayOrg, [`REATTACH_ALLOWED`]: it may take up what is held of an earlier org of its name. Policies let nobody put it
/// there but who has the verb `reattach` on that TrayOrg.
pub const ANNOTATION_REATTACH: &str = "platform.tray.ai/reattach";
/// The one value of [`ANNOTATION_REATTACH`] that allows anything.
pub const REATTACH_ALLOWED: &str = "allowed";
/// On mover Jobs: the consistency point of their part, RFC 3339.
pub const ANNOTATION_CONSISTENCY_POINT: &str = "platform.tray.ai/consistency-point";

/// On mover Jobs that fill a claim: the claim's UID.
pub const ANNOTATION_CLAIM_UID: &str = "platform.tray.ai/claim-uid";

/// Finalizer of a TrayOrg.
pub const FINALIZER_ORG: &str = "platform.tray.ai/org";
/// Finalizer of a SupportAccess: support is out, and its removal is in the access record.
pub const FINALIZER_SUPPORT: &str = "platform.tray.ai/support-access";
/// Label of namespaces that Kubernetes itself defines: their name.
pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// Label of nodes that Kubernetes itself defines.
pub const NODE_REGION: &str = "topology.kubernetes.io/region";
/// Label of nodes that Kubernetes itself defines.
pub const NODE_ZONE: &str = "topology.kubernetes.io/zone";

/// The container of a workload's pod: hooks run in it.
pub const WORKLOAD_CONTAINER: &str = "main";

/// Service account of an org's workloads: no token, no rights.
pub const WORKLOAD_SERVICE_ACCOUNT: &str = "tray-workload";
/// Service account of the movers of an org.
pub const MOVER_SERVICE_ACCOUNT: &str = "tray-mover";
/// PriorityClass that only the operator's Jobs may use; pods of it are outside the org's pod quota.
pub const MOVER_PRIORITY_CLASS: &str = "tray-mover";

/// HTTPRoute of an org's webhook host, and the NetworkPolicy that lets the Gateway in.
pub const WEBHOOK: &str = "tray-webhook";
/// Secret of an org's webhook token.
pub const WEBHOOK_TOKEN_SECRET: &str = "tray-webhook-token";
/// Service (in the chart, in [`SYSTEM_NAMESPACE`]) that answers calls which do not reach an org.
pub const RESPONDER: &str = "tray-responder";
/// Its port that answers 403.
pub const RESPONDER_FORBIDDEN_PORT: u16 = 8403;
/// Its port that answers 503.
pub const RESPONDER_SUSPENDED_PORT: u16 = 8503;

/// ClusterRole (in the chart) of an org's owners with role Admin.
pub const CLUSTER_ROLE_ORG_ADMIN: &str = "tray-org-admin";
/// The same while the org's execution logs are hidden.
pub const CLUSTER_ROLE_ORG_ADMIN_WITHOUT_LOGS: &str = "tray-org-admin-without-logs";
/// ClusterRole (in the chart) of an org's owners with role Viewer.
pub const CLUSTER_ROLE_ORG_VIEWER: &str = "tray-org-viewer";
/// ClusterRole (in the chart) bound to the operator in each org namespace: exec for hooks, Secrets for movers.
pub const CLUSTER_ROLE_ORG_OPERATOR: &str = "tray-org-operator";
/// ClusterRole (in the chart) of the objects part of a snapshot: reads the archived kinds.
pub const CLUSTER_ROLE_ORG_ARCHIVE: &str = "tray-org-archive";
/// ClusterRole (in the chart) of the objects part of a restore: creates the archived kinds; bound while it runs.
pub const CLUSTER_ROLE_ORG_RESTORE: &str = "tray-org-restore";
/// ClusterRole (in the chart) of support with role View; bound while a SupportAccess is open.
pub const CLUSTER_ROLE_SUPPORT_VIEW: &str = "tray-support-view";
/// ClusterRole (in the chart) of support with role Debug; bound while a SupportAccess is open.
pub const CLUSTER_ROLE_SUPPORT_DEBUG: &str = "tray-support-debug";
/// [`CLUSTER_ROLE_SUPPORT_VIEW`] while the org's execution logs are hidden.
pub const CLUSTER_ROLE_SUPPORT_VIEW_WITHOUT_LOGS: &str = "tray-support-view-without-logs";
/// [`CLUSTER_ROLE_SUPPORT_DEBUG`] while the org's execution logs are hidden.
pub const CLUSTER_ROLE_SUPPORT_DEBUG_WITHOUT_LOGS: &str = "tray-support-debug-without-logs";
/// What the names of support's bindings begin with; the name of the SupportAccess follows.
pub const SUPPORT_BINDING: &str = "tray-support-";
/// The same of bindings without logs. Not the beginning of a name that begins with [`SUPPORT_BINDING`]: no SupportAccess has
/// a name by which its binding could be taken for another's.
pub const SUPPORT_BINDING_WITHOUT_LOGS: &str = "tray-logless-support-";

/// What the names of children begin with that are the operator's alone.
const OWN_CHILDREN: &str = "tray-";
/// Beginnings of the names of movers' Jobs and pods: nobody may enter a pod that has one.
pub const MOVER_JOBS: [&str; 3] = ["snap-", "restore-", "prune-"];

/// What the names of the orgs' namespaces begin with.
const ORG_NAMESPACE_PREFIX: &str = "org-";

/// Namespace of an org: `org-<name>-<first 8 of orgId>`.
pub fn org_namespace(org_name: &str, org_id: &super::ids::OrgId) -> String {
    format!("{ORG_NAMESPACE_PREFIX}{org_name}-{}", &org_id.as_str()[..8])
}

/// Whether a namespace may be an org's, by its name: what others name so costs a little memory, nothing else.
pub fn may_be_of_an_org(namespace: &str) -> bool {
    namespace.starts_with(ORG_NAMESPACE_PREFIX)
}

/// Host of an org's webhooks. Whoever has the orgId has the host: it stays reserved as long as the orgId does.
pub fn webhook_host(org_id: &super::ids::OrgId, domain: &str) -> String {
    format!("{org_id}.{domain}")
}

/// Name of the claim that a StatefulSet with one volume expects for its first replica: `data-<workload>-<ordinal>`.
pub fn claim_name(workload: &str, ordinal: u32) -> String {
    format!("data-{workload}-{ordinal}")
}

/// Cuts an ASCII name to 63 characters, which labels and most names of objects may have; what is cut is replaced by a
/// digest of the whole, so two names stay two.
pub fn bounded(name: String) -> String {
    use sha2::Digest;
    const LONGEST: usize = 63;
    if name.len() <= LONGEST {
        return name;
    }
    let digest = hex::encode(sha2::Sha256::digest(name.as_bytes()));
    format!("{}-{}", &name[..LONGEST - 9], &digest[..8])
}

/// Whether a Secret of that name is the operator's, or would be taken for one: no workload has it. Movers' Secrets were once
/// named like their Jobs, which are told from an org's own names by the run's id, or by the first group of a UUID. The
/// policies and the CRDs say the same.
pub fn is_operators_secret(name: &str) -> bool {
    let of_a_job = MOVER_JOBS
        .iter()
        .filter_map(|beginning| name.strip_prefix(beginning))
        .any(|rest| rest.split('-').next().is_some_and(is_id));
    name.starts_with(OWN_CHILDREN) || of_a_job
}

/// A ULID or the first group of a UUID, in lower case.
fn is_id(text: &str) -> bool {
    match text.len() {
        8 => text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
        26 => text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b.is_ascii_lowercase() && !b"ilou".contains(&b))),
        _ => false,
    }
}

/// The part of a run that holds the Kubernetes objects.
pub const OBJECTS_PART: &str = "objects";
