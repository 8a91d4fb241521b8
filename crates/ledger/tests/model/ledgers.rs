//! The ledgers that a search meets. Each is written by the real [`tray_ledger::Ledger`] over a bucket in memory, and folded by
//! the real [`LedgerState::apply`]; what is decided on it alone is kept beside it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures::executor::block_on;
use jiff::{SignedDuration, Timestamp};
use tray_domain::{
    bucket_layout,
    exclusion::{Beginning, Seen, begin},
    ids::{KmsKeyArn, OrgId, RunId, SweepId},
    ledger::{Entry as LedgerEntry, Event, LedgerState, Work},
    manifest::{FORMAT_VERSION, Manifest, PartRecord, PlannedPart, RunPlan},
    restore_choice::{RunChoice, resolve},
    restore_run::RestoreEnd,
    retention::{self, Retention},
    run_plan::{self, CopiedPart, RunFacts, VolumeFacts},
    snapshot_run::PresentVolume,
    stage::Stage,
    sweep,
    volume_facts::{PresentClaim, suspicions},
};
use tray_ledger::{Ledger, LedgerStore, LedgerStoreError, Listed, ObjectStore, PutOutcome, RemoteError};

use super::{
    bounds::Mutation,
    search::Fast,
    world::{Entry, JobName, Pack, RUNS},
};

/// A ledger, by its place in [`Ledgers`].
pub(crate) type LedgerId = u16;

/// Whose operator writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cluster {
    /// The one that is modelled.
    Ours,
    /// The other one.
    Rival,
}

/// What S3 does while an entry is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Answers {
    /// It answers.
    All,
    /// The entry is written, and that answer alone is lost.
    AllButTheFirst,
    /// It refuses the first write (409, 503), and nothing was written.
    RefusesOnce,
    /// The entry is written, and from then on nothing is answered.
    NoneAfterTheWrite,
    /// It does not answer, and nothing was written.
    None,
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// It is written.
    Written,
    /// The state does not ask for it.
    NotWanted,
    /// Nobody knows.
    NoAnswer,
    /// Another cluster writes this ledger.
    ClaimLost,
}

/// What an append leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    /// The ledger in the bucket.
    pub(crate) ledger: LedgerId,
    /// How many entries the writer knows now.
    pub(crate) known: u8,
    /// What became of it.
    pub(crate) outcome: Outcome,
}

/// What an append depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Attempt {
    ledger: LedgerId,
    known: u8,
    cluster: Cluster,
    entry: Entry,
    answers: Answers,
}

/// A ledger, and what the domain makes of it.
pub(crate) struct Known {
    /// What its entries add up to.
    pub(crate) state: LedgerState,
    /// The prefixes of it, itself included, by their number of entries.
    pub(crate) prefixes: Vec<LedgerId>,
    /// Key and bytes of its newest entry.
    newest: Option<(String, Bytes)>,
    /// Runs in it: a set.
    pub(crate) runs: u8,
    /// The run that is open.
    pub(crate) open_run: Option<u8>,
    /// The sweep that is open.
    pub(crate) open_sweep: Option<u8>,
    /// The run of the restore that is open.
    pub(crate) open_restore: Option<u8>,
    /// All sweeps that were planned.
    pub(crate) sweeps: Vec<SweepId>,
    /// Runs whose data a sweep removes: a set.
    pub(crate) garbage: u8,
    /// What each run that can be restored needs.
    pub(crate) needs: [Option<Pack>; RUNS],
    /// Runs that were committed, pruned or not: a set.
    pub(crate) committed: u8,
    /// The run that a restore means.
    pub(crate) restorable: Option<u8>,
    /// An entry of one cluster stands behind the claim of another.
    pub(crate) is_torn: bool,
}

impl Known {
    /// So many entries.
    pub(crate) fn len(&self) -> u8 {
        self.state.next_seq as u8
    }

