//! The board on which the backup controllers write what they know of each org, for the TrayOrg controller to read.
//!
//! It lives in memory: after a start nothing is known until a ledger has been read. Until then a status keeps what it
//! has recorded (conditions BackupHealthy, RpoMet and DataLost, `status.backup`).
//!
//! Replicas are decided by the TrayOrg controller alone: a workload with a claim in [`OrgFacts::lost`] has 0, and while
//! [`OrgFacts::restoring`] names a restore every workload has 0. While `lost` is not known, the recorded condition
//! DataLost holds; a restore that was under way before the start shows in the phase of the org's OrgRestore.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tray_api::trayorg::BackupStatus;
use tray_domain::ids::{KmsKeyArn, OrgId};

use super::{
    changes::{Change, Changes},
    conditions::ConditionFact,
};

/// What a status says of an org's backups.
#[derive(Clone, Debug, PartialEq)]
pub struct BackupView {
    /// `status.backup`.
    pub status: BackupStatus,
    /// Condition BackupHealthy.
    pub healthy: ConditionFact,
    /// Condition RpoMet.
    pub rpo: ConditionFact,
}

/// What the backup controllers know of an org.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OrgFacts {
    /// None = the ledger has not been read since the start.
    pub view: Option<BackupView>,
    /// Claims that once held data and are gone or were replaced, each with a message; none = not looked at since the
    /// start.
    pub lost: Option<BTreeMap<String, String>>,
    /// OrgRestore that is under way.
    pub restoring: Option<String>,
    /// The org's KMS key, as the ledger has it; none = not known since the start.
    pub key: Option<KmsKeyArn>,
}

/// The board.
pub struct BackupFacts {
    orgs: Mutex<HashMap<OrgId, OrgFacts>>,
    changes: Arc<Changes>,
}

impl BackupFacts {
    /// Nothing known. A change of what is known is published as [`Change::BackupFacts`].
    pub fn new(changes: Arc<Changes>) -> Self {
        Self {
            orgs: Mutex::default(),
            changes,
        }
    }

    fn orgs(&self) -> MutexGuard<'_, HashMap<OrgId, OrgFacts>> {
        self.orgs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of an org: nothing at first.
    pub fn get(&self, org: &OrgId) -> OrgFacts {
        self.orgs().get(org).cloned().unwrap_or_default()
    }

    /// The ledger was read.
    pub fn set_view(&self, org: &OrgId, view: BackupView) {
        self.update(org, |facts| facts.view = Some(view));
    }

    /// The claims were compared with the ledger.
    pub fn set_lost(&self, org: &OrgId, lost: BTreeMap<String, String>) {
        self.update(org, |facts| facts.lost = Some(lost));
    }

    /// A restore began, or none is under way any more.
    pub fn set_restoring(&self, org: &OrgId, restore: Option<String>) {
        self.update(org, |facts| facts.restoring = restore);
    }

    /// The org's key is in place.
    pub fn set_key(&self, org: &OrgId, key: KmsKeyArn) {
        self.update(org, |facts| facts.key = Some(key));
    }

    /// The org is gone.
    pub fn forget(&self, org: &OrgId) {
        self.orgs().remove(org);
    }

    fn update(&self, org: &OrgId, change: impl FnOnce(&mut OrgFacts)) {
        let changed = {
            let mut orgs = self.orgs();
            let facts = orgs.entry(org.clone()).or_default();
            let before = facts.clone();
            change(facts);
            *facts != before
        };
        if changed {
            self.changes.publish(&Change::BackupFacts(org.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;
    use crate::controllers::queue::Queue;

    #[tokio::test]
    async fn the_org_is_queued_when_what_is_known_changes_and_only_then() {
        let changes = Arc::new(Changes::new(Arc::default()));
        let queue = Arc::new(Queue::default());
        changes.subscribe(queue.clone(), |change, _| match change {
            Change::BackupFacts(org) => (vec![org.to_string()], Duration::ZERO),
            _ => (Vec::new(), Duration::ZERO),
        });
        let facts = BackupFacts::new(changes);
        let org: OrgId = "7c9e6679-7425-40de-944b-e07fc1f90ae7".parse().unwrap();
        assert_eq!(facts.get(&org), OrgFacts::default());

        facts.set_restoring(&org, Some("r".to_owned()));
        assert_eq!(facts.get(&org).restoring.as_deref(), Some("r"));
        let key = queue.next().now_or_never().unwrap();
        assert_eq!(key, org.as_str());
        queue.done(&key, None);

        facts.set_restoring(&org, Some("r".to_owned()));
        assert!(queue.next().now_or_never().is_none());
        facts.set_lost(&org, BTreeMap::new());
        assert!(queue.next().now_or_never().is_some());
    }
}
