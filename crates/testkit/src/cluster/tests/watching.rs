//! Watches, by kube's own watcher as the operator sets it up.

use std::{collections::BTreeMap, time::Duration};

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    runtime::watcher::{self, Event, watcher},
};
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::{config_map, config_maps, server};
use crate::cluster::{ApiServer, Call, Cut, Fate, Faults, Verb};

fn config() -> watcher::Config {
    watcher::Config::default().streaming_lists().timeout(45 * 60)
}

fn followed(
    server: &ApiServer,
    config: watcher::Config,
) -> impl Stream<Item = Result<Event<ConfigMap>, watcher::Error>> + Unpin + use<> {
    watcher(config_maps(&server.client("operator")), config).boxed()
}

/// What a watch shows, in words.
fn said(event: Result<Event<ConfigMap>, watcher::Error>) -> String {
    match event {
        Ok(Event::Init) => "init".to_owned(),
        Ok(Event::InitDone) => "done".to_owned(),
        Ok(Event::InitApply(object)) => format!("there {}", object.name_any()),
        Ok(Event::Apply(object)) => format!("put {}", object.name_any()),
        Ok(Event::Delete(object)) => format!("gone {}", object.name_any()),
        Err(error) => match error {
            watcher::Error::WatchError(status) => format!("error {}", status.code),
            _ => "broken".to_owned(),
        },
    }
}

/// The next events, until nothing comes for a second.
async fn heard(
    events: &mut (impl Stream<Item = Result<Event<ConfigMap>, watcher::Error>> + Unpin),
) -> Vec<String> {
    let mut found = Vec::new();
    while let Ok(Some(event)) = timeout(Duration::from_secs(1), events.next()).await {
        found.push(said(event));
    }
    found
}

