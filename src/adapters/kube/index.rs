//! Everything the operator knows of the cluster without asking: filled by the watches and by the answers to its own
//! writes.

use std::{
    collections::BTreeSet,
    fmt::Debug,
    sync::{Arc, PoisonError, RwLock},
};

use kube::{Api, Client, Resource, api::ObjectMeta};
use serde::{Serialize, de::DeserializeOwned};
use tray_api::{
    backup_schedule::BackupSchedule,
    kinds::{Kind, OfKind},
    orgrestore::OrgRestore,
    orgsnapshot::OrgSnapshot,
    orgtombstone::OrgTombstone,
    region::Region,
    retention_policy::RetentionPolicy,
    support_access::SupportAccess,
    trayorg::TrayOrg,
};

use super::{
    children::Children,
    facts::{Identity, JobFact, NodeFact, PodFact, StorageClassFact, VolumeFact},
    table::{Put, Row, Table},
};
use crate::resources::child::{ChildId, ChildKind};

/// An object of one of our kinds, without its managed fields.
#[derive(Debug)]
pub struct Stored<K>(Arc<K>);

/// One of our kinds.
pub trait OwnKind:
    OfKind + Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// What finds it among others: the name of the org it is about, or its namespace; of a TrayOrg the orgId that it
    /// claims.
    fn group(&self) -> Option<&str>;
    /// Where its objects are.
    fn objects(index: &Index) -> &Objects<Self>;
    /// What its objects are written by: `namespace` is that of the object, none for a cluster-scoped kind.
    fn api(client: Client, namespace: Option<&str>) -> Api<Self>;
}

macro_rules! own_kind {
    ($type:ty, $objects:ident, $group:expr) => {
        own_kind!($type, $objects, $group, |client, _| Api::all(client));
    };
    ($type:ty, $objects:ident, $group:expr, $api:expr) => {
        impl OwnKind for $type {
            fn group(&self) -> Option<&str> {
                let group: fn(&$type) -> Option<&str> = $group;
                group(self)
            }
            fn objects(index: &Index) -> &Objects<Self> {
                &index.$objects
            }
            fn api(client: Client, namespace: Option<&str>) -> Api<Self> {
                let api: fn(Client, Option<&str>) -> Api<$type> = $api;
                api(client, namespace)
            }
        }
    };
}
own_kind!(Region, regions, |_| None);
own_kind!(RetentionPolicy, policies, |_| None);
own_kind!(BackupSchedule, schedules, |_| None);
own_kind!(TrayOrg, orgs, |org| {
    let recorded = org.status.as_ref().and_then(|status| status.org_id.as_deref());
    recorded
        .or(org.spec.org_id.as_deref())
        .or(org.metadata.uid.as_deref())
});
own_kind!(OrgSnapshot, snapshots, |snapshot| Some(
    &snapshot.spec.org_ref.name
));
own_kind!(OrgRestore, restores, |restore| Some(&restore.spec.org_ref.name));
own_kind!(OrgTombstone, tombstones, |tombstone| Some(&tombstone.spec.org));
own_kind!(
    SupportAccess,
    support,
    |access| access.metadata.namespace.as_deref(),
    |client, namespace| Api::namespaced(client, namespace.unwrap_or_default())
);

/// What an object of one of our kinds is found by: its name, or `namespace/name`.
pub fn key_of(metadata: &ObjectMeta) -> String {
    let name = metadata.name.as_deref().unwrap_or_default();
    match &metadata.namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    }
}

impl<K: OwnKind> Stored<K> {
    /// Keeps what is needed of it.
    pub fn new(mut object: K) -> Self {
        object.meta_mut().managed_fields = None;
        Self(Arc::new(object))
    }
}

impl<K: OwnKind> Row for Stored<K> {
    type Key = String;
    fn key(&self) -> String {
        key_of(self.0.meta())
    }
    fn uid(&self) -> &str {
        self.0.meta().uid.as_deref().unwrap_or_default()
    }
    fn version(&self) -> u64 {
        Identity::of(self.0.meta()).version
    }
    fn group(&self) -> Option<&str> {
        self.0.group()
    }
}

/// The objects of one of our kinds, by [`key_of`]: the name, unless the kind is namespaced.
pub struct Objects<K: OwnKind> {
    table: Table<Stored<K>>,
}

impl<K: OwnKind> Default for Objects<K> {
    fn default() -> Self {
        Self {
            table: Table::default(),
        }
    }
}

