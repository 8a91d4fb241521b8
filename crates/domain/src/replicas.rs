//! How many pods of a workload run at present. Decided in this one place: a restore never writes workloads.

use std::collections::BTreeSet;

/// What keeps an org's workloads from running.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Situation {
    /// The org is suspended.
    pub suspended: bool,
    /// A restore of the org is under way.
    pub restoring: bool,
    /// Claims whose volume once held data and is gone or was replaced. Nothing may start on the empty one: it would
    /// bury the last copy.
    pub lost_claims: BTreeSet<String>,
}

/// How many of the `declared` pods of a workload with these `claims` run.
pub fn replicas(declared: u32, claims: &[String], situation: &Situation) -> u32 {
    let lost = claims.iter().any(|claim| situation.lost_claims.contains(claim));
    if situation.suspended || situation.restoring || lost {
        0
    } else {
        declared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_runs_unless_something_keeps_it_from_running() {
        let lost = BTreeSet::from(["data-db-1".to_owned()]);
        let running = Situation::default();
        let db = ["data-db-0".to_owned(), "data-db-1".to_owned()];
        let web = ["data-web-0".to_owned()];
        for (situation, claims, want) in [
            (running.clone(), &db[..], 2),
            (
                Situation {
                    suspended: true,
                    ..running.clone()
                },
                &db[..],
                0,
            ),
            (
                Situation {
                    restoring: true,
                    ..running.clone()
                },
                &[][..],
                0,
            ),
            (
                Situation {
                    lost_claims: lost.clone(),
                    ..running.clone()
                },
                &db[..],
                0,
            ),
            (
                Situation {
                    lost_claims: lost.clone(),
                    ..running.clone()
                },
                &web[..],
                2,
            ),
            (
                Situation {
                    lost_claims: lost,
                    ..running
                },
                &[][..],
                2,
            ),
        ] {
            assert_eq!(replicas(2, claims, &situation), want, "{situation:?} {claims:?}");
        }
    }
}
