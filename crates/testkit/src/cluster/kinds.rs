//! The kinds that the server serves, in a table.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

/// What sets a kind apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trait {
    /// Its objects are in namespaces.
    Namespaced,
    /// Its status is written by a subresource of its own.
    Status,
    /// It counts the changes of its spec.
    Generation,
    /// It comes with a CRD.
    Custom,
    /// A deletion is answered with the object, also when it is gone at once.
    Returned,
    /// A deletion that says nothing of dependents leaves them.
    Orphaning,
}

/// A kind that the server serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedKind {
    /// API group, empty for the core.
    pub group: String,
    /// Version in the group: one alone is served.
    pub version: String,
    /// Name in URLs.
    pub plural: String,
    /// Name in objects.
    pub kind: String,
    /// What sets it apart.
    pub traits: Vec<Trait>,
}

impl ServedKind {
    /// Whether it is that.
    pub fn is(&self, what: Trait) -> bool {
        self.traits.contains(&what)
    }

    /// As `apiVersion` in objects.
    pub fn api_version(&self) -> String {
        match self.group.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// What finds it: `<plural>` or `<plural>.<group>`, as `kubectl` takes it.
    pub fn resource(&self) -> String {
        match self.group.as_str() {
            "" => self.plural.clone(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// The kind that a definition defines, in its first served version.
    pub fn of_crd(crd: &CustomResourceDefinition) -> Option<Self> {
        let spec = &crd.spec;
        let version = spec.versions.iter().find(|version| version.served)?;
        let subresources = version.subresources.as_ref();
        let has_status = subresources.is_some_and(|subresources| subresources.status.is_some());
        let mut traits = vec![Trait::Custom, Trait::Generation];
        traits.extend((spec.scope == "Namespaced").then_some(Trait::Namespaced));
        traits.extend(has_status.then_some(Trait::Status));
        Some(Self {
            group: spec.group.clone(),
            version: version.name.clone(),
            plural: spec.names.plural.clone(),
            kind: spec.names.kind.clone(),
            traits,
        })
    }
}

/// Group, version, plural, kind, and what sets it apart.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static [Trait],
);

const TABLE: &[Row] = {
    use Trait::{Custom, Generation, Namespaced, Orphaning, Returned, Status};
    const LIVING: &[Trait] = &[Namespaced, Status, Generation];
    const RBAC: &str = "rbac.authorization.k8s.io";
    const GATEWAY: &str = "gateway.networking.k8s.io";
    &[
        ("", "v1", "namespaces", "Namespace", &[Status]),
        ("", "v1", "nodes", "Node", &[Status]),
        (
            "",
            "v1",
            "pods",
            "Pod",
            &[Namespaced, Status, Generation, Returned],
        ),
        ("", "v1", "configmaps", "ConfigMap", &[Namespaced]),
        ("", "v1", "secrets", "Secret", &[Namespaced]),
        ("", "v1", "services", "Service", &[Namespaced, Status, Returned]),
        (
            "",
            "v1",
            "serviceaccounts",
            "ServiceAccount",
            &[Namespaced, Returned],
        ),
        (
            "",
            "v1",
            "persistentvolumeclaims",
            "PersistentVolumeClaim",
            &[Namespaced, Status, Returned],
        ),
        (
            "",
            "v1",
            "persistentvolumes",
            "PersistentVolume",
            &[Status, Returned],
        ),
        (
            "",
            "v1",
            "resourcequotas",
            "ResourceQuota",
            &[Namespaced, Status, Returned],
        ),
        ("", "v1", "limitranges", "LimitRange", &[Namespaced]),
        ("events.k8s.io", "v1", "events", "Event", &[Namespaced]),
        ("coordination.k8s.io", "v1", "leases", "Lease", &[Namespaced]),
        (
            "batch",
            "v1",
            "jobs",
            "Job",
            &[Namespaced, Status, Generation, Orphaning],
        ),
        ("apps", "v1", "deployments", "Deployment", LIVING),
        ("apps", "v1", "statefulsets", "StatefulSet", LIVING),
        (
            "networking.k8s.io",
            "v1",
            "networkpolicies",
            "NetworkPolicy",
            &[Namespaced, Generation],
        ),
        (
            "policy",
            "v1",
            "poddisruptionbudgets",
            "PodDisruptionBudget",
            LIVING,
        ),
        (RBAC, "v1", "roles", "Role", &[Namespaced]),
        (RBAC, "v1", "rolebindings", "RoleBinding", &[Namespaced]),
        (RBAC, "v1", "clusterroles", "ClusterRole", &[]),
        (RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", &[]),
        (
            "storage.k8s.io",
            "v1",
            "storageclasses",
            "StorageClass",
            &[Returned],
        ),
        (
            "scheduling.k8s.io",
            "v1",
            "priorityclasses",
            "PriorityClass",
            &[Generation],
        ),
        (
            "apiextensions.k8s.io",
            "v1",
            "customresourcedefinitions",
            "CustomResourceDefinition",
            &[Status, Generation],
        ),
        (
            GATEWAY,
            "v1",
            "httproutes",
            "HTTPRoute",
            &[Namespaced, Status, Generation, Custom],
        ),
        (
            GATEWAY,
            "v1beta1",
            "referencegrants",
            "ReferenceGrant",
            &[Namespaced, Generation, Custom],
        ),
    ]
};

/// What Kubernetes itself serves, as far as anybody here asks for it, and the kinds of the Gateway API.
pub fn of_kubernetes() -> Vec<ServedKind> {
    let served = |&(group, version, plural, kind, traits): &Row| ServedKind {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: plural.to_owned(),
        kind: kind.to_owned(),
        traits: traits.to_vec(),
    };
    TABLE.iter().map(served).collect()
}
