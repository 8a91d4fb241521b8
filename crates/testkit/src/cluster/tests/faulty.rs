//! What goes wrong on the way.

use std::{collections::BTreeMap, time::Duration};

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    ResourceExt,
    api::{DeleteParams, PostParams},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::{config_map, config_maps, refused, server};
use crate::cluster::{Call, Cut, Fate, Outcome, Verb, busy};

fn on(verb: Verb, outcome: Outcome) -> impl FnMut(&Call) -> Fate {
    let mut outcome = Some(outcome);
    move |call| {
        let outcome = if call.verb == verb { outcome.take() } else { None };
        Fate::of(outcome.unwrap_or_default())
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_when_to_come_back() {
    let server = server();
    let api = config_maps(&server.client("operator"));
    for code in [429, 503] {
        let refusal = Outcome::Refused(busy(code, Some(3)));
        server.set_faults(on(Verb::Create, refusal));
        let made = config_map("a", json!({}));
        let status = refused(api.create(&PostParams::default(), &made).await);
        assert_eq!(status.code, code);
        assert_eq!(status.details.unwrap().retry_after_seconds, 3);
    }
    assert!(server.all("configmaps").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_connection_breaks_before_or_after_it_is_done() {
    let server = server();
    let api = config_maps(&server.client("operator"));
    let made = config_map("a", json!({}));
    server.set_faults(on(Verb::Create, Outcome::Dropped));
    let error = api.create(&PostParams::default(), &made).await.unwrap_err();
    assert!(matches!(error, kube::Error::Service(_)), "{error:?}");
    assert!(server.all("configmaps").is_empty());
    server.set_faults(on(Verb::Create, Outcome::AnswerLost));
    let error = api.create(&PostParams::default(), &made).await.unwrap_err();
    assert!(matches!(error, kube::Error::Service(_)), "{error:?}");
    let again = refused(api.create(&PostParams::default(), &made).await);
    assert!(again.is_already_exists());
    let told: Vec<_> = server
        .trace()
        .iter()
        .map(|asked| (asked.code, asked.lost))
        .collect();
    assert_eq!(told, [(0, false), (201, true), (409, false)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_late_is_done_late() {
    let server = server();
    let api = config_maps(&server.client("operator"));
    server.set_faults(|call: &Call| match call.verb {
        Verb::Create => Fate {
            before: Duration::from_secs(2),
            after: Duration::from_secs(3),
            ..Fate::default()
        },
        _ => Fate::default(),
    });
    let begun = Instant::now();
    let made = api
        .create(&PostParams::default(), &config_map("a", json!({})))
        .await
        .unwrap();
    assert_eq!(begun.elapsed().as_secs(), 5);
    let at = made.metadata.creation_timestamp.unwrap().0.to_string();
    assert_eq!(at, "2026-01-01T00:00:02Z");
    server.set_faults(on(Verb::Get, Outcome::Unanswered));
    assert!(timeout(Duration::from_secs(3600), api.get("a")).await.is_err());
}

/// Takes in what a watch shows, until it says nothing for a while.
async fn learn(
    events: &mut (impl Stream<Item = Result<Event<ConfigMap>, watcher::Error>> + Unpin),
    known: &mut BTreeMap<String, ConfigMap>,
    quiet: Duration,
) {
    while let Ok(Some(event)) = timeout(quiet, events.next()).await {
        match event {
            Ok(Event::Init) => known.clear(),
            Ok(Event::InitApply(object) | Event::Apply(object)) => {
                known.insert(object.name_any(), object);
            }
            Ok(Event::Delete(object)) => drop(known.remove(&object.name_any())),
            Ok(Event::InitDone) | Err(_) => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_disturbed_misses_nothing() {
    let server = server();
    let api = config_maps(&server.client("test"));
    let mut count = 0;
    server.set_faults(move |call: &Call| {
        if call.verb != Verb::Watch {
            return Fate::default();
        }
        count += 1;
        Fate {
            outcome: match count % 5 {
                1 => Outcome::Refused(busy(503, None)),
                2 => Outcome::Dropped,
                3 => Outcome::Expired,
                _ => Outcome::Done,
            },
            cut: Some((
                Duration::from_secs(7),
                [Cut::Ended, Cut::Broken][usize::from(count % 2 == 0)],
            )),
            ..Fate::default()
        }
    });
    let config = watcher::Config::default().streaming_lists().timeout(45 * 60);
    let mut events = watcher(config_maps(&server.client("operator")), config)
        .default_backoff()
        .boxed();
    let mut known = BTreeMap::new();
    for round in 0..40 {
        let name = format!("n{}", round % 7);
        let made = config_map(&name, json!({"round": round.to_string()}));
        if api.get_opt(&name).await.unwrap().is_some() {
            api.delete(&name, &DeleteParams::default()).await.unwrap();
        } else {
            api.create(&PostParams::default(), &made).await.unwrap();
        }
        learn(&mut events, &mut known, Duration::from_secs(3)).await;
    }
    server.set_faults(|_: &Call| Fate::default());
    learn(&mut events, &mut known, Duration::from_secs(90)).await;
    let there: Vec<String> = server
        .all("configmaps")
        .iter()
        .map(|object| object["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(known.keys().cloned().collect::<Vec<_>>(), there);
    assert!(!there.is_empty());
}
