//! The steps of a restore in place, as a pure function of what is recorded and what is seen.
//!
//! Begin in the ledger and pin the run once → prove, without touching anything, that every part of it can come back, and that
//! nobody else holds a claim → the org's workloads at 0 → its old claims away (their volumes are retained) → fresh claims
//! filled, objects put back → the ledger says which claims hold the data → workloads up → done.
//! Each step is found again after a crash: nothing is remembered that is not in the OrgRestore's status, the ledger or
//! the cluster. Whatever is waited for has a limit: [`super::restore_waits`].

use super::{
    claim_holders::{FinishedPod, Holders},
    ids::{PartId, RunId},
    ledger::{FilledClaim, LedgerState},
    manifest::{Manifest, PartSource, PlannedPart},
    restore_waits::HOURS_FOR_CLAIMS,
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
    Failed(MoverFailure),
}

/// Why a mover ended badly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoverFailure {
    /// One word: its own, or the Job controller's.
    pub code: String,
    /// More, in words of our own; empty = there is no more.
    pub words: String,
}

impl std::fmt::Display for MoverFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, words } = self;
        match (code.as_str(), words.as_str()) {
            (code, "") => f.write_str(code),
            ("", words) => f.write_str(words),
            (code, words) => write!(f, "{code}: {words}"),
        }
    }
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimProgress {
    /// UID of the claim that was there when the restore began; none = none was.
    pub replaced_uid: Option<String>,
    /// UID of the claim that is there now; none = none is.
    pub present_uid: Option<String>,
    /// UID of the claim that the mover was made for, as its Job says; none = it has no mover, or an earlier version made it.
    pub mover_uid: Option<String>,
    /// The claim that is there has a volume.
    pub is_bound: bool,
}

impl ClaimProgress {
    fn old_is_present(&self) -> bool {
        self.present_uid.is_some() && self.present_uid == self.replaced_uid
    }
    fn fresh(&self) -> bool {
        self.present_uid.is_some() && self.present_uid != self.replaced_uid
    }
    /// The claim that the mover was made for is gone, and another one has its name.
    fn was_replaced(&self) -> bool {
        self.mover_uid.is_some() && self.mover_uid != self.present_uid
    }
}

/// What is recorded and seen of a restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreObserved {
    /// The run is pinned in the status, with the claims that were there.
    pub resolved: bool,
    /// The status has told the org's workloads to stop.
    pub has_stopped: bool,
    /// Pods of the org's workloads that still exist.
    pub workload_pods: Vec<String>,
    /// What keeps the old claims from going.
    pub holders: Holders,
    /// Every part of the run.
    pub parts: Vec<RestorePartProgress>,
    /// The ledger says that the fresh claims hold the data.
    pub filled: bool,
    /// Volumes of the run whose claims, filled before, are gone or others by now.
    pub lost_again: Vec<PartId>,
    /// Why the org's workloads are not available; none = they are, or the org is suspended and has none to wait for.
    pub unavailable: Option<String>,
}

impl RestoreObserved {
    /// Whether it is proven that every part can come back: from here the org may be touched.
    pub fn is_proven(&self) -> bool {
        self.parts
            .iter()
            .all(|part| part.proof == MoverProgress::Succeeded)
    }

    /// The claims that the movers have filled, each by the UID that its mover was made for: what is there under its name now
    /// may be another one.
    pub fn filled_claims(&self) -> Vec<FilledClaim> {
        let claims = self.parts.iter().filter_map(|part| {
            let claim = part.claim.as_ref()?;
            let filled = claim.mover_uid.as_ref().or(claim.present_uid.as_ref())?;
            Some(FilledClaim {
                volume: part.part.clone(),
                claim_uid: filled.clone(),
            })
        });
        claims.collect()
    }

    fn claims(&self, wanted: impl Fn(&ClaimProgress) -> bool) -> Vec<PartId> {
        let parts = self.parts.iter();
        parts
            .filter(|part| part.claim.as_ref().is_some_and(&wanted))
            .map(|part| part.part.clone())
            .collect()
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

/// A restore in the words of the ledger: its name may be used again, its UID never is.
pub fn ledger_name(name: &str, uid: &str) -> String {
    format!("{name} ({uid})")
}

/// Name and UID of the OrgRestore that the ledger knows by that name.
pub fn object_of(ledger_name: &str) -> (&str, &str) {
    let (name, uid) = ledger_name.split_once(" (").unwrap_or((ledger_name, ""));
    (name, uid.strip_suffix(')').unwrap_or(uid))
}

/// Why a part has nowhere to go.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unrestorable {
    /// No workload of the org has such a volume.
    #[error(
        "the org has no volume {volume} any more: give workload {workload} its volume and replicas back, then make an OrgRestore of \
         another name"
    )]
    NoVolume {
        /// The claim's name.
        volume: PartId,
        /// The workload that had it.
        workload: String,
    },
    /// Its size cannot be read.
    #[error(
        "how large volume {volume} may be is not known: correct volume.size of workload {workload}, then make an OrgRestore of \
         another name"
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

