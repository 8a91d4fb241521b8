//! Who writes: a process of a cluster, and whether it leads.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use tray_domain::ids::OrgId;

/// Whether this process is the one of its cluster that may write.
#[async_trait]
pub trait Leadership: Send + Sync {
    /// Name of this process in the claims that it makes. No other process is called so, nor is this one after it has started anew.
    fn holder(&self) -> &str;

    /// The term in which it holds the Lease now; none = it does not hold it. Asked of the API server each time, never answered by what
    /// was seen before.
    async fn term(&self) -> Result<Option<Term>, LeaseUnknown>;

    /// Whether it holds the Lease now.
    async fn is_held(&self) -> Result<bool, LeaseUnknown> {
        Ok(self.term().await?.is_some())
    }

    /// It has claimed the ledger of that org under that epoch.
    fn has_claimed(&self, _org: &OrgId, _epoch: u64) {}
}

/// One time of holding the Lease, by whatever tells it from all others: while it is the same, nobody else of the cluster has led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term(pub String);

/// The API server did not say who holds the Lease.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LeaseUnknown(pub String);

/// Who opens a ledger.
#[derive(Clone)]
pub struct Writer {
    /// UID of its cluster.
    pub cluster_uid: String,
    /// The process.
    pub leadership: Arc<dyn Leadership>,
}

impl Writer {
    /// Who only reads: it never leads.
    pub fn none() -> Self {
        Self {
            cluster_uid: String::new(),
            leadership: Arc::new(Nobody),
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.leadership.holder(), self.cluster_uid)
    }
}

struct Nobody;

#[async_trait]
impl Leadership for Nobody {
    fn holder(&self) -> &'static str {
        ""
    }

    async fn term(&self) -> Result<Option<Term>, LeaseUnknown> {
        Ok(None)
    }
}
