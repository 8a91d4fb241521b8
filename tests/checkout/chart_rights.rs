//! The chart's rights: those of the objects movers are what the table of archived kinds needs, no more, no less; the operator's
//! are at least what the table of our kinds needs.

use std::collections::BTreeSet;

use serde_json::Value;
use tray_api::{crds, kinds::Kind};
use tray_domain::{archived_kinds::ARCHIVED, names};

use crate::support::chart;

/// (group, resource, verb) of every rule of a ClusterRole.
fn rights(objects: &[Value], role: &str) -> BTreeSet<(String, String, String)> {
    rights_of(objects, "ClusterRole", role)
}

fn rights_of(objects: &[Value], kind: &str, role: &str) -> BTreeSet<(String, String, String)> {
    let role = objects
        .iter()
        .find(|o| o["kind"] == kind && o["metadata"]["name"] == role)
        .unwrap();
    let texts = |value: &Value| -> Vec<String> {
        let items = value.as_array().unwrap().iter();
        items.map(|item| item.as_str().unwrap().to_owned()).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    rights.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    rights
}

fn needed(verbs: &[&str]) -> BTreeSet<(String, String, String)> {
    let of_kind = |verb: &str| {
        let verb = verb.to_owned();
        ARCHIVED
            .iter()
            .map(move |kind| (kind.group.to_string(), kind.plural.to_string(), verb.clone()))
    };
    verbs.iter().flat_map(|verb| of_kind(verb)).collect()
}

#[test]
fn the_archive_role_lists_what_is_archived_and_does_nothing_else() {
    let objects = chart::render(&[]).unwrap();
    assert_eq!(
        rights(&objects, names::CLUSTER_ROLE_ORG_ARCHIVE),
        needed(&["list"])
    );
}

#[test]
fn the_restore_role_puts_back_what_is_archived_and_deletes_nothing() {
    let objects = chart::render(&[]).unwrap();
    let rights = rights(&objects, names::CLUSTER_ROLE_ORG_RESTORE);
    assert_eq!(rights, needed(&["create", "get", "update"]));
}

#[test]
fn the_operator_watches_every_kind_of_ours_and_writes_its_status() {
    let file = "charts/tray-operator/templates/rbac-operator.yaml";
    let given = rights(&chart::render(&[]).unwrap(), names::OPERATOR);
    for crd in crds::all_crds() {
        let (kind, plural) = (crd.spec.names.kind, crd.spec.names.plural);
        let subresources = crd.spec.versions[0].subresources.as_ref();
        let has_status = subresources.is_some_and(|subresources| subresources.status.is_some());
        let status = has_status.then(|| (format!("{plural}/status"), "patch"));
        let watched = ["get", "list", "watch"].map(|verb| (plural.clone(), verb));
        for (resource, verb) in watched.into_iter().chain(status) {
            let right = (names::GROUP.to_owned(), resource, verb.to_owned());
            assert!(
                given.contains(&right),
                "{file} does not give {right:?} for {kind}"
            );
        }
    }
}

/// What the rules of an object are about, `resource` or `resource/subresource`, as far as it is ours.
fn named_of_ours(rules: &Value) -> Vec<String> {
    let texts = |value: &Value| -> Vec<String> {
        let items = value.as_array().into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let rules = rules.as_array().into_iter().flatten();
    let ours = rules.filter(|rule| {
        texts(&rule["apiGroups"])
            .iter()
            .any(|group| group == names::GROUP)
    });
    ours.flat_map(|rule| texts(&rule["resources"])).collect()
}

#[test]
fn the_chart_names_no_kind_of_ours_that_there_is_not() {
    let plurals = Kind::ALL.map(|kind| kind.resource().plural);
    let mut found = 0;
    for object in chart::render(WITH_WEBHOOKS).unwrap() {
        let matched = &object["spec"]["matchConstraints"]["resourceRules"];
        for named in [&object["rules"], matched].into_iter().flat_map(named_of_ours) {
            let resource = named.split('/').next().unwrap();
            let name = &object["metadata"]["name"];
            assert!(
                resource == "*" || plurals.iter().any(|plural| plural == resource),
                "{} {name} names {named}, which is no kind of ours",
                object["kind"]
            );
            found += 1;
        }
    }
    assert!(found > 30, "only {found} names were found");
}

#[test]
fn p12_who_may_not_see_logs_has_all_other_rights_of_his_role() {
    let objects = chart::render(&[]).unwrap();
    let logs = BTreeSet::from([(String::new(), "pods/log".to_owned(), "get".to_owned())]);
    let mut with_logs = BTreeSet::new();
    for (role, twin) in [
        (
            names::CLUSTER_ROLE_ORG_ADMIN,
            names::CLUSTER_ROLE_ORG_ADMIN_WITHOUT_LOGS,
        ),
        (
            names::CLUSTER_ROLE_SUPPORT_VIEW,
            names::CLUSTER_ROLE_SUPPORT_VIEW_WITHOUT_LOGS,
        ),
        (
            names::CLUSTER_ROLE_SUPPORT_DEBUG,
            names::CLUSTER_ROLE_SUPPORT_DEBUG_WITHOUT_LOGS,
        ),
    ] {
        let (rights, left) = (rights(&objects, role), rights(&objects, twin));
        assert_eq!(&rights - &left, logs, "{role}");
        assert_eq!(&left - &rights, BTreeSet::new(), "{role}");
        with_logs.insert(role);
    }
    // Nobody else has them: whoever gets them needs a twin.
    for role in objects
        .iter()
        .filter(|o| o["kind"] == "ClusterRole" || o["kind"] == "Role")
    {
        let (kind, name) = (
            role["kind"].as_str().unwrap(),
            role["metadata"]["name"].as_str().unwrap(),
        );
        let rights = rights_of(std::slice::from_ref(role), kind, name);
        assert_eq!(!rights.is_disjoint(&logs), with_logs.contains(name), "{name}");
    }
}

#[test]
fn p19_every_right_that_the_chart_gives_is_named() {
    let objects = chart::render(WITH_WEBHOOKS).unwrap();
    let mut roles = 0;
    for role in objects
        .iter()
        .filter(|o| o["kind"] == "ClusterRole" || o["kind"] == "Role")
    {
        roles += 1;
        for rule in role["rules"].as_array().unwrap() {
            let text = rule.to_string();
            assert!(!text.contains('*'), "{}: {text}", role["metadata"]["name"]);
            let verbs = rule["verbs"].as_array().unwrap();
            let of_others = ["impersonate", "escalate"];
            assert!(
                !verbs.iter().any(|verb| of_others.iter().any(|v| verb == v)),
                "{text}"
            );
        }
    }
    assert!(roles > 5, "{roles} roles");
}

const WITH_WEBHOOKS: &[&str] = &["--set=webhooks.enabled=true"];
const GATEWAY: &str = "gateway.networking.k8s.io";

#[test]
fn p21_the_operator_writes_routes_only_with_webhooks_and_grants_only_in_its_own_namespace() {
    let gateway = |objects: &[Value], kind: &str| -> BTreeSet<String> {
        let rights = rights_of(objects, kind, names::OPERATOR).into_iter();
        let of_gateway = rights.filter(|(group, _, _)| group == GATEWAY);
        of_gateway.map(|(_, resource, _)| resource).collect()
    };
    let without = chart::render(&[]).unwrap();
    let with = chart::render(WITH_WEBHOOKS).unwrap();
    for (objects, kind, wanted) in [
        (&without, "ClusterRole", None),
        (&without, "Role", None),
        (&with, "ClusterRole", Some("httproutes")),
        (&with, "Role", Some("referencegrants")),
    ] {
        let wanted: BTreeSet<String> = wanted.into_iter().map(str::to_owned).collect();
        assert_eq!(gateway(objects, kind), wanted, "{kind}");
    }
    let names = |objects: &[Value]| -> BTreeSet<String> {
        let own = objects
            .iter()
            .filter(|o| o["metadata"]["name"] == names::RESPONDER);
        own.map(|o| o["kind"].as_str().unwrap().to_owned()).collect()
    };
    assert!(names(&without).is_empty());
    assert!(names(&with).contains("Deployment"));
}

#[test]
fn p21_nobody_but_the_operator_reads_routes() {
    for object in chart::render(WITH_WEBHOOKS).unwrap() {
        let (kind, name) = (
            object["kind"].as_str().unwrap(),
            object["metadata"]["name"].as_str().unwrap(),
        );
        if matches!(kind, "ClusterRole" | "Role") && name != names::OPERATOR {
            let routes = rights_of(std::slice::from_ref(&object), kind, name);
            assert!(
                !routes.iter().any(|(group, _, _)| group == GATEWAY),
                "{kind} {name}"
            );
        }
    }
}

#[test]
fn p21_the_responder_is_where_routes_lead() {
    let objects = chart::render(WITH_WEBHOOKS).unwrap();
    let find = |kind: &str| {
        let mut own = objects.iter().filter(|o| o["kind"] == kind);
        own.find(|o| o["metadata"]["name"] == names::RESPONDER).unwrap()
    };
    let service = find("Service");
    assert_eq!(service["metadata"]["namespace"], names::SYSTEM_NAMESPACE);
    let ports = service["spec"]["ports"].as_array().unwrap().iter();
    let ports: Vec<u64> = ports.map(|port| port["port"].as_u64().unwrap()).collect();
    assert_eq!(
        ports,
        [names::RESPONDER_FORBIDDEN_PORT, names::RESPONDER_SUSPENDED_PORT].map(u64::from)
    );
    let template = &find("Deployment")["spec"]["template"];
    assert_eq!(
        template["spec"]["containers"][0]["args"],
        serde_json::json!(["respond"])
    );
    assert_eq!(template["spec"]["automountServiceAccountToken"], false);
    for (label, value) in service["spec"]["selector"].as_object().unwrap() {
        assert_eq!(template["metadata"]["labels"][label], *value);
    }
}

#[test]
fn values_of_webhooks_are_checked() {
    for (value, named) in [
        ("webhooks.enabled=maybe", "enabled"),
        ("webhooks.replicas=0", "replicas"),
        ("webhooks.domain=x", "domain"),
    ] {
        let refused = chart::render(&["--set", value]).unwrap_err();
        assert!(refused.contains(named), "{value}: {refused}");
    }
}
