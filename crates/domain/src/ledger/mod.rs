//! The ledger of an org: an append-only log in the bucket that decides what is true.
//!
//! Each entry is written with `If-None-Match` at the last sequence number + 1 and carries the digest of the one
//! before, so one log is the commit protocol, the fence, the prune record, the hash chain and the evidence.

mod append;
mod audit;
mod forgetting;
mod open_work;
mod state;
mod stored;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    ids::{KmsKeyArn, OrgId, PartId, RunId, SweepId},
    manifest::{Manifest, RunPlan},
};

pub use append::{Foreign, after_refusal};
pub use audit::{Disagreement, whole_within_days};
pub use forgetting::{Forgotten, ForgottenRestore};
pub use open_work::{Ended, Work};
pub use state::{
    LastSweep, LedgerError, LedgerState, OpenRestore, RestoreRecord, Run, RunEnd, Sweep, VolumeHolder,
};

/// The newest version of an entry's own form. It goes up where an earlier version would misread what a later one writes: also with
/// a type of event that changes the state, since a checkpoint holds what came of it in a field that an earlier version leaves out.
///
/// Version 2 is that of checkpoints which forget what is gone: [`Event::format_version`].
pub const FORMAT_VERSION: u32 = 2;

/// One entry as it lies in the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The lowest version whose readers read it right: [`Event::format_version`].
    pub format_version: u32,
    /// The org.
    pub org_id: OrgId,
    /// 0 for the first.
    pub seq: u64,
    /// When the operator wrote it, by its own clock.
    pub at: Timestamp,
    /// UID of the kube-system namespace of the writer's cluster.
    pub cluster_uid: String,
    /// Epoch of the writer's claim.
    pub epoch: u64,
    /// SHA-256 (hex) of the bytes of the entry before; empty for the first.
    pub previous_digest: String,
    /// The newest checkpoint before it: where reading begins. None = there is none, or an earlier version has written it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<u64>,
    /// What happened.
    pub event: Event,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Event {
    /// From here this process of this cluster writes; the entries of all others end. `holder` names the process, which no other one
    /// is called; empty = an earlier version has written it, and did not say.
    Claim {
        #[serde(default, skip_serializing_if = "String::is_empty")]
        holder: String,
    },
    /// A key is about to be made: its tags carry this intent, so that a crash does not leave an unknown one.
    KeyPlanned { intent: String },
    /// The org's key, pinned for ever. Without a `KeyPlanned` before it, it is one that other orgs have, too.
    KeyCreated { kms_key_arn: KmsKeyArn },
    /// The wrapped master key lies in the bucket: SHA-256 (hex) of its object, pinned for ever. What is found there is
    /// compared with it; nothing else is ever put in its place.
    KeyWrapped { digest: String },
    /// The repository of a volume exists.
    RepoInit { volume: PartId },
    /// A run has begun.
    RunPlanned { plan: RunPlan },
    /// A run is complete and verified.
    RunCommitted { manifest: Box<Manifest> },
    /// A run has ended without a result; `why` is a code, and the part that it is of (`run_failure`). An earlier version wrote it in
    /// words.
    RunAborted { run_id: RunId, why: String },
    /// A person accepted a Suspicious run: it counts from here.
    RunAccepted { run_id: RunId },
    /// A person accepted the loss of a volume.
    LossAccepted { volume: PartId, claim_uid: String },
    /// A run was pruned: its data is about to be removed, and it can no longer be restored.
    Pruned { run_id: RunId, why: String },
    /// A sweep begins: until it has ended no run begins. Its pruner removes nothing that was stored after this entry.
    /// `part_records`: it removes part records, too; sweeps of earlier versions did not.
    SweepPlanned {
        sweep_id: SweepId,
        #[serde(default)]
        part_records: bool,
    },
    /// A sweep has ended; `failed` is why without a result, as a code.
    SweepEnded {
        sweep_id: SweepId,
        failed: Option<String>,
    },
    /// The data of runs that are garbage was removed from a repository: marked, or freed.
    Swept {
        volume: PartId,
        marked_packs: u64,
        freed_bytes: u64,
    },
    /// The data of these runs is gone from the bucket: from here nothing is removed for them any more, and they are forgotten.
    Collected { runs: Vec<RunId> },
    /// A restore begins: until it has ended neither a run nor a sweep begins, nor another restore.
    RestorePlanned { restore: String, run_id: RunId },
    /// A restore has filled fresh claims: from here they hold the data of their volumes.
    Filled {
        restore: String,
        run_id: RunId,
        claims: Vec<FilledClaim>,
    },
    /// A restore came to its end: every volume is back and its workloads are up, or not. `data_is_back`: every volume is, whether
    /// or not the workloads are up. `refused` counts the objects that the API server did not take back; `why` says what is
    /// not as it should be.
    Restored {
        restore: String,
        run_id: RunId,
        succeeded: bool,
        #[serde(default)]
        data_is_back: bool,
        seconds: u64,
        bytes: u64,
        #[serde(default)]
        refused: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// What all entries before it add up to, so that reading need not begin at 0.
    Checkpoint { state: Box<LedgerState> },
    /// A type that this version does not know: a newer one has written it. Nothing is decided on such an entry
    /// ([`Entry::decode`] refuses it), and none is written.
    #[serde(other, skip_serializing)]
    Unknown,
}

impl Event {
    /// A sweep that removes all that is left of a run.
    pub fn sweep_planned(sweep_id: SweepId) -> Self {
        Self::SweepPlanned {
            sweep_id,
            part_records: true,
        }
    }

    /// The version of the form that an entry of it is written with: the lowest that is right, so that an operator which was just
    /// upgraded can be downgraded again until it has written what the earlier one would misread. A type that the earlier one does
    /// not know needs none: it says so by itself.
    pub fn format_version(&self) -> u32 {
        match self {
            Self::Checkpoint { .. } => 2,
            _ => 1,
        }
    }
}

/// A volume that a restore has filled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilledClaim {
    /// The claim's name.
    pub volume: PartId,
    /// The claim's UID: from here this is the volume that holds the data.
    pub claim_uid: String,
}

