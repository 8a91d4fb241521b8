//! What of a Kubernetes object goes into an archive, and what of an archived one is created again.

use serde_json::{Map, Value};

use super::{manifest::LeftOutReason, names};

/// What is done with one object of an archived kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Triage {
    /// It is archived. `rendered`: the operator makes it out of the TrayOrg, so a restore leaves it to the operator.
    Archive {
        /// See above.
        rendered: bool,
    },
    /// It is left out, for a reason that is worth saying in the record of the run.
    LeaveOut(LeftOutReason),
    /// It is left out; every namespace has such objects.
    Skip,
}

/// Decides over one object as the API server showed it.
pub fn triage(object: &Value) -> Triage {
    let label = |name: &str| object["metadata"]["labels"][name].as_str();
    let (kind, name) = (object["kind"].as_str(), object["metadata"]["name"].as_str());
    // The Secrets of movers hold credentials.
    if label(names::LABEL_COMPONENT) == Some(names::COMPONENT_MOVER) {
        return Triage::Skip;
    }
    // It stays in the namespace, whatever is restored there; no copy of it is needed elsewhere.
    if kind == Some("Secret") && name == Some(names::WEBHOOK_TOKEN_SECRET) {
        return Triage::Skip;
    }
    if kind == Some("Secret") && object["type"] == "kubernetes.io/service-account-token" {
        return Triage::LeaveOut(LeftOutReason::Token);
    }
    // The cluster publishes its own into every namespace.
    if kind == Some("ConfigMap") && name == Some("kube-root-ca.crt") {
        return Triage::Skip;
    }
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return Triage::LeaveOut(LeftOutReason::BeingDeleted);
    }
    Triage::Archive {
        rendered: is_rendered(object),
    }
}

/// Whether the operator makes this object.
pub fn is_rendered(object: &Value) -> bool {
    object["metadata"]["labels"][names::LABEL_MANAGED_BY] == names::OPERATOR
}

/// The object as it is archived: without what says how it was written and how it fares. Its uid stays, as evidence.
pub fn for_archive(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object
}

/// Parts of `metadata` that belong to one life of an object in one cluster. Finalizers are among them: a finalizer
/// whose controller never sees the object would keep it from being deleted, and a controller that lives adds its own.
const OF_ONE_LIFE: [&str; 10] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Annotations by which controllers note what they did to one life of an object.
const NOTES_OF_CONTROLLERS: [&str; 6] = [
    "deployment.kubernetes.io/revision",
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
    "volume.beta.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/selected-node",
    "volume.kubernetes.io/storage-provisioner",
];

/// The object as it is created in `namespace`: without what another life of it was given by the cluster.
pub fn for_restore(mut object: Value, namespace: &str) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in OF_ONE_LIFE {
            metadata.remove(field);
        }
        metadata.insert("namespace".to_owned(), Value::String(namespace.to_owned()));
        let annotations = metadata.get_mut("annotations").and_then(Value::as_object_mut);
        if let Some(annotations) = annotations {
            for annotation in NOTES_OF_CONTROLLERS {
                annotations.remove(annotation);
            }
        }
        remove_if_empty(metadata, "annotations");
    }
    match object["kind"].as_str() {
        Some("Service") => strip_addresses(&mut object["spec"]),
        Some("PersistentVolumeClaim") => {
            if let Some(spec) = object["spec"].as_object_mut() {
                spec.remove("volumeName");
            }
        }
        // Names of token Secrets, which are not archived.
        Some("ServiceAccount") => {
            if let Some(fields) = object.as_object_mut() {
                fields.remove("secrets");
            }
        }
        _ => {}
    }
    object
}

/// Addresses were given by the cluster; `None` was asked for (a headless Service) and stays.
fn strip_addresses(spec: &mut Value) {
    let headless = spec["clusterIP"] == "None";
    if let Some(spec) = spec.as_object_mut() {
        if !headless {
            spec.remove("clusterIP");
            spec.remove("clusterIPs");
        }
        spec.remove("healthCheckNodePort");
    }
}

fn remove_if_empty(fields: &mut Map<String, Value>, name: &str) {
    if fields
        .get(name)
        .and_then(Value::as_object)
        .is_some_and(Map::is_empty)
    {
        fields.remove(name);
    }
}

/// What a restore does about an archived object whose name is taken.
#[derive(Clone, Debug, PartialEq)]
pub enum OfPresent {
    /// It is the operator's, it is as archived, or (a claim) it cannot be changed.
    Leave,
    /// It is given back its archived content. The body carries the present object's resourceVersion, so that a change
    /// in between is not overwritten unseen, and everything that belongs to the life that it lives.
    Update(Box<Value>),
    /// It is being deleted, and whoever holds it has not let go: a change would be lost with it, and what holds it is not a
    /// restore's to take away.
    IsGoing(String),
    /// It holds something else and can never be changed. It is not made anew: whoever owns it, or guards it by a finalizer, has
    /// reasons that a restore does not know.
    Immutable(String),
}