    /// Whether our cluster holds the claim; none = nobody does.
    pub(crate) fn is_ours(&self) -> Option<bool> {
        let claim = self.state.claim.as_ref();
        claim.map(|(cluster, _)| cluster == OURS)
    }
}

/// UID of the cluster that is modelled.
const OURS: &str = "cluster-1";

/// All ledgers of a search.
pub(crate) struct Ledgers {
    known: Vec<Known>,
    by_bytes: HashMap<(LedgerId, Bytes), LedgerId>,
    appended: HashMap<Attempt, Appended, Fast>,
    removals: HashMap<(LedgerId, u8, bool), u8, Fast>,
    mutation: Mutation,
    /// Entries at the start of the search.
    pub(crate) at_start: u8,
}

impl Ledgers {
    /// The empty one alone, which has the id 0.
    pub(crate) fn new(mutation: Mutation) -> Self {
        Self {
            known: vec![known(LedgerState::default(), vec![0], None, Vec::new(), false)],
            by_bytes: HashMap::new(),
            appended: HashMap::default(),
            removals: HashMap::default(),
            mutation,
            at_start: 0,
        }
    }

    /// How many were met.
    pub(crate) fn count(&self) -> usize {
        self.known.len()
    }

    /// That ledger.
    pub(crate) fn of(&self, id: LedgerId) -> &Known {
        &self.known[usize::from(id)]
    }

    /// Its first entries.
    pub(crate) fn prefix(&self, id: LedgerId, entries: u8) -> &Known {
        self.of(self.of(id).prefixes[usize::from(entries)])
    }

    /// The time in a world with that ledger: each entry that is written takes a minute. A pass that is late sees a day and an hour
    /// more.
    pub(crate) fn now(&self, id: LedgerId, late: bool) -> Timestamp {
        now(self.of(id).len(), late)
    }

    /// The run that retention lets go first, for who knows so many entries.
    pub(crate) fn removal(&mut self, id: LedgerId, entries: u8, late: bool) -> Option<u8> {
        let prefix = self.of(id).prefixes[usize::from(entries)];
        let (len, now) = (self.of(id).len(), self.now(id, late));
        let removal = self.removals.get(&(prefix, len, late)).copied();
        let removal = removal.unwrap_or_else(|| {
            let kept = Retention {
                keep_days: 0,
                keep_at_least: 1,
            };
            let removals = retention::plan(&self.of(prefix).state, kept, None, now).unwrap();
            let first = removals.first().map(|removal| number(&removal.run_id));
            let removal = first.unwrap_or(u8::MAX);
            self.removals.insert((prefix, len, late), removal);
            removal
        });
        (removal != u8::MAX).then_some(removal)
    }

    /// Appends where the state asks for it. An answer that is lost once, and a refusal once, must make no difference.
    pub(crate) fn append(
        &mut self,
        (ledger, known): (LedgerId, u8),
        cluster: Cluster,
        entry: Entry,
        answers: Answers,
    ) -> Appended {
        let attempt = Attempt {
            ledger,
            known,
            cluster,
            entry,
            answers,
        };
        if let Some(appended) = self.appended.get(&attempt) {
            return *appended;
        }
        let appended = self.really_append(attempt);
        if answers == Answers::All && appended.outcome == Outcome::Written {
            for answers in [Answers::AllButTheFirst, Answers::RefusesOnce] {
                let same = self.really_append(Attempt { answers, ..attempt });
                assert_eq!(same, appended, "{attempt:?} with {answers:?}");
            }
        }
        self.appended.insert(attempt, appended);
        appended
    }

