//! The rights of the objects movers, in the chart, are those that the table of archived kinds needs: no more, no less.

#![allow(
    clippy::unwrap_used,
    reason = "clippy knows test functions, not what they call"
)]

mod support;

use std::collections::BTreeSet;

use serde_json::Value;
use support::chart;
use tray_operator::domain::{archived_kinds::ARCHIVED, names};

/// (group, resource, verb) of every rule of a ClusterRole.
fn rights(objects: &[Value], role: &str) -> BTreeSet<(String, String, String)> {
    let role = objects
        .iter()
        .find(|o| o["kind"] == "ClusterRole" && o["metadata"]["name"] == role)
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
