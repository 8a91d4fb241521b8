//! What the entries of a ledger add up to.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Entry, Event, Forgotten, Head, stored};
use crate::{
    ids::{KmsKeyArn, OrgId, PartId, RunId, SweepId},
    manifest::{Manifest, PartSource, RunPlan, RunVerdict},
    stage::Stage,
};

/// Why a ledger cannot be believed. Nothing is decided on such a ledger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The entry is not what it has to be.
    #[error("entry {seq} of the ledger cannot be read: {why}")]
    Unreadable {
        /// Which.
        seq: u64,
        /// What is wrong.
        why: String,
    },
    /// A newer version of the operator has written the entry: it is right, and this version cannot read it.
    #[error(
        "entry {seq} of the ledger was written by a newer version of the operator, this one does not know {unknown}"
    )]
    Newer {
        /// Which.
        seq: u64,
        /// What of it: `format version 2`.
        unknown: String,
    },
    /// An entry is missing that a later one speaks of.
    #[error("entry {seq} of the ledger is missing")]
    Missing {
        /// Which.
        seq: u64,
    },
    /// An entry is missing.
    #[error("entry {expected} of the ledger is missing: the next one found is {found}")]
    Gap {
        /// The one that should come.
        expected: u64,
        /// The one that comes.
        found: u64,
    },
    /// An entry is not the one that was there when it was last seen.
    #[error("entry {seq} of the ledger is another one than the org's status has seen there")]
    Replaced {
        /// Which.
        seq: u64,
    },
    /// An entry was changed or replaced after the next was written.
    #[error("the hash chain of the ledger is broken at entry {seq}")]
    Broken {
        /// The entry whose predecessor is not the one it names.
        seq: u64,
    },
    /// A checkpoint does not say what the entries before it add up to.
    #[error("checkpoint {seq} of the ledger says something else of {what} than the entries before it")]
    Disagrees {
        /// Which.
        seq: u64,
        /// Of what.
        what: &'static str,
    },
    /// The entry is of another org.
    #[error("entry {seq} belongs to org {org}")]
    OtherOrg {
        /// Which.
        seq: u64,
        /// Whose.
        org: OrgId,
    },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all_fields = "camelCase")]
pub enum RunEnd {
    /// Complete and verified.
    Committed {
        /// Its record: what a restore, retention and the verdicts need of it. All of it stands in its `RunCommitted`.
        manifest: Box<Manifest>,
        /// When.
        at: Timestamp,
        /// SHA-256 (hex) of the manifest's JSON.
        manifest_digest: String,
        /// A person accepted it although it was Suspicious.
        accepted: bool,
    },
    /// Without a result.
    Aborted {
        /// Why, as the entry has it.
        why: String,
        /// When.
        at: Timestamp,
    },
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "stored::StoredRun", into = "stored::StoredRun")]
pub struct Run {
    /// What it was meant to hold.
    pub plan: RunPlan,
    /// When it was planned.
    pub planned_at: Timestamp,
    /// How it ended; none = it is open.
    pub end: Option<RunEnd>,
    /// When and why it was pruned.
    pub pruned: Option<(Timestamp, String)>,
    /// When a sweep had ended that marked what only it needed.
    pub marked_at: Option<Timestamp>,
    /// When its data was known to be gone. It is remembered only as long as something speaks of it.
    pub collected_at: Option<Timestamp>,
}

impl Run {
    /// Since when its data is garbage: it has ended and can never be restored. None = it can, or may become so.
    pub fn garbage_since(&self) -> Option<Timestamp> {
        match (&self.end, &self.pruned) {
            (Some(_), Some((at, _))) | (Some(RunEnd::Aborted { at, .. }), None) => Some(*at),
            _ => None,
        }
    }

    /// Its record, if it was committed and not pruned: what can be restored.
    pub fn restorable(&self) -> Option<&Manifest> {
        self.manifest().filter(|_| self.pruned.is_none())
    }

    /// Its record, if it was committed.
    pub fn manifest(&self) -> Option<&Manifest> {
        match &self.end {
            Some(RunEnd::Committed { manifest, .. }) => Some(manifest),
            _ => None,
        }
    }

    /// Committed, not pruned, and not Suspicious or accepted: it counts.
    pub fn is_good(&self) -> bool {
        match &self.end {
            Some(RunEnd::Committed {
                manifest, accepted, ..
            }) => self.pruned.is_none() && (manifest.verdict == RunVerdict::Good || *accepted),
            _ => false,
        }
    }

    /// Committed, and accepted by a person.
    pub fn is_accepted(&self) -> bool {
        matches!(&self.end, Some(RunEnd::Committed { accepted: true, .. }))
    }