    fn really_append(&mut self, attempt: Attempt) -> Appended {
        let bucket = Arc::new(Bucket::default());
        let known = self.of(attempt.ledger);
        let entries = known.prefixes[1..].iter().map(|id| self.of(*id).newest.clone());
        let entries: Vec<(String, Bytes)> = entries.flatten().collect();
        let (read, unread) = entries.split_at(usize::from(attempt.known));
        bucket.put(read);
        let cluster = match attempt.cluster {
            Cluster::Ours => OURS,
            Cluster::Rival => "cluster-2",
        };
        let ledger = open(&bucket, cluster);
        bucket.put(unread);
        bucket.script(attempt.answers);
        let state = ledger.state();
        let outcome = self.write(&ledger, &state, attempt);
        let mut id = attempt.ledger;
        for (key, bytes) in bucket.behind(entries.len()) {
            id = self.follow(id, key, bytes);
        }
        Appended {
            ledger: id,
            known: ledger.state().next_seq as u8,
            outcome,
        }
    }

    fn write(&self, ledger: &Ledger, state: &LedgerState, attempt: Attempt) -> Outcome {
        let now = self.now(attempt.ledger, false);
        let written = if attempt.entry == Entry::Claim {
            block_on(ledger.claim(now)).map(|()| true)
        } else {
            let event = self.event(state, attempt, now);
            let decided =
                ledger.append_decided(now, |state| self.is_wanted(state, attempt).then(|| event.clone()));
            block_on(decided).map(|written| written.is_some())
        };
        match written {
            Ok(true) => Outcome::Written,
            Ok(false) => Outcome::NotWanted,
            Err(LedgerStoreError::ClaimLost { .. } | LedgerStoreError::Unclaimed { .. }) => {
                Outcome::ClaimLost
            }
            Err(error) => {
                assert!(error.is_transient(), "{attempt:?}: {error}");
                Outcome::NoAnswer
            }
        }
    }

    /// Whether the state asks for the entry: what the controllers hand to `append_decided`.
    fn is_wanted(&self, state: &LedgerState, attempt: Attempt) -> bool {
        let is_open = |run: u8| {
            let run = state.runs.get(&run_id(run));
            run.is_some_and(|run| run.end.is_none())
        };
        match attempt.entry {
            Entry::Claim => state.claim.is_none(),
            Entry::RunPlanned { next_seq, .. }
            | Entry::SweepPlanned { next_seq }
            | Entry::RestorePlanned { next_seq, .. } => {
                let next_seq = match self.mutation {
                    Mutation::BeginsWithoutSequenceNumber => state.next_seq,
                    _ => u64::from(next_seq),
                };
                let seen = Seen {
                    next_seq,
                    at_work: None,
                };
                begin(&seen, state) == Beginning::Written
            }
            Entry::RunCommitted { run, .. } | Entry::RunAborted { run } => is_open(run),
            Entry::Pruned { run } => state.may_prune(&run_id(run)),
            Entry::SweepEnded { sweep, .. } => {
                let ended = self.sweep_id(attempt.ledger, sweep);
                state.sweep.as_ref().map(|open| &open.sweep_id) == Some(ended)
            }
            Entry::Filled { .. } => !state.filled.contains_key(RESTORE),
            Entry::Restored { run, .. } => {
                let has_ended = state.restores.iter().any(|known| known.restore == RESTORE);
                state.restore.is_some() || (!has_ended && state.runs.contains_key(&run_id(run)))
            }
        }
    }

    fn event(&self, state: &LedgerState, attempt: Attempt, now: Timestamp) -> Event {
        match attempt.entry {
            Entry::Claim => Event::Claim {},
            Entry::RunPlanned { run, .. } => Event::RunPlanned { plan: plan(run) },
            Entry::SweepPlanned { .. } => Event::sweep_planned(SweepId::of(now, &org())),
            Entry::RunCommitted { run, pack } => Event::RunCommitted {
                manifest: Box::new(manifest(state, run, pack)),
            },
            Entry::RunAborted { run } => Event::RunAborted {
                run_id: run_id(run),
                why: String::new(),
            },
            Entry::Pruned { run } => Event::Pruned {
                run_id: run_id(run),
                why: String::new(),
            },
            Entry::SweepEnded { sweep, failed } => Event::SweepEnded {
                sweep_id: self.sweep_id(attempt.ledger, sweep).clone(),
                failed: failed.then(|| "Failed".to_owned()),
            },
            Entry::RestorePlanned { run, .. } => Event::RestorePlanned {
                restore: RESTORE.to_owned(),
                run_id: run_id(run),
            },
            Entry::Filled { run } => Event::Filled {
                restore: RESTORE.to_owned(),
                run_id: run_id(run),
                claims: Vec::new(),
            },
            Entry::Restored { run, succeeded } => Event::Restored {
                restore: RESTORE.to_owned(),
                run_id: run_id(run),
                succeeded,
                data_is_back: succeeded,
                seconds: 0,
                bytes: 0,
                refused: 0,
                why: None,
            },
        }
    }

