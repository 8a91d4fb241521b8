//! Makes a child anew of which something differs that never changes on a living object: it is deleted, and made when the watch
//! tells that it is gone.
//!
//! It is found by comparison. The API server refuses some of these changes and silently drops others, so neither an answer that
//! is good nor one that is bad says which it was.

use kube::api::{Api, DeleteParams, Preconditions, PropagationPolicy};
use serde_json::Value;
use tracing::info;

use super::{
    apply::{Applied, ApplyError, Cluster, failed},
    child::ChildFact,
    compare::difference_at,
    live::Live,
};
use crate::resources::child::{ChildId, ChildKind, Remake};

/// A field of a child that differs and never changes on a living object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FixedField {
    /// Its path.
    pub field: String,
    /// What to do about it.
    pub remake: Remake,
}

/// The first field of `live` that is not as `wanted` says and never will be; none where a write can make it so.
pub(super) fn fixed_difference(kind: ChildKind, wanted: &Value, live: &Value) -> Option<FixedField> {
    kind.fixed_fields().iter().find_map(|(field, remake)| {
        let field = difference_at(field, wanted, live)?;
        Some(FixedField {
            field,
            remake: *remake,
        })
    })
}

impl Cluster {
    /// Deletes a child of that UID, so that it is made anew with `fixed` as it should be.
    pub(super) async fn remake(
        &self,
        id: &ChildId,
        uid: &str,
        fixed: FixedField,
    ) -> Result<Applied, ApplyError> {
        let FixedField { field, remake } = fixed;
        let policy = match remake {
            Remake::Delete => PropagationPolicy::Background,
            Remake::ReleasePods => PropagationPolicy::Orphan,
            Remake::DrainPods => PropagationPolicy::Foreground,
            Remake::Never => {
                return Err(ApplyError::Fixed {
                    id: id.clone(),
                    field,
                });
            }
        };
        self.delete(id, uid, policy).await?;
        info!(child = %id, field, ?remake, "never changes on a living object: it is made anew");
        Ok(Applied::Going)
    }

    /// Removes a child, if it is there, and with it its pods: it stays until they have gone.
    pub async fn drain(&self, id: &ChildId) -> Result<(), ApplyError> {
        let Some(fact) = self.index.children.get(id).filter(|fact| !fact.deleting) else {
            return Ok(());
        };
        self.delete(id, &fact.identity.uid, PropagationPolicy::Foreground)
            .await?;
        info!(child = %id, "removed with its pods");
        Ok(())
    }