    /// Committed, not pruned, Suspicious, and not accepted.
    pub fn is_suspicious(&self) -> bool {
        self.restorable().is_some() && !self.is_good()
    }

    /// When it was committed.
    pub fn committed_at(&self) -> Option<Timestamp> {
        match &self.end {
            Some(RunEnd::Committed { at, .. }) => Some(*at),
            _ => None,
        }
    }

    /// When it ended without a result.
    pub fn aborted_at(&self) -> Option<Timestamp> {
        match &self.end {
            Some(RunEnd::Aborted { at, .. }) => Some(*at),
            _ => None,
        }
    }

    /// From its plan to its commit, in seconds.
    pub fn seconds(&self) -> Option<u64> {
        let took = self.committed_at()?.duration_since(self.planned_at);
        u64::try_from(took.as_secs()).ok()
    }
}

/// The claim that holds a volume's data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeHolder {
    /// Its UID.
    pub claim_uid: String,
    /// Whether the volume has ever held files.
    pub held_files: bool,
}

/// One restore that came to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreRecord {
    /// Name of the OrgRestore.
    pub restore: String,
    /// The run.
    pub run_id: RunId,
    /// Whether every volume came back and the workloads were up.
    pub succeeded: bool,
    /// Whether every volume came back, if the workloads were not up.
    #[serde(default)]
    pub data_is_back: bool,
    /// From the creation of the OrgRestore to the end; in entries of before, from the moment that its run was pinned.
    pub seconds: u64,
    /// Bytes filled.
    pub bytes: u64,
    /// Objects that the API server did not take back.
    #[serde(default)]
    pub refused: u64,
    /// Why it failed; none where it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// When it ended.
    pub at: Timestamp,
}

/// A restore that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenRestore {
    /// `<name> (<UID>)` of the OrgRestore.
    pub restore: String,
    /// The run that comes back.
    pub run_id: RunId,
    /// When it was planned.
    pub planned_at: Timestamp,
}

/// A sweep that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sweep {
    /// Which.
    pub sweep_id: SweepId,
    /// When it was planned: its pruner removes nothing that was stored later.
    pub planned_at: Timestamp,
    /// It removes part records, too.
    #[serde(default)]
    pub part_records: bool,
}

/// What is known of the sweeps that have ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastSweep {
    /// When the newest one that ended well was planned: what was garbage by then was removed or marked.
    pub good: Option<Timestamp>,
    /// When the newest one ended without a result, and why; none = one has ended well since.
    pub failed: Option<(Timestamp, String)>,
}

/// What the entries add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LedgerState {
    /// The org; none before the first entry.
    pub org_id: Option<OrgId>,
    /// Entries so far: the sequence number of the next.
    pub next_seq: u64,
    /// Digest of the last entry's bytes; empty before the first.
    pub last_digest: String,
    /// The newest checkpoint.
    pub checkpoint: Option<u64>,
    /// Who may write: cluster UID and epoch.
    pub claim: Option<(String, u64)>,
    /// The intent of a key that is about to be made, or was.
    pub key_intent: Option<String>,
    /// The org's key.
    pub kms_key_arn: Option<KmsKeyArn>,
    /// SHA-256 (hex) of the object that holds the wrapped master key; none before it was made, and in ledgers from before
    /// it was recorded.
    pub wrapped_key_digest: Option<String>,
    /// Volumes with a repository.
    pub repositories: Vec<PartId>,
    /// All runs of which data may be in the bucket, and the newest that failed and that ended, by id.
    pub runs: BTreeMap<RunId, Run>,
    /// What is remembered of the others.
    pub forgotten: Forgotten,
    /// Which claim holds each volume's data.
    pub holders: BTreeMap<PartId, VolumeHolder>,
    /// The restore that has not ended.
    pub restore: Option<OpenRestore>,
    /// Restores that filled claims, by OrgRestore name.
    pub filled: BTreeMap<String, RunId>,
    /// The last restores that came to their end, oldest first, and the newest that succeeded.
    pub restores: Vec<RestoreRecord>,
    /// When each repository was last swept.
    pub swept: BTreeMap<PartId, Timestamp>,
    /// The sweep that has not ended.
    pub sweep: Option<Sweep>,
    /// Sweeps that have ended.
    pub last_sweep: LastSweep,
    /// When the last entry was written.
    pub last_at: Option<Timestamp>,
}

impl LedgerState {
    /// Its last entry; none = it has none.
    pub fn head(&self) -> Option<Head> {
        Some(Head {
            seq: self.next_seq.checked_sub(1)?,
            digest: self.last_digest.clone(),
        })
    }