impl<K: OwnKind> Objects<K> {
    /// The object of that name.
    pub fn get(&self, name: &str) -> Option<Arc<K>> {
        Some(self.table.get(&name.to_owned())?.0.clone())
    }
    /// Every object, by name.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.table.all().iter().map(|row| row.0.clone()).collect()
    }
    /// Those about an org, by name.
    pub fn of_org(&self, org: &str) -> Vec<Arc<K>> {
        self.of(org)
    }
    /// Those in a namespace, by name; of a namespaced kind.
    pub fn of_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.of(namespace)
    }
    fn of(&self, group: &str) -> Vec<Arc<K>> {
        self.table.of(group).iter().map(|row| row.0.clone()).collect()
    }
    /// The names of those that `matches` is true of.
    pub fn names_where(&self, matches: impl Fn(&K) -> bool) -> Vec<String> {
        let rows = self.table.all();
        let matching = rows.iter().filter(|row| matches(&row.0));
        matching.map(|row| row.key()).collect()
    }
    /// The names of all.
    pub fn names(&self) -> Vec<String> {
        self.table.keys().into_iter().collect()
    }
    /// Takes in what the watch shows. Returns whether it is at a version that was not known.
    pub fn put(&self, object: K) -> bool {
        let identity = Identity::of(object.meta());
        match self.table.put(Stored::new(object)) {
            Put::Stale => false,
            Put::Done(before) => before.is_none_or(|before| Identity::of(before.0.meta()) != identity),
        }
    }
    /// Takes in what a write was answered with, before the watch shows it.
    pub(super) fn answer(&self, object: K) {
        self.table.answer(Stored::new(object));
    }
    /// Takes an object out, if it has that UID.
    pub fn remove(&self, name: &str, uid: Option<&str>) {
        self.table.remove(&name.to_owned(), uid);
    }
}

impl Objects<TrayOrg> {
    /// Those that claim an orgId, by name.
    pub fn claiming(&self, org_id: &str) -> Vec<Arc<TrayOrg>> {
        self.of(org_id)
    }
}

/// A stored object of one of our kinds that this version cannot read.
#[derive(Clone, Debug, PartialEq)]
pub struct Malformed {
    /// Its kind.
    pub kind: Kind,
    /// What could be read of it.
    pub metadata: ObjectMeta,
    /// What is wrong.
    pub error: String,
}

impl Row for Malformed {
    type Key = (Kind, String);
    /// Kind, and [`key_of`].
    fn key(&self) -> Self::Key {
        (self.kind, key_of(&self.metadata))
    }
    fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }
    fn version(&self) -> u64 {
        Identity::of(&self.metadata).version
    }
}

/// Everything the operator knows of the cluster without asking. Complete once the watches have synced, which is before
/// the first reconcile.
#[derive(Default)]
pub struct Index {
    /// Regions.
    pub regions: Objects<Region>,
    /// RetentionPolicies.
    pub policies: Objects<RetentionPolicy>,
    /// BackupSchedules.
    pub schedules: Objects<BackupSchedule>,
    /// TrayOrgs.
    pub orgs: Objects<TrayOrg>,
    /// OrgSnapshots; [`Objects::of_org`] finds those of an org.
    pub snapshots: Objects<OrgSnapshot>,
    /// OrgRestores; [`Objects::of_org`] finds those of an org.
    pub restores: Objects<OrgRestore>,
    /// SupportAccesses; [`Objects::of_namespace`] finds those of a namespace.
    pub support: Objects<SupportAccess>,
    /// OrgTombstones; [`Objects::of_org`] finds those of an org's name.
    pub tombstones: Objects<OrgTombstone>,
    /// Objects of our kinds that cannot be read, by kind and name.
    pub malformed: Table<Malformed>,
    /// Nodes; grouped by cloud region.
    pub nodes: Table<NodeFact>,
    /// StorageClasses.
    pub storage_classes: Table<StorageClassFact>,
    /// Pods in orgs' namespaces, and those elsewhere that carry an org's label; grouped by namespace.
    pub pods: Table<PodFact>,
    /// PersistentVolumes of orgs; grouped by the namespace of their claim.
    pub volumes: Table<VolumeFact>,
    /// Movers' Jobs; grouped by org.
    pub jobs: Table<JobFact>,
    /// Children; [`Children::of`] finds those of an org.
    pub children: Children,
    /// Optional kinds of children that are served, and all of whose children are known.
    served: RwLock<BTreeSet<ChildKind>>,
}

impl Index {
    /// What is wrong with the stored object of that kind and name, if it cannot be read.
    pub fn malformed(&self, kind: Kind, name: &str) -> Option<Arc<Malformed>> {
        self.malformed.get(&(kind, name.to_owned()))
    }
    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<Arc<NodeFact>> {
        self.nodes.get(&(String::new(), name.to_owned()))
    }
    /// The StorageClass of that name.
    pub fn storage_class(&self, name: &str) -> Option<Arc<StorageClassFact>> {
        self.storage_classes.get(&(String::new(), name.to_owned()))
    }
    /// Name of the TrayOrg that a namespace is of, as the namespace's own label says.
    pub fn org_of(&self, namespace: &str) -> Option<String> {
        let id = ChildId {
            kind: ChildKind::Namespace,
            namespace: String::new(),
            name: namespace.to_owned(),
        };
        self.children.get(&id)?.org.clone()
    }
    /// Whether the cluster serves what webhooks need of the Gateway API.
    pub fn has_gateway_api(&self) -> bool {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        [ChildKind::HttpRoute, ChildKind::ReferenceGrant]
            .iter()
            .all(|kind| served.contains(kind))
    }

    /// Remembers whether an optional kind is served. Returns whether that is news.
    pub fn set_served(&self, kind: ChildKind, is_served: bool) -> bool {
        let mut served = self.served.write().unwrap_or_else(PoisonError::into_inner);
        if is_served {
            served.insert(kind)
        } else {
            served.remove(&kind)
        }
    }
}