    /// Whoever names a sweep has read its plan, so it is in the bucket's ledger.
    fn sweep_id(&self, ledger: LedgerId, sweep: u8) -> &SweepId {
        &self.of(ledger).sweeps[usize::from(sweep)]
    }

    /// The ledger that these bytes make of another.
    fn follow(&mut self, before: LedgerId, key: String, bytes: Bytes) -> LedgerId {
        if let Some(id) = self.by_bytes.get(&(before, bytes.clone())) {
            return *id;
        }
        let id = LedgerId::try_from(self.known.len()).expect("too many ledgers");
        let parent = self.of(before);
        let entry = LedgerEntry::decode(parent.state.next_seq, &bytes).unwrap();
        let mut state = parent.state.clone();
        state.apply(&entry, &bytes).unwrap();
        let claimed = parent.state.claim.as_ref();
        let is_torn = parent.is_torn || claimed.is_some_and(|(cluster, _)| *cluster != entry.cluster_uid);
        let mut sweeps = parent.sweeps.clone();
        if let Event::SweepPlanned { sweep_id, .. } = &entry.event {
            sweeps.push(sweep_id.clone());
        }
        let mut prefixes = parent.prefixes.clone();
        prefixes.push(id);
        self.by_bytes.insert((before, bytes.clone()), id);
        self.known
            .push(known(state, prefixes, Some((key, bytes)), sweeps, is_torn));
        id
    }
}

fn known(
    state: LedgerState,
    prefixes: Vec<LedgerId>,
    newest: Option<(String, Bytes)>,
    sweeps: Vec<SweepId>,
    is_torn: bool,
) -> Known {
    let set = |runs: &mut dyn Iterator<Item = &RunId>| runs.fold(0, |set, run| set | 1 << number(run));
    let mut needs = [None; RUNS];
    for (run, record) in state.restorable_runs() {
        needs[usize::from(number(run))] = record.restorable().map(pack_of);
    }
    let chosen = resolve(&state, RunChoice::LatestGood, Stage::Production);
    let committed = state.runs.iter().filter(|(_, run)| run.manifest().is_some());
    let open_run = state.open_runs().next().map(|(run, _)| number(run));
    Known {
        runs: set(&mut state.runs.keys()),
        open_run,
        open_restore: state.restore.as_ref().map(|open| number(&open.run_id)),
        open_sweep: state.sweep.as_ref().map(|open| {
            let place = sweeps.iter().position(|sweep| *sweep == open.sweep_id);
            place.unwrap() as u8
        }),
        garbage: set(&mut sweep::garbage(&state).iter()),
        committed: set(&mut committed.map(|(run, _)| run)),
        restorable: chosen.ok().map(|(run, _)| number(run)),
        needs,
        state,
        prefixes,
        newest,
        sweeps,
        is_torn,
    }
}

/// Name of the restore in the ledger.
const RESTORE: &str = "home (uid)";
const VOLUME: &str = "data-db-0";

