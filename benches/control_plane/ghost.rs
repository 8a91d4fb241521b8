//! The bare loop: the same objects, rendered beforehand, with the same client, and nothing else.

use std::{collections::HashMap, sync::Arc};

use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
    core::{GroupVersionKind, Request},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tray_operator::{
    adapters::kube::{apply::api_resource, client::Connections, compare::without_nulls},
    resources::child::{ChildKind, DesiredChild},
};

use super::population;

/// Orgs in hand at once, and requests of one: what the operator has.
const ORGS_AT_ONCE: usize = 16;
const OF_ONE_ORG: usize = 8;
/// Services that get an address have a lane of their own here, too: without it the loop is slower.
const ADDRESSES_AT_ONCE: usize = 4;

/// A request that is ready to be sent.
struct Prepared {
    url: String,
    body: Vec<u8>,
    gets_an_address: bool,
}

fn body_of(child: &DesiredChild) -> Value {
    let mut body = without_nulls(&child.body);
    body["apiVersion"] = child.id.kind.api_version().into();
    body["kind"] = child.id.kind.as_str().into();
    body["metadata"]["name"] = child.id.name.as_str().into();
    if !child.id.namespace.is_empty() {
        body["metadata"]["namespace"] = child.id.namespace.as_str().into();
    }
    body
}

fn prepare(child: &DesiredChild) -> Prepared {
    let namespace = Some(child.id.namespace.as_str()).filter(|namespace| !namespace.is_empty());
    Prepared {
        url: DynamicObject::url_path(&api_resource(child.id.kind), namespace),
        body: serde_json::to_vec(&body_of(child)).unwrap(),
        gets_an_address: child.id.kind == ChildKind::Service && child.body["spec"]["clusterIP"] != "None",
    }
}

/// Writes every child of every org, once; says `ready` before and `done` after.
pub(crate) async fn write(orgs: usize) {
    let client = Connections::infer(&Arc::default()).await.unwrap().calls;
    let all: Vec<Vec<Vec<Prepared>>> = (0..orgs)
        .map(|number| {
            let stages = population::rendered(number);
            stages
                .iter()
                .map(|stage| stage.iter().map(prepare).collect())
                .collect()
        })
        .collect();
    println!("ready");
    let addresses = Semaphore::new(ADDRESSES_AT_ONCE);
    stream::iter(all)
        .for_each_concurrent(ORGS_AT_ONCE, async |stages| {
            for stage in stages {
                stream::iter(stage)
                    .for_each_concurrent(OF_ONE_ORG, async |prepared| {
                        let turn = prepared.gets_an_address.then(|| addresses.acquire());
                        let _turn = futures::future::OptionFuture::from(turn).await;
                        post(&client, prepared).await;
                    })
                    .await;
            }
        })
        .await;
    println!("done");
    std::future::pending::<()>().await;
}

async fn post(client: &Client, prepared: Prepared) {
    let params = PostParams {
        field_manager: Some("tray-operator".to_owned()),
        ..PostParams::default()
    };
    let request = Request::new(prepared.url).create(&params, prepared.body).unwrap();
    client.request_text(request).await.unwrap();
}

/// Patches the quota of an org whose spec changed and makes the quota that somebody deleted: what the operator answers
/// such changes with, known beforehand. Says `ready` once it listens.
pub(crate) async fn follow(orgs: usize) {
    let Connections { calls, watches } = Connections::infer(&Arc::default()).await.unwrap();
    let quotas: HashMap<(String, String), Value> = (0..orgs)
        .flat_map(population::rendered)
        .flatten()
        .filter(|child| child.id.kind == ChildKind::ResourceQuota)
        .map(|child| {
            (
                (child.id.namespace.clone(), child.id.name.clone()),
                body_of(&child),
            )
        })
        .collect();
    let kind = |group: &str, version: &str, kind: &str, plural: &str| {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    };
    let of_orgs = Api::<DynamicObject>::all_with(
        watches.clone(),
        &kind("platform.tray.ai", "v1alpha1", "TrayOrg", "trayorgs"),
    );
    let quota = api_resource(ChildKind::ResourceQuota);
    let of_quotas = Api::<DynamicObject>::all_with(watches, &quota);
    let config = || watcher::Config::default().streaming_lists();
    let mut events = stream::select(
        watcher(of_orgs, config())
            .default_backoff()
            .map_ok(|event| (true, event))
            .boxed(),
        watcher(of_quotas, config())
            .default_backoff()
            .map_ok(|event| (false, event))
            .boxed(),
    );
    let mut synced = 0;
    while let Some((is_org, event)) = events.try_next().await.unwrap() {
        match event {
            watcher::Event::InitDone => {
                synced += 1;
                if synced == 2 {
                    println!("ready");
                }
            }
            watcher::Event::Apply(org) if is_org => {
                let id = org.data["spec"]["orgId"].as_str().unwrap_or_default();
                let namespace = format!("org-{}-{}", org.name_any(), &id[..8]);
                let api: Api<DynamicObject> = Api::namespaced_with(calls.clone(), &namespace, &quota);
                let pods = org.data["spec"]["quota"]["pods"].to_string();
                let patch = Patch::Merge(json!({"spec": {"hard": {"pods": pods}}}));
                api.patch("tray-pods", &PatchParams::default(), &patch)
                    .await
                    .unwrap();
            }
            watcher::Event::Delete(gone) if !is_org => {
                let key = (gone.namespace().unwrap_or_default(), gone.name_any());
                let object = serde_json::from_value(quotas[&key].clone()).unwrap();
                let api: Api<DynamicObject> = Api::namespaced_with(calls.clone(), &key.0, &quota);
                api.create(&PostParams::default(), &object).await.unwrap();
            }
            _ => {}
        }
    }
}
