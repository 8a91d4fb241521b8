//! A cluster says in its places of backups that it is there, and learns there that another one has taken its orgs over.

use std::sync::Arc;

use jiff::Timestamp;
use kube::Api;
use serde_json::{Value, json};
use tray_api::{
    conditions::{reasons, types},
    region::Region,
};
use tray_ledger::RemoteError;
use tray_operator::{
    controllers::{conditions::find, heartbeat::HeartbeatDriver, region::RegionDriver},
    telemetry::metrics::InRegion,
};
use tray_testkit::memory::Operation;

use crate::{
    regions::{TURN, apply, class, condition, node, region},
    support::{
        api_server::{self, eventually},
        operator::{Operator, Running},
    },
};

const HEARTBEAT: &str = "beats/v1/clusters/cluster/heartbeat.json";
const MARKER: &str = "beats/v1/clusters/cluster/fenced.json";

async fn start(operator: &Operator) -> Running {
    operator
        .start(vec![
            Arc::new(RegionDriver::default()),
            Arc::new(HeartbeatDriver::default()),
        ])
        .await
}

/// A Region with copies under a prefix of these tests.
fn beats(name: &str) -> Value {
    let mut region = region(name, "eu-west-1");
    region["spec"]["backup"]["prefix"] = "beats/".into();
    region
}

/// The heartbeat, once that process has written it.
async fn heartbeat(operator: &Operator) -> Value {
    let holder = operator.ctx.writer.leadership.holder();
    let beat = eventually(async || {
        let object = operator.regions.store.object(HEARTBEAT)?;
        let beat: Value = serde_json::from_slice(&object.body).unwrap();
        (beat["holder"] == holder).then_some(beat)
    });
    beat.await.expect("the cluster does not say that it is there")
}

#[tokio::test]
async fn a_cluster_says_that_it_is_there_until_it_was_fenced() {
    let _turn = TURN.lock().await;
    let operator = Operator::new().await;
    let running = start(&operator).await;
    node("beats-1", "eu-west-1").await;
    for name in ["beats", "beats-too"] {
        class(name, "Retain").await;
        apply(&beats(name)).await;
        condition(name, types::READY, "True", reasons::AS_SPECIFIED).await;
    }
    two_regions_have_one_heartbeat(&operator).await;
    running.stop().await;
    a_store_that_is_silent_decides_nothing(&operator).await;
    a_fenced_cluster_says_so_and_nothing_more(&operator).await;
    a_marker_that_cannot_be_read_fences_and_one_that_is_gone_does_not(&operator).await;
    let regions: Api<Region> = Api::all(api_server::shared().await.client().await);
    for name in ["beats", "beats-too"] {
        regions
            .delete(name, &kube::api::DeleteParams::default())
            .await
            .unwrap();
    }
}

async fn two_regions_have_one_heartbeat(operator: &Operator) {
    let beat = heartbeat(operator).await;
    assert_eq!(
        (&beat["clusterUid"], &beat["formatVersion"]),
        (&json!("cluster"), &json!(1))
    );
    assert_eq!(beat["operatorVersion"], env!("CARGO_PKG_VERSION"));
    let at: Timestamp = beat["at"].as_str().unwrap().parse().unwrap();
    let store = &operator.regions.store;
    let key = store.object(HEARTBEAT).unwrap().kms_key.unwrap();
    assert_eq!(key.as_str(), "arn:aws:kms:eu-central-1:111122223333:key/ledger");
    let shown = |region: &str| {
        let region = region.to_owned();
        operator
            .ctx
            .metrics
            .heartbeat
            .get_or_create(&InRegion { region })
            .get()
    };
    let told = eventually(async || (shown("beats-too") == at.as_second()).then_some(()));
    assert!(told.await.is_some(), "{} {at}", shown("beats-too"));
    assert_eq!(shown("beats"), at.as_second());
    let calls = store.calls();
    let of = |operation: Operation, key: &str| {
        let asked = calls.iter().filter(|(of, on)| *of == operation && on == key);
        asked.count()
    };
    assert_eq!(
        (of(Operation::Get, MARKER), of(Operation::Replace, HEARTBEAT)),
        (1, 1)
    );
}

async fn a_store_that_is_silent_decides_nothing(first: &Operator) {
    let silent = RemoteError::Unavailable("no answer from s3".to_owned());
    let store = &first.regions.store;
    let before = store.object(HEARTBEAT);
    store.refuse(MARKER, silent);
    let operator = first.beside().await;
    let running = start(&operator).await;
    let unknown = condition("beats", types::FENCED, "Unknown", reasons::RETRYING).await;
    assert!(
        unknown.message.contains("no answer from s3"),
        "{}",
        unknown.message
    );
    assert_eq!(
        store.object(HEARTBEAT),
        before,
        "nothing is written before that is known"
    );
    store.refuse_no_more();
    condition("beats", types::READY, "True", reasons::AS_SPECIFIED).await;
    running.stop().await;
}

async fn a_fenced_cluster_says_so_and_nothing_more(first: &Operator) {
    let store = &first.regions.store;
    let marker = json!({"formatVersion": 1, "clusterUid": "another", "at": "2026-01-01T00:00:00Z"});
    store.overwrite(MARKER, marker.to_string());
    let before = store.object(HEARTBEAT);
    let operator = first.beside().await;
    let running = start(&operator).await;
    for name in ["beats", "beats-too"] {
        let fenced = condition(name, types::FENCED, "True", reasons::FENCED).await;
        for part in ["cluster another", "2026-01-01T00:00:00Z", MARKER] {
            assert!(fenced.message.contains(part), "{part}: {}", fenced.message);
        }
        condition(name, types::READY, "False", reasons::FENCED).await;
        condition(name, types::STALLED, "True", reasons::FENCED).await;
    }
    running.stop().await;
    assert_eq!(store.object(HEARTBEAT), before, "its last word stands");
}

async fn a_marker_that_cannot_be_read_fences_and_one_that_is_gone_does_not(first: &Operator) {
    let store = &first.regions.store;
    store.overwrite(MARKER, "not what it should be");
    let operator = first.beside().await;
    let running = start(&operator).await;
    let regions: Api<Region> = Api::all(api_server::shared().await.client().await);
    let fenced = async || {
        let status = regions.get("beats").await.ok()?.status?;
        find(&status.conditions, types::FENCED).map(|fenced| fenced.message.clone())
    };
    let said = eventually(async || fenced().await.filter(|said| said.contains("cannot be read"))).await;
    assert!(said.is_some(), "{:?}", fenced().await);
    running.stop().await;

    store.remove(MARKER);
    let operator = first.beside().await;
    let running = start(&operator).await;
    condition("beats", types::READY, "True", reasons::AS_SPECIFIED).await;
    let gone = eventually(async || fenced().await.is_none().then_some(())).await;
    assert!(gone.is_some(), "{:?}", fenced().await);
    heartbeat(&operator).await;
    running.stop().await;
}
