//! What an org may use. Two quotas: one on objects and storage, one on pods, CPU and memory that leaves the movers'
//! PriorityClass out, so that a full org still gets its snapshot.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Value, json};
use tray_api::{
    region::{PlanValues, RegionSpec},
    shared::Quota,
    trayorg::{Plan, TrayOrgSpec},
    workload::Workload,
};
use tray_domain::{
    names,
    quantity::{self, milli},
};

use super::{Placement, pod};
use crate::resources::child::{ChildKind, DesiredChild};

/// Name of the quota on objects and storage.
pub const OBJECTS_QUOTA: &str = "tray-objects";
/// Name of the quota on pods, CPU and memory.
pub const PODS_QUOTA: &str = "tray-pods";
/// Name of the LimitRange.
pub const LIMIT_RANGE: &str = "tray-defaults";
/// CPU that a container requests which says nothing.
pub const DEFAULT_CPU: &str = "50m";
/// Memory that a container requests, and is limited to, which says nothing.
pub const DEFAULT_MEMORY: &str = "128Mi";

/// The limits of [`Limits`] as quotas name them. What Kubernetes counts of them is remembered.
pub const LIMITED: [&str; 4] = [CPU, MEMORY, STORAGE, PODS];
const CPU: &str = "requests.cpu";
const MEMORY: &str = "requests.memory";
const STORAGE: &str = "requests.storage";
const PODS: &str = "pods";

/// Limits of an org, none left open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// CPU that all pods together may request.
    pub cpu: String,
    /// Memory that all pods together may request.
    pub memory: String,
    /// Storage that all claims together may request.
    pub storage: String,
    /// Number of pods.
    pub pods: i32,
}

/// What a plan gives where the Region does not say.
fn built_in(plan: Plan) -> Limits {
    let (cpu, memory, storage, pods) = match plan {
        Plan::Pro => ("4", "8Gi", "100Gi", 50),
        Plan::Team => ("8", "16Gi", "200Gi", 100),
        Plan::Enterprise => ("16", "32Gi", "500Gi", 200),
    };
    Limits {
        cpu: cpu.to_owned(),
        memory: memory.to_owned(),
        storage: storage.to_owned(),
        pods,
    }
}

/// What the Region says of a plan.
pub fn plan_values(region: &RegionSpec, plan: Plan) -> Option<&PlanValues> {
    region.plans.iter().find(|values| values.name == plan)
}

/// Each limit is the org's own; else the Region's for its plan; else the plan's built-in one.
pub fn limits(org: &TrayOrgSpec, region: &RegionSpec) -> Limits {
    let regional = plan_values(region, org.plan).and_then(|values| values.quota.as_ref());
    let layers: Vec<&Quota> = [Some(&org.quota), regional].into_iter().flatten().collect();
    let quantity = |field: fn(&Quota) -> &Option<Quantity>, otherwise: String| {
        let chosen = layers.iter().find_map(|quota| field(quota).as_ref());
        chosen.map_or(otherwise, |quantity| quantity.0.clone())
    };
    let plan = built_in(org.plan);
    Limits {
        cpu: quantity(|q| &q.cpu, plan.cpu),
        memory: quantity(|q| &q.memory, plan.memory),
        storage: quantity(|q| &q.storage, plan.storage),
        pods: layers.iter().find_map(|quota| quota.pods).unwrap_or(plan.pods),
    }
}

/// One limit of a quota that is in the cluster, and what is used of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaUse {
    /// One of [`LIMITED`].
    pub resource: &'static str,
    /// What the quota allows now.
    pub hard: String,
    /// What Kubernetes counts.
    pub used: String,
}

/// More is used than the org is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    /// One of [`LIMITED`].
    pub resource: &'static str,
    /// What is used.
    pub used: String,
    /// What it is given.
    pub given: String,
    /// How much is too much.
    pub by: String,
}

/// Limits that take no room away which is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitted {
    /// What the quotas say for now.
    pub limits: Limits,
    /// Where the org is given less than it uses.
    pub excess: Vec<Excess>,
    /// How many of [`LIMITED`] Kubernetes has counted.
    pub counted: usize,
}

impl Limits {
    fn of(&self, resource: &str) -> String {
        match resource {
            CPU => self.cpu.clone(),
            MEMORY => self.memory.clone(),
            STORAGE => self.storage.clone(),
            _ => self.pods.to_string(),
        }
    }

    fn hold(&mut self, resource: &str, hard: &str) {
        match resource {
            CPU => hard.clone_into(&mut self.cpu),
            MEMORY => hard.clone_into(&mut self.memory),
            STORAGE => hard.clone_into(&mut self.storage),
            _ => self.pods = hard.parse().unwrap_or(self.pods),
        }
    }
}

