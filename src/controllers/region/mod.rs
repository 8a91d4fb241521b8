//! The Region controller: counts nodes, zones and orgs, looks at the storage class, and asks S3 and KMS whether the
//! backup location is what the spec says.
//!
//! Ready = nodes, storage class and backup location are as specified. Too few zones are a condition of their own: orgs
//! keep running. The backup location is asked for when the spec changed, once a day, and after a growing pause where it
//! was not in order. While a service does not answer, what was found before stands.

#[cfg(test)]
pub(crate) mod fixtures;
pub mod location;
pub mod log_location;
pub mod place;
mod verification;
mod violations;
mod workloads;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::ResourceExt;
use tray_api::{
    conditions::{reasons, types},
    region::{Region, RegionStatus},
    trayorg::TrayOrg,
};

use super::{
    Blocked, Driver, Requeue,
    changes::Change,
    conditions::{ConditionFact, Conditions, Truth, find},
    context::Context,
    until,
};
use crate::{
    adapters::kube::{events::Severity, index::Index},
    controllers::view::region::is_elsewhere,
    telemetry::metrics::InRegion,
};
use location::LocationVerdict;
use place::Nodes;
use verification::{PAUSES, Verification, Verifications};
use violations::Violations;

/// How long the count of orgs may lag behind: a thousand orgs that come at once are counted a few times.
const COUNTING: Duration = Duration::from_secs(5);

/// The shortest pause before a workload goes that was taken off the list.
const MOMENT: Duration = Duration::from_secs(1);

/// The Region controller.
#[derive(Default)]
pub struct RegionDriver {
    verified: Verifications,
}

#[async_trait::async_trait]
impl Driver for RegionDriver {
    fn name(&self) -> &'static str {
        "region"
    }

    fn map_to_keys(&self, change: &Change, index: &Index) -> Vec<String> {
        match change {
            Change::Region(name) => vec![name.clone()],
            Change::Node { regions, .. } => index
                .regions
                .names_where(|r| regions.contains(&r.spec.cloud_region)),
            Change::GatewayApi => index.regions.names_where(|r| r.spec.ingress.is_some()),
            Change::StorageClass(class) => index
                .regions
                .names_where(|r| r.spec.storage.storage_class_name == *class),
            // The number of orgs: of one that is gone nobody knows any more where it was.
            Change::Org(org) => match index.orgs.get(org) {
                Some(org) => placed_in(&org).map(str::to_owned).into_iter().collect(),
                None => index.regions.names(),
            },
            _ => Vec::new(),
        }
    }

    fn debounce(&self, change: &Change, index: &Index) -> Duration {
        match change {
            Change::Org(_) => COUNTING,
            // The echo of its own status, as a rule: while orgs come, each would have the next one written at once.
            Change::Region(name) if self.verified.know(name, index) => COUNTING,
            _ => Duration::ZERO,
        }
    }

    fn keys(&self, index: &Index) -> Vec<String> {
        index.regions.names()
    }

    fn region(&self, _: &Index, key: &str) -> Option<String> {
        Some(key.to_owned())
    }

    async fn reconcile(&self, ctx: &Arc<Context>, key: &str) -> Result<Requeue, Blocked> {
        let Some(region) = ctx.index.regions.get(key) else {
            self.verified.forget(key);
            return Ok(Requeue::OnChange);
        };
        let now = ctx.now();
        let verification = self.verified.of(ctx, &region, now).await;
        let ingress = place::ingress(&region.spec, ctx.settings.webhooks, ctx.index.has_gateway_api());
        // Orgs went on while S3 was asked.
        let found = workloads::look(&ctx.index, &region, now);
        let next = found.next;
        let (status, violations) = status(&ctx.index, &region, &verification, ingress.as_ref(), found, now);
        measure(ctx, key);
        violations.measure(&ctx.metrics, key);
        let old = region.status.as_ref();
        if ctx.cluster.write_status(&*region, old, &status).await? {
            announce(ctx, &region, old, &status).await;
        }
        let pause = verification.left(&region, now).unwrap_or(PAUSES.0);
        let pause = next.map_or(pause, |at| pause.min(until(at, now).max(MOMENT)));
        // Whichever is not in order is looked at again; the backup location is told first.
        let amiss = |verdict: &&LocationVerdict| !matches!(verdict, LocationVerdict::Found(fact) if fact.status == Truth::True);
        let verdicts = [Some(&verification.verdict), verification.logs.as_ref()];
        let worst = verdicts.into_iter().flatten().find(amiss);
        match worst.unwrap_or(&verification.verdict) {
            LocationVerdict::Unanswered(why) => Err(Blocked::time(reasons::RETRYING, why.clone(), pause)),
            LocationVerdict::Found(fact) if fact.status != Truth::True => {
                let blocked = Blocked::person(reasons::BUCKET_NOT_SAFE, fact.message.clone());
                Err(blocked.looked_at(Requeue::After(pause)))
            }
            LocationVerdict::Found(_) => Ok(Requeue::After(pause)),
        }
    }
}

/// The Region an org is placed in.
fn placed_in(org: &TrayOrg) -> Option<&str> {
    Some(org.status.as_ref()?.region.as_ref()?.name.as_str())
}

