//! What an org really runs: the region's workloads with the org's overrides, and the org's own.

use tray_api::{
    region::RegionSpec,
    trayorg::{Override, Plan, TrayOrgSpec, VolumeOverride},
    workload::{EnvVar, Resources, Workload, WorkloadKind},
};
use tray_domain::{names, quantity};

use super::quota::plan_values;

/// What an org runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effective {
    /// The region's workloads first.
    pub workloads: Vec<Workload>,
    /// Deployments whose replicas were raised to the plan's least number.
    pub raised: Vec<String>,
    /// Overrides, as `<name>` or `<name>.<field>`, that change nothing since there is nothing of that name.
    pub idle_overrides: Vec<String>,
}

/// Why the workloads cannot be put together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The region uses the name.
    #[error(
        "spec.workloads: {0} is the name of a workload of the region: rename it, or change the region's by spec.overrides"
    )]
    ByRegion(String),
    /// Movers use the name.
    #[error(
        "workload {0}: the names snap, restore and prune, and those that begin with one of them and -, are the movers': rename it"
    )]
    ByMovers(String),
    /// Two of them have `webhook`.
    #[error(
        "workloads {0} and {1} both have webhook, and an org has one webhook host: remove it from one of them"
    )]
    TwoWebhooks(String, String),
    /// The workload takes a Secret of the operator's. Schemas refuse that, but not in what was stored before them.
    #[error(
        "workload {workload}: envFromSecrets names {secret}, and Secrets tray-*, and those named like a mover's, are the operator's: name another Secret"
    )]
    SecretOfOperator {
        /// Name of the workload.
        workload: String,
        /// The Secret.
        secret: String,
    },
    /// An override, put together with what it changes, requests more memory than the limit.
    #[error(
        "workload {workload} of the region, with spec.overrides, requests memory {memory} at memoryLimit {limit}: set both in the override"
    )]
    MemoryAboveLimit {
        /// Name of the workload.
        workload: String,
        /// What it requests.
        memory: String,
        /// What it may use.
        limit: String,
    },
}

/// What the org runs in the region.
pub fn workloads(org: &TrayOrgSpec, region: &RegionSpec) -> Result<Effective, Conflict> {
    let is_regional = |name: &str| region.workloads.iter().any(|w| w.name == name);
    if let Some(own) = org.workloads.iter().find(|w| is_regional(&w.name)) {
        return Err(Conflict::ByRegion(own.name.clone()));
    }
    let mut effective = Effective::default();
    for workload in &region.workloads {
        let change = org.overrides.iter().find(|o| o.name == workload.name);
        effective
            .workloads
            .push(change.map_or_else(|| workload.clone(), |o| overridden(workload, o)));
    }
    effective.workloads.extend(org.workloads.iter().cloned());
    let mut webhooks = effective.workloads.iter().filter(|w| w.webhook.is_some());
    if let (Some(one), Some(other)) = (webhooks.next(), webhooks.next()) {
        return Err(Conflict::TwoWebhooks(one.name.clone(), other.name.clone()));
    }
    let mut conflicts = effective
        .workloads
        .iter()
        .filter_map(|w| above_limit(w).or_else(|| secret_of_operator(w)));
    if let Some(conflict) = conflicts.next() {
        return Err(conflict);
    }
    for workload in &mut effective.workloads {
        // Not even a hook enters a pod that is named like a mover's, and a workload's pods are named `<workload>-…`.
        let pods = format!("{}-", workload.name);
        if names::MOVER_JOBS
            .iter()
            .any(|beginning| pods.starts_with(beginning))
        {
            return Err(Conflict::ByMovers(workload.name.clone()));
        }
        if raise(workload, least_replicas(org.plan, region)) {
            effective.raised.push(workload.name.clone());
        }
    }
    effective.idle_overrides = org.overrides.iter().filter_map(|o| idle(o, region)).collect();
    Ok(effective)
}