/// A limit that was lowered below what is used stays as it is until that fits: pods that run, and those that replace them
/// in a rollout, would be refused else.
pub fn fit(given: Limits, uses: &[QuotaUse]) -> Fitted {
    let mut fitted = Fitted {
        limits: given.clone(),
        excess: Vec::new(),
        counted: uses.len(),
    };
    for present in uses {
        let wanted = given.of(present.resource);
        let (Some(limit), Some(hard), Some(used)) =
            (milli(&wanted), milli(&present.hard), milli(&present.used))
        else {
            continue;
        };
        if used <= limit {
            continue;
        }
        if hard > limit {
            fitted.limits.hold(present.resource, &present.hard);
        }
        let shown = match present.resource {
            MEMORY | STORAGE => quantity::bytes,
            _ => quantity::plain,
        };
        fitted.excess.push(Excess {
            resource: present.resource,
            used: shown(used),
            given: wanted,
            by: shown(used - limit),
        });
    }
    fitted
}

/// What a child takes of the limits of [`LIMITED`].
pub fn taken_by(child: &DesiredChild) -> Vec<(&'static str, String)> {
    let storage = child.body["spec"]["resources"]["requests"]["storage"].as_str();
    let is_claim = child.id.kind == ChildKind::PersistentVolumeClaim;
    let taken = storage
        .filter(|_| is_claim)
        .map(|size| (STORAGE, size.to_owned()));
    taken.into_iter().collect()
}

/// What one pod more of a workload takes of them.
pub fn taken_by_pod(workload: &Workload) -> Vec<(&'static str, String)> {
    let (cpu, memory) = pod::requests(workload.resources.as_ref());
    vec![(PODS, "1".to_owned()), (CPU, cpu), (MEMORY, memory)]
}

