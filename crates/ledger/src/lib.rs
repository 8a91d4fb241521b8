//! The ledger of an org in its bucket: read whole, checked, and appended to by conditional writes.
//!
//! [`LedgerStore::open`] reads from the newest checkpoint on. [`Ledger`] is the one queue of an org in this process:
//! its clones share it, and appends wait for each other. Whatever cannot be believed (a gap, a broken chain, an entry
//! that does not decode) is an error, never a shorter ledger; so is what a newer version has written.
//!
//! An append that meets somebody else's entry reads on and then fails with [`LedgerStoreError::Overtaken`]: what was
//! to be written was decided without that entry. [`Ledger::append_decided`] decides anew by itself.

mod check;
mod object_store;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex as Lock, PoisonError},
};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use tokio::sync::{Mutex, watch};
use tray_domain::{
    bucket_layout,
    ids::{KmsKeyArn, OrgId},
    ledger::{
        CHECKPOINT_EVERY, Entry, Event, Foreign, Head, LONGEST_TAIL_AT_REST, LedgerError, LedgerState,
        after_refusal, digest,
    },
};

pub use self::object_store::{Listed, ObjectStore, PutOutcome, RemoteError};

/// Entries fetched at the same time.
const PARALLEL_READS: usize = 16;
/// Writes of one entry whose answers may get lost before the caller is told. The store has retried each already.
pub const WRITE_TRIES: usize = 3;
/// How often [`Ledger::append_decided`] decides anew.
const DECISIONS: usize = 8;

/// Why a ledger cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerStoreError {
    /// The bucket or its key refused, or did not answer.
    #[error("failed to {action} the ledger of org {org}: {source}")]
    Remote {
        /// `read`, or `append to`.
        action: &'static str,
        /// Whose.
        org: OrgId,
        /// What the store said.
        source: RemoteError,
    },
    /// What lies there is no ledger. Nothing may be decided on it.
    #[error(
        "the ledger of org {org} under {prefix} cannot be believed: {source}; no run, no pruning and no restore until \
         a person has compared the object's versions in the bucket and put the right one back"
    )]
    Invalid {
        /// Whose.
        org: OrgId,
        /// Its folder in the bucket.
        prefix: String,
        /// What is wrong.
        source: LedgerError,
    },
    /// A newer version of the operator has gone on with it. Nothing is wrong with it, and this version decides nothing on it.
    #[error(
        "the ledger of org {org} cannot be read by this version: {source}; run that version again: until then no run, no \
         pruning and no restore. Nothing in the bucket is damaged, and nothing there is to be replaced"
    )]
    Newer {
        /// Whose.
        org: OrgId,
        /// What it is that this version does not know.
        source: LedgerError,
    },
    /// The ledger's folder holds an object that is no entry.
    #[error("the ledger of org {org} holds {key}, which is no entry: find out who wrote it and remove it")]
    Stray {
        /// Whose.
        org: OrgId,
        /// The object.
        key: String,
    },
    /// Another cluster, or a later claim of this one, writes this ledger now. This operator must not.
    #[error(
        "the ledger of org {org} is claimed by cluster {cluster_uid} (epoch {epoch}): only one cluster may run an org; \
         remove the TrayOrg here or there"
    )]
    ClaimLost {
        /// Whose.
        org: OrgId,
        /// UID of the cluster that holds it.
        cluster_uid: String,
        /// Its epoch.
        epoch: u64,
    },
    /// Nobody holds the ledger yet: the first entry is a claim.
    #[error("the ledger of org {org} has no claim yet: claim it first")]
    Unclaimed {
        /// Whose.
        org: OrgId,
    },
    /// Entries were found that the decision did not know. They are in the state now: decide anew.
    #[error("the ledger of org {org} has gone on to entry {last_seq}: decide anew")]
    Overtaken {
        /// Whose.
        org: OrgId,
        /// The last entry now.
        last_seq: u64,
    },
}

