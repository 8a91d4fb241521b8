//! Deployments and StatefulSets: each gets the pods that it asks for, of its newest template.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tray_testkit::cluster::Name;

use super::{Kubernetes, is_going, is_over, owned_by, text};

/// What the labels of a workload's pods call the template that they are of.
fn revision_label(workload: &Value) -> &'static str {
    if workload["kind"] == "Deployment" {
        "pod-template-hash"
    } else {
        "controller-revision-hash"
    }
}

/// A pod of a workload.
struct Replica {
    name: Name,
    revision: String,
    goes: bool,
    ready: bool,
    ended: bool,
}

impl Kubernetes {
    /// Makes and removes pods of a workload, and says how it is.
    pub(super) fn workload(&mut self, resource: &str, name: &Name) {
        let server = self.world.server.clone();
        let Some(workload) = server.get(resource, name) else {
            return;
        };
        if is_going(&workload) {
            return;
        }
        let label = revision_label(&workload);
        let template = &workload["spec"]["template"];
        let revision = hex::encode(&Sha256::digest(template.to_string())[..5]);
        let wanted = workload["spec"]["replicas"].as_u64().unwrap_or(1) as usize;
        let replicas = self.replicas(text(&workload, "uid"), label);
        if resource == "statefulsets.apps" {
            self.sets(name, &workload, &revision, wanted, &replicas);
        } else {
            self.deploys(name, &workload, &revision, wanted, &replicas);
        }
        let replicas = self.replicas(text(&workload, "uid"), label);
        let count = |of: fn(&Replica, &str) -> bool| {
            let counted = replicas
                .iter()
                .filter(|replica| !replica.goes && of(replica, &revision));
            counted.count()
        };
        let ready = count(|replica, _| replica.ready);
        let status = json!({
            "observedGeneration": workload["metadata"]["generation"],
            "replicas": count(|_, _| true), "updatedReplicas": count(|replica, revision| replica.revision == revision),
            "readyReplicas": ready, "availableReplicas": ready,
        });
        let _ = server.change(resource, name, |workload| workload["status"] = status);
    }

    fn replicas(&self, owner: &str, label: &str) -> Vec<Replica> {
        let pods = self
            .owned_by(owner)
            .into_iter()
            .filter(|(resource, _)| resource == "pods");
        let replica = |(_, name): (String, Name)| {
            self.world.server.read("pods", &name, |pod| {
                let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
                let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
                Replica {
                    name: name.clone(),
                    revision: pod["metadata"]["labels"][label]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned(),
                    goes: is_going(pod),
                    ready: ready.any(|condition| condition["status"] == "True"),
                    ended: is_over(pod),
                }
            })
        };
        pods.filter_map(replica).collect()
    }

    fn sets(&mut self, name: &Name, workload: &Value, revision: &str, wanted: usize, replicas: &[Replica]) {
        let by_name: BTreeMap<&str, &Replica> = replicas.iter().map(|r| (r.name.name.as_str(), r)).collect();
        // One at a time is replaced.
        let mut may_replace = replicas.iter().all(|replica| replica.ready && !replica.goes);
        for ordinal in 0..wanted {
            let pod = Name::new(name.namespace.clone(), format!("{}-{ordinal}", name.name));
            match by_name.get(pod.name.as_str()) {
                None => self.make_replica(workload, revision, pod, Some(ordinal)),
                Some(replica) if replica.ended => self.remove_replica(&replica.name),
                Some(replica) if replica.revision != revision && !replica.goes => {
                    // One that does not start is replaced whatever the others do.
                    if may_replace || !replica.ready {
                        self.remove_replica(&replica.name);
                        may_replace = false;
                    }
                }
                Some(_) => {}
            }
        }
        for replica in replicas {
            let ordinal = replica
                .name
                .name
                .rsplit('-')
                .next()
                .and_then(|ordinal| ordinal.parse::<usize>().ok());
            if ordinal.is_none_or(|ordinal| ordinal >= wanted) && !replica.goes {
                self.remove_replica(&replica.name);
            }
        }
    }

    fn deploys(
        &mut self,
        name: &Name,
        workload: &Value,
        revision: &str,
        wanted: usize,
        replicas: &[Replica],
    ) {
        let living: Vec<&Replica> = replicas
            .iter()
            .filter(|replica| !replica.goes && !replica.ended)
            .collect();
        let (new, old): (Vec<&Replica>, Vec<&Replica>) = living
            .into_iter()
            .partition(|replica| replica.revision == revision);
        for _ in new.len()..wanted {
            let suffix = format!("{:05x}", self.random.below(1 << 20));
            let pod = Name::new(
                name.namespace.clone(),
                format!("{}-{revision}-{suffix}", name.name),
            );
            self.make_replica(workload, revision, pod, None);
        }
        for replica in new.iter().skip(wanted) {
            self.remove_replica(&replica.name);
        }
        if new.iter().filter(|replica| replica.ready).count() >= wanted {
            for replica in old {
                self.remove_replica(&replica.name);
            }
        }
        for replica in replicas.iter().filter(|replica| replica.ended && !replica.goes) {
            self.remove_replica(&replica.name);
        }
    }

    fn remove_replica(&self, name: &Name) {
        let _ = self.world.server.delete("pods", name, &json!({}));
    }

    fn make_replica(&mut self, workload: &Value, revision: &str, name: Name, ordinal: Option<usize>) {
        let template = &workload["spec"]["template"];
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": name.name, "namespace": name.namespace, "labels": template["metadata"]["labels"],
                "annotations": template["metadata"]["annotations"], "ownerReferences": owned_by("apps/v1", workload["kind"].as_str().unwrap_or_default(), workload),
            },
            "spec": template["spec"],
        });
        pod["metadata"]["labels"][revision_label(workload)] = json!(revision);
        if let Some(ordinal) = ordinal {
            let set = text(workload, "name");
            let claims = workload["spec"]["volumeClaimTemplates"]
                .as_array()
                .into_iter()
                .flatten();
            for template in claims {
                let volume = text(template, "name");
                let claim = format!("{volume}-{set}-{ordinal}");
                self.make_claim(&name.namespace, &claim, template);
                let mounted = json!({"name": volume, "persistentVolumeClaim": {"claimName": claim}});
                match pod["spec"]["volumes"].as_array_mut() {
                    Some(volumes) => {
                        volumes.retain(|present| present["name"] != volume);
                        volumes.push(mounted);
                    }
                    None => pod["spec"]["volumes"] = json!([mounted]),
                }
            }
        }
        let _ = self.world.server.put(pod);
    }

    fn make_claim(&self, namespace: &str, name: &str, template: &Value) {
        let place = Name::new(namespace, name);
        if self
            .world
            .server
            .read("persistentvolumeclaims", &place, |_| ())
            .is_some()
        {
            return;
        }
        let _ = self.world.server.put(json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": namespace, "labels": template["metadata"]["labels"]},
            "spec": template["spec"],
        }));
    }

    /// A moment, so that a pod is not there at once.
    pub(super) fn moment(&mut self) -> Duration {
        self.random
            .between(Duration::from_millis(100), self.world.longest_start())
    }
}
