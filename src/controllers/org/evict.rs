//! Deletes pods that run outside of their org's region, where the Region says so. Never their volumes, never a mover (its
//! run would be lost: it ends by itself), and nothing in a namespace that is not the org's.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use kube::ResourceExt;
use tracing::warn;
use tray_api::region::OnViolation;
use tray_domain::eviction::{AT_ONCE, Rounds};

use super::{places, validate::Valid};
use crate::{
    adapters::kube::{events::Severity, facts::PodFact},
    controllers::{context::Context, view::org::OrgView},
};

/// The rounds of each org, by name. In memory: a start forgets them, which costs one round at most.
#[derive(Default)]
pub(super) struct Evictions(Mutex<HashMap<String, Rounds>>);

impl Evictions {
    fn rounds(&self) -> MutexGuard<'_, HashMap<String, Rounds>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The org is gone.
    pub(super) fn forget(&self, org: &str) {
        self.rounds().remove(org);
    }

    /// Deletes what is due. Returns when to look again, where pods are left that have to wait.
    pub(super) async fn evict(
        &self,
        ctx: &Context,
        observed: &OrgView,
        valid: &Valid,
        now: Timestamp,
    ) -> Option<Duration> {
        let candidates = candidates(observed, valid);
        if candidates.is_empty() {
            return None;
        }
        let org = observed.org.name_any();
        let wait = self.rounds().get(&org).and_then(|rounds| rounds.wait(now));
        if let Some(wait) = wait {
            return Some(Duration::try_from(wait).unwrap_or_default());
        }
        self.rounds().entry(org.clone()).or_default().took_place(now);
        for pod in candidates.iter().take(AT_ONCE) {
            delete(ctx, observed, pod).await;
        }
        let next = self.rounds().get(&org).and_then(|rounds| rounds.wait(now));
        next.and_then(|wait| Duration::try_from(wait).ok())
    }
}

/// The pods that may be deleted: of the org's own namespace, and no movers.
fn candidates<'a>(observed: &'a OrgView, valid: &Valid) -> Vec<&'a PodFact> {
    if valid.region.spec.on_violation != OnViolation::Evict {
        return Vec::new();
    }
    let placement = &valid.placement;
    let elsewhere = observed
        .pods
        .iter()
        .filter(|placed| places::is_elsewhere(placed, &placement.region));
    elsewhere
        .map(|placed| &*placed.pod)
        .filter(|pod| pod.namespace == placement.namespace && !pod.mover && !pod.deleting)
        .collect()
}

/// A pod that cannot be deleted stays in the condition, and the next round tries again.
async fn delete(ctx: &Context, observed: &OrgView, pod: &PodFact) {
    let deleted = ctx
        .cluster
        .delete_pod(&pod.namespace, &pod.name, &pod.identity.uid)
        .await;
    let node = pod.node.as_deref().unwrap_or_default();
    let (reason, note) = match deleted {
        Ok(true) => (
            "PodEvicted",
            format!(
                "pod {} ran on node {node}, outside of the org's region: deleted",
                pod.name
            ),
        ),
        Ok(false) => return,
        Err(error) => (
            "PodNotEvicted",
            format!(
                "pod {} runs on node {node}, outside of the org's region, and cannot be deleted: {error}",
                pod.name
            ),
        ),
    };
    warn!(pod = pod.name, node, reason, "a pod outside of its region");
    ctx.events
        .publish(&*observed.org, Severity::Warning, reason, "Evict", note)
        .await;
}