impl LedgerStoreError {
    /// Whether the same call can succeed later without a person acting.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Remote { source, .. } => matches!(source, RemoteError::Unavailable(_)),
            Self::Overtaken { .. } => true,
            Self::Invalid { .. }
            | Self::Newer { .. }
            | Self::Stray { .. }
            | Self::ClaimLost { .. }
            | Self::Unclaimed { .. } => false,
        }
    }
}

type Result<T, E = LedgerStoreError> = std::result::Result<T, E>;

/// The ledgers that this process has opened.
#[derive(Default)]
pub struct LedgerStore {
    open: Lock<HashMap<(usize, String), Ledger>>,
}

impl LedgerStore {
    /// None open yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The ledger of an org: read now, or the one that is open already, as it was last read.
    ///
    /// `prefix` is the backup location's; `ledger_key` the Region's key for new entries, from now on also of one that is open
    /// already; `cluster_uid` this cluster's.
    pub async fn open(
        &self,
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        ledger_key: KmsKeyArn,
        org_id: OrgId,
        cluster_uid: &str,
    ) -> Result<Ledger> {
        let place = (store, prefix);
        self.open_behind(place, ledger_key, org_id, cluster_uid, None)
            .await
    }

    /// As [`Self::open`]. What lies before `seen` is not listed, however old the ledger is; one that does not hold that entry any
    /// more, and is not empty, is damaged.
    pub async fn open_behind(
        &self,
        (store, prefix): (Arc<dyn ObjectStore>, &str),
        ledger_key: KmsKeyArn,
        org_id: OrgId,
        cluster_uid: &str,
        seen: Option<&Head>,
    ) -> Result<Ledger> {
        let folder = bucket_layout::ledger_prefix(prefix, &org_id);
        // The address tells buckets apart; the ledger keeps its store, so it is not given to another one.
        let name = (Arc::as_ptr(&store).cast::<()>() as usize, folder.clone());
        if let Some(open) = self.known(&name) {
            open.write_under(ledger_key);
            return Ok(open);
        }
        let shared = Shared {
            store,
            folder,
            prefix: prefix.to_owned(),
            ledger_key: Lock::new(ledger_key.clone()),
            org_id,
            cluster_uid: cluster_uid.to_owned(),
            queue: Mutex::new(Held { epoch: None }),
            state: watch::Sender::new(Arc::default()),
        };
        let ledger = Ledger(Arc::new(shared));
        ledger.read_first(seen).await?;
        // Somebody may have opened it meanwhile: the first one is the queue of all.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let first = open.entry(name).or_insert(ledger).clone();
        first.write_under(ledger_key);
        Ok(first)
    }

    /// Keeps it in memory no longer.
    pub fn close(&self, ledger: &Ledger) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, known| !Arc::ptr_eq(&known.0, &ledger.0));
    }

    /// Whether the ledger of an org is in memory.
    pub fn is_open(&self, org_id: &OrgId) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().any(|known| known.org_id() == org_id)
    }

    /// How many are in memory.
    pub fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn known(&self, name: &(usize, String)) -> Option<Ledger> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(name).cloned()
    }
}

/// The ledger of one org. Clones share one queue and one state.
#[derive(Clone)]
pub struct Ledger(Arc<Shared>);

struct Shared {
    store: Arc<dyn ObjectStore>,
    folder: String,
    prefix: String,
    /// What new entries are encrypted under. It may change while the ledger is open.
    ledger_key: Lock<KmsKeyArn>,
    org_id: OrgId,
    cluster_uid: String,
    /// Taken by whoever reads on or appends.
    queue: Mutex<Held>,
    state: watch::Sender<Arc<LedgerState>>,
}

/// Where reading begins.
struct Beginning {
    seq: u64,
    /// That entry, where it was read to find it.
    read: Option<(u64, Bytes)>,
}

impl Beginning {
    fn at(seq: u64) -> Self {
        Self { seq, read: None }
    }
}

/// What this process knows of its own claim.
struct Held {
    /// The epoch under which it writes; none until it has seen or made a claim of this cluster.
    epoch: Option<u64>,
}

