//! Counters and gauges, in the text format of Prometheus. Labels are bounded: never an org, never an error's text.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// Label of a controller.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Controller {
    pub controller: &'static str,
}

/// Labels of a failed reconcile.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ControllerError {
    pub controller: &'static str,
    /// stall, wait or retry.
    pub class: &'static str,
}

/// Labels of a request to the API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ApiRequest {
    pub verb: &'static str,
    /// Plural of the kind, with its subresource.
    pub resource: String,
    /// Status of the answer; 0 = none came.
    pub code: u16,
}

/// Labels of a run that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Run {
    /// snapshot or restore.
    pub kind: &'static str,
    /// good, suspicious or failed.
    pub result: &'static str,
}

/// Label of a cloud region.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct InRegion {
    /// Name of the Region.
    pub region: String,
}

/// Labels of what was found outside of its Region.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Violation {
    /// Name of the Region.
    pub region: String,
    /// pod, volume or backup.
    pub kind: &'static str,
}

/// Label of a kind of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfKind {
    pub kind: &'static str,
}

/// All metrics of the operator.
pub struct Metrics {
    registry: Mutex<Registry>,
    /// Reconciles that ended, well or not.
    pub reconciles: Family<Controller, Counter>,
    /// Reconciles that failed, by class.
    pub errors: Family<ControllerError, Counter>,
    /// How long reconciles take.
    pub duration: Family<Controller, Histogram>,
    /// Keys that are due or worked on.
    pub queue: Family<Controller, Gauge>,
    /// Requests to the API server.
    pub api_requests: Family<ApiRequest, Counter>,
    /// Writes of children that the API server, or who stands between, keeps otherwise than they were written.
    pub kept_otherwise: Family<OfKind, Counter>,
    /// Ledgers that this process has claimed, each time that it did.
    pub ledger_claims: Counter,
    /// Runs that ended.
    pub runs: Family<Run, Counter>,
    /// Orgs placed in a Region.
    pub orgs: Family<InRegion, Gauge>,
    /// Consistency point of the newest good copy of that org in a Region whose newest is the oldest. Its age is the
    /// scraper's to compute: an age would have to be written all the time.
    pub oldest_copy: Family<InRegion, Gauge>,
    /// Orgs placed in a Region of which there is no good copy.
    pub without_copy: Family<InRegion, Gauge>,
    /// When this cluster last said that it is there where a Region's copies are.
    pub heartbeat: Family<InRegion, Gauge>,
    /// What of a Region's orgs was found elsewhere.
    pub violations: Family<Violation, Gauge>,
    /// 1 while this process leads.
    pub leading: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("tray")),
            reconciles: Family::default(),
            errors: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 4.0, 8))),
            queue: Family::default(),
            api_requests: Family::default(),
            kept_otherwise: Family::default(),
            ledger_claims: Counter::default(),
            runs: Family::default(),
            orgs: Family::default(),
            oldest_copy: Family::default(),
            without_copy: Family::default(),
            heartbeat: Family::default(),
            violations: Family::default(),
            leading: Gauge::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&self) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register("reconciles", "Reconciles that ended", self.reconciles.clone());
        registry.register(
            "reconcile_errors",
            "Reconciles that failed, by class",
            self.errors.clone(),
        );
        registry.register_with_unit(
            "reconcile_duration",
            "How long reconciles take",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register("queue_keys", "Keys due or worked on", self.queue.clone());
        registry.register(
            "api_requests",
            "Requests to the API server",
            self.api_requests.clone(),
        );
        registry.register(
            "children_kept_otherwise",
            "Writes of children that the API server keeps otherwise than they were written",
            self.kept_otherwise.clone(),
        );
        registry.register(
            "ledger_claims",
            "Claims of ledgers of orgs: one a ledger in which a new leader does something",
            self.ledger_claims.clone(),
        );
        registry.register("runs", "Snapshots and restores that ended", self.runs.clone());
        registry.register("orgs", "Orgs placed in a Region", self.orgs.clone());
        registry.register_with_unit(
            "oldest_copy_timestamp",
            "Consistency point of the newest good copy of the org of a Region that has the oldest one",
            Unit::Seconds,
            self.oldest_copy.clone(),
        );
        registry.register(
            "orgs_without_copy",
            "Orgs placed in a Region of which there is no good copy",
            self.without_copy.clone(),
        );
        registry.register_with_unit(
            "heartbeat_timestamp",
            "When the heartbeat was last written where the copies of a Region are",
            Unit::Seconds,
            self.heartbeat.clone(),
        );
        registry.register(
            "residency_violations",
            "Pods, volumes and backup locations found outside of their Region",
            self.violations.clone(),
        );
        registry.register("leading", "1 while this process leads", self.leading.clone());
    }

    /// All of it as text.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(
            &mut text,
            &self.registry.lock().unwrap_or_else(PoisonError::into_inner),
        )?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::default();
        metrics
            .reconciles
            .get_or_create(&Controller { controller: "org" })
            .inc();
        metrics.leading.set(1);
        let text = metrics.render().unwrap();
        assert!(
            text.contains("tray_reconciles_total{controller=\"org\"} 1"),
            "{text}"
        );
        assert!(text.contains("tray_leading 1"), "{text}");
    }

    #[test]
    fn every_metric_is_in_the_documentation() {
        let docs = include_str!("../../docs/operations.md");
        let text = Metrics::default().render().unwrap();
        let described = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        for metric in described {
            let (name, kind) = metric.split_once(' ').unwrap();
            let shown = if kind == "counter" {
                format!("`{name}_total`")
            } else {
                format!("`{name}`")
            };
            assert!(docs.contains(&shown), "{shown}");
        }
    }
}
