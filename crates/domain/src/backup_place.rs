//! Where an org's copies are. It is pinned when the org is placed and never changes: in another bucket, or under another
//! prefix, there is another ledger, which knows nothing of the copies, of what was lost, and of the runs that have ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where an org's copies are, as far as it is known: of an org that was placed before this was pinned, a witness may know
/// the bucket alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupPlace {
    /// The bucket.
    pub bucket: String,
    /// Account id that owns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket_owner: Option<String>,
    /// Key prefix, empty or ending in `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

impl BackupPlace {
    /// Of which everything is known.
    pub fn whole(
        bucket: impl Into<String>,
        bucket_owner: impl Into<String>,
        prefix: impl Into<String>,
    ) -> Self {
        Self {
            bucket: bucket.into(),
            bucket_owner: Some(bucket_owner.into()),
            prefix: Some(prefix.into()),
        }
    }

    /// Of which the bucket alone is known.
    pub fn in_bucket(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            bucket_owner: None,
            prefix: None,
        }
    }

    fn is_whole(&self) -> bool {
        self.bucket_owner.is_some() && self.prefix.is_some()
    }

    /// The fields of a Region's spec in which `said` is another place. What is not known differs from nothing.
    fn differs_in(&self, said: &Self) -> Vec<&'static str> {
        let other = |known: &Option<String>, said: &Option<String>| known.is_some() && known != said;
        let fields = [
            (self.bucket != said.bucket, "spec.backup.bucket"),
            (
                other(&self.bucket_owner, &said.bucket_owner),
                "spec.backup.bucketOwner",
            ),
            (other(&self.prefix, &said.prefix), "spec.backup.prefix"),
        ];
        let differing = fields.into_iter().filter(|(differs, _)| *differs);
        differing.map(|(_, field)| field).collect()
    }
}

impl fmt::Display for BackupPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bucket {}", self.bucket)?;
        if let Some(owner) = &self.bucket_owner {
            write!(f, " of account {owner}")?;
        }
        match self.prefix.as_deref() {
            None => Ok(()),
            Some("") => write!(f, " without a prefix"),
            Some(prefix) => write!(f, " under {prefix}"),
        }
    }
}

/// A Region says another place than the org's copies are in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the org's snapshots are in {was}, and Region {region} says {is} now: put {} of Region {region} back. Until then no \
     snapshot is taken, removed or restored; what runs goes on",
    .fields.join(" and ")
)]
pub struct Changed {
    /// The Region.
    pub region: String,
    /// Where the copies are.
    pub was: BackupPlace,
    /// What the Region says.
    pub is: BackupPlace,
    /// The fields of its spec that differ.
    pub fields: Vec<&'static str>,
}

/// What a Region says of where copies are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Name of the Region.
    pub region: String,
    /// The place that its spec names.
    pub place: BackupPlace,
    /// S3 has confirmed that place as it is now.
    pub confirmed: bool,
}

/// Where an org's copies are from now on, and whether its Region says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// What is pinned; none = nothing is known yet, and no Region has a place that S3 has confirmed.
    pub place: Option<BackupPlace>,
    /// Why nothing may be done there.
    pub changed: Option<Changed>,
}

/// Settles where an org's copies are: what is `known` stays, whatever its Region says. What is not known yet is taken over
/// from a Region that agrees with the rest, once S3 has confirmed what it says.
pub fn settle(known: Option<BackupPlace>, said: Option<&Said>) -> Settled {
    let Some(said) = said else {
        return Settled {
            place: known,
            changed: None,
        };
    };
    let fields = known
        .as_ref()
        .map(|known| known.differs_in(&said.place))
        .unwrap_or_default();
    let changed = known.clone().filter(|_| !fields.is_empty()).map(|was| Changed {
        region: said.region.clone(),
        was,
        is: said.place.clone(),
        fields,
    });
    let stays = changed.is_some() || !said.confirmed || known.as_ref().is_some_and(BackupPlace::is_whole);
    Settled {
        place: if stays { known } else { Some(said.place.clone()) },
        changed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(bucket: &str, owner: &str, prefix: &str) -> BackupPlace {
        BackupPlace::whole(bucket, owner, prefix)
    }
    fn said(place: BackupPlace) -> Said {
        Said {
            region: "eu".into(),
            place,
            confirmed: true,
        }
    }

    #[test]
    fn what_is_known_stays_and_every_field_that_differs_is_named() {
        let was = place("b", "1", "p/");
        for (is, fields) in [
            (place("b", "1", "p/"), &[][..]),
            (place("c", "1", "p/"), &["spec.backup.bucket"]),
            (place("b", "2", "p/"), &["spec.backup.bucketOwner"]),
            (place("b", "1", ""), &["spec.backup.prefix"]),
            (
                place("c", "2", "q/"),
                &[
                    "spec.backup.bucket",
                    "spec.backup.bucketOwner",
                    "spec.backup.prefix",
                ],
            ),
        ] {
            for confirmed in [true, false] {
                let said = Said {
                    confirmed,
                    ..said(is.clone())
                };
                let settled = settle(Some(was.clone()), Some(&said));
                assert_eq!(settled.place.as_ref(), Some(&was));
                let found = settled.changed.map(|changed| changed.fields).unwrap_or_default();
                assert_eq!(found, fields, "{is}");
            }
        }
        assert_eq!(settle(Some(was.clone()), None).place, Some(was));
    }

    #[test]
    fn what_is_not_known_is_taken_over_once_it_is_confirmed() {
        let is = place("b", "1", "p/");
        let unconfirmed = Said {
            confirmed: false,
            ..said(is.clone())
        };
        let witness = BackupPlace::in_bucket("b");
        for known in [None, Some(witness.clone())] {
            let pinned = settle(known.clone(), Some(&said(is.clone())));
            assert_eq!((pinned.place, pinned.changed), (Some(is.clone()), None));
            assert_eq!(settle(known.clone(), Some(&unconfirmed)).place, known);
            assert_eq!(settle(known.clone(), None).place, known);
        }
        // A tombstone of an earlier version names no account.
        let tombstone = BackupPlace {
            prefix: Some("p/".into()),
            ..witness
        };
        assert_eq!(settle(Some(tombstone), Some(&said(is.clone()))).place, Some(is));
    }

    #[test]
    fn a_witness_that_knows_the_bucket_alone_is_believed() {
        let witness = BackupPlace::in_bucket("b");
        let settled = settle(Some(witness.clone()), Some(&said(place("c", "1", "p/"))));
        assert_eq!(settled.place, Some(witness));
        assert_eq!(settled.changed.unwrap().fields, ["spec.backup.bucket"]);
    }

    #[test]
    fn the_message_names_both_places_the_region_and_the_fields() {
        let settled = settle(Some(place("b", "1", "")), Some(&said(place("b", "2", "q/"))));
        let message = settled.changed.unwrap().to_string();
        for part in [
            "bucket b of account 1 without a prefix",
            "bucket b of account 2 under q/",
            "put spec.backup.bucketOwner and spec.backup.prefix of Region eu back",
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }
    }
}
