//! Records of what happened to an org, for people: ConfigMaps in the operator's own namespace, which outlive every kind of
//! ours. They are written and never read.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tray_domain::names;

use super::apply::Cluster;

impl Cluster {
    /// Writes the record of that name anew.
    pub async fn write_record(&self, name: &str, data: &BTreeMap<&str, String>) -> Result<(), kube::Error> {
        let record = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "labels": {names::LABEL_MANAGED_BY: names::OPERATOR}},
            "data": data,
        });
        let params = PatchParams::apply(names::OPERATOR).force();
        self.records().patch(name, &params, &Patch::Apply(record)).await?;
        Ok(())
    }

    /// Adds to the record of that name; one that somebody removed is let be.
    pub async fn add_to_record(&self, name: &str, data: &BTreeMap<&str, String>) -> Result<(), kube::Error> {
        let params = PatchParams {
            field_manager: Some(names::OPERATOR.to_owned()),
            ..PatchParams::default()
        };
        match self
            .records()
            .patch(name, &params, &Patch::Merge(json!({"data": data})))
            .await
        {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            other => other.map(|_| ()),
        }
    }

    fn records(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), names::SYSTEM_NAMESPACE)
    }
}
