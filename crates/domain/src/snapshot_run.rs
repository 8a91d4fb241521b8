//! The steps of a snapshot run, as a pure function of what is recorded and what is seen.
//!
//! Planned in the ledger → hooks make the volumes consistent → one mover per part copies and verifies → the manifest is
//! committed; hooks let the workloads go on from then on. Each step is found again after a crash: nothing is remembered that is
//! not in the ledger or the cluster.

use jiff::{SignedDuration, Timestamp};

use super::{
    ids::PartId,
    ledger::Run,
    manifest::{Consistency, PartSource, PlannedPart, RunPlan},
    mover_lifetime::RUN_DEADLINE,
    run_failure::RunFailure,
    volume_facts::{Loss, PresentClaim},
};

pub use super::restore_run::{MoverFailure, MoverProgress};

/// A volume of the org as the cluster shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentVolume {
    /// Its claim.
    pub claim: PresentClaim,
    /// Name of the pod of a workload that mounts it; none = none does.
    pub pod: Option<String>,
}

/// What is seen around an open run.
#[derive(Clone, Copy, Debug)]
pub struct RunSurroundings<'a> {
    /// Volumes that lost their data.
    pub losses: &'a [Loss],
    /// Name of the OrgRestore that is under way; none = none is.
    pub restore: Option<&'a str>,
    /// The volumes that are there: at least those of the plan.
    pub volumes: &'a [PresentVolume],
}

/// Why an open run must end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunFault {
    /// A copy of the empty volume would bury the last good one.
    #[error("volume {0} lost its data while the run was open")]
    VolumeLost(PartId),
    /// A restore waits for nothing but movers that are on their way out.
    #[error("OrgRestore {0} was asked for")]
    RestoreAskedFor(String),
    /// A pack that a pruner has marked may be freed soon, and a writer must not meet it.
    #[error("it took longer than {} h", RUN_DEADLINE.as_secs() / 3600)]
    TookTooLong,
    /// The volume is not the one that was planned.
    #[error("claim {0} was replaced while the run was open")]
    ClaimReplaced(PartId),
    /// The copy does not belong to one moment, as its plan says that it does.
    #[error("pod {pod} mounted volume {volume} while it was copied as being at rest")]
    MountedAtRest {
        /// Name of the pod.
        pod: String,
        /// The volume.
        volume: PartId,
    },
    /// Nobody wants the run any more.
    #[error("OrgSnapshot {0} was deleted while the run was open, or cannot be read any more")]
    NotAskedFor(String),
}

/// Why an open run must end, by what is seen without asking anybody. Where nothing is found, [`request_fault`] is still to be
/// asked.
pub fn fault(run: &Run, seen: &RunSurroundings<'_>, now: Timestamp) -> Option<RunFault> {
    if let Some(loss) = seen.losses.first() {
        return Some(RunFault::VolumeLost(loss.volume.clone()));
    }
    if let Some(restore) = seen.restore {
        return Some(RunFault::RestoreAskedFor(restore.to_owned()));
    }
    let limit = SignedDuration::try_from(RUN_DEADLINE).unwrap_or(SignedDuration::MAX);
    if now.duration_since(run.planned_at) > limit {
        return Some(RunFault::TookTooLong);
    }
    let mut parts = run.plan.parts.iter();
    parts.find_map(|planned| volume_fault(planned, seen.volumes))
}

/// Why an open run in which [`fault`] finds nothing must end all the same: its OrgSnapshot does not ask for it any more. That
/// may take a request to the API server, so it is asked last.
pub fn request_fault(plan: &RunPlan, is_asked_for: bool) -> Option<RunFault> {
    (!is_asked_for).then(|| RunFault::NotAskedFor(plan.snapshot_name.clone()))
}

/// Why a part's volume is not what was planned.
fn volume_fault(planned: &PlannedPart, volumes: &[PresentVolume]) -> Option<RunFault> {
    let PartSource::Volume { claim_uid, .. } = &planned.source else {
        return None;
    };
    let mut present = volumes.iter();
    let present =
        present.find(|volume| volume.claim.volume == planned.part && volume.claim.uid == *claim_uid);
    let Some(present) = present else {
        return Some(RunFault::ClaimReplaced(planned.part.clone()));
    };
    let pod = present.pod.as_ref()?;
    (planned.consistency == Consistency::AtRest).then(|| RunFault::MountedAtRest {
        pod: pod.clone(),
        volume: planned.part.clone(),
    })
}

