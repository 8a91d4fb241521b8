//! One watch per kind, shared by all controllers. Of an object only what somebody asks for is kept; what changed is
//! published.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Node, PersistentVolume, Pod},
    storage::v1::StorageClass,
};
use kube::{
    Resource, ResourceExt,
    core::{DeserializeGuard, error_boundary::InvalidObject},
};
use tokio::task::JoinSet;
use tracing::info;

use super::{changes::Change, context::Context};
use crate::{
    adapters::kube::{
        child::ChildFact,
        children::Seen,
        facts::{JobFact, Key, NodeFact, PodFact, StorageClassFact, VolumeFact},
        index::{Malformed, OwnKind, key_of},
        live::Live,
        served::follow_crd,
        table::{Put, Row, Table},
        watch::{Watched, follow, follow_children},
    },
    api::{
        backup_schedule::BackupSchedule, orgrestore::OrgRestore, orgsnapshot::OrgSnapshot,
        orgtombstone::OrgTombstone, region::Region, retention_policy::RetentionPolicy,
        support_access::SupportAccess, trayorg::TrayOrg,
    },
    domain::names,
    resources::child::{ChildId, ChildKind},
    telemetry::readiness::Readiness,
};

/// Starts every watch. `readiness` waits for each until everything there is has been read.
pub fn start(ctx: &Arc<Context>, readiness: &Arc<Readiness>) -> JoinSet<()> {
    let mut watches = JoinSet::new();
    own::<Region>(&mut watches, ctx, readiness, |r| Change::Region(r.name_any()));
    own::<RetentionPolicy>(&mut watches, ctx, readiness, |p| {
        Change::RetentionPolicy(p.name_any())
    });
    own::<BackupSchedule>(&mut watches, ctx, readiness, |s| {
        Change::BackupSchedule(s.name_any())
    });
    own::<TrayOrg>(&mut watches, ctx, readiness, |o| Change::Org(o.name_any()));
    own::<OrgSnapshot>(&mut watches, ctx, readiness, |s| Change::Snapshot {
        name: s.name_any(),
        org: s.spec.org_ref.name.clone(),
    });
    own::<OrgRestore>(&mut watches, ctx, readiness, |r| Change::Restore {
        name: r.name_any(),
        org: r.spec.org_ref.name.clone(),
    });
    own::<OrgTombstone>(&mut watches, ctx, readiness, |t| Change::Tombstone {
        name: t.name_any(),
        org: t.spec.org.clone(),
    });
    own::<SupportAccess>(&mut watches, ctx, readiness, |s| {
        Change::Support(key_of(s.meta()))
    });
    facts::<NodeFact>(&mut watches, ctx, readiness, "");
    facts::<StorageClassFact>(&mut watches, ctx, readiness, "");
    // All of them: a label that was taken off must not hide a pod.
    facts::<PodFact>(&mut watches, ctx, readiness, "");
    facts::<VolumeFact>(&mut watches, ctx, readiness, "");
    let movers = format!("{}={}", names::LABEL_COMPONENT, names::COMPONENT_MOVER);
    facts::<JobFact>(&mut watches, ctx, readiness, &movers);
    for kind in ChildKind::ALL {
        if !kind.is_optional() {
            let sync = Sync::new(readiness, kind.plural());
            watches.spawn(children(ctx.clone(), kind, sync));
        } else if ctx.settings.webhooks {
            watches.spawn(optional(ctx.clone(), kind, readiness.clone()));
        }
    }
    watches
}

/// Tells readiness of the first sync of one watch.
struct Sync {
    readiness: Arc<Readiness>,
    name: String,
}

impl Sync {
    fn new(readiness: &Arc<Readiness>, name: impl Into<String>) -> Self {
        let name = name.into();
        readiness.needs(&name);
        Self {
            readiness: readiness.clone(),
            name,
        }
    }
    /// Of a watch that begins later: nobody waits for it.
    fn late(readiness: &Arc<Readiness>, name: impl Into<String>) -> Self {
        Self {
            readiness: readiness.clone(),
            name: name.into(),
        }
    }
    fn done(&self) {
        self.readiness.has(&self.name);
    }
}

// ---- our own kinds ----

struct Own<K> {
    ctx: Arc<Context>,
    change: fn(&K) -> Change,
    sync: Sync,
}