impl Ledger {
    /// What all entries read so far add up to.
    pub fn state(&self) -> Arc<LedgerState> {
        self.0.state.borrow().clone()
    }

    /// The org.
    pub fn org_id(&self) -> &OrgId {
        &self.0.org_id
    }

    /// New entries are encrypted under this key from now on; those that are there stay as they are.
    fn write_under(&self, ledger_key: KmsKeyArn) {
        *self.0.ledger_key.lock().unwrap_or_else(PoisonError::into_inner) = ledger_key;
    }

    async fn read_first(&self, seen: Option<&Head>) -> Result<()> {
        let mut held = self.0.queue.lock().await;
        self.0.read_first(&mut held, seen).await
    }

    /// Writes a checkpoint where whoever reads the ledger next would have to fetch many entries. For a ledger at rest: where others
    /// write it, it is not.
    pub async fn shorten(&self, now: Timestamp) -> Result<()> {
        let mut held = self.0.queue.lock().await;
        let state = self.state();
        let tail = state.next_seq.saturating_sub(1) - state.checkpoint.unwrap_or_default();
        if tail <= LONGEST_TAIL_AT_REST {
            return Ok(());
        }
        self.0.check_claim(&held)?;
        let Some(epoch) = held.epoch else {
            return Ok(());
        };
        match self.0.checkpoint(&mut held, epoch, now).await {
            Err(LedgerStoreError::Overtaken { .. }) => Ok(()),
            done => done,
        }
    }

    /// Reads what others have written since.
    pub async fn refresh(&self) -> Result<Arc<LedgerState>> {
        let mut held = self.0.queue.lock().await;
        self.0.read_on(&mut held).await?;
        Ok(self.state())
    }

    /// Makes sure that this cluster holds the ledger: writes the first claim where there is none.
    pub async fn claim(&self, now: Timestamp) -> Result<()> {
        let first = |state: &LedgerState| state.claim.is_none().then_some(Event::Claim {});
        self.append_decided(now, first).await?;
        let held = self.0.queue.lock().await;
        self.0.check_claim(&held)
    }

    /// Writes `event` as the next entry. `now` is the entry's time.
    ///
    /// [`Event::Claim`] takes the ledger where nobody holds it, and fences earlier writers of this cluster by a higher
    /// epoch where this cluster does; it never takes one from another cluster.
    pub async fn append(&self, event: Event, now: Timestamp) -> Result<Entry> {
        let mut held = self.0.queue.lock().await;
        self.0.append(&mut held, event, now).await
    }

    /// Writes what `decide` makes of the present state, and asks it again where others were faster. None = nothing to write.
    pub async fn append_decided(
        &self,
        now: Timestamp,
        mut decide: impl FnMut(&LedgerState) -> Option<Event> + Send,
    ) -> Result<Option<Entry>> {
        let mut held = self.0.queue.lock().await;
        let mut tries = 0;
        loop {
            let state = self.state();
            let Some(event) = decide(&state) else {
                return Ok(None);
            };
            tries += 1;
            match self.0.append(&mut held, event, now).await {
                Err(LedgerStoreError::Overtaken { .. }) if tries < DECISIONS => {}
                done => return done.map(Some),
            }
        }
    }
}

impl Shared {
    async fn append(&self, held: &mut Held, event: Event, now: Timestamp) -> Result<Entry> {
        self.check_claim(held)?;
        let epoch = self.epoch_of(held, &event)?;
        if self.checkpoint_is_due() {
            // Under the present claim, also in front of a new one.
            self.checkpoint(held, held.epoch.unwrap_or(epoch), now).await?;
        }
        let entry = self.next_entry(event, epoch, now);
        self.write(held, entry).await
    }

    async fn checkpoint(&self, held: &mut Held, epoch: u64, now: Timestamp) -> Result<()> {
        let state = Box::new(LedgerState::clone(&self.state.borrow()));
        let checkpoint = self.next_entry(Event::Checkpoint { state }, epoch, now);
        self.write(held, checkpoint).await.map(drop)
    }

