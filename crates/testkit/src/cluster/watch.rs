//! A watch: what there is, then every change, in order, until its time is over or it is cut off.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::Stream;
use jiff::{SignedDuration, Timestamp};
use kube::core::Status;
use serde_json::{Value, json};
use tokio::{sync::Notify, time::Instant};

use super::{
    failure,
    faults::{Cut, Fate, Outcome},
    kinds::ServedKind,
    listeners::{ListenerId, Next},
    object::Stored,
    request::Request,
    selector::Filter,
    state::State,
    store::Written,
};

/// How long a watch goes on that does not say how long.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// How often watches speak, and how long they last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How often a watch that has nothing to tell says up to where it has told all.
    pub bookmarks: Duration,
    /// How long a watch lasts at least, whatever it was asked for: a simulated year need not begin them anew each hour.
    pub at_least: Duration,
}

impl Default for Pace {
    /// As a real server's.
    fn default() -> Self {
        Self {
            bookmarks: Duration::from_secs(60),
            at_least: Duration::ZERO,
        }
    }
}

/// A watch that is open. It is forgotten when it is dropped.
pub(super) struct Watch {
    state: Arc<Mutex<State>>,
    id: ListenerId,
    woken: Arc<Notify>,
    kind: Arc<ServedKind>,
    filter: Filter,
    about_metadata: bool,
    with_owners: bool,
    /// What is to be sent first.
    lines: VecDeque<Bytes>,
    /// Version up to which all has been told.
    told: u64,
    bookmark_at: Option<Instant>,
    pace: Pace,
    ends_at: Instant,
    cut: Option<(Instant, Cut)>,
    is_over: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.listeners.leave(self.id);
    }
}

/// Begins a watch. One that reads on from a version that is no longer known says so, and ends.
pub(super) fn begin(
    shared: &Arc<Mutex<State>>,
    state: &mut State,
    kind: Arc<ServedKind>,
    request: &Request,
    fate: &Fate,
) -> Result<Watch, Box<Status>> {
    let resource = kind.resource();
    let filter = Filter::of(
        Some(request.call.namespace.as_str()).filter(|namespace| !namespace.is_empty()),
        request.query("labelSelector"),
        request.query("fieldSelector"),
    )?;
    let with_bookmarks = request.query("allowWatchBookmarks") == Some("true");
    let sends_all = request.query("sendInitialEvents") == Some("true");
    if sends_all && !with_bookmarks {
        return Err(failure::bad_request(
            "sendInitialEvents needs allowWatchBookmarks",
        ));
    }
    let asked = request.query("resourceVersion").unwrap_or_default();
    let asked: u64 = match asked {
        "" => 0,
        asked => asked
            .parse()
            .map_err(|_| failure::bad_request(format!("invalid resource version: {asked}")))?,
    };
    let (id, woken) = state
        .listeners
        .join([resource.clone()], filter.clone(), Some(request.call.clone()));
    let now = Instant::now();
    let lifetime = request
        .query("timeoutSeconds")
        .and_then(|seconds| seconds.parse().ok());
    let lifetime = lifetime
        .filter(|seconds| *seconds > 0)
        .map_or(LIFETIME, Duration::from_secs)
        .max(state.pace.at_least);
    let mut watch = Watch {
        state: shared.clone(),
        id,
        woken,
        kind,
        filter,
        about_metadata: request.is_about_metadata(),
        with_owners: state.shows_owners,
        lines: VecDeque::new(),
        told: asked,
        bookmark_at: with_bookmarks.then(|| now + state.pace.bookmarks),
        pace: state.pace,
        ends_at: now + lifetime,
        cut: fate.cut.map(|(after, cut)| (now + after, cut)),
        is_over: false,
    };
    if request.call.resumes {
        let expires = matches!(fate.outcome, Outcome::Expired);
        match state.store.since(&resource, asked) {
            Ok(later) if !expires => watch.catch_up(state, &resource, later),
            since => {
                let oldest = since.err().unwrap_or_else(|| state.store.version());
                watch
                    .lines
                    .push_back(error_line(&failure::expired(asked, oldest)));
                watch.is_over = true;
            }
        }
        return Ok(watch);
    }
    let then = state
        .now()
        .saturating_sub(SignedDuration::try_from(fate.stale_by).unwrap_or_default());
    let version = match fate.stale_by {
        Duration::ZERO => state.store.version(),
        _ => state.store.version_at(&resource, then.unwrap_or(Timestamp::MIN)),
    };
    for stored in state.store.all_at(&resource, version).unwrap_or_default() {
        if watch.filter.selects(&stored.object) {
            watch.lines.push_back(watch.line("ADDED", &stored));
        }
    }
    watch.told = version;
    if sends_all {
        watch.lines.push_back(watch.bookmark(true));
    }
    let later = state.store.since(&resource, version).unwrap_or_default();
    watch.catch_up(state, &resource, later);
    Ok(watch)
}

