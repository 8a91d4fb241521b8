//! Which TrayOrg an orgId belongs to.

use jiff::Timestamp;

/// What of a TrayOrg decides whether an orgId is its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant<'a> {
    /// Name of the TrayOrg.
    pub name: &'a str,
    /// `spec.orgId`.
    pub wanted: Option<&'a str>,
    /// `status.orgId`: recorded once it has been placed.
    pub recorded: Option<&'a str>,
    /// When the TrayOrg was created.
    pub created_at: Timestamp,
    /// What is held of orgs that are gone keeps it from being placed.
    pub refused: bool,
}

impl Claimant<'_> {
    fn claims(&self, org_id: &str) -> bool {
        match self.recorded {
            Some(recorded) => recorded == org_id,
            None => !self.refused && self.wanted == Some(org_id),
        }
    }
}

/// The TrayOrg that holds `org_id`: one that it is recorded of, since that one has the data; else the oldest that asks
/// for it and is not refused; of two of one age, the first by name.
pub fn holder<'a>(org_id: &str, claimants: &'a [Claimant<'a>]) -> Option<&'a str> {
    let claiming = claimants.iter().filter(|claimant| claimant.claims(org_id));
    claiming
        .min_by_key(|c| (c.recorded.is_none(), c.created_at, c.name))
        .map(|claimant| claimant.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

    fn claimant<'a>(name: &'a str, wanted: &'a str, recorded: Option<&'a str>, age: i64) -> Claimant<'a> {
        let created_at = Timestamp::from_second(1_000 - age).unwrap();
        Claimant {
            name,
            wanted: Some(wanted),
            recorded,
            created_at,
            refused: false,
        }
    }

    #[test]
    fn the_oldest_holds_an_org_id() {
        let claimants = [claimant("young", ID, None, 1), claimant("old", ID, None, 2)];
        assert_eq!(holder(ID, &claimants), Some("old"));
    }

    #[test]
    fn one_that_has_data_holds_it_before_an_older_one_that_has_none() {
        let claimants = [
            claimant("placed", ID, Some(ID), 1),
            claimant("older", ID, None, 2),
        ];
        assert_eq!(holder(ID, &claimants), Some("placed"));
    }

    #[test]
    fn one_that_is_refused_keeps_nobody_out_unless_it_has_the_data() {
        let refused = |recorded| Claimant {
            refused: true,
            ..claimant("refused", ID, recorded, 2)
        };
        let claimants = [refused(None), claimant("young", ID, None, 1)];
        assert_eq!(holder(ID, &claimants), Some("young"));
        assert_eq!(holder(ID, &[refused(None)]), None);
        let claimants = [refused(Some(ID)), claimant("young", ID, None, 1)];
        assert_eq!(holder(ID, &claimants), Some("refused"));
    }

    #[test]
    fn of_one_age_the_first_by_name_holds_it() {
        let claimants = [claimant("b", ID, None, 1), claimant("a", ID, None, 1)];
        assert_eq!(holder(ID, &claimants), Some("a"));
    }

    #[test]
    fn what_is_recorded_counts_more_than_what_is_wanted() {
        let other = "00000000-0000-4000-8000-000000000000";
        let claimants = [
            claimant("changed", ID, Some(other), 2),
            claimant("asks", ID, None, 1),
        ];
        assert_eq!(holder(ID, &claimants), Some("asks"));
        assert_eq!(holder("11111111-1111-4111-8111-111111111111", &claimants), None);
    }
}