    /// A run that must not come into a Region of stage `target`, restorable or not.
    pub fn foreign_to(&self, target: Stage) -> Option<&RunId> {
        let foreign = |run: &Run| {
            run.manifest()
                .is_some_and(|manifest| !manifest.stage.may_enter(target))
        };
        self.runs.iter().find(|(_, run)| foreign(run)).map(|(id, _)| id)
    }

    /// Adds an entry and its bytes. An entry that does not follow is refused and changes nothing.
    pub fn apply(&mut self, entry: &Entry, bytes: &[u8]) -> Result<(), LedgerError> {
        if self.next_seq == 0
            && let Event::Checkpoint { state } = &entry.event
        {
            // Reading begins here: what the checkpoint says stands for all before it.
            self.clone_from(state);
            if self.next_seq != entry.seq {
                let (seq, what) = (entry.seq, "their number");
                return Err(LedgerError::Disagrees { seq, what });
            }
        }
        if entry.seq != self.next_seq {
            return Err(LedgerError::Gap {
                expected: self.next_seq,
                found: entry.seq,
            });
        }
        if entry.previous_digest != self.last_digest {
            return Err(LedgerError::Broken { seq: entry.seq });
        }
        if self.org_id.as_ref().is_some_and(|org| *org != entry.org_id) {
            return Err(LedgerError::OtherOrg {
                seq: entry.seq,
                org: entry.org_id.clone(),
            });
        }
        self.org_id = Some(entry.org_id.clone());
        self.next_seq = entry.seq + 1;
        self.last_digest = super::digest(bytes);
        self.last_at = Some(entry.at);
        self.happen(entry);
        self.forget();
        Ok(())
    }

    fn happen(&mut self, entry: &Entry) {
        match &entry.event {
            Event::Claim {} => self.claim = Some((entry.cluster_uid.clone(), entry.epoch)),
            Event::KeyPlanned { intent } => self.key_intent = Some(intent.clone()),
            Event::KeyCreated { kms_key_arn } => {
                // Pinned for ever: what the first entry says stays.
                self.kms_key_arn.get_or_insert_with(|| kms_key_arn.clone());
            }
            Event::KeyWrapped { digest } => {
                self.wrapped_key_digest.get_or_insert_with(|| digest.clone());
            }
            Event::RepoInit { volume } => {
                if !self.repositories.contains(volume) {
                    self.repositories.push(volume.clone());
                }
            }
            Event::RunPlanned { plan } => {
                self.runs.entry(plan.run_id.clone()).or_insert_with(|| Run {
                    plan: plan.clone(),
                    planned_at: entry.at,
                    end: None,
                    pruned: None,
                    marked_at: None,
                    collected_at: None,
                });
            }
            Event::RunCommitted { manifest } => self.commit(manifest, entry.at),
            Event::RunAborted { run_id, why } => {
                if let Some(run) = self.runs.get_mut(run_id) {
                    // The first end of a run wins.
                    run.end.get_or_insert_with(|| RunEnd::Aborted {
                        why: why.clone(),
                        at: entry.at,
                    });
                }
            }
            Event::RunAccepted { run_id } => {
                if let Some(RunEnd::Committed { accepted, .. }) =
                    self.runs.get_mut(run_id).and_then(|run| run.end.as_mut())
                {
                    *accepted = true;
                }
            }
            Event::LossAccepted { volume, claim_uid } => {
                self.holders.insert(
                    volume.clone(),
                    VolumeHolder {
                        claim_uid: claim_uid.clone(),
                        held_files: false,
                    },
                );
            }
            Event::Pruned { run_id, why } => {
                if let Some(run) = self.runs.get_mut(run_id) {
                    run.pruned.get_or_insert_with(|| (entry.at, why.clone()));
                }
            }
            Event::Swept { volume, .. } => {
                self.swept.insert(volume.clone(), entry.at);
            }
            Event::SweepPlanned {
                sweep_id,
                part_records,
            } => {
                self.sweep.get_or_insert_with(|| Sweep {
                    sweep_id: sweep_id.clone(),
                    planned_at: entry.at,
                    part_records: *part_records,
                });
            }
            Event::SweepEnded { sweep_id, failed } => self.end_sweep(sweep_id, failed.as_deref(), entry.at),
            Event::Collected { runs } => self.collect(runs, entry.at),
            Event::RestorePlanned { restore, run_id } => self.begin_restore(restore, run_id, entry.at),
            Event::Filled {
                restore,
                run_id,
                claims,
            } => {
                self.filled.insert(restore.clone(), run_id.clone());
                for claim in claims {
                    let holder = VolumeHolder {
                        claim_uid: claim.claim_uid.clone(),
                        held_files: true,
                    };
                    self.holders.insert(claim.volume.clone(), holder);
                }
            }
            Event::Restored { .. } => self.end_restore(&entry.event, entry.at),
            Event::Checkpoint { .. } => self.checkpoint = Some(entry.seq),
            Event::Unknown => {}
        }
    }

