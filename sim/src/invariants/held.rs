//! Invariant 22: what is held of an org that is gone, and what it gets back.

use std::collections::BTreeSet;

use serde_json::Value;
use tray_testkit::cluster::Name;

use super::Org;
use crate::{
    people,
    truth::{condition, phase},
    world::World,
};

/// What an org had when it was last seen in order.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Had {
    /// UID of its namespace.
    namespace: String,
    claims: Vec<Claim>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    name: Name,
    volume: String,
    paths: BTreeSet<String>,
}

/// What is known of one org.
pub(super) struct Held {
    org: Org,
    had: Option<Had>,
    is_gone: bool,
}

impl Held {
    pub(super) fn new(org: Org) -> Self {
        Self {
            org,
            had: None,
            is_gone: false,
        }
    }

    /// While the org is gone everything is there as it was; when it is back, it has all of it.
    pub(super) fn look(&mut self, world: &World) {
        if self.is_being_changed(world) {
            self.had = None;
            return;
        }
        let name = Name::new("", self.org.name.clone());
        let seen = world.server.read("trayorgs.platform.tray.ai", &name, |org| {
            let goes = !org["metadata"]["deletionTimestamp"].is_null();
            let is_ready = condition(org, "Ready").is_some_and(|ready| ready["status"] == "True");
            (goes, is_ready, org["status"]["orgId"].as_str().map(str::to_owned))
        });
        match seen {
            Some((false, true, id)) => {
                if std::mem::take(&mut self.is_gone) {
                    world.log.sometimes("an org is back");
                    if id.as_deref() != Some(self.org.id.as_str()) {
                        let what = format!("{} is back with the id {id:?}", self.org.name);
                        world.log.broken(22, what);
                    }
                    self.is_there(world);
                }
                self.had = self.has(world);
            }
            Some((false, false, _)) => {}
            Some((true, ..)) | None => {
                self.is_gone |= self.had.is_some();
                self.is_there(world);
            }
        }
    }

    /// A restore takes volumes and puts others in their place; people may lose one.
    fn is_being_changed(&self, world: &World) -> bool {
        let open = world.server.read_all("orgrestores.platform.tray.ai", |restore| {
            let is_of_org = restore["spec"]["orgRef"]["name"] == self.org.name.as_str();
            is_of_org && !people::has_ended(phase(restore))
        });
        world.truth.have_people_lost(&self.org.namespace()) || open.into_iter().any(|open| open)
    }

    fn has(&self, world: &World) -> Option<Had> {
        let namespace = self.org.namespace();
        let uid = |namespace: &Value| namespace["metadata"]["uid"].as_str().map(str::to_owned);
        let place = Name::new("", namespace.clone());
        let claims = world.server.read_all("persistentvolumeclaims", |claim| {
            (claim["metadata"]["namespace"] == namespace.as_str()).then(|| Name::of(claim))
        });
        let claim = |name: Name| {
            let volume = world.volume_of(&name)?;
            let files = world.disks.files(&volume)?;
            Some(Claim {
                name,
                volume,
                paths: files.into_keys().collect(),
            })
        };
        Some(Had {
            namespace: world.server.read("namespaces", &place, uid)??,
            claims: claims.into_iter().flatten().filter_map(claim).collect(),
        })
    }

    fn is_there(&self, world: &World) {
        let Some(had) = &self.had else {
            return;
        };
        let Some(has) = self.has(world).filter(|has| has.namespace == had.namespace) else {
            let what = format!(
                "the namespace of {} is another one than it was, or none",
                self.org.name
            );
            world.log.broken(22, what);
            return;
        };
        for claim in &had.claims {
            let found = has.claims.iter().find(|found| found.name == claim.name);
            let is_same = found
                .is_some_and(|found| found.volume == claim.volume && found.paths.is_superset(&claim.paths));
            let is_restored = found.is_some_and(|found| world.truth.filled_from(&found.volume).is_some());
            if !is_same && !is_restored {
                let what = format!(
                    "{} had claim {} with {} and {} files, and now it is {found:?}",
                    self.org.name,
                    claim.name.name,
                    claim.volume,
                    claim.paths.len()
                );
                world.log.broken(22, what);
            }
        }
    }
}
