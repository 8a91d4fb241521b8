//! What is known of a grant and its org, and how it stands: read from the index, without a request.

use jiff::Timestamp;
use kube::ResourceExt;
use tray_api::{
    support_access::SupportAccess,
    trayorg::{LifecycleState, LogMode, TrayOrg},
};
use tray_domain::{
    ids::OrgId,
    names,
    support::{self, Door, Grant, Role, Standing},
};

use crate::{
    adapters::kube::index::Index,
    controllers::view::{
        identity::{is_abandoned, namespace as namespace_fact},
        identity::{is_refused, org_id},
    },
    resources::{
        child::{ChildId, ChildKind},
        org::log_policy,
        support::{binding_ids, bound_by},
    },
};

/// The org whose namespace it is.
#[derive(Clone, Debug)]
pub struct Home {
    /// The TrayOrg.
    pub org: String,
    /// Its id.
    pub org_id: OrgId,
    /// The Region that it was placed in, and that one's cloud region.
    pub region: (String, String),
    /// The groups that the namespace says may debug.
    pub debugging: String,
    /// Whether it lets anybody in.
    pub door: Door,
    /// Whether anybody may read its execution logs.
    pub logs: LogMode,
}

/// The org whose namespace that is; none where it is no org's. What an earlier org left lets nobody in before its TrayOrg
/// has taken it up.
pub fn home(index: &Index, namespace: &str) -> Option<Home> {
    let fact = namespace_fact(index, namespace)?;
    let label = |name: &str| fact.labels.get(name).cloned();
    let (org, org_id) = (label(names::LABEL_ORG)?, label(names::LABEL_ORG_ID)?);
    let org_id: OrgId = org_id.parse().ok()?;
    let found = index.orgs.get(&org);
    let living = found.as_ref().filter(|_| !is_abandoned(&fact));
    Some(Home {
        door: living.map_or(Door::Gone, |org| door(index, org, &org_id)),
        logs: found.map_or(LogMode::Hidden, |org| logs(&org)),
        org,
        org_id,
        region: (label(names::LABEL_REGION_NAME)?, label(names::LABEL_REGION)?),
        debugging: fact
            .annotations
            .get(names::ANNOTATION_SUPPORT_ACCESS)
            .cloned()
            .unwrap_or_default(),
    })
}

/// As the TrayOrg controller has told it: what it finds in a changed spec is in the status a moment later.
fn logs(org: &TrayOrg) -> LogMode {
    let in_force = org.status.as_ref().and_then(|status| status.execution_logs);
    log_policy::mode(&org.spec, in_force.as_ref())
}

fn door(index: &Index, org: &TrayOrg, id: &OrgId) -> Door {
    let is_going = org.metadata.deletion_timestamp.is_some();
    if is_going || org_id(org).as_ref() != Some(id) || is_refused(index, org) {
        return Door::Gone;
    }
    match org.spec.lifecycle.state {
        LifecycleState::Active => Door::Open,
        LifecycleState::Suspended => Door::Suspended,
    }
}

/// What decides of a SupportAccess.
pub fn grant<'a>(access: &SupportAccess, groups: &'a [String], now: Timestamp) -> Grant<'a> {
    let history = access.status.iter().flat_map(|status| &status.history);
    Grant {
        created_at: access.metadata.creation_timestamp.as_ref().map_or(now, |at| at.0),
        hours: access.spec.duration_hours,
        groups: groups.iter().map(String::as_str).collect(),
        deleted: access.metadata.deletion_timestamp.is_some(),
        history: history.map(|event| event.action).collect(),
    }
}

/// How a SupportAccess stands; in a namespace that is no org's it opens nothing.
pub fn standing(access: &SupportAccess, home: Option<&Home>, allowed: &[String], now: Timestamp) -> Standing {
    let door = home.map_or(Door::Gone, |home| home.door);
    grant(access, &access.spec.groups(), now).standing(door, allowed, now)
}

/// One grant as its org's status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenGrant {
    /// Name of the SupportAccess.
    pub name: String,
    /// What support may do.
    pub role: Role,
    /// The groups that are in.
    pub groups: Vec<String>,
    /// When it ends by itself.
    pub until: Timestamp,
}

/// Who of support is in an org, and who is meant to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Support {
    /// Grants whose binding is there: support is in.
    pub bound: Vec<OpenGrant>,
    /// What the namespace's annotation has to say.
    pub debug_groups: Option<String>,
}