/// At every multiple of it stands a checkpoint: bounds how many entries a reader has to fetch, whatever goes wrong.
pub const CHECKPOINT_EVERY: u64 = 64;
/// Entries after the newest checkpoint that a ledger at rest has at most.
pub const LONGEST_TAIL_AT_REST: u64 = 3;

/// The last entry that somebody has seen of a ledger. One that does not hold it has lost entries, or is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its sequence number.
    pub seq: u64,
    /// SHA-256 (hex) of its bytes.
    pub digest: String,
}

/// What an entry of any version says of its form.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    format_version: u32,
}

impl Entry {
    /// The bytes as they lie in the bucket.
    pub fn encode(&self) -> Result<Vec<u8>, LedgerError> {
        serde_json::to_vec(self).map_err(|error| LedgerError::Unreadable {
            seq: self.seq,
            why: error.to_string(),
        })
    }

    /// Reads the bytes that lie at `seq`. What a newer version has written is told apart from what is damaged: of a newer form
    /// the version alone is read.
    pub fn decode(seq: u64, bytes: &[u8]) -> Result<Self, LedgerError> {
        let unreadable = |why: String| LedgerError::Unreadable { seq, why };
        let newer = |unknown: String| LedgerError::Newer { seq, unknown };
        // One that can be read is read once: its form is looked at by itself only where that tells what is wrong with it.
        let entry = match serde_json::from_slice::<Self>(bytes) {
            Ok(entry) if entry.format_version <= FORMAT_VERSION => entry,
            read => {
                let header: Header =
                    serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
                if header.format_version > FORMAT_VERSION {
                    return Err(newer(format!("format version {}", header.format_version)));
                }
                read.map_err(|error| unreadable(error.to_string()))?
            }
        };
        if entry.seq != seq {
            return Err(unreadable(format!("it says that it is entry {}", entry.seq)));
        }
        if matches!(entry.event, Event::Unknown) {
            return Err(newer("the type of its event".to_owned()));
        }
        Ok(entry)
    }
}

/// SHA-256 (hex) of an entry's bytes: what the next entry carries.
pub fn digest(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{testing::Story, *};

    /// The first entry of a ledger, with `event` instead of its own.
    fn entry(event: &Value) -> Value {
        let mut entry: Value = serde_json::from_slice(&Story::new().newest).unwrap();
        entry["event"] = event.clone();
        entry
    }
    fn decode(entry: &Value) -> Result<Entry, LedgerError> {
        Entry::decode(0, entry.to_string().as_bytes())
    }

    #[test]
    fn what_a_newer_version_has_written_is_not_damaged() {
        let mut newer = entry(&json!("said otherwise"));
        newer["formatVersion"] = 3.into();
        newer["seq"] = Value::Null;
        let another = entry(&json!({"type": "Forked", "from": {"seq": 7}}));
        for (entry, unknown) in [(newer, "format version 3"), (another, "the type of its event")] {
            let unknown = unknown.to_owned();
            assert_eq!(decode(&entry), Err(LedgerError::Newer { seq: 0, unknown }));
        }
    }

    #[test]
    fn what_is_damaged_is_not_newer() {
        let mut misplaced = entry(&json!({"type": "Claim"}));
        misplaced["seq"] = 7.into();
        let mut without_version = entry(&json!({"type": "Claim"}));
        without_version["formatVersion"] = Value::Null;
        let cases = [
            json!({}),
            misplaced,
            without_version,
            entry(&json!({})),
            entry(&json!({"type": "RepoInit"})),
            entry(&json!({"type": "RepoInit", "volume": "No Claim"})),
        ];
        for entry in cases {
            let found = decode(&entry);
            assert!(
                matches!(found, Err(LedgerError::Unreadable { seq: 0, .. })),
                "{entry}: {found:?}"
            );
        }
        let torn = Entry::decode(0, b"{\"formatVersion\":1,");
        assert!(matches!(torn, Err(LedgerError::Unreadable { .. })), "{torn:?}");
    }

    #[test]
    fn an_entry_is_read_as_it_was_written_and_an_unknown_event_is_not_written() {
        let mut entry = decode(&entry(&json!({"type": "Claim"}))).unwrap();
        let bytes = entry.encode().unwrap();
        assert_eq!(Entry::decode(0, &bytes), Ok(entry.clone()));
        entry.event = Event::Unknown;
        assert!(entry.encode().is_err());
    }
}
