//! The claims of a workload's volumes. The operator makes them, under the names that the StatefulSet expects, so that a
//! restore can fill them before any pod exists. It never deletes one.

use serde_json::{Value, json};
use tray_api::{
    region::RegionSpec,
    workload::{Volume, Workload},
};
use tray_domain::names;

use super::Placement;
use crate::resources::child::{ChildKind, DesiredChild};

/// How the volume of a pod and the template of its claims are called.
pub const VOLUME: &str = "data";

/// Names of the claims of a workload; none where it has no volume. One per pod that it declares, whether or not the pod
/// runs at present.
pub fn claim_names(workload: &Workload) -> Vec<String> {
    let pods = if workload.volume.is_some() {
        declared_replicas(workload)
    } else {
        0
    };
    (0..pods)
        .map(|ordinal| names::claim_name(&workload.name, ordinal))
        .collect()
}

/// Pods of a workload when nothing keeps it from running.
pub fn declared_replicas(workload: &Workload) -> u32 {
    u32::try_from(workload.replicas.unwrap_or(1)).unwrap_or_default()
}

/// The claims of a workload.
pub fn claims(placement: &Placement, region: &RegionSpec, workload: &Workload) -> Vec<DesiredChild> {
    let Some(volume) = &workload.volume else {
        return Vec::new();
    };
    let claim = |name: String| {
        let body = json!({
            "metadata": {"labels": placement.workload_labels(&workload.name)},
            "spec": spec(region, volume),
        });
        DesiredChild::new(
            ChildKind::PersistentVolumeClaim,
            placement.namespace.clone(),
            name,
            body,
        )
    };
    claim_names(workload).into_iter().map(claim).collect()
}

/// Spec of a claim, the same in the StatefulSet's template.
pub(super) fn spec(region: &RegionSpec, volume: &Volume) -> Value {
    json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": volume.size.0}},
        "storageClassName": region.storage.storage_class_name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::org::fixtures;

    #[test]
    fn every_declared_pod_has_its_claim() {
        let mut db = fixtures::database();
        db.replicas = Some(2);
        let claims = claims(&fixtures::placement(), &fixtures::region(), &db);
        let names: Vec<&str> = claims.iter().map(|c| c.id.name.as_str()).collect();
        assert_eq!(names, ["data-db-0", "data-db-1"]);
        let body = &claims[0].body;
        assert_eq!(body["spec"]["storageClassName"], "org-encrypted");
        assert_eq!(body["spec"]["resources"]["requests"]["storage"], "10Gi");
        assert_eq!(body["metadata"]["labels"][names::LABEL_WORKLOAD], "db");
    }

    #[test]
    fn a_workload_without_a_volume_has_no_claim() {
        assert_eq!(claim_names(&fixtures::runtime()), Vec::<String>::new());
    }
}
