//! The Deployment or StatefulSet of a workload.

use serde_json::json;
use tray_api::{
    region::RegionSpec,
    trayorg::TrayOrgSpec,
    workload::{Workload, WorkloadKind},
};
use tray_domain::replicas::{Situation, replicas};

use super::{Placement, claim, pod, workload_selector};
use crate::resources::child::{ChildKind, DesiredChild};

/// Old revisions that are kept: the way back is in Git.
const REVISIONS: i32 = 3;

/// The kind of child that runs a workload of that kind.
pub const fn child_kind(kind: WorkloadKind) -> ChildKind {
    match kind {
        WorkloadKind::Deployment => ChildKind::Deployment,
        WorkloadKind::StatefulSet => ChildKind::StatefulSet,
    }
}

/// Pods of a workload that run at present.
pub fn replicas_now(workload: &Workload, situation: &Situation) -> u32 {
    replicas(
        claim::declared_replicas(workload),
        &claim::claim_names(workload),
        situation,
    )
}

/// The workload with that many replicas.
pub fn workload(
    placement: &Placement,
    org: &TrayOrgSpec,
    region: &RegionSpec,
    workload: &Workload,
    replicas: u32,
) -> DesiredChild {
    let mut spec = json!({
        "replicas": replicas,
        "revisionHistoryLimit": REVISIONS,
        "selector": {"matchLabels": workload_selector(&workload.name)},
        "template": pod::template(placement, org, region, workload),
    });
    match workload.kind {
        WorkloadKind::Deployment => {}
        WorkloadKind::StatefulSet => {
            spec["serviceName"] = workload.name.clone().into();
            // One pod that does not start must not keep the repaired template from the others.
            spec["podManagementPolicy"] = "Parallel".into();
            spec["persistentVolumeClaimRetentionPolicy"] =
                json!({"whenDeleted": "Retain", "whenScaled": "Retain"});
            // The operator makes the claims before the pods. Should one be lost, it comes back with the same labels. Without a
            // volume pods would go on taking the claim of before.
            let template = workload.volume.as_ref().map(|volume| {
                json!([{
                    "metadata": {"name": claim::VOLUME, "labels": placement.workload_labels(&workload.name)},
                    "spec": claim::spec(region, volume),
                }])
            });
            spec["volumeClaimTemplates"] = template.unwrap_or_default();
        }
    }
    let body = json!({
        "metadata": {"labels": placement.workload_labels(&workload.name)},
        "spec": spec,
    });
    DesiredChild::new(
        child_kind(workload.kind),
        placement.namespace.clone(),
        workload.name.clone(),
        body,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::org::fixtures;
    use tray_domain::names;

    fn rendered(w: &Workload, replicas: u32) -> DesiredChild {
        workload(
            &fixtures::placement(),
            &fixtures::org(),
            &fixtures::region(),
            w,
            replicas,
        )
    }

    #[test]
    fn a_database_is_a_stateful_set_that_finds_its_claims() {
        let child = rendered(&fixtures::database(), 1);
        assert_eq!(child.id.kind, ChildKind::StatefulSet);
        let spec = &child.body["spec"];
        assert_eq!(spec["serviceName"], "db");
        assert_eq!(spec["volumeClaimTemplates"][0]["metadata"]["name"], "data");
        assert_eq!(
            spec["volumeClaimTemplates"][0]["spec"]["storageClassName"],
            "org-encrypted"
        );
        assert_eq!(
            spec["persistentVolumeClaimRetentionPolicy"]["whenScaled"],
            "Retain"
        );
    }

    #[test]
    fn a_deployment_has_nothing_of_a_stateful_set() {
        let child = rendered(&fixtures::runtime(), 2);
        assert_eq!(child.id.kind, ChildKind::Deployment);
        assert_eq!(child.body["spec"]["replicas"], 2);
        assert!(child.body["spec"].get("serviceName").is_none());
    }

    #[test]
    fn pods_carry_what_selects_them_and_whose_they_are() {
        for workload in [fixtures::database(), fixtures::runtime()] {
            let spec = &rendered(&workload, 1).body["spec"];
            let labels = &spec["template"]["metadata"]["labels"];
            for (label, value) in spec["selector"]["matchLabels"].as_object().unwrap() {
                assert_eq!(&labels[label], value);
            }
            assert_eq!(labels[names::LABEL_ORG], "acme");
            assert_eq!(labels[names::LABEL_WORKLOAD], workload.name);
        }
    }

    #[test]
    fn nothing_runs_on_a_lost_volume() {
        let mut situation = Situation::default();
        assert_eq!(replicas_now(&fixtures::database(), &situation), 1);
        situation.lost_claims.insert("data-db-0".into());
        assert_eq!(replicas_now(&fixtures::database(), &situation), 0);
        assert_eq!(replicas_now(&fixtures::runtime(), &situation), 2);
    }
}