impl Watch {
    /// As the lines of an answer's body.
    pub(super) fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        futures::stream::unfold(self, |mut watch| async move {
            let line = watch.next().await?;
            Some((line, watch))
        })
    }

    fn catch_up(&self, state: &mut State, resource: &str, later: Vec<Arc<Written>>) {
        state.listeners.catch_up(self.id, resource, later);
    }

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(Ok(line));
            }
            if self.is_over {
                return None;
            }
            let now = Instant::now();
            if let Some((_, cut)) = self.cut.filter(|(at, _)| *at <= now) {
                return self.end(cut).await;
            }
            if self.ends_at <= now {
                return None;
            }
            let next = self.state().listeners.next(self.id);
            let due = match next {
                Next::End(cut) => return self.end(cut).await,
                Next::Tell(told) => {
                    self.told = told.written.version;
                    if let Some(line) = self.event(&told.written) {
                        return Some(Ok(line));
                    }
                    continue;
                }
                Next::Wait(due) => due,
            };
            if self.bookmark_at.is_some_and(|at| at <= now) {
                self.bookmark_at = Some(now + self.pace.bookmarks);
                // What is on its way has not been told.
                if due.is_none() {
                    let version = self.state().store.version();
                    self.told = version;
                }
                return Some(Ok(self.bookmark(false)));
            }
            let times = [
                due,
                self.bookmark_at,
                Some(self.ends_at),
                self.cut.map(|(at, _)| at),
            ];
            let until = times.into_iter().flatten().min().unwrap_or(self.ends_at);
            let woken = self.woken.clone();
            // Either is a reason to look again.
            let _ = tokio::time::timeout_at(until, woken.notified()).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn end(&mut self, cut: Cut) -> Option<io::Result<Bytes>> {
        self.is_over = true;
        match cut {
            Cut::Ended => None,
            Cut::Broken => Some(Err(io::ErrorKind::ConnectionReset.into())),
            Cut::Silent => std::future::pending().await,
        }
    }

    /// What a write is to who sees only what the filter selects.
    fn event(&self, written: &Written) -> Option<Bytes> {
        let selects = |stored: &&Arc<Stored>| self.filter.selects(&stored.object);
        let old = written.old.as_ref().filter(selects);
        let new = written.new.as_ref().filter(selects);
        match (old, new, &written.last) {
            (None, Some(new), _) => Some(self.line("ADDED", new)),
            (Some(_), Some(new), _) => Some(self.line("MODIFIED", new)),
            (Some(_), None, Some(last)) => Some(self.line("DELETED", last)),
            // It is there, and selected no more: it is shown as it was, at the version of the change.
            (Some(old), None, None) => {
                let (mut last, owners) = (old.object.clone(), old.owners.clone());
                last["metadata"]["resourceVersion"] = json!(written.version.to_string());
                Some(self.line("DELETED", &Stored::new(last, owners)))
            }
            (None, None, _) => None,
        }
    }

    fn line(&self, event: &str, stored: &Stored) -> Bytes {
        if self.about_metadata {
            return line(event, &about_metadata(stored).to_string());
        }
        line(event, stored.text(self.with_owners))
    }

    fn bookmark(&self, ends_all: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": self.told.to_string(), "creationTimestamp": null});
        if ends_all {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object =
            json!({"kind": self.kind.kind, "apiVersion": self.kind.api_version(), "metadata": metadata});
        line("BOOKMARK", &object.to_string())
    }
}

/// An object of which only the metadata is asked for.
pub(super) fn about_metadata(stored: &Stored) -> Value {
    let metadata = stored.whole()["metadata"].take();
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

fn error_line(status: &Status) -> Bytes {
    line("ERROR", &super::answer::status(status))
}

fn line(event: &str, object: &str) -> Bytes {
    format!("{{\"type\":\"{event}\",\"object\":{object}}}\n").into()
}
