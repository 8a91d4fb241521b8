//! What a real API server answered the tests of the controllers, asked of the one in memory: the files beside this one, which
//! `make record` writes anew.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy knows test functions, not what they call"
)]

mod raw;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::FutureExt;
use kube::Client;
use tray_api::crds::all_crds;
use tray_testkit::{
    clock::RuntimeClock,
    cluster::{ApiServer, ServedKind, of_kubernetes},
    likeness::{Asked, Detail, Exchange, Lines, Reader, Recording, difference},
};

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "recorded"].iter().collect()
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

/// What the server in memory serves in every simulation.
fn kinds() -> Vec<ServedKind> {
    let ours = all_crds();
    let ours = ours.iter().filter_map(ServedKind::of_crd);
    of_kubernetes().into_iter().chain(ours).collect()
}

/// A request that was sent again.
struct Repeated<'a> {
    exchange: &'a Exchange,
    /// What a watch tells, and how the request said it.
    watch: Option<(Asked, Lines)>,
}

/// Asks again, and says what is answered otherwise.
async fn differences(recording: &Recording) -> Vec<String> {
    let clock = RuntimeClock::from("2026-01-01T00:00:00Z".parse().unwrap());
    let mut count = 0_u64;
    let random = move || {
        count += 1;
        count.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    };
    let server = ApiServer::new(kinds(), Arc::new(clock), random);
    let client = server.client("recorded");
    let mut reader = Reader::new(Detail::Brief);
    let (mut repeated, mut found) = (Vec::new(), Vec::new());
    for exchange in &recording.exchanges {
        let (again, difference) = repeat(exchange, &client, &mut reader).await;
        found.extend(difference.map(|difference| said(exchange, &difference)));
        repeated.push(again);
    }
    for Repeated { exchange, watch } in repeated {
        let Some((_, mut lines)) = watch else { continue };
        let mut told = Vec::new();
        // All that it has to tell is there. How long it was followed is not known: it may have more to tell than it had.
        while told.len() < exchange.told.len()
            && let Some(Ok(Some(line))) = lines.next().now_or_never()
        {
            told.extend(reader.event(&line));
        }
        let difference = difference(&exchange.told.clone().into(), &told.into());
        found.extend(difference.map(|difference| said(exchange, &difference)));
    }
    found
}

async fn repeat<'a>(
    exchange: &'a Exchange,
    client: &Client,
    reader: &mut Reader,
) -> (Repeated<'a>, Option<String>) {
    let asked = Asked {
        path: reader.names.resolved(&exchange.asked.path),
        body: reader.names.resolved(&exchange.asked.body),
        ..exchange.asked.clone()
    };
    if asked.is_watch() {
        let (code, lines) = asked.begin(client).await.unwrap();
        let difference = (code != 200).then(|| format!("200 and {code}"));
        let watch = Some((asked, lines));
        return (Repeated { exchange, watch }, difference);
    }
    let (code, text) = asked.send(client).await.unwrap();
    let difference = difference(&exchange.answer, &reader.answer(&asked, code, &text));
    let watch = None;
    (Repeated { exchange, watch }, difference)
}

fn said(exchange: &Exchange, difference: &str) -> String {
    let asked = &exchange.asked;
    format!(
        "{} {} {}\n  the real one and the other: {difference}",
        asked.method, asked.path, asked.body
    )
}

#[tokio::test(start_paused = true)]
async fn what_a_real_server_answered_is_answered_in_memory() {
    let files = files(&folder(), "txt");
    assert!(!files.is_empty());
    for file in files {
        let recording = Recording::read(&fs::read_to_string(&file).unwrap()).unwrap();
        let name = file.file_name().unwrap().display();
        assert!(recording.exchanges.len() > 20, "{name} says little");
        let found = differences(&recording).await;
        let shown = &found[..found.len().min(10)];
        assert!(
            found.is_empty(),
            "{name}: {} of {} answers are others:\n{}",
            found.len(),
            recording.exchanges.len(),
            shown.join("\n")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn another_answer_is_noticed() {
    let mut recording = Recording::read(
        "POST /api/v1/namespaces/default/configmaps application/json\n\
         {\"metadata\":{\"name\":\"a\"},\"data\":{\"k\":\"v\"}}\n\
         = {\"code\":201,\"metadata\":{\"name\":\"a\",\"namespace\":\"default\",\"uid\":\"<uid:1>\",\
         \"version\":\"<version:1>\",\"owners\":[\"unknown Update\"]},\"said\":{\"data\":{\"k\":\"v\"}}}\n\n\
         GET /api/v1/configmaps?watch=true&resourceVersion=0\n\
         + [\"ADDED\",\"default/a\",\"<version:1>\"]",
    )
    .unwrap();
    assert_eq!(differences(&recording).await, [""; 0]);
    recording.exchanges[0].answer["said"]["data"]["k"] = "w".into();
    recording.exchanges[1].told.push("more".into());
    assert_eq!(differences(&recording).await.len(), 2);
}

/// Writes the files anew out of what was recorded: `make record` does it.
#[test]
#[ignore = "writes files"]
fn regenerate() {
    let tmp: PathBuf = [env!("CARGO_TARGET_TMPDIR"), "recordings"].iter().collect();
    for file in files(&tmp, "jsonl") {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let recording = raw::recording(name, &text, &kinds());
        let file = folder().join(name).with_extension("txt");
        fs::write(file, recording.text()).unwrap();
    }
}
