//! Who has to look again when something changed.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tray_api::kinds::Kind;
use tray_domain::ids::OrgId;

use super::queue::Queue;
use crate::{adapters::kube::index::Index, resources::child::ChildId};

/// Something that controllers look at changed: made, edited or gone. Names are of cluster-scoped objects
/// unless they say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A TrayOrg, or that it cannot be read.
    Org(String),
    /// A Region.
    Region(String),
    /// A RetentionPolicy.
    RetentionPolicy(String),
    /// A BackupSchedule.
    BackupSchedule(String),
    /// An OrgSnapshot of an org.
    Snapshot { name: String, org: String },
    /// An OrgRestore of an org.
    Restore { name: String, org: String },
    /// A SupportAccess, as `namespace/name`.
    Support(String),
    /// An OrgTombstone of an org that is gone.
    Tombstone { name: String, org: String },
    /// A child of an org, its substance or what its controller says of it.
    Child { org: String, id: ChildId },
    /// A pod in an org's namespace, or one elsewhere that carries the org's label: [`Change::org_of_pod`].
    Pod {
        org: Option<String>,
        namespace: String,
        name: String,
    },
    /// A PersistentVolume whose claim is in that namespace.
    Volume { namespace: String, name: String },
    /// A mover's Job.
    Mover {
        org: String,
        owner: String,
        name: String,
    },
    /// A node: region, zone or readiness. With the cloud regions it was in before and is in now.
    Node { name: String, regions: Vec<String> },
    /// A StorageClass.
    StorageClass(String),
    /// The cluster serves what webhooks need of the Gateway API, or does so no more.
    GatewayApi,
    /// An object of one of our kinds cannot be read, or can be read again.
    Malformed { kind: Kind, name: String },
    /// What the [board](super::board) says of an org.
    Board(OrgId),
}

impl Change {
    /// That an object of ours changed. `group` is what [`OwnKind::group`](crate::adapters::kube::index::OwnKind::group) says
    /// of it, or none where it cannot be read: whose it is, is not known then, so none is told that goes by its org.
    pub fn of_own(kind: Kind, name: &str, group: Option<&str>) -> Option<Self> {
        let (name, org) = (name.to_owned(), group.map(str::to_owned));
        match kind {
            Kind::Region => Some(Self::Region(name)),
            Kind::RetentionPolicy => Some(Self::RetentionPolicy(name)),
            Kind::BackupSchedule => Some(Self::BackupSchedule(name)),
            Kind::TrayOrg => Some(Self::Org(name)),
            Kind::OrgSnapshot => org.map(|org| Self::Snapshot { name, org }),
            Kind::OrgRestore => org.map(|org| Self::Restore { name, org }),
            Kind::SupportAccess => Some(Self::Support(name)),
            Kind::OrgTombstone => org.map(|org| Self::Tombstone { name, org }),
        }
    }

    /// Whether every org of a Region may have to follow: they do so in turn.
    fn concerns_many(&self) -> bool {
        matches!(
            self,
            Self::Region(_) | Self::RetentionPolicy(_) | Self::BackupSchedule(_) | Self::StorageClass(_)
        )
    }

    /// The orgs whose spec names the Region, RetentionPolicy or BackupSchedule that changed; none where another kind did.
    pub fn orgs_that_name_it(&self, index: &Index) -> Vec<String> {
        match self {
            Self::Region(name) => index.orgs.names_where(|org| org.spec.region_ref.name == *name),
            Self::RetentionPolicy(name) => index
                .orgs
                .names_where(|org| org.spec.retention_policy_ref.name == *name),
            Self::BackupSchedule(name) => index
                .orgs
                .names_where(|org| org.spec.backup_schedule_ref.name == *name),
            _ => Vec::new(),
        }
    }

    /// The org of a pod: its namespace's, whatever the pod says of itself; of one that works for an org elsewhere the
    /// one that its label names.
    pub fn org_of_pod(org: Option<&String>, namespace: &str, index: &Index) -> Option<String> {
        index.org_of(namespace).or_else(|| org.cloned())
    }
}

type Concerns = dyn Fn(&Change, &Index) -> (Vec<String>, Duration) + Send + Sync;

struct Subscriber {
    concerns: Box<Concerns>,
    queue: Arc<Queue>,
}

/// Passes changes on to the queues of the controllers they concern. Nothing is ever dropped: a queue holds keys, and a
/// key that waits already waits once.
pub struct Changes {
    index: Arc<Index>,
    subscribers: RwLock<Vec<Subscriber>>,
}

impl Changes {
    /// Over that index.
    pub fn new(index: Arc<Index>) -> Self {
        Self {
            index,
            subscribers: RwLock::new(Vec::new()),
        }
    }

    /// From now on, the keys that `concerns` names for a change are queued, to be handed out after the time it names.
    pub fn subscribe(
        &self,
        queue: Arc<Queue>,
        concerns: impl Fn(&Change, &Index) -> (Vec<String>, Duration) + Send + Sync + 'static,
    ) {
        let mut subscribers = self.subscribers.write().unwrap_or_else(PoisonError::into_inner);
        subscribers.push(Subscriber {
            concerns: Box::new(concerns),
            queue,
        });
    }

    /// Tells everybody.
    pub fn publish(&self, change: &Change) {
        let subscribers = self.subscribers.read().unwrap_or_else(PoisonError::into_inner);
        for subscriber in subscribers.iter() {
            let (keys, patience) = (subscriber.concerns)(change, &self.index);
            if change.concerns_many() {
                subscriber.queue.in_turn(keys);
            } else {
                for key in keys {
                    subscriber.queue.after(key, patience);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn p1_a_hundred_orgs_do_not_follow_their_region_at_once() {
        let changes = Changes::new(Arc::default());
        let queue = Arc::new(Queue::default());
        changes.subscribe(queue.clone(), |_, _| {
            let keys = (0..100).map(|n| n.to_string());
            (keys.collect(), Duration::ZERO)
        });
        let handed_out = || std::iter::from_fn(|| queue.next().now_or_never()).count();
        changes.publish(&Change::Region("eu".into()));
        // As many as turns went by meanwhile, of which a hundred take two seconds.
        assert!((1..100).contains(&handed_out()));
        changes.publish(&Change::Org("of one".into()));
        assert!(handed_out() > 0);
    }
}
