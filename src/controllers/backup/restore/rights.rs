//! What a restore may do ends with it, whatever happened to it, to the operator or to the org: what no open restore needs is
//! found by its name and its labels, and taken away on every look.

use std::sync::Arc;

use tray_api::orgrestore::{OrgRestore, RestorePhase};
use tray_domain::names;

use super::is_mover_of;
use crate::{
    adapters::kube::{child::ChildFact, facts::JobFact},
    controllers::{Blocked, context::Context},
    resources::{
        child::{ChildId, ChildKind},
        mover_job::RESTORE_JOBS,
        org::access::RESTORE_BINDING,
    },
};

/// What an org has that its restores needed, as it is seen.
pub(in super::super) struct Seen<'a> {
    /// Its OrgRestores.
    pub restores: &'a [Arc<OrgRestore>],
    /// Its children.
    pub children: &'a [Arc<ChildFact>],
    /// Its movers.
    pub movers: &'a [Arc<JobFact>],
}

impl<'a> Seen<'a> {
    /// The bindings of rights that no restore needs now: they are there to put objects back, while the org stands still.
    fn bindings(&self) -> Vec<&'a ChildId> {
        let mut restores = self.restores.iter().filter(|restore| restore.is_open());
        if restores.any(|restore| restore.phase().is_some_and(RestorePhase::stops_workloads)) {
            return Vec::new();
        }
        let present = self.children.iter().filter(|child| !child.deleting);
        present
            .map(|child| &child.id)
            .filter(|id| id.kind == ChildKind::RoleBinding && id.name == RESTORE_BINDING)
            .collect()
    }

    /// The movers of restores that nobody asks for any more.
    fn gone_movers(&self) -> Vec<&'a JobFact> {
        let of_restores = self.movers.iter().map(|job| &**job).filter(|job| {
            job.name.starts_with(RESTORE_JOBS) && job.namespace != names::SYSTEM_NAMESPACE && !job.deleting
        });
        let is_wanted = |job: &JobFact| {
            let mut restores = self.restores.iter().filter(|restore| restore.is_open());
            restores.any(|restore| is_mover_of(restore, &job.name))
        };
        of_restores.filter(|job| !is_wanted(job)).collect()
    }
}

/// Takes back what movers of restores may do, where no restore needs it.
pub(in super::super) async fn revoke(ctx: &Context, seen: &Seen<'_>) -> Result<(), Blocked> {
    for binding in seen.bindings() {
        ctx.cluster.remove(binding).await?;
    }
    Ok(())
}

/// The same of an org that cannot be worked on, whatever keeps it: and the movers of restores that are gone, which a pass would
/// remove.
pub(in super::super) async fn take_back(ctx: &Context, org: &str) -> Result<(), Blocked> {
    let seen = Seen {
        restores: &ctx.index.restores.of_org(org),
        children: &ctx.index.children.of(org),
        movers: &ctx.index.jobs.of(org),
    };
    revoke(ctx, &seen).await?;
    for job in seen.gone_movers() {
        ctx.movers.remove(job).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::batch::v1::Job;
    use serde_json::{Value, json};

    use super::*;

    fn restore(uid: &str, status: &Value) -> Arc<OrgRestore> {
        let restore = json!({"apiVersion": "platform.tray.ai/v1alpha1", "kind": "OrgRestore",
            "metadata": {"name": "home", "uid": uid}, "status": status,
            "spec": {"orgRef": {"name": "acme"}, "snapshot": {"latestGood": true}, "target": {"inPlace": true}}});
        Arc::new(serde_json::from_value(restore).unwrap())
    }
    fn child(kind: ChildKind, name: &str) -> Arc<ChildFact> {
        let live = json!({"metadata": {"name": name, "namespace": "org-acme-7c9e6679"}});
        Arc::new(ChildFact::of(kind, &serde_json::from_value(live).unwrap()))
    }
    fn job(name: &str) -> Arc<JobFact> {
        let job =
            json!({"metadata": {"name": name, "namespace": "org-acme-7c9e6679"}, "spec": {"template": {}}});
        let job: Job = serde_json::from_value(job).unwrap();
        Arc::new(JobFact::of(&job))
    }

    #[test]
    fn rights_last_while_a_restore_that_is_open_puts_objects_back() {
        let children = [
            child(ChildKind::RoleBinding, "tray-restore"),
            child(ChildKind::RoleBinding, "tray-archive"),
            child(ChildKind::ConfigMap, "tray-restore"),
        ];
        let revoked = |restores: &[Arc<OrgRestore>]| {
            let seen = Seen {
                restores,
                children: &children,
                movers: &[],
            };
            let names: Vec<String> = seen.bindings().iter().map(|id| id.name.clone()).collect();
            names
        };
        assert_eq!(revoked(&[]), ["tray-restore"], "it was deleted");
        for (phase, lasts) in [
            ("Pending", false),
            ("Proving", false),
            ("Draining", true),
            ("Filling", true),
            ("Starting", false),
            ("Succeeded", false),
            ("SucceededWithRefusals", false),
            ("Failed", false),
        ] {
            let open = restore("0d1f6b1e-1", &json!({"phase": phase}));
            assert_eq!(revoked(std::slice::from_ref(&open)).is_empty(), lasts, "{phase}");
            let mut deleted = OrgRestore::clone(&open);
            deleted.metadata.deletion_timestamp =
                Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
            assert!(!revoked(&[Arc::new(deleted)]).is_empty(), "{phase}");
        }
    }

    #[test]
    fn movers_of_a_restore_go_when_it_is_not_open_any_more() {
        let movers = [
            job("restore-0d1f6b1e-data-web-0"),
            job("restore-7c9e6679-objects"),
            job("snap-01arz3ndektsv4rrffq69g5fav-objects"),
        ];
        let gone = |restores: &[Arc<OrgRestore>]| {
            let seen = Seen {
                restores,
                children: &[],
                movers: &movers,
            };
            let names: Vec<String> = seen.gone_movers().iter().map(|job| job.name.clone()).collect();
            names
        };
        let open = restore("0d1f6b1e-1", &json!({"phase": "Filling"}));
        assert_eq!(gone(&[open]), ["restore-7c9e6679-objects"]);
        let ended = restore("0d1f6b1e-1", &json!({"phase": "Failed"}));
        assert_eq!(
            gone(&[ended]),
            ["restore-0d1f6b1e-data-web-0", "restore-7c9e6679-objects"]
        );
    }
}
