//! Which of several operators works: the one that holds a Lease.
//!
//! A process that loses the Lease ends, and starts anew as one that waits: nothing that it had in hand goes on. While
//! the API server cannot be reached nothing tells a leader that it lost the Lease; until then what it writes to the
//! cluster fails for the same reason, and what it writes to a ledger is conditional on nobody else having written. One that stood
//! still may find out some seconds late: [`super::leadership`] keeps it from writing over statuses meanwhile.

use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::{sync::watch, task::JoinHandle};
use tracing::warn;
use tray_domain::names;

use super::answer::told_beneath;

/// Name of the Lease.
pub const LEASE: &str = "tray-operator";
/// How long a Lease holds without being renewed, in seconds: another takes over at most this long after a crash.
const DURATION: u64 = 15;
/// How long before its end it is renewed, in seconds; also how far clocks may differ.
const GRACE: u64 = 5;

/// Why one cannot stand for election.
#[derive(Debug, thiserror::Error)]
#[error("failed to use the Lease {LEASE} in namespace {namespace}: {source}", namespace = names::SYSTEM_NAMESPACE)]
pub struct Error {
    source: Box<LeaseManagerError>,
}

/// One's part in the election.
pub struct Election {
    leads: watch::Receiver<bool>,
    keeper: JoinHandle<Result<LeaseManager, LeaseManagerError>>,
}

impl Election {
    /// Stands for election as `identity`, which no other process has.
    pub async fn stand(client: Client, identity: &str) -> Result<Self, Error> {
        let manager = LeaseManagerBuilder::new(client, LEASE)
            .with_namespace(names::SYSTEM_NAMESPACE)
            .with_identity(identity)
            .with_duration(DURATION)
            .with_grace(GRACE)
            .build()
            .await
            .map_err(|source| Error {
                source: Box::new(source),
            })?;
        let (leads, keeper) = manager.watch().await;
        Ok(Self { leads, keeper })
    }

    /// Until one leads.
    pub async fn won(&mut self) {
        self.until(true).await;
    }

    /// Until one leads no more.
    pub async fn lost(&mut self) {
        self.until(false).await;
    }

    async fn until(&mut self, leads: bool) {
        while *self.leads.borrow_and_update() != leads {
            if self.leads.changed().await.is_err() {
                // The keeper ended, so nobody renews the Lease: it is lost, and never won.
                if leads {
                    std::future::pending::<()>().await;
                }
                return;
            }
        }
    }

    /// Gives the Lease back, so that another can take over at once.
    pub async fn resign(self) {
        let Self { leads, keeper } = self;
        // The keeper gives it back when nobody listens any more.
        drop(leads);
        match keeper.await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                let error = told_beneath(&error);
                warn!(error, "failed to give the Lease back: it runs out by itself");
            }
            Err(error) => warn!(%error, "failed to give the Lease back: it runs out by itself"),
        }
    }
}
