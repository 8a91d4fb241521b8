//! Whether a grant of support access is open: decided from the grant, its org, the groups that may be let in and the
//! time, never from what was decided before, but for one thing: what has expired stays so.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// What support may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Look at the org's objects and logs.
    View,
    /// The same, and exec, attach, port-forward and debug containers.
    Debug,
}

impl Role {
    /// Both.
    pub const ALL: [Self; 2] = [Self::View, Self::Debug];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::View => "View",
            Self::Debug => "Debug",
        }
    }
}

/// What became of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Action {
    /// Support was let in.
    Granted,
    /// Its time was over.
    Expired,
    /// The SupportAccess was deleted.
    Removed,
    /// The org was suspended or is gone, or a group may not be let in any more.
    Closed,
    /// What closed it is over, and its time is not.
    Reopened,
}

impl Action {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::Granted,
        Self::Expired,
        Self::Removed,
        Self::Closed,
        Self::Reopened,
    ];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "Granted",
            Self::Expired => "Expired",
            Self::Removed => "Removed",
            Self::Closed => "Closed",
            Self::Reopened => "Reopened",
        }
    }

    /// Whether support is in after it.
    const fn opens(self) -> bool {
        matches!(self, Self::Granted | Self::Reopened)
    }
}

/// What of a SupportAccess decides.
#[derive(Clone, Debug)]
pub struct Grant<'a> {
    /// When it was made, by the API server's clock.
    pub created_at: Timestamp,
    /// For how long.
    pub hours: i32,
    /// The groups it lets in.
    pub groups: Vec<&'a str>,
    /// It is being deleted.
    pub deleted: bool,
    /// What became of it so far.
    pub history: Vec<Action>,
}

/// Whether an org lets anybody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// It runs.
    Open,
    /// It is suspended.
    Suspended,
    /// It is gone, going, or cannot be read.
    Gone,
}

/// How a grant stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Support is in.
    Open,
    /// Its time is over.
    Expired,
    /// It was deleted.
    Removed,
    /// Its org lets nobody in.
    Shut(Door),
    /// These of its groups may not be let in; so none is.
    NotAllowed(Vec<String>),
}

impl Grant<'_> {
    /// When its time is over.
    pub fn until(&self) -> Timestamp {
        let lasts = SignedDuration::from_hours(i64::from(self.hours.max(0)));
        self.created_at.saturating_add(lasts).unwrap_or(Timestamp::MAX)
    }

    /// How it stands at `now`, where only the groups in `allowed` may be let in.
    pub fn standing(&self, door: Door, allowed: &[String], now: Timestamp) -> Standing {
        let not_allowed: Vec<String> = self
            .groups
            .iter()
            .filter(|group| !allowed.iter().any(|allowed| allowed == *group))
            .map(|&group| group.to_owned())
            .collect();
        if self.deleted {
            Standing::Removed
        // Once expired, a clock that goes back opens nothing.
        } else if now >= self.until() || self.history.contains(&Action::Expired) {
            Standing::Expired
        } else if door != Door::Open {
            Standing::Shut(door)
        } else if !not_allowed.is_empty() {
            Standing::NotAllowed(not_allowed)
        } else {
            Standing::Open
        }
    }

    /// What has just become of it, where it now stands so; none = nothing new.
    pub fn news(&self, standing: &Standing) -> Option<Action> {
        let is_in = self.history.last().is_some_and(|last| last.opens());
        match (is_in, standing) {
            (false, Standing::Open) if self.history.is_empty() => Some(Action::Granted),
            (false, Standing::Open) => Some(Action::Reopened),
            (true, Standing::Expired) => Some(Action::Expired),
            (true, Standing::Removed) => Some(Action::Removed),
            (true, Standing::Shut(_) | Standing::NotAllowed(_)) => Some(Action::Closed),
            (true, Standing::Open) | (false, _) => None,
        }
    }
}

