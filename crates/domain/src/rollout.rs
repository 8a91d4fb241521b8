//! How a change of what a Region's orgs run reaches them: a few at a time, and no further once one of them fails. And how
//! long a workload that was taken off the list is still run.
//!
//! Everything is decided from recorded facts: which revision each org has, which orgs the change was let through to, and
//! when a workload was first missed. So a restart neither begins anew nor skips anybody, and no timer is needed.

use jiff::{SignedDuration, Timestamp};

/// Orgs reached at once: one in twenty …
const FRACTION: usize = 20;
/// … but no more than these: they are named in the Region's status.
const LARGEST_WAVE: usize = 100;

/// How long a workload stays after it was taken off the list, so that a bad merge can be reverted.
pub const REMOVAL_WAIT: SignedDuration = SignedDuration::from_hours(24);

/// How an org fares, in the words of its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It is ready.
    Good,
    /// It may become so by itself.
    OnItsWay,
    /// It will not without somebody, and why.
    Failing(String),
}

/// An org of the Region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Org {
    /// Its name.
    pub name: String,
    /// The revision that it was last rendered from; none = not known: it takes the newest.
    pub revision: Option<String>,
    /// How it fares.
    pub health: Health,
}

/// How far a change has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Every org has it.
    Done,
    /// It goes on by itself; so many orgs have not been reached.
    Going { waiting: usize },
    /// It goes no further: these orgs, each with a reason, fail with it.
    Stopped {
        failing: Vec<(String, String)>,
        waiting: usize,
    },
}

/// What is to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The orgs that the change was let through to and that are not known to be well with it.
    pub wave: Vec<String>,
    /// How far it has come.
    pub progress: Progress,
}

/// Lets the change to revision `target` through to the next orgs, once all of the `recorded` wave are well with it.
///
/// Orgs that fare well come first: one that fails anyway must not keep the change from the others. When the target is
/// another one by now, the wave stays the same orgs: they may have been broken by what is corrected now.
pub fn plan(target: &str, recorded: &[String], orgs: &[Org]) -> Plan {
    let in_wave = |org: &&Org| recorded.contains(&org.name);
    let is_behind = |org: &&Org| org.revision.as_deref().is_some_and(|revision| revision != target);
    let mut behind: Vec<&Org> = orgs
        .iter()
        .filter(|org| is_behind(org) && !in_wave(org))
        .collect();
    let waiting = behind.len();

    let wave: Vec<&Org> = orgs.iter().filter(in_wave).collect();
    let named = |orgs: &[&Org]| -> Vec<String> { orgs.iter().map(|org| org.name.clone()).collect() };
    let failing: Vec<(String, String)> = wave.iter().filter_map(|org| failure(org)).collect();
    if !failing.is_empty() {
        let progress = Progress::Stopped { failing, waiting };
        return Plan {
            wave: named(&wave),
            progress,
        };
    }
    if wave
        .iter()
        .any(|org| is_behind(org) || org.health != Health::Good)
    {
        let progress = Progress::Going { waiting };
        return Plan {
            wave: named(&wave),
            progress,
        };
    }

    behind.sort_by_key(|org| (org.health != Health::Good, &org.name));
    let well = behind.iter().filter(|org| org.health == Health::Good).count();
    let size = (orgs.len() / FRACTION).clamp(1, LARGEST_WAVE);
    // Those that fare well and those that do not are never of one wave.
    behind.truncate(size.min(if well == 0 { waiting } else { well }));
    let progress = if behind.is_empty() {
        Progress::Done
    } else {
        Progress::Going {
            waiting: waiting - behind.len(),
        }
    };
    Plan {
        wave: named(&behind),
        progress,
    }
}

fn failure(org: &Org) -> Option<(String, String)> {
    match &org.health {
        Health::Failing(why) => Some((org.name.clone(), why.clone())),
        Health::Good | Health::OnItsWay => None,
    }
}

/// The revision that an org is rendered from: its own until the change has `reached` it, unless that is not `kept` any
/// more.
pub fn revision<'a>(
    own: Option<&'a str>,
    target: &'a str,
    reached: bool,
    kept: impl Fn(&str) -> bool,
) -> &'a str {
    match own {
        Some(own) if !reached && kept(own) => own,
        _ => target,
    }
}

