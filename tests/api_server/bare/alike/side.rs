//! One of the two servers, and what it said so far.

use std::{collections::BTreeMap, time::Duration};

use kube::Client;
use serde_json::{Value, json};
use tokio::time;
use tray_testkit::{
    cluster::ApiServer,
    likeness::{Asked, Detail, Lines, Reader},
};

use super::calls::{Does, LAST, Step};

/// How long a watch may take to tell of a write.
const PATIENCE: Duration = Duration::from_secs(30);
/// What stands for an object that was never there.
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

/// Every UID and version that an object had, in order.
#[derive(Default)]
struct Known {
    uids: Vec<String>,
    versions: Vec<String>,
}

pub(super) struct Side {
    client: Client,
    /// It itself; none = it is a real one.
    in_memory: Option<ApiServer>,
    reader: Reader,
    known: BTreeMap<String, Known>,
    /// Version of the first object.
    first: String,
    watches: Vec<Lines>,
}

impl Side {
    pub(super) fn real(client: Client) -> Self {
        Self::new(client, None)
    }

    pub(super) fn in_memory(server: ApiServer) -> Self {
        Self::new(server.client("test"), Some(server))
    }

    fn new(client: Client, in_memory: Option<ApiServer>) -> Self {
        Self {
            client,
            in_memory,
            reader: Reader::new(Detail::Full),
            known: BTreeMap::new(),
            first: String::new(),
            watches: Vec::new(),
        }
    }

    /// Does a step: what of the answer has to be alike.
    pub(super) async fn take(&mut self, step: &Step) -> Value {
        match &step.does {
            Does::Call(asked) => {
                let asked = self.resolved(asked, &step.about);
                let (code, text) = asked.send(&self.client).await.unwrap();
                self.hear(&asked, &text);
                self.reader.answer(&asked, code, &text)
            }
            Does::Watch(asked) => {
                let asked = self.resolved(asked, &step.about);
                let (code, lines) = asked.begin(&self.client).await.unwrap();
                if code == 200 {
                    self.watches.push(lines);
                }
                json!({"code": code})
            }
            Does::LetGo(namespace) => self.let_go(namespace).await,
        }
    }

    /// What each watch told, up to the last object.
    pub(super) async fn told(&mut self) -> Vec<Vec<Value>> {
        let mut all = Vec::new();
        for mut watch in std::mem::take(&mut self.watches) {
            let mut told = Vec::new();
            loop {
                let line = time::timeout(PATIENCE, watch.next()).await;
                let Ok(line) = line else {
                    told.push("nothing more, and not the last object".into());
                    break;
                };
                let Some(line) = line.unwrap() else { break };
                told.extend(self.reader.event(&line));
                if line.contains(&format!("{LAST}\"")) {
                    break;
                }
            }
            all.push(told);
        }
        all
    }

    fn resolved(&self, asked: &Asked, about: &str) -> Asked {
        let nothing = Known::default();
        let known = self.known.get(about).unwrap_or(&nothing);
        let or = |text: Option<&String>, other: &str| text.map_or(other, String::as_str).to_owned();
        let last_version = or(known.versions.last(), &self.first);
        let words = [
            ("$old-uid", or(known.uids.first(), NOBODY)),
            ("$uid", or(known.uids.last(), NOBODY)),
            ("$old-version", or(known.versions.first(), &self.first)),
            ("$version", last_version),
        ];
        let resolve = |text: &str| {
            let replace = |text: String, (word, meant): &(&str, String)| text.replace(word, meant);
            words.iter().fold(text.to_owned(), replace)
        };
        Asked {
            path: resolve(&asked.path),
            body: resolve(&asked.body),
            ..asked.clone()
        }
    }

    fn hear(&mut self, asked: &Asked, text: &str) {
        let answer: Value = serde_json::from_str(text).unwrap_or_default();
        let metadata = &answer["metadata"];
        let (Some(uid), Some(version)) = (metadata["uid"].as_str(), metadata["resourceVersion"].as_str())
        else {
            return;
        };
        if asked.of_metadata {
            return;
        }
        if self.first.is_empty() {
            version.clone_into(&mut self.first);
        }
        let kind = answer["kind"].as_str().unwrap_or_default();
        let name = metadata["name"].as_str().unwrap_or_default();
        let about = match metadata["namespace"].as_str() {
            Some(namespace) => format!("{kind} {namespace}/{name}"),
            None => format!("{kind} {name}"),
        };
        let known = self.known.entry(about).or_default();
        for (all, new) in [(&mut known.uids, uid), (&mut known.versions, version)] {
            if all.last().is_none_or(|last| last != new) {
                all.push(new.to_owned());
            }
        }
    }

    /// Takes Kubernetes' own hold off a namespace that goes. Says whether it is gone.
    async fn let_go(&mut self, namespace: &str) -> Value {
        let place = format!("/api/v1/namespaces/{namespace}");
        let look = Asked::get(place.clone());
        let (code, text) = look.send(&self.client).await.unwrap();
        let present: Value = serde_json::from_str(&text).unwrap();
        if code != 200 || present["metadata"]["deletionTimestamp"].is_null() {
            return json!({"code": code, "goes": false});
        }
        if let Some(server) = &self.in_memory {
            server.finalize_namespace(namespace).unwrap();
        } else {
            let finalize = Asked {
                method: "PUT".to_owned(),
                path: format!("{place}/finalize"),
                content_type: "application/json".to_owned(),
                body: json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}, "spec": {}})
                    .to_string(),
                ..Asked::default()
            };
            let (code, text) = finalize.send(&self.client).await.unwrap();
            assert_eq!(code, 200, "{text}");
        }
        let (code, _) = look.send(&self.client).await.unwrap();
        json!({"code": code})
    }
}