/// Whether a quota has no room for that, by what Kubernetes counts.
pub fn is_full(uses: &[QuotaUse], taken: &[(&'static str, String)]) -> bool {
    let exceeds = |(resource, amount): &(&'static str, String)| {
        let of_it = uses.iter().find(|present| present.resource == *resource);
        let numbers = of_it.and_then(|of| Some((milli(&of.used)?, milli(&of.hard)?, milli(amount)?)));
        numbers.is_some_and(|(used, hard, amount)| used.saturating_add(amount) > hard)
    };
    taken.iter().any(exceeds)
}

/// Both quotas.
pub fn quotas(placement: &Placement, limits: &Limits) -> Vec<DesiredChild> {
    vec![
        child(
            placement,
            ChildKind::ResourceQuota,
            OBJECTS_QUOTA,
            &objects(limits),
        ),
        child(placement, ChildKind::ResourceQuota, PODS_QUOTA, &pods(limits)),
    ]
}

/// What containers get that say nothing.
pub fn limit_range(placement: &Placement) -> DesiredChild {
    let spec = json!({"limits": [{
        "type": "Container",
        "default": {"memory": DEFAULT_MEMORY},
        "defaultRequest": {"cpu": DEFAULT_CPU, "memory": DEFAULT_MEMORY},
    }]});
    child(placement, ChildKind::LimitRange, LIMIT_RANGE, &spec)
}

fn child(placement: &Placement, kind: ChildKind, name: &str, spec: &Value) -> DesiredChild {
    let body = json!({"metadata": {"labels": placement.labels()}, "spec": spec});
    DesiredChild::new(kind, placement.namespace.clone(), name, body)
}

fn objects(limits: &Limits) -> Value {
    json!({
        "hard": {
            STORAGE: limits.storage,
            // Enough for any org, and a bound on what a mistake can fill etcd with.
            "persistentvolumeclaims": "200",
            "count/secrets": "500",
            "count/configmaps": "500",
            "services": "100",
            // An org is reached through the platform's gateway alone.
            "services.loadbalancers": "0",
            "services.nodeports": "0",
        },
        "scopeSelector": null,
        "scopes": null,
    })
}

fn pods(limits: &Limits) -> Value {
    json!({
        "hard": {
            PODS: limits.pods.to_string(),
            CPU: limits.cpu,
            MEMORY: limits.memory,
        },
        "scopeSelector": {"matchExpressions": [{
            "scopeName": "PriorityClass",
            "operator": "NotIn",
            "values": [names::MOVER_PRIORITY_CLASS],
        }]},
        "scopes": null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::org::{claim, fixtures};

    #[expect(clippy::unnecessary_wraps, reason = "what the fields of a quota are")]
    fn quantity(text: &str) -> Option<Quantity> {
        Some(Quantity(text.to_owned()))
    }

    #[test]
    fn a_quota_is_full_where_its_numbers_leave_no_room() {
        let uses = |used: [&str; 4]| -> Vec<QuotaUse> {
            let limits = LIMITED.iter().zip(["4", "8Gi", "100Gi", "50"]).zip(used);
            let of = |((resource, hard), used): ((&&'static str, &str), &str)| QuotaUse {
                resource,
                hard: hard.to_owned(),
                used: used.to_owned(),
            };
            limits.map(of).collect()
        };
        let pod = taken_by_pod(&fixtures::database());
        let (placement, region) = (fixtures::placement(), fixtures::region());
        let claim = taken_by(&claim::claims(&placement, &region, &fixtures::database())[0]);
        for (used, pod_fits, claim_fits) in [
            (["0", "0", "0", "0"], true, true),
            (["0", "0", "0", "50"], false, true),
            (["4", "0", "0", "0"], false, true),
            (["0", "8Gi", "0", "0"], false, true),
            (["0", "0", "100Gi", "49"], true, false),
            (["0", "0", "90Gi", "49"], true, true),
        ] {
            let uses = uses(used);
            assert_eq!(
                (!is_full(&uses, &pod), !is_full(&uses, &claim)),
                (pod_fits, claim_fits),
                "{used:?}"
            );
        }
        // What nobody has counted is not full.
        assert!(!is_full(&[], &pod));
    }

    #[test]
    fn each_limit_is_the_orgs_else_the_regions_else_the_plans() {
        let (mut org, mut region) = (fixtures::org(), fixtures::region());
        org.plan = Plan::Team;
        assert_eq!(limits(&org, &region), built_in(Plan::Team));
        let quota = Quota {
            cpu: quantity("10"),
            memory: quantity("20Gi"),
            ..Quota::default()
        };
        region.plans = vec![PlanValues {
            name: Plan::Team,
            quota: Some(quota),
            min_replicas: None,
        }];
        org.quota = Quota {
            cpu: quantity("12.5"),
            pods: Some(7),
            ..Quota::default()
        };
        let want = Limits {
            cpu: "12.5".into(),
            memory: "20Gi".into(),
            storage: "200Gi".into(),
            pods: 7,
        };
        assert_eq!(limits(&org, &region), want);
        org.plan = Plan::Pro;
        assert_eq!(
            limits(&org, &region).memory,
            "8Gi",
            "another plan's values are not its own"
        );
    }

    fn in_use(resource: &'static str, hard: &str, used: &str) -> QuotaUse {
        QuotaUse {
            resource,
            hard: hard.to_owned(),
            used: used.to_owned(),
        }
    }

    #[test]
    fn p3_a_lower_limit_waits_until_what_is_used_fits_and_each_waits_alone() {
        // Team: 8 CPU, 16Gi, 200Gi, 100 pods; Enterprise had twice that.
        for (uses, cpu, memory, pods, excess) in [
            (vec![], "8", "16Gi", 100, &[][..]),
            (vec![in_use(CPU, "16", "8")], "8", "16Gi", 100, &[]),
            (
                vec![in_use(CPU, "16", "8500m")],
                "16",
                "16Gi",
                100,
                &[("8500m", "8", "500m")],
            ),
            (
                vec![
                    in_use(CPU, "16", "3"),
                    in_use(MEMORY, "32Gi", "24Gi"),
                    in_use(PODS, "200", "120"),
                ],
                "8",
                "32Gi",
                200,
                &[("24Gi", "16Gi", "8Gi"), ("120", "100", "20")],
            ),
            // More is used than even the old quota gives: it is not raised for that.
            (
                vec![in_use(PODS, "100", "120")],
                "8",
                "16Gi",
                100,
                &[("120", "100", "20")],
            ),
            (
                vec![in_use(PODS, "50", "120")],
                "8",
                "16Gi",
                100,
                &[("120", "100", "20")],
            ),
        ] {
            let fitted = fit(built_in(Plan::Team), &uses);
            let limits = (
                fitted.limits.cpu.as_str(),
                fitted.limits.memory.as_str(),
                fitted.limits.pods,
            );
            assert_eq!(limits, (cpu, memory, pods), "{uses:?}");
            let found: Vec<_> = fitted
                .excess
                .iter()
                .map(|e| (e.used.as_str(), e.given.as_str(), e.by.as_str()))
                .collect();
            assert_eq!(found, excess, "{uses:?}");
            assert_eq!(fitted.counted, uses.len());
        }
    }

    #[test]
    fn the_pods_quota_leaves_the_movers_out() {
        let children = quotas(&fixtures::placement(), &built_in(Plan::Team));
        let pods = children.iter().find(|c| c.id.name == PODS_QUOTA).unwrap();
        let expression = &pods.body["spec"]["scopeSelector"]["matchExpressions"][0];
        assert_eq!(expression["operator"], "NotIn");
        assert_eq!(expression["values"], json!(["tray-mover"]));
        let objects = children.iter().find(|c| c.id.name == OBJECTS_QUOTA).unwrap();
        assert!(objects.body["spec"]["hard"].get("pods").is_none());
        assert_eq!(objects.body["spec"]["hard"]["services.loadbalancers"], "0");
    }
}
