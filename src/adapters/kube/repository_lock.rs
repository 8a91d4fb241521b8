//! One worker at a time on an org's repositories: a snapshot run, a restore or a pruning.
//!
//! The engine's repositories know no locks, and a pruner beside a writer loses data. The lock is a Lease in the
//! operator's namespace. It has no expiry: a worker is a Job that goes on while the operator is away, so time proves
//! nothing. It is taken over only when its holder is known to have ended.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::{
    Client, ResourceExt,
    api::{Api, PostParams},
};
use tray_domain::{ids::OrgId, names};

/// What became of an attempt to lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lock {
    /// The caller holds it.
    Held,
    /// Somebody else does: `<kind>/<name>`.
    HeldBy(String),
}

/// The locks of all orgs.
#[derive(Clone)]
pub struct RepositoryLocks {
    leases: Api<Lease>,
}

impl RepositoryLocks {
    /// In the operator's namespace.
    pub fn new(client: Client) -> Self {
        Self {
            leases: Api::namespaced(client, names::SYSTEM_NAMESPACE),
        }
    }

    /// Locks for `holder` (`<kind>/<name>`), or takes the lock over from `ended`, a holder known to have ended.
    /// Locking what one holds already is success.
    pub async fn lock(&self, org: &OrgId, holder: &str, ended: Option<&str>) -> Result<Lock, kube::Error> {
        let name = lease_name(org);
        let Some(mut lease) = self.leases.get_opt(&name).await? else {
            return self.create(&name, org, holder).await;
        };
        match holder_of(&lease) {
            Some(present) if present == holder => return Ok(Lock::Held),
            Some(present) if Some(present) != ended => return Ok(Lock::HeldBy(present.to_owned())),
            _ => {}
        }
        set_holder(&mut lease, Some(holder));
        match self.leases.replace(&name, &PostParams::default(), &lease).await {
            Ok(_) => Ok(Lock::Held),
            // Somebody was faster: the resourceVersion guards the replacement.
            Err(kube::Error::Api(status)) if status.is_conflict() => {
                Ok(Lock::HeldBy("another worker".to_owned()))
            }
            Err(error) => Err(error),
        }
    }

    async fn create(&self, name: &str, org: &OrgId, holder: &str) -> Result<Lock, kube::Error> {
        let mut lease = Lease::default();
        lease.metadata.name = Some(name.to_owned());
        lease
            .labels_mut()
            .insert(names::LABEL_MANAGED_BY.to_owned(), names::OPERATOR.to_owned());
        lease
            .labels_mut()
            .insert(names::LABEL_ORG_ID.to_owned(), org.to_string());
        set_holder(&mut lease, Some(holder));
        match self.leases.create(&PostParams::default(), &lease).await {
            Ok(_) => Ok(Lock::Held),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                Ok(Lock::HeldBy("another worker".to_owned()))
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the lock back, if `holder` has it.
    pub async fn release(&self, org: &OrgId, holder: &str) -> Result<(), kube::Error> {
        let name = lease_name(org);
        let Some(mut lease) = self.leases.get_opt(&name).await? else {
            return Ok(());
        };
        if holder_of(&lease) != Some(holder) {
            return Ok(());
        }
        set_holder(&mut lease, None);
        match self.leases.replace(&name, &PostParams::default(), &lease).await {
            // Changed meanwhile: then it is no longer ours.
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

fn lease_name(org: &OrgId) -> String {
    format!("repositories-{org}")
}
fn holder_of(lease: &Lease) -> Option<&str> {
    lease
        .spec
        .as_ref()?
        .holder_identity
        .as_deref()
        .filter(|holder| !holder.is_empty())
}
fn set_holder(lease: &mut Lease, holder: Option<&str>) {
    lease.spec.get_or_insert_with(LeaseSpec::default).holder_identity =
        Some(holder.unwrap_or_default().to_owned());
}
