//! Watches of kinds that are not ours: of each object a few facts.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Node, PersistentVolume, Pod},
    storage::v1::StorageClass,
};
use kube::Resource;
use tokio::task::JoinSet;

use super::Sync;
use crate::{
    adapters::kube::{
        facts::{JobFact, Key, NodeFact, PodFact, StorageClassFact, VolumeFact},
        table::{Put, Row, Table},
        watch::Watched,
    },
    controllers::{changes::Change, context::Context},
    telemetry::readiness::Readiness,
};

/// A row of facts: of what, where it is kept, and what its change is.
pub(super) trait Fact: Row<Key = Key> + Clone + Send + std::marker::Sync + 'static {
    type Object: Resource<DynamicType = ()>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug
        + Send
        + 'static;
    fn of(object: &Self::Object) -> Self;
    /// Whether anybody asks for it.
    fn is_kept(&self) -> bool;
    fn table(ctx: &Context) -> &Table<Self>;
    fn same(&self, other: &Self) -> bool;
    fn change(&self, before: Option<&Self>) -> Change;
}

macro_rules! fact {
    ($type:ty, $object:ty, $table:ident, $kept:expr, $change:expr) => {
        impl Fact for $type {
            type Object = $object;
            fn of(object: &$object) -> Self {
                <$type>::of(object)
            }
            fn is_kept(&self) -> bool {
                let kept: fn(&$type) -> bool = $kept;
                kept(self)
            }
            fn table(ctx: &Context) -> &Table<Self> {
                &ctx.index.$table
            }
            fn same(&self, other: &Self) -> bool {
                self.says_the_same(other)
            }
            fn change(&self, before: Option<&Self>) -> Change {
                let change: fn(&$type, Option<&$type>) -> Change = $change;
                change(self, before)
            }
        }
    };
}
fact!(NodeFact, Node, nodes, |_| true, |node, before| {
    let regions: BTreeSet<String> = node
        .region
        .iter()
        .chain(before.and_then(|b| b.region.as_ref()))
        .cloned()
        .collect();
    Change::Node {
        name: node.name.clone(),
        regions: regions.into_iter().collect(),
    }
});
fact!(
    StorageClassFact,
    StorageClass,
    storage_classes,
    |_| true,
    |class, _| { Change::StorageClass(class.name.clone()) }
);
fact!(PodFact, Pod, pods, PodFact::concerns_an_org, |pod, _| {
    Change::Pod {
        org: pod.org.clone(),
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
    }
});
fact!(
    VolumeFact,
    PersistentVolume,
    volumes,
    VolumeFact::concerns_an_org,
    |volume, _| Change::Volume {
        namespace: volume
            .claim
            .clone()
            .map(|(namespace, _)| namespace)
            .unwrap_or_default(),
        name: volume.name.clone(),
    }
);
fact!(JobFact, Job, jobs, |_| true, |job, _| Change::Mover {
    org: job.org.clone().unwrap_or_default(),
    owner: job.owner.clone().unwrap_or_default(),
    name: job.name.clone(),
});

struct Facts<F> {
    ctx: Arc<Context>,
    sync: Sync,
    of: std::marker::PhantomData<fn(F)>,
}

/// Follows the objects that `labels` selects (empty = all), for ever.
pub(super) fn facts<F: Fact>(
    watches: &mut JoinSet<()>,
    ctx: &Arc<Context>,
    readiness: &Arc<Readiness>,
    labels: &str,
) {
    let watched = Facts::<F> {
        ctx: ctx.clone(),
        sync: Sync::new(readiness, F::Object::plural(&())),
        of: std::marker::PhantomData,
    };
    let (follower, labels) = (ctx.watches.clone(), labels.to_owned());
    watches.spawn(async move { follower.follow(&labels, watched).await });
}

impl<F: Fact> Watched for Facts<F> {
    type Object = F::Object;
    type Key = Key;

    fn put(&self, object: F::Object, _: bool) -> Key {
        let fact = F::of(&object);
        let key = fact.key();
        if !fact.is_kept() {
            self.vanish(&key);
            return key;
        }
        if let Put::Done(before) = F::table(&self.ctx).put(fact.clone())
            && before.as_deref().is_none_or(|before| !fact.same(before))
        {
            self.ctx.changes.publish(&fact.change(before.as_deref()));
        }
        key
    }

    fn delete(&self, object: F::Object) {
        let fact = F::of(&object);
        if F::table(&self.ctx)
            .remove(&fact.key(), Some(fact.uid()))
            .is_some()
        {
            self.ctx.changes.publish(&fact.change(None));
        }
    }

    fn known(&self) -> BTreeSet<Key> {
        F::table(&self.ctx).keys()
    }

    fn vanish(&self, key: &Key) {
        if let Some(gone) = F::table(&self.ctx).remove(key, None) {
            self.ctx.changes.publish(&gone.change(None));
        }
    }

    fn synced(&self) {
        self.sync.done();
    }
}
