//! Watches of our own kinds: whole objects, and those that cannot be read.

use std::{collections::BTreeSet, marker::PhantomData, sync::Arc};

use kube::{
    ResourceExt,
    core::{DeserializeGuard, error_boundary::InvalidObject},
};
use tokio::task::JoinSet;

use super::Sync;
use crate::{
    adapters::kube::{
        index::{Malformed, OwnKind, key_of},
        watch::Watched,
    },
    controllers::{changes::Change, context::Context},
    telemetry::readiness::Readiness,
};

struct Own<K> {
    ctx: Arc<Context>,
    sync: Sync,
    kind: PhantomData<fn() -> K>,
}

/// Follows a kind of ours, for ever.
pub(super) fn own<K: OwnKind>(watches: &mut JoinSet<()>, ctx: &Arc<Context>, readiness: &Arc<Readiness>) {
    let watched = Own::<K> {
        ctx: ctx.clone(),
        sync: Sync::new(readiness, K::plural(&())),
        kind: PhantomData,
    };
    let follower = ctx.watches.clone();
    watches.spawn(async move { follower.follow("", watched).await });
}

fn change_of<K: OwnKind>(object: &K) -> Option<Change> {
    Change::of_own(K::KIND, &key_of(object.meta()), object.group())
}

impl<K: OwnKind> Own<K> {
    /// An object that cannot be read is news to those who look at its kind, and to [`crate::controllers::malformed`].
    fn malformed(&self, invalid: InvalidObject) -> String {
        let name = key_of(&invalid.metadata);
        K::objects(&self.ctx.index).remove(&name, None);
        self.ctx.index.malformed.put(Malformed {
            kind: K::KIND,
            metadata: invalid.metadata,
            error: invalid.error,
        });
        self.publish_malformed(&name);
        name
    }

    fn publish_malformed(&self, name: &str) {
        self.publish(Change::of_own(K::KIND, name, None));
        self.publish(Some(Change::Malformed {
            kind: K::KIND,
            name: name.to_owned(),
        }));
    }

    fn publish(&self, change: Option<Change>) {
        if let Some(change) = change {
            self.ctx.changes.publish(&change);
        }
    }

    fn readable(&self, name: &str) {
        let key = (K::KIND, name.to_owned());
        if self.ctx.index.malformed.remove(&key, None).is_some() {
            self.publish_malformed(name);
        }
    }
}

impl<K: OwnKind> Watched for Own<K> {
    type Object = DeserializeGuard<K>;
    type Key = String;

    fn put(&self, object: Self::Object, listed: bool) -> String {
        let object = match object.0 {
            Ok(object) => object,
            Err(invalid) => return self.malformed(invalid),
        };
        let (name, change) = (key_of(object.meta()), change_of(&object));
        self.readable(&name);
        let new = K::objects(&self.ctx.index).put(object);
        // The answer to our own write is in the index before the watch shows it: others have not heard of it yet.
        if new || !listed {
            self.publish(change);
        }
        name
    }

    fn delete(&self, object: Self::Object) {
        match object.0 {
            Ok(object) => {
                K::objects(&self.ctx.index).remove(&key_of(object.meta()), object.uid().as_deref());
                self.publish(change_of(&object));
            }
            Err(invalid) => self.readable(&key_of(&invalid.metadata)),
        }
    }

    fn known(&self) -> BTreeSet<String> {
        let malformed = self.ctx.index.malformed.keys().into_iter();
        let malformed = malformed
            .filter(|(kind, _)| *kind == K::KIND)
            .map(|(_, name)| name);
        K::objects(&self.ctx.index)
            .names()
            .into_iter()
            .chain(malformed)
            .collect()
    }

    fn vanish(&self, name: &String) {
        if let Some(object) = K::objects(&self.ctx.index).get(name) {
            K::objects(&self.ctx.index).remove(name, None);
            self.publish(change_of(&*object));
        }
        self.readable(name);
    }

    fn synced(&self) {
        self.sync.done();
    }
}
