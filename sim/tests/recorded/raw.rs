//! What was written down between clients and a real API server, made into a recording: without what the server in memory
//! leaves out, and without reads that show nothing new.

use std::collections::BTreeMap;

use serde_json::Value;
use tray_testkit::{
    cluster::{ServedKind, Trait},
    likeness::{Asked, Detail, Exchange, Reader, Recording, Sort},
};

/// Puts together the recording of that name.
pub(super) fn recording(name: &str, text: &str, kinds: &[ServedKind]) -> Recording {
    let mut reader = Reader::new(Detail::Brief);
    let mut exchanges: Vec<Exchange> = Vec::new();
    let mut watches: BTreeMap<u64, (usize, Vec<String>)> = BTreeMap::new();
    let mut last: BTreeMap<String, Value> = BTreeMap::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if let Some(watch) = line["of"].as_u64() {
            if let Some((_, events)) = watches.get_mut(&watch) {
                events.push(line["event"].as_str().unwrap().to_owned());
            }
            continue;
        }
        if !is_meant(&line, kinds) {
            continue;
        }
        let mut asked = asked(&line);
        name_what_is_known(&mut asked, &mut reader);
        if let Some(watch) = line["watch"].as_u64() {
            watches.insert(watch, (exchanges.len(), Vec::new()));
            exchanges.push(Exchange {
                asked,
                answer: Value::Null,
                told: Vec::new(),
            });
            continue;
        }
        let code = u16::try_from(line["code"].as_u64().unwrap()).unwrap();
        let answer = reader.answer(&asked, code, line["answer"].as_str().unwrap());
        if asked.method == "GET" && last.insert(asked.path.clone(), answer.clone()).as_ref() == Some(&answer)
        {
            continue;
        }
        exchanges.push(Exchange {
            asked,
            answer,
            told: Vec::new(),
        });
    }
    for (at, events) in watches.into_values() {
        exchanges[at].told = events.iter().filter_map(|line| reader.event(line)).collect();
    }
    Recording {
        about: format!("What a real API server answered the tests of `{name}`. Written by `make record`."),
        exchanges,
    }
}

/// Whether the server in memory is for such a request: it knows the kind, and has neither schemas nor policies nor dry runs.
fn is_meant(line: &Value, kinds: &[ServedKind]) -> bool {
    let path = line["path"].as_str().unwrap();
    let mut parts: Vec<&str> = path.split(['/', '?']).filter(|part| !part.is_empty()).collect();
    let is_core = parts.first() == Some(&"api");
    let start = if is_core { 2 } else { 3 };
    if parts.len() <= start
        || !matches!(parts[0], "api" | "apis")
        || path.contains("dryRun")
        || path.contains("continue=")
    {
        return false;
    }
    let group = if is_core { "" } else { parts[1] };
    parts.drain(..start);
    if parts[0] == "namespaces" && parts.len() > 2 && !matches!(parts[2], "status" | "finalize") {
        parts.drain(..2);
    }
    let kind = kinds
        .iter()
        .find(|kind| kind.group == group && kind.plural == parts[0]);
    let subresource = parts.get(2).filter(|part| !part.contains('='));
    let Some(kind) = kind.filter(|kind| kind.kind != "CustomResourceDefinition") else {
        return false;
    };
    if subresource.is_some_and(|part| *part != "status" || !kind.is(Trait::Status)) {
        return false;
    }
    let answer: Value = serde_json::from_str(line["answer"].as_str().unwrap_or_default()).unwrap_or_default();
    let causes = answer["details"]["causes"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let all = |reason: &str| !causes.is_empty() && causes.iter().all(|cause| cause["reason"] == reason);
    match line["code"].as_u64() {
        Some(403) => all("NamespaceTerminating"),
        Some(422) => all("FieldValueForbidden"),
        Some(code) => code < 429,
        None => false,
    }
}

fn asked(line: &Value) -> Asked {
    let text = |field: &str| line[field].as_str().unwrap().to_owned();
    Asked {
        method: text("method"),
        path: text("path"),
        content_type: text("type"),
        of_metadata: text("accept").contains("as=PartialObjectMetadata"),
        body: text("body"),
    }
}

/// Puts names for what a server said before.
fn name_what_is_known(asked: &mut Asked, reader: &mut Reader) {
    if let Ok(mut body) = serde_json::from_str::<Value>(&asked.body) {
        reader.names.put_into(&mut body);
        asked.body = body.to_string();
    }
    let Some((place, query)) = asked.path.split_once('?') else {
        return;
    };
    let terms: Vec<String> = query
        .split('&')
        .filter(|term| !term.is_empty())
        .map(|term| match term.split_once('=') {
            Some(("resourceVersion", version)) => {
                let known = reader.names.known(Sort::Version, version);
                format!("resourceVersion={}", known.as_deref().unwrap_or(version))
            }
            _ => term.to_owned(),
        })
        .collect();
    asked.path = if terms.is_empty() {
        place.to_owned()
    } else {
        format!("{place}?{}", terms.join("&"))
    };
}
