//! The pod of a workload. The operator owns it: region, isolation and security are the same for all, and only what a
//! workload says differs.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Map, Value, json};
use tray_api::{
    region::RegionSpec,
    trayorg::{TrayOrgSpec, ZoneSpread},
    workload::{Readiness, Resources, Workload, WorkloadKind},
};
use tray_domain::names;

use super::{
    Placement, claim, log_policy,
    quota::{DEFAULT_CPU, DEFAULT_MEMORY},
    workload_selector,
};

/// How long a container may take to become available before it is started anew, in seconds: a database that recovers
/// may take hours.
const START_PATIENCE: i32 = 86_400;

/// The template of a workload's pods.
pub fn template(placement: &Placement, org: &TrayOrgSpec, region: &RegionSpec, workload: &Workload) -> Value {
    json!({
        "metadata": {"labels": placement.workload_labels(&workload.name)},
        "spec": {
            "serviceAccountName": names::WORKLOAD_SERVICE_ACCOUNT,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            // An admission policy refuses any other.
            "nodeSelector": {names::NODE_REGION: placement.region.cloud_region},
            "topologySpreadConstraints": spread(org.availability.zone_spread, region, workload),
            "securityContext": security_context(workload),
            "containers": [container(workload)],
            "volumes": volumes(workload),
            // What nobody but a person who edited the workload can have set.
            "initContainers": null,
            "affinity": null,
            "tolerations": null,
            "nodeName": null,
            "priorityClassName": null,
            "runtimeClassName": null,
            "hostNetwork": null,
            "hostPID": null,
            "hostIPC": null,
        },
    })
}

fn spread(wanted: ZoneSpread, region: &RegionSpec, workload: &Workload) -> Value {
    // Of one revision: else a rollout balances new pods against old ones that are about to go.
    let revision = match workload.kind {
        WorkloadKind::Deployment => "pod-template-hash",
        WorkloadKind::StatefulSet => "controller-revision-hash",
    };
    let constraint = |topology: &str, min_domains: Option<usize>| {
        let otherwise = if min_domains.is_some() {
            "DoNotSchedule"
        } else {
            "ScheduleAnyway"
        };
        json!({
            "maxSkew": 1,
            "minDomains": min_domains,
            "topologyKey": topology,
            "whenUnsatisfiable": otherwise,
            "labelSelector": {"matchLabels": workload_selector(&workload.name)},
            "matchLabelKeys": [revision],
        })
    };
    let zones = match wanted {
        ZoneSpread::BestEffort => None,
        ZoneSpread::Required => Some(least_zones(region)),
    };
    json!([
        constraint(names::NODE_ZONE, zones),
        constraint("kubernetes.io/hostname", None)
    ])
}

/// Zones without which pods of an org that demands them stay pending: two, more where the Region says so, and never more
/// than it has. Not by the number of pods: that may change without a rollout.
fn least_zones(region: &RegionSpec) -> usize {
    usize::try_from(region.min_zones)
        .unwrap_or_default()
        .max(2)
        .min(region.zones.len())
}

