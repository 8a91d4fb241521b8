//! What an org runs. A small type of its own rather than a pod template: the operator guarantees region, isolation and
//! security, so it owns the pod.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::{is_false, positive_quantity};

/// One workload of an org.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.volume) || self.kind == 'StatefulSet'")
    .message("a workload with a volume must have kind: StatefulSet").field_path(".kind"))]
#[x_kube(validation = Rule::new("!has(self.volume) || has(self.runAsUser)")
    .message("a workload with a volume must set runAsUser: its snapshots are read as that user"))]
#[x_kube(validation = Rule::new("!has(self.backup) || has(self.volume)")
    .message("backup says how the volume is copied: set volume too, or remove backup").field_path(".backup"))]
#[x_kube(validation = Rule::new("!has(self.readiness) || !has(self.readiness.port) || (has(self.ports) && self.ports.exists(p, p.name == self.readiness.port))")
    .message("readiness.port must be the name of one of ports"))]
#[x_kube(validation = Rule::new("!has(self.webhook) || (has(self.ports) && self.ports.exists(p, p.name == self.webhook.port))")
    .message("webhook.port must be the name of one of ports"))]
#[x_kube(validation = Rule::new("!has(self.volume) || !has(self.scratch) || !(self.volume.mountPath in self.scratch)")
    .message("scratch must not hold volume.mountPath: the volume is mounted there"))]
#[x_kube(validation = Rule::new("!has(self.executionLogPolicy) || ((has(self.volume) ? [self.volume.mountPath] : []) + (has(self.scratch) ? self.scratch : [])).all(other, !(other + '/').startsWith(self.executionLogPolicy.mountPath + '/') && !(self.executionLogPolicy.mountPath + '/').startsWith(other + '/'))")
    .message("executionLogPolicy.mountPath must be a folder of its own, neither above nor below volume.mountPath and scratch").field_path(".executionLogPolicy.mountPath"))]
#[x_kube(validation = Rule::new("!has(self.ports) || self.ports.all(p, self.ports.exists_one(q, q.port == p.port))")
    .message("ports must have different numbers: a Service has each once").field_path(".ports"))]
pub struct Workload {
    /// DNS label of at most 30 characters; name of the Deployment or StatefulSet and of its Service.
    #[schemars(length(min = 1, max = 30), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// StatefulSet is needed where a volume is.
    pub kind: WorkloadKind,
    /// Container image.
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^[!-}]+$"))]
    pub image: String,
    /// Replaces the image's entry point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 8192)))]
    pub command: Vec<String>,
    /// Arguments of the command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 8192)))]
    pub args: Vec<String>,
    /// Environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 100))]
    pub env: Vec<EnvVar>,
    /// Secrets of the namespace whose entries become environment; `tray-*`, and names like those of movers (`snap-`, `restore-`
    /// or `prune-` and an id), belong to the operator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set, validation = Rule::new("self.all(s, !s.startsWith('tray-') && !s.matches('^(snap|restore|prune)-([0-9a-hjkmnp-tv-z]{26}|[0-9a-f]{8})(-|$)'))")
        .message("envFromSecrets must not name a Secret tray-*, nor one that is named like a mover's: those are the operator's"))]
    #[schemars(
        length(max = 20),
        inner(
            length(min = 1, max = 253),
            regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
        )
    )]
    pub env_from_secrets: Vec<String>,
    /// Pods; 1 unless set. A StatefulSet with a volume has one volume per pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub replicas: Option<i32>,
    /// User id of the processes; never 0. The image's own unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub run_as_user: Option<i64>,
    /// Group id of the processes; never 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub run_as_group: Option<i64>,
    /// Group that a new volume belongs to; never 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub fs_group: Option<i64>,
    /// Folders that can be written and are empty at every start; the rest of the image is read-only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(
        length(max = 10),
        inner(length(min = 2, max = 256), regex(pattern = r"^/[^:]+$"))
    )]
    pub scratch: Vec<String>,
    /// Ports; a workload that has some gets a Service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 10))]
    pub ports: Vec<Port>,
    /// CPU and memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// When a pod counts as available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Readiness>,
    /// A volume that outlives pods, and is in every snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<Volume>,
    /// Shows the workload for how long the org's execution logs can be seen and are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_log_policy: Option<ExecutionLogPolicy>,
    /// The org's webhook host leads here; at most one workload of an org may have it. Needs `ingress` in the Region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// How the volume is copied; the whole volume, without hooks, unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<WorkloadBackup>,
}

/// Kind that a workload is rendered as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WorkloadKind {
    Deployment,
    StatefulSet,
}

/// One environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct EnvVar {
    /// Name.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_.-]*$"))]
    pub name: String,
    /// Value.
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// One port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Port {
    /// Name.
    #[schemars(length(min = 1, max = 15), regex(pattern = r"^[a-z](-?[a-z0-9])*$"))]
    pub name: String,
    /// Number, in the pod and in the Service.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
}

/// CPU and memory of one pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.memory) || !has(self.memoryLimit) || !quantity(string(self.memory)).isGreaterThan(quantity(string(self.memoryLimit)))")
    .message("memory must be at most memoryLimit: raise the limit, or leave it out to have it equal the request").field_path(".memory"))]
pub struct Resources {
    /// CPU requested; there is no CPU limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "positive_quantity")]
    pub cpu: Option<Quantity>,
    /// Memory requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "positive_quantity")]
    pub memory: Option<Quantity>,
    /// Memory at which a container is killed; the request unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "positive_quantity")]
    pub memory_limit: Option<Quantity>,
}

