//! Which of several operators works: the one that holds a Lease.
//!
//! A process that loses the Lease ends, and starts anew as one that waits: nothing that it had in hand goes on. While
//! the API server cannot be reached, or the process stands still, nothing tells a leader that it lost the Lease; until then
//! what it writes to the cluster fails or is late ([`super::leadership`] keeps it from writing over statuses meanwhile), and what
//! it writes to a ledger comes before the claim of the next one, or not at all: before a claim the API server is asked who holds
//! the Lease ([`LeaseLook`]).

use std::sync::Arc;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::{sync::watch, task::JoinHandle};
use tracing::{info, warn};
use tray_domain::{ids::OrgId, names};
use tray_ledger::{Leadership, LeaseUnknown, Term};
use tray_ports::Clock;

use crate::telemetry::metrics::Metrics;

use super::answer::{told, told_beneath};

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

/// Whether a process leads, asked of the API server each time.
pub struct LeaseLook {
    leases: Api<Lease>,
    identity: String,
    holder: String,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl LeaseLook {
    /// Of the process that stands for election as `identity`. `holder` names it in claims: it is not called so after it has started
    /// anew.
    pub fn new(
        client: Client,
        identity: &str,
        holder: String,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            leases: Api::namespaced(client, names::SYSTEM_NAMESPACE),
            identity: identity.to_owned(),
            holder,
            clock,
            metrics,
        }
    }
}

#[async_trait]
impl Leadership for LeaseLook {
    fn holder(&self) -> &str {
        &self.holder
    }

    async fn term(&self) -> Result<Option<Term>, LeaseUnknown> {
        let asked = self.leases.get_opt(LEASE).await;
        let lease = asked.map_err(|error| LeaseUnknown(told(&error)))?;
        let now = self.clock.now();
        Ok(lease.and_then(|lease| term_of(&lease, &self.identity, now)))
    }

    fn has_claimed(&self, org: &OrgId, epoch: u64) {
        self.metrics.ledger_claims.inc();
        info!(%org, epoch, holder = self.holder, "the ledger of the org is claimed");
    }
}

/// The term of that process, if it holds the Lease and that has not run out: its holder renews it by the same clock. Whoever takes the
/// Lease writes when; where it was deleted, it is another object. What counts holders is not gone by: it is written a moment later.
fn term_of(lease: &Lease, identity: &str, now: Timestamp) -> Option<Term> {
    let spec = lease.spec.as_ref()?;
    let (renewed, seconds) = (spec.renew_time.as_ref()?, spec.lease_duration_seconds?);
    let holds_for = SignedDuration::from_secs(seconds.into());
    let is_held =
        spec.holder_identity.as_deref() == Some(identity) && now.duration_since(renewed.0) < holds_for;
    let acquired = spec.acquire_time.as_ref().map(|at| at.0.to_string());
    let uid = lease.metadata.uid.clone().unwrap_or_default();
    is_held.then(|| Term(format!("{uid} {}", acquired.unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_lease_is_held_by_whom_it_names_until_it_runs_out() {
        let now: Timestamp = "2026-01-01T00:00:10Z".parse().unwrap();
        let held = |spec: &Value| {
            let lease: Lease = serde_json::from_value(json!({"spec": spec})).unwrap();
            term_of(&lease, "one", now).is_some()
        };
        let spec = |holder: &str, renewed: &str| json!({"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 15});
        assert!(held(&spec("one", "2026-01-01T00:00:00.000000Z")));
        assert!(!held(&spec("two", "2026-01-01T00:00:00.000000Z")));
        assert!(held(&spec("one", "2025-12-31T23:59:55.100000Z")));
        assert!(
            !held(&spec("one", "2025-12-31T23:59:55.000000Z")),
            "it has run out"
        );
        for given_back in [Value::Null, json!({}), json!({"holderIdentity": "one"})] {
            assert!(!held(&given_back), "{given_back}");
        }
    }

    #[test]
    fn a_term_lasts_until_the_lease_was_taken_anew_or_deleted() {
        let now: Timestamp = "2026-01-01T00:00:10Z".parse().unwrap();
        let term = |uid: &str, acquired: &str, renewed: &str, transitions: i32| {
            let lease: Lease = serde_json::from_value(json!({"metadata": {"uid": uid}, "spec": {
                "holderIdentity": "one", "acquireTime": acquired, "renewTime": renewed, "leaseDurationSeconds": 15,
                "leaseTransitions": transitions,
            }}))
            .unwrap();
            term_of(&lease, "one", now).unwrap()
        };
        let (early, late) = ("2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:09.000000Z");
        let first = term("a", early, early, 1);
        assert_eq!(term("a", early, late, 2), first);
        assert_ne!(term("a", late, late, 2), first);
        assert_ne!(term("b", early, early, 1), first);
    }
}
