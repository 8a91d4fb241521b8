//! The operator as the product runs it: elected, with all of its controllers; AWS alone is in memory.

use std::{sync::Arc, time::Duration};

use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;
use tray_operator::{
    adapters::{
        clock::SystemClock,
        kube::{apply::Cluster, client::Connections, events::Events, index::Index, leader::Election},
        memory::{MemoryKeys, MemorySessions, MemoryStore},
    },
    config::Settings,
    controllers::{backup_facts::BackupFacts, changes::Changes, context::Context},
    operator::{control, drivers},
    ports::{BucketLocation, RegionPorts, RegionServices, RemoteError},
    telemetry::{
        metrics::{ApiRequest, Controller, Metrics},
        readiness::Readiness,
    },
};

use super::population::API_SERVER_PORTS;

struct InMemory(RegionServices);

impl RegionPorts for InMemory {
    fn services(&self, _: &BucketLocation) -> Result<RegionServices, RemoteError> {
        Ok(self.0.clone())
    }
}

/// Runs until it is killed. Says `settled` once every org has been looked at, and `done` once as many statuses were
/// written as there are orgs. Both are read off its own metrics: a reader of the audit log would take time from the API
/// server that the ghost's run does not lose.
pub async fn run(orgs: usize) {
    let metrics = Arc::new(Metrics::default());
    let Connections {
        calls: client,
        watches,
    } = Connections::infer(&metrics).await.unwrap();
    let mut election = Election::stand(watches.clone(), "bench").await.unwrap();
    election.won().await;
    let index = Arc::new(Index::default());
    let changes = Arc::new(Changes::new(index.clone()));
    let ctx = Arc::new(Context {
        cluster: Cluster::new(client.clone(), index.clone()).counting(metrics.clone()),
        events: Events::new(client.clone(), "bench"),
        backup_facts: BackupFacts::new(changes.clone()),
        index,
        client,
        watches,
        clock: Arc::new(SystemClock),
        regions: Arc::new(InMemory(RegionServices {
            store: Arc::new(MemoryStore::default()),
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
        changes,
        metrics: metrics.clone(),
    });
    let (_end, ends) = watch::channel(false);
    let controllers = tokio::spawn(control(drivers(), ctx, Arc::new(Readiness::default()), ends));
    let wanted = orgs as u64;
    let looks = metrics
        .reconciles
        .get_or_create(&Controller { controller: "org" })
        .clone();
    reaches(&looks, wanted).await;
    println!("settled");
    let statuses = ApiRequest {
        verb: "patch",
        resource: "trayorgs/status".to_owned(),
        code: 200,
    };
    let statuses = metrics.api_requests.get_or_create(&statuses).clone();
    reaches(&statuses, wanted).await;
    println!("done");
    controllers.await.unwrap();
}

async fn reaches(counter: &Counter, wanted: u64) {
    while counter.get() < wanted {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