/// How a restore came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreEnd {
    /// Everything is back, and the workloads are available or the org is suspended.
    Succeeded,
    /// Everything is back, and the workloads did not become available in time.
    WithoutWorkloads,
    /// It failed; why, as a code. An earlier version wrote it in words.
    Failed(String),
}

/// The end that the ledger has of a restore: its status was not written, whatever cut that short. `restore` is its name in the
/// ledger.
pub fn recorded_end(ledger: &LedgerState, restore: &str) -> Option<RestoreEnd> {
    let known = ledger.restores.iter().find(|known| known.restore == restore)?;
    Some(match (known.succeeded, known.data_is_back) {
        (true, _) => RestoreEnd::Succeeded,
        (false, true) => RestoreEnd::WithoutWorkloads,
        (false, false) => {
            let why = known.why.clone();
            RestoreEnd::Failed(why.unwrap_or_else(|| "its reason is lost".to_owned()))
        }
    })
}

/// Why a restore failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreFault {
    /// A mover did, or a part has nowhere to go.
    #[error("part {part}: {why}")]
    Part {
        /// The part.
        part: PartId,
        /// Its mover's words, or ours.
        why: String,
    },
    /// The same while nothing was touched yet.
    #[error("part {part}: {why}; it was found before anything of the org was touched")]
    Proof {
        /// The part.
        part: PartId,
        /// Its mover's words, or ours.
        why: String,
    },
    /// A volume was lost once more.
    #[error(
        "the claims of {} were filled and are gone or others by now: find out who deletes them, then make an OrgRestore of another name",
        listed(.0)
    )]
    LostAgain(Vec<PartId>),
    /// Pods of others did not let go.
    #[error(
        "pods {} have held claims of the org for {HOURS_FOR_CLAIMS} h: delete them, then make an OrgRestore of another name; nothing of the \
         org was touched",
        first_of(.0)
    )]
    ClaimsHeld(Vec<String>),
    /// Something else did not come about.
    #[error("{0}")]
    TookTooLong(String),
}

pub(super) fn listed(parts: &[PartId]) -> String {
    let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
    first_of(&parts)
}

/// So many names stand in a message.
const NAMED: usize = 5;

