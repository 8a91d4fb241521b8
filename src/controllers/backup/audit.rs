//! Before anything of an org is removed, its ledger is held to itself: what is read to work with it begins at its newest
//! checkpoint. What is found damaged keeps pruning from going on, and neither runs nor restores.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use tray_api::conditions::reasons;
use tray_domain::{ids::OrgId, ledger::whole_within_days};
use tray_ledger::{Ledger, LedgerStoreError};

use super::pass::Pass;
use crate::controllers::Blocked;

/// How long a ledger that was found whole is taken for so.
const HOLDS_FOR: SignedDuration = SignedDuration::from_hours(23);
/// How long one that was found damaged is not read again.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_hours(1);

/// When the ledgers of this process's orgs were last held to themselves, and what was found amiss.
#[derive(Default)]
pub(super) struct Audits(Mutex<HashMap<OrgId, (Timestamp, Option<LedgerStoreError>)>>);

impl Audits {
    fn by_org(&self) -> MutexGuard<'_, HashMap<OrgId, (Timestamp, Option<LedgerStoreError>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what was found amiss. What does not hold any more is forgotten, also of orgs that are gone.
    fn note(&self, org: &OrgId, now: Timestamp, amiss: Option<LedgerStoreError>) {
        let mut by_org = self.by_org();
        by_org.retain(|_, (at, _)| now.duration_since(*at).abs() < HOLDS_FOR);
        by_org.insert(org.clone(), (now, amiss));
    }

    /// What still holds of what was found; none = it is looked at again.
    fn standing(&self, org: &OrgId, now: Timestamp) -> Option<Result<(), LedgerStoreError>> {
        let by_org = self.by_org();
        let (at, found) = by_org.get(org)?;
        let holds_for = if found.is_some() { LOOK_AGAIN } else { HOLDS_FOR };
        let stands = now.duration_since(*at).abs() < holds_for;
        stands.then(|| found.clone().map_or(Ok(()), Err))
    }
}

/// Whether the ledger is whole, as far as that is looked at today. Nothing is removed where it is not.
pub(super) async fn hold(pass: &Pass<'_>) -> Result<(), Blocked> {
    let (audits, org) = (&pass.backup.audits, pass.subject.org_id());
    let found = if let Some(standing) = audits.standing(org, pass.now) {
        standing
    } else {
        let found = look(&pass.ledger, org, pass.now).await;
        let silent = found.as_ref().is_err_and(LedgerStoreError::is_transient);
        if !silent {
            audits.note(org, pass.now, found.clone().err());
        }
        found
    };
    found.map_err(blocked)
}

async fn look(ledger: &Ledger, org: &OrgId, now: Timestamp) -> Result<(), LedgerStoreError> {
    ledger.check_listing().await?;
    for part in whole_within_days(ledger.state().next_seq, org, now) {
        ledger.check(part).await?;
    }
    Ok(())
}

fn blocked(error: LedgerStoreError) -> Blocked {
    match error {
        LedgerStoreError::Invalid { org, prefix, source } => {
            let message = format!(
                "the ledger of org {org} under {prefix} is damaged: {source}; nothing is pruned until a person has compared the \
                 object's versions in the bucket and put the right one back; snapshots and restores go on"
            );
            Blocked::person(reasons::LEDGER_INVALID, message)
        }
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn what_was_found_holds_for_a_day_and_damage_for_an_hour() {
        let audits = Audits::default();
        let org: OrgId = "7c9e6679-7425-40de-944b-e07fc1f90ae7".parse().unwrap();
        let found = at("2026-01-01T00:00:00Z");
        assert_eq!(audits.standing(&org, found), None);
        audits.note(&org, found, None);
        assert_eq!(audits.standing(&org, at("2026-01-01T22:59:59Z")), Some(Ok(())));
        assert_eq!(audits.standing(&org, at("2026-01-01T23:00:00Z")), None);
        let stray = LedgerStoreError::Stray {
            org: org.clone(),
            key: "notes.txt".to_owned(),
        };
        audits.note(&org, found, Some(stray.clone()));
        assert_eq!(
            audits.standing(&org, at("2026-01-01T00:59:59Z")),
            Some(Err(stray))
        );
        assert_eq!(audits.standing(&org, at("2026-01-01T01:00:00Z")), None);
        let other: OrgId = "88888888-8888-4888-8888-888888888888".parse().unwrap();
        audits.note(&other, at("2026-01-02T00:00:00Z"), None);
        assert_eq!(audits.by_org().len(), 1);
    }
}