    /// A checkpoint stands at every multiple of [`CHECKPOINT_EVERY`], so that a reader finds it by its number.
    fn checkpoint_is_due(&self) -> bool {
        let next = self.state.borrow().next_seq;
        next > 0 && next.is_multiple_of(CHECKPOINT_EVERY)
    }

    fn next_entry(&self, event: Event, epoch: u64, now: Timestamp) -> Entry {
        let state = self.state.borrow();
        Entry {
            format_version: event.format_version(),
            org_id: self.org_id.clone(),
            seq: state.next_seq,
            at: now,
            cluster_uid: self.cluster_uid.clone(),
            epoch,
            previous_digest: state.last_digest.clone(),
            checkpoint: state.checkpoint,
            event,
        }
    }

    fn epoch_of(&self, held: &Held, event: &Event) -> Result<u64> {
        if matches!(event, Event::Claim {}) {
            let last = self.state.borrow().claim.as_ref().map_or(0, |(_, epoch)| *epoch);
            return Ok(last + 1);
        }
        held.epoch.ok_or_else(|| LedgerStoreError::Unclaimed {
            org: self.org_id.clone(),
        })
    }

    fn check_claim(&self, held: &Held) -> Result<()> {
        let state = self.state.borrow();
        match &state.claim {
            Some((holder, epoch))
                if *holder != self.cluster_uid || held.epoch.is_some_and(|ours| *epoch > ours) =>
            {
                Err(self.claim_lost(holder.clone(), *epoch))
            }
            _ => Ok(()),
        }
    }

    fn claim_lost(&self, cluster_uid: String, epoch: u64) -> LedgerStoreError {
        LedgerStoreError::ClaimLost {
            org: self.org_id.clone(),
            cluster_uid,
            epoch,
        }
    }

    /// Puts `entry` where it belongs, or finds out why it cannot be there.
    async fn write(&self, held: &mut Held, entry: Entry) -> Result<Entry> {
        let bytes = Bytes::from(entry.encode().map_err(|error| self.invalid(error))?);
        let key = self.key_of(entry.seq);
        let ledger_key = self.ledger_key();
        let mut unanswered = None;
        for _ in 0..WRITE_TRIES {
            let found = match self.store.put_if_absent(&key, bytes.clone(), &ledger_key).await {
                Ok(PutOutcome::Created) => return self.accept(held, entry, &bytes),
                Ok(PutOutcome::Exists) => self.get(entry.seq).await?,
                // It may have been written: what lies there decides.
                Err(RemoteError::Unavailable(why)) => {
                    unanswered = Some(why);
                    match self.store.get(&key).await {
                        Ok(Some(found)) => found,
                        Ok(None) | Err(RemoteError::Unavailable(_)) => continue,
                        Err(error) => return Err(self.remote("append to", error)),
                    }
                }
                Err(error) => return Err(self.remote("append to", error)),
            };
            return self.judge(held, entry, &bytes, &found).await;
        }
        let why = unanswered.unwrap_or_default();
        Err(self.remote("append to", RemoteError::Unavailable(why)))
    }

    /// `found` lies where `entry` was to be written.
    async fn judge(&self, held: &mut Held, entry: Entry, bytes: &Bytes, found: &Bytes) -> Result<Entry> {
        let found = Entry::decode(entry.seq, found).map_err(|error| self.invalid(error))?;
        match after_refusal(&entry, &found) {
            Foreign::Own => self.accept(held, entry, bytes),
            Foreign::ClaimLost { cluster_uid, epoch } => {
                self.read_on(held).await?;
                Err(self.claim_lost(cluster_uid, epoch))
            }
            Foreign::AppendAfter => {
                self.read_on(held).await?;
                self.check_claim(held)?;
                Err(LedgerStoreError::Overtaken {
                    org: self.org_id.clone(),
                    last_seq: self.state.borrow().next_seq.saturating_sub(1),
                })
            }
        }
    }

