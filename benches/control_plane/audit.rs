//! The API server's audit log: who asked for what, and when.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom},
    path::PathBuf,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::Deserialize;

/// A request that ended.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request {
    pub verb: String,
    user: User,
    object_ref: Option<ObjectRef>,
    #[serde(rename = "requestReceivedTimestamp")]
    pub began: Timestamp,
    #[serde(rename = "stageTimestamp")]
    pub ended: Timestamp,
    response_status: Option<ResponseStatus>,
}

#[derive(Clone, Debug, Deserialize)]
struct User {
    username: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct ObjectRef {
    #[serde(default)]
    resource: String,
    #[serde(default)]
    namespace: String,
    subresource: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct ResponseStatus {
    code: u16,
}

impl Request {
    /// `pods`, `pods/exec`.
    pub(crate) fn resource(&self) -> String {
        let Some(object) = &self.object_ref else {
            return "other".to_owned();
        };
        match &object.subresource {
            Some(subresource) => format!("{}/{subresource}", object.resource),
            None => object.resource.clone(),
        }
    }
    pub(crate) fn namespace(&self) -> &str {
        self.object_ref.as_ref().map_or("", |object| &object.namespace)
    }
    pub(crate) fn is(&self, verb: &str, resource: &str) -> bool {
        self.verb == verb && self.resource() == resource
    }
    /// The election's: they are made whatever happens, and are counted while nothing does.
    pub(crate) fn is_of_a_lease(&self) -> bool {
        self.resource() == "leases"
    }
    pub(crate) fn succeeded(&self) -> bool {
        self.response_status
            .as_ref()
            .is_some_and(|status| status.code < 300)
    }
}

/// What one user asked from a moment on.
pub(crate) struct Requests {
    path: PathBuf,
    user: &'static str,
    offset: u64,
    pub all: Vec<Request>,
}

impl Requests {
    /// From now on.
    pub(crate) fn of(user: &'static str, path: PathBuf) -> Self {
        let offset = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        Self {
            path,
            user,
            offset,
            all: Vec::new(),
        }
    }

    /// Takes in what ended meanwhile.
    pub(crate) fn read(&mut self) -> &[Request] {
        let mut file = File::open(&self.path).unwrap();
        file.seek(SeekFrom::Start(self.offset)).unwrap();
        let mut reader = BufReader::new(file);
        let mut line = String::new();
        // The API server may be in the middle of the last line.
        while reader.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
            self.offset += line.len() as u64;
            if let Ok(request) = serde_json::from_str::<Request>(&line)
                && request.user.username == self.user
            {
                self.all.push(request);
            }
            line.clear();
        }
        &self.all
    }

    /// Reads until `enough`.
    pub(crate) async fn until(&mut self, what: &str, enough: impl Fn(&[Request]) -> bool) {
        let began = Instant::now();
        while !enough(self.read()) {
            assert!(
                began.elapsed() < Duration::from_secs(1_800),
                "waiting for {what}; so far: {:?}",
                self.counts()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// How many of each verb and resource.
    pub(crate) fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for request in &self.all {
            let key = format!("{} {}", request.verb, request.resource());
            *counts.entry(key).or_default() += 1;
        }
        counts
    }

    /// How many with one of these verbs, but for Leases.
    pub(crate) fn number(&self, verbs: &[&str]) -> usize {
        self.all
            .iter()
            .filter(|request| verbs.contains(&request.verb.as_str()) && !request.is_of_a_lease())
            .count()
    }
}

/// Verbs that change something.
pub(crate) const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];
