//! The steps of a restore in place, as a pure function of what is recorded and what is seen.
//!
//! Resolve the run once → prove, without touching anything, that every part of it can come back → the org's workloads at 0 → its old claims away (their volumes are retained) → fresh claims
//! filled, objects put back → the ledger says which claims hold the data → workloads up → done.
//! Each step is found again after a crash: nothing is remembered that is not in the OrgRestore's status, the ledger or
//! the cluster.

use super::{
    ids::{PartId, RunId},
    ledger::LedgerState,
    manifest::{Manifest, PartSource, PlannedPart},
};

/// How far the mover of a part is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MoverProgress {
    /// No Job.
    Absent,
    /// Made, perhaps without its Secret.
    Suspended,
    /// Runs.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly; why.
    Failed(String),
}

/// One part of the run that is restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestorePartProgress {
    /// The part.
    pub part: PartId,
    /// What a volume part needs to know of its claim; none for the objects.
    pub claim: Option<ClaimProgress>,
    /// How far the proof is that it can come back; `Succeeded` once that is recorded.
    pub proof: MoverProgress,
    /// Its mover.
    pub mover: MoverProgress,
}

/// The claim of a volume part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimProgress {
    /// UID of the claim that was there when the restore began; none = none was.
    pub replaced_uid: Option<String>,
    /// UID of the claim that is there now; none = none is.
    pub present_uid: Option<String>,
}

impl ClaimProgress {
    fn old_is_present(&self) -> bool {
        self.present_uid.is_some() && self.present_uid == self.replaced_uid
    }
    fn fresh(&self) -> bool {
        self.present_uid.is_some() && self.present_uid != self.replaced_uid
    }
}

/// What is recorded and seen of a restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreObserved {
    /// The run is pinned in the status, with the claims that were there.
    pub resolved: bool,
    /// Pods of the org's workloads that still exist.
    pub workload_pods: usize,
    /// Every part of the run.
    pub parts: Vec<RestorePartProgress>,
    /// The ledger says that the fresh claims hold the data.
    pub filled: bool,
    /// The org's workloads are available, or the org is suspended and has none to wait for.
    pub workloads_available: bool,
}

impl RestoreObserved {
    /// Whether it is proven that every part can come back: from here the org may be touched.
    pub fn is_proven(&self) -> bool {
        self.parts
            .iter()
            .all(|part| part.proof == MoverProgress::Succeeded)
    }
}

/// The run in the status of a restore is not in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the run in its status is not in the org's ledger: the status was edited by hand")]
pub struct UnknownRun;

/// The record of the run that the status of a restore pins. One that was pruned since is still the restore's.
pub fn pinned<'a>(ledger: &'a LedgerState, run_id: &str) -> Result<&'a Manifest, UnknownRun> {
    let run_id: RunId = run_id.parse().map_err(|_| UnknownRun)?;
    let run = ledger.runs.get(&run_id).ok_or(UnknownRun)?;
    run.manifest().ok_or(UnknownRun)
}

/// Why a part has nowhere to go.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unrestorable {
    /// No workload of the org has such a volume.
    #[error(
        "the org has no volume {volume} any more: give workload {workload} its volume and replicas back, then make a new \
         OrgRestore"
    )]
    NoVolume {
        /// The claim's name.
        volume: PartId,
        /// The workload that had it.
        workload: String,
    },
    /// Its size cannot be read.
    #[error(
        "how large volume {volume} may be is not known: correct volume.size of workload {workload}, then make a new \
         OrgRestore"
    )]
    UnknownSize {
        /// The claim's name.
        volume: PartId,
        /// The workload that had it.
        workload: String,
    },
}

/// Why a part has nowhere to go; none = it has. `has_volume`: a workload of the org has it now. `capacity_bytes`: what its
/// size allows it to hold.
pub fn unrestorable(
    planned: &PlannedPart,
    has_volume: bool,
    capacity_bytes: Option<u64>,
) -> Option<Unrestorable> {
    let PartSource::Volume { workload, .. } = &planned.source else {
        return None;
    };
    let (volume, workload) = (planned.part.clone(), workload.clone());
    if !has_volume {
        return Some(Unrestorable::NoVolume { volume, workload });
    }
    capacity_bytes
        .is_none()
        .then_some(Unrestorable::UnknownSize { volume, workload })
}

