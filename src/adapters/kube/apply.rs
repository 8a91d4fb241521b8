//! Makes children be as they should be, with no request where they are.
//!
//! A child that is not there is posted. One whose wanted body changed, or that no longer covers it, is patched: JSON
//! merge patch of the whole body with the UID as precondition. One that is there although the index does not know it
//! (somebody took its label away) is read once, taken over if it is ours, and refused if it is not. Answers go into the
//! index at once, so that the watch's own echo of them is no news.

use kube::{
    Client,
    api::{
        Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams,
        Preconditions,
    },
};
use serde_json::{Value, json};
use std::sync::Arc;
use tracing::{info, warn};

use super::{
    child::ChildFact,
    compare::{difference, digest, patch, substance, without_nulls},
    index::Index,
};
use crate::{
    domain::names,
    resources::child::{ChildId, ChildKind, DesiredChild},
};

/// What became of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was as it should be: no request was made.
    Unchanged,
    /// It was made.
    Created,
    /// It was changed.
    Changed,
    /// It is being deleted: it is made anew once it is gone, which the watch will tell.
    Going,
}

/// Why a child could not be made as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An object of that name is there and is not ours.
    #[error("{0} is there already and is not this org's: remove or rename it")]
    Foreign(ChildId),
    /// The API server refuses the object: trying again will not help until something changes.
    #[error("the API server refuses {id}: {message}")]
    Refused {
        /// The child.
        id: ChildId,
        /// What it says.
        message: String,
    },
    /// The API server did not answer, or not now.
    #[error("failed to write {id}: {source}")]
    Failed {
        /// The child.
        id: ChildId,
        /// What went wrong.
        source: Box<kube::Error>,
    },
}

/// The cluster, as far as the operator changes it.
#[derive(Clone)]
pub struct Cluster {
    pub(super) client: Client,
    pub(super) index: Arc<Index>,
}

impl Cluster {
    /// Writes with `client` and remembers in `index`.
    pub fn new(client: Client, index: Arc<Index>) -> Self {
        Self { client, index }
    }

    /// Makes a child be as wanted.
    pub async fn ensure(&self, wanted: &DesiredChild) -> Result<Applied, ApplyError> {
        let body = complete(wanted);
        let wanted_digest = digest(&body);
        let Some(fact) = self.index.children.get(&wanted.id) else {
            return self.create(wanted, &body, wanted_digest).await;
        };
        if fact.deleting {
            return Ok(Applied::Going);
        }
        if fact.settled_for == Some(wanted_digest) {
            return Ok(Applied::Unchanged);
        }
        if let Some(live) = &fact.body {
            match difference(&substance(&body), live) {
                None => {
                    self.settle(&wanted.id, fact.digest, wanted_digest);
                    return Ok(Applied::Unchanged);
                }
                Some(field) => info!(child = %wanted.id, field, "differs from what it should be"),
            }
        }
        self.change(
            wanted,
            &body,
            wanted_digest,
            &fact.identity.uid,
            fact.body.as_deref(),
        )
        .await
    }

    /// Removes a child, if it is there. One that is gone already is success.
    pub async fn remove(&self, id: &ChildId) -> Result<(), ApplyError> {
        let Some(fact) = self.index.children.get(id) else {
            return Ok(());
        };
        if fact.deleting {
            return Ok(());
        }
        // In the background: what a workload leaves behind is collected by Kubernetes.
        let params = DeleteParams::background().preconditions(Preconditions {
            uid: Some(fact.identity.uid.clone()),
            resource_version: None,
        });
        match self.api(id).delete(&id.name, &params).await {
            Ok(_) => {
                info!(child = %id, "removed");
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(failed(id, error)),
        }
    }

    /// Asks the API server whether an object of that kind and name is there, whosever it is: for one that the index
    /// should know and does not.
    pub async fn exists(&self, id: &ChildId) -> Result<bool, ApplyError> {
        let found = self.api(id).get_opt(&id.name).await;
        Ok(found.map_err(|error| failed(id, error))?.is_some())
    }

    async fn create(
        &self,
        wanted: &DesiredChild,
        body: &Value,
        wanted_digest: u64,
    ) -> Result<Applied, ApplyError> {
        let id = &wanted.id;
        let object = object(id, without_nulls(body))?;
        let params = PostParams {
            field_manager: Some(names::OPERATOR.to_owned()),
            ..PostParams::default()
        };
        match self.api(id).create(&params, &object).await {
            Ok(live) => {
                self.learn(id, &live, body, wanted_digest);
                Ok(Applied::Created)
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                self.take_over(wanted, body, wanted_digest).await
            }
            Err(error) => Err(failed(id, error)),
        }
    }

    /// The object is there and the index does not know it: it lost its label, or was made an instant ago.
    async fn take_over(
        &self,
        wanted: &DesiredChild,
        body: &Value,
        wanted_digest: u64,
    ) -> Result<Applied, ApplyError> {
        let id = &wanted.id;
        let live = self
            .api(id)
            .get(&id.name)
            .await
            .map_err(|error| failed(id, error))?;
        if !is_ours(id, &live, body) {
            return Err(ApplyError::Foreign(id.clone()));
        }
        if live.metadata.deletion_timestamp.is_some() {
            return Ok(Applied::Going);
        }
        let fact = ChildFact::of(id.kind, &live);
        let (uid, live) = (fact.identity.uid.clone(), fact.body.clone());
        self.index.children.put(fact);
        self.change(wanted, body, wanted_digest, &uid, live.as_deref())
            .await
    }

    async fn change(
        &self,
        wanted: &DesiredChild,
        body: &Value,
        wanted_digest: u64,
        uid: &str,
        live: Option<&Value>,
    ) -> Result<Applied, ApplyError> {
        let answer = self.patch(&wanted.id, patch(body, live, uid), uid).await?;
        // Where it was not known what the child holds, it is known now: what has no place in it is taken away.
        let held = live
            .is_none()
            .then(|| ChildFact::of(wanted.id.kind, &answer).body)
            .flatten();
        let answer = match held.filter(|held| difference(&substance(body), held).is_some()) {
            Some(held) => self.patch(&wanted.id, patch(body, Some(&held), uid), uid).await?,
            None => answer,
        };
        self.learn(&wanted.id, &answer, body, wanted_digest);
        Ok(Applied::Changed)
    }

    async fn patch(&self, id: &ChildId, patch: Value, uid: &str) -> Result<DynamicObject, ApplyError> {
        let params = PatchParams {
            field_manager: Some(names::OPERATOR.to_owned()),
            ..PatchParams::default()
        };
        match self.api(id).patch(&id.name, &params, &Patch::Merge(patch)).await {
            // Gone, or another object of that name: the watch will tell, and the next pass makes it.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                self.index.children.remove(id, Some(uid));
                Err(failed(id, kube::Error::Api(status)))
            }
            answer => answer.map_err(|error| failed(id, error)),
        }
    }

