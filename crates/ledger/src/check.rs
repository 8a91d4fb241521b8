//! A ledger held to itself, beyond what is read of it to work with it: whether all entries are there and none was written over, and
//! whether what is read of the old ones follows on each other.

use std::ops::RangeInclusive;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tray_domain::ledger::{CHECKPOINT_EVERY, Entry, Event, LedgerError, LedgerState, digest};

use super::{Ledger, PARALLEL_READS, Result, Shared};

/// Entries that look as if they were written over, and are read for it, at most. A bucket that was copied dates all of them anew.
const SUSPECTS: usize = 64;

impl Ledger {
    /// Whether every entry up to the last known one is there, nothing else is, and none was written over: S3 dates an object when it
    /// is written, so one that is younger than its successor is read, with that. A list for each thousand entries.
    pub async fn check_listing(&self) -> Result<()> {
        let shared = &self.0;
        let known = self.state().next_seq;
        let listed = shared.store.list(&shared.folder).await;
        let listed = listed.map_err(|error| shared.remote("read", error))?;
        let mut suspects = Vec::new();
        for (place, object) in listed.iter().enumerate() {
            let (expected, found) = (place as u64, shared.seq_of(&object.key)?);
            if found != expected {
                return Err(shared.invalid(LedgerError::Gap { expected, found }));
            }
            let next = listed.get(place + 1);
            if next.is_some_and(|next| object.last_modified > next.last_modified) {
                suspects.push(expected);
            }
        }
        if (listed.len() as u64) < known {
            let seq = listed.len() as u64;
            return Err(shared.invalid(LedgerError::Missing { seq }));
        }
        for seq in suspects.into_iter().take(SUSPECTS) {
            shared.check(seq..=seq + 1, &self.state()).await?;
        }
        Ok(())
    }

    /// Reads these entries, which are known to be there, and whether each follows on the one before and the next on the last. Where
    /// they begin at a checkpoint, the checkpoints after it are held to what the entries add up to.
    pub async fn check(&self, entries: RangeInclusive<u64>) -> Result<()> {
        self.0.check(entries, &self.state()).await
    }
}

impl Shared {
    async fn check(&self, range: RangeInclusive<u64>, known: &LedgerState) -> Result<()> {
        let Some(last) = known.next_seq.checked_sub(1) else {
            return Ok(());
        };
        // With the one behind, which has the digest of the last of them.
        let range = *range.start()..=(range.end() + 1).min(last);
        let entries: Vec<(u64, Bytes)> = stream::iter(range)
            .map(|seq| async move { self.get(seq).await.map(|bytes| (seq, bytes)) })
            .buffered(PARALLEL_READS)
            .try_collect()
            .await?;
        let decoded = self.decode_all(&entries)?;
        let mut before = None;
        let mut folded: Option<LedgerState> = None;
        for (entry, (seq, bytes)) in decoded.iter().zip(&entries) {
            self.check_one(entry, before.as_deref())?;
            folded = self.fold(folded, entry, bytes)?;
            let own = digest(bytes);
            if *seq == last && own != known.last_digest {
                return Err(self.invalid(LedgerError::Replaced { seq: last }));
            }
            before = Some(own);
        }
        Ok(())
    }

    fn check_one(&self, entry: &Entry, before: Option<&str>) -> Result<()> {
        let seq = entry.seq;
        if entry.org_id != self.org_id {
            let org = entry.org_id.clone();
            return Err(self.invalid(LedgerError::OtherOrg { seq, org }));
        }
        let expected = if seq == 0 { Some("") } else { before };
        if expected.is_some_and(|expected| expected != entry.previous_digest) {
            return Err(self.invalid(LedgerError::Broken { seq }));
        }
        if seq > 0 && seq.is_multiple_of(CHECKPOINT_EVERY) && !matches!(entry.event, Event::Checkpoint { .. })
        {
            let why = "it is no checkpoint, and one stands at its number".to_owned();
            return Err(self.invalid(LedgerError::Unreadable { seq, why }));
        }
        Ok(())
    }

    /// What the entries add up to with this one; none = they do not begin where that can be known.
    fn fold(&self, folded: Option<LedgerState>, entry: &Entry, bytes: &Bytes) -> Result<Option<LedgerState>> {
        let seq = entry.seq;
        if let (Event::Checkpoint { state }, Some(folded)) = (&entry.event, &folded) {
            let agrees = folded.agrees_with(state);
            agrees.map_err(|what| self.invalid(LedgerError::Disagrees { seq, what }))?;
        }
        let begins = seq == 0 || matches!(entry.event, Event::Checkpoint { .. });
        let Some(mut state) = folded.or_else(|| begins.then(LedgerState::default)) else {
            return Ok(None);
        };
        state.apply(entry, bytes).map_err(|error| self.invalid(error))?;
        Ok(Some(state))
    }

    /// Decodes entries that follow on each other. What says that it is of a newer version, and is not what its successor follows on,
    /// is damaged.
    pub(super) fn decode_all(&self, entries: &[(u64, Bytes)]) -> Result<Vec<Entry>> {
        let mut decoded = Vec::with_capacity(entries.len());
        for (place, (seq, bytes)) in entries.iter().enumerate() {
            let entry = Entry::decode(*seq, bytes).map_err(|error| {
                let next = entries
                    .get(place + 1)
                    .and_then(|(seq, bytes)| Entry::decode(*seq, bytes).ok());
                match error {
                    LedgerError::Newer { seq, unknown }
                        if next.is_some_and(|next| next.previous_digest != digest(bytes)) =>
                    {
                        let why = format!("it says {unknown}, and is not what the next entry follows on");
                        LedgerError::Unreadable { seq, why }
                    }
                    error => error,
                }
            });
            decoded.push(entry.map_err(|error| self.invalid(error))?);
        }
        Ok(decoded)
    }
}
