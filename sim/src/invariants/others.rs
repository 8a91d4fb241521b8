//! Invariants 23 and 24: what belongs to others.

use tray_testkit::cluster::Name;

use super::Invariants;
use crate::{
    aws::Version,
    manifests::{FOREIGN, PLANTED},
};

/// Kinds in which nothing of an org's content may be said.
const TOLD: [&str; 6] = [
    "trayorgs.platform.tray.ai",
    "orgsnapshots.platform.tray.ai",
    "orgrestores.platform.tray.ai",
    "orgtombstones.platform.tray.ai",
    "jobs.batch",
    "namespaces",
];

impl Invariants {
    /// 23: names of files, and what orgs keep secret, are nowhere but in what is encrypted under the org's key: the light engine's
    /// repositories, and what movers say of their parts, which are in clear here.
    pub(super) fn nothing_leaks(&self) {
        for kind in TOLD {
            let told = self.world.server.read_all(kind, |object| {
                let name = object["metadata"]["name"].to_string();
                object.to_string().contains(PLANTED).then_some(name)
            });
            for name in told.into_iter().flatten() {
                self.world
                    .log
                    .broken(23, format!("{name} of {kind} tells what an org keeps secret"));
            }
        }
        for (key, version) in self.bucket().versions("") {
            let Version::Object(object) = version else {
                continue;
            };
            let is_told = object
                .body
                .windows(PLANTED.len())
                .any(|window| window == PLANTED.as_bytes());
            let is_orgs = key.contains("/repo/") || key.contains("/parts/");
            if is_told && !is_orgs {
                self.world
                    .log
                    .broken(23, format!("{key} tells what an org keeps secret"));
            }
        }
    }

    /// 24: what is nobody's business is as it was.
    pub(super) fn foreign_is_left_alone(&self) {
        let name = Name::new("default", FOREIGN);
        let generation =
            |object: &serde_json::Value| object["metadata"]["managedFields"].as_array().map(Vec::len);
        match self.world.server.read("configmaps", &name, generation) {
            Some(Some(1)) => {}
            found => self
                .world
                .log
                .broken(24, format!("ConfigMap {FOREIGN} was changed: {found:?}")),
        }
    }
}
