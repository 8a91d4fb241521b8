//! An org lets in support staff and nobody else.

use serde_json::{Value, json};

use super::{
    cases::{Case, change, create},
    holds,
    world::{ORG, PLAIN, STAFF, Who},
};

pub(super) const POLICY: &str = "tray-support-access";

/// The spec of a SupportAccess for these groups.
pub(super) fn spec(groups: &[&str]) -> Value {
    let subjects: Vec<Value> = groups
        .iter()
        .map(|name| json!({"kind": "Group", "name": name}))
        .collect();
    json!({"subjects": subjects, "role": "Debug", "durationHours": 4, "reason": "ticket 7"})
}

pub(super) fn cases() -> Vec<Case> {
    let all =
        |namespace: &str| format!("/apis/platform.tray.ai/v1alpha1/namespaces/{namespace}/supportaccesses");
    let new = |namespace: &str, groups: &[&str]| {
        let body = json!({"apiVersion": "platform.tray.ai/v1alpha1", "kind": "SupportAccess",
            "metadata": {"name": "new"}, "spec": spec(groups)});
        create(all(namespace), body)
    };
    let edit = |patch| change(format!("{}/open", all(ORG)), patch);
    let staff = "spec.subjects must be groups of support staff, which the chart's value supportGroups names: support, sre, dismissed";
    vec![
        new(ORG, &STAFF).passes_for(Who::In("acme-admins")),
        new(ORG, &["sre"]).passes_for(Who::User("ann")),
        edit(json!({"metadata": {"labels": {"a": "b"}}})).passes_for(Who::Admin),
        new(PLAIN, &STAFF).refused_to(Who::Admin, "a SupportAccess belongs into the namespace of an org"),
        new(ORG, &["others"]).refused_to(Who::Admin, staff),
        new(ORG, &["support", "acme-admins"]).refused_to(Who::Admin, staff),
        new(ORG, &["system:authenticated"]).refused_to(Who::Operator, staff),
        new(ORG, &["sre", "support"]).refused_to(
            Who::In("support"),
            "must not hold a group that you are in yourself",
        ),
        new(ORG, &STAFF).refused_to(
            Who::Admin,
            "only an Admin of the org lets support in, and admin is none: see spec.owners",
        ),
        new(ORG, &["sre"]).refused_to(
            Who::In("acme-viewers"),
            "only an Admin of the org lets support in",
        ),
        new(ORG, &STAFF).refused_to(Who::Operator, "only an Admin of the org lets support in"),
        edit(json!({"spec": {"durationHours": 72}}))
            .refused_to(Who::Admin, "spec of SupportAccess open never changes"),
        edit(json!({"spec": {"role": "View"}}))
            .refused_to(Who::Operator, "delete it, and create another one"),
    ]
}

#[tokio::test]
async fn p17_an_org_lets_in_support_staff_and_nobody_himself() {
    holds(POLICY).await;
}
