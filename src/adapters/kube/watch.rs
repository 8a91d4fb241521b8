//! Follows a kind of objects and tells what is there, what changed and what is gone.

use std::{collections::BTreeSet, fmt::Debug};

use futures::StreamExt;
use kube::{
    Api, Client, Resource,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tracing::warn;

use super::{answer::told_of_watch, apply::api_resource, live::Live};
use crate::resources::child::ChildKind;

/// How long the API server keeps a watch open, in seconds: an idle operator asks once for each kind in that time. One
/// that is cut off without a word is found out by the client ([`super::client`]): the API server says something every
/// minute.
const LIFETIME: u32 = 45 * 60;

/// A watch that is kept open for long. What is there comes by it, too: one request for each kind, not one for each five
/// hundred objects.
pub(super) fn lasting(config: watcher::Config) -> watcher::Config {
    config.streaming_lists().timeout(LIFETIME)
}

/// What is done with what a watch shows.
pub trait Watched: Send + Sync + 'static {
    /// What is watched.
    type Object: Resource + Clone + DeserializeOwned + Debug + Send + 'static;
    /// What finds it again.
    type Key: Ord + Send;

    /// An object is there, or changed. `listed` = it was read in a list, so it may be known already.
    fn put(&self, object: Self::Object, listed: bool) -> Self::Key;
    /// An object is gone.
    fn delete(&self, object: Self::Object);
    /// Every object that is known.
    fn known(&self) -> BTreeSet<Self::Key>;
    /// An object went while nobody looked.
    fn vanish(&self, key: &Self::Key);
    /// Everything there is has been put.
    fn synced(&self);
}

/// The watches, over a connection of their own.
#[derive(Clone)]
pub struct Watches {
    pub(super) client: Client,
}

impl Watches {
    /// Over that client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Follows all objects of a kind that `labels` selects (empty = all), for ever.
    pub async fn follow<W: Watched>(&self, labels: &str, watched: W)
    where
        W::Object: Resource<DynamicType = ()>,
    {
        follow_all_of(Api::all(self.client.clone()), labels, watched).await;
    }

    /// The same for those of one kind of children, which may all be in one namespace.
    pub async fn follow_children<W: Watched<Object = Live>>(
        &self,
        kind: ChildKind,
        labels: &str,
        watched: W,
    ) {
        let resource = api_resource(kind);
        let api = match kind.home() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        follow_all_of(api, labels, watched).await;
    }
}

async fn follow_all_of<W: Watched>(api: Api<W::Object>, labels: &str, watched: W) {
    let mut config = lasting(watcher::Config::default());
    if !labels.is_empty() {
        config = config.labels(labels);
    }
    let mut events = watcher(api, config).default_backoff().boxed();
    // Known before a list began and not in it yet: gone at its end. What we make meanwhile is not among it.
    let mut missing = BTreeSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => missing = watched.known(),
            Ok(Event::InitApply(object)) => {
                missing.remove(&watched.put(object, true));
            }
            Ok(Event::InitDone) => {
                for key in std::mem::take(&mut missing) {
                    watched.vanish(&key);
                }
                watched.synced();
            }
            Ok(Event::Apply(object)) => {
                watched.put(object, false);
            }
            Ok(Event::Delete(object)) => watched.delete(object),
            // Tried again after a pause that grows.
            Err(error) => warn!(error = told_of_watch(&error), labels, "a watch broke off"),
        }
    }
}