/// The value of the namespace's annotation, by which the exec gate goes: the groups of all open grants that may debug.
/// None where there are none.
pub fn debug_groups<'a>(open: impl IntoIterator<Item = (Role, &'a [String])>) -> Option<String> {
    let debugging = open.into_iter().filter(|(role, _)| *role == Role::Debug);
    let groups: BTreeSet<&str> = debugging
        .flat_map(|(_, groups)| groups.iter().map(String::as_str))
        .collect();
    (!groups.is_empty()).then(|| groups.into_iter().collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3600;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }
    fn grant(groups: &[&'static str]) -> Grant<'static> {
        Grant {
            created_at: at(0),
            hours: 2,
            groups: groups.to_vec(),
            deleted: false,
            history: vec![],
        }
    }
    fn allowed() -> Vec<String> {
        vec!["support".to_owned(), "sre".to_owned()]
    }

    #[test]
    fn p19_a_grant_is_open_from_its_making_to_its_end_and_not_a_moment_longer() {
        for (second, want) in [
            (0, Standing::Open),
            (2 * HOUR - 1, Standing::Open),
            (2 * HOUR, Standing::Expired),
            (99 * HOUR, Standing::Expired),
        ] {
            let found = grant(&["support"]).standing(Door::Open, &allowed(), at(second));
            assert_eq!(found, want, "at {second}");
        }
    }

    #[test]
    fn p17_whatever_stands_against_a_grant_closes_it() {
        let open = grant(&["support", "sre"]);
        let deleted = Grant {
            deleted: true,
            ..open.clone()
        };
        let stranger = grant(&["support", "stranger"]);
        for (grant, door, want) in [
            (&open, Door::Open, Standing::Open),
            (&open, Door::Suspended, Standing::Shut(Door::Suspended)),
            (&open, Door::Gone, Standing::Shut(Door::Gone)),
            (&deleted, Door::Open, Standing::Removed),
            (
                &stranger,
                Door::Open,
                Standing::NotAllowed(vec!["stranger".to_owned()]),
            ),
        ] {
            assert_eq!(grant.standing(door, &allowed(), at(1)), want, "{grant:?}");
        }
        assert_ne!(open.standing(Door::Open, &[], at(1)), Standing::Open);
    }

    #[test]
    fn what_became_of_a_grant_is_said_once() {
        use Action::{Closed, Expired, Granted, Removed, Reopened};
        for (history, standing, want) in [
            (vec![], Standing::Open, Some(Granted)),
            (vec![Granted], Standing::Open, None),
            (vec![Granted], Standing::Expired, Some(Expired)),
            (vec![Granted, Expired], Standing::Expired, None),
            (vec![Granted, Expired], Standing::Removed, None),
            (vec![Granted], Standing::Removed, Some(Removed)),
            (vec![Granted], Standing::Shut(Door::Suspended), Some(Closed)),
            (vec![Granted], Standing::NotAllowed(vec![]), Some(Closed)),
            (vec![Granted, Closed], Standing::Open, Some(Reopened)),
            (vec![Granted, Closed], Standing::Expired, None),
            (vec![Granted, Closed, Reopened], Standing::Expired, Some(Expired)),
            (vec![], Standing::Removed, None),
            (vec![], Standing::Expired, None),
        ] {
            let grant = Grant {
                history: history.clone(),
                ..grant(&["support"])
            };
            assert_eq!(grant.news(&standing), want, "{history:?} {standing:?}");
        }
    }

    #[test]
    fn a_group_may_debug_until_the_last_of_its_grants_ends() {
        let (support, both) = (vec!["support".to_owned()], allowed());
        let groups = |open: Vec<(Role, &[String])>| debug_groups(open);
        assert_eq!(groups(vec![]), None);
        assert_eq!(groups(vec![(Role::View, &both)]), None);
        let overlapping = vec![(Role::Debug, &support[..]), (Role::Debug, &both)];
        assert_eq!(groups(overlapping).as_deref(), Some("sre,support"));
        assert_eq!(
            groups(vec![(Role::Debug, &support[..])]).as_deref(),
            Some("support")
        );
    }

    fn doors() -> impl Strategy<Value = Door> {
        prop_oneof![Just(Door::Open), Just(Door::Suspended), Just(Door::Gone)]
    }

    proptest! {
        /// Open means: all groups allowed, the org runs, not deleted, never expired before, and within its time.
        #[test]
        fn open_is_what_nothing_stands_against(
            hours in 1..=72_i32, second in -10_i64..80 * HOUR, deleted: bool, door in doors(),
            stranger: bool, past in proptest::sample::subsequence(Action::ALL.to_vec(), 0..=5),
        ) {
            let mut grant = Grant { hours, deleted, history: past, ..grant(&["support"]) };
            if stranger {
                grant.groups.push("stranger");
            }
            let open = grant.standing(door, &allowed(), at(second)) == Standing::Open;
            let want = !deleted && door == Door::Open && !stranger
                && second < i64::from(hours) * HOUR && !grant.history.contains(&Action::Expired);
            prop_assert_eq!(open, want);
        }

        /// Whatever happens in whatever order, the history alternates between in and out, and says nothing twice.
        #[test]
        fn the_history_alternates(steps in proptest::collection::vec((doors(), 0..4 * HOUR, any::<bool>()), 0..30)) {
            let mut grant = grant(&["support"]);
            for (door, second, deleted) in steps {
                grant.deleted |= deleted;
                let standing = grant.standing(door, &allowed(), at(second));
                let news = grant.news(&standing);
                grant.history.extend(news);
                let again = grant.standing(door, &allowed(), at(second));
                prop_assert_eq!(grant.news(&again), None);
            }
            let opens: Vec<bool> = grant.history.iter().map(|action| action.opens()).collect();
            prop_assert!(opens.windows(2).all(|pair| pair[0] != pair[1]), "{:?}", grant.history);
        }
    }
}