    /// Our own entry lies in the bucket: it is part of the state.
    fn accept(&self, held: &mut Held, entry: Entry, bytes: &[u8]) -> Result<Entry> {
        let mut state = LedgerState::clone(&self.state.borrow());
        state.apply(&entry, bytes).map_err(|error| self.invalid(error))?;
        if matches!(entry.event, Event::Claim {}) {
            held.epoch = Some(entry.epoch);
        }
        self.state.send_replace(Arc::new(state));
        Ok(entry)
    }

    /// Reads it from its newest checkpoint on.
    async fn read_first(&self, held: &mut Held, seen: Option<&Head>) -> Result<()> {
        let mut seqs = match seen {
            Some(head) if head.seq > 0 => self.seqs_after(head.seq - 1).await?,
            _ => self.seqs().await?,
        };
        if let Some(head) = seen.filter(|head| seqs.first() != Some(&head.seq) && head.seq > 0) {
            // It begins behind what was seen, or there is none at all.
            seqs = self.seqs().await?;
            if !seqs.is_empty() {
                return Err(self.invalid(LedgerError::Missing { seq: head.seq }));
            }
        }
        let Some(last) = seqs.last().copied() else {
            return Ok(());
        };
        let bytes = self.get(last).await?;
        if seen.is_some_and(|head| head.seq == last && head.digest != digest(&bytes)) {
            return Err(self.invalid(LedgerError::Replaced { seq: last }));
        }
        let start = self.beginning(last, &bytes).await?;
        let known: HashMap<u64, Bytes> = [(last, bytes)].into_iter().chain(start.read).collect();
        let before = start.seq..seqs.first().copied().unwrap_or(last);
        // What is listed may have a gap; what is not is there, or is missing.
        let listed = seqs.into_iter().filter(|seq| *seq >= start.seq);
        let wanted: Vec<u64> = before.chain(listed).collect();
        self.add(held, &wanted, &known, seen).await
    }

    /// Reads everything that lies behind what is known.
    async fn read_on(&self, held: &mut Held) -> Result<()> {
        let from = self.state.borrow().next_seq;
        if from == 0 {
            return self.read_first(held, None).await;
        }
        let seqs = self.seqs_after(from - 1).await?;
        self.add(held, &seqs, &HashMap::new(), None).await
    }

    /// Adds these entries to what is known.
    async fn add(
        &self,
        held: &mut Held,
        seqs: &[u64],
        known: &HashMap<u64, Bytes>,
        seen: Option<&Head>,
    ) -> Result<()> {
        let entries: Vec<(u64, Bytes)> = stream::iter(seqs.iter().copied())
            .map(|seq| async move {
                match known.get(&seq) {
                    Some(bytes) => Ok((seq, bytes.clone())),
                    None => self.get(seq).await.map(|bytes| (seq, bytes)),
                }
            })
            .buffered(PARALLEL_READS)
            .try_collect()
            .await?;
        let Some((first, _)) = entries.first() else {
            return Ok(());
        };
        let first = *first;
        let mut state = LedgerState::clone(&self.state.borrow());
        let decoded = self.decode_all(&entries)?;
        for (entry, (seq, bytes)) in decoded.iter().zip(entries) {
            if state.next_seq == 0 && seq > 0 && !matches!(entry.event, Event::Checkpoint { .. }) {
                let why = "a later entry says that it is a checkpoint, and it is none".to_owned();
                return Err(self.invalid(LedgerError::Unreadable { seq, why }));
            }
            state.apply(entry, &bytes).map_err(|error| self.invalid(error))?;
            if seen.is_some_and(|head| head.seq == seq && head.digest != state.last_digest) {
                return Err(self.invalid(LedgerError::Replaced { seq }));
            }
        }
        if state.org_id.as_ref().is_some_and(|org| *org != self.org_id) {
            let org = state.org_id.clone().unwrap_or_else(|| self.org_id.clone());
            return Err(self.invalid(LedgerError::OtherOrg { seq: first, org }));
        }
        if held.epoch.is_none() {
            // A claim of this cluster from before this process started is this process's own.
            held.epoch = state
                .claim
                .as_ref()
                .filter(|(holder, _)| *holder == self.cluster_uid)
                .map(|(_, e)| *e);
        }
        self.state.send_replace(Arc::new(state));
        Ok(())
    }