/// The part of an override that changes nothing.
fn idle(change: &Override, region: &RegionSpec) -> Option<String> {
    match region.workloads.iter().find(|w| w.name == change.name) {
        None => Some(change.name.clone()),
        Some(workload) if workload.volume.is_none() && change.volume.is_some() => {
            Some(format!("{}.volume", change.name))
        }
        Some(_) => None,
    }
}

/// Takes overrides apart by all of their fields: one that is not applied does not compile.
fn overridden(workload: &Workload, change: &Override) -> Workload {
    let Override {
        name: _,
        image,
        replicas,
        resources,
        env,
        volume,
    } = change;
    let mut result = workload.clone();
    if let Some(image) = image {
        result.image.clone_from(image);
    }
    result.replicas = replicas.or(workload.replicas);
    if let Some(Resources {
        cpu,
        memory,
        memory_limit,
    }) = resources
    {
        let present = workload.resources.clone().unwrap_or_default();
        result.resources = Some(Resources {
            cpu: cpu.clone().or(present.cpu),
            memory: memory.clone().or(present.memory),
            memory_limit: memory_limit.clone().or(present.memory_limit),
        });
    }
    for EnvVar { name, value } in env {
        match result.env.iter_mut().find(|present| present.name == *name) {
            Some(present) => present.value.clone_from(value),
            None => result.env.push(EnvVar {
                name: name.clone(),
                value: value.clone(),
            }),
        }
    }
    if let (Some(present), Some(VolumeOverride { size })) = (&mut result.volume, volume) {
        present.size = size.clone();
    }
    result
}

/// The schema holds this for what one object says; an override has one of the two from the Region.
fn above_limit(workload: &Workload) -> Option<Conflict> {
    let resources = workload.resources.as_ref()?;
    let (memory, limit) = (&resources.memory.as_ref()?.0, &resources.memory_limit.as_ref()?.0);
    (quantity::milli(memory)? > quantity::milli(limit)?).then(|| Conflict::MemoryAboveLimit {
        workload: workload.name.clone(),
        memory: memory.clone(),
        limit: limit.clone(),
    })
}

fn secret_of_operator(workload: &Workload) -> Option<Conflict> {
    let mut secrets = workload.env_from_secrets.iter();
    let secret = secrets.find(|name| names::is_operators_secret(name))?;
    Some(Conflict::SecretOfOperator {
        workload: workload.name.clone(),
        secret: secret.clone(),
    })
}

/// Least replicas of an org's Deployments.
fn least_replicas(plan: Plan, region: &RegionSpec) -> i32 {
    let built_in = match plan {
        Plan::Pro | Plan::Team => 1,
        Plan::Enterprise => 2,
    };
    plan_values(region, plan)
        .and_then(|values| values.min_replicas)
        .unwrap_or(built_in)
}