/// Who of support is in a namespace.
pub fn support_in(index: &Index, namespace: &str, allowed: &[String], now: Timestamp) -> Support {
    let all = index.support.of_namespace(namespace);
    if all.is_empty() {
        return Support::default();
    }
    let home = home(index, namespace);
    let open: Vec<_> = all
        .iter()
        .filter(|access| standing(access, home.as_ref(), allowed, now) == Standing::Open)
        .map(|access| (access.spec.role, access.spec.groups()))
        .collect();
    let is_bound = |access: &SupportAccess| {
        let bindings = binding_ids(namespace, &access.name_any());
        let mut present = bindings.iter().filter_map(|id| index.children.get(id));
        present.any(|binding| !binding.deleting)
    };
    let mut bound: Vec<OpenGrant> = all
        .iter()
        .filter(|access| is_bound(access))
        .map(|access| {
            let groups = access.spec.groups();
            OpenGrant {
                name: access.name_any(),
                role: access.spec.role,
                until: grant(access, &groups, now).until(),
                groups,
            }
        })
        .collect();
    bound.sort_by(|a, b| (a.until, &a.name).cmp(&(b.until, &b.name)));
    Support {
        bound,
        debug_groups: support::debug_groups(open.iter().map(|(role, groups)| (*role, &groups[..]))),
    }
}

/// Every grant there is or was, as `namespace/name`: those whose object is there, and those that are still bound.
pub fn keys(index: &Index) -> Vec<String> {
    let mut keys = index.support.names();
    keys.extend(
        index
            .children
            .ids(ChildKind::RoleBinding)
            .iter()
            .filter_map(key_of_binding),
    );
    keys.sort();
    keys.dedup();
    keys
}

/// The grant that a child is the binding of.
pub fn key_of_binding(id: &ChildId) -> Option<String> {
    Some(format!("{}/{}", id.namespace, bound_by(id)?))
}