fn own<K: OwnKind>(
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
    let client = ctx.watches.clone();
    watches.spawn(async move { follow(client, (), "", watched).await });
}

impl<K: OwnKind> Own<K> {
    /// An object that cannot be read is news to those who look at its kind, and to [`super::malformed`].
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

// ---- facts of other kinds ----

/// A row of facts: of what, where it is kept, and what its change is.
trait Fact: Row<Key = Key> + Clone + Send + std::marker::Sync + 'static {
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

fn facts<F: Fact>(watches: &mut JoinSet<()>, ctx: &Arc<Context>, readiness: &Arc<Readiness>, labels: &str) {
    let watched = Facts::<F> {
        ctx: ctx.clone(),
        sync: Sync::new(readiness, F::Object::plural(&())),
        of: std::marker::PhantomData,
    };
    let (client, labels) = (ctx.watches.clone(), labels.to_owned());
    watches.spawn(async move { follow(client, (), &labels, watched).await });
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

// ---- children ----

struct Children {
    kind: ChildKind,
    ctx: Arc<Context>,
    sync: Sync,
}

impl Children {
    fn publish(&self, id: &ChildId, org: Option<String>) {
        self.ctx.changes.publish(&Change::Child {
            org: org.unwrap_or_default(),
            id: id.clone(),
        });
    }
}

/// Follows the children of one kind, for ever.
async fn children(ctx: Arc<Context>, kind: ChildKind, sync: Sync) {
    let ours = format!("{}={}", names::LABEL_MANAGED_BY, names::OPERATOR);
    let client = ctx.watches.clone();
    follow_children(client, kind, &ours, Children { kind, ctx, sync }).await;
}

/// Follows the children of a kind while the cluster serves it. At a start everything is known only when it is known
/// whether it does, and if so, which there are.
async fn optional(ctx: Arc<Context>, kind: ChildKind, readiness: Arc<Readiness>) {
    let crd = kind.crd();
    let first = Sync::new(&readiness, &crd);
    // Dropping it ends what runs in it.
    let mut running: Option<JoinSet<()>> = None;
    let client = ctx.watches.clone();
    let tell = |is_served: bool| {
        if is_served && running.is_none() {
            let sync = if readiness.missing().contains(&crd) {
                Sync::new(&readiness, kind.plural())
            } else {
                Sync::late(&readiness, kind.plural())
            };
            info!(%kind, "is served");
            running
                .insert(JoinSet::new())
                .spawn(children(ctx.clone(), kind, sync));
        } else if !is_served && running.take().is_some() {
            info!(%kind, "is served no more");
            let children = &ctx.index.children;
            for id in children.ids(kind) {
                children.remove(&id, None);
            }
            serve(&ctx, kind, false);
        }
        first.done();
    };
    follow_crd(client, &crd, kind.group_version().1, tell).await;
}

/// Takes down whether an optional kind is served.
fn serve(ctx: &Context, kind: ChildKind, is_served: bool) {
    if ctx.index.set_served(kind, is_served) {
        ctx.changes.publish(&Change::GatewayApi);
    }
}

impl Watched for Children {
    type Object = Live;
    type Key = ChildId;

    fn put(&self, object: Live, _: bool) -> ChildId {
        if let Some(id) = self.ctx.index.children.known(self.kind, &object) {
            return id;
        }
        let fact = ChildFact::of(self.kind, &object);
        let (id, org) = (fact.id.clone(), fact.org.clone());
        if let Seen::News { before } = self.ctx.index.children.observe(fact) {
            // Whose it was has to know, too, where somebody changed the org's label.
            if before.is_some() && before != org {
                self.publish(&id, before);
            }
            self.publish(&id, org);
        }
        id
    }

    fn delete(&self, object: Live) {
        let fact = ChildFact::of(self.kind, &object);
        let gone = self.ctx.index.children.remove(&fact.id, Some(&fact.identity.uid));
        if let Some(gone) = gone {
            self.publish(&gone.id, gone.org);
        }
    }

    fn known(&self) -> BTreeSet<ChildId> {
        self.ctx.index.children.ids(self.kind)
    }

    fn vanish(&self, id: &ChildId) {
        if let Some(gone) = self.ctx.index.children.remove(id, None) {
            self.publish(&gone.id, gone.org);
        }
    }

    fn synced(&self) {
        if self.kind.is_optional() {
            serve(&self.ctx, self.kind, true);
        }
        self.sync.done();
    }
}
