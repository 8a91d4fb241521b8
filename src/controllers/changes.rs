//! Who has to look again when something changed.

use std::sync::{Arc, PoisonError, RwLock};

use super::queue::Queue;
use crate::{adapters::kube::index::Index, domain::ids::OrgId, resources::child::ChildId};

/// Something that controllers look at changed: made, edited or gone. Names are of cluster-scoped objects.
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
    /// A child of an org, its substance or what its controller says of it.
    Child { org: String, id: ChildId },
    /// A pod of an org.
    Pod {
        org: String,
        namespace: String,
        name: String,
    },
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
    /// An object of one of our kinds cannot be read, or can be read again.
    Malformed { kind: String, name: String },
    /// What the backup controllers know of an org.
    BackupFacts(OrgId),
}

type Concerns = dyn Fn(&Change, &Index) -> Vec<String> + Send + Sync;

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

    /// From now on, the keys that `concerns` names for a change are queued.
    pub fn subscribe(
        &self,
        queue: Arc<Queue>,
        concerns: impl Fn(&Change, &Index) -> Vec<String> + Send + Sync + 'static,
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
            for key in (subscriber.concerns)(change, &self.index) {
                subscriber.queue.now(key);
            }
        }
    }
}
