//! Which kinds of an org's namespace the objects part of a run archives: one table, from which the rights of the movers
//! are checked (`tests/checkout/chart_rights.rs`) and which a restore follows in order.

use std::{borrow::Cow, fmt};

/// A namespaced kind as the API server names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKind {
    /// API group, empty for the core.
    pub group: Cow<'static, str>,
    /// Version in the group.
    pub version: Cow<'static, str>,
    /// Name in URLs and rights.
    pub plural: Cow<'static, str>,
    /// Name in objects.
    pub kind: Cow<'static, str>,
}

impl ObjectKind {
    const fn of(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
        kind: &'static str,
    ) -> Self {
        Self {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            plural: Cow::Borrowed(plural),
            kind: Cow::Borrowed(kind),
        }
    }

    /// `v1` or `<group>/<version>`, as objects carry it.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

/// `<plural>` or `<plural>.<group>`, as `kubectl` takes it.
impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.plural)
        } else {
            write!(f, "{}.{}", self.plural, self.group)
        }
    }
}

/// What is archived, in the order in which a restore creates it: what others refer to comes first, what runs comes last.
pub const ARCHIVED: &[ObjectKind] = &[
    ObjectKind::of("", "v1", "limitranges", "LimitRange"),
    ObjectKind::of("", "v1", "resourcequotas", "ResourceQuota"),
    ObjectKind::of("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"),
    ObjectKind::of("", "v1", "serviceaccounts", "ServiceAccount"),
    ObjectKind::of("rbac.authorization.k8s.io", "v1", "roles", "Role"),
    ObjectKind::of("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding"),
    ObjectKind::of("", "v1", "secrets", "Secret"),
    ObjectKind::of("", "v1", "configmaps", "ConfigMap"),
    ObjectKind::of("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim"),
    ObjectKind::of("", "v1", "services", "Service"),
    ObjectKind::of("networking.k8s.io", "v1", "ingresses", "Ingress"),
    ObjectKind::of("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget"),
    ObjectKind::of("", "v1", "podtemplates", "PodTemplate"),
    ObjectKind::of("apps", "v1", "statefulsets", "StatefulSet"),
    ObjectKind::of("apps", "v1", "deployments", "Deployment"),
    ObjectKind::of("apps", "v1", "daemonsets", "DaemonSet"),
    ObjectKind::of("", "v1", "replicationcontrollers", "ReplicationController"),
    ObjectKind::of("batch", "v1", "cronjobs", "CronJob"),
    ObjectKind::of(
        "autoscaling",
        "v2",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
    ),
];

/// Kinds that never need archiving, by group and plural: the cluster makes them again out of what is archived, or they
/// are records of work done. (A Job that came back would do its work a second time; a CronJob makes its own.)
pub const DERIVED: &[(&str, &str)] = &[
    ("", "endpoints"),
    ("", "events"),
    ("", "pods"),
    ("apps", "controllerrevisions"),
    ("apps", "replicasets"),
    ("batch", "jobs"),
    ("coordination.k8s.io", "leases"),
    ("coordination.k8s.io", "leasecandidates"),
    ("discovery.k8s.io", "endpointslices"),
    ("events.k8s.io", "events"),
    ("metrics.k8s.io", "pods"),
    ("resource.k8s.io", "resourceclaims"),
    ("storage.k8s.io", "csistoragecapacities"),
];

/// What is done with a kind that the API server serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// Its objects are archived, read as this entry of [`ARCHIVED`] says.
    Archived(&'static ObjectKind),
    /// It needs no archiving.
    Derived,
    /// It is not in the tables: named in the record of the run.
    NotIncluded,
}

/// Looks a served kind up by group and plural; the version that is read is the table's.
pub fn treatment(group: &str, plural: &str) -> Treatment {
    if let Some(kind) = ARCHIVED.iter().find(|k| k.group == group && k.plural == plural) {
        return Treatment::Archived(kind);
    }
    if DERIVED.contains(&(group, plural)) {
        return Treatment::Derived;
    }
    Treatment::NotIncluded
}

/// The archived kind of an object, with its place in the order of a restore.
pub fn of_object(api_version: &str, kind: &str) -> Option<(usize, &'static ObjectKind)> {
    ARCHIVED
        .iter()
        .enumerate()
        .find(|(_, k)| k.kind == kind && k.api_version() == api_version)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_is_in_one_table_once() {
        let all: Vec<(&str, &str)> = ARCHIVED
            .iter()
            .map(|k| (k.group.as_ref(), k.plural.as_ref()))
            .chain(DERIVED.iter().copied())
            .collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn served_kinds_are_looked_up_by_group_and_plural() {
        assert!(matches!(treatment("", "secrets"), Treatment::Archived(k) if k.kind == "Secret"));
        assert_eq!(treatment("", "pods"), Treatment::Derived);
        assert_eq!(treatment("example.com", "secrets"), Treatment::NotIncluded);
        // An org's webhook token stands in its route, which the operator renders.
        let route = treatment("gateway.networking.k8s.io", "httproutes");
        assert_eq!(route, Treatment::NotIncluded);
    }

    #[test]
    fn objects_find_their_kind_and_claims_come_before_what_mounts_them() {
        let (claim, _) = of_object("v1", "PersistentVolumeClaim").unwrap();
        let (set, kind) = of_object("apps/v1", "StatefulSet").unwrap();
        assert!(claim < set);
        assert_eq!(kind.to_string(), "statefulsets.apps");
        assert!(of_object("v1", "Pod").is_none());
    }
}
