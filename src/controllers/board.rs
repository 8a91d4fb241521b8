//! The board: what one controller has to tell another of an org, one typed place a fact.
//!
//! | fact | written by | read by |
//! |---|---|---|
//! | [`Board::backups`] | backup controller | TrayOrg controller: conditions BackupHealthy and RpoMet, `status.backup` |
//! | [`Board::lost`] | backup controller | TrayOrg controller: condition DataLost; workloads with a lost claim have 0 replicas |
//! | [`Board::key`] | backup controller | TrayOrg controller: the OrgTombstone names the key |
//!
//! It lives in memory: after a start nothing is known until a ledger has been read, and until then what a status has
//! recorded holds. What a status says at all times, such as how far an OrgRestore is, is read off the status and stands
//! on no board.

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

/// Claims that once held data and are gone or were replaced.
pub type LostClaims = BTreeMap<String, LostClaim>;

/// A claim that held data and is gone, or was replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostClaim {
    /// For people.
    pub why: String,
    /// UID of the claim that held the data.
    pub lost_uid: String,
}

/// The board.
pub struct Board {
    /// What the ledger says of the org's backups.
    pub backups: Fact<BackupView>,
    /// Which claims lost their data, by the ledger.
    pub lost: Fact<LostClaims>,
    /// The org's KMS key, as the ledger has it.
    pub key: Fact<KmsKeyArn>,
}

impl Board {
    /// Nothing known. What changes is published as [`Change::Board`].
    pub fn new(changes: Arc<Changes>) -> Self {
        Self {
            backups: Fact::new(changes.clone()),
            lost: Fact::new(changes.clone()),
            key: Fact::new(changes),
        }
    }

    /// What is known of an org, all at once.
    pub fn of(&self, org: &OrgId) -> Known {
        Known {
            backups: self.backups.get(org),
            lost: self.lost.get(org),
            key: self.key.get(org),
        }
    }

    /// The org is gone.
    pub fn forget(&self, org: &OrgId) {
        let Self { backups, lost, key } = self;
        backups.forget(org);
        lost.forget(org);
        key.forget(org);
    }
}

/// What the board says of one org; none = not known since the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// See [`Board::backups`].
    pub backups: Option<Arc<BackupView>>,
    /// See [`Board::lost`].
    pub lost: Option<Arc<LostClaims>>,
    /// See [`Board::key`].
    pub key: Option<Arc<KmsKeyArn>>,
}

/// One fact, by org.
pub struct Fact<T> {
    by_org: Mutex<HashMap<OrgId, Arc<T>>>,
    changes: Arc<Changes>,
}

impl<T: PartialEq> Fact<T> {
    fn new(changes: Arc<Changes>) -> Self {
        Self {
            by_org: Mutex::default(),
            changes,
        }
    }

    fn by_org(&self) -> MutexGuard<'_, HashMap<OrgId, Arc<T>>> {
        self.by_org.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known; none = nothing since the start.
    pub fn get(&self, org: &OrgId) -> Option<Arc<T>> {
        self.by_org().get(org).cloned()
    }

    /// It is so now. Whoever reads it hears of it where it was not so before.
    pub fn set(&self, org: &OrgId, value: T) {
        if self.get(org).is_some_and(|present| *present == value) {
            return;
        }
        self.by_org().insert(org.clone(), Arc::new(value));
        self.changes.publish(&Change::Board(org.clone()));
    }

    fn forget(&self, org: &OrgId) {
        self.by_org().remove(org);
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
            Change::Board(org) => (vec![org.to_string()], Duration::ZERO),
            _ => (Vec::new(), Duration::ZERO),
        });
        let board = Board::new(changes);
        let org: OrgId = "7c9e6679-7425-40de-944b-e07fc1f90ae7".parse().unwrap();
        assert_eq!(board.of(&org), Known::default());

        let claim = LostClaim {
            why: "gone".to_owned(),
            lost_uid: "u".to_owned(),
        };
        let lost = LostClaims::from([("data-db-0".to_owned(), claim)]);
        board.lost.set(&org, lost.clone());
        assert_eq!(board.lost.get(&org).as_deref(), Some(&lost));
        let key = queue.next().now_or_never().unwrap();
        assert_eq!(key, org.as_str());
        queue.done(&key, None);

        board.lost.set(&org, lost);
        assert!(queue.next().now_or_never().is_none());
        board.lost.set(&org, LostClaims::new());
        assert!(queue.next().now_or_never().is_some());
        board.forget(&org);
        assert_eq!(board.of(&org), Known::default());
    }
}