    /// One restore is open at a time: the first that begins.
    fn begin_restore(&mut self, restore: &str, run_id: &RunId, at: Timestamp) {
        self.restore.get_or_insert_with(|| OpenRestore {
            restore: restore.to_owned(),
            run_id: run_id.clone(),
            planned_at: at,
        });
    }

    /// The first end of a restore wins.
    fn end_restore(&mut self, ended: &Event, at: Timestamp) {
        let Event::Restored {
            restore,
            run_id,
            succeeded,
            data_is_back,
            seconds,
            bytes,
            refused,
            why,
        } = ended
        else {
            return;
        };
        self.restore.take_if(|open| open.restore == *restore);
        if self.restores.iter().all(|known| known.restore != *restore) {
            self.restores.push(RestoreRecord {
                restore: restore.clone(),
                run_id: run_id.clone(),
                succeeded: *succeeded,
                data_is_back: *data_is_back,
                seconds: *seconds,
                bytes: *bytes,
                refused: *refused,
                why: why.clone(),
                at,
            });
        }
    }

    /// The first end of a sweep wins.
    fn end_sweep(&mut self, sweep_id: &SweepId, failed: Option<&str>, at: Timestamp) {
        let Some(sweep) = self.sweep.take_if(|open| open.sweep_id == *sweep_id) else {
            return;
        };
        if let Some(why) = failed {
            self.last_sweep.failed = Some((at, why.to_owned()));
            return;
        }
        self.last_sweep = LastSweep {
            good: Some(sweep.planned_at),
            ..LastSweep::default()
        };
        if sweep.part_records {
            crate::sweep::mark(self.runs.values_mut(), sweep.planned_at, at);
        }
    }

    fn commit(&mut self, manifest: &Manifest, at: Timestamp) {
        let Some(run) = self.runs.get_mut(&manifest.run_id) else {
            return;
        };
        if run.end.is_some() {
            return;
        }
        let digest = super::digest(&serde_json::to_vec(manifest).unwrap_or_default());
        run.end = Some(RunEnd::Committed {
            manifest: Box::new(stored::kept(manifest)),
            at,
            manifest_digest: digest,
            accepted: false,
        });
        for part in &manifest.parts {
            if let PartSource::Volume { claim_uid, .. } = &part.planned.source {
                let held = part.record.files > 0;
                let before = self
                    .holders
                    .get(&part.planned.part)
                    .is_some_and(|holder| holder.held_files);
                let holder = VolumeHolder {
                    claim_uid: claim_uid.clone(),
                    held_files: held || before,
                };
                self.holders.insert(part.planned.part.clone(), holder);
            }
        }
    }

    /// Runs that have not ended, oldest first.
    pub fn open_runs(&self) -> impl Iterator<Item = (&RunId, &Run)> {
        self.runs.iter().filter(|(_, run)| run.end.is_none())
    }

    /// Committed, unpruned runs by consistency point, newest first. "Newest" goes by consistency point, never by seq.
    pub fn restorable_runs(&self) -> Vec<(&RunId, &Run)> {
        let mut runs: Vec<_> = self
            .runs
            .iter()
            .filter(|(_, run)| run.restorable().is_some())
            .collect();
        runs.sort_by_key(|(id, run)| {
            std::cmp::Reverse((run.manifest().map(|manifest| manifest.consistency_point), *id))
        });
        runs
    }

    /// Runs that count, newest first.
    pub fn good_runs(&self) -> Vec<(&RunId, &Run)> {
        self.restorable_runs()
            .into_iter()
            .filter(|(_, run)| run.is_good())
            .collect()
    }

    /// The newest run that counts.
    pub fn newest_good(&self) -> Option<(&RunId, &Run)> {
        self.good_runs().into_iter().next()
    }

    /// The newest run that was aborted, or is Suspicious: the one that was planned last. Ids of runs that were asked for
    /// within one second are in no order.
    pub fn newest_failed(&self) -> Option<(&RunId, &Run)> {
        let failed = |run: &Run| matches!(run.end, Some(RunEnd::Aborted { .. })) || run.is_suspicious();
        let runs = self.runs.iter().filter(|(_, run)| failed(run));
        runs.max_by_key(|(id, run)| (run.planned_at, *id))
    }
}
