//! The steps of a snapshot run, as a pure function of what is recorded and what is seen.
//!
//! Planned in the ledger → hooks make the volumes consistent → one mover per part copies and verifies → hooks let the
//! workloads go on → the manifest is committed. Each step is found again after a crash: nothing is remembered that is
//! not in the ledger or the cluster.

use super::ids::PartId;

pub use super::restore_run::MoverProgress;

/// One part of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartProgress {
    /// The part.
    pub part: PartId,
    /// A `pre` hook has to end before this part is copied.
    pub needs_hook: bool,
    /// Its mover.
    pub mover: MoverProgress,
}

/// What the hooks of the parts that wait for them are doing, in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookProgress {
    /// Not begun, or begun by a process that is gone.
    NotBegun,
    /// Running.
    Running,
    /// All ended well.
    Succeeded,
    /// One failed; why.
    Failed(String),
}

/// What is recorded and seen of a run that the ledger has as open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Every part of the plan.
    pub parts: Vec<PartProgress>,
    /// The `pre` hooks of the parts that have no mover yet.
    pub pre: HookProgress,
    /// Why the run must end now, if it must: its deadline, a lost volume, its OrgSnapshot was deleted.
    pub must_end: Option<String>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Begin the `pre` hooks of these parts.
    RunPreHooks(Vec<PartId>),
    /// Hooks run.
    WaitForHooks,
    /// Start the movers of these parts.
    StartMovers(Vec<PartId>),
    /// Movers run.
    WaitForMovers,
    /// Every part is copied and verified: `post` hooks, then the manifest.
    Commit,
    /// It cannot become a result: stop the movers, `post` hooks, then the reason.
    Abort(String),
}

/// The next step of an open run.
pub fn next_step(observed: &Observed) -> Step {
    if let Some(why) = observed.must_end.clone().or_else(|| failure(observed)) {
        return Step::Abort(why);
    }
    let waiting: Vec<&PartProgress> = observed
        .parts
        .iter()
        .filter(|part| not_started(&part.mover))
        .collect();
    // A mover that was made had its hook before it was; only those without one still need it.
    let hooks = waiting
        .iter()
        .filter(|part| part.needs_hook && part.mover == MoverProgress::Absent);
    let hooks: Vec<PartId> = hooks.map(|part| part.part.clone()).collect();
    if !hooks.is_empty() {
        match observed.pre {
            HookProgress::NotBegun => return Step::RunPreHooks(hooks),
            HookProgress::Running => return Step::WaitForHooks,
            HookProgress::Succeeded | HookProgress::Failed(_) => {}
        }
    }
    if !waiting.is_empty() {
        return Step::StartMovers(waiting.into_iter().map(|part| part.part.clone()).collect());
    }
    if observed
        .parts
        .iter()
        .all(|part| part.mover == MoverProgress::Succeeded)
    {
        Step::Commit
    } else {
        Step::WaitForMovers
    }
}

fn not_started(mover: &MoverProgress) -> bool {
    matches!(mover, MoverProgress::Absent | MoverProgress::Suspended)
}

fn failure(observed: &Observed) -> Option<String> {
    if let HookProgress::Failed(why) = &observed.pre {
        return Some(why.clone());
    }
    observed.parts.iter().find_map(|part| match &part.mover {
        MoverProgress::Failed(why) => Some(format!("part {}: {why}", part.part)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(name: &str, needs_hook: bool) -> PartProgress {
        PartProgress {
            part: name.parse().unwrap(),
            needs_hook,
            mover: MoverProgress::Absent,
        }
    }
    fn observed() -> Observed {
        Observed {
            parts: vec![
                part("objects", false),
                part("data-db-0", true),
                part("data-web-0", false),
            ],
            pre: HookProgress::NotBegun,
            must_end: None,
        }
    }

    /// A cluster that does the first thing that a step asks; what it does not do is lost in a crash before it.
    fn carry_out(observed: &mut Observed, step: &Step) {
        match step {
            Step::RunPreHooks(_) => observed.pre = HookProgress::Running,
            Step::WaitForHooks => observed.pre = HookProgress::Succeeded,
            Step::StartMovers(parts) => {
                find(observed, |part| part.part == parts[0]).mover = MoverProgress::Running;
            }
            Step::WaitForMovers => {
                find(observed, |part| part.mover == MoverProgress::Running).mover = MoverProgress::Succeeded;
            }
            Step::Commit | Step::Abort(_) => {}
        }
    }

    fn find(observed: &mut Observed, which: impl Fn(&PartProgress) -> bool) -> &mut PartProgress {
        observed.parts.iter_mut().find(|part| which(part)).unwrap()
    }

    #[test]
    fn no_part_is_copied_before_its_hook_has_ended() {
        let mut run = observed();
        assert_eq!(
            next_step(&run),
            Step::RunPreHooks(vec!["data-db-0".parse().unwrap()])
        );
        run.pre = HookProgress::Running;
        assert_eq!(next_step(&run), Step::WaitForHooks);
        run.pre = HookProgress::Succeeded;
        let Step::StartMovers(parts) = next_step(&run) else {
            panic!()
        };
        assert_eq!(parts.len(), 3);
    }

    #[test]
    fn a_hook_is_not_run_again_under_its_mover() {
        let mut run = observed();
        run.parts[1].mover = MoverProgress::Suspended;
        let Step::StartMovers(parts) = next_step(&run) else {
            panic!()
        };
        assert_eq!(parts.len(), 3);
    }

    #[test]
    fn one_failure_ends_the_run_and_says_which() {
        let mut run = observed();
        run.parts[2].mover = MoverProgress::Failed("cannot read /secret".into());
        assert_eq!(
            next_step(&run),
            Step::Abort("part data-web-0: cannot read /secret".into())
        );
        let mut hook = observed();
        hook.pre = HookProgress::Failed("pg_basebackup".into());
        assert_eq!(next_step(&hook), Step::Abort("pg_basebackup".into()));
        let mut late = observed();
        late.must_end = Some("it took longer than 20 h".into());
        assert_eq!(next_step(&late), Step::Abort("it took longer than 20 h".into()));
    }

    proptest! {
        /// However often the operator dies between steps (which forgets what hooks were doing), the run ends in a commit
        /// of which every part was copied after its hook.
        #[test]
        fn a_run_ends_whatever_is_forgotten(crashes in prop::collection::vec(any::<bool>(), 0..60)) {
            let mut run = observed();
            let mut crashes = crashes.into_iter();
            for _ in 0..200 {
                let step = next_step(&run);
                if step == Step::Commit {
                    prop_assert!(run.parts.iter().all(|part| part.mover == MoverProgress::Succeeded));
                    return Ok(());
                }
                if crashes.next().unwrap_or(false) {
                    run.pre = HookProgress::NotBegun;
                    continue;
                }
                carry_out(&mut run, &step);
            }
            prop_assert!(false, "no end: {run:?}");
        }
    }
}
