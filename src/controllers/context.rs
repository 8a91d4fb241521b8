//! What every controller gets.

use std::sync::Arc;

use jiff::Timestamp;
use tray_api::trayorg::TrayOrg;
use tray_ledger::{Leadership, Writer};
use tray_ports::{Clock, HookRunner, RegionPorts};

use super::{
    board::Board,
    changes::Changes,
    fences::Fences,
    view::org::{OrgView, Sources},
};
use crate::{
    adapters::kube::{
        apply::Cluster, client::Connections, events::Events, exec::PodExec, index::Index,
        mover_jobs::MoverJobs, repository_lock::RepositoryLocks, watch::Watches,
        webhook_secret::WebhookSecrets,
    },
    config::Settings,
    telemetry::metrics::Metrics,
};

/// What every controller gets. Made once, shared by all: every way to the cluster and to AWS is one of its fields.
pub struct Context {
    /// Everything known of the cluster without asking.
    pub index: Arc<Index>,
    /// Makes the cluster agree: children, objects of our kinds and their statuses.
    pub cluster: Cluster,
    /// Kubernetes events about our objects.
    pub events: Events,
    /// Fills the index.
    pub watches: Watches,
    /// The movers' Jobs and their Secrets.
    pub movers: MoverJobs,
    /// Who works on an org's repositories.
    pub locks: RepositoryLocks,
    /// The Secrets of webhook tokens.
    pub webhook_secrets: WebhookSecrets,
    /// Runs hooks in workloads' pods.
    pub hooks: Arc<dyn HookRunner>,
    /// The services of backup locations.
    pub regions: Arc<dyn RegionPorts>,
    /// Time. A pass takes it once, with [`Self::now`].
    pub clock: Arc<dyn Clock>,
    /// How the operator was started.
    pub settings: Settings,
    /// UID of the cluster: that of its namespace `kube-system`. Ledgers are claimed by it.
    pub cluster_uid: String,
    /// This process, as it claims ledgers.
    pub writer: Writer,
    /// What controllers tell each other.
    pub board: Board,
    /// Where another cluster has taken this one's orgs over.
    pub fences: Fences,
    /// Tells controllers of changes that no watch shows.
    pub changes: Arc<Changes>,
    /// Counters and gauges.
    pub metrics: Arc<Metrics>,
}

/// What a [`Context`] is made of.
pub struct Parts {
    /// The ways to the API server.
    pub connections: Connections,
    /// Name of this process, in events.
    pub identity: String,
    /// See [`Context::regions`].
    pub regions: Arc<dyn RegionPorts>,
    /// See [`Context::clock`].
    pub clock: Arc<dyn Clock>,
    /// See [`Context::settings`].
    pub settings: Settings,
    /// See [`Context::cluster_uid`].
    pub cluster_uid: String,
    /// Whether this process leads.
    pub leadership: Arc<dyn Leadership>,
    /// See [`Context::metrics`].
    pub metrics: Arc<Metrics>,
}

impl Context {
    /// With an index that knows nothing yet.
    pub fn new(parts: Parts) -> Self {
        let Connections { calls, watches } = parts.connections;
        let index = Arc::new(Index::default());
        let changes = Arc::new(Changes::new(index.clone()));
        Self {
            cluster: Cluster::new(calls.clone(), index.clone())
                .counting(parts.metrics.clone())
                .led_by(parts.leadership.clone()),
            events: Events::new(calls.clone(), &parts.identity),
            watches: Watches::new(watches),
            movers: MoverJobs::new(calls.clone(), index.clone()),
            locks: RepositoryLocks::new(calls.clone()),
            webhook_secrets: WebhookSecrets::new(calls.clone()),
            hooks: Arc::new(PodExec::new(calls)),
            regions: parts.regions,
            clock: parts.clock,
            settings: parts.settings,
            writer: Writer {
                cluster_uid: parts.cluster_uid.clone(),
                leadership: parts.leadership,
            },
            cluster_uid: parts.cluster_uid,
            board: Board::new(changes.clone()),
            fences: Fences::new(changes.clone()),
            index,
            changes,
            metrics: parts.metrics,
        }
    }

    /// What is known of an org at `now`.
    pub fn view(&self, org: Arc<TrayOrg>, now: Timestamp) -> OrgView {
        OrgView::of(
            org,
            &Sources {
                index: &self.index,
                board: &self.board,
                support_groups: &self.settings.support_groups,
                now,
            },
        )
    }

    /// The present time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
