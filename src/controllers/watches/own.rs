//! Watches of our own kinds: whole objects, and those that cannot be read.

use std::{collections::BTreeSet, sync::Arc};

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
    change: fn(&K) -> Change,
    sync: Sync,
}

/// Follows a kind of ours, for ever.
pub(super) fn own<K: OwnKind>(
    watches: &mut JoinSet<()>,
    ctx: &Arc<Context>,
    readiness: &Arc<Readiness>,
    change: fn(&K) -> Change,
) {
    let watched = Own {
        ctx: ctx.clone(),
        change,
        sync: Sync::new(readiness, K::plural(&())),
    };
    let follower = ctx.watches.clone();
    watches.spawn(async move { follower.follow("", watched).await });
}

impl<K: OwnKind> Own<K> {
    /// An object that cannot be read is news to those who look at its kind, and to [`crate::controllers::malformed`].
    fn malformed(&self, invalid: InvalidObject) -> String {
        let name = key_of(&invalid.metadata);
        let kind = K::kind(&()).into_owned();
        K::objects(&self.ctx.index).remove(&name, None);
        self.ctx.index.malformed.put(Malformed {
            kind: kind.clone(),
            metadata: invalid.metadata,
            error: invalid.error,
        });
        self.publish_malformed(kind, &name);
        name
    }

    fn publish_malformed(&self, kind: String, name: &str) {
        let name = name.to_owned();
        match kind.as_str() {
            "TrayOrg" => self.ctx.changes.publish(&Change::Org(name.clone())),
            "Region" => self.ctx.changes.publish(&Change::Region(name.clone())),
            "RetentionPolicy" => self.ctx.changes.publish(&Change::RetentionPolicy(name.clone())),
            "BackupSchedule" => self.ctx.changes.publish(&Change::BackupSchedule(name.clone())),
            "SupportAccess" => self.ctx.changes.publish(&Change::Support(name.clone())),
            _ => {}
        }
        self.ctx.changes.publish(&Change::Malformed { kind, name });
    }

    fn readable(&self, name: &str) {
        let key = (K::kind(&()).into_owned(), name.to_owned());
        if self.ctx.index.malformed.remove(&key, None).is_some() {
            self.publish_malformed(key.0, name);
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
        let (name, change) = (key_of(object.meta()), (self.change)(&object));
        self.readable(&name);
        let new = K::objects(&self.ctx.index).put(object);
        // The answer to our own write is in the index before the watch shows it: others have not heard of it yet.
        if new || !listed {
            self.ctx.changes.publish(&change);
        }
        name
    }

    fn delete(&self, object: Self::Object) {
        match object.0 {
            Ok(object) => {
                K::objects(&self.ctx.index).remove(&key_of(object.meta()), object.uid().as_deref());
                self.ctx.changes.publish(&(self.change)(&object));
            }
            Err(invalid) => self.readable(&key_of(&invalid.metadata)),
        }
    }

    fn known(&self) -> BTreeSet<String> {
        let kind = K::kind(&());
        let malformed = self.ctx.index.malformed.keys().into_iter();
        let malformed = malformed.filter(|(of, _)| *of == kind).map(|(_, name)| name);
        K::objects(&self.ctx.index)
            .names()
            .into_iter()
            .chain(malformed)
            .collect()
    }

    fn vanish(&self, name: &String) {
        if let Some(object) = K::objects(&self.ctx.index).get(name) {
            K::objects(&self.ctx.index).remove(name, None);
            self.ctx.changes.publish(&(self.change)(&object));
        }
        self.readable(name);
    }

    fn synced(&self) {
        self.sync.done();
    }
}