/// Shows the Region's orgs and the oldest of their newest copies.
fn measure(ctx: &Context, region: &str) {
    let all = ctx.index.orgs.all();
    let placed: Vec<_> = all.iter().filter(|org| placed_in(org) == Some(region)).collect();
    let copies: Vec<_> = placed.iter().filter_map(|org| newest_copy(org)).collect();
    let labels = InRegion {
        region: region.to_owned(),
    };
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let metrics = &ctx.metrics;
    metrics.orgs.get_or_create(&labels).set(count(placed.len()));
    metrics
        .without_copy
        .get_or_create(&labels)
        .set(count(placed.len() - copies.len()));
    match copies.iter().min() {
        Some(oldest) => {
            metrics.oldest_copy.get_or_create(&labels).set(oldest.as_second());
        }
        None => {
            metrics.oldest_copy.remove(&labels);
        }
    }
}

/// Consistency point of an org's newest good copy.
fn newest_copy(org: &TrayOrg) -> Option<Timestamp> {
    let backup = org.status.as_ref()?.backup.as_ref()?;
    Some(backup.consistency_point.as_ref()?.0)
}

/// Pure: what the status should be, and what it counts as violations.
fn status(
    index: &Index,
    region: &Region,
    verification: &Verification,
    ingress: Option<&ConditionFact>,
    workloads: workloads::RolloutFindings,
    now: Timestamp,
) -> (RegionStatus, Violations) {
    let (spec, generation) = (&region.spec, region.metadata.generation);
    let recorded = region
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.conditions);
    let nodes = Nodes::count(spec, &index.nodes.of(&spec.cloud_region));
    let class = index.storage_class(&spec.storage.storage_class_name);
    let fact = |verdict: &LocationVerdict, type_: &str| match verdict {
        LocationVerdict::Found(fact) => fact.clone(),
        LocationVerdict::Unanswered(why) => {
            // What was found for this very spec stands.
            let standing = find(recorded, type_)
                .filter(|recorded| recorded.observed_generation == generation)
                .map(ConditionFact::of);
            location::unanswered(standing, why)
        }
    };
    let located = fact(&verification.verdict, types::BACKUP_LOCATION_VERIFIED);
    let hardened = fact(&verification.hardened, types::BACKUP_LOCATION_HARDENED);
    let available = nodes.available(spec);
    let storage = place::storage_fault(spec, class.as_deref());

    let mut conditions = Conditions::new(recorded, generation, now);
    ready(&mut conditions, &available, storage.as_ref(), &located);
    conditions
        .set(types::NODES_AVAILABLE, &available)
        .set(types::ZONES_AVAILABLE, &nodes.zones_available(spec))
        .set(types::BACKUP_LOCATION_VERIFIED, &located)
        .set(types::BACKUP_LOCATION_HARDENED, &hardened)
        .set(types::WORKLOADS_ROLLED_OUT, &workloads.rolled_out);
    if let Some(logs) = &verification.logs {
        // A record that cannot be written keeps no org from running.
        conditions.set(
            types::LOG_LOCATION_VERIFIED,
            &fact(logs, types::LOG_LOCATION_VERIFIED),
        );
    }
    if let Some(ingress) = ingress {
        conditions.set(types::INGRESS_AVAILABLE, ingress);
    }
    let name = region.name_any();
    let orgs = index.orgs.all();
    let placed: Vec<&TrayOrg> = orgs
        .iter()
        .map(|org| &**org)
        .filter(|org| placed_in(org) == Some(&name))
        .collect();
    let violations = Violations::count(&placed, is_elsewhere(&located));
    let status = RegionStatus {
        observed_generation: generation,
        orgs: Some(i32::try_from(placed.len()).unwrap_or(i32::MAX)),
        violations: Some(violations.total()),
        nodes: Some(nodes.ready),
        zones: nodes.zones,
        workloads: Some(workloads.record),
        conditions: conditions.build(),
    };
    (status, violations)
}

/// Sets Ready, and Stalled or Reconciling where it is not.
fn ready(
    conditions: &mut Conditions<'_>,
    nodes: &ConditionFact,
    storage: Option<&ConditionFact>,
    located: &ConditionFact,
) {
    // What a person must mend comes first: nodes may come by themselves.
    if let Some(fault) = storage {
        conditions.stalled(&fault.reason, &fault.message);
    } else if located.status == Truth::False {
        conditions.stalled(&located.reason, &located.message);
    } else if located.status == Truth::Unknown {
        conditions.set(types::READY, located);
        conditions.reconciling(&located.reason, &located.message);
    } else if nodes.status == Truth::True {
        let message = "nodes, storage class and backup location are as specified";
        conditions.set(
            types::READY,
            &ConditionFact::new(true, reasons::AS_SPECIFIED, message),
        );
    } else {
        conditions.set(types::READY, nodes);
    }
}

/// Tells people what changed of readiness, and of a rollout that stopped.
async fn announce(ctx: &Context, region: &Region, old: Option<&RegionStatus>, new: &RegionStatus) {
    for (type_, action) in [(types::READY, "Verify"), (types::WORKLOADS_ROLLED_OUT, "RollOut")] {
        let before = old.and_then(|status| find(&status.conditions, type_));
        let Some(now) = find(&new.conditions, type_) else {
            continue;
        };
        let is_news = before.is_none_or(|before| before.status != now.status || before.reason != now.reason);
        if !is_news || (type_ == types::WORKLOADS_ROLLED_OUT && now.reason != reasons::ROLLOUT_STOPPED) {
            continue;
        }
        let severity = if now.status == "True" {
            Severity::Normal
        } else {
            Severity::Warning
        };
        ctx.events
            .publish(region, severity, &now.reason, action, now.message.clone())
            .await;
    }
}
