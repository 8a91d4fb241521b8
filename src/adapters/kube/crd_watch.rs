//! Whether the API server serves a kind that comes with a CRD of somebody else's, and from when on.

use futures::StreamExt;
use kube::{
    Api,
    api::{ApiResource, Object},
    core::GroupVersionKind,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{
    answer::told_of_watch,
    watch::{Watches, lasting},
};

/// What matters of a CRD: its schema is large, and nobody here asks for it.
type Crd = Object<Spec, Status>;

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Spec {
    versions: Vec<Version>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Version {
    name: String,
    served: bool,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Condition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
}

impl Watches {
    /// Follows the CRD of that name, for ever: tells at first, and whenever it may have changed, whether `version` of it is
    /// served.
    pub async fn follow_crd(&self, name: &str, version: &str, mut tell: impl FnMut(bool) + Send) {
        let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
        let resource = ApiResource::from_gvk(&kind);
        let api: Api<Crd> = Api::all_with(self.client.clone(), &resource);
        let config = lasting(watcher::Config::default()).fields(&format!("metadata.name={name}"));
        let mut events = watcher(api, config).default_backoff().boxed();
        let mut listed = false;
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed = false,
                Ok(Event::InitApply(crd)) => listed = is_served(&crd, version),
                Ok(Event::InitDone) => tell(listed),
                Ok(Event::Apply(crd)) => tell(is_served(&crd, version)),
                Ok(Event::Delete(_)) => tell(false),
                // Tried again after a pause that grows.
                Err(error) => warn!(error = told_of_watch(&error), crd = name, "a watch broke off"),
            }
        }
    }
}

fn is_served(crd: &Crd, version: &str) -> bool {
    let conditions = crd.status.iter().flat_map(|status| &status.conditions);
    let is_established = conditions
        .into_iter()
        .any(|c| c.type_ == "Established" && c.status == "True");
    let is_going = crd.metadata.deletion_timestamp.is_some();
    let mut versions = crd.spec.versions.iter();
    is_established && !is_going && versions.any(|v| v.name == version && v.served)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_version_is_served_once_its_crd_is_established() {
        for (served, established, version, want) in [
            (true, "True", "v1", true),
            (false, "True", "v1", false),
            (true, "False", "v1", false),
            (true, "True", "v2", false),
        ] {
            let crd: Crd = serde_json::from_value(json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": "httproutes.gateway.networking.k8s.io"},
                "spec": {"group": "g", "versions": [{"name": "v1", "served": served, "storage": true, "schema": {}}]},
                "status": {"conditions": [{"type": "Established", "status": established, "reason": "r"}]},
            }))
            .unwrap();
            assert_eq!(is_served(&crd, version), want, "{served} {established} {version}");
        }
    }
}
