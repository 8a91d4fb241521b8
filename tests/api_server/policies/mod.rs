//! The admission policies of the chart: for each, requests that it lets through and requests that it refuses, and by whom.

mod cases;
pub(crate) mod world;

mod binding;
mod child_guard;
mod crd_guard;
mod debug_containers;
mod delete_protection;
mod exec_gate;
mod finalizer_guard;
mod mover_account;
mod mover_exec;
mod mover_pods;
mod mover_secrets;
mod namespace_guard;
mod node_place;
mod pod_host;
mod pod_logs;
mod pod_pinning;
mod pods;
mod references;
mod run_authority;
mod service_type;
mod status_guard;
mod support_access;
mod tombstone_guard;
mod transitions;
mod volume_class;

use std::collections::BTreeSet;

use serde_json::Value;

use cases::Case;

/// Policies that ask for verbs of the user, and so refuse nothing to those who ask here: they have all of them.
const BY_VERB: &[&str] = &[crate::reattach::POLICY];

type Cases = fn() -> Vec<Case>;

/// Every other policy of the chart, with its cases.
const TABLE: &[(&str, Cases)] = &[
    (binding::POLICY, binding::cases),
    (child_guard::POLICY, child_guard::cases),
    (crd_guard::POLICY, crd_guard::cases),
    (debug_containers::POLICY, debug_containers::cases),
    (delete_protection::POLICY, delete_protection::cases),
    (exec_gate::POLICY, exec_gate::cases),
    (finalizer_guard::POLICY, finalizer_guard::cases),
    (mover_account::POLICY, mover_account::cases),
    (mover_exec::POLICY, mover_exec::cases),
    (mover_pods::POLICY, mover_pods::cases),
    (mover_secrets::POLICY, mover_secrets::cases),
    (namespace_guard::POLICY, namespace_guard::cases),
    (node_place::POLICY, node_place::cases),
    (pod_host::POLICY, pod_host::cases),
    (pod_logs::POLICY, pod_logs::cases),
    (pod_pinning::POLICY, pod_pinning::cases),
    (references::POLICY, references::cases),
    (run_authority::POLICY, run_authority::cases),
    (service_type::POLICY, service_type::cases),
    (status_guard::POLICY, status_guard::cases),
    (support_access::POLICY, support_access::cases),
    (tombstone_guard::POLICY, tombstone_guard::cases),
    (transitions::OF_REGIONS, transitions::cases_of_regions),
    (transitions::OF_ORGS, transitions::cases_of_orgs),
    (transitions::OF_RUNS, transitions::cases_of_runs),
    (volume_class::POLICY, volume_class::cases),
];

/// Asks what the cases of the policy ask.
///
/// # Panics
/// When one comes out otherwise than it says, or when a validation of the policy refused none of them.
async fn holds(policy: &str) {
    let (_, cases) = TABLE.iter().find(|(name, _)| *name == policy).unwrap();
    let cases = cases();
    assert!(cases.iter().any(Case::passes), "{policy} has no good case");
    let world = world::world().await;
    let _all_bound = world.bound().await;
    let (mut wrong, mut refusals) = (Vec::new(), Vec::new());
    for case in cases {
        match case.judge(policy, &world.dry_run(case.who, &case.ask).await) {
            Ok(refusal) => refusals.extend(refusal),
            Err(why) => wrong.push(why),
        }
    }
    assert!(wrong.is_empty(), "{policy}: {wrong:#?}");
    let silent: Vec<_> = validations(policy)
        .into_iter()
        .filter(|words| !refusals.iter().any(|refusal| refusal.contains(words)))
        .collect();
    assert!(silent.is_empty(), "{policy} refuses no case with: {silent:#?}");
}

/// What each validation of a policy says when it refuses, as far as that is the same for every request.
fn validations(policy: &str) -> Vec<String> {
    let rendered = policies();
    let policy = rendered
        .iter()
        .find(|object| object["metadata"]["name"] == policy)
        .unwrap();
    let validations = policy["spec"]["validations"].as_array().unwrap().iter();
    let words = validations.map(|validation| {
        assert_eq!(validation["reason"], "Forbidden", "anything else answers 422");
        match validation["messageExpression"].as_str() {
            // In such an expression texts stand in double quotes; the longest is the one to know it by.
            Some(expression) => expression
                .split('"')
                .skip(1)
                .step_by(2)
                .max_by_key(|text| text.len()),
            None => validation["message"].as_str(),
        }
    });
    words.map(|words| words.expect("a message").to_owned()).collect()
}

fn policies() -> Vec<Value> {
    let mut objects = world::chart();
    objects.retain(|object| object["kind"] == "ValidatingAdmissionPolicy");
    objects
}

#[test]
fn every_policy_has_cases() {
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    let rendered: BTreeSet<String> = policies().iter().map(name).collect();
    let tested = TABLE.iter().map(|(policy, _)| policy).chain(BY_VERB);
    let tested: BTreeSet<String> = tested.map(|policy| (*policy).to_owned()).collect();
    assert_eq!(rendered, tested);
}

#[test]
fn every_policy_is_bound_refuses_and_lets_nothing_pass_where_it_fails() {
    let objects = world::chart();
    for policy in policies() {
        assert_eq!(policy["spec"]["failurePolicy"], "Fail", "{policy:#}");
        let bound = objects.iter().any(|object| {
            object["kind"] == "ValidatingAdmissionPolicyBinding"
                && object["spec"]["policyName"] == policy["metadata"]["name"]
                && object["spec"]["validationActions"] == serde_json::json!(["Deny"])
        });
        assert!(bound, "{} is not bound", policy["metadata"]["name"]);
    }
}

#[tokio::test]
async fn every_policy_refuses_what_it_says_and_nothing_else() {
    for (policy, _) in TABLE {
        holds(policy).await;
    }
}
