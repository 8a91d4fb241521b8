//! The API server in memory is held to this one: sequences of the operator's calls, out of seeds, are made on both, and every
//! answer and every event has to be alike ([`tray_testkit::likeness`]).
//!
//! `TRAY_ALIKE_SEED=NUMBER` makes another sequence instead.

mod calls;
mod random;
mod samples;
mod side;

use std::{collections::BTreeSet, sync::Arc};

use futures::future;
use kube::Client;
use serde_json::Value;
use tray_api::crds::all_crds;
use tray_testkit::{
    clock::RuntimeClock,
    cluster::{ApiServer, ServedKind, of_kubernetes},
    likeness::difference,
};

use self::{
    calls::{Does, Step},
    side::Side,
};
use super::support::{api_server, tools};

/// Two kinds of each are others than its neighbours'.
const SEEDS: [u64; 6] = [1, 2, 3, 4, 5, 6];
/// Calls of a sequence.
const LENGTH: usize = 240;

/// What is looked at least once, or the sequences are no test: code and reason of an answer, or an event.
const SEEN: [&str; 17] = [
    "200",
    "201",
    "400 BadRequest",
    "403 Forbidden",
    "404",
    "404 NotFound",
    "405 MethodNotAllowed",
    "409 AlreadyExists",
    "409 Conflict",
    "409 Conflict FieldManagerConflict",
    "415 UnsupportedMediaType",
    "422 Invalid",
    "ADDED",
    "BOOKMARK",
    "DELETED",
    "MODIFIED",
    "200 Success",
];

#[tokio::test]
async fn made_up_calls_are_answered_alike_in_memory() {
    let client = api_server::shared().await.client().await;
    for crd in all_crds() {
        api_server::apply(&client, &serde_json::to_value(crd).unwrap()).await;
    }
    let asked = tools::variable("TRAY_ALIKE_SEED").and_then(|seed| seed.to_str()?.parse().ok());
    let seeds = asked.map_or(SEEDS.to_vec(), |seed| vec![seed]);
    let all = future::join_all(seeds.iter().map(|seed| run(*seed, client.clone()))).await;
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for (found, differs) in all {
        seen.extend(found);
        wrong.extend(differs);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    if asked.is_none() {
        let missed: Vec<&str> = SEEN
            .into_iter()
            .filter(|wanted| !seen.contains(*wanted))
            .collect();
        assert!(missed.is_empty(), "never seen: {missed:?} in {seen:?}");
    }
}

fn in_memory() -> ApiServer {
    let ours = all_crds();
    let ours = ours.iter().filter_map(ServedKind::of_crd);
    let clock = RuntimeClock::from("2026-01-01T00:00:00Z".parse().unwrap());
    let mut random = 0_u64;
    let random = move || {
        random += 1;
        random.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    };
    ApiServer::new(of_kubernetes().into_iter().chain(ours), Arc::new(clock), random)
}

/// Makes a sequence on both servers: what was seen, and where they differ first.
async fn run(seed: u64, client: Client) -> (BTreeSet<String>, Option<String>) {
    let sequence = calls::sequence(seed, &format!("alike-{seed}"), LENGTH);
    let (mut real, mut other) = (Side::real(client), Side::in_memory(in_memory()));
    let mut seen = BTreeSet::new();
    let steps: Vec<&Step> = sequence.steps.iter().chain(&sequence.last).collect();
    for (at, step) in steps.iter().enumerate() {
        let (one, two) = (real.take(step).await, other.take(step).await);
        note(&one, &mut seen);
        if let Some(difference) = difference(&one, &two) {
            let before = in_words(&steps[..at], &step.about);
            let what = words(step);
            let said = format!(
                "seed {seed}, step {at}: {what}\n  real:      {one}\n  in memory: {two}\n  differ at {difference}\n\
                 before it:\n{before}"
            );
            return (seen, Some(said));
        }
    }
    let (ones, twos) = (real.told().await, other.told().await);
    let watches = steps.iter().filter(|step| matches!(step.does, Does::Watch(_)));
    for ((one, two), step) in ones.iter().zip(&twos).zip(watches) {
        seen.extend(
            one.iter()
                .filter_map(|event| event[0].as_str().map(str::to_owned)),
        );
        let (one, two) = (Value::from(one.clone()), Value::from(two.clone()));
        if let Some(difference) = difference(&one, &two) {
            let what = words(step);
            let said = format!(
                "seed {seed}: {what}\n  real:      {one}\n  in memory: {two}\n  differ at {difference}"
            );
            return (seen, Some(said));
        }
    }
    (seen, None)
}

fn note(answer: &Value, seen: &mut BTreeSet<String>) {
    let code = answer["code"].to_string();
    let reason = answer["reason"].as_str().or(answer["status"].as_str());
    let noted = reason.map_or(code.clone(), |reason| format!("{code} {reason}"));
    let causes = answer["details"]["causes"].as_array().into_iter().flatten();
    seen.extend(causes.filter_map(|cause| Some(format!("{noted} {}", cause[0].as_str()?))));
    seen.insert(noted);
}

/// The steps that are about an object.
fn in_words(steps: &[&Step], about: &str) -> String {
    let same = steps.iter().enumerate().filter(|(_, step)| step.about == about);
    let mut lines: Vec<String> = same
        .map(|(at, step)| format!("  {at}: {}", words(step)))
        .collect();
    lines.drain(..lines.len().saturating_sub(12));
    lines.join("\n")
}

fn words(step: &Step) -> String {
    match &step.does {
        Does::Call(asked) | Does::Watch(asked) => {
            format!(
                "{} {} {} {}",
                asked.method, asked.path, asked.content_type, asked.body
            )
        }
        Does::LetGo(namespace) => format!("let namespace {namespace} go"),
    }
}
