//! Small types that several kinds use.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Names another object of a cluster-scoped kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct NameRef {
    /// Name of the object.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
}

impl NameRef {
    /// Names `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

/// How many orgs name an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Generation of the spec that the count answers.
    pub observed_generation: Option<i64>,
    /// Orgs that name it: while there are any, it cannot be deleted.
    pub orgs: Option<i32>,
}

impl Usage {
    /// Whether any org names it.
    pub fn in_use(self) -> bool {
        self.orgs.is_some_and(|orgs| orgs > 0)
    }
}

/// Limits of an org's namespace. A value that is not set is inherited.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
pub struct Quota {
    /// CPU that all pods together may request, e.g. `8` or `1500m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "positive_quantity")]
    pub cpu: Option<Quantity>,
    /// Memory that all pods together may request, e.g. `16Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "positive_quantity")]
    pub memory: Option<Quantity>,
    /// Storage that all claims together may request, e.g. `200Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "positive_quantity")]
    pub storage: Option<Quantity>,
    /// Number of pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub pods: Option<i32>,
}

/// Schema of a quantity that says something: Kubernetes' own takes `banana` and `-5`.
pub(super) fn positive_quantity(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        // Bounds what the rule may cost; no real quantity is longer.
        "maxLength": 20,
        "x-kubernetes-validations": [{
            "rule": "type(self) == string ? isQuantity(self) && quantity(self).isGreaterThan(quantity('0')) : self > 0",
            "message": "must be a quantity above 0, such as 500m, 2 or 10Gi",
        }],
    })
}

/// For `skip_serializing_if` where the default goes without saying. Inside list items it also keeps the default out
/// of the schema, where it would make `kubectl apply` report a change for ever.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(super) fn is_false(value: &bool) -> bool {
    !value
}