/// What a mover works for, checked against that ledger.
pub(crate) fn is_open(known: &Known, work: JobName, restored: u8, mutation: Mutation) -> bool {
    let begins_without_entry = mutation == Mutation::RestoreBeginsWithoutEntry;
    let state = &known.state;
    match work {
        JobName::Copy(run) => state.check_open(&Work::Run(&run_id(run))).is_ok(),
        JobName::Proof | JobName::Fill if state.restore.is_none() && begins_without_entry => {
            recorded_end(known).is_none() && !is_filled(known)
        }
        JobName::Proof | JobName::Fill => {
            let run_id = run_id(restored);
            let work = Work::Restore {
                restore: RESTORE,
                run_id: &run_id,
            };
            state.check_open(&work).is_ok()
        }
        JobName::Prune(sweep) => {
            let sweep = known.sweeps.get(usize::from(sweep));
            sweep.is_some_and(|sweep| state.check_open(&Work::Sweep(sweep)).is_ok())
        }
    }
}

/// Whether the ledger has the restore as filled.
pub(crate) fn is_filled(known: &Known) -> bool {
    known.state.filled.contains_key(RESTORE)
}

/// The end that the ledger has of the restore.
pub(crate) fn recorded_end(known: &Known) -> Option<bool> {
    let ended = tray_domain::restore_run::recorded_end(&known.state, RESTORE)?;
    Some(matches!(ended, RestoreEnd::Succeeded))
}

fn org() -> OrgId {
    "7c9e6679-7425-40de-944b-e07fc1f90ae7".parse().unwrap()
}
fn key() -> KmsKeyArn {
    "arn:aws:kms:eu-central-1:111122223333:key/k".parse().unwrap()
}
fn started() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}
fn now(entries: u8, late: bool) -> Timestamp {
    started()
        + SignedDuration::from_hours(25 * i64::from(late))
        + SignedDuration::from_mins(i64::from(entries))
}

/// The id of a run, made as the operator makes it: the time leads, so it tells the number again.
pub(crate) fn run_id(run: u8) -> RunId {
    RunId::of(
        started() + SignedDuration::from_secs(i64::from(run)),
        &format!("uid-{run}"),
    )
}
fn number(run: &RunId) -> u8 {
    let numbers = 0..RUNS as u8;
    numbers
        .into_iter()
        .find(|number| run_id(*number) == *run)
        .unwrap()
}

fn plan(run: u8) -> RunPlan {
    let volume = VolumeFacts {
        claim: VOLUME.parse().unwrap(),
        claim_uid: VOLUME.to_owned(),
        workload: "db".to_owned(),
        excluded: false,
        paths: Vec::new(),
        has_hooks: false,
        mounted: true,
    };
    run_plan::plan(run_id(run), &format!("snapshot-{run}"), None, &[volume])
}

/// The volume as the cluster shows it: it never changes.
pub(crate) fn present_volumes() -> Vec<PresentVolume> {
    vec![PresentVolume {
        claim: PresentClaim {
            volume: VOLUME.parse().unwrap(),
            uid: VOLUME.to_owned(),
        },
        pod: Some("db-0".to_owned()),
    }]
}

/// The record of a complete run: its snapshot's name says which pack it needs.
fn manifest(state: &LedgerState, run: u8, pack: Pack) -> Manifest {
    let planned = &state.runs[&run_id(run)];
    let record = |part: &PlannedPart| PartRecord {
        format_version: FORMAT_VERSION,
        run_id: run_id(run),
        part: part.part.clone(),
        repository_snapshot: Some(format!("{pack:?}")),
        files: 1,
        objects: 1,
        bytes: 1,
        bytes_read: 1,
        bytes_added: 1,
        content_digest: String::new(),
        started_at: planned.planned_at,
        finished_at: planned.planned_at,
        warnings: Vec::new(),
        left_out: Vec::new(),
        verified: true,
        engine_version: String::new(),
    };
    let parts = planned.plan.parts.iter();
    let copied: Vec<CopiedPart> = parts
        .map(|part| {
            let records = [("pod".to_owned(), record(part))];
            let (pod_uid, record) = run_plan::record_that_counts(&part.part, records).unwrap();
            CopiedPart {
                record,
                pod_uid,
                hook_started_at: None,
            }
        })
        .collect();
    let records = copied.iter().map(|copied| copied.record.clone());
    let parts: Vec<_> = planned.plan.parts.iter().cloned().zip(records).collect();
    let facts = RunFacts {
        org_id: org(),
        cluster_uid: OURS.to_owned(),
        stage: Stage::Production,
        kms_key_arn: key(),
        bucket: "bucket".to_owned(),
        bucket_cloud_region: "eu-central-1".to_owned(),
        prefix: String::new(),
        operator_version: String::new(),
    };
    run_plan::manifest(&planned.plan, &facts, &copied, suspicions(state, &parts)).unwrap()
}