    async fn seqs(&self) -> Result<Vec<u64>> {
        let listed = self.store.list(&self.folder).await;
        self.seqs_of(listed)
    }

    async fn seqs_after(&self, seq: u64) -> Result<Vec<u64>> {
        let listed = self.store.list_after(&self.folder, &self.key_of(seq)).await;
        self.seqs_of(listed)
    }

    fn seqs_of(&self, listed: std::result::Result<Vec<Listed>, RemoteError>) -> Result<Vec<u64>> {
        let listed = listed.map_err(|error| self.remote("read", error))?;
        listed.iter().map(|object| self.seq_of(&object.key)).collect()
    }

    /// Where to begin reading: at the newest checkpoint, else at the first entry. The last entry names it; where an earlier version
    /// wrote that one, it stands at a multiple of [`CHECKPOINT_EVERY`].
    async fn beginning(&self, last: u64, bytes: &Bytes) -> Result<Beginning> {
        let entry = Entry::decode(last, bytes).map_err(|error| self.invalid(error))?;
        if matches!(entry.event, Event::Checkpoint { .. }) {
            return Ok(Beginning::at(last));
        }
        if let Some(checkpoint) = entry.checkpoint {
            let why = format!("it says that entry {checkpoint} is a checkpoint before it");
            let lies = LedgerError::Unreadable { seq: last, why };
            let is_before = checkpoint < last;
            return is_before
                .then(|| Beginning::at(checkpoint))
                .ok_or_else(|| self.invalid(lies));
        }
        let mut candidate = last / CHECKPOINT_EVERY * CHECKPOINT_EVERY;
        while candidate > 0 {
            let bytes = self.get(candidate).await?;
            let entry = Entry::decode(candidate, &bytes).map_err(|error| self.invalid(error))?;
            if matches!(entry.event, Event::Checkpoint { .. }) {
                return Ok(Beginning {
                    seq: candidate,
                    read: Some((candidate, bytes)),
                });
            }
            candidate -= CHECKPOINT_EVERY;
        }
        Ok(Beginning::at(0))
    }

    /// The bytes of an entry that is known to be there.
    async fn get(&self, seq: u64) -> Result<Bytes> {
        let key = self.key_of(seq);
        let found = self
            .store
            .get(&key)
            .await
            .map_err(|error| self.remote("read", error))?;
        found.ok_or_else(|| self.invalid(LedgerError::Missing { seq }))
    }

    fn ledger_key(&self) -> KmsKeyArn {
        let ledger_key = self.ledger_key.lock().unwrap_or_else(PoisonError::into_inner);
        ledger_key.clone()
    }

    fn key_of(&self, seq: u64) -> String {
        bucket_layout::ledger_entry(&self.prefix, &self.org_id, seq)
    }

    fn seq_of(&self, key: &str) -> Result<u64> {
        let number = key
            .strip_prefix(&self.folder)
            .and_then(|name| name.strip_suffix(".json"));
        let seq = number
            .and_then(|number| number.parse().ok())
            .filter(|seq| self.key_of(*seq) == key);
        seq.ok_or_else(|| LedgerStoreError::Stray {
            org: self.org_id.clone(),
            key: key.to_owned(),
        })
    }

    fn remote(&self, action: &'static str, source: RemoteError) -> LedgerStoreError {
        LedgerStoreError::Remote {
            action,
            org: self.org_id.clone(),
            source,
        }
    }

    /// Why nothing is decided on it: it is not what it has to be, or is ahead of this version.
    fn invalid(&self, source: LedgerError) -> LedgerStoreError {
        let org = self.org_id.clone();
        match source {
            LedgerError::Newer { .. } => LedgerStoreError::Newer { org, source },
            _ => LedgerStoreError::Invalid {
                org,
                prefix: self.folder.clone(),
                source,
            },
        }
    }
}
