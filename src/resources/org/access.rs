//! Who may do what in an org's namespace: the accounts its pods run under, and the bindings of people, the operator and
//! its movers to the chart's ClusterRoles. Nothing here hands out a right of its own.

use serde_json::{Value, json};
use tray_api::trayorg::{LogMode, Owner, OwnerKind, OwnerRole};
use tray_domain::names;

use super::Placement;
use crate::resources::child::{ChildId, ChildKind, DesiredChild};

/// Binding of an org's Admins.
const ADMINS: &str = "tray-admins";
/// The same while the org's logs are hidden: a binding's role never changes, so another takes its place.
const ADMINS_WITHOUT_LOGS: &str = "tray-admins-without-logs";
/// Binding of an org's Viewers, who never see logs.
const VIEWERS: &str = "tray-viewers";
/// Bindings of people, which go when the last owner of the role does.
pub const OWNER_BINDINGS: [&str; 3] = [ADMINS, ADMINS_WITHOUT_LOGS, VIEWERS];
/// Binding of the operator itself.
pub const OPERATOR_BINDING: &str = "tray-operator";
/// Binding of the movers that put objects back; it lasts while a restore does that.
pub const RESTORE_BINDING: &str = "tray-restore";
const RBAC: &str = "rbac.authorization.k8s.io";

/// The account of the workloads and that of the movers. Neither gets a token unless a pod asks for it.
pub fn service_accounts(placement: &Placement) -> Vec<DesiredChild> {
    let accounts = [names::WORKLOAD_SERVICE_ACCOUNT, names::MOVER_SERVICE_ACCOUNT];
    let account = |name: &str| {
        let body = json!({
            "metadata": {"labels": placement.labels()},
            "automountServiceAccountToken": false,
        });
        DesiredChild::new(ChildKind::ServiceAccount, placement.namespace.clone(), name, body)
    };
    accounts.map(account).into()
}

/// Owners by their role, Admins with the org's logs or without; the operator to its hooks and Secrets; the movers of objects
/// to what they archive.
pub fn role_bindings(placement: &Placement, owners: &[Owner], logs: LogMode) -> Vec<DesiredChild> {
    let bindings = [
        (
            OPERATOR_BINDING,
            names::CLUSTER_ROLE_ORG_OPERATOR,
            vec![account(names::OPERATOR_SERVICE_ACCOUNT, names::SYSTEM_NAMESPACE)],
        ),
        (
            "tray-archive",
            names::CLUSTER_ROLE_ORG_ARCHIVE,
            vec![account(names::MOVER_SERVICE_ACCOUNT, &placement.namespace)],
        ),
    ];
    let viewers = people(owners, OwnerRole::Viewer);
    let viewers = (VIEWERS, names::CLUSTER_ROLE_ORG_VIEWER, viewers);
    let parts = bindings
        .into_iter()
        .map(|(name, role, subjects)| role_binding(placement, name, role, &subjects));
    parts
        .chain(admins(placement, owners, logs))
        .chain(bound(placement, viewers))
        .collect()
}

/// The org's Admins; none where it has none.
pub fn admins(placement: &Placement, owners: &[Owner], logs: LogMode) -> Option<DesiredChild> {
    let admins = people(owners, OwnerRole::Admin);
    let (name, role) = match logs {
        LogMode::Visible => (ADMINS, names::CLUSTER_ROLE_ORG_ADMIN),
        LogMode::Hidden => (ADMINS_WITHOUT_LOGS, names::CLUSTER_ROLE_ORG_ADMIN_WITHOUT_LOGS),
    };
    bound(placement, (name, role, admins))
}

/// The binding by which the org's Admins read its logs, whether it is there or not.
pub fn admins_with_logs(placement: &Placement) -> ChildId {
    ChildId {
        kind: ChildKind::RoleBinding,
        namespace: placement.namespace.clone(),
        name: ADMINS.to_owned(),
    }
}

fn people(owners: &[Owner], role: OwnerRole) -> Vec<Value> {
    let people = owners.iter().filter(|owner| owner.role == role);
    people.map(subject).collect()
}

/// A role without people is not bound.
fn bound(placement: &Placement, (name, role, subjects): (&str, &str, Vec<Value>)) -> Option<DesiredChild> {
    (!subjects.is_empty()).then(|| role_binding(placement, name, role, &subjects))
}

/// The mover of a restore's objects to what it creates. Bound only while the restore runs.
pub fn restore_binding(placement: &Placement) -> DesiredChild {
    let mover = account(names::MOVER_SERVICE_ACCOUNT, &placement.namespace);
    role_binding(
        placement,
        RESTORE_BINDING,
        names::CLUSTER_ROLE_ORG_RESTORE,
        &[mover],
    )
}

fn role_binding(placement: &Placement, name: &str, role: &str, subjects: &[Value]) -> DesiredChild {
    let body = json!({
        "metadata": {"labels": placement.labels()},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": subjects,
    });
    DesiredChild::new(ChildKind::RoleBinding, placement.namespace.clone(), name, body)
}

