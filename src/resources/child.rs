//! What an org's child should be, as data: `adapters::kube::apply` makes the cluster agree.

use serde_json::Value;
use tray_domain::names;

/// Kinds of children. Each is watched by the label `app.kubernetes.io/managed-by: tray-operator`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChildKind {
    Namespace,
    ResourceQuota,
    LimitRange,
    NetworkPolicy,
    ServiceAccount,
    RoleBinding,
    PersistentVolumeClaim,
    ConfigMap,
    Service,
    PodDisruptionBudget,
    Deployment,
    StatefulSet,
    HttpRoute,
    ReferenceGrant,
}

impl ChildKind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::Namespace,
        Self::ResourceQuota,
        Self::LimitRange,
        Self::NetworkPolicy,
        Self::ServiceAccount,
        Self::RoleBinding,
        Self::PersistentVolumeClaim,
        Self::ConfigMap,
        Self::Service,
        Self::PodDisruptionBudget,
        Self::Deployment,
        Self::StatefulSet,
        Self::HttpRoute,
        Self::ReferenceGrant,
    ];

    /// The kind's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::ResourceQuota => "ResourceQuota",
            Self::LimitRange => "LimitRange",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::ServiceAccount => "ServiceAccount",
            Self::RoleBinding => "RoleBinding",
            Self::PersistentVolumeClaim => "PersistentVolumeClaim",
            Self::ConfigMap => "ConfigMap",
            Self::Service => "Service",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::HttpRoute => "HTTPRoute",
            Self::ReferenceGrant => "ReferenceGrant",
        }
    }

    /// Group and version; the group is empty for the core.
    pub const fn group_version(self) -> (&'static str, &'static str) {
        match self {
            Self::Namespace
            | Self::ResourceQuota
            | Self::LimitRange
            | Self::ServiceAccount
            | Self::PersistentVolumeClaim
            | Self::ConfigMap
            | Self::Service => ("", "v1"),
            Self::NetworkPolicy => ("networking.k8s.io", "v1"),
            Self::RoleBinding => ("rbac.authorization.k8s.io", "v1"),
            Self::PodDisruptionBudget => ("policy", "v1"),
            Self::Deployment | Self::StatefulSet => ("apps", "v1"),
            Self::HttpRoute => ("gateway.networking.k8s.io", "v1"),
            // Every release of the Gateway API serves this version.
            Self::ReferenceGrant => ("gateway.networking.k8s.io", "v1beta1"),
        }
    }

    /// Whether it comes with a CRD of somebody else's, which may not be there.
    pub const fn is_optional(self) -> bool {
        matches!(self, Self::HttpRoute | Self::ReferenceGrant)
    }

    /// Name of its CRD, where it comes with one.
    pub fn crd(self) -> String {
        format!("{}.{}", self.plural(), self.group_version().0)
    }

    /// The one namespace that all of its children are in; none = each is where its org is.
    pub const fn home(self) -> Option<&'static str> {
        match self {
            Self::ReferenceGrant => Some(names::SYSTEM_NAMESPACE),
            _ => None,
        }
    }

    /// As in `apiVersion`.
    pub fn api_version(self) -> String {
        match self.group_version() {
            ("", version) => version.to_owned(),
            (group, version) => format!("{group}/{version}"),
        }
    }

    /// Plural, lower case, as in URLs.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Namespace => "namespaces",
            Self::ResourceQuota => "resourcequotas",
            Self::LimitRange => "limitranges",
            Self::NetworkPolicy => "networkpolicies",
            Self::ServiceAccount => "serviceaccounts",
            Self::RoleBinding => "rolebindings",
            Self::PersistentVolumeClaim => "persistentvolumeclaims",
            Self::ConfigMap => "configmaps",
            Self::Service => "services",
            Self::PodDisruptionBudget => "poddisruptionbudgets",
            Self::Deployment => "deployments",
            Self::StatefulSet => "statefulsets",
            Self::HttpRoute => "httproutes",
            Self::ReferenceGrant => "referencegrants",
        }
    }
}

/// How a child is made anew of which a field differs that never changes on a living object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remake {
    /// It is deleted, and made when it is gone: nothing runs by it.
    Delete,
    /// It is deleted without its pods: they run on, and the next child of its name takes them over.
    ReleasePods,
    /// It is deleted with its pods, and made when they have gone: the next one would not find them.
    DrainPods,
    /// It never is: it holds data.
    Never,
}

impl ChildKind {
    /// The fields that are rendered and that Kubernetes never changes on a living object, and how the child is made anew for
    /// each. One that a wanted body does not mention is not compared: what may have been set before is mentioned as null.
    pub const fn fixed_fields(self) -> &'static [(&'static str, Remake)] {
        match self {
            // What selects comes first: whose pods would not be found drains them, whatever else differs.
            Self::StatefulSet => &[
                ("spec.selector", Remake::DrainPods),
                ("spec.serviceName", Remake::ReleasePods),
                ("spec.podManagementPolicy", Remake::ReleasePods),
                ("spec.volumeClaimTemplates", Remake::ReleasePods),
            ],
            Self::Deployment => &[("spec.selector", Remake::DrainPods)],
            // An address is given once. Who asks for another is refused; who asks for none more silently keeps what there was.
            Self::Service => &[("spec.clusterIP", Remake::Delete)],
            // Neither it nor the data changes once it is true.
            Self::ConfigMap => &[("immutable", Remake::Delete)],
            Self::RoleBinding => &[("roleRef", Remake::Delete)],
            Self::ResourceQuota => &[("spec.scopes", Remake::Delete)],
            Self::PersistentVolumeClaim => &[
                ("spec.accessModes", Remake::Never),
                ("spec.storageClassName", Remake::Never),
                ("spec.volumeMode", Remake::Never),
            ],
            Self::Namespace
            | Self::LimitRange
            | Self::NetworkPolicy
            | Self::ServiceAccount
            | Self::PodDisruptionBudget
            | Self::HttpRoute
            | Self::ReferenceGrant => &[],
        }
    }
}

impl std::fmt::Display for ChildKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which child.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildId {
    /// Its kind.
    pub kind: ChildKind,
    /// Its namespace; empty for a Namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for ChildId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{} {}", self.kind, self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind, self.name),
        }
    }
}

/// A child as it should be.
///
/// `body` is the whole object as it is posted, with `metadata.labels`; `apiVersion`, `kind`, `metadata.name` and
/// `metadata.namespace` are filled in. What `body` does not mention belongs to the server's defaulting or to other
/// controllers and is left alone. An explicit `null` says that a field must be absent: it is not posted, and is taken
/// away where somebody set it. Lists are compared and written as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredChild {
    /// Which child.
    pub id: ChildId,
    /// What it should be.
    pub body: Value,
}

impl DesiredChild {
    /// A child of that kind, namespace (empty for a Namespace) and name.
    pub fn new(kind: ChildKind, namespace: impl Into<String>, name: impl Into<String>, body: Value) -> Self {
        Self {
            id: ChildId {
                kind,
                namespace: namespace.into(),
                name: name.into(),
            },
            body,
        }
    }
}
