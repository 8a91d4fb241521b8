//! Whether what belongs to an org lies in the cloud region that the org is pinned to.
//!
//! What is asked is what cannot lie: of a pod the node that it runs on, of a volume its node affinity and its labels. A
//! volume may name several places and can be used from any of them, so one place elsewhere is enough.

use std::collections::BTreeSet;

/// What of an org may lie elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A pod, on a node.
    Pod,
    /// A PersistentVolume, whose claim is the org's.
    Volume,
}

/// Everything that says where something is. Empty = nothing does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Cloud regions.
    pub regions: BTreeSet<String>,
    /// Zones of cloud regions.
    pub zones: BTreeSet<String>,
}

/// Where something is, seen from an org's home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// In the region.
    Home,
    /// Elsewhere: a region or a zone.
    Elsewhere(String),
    /// Nothing says where.
    Unknown,
}

impl Places {
    /// Where that is, seen from cloud region `home`.
    pub fn seen_from(&self, home: &str) -> Finding {
        let region = self.regions.iter().find(|region| *region != home);
        let zone = || self.zones.iter().find(|zone| !is_zone_of(zone, home));
        if let Some(elsewhere) = region.or_else(zone) {
            Finding::Elsewhere(elsewhere.clone())
        } else if self.regions.is_empty() && self.zones.is_empty() {
            Finding::Unknown
        } else {
            Finding::Home
        }
    }
}

/// Whether a zone is one of the cloud region: its name and a letter. A Local Zone (`us-west-2-lax-1a`) is another place.
fn is_zone_of(zone: &str, cloud_region: &str) -> bool {
    zone.strip_prefix(cloud_region)
        .is_some_and(|letter| letter.len() == 1 && letter.bytes().all(|b| b.is_ascii_lowercase()))
}

/// Something of an org that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// What sort of thing.
    pub kind: Kind,
    /// Which, in the words of a message.
    pub what: String,
    /// What says where it is.
    pub places: Places,
}

/// What was found of an org.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Residency {
    /// What lies elsewhere, and where: pods first.
    pub outside: Vec<(Kind, String)>,
    /// What nothing says the place of.
    pub unknown: Vec<String>,
}

impl Residency {
    /// How many of a kind lie elsewhere.
    pub fn outside_of_kind(&self, kind: Kind) -> usize {
        self.outside.iter().filter(|(found, _)| *found == kind).count()
    }
}

/// Judges everything that was seen of an org that is pinned to cloud region `home`.
pub fn judge(home: &str, seen: &[Sighting]) -> Residency {
    let mut residency = Residency::default();
    for sighting in seen {
        match sighting.places.seen_from(home) {
            Finding::Home => {}
            Finding::Elsewhere(place) => residency
                .outside
                .push((sighting.kind, format!("{} in {place}", sighting.what))),
            Finding::Unknown => residency.unknown.push(sighting.what.clone()),
        }
    }
    // An order that moves would be a change.
    residency.outside.sort();
    residency.unknown.sort();
    residency
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(regions: &[&str], zones: &[&str]) -> Places {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Places {
            regions: owned(regions),
            zones: owned(zones),
        }
    }
    fn elsewhere(place: &str) -> Finding {
        Finding::Elsewhere(place.to_owned())
    }

    #[test]
    fn p1_one_place_elsewhere_is_enough_and_no_place_is_not_home() {
        for (regions, zones, want) in [
            (&["eu-west-1"][..], &[][..], Finding::Home),
            (&[], &["eu-west-1a", "eu-west-1c"], Finding::Home),
            (&["eu-west-1"], &["eu-west-1a"], Finding::Home),
            (&["us-west-2"], &[], elsewhere("us-west-2")),
            (&["eu-west-1", "us-west-2"], &[], elsewhere("us-west-2")),
            (&["eu-west-1"], &["us-west-2a"], elsewhere("us-west-2a")),
            (&[], &["eu-west-1a", "us-west-2a"], elsewhere("us-west-2a")),
            // London begins as Ireland does, and so do a Local Zone and a region that may come.
            (&["eu-west-2"], &[], elsewhere("eu-west-2")),
            (&[], &["eu-west-2a"], elsewhere("eu-west-2a")),
            (&[], &["eu-west-1-dub-1a"], elsewhere("eu-west-1-dub-1a")),
            (&[], &["eu-west-11"], elsewhere("eu-west-11")),
            (&[], &["eu-west-1"], elsewhere("eu-west-1")),
            (&[], &[], Finding::Unknown),
        ] {
            let found = places(regions, zones).seen_from("eu-west-1");
            assert_eq!(found, want, "{regions:?} {zones:?}");
        }
    }

    #[test]
    fn p1_everything_that_lies_elsewhere_is_named_with_its_place() {
        let sighting = |kind, what: &str, regions: &[&str]| Sighting {
            kind,
            what: what.to_owned(),
            places: places(regions, &[]),
        };
        let seen = [
            sighting(Kind::Volume, "volume v", &["us-east-1"]),
            sighting(Kind::Pod, "pod b", &["us-west-2"]),
            sighting(Kind::Pod, "pod a", &["us-west-2"]),
            sighting(Kind::Pod, "pod c", &["eu-west-1"]),
            sighting(Kind::Pod, "pod d", &[]),
        ];
        let found = judge("eu-west-1", &seen);
        assert_eq!(
            found.outside,
            [
                (Kind::Pod, "pod a in us-west-2".to_owned()),
                (Kind::Pod, "pod b in us-west-2".to_owned()),
                (Kind::Volume, "volume v in us-east-1".to_owned()),
            ]
        );
        assert_eq!(found.unknown, ["pod d"]);
        assert_eq!(
            (
                found.outside_of_kind(Kind::Pod),
                found.outside_of_kind(Kind::Volume)
            ),
            (2, 1)
        );
        assert_eq!(judge("eu-west-1", &[]), Residency::default());
    }
}