/// Compares `wanted` (as of [`for_restore`]) with the object that has its name.
pub fn of_present(wanted: &Value, present: &Value, namespace: &str) -> OfPresent {
    if is_rendered(present) || wanted["kind"] == "PersistentVolumeClaim" {
        return OfPresent::Leave;
    }
    if !present["metadata"]["deletionTimestamp"].is_null() {
        return OfPresent::IsGoing(going(present));
    }
    if *wanted == for_restore(present.clone(), namespace) {
        return OfPresent::Leave;
    }
    if is_immutable(wanted, present) {
        let message = "it is immutable and holds something else than the copy: delete it, then restore once more, or apply it \
                       from your own manifests";
        return OfPresent::Immutable(message.to_owned());
    }
    OfPresent::Update(Box::new(with_life_of(wanted.clone(), present)))
}

/// Why nothing is done to an object that is being deleted.
fn going(present: &Value) -> String {
    let finalizers = present["metadata"]["finalizers"].as_array();
    let finalizers: Vec<&str> = finalizers
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    format!(
        "it is being deleted and waits for its finalizers ({}): when it is gone, apply it from your own manifests, or restore once \
         more",
        finalizers.join(", ")
    )
}

/// Whether the API server would refuse the content for being immutable. Labels and annotations of such an object may change.
fn is_immutable(wanted: &Value, present: &Value) -> bool {
    let holds_data = matches!(present["kind"].as_str(), Some("ConfigMap" | "Secret"));
    let mut content = ["data", "binaryData", "immutable", "type"].iter();
    holds_data && present["immutable"] == true && content.any(|field| wanted[field] != present[field])
}

/// What of `metadata` says which life of an object it is, and who watches over it.
const OF_THE_LIVING: [&str; 4] = ["finalizers", "ownerReferences", "resourceVersion", "uid"];

/// The wanted content for the object that is there: who owns it, what guards it, and what the cluster gave it stays as it is.
fn with_life_of(mut wanted: Value, present: &Value) -> Value {
    keep(&mut wanted["metadata"], &present["metadata"], &OF_THE_LIVING);
    let notes = &present["metadata"]["annotations"];
    if NOTES_OF_CONTROLLERS.iter().any(|note| !notes[*note].is_null()) {
        if !wanted["metadata"]["annotations"].is_object() {
            wanted["metadata"]["annotations"] = Value::Object(Map::new());
        }
        keep(
            &mut wanted["metadata"]["annotations"],
            notes,
            &NOTES_OF_CONTROLLERS,
        );
    }
    match present["kind"].as_str() {
        Some("Service")
            if wanted["spec"]["clusterIP"].is_null() && present["spec"]["clusterIP"] != "None" =>
        {
            let addresses = ["clusterIP", "clusterIPs", "healthCheckNodePort"];
            keep(&mut wanted["spec"], &present["spec"], &addresses);
        }
        Some("ServiceAccount") => keep(&mut wanted, present, &["secrets"]),
        _ => {}
    }
    wanted
}

