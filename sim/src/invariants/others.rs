//! Invariants 23 and 24: what belongs to others.

use tray_testkit::cluster::Name;

use super::Invariants;
use crate::{
    aws::Version,
    manifests::{FOREIGN, PLANTED},
    world::World,
};

/// Kinds in which orgs themselves say what they keep secret.
const OWN: [&str; 2] = ["secrets", "configmaps"];

/// Version of the object that is nobody's business; 0 = it is not there.
pub(super) fn foreign(world: &World) -> u64 {
    let version = |object: &serde_json::Value| {
        object["metadata"]["resourceVersion"]
            .as_str()
            .and_then(|text| text.parse().ok())
    };
    let name = Name::new("default", FOREIGN);
    let found = world.server.read("configmaps", &name, version);
    found.flatten().unwrap_or_default()
}

impl Invariants {
    /// 23: names of files, and what orgs keep secret, are nowhere but in what is encrypted under the org's key: the light engine's
    /// repositories, and what movers say of their parts, which are in clear here.
    pub(super) fn nothing_leaks(&self) {
        for (kind, _) in self.world.server.served() {
            if OWN.contains(&kind.as_str()) {
                continue;
            }
            let told = self.world.server.read_all(&kind, |object| {
                let name = object["metadata"]["name"].to_string();
                object.to_string().contains(PLANTED).then_some(name)
            });
            for name in told.into_iter().flatten() {
                self.world
                    .log
                    .broken(23, format!("{name} of {kind} tells what an org keeps secret"));
            }
        }
        for place in self.world.places.values() {
            for (key, version) in place.bucket.versions("") {
                let Version::Object(object) = version else {
                    continue;
                };
                let is_orgs = key.contains("/repo/") || key.contains("/parts/");
                if !is_orgs && tells(&object.body) {
                    self.world
                        .log
                        .broken(23, format!("{key} tells what an org keeps secret"));
                }
            }
        }
    }

    /// 24: what is nobody's business is as it was.
    pub(super) fn foreign_is_left_alone(&self) {
        let version = foreign(&self.world);
        if version != self.foreign {
            let what = format!("ConfigMap {FOREIGN} was changed: it is at version {version}");
            self.world.log.broken(24, what);
        }
    }
}

fn tells(body: &[u8]) -> bool {
    let mut starts = body
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == PLANTED.as_bytes()[0]);
    starts.any(|(at, _)| body[at..].starts_with(PLANTED.as_bytes()))
}
