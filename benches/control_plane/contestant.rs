//! The operator as the product runs it: elected, with all of its controllers; AWS alone is in memory.

use std::{sync::Arc, time::Duration};

use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;
use tray_api::{conditions::types, trayorg::TrayOrg};
use tray_domain::mover_task::BucketLocation;
use tray_ledger::RemoteError;
use tray_operator::{
    adapters::{
        clock::SystemClock,
        kube::{client::Connections, leader::Election},
    },
    config::Settings,
    controllers::{
        Driver,
        conditions::is_true,
        context::{Context, Parts},
    },
    operator::control,
    telemetry::{
        metrics::{Controller, Metrics},
        readiness::Readiness,
    },
};
use tray_ports::{RegionBucket, RegionPorts, RegionServices};
use tray_testkit::memory::{MemoryKeys, MemorySessions};

use super::{counted::CountedStore, population::API_SERVER_PORTS};

/// What stands before that number.
pub(crate) const S3_REQUESTS: &str = "S3 requests: ";

struct InMemory(RegionServices);

impl RegionPorts for InMemory {
    fn services(&self, _: &BucketLocation) -> Result<RegionServices, RemoteError> {
        Ok(self.0.clone())
    }
}

/// What comes after every org is Ready, if anything, comes within that time.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// Runs until it is killed. Says `settled` once every org has been looked at, `done` once every org is Ready, and a while later
/// how often S3 was asked by then. The first two are read off its own metrics and index: a reader of the audit log would take
/// time from the API server that the ghost's run does not lose.
pub(crate) async fn run(orgs: usize, drivers: Vec<Arc<dyn Driver>>, store: Arc<dyn RegionBucket>) {
    let store = Arc::new(CountedStore::over(store));
    let metrics = Arc::new(Metrics::default());
    let connections = Connections::infer(&metrics).await.unwrap();
    let mut election = Election::stand(connections.watches.clone(), "bench")
        .await
        .unwrap();
    election.won().await;
    let ctx = Arc::new(Context::new(Parts {
        connections,
        identity: "bench".to_owned(),
        clock: Arc::new(SystemClock),
        regions: Arc::new(InMemory(RegionServices {
            store: store.clone(),
            keys: Arc::new(MemoryKeys::default()),
            sessions: Arc::new(MemorySessions::default()),
        })),
        settings: Settings {
            concurrency: 16,
            api_server_ports: API_SERVER_PORTS.into(),
            support_groups: vec![],
            webhooks: false,
            mover_image: "operator:bench".to_owned(),
            mover_image_pull_policy: None,
            ca_bundle: None,
        },
        cluster_uid: "bench".to_owned(),
        metrics: metrics.clone(),
    }));
    let known = ctx.index.clone();
    let (_end, ends) = watch::channel(false);
    let controllers = tokio::spawn(control(drivers, ctx, Arc::new(Readiness::default()), ends));
    let wanted = orgs as u64;
    let looks = metrics
        .reconciles
        .get_or_create(&Controller { controller: "org" })
        .clone();
    reaches(&looks, wanted).await;
    println!("settled");
    while known.orgs.all().iter().filter(|org| is_ready(org)).count() < orgs {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("done");
    tokio::time::sleep(AFTERWARDS).await;
    println!("{S3_REQUESTS}{}", store.asked());
    controllers.await.unwrap();
}

fn is_ready(org: &TrayOrg) -> bool {
    let status = org.status.as_ref();
    status.is_some_and(|status| is_true(&status.conditions, types::READY))
}

async fn reaches(counter: &Counter, wanted: u64) {
    while counter.get() < wanted {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
