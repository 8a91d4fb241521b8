//! What a workload is found under, and how many of its pods may be taken away at once.

use serde_json::{Value, json};
use tray_api::workload::{Workload, WorkloadKind};

use super::{Placement, claim, workload_selector};
use crate::resources::child::{ChildKind, DesiredChild};

/// The Service of a workload that has ports. That of a StatefulSet is headless: its pods are found by their names, too.
pub fn service(placement: &Placement, workload: &Workload) -> Option<DesiredChild> {
    if workload.ports.is_empty() {
        return None;
    }
    let port = |port: &tray_api::workload::Port| json!({"name": port.name, "port": port.port, "targetPort": port.name, "protocol": "TCP"});
    let address = match workload.kind {
        WorkloadKind::StatefulSet => Some("None"),
        // Any that the API server chooses: one that was headless does not stay so.
        WorkloadKind::Deployment => None,
    };
    let spec = json!({
        "type": "ClusterIP",
        "clusterIP": address,
        "selector": workload_selector(&workload.name),
        "ports": workload.ports.iter().map(port).collect::<Vec<Value>>(),
        "externalIPs": null,
    });
    let body = json!({"metadata": {"labels": placement.workload_labels(&workload.name)}, "spec": spec});
    Some(DesiredChild::new(
        ChildKind::Service,
        placement.namespace.clone(),
        workload.name.clone(),
        body,
    ))
}

/// Of several pods one may be taken away at once; a single one is not worth holding a node up for.
pub fn disruption_budget(placement: &Placement, workload: &Workload) -> Option<DesiredChild> {
    if claim::declared_replicas(workload) < 2 {
        return None;
    }
    let body = json!({
        "metadata": {"labels": placement.workload_labels(&workload.name)},
        "spec": {
            "maxUnavailable": 1,
            "minAvailable": null,
            "selector": {"matchLabels": workload_selector(&workload.name)},
            // Pods that are broken anyway do not keep a node from being drained.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    });
    let (kind, name) = (ChildKind::PodDisruptionBudget, workload.name.clone());
    Some(DesiredChild::new(kind, placement.namespace.clone(), name, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::org::fixtures;

    #[test]
    fn a_workload_with_ports_has_a_service_and_never_one_that_the_world_reaches() {
        let placement = fixtures::placement();
        let db = service(&placement, &fixtures::database()).unwrap();
        assert_eq!(db.body["spec"]["clusterIP"], "None");
        let runtime = service(&placement, &fixtures::runtime()).unwrap();
        assert_eq!(
            runtime.body["spec"]["clusterIP"],
            Value::Null,
            "the API server chooses an address"
        );
        for child in [db, runtime] {
            assert_eq!(child.body["spec"]["type"], "ClusterIP");
        }
        let mut silent = fixtures::runtime();
        silent.ports.clear();
        assert_eq!(service(&placement, &silent), None);
    }

    #[test]
    fn p2_only_several_pods_have_a_budget_and_broken_ones_keep_no_node_up() {
        let placement = fixtures::placement();
        let budget = disruption_budget(&placement, &fixtures::runtime()).unwrap();
        assert_eq!(budget.body["spec"]["unhealthyPodEvictionPolicy"], "AlwaysAllow");
        assert_eq!(budget.body["spec"]["maxUnavailable"], 1);
        assert_eq!(disruption_budget(&placement, &fixtures::database()), None);
    }
}
