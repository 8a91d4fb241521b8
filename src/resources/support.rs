//! The binding that lets support into an org's namespace.

use serde_json::{Value, json};

use super::child::{ChildId, ChildKind, DesiredChild};
use crate::{
    api::support_access::SupportAccessSpec,
    domain::{ids::OrgId, names, support::Role},
};

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
}

/// The binding of a SupportAccess, whether it is there or not.
pub fn binding_id(namespace: &str, support_access: &str) -> ChildId {
    ChildId {
        kind: ChildKind::RoleBinding,
        namespace: namespace.to_owned(),
        name: format!("{}{support_access}", names::SUPPORT_BINDING),
    }
}

/// The name of the SupportAccess that a child is the binding of.
pub fn bound_by(id: &ChildId) -> Option<&str> {
    if id.kind != ChildKind::RoleBinding {
        return None;
    }
    id.name.strip_prefix(names::SUPPORT_BINDING)
}

/// The groups of a grant to the chart's ClusterRole of its role.
pub fn binding(grant: Grant<'_>) -> DesiredChild {
    let rbac = "rbac.authorization.k8s.io";
    let role = match grant.spec.role {
        Role::View => names::CLUSTER_ROLE_SUPPORT_VIEW,
        Role::Debug => names::CLUSTER_ROLE_SUPPORT_DEBUG,
    };
    let subjects: Vec<Value> = grant
        .spec
        .subjects
        .iter()
        .map(|subject| json!({"apiGroup": rbac, "kind": "Group", "name": subject.name}))
        .collect();
    let id = binding_id(grant.namespace, grant.name);
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
        for (role, cluster_role) in [("View", "tray-support-view"), ("Debug", "tray-support-debug")] {
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
            });
            assert_eq!(
                child.id.to_string(),
                "RoleBinding org-acme-7c9e6679/tray-support-ticket-7"
            );
            assert_eq!(bound_by(&child.id), Some("ticket-7"));
            assert_eq!(child.body["roleRef"]["kind"], "ClusterRole");
            assert_eq!(child.body["roleRef"]["name"], cluster_role);
            assert_eq!(child.body["subjects"][0]["kind"], "Group");
            assert_eq!(child.body["subjects"][0]["name"], "support");
            assert_eq!(child.body["metadata"]["labels"][names::LABEL_ORG], "acme");
        }
    }
}
