//! The operator's own parts on an API server that a test started, with AWS in memory. Its requests are counted.

use std::sync::Arc;

use tokio::{sync::watch, task::JoinHandle};
use tray_domain::mover_task::BucketLocation;
use tray_ledger::RemoteError;
use tray_operator::{
    adapters::kube::client::Connections,
    config::Settings,
    controllers::{
        Driver,
        context::{Context, Parts},
    },
    operator,
    resources::child::ChildKind,
    telemetry::{
        metrics::{Controller, Metrics},
        readiness::Readiness,
    },
};
use tray_ports::{RegionPorts, RegionServices};
use tray_testkit::memory::{MemoryKeys, MemorySessions, MemoryStore};

use super::{api_server, clock::ShiftedClock, hooks::MemoryHooks, requests};

/// The services of every location, in memory: a bucket for backups and another that a Region may name instead
/// (`tray-other…`), and one for logs (`tray-logs…`).
pub(crate) struct MemoryRegions {
    pub store: Arc<MemoryStore>,
    pub other: Arc<MemoryStore>,
    pub logs: Arc<MemoryStore>,
    pub keys: Arc<MemoryKeys>,
    pub sessions: Arc<MemorySessions>,
}

impl Default for MemoryRegions {
    fn default() -> Self {
        Self {
            store: Arc::default(),
            other: Arc::default(),
            logs: Arc::new(MemoryStore::new("eu-west-1")),
            keys: Arc::default(),
            sessions: Arc::default(),
        }
    }
}

impl RegionPorts for MemoryRegions {
    fn services(&self, location: &BucketLocation) -> Result<RegionServices, RemoteError> {
        let store = match location.bucket.as_str() {
            bucket if bucket.starts_with("tray-logs") => &self.logs,
            bucket if bucket.starts_with("tray-other") => &self.other,
            _ => &self.store,
        };
        Ok(RegionServices {
            store: store.clone(),
            keys: self.keys.clone(),
            sessions: self.sessions.clone(),
        })
    }
}

/// The operator of one test.
pub(crate) struct Operator {
    pub ctx: Arc<Context>,
    pub regions: Arc<MemoryRegions>,
    pub hooks: Arc<MemoryHooks>,
    pub clock: Arc<ShiftedClock>,
    readiness: Arc<Readiness>,
}

/// Controllers at work; they end with it.
pub(crate) struct Running {
    end: watch::Sender<bool>,
    controllers: JoinHandle<()>,
}

impl Operator {
    /// With the CRDs in place and nothing at work yet.
    pub(crate) async fn new() -> Self {
        Self::with(Arc::default(), Arc::default()).await
    }

    /// Another one over the same buckets, keys, sessions and pods.
    pub(crate) async fn beside(&self) -> Self {
        Self::with(self.regions.clone(), self.hooks.clone()).await
    }

    async fn with(regions: Arc<MemoryRegions>, hooks: Arc<MemoryHooks>) -> Self {
        let server = api_server::shared().await;
        let metrics = Arc::new(Metrics::default());
        let connections = Connections::with(server.config().await, &metrics).unwrap();
        for crd in tray_api::crds::all_crds() {
            api_server::apply(&server.client().await, &serde_json::to_value(crd).unwrap()).await;
        }
        let clock = Arc::new(ShiftedClock::default());
        let mut ctx = Context::new(Parts {
            connections,
            identity: "test".to_owned(),
            regions: regions.clone(),
            clock: clock.clone(),
            settings: Settings {
                concurrency: 4,
                api_server_ports: vec![443],
                support_groups: vec!["support".to_owned(), "sre".to_owned()],
                mover_image: "tray.example/operator:dev".to_owned(),
                mover_image_pull_policy: None,
                ca_bundle: None,
                webhooks: true,
            },
            cluster_uid: "cluster".to_owned(),
            metrics,
        });
        ctx.hooks = hooks.clone();
        Self {
            ctx: Arc::new(ctx),
            regions,
            hooks,
            clock,
            readiness: Arc::default(),
        }
    }

    /// Starts the watches and these drivers.
    pub(crate) async fn start(&self, drivers: Vec<Arc<dyn Driver>>) -> Running {
        let running = Running::of(drivers, &self.ctx, &self.readiness);
        // What is waited for is only known once the controllers have begun.
        let ready = api_server::eventually(async || {
            let known = !self.ctx.index.children.ids(ChildKind::Namespace).is_empty()
                || self.readiness.missing().is_empty();
            known.then_some(())
        });
        assert!(
            ready.await.is_some(),
            "waiting for {:?}",
            self.readiness.missing()
        );
        running
    }

    /// Requests so far that change something, as `verb resource` with their number.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.requests(&["create", "update", "patch", "delete"])
    }

    /// Requests so far with one of these verbs, as `verb resource number`.
    pub(crate) fn requests(&self, verbs: &[&str]) -> Vec<String> {
        let asked = requests::asked(&self.ctx.metrics);
        let these = asked.iter().filter(|asked| verbs.contains(&asked.verb.as_str()));
        let mut found: Vec<String> = these.map(ToString::to_string).collect();
        found.sort();
        found
    }
}

/// Passes of a controller so far.
pub(crate) fn passes(ctx: &Context, controller: &'static str) -> u64 {
    let controller = Controller { controller };
    ctx.metrics.reconciles.get_or_create(&controller).get()
}

impl Running {
    /// Starts the watches and these drivers.
    pub(crate) fn of(drivers: Vec<Arc<dyn Driver>>, ctx: &Arc<Context>, readiness: &Arc<Readiness>) -> Self {
        let (end, ends) = watch::channel(false);
        let controllers = operator::control(drivers, ctx.clone(), readiness.clone(), ends);
        Self {
            end,
            controllers: tokio::spawn(controllers),
        }
    }

    /// Ends the controllers as a kill would: whatever they have in hand stays as it is.
    pub(crate) async fn cut_off(self) {
        self.controllers.abort();
        let _ = self.controllers.await;
    }

    /// Ends the controllers in order.
    pub(crate) async fn stop(self) {
        self.end.send(true).unwrap();
        self.controllers.await.unwrap();
    }
}