/// Raises a Deployment that runs with fewer replicas than it must; whether it did. None at all is a decision.
fn raise(workload: &mut Workload, least: i32) -> bool {
    let declared = workload.replicas.unwrap_or(1);
    let raised = workload.kind == WorkloadKind::Deployment && (1..least).contains(&declared);
    if raised {
        workload.replicas = Some(least);
    }
    raised
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

    use super::*;
    use crate::resources::{
        mover_job::{restore_job_name, snapshot_job_name},
        org::fixtures,
    };
    use tray_api::region::PlanValues;
    use tray_domain::ids::{PartId, RunId};

    fn change(name: &str) -> Override {
        Override {
            name: name.into(),
            image: None,
            replicas: None,
            resources: None,
            env: vec![],
            volume: None,
        }
    }
    fn named<'a>(effective: &'a Effective, name: &str) -> &'a Workload {
        effective.workloads.iter().find(|w| w.name == name).unwrap()
    }

    #[test]
    fn an_org_runs_the_regions_workloads_and_its_own() {
        let (mut org, region) = (fixtures::org(), fixtures::region());
        org.workloads = vec![Workload {
            name: "extra".into(),
            ..fixtures::runtime()
        }];
        let effective = workloads(&org, &region).unwrap();
        let names: Vec<&str> = effective.workloads.iter().map(|w| w.name.as_str()).collect();
        assert_eq!(names, ["db", "runtime", "extra"]);
    }

    #[test]
    fn a_name_of_the_regions_is_taken() {
        let (mut org, region) = (fixtures::org(), fixtures::region());
        org.workloads = vec![Workload {
            name: "db".into(),
            ..fixtures::runtime()
        }];
        let refused = workloads(&org, &region).unwrap_err();
        assert_eq!(refused, Conflict::ByRegion("db".into()));
        assert!(refused.to_string().contains("spec.workloads: db"), "{refused}");
    }

    #[test]
    fn p21_an_org_has_one_webhook_host_at_most() {
        let (mut org, region) = (fixtures::org(), fixtures::region_with_webhook());
        assert!(workloads(&org, &region).is_ok());
        org.workloads = vec![Workload {
            name: "extra".into(),
            webhook: region.workloads[1].webhook.clone(),
            ..fixtures::runtime()
        }];
        let refused = workloads(&org, &region).unwrap_err();
        assert_eq!(refused, Conflict::TwoWebhooks("runtime".into(), "extra".into()));
        assert!(matches!(refused, Conflict::TwoWebhooks(..)));
    }

    #[test]
    fn a_name_of_the_movers_is_taken() {
        let (mut org, region) = (fixtures::org(), fixtures::region());
        for (name, is_taken) in [
            ("snap-shot", true),
            ("snap", true),
            ("prune", true),
            ("snapshot", false),
        ] {
            org.workloads = vec![Workload {
                name: name.into(),
                ..fixtures::runtime()
            }];
            let expected = is_taken.then(|| Conflict::ByMovers(name.into()));
            assert_eq!(workloads(&org, &region).err(), expected, "{name}");
        }
    }

    #[test]
    fn p3_no_workload_takes_a_secret_of_the_operators() {
        let run: RunId = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
        let part: PartId = "objects".parse().unwrap();
        let uid = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
        let taken = [
            names::WEBHOOK_TOKEN_SECRET.to_owned(),
            snapshot_job_name(&run, &part),
            restore_job_name(uid, &part),
            format!("prune-{uid}"),
        ];
        for secret in &taken {
            // The org's own workloads, and the region's.
            let (mut org, mut region) = (fixtures::org(), fixtures::region());
            let own = Workload {
                name: "extra".into(),
                env_from_secrets: vec!["api-keys".into(), secret.clone()],
                ..fixtures::runtime()
            };
            org.workloads = vec![own.clone()];
            let refused = workloads(&org, &region).unwrap_err();
            assert!(matches!(refused, Conflict::SecretOfOperator { .. }));
            let said = refused.to_string();
            assert!(said.contains("extra") && said.contains(secret), "{said}");
            org.workloads.clear();
            region.workloads.push(own);
            assert_eq!(workloads(&org, &region).unwrap_err(), refused);
        }
        for secret in ["stray-cat", "snap-shots", "restore-keys-2026", "prune-1234567g-x"] {
            let (mut org, region) = (fixtures::org(), fixtures::region());
            org.workloads = vec![Workload {
                name: "extra".into(),
                env_from_secrets: vec![secret.into()],
                ..fixtures::runtime()
            }];
            assert!(workloads(&org, &region).is_ok(), "{secret}");
        }
    }

    #[test]
    fn an_override_changes_what_it_says_and_nothing_else() {
        let (mut org, mut region) = (fixtures::org(), fixtures::region());
        region.workloads[0].env = vec![EnvVar {
            name: "A".into(),
            value: "old".into(),
        }];
        org.overrides = vec![Override {
            image: Some("db:2".into()),
            replicas: Some(3),
            resources: Some(Resources {
                memory: Some(Quantity("2Gi".into())),
                ..Resources::default()
            }),
            env: vec![
                EnvVar {
                    name: "A".into(),
                    value: "new".into(),
                },
                EnvVar {
                    name: "B".into(),
                    value: "b".into(),
                },
            ],
            volume: Some(VolumeOverride {
                size: Quantity("50Gi".into()),
            }),
            ..change("db")
        }];
        let effective = workloads(&org, &region).unwrap();
        let (db, regional) = (named(&effective, "db"), &region.workloads[0]);
        assert_eq!((db.image.as_str(), db.replicas), ("db:2", Some(3)));
        let resources = db.resources.as_ref().unwrap();
        assert_eq!(resources.memory, Some(Quantity("2Gi".into())));
        assert_eq!(resources.cpu, regional.resources.as_ref().unwrap().cpu);
        let env: Vec<(&str, &str)> = db
            .env
            .iter()
            .map(|e| (e.name.as_str(), e.value.as_str()))
            .collect();
        assert_eq!(env, [("A", "new"), ("B", "b")]);
        assert_eq!(db.volume.as_ref().unwrap().size, Quantity("50Gi".into()));
        assert_eq!(db.backup, regional.backup);
        assert_eq!(effective.idle_overrides, Vec::<String>::new());
    }

    #[test]
    fn an_override_never_requests_more_memory_than_the_limit_that_it_leaves() {
        let (mut org, mut region) = (fixtures::org(), fixtures::region());
        let resources = |memory: &str, limit: &str| {
            let some = |text: &str| (!text.is_empty()).then(|| Quantity(text.into()));
            Some(Resources {
                cpu: None,
                memory: some(memory),
                memory_limit: some(limit),
            })
        };
        region.workloads[0].resources = resources("128Mi", "256Mi");
        let name = region.workloads[0].name.clone();
        for (memory, limit, fits) in [
            ("0.25Gi", "", true),
            ("257Mi", "", false),
            ("257Mi", "1Gi", true),
            ("", "127Mi", false),
        ] {
            org.overrides = vec![Override {
                resources: resources(memory, limit),
                ..change(&name)
            }];
            let refused = workloads(&org, &region).err();
            assert_eq!(refused.is_none(), fits, "{memory} {limit}: {refused:?}");
            if let Some(conflict) = refused {
                assert!(matches!(conflict, Conflict::MemoryAboveLimit { .. }));
                assert!(conflict.to_string().contains(&name), "{conflict}");
            }
        }
    }

    #[test]
    fn an_override_of_nothing_is_told() {
        let (mut org, region) = (fixtures::org(), fixtures::region());
        let volume = Some(VolumeOverride {
            size: Quantity("1Gi".into()),
        });
        org.overrides = vec![
            change("gone"),
            Override {
                volume,
                ..change("runtime")
            },
        ];
        let effective = workloads(&org, &region).unwrap();
        assert_eq!(effective.idle_overrides, ["gone", "runtime.volume"]);
    }

    #[test]
    fn deployments_are_raised_to_what_the_plan_demands() {
        let (mut org, mut region) = (fixtures::org(), fixtures::region());
        for (plan, replicas, want, raised) in [
            (Plan::Enterprise, 1, 2, true),
            (Plan::Enterprise, 3, 3, false),
            (Plan::Enterprise, 0, 0, false),
            (Plan::Pro, 1, 1, false),
        ] {
            org.plan = plan;
            region.workloads[1].replicas = Some(replicas);
            let effective = workloads(&org, &region).unwrap();
            assert_eq!(
                named(&effective, "runtime").replicas,
                Some(want),
                "{plan:?} {replicas}"
            );
            assert_eq!(effective.raised.contains(&"runtime".to_owned()), raised);
            assert_eq!(
                named(&effective, "db").replicas,
                None,
                "a StatefulSet stays as it is"
            );
        }
        region.plans = vec![PlanValues {
            name: Plan::Pro,
            quota: None,
            min_replicas: Some(3),
        }];
        assert_eq!(
            named(&workloads(&org, &region).unwrap(), "runtime").replicas,
            Some(3)
        );
    }
}
