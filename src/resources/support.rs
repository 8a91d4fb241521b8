//! The binding that lets support into an org's namespace.

use serde_json::{Value, json};
use tray_api::{support_access::SupportAccessSpec, trayorg::LogMode};
use tray_domain::{ids::OrgId, names, support::Role};

use super::child::{ChildId, ChildKind, DesiredChild};

/// Which grant, of which org.
#[derive(Clone, Copy, Debug)]
pub struct Grant<'a> {
    /// The org's namespace.
    pub namespace: &'a str,
    /// The TrayOrg.
    pub org: &'a str,
    /// Its id.
    pub org_id: &'a OrgId,
    /// Name of the SupportAccess.
    pub name: &'a str,
    /// Its UID.
    pub uid: &'a str,
    /// Its spec.
    pub spec: &'a SupportAccessSpec,
    /// Whether anybody may read the org's execution logs.
    pub logs: LogMode,
}

/// The binding of a SupportAccess, with logs or without, whether it is there or not. They have different names, since the
/// role of a binding never changes.
pub fn binding_id(namespace: &str, support_access: &str, logs: LogMode) -> ChildId {
    let prefix = match logs {
        LogMode::Visible => names::SUPPORT_BINDING,
        LogMode::Hidden => names::SUPPORT_BINDING_WITHOUT_LOGS,
    };
    ChildId {
        kind: ChildKind::RoleBinding,
        namespace: namespace.to_owned(),
        name: format!("{prefix}{support_access}"),
    }
}

/// Both bindings that a SupportAccess may have; one at a time is there.
pub fn binding_ids(namespace: &str, support_access: &str) -> [ChildId; 2] {
    [LogMode::Visible, LogMode::Hidden].map(|logs| binding_id(namespace, support_access, logs))
}

/// The name of the SupportAccess that a child is the binding of.
pub fn bound_by(id: &ChildId) -> Option<&str> {
    if id.kind != ChildKind::RoleBinding {
        return None;
    }
    [names::SUPPORT_BINDING, names::SUPPORT_BINDING_WITHOUT_LOGS]
        .into_iter()
        .find_map(|prefix| id.name.strip_prefix(prefix))
}

/// The groups of a grant to the chart's ClusterRole of its role.
pub fn binding(grant: Grant<'_>) -> DesiredChild {
    let rbac = "rbac.authorization.k8s.io";
    let role = match (grant.spec.role, grant.logs) {
        (Role::View, LogMode::Visible) => names::CLUSTER_ROLE_SUPPORT_VIEW,
        (Role::View, LogMode::Hidden) => names::CLUSTER_ROLE_SUPPORT_VIEW_WITHOUT_LOGS,
        (Role::Debug, LogMode::Visible) => names::CLUSTER_ROLE_SUPPORT_DEBUG,
        (Role::Debug, LogMode::Hidden) => names::CLUSTER_ROLE_SUPPORT_DEBUG_WITHOUT_LOGS,
    };
    let subjects: Vec<Value> = grant
        .spec
        .subjects
        .iter()
        .map(|subject| json!({"apiGroup": rbac, "kind": "Group", "name": subject.name}))
        .collect();
    let id = binding_id(grant.namespace, grant.name, grant.logs);
    let body = json!({
        "metadata": {"labels": {
            names::LABEL_MANAGED_BY: names::OPERATOR,
            names::LABEL_ORG: grant.org,
            names::LABEL_ORG_ID: grant.org_id.as_str(),
            names::LABEL_SUPPORT_ACCESS: grant.name,
            names::LABEL_SUPPORT_UID: grant.uid,
        }},
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role},
        "subjects": subjects,
    });
    DesiredChild { id, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p17_support_gets_the_role_of_its_grant_in_that_namespace_and_no_other() {
        let org_id: OrgId = "7c9e6679-7425-40de-944b-e07fc1f90ae7".parse().unwrap();
        for (role, logs, cluster_role, name) in [
            (
                "View",
                LogMode::Visible,
                "tray-support-view",
                "tray-support-ticket-7",
            ),
            (
                "Debug",
                LogMode::Visible,
                "tray-support-debug",
                "tray-support-ticket-7",
            ),
            (
                "View",
                LogMode::Hidden,
                "tray-support-view-without-logs",
                "tray-logless-support-ticket-7",
            ),
            (
                "Debug",
                LogMode::Hidden,
                "tray-support-debug-without-logs",
                "tray-logless-support-ticket-7",
            ),
        ] {
            let spec: SupportAccessSpec = serde_json::from_value(json!({
                "subjects": [{"kind": "Group", "name": "support"}], "role": role, "durationHours": 1, "reason": "r",
            }))
            .unwrap();
            let child = binding(Grant {
                namespace: "org-acme-7c9e6679",
                org: "acme",
                org_id: &org_id,
                name: "ticket-7",
                uid: "u",
                spec: &spec,
                logs,
            });
            assert_eq!(
                child.id.to_string(),
                format!("RoleBinding org-acme-7c9e6679/{name}")
            );
            assert!(binding_ids("org-acme-7c9e6679", "ticket-7").contains(&child.id));
            assert_eq!(bound_by(&child.id), Some("ticket-7"));
            assert_eq!(child.body["roleRef"]["kind"], "ClusterRole");
            assert_eq!(child.body["roleRef"]["name"], cluster_role);
            assert_eq!(child.body["subjects"][0]["kind"], "Group");
            assert_eq!(child.body["subjects"][0]["name"], "support");
            assert_eq!(child.body["metadata"]["labels"][names::LABEL_ORG], "acme");
        }
    }

    #[test]
    fn no_grant_has_the_binding_of_another() {
        // However somebody calls his SupportAccess.
        let names = [
            "x",
            "logless-support-x",
            "support-x",
            "x-without-logs",
            "without-logs-x",
        ];
        let ids: Vec<ChildId> = names.iter().flat_map(|name| binding_ids("n", name)).collect();
        let distinct: std::collections::BTreeSet<&ChildId> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
        for (name, id) in names.iter().flat_map(|name| [name, name]).zip(&ids) {
            assert_eq!(bound_by(id), Some(*name));
        }
    }
}
