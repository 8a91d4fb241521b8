//! The server asked by kube's own client, as the operator asks it.

mod applying;
mod deleting;
mod faulty;
mod objects;
mod served;
mod watching;
mod world;

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, PostParams},
    core::Status,
};
use serde_json::{Value, json};

use super::{ApiServer, ServedKind, of_kubernetes};
use crate::clock::RuntimeClock;

/// Time at which every test begins.
const START: &str = "2026-01-01T00:00:00Z";

/// A server of all kinds, with an org's namespace. To be called inside the runtime.
fn server() -> ApiServer {
    let ours = tray_api::crds::all_crds();
    let ours = ours.iter().filter_map(ServedKind::of_crd);
    let clock = RuntimeClock::from(START.parse().unwrap());
    let mut count = 0_u64;
    let random = move || {
        count += 1;
        count.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    };
    let server = ApiServer::new(of_kubernetes().into_iter().chain(ours), Arc::new(clock), random);
    server
        .put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "org"}}))
        .unwrap();
    server
}

fn config_map(name: &str, data: Value) -> ConfigMap {
    let object = json!({"metadata": {"name": name, "namespace": "org"}, "data": data});
    serde_json::from_value(object).unwrap()
}

fn config_maps(client: &Client) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), "org")
}

/// Objects of any kind, as they are.
fn any(client: &Client, resource: &ApiResource, namespace: Option<&str>) -> Api<DynamicObject> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    }
}

fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

async fn create(api: &Api<DynamicObject>, value: Value) -> Result<DynamicObject, kube::Error> {
    api.create(&PostParams::default(), &object(value)).await
}

/// What the server refused something with.
fn refused<T: std::fmt::Debug>(answer: Result<T, kube::Error>) -> Status {
    match answer {
        Err(kube::Error::Api(status)) => *status,
        other => panic!("not refused: {other:?}"),
    }
}
