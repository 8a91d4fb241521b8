//! What tests and the benchmark do with objects of an API server.

use std::time::Duration;

use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
    discovery,
};
use serde_json::{Value, json};
use tokio::time;

/// How long anything here may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Creates or replaces `object`, by server-side apply, once the API server knows its kind.
///
/// # Panics
/// When the API server refuses it.
pub(crate) async fn apply(client: &Client, object: &Value) {
    let dynamic: DynamicObject = serde_json::from_value(object.clone()).unwrap();
    let name = dynamic.name_any();
    let api = eventually(async || api_of(client, object).await).await;
    let api = api.unwrap_or_else(|| panic!("the API server does not know the kind of {object}"));
    let params = PatchParams::apply("tests").force();
    if let Err(error) = api.patch(&name, &params, &Patch::Apply(&dynamic)).await {
        panic!("failed to apply {} {name}: {error}", object["kind"]);
    }
}

/// The API of an object's kind and namespace; none while the API server does not serve that kind.
pub(crate) async fn api_of(client: &Client, object: &Value) -> Option<Api<DynamicObject>> {
    let (group, version) = match object["apiVersion"].as_str()?.split_once('/') {
        Some((group, version)) => (group, version),
        None => ("", object["apiVersion"].as_str()?),
    };
    let kind = GroupVersionKind::gvk(group, version, object["kind"].as_str()?);
    let (resource, _) = discovery::pinned_kind(client, &kind).await.ok()?;
    Some(match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    })
}

/// What `attempt` gives as soon as it gives something; none when it gives nothing for [`PATIENCE`].
pub(crate) async fn eventually<T>(attempt: impl AsyncFn() -> Option<T>) -> Option<T> {
    let tries = async {
        loop {
            if let Some(value) = attempt().await {
                return value;
            }
            time::sleep(Duration::from_millis(50)).await;
        }
    };
    time::timeout(PATIENCE, tries).await.ok()
}

/// What the API server says to `object`'s creation. Nothing is kept.
pub(crate) async fn dry_run(api: &Api<DynamicObject>, object: &Value) -> kube::Result<DynamicObject> {
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let object = serde_json::from_value(object.clone()).map_err(kube::Error::SerdeError)?;
    api.create(&params, &object).await
}

/// A policy, and its binding of the same name, that refuses the creation of a resource of version v1 where the CEL
/// expression `refused` holds. It takes a moment to be in force: [`dry_run`] tells.
pub(crate) fn refusal(
    name: &str,
    (group, resource): (&str, &str),
    refused: &str,
    message: &str,
) -> [Value; 2] {
    let version = "admissionregistration.k8s.io/v1";
    let policy = json!({
        "apiVersion": version, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [
                {"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [resource]}]},
            "validations": [{"expression": format!("!({refused})"), "message": message, "reason": "Forbidden"}],
        },
    });
    let binding = json!({
        "apiVersion": version, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    });
    [policy, binding]
}
