//! The Lease of an operator, in memory: who holds it is said by the test.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tray_domain::ids::OrgId;
use tray_ledger::{BY_HAND, Leadership, LeaseUnknown, Term, Writer};

/// What is done between a process's question and the answer to it.
type Meanwhile = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Held {
    holder: String,
    terms: usize,
    asked: usize,
    claims: Vec<(String, OrgId, u64)>,
    failures: VecDeque<LeaseUnknown>,
    meanwhile: VecDeque<Meanwhile>,
}

/// The Lease of one cluster.
#[derive(Default)]
pub struct MemoryLease(Mutex<Held>);

impl MemoryLease {
    /// Held by that process.
    pub fn held_by(holder: &str) -> Arc<Self> {
        let lease = Self::default();
        lease.pass_to(holder);
        Arc::new(lease)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on that process holds it, in a term of its own.
    pub fn pass_to(&self, holder: &str) {
        let mut held = self.held();
        holder.clone_into(&mut held.holder);
        held.terms += 1;
    }

    /// The next question is not answered.
    pub fn fail_next(&self, why: &str) {
        self.held().failures.push_back(LeaseUnknown(why.to_owned()));
    }

    /// Happens once the next question is answered, before who asked hears of it: that process stands still for as long.
    pub fn after_next(&self, happens: impl FnOnce() + Send + 'static) {
        self.held().meanwhile.push_back(Box::new(happens));
    }

    /// How often it was asked for.
    pub fn asked(&self) -> usize {
        self.held().asked
    }

    /// The claims that were told of: by which process, of which org, under which epoch.
    pub fn claims(&self) -> Vec<(String, OrgId, u64)> {
        self.held().claims.clone()
    }

    /// That process of that cluster, which writes while it holds the Lease.
    pub fn writer(self: &Arc<Self>, cluster_uid: &str, process: &str) -> Writer {
        Writer {
            cluster_uid: cluster_uid.to_owned(),
            leadership: self.process(process),
        }
    }

    /// The same, without its cluster.
    pub fn process(self: &Arc<Self>, process: &str) -> Arc<dyn Leadership> {
        Arc::new(Process {
            lease: self.clone(),
            name: process.to_owned(),
        })
    }
}

/// The only process of that cluster, which leads.
pub fn sole_writer(cluster_uid: &str) -> Writer {
    MemoryLease::held_by("operator").writer(cluster_uid, "operator")
}

/// Who writes by hand beside an operator of that cluster.
pub fn by_hand(cluster_uid: &str) -> Writer {
    let name = format!("{BY_HAND}test");
    MemoryLease::held_by(&name).writer(cluster_uid, &name)
}

struct Process {
    lease: Arc<MemoryLease>,
    name: String,
}

#[async_trait]
impl Leadership for Process {
    fn holder(&self) -> &str {
        &self.name
    }

    async fn term(&self) -> Result<Option<Term>, LeaseUnknown> {
        let mut held = self.lease.held();
        held.asked += 1;
        if let Some(failure) = held.failures.pop_front() {
            return Err(failure);
        }
        let term = (held.holder == self.name).then(|| Term(held.terms.to_string()));
        let meanwhile = held.meanwhile.pop_front();
        drop(held);
        if let Some(happens) = meanwhile {
            happens();
        }
        Ok(term)
    }

    fn has_claimed(&self, org: &OrgId, epoch: u64) {
        let claim = (self.name.clone(), org.clone(), epoch);
        self.lease.held().claims.push(claim);
    }
}