fn pack_of(manifest: &Manifest) -> Pack {
    let snapshot = manifest.parts[0].record.repository_snapshot.clone().unwrap();
    *Pack::ALL
        .iter()
        .find(|pack| format!("{pack:?}") == snapshot)
        .unwrap()
}

fn open(bucket: &Arc<Bucket>, cluster: &str) -> Ledger {
    let store: Arc<dyn ObjectStore> = bucket.clone();
    block_on(LedgerStore::new().open(store, "", key(), org(), cluster)).unwrap()
}

/// The folder of one ledger, with the three operations that a ledger needs.
#[derive(Default)]
struct Bucket(Mutex<Folder>);

#[derive(Default)]
struct Folder {
    objects: BTreeMap<String, Bytes>,
    answers: Option<Answers>,
}

impl Bucket {
    fn put(&self, entries: &[(String, Bytes)]) {
        self.folder().objects.extend(entries.iter().cloned());
    }
    fn script(&self, answers: Answers) {
        self.folder().answers = Some(answers);
    }
    fn folder(&self) -> std::sync::MutexGuard<'_, Folder> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// What lies behind the first entries.
    fn behind(&self, entries: usize) -> Vec<(String, Bytes)> {
        let folder = self.folder();
        let objects = folder.objects.iter().skip(entries);
        objects.map(|(key, bytes)| (key.clone(), bytes.clone())).collect()
    }
}

fn unavailable<T>() -> Result<T, RemoteError> {
    Err(RemoteError::Unavailable("no answer".to_owned()))
}

#[async_trait::async_trait]
impl ObjectStore for Bucket {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, RemoteError> {
        let folder = self.folder();
        match folder.answers {
            Some(Answers::None) => unavailable(),
            _ => Ok(folder.objects.get(key).cloned()),
        }
    }

    async fn put_if_absent(&self, key: &str, body: Bytes, _: &KmsKeyArn) -> Result<PutOutcome, RemoteError> {
        let mut folder = self.folder();
        match folder.answers {
            Some(Answers::None) => return unavailable(),
            Some(Answers::RefusesOnce) => {
                folder.answers = None;
                return unavailable();
            }
            _ if folder.objects.contains_key(key) => return Ok(PutOutcome::Exists),
            _ => {}
        }
        folder.objects.insert(key.to_owned(), body);
        match folder.answers {
            Some(Answers::AllButTheFirst) => folder.answers = None,
            Some(Answers::NoneAfterTheWrite) => folder.answers = Some(Answers::None),
            _ => return Ok(PutOutcome::Created),
        }
        unavailable()
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, RemoteError> {
        self.list_after(prefix, "").await
    }

    async fn list_after(&self, prefix: &str, start_after: &str) -> Result<Vec<Listed>, RemoteError> {
        debug_assert_eq!(prefix, bucket_layout::ledger_prefix("", &org()));
        let folder = self.folder();
        if folder.answers == Some(Answers::None) {
            return unavailable();
        }
        let keys = folder.objects.keys().filter(|key| key.as_str() > start_after);
        let listed = keys.map(|key| Listed {
            key: key.clone(),
            size: 0,
            last_modified: Timestamp::UNIX_EPOCH,
        });
        Ok(listed.collect())
    }
}