/// A workload that was taken off the list and is still run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Its name.
    pub name: String,
    /// When it was first missed.
    pub at: Timestamp,
}

impl Removal {
    /// When it goes.
    pub fn goes_at(&self) -> Timestamp {
        self.at.checked_add(REMOVAL_WAIT).unwrap_or(Timestamp::MAX)
    }
}

/// The workloads that are not `listed` any more and still run at `now`: those that ran `before`, each until its time is up.
pub fn removals(listed: &[&str], before: &[&str], recorded: &[Removal], now: Timestamp) -> Vec<Removal> {
    let missed = before.iter().filter(|name| !listed.contains(name));
    let since = |name: &str| {
        recorded
            .iter()
            .find(|removal| removal.name == name)
            .map_or(now, |r| r.at)
    };
    missed
        .map(|name| Removal {
            name: (*name).to_owned(),
            at: since(name),
        })
        .filter(|removal| now < removal.goes_at())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn org(name: &str, revision: &str, health: Health) -> Org {
        Org {
            name: name.into(),
            revision: Some(revision.into()),
            health,
        }
    }
    fn good(name: &str, revision: &str) -> Org {
        org(name, revision, Health::Good)
    }
    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }
    fn failing() -> Health {
        Health::Failing("Crashing".into())
    }

    #[test]
    fn one_org_gets_a_change_first_and_the_next_when_it_is_well() {
        let orgs = [good("a", "1"), good("b", "1")];
        let first = plan("2", &[], &orgs);
        assert_eq!(first.wave, names(&["a"]));
        assert_eq!(first.progress, Progress::Going { waiting: 1 });
        for (a, wave) in [
            (good("a", "1"), ["a"]),
            (org("a", "2", Health::OnItsWay), ["a"]),
            (good("a", "2"), ["b"]),
        ] {
            assert_eq!(plan("2", &first.wave, &[a, good("b", "1")]).wave, names(&wave));
        }
        let all = [good("a", "2"), good("b", "2")];
        let done = plan("2", &names(&["b"]), &all);
        assert_eq!(
            done,
            Plan {
                wave: vec![],
                progress: Progress::Done
            }
        );
    }

    #[test]
    fn a_failure_goes_no_further_and_is_told() {
        let orgs = [org("a", "2", failing()), good("b", "1")];
        let stopped = plan("2", &names(&["a"]), &orgs);
        assert_eq!(stopped.wave, names(&["a"]));
        let failing = vec![("a".to_owned(), "Crashing".to_owned())];
        assert_eq!(stopped.progress, Progress::Stopped { failing, waiting: 1 });
    }

    #[test]
    fn a_correction_reaches_those_first_that_the_mistake_broke() {
        let orgs = [org("m", "2", failing()), good("b", "1"), good("c", "1")];
        let corrected = plan("3", &names(&["m"]), &orgs);
        assert_eq!(corrected.wave, names(&["m"]));
        let healed = [good("m", "3"), good("b", "1"), good("c", "1")];
        assert_eq!(plan("3", &corrected.wave, &healed).wave, names(&["b"]));
    }

    #[test]
    fn an_org_that_fails_anyway_comes_last() {
        let orgs = [
            org("a", "1", failing()),
            good("b", "1"),
            org("c", "1", Health::OnItsWay),
        ];
        assert_eq!(plan("2", &[], &orgs).wave, names(&["b"]));
        let rest = [
            org("a", "1", failing()),
            good("b", "2"),
            org("c", "1", Health::OnItsWay),
        ];
        assert_eq!(plan("2", &names(&["b"]), &rest).wave, names(&["a"]));
    }

    #[test]
    fn orgs_that_went_or_have_it_already_hold_nobody_up() {
        let orgs = [
            good("b", "1"),
            Org {
                revision: None,
                ..good("new", "")
            },
        ];
        assert_eq!(plan("2", &names(&["gone"]), &orgs).wave, names(&["b"]));
        assert_eq!(plan("2", &[], &[]).progress, Progress::Done);
    }

    #[test]
    fn waves_grow_with_the_region_up_to_a_bound() {
        for (orgs, size) in [(19, 1), (40, 2), (400, 20), (5_000, 100)] {
            let orgs: Vec<Org> = (0..orgs).map(|n| good(&format!("org-{n:05}"), "1")).collect();
            assert_eq!(plan("2", &[], &orgs).wave.len(), size);
        }
    }

    #[test]
    fn an_org_keeps_its_revision_until_the_change_reaches_it() {
        for (own, reached, kept, want) in [
            (Some("1"), false, true, "1"),
            (Some("1"), true, true, "2"),
            (Some("1"), false, false, "2"),
            (Some("2"), false, true, "2"),
            (None, false, true, "2"),
        ] {
            assert_eq!(
                revision(own, "2", reached, |_| kept),
                want,
                "{own:?} {reached} {kept}"
            );
        }
    }

    #[test]
    fn a_workload_that_was_taken_off_the_list_runs_for_a_day() {
        let at = |hour: i64| Timestamp::from_second(hour * 3_600).unwrap();
        let removal = |hour| Removal {
            name: "web".into(),
            at: at(hour),
        };
        let first = removals(&["db"], &["db", "web"], &[], at(0));
        assert_eq!(first, [removal(0)]);
        // Looked at again, after a restart or not: the day counts from the first time.
        assert_eq!(removals(&["db"], &["db", "web"], &first, at(23)), [removal(0)]);
        assert_eq!(removals(&["db"], &["db", "web"], &first, at(24)), []);
        assert_eq!(
            removals(&["db", "web"], &["db", "web"], &first, at(1)),
            [],
            "it is back"
        );
        // Taken off once more later, its day begins anew.
        assert_eq!(removals(&["db"], &["db", "web"], &[], at(40)), [removal(40)]);
        assert_eq!(first[0].goes_at(), at(24));
    }

    proptest! {
        /// Orgs that take what they are let have, fail or not, in any order, with a restart between any two looks.
        #[test]
        fn a_change_reaches_all_or_stops_within_one_wave(
            fails in prop::collection::vec(prop::bool::weighted(0.02), 1..90),
            steps in prop::collection::vec(any::<prop::sample::Index>(), 0..400),
        ) {
            let mut orgs: Vec<Org> = (0..fails.len()).map(|n| good(&format!("org-{n:02}"), "1")).collect();
            let largest = (orgs.len() / FRACTION).max(1);
            let mut wave = Vec::new();
            let mut look = |orgs: &[Org]| {
                let found = plan("2", &wave, orgs);
                // The same facts give the same plan, whoever looks.
                let again = plan("2", &found.wave, orgs);
                wave = found.wave.clone();
                (found, again)
            };
            for step in steps {
                let (found, again) = look(&orgs);
                prop_assert_eq!(&found.wave, &again.wave);
                prop_assert!(found.wave.len() <= largest);
                let untouched = orgs.iter().filter(|org| org.revision.as_deref() == Some("1"));
                for org in untouched.filter(|org| !found.wave.contains(&org.name)) {
                    prop_assert_eq!(&org.health, &Health::Good);
                }
                let broken = orgs.iter().filter(|org| org.health != Health::Good && org.health != Health::OnItsWay);
                prop_assert!(broken.count() <= largest);
                if found.wave.is_empty() {
                    break;
                }
                let name = &found.wave[step.index(found.wave.len())];
                let at = orgs.iter().position(|org| org.name == *name).unwrap();
                let settled = orgs[at].revision.as_deref() == Some("2");
                orgs[at].revision = Some("2".into());
                orgs[at].health = match (settled, fails[at]) {
                    (false, _) => Health::OnItsWay,
                    (true, true) => failing(),
                    (true, false) => Health::Good,
                };
            }
            if look(&orgs).0.progress == Progress::Done {
                prop_assert!(orgs.iter().all(|org| org.revision.as_deref() == Some("2") && org.health == Health::Good));
            }
        }
    }
}