/// Takes these fields over, as far as `present` has them.
fn keep(wanted: &mut Value, present: &Value, fields: &[&str]) {
    let Some(wanted) = wanted.as_object_mut() else {
        return;
    };
    for field in fields {
        if let Some(value) = present.get(*field) {
            wanted.insert((*field).to_owned(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn movers_tokens_and_what_the_cluster_makes_stay_out() {
        let cases = [
            (
                json!({"kind": "ConfigMap", "metadata": {"name": "settings"}}),
                Triage::Archive { rendered: false },
            ),
            (
                json!({"kind": "Service", "metadata": {"name": "db",
                    "labels": {"app.kubernetes.io/managed-by": "tray-operator"}}}),
                Triage::Archive { rendered: true },
            ),
            (
                json!({"kind": "Service", "metadata": {"name": "db",
                    "labels": {"app.kubernetes.io/managed-by": "Helm"}}}),
                Triage::Archive { rendered: false },
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(triage(&object), expected, "{object}");
        }
        for left_out in [
            json!({"kind": "Secret", "metadata": {"name": "snap-x",
                "labels": {"platform.tray.ai/component": "mover", "app.kubernetes.io/managed-by": "tray-operator"}}}),
            json!({"kind": "Secret", "type": "kubernetes.io/service-account-token", "metadata": {"name": "t"}}),
            json!({"kind": "Secret", "metadata": {"name": "tray-webhook-token"}}),
            json!({"kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt"}}),
            json!({"kind": "ConfigMap", "metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}}),
        ] {
            assert!(!matches!(triage(&left_out), Triage::Archive { .. }), "{left_out}");
        }
    }

    #[test]
    fn an_archived_object_keeps_its_uid_but_not_its_history() {
        let archived = for_archive(json!({
            "kind": "ConfigMap", "metadata": {"name": "a", "uid": "u", "managedFields": [{}]}, "status": {}, "data": {"k": "v"},
        }));
        assert_eq!(
            archived,
            json!({"kind": "ConfigMap", "metadata": {"name": "a", "uid": "u"}, "data": {"k": "v"}})
        );
    }

    /// One life's worth of fields on each kind, and what is left of them.
    #[test]
    fn a_restored_object_carries_nothing_of_its_former_life() {
        let life = json!({
            "name": "a", "namespace": "old", "uid": "u", "resourceVersion": "7", "generation": 2, "selfLink": "/x",
            "creationTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0, "finalizers": ["f"],
            "ownerReferences": [{"uid": "o"}], "managedFields": [], "labels": {"l": "1"},
            "annotations": {"pv.kubernetes.io/bind-completed": "yes", "volume.kubernetes.io/selected-node": "n"},
        });
        let clean = json!({"name": "a", "namespace": "new", "labels": {"l": "1"}});
        let cases = [
            (
                json!({"kind": "ConfigMap", "metadata": life, "data": {"k": "v"}, "status": {}}),
                json!({"kind": "ConfigMap", "metadata": clean, "data": {"k": "v"}}),
            ),
            (
                json!({"kind": "Service", "metadata": life,
                    "spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "healthCheckNodePort": 3, "ports": []}}),
                json!({"kind": "Service", "metadata": clean, "spec": {"ports": []}}),
            ),
            (
                json!({"kind": "Service", "metadata": life, "spec": {"clusterIP": "None", "clusterIPs": ["None"]}}),
                json!({"kind": "Service", "metadata": clean, "spec": {"clusterIP": "None", "clusterIPs": ["None"]}}),
            ),
            (
                json!({"kind": "PersistentVolumeClaim", "metadata": life,
                    "spec": {"volumeName": "pv", "storageClassName": "s"}, "status": {"phase": "Bound"}}),
                json!({"kind": "PersistentVolumeClaim", "metadata": clean, "spec": {"storageClassName": "s"}}),
            ),
            (
                json!({"kind": "ServiceAccount", "metadata": life, "secrets": [{"name": "a-token"}]}),
                json!({"kind": "ServiceAccount", "metadata": clean}),
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(for_restore(object, "new"), expected);
        }
    }

    #[test]
    fn annotations_of_people_stay() {
        let object = json!({"kind": "ConfigMap", "metadata": {"name": "a", "annotations":
            {"kubectl.kubernetes.io/last-applied-configuration": "{}", "deployment.kubernetes.io/revision": "3"}}});
        assert_eq!(
            for_restore(object, "n")["metadata"]["annotations"],
            json!({"kubectl.kubernetes.io/last-applied-configuration": "{}"})
        );
    }

    #[test]
    fn what_is_present_is_left_or_given_its_content_back() {
        let wanted = for_restore(
            json!({"kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}),
            "n",
        );
        let present = |data: Value, labels: Value| {
            json!({"kind": "ConfigMap", "data": data,
                "metadata": {"name": "a", "namespace": "n", "uid": "u2", "resourceVersion": "9", "labels": labels}})
        };
        let as_archived = for_restore(wanted.clone(), "n");
        let mut same = as_archived.clone();
        same["metadata"]["resourceVersion"] = json!("9");
        assert_eq!(of_present(&wanted, &same, "n"), OfPresent::Leave);
        let managed = present(
            json!({}),
            json!({"app.kubernetes.io/managed-by": "tray-operator"}),
        );
        assert_eq!(of_present(&wanted, &managed, "n"), OfPresent::Leave);
        let OfPresent::Update(body) = of_present(&wanted, &present(json!({}), json!({})), "n") else {
            unreachable!("its content differs")
        };
        assert_eq!(body["data"], json!({"k": "v"}));
        assert_eq!(body["metadata"]["resourceVersion"], "9");
    }

    #[test]
    fn a_claim_that_is_there_is_left_alone() {
        let wanted = json!({"kind": "PersistentVolumeClaim", "metadata": {"name": "a"}, "spec": {}});
        let present =
            json!({"kind": "PersistentVolumeClaim", "metadata": {"name": "a"}, "spec": {"volumeName": "x"}});
        assert_eq!(of_present(&wanted, &present, "n"), OfPresent::Leave);
    }

    fn living(kind: &str, rest: &Value) -> Value {
        let mut object = json!({"kind": kind, "metadata": {"name": "a", "namespace": "n", "uid": "u2", "resourceVersion": "9",
            "finalizers": ["example.com/guard"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "o", "controller": true}]}});
        for (field, value) in rest.as_object().unwrap() {
            object[field] = value.clone();
        }
        object
    }
    fn updated(archived: &Value, present: &Value) -> Value {
        match of_present(&for_restore(archived.clone(), "n"), present, "n") {
            OfPresent::Update(body) => *body,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_living_object_keeps_its_owners_its_finalizers_and_what_the_cluster_gave_it() {
        let archived = living("Secret", &json!({"data": {"password": "b2xk"}}));
        let mut present = living("Secret", &json!({"data": {"password": "bmV3"}}));
        present["metadata"]["ownerReferences"][0]["uid"] = json!("another owner by now");
        present["metadata"]["finalizers"] = json!(["example.com/guard", "example.com/another"]);
        let body = updated(&archived, &present);
        assert_eq!(body["data"]["password"], "b2xk");
        for field in ["ownerReferences", "finalizers", "uid", "resourceVersion"] {
            assert_eq!(body["metadata"][field], present["metadata"][field], "{field}");
        }
        // None had any: none comes from the archive.
        let mut bare = present.clone();
        for field in ["ownerReferences", "finalizers"] {
            bare["metadata"].as_object_mut().unwrap().remove(field);
        }
        let body = updated(&archived, &bare);
        assert!(body["metadata"]["ownerReferences"].is_null() && body["metadata"]["finalizers"].is_null());

        let archived = living(
            "Service",
            &json!({"spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": [1]}}),
        );
        let present = living(
            "Service",
            &json!({"spec": {"clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.2"], "ports": [2]}}),
        );
        let body = updated(&archived, &present);
        assert_eq!(
            body["spec"],
            json!({"clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.2"], "ports": [1]})
        );

        let present = living(
            "ServiceAccount",
            &json!({"secrets": [{"name": "a-token"}], "imagePullSecrets": []}),
        );
        let body = updated(&living("ServiceAccount", &json!({})), &present);
        assert_eq!(body["secrets"], json!([{"name": "a-token"}]));
        assert!(body["imagePullSecrets"].is_null(), "this is content");

        let mut present = living("Deployment", &json!({"spec": {"replicas": 2}}));
        present["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": "7", "mine": "2"});
        let body = updated(&living("Deployment", &json!({"spec": {"replicas": 1}})), &present);
        assert_eq!(
            body["metadata"]["annotations"],
            json!({"deployment.kubernetes.io/revision": "7"}),
            "the controller's note stays, a person's is content"
        );
    }

    #[test]
    fn what_is_being_deleted_is_left_alone_whether_or_not_it_differs() {
        for value in ["v", "w"] {
            let mut present = living("ConfigMap", &json!({"data": {"k": value}}));
            present["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            let wanted = for_restore(living("ConfigMap", &json!({"data": {"k": "v"}})), "n");
            let OfPresent::IsGoing(why) = of_present(&wanted, &present, "n") else {
                panic!("{value}")
            };
            assert!(why.contains("example.com/guard"), "{why}");
        }
    }

    #[test]
    fn what_can_never_be_changed_is_told_where_it_differs() {
        let of = |kind: &str, data: &str| living(kind, &json!({"immutable": true, "data": {"k": data}}));
        for kind in ["ConfigMap", "Secret"] {
            let wanted = for_restore(of(kind, "before"), "n");
            assert_eq!(of_present(&wanted, &of(kind, "before"), "n"), OfPresent::Leave);
            assert!(matches!(
                of_present(&wanted, &of(kind, "after"), "n"),
                OfPresent::Immutable(_)
            ));
            // The archived one could still be changed: the one that is there cannot.
            let mut changeable = wanted.clone();
            changeable.as_object_mut().unwrap().remove("immutable");
            let present = of(kind, "before");
            assert!(matches!(
                of_present(&changeable, &present, "n"),
                OfPresent::Immutable(_)
            ));
            // Labels may change.
            let mut labelled = wanted;
            labelled["metadata"]["labels"] = json!({"l": "1"});
            assert!(matches!(
                of_present(&labelled, &present, "n"),
                OfPresent::Update(_)
            ));
        }
        let present = living("ConfigMap", &json!({"data": {"k": "after"}}));
        let wanted = for_restore(of("ConfigMap", "before"), "n");
        assert!(
            matches!(of_present(&wanted, &present, "n"), OfPresent::Update(_)),
            "it may become so"
        );
    }
}
