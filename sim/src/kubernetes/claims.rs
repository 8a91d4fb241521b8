//! Claims: each gets a volume of its own, and goes when no pod uses it.

use std::time::Duration;

use serde_json::{Value, json};
use tray_testkit::cluster::Name;

use super::{Kubernetes, Later, is_going, is_over, text};

/// Keeps a claim while a pod uses it.
const PROTECTION: &str = "kubernetes.io/pvc-protection";

/// The claims that a pod mounts.
pub(crate) fn claims_of(pod: &Value) -> impl Iterator<Item = &str> {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volumes.filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str())
}

/// The volume that is made for a claim, by its UID.
pub(crate) fn volume_of_claim(uid: &str) -> String {
    format!("pvc-{uid}")
}

impl Kubernetes {
    /// Binds a claim, or lets one go that was deleted.
    pub(super) fn claim(&mut self, name: &Name) {
        let server = self.world.server.clone();
        let Some(claim) = server.get("persistentvolumeclaims", name) else {
            return;
        };
        if is_going(&claim) {
            if let Some(volume) = claim["spec"]["volumeName"].as_str() {
                self.world.truth.claim_deleted(name, volume);
            }
            if !self.is_mounted(name) {
                self.let_go("persistentvolumeclaims", name, PROTECTION);
            }
            return;
        }
        if claim["status"]["phase"] == "Bound" {
            return;
        }
        let uid = text(&claim, "uid");
        let volume = volume_of_claim(uid);
        let Some(zone) = self.world.zone_of_namespace(&name.namespace) else {
            self.later(Duration::from_secs(1), Later::Claim(name.clone()));
            return;
        };
        let (region, zone) = zone;
        self.world.disks.make(&volume);
        self.world.truth.volume_made(name, &volume);
        let size = claim["spec"]["resources"]["requests"]["storage"].clone();
        let _ = server.put(json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": volume, "labels": {"topology.kubernetes.io/region": region, "topology.kubernetes.io/zone": zone}},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}, "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": claim["spec"]["storageClassName"],
                "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": name.namespace,
                    "name": name.name, "uid": uid},
            },
            "status": {"phase": "Bound"},
        }));
        let _ = server.change("persistentvolumeclaims", name, |claim| {
            claim["spec"]["volumeName"] = json!(volume);
            claim["status"] =
                json!({"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}});
        });
        for user in self.users_of_claims(&name.namespace) {
            self.later(Duration::ZERO, user);
        }
    }

    /// The volume of a claim that is gone stays: its class retains.
    pub(super) fn claim_gone(&self, claim: &Value) {
        if let Some(volume) = claim["spec"]["volumeName"].as_str() {
            let name = Name::new("", volume);
            let _ = self.world.server.change("persistentvolumes", &name, |volume| {
                volume["status"] = json!({"phase": "Released"});
            });
        }
    }

    fn is_mounted(&self, claim: &Name) -> bool {
        let mounts = self.world.server.read_all("pods", |pod| {
            text(pod, "namespace") == claim.namespace
                && !is_over(pod)
                && claims_of(pod).any(|name| name == claim.name)
        });
        mounts.into_iter().any(|mounts| mounts)
    }

    /// The StatefulSets of a namespace: they make claims that are not there.
    pub(super) fn users_of_claims(&self, namespace: &str) -> Vec<Later> {
        let found = self.world.server.read_all("statefulsets.apps", |set| {
            (text(set, "namespace") == namespace)
                .then(|| Later::Workload("statefulsets.apps".to_owned(), Name::of(set)))
        });
        found.into_iter().flatten().collect()
    }
}