fn subject(owner: &Owner) -> Value {
    let kind = match owner.kind {
        OwnerKind::Group => "Group",
        OwnerKind::User => "User",
    };
    json!({"apiGroup": RBAC, "kind": kind, "name": owner.name})
}

fn account(name: &str, namespace: &str) -> Value {
    json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::org::fixtures;

    fn owner(kind: OwnerKind, name: &str, role: OwnerRole) -> Owner {
        Owner {
            kind,
            name: name.into(),
            role,
        }
    }
    fn by_name<'a>(bindings: &'a [DesiredChild], name: &str) -> Option<&'a Value> {
        bindings.iter().find(|b| b.id.name == name).map(|b| &b.body)
    }

    #[test]
    fn owners_are_bound_by_their_role_to_our_own_roles() {
        let owners = [
            owner(OwnerKind::Group, "acme-admins", OwnerRole::Admin),
            owner(OwnerKind::User, "jo@acme.example", OwnerRole::Viewer),
        ];
        let bindings = role_bindings(&fixtures::placement(), &owners, LogMode::Visible);
        assert_eq!(by_name(&bindings, "tray-admins-without-logs"), None);
        let admins = by_name(&bindings, "tray-admins").unwrap();
        assert_eq!(admins["roleRef"]["name"], "tray-org-admin");
        assert_eq!(
            admins["subjects"],
            json!([{"apiGroup": RBAC, "kind": "Group", "name": "acme-admins"}])
        );
        let viewers = by_name(&bindings, "tray-viewers").unwrap();
        assert_eq!(viewers["roleRef"]["name"], "tray-org-viewer");
        assert_eq!(viewers["subjects"][0]["kind"], "User");
    }

    #[test]
    fn p12_who_may_not_see_logs_is_bound_to_a_role_without_them_under_another_name() {
        let owners = [
            owner(OwnerKind::Group, "acme-admins", OwnerRole::Admin),
            owner(OwnerKind::Group, "acme-viewers", OwnerRole::Viewer),
        ];
        let placement = fixtures::placement();
        let shown = role_bindings(&placement, &owners, LogMode::Visible);
        let hidden = role_bindings(&placement, &owners, LogMode::Hidden);
        assert_eq!(hidden.len(), shown.len(), "it costs no more");
        assert_eq!(by_name(&hidden, "tray-admins"), None);
        let admins = by_name(&hidden, "tray-admins-without-logs").unwrap();
        assert_eq!(admins["roleRef"]["name"], "tray-org-admin-without-logs");
        assert_eq!(
            admins["subjects"],
            by_name(&shown, "tray-admins").unwrap()["subjects"]
        );
        for same in ["tray-viewers", "tray-operator", "tray-archive"] {
            assert_eq!(by_name(&hidden, same), by_name(&shown, same), "{same}");
        }
        let with_logs = admins_with_logs(&placement);
        assert!(shown.iter().any(|binding| binding.id == with_logs));
        for binding in shown.iter().chain(&hidden).filter(|b| {
            b.body["roleRef"]["name"].as_str().is_some_and(|role| {
                role.starts_with("tray-org-admin") || role == names::CLUSTER_ROLE_ORG_VIEWER
            })
        }) {
            assert!(
                OWNER_BINDINGS.contains(&binding.id.name.as_str()),
                "{}",
                binding.id
            );
        }
    }

    #[test]
    fn a_role_without_people_is_not_bound() {
        let bindings = role_bindings(&fixtures::placement(), &[], LogMode::Visible);
        let names: Vec<&str> = bindings.iter().map(|b| b.id.name.as_str()).collect();
        assert_eq!(names, ["tray-operator", "tray-archive"]);
    }

    #[test]
    fn the_operator_gets_its_rights_in_this_namespace_alone() {
        let bindings = role_bindings(&fixtures::placement(), &[], LogMode::Visible);
        let operator = by_name(&bindings, "tray-operator").unwrap();
        assert_eq!(operator["roleRef"]["name"], "tray-org-operator");
        assert_eq!(
            operator["subjects"],
            json!([{"kind": "ServiceAccount", "name": "tray-operator", "namespace": "tray-system"}])
        );
        let archive = by_name(&bindings, "tray-archive").unwrap();
        assert_eq!(archive["subjects"][0]["namespace"], "org-acme-7c9e6679");
    }

    #[test]
    fn no_account_has_a_token_of_its_own() {
        let accounts = service_accounts(&fixtures::placement());
        let names: Vec<&str> = accounts.iter().map(|a| a.id.name.as_str()).collect();
        assert_eq!(names, ["tray-workload", "tray-mover"]);
        assert!(
            accounts
                .iter()
                .all(|a| a.body["automountServiceAccountToken"] == false)
        );
    }
}