/// One part of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPartProgress {
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
pub struct RunObserved {
    /// Every part of the plan.
    pub parts: Vec<RunPartProgress>,
    /// The `pre` hooks of the parts that have no mover yet.
    pub pre: HookProgress,
    /// Why the run must end now, if it must.
    pub must_end: Option<RunFault>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunStep {
    /// Begin the `pre` hooks of these parts.
    RunPreHooks(Vec<PartId>),
    /// Hooks run.
    WaitForHooks,
    /// Start the movers of these parts.
    StartMovers(Vec<PartId>),
    /// Movers run.
    WaitForMovers,
    /// Every part is copied and verified: the manifest is written; `post` hooks run beside.
    Commit,
    /// It cannot become a result: the movers are stopped, the reason is written; `pre` ends, and `post` hooks run beside.
    Abort(RunFailure),
}

/// The next step of an open run.
pub fn next_step(observed: &RunObserved) -> RunStep {
    let must_end = observed.must_end.clone().map(RunFailure::from);
    if let Some(why) = must_end.or_else(|| failure(observed)) {
        return RunStep::Abort(why);
    }
    let waiting: Vec<&RunPartProgress> = observed
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
            HookProgress::NotBegun => return RunStep::RunPreHooks(hooks),
            HookProgress::Running => return RunStep::WaitForHooks,
            HookProgress::Succeeded | HookProgress::Failed(_) => {}
        }
    }
    if !waiting.is_empty() {
        return RunStep::StartMovers(waiting.into_iter().map(|part| part.part.clone()).collect());
    }
    if observed
        .parts
        .iter()
        .all(|part| part.mover == MoverProgress::Succeeded)
    {
        RunStep::Commit
    } else {
        RunStep::WaitForMovers
    }
}

fn not_started(mover: &MoverProgress) -> bool {
    matches!(mover, MoverProgress::Absent | MoverProgress::Suspended)
}