/// The grants of a namespace whose object is there.
pub fn keys_of_namespace(index: &Index, namespace: &str) -> Vec<String> {
    let all = index.support.of_namespace(namespace);
    all.iter()
        .map(|access| format!("{namespace}/{}", access.name_any()))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::adapters::kube::{child::ChildFact, live::Live};

    const NAMESPACE: &str = "org-acme-7c9e6679";

    fn child(index: &Index, kind: ChildKind, object: &Value) {
        let live: Live = serde_json::from_value(object.clone()).unwrap();
        index.children.observe(ChildFact::of(kind, &live));
    }
    fn access(name: &str, role: &str, hours: i32) -> SupportAccess {
        serde_json::from_value(json!({
            "apiVersion": "platform.tray.ai/v1alpha1", "kind": "SupportAccess",
            "metadata": {"name": name, "namespace": NAMESPACE, "uid": name, "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"subjects": [{"kind": "Group", "name": "support"}], "role": role, "durationHours": hours, "reason": "r"},
        }))
        .unwrap()
    }
    /// Org acme with its namespace; grants `short` and `long`, of which the first is bound.
    fn index() -> Index {
        let index = Index::default();
        let org = json!({
            "apiVersion": "platform.tray.ai/v1alpha1", "kind": "TrayOrg",
            "metadata": {"name": "acme", "uid": "o", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"orgId": "7c9e6679-7425-40de-944b-e07fc1f90ae7", "plan": "Team", "regionRef": {"name": "eu"}},
        });
        index.orgs.put(serde_json::from_value(org).unwrap());
        let labels = json!({
            "platform.tray.ai/org": "acme", "platform.tray.ai/org-id": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
            "platform.tray.ai/region-name": "eu", "platform.tray.ai/region": "eu-west-1",
        });
        let annotations = json!({"platform.tray.ai/support-access": "support"});
        let metadata = json!({
            "name": NAMESPACE, "labels": labels, "annotations": annotations, "creationTimestamp": "1970-01-01T00:00:01Z",
        });
        child(&index, ChildKind::Namespace, &json!({"metadata": metadata}));
        let metadata = json!({"name": "tray-support-short", "namespace": NAMESPACE, "labels": labels});
        child(&index, ChildKind::RoleBinding, &json!({"metadata": metadata}));
        index.support.put(access("short", "Debug", 1));
        index.support.put(access("long", "Debug", 2));
        index
    }
    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn p17_in_is_who_is_bound_and_the_gate_goes_by_who_is_meant_to_be() {
        let (index, allowed) = (index(), vec!["support".to_owned()]);
        let found = support_in(&index, NAMESPACE, &allowed, at(10));
        assert_eq!(
            found.bound.iter().map(|g| g.name.as_str()).collect::<Vec<_>>(),
            ["short"]
        );
        assert_eq!(found.debug_groups.as_deref(), Some("support"));
        // Not closed yet: it is still said, though the gate is shut.
        let late = support_in(&index, NAMESPACE, &allowed, at(3 * 3600));
        assert_eq!((late.bound.len(), late.debug_groups), (1, None));
        assert_eq!(
            support_in(&index, "elsewhere", &allowed, at(10)),
            Support::default()
        );
    }

    #[test]
    fn an_org_of_another_id_lets_nobody_in() {
        let index = index();
        assert_eq!(home(&index, NAMESPACE).unwrap().door, Door::Open);
        let other = json!({
            "apiVersion": "platform.tray.ai/v1alpha1", "kind": "TrayOrg", "metadata": {"name": "acme", "uid": "o"},
            "spec": {"orgId": "00000000-0000-4000-8000-000000000000", "plan": "Team"},
        });
        index.orgs.put(serde_json::from_value(other).unwrap());
        assert_eq!(home(&index, NAMESPACE).unwrap().door, Door::Gone);
    }

    #[test]
    fn p3_what_an_earlier_org_left_lets_nobody_in_before_it_is_taken_up() {
        let namespace = |index: &Index, created_at: &str, more: &[&str]| {
            let mut labels = json!({
                "platform.tray.ai/org": "acme", "platform.tray.ai/org-id": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
                "platform.tray.ai/region-name": "eu", "platform.tray.ai/region": "eu-west-1",
            });
            for label in more {
                labels[*label] = "true".into();
            }
            let metadata = json!({
                "name": NAMESPACE, "labels": labels, "resourceVersion": "9", "creationTimestamp": created_at,
            });
            child(index, ChildKind::Namespace, &json!({"metadata": metadata}));
        };
        let door = |index: &Index| home(index, NAMESPACE).unwrap().door;
        for label in [names::LABEL_RETAINED, names::LABEL_ORPHANED] {
            let index = index();
            namespace(&index, "1970-01-01T00:00:01Z", &[label]);
            assert_eq!(door(&index), Door::Gone, "{label}");
        }
        // Nobody could label it when its org went: it is older than the TrayOrg.
        let index = index();
        namespace(&index, "1969-12-31T00:00:00Z", &[]);
        assert_eq!(door(&index), Door::Gone);
        namespace(&index, "1970-01-01T00:00:01Z", &[]);
        assert_eq!(door(&index), Door::Open);
    }

    #[test]
    fn p12_a_grant_is_with_logs_unless_the_org_hides_them() {
        let index = index();
        assert_eq!(home(&index, NAMESPACE).unwrap().logs, LogMode::Visible);
        let mut org = serde_json::to_value(&*index.orgs.get("acme").unwrap()).unwrap();
        org["spec"]["executionLogs"] = json!({"mode": "Hidden"});
        index.orgs.put(serde_json::from_value(org).unwrap());
        assert_eq!(home(&index, NAMESPACE).unwrap().logs, LogMode::Hidden);
        // In under either name.
        let binding = json!({"metadata": {"name": "tray-logless-support-long", "namespace": NAMESPACE,
            "labels": {"platform.tray.ai/org": "acme"}}});
        child(&index, ChildKind::RoleBinding, &binding);
        let found = support_in(&index, NAMESPACE, &["support".to_owned()], at(10));
        let bound: Vec<&str> = found.bound.iter().map(|grant| grant.name.as_str()).collect();
        assert_eq!(bound, ["short", "long"]);
        let keys = keys(&index);
        assert_eq!(keys, [format!("{NAMESPACE}/long"), format!("{NAMESPACE}/short")]);
    }

    #[test]
    fn grants_are_found_by_their_objects_and_by_their_bindings() {
        let index = index();
        index.support.remove(&format!("{NAMESPACE}/short"), None);
        let keys = keys(&index);
        assert_eq!(keys, [format!("{NAMESPACE}/long"), format!("{NAMESPACE}/short")]);
    }
}
