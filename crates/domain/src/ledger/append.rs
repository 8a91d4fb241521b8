//! What it means that somebody else's entry stands where ours should.

use super::{Entry, Event};

/// Who wrote the entry that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// We did, in a try whose answer was lost: the write has succeeded.
    Own,
    /// Another process of our cluster, which may have claimed the ledger: read on, and decide anew.
    AppendAfter,
    /// Another cluster holds the ledger: this operator must not write.
    ClaimLost {
        /// UID of the cluster that holds it.
        cluster_uid: String,
        /// Its epoch.
        epoch: u64,
    },
}

/// Judges `found`, the entry that a conditional write of `ours` met (412).
pub fn after_refusal(ours: &Entry, found: &Entry) -> Foreign {
    if matches!(found.event, Event::Claim { .. }) && found.cluster_uid != ours.cluster_uid {
        return Foreign::ClaimLost {
            cluster_uid: found.cluster_uid.clone(),
            epoch: found.epoch,
        };
    }
    // The time of writing is part of the comparison: two tries of one write carry the same bytes.
    if found == ours {
        Foreign::Own
    } else {
        Foreign::AppendAfter
    }
}
