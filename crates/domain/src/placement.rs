//! Where an org is placed: once, in the Region that it names, and never anywhere else afterwards.

use super::cloud_regions::Jurisdiction;

/// A place as an org is pinned to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of the Region.
    pub region: String,
    /// Its jurisdiction.
    pub jurisdiction: Jurisdiction,
    /// Its cloud region.
    pub cloud_region: String,
}

/// What of a Region decides whether an org may be placed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where it is.
    pub place: Place,
    /// It takes no new orgs.
    pub cordoned: bool,
    /// Why it is not ready; none = it is.
    pub not_ready: Option<String>,
}

/// Why an org is not placed, or cannot be worked on where it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementRefusal {
    /// There is no such Region here.
    #[error("spec.regionRef: Region {0} is not served here: create it, or name one of `kubectl get regions`")]
    NotServed(String),
    /// The org names another Region than the one it lives in.
    #[error(
        "spec.regionRef: the org lives in Region {pinned} and cannot move to {wanted}: put {pinned} back"
    )]
    Moved {
        /// Where it lives.
        pinned: String,
        /// What it names now.
        wanted: String,
    },
    /// The Region is another place than it was.
    #[error(
        "Region {region} was {was} when the org was placed and is {is} now: the org stays where it is; restore the Region as it was"
    )]
    Relocated {
        /// The Region.
        region: String,
        /// Its cloud region then.
        was: String,
        /// Its cloud region now.
        is: String,
    },
    /// The Region takes no new orgs.
    #[error("Region {0} takes no new orgs: set its spec.scheduling to Schedulable, or name another")]
    Cordoned(String),
    /// The Region is not ready.
    #[error("Region {region} is not ready: {why}")]
    NotReady {
        /// The Region.
        region: String,
        /// In the words of its condition Ready.
        why: String,
    },
}

/// Where the org belongs that names `wanted`. An org that is `pinned` stays whatever became of its Region, which only
/// has to be the place it was; a new one needs a Region that is ready for it.
pub fn place(
    wanted: &str,
    candidate: Option<&Candidate>,
    pinned: Option<&Place>,
) -> Result<Place, PlacementRefusal> {
    if let Some(pinned) = pinned
        && pinned.region != wanted
    {
        return Err(PlacementRefusal::Moved {
            pinned: pinned.region.clone(),
            wanted: wanted.to_owned(),
        });
    }
    let candidate = candidate.ok_or_else(|| PlacementRefusal::NotServed(wanted.to_owned()))?;
    match pinned {
        Some(pinned) if *pinned != candidate.place => Err(PlacementRefusal::Relocated {
            region: wanted.to_owned(),
            was: described(pinned),
            is: described(&candidate.place),
        }),
        Some(pinned) => Ok(pinned.clone()),
        None if candidate.cordoned => Err(PlacementRefusal::Cordoned(wanted.to_owned())),
        None => match &candidate.not_ready {
            Some(why) => Err(PlacementRefusal::NotReady {
                region: wanted.to_owned(),
                why: why.clone(),
            }),
            None => Ok(candidate.place.clone()),
        },
    }
}

fn described(place: &Place) -> String {
    format!("{} ({})", place.cloud_region, place.jurisdiction)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place_in(cloud_region: &str) -> Place {
        Place {
            region: "eu".into(),
            jurisdiction: Jurisdiction::Eu,
            cloud_region: cloud_region.into(),
        }
    }
    fn candidate() -> Candidate {
        Candidate {
            place: place_in("eu-west-1"),
            cordoned: false,
            not_ready: None,
        }
    }
    fn not_ready() -> Candidate {
        Candidate {
            not_ready: Some("no nodes".into()),
            ..candidate()
        }
    }
    fn cordoned() -> Candidate {
        Candidate {
            cordoned: true,
            ..candidate()
        }
    }

    #[test]
    fn a_new_org_needs_a_region_that_is_ready_for_it() {
        assert_eq!(place("eu", Some(&candidate()), None), Ok(place_in("eu-west-1")));
        assert_eq!(
            place("eu", None, None),
            Err(PlacementRefusal::NotServed("eu".into()))
        );
        assert_eq!(
            place("eu", Some(&cordoned()), None),
            Err(PlacementRefusal::Cordoned("eu".into()))
        );
        let refusal = place("eu", Some(&not_ready()), None).unwrap_err();
        assert_eq!(refusal.to_string(), "Region eu is not ready: no nodes");
    }

    #[test]
    fn a_placed_org_stays_whatever_becomes_of_its_region() {
        let pinned = place_in("eu-west-1");
        for candidate in [candidate(), cordoned(), not_ready()] {
            assert_eq!(place("eu", Some(&candidate), Some(&pinned)), Ok(pinned.clone()));
        }
        assert_eq!(
            place("eu", None, Some(&pinned)),
            Err(PlacementRefusal::NotServed("eu".into()))
        );
    }

    #[test]
    fn a_placed_org_never_moves() {
        let pinned = place_in("eu-west-1");
        let moved = PlacementRefusal::Moved {
            pinned: "eu".into(),
            wanted: "us".into(),
        };
        assert_eq!(place("us", None, Some(&pinned)), Err(moved.clone()));
        assert_eq!(place("us", Some(&candidate()), Some(&pinned)), Err(moved));
        let other = Candidate {
            place: place_in("eu-central-1"),
            ..candidate()
        };
        let refusal = place("eu", Some(&other), Some(&pinned)).unwrap_err().to_string();
        assert!(
            refusal.contains("was eu-west-1 (EU)") && refusal.contains("is eu-central-1 (EU)"),
            "{refusal}"
        );
    }
}
