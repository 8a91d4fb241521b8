//! `SupportAccess`: time-boxed access of support staff to one org, granted by the org itself.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tray_domain::support::{Action, Role};

/// Whom an org lets in, for what and how long. Never changes: delete it to end it, create another to extend it.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "platform.tray.ai",
    version = "v1alpha1",
    kind = "SupportAccess",
    plural = "supportaccesses",
    status = "SupportAccessStatus",
    shortname = "supp",
    category = "tray",
    namespaced,
    derive = "PartialEq",
    doc = "Access of support staff to the org in whose namespace it is, granted by an Admin of the org for some hours. Deleting it ends the access at once. One that has ended opens nothing and may be deleted at any time.",
    printcolumn(name = "Role", type_ = "string", json_path = ".spec.role"),
    printcolumn(name = "Subjects", type_ = "string", json_path = ".spec.subjects[*].name"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.expiresAt"),
    printcolumn(
        name = "Active",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Active')].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Why", type_ = "string", json_path = ".spec.reason", priority = 1),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Active')].reason",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct SupportAccessSpec {
    /// Whom: groups of support staff that the platform has named (the operator's `--support-groups`).
    #[x_kube(merge_strategy = ListMerge::Map(vec!["kind".into(), "name".into()]))]
    #[schemars(length(min = 1, max = 10))]
    pub subjects: Vec<SupportSubject>,
    /// View = look at objects and logs; Debug = also exec, attach, port-forward and debug containers.
    pub role: Role,
    /// Hours from its creation after which the access ends by itself.
    #[schemars(range(min = 1, max = 72))]
    pub duration_hours: i32,
    /// Why, for the org's access record: a ticket, a question.
    #[schemars(length(min = 1, max = 500))]
    pub reason: String,
}

/// Who is let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct SupportSubject {
    /// Group.
    pub kind: SupportSubjectKind,
    /// Name of the group, as the cluster's authentication gives it.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._:/@=+-]*$")
    )]
    pub name: String,
}

/// Kind of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SupportSubjectKind {
    Group,
}

/// What the operator found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct SupportAccessStatus {
    /// Generation of the spec that this status answers; -1 = none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When support was first let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted_at: Option<Time>,
    /// When the access ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// What became of it, in order; the newest 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub history: Vec<SupportEvent>,
    /// Active and AccessRecorded; Ready; Reconciling and Stalled while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 20))]
    pub conditions: Vec<Condition>,
}

/// Something that became of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct SupportEvent {
    /// What.
    pub action: Action,
    /// When.
    pub at: Time,
    /// Whether its line is in the org's access record.
    pub recorded: bool,
}

impl SupportAccessSpec {
    /// The names of the groups.
    pub fn groups(&self) -> Vec<String> {
        self.subjects.iter().map(|subject| subject.name.clone()).collect()
    }
}