pub(super) fn first_of(names: &[String]) -> String {
    let shown = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreStep {
    /// Begin it in the ledger, and pin the run and the present claims in the status.
    Resolve,
    /// Start the proofs of these parts.
    StartProofs(Vec<PartId>),
    /// Proofs run.
    WaitForProofs,
    /// Pods of others hold claims that are to be replaced: name them. Nothing is stopped meanwhile.
    WaitForHolders(Vec<String>),
    /// These pods of the org's workloads still run: the TrayOrg controller is taking them down.
    WaitUntilDrained(Vec<String>),
    /// Delete these claims.
    RemoveClaims {
        /// The claims.
        claims: Vec<PartId>,
        /// Delete these pods as well: they have ended, and hold a claim.
        finished: Vec<FinishedPod>,
        /// These pods hold a claim, and are waited for.
        held_by: Vec<String>,
    },
    /// The TrayOrg controller is making the claims.
    WaitForClaims(Vec<PartId>),
    /// The claims that these parts' movers were made for were replaced: remove the movers, others fill the claims anew.
    Refill(Vec<PartId>),
    /// Start the movers of these parts.
    StartMovers(Vec<PartId>),
    /// Movers run. These claims have no volume yet.
    WaitForMovers(Vec<PartId>),
    /// Write into the ledger that the data is back, and in which claims.
    RecordFilled(Vec<FilledClaim>),
    /// The TrayOrg controller is bringing the workloads up; why they are not there yet.
    WaitForWorkloads(String),
    /// Everything is back: write the end.
    Succeed,
    /// Everything is back, and the workloads did not come up in time: write the end, with why.
    SucceedWithoutWorkloads(String),
    /// It cannot be done: write the end, with the reason.
    Fail(RestoreFault),
}

/// The next step, whatever time it takes.
///
/// Objects go in before volumes are done, in parallel: they touch no volume, and workloads are at 0 until all is filled.
pub fn next_step(observed: &RestoreObserved) -> RestoreStep {
    if !observed.resolved {
        return RestoreStep::Resolve;
    }
    if observed.filled {
        return after_filled(observed);
    }
    if let Some((part, why)) = failure(&observed.parts, |part| &part.mover) {
        return RestoreStep::Fail(RestoreFault::Part { part, why });
    }
    if let Some(step) = prove(&observed.parts) {
        return step;
    }
    if !observed.has_stopped && !observed.holders.living.is_empty() {
        return RestoreStep::WaitForHolders(observed.holders.living.clone());
    }
    if !observed.workload_pods.is_empty() {
        return RestoreStep::WaitUntilDrained(observed.workload_pods.clone());
    }
    exchange_claims(observed).unwrap_or_else(|| fill(observed))
}

fn after_filled(observed: &RestoreObserved) -> RestoreStep {
    if !observed.lost_again.is_empty() {
        return RestoreStep::Fail(RestoreFault::LostAgain(observed.lost_again.clone()));
    }
    match &observed.unavailable {
        None => RestoreStep::Succeed,
        Some(why) => RestoreStep::WaitForWorkloads(why.clone()),
    }
}

/// The next step until every claim is a fresh one; none = each is.
fn exchange_claims(observed: &RestoreObserved) -> Option<RestoreStep> {
    let old = observed.claims(ClaimProgress::old_is_present);
    if !old.is_empty() {
        let Holders {
            living,
            finished,
            going,
        } = observed.holders.clone();
        return Some(RestoreStep::RemoveClaims {
            claims: old,
            finished,
            held_by: [living, going].concat(),
        });
    }
    let missing = observed.claims(|claim| !claim.fresh());
    (!missing.is_empty()).then_some(RestoreStep::WaitForClaims(missing))
}

fn fill(observed: &RestoreObserved) -> RestoreStep {
    let replaced = observed.claims(ClaimProgress::was_replaced);
    if !replaced.is_empty() {
        return RestoreStep::Refill(replaced);
    }
    let to_start = to_start(&observed.parts, |part| &part.mover);
    if !to_start.is_empty() {
        return RestoreStep::StartMovers(to_start);
    }
    if observed.parts.iter().all(|p| p.mover == MoverProgress::Succeeded) {
        RestoreStep::RecordFilled(observed.filled_claims())
    } else {
        RestoreStep::WaitForMovers(observed.claims(|claim| !claim.is_bound))
    }
}

/// The next step of the proof; none once all is proven. While it is not, nothing of the org has been touched.
fn prove(parts: &[RestorePartProgress]) -> Option<RestoreStep> {
    if let Some((part, why)) = failure(parts, |part| &part.proof) {
        return Some(RestoreStep::Fail(RestoreFault::Proof { part, why }));
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
) -> Option<(PartId, String)> {
    parts.iter().find_map(|p| match mover(p) {
        MoverProgress::Failed(why) => Some((p.part.clone(), why.to_string())),
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
            RestoreStep::WaitForHolders(_) => observed.holders.living.clear(),
            RestoreStep::WaitUntilDrained(_) => {
                observed.has_stopped = true;
                observed.workload_pods.clear();
            }
            RestoreStep::RemoveClaims { claims, .. } => {
                observed.holders = Holders::default();
                let first = &claims[0];
                claim(observed, first).present_uid = None;
            }
            RestoreStep::Refill(parts) => {
                for part in parts {
                    claim(observed, part).mover_uid = None;
                    progress(observed, part).mover = MoverProgress::Absent;
                }
            }
            RestoreStep::WaitForClaims(parts) => {
                let first = &parts[0];
                claim(observed, first).present_uid = Some(format!("fresh-{first}"));
            }
            RestoreStep::StartMovers(parts) => {
                let part = progress(observed, &parts[0]);
                part.mover = MoverProgress::Running;
                if let Some(claim) = &mut part.claim {
                    claim.mover_uid.clone_from(&claim.present_uid);
                }
            }
            RestoreStep::WaitForMovers(_) => {
                let part = observed
                    .parts
                    .iter_mut()
                    .find(|p| p.mover == MoverProgress::Running)
                    .unwrap();
                part.mover = MoverProgress::Succeeded;
            }
            RestoreStep::RecordFilled(_) => observed.filled = true,
            RestoreStep::WaitForWorkloads(_) => observed.unavailable = None,
            RestoreStep::Succeed | RestoreStep::SucceedWithoutWorkloads(_) | RestoreStep::Fail(_) => {}
        }
    }
    fn progress<'a>(observed: &'a mut RestoreObserved, part: &PartId) -> &'a mut RestorePartProgress {
        observed.parts.iter_mut().find(|p| &p.part == part).unwrap()
    }
    fn claim<'a>(observed: &'a mut RestoreObserved, part: &PartId) -> &'a mut ClaimProgress {
        progress(observed, part).claim.as_mut().unwrap()
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
                ..ClaimProgress::default()
            }),
            proof: MoverProgress::Absent,
            mover: MoverProgress::Absent,
        }));
        RestoreObserved {
            resolved: false,
            has_stopped: false,
            workload_pods: vec!["web-0".to_owned(), "db-0".to_owned()],
            holders: Holders {
                living: vec!["debug (data-0)".to_owned()],
                ..Holders::default()
            },
            parts,
            filled: false,
            lost_again: Vec::new(),
            unavailable: Some("web is on its way".to_owned()),
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
                assert!(
                    !touches(&step) || (observed.is_proven() && observed.holders.living.is_empty()),
                    "{step:?} too early: {observed:?}"
                );
                if let RestoreStep::StartMovers(_) = step {
                    assert!(observed.workload_pods.is_empty());
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
        observed.parts[1].mover = failed("TargetFailed", "no space");
        assert_eq!(failure_of(&observed), "part data-0: TargetFailed: no space");
        observed.parts[1].mover = failed("DeadlineExceeded", "");
        assert_eq!(failure_of(&observed), "part data-0: DeadlineExceeded");
    }

    fn failed(code: &str, words: &str) -> MoverProgress {
        MoverProgress::Failed(MoverFailure {
            code: code.to_owned(),
            words: words.to_owned(),
        })
    }

    fn failure_of(observed: &RestoreObserved) -> String {
        match next_step(observed) {
            RestoreStep::Fail(fault) => fault.to_string(),
            other => panic!("{other:?}"),
        }
    }

    /// Whether the org's workloads stand still for that step.
    fn touches(step: &RestoreStep) -> bool {
        matches!(
            step,
            RestoreStep::WaitUntilDrained(_)
                | RestoreStep::RemoveClaims { .. }
                | RestoreStep::WaitForClaims(_)
                | RestoreStep::Refill(_)
                | RestoreStep::StartMovers(_)
                | RestoreStep::WaitForMovers(_)
                | RestoreStep::RecordFilled(_)
        )
    }

    /// That far: everything is proven, and the claims are fresh ones.
    fn exchanged() -> RestoreObserved {
        let mut observed = start(&[Some("a"), Some("b")]);
        (observed.resolved, observed.has_stopped) = (true, true);
        (observed.workload_pods, observed.holders) = (Vec::new(), Holders::default());
        for part in &mut observed.parts {
            part.proof = MoverProgress::Succeeded;
            if let Some(claim) = &mut part.claim {
                claim.present_uid = Some(format!("fresh-{}", part.part));
            }
        }
        observed
    }

    /// Every mover has ended well.
    fn all_filled() -> RestoreObserved {
        let mut observed = exchanged();
        while !matches!(next_step(&observed), RestoreStep::RecordFilled(_)) {
            let step = next_step(&observed);
            carry_out(&mut observed, &step);
        }
        observed
    }

    #[test]
    fn what_is_recorded_is_the_claim_that_was_filled_and_not_the_one_that_is_there() {
        let observed = all_filled();
        let filled = |uids: [&str; 2]| {
            let volumes = ["data-0", "data-1"].into_iter().zip(uids);
            let claims = volumes.map(|(volume, uid)| FilledClaim {
                volume: volume.parse().unwrap(),
                claim_uid: uid.to_owned(),
            });
            RestoreStep::RecordFilled(claims.collect())
        };
        assert_eq!(next_step(&observed), filled(["fresh-data-0", "fresh-data-1"]));
        // Somebody deletes one, and another one takes its place: it is filled anew.
        let part: PartId = "data-1".parse().unwrap();
        let mut gone = observed.clone();
        claim(&mut gone, &part).present_uid = None;
        assert_eq!(next_step(&gone), RestoreStep::WaitForClaims(vec![part.clone()]));
        let mut replaced = observed.clone();
        claim(&mut replaced, &part).present_uid = Some("another".to_owned());
        assert_eq!(next_step(&replaced), RestoreStep::Refill(vec![part.clone()]));
        // Also where it has not got that far.
        progress(&mut replaced, &part).mover = MoverProgress::Running;
        assert_eq!(next_step(&replaced), RestoreStep::Refill(vec![part.clone()]));
        for _ in 0..3 {
            let step = next_step(&replaced);
            carry_out(&mut replaced, &step);
        }
        assert_eq!(next_step(&replaced), filled(["fresh-data-0", "another"]));
        // A mover of an earlier version does not say which one it filled.
        let mut earlier = observed;
        for part in ["data-0", "data-1"] {
            claim(&mut earlier, &part.parse().unwrap()).mover_uid = None;
        }
        assert_eq!(next_step(&earlier), filled(["fresh-data-0", "fresh-data-1"]));
    }

    #[test]
    fn nothing_is_stopped_while_somebody_else_holds_a_claim() {
        let mut observed = start(&[Some("a")]);
        observed.resolved = true;
        for part in &mut observed.parts {
            part.proof = MoverProgress::Succeeded;
        }
        let named = vec!["debug (data-0)".to_owned()];
        assert_eq!(next_step(&observed), RestoreStep::WaitForHolders(named.clone()));
        // One that comes later is named while its claim is waited for.
        (observed.has_stopped, observed.workload_pods) = (true, Vec::new());
        observed.holders.going = vec!["old (data-0)".to_owned()];
        let RestoreStep::RemoveClaims { held_by, .. } = next_step(&observed) else {
            panic!()
        };
        assert_eq!(held_by, [&named[..], &["old (data-0)".to_owned()]].concat());
    }

    #[test]
    fn a_volume_that_is_lost_once_more_ends_the_restore() {
        let mut observed = all_filled();
        observed.filled = true;
        observed.lost_again = vec!["data-1".parse().unwrap()];
        let said = failure_of(&observed);
        assert!(said.contains("data-1") && !said.contains("data-0"), "{said}");
    }

    #[test]
    fn a_proof_that_fails_ends_the_restore_before_anything_is_touched() {
        let mut observed = start(&[Some("a"), Some("b")]);
        observed.resolved = true;
        observed.parts[0].proof = MoverProgress::Succeeded;
        observed.parts[1].proof = failed("", "pack x is missing");
        observed.parts[2].proof = MoverProgress::Running;
        let why = failure_of(&observed);
        assert!(
            why.starts_with("part data-0: pack x is missing")
                && why.ends_with("before anything of the org was touched"),
            "{why}"
        );
    }

    #[test]
    fn workloads_stop_from_the_proof_until_everything_is_filled() {
        let mut observed = start(&[Some("a")]);
        observed.resolved = true;
        let mut stops = Vec::new();
        for _ in 0..60 {
            let step = next_step(&observed);
            let told = touches(&step);
            let may = observed.is_proven() && observed.holders.living.is_empty() && !observed.filled;
            assert_eq!(may, told, "{step:?}");
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
        let gone = "the org has no volume data-db-0 any more: give workload db its volume and replicas back, then make an OrgRestore of another name";
        let unknown = "how large volume data-db-0 may be is not known: correct volume.size of workload db, then make an OrgRestore of another name";
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
        let mut ended = |restore: &str, succeeded, data_is_back, why: Option<&str>| {
            let event = Event::Restored {
                restore: restore.to_owned(),
                run_id: run_id.clone(),
                succeeded,
                data_is_back,
                seconds: 1,
                bytes: 0,
                refused: 0,
                why: why.map(str::to_owned),
            };
            story.tell(event, "2026-01-03T00:00:00Z".parse().unwrap());
        };
        ended("home (1)", true, true, None);
        ended("home (2)", false, false, Some("ClaimHeld"));
        ended("home (3)", false, false, None);
        ended("home (2)", true, true, None);
        ended("home (5)", false, true, Some("WorkloadsUnavailable"));
        for (restore, want) in [
            ("home (1)", Some(RestoreEnd::Succeeded)),
            ("home (2)", Some(RestoreEnd::Failed("ClaimHeld".to_owned()))),
            (
                "home (3)",
                Some(RestoreEnd::Failed("its reason is lost".to_owned())),
            ),
            ("home (5)", Some(RestoreEnd::WithoutWorkloads)),
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
        assert!(matches!(next_step(&observed), RestoreStep::WaitForWorkloads(_)));
    }

    #[test]
    fn the_ledgers_name_of_a_restore_tells_the_object() {
        let name = ledger_name("home", "0d1f");
        assert_eq!(
            (name.as_str(), object_of(&name)),
            ("home (0d1f)", ("home", "0d1f"))
        );
        assert_eq!(object_of("home"), ("home", ""));
    }
}
