//! Deletes an object and leaves its dependents: propagation policy Orphan.

use kube::api::{Api, DeleteParams, DynamicObject, Preconditions, PropagationPolicy};
use tracing::info;

use super::apply::{ApplyError, Cluster, api_resource};
use crate::resources::child::ChildId;

impl Cluster {
    /// Removes a child and leaves what it made: its pods run on, and the next child of that name takes them over. For
    /// changes that Kubernetes does not allow on a living object.
    pub async fn delete_orphaning(&self, id: &ChildId) -> Result<(), ApplyError> {
        let Some(fact) = self.index.children.get(id).filter(|fact| !fact.deleting) else {
            return Ok(());
        };
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &id.namespace, &api_resource(id.kind));
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Orphan),
            preconditions: Some(Preconditions {
                uid: Some(fact.identity.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match api.delete(&id.name, &params).await {
            Ok(_) => {
                info!(child = %id, "released its pods, to be made anew");
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(ApplyError::Failed {
                id: id.clone(),
                source: Box::new(error),
            }),
        }
    }
}
