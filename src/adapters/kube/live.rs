//! A child as the API server gives it, decoded no further than anybody asks: most events say nothing new, and an object
//! decoded whole costs many times its text.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Resource,
    api::{ApiResource, ObjectMeta},
    core::DynamicResourceScope,
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use tray_domain::names;

/// A child as the API server gives it.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Without its managed fields, and with none but our annotations: controllers write some of their own (a
    /// Deployment's revision).
    pub metadata: ObjectMeta,
    /// Every field but metadata and status, as it was written.
    fields: BTreeMap<String, Box<RawValue>>,
    status: Option<Box<RawValue>>,
}

impl Live {
    /// What of the object can be drift, as JSON: not its type and status, and of its metadata only what is ours. The
    /// same object gives the same text.
    pub fn substance(&self) -> String {
        let metadata =
            serde_json::json!({"labels": self.metadata.labels, "annotations": self.metadata.annotations});
        let length = self
            .fields
            .iter()
            .map(|(name, text)| name.len() + text.get().len() + 4);
        let mut substance = String::with_capacity(length.sum::<usize>() + 512);
        substance.push_str("{\"metadata\":");
        substance.push_str(&metadata.to_string());
        for (name, text) in &self.fields {
            substance.push(',');
            substance.push_str(&serde_json::Value::from(name.as_str()).to_string());
            substance.push(':');
            substance.push_str(text.get());
        }
        substance.push('}');
        substance
    }

    /// What its spec says, as far as `T` asks.
    pub fn spec<T: DeserializeOwned + Default>(&self) -> T {
        read(self.fields.get("spec").map(|spec| &**spec))
    }

    /// What its status says, as far as `T` asks.
    pub fn status<T: DeserializeOwned + Default>(&self) -> T {
        read(self.status.as_deref())
    }
}

/// Nothing where there is nothing, or nothing of that shape: the API server holds what it stores to its schema.
fn read<T: DeserializeOwned + Default>(text: Option<&RawValue>) -> T {
    text.and_then(|text| serde_json::from_str(text.get()).ok())
        .unwrap_or_default()
}

impl Resource for Live {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(kind: &ApiResource) -> Cow<'_, str> {
        kind.kind.as_str().into()
    }
    fn group(kind: &ApiResource) -> Cow<'_, str> {
        kind.group.as_str().into()
    }
    fn version(kind: &ApiResource) -> Cow<'_, str> {
        kind.version.as_str().into()
    }
    fn api_version(kind: &ApiResource) -> Cow<'_, str> {
        kind.api_version.as_str().into()
    }
    fn plural(kind: &ApiResource) -> Cow<'_, str> {
        kind.plural.as_str().into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl<'de> Deserialize<'de> for Live {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Live;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Kubernetes object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Live, A::Error> {
        let mut live = Live::default();
        while let Some(field) = map.next_key::<String>()? {
            match field.as_str() {
                "apiVersion" | "kind" => drop(map.next_value::<IgnoredAny>()?),
                "metadata" => live.metadata = map.next_value::<Metadata>()?.into(),
                "status" => live.status = map.next_value()?,
                _ => drop(live.fields.insert(field, map.next_value()?)),
            }
        }
        Ok(live)
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

impl From<Metadata> for ObjectMeta {
    fn from(metadata: Metadata) -> Self {
        Self {
            name: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            generation: metadata.generation,
            creation_timestamp: metadata.creation_timestamp,
            deletion_timestamp: metadata.deletion_timestamp,
            labels: metadata.labels,
            annotations: metadata.annotations.map(|mut annotations| {
                annotations.retain(|name, _| name.starts_with(names::GROUP));
                annotations
            }),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::{api::ObjectList, core::WatchEvent};
    use serde_json::{Value, json};

    use super::*;

    fn object(version: &str, label: &str) -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": "web", "namespace": "n", "uid": "u", "resourceVersion": version, "generation": 3,
                "labels": {"l": label},
                "annotations": {"deployment.kubernetes.io/revision": version, "platform.tray.ai/a": "b"},
                "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {}}}],
            },
            "spec": {"replicas": 2, "text": "a \"quoted\" line"},
            "status": {"replicas": 1, "n": version},
        })
    }
    fn live(object: &Value) -> Live {
        serde_json::from_str(&object.to_string()).unwrap()
    }

    #[test]
    fn versions_status_and_others_annotations_are_no_substance_and_a_label_is() {
        let substance = |version, label| live(&object(version, label)).substance();
        assert_eq!(substance("1", "a"), substance("2", "a"));
        assert_ne!(substance("1", "a"), substance("1", "b"));
        let read: Value = serde_json::from_str(&substance("1", "a")).unwrap();
        let metadata = json!({"labels": {"l": "a"}, "annotations": {"platform.tray.ai/a": "b"}});
        assert_eq!(
            read,
            json!({"metadata": metadata, "spec": object("1", "a")["spec"]})
        );
    }

    #[test]
    fn spec_and_status_are_read_as_far_as_asked() {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Replicas {
            replicas: i64,
        }
        let live = live(&object("1", "a"));
        let (spec, status): (Replicas, Replicas) = (live.spec(), live.status());
        assert_eq!((spec.replicas, status.replicas), (2, 1));
        assert_eq!(Live::default().status::<Replicas>().replicas, 0);
    }

    #[test]
    fn events_and_lists_hold_it() {
        // `type` comes first, as the API server writes it.
        let event = format!(r#"{{"type":"ADDED","object":{}}}"#, object("1", "a"));
        let event: WatchEvent<Live> = serde_json::from_str(&event).unwrap();
        assert!(matches!(event, WatchEvent::Added(live) if live.metadata.name.as_deref() == Some("web")));
        let list = json!({"apiVersion": "apps/v1", "kind": "DeploymentList", "metadata": {"resourceVersion": "7"},
            "items": [object("1", "a")]});
        let list: ObjectList<Live> = serde_json::from_str(&list.to_string()).unwrap();
        assert_eq!(list.items[0].metadata.generation, Some(3));
        // Tests make objects of values.
        let live: Live = serde_json::from_value(object("1", "a")).unwrap();
        assert_eq!(live.metadata.uid.as_deref(), Some("u"));
    }
}