    /// Deletes a child of that UID. One that is gone already is success.
    async fn delete(&self, id: &ChildId, uid: &str, policy: PropagationPolicy) -> Result<(), ApplyError> {
        let api: Api<Live> = self.objects(id);
        let params = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match api.delete(&id.name, &params).await {
            Ok(answer) => {
                // One that stays until its pods have gone, or have been released. Some kinds are shown as they were although they
                // are gone: the watch may have told of that before.
                let going = answer
                    .left()
                    .filter(|live| live.metadata.deletion_timestamp.is_some());
                if let Some(going) = going {
                    self.index.children.answer(ChildFact::of(id.kind, &going));
                }
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
            Err(error) => Err(failed(id, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;
    use tray_api::{retention_policy::RetentionPolicySpec, trayorg::TrayOrgSpec, workload::Workload};
    use tray_domain::replicas::Situation;

    use super::*;
    use crate::{
        adapters::kube::compare::{difference, without_nulls},
        resources::{
            child::DesiredChild,
            org::{self, effective, fixtures, log_policy, quota},
        },
    };

    fn workload(yaml: &str) -> Workload {
        serde_yaml::from_str(yaml).unwrap()
    }

    /// Workloads of one name that differ in everything that a workload may say.
    fn workloads() -> Vec<Workload> {
        let base = "name: w, image: 'i:1', runAsUser: 1000";
        let mut all: Vec<Workload> = [
            "kind: Deployment",
            "kind: StatefulSet",
            "kind: Deployment, ports: [{name: http, port: 8080}]",
            "kind: StatefulSet, ports: [{name: http, port: 8080}]",
            "kind: StatefulSet, volume: {size: 1Gi, mountPath: /data}, runAsGroup: 5, fsGroup: 5",
            "kind: StatefulSet, volume: {size: 2Gi, mountPath: /elsewhere}, replicas: 3",
            "kind: Deployment, replicas: 2, env: [{name: A, value: ''}]",
            "kind: Deployment, replicas: 2, env: [{name: A, value: x}, {name: B, value: y}]",
            "kind: Deployment, command: [a], args: [b, c], scratch: [/tmp, /run]",
            "kind: Deployment, envFromSecrets: [s], resources: {cpu: 1, memory: 1Gi, memoryLimit: 2Gi}",
            "kind: Deployment, ports: [{name: http, port: 8080}], readiness: {httpPath: /, port: http}",
            "kind: Deployment, ports: [{name: http, port: 8081}], readiness: {exec: [ready]}",
            "kind: Deployment, executionLogPolicy: {mountPath: /policy}",
        ]
        .into_iter()
        .map(|more| workload(&format!("{{{base}, {more}}}")))
        .collect();
        all.extend([fixtures::database(), fixtures::runtime()]);
        all
    }

    /// All that orgs which differ in everything consist of.
    fn rendered() -> Vec<DesiredChild> {
        let orgs = [
            "{plan: Pro, network: {egress: None}}",
            "{plan: Enterprise, executionLogs: {mode: Hidden}, availability: {zoneSpread: Required}}",
            "{plan: Team, network: {egress: AllowList, allowCidrs: [203.0.113.0/24]}, quota: {pods: 7}, owners: [\
             {kind: User, name: a, role: Admin}, {kind: Group, name: b, role: Viewer}]}",
            "{plan: Team, owners: [{kind: User, name: c, role: Admin}]}",
        ];
        let mut all = BTreeMap::new();
        for (org, region) in orgs
            .iter()
            .flat_map(|org| [fixtures::region(), fixtures::region_with_webhook()].map(|region| (org, region)))
        {
            let org: TrayOrgSpec = serde_yaml::from_str(org).unwrap();
            let logs = log_policy::wanted(&org, &RetentionPolicySpec::default());
            for workload in workloads() {
                let mut own = effective::workloads(&org, &region).unwrap().workloads;
                own.retain(|other| other.name != workload.name);
                own.push(workload);
                let stages = org::children(&org::Inputs {
                    placement: &fixtures::placement(),
                    org: &org,
                    region: &region,
                    workloads: &own,
                    limits: &quota::limits(&org, &region),
                    logs: Some(&logs),
                    situation: &Situation::default(),
                    surroundings: &fixtures::surroundings(),
                    support: org.display_name.as_deref(),
                });
                let children = stages.into_iter().flatten();
                all.extend(children.map(|child| ((child.id.clone(), child.body.to_string()), child)));
            }
        }
        all.into_values().collect()
    }

    /// Else what the API server drops of a change, or a merge patch leaves behind, is taken for as it should be.
    #[test]
    fn whatever_an_org_was_before_is_told_from_what_it_should_be_now() {
        let all = rendered();
        let mut compared = 0;
        for wanted in &all {
            for before in all.iter().filter(|before| before.id == wanted.id) {
                let live = without_nulls(&before.body);
                let is_same = live == without_nulls(&wanted.body);
                let found = difference(&wanted.body, &live);
                assert_eq!(
                    found.is_none(),
                    is_same,
                    "{}: {found:?}\nwanted {}\nlive {live}",
                    wanted.id,
                    wanted.body
                );
                compared += 1;
            }
        }
        assert!(compared > 300, "{compared}");
    }

    #[test]
    fn each_fixed_field_is_found_whether_it_was_added_changed_or_taken_away() {
        let template = |size: &str| json!([{"spec": {"resources": {"requests": {"storage": size}}}}]);
        for (kind, wanted, live, found) in [
            (
                ChildKind::Service,
                json!({"spec": {"clusterIP": "None"}}),
                json!({"spec": {"clusterIP": "10.0.0.7"}}),
                Some(("spec.clusterIP", Remake::Delete)),
            ),
            (
                ChildKind::Service,
                json!({"spec": {"clusterIP": null}}),
                json!({"spec": {"clusterIP": "None"}}),
                Some(("spec.clusterIP", Remake::Delete)),
            ),
            (
                ChildKind::Service,
                json!({"spec": {"clusterIP": null, "ports": [1]}}),
                json!({"spec": {"clusterIP": "10.0.0.7", "ports": [2]}}),
                None,
            ),
            (
                ChildKind::StatefulSet,
                json!({"spec": {"volumeClaimTemplates": template("1Gi")}}),
                json!({"spec": {"volumeClaimTemplates": template("2Gi")}}),
                Some((
                    "spec.volumeClaimTemplates.[].spec.resources.requests.storage",
                    Remake::ReleasePods,
                )),
            ),
            (
                ChildKind::StatefulSet,
                json!({"spec": {"volumeClaimTemplates": null}}),
                json!({"spec": {"volumeClaimTemplates": template("1Gi")}}),
                Some(("spec.volumeClaimTemplates", Remake::ReleasePods)),
            ),
            (
                ChildKind::StatefulSet,
                json!({"spec": {"replicas": 2, "serviceName": "db"}}),
                json!({"spec": {"replicas": 1, "serviceName": "db"}}),
                None,
            ),
            (
                ChildKind::StatefulSet,
                json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "serviceName": "db"}}),
                json!({"spec": {"selector": {"matchLabels": {"a": "b", "c": "d"}}, "serviceName": "x"}}),
                Some(("spec.selector.matchLabels", Remake::DrainPods)),
            ),
            (
                ChildKind::Deployment,
                json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}}),
                json!({"spec": {"selector": {"matchLabels": {"a": "c"}}}}),
                Some(("spec.selector.matchLabels.a", Remake::DrainPods)),
            ),
            (
                ChildKind::ConfigMap,
                json!({"data": {"a": "1"}, "immutable": null}),
                json!({"data": {"a": "1"}, "immutable": true}),
                Some(("immutable", Remake::Delete)),
            ),
            (
                ChildKind::RoleBinding,
                json!({"roleRef": {"kind": "ClusterRole", "name": "a"}}),
                json!({"roleRef": {"kind": "ClusterRole", "name": "b"}}),
                Some(("roleRef.name", Remake::Delete)),
            ),
            (
                ChildKind::ResourceQuota,
                json!({"spec": {"scopes": null}}),
                json!({"spec": {"scopes": ["NotTerminating"]}}),
                Some(("spec.scopes", Remake::Delete)),
            ),
            (
                ChildKind::PersistentVolumeClaim,
                json!({"spec": {"storageClassName": "a"}}),
                json!({"spec": {"storageClassName": "b"}}),
                Some(("spec.storageClassName", Remake::Never)),
            ),
        ] {
            let expected = found.map(|(field, remake)| FixedField {
                field: field.to_owned(),
                remake,
            });
            assert_eq!(
                fixed_difference(kind, &wanted, &live),
                expected,
                "{kind} {wanted}"
            );
        }
    }
}