    /// Remembers what a write was answered with.
    fn learn(&self, id: &ChildId, live: &DynamicObject, body: &Value, wanted_digest: u64) {
        let fact = ChildFact::of(id.kind, live);
        let left = fact
            .body
            .as_deref()
            .and_then(|live| difference(&substance(body), live));
        if let Some(field) = left {
            // The server stores something else. Writing it again and again would not change that.
            warn!(child = %id, field, "the API server keeps something else than was written");
        }
        let written = fact.digest;
        self.index.observe_child(fact);
        self.settle(id, written, wanted_digest);
    }

    /// The child at that digest is as wanted: its substance need not be kept.
    fn settle(&self, id: &ChildId, at: u64, wanted_digest: u64) {
        self.index.children.change(id.clone(), |present| {
            let mut fact = present.filter(|present| present.digest == at)?.clone();
            fact.settled_for = Some(wanted_digest);
            fact.body = None;
            Some(fact)
        });
    }

    fn api(&self, id: &ChildId) -> Api<DynamicObject> {
        let resource = api_resource(id.kind);
        if id.namespace.is_empty() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), &id.namespace, &resource)
        }
    }
}

/// How the Kubernetes client names a kind.
pub fn api_resource(kind: ChildKind) -> ApiResource {
    let (group, version) = kind.group_version();
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk(group, version, kind.as_str()),
        kind.plural(),
    )
}

/// The wanted body with kind, name and namespace.
fn complete(wanted: &DesiredChild) -> Value {
    let mut body = wanted.body.clone();
    if !body["metadata"].is_object() {
        body["metadata"] = json!({});
    }
    body["apiVersion"] = wanted.id.kind.api_version().into();
    body["kind"] = wanted.id.kind.as_str().into();
    body["metadata"]["name"] = wanted.id.name.as_str().into();
    if !wanted.id.namespace.is_empty() {
        body["metadata"]["namespace"] = wanted.id.namespace.as_str().into();
    }
    body
}

fn object(id: &ChildId, body: Value) -> Result<DynamicObject, ApplyError> {
    serde_json::from_value(body).map_err(|error| ApplyError::Refused {
        id: id.clone(),
        message: error.to_string(),
    })
}

/// An org's namespace is the operator's, so what has a child's name there is the child. A namespace itself is only ours
/// if it says which org it is of: policies let nobody else write that label.
fn is_ours(id: &ChildId, live: &DynamicObject, body: &Value) -> bool {
    if id.kind != ChildKind::Namespace {
        return true;
    }
    let labels = live.metadata.labels.as_ref();
    let org_id = labels.and_then(|labels| labels.get(names::LABEL_ORG_ID));
    org_id.is_some_and(|org_id| body["metadata"]["labels"][names::LABEL_ORG_ID] == org_id.as_str())
}

fn failed(id: &ChildId, error: kube::Error) -> ApplyError {
    match error {
        // 403 may be a namespace that is going, a quota, or rights not yet granted; 422 and 400 are the object's fault.
        kube::Error::Api(status) if matches!(status.code, 400 | 422) => ApplyError::Refused {
            id: id.clone(),
            message: status.message.clone(),
        },
        error => ApplyError::Failed {
            id: id.clone(),
            source: Box::new(error),
        },
    }
}
