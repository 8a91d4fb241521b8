//! Invariants 27 and 28: what a cluster says of itself, and what it does once another one has taken its orgs over.

use jiff::{SignedDuration, Timestamp};
use tray_domain::{
    bucket_layout,
    heartbeat::{ASKED_EVERY, EVERY, Heartbeat},
};
use tray_ports::Clock as _;
use tray_testkit::cluster::Name;

use super::Invariants;
use crate::{
    aws::{CLUSTERS, Place, Version},
    manifests::HOMES,
    traffic::OPERATOR,
};

/// How late a heartbeat may be, beside the five minutes: a process dies, and another one leads and gets to know the cluster.
const LATE: SignedDuration = SignedDuration::from_mins(5);
/// For how long what was begun goes on: a process may stand still meanwhile, and a place not answer at once.
const GOES_ON: SignedDuration = SignedDuration::from_mins(20);

/// For how long a pass goes on that a process was in the middle of when it fell asleep.
const ENDS: SignedDuration = SignedDuration::from_mins(5);

impl Invariants {
    fn heartbeat(&self, place: &Place) -> Option<(Timestamp, Heartbeat)> {
        let key = bucket_layout::heartbeat("", &self.world.cluster_uid());
        let object = place.bucket.get(&key)?;
        let beat = serde_json::from_slice(&object.body).ok()?;
        Some((object.at, beat))
    }

    /// 27: a day after all is well the cluster has said within five minutes that it is there, in every place.
    pub(super) fn is_alive(&self) {
        for (bucket, place) in &self.world.places {
            self.says_so_in(bucket, place);
        }
    }

    fn says_so_in(&self, bucket: &str, place: &Place) {
        let now = self.world.clock.now();
        let newest = self.heartbeat(place);
        let is_late = |at: Timestamp| now.duration_since(at) > EVERY + LATE;
        let uid = self.world.cluster_uid();
        let is_well = newest.as_ref().is_some_and(|(at, beat)| {
            !is_late(*at) && beat.cluster_uid == uid && beat.holder.starts_with(OPERATOR)
        });
        if !is_well {
            let what = format!("the cluster does not say in {bucket} that it is there: {newest:?}");
            self.world.log.broken(27, what);
        }
    }

    /// Another cluster has taken the orgs over.
    pub(crate) fn fenced(&mut self) {
        self.fenced_at = Some(self.world.clock.now());
    }

    /// This one wakes after that.
    pub(crate) fn woken(&mut self) {
        self.woke_at = Some(self.world.clock.now());
    }

    /// 28: a cluster that was fenced writes no ledger and no key, and says no more that it is there, from when it has asked; its
    /// Regions say so.
    pub(crate) fn fenced_is_still(&self) {
        let Some(fenced_at) = self.fenced_at else {
            return;
        };
        // One that slept asks before it begins anything.
        let still_from = match self.woke_at {
            Some(woke_at) => woke_at + ENDS,
            None => fenced_at + ASKED_EVERY + GOES_ON,
        };
        for org in &self.orgs {
            self.ledger_is_whole(org);
        }
        let broken = |what: String| self.world.log.broken(28, what);
        let places = self.world.places.values();
        for (key, version) in places.flat_map(|place| place.bucket.versions("")) {
            let Version::Object(object) = version else {
                continue;
            };
            let is_said = ["v1/ledger/", CLUSTERS]
                .iter()
                .any(|folder| key.starts_with(folder));
            let is_key = key.ends_with("/key/0001.json");
            if (is_said || is_key) && object.at > still_from {
                broken(format!(
                    "{key} was written at {}, and the cluster was fenced at {fenced_at}",
                    object.at
                ));
            }
        }
        let says_so = |region: &serde_json::Value| {
            let conditions = region["status"]["conditions"].as_array().into_iter().flatten();
            let mut fenced = conditions.filter(|condition| condition["type"] == "Fenced");
            fenced.any(|condition| condition["status"] == "True")
        };
        for home in &HOMES {
            let region = Name::new("", home.region);
            let said = self
                .world
                .server
                .read("regions.platform.tray.ai", &region, says_so);
            if said != Some(true) {
                broken(format!("Region {} does not say that it is fenced", home.region));
            }
        }
    }
}