/// The end that the ledger has of a restore, an error being why it failed: its status was not written, whatever cut that short.
/// `restore` is its name in the ledger, `<name> (<UID>)`.
pub fn recorded_end(ledger: &LedgerState, restore: &str) -> Option<Result<(), String>> {
    let known = ledger.restores.iter().find(|known| known.restore == restore)?;
    Some(if known.succeeded {
        Ok(())
    } else {
        Err(known
            .why
            .clone()
            .unwrap_or_else(|| "its reason is lost".to_owned()))
    })
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreStep {
    /// Pin the run and the present claims in the status.
    Resolve,
    /// Start the proofs of these parts.
    StartProofs(Vec<PartId>),
    /// Proofs run.
    WaitForProofs,
    /// Workload pods still run: the TrayOrg controller is taking them down.
    WaitUntilDrained,
    /// Delete these claims.
    RemoveClaims(Vec<PartId>),
    /// The TrayOrg controller is making the claims.
    WaitForClaims(Vec<PartId>),
    /// Start the movers of these parts.
    StartMovers(Vec<PartId>),
    /// Movers run.
    WaitForMovers,
    /// Write into the ledger that the data is back, and in which claims.
    RecordFilled,
    /// The TrayOrg controller is bringing the workloads up.
    WaitForWorkloads,
    /// Everything is back: write the end.
    Succeed,
    /// It cannot be done: write the end, with the reason.
    Fail(String),
}

/// The next step.
///
/// Objects go in before volumes are done, in parallel: they touch no volume, and workloads are at 0 until all is filled.
pub fn next_step(observed: &RestoreObserved) -> RestoreStep {
    if !observed.resolved {
        return RestoreStep::Resolve;
    }
    if observed.filled {
        return if observed.workloads_available {
            RestoreStep::Succeed
        } else {
            RestoreStep::WaitForWorkloads
        };
    }
    if let Some(reason) = failure(&observed.parts, |part| &part.mover) {
        return RestoreStep::Fail(reason);
    }
    if let Some(step) = prove(&observed.parts) {
        return step;
    }
    if observed.workload_pods > 0 {
        return RestoreStep::WaitUntilDrained;
    }
    let claims = |wanted: fn(&ClaimProgress) -> bool| -> Vec<PartId> {
        let parts = observed.parts.iter();
        parts
            .filter(|p| p.claim.as_ref().is_some_and(wanted))
            .map(|p| p.part.clone())
            .collect()
    };
    let old = claims(ClaimProgress::old_is_present);
    if !old.is_empty() {
        return RestoreStep::RemoveClaims(old);
    }
    let missing = claims(|claim| !claim.fresh());
    if !missing.is_empty() {
        return RestoreStep::WaitForClaims(missing);
    }
    let to_start = to_start(&observed.parts, |part| &part.mover);
    if !to_start.is_empty() {
        return RestoreStep::StartMovers(to_start);
    }
    if observed.parts.iter().all(|p| p.mover == MoverProgress::Succeeded) {
        RestoreStep::RecordFilled
    } else {
        RestoreStep::WaitForMovers
    }
}

/// The next step of the proof; none once all is proven. While it is not, nothing of the org has been touched.
fn prove(parts: &[RestorePartProgress]) -> Option<RestoreStep> {
    if let Some(reason) = failure(parts, |part| &part.proof) {
        return Some(RestoreStep::Fail(format!(
            "{reason}; it was found before anything of the org was touched"
        )));
    }
    let to_start = to_start(parts, |part| &part.proof);
    if !to_start.is_empty() {
        return Some(RestoreStep::StartProofs(to_start));
    }
    let proven = parts.iter().all(|part| part.proof == MoverProgress::Succeeded);
    (!proven).then_some(RestoreStep::WaitForProofs)
}

fn to_start(parts: &[RestorePartProgress], mover: fn(&RestorePartProgress) -> &MoverProgress) -> Vec<PartId> {
    let waiting = parts
        .iter()
        .filter(|part| matches!(mover(part), MoverProgress::Absent | MoverProgress::Suspended));
    waiting.map(|part| part.part.clone()).collect()
}

fn failure(
    parts: &[RestorePartProgress],
    mover: fn(&RestorePartProgress) -> &MoverProgress,
) -> Option<String> {
    parts.iter().find_map(|p| match mover(p) {
        MoverProgress::Failed(why) => Some(format!("part {}: {why}", p.part)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Event, testing::Story};

    /// A ledger with a run of the objects and one volume.
    fn committed() -> Story {
        let mut story = Story::new();
        story.good("2026-01-01T00:00:00Z", 60);
        story
    }

    /// A cluster that does what a step asks, one effect at a time; losing an effect is a crash before it.
    fn carry_out(observed: &mut RestoreObserved, step: &RestoreStep) {
        match step {
            RestoreStep::Resolve => observed.resolved = true,
            RestoreStep::StartProofs(parts) => {
                let part = observed.parts.iter_mut().find(|p| p.part == parts[0]).unwrap();
                part.proof = MoverProgress::Running;
            }
            RestoreStep::WaitForProofs => {
                let mut parts = observed.parts.iter_mut();
                let part = parts.find(|p| p.proof == MoverProgress::Running).unwrap();
                part.proof = MoverProgress::Succeeded;
            }
            RestoreStep::WaitUntilDrained => observed.workload_pods = 0,
            RestoreStep::RemoveClaims(parts) => {
                let first = &parts[0];
                claim(observed, first).present_uid = None;
            }
            RestoreStep::WaitForClaims(parts) => {
                let first = &parts[0];
                claim(observed, first).present_uid = Some(format!("fresh-{first}"));
            }
            RestoreStep::StartMovers(parts) => {
                let part = observed.parts.iter_mut().find(|p| p.part == parts[0]).unwrap();
                part.mover = MoverProgress::Running;
            }
            RestoreStep::WaitForMovers => {
                let part = observed
                    .parts
                    .iter_mut()
                    .find(|p| p.mover == MoverProgress::Running)
                    .unwrap();
                part.mover = MoverProgress::Succeeded;
            }
            RestoreStep::RecordFilled => observed.filled = true,
            RestoreStep::WaitForWorkloads => observed.workloads_available = true,
            RestoreStep::Succeed | RestoreStep::Fail(_) => {}
        }
    }
    fn claim<'a>(observed: &'a mut RestoreObserved, part: &PartId) -> &'a mut ClaimProgress {
        observed
            .parts
            .iter_mut()
            .find(|p| &p.part == part)
            .unwrap()
            .claim
            .as_mut()
            .unwrap()
    }
    fn start(replaced: &[Option<&str>]) -> RestoreObserved {
        let mut parts = vec![RestorePartProgress {
            part: "objects".parse().unwrap(),
            claim: None,
            proof: MoverProgress::Absent,
            mover: MoverProgress::Absent,
        }];
        parts.extend(replaced.iter().enumerate().map(|(n, uid)| RestorePartProgress {
            part: format!("data-{n}").parse().unwrap(),
            claim: Some(ClaimProgress {
                replaced_uid: uid.map(str::to_owned),
                present_uid: uid.map(str::to_owned),
            }),
            proof: MoverProgress::Absent,
            mover: MoverProgress::Absent,
        }));
        RestoreObserved {
            resolved: false,
            workload_pods: 2,
            parts,
            filled: false,
            workloads_available: false,
        }
    }

    #[test]
    fn every_start_reaches_the_end_and_no_mover_meets_an_old_claim() {
        for replaced in [
            vec![],
            vec![None],
            vec![Some("a"), None],
            vec![Some("a"), Some("b")],
        ] {
            let mut observed = start(&replaced);
            for _ in 0..60 {
                let step = next_step(&observed);
                let touches = matches!(
                    step,
                    RestoreStep::WaitUntilDrained
                        | RestoreStep::RemoveClaims(_)
                        | RestoreStep::WaitForClaims(_)
                        | RestoreStep::StartMovers(_)
                );
                assert!(
                    !touches || observed.is_proven(),
                    "{step:?} before the proof: {observed:?}"
                );
                if let RestoreStep::StartMovers(_) = step {
                    assert_eq!(observed.workload_pods, 0);
                    assert!(
                        observed
                            .parts
                            .iter()
                            .all(|p| p.claim.as_ref().is_none_or(ClaimProgress::fresh))
                    );
                }
                carry_out(&mut observed, &step);
            }
            assert_eq!(next_step(&observed), RestoreStep::Succeed);
        }
    }

    #[test]
    fn a_failed_mover_fails_the_restore_and_names_the_part() {
        let mut observed = start(&[Some("a")]);
        observed.resolved = true;
        observed.parts[1].mover = MoverProgress::Failed("no space".into());
        assert_eq!(
            next_step(&observed),
            RestoreStep::Fail("part data-0: no space".into())
        );
    }

    #[test]
    fn a_proof_that_fails_ends_the_restore_before_anything_is_touched() {
        let mut observed = start(&[Some("a"), Some("b")]);
        observed.resolved = true;
        observed.parts[0].proof = MoverProgress::Succeeded;
        observed.parts[1].proof = MoverProgress::Failed("pack x is missing".into());
        observed.parts[2].proof = MoverProgress::Running;
        let RestoreStep::Fail(why) = next_step(&observed) else {
            panic!()
        };
        assert!(why.starts_with("part data-0: pack x is missing"), "{why}");
    }

    #[test]
    fn workloads_stop_from_the_proof_until_everything_is_filled() {
        let mut observed = start(&[Some("a")]);
        observed.resolved = true;
        let mut stops = Vec::new();
        for _ in 0..60 {
            let step = next_step(&observed);
            let told = matches!(
                step,
                RestoreStep::WaitUntilDrained
                    | RestoreStep::RemoveClaims(_)
                    | RestoreStep::WaitForClaims(_)
                    | RestoreStep::StartMovers(_)
                    | RestoreStep::WaitForMovers
                    | RestoreStep::RecordFilled
            );
            assert_eq!(observed.is_proven() && !observed.filled, told, "{step:?}");
            stops.push(told);
            carry_out(&mut observed, &step);
        }
        stops.dedup();
        assert_eq!(stops, [false, true, false]);
    }

    #[test]
    fn a_part_without_a_place_says_what_mends_it() {
        let story = committed();
        let (_, run) = story.state.newest_good().unwrap();
        let [objects, volume] = &run.plan.parts[..] else {
            panic!()
        };
        let told = |part, has_volume, capacity| {
            unrestorable(part, has_volume, capacity).map(|found| found.to_string())
        };
        let gone = "the org has no volume data-db-0 any more: give workload db its volume and replicas back, then make a new OrgRestore";
        let unknown = "how large volume data-db-0 may be is not known: correct volume.size of workload db, then make a new OrgRestore";
        for (part, has_volume, capacity, want) in [
            (objects, false, None, None),
            (volume, true, Some(1), None),
            (volume, true, None, Some(unknown)),
            (volume, false, None, Some(gone)),
            (volume, false, Some(1), Some(gone)),
        ] {
            assert_eq!(told(part, has_volume, capacity).as_deref(), want);
        }
    }

    #[test]
    fn a_restore_is_of_the_run_that_its_status_pins_whatever_became_of_it() {
        let mut story = committed();
        let good = story.state.newest_good().unwrap().0.clone();
        let aborted = story.aborted("2026-01-02T00:00:00Z", 60);
        story.tell(
            Event::Pruned {
                run_id: good.clone(),
                why: "old".into(),
            },
            "2026-02-01T00:00:00Z".parse().unwrap(),
        );
        let found = |run_id: &str| pinned(&story.state, run_id).map(|manifest| manifest.run_id.clone());
        assert_eq!(found(good.as_str()), Ok(good.clone()));
        for unknown in [aborted.as_str(), "01ARZ3NDEKTSV4RRFFQ69G5FAV", "edited"] {
            assert_eq!(found(unknown), Err(UnknownRun), "{unknown}");
        }
        assert_eq!(
            UnknownRun.to_string(),
            "the run in its status is not in the org's ledger: the status was edited by hand"
        );
    }

    #[test]
    fn the_end_that_the_ledger_has_is_the_end() {
        let mut story = committed();
        let run_id = story.state.newest_good().unwrap().0.clone();
        let mut ended = |restore: &str, succeeded, why: Option<&str>| {
            let event = Event::Restored {
                restore: restore.to_owned(),
                run_id: run_id.clone(),
                succeeded,
                seconds: 1,
                bytes: 0,
                refused: 0,
                why: why.map(str::to_owned),
            };
            story.tell(event, "2026-01-03T00:00:00Z".parse().unwrap());
        };
        ended("home (1)", true, None);
        ended("home (2)", false, Some("no space"));
        ended("home (3)", false, None);
        ended("home (2)", true, None);
        for (restore, want) in [
            ("home (1)", Some(Ok(()))),
            ("home (2)", Some(Err("no space".to_owned()))),
            ("home (3)", Some(Err("its reason is lost".to_owned()))),
            ("home (4)", None),
            ("home", None),
        ] {
            assert_eq!(recorded_end(&story.state, restore), want, "{restore}");
        }
    }

    #[test]
    fn what_is_filled_is_not_filled_again() {
        let mut observed = start(&[Some("a")]);
        (observed.resolved, observed.filled) = (true, true);
        assert_eq!(next_step(&observed), RestoreStep::WaitForWorkloads);
    }
}
