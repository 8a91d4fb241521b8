//! What every controller gets.

use std::sync::Arc;

use jiff::Timestamp;
use kube::Client;
use tray_ports::{Clock, RegionPorts};

use super::{backup_facts::BackupFacts, changes::Changes};
use crate::{
    adapters::kube::{apply::Cluster, events::Events, index::Index},
    config::Settings,
    telemetry::metrics::Metrics,
};

/// What every controller gets. Made once, shared by all.
pub struct Context {
    /// Everything known of the cluster without asking.
    pub index: Arc<Index>,
    /// Makes the cluster agree: children and statuses.
    pub cluster: Cluster,
    /// For what [`Cluster`] does not do: passed on to adapters, never called here.
    pub client: Client,
    /// For the watches.
    pub watches: Client,
    /// Kubernetes events about our objects.
    pub events: Events,
    /// Time. A pass takes it once, with [`Self::now`].
    pub clock: Arc<dyn Clock>,
    /// The services of backup locations.
    pub regions: Arc<dyn RegionPorts>,
    /// How the operator was started.
    pub settings: Settings,
    /// UID of the cluster: that of its namespace `kube-system`. Ledgers are claimed by it.
    pub cluster_uid: String,
    /// What the backup controllers know of each org.
    pub backup_facts: BackupFacts,
    /// Tells controllers of changes that no watch shows.
    pub changes: Arc<Changes>,
    /// Counters and gauges.
    pub metrics: Arc<Metrics>,
}

impl Context {
    /// The present time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