/// When a pod counts as available: exactly one of an HTTP answer and a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.httpPath) != has(self.exec)")
    .message("readiness must have exactly one of httpPath and exec"))]
#[x_kube(validation = Rule::new("has(self.httpPath) == has(self.port)")
    .message("readiness.port goes with readiness.httpPath: set both or neither"))]
pub struct Readiness {
    /// Path that answers 2xx or 3xx.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^/"))]
    pub http_path: Option<String>,
    /// Name of the port that is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 15))]
    pub port: Option<String>,
    /// Command that ends with 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(max = 8192)))]
    pub exec: Option<Vec<String>>,
}

/// Where a workload finds for how long the org's execution logs can be seen and are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionLogPolicy {
    /// Folder with the files `mode` (Visible or Hidden), `visibleHours` and `keptHours`. They change while pods run, so
    /// read them again.
    #[schemars(length(min = 2, max = 256), regex(pattern = r"^(/[^/:]+)+$"))]
    pub mount_path: String,
}

/// Where an org's webhook host leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Webhook {
    /// Name of one of the workload's ports.
    #[schemars(length(min = 1, max = 15))]
    pub port: String,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// Size, e.g. `10Gi`.
    #[schemars(schema_with = "positive_quantity")]
    pub size: Quantity,
    /// Where it is mounted.
    #[schemars(length(min = 2, max = 256), regex(pattern = r"^/[^:]+$"))]
    pub mount_path: String,
}

/// How a volume is copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.exclude) || !self.exclude || !(has(self.paths) || has(self.pre) || has(self.post))")
    .message("backup.exclude leaves the volume out: remove paths, pre and post, or exclude"))]
pub struct WorkloadBackup {
    /// The volume is in no snapshot; status and manifests name it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub exclude: bool,
    /// Only these folders of the volume, relative to its root. An org that is suspended is copied whole all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set, validation = Rule::new("self.all(p, !p.startsWith('/') && !p.split('/').exists(s, s in ['', '.', '..']))")
        .message("backup.paths must be relative to the volume, without '.', '..' or empty steps"))]
    #[schemars(length(max = 10), inner(length(min = 1, max = 256)))]
    pub paths: Vec<String>,
    /// Runs in each pod before its volume is copied. The consistency point is its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre: Option<Hook>,
    /// Runs in each pod after its volume was copied, whatever came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post: Option<Hook>,
}

/// A command in a pod of the workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hook {
    /// Command and arguments; anything but 0 fails the run.
    #[schemars(length(min = 1, max = 64), inner(length(max = 8192)))]
    pub command: Vec<String>,
    /// How long it may take; 600 unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 36000))]
    pub timeout_seconds: Option<i32>,
}

impl Hook {
    /// How long a hook may take whose `timeoutSeconds` is not set.
    pub const DEFAULT_TIMEOUT_SECONDS: i32 = 600;
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
        JSONSchemaProps, JSONSchemaPropsOrArray,
    };
    use kube::CustomResourceExt;
    use serde_json::{Value, json};

    use super::Workload;
    use crate::region::Region;

    /// The schema of a workload, as it is in the CRD of a Region.
    fn schema() -> JSONSchemaProps {
        let mut crd = Region::crd();
        let version = crd.spec.versions.remove(0);
        let mut schema = version.schema.unwrap().open_api_v3_schema.unwrap();
        for step in ["spec", "workloads"] {
            schema = schema.properties.unwrap().remove(step).unwrap();
        }
        items(&schema).unwrap().clone()
    }

    fn items(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
        match schema.items.as_ref()? {
            JSONSchemaPropsOrArray::Schema(items) => Some(items),
            JSONSchemaPropsOrArray::Schemas(_) => None,
        }
    }

    /// A value of that type which says as little as it can.
    fn least(schema: &JSONSchemaProps) -> Value {
        if let Some(values) = &schema.enum_ {
            return values[0].0.clone();
        }
        match schema.type_.as_deref() {
            Some("object") => {
                let required = schema.required.iter().flatten();
                let properties = schema.properties.as_ref().unwrap();
                required
                    .map(|name| (name.clone(), least(&properties[name])))
                    .collect()
            }
            Some("array") => json!([least(items(schema).unwrap())]),
            Some("boolean") => json!(true),
            Some("integer") => json!(1),
            // Texts, and quantities, whose schema has no type.
            _ => json!("1"),
        }
    }

    /// The least values, of which each sets one property that the others leave out, at every depth.
    fn values(schema: &JSONSchemaProps) -> Vec<Value> {
        let mut values = vec![least(schema)];
        for (name, property) in schema.properties.iter().flatten() {
            let set: Vec<Value> = match items(property) {
                Some(items) => self::values(items)
                    .into_iter()
                    .map(|item| json!([item]))
                    .collect(),
                None => self::values(property),
            };
            values.extend(set.into_iter().map(|set| {
                let mut value = least(schema);
                value[name] = set;
                value
            }));
        }
        values
    }

    /// A Region's workloads are named after what is written of them. A field that is not set and is written all the same
    /// (`skip_serializing_if` is missing) gives every revision another name: an upgrade would roll every org.
    #[test]
    fn what_a_workload_does_not_say_is_not_written() {
        let values = values(&schema());
        assert!(values.len() > 30, "only {} values were made", values.len());
        for value in values {
            let read: Workload = serde_json::from_value(value.clone()).unwrap();
            let written = serde_json::to_value(read).unwrap();
            assert_eq!(
                written, value,
                "a field that is not set is written: it needs skip_serializing_if"
            );
        }
    }
}