async fn make(api: &Api<ConfigMap>, name: &str) {
    api.create(&PostParams::default(), &config_map(name, json!({})))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_watch_shows_what_there_is_and_then_every_change_once() {
    let server = server();
    let api = config_maps(&server.client("test"));
    make(&api, "a").await;
    make(&api, "b").await;
    let mut events = followed(&server, config());
    assert_eq!(heard(&mut events).await, ["init", "there a", "there b", "done"]);
    make(&api, "c").await;
    let patch = Patch::Merge(json!({"data": {"k": "v"}}));
    api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    api.delete("b", &DeleteParams::default()).await.unwrap();
    assert_eq!(heard(&mut events).await, ["put c", "put a", "gone b"]);
    let watches = server.watches();
    assert_eq!(watches.len(), 1);
    assert_eq!(watches[0].user, "operator");
    drop(events);
    assert!(server.watches().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_watch_comes_back_from_where_it_was() {
    let server = server();
    let api = config_maps(&server.client("test"));
    make(&api, "a").await;
    let mut events = followed(&server, config());
    assert_eq!(heard(&mut events).await, ["init", "there a", "done"]);
    // Its time is over, twice; bookmarks keep it from falling behind what the server knows.
    tokio::time::sleep(Duration::from_secs(2 * 45 * 60)).await;
    server
        .put(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "org"}}))
        .unwrap();
    make(&api, "b").await;
    assert_eq!(heard(&mut events).await, ["put b"]);
    // Cut in order: the client does not even notice.
    server.cut_watches(Cut::Ended, |_| true);
    make(&api, "c").await;
    assert_eq!(heard(&mut events).await, ["put c"]);
    // Broken: an error, and then on from there.
    server.cut_watches(Cut::Broken, |watch| watch.resource == "configmaps");
    make(&api, "d").await;
    assert_eq!(heard(&mut events).await, ["broken", "put d"]);
    let started: Vec<bool> = server
        .trace()
        .iter()
        .filter(|asked| asked.verb == Verb::Watch)
        .map(|asked| asked.path.contains("sendInitialEvents"))
        .collect();
    assert!(started[0]);
    assert!(started[1..].iter().all(|first| !first), "{started:?}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_knows_too_little_begins_anew() {
    let server = server();
    let api = config_maps(&server.client("test"));
    make(&api, "a").await;
    make(&api, "b").await;
    let mut events = followed(&server, config());
    assert_eq!(heard(&mut events).await, ["init", "there a", "there b", "done"]);
    server.cut_watches(Cut::Ended, |_| true);
    api.delete("a", &DeleteParams::default()).await.unwrap();
    server.compact();
    assert_eq!(heard(&mut events).await, ["error 410", "init", "there b", "done"]);
    make(&api, "c").await;
    assert_eq!(heard(&mut events).await, ["put c"]);
}

#[tokio::test(start_paused = true)]
async fn a_version_is_known_for_five_minutes_of_writes() {
    let server = server();
    let api = config_maps(&server.client("test"));
    make(&api, "a").await;
    let version = server.version().to_string();
    for name in ["b", "c", "d"] {
        tokio::time::sleep(Duration::from_secs(200)).await;
        make(&api, name).await;
    }
    let first = async |version: &str| {
        let events = api.watch(&WatchParams::default(), version).await.unwrap();
        events.boxed().next().await.unwrap().unwrap()
    };
    // What "b" made old was known until "d" was made.
    let told = first(&version).await;
    assert!(matches!(&told, WatchEvent::Error(status) if status.code == 410 && status.reason == "Expired"));
    let version = (version.parse::<u64>().unwrap() + 1).to_string();
    let told = first(&version).await;
    assert!(matches!(&told, WatchEvent::Added(object) if object.name_any() == "c"));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_falls_silent_is_given_up_by_the_client() {
    let server = server();
    let api = config_maps(&server.client("test"));
    let mut events = followed(&server, config());
    assert_eq!(heard(&mut events).await, ["init", "done"]);
    server.cut_watches(Cut::Silent, |_| true);
    make(&api, "a").await;
    let begun = Instant::now();
    let told = timeout(Duration::from_secs(2 * 45 * 60), events.next()).await;
    assert_eq!(said(told.unwrap().unwrap()), "put a");
    // It had waited for a second before.
    assert_eq!(begun.elapsed().as_secs(), 45 * 60 + 5 - 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_selected_no_more_is_gone() {
    let server = server();
    let api = config_maps(&server.client("test"));
    let mut labelled = config_map("a", json!({}));
    labelled.metadata.labels = Some(BTreeMap::from([("l".to_owned(), "x".to_owned())]));
    api.create(&PostParams::default(), &labelled).await.unwrap();
    make(&api, "b").await;
    let mut events = followed(&server, config().labels("l=x"));
    assert_eq!(heard(&mut events).await, ["init", "there a", "done"]);
    let label = |value: Option<&str>| Patch::Merge(json!({"metadata": {"labels": {"l": value}}}));
    api.patch("a", &PatchParams::default(), &label(None))
        .await
        .unwrap();
    api.patch("b", &PatchParams::default(), &label(Some("x")))
        .await
        .unwrap();
    api.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(heard(&mut events).await, ["gone a", "put b"]);
    let mut one = followed(&server, config().fields("metadata.name=c"));
    assert_eq!(heard(&mut one).await, ["init", "done"]);
    make(&api, "c").await;
    assert_eq!(heard(&mut one).await, ["put c"]);
}

#[tokio::test(start_paused = true)]
async fn versions_of_events_rise_also_at_an_end() {
    let server = server();
    let api = config_maps(&server.client("test"));
    make(&api, "a").await;
    let mut events = api.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    api.delete("a", &DeleteParams::default()).await.unwrap();
    let mut versions = Vec::new();
    for _ in 0..2 {
        let object = match events.next().await.unwrap().unwrap() {
            WatchEvent::Added(object) | WatchEvent::Deleted(object) => object,
            other => panic!("{other:?}"),
        };
        versions.push(object.resource_version().unwrap().parse::<u64>().unwrap());
    }
    assert!(versions[0] < versions[1], "{versions:?}");
    assert_eq!(versions[1], server.version());
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_when_its_time_is_over() {
    let server = server();
    let api = config_maps(&server.client("test"));
    let params = WatchParams::default().timeout(150);
    let begun = Instant::now();
    let events = api.watch(&params, "0").await.unwrap();
    let events: Vec<_> = events.boxed().collect().await;
    assert_eq!(begun.elapsed().as_secs(), 150);
    assert_eq!(events.len(), 2, "a bookmark a minute");
}

/// A watch hears of everything late.
struct Lagging(Duration);

impl Faults for Lagging {
    fn fate(&mut self, _: &Call, _: jiff::Timestamp) -> Fate {
        Fate::default()
    }
    fn lag(&mut self, _: &Call, _: jiff::Timestamp) -> Duration {
        std::mem::take(&mut self.0)
    }
}

#[tokio::test(start_paused = true)]
async fn what_lags_comes_late_and_in_order() {
    let server = server();
    let api = config_maps(&server.client("test"));
    let mut events = followed(&server, config());
    assert_eq!(heard(&mut events).await, ["init", "done"]);
    server.set_faults(Lagging(Duration::from_secs(600)));
    make(&api, "a").await;
    make(&api, "b").await;
    assert!(heard(&mut events).await.is_empty());
    tokio::time::sleep(Duration::from_secs(598)).await;
    assert_eq!(heard(&mut events).await, ["put a", "put b"]);
    // What was on its way when the watch ended comes when it is back.
    server.set_faults(Lagging(Duration::from_secs(120)));
    make(&api, "c").await;
    tokio::time::sleep(Duration::from_secs(90)).await;
    server.cut_watches(Cut::Ended, |_| true);
    assert_eq!(heard(&mut events).await, ["put c"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_shown_the_past_hears_of_the_present() {
    let server = server();
    let api = config_maps(&server.client("test"));
    make(&api, "a").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    api.delete("a", &DeleteParams::default()).await.unwrap();
    make(&api, "b").await;
    server.set_faults(|call: &Call| Fate {
        stale_by: Duration::from_secs(if call.resumes { 0 } else { 30 }),
        ..Fate::default()
    });
    let mut events = followed(&server, config());
    let all = heard(&mut events).await;
    assert_eq!(all, ["init", "there a", "done", "gone a", "put b"]);
}
