//! Claims: which process may write a ledger.
//!
//! Each claim has an epoch, one more than the one before it, and names the process that has made it. A process writes under a
//! claim of its own alone. It makes one before its first act for an org, and another where it meets the claim of another process
//! of its cluster: each time the API server says whether it leads, after the number is known under which the claim will lie. So a
//! process that stood still since it was told that it leads finds something under that number, and asks again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use tray_domain::{
    ids::OrgId,
    ledger::{Entry, Event},
};

use super::{BY_HAND, DECISIONS, Ledger, LedgerStoreError, ObjectStore, Result, Shared, Term};

/// In which term of this process it has claimed which ledgers, whether or not they are in memory.
#[derive(Default)]
pub(super) struct Terms(Mutex<HashMap<OrgId, Claim>>);

struct Claim {
    store: Arc<dyn ObjectStore>,
    folder: String,
    epoch: u64,
    term: Term,
}

impl Terms {
    fn claims(&self) -> MutexGuard<'_, HashMap<OrgId, Claim>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn forget(&self, org: &OrgId) {
        self.claims().remove(org);
    }
}

/// What claiming has come to.
pub(super) struct Claimed {
    /// The epoch under which this process writes.
    pub(super) epoch: u64,
    /// What others have written was read meanwhile: what was decided before was decided without it.
    pub(super) has_read_on: bool,
}

impl Ledger {
    /// Fails where another cluster holds the ledger: its claim is never taken.
    pub fn check_cluster(&self) -> Result<()> {
        self.0.own_epoch().map(drop)
    }

    /// The epoch of the newest claim, where that is this process's own.
    pub fn epoch(&self) -> Option<u64> {
        self.0.own_epoch().ok().flatten()
    }

    /// Makes sure that the newest claim, as far as it is known, is this process's own: makes one where it is not, if the process
    /// leads. No request where it is.
    pub async fn claim(&self, now: Timestamp) -> Result<()> {
        let _queue = self.0.queue.lock().await;
        self.0.claim(now).await.map(drop)
    }

    /// The same of the newest claim in the bucket: reads on first. What is not an append is done under a claim that was found so.
    pub async fn lead(&self, now: Timestamp) -> Result<()> {
        let _queue = self.0.queue.lock().await;
        self.0.read_on().await?;
        self.0.claim(now).await.map(drop)
    }
}

impl Shared {
    /// The epoch of the newest claim, where this process has made it; none = another process of this cluster has, or nobody.
    pub(super) fn own_epoch(&self) -> Result<Option<u64>> {
        let state = self.state.borrow();
        let Some((cluster_uid, epoch)) = &state.claim else {
            return Ok(None);
        };
        if *cluster_uid != self.writer.cluster_uid {
            return Err(self.claim_lost(cluster_uid.clone(), *epoch));
        }
        let holder = self.writer.leadership.holder();
        let is_own = !holder.is_empty() && state.claimed_by.as_deref() == Some(holder);
        Ok(is_own.then_some(*epoch))
    }

    /// See [`Ledger::claim`].
    pub(super) async fn claim(&self, now: Timestamp) -> Result<Claimed> {
        let mut has_read_on = false;
        for _ in 0..DECISIONS {
            if let Some(epoch) = self.own_epoch()? {
                return Ok(Claimed { epoch, has_read_on });
            }
            // Where it will lie is settled before the Lease is asked for: whoever has led since then lies there.
            let entry = self.next_claim(now);
            let term = self.ask_for_lease().await?;
            self.check_twin(&term)?;
            match self.write(entry).await {
                Ok(written) => {
                    if matches!(written.event, Event::Claim { .. }) {
                        self.note_claim(written.epoch, term);
                        self.writer.leadership.has_claimed(&self.org_id, written.epoch);
                    }
                }
                Err(LedgerStoreError::Overtaken { .. }) => has_read_on = true,
                Err(error) => return Err(error),
            }
        }
        Err(self.overtaken())
    }

    /// The claim of the next epoch; where a checkpoint has to stand there, that comes first.
    fn next_claim(&self, now: Timestamp) -> Entry {
        let epoch = self.state.borrow().claim.as_ref().map_or(0, |(_, epoch)| *epoch) + 1;
        let event = if self.checkpoint_is_due() {
            self.checkpoint_event()
        } else {
            Event::Claim {
                holder: self.writer.leadership.holder().to_owned(),
            }
        };
        self.next_entry(event, epoch, now)
    }

    fn note_claim(&self, epoch: u64, term: Term) {
        let claim = Claim {
            store: self.store.clone(),
            folder: self.folder.clone(),
            epoch,
            term,
        };
        self.terms.claims().insert(self.org_id.clone(), claim);
    }

    /// Behind a claim of this process nobody of its cluster claims while it leads. Who has is of another cluster, whatever it is called.
    /// A claim by hand is let be.
    fn check_twin(&self, term: &Term) -> Result<()> {
        let claims = self.terms.claims();
        let own = claims.get(&self.org_id).filter(|own| {
            own.term == *term && own.folder == self.folder && Arc::ptr_eq(&own.store, &self.store)
        });
        let state = self.state.borrow();
        match (own, &state.claim, &state.claimed_by) {
            (Some(own), Some((cluster_uid, epoch)), Some(holder))
                if *epoch > own.epoch && !holder.starts_with(BY_HAND) =>
            {
                Err(LedgerStoreError::Twin {
                    org: self.org_id.clone(),
                    cluster_uid: cluster_uid.clone(),
                    holder: holder.clone(),
                    epoch: *epoch,
                })
            }
            _ => Ok(()),
        }
    }

    async fn ask_for_lease(&self) -> Result<Term> {
        let org = self.org_id.clone();
        let claimed_by = self.state.borrow().claimed_by.clone();
        match self.writer.leadership.term().await {
            Ok(Some(term)) => Ok(term),
            Ok(None) => Err(LedgerStoreError::NotLeading { org, claimed_by }),
            Err(source) => Err(LedgerStoreError::LeaseUnknown { org, source }),
        }
    }

    pub(super) fn claim_lost(&self, cluster_uid: String, epoch: u64) -> LedgerStoreError {
        LedgerStoreError::ClaimLost {
            org: self.org_id.clone(),
            cluster_uid,
            epoch,
        }
    }
}