fn failure(observed: &RunObserved) -> Option<RunFailure> {
    if let HookProgress::Failed(why) = &observed.pre {
        return Some(RunFailure::of_hook(why.clone()));
    }
    observed.parts.iter().find_map(|part| match &part.mover {
        MoverProgress::Failed(why) => Some(RunFailure::of_mover(&part.part, why)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::testing::Story;

    fn part(name: &str, needs_hook: bool) -> RunPartProgress {
        RunPartProgress {
            part: name.parse().unwrap(),
            needs_hook,
            mover: MoverProgress::Absent,
        }
    }
    fn observed() -> RunObserved {
        RunObserved {
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
    fn carry_out(observed: &mut RunObserved, step: &RunStep) {
        match step {
            RunStep::RunPreHooks(_) => observed.pre = HookProgress::Running,
            RunStep::WaitForHooks => observed.pre = HookProgress::Succeeded,
            RunStep::StartMovers(parts) => {
                find(observed, |part| part.part == parts[0]).mover = MoverProgress::Running;
            }
            RunStep::WaitForMovers => {
                find(observed, |part| part.mover == MoverProgress::Running).mover = MoverProgress::Succeeded;
            }
            RunStep::Commit | RunStep::Abort(_) => {}
        }
    }

    fn find(observed: &mut RunObserved, which: impl Fn(&RunPartProgress) -> bool) -> &mut RunPartProgress {
        observed.parts.iter_mut().find(|part| which(part)).unwrap()
    }

    #[test]
    fn no_part_is_copied_before_its_hook_has_ended() {
        let mut run = observed();
        assert_eq!(
            next_step(&run),
            RunStep::RunPreHooks(vec!["data-db-0".parse().unwrap()])
        );
        run.pre = HookProgress::Running;
        assert_eq!(next_step(&run), RunStep::WaitForHooks);
        run.pre = HookProgress::Succeeded;
        let RunStep::StartMovers(parts) = next_step(&run) else {
            panic!()
        };
        assert_eq!(parts.len(), 3);
    }

    #[test]
    fn a_hook_is_not_run_again_under_its_mover() {
        let mut run = observed();
        run.parts[1].mover = MoverProgress::Suspended;
        let RunStep::StartMovers(parts) = next_step(&run) else {
            panic!()
        };
        assert_eq!(parts.len(), 3);
    }

    #[test]
    fn one_failure_ends_the_run_and_says_which() {
        let mut run = observed();
        run.parts[2].mover = MoverProgress::Failed(MoverFailure {
            code: "SourceUnreadable".into(),
            words: "a file cannot be read".into(),
        });
        let mut hook = observed();
        hook.pre = HookProgress::Failed("pg_basebackup".into());
        let mut late = observed();
        late.must_end = Some(RunFault::TookTooLong);
        for (observed, recorded, said) in [
            (
                run,
                "SourceUnreadable data-web-0",
                "part data-web-0: SourceUnreadable: a file cannot be read",
            ),
            (hook, "HookFailed", "pg_basebackup"),
            (late, "TookTooLong", "it took longer than 20 h"),
        ] {
            let RunStep::Abort(why) = next_step(&observed) else {
                panic!("it goes on")
            };
            assert_eq!((why.recorded(), why.message()), (recorded.to_owned(), said));
        }
    }

    const PLANNED: &str = "2026-01-01T00:00:00Z";

    /// An open run of the objects and of two volumes, the first of them at rest.
    fn open_run() -> Run {
        let mut story = Story::new();
        let volumes = [("data-db-0", 10), ("data-web-0", 10)];
        let plan = story.planned(PLANNED.parse().unwrap(), &volumes);
        let mut run = story.state.runs[&plan.run_id].clone();
        run.plan.parts[1].consistency = Consistency::AtRest;
        run
    }
    fn volume(name: &str, uid: &str, pod: Option<&str>) -> PresentVolume {
        PresentVolume {
            claim: PresentClaim {
                volume: name.parse().unwrap(),
                uid: uid.to_owned(),
            },
            pod: pod.map(str::to_owned),
        }
    }
    fn as_planned() -> Vec<PresentVolume> {
        vec![
            volume("data-db-0", "uid-data-db-0", None),
            volume("data-web-0", "uid-data-web-0", Some("web-0")),
        ]
    }
    fn lost() -> Loss {
        Loss {
            volume: "data-db-0".parse().unwrap(),
            lost_uid: "uid-data-db-0".into(),
            present_uid: None,
        }
    }
    fn found(losses: &[Loss], restore: Option<&str>, volumes: &[PresentVolume], now: &str) -> Option<String> {
        let seen = RunSurroundings {
            losses,
            restore,
            volumes,
        };
        let fault = fault(&open_run(), &seen, now.parse().unwrap());
        fault.map(|fault| fault.to_string())
    }

    #[test]
    fn a_run_goes_on_while_everything_is_as_it_was_planned() {
        assert_eq!(found(&[], None, &as_planned(), "2026-01-01T20:00:00Z"), None);
        let plan = open_run().plan;
        assert_eq!(request_fault(&plan, true), None);
    }

    #[test]
    fn what_ends_a_run_is_told_in_these_words() {
        let (planned, late) = (as_planned(), "2026-01-01T20:00:01Z");
        let another = [volume("data-db-0", "another", Some("db-0")), planned[1].clone()];
        let at_work = [
            volume("data-db-0", "uid-data-db-0", Some("db-0")),
            planned[1].clone(),
        ];
        for (told, want) in [
            (
                found(&[lost()], None, &planned, PLANNED),
                "volume data-db-0 lost its data while the run was open",
            ),
            (
                found(&[], Some("home"), &planned, PLANNED),
                "OrgRestore home was asked for",
            ),
            (found(&[], None, &planned, late), "it took longer than 20 h"),
            (
                found(&[], None, &another, PLANNED),
                "claim data-db-0 was replaced while the run was open",
            ),
            (
                found(&[], None, &planned[..1], PLANNED),
                "claim data-web-0 was replaced while the run was open",
            ),
            (
                found(&[], None, &at_work, PLANNED),
                "pod db-0 mounted volume data-db-0 while it was copied as being at rest",
            ),
        ] {
            assert_eq!(told.as_deref(), Some(want));
        }
        let plan = open_run().plan;
        let told = format!(
            "OrgSnapshot {} was deleted while the run was open, or cannot be read any more",
            plan.snapshot_name
        );
        assert_eq!(request_fault(&plan, false).unwrap().to_string(), told);
    }

    proptest! {
        /// Whatever comes together, one thing is told: what is worst for the org's data, then what others wait for.
        #[test]
        fn of_all_that_ends_a_run_the_first_is_told(
            loss: bool, restore: bool, late: bool, replaced: bool, mounted: bool,
        ) {
            let losses = if loss { vec![lost()] } else { vec![] };
            let now = if late { "2026-01-02T00:00:00Z" } else { PLANNED };
            let mut volumes = as_planned();
            if mounted {
                volumes[0].pod = Some("db-0".into());
            }
            if replaced {
                volumes[1].claim.uid = "another".into();
            }
            let told = found(&losses, restore.then_some("home"), &volumes, now);
            let order = [
                (loss, "volume data-db-0 lost"),
                (restore, "OrgRestore home"),
                (late, "it took longer"),
                // The parts in the order of their plan.
                (mounted, "pod db-0 mounted"),
                (replaced, "claim data-web-0"),
            ];
            let first = order.into_iter().find(|(is_so, _)| *is_so).map(|(_, told)| told);
            prop_assert_eq!(told.is_some(), first.is_some());
            if let (Some(told), Some(first)) = (told, first) {
                prop_assert!(told.starts_with(first), "{}", told);
            }
        }

        /// However often the operator dies between steps (which forgets what hooks were doing), the run ends in a commit
        /// of which every part was copied after its hook.
        #[test]
        fn a_run_ends_whatever_is_forgotten(crashes in prop::collection::vec(any::<bool>(), 0..60)) {
            let mut run = observed();
            let mut crashes = crashes.into_iter();
            for _ in 0..200 {
                let step = next_step(&run);
                if step == RunStep::Commit {
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