fn security_context(workload: &Workload) -> Value {
    json!({
        "runAsNonRoot": true,
        "runAsUser": workload.run_as_user,
        "runAsGroup": workload.run_as_group,
        "fsGroup": workload.fs_group,
        // Else every start walks the whole volume.
        "fsGroupChangePolicy": workload.fs_group.map(|_| "OnRootMismatch"),
        "supplementalGroups": null,
        "sysctls": null,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

fn container(workload: &Workload) -> Value {
    let mut container = json!({
        "name": names::WORKLOAD_CONTAINER,
        "image": workload.image,
        "resources": resources(workload.resources.as_ref()),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        // What a workload does not say must not be there, and nobody can say the rest.
        "command": null,
        "args": null,
        "env": null,
        "envFrom": null,
        "ports": null,
        "volumeMounts": null,
        "startupProbe": null,
        "readinessProbe": null,
        "livenessProbe": null,
        "lifecycle": null,
        "workingDir": null,
        "volumeDevices": null,
    });
    let mut set = |field: &str, list: Vec<Value>| {
        if !list.is_empty() {
            container[field] = list.into();
        }
    };
    set("command", workload.command.iter().map(|arg| json!(arg)).collect());
    set("args", workload.args.iter().map(|arg| json!(arg)).collect());
    set(
        "env",
        workload
            .env
            .iter()
            .map(|env| env_var(&env.name, &env.value))
            .collect(),
    );
    let secrets = workload.env_from_secrets.iter();
    set(
        "envFrom",
        secrets.map(|name| json!({"secretRef": {"name": name}})).collect(),
    );
    let ports = workload.ports.iter();
    set(
        "ports",
        ports
            .map(|port| json!({"name": port.name, "containerPort": port.port}))
            .collect(),
    );
    set(
        "volumeMounts",
        mounts(workload)
            .into_iter()
            .map(|(name, path)| json!({"name": name, "mountPath": path}))
            .collect(),
    );
    if let Some(readiness) = &workload.readiness {
        container["startupProbe"] = probe(readiness, 1, START_PATIENCE);
        container["readinessProbe"] = probe(readiness, 10, 3);
    }
    container
}

/// The API server leaves an empty value out. It must be: a value of before does not stay.
fn env_var(name: &str, value: &str) -> Value {
    json!({"name": name, "value": (!value.is_empty()).then_some(value)})
}

/// Every container says what it requests: the quota demands it. Memory has a limit, CPU has none.
fn resources(resources: Option<&Resources>) -> Value {
    let (cpu, memory) = requests(resources);
    let limit = quantity(resources, |r| &r.memory_limit);
    json!({
        "requests": {"cpu": cpu, "memory": memory},
        "limits": {"memory": limit.unwrap_or(memory)},
    })
}

/// CPU and memory that a container requests.
pub(super) fn requests(resources: Option<&Resources>) -> (String, String) {
    // A request above the limit would be refused: what says only its limit requests that.
    let memory = quantity(resources, |r| &r.memory).or_else(|| quantity(resources, |r| &r.memory_limit));
    (
        quantity(resources, |r| &r.cpu).unwrap_or_else(|| DEFAULT_CPU.to_owned()),
        memory.unwrap_or_else(|| DEFAULT_MEMORY.to_owned()),
    )
}

fn quantity(resources: Option<&Resources>, field: fn(&Resources) -> &Option<Quantity>) -> Option<String> {
    Some(field(resources?).as_ref()?.0.clone())
}

/// A start is watched each second, so that an org is available as soon as it can be; what runs, much more rarely.
fn probe(readiness: &Readiness, period_seconds: i32, failures: i32) -> Value {
    let mut probe = json!({
        "periodSeconds": period_seconds,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    });
    match (&readiness.http_path, &readiness.exec) {
        (Some(path), _) => probe["httpGet"] = json!({"path": path, "port": readiness.port}),
        (None, Some(command)) => probe["exec"] = json!({"command": command}),
        // The CRD refuses this.
        (None, None) => {}
    }
    probe
}

/// Where volumes are mounted, by their names in the pod.
fn mounts(workload: &Workload) -> Vec<(String, &str)> {
    let scratch = workload.scratch.iter().enumerate();
    let mut mounts: Vec<_> = scratch
        .map(|(n, path)| (scratch_name(n), path.as_str()))
        .collect();
    mounts.extend(
        workload
            .volume
            .iter()
            .map(|v| (claim::VOLUME.to_owned(), v.mount_path.as_str())),
    );
    let told = workload.execution_log_policy.iter();
    mounts.extend(told.map(|told| {
        (
            log_policy::EXECUTION_LOG_POLICY.to_owned(),
            told.mount_path.as_str(),
        )
    }));
    mounts
}

/// Scratch folders, and what the workload is told; the claim's volume is added by the StatefulSet.
fn volumes(workload: &Workload) -> Value {
    let empty = |n| {
        let mut volume = Map::new();
        volume.insert("name".into(), scratch_name(n).into());
        volume.insert("emptyDir".into(), json!({}));
        Value::Object(volume)
    };
    let mut volumes: Vec<Value> = (0..workload.scratch.len()).map(empty).collect();
    if workload.execution_log_policy.is_some() {
        let name = log_policy::EXECUTION_LOG_POLICY;
        volumes.push(json!({"name": name, "configMap": {"name": name}}));
    }
    if volumes.is_empty() {
        Value::Null
    } else {
        volumes.into()
    }
}

fn scratch_name(n: usize) -> String {
    format!("scratch-{n}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::org::fixtures;
    use tray_api::workload::{EnvVar, ExecutionLogPolicy};

    fn rendered(workload: &Workload) -> Value {
        template(
            &fixtures::placement(),
            &fixtures::org(),
            &fixtures::region(),
            workload,
        )
    }

    #[test]
    fn a_pod_stays_in_its_region_and_is_restricted() {
        let spec = &rendered(&fixtures::database())["spec"];
        assert_eq!(
            spec["nodeSelector"],
            json!({"topology.kubernetes.io/region": "eu-west-1"})
        );
        assert_eq!(spec["automountServiceAccountToken"], false);
        let pod = &spec["securityContext"];
        assert_eq!(
            (&pod["runAsNonRoot"], &pod["runAsUser"]),
            (&json!(true), &json!(999))
        );
        assert_eq!(pod["fsGroupChangePolicy"], "OnRootMismatch");
        assert_eq!(pod["seccompProfile"]["type"], "RuntimeDefault");
        let container = &spec["containers"][0]["securityContext"];
        assert_eq!(container["readOnlyRootFilesystem"], true);
        assert_eq!(container["allowPrivilegeEscalation"], false);
        assert_eq!(container["capabilities"], json!({"drop": ["ALL"]}));
    }

    #[test]
    fn what_a_workload_does_not_say_is_not_rendered() {
        let container = &rendered(&fixtures::runtime())["spec"]["containers"][0];
        for field in [
            "command",
            "args",
            "env",
            "envFrom",
            "volumeMounts",
            "readinessProbe",
        ] {
            assert!(container[field].is_null(), "{field}");
        }
    }

    #[test]
    fn requests_and_limits_are_never_left_open() {
        let of = |cpu: Option<&str>, memory: Option<&str>, limit: Option<&str>| {
            let quantity = |text: Option<&str>| text.map(|t| Quantity(t.into()));
            let given = Resources {
                cpu: quantity(cpu),
                memory: quantity(memory),
                memory_limit: quantity(limit),
            };
            let rendered = resources(Some(&given));
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            [
                &rendered["requests"]["cpu"],
                &rendered["requests"]["memory"],
                &rendered["limits"]["memory"],
            ]
            .map(text)
        };
        assert_eq!(of(None, None, None), ["50m", "128Mi", "128Mi"]);
        assert_eq!(of(Some("2"), Some("1Gi"), None), ["2", "1Gi", "1Gi"]);
        assert_eq!(of(None, Some("1Gi"), Some("2Gi")), ["50m", "1Gi", "2Gi"]);
        assert_eq!(of(None, None, Some("64Mi")), ["50m", "64Mi", "64Mi"]);
    }

    #[test]
    fn scratch_and_the_volume_are_mounted_where_the_workload_says() {
        let spec = &rendered(&fixtures::database())["spec"];
        assert_eq!(
            spec["containers"][0]["volumeMounts"],
            json!([{"name": "scratch-0", "mountPath": "/tmp"}, {"name": "data", "mountPath": "/data"}])
        );
        assert_eq!(spec["volumes"], json!([{"name": "scratch-0", "emptyDir": {}}]));
    }

    #[test]
    fn p11_a_workload_that_asks_is_told_for_how_long_logs_are_kept() {
        let mut workload = fixtures::runtime();
        workload.execution_log_policy = Some(ExecutionLogPolicy {
            mount_path: "/etc/tray/logs".into(),
        });
        let spec = &rendered(&workload)["spec"];
        let name = "execution-log-policy";
        assert_eq!(
            spec["volumes"],
            json!([{"name": name, "configMap": {"name": name}}])
        );
        let mounts = &spec["containers"][0]["volumeMounts"];
        assert_eq!(mounts, &json!([{"name": name, "mountPath": "/etc/tray/logs"}]));
    }

    #[test]
    fn environment_comes_from_values_and_secrets() {
        let mut workload = fixtures::runtime();
        workload.env = vec![
            EnvVar {
                name: "A".into(),
                value: "1".into(),
            },
            EnvVar {
                name: "B".into(),
                value: String::new(),
            },
        ];
        workload.env_from_secrets = vec!["api-keys".into()];
        let container = &rendered(&workload)["spec"]["containers"][0];
        assert_eq!(
            container["env"],
            json!([{"name": "A", "value": "1"}, {"name": "B", "value": null}])
        );
        assert_eq!(container["envFrom"], json!([{"secretRef": {"name": "api-keys"}}]));
    }

    #[test]
    fn p2_zones_are_spread_as_strictly_as_the_org_says() {
        let (mut org, mut region) = (fixtures::org(), fixtures::region());
        let constraints = |org: &TrayOrgSpec, region: &RegionSpec, workload: &Workload| {
            let template = template(&fixtures::placement(), org, region, workload);
            template["spec"]["topologySpreadConstraints"].clone()
        };
        let best = constraints(&org, &region, &fixtures::runtime());
        assert_eq!(best[0]["whenUnsatisfiable"], "ScheduleAnyway");
        assert_eq!(best[0]["topologyKey"], names::NODE_ZONE);
        assert_eq!(best[0]["matchLabelKeys"], json!(["pod-template-hash"]));
        // The API server takes minDomains with DoNotSchedule alone.
        assert_eq!(best[0]["minDomains"], Value::Null);

        org.availability.zone_spread = ZoneSpread::Required;
        let required = constraints(&org, &region, &fixtures::database());
        assert_eq!(required[0]["whenUnsatisfiable"], "DoNotSchedule");
        assert_eq!(required[0]["matchLabelKeys"], json!(["controller-revision-hash"]));
        assert_eq!(
            required[1]["whenUnsatisfiable"], "ScheduleAnyway",
            "nodes are never demanded"
        );
        for (zones, min_zones, want) in [(3, 1, 2), (3, 2, 2), (3, 3, 3), (2, 2, 2), (1, 1, 1)] {
            region.zones = (0..zones).map(|n| n.to_string()).collect();
            region.min_zones = min_zones;
            let required = constraints(&org, &region, &fixtures::runtime());
            assert_eq!(
                required[0]["minDomains"], want,
                "{zones} zones, minZones {min_zones}"
            );
        }
    }

    #[test]
    fn readiness_is_asked_as_the_workload_says() {
        let mut workload = fixtures::database();
        let probes = |workload: &Workload| {
            let container = rendered(workload)["spec"]["containers"][0].clone();
            (
                container["startupProbe"].clone(),
                container["readinessProbe"].clone(),
            )
        };
        let (startup, readiness) = probes(&workload);
        assert_eq!(readiness["exec"]["command"], json!(["pg_isready"]));
        assert_eq!(
            (&startup["periodSeconds"], &readiness["periodSeconds"]),
            (&json!(1), &json!(10))
        );
        workload.readiness = Some(Readiness {
            http_path: Some("/up".into()),
            port: Some("http".into()),
            exec: None,
        });
        assert_eq!(
            probes(&workload).1["httpGet"],
            json!({"path": "/up", "port": "http"})
        );
    }
}
